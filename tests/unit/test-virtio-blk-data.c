// SPDX-License-Identifier: GPL-2.0
// LINK: virtio/device.c virtio/registers.c virtio/legacy.c virtio/queue.c virtio/mini.c virtio/blk.c virtio/blk-config.c gmem.c util/loop.c util/log.c util/err.c tests/mock/clock.c tests/mock/arena.c tests/mock/ring.c tests/mock/driver.c tests/mock/core.c tests/mock/testdev.c tests/mock/bench.c tests/mock/testdisk.c tests/mock/blkbench.c
/* The block device: what changes the medium, what survives a power cut, and what a reset does to it. */
#include "unit.h"

#include <errno.h>
#include <string.h>

#include <lkvm/util.h>

#include "../mock/blkbench.h"

static struct blkbench b;

static const struct drv_transport_ops *const transports[] = { &drv_core, &drv_core_legacy };

static void remake(const struct blkbench_opts *o)
{
	blkbench_release(&b);
	blkbench_init(&b, o);
}

static void setup(void)
{
	blkbench_init(&b, &(struct blkbench_opts){ 0 });
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

static struct blk_cmd cmd_ranges(uint32_t type, uint32_t len)
{
	return (struct blk_cmd){ .type = type, .out = b.data, .out_len = len };
}

static void check_status(struct blk_cmd c, uint8_t status)
{
	ck_assert_uint_eq(blk_run(&b, 0, &c), status);
	ck_assert_uint_eq(c.used, c.in_len ? (status ? 0 : c.in_len + 1) : 1);
}

static const uint32_t range_types[] = { BLKT_DISCARD, BLKT_ZEROES };

/* One range, whose outcome both types share. */
static void check_range(uint64_t sector, uint32_t nr, uint8_t status)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(range_types); i++) {
		blk_range(&b, b.data, sector, nr, 0);
		check_status(cmd_ranges(range_types[i], 16), status);
	}
}

/* --- 6.3 --- */

START_TEST(a_read_only_disk_stays_as_it_is)
{
	ROW("BLK-34", "BLK-35", "BLK-52", "HD-182");
	struct blk_info info = {
		.size = 65536, .block_size = 512, .readonly = true, .flush = true
	};
	uint64_t features = BLK_ALL;

	if (_i & 1)
		features &= ~VIRTIO_BIT(BLKF_RO);
	remake(&(struct blkbench_opts){
		.info = info, .serial = "ro", .transport = transports[_i / 2] });
	blkbench_up(&b, features);
	ck_assert(drv_offered(&b.d) & VIRTIO_BIT(BLKF_RO));
	check_status(cmd_out(0, 512), BLKS_IOERR);
	check_status(cmd_out(0, 0), BLKS_IOERR);
	check_range(0, 8, BLKS_IOERR);
	check_status(cmd_ranges(14, 16), BLKS_IOERR);
	ck_assert_uint_eq(b.disk.ops_nr, 0);
	check_status((struct blk_cmd){ .type = BLKT_FLUSH }, BLKS_OK);
	check_status((struct blk_cmd){ .type = BLKT_ID, .in = b.data, .in_len = 20 }, BLKS_OK);
	check_status(cmd_in(0, 512), BLKS_OK);
	ck_assert(blk_is_untouched(&b, 0, 128));
}

START_TEST(flags_of_ranges)
{
	ROW("BLK-36", "BLK-37");
	static const uint32_t flags[] = { 1, 2, 3, 0x80000000, 0x80000001, 0xffffffff };

	blkbench_up(&b, BLK_ALL);
	for (unsigned int t = 0; t < 2; t++)
		for (unsigned int f = 0; f < ARRAY_SIZE(flags); f++)
			for (unsigned int at = 0; at < 3; at++) {
				bool known = range_types[t] == BLKT_ZEROES && flags[f] == 1;

				if (known)
					continue;
				for (unsigned int i = 0; i < 3; i++)
					blk_range(&b, b.data + 16 * i, 8 * i, 8,
						  i == at ? flags[f] : 0);
				check_status(cmd_ranges(range_types[t], 48), BLKS_UNSUPP);
				/* Also beside a range that is wrong for another reason. */
				blk_range(&b, b.data + 16 * !at, UINT64_MAX, 8, 0);
				check_status(cmd_ranges(range_types[t], 48), BLKS_UNSUPP);
			}
	ck_assert_uint_eq(b.disk.ops_nr, 0);
	ck_assert(blk_is_untouched(&b, 0, 64));
}

