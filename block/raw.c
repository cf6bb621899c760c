/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <limits.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include <lkvm/util.h>

#include "iov.h"
#include "pool.h"
#include "raw.h"
#include "uring.h"

/* Bounce buffers of a channel, for direct I/O from and to buffers that are not aligned. */
#define BOUNCE_NR  8u
#define BOUNCE_LEN (256 * KIB)

/* Zeros are written from a buffer of this size, which costs no memory as it is never written. */
#define ZEROS_LEN MIB

/* What a file system in memory serves on the loop; more would keep others on the loop waiting. */
#define INLINE_MAX MIB

/* Where a request stands. */
enum step {
	STEP_TRANSFER, /* a part of a read or write */
	STEP_SYNC,     /* a flush, or the end of what must be stable */
	STEP_DISCARD,
	STEP_PUNCH,      /* zeroes, by freeing the blocks */
	STEP_ZERO_RANGE, /* zeroes, by keeping them */
	STEP_ZERO_WRITE, /* a part of zeroes, by writing them */
};

/* The step would have blocked where it was tried: it needs a thread. */
#define STEP_BLOCKS 0x100u

/* What advance() says of a request that needs another step. */
#define MORE 1

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

static bool is_write(const struct blk_request *r)
{
	return r->op == BLK_WRITE || r->op == BLK_WRITE_ZEROES || r->op == BLK_DISCARD;
}

static uint64_t rest_of(const struct blk_request *r)
{
	return r->len - r->progress;
}

/* Steps as system calls. */

static void describe(struct blk_request *r, struct blk_io *io)
{
	const struct blk_file *f = &channel_of(r)->raw->file;

	*io = (struct blk_io){ .fd = f->fd, .off = r->off, .len = r->len };
	switch (r->step & ~STEP_BLOCKS) {
	case STEP_TRANSFER:
	case STEP_ZERO_WRITE:
		io->kind = r->op == BLK_READ ? BLK_IO_READ : BLK_IO_WRITE;
		/* Zeros are made stable by a step of its own. */
		io->flags = r->op == BLK_WRITE && r->fua ? RWF_DSYNC : 0;
		io->off += r->progress;
		io->len = rest_of(r);
		io->iov = r->one.iov_base ? &r->one : r->iov;
		io->iov_nr = r->one.iov_base ? 1 : MIN(r->iov_nr, (unsigned int)IOV_MAX);
		break;
	case STEP_SYNC:
		io->kind = BLK_IO_SYNC;
		break;
	case STEP_DISCARD:
		io->kind = f->device ? BLK_IO_DISCARD : BLK_IO_FALLOCATE;
		io->flags = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
		break;
	case STEP_PUNCH:
		io->kind = BLK_IO_FALLOCATE;
		io->flags = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
		break;
	case STEP_ZERO_RANGE:
		io->kind = BLK_IO_FALLOCATE;
		io->flags = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
		break;
	}
}

/* The first step of a request, or what it is done with at once. */
static int first_step(const struct blk_file *f, struct blk_request *r)
{
	if (is_write(r) && f->readonly)
		return -EROFS;
	if (r->op != BLK_FLUSH && r->len == 0)
		return 0;
	switch (r->op) {
	case BLK_READ:
	case BLK_WRITE:
		r->step = STEP_TRANSFER;
		break;
	case BLK_FLUSH:
		if (f->flush_failed)
			return -EIO;
		r->step = STEP_SYNC;
		break;
	case BLK_DISCARD:
		if (!f->discard)
			return 0;
		r->step = STEP_DISCARD;
		break;
	case BLK_WRITE_ZEROES:
		r->step = r->unmap && !f->no_punch ? STEP_PUNCH
			  : !f->no_zero_range      ? STEP_ZERO_RANGE
						   : STEP_ZERO_WRITE;
		break;
	}
	return MORE;
}

/* What a step's end means for its request: MORE, 0 or -errno. */

static int end_transfer(struct blk_file *f, struct blk_request *r)
{
	if (r->res == -EIO && r->op == BLK_WRITE && r->fua)
		/* It may have been told of an earlier write, which the next flush would not be. */
		f->flush_failed = true;
	if (r->res < 0)
		return (int)r->res;
	/* A read that ends here met the end of a file that was truncated under us. */
	if (r->res == 0)
		return -EIO;
	if (r->step == STEP_TRANSFER) {
		struct blk_iov v = { r->iov, r->iov_nr };

		if (r->bounce && r->op == BLK_READ)
			blk_iov_write(v, r->bounce, (uint64_t)r->res);
		blk_iov_advance(&v, (uint64_t)r->res);
		r->iov = v.iov;
		r->iov_nr = v.nr;
	}
	r->progress += (uint64_t)r->res;
	if (rest_of(r) > 0)
		return MORE;
	if (r->step == STEP_ZERO_WRITE && r->fua) {
		r->step = STEP_SYNC;
		return MORE;
	}
	return 0;
}

