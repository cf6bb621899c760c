/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Makes the backend of one disk from what its option says. The layers, from the guest down: the fault
 * plan, the ephemeral overlay, the image.
 *
 * Nothing is probed: an image is raw. One that starts like another format is refused unless `format`
 * says "raw", because a guest can write such a start into its own disk.
 */
#ifndef LKVM_BLOCK_OPEN_H
#define LKVM_BLOCK_OPEN_H

#include <stdbool.h>
#include <stdint.h>

#include <lkvm/block/backend.h>

struct blk_open_opts {
	const char *path;    /* a regular file or a block device */
	bool ro;             /* the guest may only read; together with `overlay` a contradiction */
	bool direct;         /* O_DIRECT; with `overlay` for the image alone */
	const char *format;  /* NULL: not given; "raw" takes the bytes as they are */
	bool overlay;        /* writes go to an unlinked file and vanish; the image is only read */
	const char *fault;   /* a fault plan (block/fault.h has its grammar), NULL: none */
	uint32_t block_size; /* 512 or 4096 */
};

/*
 * Returns 0, or -errno and one sentence: ERR_USAGE for an option or an image that cannot be right,
 * ERR_HOST when the host refuses or somebody else uses the image. `o` is not needed afterwards; `log` is.
 * The image is locked (OFD) until close: exclusively for writing, shared for reading.
 */
int blk_open(struct blk_backend **out, const struct blk_open_opts *o, const struct log *log,
	     struct err *err);

#endif