START_TEST(discards)
{
	ROW("BLK-38", "BLK-50");
	blkbench_up(&b, BLK_ALL);
	b.disk.mode = _i ? TESTDISK_NOW : TESTDISK_POST;
	blk_range(&b, b.data, 8, 8, 0);
	blk_range(&b, b.data + 16, 100, 0, 0);
	blk_range(&b, b.data + 32, 32, 1, 0);
	check_status(cmd_ranges(BLKT_DISCARD, 48), BLKS_OK);
	ck_assert_uint_eq(testdisk_count(&b.disk, BLK_DISCARD), 2);
	ck_assert(blk_is_untouched(&b, 0, 8) && blk_is_untouched(&b, 16, 16));
	ck_assert(blk_is_untouched(&b, 33, 100));
	ck_assert(!blk_is_untouched(&b, 8, 1) && !blk_is_untouched(&b, 32, 1));
	/* Nothing at all. */
	blk_range(&b, b.data, 8, 0, 0);
	check_status(cmd_ranges(BLKT_DISCARD, 16), BLKS_OK);
	check_status(cmd_ranges(BLKT_ZEROES, 16), BLKS_OK);
	ck_assert_uint_eq(b.disk.ops_nr, 2);
}

START_TEST(discards_that_are_ignored)
{
	ROW("BLK-38");
	remake(&(struct blkbench_opts){ .discard = VIRTIO_BLK_IGNORE });
	blkbench_up(&b, BLK_ALL);
	check_range(BLK_SECTORS, 1, BLKS_IOERR);
	blk_range(&b, b.data, 8, 8, 0);
	check_status(cmd_ranges(BLKT_DISCARD, 16), BLKS_OK);
	ck_assert_uint_eq(b.disk.ops_nr, 0);
	/* Zeroes are written and not freed. */
	blk_range(&b, b.data, 8, 8, 1);
	check_status(cmd_ranges(BLKT_ZEROES, 16), BLKS_OK);
	ck_assert(blk_disk_is(&b, 8, 0, 8));
	ck_assert(!b.disk.ops[0].unmap);
}

START_TEST(zeroes)
{
	ROW("BLK-39", "BLK-40", "BLK-41");
	blkbench_up(&b, BLK_ALL);
	b.disk.mode = _i ? TESTDISK_NOW : TESTDISK_POST;
	blk_range(&b, b.data, 8, 8, 0);
	blk_range(&b, b.data + 16, 24, 8, 1);
	check_status(cmd_ranges(BLKT_ZEROES, 32), BLKS_OK);
	ck_assert(blk_disk_is(&b, 8, 0, 8) && blk_disk_is(&b, 24, 0, 8));
	ck_assert(blk_is_untouched(&b, 0, 8) && blk_is_untouched(&b, 16, 8));
	ck_assert(blk_is_untouched(&b, 32, 8));
	/* May be freed only where the driver says so. */
	ck_assert(!b.disk.ops[0].unmap && b.disk.ops[1].unmap);
}

START_TEST(lengths_of_ranges)
{
	ROW("BLK-45", "HD-178");
	static const uint32_t lens[] = { 0, 1, 8, 15, 17, 24, 40 };

	blkbench_up(&b, BLK_ALL);
	blk_range(&b, b.data, 0, 8, 0);
	blk_range(&b, b.data + 16, 8, 8, 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(lens); i++)
		for (unsigned int t = 0; t < 2; t++)
			check_status(cmd_ranges(range_types[t], lens[i]), BLKS_IOERR);
	/* The answer's place is for the status alone. */
	struct blk_cmd c = cmd_ranges(BLKT_ZEROES, 16);
	c.in = b.data + 64;
	c.in_len = 1;
	check_status(c, BLKS_IOERR);
	ck_assert_uint_eq(b.disk.ops_nr, 0);
}

START_TEST(ranges_in_pieces)
{
	ROW("BLK-46");
	blkbench_up(&b, BLK_ALL);
	for (unsigned int cut = 1; cut < 32; cut++) {
		struct blk_cmd c = { .type = BLKT_ZEROES };
		struct drv_buf bufs[4];

		blk_slot(&b, &c);
		blk_range(&b, b.data, cut, 1, 0);
		blk_range(&b, b.data + 16, 100 + cut, 1, 0);
		bufs[0] = (struct drv_buf){ c.header, 16, false };
		bufs[1] = (struct drv_buf){ b.data, cut, false };
		bufs[2] = (struct drv_buf){ b.data + cut, 32 - cut, false };
		bufs[3] = (struct drv_buf){ c.status, 1, true };
		c.head = ring_add(&b.d.rings[0], bufs, 4);
		ring_publish(&b.d.rings[0]);
		blk_kick(&b, 0);
		ck_assert_uint_eq(blk_wait(&b, 0, &c), BLKS_OK);
		ck_assert(blk_disk_is(&b, cut, 0, 1) && blk_disk_is(&b, 100 + cut, 0, 1));
		ck_assert(blk_is_untouched(&b, cut + 1, 1));
	}
}

