/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the platform half of x86/ and arm/ gives to the code that is the same for both. The linker picks
 * the implementation; nothing outside x86/ and arm/ tests the architecture.
 */
#ifndef LKVM_ARCH_H
#define LKVM_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct err;
struct gmem;
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

/* The four that follow: of a vCPU that is not in KVM_RUN. */

/* Prints the registers. */
void arch_vcpu_dump(struct vcpu *vcpu, FILE *out);

/* Where it executes and where its stack is; false: it was never started, or KVM does not say. */
bool arch_vcpu_where(struct vcpu *vcpu, uint64_t *pc, uint64_t *sp);

/*
 * Reads guest memory by a virtual address, as the vCPU's page tables have it now. Returns how many bytes could be
 * read, up to the first page that is not there or not RAM.
 */
size_t arch_vcpu_read(struct vcpu *vcpu, const struct gmem *gm, uint64_t vaddr, void *buf,
		      size_t len);

/* Puts the registers where <sys/procfs.h> has them in a core: an elf_gregset_t. False: KVM does not give them. */
bool arch_vcpu_core_regs(struct vcpu *vcpu, void *gregs);

/* The return address that a word of a stack is, if it is one: without what signs it. */
uint64_t arch_return_address(uint64_t word);

/* An address that may be kernel code, for want of symbols. */
bool arch_may_be_kernel_code(uint64_t addr);

/*
 * Stops the vCPU with KVM_EXIT_DEBUG before it executes what is at a virtual address; 0: no longer. The guest's own
 * breakpoints do not work meanwhile. On the vCPU's thread or before it starts. Returns 0 or -errno.
 */
int arch_vcpu_break_at(struct vcpu *vcpu, uint64_t vaddr);

/*
 * After KVM_EXIT_DEBUG: whether it is that breakpoint. While one is set the guest's own single steps end there as well:
 * they are given back to the guest.
 */
bool arch_vcpu_is_at_break(struct vcpu *vcpu, uint64_t vaddr);

/* Parts of guest memory as the kernel sees them. */
struct arch_map {
	uint64_t vaddr, gpa, len;
};
#define ARCH_MAPS_MAX 2

/*
 * Linux's mapping of all RAM (the first of them) and of its own image, if the vCPU's page tables have them where a
 * kernel without address randomization has them. Returns how many.
 */
unsigned int arch_vcpu_kernel_maps(struct vcpu *vcpu, const struct gmem *gm,
				   struct arch_map maps[ARCH_MAPS_MAX]);

extern const uint16_t arch_elf_machine; /* EM_* */

#endif
