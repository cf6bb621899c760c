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
 *
 * A write, and whatever else changes the image, that is done before a flush is submitted on any channel is
 * stable when that flush is done with 0. Once the host has failed to make something stable, every later
 * flush fails: what was lost cannot be told any more.
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
	struct iovec *iov; /* the backend may change the pointer and the array */
	unsigned int iov_nr; /* any number; the backend changes it */
	/*
	 * 0 or -errno. A short read or write is an error: all or nothing was asked for. It may submit again,
	 * also this request.
	 */
	void (*done)(struct blk_request *r, int ret);

	/* The backend's, from submit() to done(). */
	struct blk_channel *channel;
	struct blk_request *next;
	struct iovec one; /* a step's own buffer: a part of a bounce buffer, or zeros */
	void *bounce;
	uint64_t progress; /* bytes that are transferred */
	uint32_t epoch;    /* the channel's count of cancels when it came */
	uint32_t step;
	int64_t res; /* of a step: bytes or -errno */
};

struct blk_info {
	uint64_t size;       /* bytes, whole blocks */
	uint32_t block_size; /* what requests are multiples of: 512 or 4096 */
	/* Bytes, a power of two: what the host writes at once; 0: block_size. */
	uint32_t physical_size;
	bool readonly; /* whatever changes the image is done with -EROFS */
	bool flush;    /* there is a cache to flush */
	bool discard;  /* discards, and zeroes with `unmap`, free blocks */
	bool write_zeroes;
	/* Bytes, a multiple of block_size: the unit in which blocks are freed. */
	uint32_t discard_align;
	bool one_channel; /* the format takes one: all queues of the disk share a loop */
};

struct blk_backend_ops {
	const char *name;
	void (*info)(const struct blk_backend *be, struct blk_info *info);
	/*
	 * For `loop`; called before its thread runs or on it. `depth` requests are served at once, more may
	 * be submitted and wait. NULL and a sentence when it cannot be had.
	 */
	struct blk_channel *(*channel_open)(struct blk_backend *be, struct loop *loop,
					    unsigned int depth, struct err *err);
	void (*submit)(struct blk_channel *ch, struct blk_request *r);
	/* End of a batch: what submit() held back starts now. Needed after each submit(), also in done(). */
	void (*kick)(struct blk_channel *ch);
	/*
	 * Ends what can be ended early (-ECANCELED), perhaps before it returns; the rest comes back when it
	 * comes back. Requests that are submitted later are not concerned.
	 */
	void (*cancel)(struct blk_channel *ch);
	/*
	 * Nothing is in flight. On the loop and outside done(), or while nobody runs it. Waits for idle
	 * threads to end.
	 */
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
