/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A directory of decompressed kernels, so that a second boot of an image skips the decompressor.
 *
 * An entry is named after the content of the whole image (XXH3, 128 bits, which finds changes and is
 * no defence against someone who crafts two images with one hash). It holds the pieces of the kernel
 * that the loader reads, each at its own offset, then a trailer with a checksum over these pieces in
 * the order in which the loader reads them. The loader computes it while it copies, so the data is
 * touched once; it must treat what it read as damaged until kcache_check() says otherwise.
 *
 * The cache is a convenience: no failure here is the user's. Functions return -errno for a debug log,
 * and a damaged entry is a miss. Entries are written to a temporary file and renamed, so any number of
 * processes may use one directory. It must belong to the user and be writable by nobody else, because
 * an entry is trusted to be what the image decompresses to; any other directory is -EPERM.
 */
#ifndef LKVM_KCACHE_H
#define LKVM_KCACHE_H

#include <stddef.h>
#include <stdint.h>

#include <lkvm/kindex.h>
#include <lkvm/src.h>

#define KCACHE_ENTRIES_MAX 8
#define KCACHE_BYTES_MAX   (1ULL << 30) /* on disk, of all entries */

struct kcache_key {
	uint8_t hash[16];
};

/* A piece of a kernel file. */
struct kcache_range {
	uint64_t off, len;
};

/* The caller's storage, between kcache_open() and kcache_close(). */
struct kcache_entry {
	struct src src;      /* the kernel, at the offsets of the original */
	uint64_t sum;        /* of what was read so far */
	uint64_t want;       /* the same from the trailer */
	struct kstamp stamp; /* of the entry's file */
	bool trusted;        /* known to be intact (kindex.h): nothing is summed up */
};

/* The key of an image, from its whole content. Fails when it cannot be read. */
int kcache_key(const struct src *image, struct kcache_key *key, struct err *err);

/* 0, -ENOENT for a miss, or another -errno. A damaged trailer is a miss, and the entry is removed. */
int kcache_open(struct kcache_entry *e, const char *dir, const struct kcache_key *key);
void kcache_close(struct kcache_entry *e);

/*
 * Reads one range like src_read(), and adds it to the checksum. The ranges are those of kcache_store()
 * in the same order. -EBADMSG when the file cannot give them.
 */
int kcache_read(struct kcache_entry *e, uint64_t off, void *buf, uint64_t len)
	__attribute__((warn_unused_result));
/* After kcache_open(), with the stamp of the entry when it was last read and found intact. */
void kcache_trust(struct kcache_entry *e, const struct kstamp *intact);
/* After the last range: 0, or -EBADMSG when anything that was read is not what was stored. */
int kcache_check(const struct kcache_entry *e) __attribute__((warn_unused_result));

/*
 * Stores ranges[0..nr) of the kernel `data`; the ranges lie inside it. Makes the directory when it is
 * missing, removes the entries used longest ago to stay in bounds, and what dead writers left behind.
 */
int kcache_store(const char *dir, const struct kcache_key *key, const void *data,
		 const struct kcache_range *ranges, unsigned int nr);
/* Removes a damaged entry. */
void kcache_remove(const char *dir, const struct kcache_key *key);

#endif
