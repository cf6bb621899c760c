/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <lkvm/util.h>

#include "testdisk.h"

#define SECRET     "past the disk's end"
#define SECRET_LEN 64

static struct testdisk *disk_of(struct blk_channel *ch)
{
	return container_of(ch, struct testdisk_channel, ch)->disk;
}

static void disk_info(const struct blk_backend *be, struct blk_info *info)
{
	*info = container_of(be, struct testdisk, be)->info;
}

/* --- what is done --- */

static void check_contract(const struct testdisk *d, const struct blk_request *r)
{
	uint64_t sum = 0;

	MUST(range_ok(r->off, r->len, d->info.size));
	MUST(r->off % d->info.block_size == 0 && r->len % d->info.block_size == 0);
	MUST(!d->info.readonly || r->op == BLK_READ || r->op == BLK_FLUSH);
	MUST(r->op != BLK_DISCARD || d->info.discard);
	MUST(r->op != BLK_WRITE_ZEROES || d->info.write_zeroes);
	MUST(r->op != BLK_FLUSH || d->info.flush);
	MUST(r->len > 0 || r->op == BLK_FLUSH);
	MUST(!r->unmap || r->op == BLK_WRITE_ZEROES);
	for (unsigned int i = 0; i < r->iov_nr; i++) {
		MUST(r->iov[i].iov_len > 0);
		sum += r->iov[i].iov_len;
	}
	MUST(sum == (r->op == BLK_READ || r->op == BLK_WRITE ? r->len : 0));
}

static void record(struct testdisk *d, const struct blk_request *r, unsigned int channel)
{
	pthread_mutex_lock(&d->lock);
	d->ops[d->ops_nr++ % TESTDISK_OPS] =
		(struct testdisk_op){ r->op, r->off, r->len, r->fua, r->unmap, r->iov_nr, channel };
	pthread_mutex_unlock(&d->lock);
}

static void move(struct testdisk *d, struct blk_request *r, uint64_t len)
{
	uint64_t at = r->off;

	for (unsigned int i = 0; i < r->iov_nr && len; i++) {
		uint64_t n = MIN(len, (uint64_t)r->iov[i].iov_len);

		if (r->op == BLK_READ)
			gmem_copy(r->iov[i].iov_base, d->bytes + at, n);
		else
			gmem_copy(d->bytes + at, r->iov[i].iov_base, n);
		/* The contract lets a backend use them up. */
		memset(&r->iov[i], 0xee, sizeof(r->iov[i]));
		at += n;
		len -= n;
	}
}

static void perform(struct testdisk *d, struct blk_request *r, uint64_t len)
{
	if (r->op == BLK_FLUSH)
		memcpy(d->stable, d->bytes, d->info.size);
	else if (r->op == BLK_WRITE_ZEROES)
		memset(d->bytes + r->off, 0, len);
	else if (r->op == BLK_DISCARD)
		memset(d->bytes + r->off, 0xdd, len);
	else
		move(d, r, len);
	if (r->fua)
		memcpy(d->stable + r->off, d->bytes + r->off, len);
}

static void answer(struct testdisk *d, struct blk_request *r, int ret)
{
	uint64_t len = r->len;

	if (!ret && d->fail) {
		d->fail--;
		ret = -EIO;
	}
	if (ret)
		len = MIN(len, (uint64_t)d->part);
	pthread_mutex_lock(&d->lock);
	if (!ret || len)
		perform(d, r, len);
	pthread_mutex_unlock(&d->lock);
	r->done(r, ret);
}

static void on_post(struct loop_post *p)
{
	struct testdisk_channel *c = container_of(p, struct testdisk_channel, post);

	for (;;) {
		struct blk_request *r = NULL;

		pthread_mutex_lock(&c->disk->lock);
		if (c->done_nr) {
			r = c->done[0];
			memmove(c->done, c->done + 1, --c->done_nr * sizeof(r));
		}
		pthread_mutex_unlock(&c->disk->lock);
		if (!r)
			break;
		answer(c->disk, r, (int)r->res);
	}
}

/* --- the table --- */

static struct blk_channel *channel_open(struct blk_backend *be, struct loop *loop,
					unsigned int depth, struct err *err)
{
	struct testdisk *d = container_of(be, struct testdisk, be);

	if (d->channels_nr >= d->room) {
		err_host(err, EMFILE, "cannot open a channel of the test's disk");
		return NULL;
	}
	MUST(!d->info.one_channel || !d->channels_nr);
	struct testdisk_channel *c = &d->channels[d->channels_nr];
	*c = (struct testdisk_channel){ .ch = { be, loop },
					.disk = d,
					.index = d->channels_nr++,
					.depth = depth,
					.open = true,
					.post.fn = on_post };
	c->fresh = calloc(depth, sizeof(void *));
	c->held = calloc(depth, sizeof(void *));
	c->done = calloc(depth, sizeof(void *));
	d->open_nr++;
	return &c->ch;
}

static void submit(struct blk_channel *ch, struct blk_request *r)
{
	struct testdisk_channel *c = container_of(ch, struct testdisk_channel, ch);
	struct testdisk *d = c->disk;

	check_contract(d, r);
	record(d, r, c->index);
	if (d->on_submit)
		d->on_submit(d, r);
	if (d->mode == TESTDISK_NOW) {
		answer(d, r, 0);
		return;
	}
	r->res = 0;
	pthread_mutex_lock(&d->lock);
	MUST(c->fresh_nr + c->held_nr + c->done_nr < c->depth);
	c->fresh[c->fresh_nr++] = r;
	pthread_mutex_unlock(&d->lock);
}

