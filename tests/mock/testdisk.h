/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A disk image in memory whose answers are in a test's hands: at once, at the kick, later, when the test says
 * so, with an error, half done, or never. It keeps what is stable apart from what was written, so that a test
 * can cut the power at any step, and it fails the test when a request breaks the contract of block/backend.h.
 */
#ifndef LKVM_TESTS_TESTDISK_H
#define LKVM_TESTS_TESTDISK_H

#include <pthread.h>
#include <stdatomic.h>

#include <lkvm/block/backend.h>

#include "arena.h"

#define TESTDISK_CHANNELS 8
#define TESTDISK_OPS      4096

enum testdisk_mode {
	TESTDISK_KICK, /* at the channel's kick; the default */
	TESTDISK_NOW,  /* in submit() */
	TESTDISK_POST, /* in the loop's next turn */
	TESTDISK_HOLD, /* by testdisk_finish() */
};

/* What it was asked, in the order of asking. */
struct testdisk_op {
	enum blk_op op;
	uint64_t off, len;
	bool fua, unmap;
	unsigned int iov_nr, channel;
};

struct testdisk_channel {
	struct blk_channel ch;
	struct testdisk *disk;
	unsigned int index, depth;
	bool open;
	struct blk_request **fresh, **held,
		**done; /* not kicked; started; to be answered with `ret` */
	unsigned int fresh_nr, held_nr, done_nr;
	_Atomic uint32_t kicks, cancels;
	struct loop_post post;
};

struct testdisk {
	struct blk_backend be;
	struct blk_info info;
	uint8_t *bytes, *stable; /* as read now; as after a power cut */
	_Atomic enum testdisk_mode mode;
	bool deaf;             /* cancel() ends nothing */
	_Atomic uint32_t fail; /* the next so many requests end with -EIO */
	_Atomic uint32_t part; /* and have moved so many bytes before */
	unsigned int room;     /* channels that can be had */
	void (*on_submit)(struct testdisk *d, struct blk_request *r); /* of the test; on the loop */
	pthread_mutex_t lock;
	struct testdisk_op ops[TESTDISK_OPS];
	unsigned int ops_nr;
	unsigned int channels_nr, open_nr;
	struct testdisk_channel channels[TESTDISK_CHANNELS];
};

/* `info` says what it is; its size in bytes is what is made. Filled with a pattern of each sector's number. */
void testdisk_init(struct testdisk *d, const struct blk_info *info);
void testdisk_release(struct testdisk *d);
/* What a sector holds before it is written. */
void testdisk_pattern(uint64_t sector, uint8_t bytes[512]);

unsigned int testdisk_held(struct testdisk *d);
/* Ends the i-th request that is held, counted over all channels. Any thread. */
void testdisk_finish(struct testdisk *d, unsigned int i, int ret);
void testdisk_finish_all(struct testdisk *d, int ret);
/* Something is on its way to a loop. While no thread serves it. */
bool testdisk_busy(const struct testdisk *d);
unsigned int testdisk_count(struct testdisk *d, enum blk_op op);

#endif
