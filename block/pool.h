/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Worker threads that make a channel's blocking calls, where io_uring is refused or has no such call.
 * Started when there is work and nobody idle, up to BLK_POOL_MAX; joined by blk_pool_free().
 *
 * All but the workers' own part runs on the channel's loop, which is never blocked.
 */
#ifndef LKVM_BLOCK_POOL_H
#define LKVM_BLOCK_POOL_H

#include "io.h"

#define BLK_POOL_MAX 8

struct blk_pool;

/* NULL: no memory. */
struct blk_pool *blk_pool_new(struct loop *loop, const struct blk_io_user *user, void *owner);
/* Nothing is in flight. */
void blk_pool_free(struct blk_pool *pool);

/* Runs the step that `r` stands at; step_done() comes later. */
void blk_pool_push(struct blk_pool *pool, struct blk_request *r);
/* What no worker has begun is done with -ECANCELED, later. */
void blk_pool_cancel(struct blk_pool *pool);

#endif
