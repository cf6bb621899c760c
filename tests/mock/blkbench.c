/* SPDX-License-Identifier: GPL-2.0 */
#include <sched.h>
#include <string.h>

#include <lkvm/util.h>

#include "blkbench.h"

#define WAIT_NS   (20 * NSEC_PER_SEC)
#define ACCESS_NS (5 * NSEC_PER_SEC)
#define TURNS_MAX 100000

static const struct blk_info all = {
	.size = 512 * BLK_SECTORS,
	.block_size = 512,
	.flush = true,
	.discard = true,
	.write_zeroes = true,
	.discard_align = 4096,
};

void blkbench_init(struct blkbench *b, const struct blkbench_opts *o)
{
	struct err err = ERR_INIT;

	memset(b, 0, sizeof(*b));
	b->o = *o;
	b->o.queues = o->queues ?: 1;
	b->o.loops = o->loops ?: 1;
	b->o.size = o->size ?: 16;
	if (!o->info.size)
		b->o.info = all;
	bench_init(&b->n, &(struct bench_opts){ .loops = b->o.loops, .threads = o->threads });
	bench_up(&b->n, MODERN);
	testdisk_init(&b->disk, &b->o.info);
	struct virtio_blk_opts opts = {
		.backend = &b->disk.be,
		.queues = b->o.queues,
		.queue_size = b->o.size,
		.serial = o->serial,
		.wce = !o->write_through,
		.discard = o->discard,
	};
	MUST(virtio_blk_init(&b->blk, &opts, &b->n.a.gm, &b->n.log, b->n.loops, b->o.loops, &err) ==
	     0);
	drv_init(&b->d, o->transport ?: &drv_core, &b->n.a, &b->blk.vd);
	b->slots = arena_alloc(&b->n.a, 32 * BLK_SLOTS, 64);
	b->data = arena_alloc_high(&b->n.a, BLK_DATA_LEN, 4096);
}

void blkbench_release(struct blkbench *b)
{
	struct bench *n = &b->n;

	blkbench_reset(b);
	drv_release(&b->d);
	MUST(virtio_blk_release(&b->blk));
	testdisk_release(&b->disk);
	bench_release(n);
}

static bool is_idle(const struct blkbench *b)
{
	for (unsigned int i = 0; i < b->blk.vd.queues_nr; i++)
		if (b->blk.vd.vqs[i].kick_post.queued)
			return false;
	return bench_idle(&b->n) && !testdisk_busy(&b->disk);
}

void blkbench_settle(struct blkbench *b)
{
	bench_settle(&b->n);
	if (b->o.threads)
		return;
	/* Once at least: what a turn put off is done in the next. */
	unsigned int i = 0;
	do {
		MUST(i++ < TURNS_MAX);
		bench_turn(&b->n);
	} while (!is_idle(b));
}

void blkbench_reset(struct blkbench *b)
{
	uint64_t deadline = mock_real_now_ns() + WAIT_NS;

	b->disk.fail = 0;
	drv_set_status(&b->d, 0);
	while (drv_status(&b->d)) {
		testdisk_finish_all(&b->disk, 0);
		blkbench_settle(b);
		MUST(mock_real_now_ns() < deadline);
	}
	blkbench_settle(b);
}

void blkbench_prepare(struct blkbench *b, uint64_t features)
{
	blkbench_reset(b);
	MUST(drv_negotiate(&b->d, features & drv_offered(&b->d)));
	b->d.features = features & drv_offered(&b->d);
	for (uint16_t q = 0; q < b->o.queues; q++) {
		struct drv_ring *r = &b->d.rings[q];

		if (r->d && r->size == b->o.size && !r->odd)
			ring_make_at(&b->d, q, r->size, r->desc, r->avail, r->used);
		else
			ring_make(&b->d, q, b->o.size);
		r->odd = false;
		ring_enable(r);
	}
}

void blkbench_up(struct blkbench *b, uint64_t features)
{
	blkbench_prepare(b, features);
	drv_driver_ok(&b->d);
	MUST((drv_status(&b->d) & ~VIRTIO_FEATURES_OK) == 7);
	blkbench_settle(b);
}

/* --- requests --- */

void blk_slot(struct blkbench *b, struct blk_cmd *c)
{
	uint8_t h[16];

	c->header = b->slots + 32 * (b->slot++ % BLK_SLOTS);
	c->status = c->header + 16;
	put_le32(h, c->type);
	put_le32(h + 4, c->reserved);
	put_le64(h + 8, c->sector);
	arena_write(&b->n.a, c->header, h, sizeof(h));
	arena_fill(&b->n.a, c->status, BLKS_NONE, 1);
}

void blk_send(struct blkbench *b, uint16_t q, struct blk_cmd *c)
{
	struct drv_ring *r = &b->d.rings[q];
	struct drv_buf bufs[4];
	unsigned int nr = 0;

	blk_slot(b, c);
	bufs[nr++] = (struct drv_buf){ c->header, 16, false };
	if (c->out_len)
		bufs[nr++] = (struct drv_buf){ c->out, c->out_len, false };
	if (c->in_len)
		bufs[nr++] = (struct drv_buf){ c->in, c->in_len, true };
	bufs[nr++] = (struct drv_buf){ c->status, 1, true };
	c->head = ring_add(r, bufs, nr);
	ring_publish(r);
}

void blk_kick(struct blkbench *b, uint16_t q)
{
	ring_kick(&b->d.rings[q]);
	blkbench_settle(b);
}

uint8_t blk_status(struct blkbench *b, const struct blk_cmd *c)
{
	uint8_t status;

	arena_read(&b->n.a, c->status, &status, 1);
	return status;
}

