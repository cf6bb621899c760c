/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A request's list of buffers, taken from its front as bytes are transferred.
 */
#ifndef LKVM_BLOCK_IOV_H
#define LKVM_BLOCK_IOV_H

#include <lkvm/block/backend.h>

struct blk_iov {
	struct iovec *iov;
	unsigned int nr;
};

/* Drops `len` bytes, at most what is there, and buffers that are empty. */
void blk_iov_advance(struct blk_iov *v, uint64_t len);

/*
 * The first `len` bytes as a list of their own in the same array: the buffer that the cut goes through is
 * shortened, and blk_iov_uncut() gives the rest, whatever was done to the first part meanwhile.
 */
struct blk_iov_cut {
	struct blk_iov rest;
	struct iovec split; /* the rest's first buffer when the cut goes through one, else empty */
};

struct blk_iov blk_iov_cut(struct blk_iov v, uint64_t len, struct blk_iov_cut *cut);
struct blk_iov blk_iov_uncut(const struct blk_iov_cut *cut);

/* Between `buf` and the first `len` bytes of `v`, which stays as it is. */
void blk_iov_read(struct blk_iov v, void *buf, uint64_t len);
void blk_iov_write(struct blk_iov v, const void *buf, uint64_t len);
void blk_iov_zero(struct blk_iov v);

/* Whether every address and length is a multiple of `align`, a power of two. */
bool blk_iov_aligned(struct blk_iov v, uint64_t align);

#endif
