/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the kernel cache learned by reading an image and its entry as a whole, so that the next boot need
 * not read them again to know that they are the same.
 *
 * A stamp is what the file system says of a file. Whoever writes to a file changes its ctime, which
 * nobody can set back, so equal stamps mean equal content; but a clock has ticks, and a file may change
 * twice in one. So a stamp counts only when it was KINDEX_SETTLE_NS old when the content was read.
 * The index is a convenience like the cache: a file that is missing, damaged or of another version is
 * nothing learned.
 */
#ifndef LKVM_KINDEX_H
#define LKVM_KINDEX_H

#include <stdbool.h>
#include <stdint.h>

#include <lkvm/util.h>

#define KINDEX_SETTLE_NS NSEC_PER_SEC

struct kstamp {
	uint64_t dev, ino, size;
	uint64_t mtime_ns, ctime_ns;
};

struct kindex {
	struct kstamp image, entry;
	uint8_t key[16];  /* kcache_key() of the image */
	uint64_t read_ns; /* CLOCK_REALTIME before the first of both was read */
};

/* Of a regular file; -errno when there is none. */
int kstamp_fd(int fd, struct kstamp *stamp);
bool kstamp_equal(const struct kstamp *a, const struct kstamp *b);

uint64_t kindex_now_ns(void); /* for read_ns */

/* What is known of the image with this stamp: 0, or -ENOENT. */
int kindex_load(const char *dir, const struct kstamp *image, struct kindex *ix);
/* Keeps it, if the stamps are old enough to count. The directory is the cache's, and exists. */
void kindex_store(const char *dir, const struct kindex *ix);

#endif
