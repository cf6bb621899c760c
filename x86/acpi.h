/* SPDX-License-Identifier: GPL-2.0 */
/*
 * ACPI tables for the x86-64 machine, built from nothing in the host's memory and copied to the guest.
 * Source: ACPI specification 6.5, chapters 5 (tables), 6 (device configuration), 20 (AML encoding); PCI
 * Firmware specification 3.3 (MCFG).
 *
 * The tables are constant data: there is no method in the DSDT, so reading it never makes an exit.
 * An ISA interrupt n is GSI n, interrupt 0 included: that is how KVM's own interrupt controllers are
 * wired, as long as nobody replaces the routing of the first 24 GSIs.
 */
#ifndef LKVM_X86_ACPI_H
#define LKVM_X86_ACPI_H

#include <stdbool.h>
#include <stdint.h>

#include <lkvm/err.h>

struct gmem;

struct acpi_config {
	unsigned int cpus_nr;
	bool pci;       /* host bridge with _CRS and _PRT */
	bool ecam;      /* MCFG */
	uint64_t pci64; /* 64-bit PCI window, 0: none */
	uint64_t pci64_len;
	bool pm_timer; /* false: the FADT has no PM timer, which spares Linux the check of it */
	bool pvpanic;
	unsigned int serial_nr; /* COM ports to describe, at most SERIAL_NR */
};

/*
 * Writes RSDP, XSDT, FADT, FACS, MADT, MCFG and DSDT at GPA_ACPI; *rsdp gets the RSDP's address.
 * Returns 0 or -errno; a configuration that cannot be described is ERR_INTERNAL.
 */
int acpi_build(const struct gmem *gm, const struct acpi_config *cfg, uint64_t *rsdp,
	       struct err *err);

#endif
