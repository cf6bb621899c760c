/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Raw images: byte N of the disk is byte N of the file. Reads and writes go through io_uring, or through
 * worker threads where that is refused; what the page cache can answer at once is answered at once.
 */
#ifndef LKVM_BLOCK_RAW_H
#define LKVM_BLOCK_RAW_H

#include <lkvm/block/backend.h>

#include "file.h"

/* Returns 0, or -errno and a sentence. */
int blk_raw_open(struct blk_backend **out, const struct blk_file_opts *o, struct err *err);

/* A disk of zeros in a file without a name. */
int blk_raw_open_temp(struct blk_backend **out, uint64_t size, uint32_t block_size,
		      const struct log *log, struct err *err);

/* For tests, before the first channel: never io_uring; nothing at once on the loop. */
struct blk_raw_tuning {
	bool threads, no_inline;
};

void blk_raw_tune(struct blk_backend *be, struct blk_raw_tuning tuning);

#endif
