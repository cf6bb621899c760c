// SPDX-License-Identifier: GPL-2.0
// LINK: virtio/device.c virtio/registers.c virtio/legacy.c virtio/queue.c virtio/mini.c gmem.c util/loop.c util/log.c util/err.c tests/mock/clock.c tests/mock/arena.c tests/mock/ring.c tests/mock/driver.c tests/mock/core.c tests/mock/testdev.c tests/mock/bench.c tests/mock/hostile.c virtio/transport-pci.c virtio/transport-modern.c virtio/transport-legacy.c virtio/transport-doorbell.c virtio/transport-fds.c pci.c pci-bar.c pci-irq.c pci-ecam.c bus.c ioeventfd.c tests/mock/fake-kvm.c irq-route.c tests/mock/pci.c tests/mock/pci-driver.c
/* The core's life cycle, status, features and reset, through a driver. */
#include "unit.h"

#include <errno.h>
#include <string.h>

#include <lkvm/util.h>

#include "../mock/hostile.h"
#include "../mock/transports.h"

static struct bench b;

static void setup(void)
{
	bench_init(&b, &(struct bench_opts){ .queues = 4 });
}

static void teardown(void)
{
	hostile_recover(&b);
	bench_release(&b);
}

/* Two buffers of 16 bytes into the ring of queue q, and published. */
static void publish(uint16_t q)
{
	struct drv_buf bufs[2];

	bench_bufs(&b, bufs, 16);
	ring_add(&b.d.rings[q], bufs, 2);
	ring_publish(&b.d.rings[q]);
}

static void publish_and_kick(uint16_t q)
{
	publish(q);
	drv_notify(&b.d, q);
	bench_settle(&b);
}

static uint16_t used_idx(uint16_t q)
{
	return ring_used_idx(&b.d.rings[q]);
}

/* A head that no ring of these sizes has: the device must break. */
static void break_it(void)
{
	ring_push(&b.d.rings[0], 0x7fff);
	drv_notify(&b.d, 0);
	bench_settle(&b);
}

/* --- the table --- */

/* clang-format off */
static const char *const life[VIRTIO_STATES_NR][VIRTIO_EVENTS_NR] = {
	/*                    realize     unrealize plug       unplug      features_ok   legacy_start driver_ok doorbells_on doorbells_off fault reset drained */
	[VIRTIO_ABSENT]     = { "realized", "",       "",        "",         "",           "",        "",        "",          "",         "",       "",          "" },
	[VIRTIO_REALIZED]   = { "",         "absent", "plugged", "",         "",           "",        "",        "",          "",         "",       "",          "" },
	[VIRTIO_PLUGGED]    = { "",         "",       "",        "realized", "negotiated", "running", "",        "",          "",         "",       "plugged",   "" },
	[VIRTIO_NEGOTIATED] = { "",         "",       "",        "",         "",           "",        "running", "",          "",         "broken", "resetting", "" },
	[VIRTIO_RUNNING]    = { "",         "",       "",        "",         "",           "",        "",        "live",      "",         "broken", "resetting", "" },
	[VIRTIO_LIVE]       = { "",         "",       "",        "",         "",           "",        "",        "",          "running",  "broken", "resetting", "" },
	[VIRTIO_BROKEN]     = { "",         "",       "",        "",         "",           "",        "",        "",          "",         "",       "resetting", "" },
	[VIRTIO_RESETTING]  = { "",         "",       "",        "",         "",           "",        "",        "",          "",         "",       "",          "plugged" },
};
/* clang-format on */
static const char *const state_names[] = { "absent",  "realized", "plugged", "negotiated",
					   "running", "live",     "broken",  "resetting" };

START_TEST(life_cycle_has_96_cells)
{
	ck_assert_uint_eq(VIRTIO_STATES_NR * VIRTIO_EVENTS_NR, 96);
	for (int s = 0; s < VIRTIO_STATES_NR; s++) {
		for (int ev = 0; ev < VIRTIO_EVENTS_NR; ev++) {
			int next = virtio_state_next(s, ev);

			ck_assert_str_eq(next < 0 ? "" : state_names[next], life[s][ev]);
		}
	}
}