START_TEST(limits_of_ranges)
{
	ROW("BLK-13", "BLK-47", "HD-178");
	struct blk_info info = b.disk.info;

	blkbench_up(&b, BLK_ALL);
	for (unsigned int n = VIRTIO_BLK_SEGS_MAX; n <= VIRTIO_BLK_SEGS_MAX + 1; n++) {
		bool good = n == VIRTIO_BLK_SEGS_MAX;

		for (unsigned int i = 0; i < n; i++)
			blk_range(&b, b.data + 16 * i, 8 * i, 8, 0);
		for (unsigned int t = 0; t < 2; t++)
			check_status(cmd_ranges(range_types[t], 16 * n),
				     good ? BLKS_OK : BLKS_IOERR);
		ck_assert_uint_eq(b.disk.ops_nr, 2 * VIRTIO_BLK_SEGS_MAX);
	}
	/* Far more than that; what it costs does not depend on it. */
	check_status(cmd_ranges(BLKT_DISCARD, BLK_DATA_LEN), BLKS_IOERR);
	/* The size of a range; the image is asked to hold it, so that it alone is wrong. */
	b.disk.mode = TESTDISK_HOLD;
	b.disk.info.size = (uint64_t)VIRTIO_BLK_RANGE_MAX * 1024;
	virtio_blk_resize(&b.blk, b.disk.info.size);
	check_range(0, VIRTIO_BLK_RANGE_MAX + 1, BLKS_IOERR);
	blk_range(&b, b.data, 0, VIRTIO_BLK_RANGE_MAX, 0);
	struct blk_cmd c = cmd_ranges(BLKT_DISCARD, 16);
	blk_send(&b, 0, &c);
	blk_kick(&b, 0);
	ck_assert_uint_eq(testdisk_held(&b.disk), 1);
	testdisk_finish_all(&b.disk, -EIO);
	blkbench_settle(&b);
	ck_assert_uint_eq(blk_wait(&b, 0, &c), BLKS_IOERR);
	b.disk.info = info;
	virtio_blk_resize(&b.blk, info.size);
	b.d.irqs.config = 0;
}

START_TEST(ranges_inside_the_disk_only)
{
	ROW("BLK-48", "HD-179");
	static const struct {
		uint64_t sector;
		uint32_t nr;
	} bad[] = {
		{ BLK_SECTORS, 1 },
		{ BLK_SECTORS - 1, 2 },
		{ UINT64_MAX, 1 },
		{ UINT64_MAX, 2 },
		{ UINT64_MAX - 7, 8 },
		{ 1ULL << 55, 1 },
		{ (1ULL << 55) - 1, 1 },
		{ 1ULL << 63, 8 },
		{ 0, UINT32_MAX },
		{ 0, 0x800000 },
		{ BLK_SECTORS - 8, 0x80000008 },
		{ UINT64_MAX, 0 },
		{ BLK_SECTORS + 1, 0 },
	};

	blkbench_up(&b, BLK_ALL);
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		check_range(bad[i].sector, bad[i].nr, BLKS_IOERR);
		/* The good ones beside it are not applied. */
		blk_range(&b, b.data, 0, 8, 0);
		blk_range(&b, b.data + 16, bad[i].sector, bad[i].nr, 0);
		check_status(cmd_ranges(BLKT_DISCARD, 32), BLKS_IOERR);
	}
	ck_assert_uint_eq(b.disk.ops_nr, 0);
	ck_assert(blk_is_untouched(&b, 0, BLK_SECTORS));
	check_range(BLK_SECTORS - 1, 1, BLKS_OK);
	check_range(BLK_SECTORS, 0, BLKS_OK);
}

static void rewrite_ranges(struct testdisk *d, struct blk_request *r)
{
	(void)d, (void)r;
	for (unsigned int i = 0; i < 2; i++)
		blk_range(&b, b.data + 16 * i, 500, 200, 1);
}

START_TEST(ranges_are_copied_once)
{
	ROW("BLK-49", "HD-180", "HD-219");
	blkbench_up(&b, BLK_ALL);
	b.disk.on_submit = rewrite_ranges;
	blk_range(&b, b.data, 8, 1, 0);
	blk_range(&b, b.data + 16, 12, 1, 0);
	check_status(cmd_ranges(BLKT_ZEROES, 32), BLKS_OK);
	ck_assert(blk_disk_is(&b, 8, 0, 1) && blk_disk_is(&b, 12, 0, 1));
	ck_assert(blk_is_untouched(&b, 500, 200));
	ck_assert(!b.disk.ops[1].unmap);
}

START_TEST(an_error_ends_the_ranges)
{
	ROW("BLK-51");
	blkbench_up(&b, BLK_ALL);
	b.disk.mode = TESTDISK_HOLD;
	for (unsigned int i = 0; i < 3; i++)
		blk_range(&b, b.data + 16 * i, 8 * i, 4, 0);
	struct blk_cmd c = cmd_ranges(BLKT_ZEROES, 48);
	blk_send(&b, 0, &c);
	blk_kick(&b, 0);
	testdisk_finish(&b.disk, 0, 0);
	blkbench_settle(&b);
	ck_assert_uint_eq(blk_status(&b, &c), BLKS_NONE);
	testdisk_finish(&b.disk, 0, -EIO);
	blkbench_settle(&b);
	ck_assert_uint_eq(blk_wait(&b, 0, &c), BLKS_IOERR);
	ck_assert_uint_eq(c.used, 1);
	ck_assert_uint_eq(b.disk.ops_nr, 2);
	ck_assert(blk_is_untouched(&b, 16, 8) && blk_is_untouched(&b, 4, 4));
}

