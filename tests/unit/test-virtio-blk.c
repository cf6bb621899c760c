// SPDX-License-Identifier: GPL-2.0
// LINK: virtio/device.c virtio/registers.c virtio/legacy.c virtio/queue.c virtio/mini.c virtio/blk.c virtio/blk-config.c gmem.c util/loop.c util/log.c util/err.c tests/mock/clock.c tests/mock/arena.c tests/mock/ring.c tests/mock/driver.c tests/mock/core.c tests/mock/testdev.c tests/mock/bench.c tests/mock/testdisk.c tests/mock/blkbench.c
/* The block device: its features and fields, and what becomes of each request (5.2.2 to 5.2.6). */
#include "unit.h"

#include <errno.h>
#include <string.h>

#include <lkvm/util.h>

#include "../mock/blkbench.h"

static struct blkbench b;

static const struct drv_transport_ops *const transports[] = { &drv_core, &drv_core_legacy };

/* A disk of its own in the place of the fixture's. */
static void remake(const struct blkbench_opts *o)
{
	blkbench_release(&b);
	blkbench_init(&b, o);
}

static void setup(void)
{
	blkbench_init(&b, &(struct blkbench_opts){ .serial = "serial 12" });
}

static void teardown(void)
{
	blkbench_recover(&b);
	blkbench_release(&b);
}

static struct blk_cmd cmd_in(uint64_t sector, uint32_t len)
{
	return (struct blk_cmd){ .type = BLKT_IN, .sector = sector, .in = b.data, .in_len = len };
}

static struct blk_cmd cmd_out(uint64_t sector, uint32_t len)
{
	return (struct blk_cmd){
		.type = BLKT_OUT, .sector = sector, .out = b.data, .out_len = len
	};
}

static void check_status(struct blk_cmd c, uint8_t status, uint32_t used)
{
	ck_assert_uint_eq(blk_run(&b, 0, &c), status);
	ck_assert_uint_eq(c.used, used);
}

static uint64_t offered(void)
{
	return drv_offered(&b.d);
}

static bool offers(unsigned int bit)
{
	return offered() & VIRTIO_BIT(bit);
}

/* --- 6.1: features and fields --- */

START_TEST(offers_what_it_is)
{
	ROW("BLK-2", "BLK-3", "BLK-52", "BLK-57", "BLK-60", "BLK-61", "BLK-65", "BLK-68", "BLK-70",
	    "BLK-72");
	const uint64_t always = VIRTIO_BIT(BLKF_SIZE_MAX) | VIRTIO_BIT(BLKF_SEG_MAX) |
				VIRTIO_BIT(BLKF_GEOMETRY) | VIRTIO_BIT(BLKF_BLK_SIZE) |
				VIRTIO_BIT(BLKF_FLUSH) | VIRTIO_BIT(BLKF_TOPOLOGY) |
				VIRTIO_BIT(BLKF_WCE);
	const uint64_t own = (UINT64_C(1) << 24) - 1;

	for (unsigned int i = 0; i < 32; i++) {
		struct blk_info info = { .size = 65536, .block_size = 512 };
		bool ignore = i & 16;

		info.readonly = i & 1;
		info.discard = i & 2;
		info.write_zeroes = i & 4;
		info.flush = i & 8;
		uint64_t want = always;
		if (info.readonly)
			want |= VIRTIO_BIT(BLKF_RO);
		if (!info.readonly && (info.discard || ignore))
			want |= VIRTIO_BIT(BLKF_DISCARD);
		if (!info.readonly && info.write_zeroes)
			want |= VIRTIO_BIT(BLKF_ZEROES);
		if (i % 3 == 2)
			want |= VIRTIO_BIT(BLKF_MQ);
		for (unsigned int t = 0; t < 2; t++) {
			remake(&(struct blkbench_opts){ .info = info,
							.queues = i % 3 + (i % 3 == 0),
							.transport = transports[t],
							.discard = ignore ? VIRTIO_BLK_IGNORE
									  : VIRTIO_BLK_UNMAP });
			ck_assert_uint_eq(offered() & own, want);
		}
	}
}

START_TEST(identity)
{
	ck_assert_uint_eq(b.blk.vd.ops->device_id, 2);
	ck_assert_uint_eq(b.blk.vd.ops->legacy_id, 0x1001);
	ck_assert_uint_eq(b.blk.vd.config_len, BLKC_LEN);
}

