// SPDX-License-Identifier: GPL-2.0
// LINK: virtio/device.c virtio/registers.c virtio/legacy.c virtio/queue.c virtio/mini.c virtio/blk.c virtio/blk-config.c gmem.c util/loop.c util/log.c util/err.c tests/mock/clock.c tests/mock/arena.c tests/mock/ring.c tests/mock/driver.c tests/mock/core.c tests/mock/testdev.c tests/mock/bench.c tests/mock/testdisk.c tests/mock/blkbench.c
/*
 * A driver that breaks the rules of the block device. Each act is on queue 0 of a disk that was up with all
 * features; then G1 to G9 are asserted: nothing stray was written, the neighbours and the other queue are
 * served, and a reset brings the disk back.
 */
#include "unit.h"

#include <errno.h>
#include <string.h>

#include <lkvm/util.h>

#include "../mock/blkbench.h"

#define N 16

static struct blkbench b;
static struct drv_ring *r;
static uint64_t data;

static void begin(const struct blkbench_opts *o)
{
	blkbench_init(&b, o);
	blkbench_up(&b, BLK_ALL);
	r = &b.d.rings[0];
	data = b.data;
}

static void again(const struct blkbench_opts *o)
{
	blkbench_release(&b);
	begin(o);
}

/* Sends these buffers; returns the used length. What is writable may be written, and nothing else. */
static uint32_t run_bufs(const struct drv_buf *bufs, unsigned int nr)
{
	uint32_t id, len;

	arena_settle(&b.n.a);
	arena_permit(&b.n.a, r->used, RING_USED_LEN(r->size));
	uint16_t head = ring_add(r, bufs, nr);
	ring_publish(r);
	blk_kick(&b, 0);
	ck_assert(ring_get(r, &id, &len));
	ck_assert_uint_eq(id, head);
	ck_assert_uint_eq(arena_stray(&b.n.a), ARENA_CLEAN);
	arena_permit(&b.n.a, 0, ARENA_LOW_END);
	return len;
}

static uint8_t byte_at(uint64_t gpa)
{
	uint8_t v;

	arena_read(&b.n.a, gpa, &v, 1);
	return v;
}

/* The queue goes on, without a reset. */
static void goes_on(void)
{
	uint64_t sector = b.o.info.size / 512 - 2; /* which no act writes */
	struct blk_cmd c = {
		.type = BLKT_IN, .sector = sector, .in = b.data + 65536, .in_len = 1024
	};

	ck_assert_uint_eq(drv_status(&b.d), 0x0f);
	ck_assert_uint_eq(blk_run(&b, 0, &c), BLKS_OK);
	ck_assert(blk_is_pattern(&b, c.in, sector, 1024));
}

static struct blk_cmd slot(uint32_t type, uint64_t sector)
{
	struct blk_cmd c = { .type = type, .sector = sector };

	blk_slot(&b, &c);
	return c;
}

/* --- K --- */

static const uint32_t types[] = { BLKT_IN,      BLKT_OUT,    BLKT_FLUSH, BLKT_ID,
				  BLKT_DISCARD, BLKT_ZEROES, 99 };

static void short_headers(void)
{
	for (uint32_t i = 0; i < 16 * ARRAY_SIZE(types); i++) {
		uint32_t len = i % 16;
		struct blk_cmd c = slot(types[i / 16], 0);
		struct drv_buf bufs[] = { { c.header, len, false }, { c.status, 1, true } };

		ck_assert_uint_eq(run_bufs(bufs, 2), 1);
		ck_assert_uint_eq(blk_status(&b, &c), BLKS_IOERR);
		/* With no place for a status, too. */
		if (len)
			ck_assert_uint_eq(run_bufs(bufs, 1), 0);
		/* The rest of the header in a writable descriptor is no header. */
		struct drv_buf split[] = { { c.header, len, false }, { data, 512, true } };
		ck_assert_uint_eq(run_bufs(split, 2), 0);
		ck_assert_uint_eq(byte_at(data + 511), BLKS_IOERR);
	}
	ck_assert_uint_eq(b.disk.ops_nr, 0);
}