/* --- 6.4 --- */

static bool is_stable(uint64_t sector, uint8_t byte)
{
	for (unsigned int i = 0; i < 512; i++)
		if (b.disk.stable[512 * sector + i] != byte)
			return false;
	return true;
}

/* Writes, and says whether a power cut right after it leaves it there. */
static bool survives(uint64_t sector, uint8_t byte)
{
	arena_fill(&b.n.a, b.data, byte, 512);
	check_status(cmd_out(sector, 512), BLKS_OK);
	ck_assert(blk_disk_is(&b, sector, byte, 1));
	return is_stable(sector, byte);
}

static void set_mode(uint8_t v)
{
	b.d.ops->config_write(&b.d, BLKC_WRITEBACK, &v, 1);
}

#define NO_WCE   ~VIRTIO_BIT(BLKF_WCE)
#define NO_FLUSH ~VIRTIO_BIT(BLKF_FLUSH)

START_TEST(stable_when_it_must_be)
{
	ROW("BLK-4", "BLK-53", "BLK-54", "BLK-55", "BLK-56");
	static const struct {
		uint64_t features;
		bool write_through; /* the option */
		uint8_t mode;
	} cases[] = {
		{ BLK_ALL, false, 1 },
		{ BLK_ALL, true, 0 },
		{ BLK_ALL & NO_WCE, false, 1 },
		{ BLK_ALL & NO_WCE, true, 0 },
		{ BLK_ALL & NO_FLUSH, false, 0 },
		{ BLK_ALL & NO_FLUSH, true, 0 },
		{ BLK_ALL & NO_WCE & NO_FLUSH, false, 0 },
		{ BLK_ALL & NO_WCE & NO_FLUSH, true, 0 },
	};
	bool wce = cases[_i].features & VIRTIO_BIT(BLKF_WCE);

	remake(&(struct blkbench_opts){ .write_through = cases[_i].write_through });
	/* What the driver finds from FEATURES_OK on. */
	blkbench_prepare(&b, cases[_i].features);
	ck_assert_uint_eq(blk_config8(&b, BLKC_WRITEBACK), cases[_i].mode);
	drv_driver_ok(&b.d);
	ck_assert_uint_eq(blk_config8(&b, BLKC_WRITEBACK), cases[_i].mode);
	ck_assert_int_eq(survives(1, 0x11), !cases[_i].mode);
	/* So for zeroes and discards. */
	blk_range(&b, b.data, 2, 1, 0);
	check_status(cmd_ranges(BLKT_ZEROES, 16), BLKS_OK);
	ck_assert_int_eq(is_stable(2, 0), !cases[_i].mode);
	check_status(cmd_ranges(BLKT_DISCARD, 16), BLKS_OK);
	ck_assert_int_eq(b.disk.ops[b.disk.ops_nr - 1].fua, !cases[_i].mode);
	check_status(cmd_in(1, 512), BLKS_OK);
	check_status((struct blk_cmd){ .type = BLKT_FLUSH }, BLKS_OK);
	ck_assert(is_stable(1, 0x11));
	for (unsigned int i = b.disk.ops_nr - 2; i < b.disk.ops_nr; i++)
		ck_assert(!b.disk.ops[i].fua);
	/* Toggled at run time, where it is the driver's to say. */
	for (unsigned int i = 0; i < 4; i++) {
		uint8_t mode = i % 2, want = wce ? mode : cases[_i].mode;

		set_mode(mode);
		ck_assert_uint_eq(blk_config8(&b, BLKC_WRITEBACK), want);
		ck_assert_int_eq(survives(3, (uint8_t)(0x21 + i)), !want);
	}
	/* A reset forgets it. */
	blkbench_up(&b, cases[_i].features);
	ck_assert_uint_eq(blk_config8(&b, BLKC_WRITEBACK), cases[_i].mode);
}

START_TEST(a_mode_said_before_driver_ok_holds)
{
	ROW("BLK-55", "BLK-56");
	blkbench_prepare(&b, BLK_ALL);
	set_mode(0);
	drv_driver_ok(&b.d);
	ck_assert_uint_eq(blk_config8(&b, BLKC_WRITEBACK), 0);
	ck_assert(survives(1, 0x31));
	/* Before FEATURES_OK nothing is negotiated, whatever has been written so far. */
	drv_set_status(&b.d, 0);
	drv_set_status(&b.d, 3);
	drv_accept(&b.d, BLK_ALL & drv_offered(&b.d));
	set_mode(0);
	ck_assert_uint_eq(blk_config8(&b, BLKC_WRITEBACK), 1);
}

