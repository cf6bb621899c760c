/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Dispatch of port and memory-mapped accesses to devices. A machine has two buses, `pio` and `mmio`.
 *
 * Any vCPU thread calls bus_read()/bus_write(); handlers therefore run on any vCPU thread, several at
 * once, and a device takes its own lock. The bus holds no lock while a handler runs. A region lives as
 * long as its device, which lives as long as the vCPUs: a handler may still be running when
 * bus_remove() returns, with the offset that was right when it was found. `base` is constant while the
 * region is on the bus; it may change, and the region be added again, in between.
 *
 * Accesses that are wider than a region's `max_width`, or that leave it, are split into bytes at rising
 * addresses, as an ISA bus does. What nobody claims reads as all ones, and writes to it are dropped.
 */
#ifndef LKVM_BUS_H
#define LKVM_BUS_H

#include <pthread.h>
#include <stdint.h>

struct bus_region {
	const char *name;
	uint64_t base;
	uint64_t size;          /* not 0; base + size does not wrap */
	unsigned int max_width; /* widest access the handlers take: 1, 2, 4 or 8 bytes */
	/* `off` < size, `off + width` <= size, width is 1, 2, 4 or 8. Values are little-endian numbers. */
	uint64_t (*read)(struct bus_region *r, uint64_t off, unsigned int width);
	void (*write)(struct bus_region *r, uint64_t off, unsigned int width, uint64_t value);
};

#define BUS_REGIONS_MAX 256

struct bus {
	pthread_rwlock_t lock;
	struct bus_region *regions[BUS_REGIONS_MAX]; /* ascending by base, disjoint */
	unsigned int nr;
};

void bus_init(struct bus *bus);
void bus_release(struct bus *bus);

/* -EEXIST when it overlaps another region, -ENOSPC when the table is full. Storage is the caller's. */
int bus_add(struct bus *bus, struct bus_region *r) __attribute__((warn_unused_result));
void bus_remove(struct bus *bus, struct bus_region *r); /* no-op when it is not there */

/* `len` is 1 to 8. */
void bus_read(struct bus *bus, uint64_t addr, void *data, unsigned int len);
void bus_write(struct bus *bus, uint64_t addr, const void *data, unsigned int len);

#endif