static void no_place_for_the_status(void)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(types); i++) {
		struct blk_cmd c = slot(types[i], 0);
		struct drv_buf bufs[] = { { c.header, 16, false }, { data, 512, false } };

		ck_assert_uint_eq(run_bufs(bufs, 1), 0);
		ck_assert_uint_eq(run_bufs(bufs, 2), 0);
		/* Room of no bytes is none. */
		struct drv_buf empty[] = { { c.header, 16, false }, { c.status, 0, true } };
		ck_assert_uint_eq(run_bufs(empty, 2), 0);
		ck_assert_uint_eq(blk_status(&b, &c), BLKS_NONE);
	}
	ck_assert_uint_eq(b.disk.ops_nr, 0);
}

static void data_in_the_wrong_direction(void)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(types); i++) {
		bool in = types[i] == BLKT_IN || types[i] == BLKT_ID;
		struct blk_cmd c = slot(types[i], 0);
		/* Reads with readable data; what is written with writable data. */
		struct drv_buf bufs[] = { { c.header, 16, false },
					  { data, 512, !in },
					  { c.status, 1, true } };
		/* Both at once. */
		struct drv_buf both[] = { { c.header, 16, false },
					  { data, 512, false },
					  { data + 1024, 512, true },
					  { c.status, 1, true } };

		if (types[i] == BLKT_FLUSH || types[i] == 99)
			continue;
		blk_range(&b, data, 0, 8, 0);
		ck_assert_uint_eq(run_bufs(bufs, 3), in ? 1 : 0);
		ck_assert_uint_eq(blk_status(&b, &c), BLKS_IOERR);
		c = slot(types[i], 0);
		both[0].gpa = c.header, both[3].gpa = c.status;
		ck_assert_uint_eq(run_bufs(both, 4), 0);
		ck_assert_uint_eq(blk_status(&b, &c), BLKS_IOERR);
	}
	ck_assert_uint_eq(b.disk.ops_nr, 0);
}

static void status_in_a_readable_descriptor(void)
{
	struct blk_cmd c = slot(BLKT_IN, 0);
	/* The last byte that is writable is the status then, in the data. */
	struct drv_buf bufs[] = { { c.header, 16, false }, { data, 513, true } };

	ck_assert_uint_eq(run_bufs(bufs, 2), 513 + 0);
	ck_assert_uint_eq(byte_at(data + 512), BLKS_OK);
	struct drv_buf out[] = { { c.header, 16, false }, { c.status, 1, false } };
	ck_assert_uint_eq(run_bufs(out, 2), 0);
	ck_assert_uint_eq(blk_status(&b, &c), BLKS_NONE);
}

static void sectors_beyond(void)
{
	static const uint64_t sectors[] = { UINT64_MAX,      1ULL << 55,     BLK_SECTORS,
					    BLK_SECTORS - 1, UINT64_MAX - 1, (1ULL << 55) - 1 };

	for (unsigned int i = 0; i < ARRAY_SIZE(sectors); i++) {
		struct blk_cmd in = {
			.type = BLKT_IN, .sector = sectors[i], .in = data, .in_len = 1024
		};
		struct blk_cmd out = {
			.type = BLKT_OUT, .sector = sectors[i], .out = data, .out_len = 1024
		};

		ck_assert_uint_eq(blk_run(&b, 0, &in), BLKS_IOERR);
		ck_assert_uint_eq(blk_run(&b, 0, &out), BLKS_IOERR);
	}
	ck_assert_uint_eq(b.disk.ops_nr, 0);
}

