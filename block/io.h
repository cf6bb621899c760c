/* SPDX-License-Identifier: GPL-2.0 */
/*
 * One step of a request as a system call, and how the engines get at it. An engine runs steps in any
 * order, side by side, and knows nothing of what comes before or after one.
 */
#ifndef LKVM_BLOCK_IO_H
#define LKVM_BLOCK_IO_H

#include <stddef.h>
#include <stdint.h>

#include <lkvm/block/backend.h>

enum blk_io_kind {
	BLK_IO_READ,      /* preadv2(2) */
	BLK_IO_WRITE,     /* pwritev2(2) */
	BLK_IO_SYNC,      /* fdatasync(2) */
	BLK_IO_FALLOCATE, /* fallocate(2) */
	BLK_IO_DISCARD,   /* ioctl(BLKDISCARD) */
};

struct blk_io {
	enum blk_io_kind kind;
	int fd;
	int flags; /* RWF_... or FALLOC_FL_... */
	struct iovec *iov;
	unsigned int iov_nr; /* at most IOV_MAX */
	uint64_t off, len;   /* bytes */
};

/* For engines: what they ask, and tell, about a request. `owner` is who made the engine. */
struct blk_io_user {
	/* Any thread: the step that `r` stands at. */
	void (*describe)(struct blk_request *r, struct blk_io *io);
	/* On the channel's loop, once for each request that was pushed: r->res is bytes or -errno. */
	void (*step_done)(struct blk_request *r);
	/* After the last of some that ended together. */
	void (*batch_done)(void *owner);
};

/* A list of requests, first in, first out. */
struct blk_list {
	struct blk_request *first, **tail; /* tail: NULL while it is empty for the first time */
};

static inline void blk_list_add(struct blk_list *l, struct blk_request *r)
{
	r->next = NULL;
	if (!l->first)
		l->tail = &l->first;
	*l->tail = r;
	l->tail = &r->next;
}

static inline struct blk_request *blk_list_take(struct blk_list *l)
{
	struct blk_request *r = l->first;

	if (r)
		l->first = r->next;
	return r;
}

/* Moves what is in `from` to the end of `l`. */
static inline void blk_list_splice(struct blk_list *l, struct blk_list *from)
{
	if (!from->first)
		return;
	*(l->first ? l->tail : &l->first) = from->first;
	l->tail = from->tail;
	from->first = NULL;
}

/* Makes the call here and now; EINTR is retried. Returns bytes, 0 or -errno. */
int64_t blk_io_run(const struct blk_io *io);

#endif