START_TEST(a_flush_covers_every_queue)
{
	ROW("BLK-53", "BLK-58", "BLK-59");
	remake(&(struct blkbench_opts){ .queues = 2, .loops = 2 });
	blkbench_up(&b, BLK_ALL);
	struct blk_cmd c = cmd_out(7, 512), f = { .type = BLKT_FLUSH };
	arena_fill(&b.n.a, b.data, 0x41, 512);
	ck_assert_uint_eq(blk_run(&b, 1, &c), BLKS_OK);
	ck_assert(!is_stable(7, 0x41));
	b.disk.fail = 1;
	ck_assert_uint_eq(blk_run(&b, 0, &f), BLKS_IOERR);
	ck_assert(!is_stable(7, 0x41));
	ck_assert_uint_eq(blk_run(&b, 0, &f), BLKS_OK);
	ck_assert(is_stable(7, 0x41));
}

/* --- 6.6 --- */

static void legacy_up(uint64_t features, uint8_t status)
{
	struct drv_ring *r = &b.d.rings[0];

	drv_set_status(&b.d, 1);
	drv_set_status(&b.d, 3);
	drv_accept(&b.d, features & drv_offered(&b.d));
	b.d.features = features & drv_offered(&b.d);
	ring_make(&b.d, 0, b.o.size);
	ring_enable(r);
	drv_set_status(&b.d, status);
	blkbench_settle(&b);
}

START_TEST(legacy_modes)
{
	ROW("BLK-63", "BLK-66", "BLK-67", "BLK-53");
	remake(&(struct blkbench_opts){ .transport = &drv_core_legacy });
	blkbench_reset(&b);
	set_mode(0);
	ck_assert_uint_eq(blk_config8(&b, BLKC_WRITEBACK), 0);
	for (uint8_t status = 1; status <= 3; status += 2) {
		drv_set_status(&b.d, status);
		ck_assert_uint_eq(blk_config8(&b, BLKC_WRITEBACK), 0);
	}
	for (uint64_t f = 0; f < 4; f++) {
		drv_accept(&b.d, (f & 1 ? VIRTIO_BIT(BLKF_WCE) : 0) |
					 (f & 2 ? VIRTIO_BIT(BLKF_FLUSH) : 0));
		ck_assert_uint_eq(blk_config8(&b, BLKC_WRITEBACK), 0);
	}
	/* With CONFIG_WCE it stays as it was said. */
	legacy_up(VIRTIO_BIT(BLKF_WCE) | VIRTIO_BIT(BLKF_FLUSH), 7);
	ck_assert_uint_eq(blk_config8(&b, BLKC_WRITEBACK), 0);
	ck_assert(survives(1, 0x11));
	set_mode(1);
	ck_assert(!survives(1, 0x12));
	/* Without it the device settles it. */
	blkbench_reset(&b);
	set_mode(0);
	legacy_up(VIRTIO_BIT(BLKF_FLUSH), 7);
	ck_assert_uint_eq(blk_config8(&b, BLKC_WRITEBACK), 1);
	ck_assert(!survives(1, 0x13));
	set_mode(0);
	ck_assert_uint_eq(blk_config8(&b, BLKC_WRITEBACK), 1);
	blkbench_reset(&b);
	legacy_up(0, 7);
	ck_assert_uint_eq(blk_config8(&b, BLKC_WRITEBACK), 0);
	ck_assert(survives(1, 0x14));
	/* The bit alone changes nothing (5.2.5.3). */
	blkbench_reset(&b);
	legacy_up(VIRTIO_BIT(BLKF_WCE), 7);
	ck_assert_uint_eq(blk_config8(&b, BLKC_WRITEBACK), 1);
}

/* --- reset, queue reset and stop with requests out --- */

static struct blk_cmd held[8];

static void hold(uint16_t q, unsigned int nr)
{
	b.disk.mode = TESTDISK_HOLD;
	for (unsigned int i = 0; i < nr; i++) {
		held[i] = cmd_in(i, 512);
		held[i].in += 1024 * i;
		arena_fill(&b.n.a, held[i].in, 0x77, 512);
		blk_send(&b, q, &held[i]);
	}
	blk_kick(&b, q);
}

static void forbid_all(void)
{
	arena_settle(&b.n.a);
	ck_assert_uint_eq(arena_stray(&b.n.a), ARENA_CLEAN);
}

START_TEST(reset_ends_what_can_be_ended)
{
	ROW("GEN-33", "GEN-34", "HD-103");
	remake(&(struct blkbench_opts){ .transport = transports[_i] });
	blkbench_up(&b, BLK_ALL);
	hold(0, 4);
	ck_assert_uint_eq(testdisk_held(&b.disk), 4);
	forbid_all();
	drv_set_status(&b.d, 0);
	ck_assert_uint_eq(drv_status(&b.d), 0);
	ck_assert_uint_eq(b.blk.vd.in_flight, 0);
	blkbench_settle(&b);
	/* No status, no used entry, no interrupt. */
	ck_assert_uint_eq(arena_stray(&b.n.a), ARENA_CLEAN);
	ck_assert_uint_eq(b.d.irqs.queue[0], 0);
}

