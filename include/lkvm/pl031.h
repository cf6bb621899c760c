/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A clock that counts seconds: PL031. Source: Arm PrimeCell Real Time Clock technical reference manual (DDI 0224).
 *
 * The time is the host's CLOCK_REALTIME in UTC plus what the guest set it off by. The alarm's interrupt is not wired, so
 * its registers only keep what is written, and the raw status tells when the alarm is due.
 *
 * Ownership: storage is the caller's and outlives the vCPUs. Threads: any vCPU's; `lock` is a leaf.
 */
#ifndef LKVM_PL031_H
#define LKVM_PL031_H

#include <pthread.h>
#include <stdint.h>

#include <lkvm/bus.h>
#include <lkvm/err.h>

#define PL031_LEN 4096

struct pl031 {
	struct bus_region region;
	struct bus *mmio;
	uint64_t (*now_s)(void); /* CLOCK_REALTIME; a test may replace it after pl031_init() */

	pthread_mutex_t lock; /* everything below */
	uint32_t offset;      /* guest's time less the host's */
	uint32_t load, match, mask;
};

/* Claims [gpa, gpa + PL031_LEN). ERR_INTERNAL when it is taken. */
int pl031_init(struct pl031 *p, struct bus *mmio, uint64_t gpa, struct err *err);
void pl031_release(struct pl031 *p);

#endif