START_TEST(follows_the_table)
{
	struct virtio_device *vd = &b.td.vd;
	struct err err = ERR_INIT;

	ck_assert_uint_eq(vd->state, VIRTIO_PLUGGED);
	ck_assert_int_lt(virtio_plug(vd, vd->transport, &err), 0);
	ck_assert_int_eq(err.kind, ERR_INTERNAL);
	ck_assert(drv_negotiate(&b.d, MODERN));
	ck_assert_uint_eq(vd->state, VIRTIO_NEGOTIATED);
	drv_driver_ok(&b.d);
	ck_assert_uint_eq(vd->state, VIRTIO_LIVE);
	virtio_fault(vd, "a test");
	ck_assert_uint_eq(vd->state, VIRTIO_BROKEN);
	drv_set_status(&b.d, 0);
	ck_assert_uint_eq(vd->state, VIRTIO_PLUGGED);
	/* Without doorbells kicks trap, and that is all. */
	b.d.irqs.doorbell_ret = -ENOSPC;
	bench_up(&b, MODERN);
	ck_assert_uint_eq(vd->state, VIRTIO_RUNNING);
	bench_echo(&b, 0);
	b.td.mode = TESTDEV_HOLD;
	publish_and_kick(0);
	drv_set_status(&b.d, 0);
	ck_assert_uint_eq(vd->state, VIRTIO_RESETTING);
	testdev_finish_all(&b.td);
	bench_settle(&b);
	ck_assert_uint_eq(vd->state, VIRTIO_PLUGGED);
}

START_TEST(doorbells_follow_the_device)
{
	for (unsigned int i = 1; i <= 3; i++) {
		bench_up(&b, MODERN);
		ck_assert_uint_eq(b.d.irqs.armed, i);
		ck_assert_uint_eq(b.d.irqs.disarmed, i - 1);
		bench_reset(&b);
		ck_assert_uint_eq(b.d.irqs.disarmed, i);
	}
}

static const struct virtio_feature_dep lone_dep[] = { { 3, VIRTIO_BIT(4) } };
static const struct virtio_device_ops lone_ops = {
	.name = "lone", .features = VIRTIO_BIT(3), .deps = lone_dep, .deps_nr = 1
};

START_TEST(a_type_cannot_offer_what_lacks_its_base)
{
	struct virtio_device vd;
	struct err err = ERR_INIT;

	ROW("GEN-16");
	virtio_device_init(&vd, &lone_ops, &b.a.gm, &b.log, NULL);
	ck_assert_int_lt(virtio_plug(&vd, b.td.vd.transport, &err), 0);
	ck_assert_int_eq(err.kind, ERR_INTERNAL);
	ck_assert_uint_eq(vd.state, VIRTIO_REALIZED);
	virtio_device_release(&vd);
	ck_assert_uint_eq(vd.state, VIRTIO_ABSENT);
}

START_TEST(queues_are_bounded)
{
	struct virtio_device *vd = calloc(1, sizeof(*vd));

	virtio_device_init(vd, &lone_ops, &b.a.gm, &b.log, NULL);
	for (unsigned int i = 0; i < VIRTIO_QUEUES_MAX; i++)
		ck_assert_int_eq(virtio_add_queue(vd, 8, b.loops[0]), 0);
	ck_assert_int_eq(virtio_add_queue(vd, 8, b.loops[0]), -ENOSPC);
	virtio_device_release(vd);
	free(vd);
}

/* --- status --- */

START_TEST(status_is_what_was_written)
{
	static const uint8_t steps[] = { 0x01, 0x03, 0x0b, 0x0f };

	ROW("GEN-1", "GEN-2");
	ck_assert_uint_eq(drv_status(&b.d), 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(steps); i++) {
		drv_accept(&b.d, MODERN);
		drv_set_status(&b.d, steps[i]);
		ck_assert_uint_eq(drv_status(&b.d), steps[i]);
	}
	drv_set_status(&b.d, 0);
	ck_assert_uint_eq(drv_status(&b.d), 0);
}

START_TEST(nothing_moves_before_driver_ok)
{
	ROW("GEN-3", "GEN-4", "GEN-5", "GEN-58");
	bench_prepare(&b, MODERN);
	arena_settle(&b.a);
	publish_and_kick(0);
	ck_assert_uint_eq(b.td.taken, 0);
	ck_assert_uint_eq(used_idx(0), 0);
	ck_assert_uint_eq(b.d.irqs.queue[0], 0);
	/* Not even the parts of it that it may write later. */
	arena_forbid(&b.a);
	ck_assert_uint_eq(arena_stray(&b.a), ARENA_CLEAN);
	/* Then without a kick. */
	drv_driver_ok(&b.d);
	bench_settle(&b);
	ck_assert_uint_eq(b.td.taken, 1);
	ck_assert_uint_eq(used_idx(0), 1);
	ck_assert_uint_eq(b.d.irqs.queue[0], 1);
	arena_settle(&b.a);
}

