/* SPDX-License-Identifier: GPL-2.0 */
/*
 * An input file of the user's (a kernel, an initrd, a cache entry) as bytes at offsets.
 *
 * Nothing is mapped: a file that shrinks while it is read gives an error, not a SIGBUS. A source is
 * either a descriptor or memory (a decompressed kernel, a test, a fuzzer's input).
 */
#ifndef LKVM_SRC_H
#define LKVM_SRC_H

#include <stddef.h>
#include <stdint.h>

#include <lkvm/err.h>

struct src {
	const char *name;   /* for errors; not owned */
	const char *what;   /* "kernel", "initrd": for errors */
	int fd;             /* -1 for memory; owned */
	const uint8_t *mem; /* not owned */
	uint64_t size;      /* bytes when opened */
};

/*
 * Opens a regular file for reading. A missing or unreadable file is ERR_HOST; a directory, a device or
 * FIFO, and an empty file are ERR_USAGE.
 */
int src_open(struct src *src, const char *what, const char *path, struct err *err);
void src_init_mem(struct src *src, const char *what, const char *name, const void *mem, size_t len);
void src_release(struct src *src);

/* Reads exactly `len` bytes at `off`; a range outside the file is ERR_USAGE ("... is cut short"). */
int src_read(const struct src *src, uint64_t off, void *buf, size_t len, struct err *err)
	__attribute__((warn_unused_result));

/*
 * The whole of a regular file, which may be empty, in memory that is the caller's to free and has room for one more byte.
 * More than `max` bytes: ERR_USAGE.
 */
int src_read_file(const char *what, const char *path, uint64_t max, uint8_t **data, size_t *len,
		  struct err *err);

#endif
