/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <pthread.h>

#include <lkvm/thread.h>
#include <lkvm/util.h>

#include "pool.h"

struct blk_pool {
	struct loop *loop;
	const struct blk_io_user *user;
	void *owner;
	struct loop_post post; /* there is something in `done` */
	pthread_t threads[BLK_POOL_MAX];
	unsigned int threads_nr;

	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t work;
	struct blk_list todo, done;
	unsigned int todo_nr, idle;
	bool stop;
};

static void *worker(void *arg)
{
	struct blk_pool *pool = arg;
	struct blk_request *r;
	struct blk_io io;

	pthread_mutex_lock(&pool->lock);
	for (;;) {
		r = blk_list_take(&pool->todo);
		if (!r && pool->stop)
			break;
		if (!r) {
			pool->idle++;
			pthread_cond_wait(&pool->work, &pool->lock);
			pool->idle--;
			continue;
		}
		pool->todo_nr--;
		pthread_mutex_unlock(&pool->lock);
		pool->user->describe(r, &io);
		r->res = blk_io_run(&io);
		pthread_mutex_lock(&pool->lock);
		blk_list_add(&pool->done, r);
		/* A level: many that end together are one wake-up of the loop. */
		loop_post(pool->loop, &pool->post);
	}
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

static void reap(struct loop_post *p)
{
	struct blk_pool *pool = container_of(p, struct blk_pool, post);
	struct blk_request *r, *next;

	pthread_mutex_lock(&pool->lock);
	r = pool->done.first;
	pool->done.first = NULL;
	pthread_mutex_unlock(&pool->lock);
	for (; r; r = next) {
		next = r->next;
		pool->user->step_done(r);
	}
	pool->user->batch_done(pool->owner);
}

struct blk_pool *blk_pool_new(struct loop *loop, const struct blk_io_user *user, void *owner)
{
	struct blk_pool *pool = calloc(1, sizeof(*pool));

	if (!pool)
		return NULL;
	pool->loop = loop;
	pool->user = user;
	pool->owner = owner;
	pool->post.fn = reap;
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->work, NULL);
	return pool;
}

void blk_pool_free(struct blk_pool *pool)
{
	if (!pool)
		return;
	pthread_mutex_lock(&pool->lock);
	pool->stop = true;
	pthread_cond_broadcast(&pool->work);
	pthread_mutex_unlock(&pool->lock);
	for (unsigned int i = 0; i < pool->threads_nr; i++)
		pthread_join(pool->threads[i], NULL);
	loop_post_cancel(pool->loop, &pool->post);
	pthread_cond_destroy(&pool->work);
	pthread_mutex_destroy(&pool->lock);
	free(pool);
}

/* With no thread at all and none to be had, nobody would ever serve what waits. */
static void give_up(struct blk_pool *pool, int ret)
{
	struct blk_request *r;

	pthread_mutex_lock(&pool->lock);
	while ((r = blk_list_take(&pool->todo))) {
		pool->todo_nr--;
		r->res = ret;
		blk_list_add(&pool->done, r);
	}
	pthread_mutex_unlock(&pool->lock);
	loop_post(pool->loop, &pool->post);
}

void blk_pool_push(struct blk_pool *pool, struct blk_request *r)
{
	bool more;
	int ret;

	pthread_mutex_lock(&pool->lock);
	blk_list_add(&pool->todo, r);
	pool->todo_nr++;
	more = pool->todo_nr > pool->idle && pool->threads_nr < BLK_POOL_MAX;
	pthread_cond_signal(&pool->work);
	pthread_mutex_unlock(&pool->lock);
	if (!more)
		return;
	ret = thread_start(&pool->threads[pool->threads_nr], "lkvm-blk", -1, worker, pool);
	if (ret == 0)
		pool->threads_nr++;
	else if (pool->threads_nr == 0)
		give_up(pool, ret);
}

void blk_pool_cancel(struct blk_pool *pool)
{
	give_up(pool, -ECANCELED);
}