static void lengths_that_are_no_blocks(void)
{
	static const uint32_t lens[] = { 1, 511, 513 };

	for (unsigned int i = 0; i < ARRAY_SIZE(lens); i++) {
		struct blk_cmd in = { .type = BLKT_IN, .in = data, .in_len = lens[i] };
		struct blk_cmd out = { .type = BLKT_OUT, .out = data, .out_len = lens[i] };

		ck_assert_uint_eq(blk_run(&b, 0, &in), BLKS_IOERR);
		ck_assert_uint_eq(blk_run(&b, 0, &out), BLKS_IOERR);
	}
	ck_assert_uint_eq(b.disk.ops_nr, 0);
}

static bool is_served(uint32_t type)
{
	return type <= 1 || type == 4 || type == 5 || type == 8 || type == 11 || type == 13;
}

static void types_at_random(void)
{
	uint32_t x = 1;

	for (unsigned int i = 0; i < bench_rounds(400000) + 64; i++) {
		struct blk_cmd c = { .type = i < 64 ? i : (x = x * 1664525 + 1013904223) };

		if (is_served(c.type))
			continue;
		ck_assert_uint_eq(blk_run(&b, 0, &c), BLKS_UNSUPP);
		ck_assert_uint_eq(c.used, 1);
	}
	ck_assert_uint_eq(b.disk.ops_nr, 0);
}

static void ranges_of_wrong_lengths(void)
{
	static const uint32_t lens[] = { 0, 8, 17, 16 * (VIRTIO_BLK_SEGS_MAX + 1), BLK_DATA_LEN };

	for (unsigned int i = 0; i < ARRAY_SIZE(lens); i++)
		for (uint32_t type = BLKT_DISCARD; type <= BLKT_ZEROES; type += 2) {
			struct blk_cmd c = { .type = type, .out = data, .out_len = lens[i] };

			ck_assert_uint_eq(blk_run(&b, 0, &c), BLKS_IOERR);
		}
	/* Nearly 4 GiB of ranges: the same memory over and over. */
	struct drv_buf bufs[N];
	struct blk_cmd c = slot(BLKT_DISCARD, 0);
	bufs[0] = (struct drv_buf){ c.header, 16, false };
	for (unsigned int i = 1; i < N - 1; i++)
		bufs[i] = (struct drv_buf){ ARENA_HIGH, (uint32_t)ARENA_HIGH_LEN, false };
	bufs[N - 1] = (struct drv_buf){ c.status, 1, true };
	ck_assert_uint_eq(run_bufs(bufs, N), 1);
	ck_assert_uint_eq(blk_status(&b, &c), BLKS_IOERR);
	ck_assert_uint_eq(b.disk.ops_nr, 0);
}

static void ranges_that_wrap(void)
{
	static const struct {
		uint64_t sector;
		uint32_t nr;
	} bad[] = { { UINT64_MAX, 1 },          { UINT64_MAX - 6, 8 }, { 0, UINT32_MAX },
		    { UINT64_MAX, UINT32_MAX }, { 1ULL << 55, 8 },     { 8, 0x00800000 },
		    { 8, 0x80000000 } };

	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++)
		for (uint32_t type = BLKT_DISCARD; type <= BLKT_ZEROES; type += 2) {
			struct blk_cmd c = { .type = type, .out = data, .out_len = 16 };

			blk_range(&b, data, bad[i].sector, bad[i].nr, 0);
			ck_assert_uint_eq(blk_run(&b, 0, &c), BLKS_IOERR);
		}
	ck_assert_uint_eq(b.disk.ops_nr, 0);
}

static void overwrite_request(struct testdisk *d, struct blk_request *q)
{
	(void)q;
	/* Header and ranges, while the request is with the image. */
	arena_fill(&b.n.a, b.slots, 0xff, 16);
	for (unsigned int i = 0; i < 4; i++)
		blk_range(&b, data + 16 * i, UINT64_MAX, UINT32_MAX, UINT32_MAX);
	d->on_submit = NULL;
}