START_TEST(every_queue_is_looked_at_once)
{
	ROW("GEN-5", "GEN-54");
	bench_prepare(&b, MODERN);
	for (uint16_t q = 0; q < 4; q++)
		publish(q);
	drv_driver_ok(&b.d);
	bench_settle(&b);
	for (uint16_t q = 0; q < 4; q++)
		ck_assert_uint_eq(used_idx(q), 1);
	/* From then on a kick serves its own queue only. */
	for (uint16_t q = 0; q < 4; q++)
		publish(q);
	for (uint16_t q = 0; q < 4; q++) {
		drv_notify(&b.d, q);
		bench_settle(&b);
		for (uint16_t i = 0; i < 4; i++)
			ck_assert_uint_eq(used_idx(i), i <= q ? 2 : 1);
	}
}

START_TEST(a_fault_is_told_once)
{
	ROW("GEN-6", "GEN-7", "GEN-10");
	bench_up(&b, MODERN);
	break_it();
	ck_assert_uint_eq(drv_status(&b.d), 0x4f);
	ck_assert_uint_eq(b.d.irqs.config, 1);
	ck_assert_uint_eq(b.d.irqs.status_at_config, 0x4f);
	/* Another queue, and what else would break it. */
	publish_and_kick(1);
	ck_assert_uint_eq(used_idx(1), 0);
	virtio_fault(&b.td.vd, "again");
	testdev_set_wide(&b.td, 5);
	ck_assert_uint_eq(b.d.irqs.config, 1);
	uint32_t id = 0;
	b.d.ops->config_read(&b.d, 8, &id, sizeof(id));
	ck_assert_uint_eq(le32toh(id), 0x7e57de1);
	ck_assert_uint_eq(drv_reg(&b.d, 1, DRV_SIZE), 16);
	bench_up(&b, MODERN);
	bench_echo(&b, 0);
}

START_TEST(a_fault_before_driver_ok_is_only_a_status)
{
	ROW("GEN-7");
	ck_assert(drv_negotiate(&b.d, MODERN));
	virtio_fault(&b.td.vd, "early");
	ck_assert_uint_eq(drv_status(&b.d), 0x4b);
	ck_assert_uint_eq(b.d.irqs.config, 0);
}

static void try_ring(uint64_t desc, uint64_t avail, uint64_t used)
{
	struct drv_ring *r = &b.d.rings[0];

	bench_reset(&b);
	b.d.irqs.config = 0;
	ck_assert(drv_negotiate(&b.d, MODERN));
	ring_make_at(&b.d, 0, 16, desc, avail, used);
	ring_enable(r);
	drv_driver_ok(&b.d);
	bench_settle(&b);
}

START_TEST(driver_ok_can_fail)
{
	ROW("GEN-8", "SPL-1", "HD-57");
	uint64_t desc = arena_alloc(&b.a, 4096, 4096), avail = desc + 1024, used = desc + 2048;
	const uint64_t bad[][3] = {
		{ ARENA_LOW_END, avail, used }, { desc, ARENA_LOW_END, used },
		{ desc, avail, ARENA_LOW_END }, { desc + 8, avail, used },
		{ desc, avail + 1, used },      { desc, avail, used + 2 },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		uint32_t starts = b.td.starts;

		try_ring(bad[i][0], bad[i][1], bad[i][2]);
		ck_assert_uint_eq(drv_status(&b.d), 0x4f);
		ck_assert_uint_eq(b.d.irqs.config, 1);
		ck_assert_uint_eq(b.td.starts, starts);
	}
	try_ring(desc, avail, used);
	ck_assert_uint_eq(drv_status(&b.d), 0x0f);
	bench_echo(&b, 0);
	/* The device itself. */
	bench_prepare(&b, MODERN);
	b.td.start_ret = -EIO;
	b.d.irqs.config = 0;
	publish(0);
	drv_driver_ok(&b.d);
	bench_settle(&b);
	ck_assert_uint_eq(drv_status(&b.d), 0x4f);
	ck_assert_uint_eq(b.d.irqs.config, 1);
	ck_assert_uint_eq(used_idx(0), 0);
	b.td.start_ret = 0;
	bench_up(&b, MODERN);
	bench_echo(&b, 0);
}

START_TEST(needs_reset_is_the_devices)
{
	ROW("GEN-9", "HD-99");
	bench_up(&b, MODERN);
	drv_set_status(&b.d, 0x4f);
	ck_assert_uint_eq(drv_status(&b.d), 0x0f);
	drv_set_status(&b.d, 0x40);
	ck_assert_uint_eq(drv_status(&b.d), 0x0f);
	bench_echo(&b, 0);
	break_it();
	drv_set_status(&b.d, 0x0f);
	ck_assert_uint_eq(drv_status(&b.d), 0x4f);
	drv_set_status(&b.d, 0);
	ck_assert_uint_eq(drv_status(&b.d), 0);
}