START_TEST(reset_waits_for_a_deaf_image)
{
	ROW("HD-223", "GEN-36");
	remake(&(struct blkbench_opts){ .transport = transports[_i] });
	blkbench_up(&b, BLK_ALL);
	b.disk.deaf = true;
	hold(0, 4);
	uint16_t used = ring_used_idx(&b.d.rings[0]);
	/* A legacy driver's write gives up after a second of the mock's clock. */
	atomic_store(&mock_clock_step, NSEC_PER_SEC / 4);
	drv_set_status(&b.d, 0);
	atomic_store(&mock_clock_step, 0);
	ck_assert_uint_ne(drv_status(&b.d), 0);
	/* Nor can it be taken apart: the image may still write to the guest. */
	ck_assert(!virtio_blk_release(&b.blk));
	for (unsigned int i = 0; i < 4; i++) {
		ck_assert_uint_ne(drv_status(&b.d), 0);
		testdisk_finish(&b.disk, 0, 0);
		blkbench_settle(&b);
	}
	ck_assert_uint_eq(drv_status(&b.d), 0);
	/* The data came; that it came was not said. */
	for (unsigned int i = 0; i < 4; i++)
		ck_assert_uint_eq(blk_status(&b, &held[i]), BLKS_NONE);
	ck_assert_uint_eq(ring_used_idx(&b.d.rings[0]), used);
	ck_assert_uint_eq(b.d.irqs.queue[0], 0);
}

START_TEST(reset_ends_ranges_between_two)
{
	ROW("HD-181", "GEN-48");
	struct blk_info big = b.disk.info;

	blkbench_up(&b, BLK_ALL);
	/* All that one request may ask for, of a large disk; the image is slow. */
	b.disk.mode = TESTDISK_HOLD;
	b.disk.deaf = true;
	b.disk.info.size = 1ULL << 40;
	virtio_blk_resize(&b.blk, 1ULL << 40);
	for (unsigned int i = 0; i < VIRTIO_BLK_SEGS_MAX; i++)
		blk_range(&b, b.data + 16 * i, (uint64_t)i * VIRTIO_BLK_RANGE_MAX,
			  VIRTIO_BLK_RANGE_MAX, 0);
	struct blk_cmd c = cmd_ranges(BLKT_ZEROES, 16 * VIRTIO_BLK_SEGS_MAX);
	blk_send(&b, 0, &c);
	blk_kick(&b, 0);
	ck_assert_uint_eq(b.disk.ops_nr, 1);
	ck_assert_uint_eq(b.disk.ops[0].len, (uint64_t)VIRTIO_BLK_RANGE_MAX * 512);
	drv_set_status(&b.d, 0);
	b.disk.info = big;
	/* The one that was under way, and no more. */
	struct blk_request *r = b.disk.channels[0].held[0];
	r->len = r->off = 0;
	testdisk_finish(&b.disk, 0, 0);
	blkbench_settle(&b);
	ck_assert_uint_eq(drv_status(&b.d), 0);
	ck_assert_uint_eq(b.disk.ops_nr, 1);
	virtio_blk_resize(&b.blk, big.size);
}

START_TEST(queue_reset_ends_its_own)
{
	ROW("GEN-48", "GEN-49", "GEN-50", "GEN-52");
	struct blk_cmd other;

	remake(&(struct blkbench_opts){ .queues = 2, .loops = 2 });
	blkbench_up(&b, BLK_ALL);
	hold(1, 3);
	other = cmd_in(99, 512);
	other.in = b.data + 65536;
	blk_send(&b, 0, &other);
	blk_kick(&b, 0);
	ck_assert_uint_eq(testdisk_held(&b.disk), 4);
	uint32_t irqs = b.d.irqs.queue[1];
	drv_set_reg(&b.d, 1, DRV_RESET, 1);
	ck_assert_uint_eq(drv_reg(&b.d, 1, DRV_RESET), 0);
	ck_assert_uint_eq(testdisk_held(&b.disk), 1);
	for (unsigned int i = 0; i < 3; i++)
		ck_assert_uint_eq(blk_status(&b, &held[i]), BLKS_NONE);
	blkbench_settle(&b);
	ck_assert_uint_eq(b.d.irqs.queue[1], irqs);
	/* The other queue's is as it was. */
	testdisk_finish_all(&b.disk, 0);
	blkbench_settle(&b);
	ck_assert_uint_eq(blk_wait(&b, 0, &other), BLKS_OK);
	b.disk.mode = TESTDISK_POST;
	ring_clear(&b.d.rings[1]);
	ring_enable(&b.d.rings[1]);
	blkbench_settle(&b);
	struct blk_cmd c = cmd_in(1, 512);
	ck_assert_uint_eq(blk_run(&b, 1, &c), BLKS_OK);
	ck_assert_uint_eq(ring_used_idx(&b.d.rings[1]), 1);
}