static void request_is_changed_meanwhile(void)
{
	struct blk_cmd c = { .type = BLKT_ZEROES, .out = data, .out_len = 64 };

	b.slot = 0;
	for (unsigned int i = 0; i < 4; i++)
		blk_range(&b, data + 16 * i, 8 * i, 1, 0);
	b.disk.on_submit = overwrite_request;
	ck_assert_uint_eq(blk_run(&b, 0, &c), BLKS_OK);
	ck_assert_uint_eq(b.disk.ops_nr, 4);
	for (unsigned int i = 0; i < 4; i++)
		ck_assert(blk_disk_is(&b, 8 * i, 0, 1) && blk_is_untouched(&b, 8 * i + 1, 7));
	b.slot = 0;
	b.disk.on_submit = overwrite_request;
	c = (struct blk_cmd){ .type = BLKT_OUT, .sector = 100, .out = data + 4096, .out_len = 512 };
	arena_fill(&b.n.a, data + 4096, 0x33, 512);
	ck_assert_uint_eq(blk_run(&b, 0, &c), BLKS_OK);
	ck_assert(blk_disk_is(&b, 100, 0x33, 1));
}

/* In flight, the descriptors and rings are changed: what was taken is what is done. */
static void descriptors_are_changed_meanwhile(void)
{
	struct blk_cmd c = { .type = BLKT_IN, .sector = 3, .in = data, .in_len = 512 };

	b.disk.mode = TESTDISK_HOLD;
	blk_send(&b, 0, &c);
	blk_kick(&b, 0);
	for (uint16_t i = 0; i < N; i++)
		desc_put(&b.n.a, r->desc, i, (struct drv_desc){ 0, UINT32_MAX, 3, 0xffff });
	testdisk_finish_all(&b.disk, 0);
	blkbench_settle(&b);
	ck_assert_uint_eq(blk_wait(&b, 0, &c), BLKS_OK);
	ck_assert_uint_eq(c.used, 513);
	ck_assert(blk_is_pattern(&b, data, 3, 512));
	b.disk.mode = TESTDISK_POST;
}

static void zeroes_of_a_large_disk(void)
{
	struct blk_info info = b.disk.info;
	struct blk_cmd c = { .type = BLKT_ZEROES, .out = data, .out_len = 16 };

	b.disk.mode = TESTDISK_HOLD;
	b.disk.info.size = 1ULL << 40;
	virtio_blk_resize(&b.blk, 1ULL << 40);
	/* The whole of it is more than a range may have: refused, without a byte allocated. */
	blk_range(&b, data, 0, 1u << 31, 1);
	for (unsigned int i = 0; i < 64; i++)
		ck_assert_uint_eq(blk_run(&b, 0, &c), BLKS_IOERR);
	/* The largest ones: a reset ends them. */
	for (unsigned int i = 0; i < VIRTIO_BLK_SEGS_MAX; i++)
		blk_range(&b, data + 16 * i, (uint64_t)i * VIRTIO_BLK_RANGE_MAX,
			  VIRTIO_BLK_RANGE_MAX, 1);
	c.out_len = 16 * VIRTIO_BLK_SEGS_MAX;
	for (unsigned int i = 0; i < 5; i++)
		blk_send(&b, 0, &c);
	blk_kick(&b, 0);
	ck_assert_uint_eq(testdisk_held(&b.disk), 5);
	drv_set_status(&b.d, 0);
	ck_assert_uint_eq(drv_status(&b.d), 0);
	ck_assert_uint_eq(b.disk.ops_nr, 5);
	b.disk.info = info;
	virtio_blk_resize(&b.blk, info.size);
	blkbench_up(&b, BLK_ALL);
	b.disk.mode = TESTDISK_POST;
	r = &b.d.rings[0];
}