static int end_sync(struct blk_file *f, const struct blk_request *r)
{
	if (r->res == 0)
		return 0;
	/* The kernel tells a failed write-back once; a flush that follows would say that all is well. */
	if (!atomic_exchange(&f->flush_failed, true))
		log_error(f->log,
			  "disk %s: the host failed to make writes stable (%s); from now on each "
			  "flush fails",
			  f->path, strerrordesc_np((int)-r->res));
	return (int)r->res;
}

static bool unsupported(int64_t res)
{
	/* EINVAL: a device whose sectors are larger than the disk's blocks. */
	return res == -EOPNOTSUPP || res == -ENOSYS || res == -ENOTTY || res == -EINVAL;
}

static int end_range(struct blk_file *f, struct blk_request *r)
{
	if (!unsupported(r->res) || r->step == STEP_DISCARD) {
		/* A discard is a hint, which a device need not take. */
		if (r->res < 0 && !unsupported(r->res))
			return (int)r->res;
		r->step = STEP_SYNC;
		return r->fua ? MORE : 0;
	}
	if (r->step == STEP_PUNCH) {
		f->no_punch |= r->res == -EOPNOTSUPP;
		r->step = f->no_zero_range ? STEP_ZERO_WRITE : STEP_ZERO_RANGE;
	} else {
		f->no_zero_range |= r->res == -EOPNOTSUPP;
		r->step = STEP_ZERO_WRITE;
	}
	return MORE;
}

static int advance(struct blk_request *r)
{
	struct raw_channel *rc = channel_of(r);
	struct blk_file *f = &rc->raw->file;
	/* Not again when a thread was told so: it could not be started. */
	bool blocked = r->res == -EAGAIN && !(r->step & STEP_BLOCKS);
	int ret;

	r->step &= ~STEP_BLOCKS;
	if (r->res == -EINTR || blocked) {
		r->step |= blocked ? STEP_BLOCKS : 0;
		ret = MORE;
	} else if (r->step == STEP_TRANSFER || r->step == STEP_ZERO_WRITE) {
		ret = end_transfer(f, r);
	} else if (r->step == STEP_SYNC) {
		/* A cancel is no failure of the host's. */
		ret = r->res == -ECANCELED ? -ECANCELED : end_sync(f, r);
	} else {
		ret = end_range(f, r);
	}
	return ret == MORE && r->epoch != rc->epoch ? -ECANCELED : ret;
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

/* The buffer of a step that has its own. Returns 0, -EAGAIN when it has to wait for one, or -errno. */
static int prepare(struct raw_channel *rc, struct blk_request *r)
{
	struct blk_iov v = { r->iov, r->iov_nr };
	uint32_t align = rc->raw->file.direct_align;

	r->one = (struct iovec){ 0 };
	if (r->step == STEP_ZERO_WRITE) {
		if (!rc->zeros) {
			void *p = mmap(NULL, ZEROS_LEN, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1,
				       0);

			if (p == MAP_FAILED)
				return -ENOMEM;
			rc->zeros = p;
		}
		r->one = (struct iovec){ rc->zeros, MIN(rest_of(r), ZEROS_LEN) };
		return 0;
	}
	if (r->step != STEP_TRANSFER || !align || (!r->bounce && blk_iov_aligned(v, align)))
		return 0;
	if (!r->bounce)
		r->bounce = bounce_get(rc);
	if (!r->bounce)
		return rc->bounces_made > 0 ? -EAGAIN : -ENOMEM;
	r->one = (struct iovec){ r->bounce, MIN(rest_of(r), BOUNCE_LEN) };
	if (r->op == BLK_WRITE)
		blk_iov_read(v, r->bounce, r->one.iov_len);
	return 0;
}

/* Starting steps. */

static void step_done(struct blk_request *r)
{
	int ret = advance(r);

	if (ret == MORE)
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

	if (rc->raw->tuning.no_inline || (r->step & STEP_BLOCKS))
		return false;
	if (f->memory && rest_of(r) <= INLINE_MAX) {
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
	bool ioctl = r->step == STEP_DISCARD && f->device;

	if (!rc->uring && !rc->no_uring)
		open_uring(rc);
	if (rc->uring && !(r->step & STEP_BLOCKS) && !ioctl)
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
	} while (ret == MORE);
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
	ret = first_step(&rc->raw->file, r);
	if (ret == MORE)
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
