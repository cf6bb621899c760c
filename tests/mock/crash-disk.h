/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A disk in memory whose power can be cut. What was written is kept apart from what was made stable: a
 * flush makes every write stable that was done before it, a write with `fua` itself. Of the rest any
 * subset survives a cut, sector by sector of 512 bytes, whatever the block size.
 *
 * Each request is a step. At the step that cuts the power the request may be served in part, and is done
 * with -EIO, as is everything later. With `hold`, requests wait until the test serves them, in any order.
 * One thread, one channel.
 */
#ifndef LKVM_TESTS_CRASH_DISK_H
#define LKVM_TESTS_CRASH_DISK_H

#include <lkvm/block/backend.h>

struct crash_write {
	uint64_t off, len;
	uint8_t *data;
};

struct crash_disk {
	struct blk_backend be;
	struct blk_channel ch;
	struct blk_info info;
	uint8_t *now;               /* what reads see */
	uint8_t *stable;            /* what surely survives */
	struct crash_write *writes; /* since then, in order */
	unsigned int writes_nr;
	uint64_t steps, cut_at; /* cut_at 0: never */
	bool dead;
	bool hold;
	struct blk_request *held[256];
	unsigned int held_nr;
	unsigned int kicks, cancels, closes; /* calls */
	bool open;
};

/* The backend is d->be; its close() frees nothing, crash_disk_release() does. */
void crash_disk_init(struct crash_disk *d, uint64_t size, uint32_t block_size);
void crash_disk_release(struct crash_disk *d);

/* Serves the held request of this number; the later ones move up. */
void crash_disk_serve(struct crash_disk *d, unsigned int nr);

/* What the disk has when the power is back, in one of the possible ways. `out` has info.size bytes. */
void crash_disk_survives(const struct crash_disk *d, unsigned int seed, uint8_t *out);

#endif