uint8_t blk_wait(struct blkbench *b, uint16_t q, struct blk_cmd *c)
{
	uint64_t deadline = mock_real_now_ns() + WAIT_NS;
	uint32_t id;

	while (!ring_get(&b->d.rings[q], &id, &c->used)) {
		MUST(b->o.threads && mock_real_now_ns() < deadline);
		sched_yield();
	}
	MUST(id == c->head);
	return blk_status(b, c);
}

uint8_t blk_run(struct blkbench *b, uint16_t q, struct blk_cmd *c)
{
	blk_send(b, q, c);
	blk_kick(b, q);
	return blk_wait(b, q, c);
}

/* --- fields --- */

void blk_config(struct blkbench *b, uint64_t off, void *buf, uint32_t len)
{
	b->d.ops->config_read(&b->d, off, buf, len);
}

uint32_t blk_config32(struct blkbench *b, uint64_t off)
{
	uint32_t v;

	blk_config(b, off, &v, sizeof(v));
	return le32toh(v);
}

uint16_t blk_config16(struct blkbench *b, uint64_t off)
{
	uint16_t v;

	blk_config(b, off, &v, sizeof(v));
	return le16toh(v);
}

uint8_t blk_config8(struct blkbench *b, uint64_t off)
{
	uint8_t v;

	blk_config(b, off, &v, sizeof(v));
	return v;
}

/* --- bytes --- */

bool blk_is_pattern(struct blkbench *b, uint64_t gpa, uint64_t sector, uint32_t len)
{
	for (; len; gpa += 512, sector++, len -= 512) {
		uint8_t want[512], got[512];

		testdisk_pattern(sector, want);
		arena_read(&b->n.a, gpa, got, 512);
		if (memcmp(want, got, 512))
			return false;
	}
	return true;
}

bool blk_is_untouched(struct blkbench *b, uint64_t sector, uint64_t nr)
{
	for (; nr; sector++, nr--) {
		uint8_t want[512];

		testdisk_pattern(sector, want);
		if (memcmp(want, b->disk.bytes + 512 * sector, 512))
			return false;
	}
	return true;
}

bool blk_disk_is(struct blkbench *b, uint64_t sector, uint8_t byte, uint64_t nr)
{
	for (uint64_t i = 0; i < 512 * nr; i++)
		if (b->disk.bytes[512 * sector + i] != byte)
			return false;
	return true;
}

void blk_range(struct blkbench *b, uint64_t gpa, uint64_t sector, uint32_t nr, uint32_t flags)
{
	uint8_t r[16];

	put_le64(r, sector);
	put_le32(r + 8, nr);
	put_le32(r + 12, flags);
	arena_write(&b->n.a, gpa, r, sizeof(r));
}

/* --- whatever happened --- */

static void check_io(struct blkbench *b, uint16_t q)
{
	bool ro = b->o.info.readonly;
	uint32_t len = b->o.info.block_size;
	uint64_t sector = (uint64_t)q * (len / 512);
	struct blk_cmd out = { .type = BLKT_OUT, .sector = sector, .out = b->data, .out_len = len };
	struct blk_cmd in = {
		.type = BLKT_IN, .sector = sector, .in = b->data + len, .in_len = len
	};
	uint8_t bytes[4096];

	arena_fill(&b->n.a, out.out, (uint8_t)(0x60 + b->slot), len);
	MUST(blk_run(b, q, &out) == (ro ? BLKS_IOERR : BLKS_OK) && out.used == 1);
	arena_fill(&b->n.a, in.in, 0, len);
	MUST(blk_run(b, q, &in) == BLKS_OK && in.used == len + 1);
	arena_read(&b->n.a, in.in, bytes, len);
	MUST(!memcmp(bytes, b->disk.bytes + 512 * sector, len));
}

void blkbench_recover(struct blkbench *b)
{
	blkbench_settle(b);
	uint64_t stray = arena_stray(&b->n.a);
	ck_assert_msg(stray == ARENA_CLEAN, "%#llx was written", (unsigned long long)stray);
	ck_assert(!arena_contains(&b->n.a, b->disk.bytes + b->o.info.size, 16));
	/* The neighbours did not notice. */
	bench_canary(&b->n);
	bench_echo(&b->n, 0);
	ck_assert_uint_eq(b->n.cd.irqs.config + b->n.d.irqs.config, 0);
	b->disk.mode = TESTDISK_POST;
	b->disk.deaf = false;
	b->disk.on_submit = NULL;
	b->disk.part = 0;
	blkbench_reset(b);
	b->d.irqs.config = 0;
	blkbench_up(b, BLK_ALL);
	for (uint16_t q = 0; q < b->o.queues; q++)
		check_io(b, q);
	ck_assert_uint_eq(drv_status(&b->d) & ~VIRTIO_FEATURES_OK, 7);
	ck_assert_uint_eq(b->d.irqs.config, 0);
	ck_assert_uint_eq(b->blk.vd.in_flight, 0);
	bench_canary(&b->n);
	ck_assert_uint_lt(b->d.slowest_ns, ACCESS_NS);
	ck_assert_uint_eq(bench_count_dir("/proc/self/fd"), b->n.fds);
	uint64_t deadline = mock_real_now_ns() + 2 * ACCESS_NS;
	while (bench_count_dir("/proc/self/task") > b->n.tasks)
		ck_assert_uint_lt(mock_real_now_ns(), deadline);
	uint64_t seconds = util_now_ns() / NSEC_PER_SEC - b->n.started_ns / NSEC_PER_SEC + 1;
	ck_assert_uint_le(bench_log_lines(&b->n), LOG_LIMIT_BURST * seconds);
}
