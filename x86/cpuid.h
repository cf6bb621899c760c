/* SPDX-License-Identifier: GPL-2.0 */
/*
 * From what KVM supports to what one vCPU is told: topology, APIC ids, the hypervisor leaves.
 * Source: Intel SDM volume 2A (CPUID), AMD APM volume 3 appendix E, Documentation/virt/kvm/x86/cpuid.rst.
 *
 * Everything that KVM reports is passed on, but for what tells of the host's topology, of idle states
 * the guest does not have, and of multiprocessing on a machine with one CPU.
 */
#ifndef LKVM_X86_CPUID_H
#define LKVM_X86_CPUID_H

#include <stdbool.h>

struct kvm_cpuid2;

/* Entries that cpuid_filter() may add; and the most that KVM_SET_CPUID2 takes. */
#define CPUID_ADDED_MAX   6
#define CPUID_ENTRIES_MAX 256

/*
 * Edits the entries of KVM_GET_SUPPORTED_CPUID in place for vCPU `id` of `cpus_nr`: one package, one
 * thread a core, APIC id = id. The leaves of the x2APIC topology are written anew; there is room for
 * `nent_max` entries. `tsc_deadline` is KVM_CHECK_EXTENSION(KVM_CAP_TSC_DEADLINE_TIMER), which older
 * KVMs do not report in the entries. Returns 0 or -E2BIG.
 */
int cpuid_filter(struct kvm_cpuid2 *cpuid, unsigned int nent_max, unsigned int id,
		 unsigned int cpus_nr, bool tsc_deadline);

/* Bits of a guest-physical address. */
unsigned int cpuid_phys_bits(const struct kvm_cpuid2 *cpuid);

#endif