START_TEST(fields_say_what_it_is)
{
	ROW("BLK-5", "BLK-6", "BLK-9", "BLK-10", "BLK-13", "BLK-42", "BLK-43", "GEN-39", "GEN-40",
	    "GEN-43");
	struct blk_info info = { .size = 0x12345678ULL * 4096,
				 .block_size = 4096,
				 .flush = true,
				 .discard = true,
				 .write_zeroes = true,
				 .discard_align = 65536 };
	uint8_t before[BLKC_LEN + 4], after[BLKC_LEN + 4], le[8];

	/* A size that no test has memory for: the fields alone. */
	remake(&(struct blkbench_opts){ .queues = 3, .size = 64 });
	b.blk.info = info;
	virtio_blk_resize(&b.blk, info.size);
	drv_set_status(&b.d, 3);
	blk_config(&b, 0, before, sizeof(before));
	ck_assert_uint_eq(get_le64(before), 0x12345678ULL * 8);
	put_le64(le, 0x12345678ULL * 8);
	ck_assert_mem_eq(before, le, 8);
	ck_assert_uint_eq(get_le32(before + BLKC_SIZE_MAX) % 4096, 0);
	ck_assert_uint_gt(get_le32(before + BLKC_SIZE_MAX), 0);
	ck_assert_uint_eq(get_le32(before + BLKC_SEG_MAX), 62);
	ck_assert_uint_eq(get_le32(before + BLKC_BLK_SIZE), 4096);
	ck_assert_uint_eq(before[BLKC_TOPOLOGY], 0);
	ck_assert_uint_eq(before[BLKC_TOPOLOGY + 1], 0);
	ck_assert_uint_eq(get_le16(before + BLKC_TOPOLOGY + 2), 1);
	ck_assert_uint_eq(get_le32(before + BLKC_TOPOLOGY + 4), 0);
	ck_assert_uint_eq(before[BLKC_WRITEBACK], 1);
	ck_assert_uint_eq(before[BLKC_WRITEBACK + 1], 0);
	ck_assert_uint_eq(get_le16(before + BLKC_QUEUES), 3);
	ck_assert_uint_eq(get_le32(before + BLKC_DISCARD), VIRTIO_BLK_RANGE_MAX);
	ck_assert_uint_eq(get_le32(before + BLKC_DISCARD + 4), VIRTIO_BLK_SEGS_MAX);
	ck_assert_uint_eq(get_le32(before + BLKC_DISCARD + 8), 128);
	ck_assert_uint_eq(get_le32(before + BLKC_ZEROES), VIRTIO_BLK_RANGE_MAX);
	ck_assert_uint_eq(get_le32(before + BLKC_ZEROES + 4), VIRTIO_BLK_SEGS_MAX);
	ck_assert_uint_eq(before[BLKC_MAY_UNMAP], 1);
	/* The tail, and what is beyond the last field. */
	for (uint32_t i = BLKC_MAY_UNMAP + 1; i < sizeof(before); i++)
		ck_assert_uint_eq(before[i], 0);
	/* The same at every width, and when the driver runs. */
	for (uint32_t i = 0; i < BLKC_LEN; i++)
		ck_assert_uint_eq(blk_config8(&b, i), before[i]);
	for (uint32_t i = 0; i < BLKC_LEN; i += 4)
		ck_assert_uint_eq(blk_config32(&b, i), get_le32(before + i));
	blkbench_up(&b, BLK_ALL);
	blk_config(&b, 0, after, sizeof(after));
	ck_assert_mem_eq(before, after, sizeof(before));
	b.blk.info = b.disk.info;
	virtio_blk_resize(&b.blk, b.disk.info.size);
	b.d.irqs.config = 0;
}

START_TEST(fields_of_what_is_not_offered_are_0)
{
	ROW("BLK-7", "BLK-42", "BLK-43");
	struct blk_info info = { .size = 65536, .block_size = 512 };
	uint8_t c[BLKC_LEN];

	remake(&(struct blkbench_opts){ .info = info });
	blk_config(&b, 0, c, sizeof(c));
	for (uint32_t i = BLKC_QUEUES; i < BLKC_LEN; i++)
		ck_assert_uint_eq(c[i], 0);
	/* Zeroes that are never freed: said so, and no more (BLK-42). */
	info.write_zeroes = true;
	remake(&(struct blkbench_opts){ .info = info });
	ck_assert_uint_eq(blk_config32(&b, BLKC_ZEROES), VIRTIO_BLK_RANGE_MAX);
	ck_assert_uint_eq(blk_config8(&b, BLKC_MAY_UNMAP), 0);
	info.discard = true;
	remake(&(struct blkbench_opts){ .info = info, .discard = VIRTIO_BLK_IGNORE });
	ck_assert_uint_eq(blk_config8(&b, BLKC_MAY_UNMAP), 0);
	ck_assert_uint_eq(blk_config32(&b, BLKC_DISCARD + 8), 1);
}

START_TEST(a_512e_disk_says_so)
{
	ROW("BLK-9");
	struct blk_info info = { .size = 65536, .block_size = 512, .physical_size = 4096 };

	remake(&(struct blkbench_opts){ .info = info });
	ck_assert_uint_eq(blk_config8(&b, BLKC_TOPOLOGY), 3);
	ck_assert_uint_eq(blk_config16(&b, BLKC_TOPOLOGY + 2), 8);
	ck_assert_uint_eq(blk_config32(&b, BLKC_BLK_SIZE), 512);
}

START_TEST(geometry_fits)
{
	ROW("BLK-10");
	static const uint64_t sectors[] = {
		1, 7, 1007, 1008, 2048, 1 << 20, 65535ULL * 1008, 1ULL << 33, 1ULL << 54
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(sectors); i++) {
		virtio_blk_resize(&b.blk, sectors[i] * 512);
		uint64_t c = blk_config16(&b, BLKC_GEOMETRY),
			 h = blk_config8(&b, BLKC_GEOMETRY + 2),
			 s = blk_config8(&b, BLKC_GEOMETRY + 3);
		ck_assert_uint_le(c * h * s, sectors[i]);
		ck_assert_uint_gt(c * h * s, 0);
	}
	virtio_blk_resize(&b.blk, b.disk.info.size);
}