static void writes_to_a_read_only_disk(void)
{
	struct blk_info info = { .size = 65536, .block_size = 512, .readonly = true };

	again(&(struct blkbench_opts){ .info = info, .queues = 2 });
	blkbench_up(&b, BLK_ALL & ~VIRTIO_BIT(BLKF_RO));
	blk_range(&b, data, 0, 1, 0);
	for (unsigned int i = 0; i < 4; i++) {
		static const uint32_t writers[] = { BLKT_OUT, BLKT_DISCARD, BLKT_ZEROES, 14 };
		struct blk_cmd c = { .type = writers[i], .out = data, .out_len = i ? 16 : 512 };

		ck_assert_uint_eq(blk_run(&b, 0, &c), BLKS_IOERR);
	}
	ck_assert_uint_eq(b.disk.ops_nr, 0);
}

static void wild_cache_modes(void)
{
	for (unsigned int i = 0; i < 512; i++) {
		uint8_t v = (uint8_t)(i * 7);
		struct blk_cmd c = { .type = BLKT_OUT, .sector = i, .out = data, .out_len = 512 };

		blk_send(&b, 0, &c);
		ring_kick(r);
		b.d.ops->config_write(&b.d, BLKC_WRITEBACK, &v, 1);
		ck_assert_uint_eq(blk_config8(&b, BLKC_WRITEBACK), v != 0);
		blkbench_settle(&b);
		ck_assert_uint_eq(blk_wait(&b, 0, &c), BLKS_OK);
	}
}

static void ids_of_any_length(void)
{
	static const uint32_t lens[] = { 0, 1, 19, 21, 100 };
	struct drv_buf bufs[N];

	for (unsigned int i = 0; i < ARRAY_SIZE(lens); i++) {
		struct blk_cmd c = slot(BLKT_ID, 0);
		unsigned int nr = 0;

		/* One byte here, one byte there. */
		bufs[nr++] = (struct drv_buf){ c.header, 16, false };
		for (uint32_t k = 0; k < MIN(lens[i], 10u); k++)
			bufs[nr++] = (struct drv_buf){ data + 7 * k, 1, true };
		if (lens[i] > 10)
			bufs[nr++] = (struct drv_buf){ data + 200, lens[i] - 10, true };
		bufs[nr++] = (struct drv_buf){ c.status, 1, true };
		ck_assert_uint_eq(run_bufs(bufs, nr), lens[i] <= 20 ? lens[i] + 1 : 20);
		ck_assert_uint_eq(blk_status(&b, &c), BLKS_OK);
	}
	struct blk_cmd c = { .type = BLKT_ID, .in = ARENA_HIGH + MIB, .in_len = (uint32_t)MIB };
	ck_assert_uint_eq(blk_run(&b, 0, &c), BLKS_OK);
	ck_assert_uint_eq(c.used, 20);
}

static void queues_that_are_not_there(void)
{
	blkbench_up(&b, BLK_ALL & ~VIRTIO_BIT(BLKF_MQ));
	r = &b.d.rings[0];
	struct blk_cmd c = { .type = BLKT_IN, .in = data, .in_len = 512 };
	blk_send(&b, 1, &c);
	for (uint32_t q = 1; q < 70000; q = q * 3 + 1) {
		drv_notify(&b.d, q);
		blkbench_settle(&b);
	}
	ck_assert_uint_eq(b.disk.ops_nr, 0);
	ck_assert_uint_eq(ring_used_idx(&b.d.rings[1]), 0);
}

static void many_flushes(void)
{
	struct blk_cmd c[5], in = { .type = BLKT_IN, .in = data, .in_len = 512 };

	for (unsigned int i = 0; i < 200; i++) {
		for (unsigned int k = 0; k < 5; k++) {
			c[k] = (struct blk_cmd){ .type = BLKT_FLUSH };
			blk_send(&b, 0, &c[k]);
		}
		/* The other queue is not kept waiting by them. */
		b.disk.mode = TESTDISK_HOLD;
		blk_kick(&b, 0);
		b.disk.mode = TESTDISK_POST;
		ck_assert_uint_eq(blk_run(&b, 1, &in), BLKS_OK);
		testdisk_finish_all(&b.disk, 0);
		blkbench_settle(&b);
		for (unsigned int k = 0; k < 5; k++)
			ck_assert_uint_eq(blk_wait(&b, 0, &c[k]), BLKS_OK);
	}
}

