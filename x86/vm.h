/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the platform half of x86/ keeps for a VM. Private to cpu.c and irqchip.c.
 */
#ifndef LKVM_X86_VM_H
#define LKVM_X86_VM_H

#include <stdbool.h>

struct kvm_cpuid2;

struct arch_vm {
	struct kvm_cpuid2
		*cpuid; /* KVM_GET_SUPPORTED_CPUID, asked once: it is slow where CPUID traps */
	unsigned int cpuid_max; /* entries that fit */
	bool tsc_deadline;      /* KVM_CAP_TSC_DEADLINE_TIMER */
};

#endif
