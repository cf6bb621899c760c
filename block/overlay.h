/* SPDX-License-Identifier: GPL-2.0 */
/*
 * An image of which only reads are made, under a file without a name that takes the writes and vanishes
 * with its last descriptor. So any number of runs share one image, each with its own writes.
 *
 * One bit a block says where the block is. A block moves to the upper file when a write of it has ended,
 * so what is read while it is written is the one or the other, as on any disk. Nothing is copied up: a
 * block is the smallest thing that is written.
 */
#ifndef LKVM_BLOCK_OVERLAY_H
#define LKVM_BLOCK_OVERLAY_H

#include <lkvm/block/backend.h>

/*
 * Makes both of `lower` and `upper` its own, also when it fails; they have the same size and block size.
 * Nothing outlives the run, so a flush has nothing to do. Returns 0, or -errno and a sentence.
 */
int blk_overlay_new(struct blk_backend **out, struct blk_backend *lower, struct blk_backend *upper,
		    struct err *err);

#endif
