/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Disk images, behind one table. Data arrives as iovecs; a backend knows no guest memory and no virtio.
 *
 * An image is opened once and used through channels. A channel belongs to one loop: everything about it is
 * called on that loop, and `done` comes back on it, exactly once for each request, in any order, perhaps
 * before submit() returns. submit() never fails and never blocks; a request that cannot be served is done
 * with a negative errno. Submitted requests may be held until `kick`, so that a batch is one system call.
 *
 * The device has checked a request: offset and length are inside the image and multiples of the block
 * size. Whoever submits keeps the request and its buffers until `done`.
 */
#ifndef LKVM_BLOCK_BACKEND_H
#define LKVM_BLOCK_BACKEND_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include <lkvm/err.h>
#include <lkvm/log.h>
#include <lkvm/loop.h>

struct blk_backend;
struct blk_channel;

enum blk_op { BLK_READ, BLK_WRITE, BLK_FLUSH, BLK_DISCARD, BLK_WRITE_ZEROES };

struct blk_request {
	enum blk_op op;
	bool fua;          /* BLK_WRITE, BLK_WRITE_ZEROES, BLK_DISCARD: stable before it is done */
	bool unmap;        /* BLK_WRITE_ZEROES: may free the blocks */
	uint64_t off;      /* bytes */
	uint64_t len;      /* bytes; for reads and writes the iovecs' sum. 0 for a flush */
	struct iovec *iov; /* the backend may change it */
	unsigned int iov_nr;
	/* 0 or -errno. A short read or write is an error: all or nothing was asked for. */
	void (*done)(struct blk_request *r, int ret);

	/* The backend's, from submit() to done(). */
	struct blk_channel *channel;
	struct blk_request *next;
	struct iovec one;
	void *bounce;
	uint64_t progress;
	int ret;
};

struct blk_info {
	uint64_t size;       /* bytes, whole blocks */
	uint32_t block_size; /* what requests are multiples of: 512 or 4096 */
	uint32_t
		physical_size; /* bytes, a power of two: what the host writes at once; 0: block_size */
	bool readonly;
	bool flush; /* there is a cache to flush */
	bool discard, write_zeroes;
	uint32_t discard_align; /* bytes; the unit in which blocks are really freed */
	bool one_channel;       /* the format takes one: all queues of the disk share a loop */
};

struct blk_backend_ops {
	const char *name;
	void (*info)(const struct blk_backend *be, struct blk_info *info);
	/* For `loop`; called before its thread runs or on it. NULL and a sentence when it cannot be had. */
	struct blk_channel *(*channel_open)(struct blk_backend *be, struct loop *loop,
					    unsigned int depth, struct err *err);
	void (*submit)(struct blk_channel *ch, struct blk_request *r);
	/* End of a batch: what submit() held back starts now. */
	void (*kick)(struct blk_channel *ch);
	/* Ends what can be ended early (-ECANCELED); the rest comes back when it comes back. */
	void (*cancel)(struct blk_channel *ch);
	/* Nothing is in flight. */
	void (*channel_close)(struct blk_channel *ch);
	/* No channel is open. Frees it. */
	void (*close)(struct blk_backend *be);
};

struct blk_backend {
	const struct blk_backend_ops *ops;
};

struct blk_channel {
	struct blk_backend *be;
	struct loop *loop;
};

#endif
