/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The pvpanic port: a guest kernel says that it panicked. Source: QEMU's docs/specs/pvpanic.rst, which
 * defines the interface; Linux finds the port by the ACPI id QEMU0001.
 *
 * A read gives the events that are understood. A write reports: bit 0 a panic, which is noted while the
 * VM goes on to print its last words; bit 1 that a crash kernel was loaded and takes over, which is
 * logged and is no outcome.
 *
 * Ownership: storage is the caller's and outlives the vCPUs. Threads: any; it has no state of its own.
 */
#ifndef LKVM_PVPANIC_H
#define LKVM_PVPANIC_H

#include <stdint.h>

#include <lkvm/bus.h>
#include <lkvm/err.h>
#include <lkvm/log.h>

struct stop;

#define PVPANIC_PANICKED     0x01
#define PVPANIC_CRASH_LOADED 0x02

struct pvpanic {
	struct bus_region region;
	struct bus *pio;
	struct stop *stop;
	const struct log *log;
	struct log_limit limit;
};

/* Claims one port. ERR_INTERNAL when it is taken. `log` may be NULL. */
int pvpanic_init(struct pvpanic *p, struct bus *pio, uint16_t port, struct stop *stop,
		 const struct log *log, struct err *err);
void pvpanic_release(struct pvpanic *p);

#endif
