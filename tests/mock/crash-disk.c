/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>

#include <check.h>

#include <lkvm/util.h>

#include "crash-disk.h"

#define SECTOR 512u

static struct crash_disk *disk_of(struct blk_channel *ch)
{
	return container_of(ch, struct crash_disk, ch);
}

static void remember(struct crash_disk *d, uint64_t off, const uint8_t *data, uint64_t len)
{
	struct crash_write *w;

	d->writes = realloc(d->writes, (d->writes_nr + 1) * sizeof(*w));
	w = &d->writes[d->writes_nr++];
	*w = (struct crash_write){ off, len, malloc(len) };
	memcpy(w->data, data, len);
}

static void make_stable(struct crash_disk *d)
{
	memcpy(d->stable, d->now, d->info.size);
	for (unsigned int i = 0; i < d->writes_nr; i++)
		free(d->writes[i].data);
	free(d->writes);
	d->writes = NULL;
	d->writes_nr = 0;
}

/* The bytes that a request writes, for the caller to free. */
static uint8_t *gather(const struct blk_request *r)
{
	uint8_t *data = calloc(1, r->len), *to = data;

	for (unsigned int i = 0; r->op == BLK_WRITE && i < r->iov_nr; i++) {
		memcpy(to, r->iov[i].iov_base, r->iov[i].iov_len);
		to += r->iov[i].iov_len;
	}
	return data;
}

static void put(struct crash_disk *d, const struct blk_request *r, bool dies)
{
	uint8_t *data = gather(r);

	if (!dies)
		memcpy(d->now + r->off, data, r->len);
	if (!dies && r->fua) {
		/* It is stable; what was written there before can no longer surface. */
		memcpy(d->stable + r->off, data, r->len);
		for (unsigned int i = 0; i < d->writes_nr; i++) {
			struct crash_write *w = &d->writes[i];
			uint64_t from = MAX(w->off, r->off);
			uint64_t to = MIN(w->off + w->len, r->off + r->len);

			if (from < to)
				memcpy(w->data + (from - w->off), data + (from - r->off),
				       to - from);
		}
	} else {
		remember(d, r->off, data, r->len);
	}
	free(data);
}

static void get(const struct crash_disk *d, const struct blk_request *r)
{
	const uint8_t *from = d->now + r->off;

	for (unsigned int i = 0; i < r->iov_nr; i++) {
		memcpy(r->iov[i].iov_base, from, r->iov[i].iov_len);
		from += r->iov[i].iov_len;
	}
}

static void serve(struct crash_disk *d, struct blk_request *r)
{
	bool dies = !d->dead && ++d->steps == d->cut_at;

	if (d->dead) {
		r->done(r, -EIO);
		return;
	}
	d->dead = dies;
	if (r->op == BLK_READ && !dies)
		get(d, r);
	else if (r->op == BLK_FLUSH && !dies)
		make_stable(d);
	else if (r->op != BLK_READ && r->op != BLK_FLUSH)
		put(d, r, dies);
	/* The backend may change the list, so this one does. */
	r->iov = NULL;
	r->iov_nr = 0;
	r->done(r, dies ? -EIO : 0);
}

static void check(const struct crash_disk *d, const struct blk_request *r)
{
	uint64_t sum = 0;

	ck_assert(range_ok(r->off, r->len, d->info.size));
	ck_assert_uint_eq((r->off | r->len) % d->info.block_size, 0);
	for (unsigned int i = 0; i < r->iov_nr; i++)
		sum += r->iov[i].iov_len;
	if (r->op == BLK_READ || r->op == BLK_WRITE)
		ck_assert_uint_eq(sum, r->len);
}

static void crash_submit(struct blk_channel *ch, struct blk_request *r)
{
	struct crash_disk *d = disk_of(ch);

	check(d, r);
	if (d->hold) {
		ck_assert_uint_lt(d->held_nr, ARRAY_SIZE(d->held));
		d->held[d->held_nr++] = r;
	} else {
		serve(d, r);
	}
}

void crash_disk_serve(struct crash_disk *d, unsigned int nr)
{
	struct blk_request *r;

	ck_assert_uint_lt(nr, d->held_nr);
	r = d->held[nr];
	memmove(&d->held[nr], &d->held[nr + 1], (--d->held_nr - nr) * sizeof(d->held[0]));
	serve(d, r);
}

static void crash_kick(struct blk_channel *ch)
{
	disk_of(ch)->kicks++;
}

static void crash_cancel(struct blk_channel *ch)
{
	struct crash_disk *d = disk_of(ch);
	unsigned int nr = d->held_nr;
	struct blk_request *held[ARRAY_SIZE(d->held)];

	d->cancels++;
	memcpy(held, d->held, sizeof(held));
	d->held_nr = 0;
	for (unsigned int i = 0; i < nr; i++)
		held[i]->done(held[i], -ECANCELED);
}

static struct blk_channel *crash_channel_open(struct blk_backend *be, struct loop *loop,
					      unsigned int depth, struct err *err)
{
	struct crash_disk *d = container_of(be, struct crash_disk, be);

	(void)depth;
	(void)err;
	ck_assert(!d->open);
	d->open = true;
	d->ch = (struct blk_channel){ be, loop };
	return &d->ch;
}

static void crash_channel_close(struct blk_channel *ch)
{
	struct crash_disk *d = disk_of(ch);

	ck_assert_uint_eq(d->held_nr, 0);
	d->open = false;
}

static void crash_info(const struct blk_backend *be, struct blk_info *info)
{
	*info = container_of(be, struct crash_disk, be)->info;
}

static void crash_close(struct blk_backend *be)
{
	struct crash_disk *d = container_of(be, struct crash_disk, be);

	ck_assert(!d->open);
	d->closes++;
}

static const struct blk_backend_ops crash_ops = {
	.name = "crash-disk",
	.info = crash_info,
	.channel_open = crash_channel_open,
	.submit = crash_submit,
	.kick = crash_kick,
	.cancel = crash_cancel,
	.channel_close = crash_channel_close,
	.close = crash_close,
};

void crash_disk_init(struct crash_disk *d, uint64_t size, uint32_t block_size)
{
	*d = (struct crash_disk){ .be.ops = &crash_ops };
	d->info = (struct blk_info){ .size = size,
				     .block_size = block_size,
				     .flush = true,
				     .discard = true,
				     .write_zeroes = true,
				     .discard_align = block_size,
				     .one_channel = true };
	d->now = calloc(1, size);
	d->stable = calloc(1, size);
}

void crash_disk_release(struct crash_disk *d)
{
	make_stable(d);
	free(d->now);
	free(d->stable);
}

/* Each sector of each write is there or not; where it is, a later one may have been and gone. */
void crash_disk_survives(const struct crash_disk *d, unsigned int seed, uint8_t *out)
{
	memcpy(out, d->stable, d->info.size);
	for (unsigned int i = 0; i < d->writes_nr; i++) {
		const struct crash_write *w = &d->writes[i];

		for (uint64_t at = 0; at < w->len; at += SECTOR) {
			seed = seed * 1664525 + 1013904223;
			if (seed >> 31)
				memcpy(out + w->off + at, w->data + at, SECTOR);
		}
	}
}
