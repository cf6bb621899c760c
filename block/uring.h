/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A channel's io_uring. liburing is loaded when the first ring is made: linking it would cost every start
 * of lkvm what only a run with a disk needs.
 *
 * Everything runs on the channel's loop. Completions are looked for when the ring's descriptor says so.
 */
#ifndef LKVM_BLOCK_URING_H
#define LKVM_BLOCK_URING_H

#include "io.h"

struct blk_uring;

/*
 * A ring for one file and at most `depth` steps at a time. NULL when the library is not installed, or the
 * kernel refuses or is too old (before Linux 5.6), with the reason in `why`.
 */
struct blk_uring *blk_uring_new(struct loop *loop, const struct blk_io_user *user, void *owner,
				int fd, unsigned int depth, struct err *why);
/* Nothing is in flight. */
void blk_uring_free(struct blk_uring *u);

/* Holds the step that `r` stands at until the kick; false: the ring is full, or has no such call. */
bool blk_uring_push(struct blk_uring *u, struct blk_request *r);
bool blk_uring_has_room(const struct blk_uring *u);
/* Starts what was pushed. */
void blk_uring_kick(struct blk_uring *u);
/* What has ended: step_done() for each. What was submitted and served at once has. */
void blk_uring_reap(struct blk_uring *u);
/* Asks the kernel to end early what it can: done later, with -ECANCELED or -EINTR. */
void blk_uring_cancel(struct blk_uring *u);

#endif