static void image_is_cut_off(void)
{
	struct blk_cmd c = { .type = BLKT_IN, .in = data, .in_len = 1024 };

	b.disk.fail = 1;
	b.disk.part = 512;
	ck_assert_uint_eq(blk_run(&b, 0, &c), BLKS_IOERR);
	ck_assert_uint_eq(c.used, 0);
	virtio_blk_resize(&b.blk, 512);
	b.d.irqs.config = 0;
	ck_assert_uint_eq(blk_run(&b, 0, &c), BLKS_IOERR);
	virtio_blk_resize(&b.blk, 0);
	c.in_len = 512;
	ck_assert_uint_eq(blk_run(&b, 0, &c), BLKS_IOERR);
	virtio_blk_resize(&b.blk, b.disk.info.size);
	b.d.irqs.config = 0;
}

/* All of a chain's entries over all of memory: 56 MiB of one request, for which nothing is allocated. */
static void as_much_as_there_is(void)
{
	struct drv_buf bufs[N];
	struct blk_cmd c = slot(BLKT_IN, 0);

	bufs[0] = (struct drv_buf){ c.header, 16, false };
	for (unsigned int i = 1; i < N - 1; i++)
		bufs[i] = (struct drv_buf){ ARENA_HIGH, (uint32_t)ARENA_HIGH_LEN, true };
	bufs[N - 1] = (struct drv_buf){ c.status, 1, true };
	/* The disk is smaller. */
	ck_assert_uint_eq(run_bufs(bufs, N), 0);
	ck_assert_uint_eq(blk_status(&b, &c), BLKS_IOERR);
	ck_assert_uint_eq(b.disk.ops_nr, 0);
}

static void failing_over_and_over(void)
{
	for (unsigned int i = 0; i < bench_rounds(1000000); i++) {
		struct blk_cmd c = {
			.type = i % 3, .sector = UINT64_MAX - i, .in = data, .in_len = 512
		};

		ck_assert_uint_ne(blk_run(&b, 0, &c), BLKS_OK);
	}
	/* A driver's wrong requests are its own affair: nobody is told. */
	ck_assert_uint_eq(bench_log_lines(&b.n), 0);
}

/* --- rows of A to M whose subject is this device's requests --- */

/* The same head while it is out: two requests, each with its own record (HD-7, S-5 of the field). */
static void same_head_twice(void)
{
	for (unsigned int order = 0; order < 2; order++) {
		struct blk_cmd c = { .type = BLKT_IN, .sector = 20, .in = data, .in_len = 512 };

		b.disk.mode = TESTDISK_HOLD;
		blk_send(&b, 0, &c);
		blk_kick(&b, 0);
		/* It means something else by now. */
		struct blk_cmd d = {
			.type = BLKT_OUT, .sector = 40, .out = data + 4096, .out_len = 512
		};
		blk_slot(&b, &d);
		arena_fill(&b.n.a, d.out, 0x44, 512);
		uint16_t n1 = r->next[c.head], n2 = r->next[n1];
		ring_desc(r, c.head, d.header, 16, DESC_NEXT, n1);
		ring_desc(r, n1, d.out, 512, DESC_NEXT, n2);
		ring_desc(r, n2, d.status, 1, DESC_WRITE, 0);
		ring_push(r, c.head);
		blk_kick(&b, 0);
		ck_assert_uint_eq(testdisk_held(&b.disk), 2);
		testdisk_finish(&b.disk, order, 0);
		blkbench_settle(&b);
		testdisk_finish_all(&b.disk, 0);
		blkbench_settle(&b);
		ck_assert_uint_eq(blk_status(&b, &c), BLKS_OK);
		ck_assert_uint_eq(blk_status(&b, &d), BLKS_OK);
		ck_assert(blk_is_pattern(&b, data, 20, 512));
		ck_assert(blk_disk_is(&b, 40, 0x44, 1));
		ck_assert_uint_eq(ring_used_idx(r), 2 * order + 2);
		ring_forget(r);
	}
	b.disk.mode = TESTDISK_POST;
}