START_TEST(no_bit_is_taken_back)
{
	ROW("GEN-11", "HD-98");
	bench_up(&b, MODERN);
	for (unsigned int v = 1; v < 0x0f; v++) {
		drv_set_status(&b.d, (uint8_t)v);
		ck_assert_uint_eq(drv_status(&b.d), 0x0f);
	}
	bench_echo(&b, 0);
	/* Nor does what comes with it count. */
	bench_prepare(&b, MODERN);
	static const uint8_t less[] = { 0x04, 0x05, 0x06, 0x07, 0x0c, 0x0d, 0x0e };
	for (unsigned int i = 0; i < ARRAY_SIZE(less); i++) {
		drv_set_status(&b.d, less[i]);
		ck_assert_uint_eq(drv_status(&b.d), 0x0b);
	}
	/* All but FAILED, which may come with anything. */
	drv_set_status(&b.d, 0x83);
	ck_assert_uint_eq(drv_status(&b.d), 0x8b);
}

START_TEST(steps_cannot_be_left_out)
{
	ROW("GEN-12", "HD-96");
	bench_prepare(&b, MODERN);
	publish(0);
	bench_reset(&b);
	static const uint8_t early[] = {
		0x04, 0x05, 0x06, 0x07, 0x0c, 0x0d, 0x0e, 0x08, 0x09, 0x0a
	};
	for (unsigned int i = 0; i < ARRAY_SIZE(early); i++) {
		drv_accept(&b.d, MODERN);
		drv_set_status(&b.d, early[i]);
		ck_assert_uint_eq(drv_status(&b.d), early[i] & 0x03);
		drv_notify(&b.d, 0);
		bench_settle(&b);
		ck_assert_uint_eq(b.td.starts + b.td.taken, 0);
		drv_set_status(&b.d, 0);
	}
	/* In one go, and only if the features are good. */
	drv_accept(&b.d, VIRTIO_BIT(60) | MODERN);
	drv_set_status(&b.d, 0x0f);
	ck_assert_uint_eq(drv_status(&b.d), 0x03);
	drv_accept(&b.d, MODERN);
	drv_set_status(&b.d, 0x0f);
	ck_assert_uint_eq(drv_status(&b.d), 0x0f);
	ck_assert_uint_eq(b.td.starts, 1);
}

START_TEST(reserved_status_bits_are_not_stored)
{
	ROW("GEN-13", "HD-99");
	drv_accept(&b.d, MODERN);
	drv_set_status(&b.d, 0x3f);
	ck_assert_uint_eq(drv_status(&b.d), 0x0f);
	drv_set_status(&b.d, 0);
	drv_set_status(&b.d, 0x30);
	ck_assert_uint_eq(drv_status(&b.d), 0);
}

START_TEST(failed_is_the_end_until_reset)
{
	ROW("GEN-14", "HD-99");
	bench_up(&b, MODERN);
	drv_set_status(&b.d, 0x8f);
	ck_assert_uint_eq(drv_status(&b.d), 0x8f);
	publish_and_kick(0);
	ck_assert_uint_eq(used_idx(0), 0);
	ck_assert_uint_eq(b.d.irqs.config, 0);
	/* Also before there was anything to fail. */
	static const uint8_t before[] = { 0x80, 0x81, 0x83 };
	for (unsigned int i = 0; i < ARRAY_SIZE(before); i++) {
		bench_reset(&b);
		b.td.starts = 0;
		drv_accept(&b.d, MODERN);
		drv_set_status(&b.d, before[i]);
		ck_assert_uint_eq(drv_status(&b.d) & 0x80, 0x80);
		drv_set_status(&b.d, 0x8b);
		drv_set_status(&b.d, 0x8f);
		drv_set_status(&b.d, 0x0f);
		ck_assert_uint_eq(drv_status(&b.d) & 0x8c, 0x80);
		ck_assert_uint_eq(b.td.starts, 0);
	}
	bench_up(&b, MODERN);
	bench_echo(&b, 0);
}

START_TEST(a_driver_may_take_its_time)
{
	ROW("GEN-15");
	drv_set_status(&b.d, 0x01);
	mock_clock_skew += 86400 * NSEC_PER_SEC;
	bench_settle(&b);
	drv_set_status(&b.d, 0x03);
	ck_assert_uint_eq(drv_status(&b.d), 0x03);
	drv_accept(&b.d, MODERN);
	mock_clock_skew += 86400 * NSEC_PER_SEC;
	drv_set_status(&b.d, 0x0b);
	ck_assert_uint_eq(drv_status(&b.d), 0x0b);
}

START_TEST(one_start)
{
	ROW("HD-97");
	bench_up(&b, MODERN);
	for (unsigned int i = 0; i < 1000; i++)
		drv_set_status(&b.d, 0x0f);
	ck_assert_uint_eq(b.td.starts, 1);
	ck_assert_uint_eq(b.d.irqs.armed, 1);
	bench_echo(&b, 0);
}

