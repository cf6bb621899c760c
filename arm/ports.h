/* SPDX-License-Identifier: GPL-2.0 */
/*
 * PCI's ports, for a CPU that has none: a window of memory, whose accesses go to the bus of ports at the same offset.
 * The ports below PCI_IO_FIRST are no device's here.
 *
 * Storage is the caller's and outlives the vCPUs. Nothing in it changes.
 */
#ifndef LKVM_ARM_PORTS_H
#define LKVM_ARM_PORTS_H

#include <lkvm/bus.h>
#include <lkvm/err.h>

struct ports {
	struct bus_region region;
	struct bus *mmio, *pio;
};

int ports_init(struct ports *p, struct bus *mmio, struct bus *pio, struct err *err);
void ports_release(struct ports *p);

#endif
