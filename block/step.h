/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The steps of a request to a file: which system call is next, and what its end means. One place for
 * short transfers, for what stays to be done after an interruption, for the ways to write zeroes and for
 * stability, whatever engine makes the calls.
 */
#ifndef LKVM_BLOCK_STEP_H
#define LKVM_BLOCK_STEP_H

#include "file.h"
#include "io.h"

/* r->step: where a request stands. */
enum blk_step {
	BLK_STEP_TRANSFER, /* a part of a read or write */
	BLK_STEP_SYNC,     /* a flush, or the end of what must be stable */
	BLK_STEP_DISCARD,
	BLK_STEP_PUNCH,      /* zeroes, by freeing the blocks */
	BLK_STEP_ZERO_RANGE, /* zeroes, by keeping them */
	BLK_STEP_ZERO_WRITE, /* a part of zeroes, by writing them */
};

/* With a step: it would have blocked where it was tried, and needs a thread. */
#define BLK_STEP_BLOCKS 0x100u

/* There is another step; all other results are what a request is done with. */
#define BLK_STEP_MORE 1

/* Puts a request at its first step. */
int blk_step_first(const struct blk_file *f, struct blk_request *r);

/*
 * The call of its step. r->one is the buffer when it is not empty: a part of r->bounce, or zeros.
 * Any thread that has the request.
 */
void blk_step_describe(const struct blk_file *f, struct blk_request *r, struct blk_io *io);

/* Puts it at the next step after a call that ended with r->res. */
int blk_step_end(struct blk_file *f, struct blk_request *r);

/* Bytes that are not transferred yet. */
uint64_t blk_step_rest(const struct blk_request *r);

#endif