START_TEST(queue_reset_waits_for_a_deaf_image)
{
	ROW("GEN-48", "HD-223");
	blkbench_up(&b, BLK_ALL);
	b.disk.deaf = true;
	hold(0, 3);
	drv_set_reg(&b.d, 0, DRV_RESET, 1);
	for (unsigned int i = 0; i < 3; i++) {
		ck_assert_uint_eq(drv_reg(&b.d, 0, DRV_RESET), 1);
		testdisk_finish(&b.disk, 0, 0);
		blkbench_settle(&b);
	}
	ck_assert_uint_eq(drv_reg(&b.d, 0, DRV_RESET), 0);
	for (unsigned int i = 0; i < 3; i++)
		ck_assert_uint_eq(blk_status(&b, &held[i]), BLKS_NONE);
	ck_assert_uint_eq(b.d.irqs.queue[0], 0);
}

START_TEST(a_shared_channel_is_cancelled_with_the_device_only)
{
	ROW("GEN-52");
	struct blk_info info = b.disk.info;

	info.one_channel = true;
	remake(&(struct blkbench_opts){ .queues = 3, .loops = 2, .info = info });
	ck_assert_uint_eq(b.disk.channels_nr, 1);
	ck_assert_uint_eq(b.disk.channels[0].depth, 3 * b.o.size);
	for (uint16_t q = 0; q < 3; q++)
		ck_assert_ptr_eq(b.blk.vd.vqs[q].loop, b.n.loops[0]);
	blkbench_up(&b, BLK_ALL);
	b.disk.mode = TESTDISK_HOLD;
	struct blk_cmd c[3];
	for (uint16_t q = 0; q < 3; q++) {
		c[q] = cmd_in(q, 512);
		blk_send(&b, q, &c[q]);
		blk_kick(&b, q);
	}
	drv_set_reg(&b.d, 1, DRV_RESET, 1);
	ck_assert_uint_eq(testdisk_held(&b.disk), 3);
	ck_assert_uint_eq(drv_reg(&b.d, 1, DRV_RESET), 1);
	testdisk_finish(&b.disk, 0, 0);
	blkbench_settle(&b);
	ck_assert_uint_eq(blk_wait(&b, 0, &c[0]), BLKS_OK);
	/* Also with every queue in a reset of its own. */
	drv_set_reg(&b.d, 0, DRV_RESET, 1);
	drv_set_reg(&b.d, 2, DRV_RESET, 1);
	ck_assert_uint_eq(testdisk_held(&b.disk), 2);
	drv_set_status(&b.d, 0);
	ck_assert_uint_eq(drv_status(&b.d), 0);
	ck_assert_uint_eq(testdisk_held(&b.disk), 0);
}

START_TEST(a_fault_with_requests_out)
{
	ROW("HD-45", "HD-110");
	blkbench_up(&b, BLK_ALL);
	hold(0, 3);
	ring_push(&b.d.rings[0], 0xffff);
	blk_kick(&b, 0);
	ck_assert(drv_status(&b.d) & VIRTIO_NEEDS_RESET);
	testdisk_finish_all(&b.disk, 0);
	blkbench_settle(&b);
	for (unsigned int i = 0; i < 3; i++)
		ck_assert_uint_eq(blk_status(&b, &held[i]), BLKS_NONE);
	ck_assert_uint_eq(ring_used_idx(&b.d.rings[0]), 0);
	ck_assert_uint_eq(b.blk.vd.in_flight, 0);
}

START_TEST(without_bus_mastering_the_status_waits_too)
{
	ROW("PLT-5");
	blkbench_up(&b, BLK_ALL);
	hold(0, 2);
	virtio_set_bus_master(&b.blk.vd, false);
	testdisk_finish_all(&b.disk, 0);
	blkbench_settle(&b);
	for (unsigned int i = 0; i < 2; i++)
		ck_assert_uint_eq(blk_status(&b, &held[i]), BLKS_NONE);
	virtio_set_bus_master(&b.blk.vd, true);
	blkbench_settle(&b);
	for (unsigned int i = 0; i < 2; i++)
		ck_assert_uint_eq(blk_wait(&b, 0, &held[i]), BLKS_OK);
}

START_TEST(taken_apart_right_after_a_reset)
{
	blkbench_up(&b, BLK_ALL);
	hold(0, 2);
	/* Nobody runs the loop meanwhile: what it was asked for is taken back. */
	drv_set_status(&b.d, 0);
	drv_release(&b.d);
	ck_assert(virtio_blk_release(&b.blk));
	bench_turn(&b.n);
	testdisk_release(&b.disk);
	bench_release(&b.n);
	setup();
}

