/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The AML of the DSDT: which devices the machine has and what they use. Private to acpi.c.
 */
#ifndef LKVM_X86_DSDT_H
#define LKVM_X86_DSDT_H

struct acpi_config;
struct aml;

/* Appends the content of the DSDT, without its header. `cfg` was checked by acpi_build(). */
void dsdt_put(struct aml *a, const struct acpi_config *cfg);

#endif