/* --- features --- */

START_TEST(offers_what_it_honours)
{
	ROW("GEN-17", "GEN-25", "GEN-27", "GEN-28", "GEN-29", "GEN-30", "GEN-31", "GEN-47",
	    "PKD-1");
	uint64_t type = b.td.vd.ops->features, offered = drv_offered(&b.d);

	ck_assert_uint_eq(offered, type | MODERN_ALL);
	/* Nothing of 24-27, 30, 31, 33-39, 41-49. */
	ck_assert_uint_eq(offered & UINT64_C(0x3fefecf000000) & ~MODERN_ALL & ~type, 0);
	ck_assert_uint_eq(drv_offered(&b.cd), VIRTIO_BIT(MINI_F_MASK) | MODERN_ALL);
	static const uint32_t beyond[] = { 2, 31, 32, 0x80000000, 0xffffffff };
	for (unsigned int i = 0; i < ARRAY_SIZE(beyond); i++)
		ck_assert_uint_eq(b.d.ops->device_features(&b.d, beyond[i]), 0);
}

/* Of every set of the seven features: whether it may be accepted, and if so that it works. */
START_TEST(takes_every_valid_subset)
{
	ROW("GEN-18", "GEN-20", "GEN-26", "HD-102");
	static const uint8_t bits[] = {
		VIRTIO_F_VERSION_1,     TESTDEV_F_A,        TESTDEV_F_B,        TESTDEV_F_C,
		VIRTIO_F_INDIRECT_DESC, VIRTIO_F_EVENT_IDX, VIRTIO_F_RING_RESET
	};

	for (unsigned int n = 0; n < 1u << ARRAY_SIZE(bits); n++) {
		uint64_t set = 0;

		for (unsigned int i = 0; i < ARRAY_SIZE(bits); i++)
			set |= n >> i & 1 ? VIRTIO_BIT(bits[i]) : 0;
		bool a = n & 2, dep_b = n & 4, dep_c = n & 8;
		bool valid = (n & 1) && (!dep_b || a) && (!dep_c || a || dep_b);
		bench_reset(&b);
		ck_assert_int_eq(drv_negotiate(&b.d, set), valid);
		if (!valid) {
			ck_assert_uint_eq(drv_status(&b.d), 0x03);
			continue;
		}
		bench_up(&b, set);
		ck_assert_uint_eq(b.td.started_with, set);
		bench_echo(&b, 1);
	}
}

START_TEST(refuses_what_was_not_offered)
{
	ROW("GEN-19", "GEN-21", "GEN-26", "HD-101", "PKD-1");
	for (unsigned int bit = 0; bit < 64; bit++) {
		bool offered = drv_offered(&b.d) & VIRTIO_BIT(bit);

		if (offered)
			continue;
		ck_assert(!drv_negotiate(&b.d, MODERN | VIRTIO_BIT(bit)));
		ck_assert_uint_eq(drv_status(&b.d), 0x03);
		/* And then again, better, without a reset. */
		drv_accept(&b.d, MODERN);
		drv_set_status(&b.d, 0x0b);
		ck_assert_uint_eq(drv_status(&b.d), 0x0b);
		drv_set_status(&b.d, 0);
	}
	ck_assert(!drv_negotiate(&b.d, MODERN_ALL & ~MODERN));
}

START_TEST(words_that_do_not_exist_are_refused)
{
	ROW("GEN-21", "HD-101", "HD-119", "PCI-29");
	static const uint32_t words[] = { 2, 3, 31, 62, 63, 64, 0x80000000, 0xffffffff };

	for (unsigned int i = 0; i < ARRAY_SIZE(words); i++) {
		drv_set_status(&b.d, 0x03);
		drv_accept(&b.d, MODERN);
		b.d.ops->accept_features(&b.d, words[i], 1);
		ck_assert_uint_eq(b.d.ops->driver_features(&b.d, words[i]), 0);
		ck_assert_uint_eq(drv_accepted(&b.d), MODERN);
		drv_set_status(&b.d, 0x0b);
		ck_assert_uint_eq(drv_status(&b.d), 0x03);
		b.d.ops->accept_features(&b.d, words[i], 0);
		drv_set_status(&b.d, 0x0b);
		ck_assert_uint_eq(drv_status(&b.d), 0x0b);
		drv_set_status(&b.d, 0);
	}
	/* One word that is mended does not mend another, and a reset mends all. */
	b.d.ops->accept_features(&b.d, 2, 1);
	b.d.ops->accept_features(&b.d, 3, 1);
	b.d.ops->accept_features(&b.d, 3, 0);
	ck_assert(!drv_negotiate(&b.d, MODERN));
	drv_set_status(&b.d, 0);
	ck_assert(drv_negotiate(&b.d, MODERN));
}

