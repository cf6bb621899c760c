/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <sys/mman.h>

#include <lkvm/util.h>

#include "iov.h"
#include "pool.h"
#include "raw.h"
#include "step.h"
#include "uring.h"

/* Bounce buffers of a channel, for direct I/O from and to buffers that are not aligned. */
#define BOUNCE_NR  8u
#define BOUNCE_LEN (256 * KIB)

/* Zeros are written from a buffer of this size, which costs no memory as it is never written. */
#define ZEROS_LEN MIB

/* What is copied on the loop at once; more would keep others on the loop waiting. */
#define INLINE_MAX MIB

struct raw {
	struct blk_backend be;
	struct blk_file file;
	struct blk_raw_tuning tuning;
};

struct raw_channel {
	struct blk_channel ch;
	struct raw *raw;
	unsigned int depth;
	uint32_t epoch; /* counts cancels */

	struct blk_uring *uring; /* made for the first request that needs it */
	struct blk_pool *pool;   /* likewise */
	bool no_uring;

	struct blk_list queue; /* before their next step: for a kick, or for room in the ring */
	struct blk_list todo;  /* what run_queue() has in hand */
	struct blk_list bounce_wait; /* no bounce buffer was free */
	struct loop_post post;       /* run_queue() again */
	bool running;                /* in run_queue() */
	bool alone;                  /* there is one request to start */

	void *bounces[BOUNCE_NR]; /* those that are free */
	unsigned int bounces_free, bounces_made;
	void *zeros;
};

static struct raw_channel *channel_of(const struct blk_request *r)
{
	return container_of(r->channel, struct raw_channel, ch);
}

static void describe(struct blk_request *r, struct blk_io *io)
{
	blk_step_describe(&channel_of(r)->raw->file, r, io);
}

/* BLK_STEP_MORE, or what the request is done with. */
static int advance(struct blk_request *r)
{
	struct raw_channel *rc = channel_of(r);
	int ret = blk_step_end(&rc->raw->file, r);

	return ret == BLK_STEP_MORE && r->epoch != rc->epoch ? -ECANCELED : ret;
}

/* Bounce buffers and zeros. */

static void *bounce_get(struct raw_channel *rc)
{
	void *p;

	if (rc->bounces_free > 0)
		return rc->bounces[--rc->bounces_free];
	if (rc->bounces_made == BOUNCE_NR ||
	    posix_memalign(&p, rc->raw->file.direct_align, BOUNCE_LEN))
		return NULL;
	rc->bounces_made++;
	return p;
}

/* Gives it back, and to the next who waits for one its turn. */
static void bounce_put(struct raw_channel *rc, void *bounce)
{
	struct blk_request *next = blk_list_take(&rc->bounce_wait);

	rc->bounces[rc->bounces_free++] = bounce;
	if (next) {
		blk_list_add(&rc->queue, next);
		loop_post(rc->ch.loop, &rc->post);
	}
}

static void finish(struct blk_request *r, int ret)
{
	struct raw_channel *rc = channel_of(r);

	if (r->bounce)
		bounce_put(rc, r->bounce);
	r->bounce = NULL;
	r->done(r, ret);
}

