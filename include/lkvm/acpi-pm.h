/* SPDX-License-Identifier: GPL-2.0 */
/*
 * ACPI fixed hardware: power management events, sleep control and the PM timer, in one block of ports.
 * Source: ACPI specification 6.5, section 4.8.3 ("Fixed Hardware Registers").
 *
 *   +0  PM1a_EVT_BLK  status (2 bytes, cleared by writing ones), enable (2)
 *   +4  PM1a_CNT_BLK  control (2)
 *   +8  PM_TMR_BLK    timer (4)
 *
 * The platform is always in ACPI mode: SCI_EN reads as one, so the FADT has no SMI_CMD. SLP_EN with
 * SLP_TYP ACPI_PM_S5 powers off; other types are ignored, as the DSDT offers none. The timer counts 32
 * bits at 3.579545 MHz from acpi_pm_init() on CLOCK_MONOTONIC: the FADT sets TMR_VAL_EXT (flag bit 8)
 * and PM_TMR_LEN 4. TMR_STS never comes on: nothing needs it with 32 bits.
 *
 * Ownership: storage is the caller's and outlives the vCPUs. Threads: registers on any vCPU thread,
 * acpi_pm_power_button() on any. `lock` is a leaf but for the interrupt line; the power-off request is
 * made without it.
 */
#ifndef LKVM_ACPI_PM_H
#define LKVM_ACPI_PM_H

#include <pthread.h>
#include <stdint.h>

#include <lkvm/bus.h>
#include <lkvm/err.h>
#include <lkvm/irq.h>

struct stop;

#define ACPI_PM_S5      5 /* what the DSDT's \_S5 package names */
#define ACPI_PM_EVT     0 /* offsets of the blocks, and their lengths in the FADT */
#define ACPI_PM_EVT_LEN 4
#define ACPI_PM_CNT     4
#define ACPI_PM_CNT_LEN 2
#define ACPI_PM_TMR     8
#define ACPI_PM_TMR_LEN 4
#define ACPI_PM_LEN     12
#define ACPI_PM_TMR_HZ  3579545

struct acpi_pm {
	struct bus_region region;
	struct bus *pio;
	struct stop *stop;
	uint64_t start_ns;

	pthread_mutex_t lock; /* everything below */
	struct irq_line sci;  /* level-triggered */
	uint16_t status, enable, control;
};

/* Claims [port, port + ACPI_PM_LEN). ERR_INTERNAL when they are taken. */
int acpi_pm_init(struct acpi_pm *pm, struct bus *pio, uint16_t port, struct kvm *kvm,
		 uint32_t sci_gsi, struct stop *stop, struct err *err);
void acpi_pm_release(struct acpi_pm *pm);

/* Presses the power button: a guest that handles it powers off in its own time, or never. */
void acpi_pm_power_button(struct acpi_pm *pm);

#endif