static void whole_queue_of_one_head(void)
{
	struct blk_cmd c = { .type = BLKT_IN, .sector = 1, .in = data, .in_len = 512 };

	b.disk.mode = TESTDISK_HOLD;
	blk_send(&b, 0, &c);
	for (unsigned int i = 1; i < N; i++)
		ring_push(r, c.head);
	blk_kick(&b, 0);
	ck_assert_uint_eq(testdisk_held(&b.disk), N);
	testdisk_finish_all(&b.disk, 0);
	blkbench_settle(&b);
	ck_assert_uint_eq(ring_used_idx(r), N);
	ring_forget(r);
	b.disk.mode = TESTDISK_POST;
}

/* With all of it out, one more is more than the queue holds. */
static void more_than_the_queue_holds(void)
{
	struct blk_cmd c = { .type = BLKT_IN, .sector = 1, .in = data, .in_len = 512 };

	b.disk.mode = TESTDISK_HOLD;
	blk_send(&b, 0, &c);
	for (unsigned int i = 1; i <= N; i++) {
		ring_push(r, c.head);
		blk_kick(&b, 0);
	}
	ck_assert(drv_status(&b.d) & VIRTIO_NEEDS_RESET);
	ck_assert_uint_eq(testdisk_held(&b.disk), N);
	blkbench_up(&b, BLK_ALL);
	b.disk.mode = TESTDISK_POST;
	r = &b.d.rings[0];
}

static void empty_descriptors(void)
{
	struct blk_cmd c = slot(BLKT_IN, 5);
	struct drv_buf bufs[] = { { UINT64_MAX, 0, false }, { c.header, 16, false },
				  { 0, 0, false },          { 0, 0, true },
				  { data, 512, true },      { 4, 0, true },
				  { c.status, 1, true },    { 1, 0, true } };

	ck_assert_uint_eq(run_bufs(bufs, ARRAY_SIZE(bufs)), 513);
	ck_assert_uint_eq(blk_status(&b, &c), BLKS_OK);
	ck_assert(blk_is_pattern(&b, data, 5, 512));
	struct drv_buf none[] = { { 0, 0, false }, { 0, 0, true } };
	ck_assert_uint_eq(run_bufs(none, 2), 0);
}

static void header_is_where_the_data_goes(void)
{
	uint64_t at = data;
	struct blk_cmd c = { .type = BLKT_IN, .sector = 9 };
	uint8_t h[16];

	blk_slot(&b, &c);
	arena_read(&b.n.a, c.header, h, 16);
	arena_write(&b.n.a, at, h, 16);
	/* Data over the header; the status within the data. */
	struct drv_buf bufs[] = { { at, 16, false }, { at, 1024, true }, { at + 100, 1, true } };
	ck_assert_uint_eq(run_bufs(bufs, 3), 1025);
	ck_assert_uint_eq(byte_at(at + 100), BLKS_OK);
	ck_assert(blk_is_pattern(&b, at + 512, 10, 512));
}

static void reads_over_its_own_rings(void)
{
	struct blk_cmd c = slot(BLKT_IN, 0);
	struct drv_buf bufs[] = { { c.header, 16, false },
				  { r->desc, 512, true },
				  { r->used & ~511ULL, 512, true },
				  { c.status, 1, true } };

	arena_permit(&b.n.a, 0, ARENA_LOW_END);
	ring_add(r, bufs, 4);
	ring_publish(r);
	blk_kick(&b, 0);
	drv_notify(&b.d, 0);
	blkbench_settle(&b);
	arena_settle(&b.n.a);
	arena_permit(&b.n.a, 0, ARENA_LOW_END);
	blkbench_up(&b, BLK_ALL);
	b.disk.mode = TESTDISK_POST;
	r = &b.d.rings[0];
}