START_TEST(features_are_frozen)
{
	ROW("GEN-22", "HD-100");
	for (int running = 0; running < 2; running++) {
		bench_prepare(&b, MODERN);
		if (running)
			drv_driver_ok(&b.d);
		drv_accept(&b.d, MODERN_ALL);
		ck_assert_uint_eq(drv_accepted(&b.d), MODERN);
		drv_accept(&b.d, UINT64_MAX);
		b.d.ops->accept_features(&b.d, 2, 1);
		ck_assert_uint_eq(drv_accepted(&b.d), MODERN);
		if (!running)
			drv_driver_ok(&b.d);
		ck_assert_uint_eq(drv_status(&b.d), 0x0f);
		ck_assert(!b.td.vd.vqs[0].event_idx);
		bench_echo(&b, 0);
	}
}

START_TEST(each_word_is_replaced)
{
	ROW("PCI-27", "PCI-28");
	b.d.ops->accept_features(&b.d, 0, 0xffffffff);
	b.d.ops->accept_features(&b.d, 1, 0x12345678);
	ck_assert_uint_eq(drv_accepted(&b.d), UINT64_C(0x12345678ffffffff));
	b.d.ops->accept_features(&b.d, 0, 0x0f0f0f0f);
	ck_assert_uint_eq(drv_accepted(&b.d), UINT64_C(0x123456780f0f0f0f));
	b.d.ops->accept_features(&b.d, 1, 0);
	ck_assert_uint_eq(drv_accepted(&b.d), 0x0f0f0f0f);
}

START_TEST(what_was_accepted_is_accepted_again)
{
	ROW("GEN-23", "GEN-24");
	uint64_t set = MODERN_ALL | VIRTIO_BIT(TESTDEV_F_A) | VIRTIO_BIT(TESTDEV_F_C);

	for (unsigned int i = 0; i < 100; i++) {
		ck_assert(drv_negotiate(&b.d, set));
		drv_set_status(&b.d, 0);
		ck_assert_uint_eq(drv_accepted(&b.d), 0);
	}
	bench_up(&b, set);
	bench_up(&b, MODERN);
	ck_assert_uint_eq(b.td.started_with, MODERN);
	ck_assert(!b.td.vd.vqs[0].event_idx && !b.td.vd.vqs[0].indirect);
	bench_echo(&b, 0);
}

/* --- reset --- */

START_TEST(a_reset_waits_for_what_is_out)
{
	ROW("GEN-33", "GEN-34", "GEN-37");
	bench_up(&b, MODERN);
	b.td.mode = TESTDEV_HOLD;
	publish_and_kick(0);
	publish_and_kick(1);
	drv_set_status(&b.d, 0);
	for (unsigned int i = 0; i < 3; i++) {
		/* It stays what it was; nothing but time makes a step. */
		ck_assert_uint_eq(drv_status(&b.d), 0x0f);
		drv_set_status(&b.d, i);
		drv_set_status(&b.d, 0x8f);
		publish_and_kick(0);
	}
	ck_assert_uint_eq(b.td.taken, 2);
	bench_canary(&b);
	testdev_finish(&b.td, 1, 0, true);
	bench_settle(&b);
	ck_assert_uint_eq(drv_status(&b.d), 0x0f);
	testdev_finish(&b.td, 0, 0, true);
	bench_settle(&b);
	ck_assert_uint_eq(drv_status(&b.d), 0);
	ck_assert_uint_eq(used_idx(0) + used_idx(1), 0);
	ck_assert_uint_eq(b.d.irqs.queue[0] + b.d.irqs.queue[1] + b.d.irqs.config, 0);
	ck_assert_uint_eq(b.d.irqs.resets, 2); /* with that of bench_up() */
}

START_TEST(after_status_0_memory_is_left_alone)
{
	ROW("GEN-34", "HD-121");
	bench_up(&b, MODERN);
	b.td.mode = TESTDEV_HOLD;
	publish_and_kick(0);
	b.td.cancels = true;
	drv_set_status(&b.d, 0);
	bench_settle(&b);
	ck_assert_uint_eq(drv_status(&b.d), 0);
	arena_fill(&b.a, b.d.rings[0].desc, 0xa5, 8192);
	arena_settle(&b.a);
	for (uint16_t q = 0; q < 4; q++)
		drv_notify(&b.d, q);
	testdev_set_wide(&b.td, 99);
	bench_settle(&b);
	ck_assert_uint_eq(arena_stray(&b.a), ARENA_CLEAN);
	ck_assert_uint_eq(b.d.irqs.queue[0] + b.d.irqs.config, 0);
}