START_TEST(only_writeback_is_the_drivers)
{
	ROW("GEN-44", "BLK-55", "HD-183");
	uint64_t ones = UINT64_MAX;
	uint8_t before[BLKC_LEN], after[BLKC_LEN], v;

	blkbench_up(&b, BLK_ALL);
	blk_config(&b, 0, before, sizeof(before));
	v = 0;
	b.d.ops->config_write(&b.d, BLKC_WRITEBACK, &v, 1);
	before[BLKC_WRITEBACK] = 0;
	for (uint32_t width = 1; width <= 8; width *= 2)
		for (uint64_t off = 0; off < BLKC_LEN + 8; off++)
			if (off != BLKC_WRITEBACK || width > 1)
				b.d.ops->config_write(&b.d, off, &ones, width);
	blk_config(&b, 0, after, sizeof(after));
	ck_assert_mem_eq(before, after, sizeof(before));
	for (unsigned int i = 0; i < 256; i++) {
		v = (uint8_t)i;
		b.d.ops->config_write(&b.d, BLKC_WRITEBACK, &v, 1);
		ck_assert_uint_eq(blk_config8(&b, BLKC_WRITEBACK), i != 0);
	}
}

START_TEST(queues_as_negotiated)
{
	ROW("BLK-1", "HD-185", "GEN-54");
	remake(&(struct blkbench_opts){ .queues = 4, .loops = 2, .transport = transports[_i] });
	blkbench_up(&b, BLK_ALL);
	ck_assert_uint_eq(b.d.ops->queues_nr(&b.d), 4);
	for (uint16_t q = 0; q < 4; q++) {
		struct blk_cmd c = cmd_in(q, 512);

		ck_assert_uint_eq(blk_run(&b, q, &c), BLKS_OK);
		ck_assert_uint_eq(b.d.irqs.queue[q], 1);
		/* A channel and a loop to itself, as far as there are loops. */
		ck_assert_uint_eq(b.disk.ops[b.disk.ops_nr - 1].channel, q);
		ck_assert_ptr_eq(b.blk.vd.vqs[q].loop, b.n.loops[q % 2]);
		ck_assert_ptr_eq(b.disk.channels[q].ch.loop, b.n.loops[q % 2]);
		ck_assert_uint_eq(b.disk.channels[q].depth, b.o.size);
	}
	/* Without MQ there is one, whatever is set up and however often it is rung. */
	blkbench_up(&b, BLK_ALL & ~VIRTIO_BIT(BLKF_MQ));
	unsigned int asked = b.disk.ops_nr;
	struct blk_cmd c = cmd_in(0, 512);
	blk_send(&b, 1, &c);
	for (unsigned int i = 0; i < 100; i++) {
		drv_notify(&b.d, 1);
		drv_notify(&b.d, 4 + i * 1000);
		blkbench_settle(&b);
	}
	ck_assert_uint_eq(b.disk.ops_nr, asked);
	ck_assert_uint_eq(ring_used_idx(&b.d.rings[1]), 0);
	ck_assert_uint_eq(blk_run(&b, 0, &c), BLKS_OK);
}

START_TEST(the_size_may_change)
{
	ROW("BLK-14", "BLK-15", "BLK-16", "GEN-41", "GEN-42");
	virtio_blk_resize(&b.blk, 1000 * 512 + 100);
	ck_assert_uint_eq(b.d.irqs.config, 0);
	ck_assert_uint_eq(blk_config32(&b, 0), 1000);
	blkbench_up(&b, BLK_ALL);
	check_status(cmd_in(999, 512), BLKS_OK, 513);
	check_status(cmd_in(1000, 512), BLKS_IOERR, 0);
	uint32_t low = blk_config32(&b, 0);
	uint8_t generation = b.d.ops->generation(&b.d);
	/* One that is checked stays checked; the image answers for it. */
	b.disk.mode = TESTDISK_HOLD;
	struct blk_cmd c = cmd_in(999, 512);
	blk_send(&b, 0, &c);
	blk_kick(&b, 0);
	virtio_blk_resize(&b.blk, 500 * 512);
	ck_assert_uint_eq(b.d.irqs.config, 1);
	ck_assert_uint_ne(blk_config32(&b, 0), low);
	ck_assert_uint_ne(b.d.ops->generation(&b.d), generation);
	testdisk_finish_all(&b.disk, -EIO);
	blkbench_settle(&b);
	ck_assert_uint_eq(blk_wait(&b, 0, &c), BLKS_IOERR);
	b.disk.mode = TESTDISK_KICK;
	check_status(cmd_in(500, 512), BLKS_IOERR, 0);
	check_status(cmd_in(499, 512), BLKS_OK, 513);
	virtio_blk_resize(&b.blk, b.disk.info.size);
	check_status(cmd_in(BLK_SECTORS - 1, 512), BLKS_OK, 513);
	ck_assert_uint_eq(b.d.irqs.config, 2);
}

/* --- 6.2: requests --- */

START_TEST(reads)
{
	ROW("BLK-17", "BLK-19", "BLK-22", "BLK-23", "GEN-46", "SPL-8", "SPL-25");
	remake(&(struct blkbench_opts){ .transport = transports[_i] });
	blkbench_up(&b, BLK_ALL);
	for (uint32_t nr = 1; nr <= 256; nr += nr < 8 ? 1 : 31) {
		struct blk_cmd c = cmd_in(nr * 3, nr * 512);

		c.reserved = nr % 2 ? UINT32_MAX : 0;
		ck_assert_uint_eq(blk_run(&b, 0, &c), BLKS_OK);
		ck_assert_uint_eq(c.used, nr * 512 + 1);
		ck_assert(blk_is_pattern(&b, c.in, c.sector, c.in_len));
	}
	check_status(cmd_in(BLK_SECTORS - 1, 512), BLKS_OK, 513);
	check_status(cmd_in(0, BLK_DATA_LEN), BLKS_OK, BLK_DATA_LEN + 1);
}

