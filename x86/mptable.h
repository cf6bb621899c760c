/* SPDX-License-Identifier: GPL-2.0 */
/*
 * MP configuration table for guests without ACPI. Source: Intel MultiProcessor Specification 1.4.
 *
 * ISA interrupt n is pin n of the IOAPIC, interrupt 0 included: that is how KVM's own interrupt
 * controllers are wired. A kernel with ACPI ignores the table but finds the pointer at once, where
 * without one Linux searches 64 KiB in steps of 16 bytes, each mapped on its own: so it is worth
 * having with ACPI too.
 */
#ifndef LKVM_X86_MPTABLE_H
#define LKVM_X86_MPTABLE_H

#include <lkvm/err.h>

struct gmem;

/*
 * Floating pointer in the EBDA, table at GPA_MPTABLE: CPUs, ISA and PCI buses, IOAPIC, all interrupts.
 * At most 254 CPUs. Returns 0 or -errno; every failure is ERR_INTERNAL.
 */
int mptable_build(const struct gmem *gm, unsigned int cpus_nr, struct err *err);

#endif