START_TEST(a_late_answer_does_not_reach_a_new_ring)
{
	ROW("HD-103");
	for (int again = 0; again < 2; again++) {
		bench_up(&b, MODERN_ALL);
		b.td.mode = TESTDEV_HOLD;
		for (unsigned int i = 0; i < 8; i++)
			publish_and_kick(0);
		/* Reset by the queue, the same memory, and requests of before it still out. */
		drv_set_reg(&b.d, 0, DRV_RESET, 1);
		ring_clear(&b.d.rings[0]);
		ring_enable(&b.d.rings[0]);
		ck_assert_uint_eq(drv_reg(&b.d, 0, DRV_ENABLE), 0);
		testdev_finish_all(&b.td);
		bench_settle(&b);
		ck_assert_uint_eq(used_idx(0), 0);
		b.td.mode = TESTDEV_AUTO;
		ring_enable(&b.d.rings[0]);
		ck_assert_uint_eq(drv_reg(&b.d, 0, DRV_ENABLE), 1);
		bench_echo(&b, 0);
	}
}

START_TEST(a_queue_that_is_not_enabled_again_rests)
{
	ROW("GEN-34", "HD-121");
	bench_up(&b, MODERN);
	bench_echo(&b, 1);
	bench_reset(&b);
	ck_assert(drv_negotiate(&b.d, MODERN));
	ring_clear(&b.d.rings[0]);
	ring_enable(&b.d.rings[0]);
	drv_driver_ok(&b.d);
	publish_and_kick(1);
	ck_assert_uint_eq(used_idx(1), 1);
	ck_assert_uint_eq(b.td.taken, 1);
	bench_echo(&b, 0);
}

START_TEST(reset_restores_the_registers)
{
	ROW("GEN-36", "PCI-33", "PCI-34", "PCI-41");
	bench_prepare(&b, MODERN_ALL);
	drv_set_reg(&b.d, 2, DRV_RESET, 1);
	drv_set_reg(&b.d, 2, DRV_SIZE, 4);
	b.d.ops->device_features(&b.d, 1);
	b.d.ops->queue_select(&b.d, 3);
	bench_reset(&b);
	ck_assert_uint_eq(b.d.ops->get_queue_select(&b.d), 0);
	ck_assert_uint_eq(virtio_get_device_feature_select(&b.td.vd), 0);
	ck_assert_uint_eq(virtio_get_driver_feature_select(&b.td.vd), 0);
	ck_assert_uint_eq(drv_accepted(&b.d), 0);
	for (uint16_t q = 0; q < 4; q++) {
		ck_assert_uint_eq(drv_reg(&b.d, q, DRV_SIZE), 16);
		ck_assert_uint_eq(drv_reg(&b.d, q, DRV_ENABLE), 0);
		ck_assert_uint_eq(drv_reg(&b.d, q, DRV_RESET), 0);
		for (enum drv_area a = DRV_DESC; a <= DRV_USED; a++)
			ck_assert_uint_eq(drv_addr(&b.d, q, a), 0);
	}
}

/* How far a driver got before it thinks again. */
static void get_to(unsigned int stage)
{
	static const uint8_t status[] = { 0, 0x01, 0x03 };

	if (stage < 3)
		drv_set_status(&b.d, status[stage]);
	else if (stage == 3)
		bench_prepare(&b, MODERN);
	else
		bench_up(&b, MODERN);
	if (stage == 5)
		virtio_fault(&b.td.vd, "a test");
}

START_TEST(resets_are_harmless_at_any_stage)
{
	ROW("GEN-38", "HD-104");
	for (unsigned int stage = 0; stage <= 5; stage++) {
		for (unsigned int i = 0; i < bench_rounds(10000); i++) {
			get_to(stage);
			drv_set_status(&b.d, 0);
			drv_notify(&b.d, i % 5);
			drv_set_status(&b.d, 0);
			ck_assert_uint_eq(drv_status(&b.d), 0);
		}
		bench_settle(&b);
		ck_assert_uint_eq(bench_count_dir("/proc/self/fd"), b.fds);
		ck_assert_uint_eq(bench_count_dir("/proc/self/task"), b.tasks);
	}
	bench_up(&b, MODERN);
	bench_echo(&b, 0);
}

/* --- what a type is told, and may take out of its offer --- */