START_TEST(writes)
{
	ROW("BLK-19", "BLK-22", "BLK-24", "GEN-46", "SPL-8");
	remake(&(struct blkbench_opts){ .transport = transports[_i] });
	blkbench_up(&b, BLK_ALL);
	for (uint32_t nr = 1; nr <= 256; nr += nr < 8 ? 1 : 31) {
		struct blk_cmd c = cmd_out(nr * 3, nr * 512);

		c.reserved = nr % 2 ? UINT32_MAX : 0;
		arena_fill(&b.n.a, c.out, (uint8_t)nr, c.out_len);
		ck_assert_uint_eq(blk_run(&b, 0, &c), BLKS_OK);
		ck_assert_uint_eq(c.used, 1);
		ck_assert(blk_disk_is(&b, c.sector, (uint8_t)nr, nr));
		ck_assert(blk_is_untouched(&b, c.sector + nr, 1));
	}
}

/*
 * The bytes of a request, cut at two places (and into single bytes for the last rounds) in each part: the
 * result is the same (BLK-17, SPL-5).
 */
static uint64_t table; /* for indirect descriptors */

static void run_cut(bool write, uint32_t len, uint32_t cut1, uint32_t cut2, uint32_t piece,
		    unsigned int direct)
{
	struct blk_cmd c = write ? cmd_out(9, len) : cmd_in(9, len);
	uint64_t out = b.data, in = b.data + 65536, base = write ? out : in;
	uint32_t out_len = 16 + (write ? len : 0), in_len = 1 + (write ? 0 : len);
	struct drv_ring *r = &b.d.rings[0];
	struct drv_buf bufs[1024];
	unsigned int nr = 0;
	uint8_t h[16];

	blk_slot(&b, &c);
	arena_read(&b.n.a, c.header, h, 16);
	arena_write(&b.n.a, out, h, 16);
	arena_fill(&b.n.a, base + (write ? 16 : 0), 0xa5, len);
	c.status = in + in_len - 1;
	arena_fill(&b.n.a, c.status, BLKS_NONE, 1);
	for (unsigned int part = 0; part < 2; part++) {
		uint64_t at = part ? in : out;
		uint32_t total = part ? in_len : out_len, n;

		for (uint32_t p = 0; p < total; p += n) {
			n = MIN(piece ?: total, total - p);
			if (p < cut1)
				n = MIN(n, cut1 - p);
			if (p < cut2)
				n = MIN(n, cut2 - p);
			bufs[nr++] = (struct drv_buf){ at + p, n, part };
		}
	}
	c.head = ring_add_indirect(r, bufs, nr, direct, direct ? table : 0);
	ring_publish(r);
	if (write)
		memset(b.disk.bytes + 9 * 512, 0, len);
	blk_kick(&b, 0);
	ck_assert_uint_eq(blk_wait(&b, 0, &c), BLKS_OK);
	ck_assert_uint_eq(c.used, in_len);
	if (write)
		ck_assert(blk_disk_is(&b, 9, 0xa5, len / 512));
	else
		ck_assert(blk_is_pattern(&b, in, 9, len));
	ck_assert_uint_eq(arena_stray(&b.n.a), ARENA_CLEAN);
}

START_TEST(any_framing)
{
	ROW("SPL-5", "SPL-14", "SPL-16", "BLK-17", "BLK-69");
	remake(&(struct blkbench_opts){ .transport = transports[_i / 2], .size = 1024 });
	blkbench_up(&b, BLK_ALL);
	table = arena_alloc_high(&b.n.a, 16 * 1024, 16);
	for (uint32_t cut1 = 0; cut1 <= 512 + 16; cut1 += cut1 < 20 || cut1 > 500 ? 1 : 61)
		for (uint32_t cut2 = 0; cut2 <= 512 + 16; cut2 += 66)
			run_cut(_i % 2, 512, cut1, cut2, 0, cut1 % 2);
	for (uint32_t piece = 1; piece <= 17; piece++)
		run_cut(_i % 2, 512, 0, 0, piece, piece == 2);
}