static void one_byte_each(void)
{
	struct blk_cmd c = slot(BLKT_FLUSH, 0);
	struct drv_buf bufs[N + 1];

	again(&(struct blkbench_opts){ .size = 32 });
	c = slot(BLKT_FLUSH, 0);
	for (unsigned int i = 0; i < 16; i++)
		bufs[i] = (struct drv_buf){ c.header + i, 1, false };
	bufs[16] = (struct drv_buf){ c.status, 1, true };
	ck_assert_uint_eq(run_bufs(bufs, 17), 1);
	ck_assert_uint_eq(blk_status(&b, &c), BLKS_OK);
}

/* Data that ends at the last byte of memory, and one byte further. */
static void data_at_the_end_of_memory(void)
{
	struct blk_cmd c = slot(BLKT_IN, 2);
	struct drv_buf bufs[] = { { c.header, 16, false },
				  { ARENA_HIGH_END - 512, 512, true },
				  { c.status, 1, true } };

	ck_assert_uint_eq(run_bufs(bufs, 3), 513);
	ck_assert(blk_is_pattern(&b, ARENA_HIGH_END - 512, 2, 512));
	bufs[1].gpa++;
	ck_assert_uint_eq(run_bufs(bufs, 3), 0);
	/* The status at the border: the last byte of memory. */
	bufs[1].gpa = data;
	bufs[2].gpa = ARENA_HIGH_END - 1;
	ck_assert_uint_eq(run_bufs(bufs, 3), 513);
	bufs[2].gpa++;
	ck_assert_uint_eq(run_bufs(bufs, 3), 0);
}

static const struct {
	const char *rows;
	void (*act)(void);
} rows[] = {
	/* ROW_TABLE(hostile) */
	{ "HD-172", short_headers },
	{ "HD-173 HD-20", no_place_for_the_status },
	{ "HD-174 HD-21 BLK-29", data_in_the_wrong_direction },
	{ "HD-174 HD-22", status_in_a_readable_descriptor },
	{ "HD-175", sectors_beyond },
	{ "HD-176", lengths_that_are_no_blocks },
	{ "HD-177", types_at_random },
	{ "HD-178", ranges_of_wrong_lengths },
	{ "HD-179", ranges_that_wrap },
	{ "HD-180 HD-219", request_is_changed_meanwhile },
	{ "HD-26", descriptors_are_changed_meanwhile },
	{ "HD-181", zeroes_of_a_large_disk },
	{ "HD-182", writes_to_a_read_only_disk },
	{ "HD-183", wild_cache_modes },
	{ "HD-184", ids_of_any_length },
	{ "HD-185", queues_that_are_not_there },
	{ "HD-186", many_flushes },
	{ "HD-187", image_is_cut_off },
	{ "HD-190", as_much_as_there_is },
	{ "HD-191", failing_over_and_over },
	{ "HD-7", same_head_twice },
	{ "HD-7 HD-62", whole_queue_of_one_head },
	{ "HD-62", more_than_the_queue_holds },
	{ "HD-9 HD-10 HD-11", empty_descriptors },
	{ "HD-23", header_is_where_the_data_goes },
	{ "HD-24", reads_over_its_own_rings },
	{ "HD-27", one_byte_each },
	{ "HD-15 HD-76", data_at_the_end_of_memory },
};

START_TEST(hostile)
{
	begin(&(struct blkbench_opts){ .queues = 2, .size = N, .serial = "hostile" });
	b.disk.mode = TESTDISK_POST;
	rows[_i].act();
	goes_on();
	blkbench_recover(&b);
	blkbench_release(&b);
}

UNIT_SUITE("virtio-blk-hostile", { tcase_add_loop_test(tc, hostile, 0, ARRAY_SIZE(rows)); })