static void kick(struct blk_channel *ch)
{
	struct testdisk_channel *c = container_of(ch, struct testdisk_channel, ch);
	struct testdisk *d = c->disk;
	enum testdisk_mode mode = d->mode;
	bool post = false;

	c->kicks++;
	for (;;) {
		struct blk_request *r = NULL;

		pthread_mutex_lock(&d->lock);
		if (c->fresh_nr) {
			r = c->fresh[0];
			memmove(c->fresh, c->fresh + 1, --c->fresh_nr * sizeof(r));
			if (mode == TESTDISK_HOLD)
				c->held[c->held_nr++] = r;
			if (mode == TESTDISK_POST)
				c->done[c->done_nr++] = r;
		}
		pthread_mutex_unlock(&d->lock);
		if (!r)
			break;
		post |= mode == TESTDISK_POST;
		if (mode == TESTDISK_KICK || mode == TESTDISK_NOW)
			answer(d, r, 0);
	}
	if (post)
		loop_post(ch->loop, &c->post);
}

static void cancel(struct blk_channel *ch)
{
	struct testdisk_channel *c = container_of(ch, struct testdisk_channel, ch);
	struct testdisk *d = c->disk;

	c->cancels++;
	for (;;) {
		struct blk_request *r = NULL;

		pthread_mutex_lock(&d->lock);
		if (c->held_nr && !d->deaf)
			r = c->held[--c->held_nr];
		pthread_mutex_unlock(&d->lock);
		if (!r)
			break;
		r->done(r, -ECANCELED);
	}
}

static void channel_close(struct blk_channel *ch)
{
	struct testdisk_channel *c = container_of(ch, struct testdisk_channel, ch);

	MUST(c->open && !c->fresh_nr && !c->held_nr && !c->done_nr);
	loop_post_cancel(ch->loop, &c->post);
	c->open = false;
	disk_of(ch)->open_nr--;
	free(c->fresh);
	free(c->held);
	free(c->done);
}

static const struct blk_backend_ops testdisk_ops = {
	.name = "test",
	.info = disk_info,
	.channel_open = channel_open,
	.submit = submit,
	.kick = kick,
	.cancel = cancel,
	.channel_close = channel_close,
};

/* --- for the test --- */

void testdisk_pattern(uint64_t sector, uint8_t bytes[512])
{
	for (unsigned int i = 0; i < 512; i++)
		bytes[i] = (uint8_t)(sector * 31 + i * 7 + (i >> 8) + 1);
}

void testdisk_init(struct testdisk *d, const struct blk_info *info)
{
	memset(d, 0, sizeof(*d));
	d->be.ops = &testdisk_ops;
	d->info = *info;
	d->room = TESTDISK_CHANNELS;
	d->bytes = malloc(info->size + SECRET_LEN);
	d->stable = malloc(info->size);
	for (uint64_t s = 0; s < info->size / 512; s++)
		testdisk_pattern(s, d->bytes + 512 * s);
	memcpy(d->stable, d->bytes, info->size);
	memset(d->bytes + info->size, 0, SECRET_LEN);
	memcpy(d->bytes + info->size, SECRET, sizeof(SECRET));
	pthread_mutex_init(&d->lock, NULL);
}

void testdisk_release(struct testdisk *d)
{
	MUST(!d->open_nr);
	MUST(!memcmp(d->bytes + d->info.size, SECRET, sizeof(SECRET)));
	free(d->bytes);
	free(d->stable);
	pthread_mutex_destroy(&d->lock);
}

unsigned int testdisk_held(struct testdisk *d)
{
	unsigned int nr = 0;

	pthread_mutex_lock(&d->lock);
	for (unsigned int i = 0; i < d->channels_nr; i++)
		nr += d->channels[i].held_nr;
	pthread_mutex_unlock(&d->lock);
	return nr;
}

static bool end_one(struct testdisk *d, unsigned int n, int ret)
{
	struct testdisk_channel *c = NULL;

	pthread_mutex_lock(&d->lock);
	for (unsigned int i = 0; i < d->channels_nr && !c; i++) {
		if (n < d->channels[i].held_nr)
			c = &d->channels[i];
		else
			n -= d->channels[i].held_nr;
	}
	if (c) {
		struct blk_request *r = c->held[n];

		memmove(c->held + n, c->held + n + 1, (--c->held_nr - n) * sizeof(r));
		r->res = ret;
		c->done[c->done_nr++] = r;
	}
	pthread_mutex_unlock(&d->lock);
	if (c)
		loop_post(c->ch.loop, &c->post);
	return c;
}

void testdisk_finish(struct testdisk *d, unsigned int i, int ret)
{
	MUST(end_one(d, i, ret));
}

void testdisk_finish_all(struct testdisk *d, int ret)
{
	while (end_one(d, 0, ret))
		;
}

bool testdisk_busy(const struct testdisk *d)
{
	for (unsigned int i = 0; i < d->channels_nr; i++)
		if (d->channels[i].open && d->channels[i].post.queued)
			return true;
	return false;
}

unsigned int testdisk_count(struct testdisk *d, enum blk_op op)
{
	unsigned int nr = 0;

	MUST(d->ops_nr <= TESTDISK_OPS);
	for (unsigned int i = 0; i < d->ops_nr; i++)
		nr += d->ops[i].op == op;
	return nr;
}
