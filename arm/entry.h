/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a loader and the machine ask of the vCPUs, and cpu.c does.
 */
#ifndef LKVM_ARM_ENTRY_H
#define LKVM_ARM_ENTRY_H

#include <stdbool.h>
#include <stdint.h>

struct err;
struct kvm;
struct vcpu;

/* Sizes of pages as an Image's header counts them. */
enum arm_pages { ARM_PAGES_UNKNOWN, ARM_PAGES_4K, ARM_PAGES_16K, ARM_PAGES_64K };

/* What a guest's CPU can do. */
struct arm_cpu {
	unsigned int pages; /* bits of 1 << enum arm_pages */
	bool big_endian;
};

/*
 * Sets up a vCPU with what the host's CPUs have (vector lengths, pointer authentication), and counters of its own where
 * `pmu` is set. Those but the first wait for PSCI to start them. Before the interrupt controller is made.
 */
int arm_vcpu_setup(struct vcpu *vcpu, bool pmu, struct err *err);
/* Connects its counters. After that. */
int arm_vcpu_start_pmu(struct vcpu *vcpu, struct err *err);

/* Once it is set up. */
int arm_vcpu_facts(struct vcpu *vcpu, struct arm_cpu *cpu, struct err *err);
/* The affinity that names it in the device tree and to PSCI. */
int arm_vcpu_affinity(struct vcpu *vcpu, uint32_t *affinity, struct err *err);

/* booting.rst: the primary CPU is at `pc` with the tree's address in x0. */
int arm_entry_set(struct vcpu *vcpu, uint64_t pc, uint64_t dtb, struct err *err);

/* Bits of a guest-physical address. */
unsigned int arm_ipa_bits(const struct kvm *kvm);

#endif
