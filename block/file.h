/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The file under a disk: a regular file or a block device that was opened, checked, measured and locked.
 * What is learnt about it while it is used (a call that its file system lacks, a failed flush) is kept here
 * for all channels.
 */
#ifndef LKVM_BLOCK_FILE_H
#define LKVM_BLOCK_FILE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <lkvm/err.h>
#include <lkvm/log.h>

struct blk_file_opts {
	const char *path;
	bool ro;
	bool direct;
	bool any_format; /* the user said format=raw: the first bytes are not looked at */
	uint32_t block_size;
	const struct log *log;
};

struct blk_file {
	char *path; /* for messages; owned */
	const struct log *log;
	int fd;
	uint64_t size; /* bytes, whole blocks */
	uint32_t block_size;
	uint32_t discard_align; /* bytes */
	bool readonly;
	bool device;
	bool discard; /* blocks can be freed */
	/*
	 * A file system in memory (tmpfs): its calls wait for no device, just as guest RAM does not, so they
	 * are made where they are asked for.
	 */
	bool memory;
	uint32_t direct_align; /* bytes, of addresses, offsets and lengths; 0: not O_DIRECT */

	_Atomic bool no_nowait;     /* RWF_NOWAIT is not supported */
	_Atomic bool no_punch;      /* nor fallocate(FALLOC_FL_PUNCH_HOLE) */
	_Atomic bool no_zero_range; /* nor fallocate(FALLOC_FL_ZERO_RANGE) */
	_Atomic bool said_threads;  /* the line about io_uring is in the log */
	_Atomic bool flush_failed;
};

/* Returns 0, or -errno and a sentence as blk_open() says. `path` and the rest of `o` are copied. */
int blk_file_open(struct blk_file *f, const struct blk_file_opts *o, struct err *err);

/* An empty file of `size` bytes without a name, in $TMPDIR or /var/tmp; its blocks come as written. */
int blk_file_open_temp(struct blk_file *f, uint64_t size, uint32_t block_size,
		       const struct log *log, struct err *err);

void blk_file_release(struct blk_file *f);

/* The sentence that refuses an image of another format by its first bytes, or 0. */
int blk_file_check_magic(const char *path, const void *head, uint64_t len, struct err *err);

#endif