START_TEST(a_type_is_told_of_stops_and_resets)
{
	ROW("GEN-48");
	bench_up(&b, MODERN_ALL);
	uint32_t resets = b.td.resets, stops[2] = { b.td.queue_stops[0], b.td.queue_stops[1] };

	drv_set_reg(&b.d, 1, DRV_RESET, 1);
	ck_assert_uint_eq(b.td.queue_stops[0], stops[0]);
	ck_assert_uint_eq(b.td.queue_stops[1], stops[1] + 1);
	ck_assert_uint_eq(b.td.resets, resets);
	drv_set_status(&b.d, 0);
	ck_assert_uint_eq(b.td.queue_stops[0], stops[0] + 1);
	ck_assert_uint_eq(b.td.queue_stops[1], stops[1] + 1);
	ck_assert_uint_eq(b.td.resets, resets + 1);
	/* Of a device that did not run, too. */
	drv_set_status(&b.d, 0);
	ck_assert_uint_eq(b.td.resets, resets + 2);
}

START_TEST(a_queue_whose_reset_waits_is_stopped_with_the_device)
{
	struct drv_buf buf = { b.echo_gpa, 1, true };

	bench_up(&b, MODERN_ALL);
	b.td.mode = TESTDEV_HOLD;
	ring_add(&b.d.rings[1], &buf, 1);
	ring_publish(&b.d.rings[1]);
	drv_notify(&b.d, 1);
	bench_settle(&b);
	drv_set_reg(&b.d, 1, DRV_RESET, 1);
	uint32_t stops = b.td.queue_stops[1];
	drv_set_status(&b.d, 0);
	ck_assert_uint_eq(b.td.queue_stops[1], stops + 1);
	bench_reset(&b);
}

START_TEST(an_offer_is_the_instances)
{
	struct err err = ERR_INIT;
	const struct virtio_transport_ops *transport = b.td.vd.transport;

	bench_reset(&b);
	virtio_unplug(&b.td.vd);
	b.td.vd.features &= ~VIRTIO_BIT(TESTDEV_F_C);
	ck_assert_int_eq(virtio_plug(&b.td.vd, transport, &err), 0);
	uint64_t all = VIRTIO_BIT(TESTDEV_F_A) | VIRTIO_BIT(TESTDEV_F_B) | VIRTIO_BIT(TESTDEV_F_C);
	ck_assert_uint_eq(drv_offered(&b.d) & all, all & ~VIRTIO_BIT(TESTDEV_F_C));
}

static void add(TCase *tc)
{
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, status_is_what_was_written);
	tcase_add_test(tc, nothing_moves_before_driver_ok);
	tcase_add_test(tc, every_queue_is_looked_at_once);
	tcase_add_test(tc, a_fault_is_told_once);
	tcase_add_test(tc, a_fault_before_driver_ok_is_only_a_status);
	tcase_add_test(tc, driver_ok_can_fail);
	tcase_add_test(tc, needs_reset_is_the_devices);
	tcase_add_test(tc, no_bit_is_taken_back);
	tcase_add_test(tc, steps_cannot_be_left_out);
	tcase_add_test(tc, reserved_status_bits_are_not_stored);
	tcase_add_test(tc, failed_is_the_end_until_reset);
	tcase_add_test(tc, a_driver_may_take_its_time);
	tcase_add_test(tc, offers_what_it_honours);
	tcase_add_test(tc, takes_every_valid_subset);
	tcase_add_test(tc, refuses_what_was_not_offered);
	tcase_add_test(tc, words_that_do_not_exist_are_refused);
	tcase_add_test(tc, features_are_frozen);
	tcase_add_test(tc, each_word_is_replaced);
	tcase_add_test(tc, what_was_accepted_is_accepted_again);
	tcase_add_test(tc, after_status_0_memory_is_left_alone);
	tcase_add_test(tc, a_late_answer_does_not_reach_a_new_ring);
	tcase_add_test(tc, a_queue_that_is_not_enabled_again_rests);
	tcase_add_test(tc, reset_restores_the_registers);
	tcase_add_test(tc, resets_are_harmless_at_any_stage);
}

/* What looks behind the transport, or has one of its own. */
static void add_alone(TCase *tc)
{
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, life_cycle_has_96_cells);
	tcase_add_test(tc, follows_the_table);
	tcase_add_test(tc, doorbells_follow_the_device);
	tcase_add_test(tc, a_type_cannot_offer_what_lacks_its_base);
	tcase_add_test(tc, queues_are_bounded);
	tcase_add_test(tc, a_type_is_told_of_stops_and_resets);
	tcase_add_test(tc, a_queue_whose_reset_waits_is_stopped_with_the_device);
	tcase_add_test(tc, an_offer_is_the_instances);
	tcase_add_test(tc, one_start);
	tcase_add_test(tc, a_reset_waits_for_what_is_out);
}

TRANSPORTS_SUITE("virtio-device", add, add_alone, on_core, on_pci, on_pci_armed, on_pci_window)