START_TEST(as_long_as_seg_max_and_longer)
{
	ROW("SPL-6", "BLK-12");
	struct drv_buf bufs[20];
	uint32_t id, len;

	remake(&(struct blkbench_opts){ .size = 16 });
	blkbench_up(&b, BLK_ALL);
	table = arena_alloc(&b.n.a, 16 * 20, 16);
	uint32_t seg_max = blk_config32(&b, BLKC_SEG_MAX);
	ck_assert_uint_eq(seg_max, 14);
	for (uint32_t nr = 1; nr <= seg_max + 1; nr++) {
		struct blk_cmd c = cmd_in(5, nr * 512);

		blk_slot(&b, &c);
		bufs[0] = (struct drv_buf){ c.header, 16, false };
		for (uint32_t i = 0; i < nr; i++)
			bufs[1 + i] = (struct drv_buf){ b.data + 1024 * i, 512, true };
		bufs[1 + nr] = (struct drv_buf){ c.status, 1, true };
		ring_add_indirect(&b.d.rings[0], bufs, nr + 2, 0, nr % 2 ? table : 0);
		ring_publish(&b.d.rings[0]);
		blk_kick(&b, 0);
		ck_assert(ring_get(&b.d.rings[0], &id, &len));
		/* One more than it said, and in more descriptors than a queue has: back, unserved. */
		ck_assert_uint_eq(len, nr <= seg_max ? nr * 512 + 1 : 0);
		ck_assert_uint_eq(blk_status(&b, &c), nr <= seg_max ? BLKS_OK : BLKS_NONE);
		for (uint32_t i = 0; i < nr && nr <= seg_max; i++)
			ck_assert(blk_is_pattern(&b, b.data + 1024 * i, 5 + i, 512));
	}
}

/* More pieces than one host call takes (1024), for which the image is asked once. */
START_TEST(more_pieces_than_a_host_call_takes)
{
	ROW("SPL-7", "HD-189");
	static struct drv_buf bufs[1024];
	unsigned int nr = 0, seg = 1021;
	struct blk_cmd c;
	uint32_t id, len;

	remake(&(struct blkbench_opts){ .size = 1024 });
	blkbench_up(&b, BLK_ALL);
	table = arena_alloc_high(&b.n.a, 16 * 1024, 16);
	c = cmd_in(1, 0);
	blk_slot(&b, &c);
	bufs[nr++] = (struct drv_buf){ c.header, 16, false };
	/* Eight of them lie over a border of two regions: those are two pieces each. */
	for (unsigned int i = 0; i < 8; i++)
		bufs[nr++] = (struct drv_buf){ ARENA_SPLIT - 256, 512, true };
	for (unsigned int i = 8; i < seg; i++)
		bufs[nr++] = (struct drv_buf){ b.data + 512 * (seg - i), 512, true };
	bufs[nr++] = (struct drv_buf){ c.status, 1, true };
	ring_add_indirect(&b.d.rings[0], bufs, nr, 0, table);
	ring_publish(&b.d.rings[0]);
	blk_kick(&b, 0);
	ck_assert(ring_get(&b.d.rings[0], &id, &len));
	ck_assert_uint_eq(len, seg * 512 + 1);
	ck_assert_uint_eq(b.disk.ops[b.disk.ops_nr - 1].iov_nr, seg + 8);
	for (unsigned int i = 8; i < seg; i++)
		ck_assert(blk_is_pattern(&b, b.data + 512 * (seg - i), 1 + i, 512));
	ck_assert(blk_is_pattern(&b, ARENA_SPLIT - 256, 8, 512));
}

START_TEST(long_segments_are_served)
{
	ROW("BLK-11");
	blkbench_up(&b, BLK_ALL);
	/* Larger than any segment that it asks for: served, or refused with the rest of the checks. */
	struct blk_cmd c = cmd_in(0, BLK_DATA_LEN);
	ck_assert_uint_eq(blk_run(&b, 0, &c), BLKS_OK);
	ck_assert(blk_is_pattern(&b, c.in, 0, c.in_len));
}

static const uint32_t unknown_types[] = { 2,  3,          6,          7,          9,
					  12, 27,         0x7fffffff, 16,         20,
					  22, 0x80000001, 0x80000000, 0x80000004, 15,
					  18, 24,         26,         10,         14 };

START_TEST(unknown_types_are_unsupported)
{
	ROW("BLK-20", "BLK-21", "BLK-52", "BLK-65", "BLK-68", "BLK-71", "HD-177");
	remake(&(struct blkbench_opts){ .transport = transports[_i] });
	blkbench_up(&b, BLK_ALL);
	for (unsigned int i = 0; i < ARRAY_SIZE(unknown_types); i++)
		check_status((struct blk_cmd){ .type = unknown_types[i] }, BLKS_UNSUPP, 1);
	/* Each bit of a type that is known: compared as a whole. */
	for (unsigned int bit = 4; bit < 32; bit++) {
		struct blk_cmd c = cmd_in(0, 512);

		c.type = 1u << bit;
		check_status(c, BLKS_UNSUPP, 0);
		c = cmd_out(0, 512);
		c.type = 1 | 1u << bit;
		check_status(c, BLKS_UNSUPP, 1);
	}
	/* Framed as SCSI commands were. */
	struct blk_cmd c = {
		.type = 2, .out = b.data, .out_len = 32, .in = b.data + 64, .in_len = 96 + 16
	};
	check_status(c, BLKS_UNSUPP, 0);
	ck_assert_uint_eq(b.disk.ops_nr, 0);
}

START_TEST(not_negotiated_is_not_supported)
{
	ROW("BLK-21");
	blkbench_up(&b, BLK_ALL & ~(VIRTIO_BIT(BLKF_DISCARD) | VIRTIO_BIT(BLKF_ZEROES)));
	blk_range(&b, b.data, 0, 8, 0);
	for (uint32_t type = 0; type < 32; type++)
		if (type == 10 || type == 11 || type == 13 || type == 14)
			check_status((struct blk_cmd){ .type = type, .out = b.data, .out_len = 16 },
				     BLKS_UNSUPP, 1);
	ck_assert_uint_eq(b.disk.ops_nr, 0);
}

