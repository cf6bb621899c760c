/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the platform half of x86/ and arm/ gives to the code that is the same for both. The linker picks
 * the implementation; nothing outside x86/ and arm/ tests the architecture.
 */
#ifndef LKVM_ARCH_H
#define LKVM_ARCH_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct err;
struct kvm;
struct kvm_irq_routing_entry;
struct vcpu;

/* arm64's interrupt controllers. */
enum irqchip { IRQCHIP_AUTO, IRQCHIP_GICV3, IRQCHIP_GICV3_ITS, IRQCHIP_GICV2, IRQCHIP_GICV2M };

/* The type that KVM_CREATE_VM is given. */
unsigned long arch_vm_type(int dev_fd);

/* Right after KVM_CREATE_VM: interrupt controller, timers, reserved pages. */
int arch_vm_init(struct kvm *kvm, struct err *err);
void arch_vm_release(struct kvm *kvm); /* also after a failed arch_vm_init() */

/* Right after KVM_CREATE_VCPU: CPUID or features, and the state that every vCPU starts from. */
int arch_vcpu_init(struct vcpu *vcpu, unsigned int cpus_nr, struct err *err);

/* Sets or clears the level of an interrupt line. Returns 0 or -errno. */
int arch_irq_line(struct kvm *kvm, uint32_t gsi, int level);

/*
 * What KVM's table of interrupt routes has before anybody sets it: KVM_SET_GSI_ROUTING takes whole tables. Returns
 * how many there are, at most `max`.
 */
unsigned int arch_irq_routes(struct kvm_irq_routing_entry *entries, unsigned int max);

/* On this host a guest's write to a port costs less than one to memory, as a doorbell (lkvm/ioeventfd.h). */
bool arch_prefers_port_doorbells(void);

/*
 * Whether the vCPU sleeps and nothing but another vCPU can wake it: halted with interrupts off, or not started. On
 * its own thread, outside of KVM_RUN.
 */
bool arch_vcpu_is_stuck(struct vcpu *vcpu);

/* Prints the registers of a vCPU that is not in KVM_RUN. */
void arch_vcpu_dump(struct vcpu *vcpu, FILE *out);

#endif