/* --- making one --- */

START_TEST(options_that_cannot_be)
{
	static const struct {
		unsigned int queues, size;
		const char *what;
	} bad[] = {
		{ 0, 16, "queues=0" },      { 65, 16, "queues=65" },
		{ 1, 0, "queue-size=0" },   { 1, 3, "queue-size=3" },
		{ 1, 2, "queue-size=2" },   { 1, 2048, "queue-size=2048" },
		{ 1, 24, "queue-size=24" },
	};
	struct testdisk d;

	testdisk_init(&d, &(struct blk_info){ .size = 65536, .block_size = 512 });
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		struct virtio_blk_opts o = { .backend = &d.be,
					     .queues = bad[i].queues,
					     .queue_size = (uint16_t)bad[i].size };
		struct virtio_blk blk;
		struct err err = ERR_INIT;

		ck_assert_int_lt(virtio_blk_init(&blk, &o, &b.n.a.gm, &b.n.log, b.n.loops, 1, &err),
				 0);
		ck_assert_int_eq(err.kind, ERR_USAGE);
		ck_assert_ptr_nonnull(strstr(err.msg, bad[i].what));
	}
	ck_assert_uint_eq(d.channels_nr, 0);
	testdisk_release(&d);
}

START_TEST(a_serial_of_any_length)
{
	static char serial[4096];
	struct testdisk d;
	struct virtio_blk_opts o = {
		.backend = &d.be, .queues = 1, .queue_size = 16, .serial = serial
	};
	struct virtio_blk *blk = malloc(sizeof(*blk));
	struct err err = ERR_INIT;

	memset(serial, 's', sizeof(serial) - 1);
	testdisk_init(&d, &(struct blk_info){ .size = 65536, .block_size = 512 });
	ck_assert_int_eq(virtio_blk_init(blk, &o, &b.n.a.gm, &b.n.log, b.n.loops, 1, &err), 0);
	ck_assert(virtio_blk_release(blk));
	free(blk);
	testdisk_release(&d);
}

START_TEST(a_channel_that_cannot_be_had)
{
	/* None of them can, or the third: then the others are given back. */
	static const unsigned int room[] = { 0, 2 };

	for (unsigned int i = 0; i < ARRAY_SIZE(room); i++) {
		struct testdisk d;
		struct virtio_blk_opts o = { .backend = &d.be, .queues = 4, .queue_size = 16 };
		struct virtio_blk blk;
		struct err err = ERR_INIT;

		testdisk_init(&d, &(struct blk_info){ .size = 65536, .block_size = 512 });
		d.room = room[i];
		ck_assert_int_lt(virtio_blk_init(&blk, &o, &b.n.a.gm, &b.n.log, b.n.loops, 1, &err),
				 0);
		ck_assert_int_eq(err.kind, ERR_HOST);
		ck_assert_uint_eq(d.channels_nr, room[i]);
		ck_assert_uint_eq(d.open_nr, 0);
		testdisk_release(&d);
	}
}

UNIT_SUITE("virtio-blk-data", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, a_read_only_disk_stays_as_it_is, 0, 4);
	tcase_add_test(tc, flags_of_ranges);
	tcase_add_loop_test(tc, discards, 0, 2);
	tcase_add_test(tc, discards_that_are_ignored);
	tcase_add_loop_test(tc, zeroes, 0, 2);
	tcase_add_test(tc, lengths_of_ranges);
	tcase_add_test(tc, ranges_in_pieces);
	tcase_add_test(tc, limits_of_ranges);
	tcase_add_test(tc, ranges_inside_the_disk_only);
	tcase_add_test(tc, ranges_are_copied_once);
	tcase_add_test(tc, an_error_ends_the_ranges);
	tcase_add_loop_test(tc, stable_when_it_must_be, 0, 8);
	tcase_add_test(tc, a_mode_said_before_driver_ok_holds);
	tcase_add_test(tc, a_flush_covers_every_queue);
	tcase_add_test(tc, legacy_modes);
	tcase_add_loop_test(tc, reset_ends_what_can_be_ended, 0, 2);
	tcase_add_loop_test(tc, reset_waits_for_a_deaf_image, 0, 2);
	tcase_add_test(tc, reset_ends_ranges_between_two);
	tcase_add_test(tc, queue_reset_ends_its_own);
	tcase_add_test(tc, queue_reset_waits_for_a_deaf_image);
	tcase_add_test(tc, a_shared_channel_is_cancelled_with_the_device_only);
	tcase_add_test(tc, a_fault_with_requests_out);
	tcase_add_test(tc, without_bus_mastering_the_status_waits_too);
	tcase_add_test(tc, taken_apart_right_after_a_reset);
	tcase_add_test(tc, options_that_cannot_be);
	tcase_add_test(tc, a_serial_of_any_length);
	tcase_add_test(tc, a_channel_that_cannot_be_had);
})