START_TEST(whole_sectors_only)
{
	ROW("BLK-25", "HD-176");
	static const uint32_t lens[] = { 1, 511, 513, 1023, 65535 };

	blkbench_up(&b, BLK_ALL);
	for (unsigned int i = 0; i < ARRAY_SIZE(lens); i++) {
		arena_fill(&b.n.a, b.data, 0x77, lens[i]);
		check_status(cmd_in(1, lens[i]), BLKS_IOERR, 0);
		check_status(cmd_out(1, lens[i]), BLKS_IOERR, 1);
	}
	ck_assert_uint_eq(b.disk.ops_nr, 0);
}

START_TEST(whole_blocks_only)
{
	ROW("BLK-8", "HD-176");
	struct blk_info info = {
		.size = 1 << 20, .block_size = 4096, .discard = true, .write_zeroes = true
	};

	remake(&(struct blkbench_opts){ .info = info });
	blkbench_up(&b, BLK_ALL);
	check_status(cmd_in(8, 4096), BLKS_OK, 4097);
	check_status(cmd_out(8, 8192), BLKS_OK, 1);
	check_status(cmd_in(8, 512), BLKS_IOERR, 0);
	check_status(cmd_in(9, 4096), BLKS_IOERR, 0);
	check_status(cmd_out(8, 512), BLKS_IOERR, 1);
	check_status(cmd_out(12, 4096), BLKS_IOERR, 1);
	for (unsigned int i = 0; i < 4; i++) {
		blk_range(&b, b.data, i & 1 ? 9 : 8, i & 2 ? 7 : 8, 0);
		struct blk_cmd c = { .type = BLKT_DISCARD, .out = b.data, .out_len = 16 };
		check_status(c, i ? BLKS_IOERR : BLKS_OK, 1);
		c.type = BLKT_ZEROES;
		check_status(c, i ? BLKS_IOERR : BLKS_OK, 1);
	}
}

START_TEST(no_data)
{
	ROW("BLK-26");
	blkbench_up(&b, BLK_ALL);
	check_status(cmd_in(0, 0), BLKS_OK, 1);
	check_status(cmd_out(0, 0), BLKS_OK, 1);
	check_status(cmd_in(BLK_SECTORS, 0), BLKS_OK, 1);
	check_status(cmd_in(BLK_SECTORS + 1, 0), BLKS_IOERR, 1);
	check_status(cmd_out(UINT64_MAX, 0), BLKS_IOERR, 1);
	ck_assert_uint_eq(b.disk.ops_nr, 0);
}

START_TEST(inside_the_disk_only)
{
	ROW("BLK-27", "HD-175");
	static const uint64_t sectors[] = { BLK_SECTORS,    BLK_SECTORS - 1,  UINT64_MAX,
					    UINT64_MAX - 1, 1ULL << 55,       (1ULL << 55) - 1,
					    1ULL << 63,     (1ULL << 55) + 1, UINT32_MAX };

	blkbench_up(&b, BLK_ALL);
	for (unsigned int i = 0; i < ARRAY_SIZE(sectors); i++) {
		arena_fill(&b.n.a, b.data, 0x77, 1024);
		check_status(cmd_in(sectors[i], 1024), BLKS_IOERR, 0);
		check_status(cmd_out(sectors[i], 1024), BLKS_IOERR, 1);
	}
	ck_assert_uint_eq(b.disk.ops_nr, 0);
	ck_assert(blk_is_untouched(&b, 0, BLK_SECTORS));
	check_status(cmd_in(BLK_SECTORS - 2, 1024), BLKS_OK, 1025);
}

START_TEST(errors_of_the_image)
{
	ROW("BLK-28", "BLK-58", "SPL-27", "SPL-28", "HD-187");
	blkbench_up(&b, BLK_ALL);
	arena_settle(&b.n.a);
	arena_permit(&b.n.a, b.slots, 32 * BLK_SLOTS);
	arena_permit(&b.n.a, b.d.rings[0].used, RING_USED_LEN(b.o.size));
	b.disk.fail = 3;
	struct blk_cmd c = cmd_in(0, 2048);
	/* Nothing of it was written, though it may be: the buffer is the driver's to fill again. */
	check_status(c, BLKS_IOERR, 0);
	check_status(cmd_out(0, 512), BLKS_IOERR, 1);
	check_status((struct blk_cmd){ .type = BLKT_FLUSH }, BLKS_IOERR, 1);
	check_status((struct blk_cmd){ .type = BLKT_FLUSH }, BLKS_OK, 1);
	/* In the middle. */
	b.disk.part = 700;
	b.disk.fail = 2;
	check_status(c, BLKS_IOERR, 0);
	check_status(cmd_out(40, 1024), BLKS_IOERR, 1);
	check_status(c, BLKS_OK, 2049);
	/* Every error that an image can have is the same to a driver; a positive number is none of success. */
	b.disk.mode = TESTDISK_HOLD;
	static const int rets[] = { -EIO, -ENOSPC, -ECANCELED, -EROFS, 1, 512 };
	for (unsigned int i = 0; i < ARRAY_SIZE(rets); i++) {
		c = cmd_in(0, 512);
		blk_send(&b, 0, &c);
		blk_kick(&b, 0);
		testdisk_finish(&b.disk, 0, rets[i]);
		blkbench_settle(&b);
		ck_assert_uint_eq(blk_wait(&b, 0, &c), BLKS_IOERR);
		ck_assert_uint_eq(c.used, 0);
	}
}

