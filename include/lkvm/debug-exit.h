/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The --debug-exit port: a byte written to it ends the VM with that byte as its status. It is for
 * guests that have no other way to return one, such as test kernels.
 *
 * One byte wide: the low byte of a wider write counts, the rest goes to the ports that follow. Reads
 * as 0, which says that something answers here.
 *
 * Ownership: storage is the caller's and outlives the vCPUs. Threads: any; it has no state.
 */
#ifndef LKVM_DEBUG_EXIT_H
#define LKVM_DEBUG_EXIT_H

#include <stdint.h>

#include <lkvm/bus.h>
#include <lkvm/err.h>

struct stop;

struct debug_exit {
	struct bus_region region;
	struct bus *pio;
	struct stop *stop;
};

/* Claims one port. ERR_USAGE when it is taken: the port is the user's choice. Call it last. */
int debug_exit_init(struct debug_exit *d, struct bus *pio, uint16_t port, struct stop *stop,
		    struct err *err);
void debug_exit_release(struct debug_exit *d);

#endif