static int prepare_zeros(struct raw_channel *rc, struct blk_request *r)
{
	if (!rc->zeros) {
		void *p = mmap(NULL, ZEROS_LEN, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (p == MAP_FAILED)
			return -ENOMEM;
		rc->zeros = p;
	}
	r->one = (struct iovec){ rc->zeros, MIN(blk_step_rest(r), ZEROS_LEN) };
	return 0;
}

/* The buffer of a step that has its own. Returns 0, -EAGAIN when it has to wait for one, or -errno. */
static int prepare(struct raw_channel *rc, struct blk_request *r)
{
	struct blk_iov v = { r->iov, r->iov_nr };
	uint32_t align = rc->raw->file.direct_align;
	uint32_t step = r->step & ~BLK_STEP_BLOCKS;

	r->one = (struct iovec){ 0 };
	if (step == BLK_STEP_ZERO_WRITE)
		return prepare_zeros(rc, r);
	if (step != BLK_STEP_TRANSFER || !align || (!r->bounce && blk_iov_aligned(v, align)))
		return 0;
	if (!r->bounce)
		r->bounce = bounce_get(rc);
	if (!r->bounce)
		return rc->bounces_made > 0 ? -EAGAIN : -ENOMEM;
	r->one = (struct iovec){ r->bounce, MIN(blk_step_rest(r), BOUNCE_LEN) };
	if (r->op == BLK_WRITE)
		blk_iov_read(v, r->bounce, r->one.iov_len);
	return 0;
}

/* Starting steps. */

static void step_done(struct blk_request *r)
{
	int ret = advance(r);

	if (ret == BLK_STEP_MORE)
		blk_list_add(&channel_of(r)->queue, r);
	else
		finish(r, ret);
}

static void run_queue(struct raw_channel *rc);

static void batch_done(void *owner)
{
	run_queue(owner);
}

static const struct blk_io_user io_user = {
	.describe = describe,
	.step_done = step_done,
	.batch_done = batch_done,
};

/* Makes the step's call on the loop when it cannot block. */
static bool run_inline(struct raw_channel *rc, struct blk_request *r)
{
	struct blk_file *f = &rc->raw->file;
	struct blk_io io;

	if (rc->raw->tuning.no_inline || (r->step & BLK_STEP_BLOCKS) ||
	    blk_step_rest(r) > INLINE_MAX)
		return false;
	if (f->memory) {
		describe(r, &io);
		r->res = blk_io_run(&io);
		return true;
	}
	/* A thread costs more than a call in vain; a ring does when it takes one request alone. */
	if (r->op != BLK_READ || f->direct_align || f->no_nowait || !(rc->alone || rc->no_uring))
		return false;
	describe(r, &io);
	io.flags = RWF_NOWAIT;
	r->res = blk_io_run(&io);
	if (r->res == -EOPNOTSUPP)
		f->no_nowait = true;
	return r->res != -EOPNOTSUPP && r->res != -EAGAIN;
}

static void open_uring(struct raw_channel *rc)
{
	struct blk_file *f = &rc->raw->file;
	struct err why = ERR_INIT;

	if (!rc->raw->tuning.threads) {
		rc->uring = blk_uring_new(rc->ch.loop, &io_user, rc, f->fd, rc->depth, &why);
		if (!rc->uring && !atomic_exchange(&f->said_threads, true))
			log_info(f->log, "disk %s: worker threads instead of io_uring: %s", f->path,
				 why.msg);
	}
	rc->no_uring = !rc->uring;
}

/* False when there is no room for it now. */
static bool push(struct raw_channel *rc, struct blk_request *r)
{
	struct blk_file *f = &rc->raw->file;
	bool ioctl = r->step == BLK_STEP_DISCARD && f->device; /* io_uring has it not */

	if (!rc->uring && !rc->no_uring)
		open_uring(rc);
	if (rc->uring && !(r->step & BLK_STEP_BLOCKS) && !ioctl)
		return blk_uring_push(rc->uring, r);
	if (!rc->pool)
		rc->pool = blk_pool_new(rc->ch.loop, &io_user, rc);
	if (rc->pool)
		blk_pool_push(rc->pool, r);
	else
		finish(r, -ENOMEM);
	return true;
}

/* Takes a request as far as it goes now; false when there is no room for it. */
static bool start(struct raw_channel *rc, struct blk_request *r)
{
	int ret;

	do {
		ret = prepare(rc, r);
		if (ret == -EAGAIN) {
			blk_list_add(&rc->bounce_wait, r);
			return true;
		}
		if (ret == 0 && !run_inline(rc, r))
			return push(rc, r);
		if (ret == 0)
			ret = advance(r);
	} while (ret == BLK_STEP_MORE);
	finish(r, ret);
	return true;
}

/* Puts what could not be started before what came meanwhile. */
static void requeue(struct raw_channel *rc, struct blk_request *first)
{
	struct blk_list l = { 0 };

	if (first)
		blk_list_add(&l, first);
	blk_list_splice(&l, &rc->todo);
	blk_list_splice(&l, &rc->queue);
	rc->queue = l;
}

/*
 * Starts what is in the queue. What comes while that is done waits for the loop's next turn, so that a
 * guest that always has another request keeps nobody waiting.
 */
static void run_queue(struct raw_channel *rc)
{
	struct blk_request *r;

	if (!rc->queue.first)
		return;
	if (rc->running) {
		loop_post(rc->ch.loop, &rc->post);
		return;
	}
	rc->running = true;
	rc->todo = rc->queue;
	rc->queue.first = NULL;
	rc->alone = rc->todo.first && !rc->todo.first->next;
	while ((r = blk_list_take(&rc->todo)) && start(rc, r))
		;
	requeue(rc, r);
	if (rc->uring) {
		blk_uring_kick(rc->uring);
		/* What the page cache had is there already. */
		blk_uring_reap(rc->uring);
		/* A full ring goes on when it reports the next completion. */
		if (rc->queue.first && blk_uring_has_room(rc->uring))
			loop_post(rc->ch.loop, &rc->post);
	}
	rc->running = false;
}

static void on_post(struct loop_post *p)
{
	run_queue(container_of(p, struct raw_channel, post));
}

/* The table. */

static void raw_submit(struct blk_channel *ch, struct blk_request *r)
{
	struct raw_channel *rc = container_of(ch, struct raw_channel, ch);
	int ret;

	r->channel = ch;
	r->epoch = rc->epoch;
	r->progress = 0;
	r->bounce = NULL;
	ret = blk_step_first(&rc->raw->file, r);
	if (ret == BLK_STEP_MORE)
		blk_list_add(&rc->queue, r);
	else
		r->done(r, ret);
}

static void raw_kick(struct blk_channel *ch)
{
	run_queue(container_of(ch, struct raw_channel, ch));
}

static void raw_cancel(struct blk_channel *ch)
{
	struct raw_channel *rc = container_of(ch, struct raw_channel, ch);
	struct blk_list all = { 0 };
	struct blk_request *r;

	rc->epoch++;
	blk_list_splice(&all, &rc->todo);
	blk_list_splice(&all, &rc->queue);
	blk_list_splice(&all, &rc->bounce_wait);
	if (rc->pool)
		blk_pool_cancel(rc->pool);
	if (rc->uring)
		blk_uring_cancel(rc->uring);
	while ((r = blk_list_take(&all)))
		finish(r, -ECANCELED);
}

static struct blk_channel *raw_channel_open(struct blk_backend *be, struct loop *loop,
					    unsigned int depth, struct err *err)
{
	struct raw_channel *rc = calloc(1, sizeof(*rc));
	struct raw *raw = container_of(be, struct raw, be);

	if (!rc) {
		err_host(err, ENOMEM, "no memory for disk %s", raw->file.path);
		return NULL;
	}
	rc->ch.be = be;
	rc->ch.loop = loop;
	rc->raw = raw;
	rc->depth = depth;
	rc->post.fn = on_post;
	return &rc->ch;
}

static void raw_channel_close(struct blk_channel *ch)
{
	struct raw_channel *rc = container_of(ch, struct raw_channel, ch);

	loop_post_cancel(ch->loop, &rc->post);
	blk_uring_free(rc->uring);
	blk_pool_free(rc->pool);
	while (rc->bounces_free > 0)
		free(rc->bounces[--rc->bounces_free]);
	if (rc->zeros)
		munmap(rc->zeros, ZEROS_LEN);
	free(rc);
}

static void raw_info(const struct blk_backend *be, struct blk_info *info)
{
	const struct blk_file *f = &container_of(be, struct raw, be)->file;

	*info = (struct blk_info){
		.size = f->size,
		.block_size = f->block_size,
		.readonly = f->readonly,
		.flush = true,
		.discard = f->discard,
		.write_zeroes = !f->readonly,
		.discard_align = f->discard_align,
	};
}

static void raw_close(struct blk_backend *be)
{
	struct raw *raw = container_of(be, struct raw, be);

	blk_file_release(&raw->file);
	free(raw);
}

static const struct blk_backend_ops raw_ops = {
	.name = "raw",
	.info = raw_info,
	.channel_open = raw_channel_open,
	.submit = raw_submit,
	.kick = raw_kick,
	.cancel = raw_cancel,
	.channel_close = raw_channel_close,
	.close = raw_close,
};

static struct raw *raw_new(const char *path, struct err *err)
{
	struct raw *raw = calloc(1, sizeof(*raw));

	if (!raw) {
		err_host(err, ENOMEM, "no memory for disk %s", path);
		return NULL;
	}
	raw->be.ops = &raw_ops;
	return raw;
}

int blk_raw_open(struct blk_backend **out, const struct blk_file_opts *o, struct err *err)
{
	struct raw *raw = raw_new(o->path, err);
	int ret;

	if (!raw)
		return -ENOMEM;
	ret = blk_file_open(&raw->file, o, err);
	if (ret < 0)
		free(raw);
	else
		*out = &raw->be;
	return ret;
}

int blk_raw_open_temp(struct blk_backend **out, uint64_t size, uint32_t block_size,
		      const struct log *log, struct err *err)
{
	struct raw *raw = raw_new("overlay", err);
	int ret;

	if (!raw)
		return -ENOMEM;
	ret = blk_file_open_temp(&raw->file, size, block_size, log, err);
	if (ret < 0)
		free(raw);
	else
		*out = &raw->be;
	return ret;
}

void blk_raw_tune(struct blk_backend *be, struct blk_raw_tuning tuning)
{
	container_of(be, struct raw, be)->tuning = tuning;
}