START_TEST(serials)
{
	ROW("BLK-30", "BLK-31", "HD-184");
	static const char *const all[] = { NULL, "", "1234567890123456789", "12345678901234567890",
					   "1234567890123456789012345678901234567890" };
	static const uint32_t lens[] = { 20, 0, 1, 19, 21, 4096, BLK_DATA_LEN };

	for (unsigned int i = 0; i < ARRAY_SIZE(all); i++) {
		uint8_t want[20] = { 0 }, got[21];

		remake(&(struct blkbench_opts){ .serial = all[i], .transport = transports[_i] });
		blkbench_up(&b, BLK_ALL);
		if (all[i])
			memcpy(want, all[i], MIN(strlen(all[i]), sizeof(want)));
		for (unsigned int k = 0; k < ARRAY_SIZE(lens); k++) {
			struct blk_cmd c = {
				.type = BLKT_ID, .sector = k, .in = b.data, .in_len = lens[k]
			};
			uint32_t n = MIN(lens[k], 20u);

			arena_fill(&b.n.a, b.data, 0x77, 64);
			ck_assert_uint_eq(blk_run(&b, 0, &c), BLKS_OK);
			ck_assert_uint_eq(c.used, lens[k] <= 20 ? lens[k] + 1 : 20);
			arena_read(&b.n.a, b.data, got, 21);
			ck_assert_mem_eq(got, want, n);
			ck_assert_uint_eq(got[n], 0x77);
		}
		ck_assert_uint_eq(b.disk.ops_nr, 0);
	}
}

START_TEST(flushes)
{
	ROW("BLK-32", "BLK-64", "HD-186");
	remake(&(struct blkbench_opts){ .transport = transports[_i] });
	blkbench_up(&b, BLK_ALL);
	struct blk_cmd c = { .type = BLKT_FLUSH, .sector = 5, .out = b.data, .out_len = 100 };
	check_status(c, BLKS_OK, 1);
	c.sector = UINT64_MAX;
	c.in = b.data + 4096;
	c.in_len = 33;
	check_status(c, BLKS_OK, 0);
	/* The old number. */
	check_status((struct blk_cmd){ .type = 5 }, BLKS_OK, 1);
	ck_assert_uint_eq(testdisk_count(&b.disk, BLK_FLUSH), 3);
	/* Many, and a read is not kept waiting. */
	for (unsigned int i = 0; i < 1000; i++)
		check_status(i % 10 ? (struct blk_cmd){ .type = BLKT_FLUSH } : cmd_in(i, 512),
			     BLKS_OK, i % 10 ? 1 : 513);
	ck_assert_uint_eq(testdisk_count(&b.disk, BLK_FLUSH), 903);
}

START_TEST(an_image_without_a_cache_is_not_flushed)
{
	ROW("BLK-2");
	struct blk_info info = { .size = 65536, .block_size = 512, .readonly = true };

	remake(&(struct blkbench_opts){ .info = info });
	blkbench_up(&b, BLK_ALL);
	ck_assert(offers(BLKF_FLUSH));
	check_status((struct blk_cmd){ .type = BLKT_FLUSH }, BLKS_OK, 1);
	ck_assert_uint_eq(b.disk.ops_nr, 0);
}

START_TEST(in_any_order)
{
	ROW("BLK-18", "BLK-33", "SPL-29", "SPL-31");
	struct blk_cmd c[4];

	blkbench_up(&b, BLK_ALL);
	b.disk.mode = TESTDISK_HOLD;
	for (unsigned int i = 0; i < 4; i++) {
		c[i] = cmd_in(i, 512);
		c[i].in += 1024 * i;
		arena_fill(&b.n.a, c[i].in, 0, 512);
		blk_send(&b, 0, &c[i]);
	}
	blk_kick(&b, 0);
	static const unsigned int order[] = { 2, 0, 1, 0 }, which[] = { 2, 0, 3, 1 };
	for (unsigned int i = 0; i < 4; i++) {
		ck_assert_uint_eq(ring_used_idx(&b.d.rings[0]), i);
		testdisk_finish(&b.disk, order[i], 0);
		blkbench_settle(&b);
		ck_assert_uint_eq(blk_wait(&b, 0, &c[which[i]]), BLKS_OK);
		ck_assert(blk_is_pattern(&b, c[which[i]].in, which[i], 512));
		for (unsigned int k = i + 1; k < 4; k++)
			ck_assert_uint_eq(blk_status(&b, &c[which[k]]), BLKS_NONE);
	}
	/* Two writes of the same place: each sector is of one of them. */
	for (unsigned int i = 0; i < 2; i++) {
		c[i] = cmd_out(10 + i, 1024);
		c[i].out += 4096 * i;
		arena_fill(&b.n.a, c[i].out, (uint8_t)(0x51 + i), 1024);
		blk_send(&b, 0, &c[i]);
	}
	blk_kick(&b, 0);
	testdisk_finish(&b.disk, 1, 0);
	testdisk_finish_all(&b.disk, 0);
	blkbench_settle(&b);
	ck_assert_uint_eq(blk_wait(&b, 0, &c[1]), BLKS_OK);
	ck_assert_uint_eq(blk_wait(&b, 0, &c[0]), BLKS_OK);
	ck_assert(blk_disk_is(&b, 10, 0x51, 2));
	ck_assert(blk_disk_is(&b, 12, 0x52, 1));
}

START_TEST(one_kick_and_one_flush_a_batch)
{
	struct blk_cmd c[3];

	remake(&(struct blkbench_opts){ 0 });
	blkbench_up(&b, MODERN);
	b.disk.mode = TESTDISK_HOLD;
	uint32_t kicks = b.disk.channels[0].kicks, irqs = b.d.irqs.queue[0];
	for (unsigned int i = 0; i < 3; i++) {
		c[i] = cmd_in(i, 512);
		blk_send(&b, 0, &c[i]);
	}
	blk_kick(&b, 0);
	ck_assert_uint_eq(testdisk_held(&b.disk), 3);
	/* The kick that was needed, and at most one that found nothing more. */
	ck_assert_uint_le(b.disk.channels[0].kicks, kicks + 2);
	/* What is done in one turn is told once. */
	testdisk_finish_all(&b.disk, 0);
	blkbench_settle(&b);
	ck_assert_uint_eq(ring_used_idx(&b.d.rings[0]), 3);
	ck_assert_uint_eq(b.d.irqs.queue[0], irqs + 1);
}

START_TEST(ranges_done_at_once_take_one_kick)
{
	blkbench_up(&b, BLK_ALL);
	b.disk.mode = TESTDISK_NOW;
	for (unsigned int i = 0; i < 8; i++)
		blk_range(&b, b.data + 16 * i, 8 * i, 1, 0);
	uint32_t kicks = b.disk.channels[0].kicks;
	check_status((struct blk_cmd){ .type = BLKT_ZEROES, .out = b.data, .out_len = 128 },
		     BLKS_OK, 1);
	ck_assert_uint_eq(b.disk.ops_nr, 8);
	ck_assert_uint_eq(b.disk.channels[0].kicks, kicks + 1);
}

static uint16_t flags_seen;

static void look_at_flags(struct testdisk *d, struct blk_request *r)
{
	(void)d, (void)r;
	flags_seen = ring_used_flags(&b.d.rings[0]);
}

START_TEST(no_kicks_while_the_ring_is_emptied)
{
	ROW("SPL-41", "SPL-42", "SPL-43");
	b.disk.on_submit = look_at_flags;
	for (unsigned int i = 0; i < 2; i++) {
		blkbench_up(&b, i ? BLK_ALL : BLK_ALL & ~VIRTIO_BIT(VIRTIO_F_EVENT_IDX));
		check_status(cmd_in(0, 512), BLKS_OK, 513);
		ck_assert_uint_eq(flags_seen, !i);
		ck_assert_uint_eq(ring_used_flags(&b.d.rings[0]), 0);
	}
	b.disk.on_submit = NULL;
}

START_TEST(writable_memory_is_not_read)
{
	ROW("SPL-9");
	uint8_t secret[16] = "for no one else";
	struct blk_cmd c = cmd_in(3, 512);

	blkbench_up(&b, BLK_ALL);
	for (unsigned int i = 0; i < 32; i++)
		arena_write(&b.n.a, b.data + 16 * i, secret, 16);
	b.disk.fail = 1;
	check_status(c, BLKS_IOERR, 0);
	c.type = 77;
	check_status(c, BLKS_UNSUPP, 0);
	c.type = BLKT_FLUSH;
	check_status(c, BLKS_OK, 0);
	ck_assert_ptr_null(memmem(b.disk.bytes, b.disk.info.size, secret, 16));
}

UNIT_SUITE("virtio-blk", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, offers_what_it_is);
	tcase_add_test(tc, identity);
	tcase_add_test(tc, fields_say_what_it_is);
	tcase_add_test(tc, fields_of_what_is_not_offered_are_0);
	tcase_add_test(tc, a_512e_disk_says_so);
	tcase_add_test(tc, geometry_fits);
	tcase_add_test(tc, only_writeback_is_the_drivers);
	tcase_add_loop_test(tc, queues_as_negotiated, 0, 2);
	tcase_add_test(tc, the_size_may_change);
	tcase_add_loop_test(tc, reads, 0, 2);
	tcase_add_loop_test(tc, writes, 0, 2);
	tcase_add_loop_test(tc, any_framing, 0, 4);
	tcase_add_test(tc, as_long_as_seg_max_and_longer);
	tcase_add_test(tc, more_pieces_than_a_host_call_takes);
	tcase_add_test(tc, long_segments_are_served);
	tcase_add_loop_test(tc, unknown_types_are_unsupported, 0, 2);
	tcase_add_test(tc, not_negotiated_is_not_supported);
	tcase_add_test(tc, whole_sectors_only);
	tcase_add_test(tc, whole_blocks_only);
	tcase_add_test(tc, no_data);
	tcase_add_test(tc, inside_the_disk_only);
	tcase_add_test(tc, errors_of_the_image);
	tcase_add_loop_test(tc, serials, 0, 2);
	tcase_add_loop_test(tc, flushes, 0, 2);
	tcase_add_test(tc, an_image_without_a_cache_is_not_flushed);
	tcase_add_test(tc, in_any_order);
	tcase_add_test(tc, one_kick_and_one_flush_a_batch);
	tcase_add_test(tc, ranges_done_at_once_take_one_kick);
	tcase_add_test(tc, no_kicks_while_the_ring_is_emptied);
	tcase_add_test(tc, writable_memory_is_not_read);
})
