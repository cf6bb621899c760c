// SPDX-License-Identifier: GPL-2.0
// LINK: virtio/device.c virtio/registers.c virtio/legacy.c virtio/queue.c virtio/mini.c gmem.c util/loop.c util/log.c util/err.c tests/mock/clock.c tests/mock/arena.c tests/mock/ring.c tests/mock/driver.c tests/mock/core.c tests/mock/testdev.c tests/mock/bench.c tests/mock/hostile.c
// LIBS: -Wl,--wrap=calloc
/* A device that may not master the bus, and one that is driven through both of its faces. */
#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include <lkvm/util.h>

#include "../mock/hostile.h"

static struct bench b;
static bool no_memory;

void *__real_calloc(size_t nr, size_t len);
void *__wrap_calloc(size_t nr, size_t len);
void *__wrap_calloc(size_t nr, size_t len)
{
	return no_memory ? NULL : __real_calloc(nr, len);
}

static void setup(void)
{
	bench_init(&b, &(struct bench_opts){ .queues = 2 });
}

static void teardown(void)
{
	virtio_set_bus_master(&b.td.vd, true);
	hostile_recover(&b);
	bench_release(&b);
}

static void publish_and_kick(uint16_t q)
{
	struct drv_buf bufs[2];

	bench_bufs(&b, bufs, 16);
	ring_add(&b.d.rings[q], bufs, 2);
	ring_publish(&b.d.rings[q]);
	drv_notify(&b.d, q);
	bench_settle(&b);
}

static uint16_t used_idx(uint16_t q)
{
	return ring_used_idx(&b.d.rings[q]);
}

START_TEST(without_it_memory_is_left_alone)
{
	ROW("PLT-5");
	bench_up(&b, MODERN);
	bench_echo(&b, 0);
	uint16_t before = used_idx(0);

	virtio_set_bus_master(&b.td.vd, false);
	bench_settle(&b);
	arena_settle(&b.a);
	publish_and_kick(0);
	publish_and_kick(0);
	ck_assert_uint_eq(b.td.taken, 1);
	ck_assert_uint_eq(used_idx(0), before);
	ck_assert_uint_eq(arena_stray(&b.a), ARENA_CLEAN);
	arena_permit(&b.a, 0, ARENA_LOW_END);
	arena_permit(&b.a, ARENA_HIGH, ARENA_HIGH_LEN);
	bench_canary(&b);
	virtio_set_bus_master(&b.td.vd, true);
	bench_settle(&b);
	ck_assert_uint_eq(b.td.taken, 3);
	ck_assert_uint_eq(used_idx(0), before + 2);
	/* What was seen, by an interrupt. */
	ck_assert_uint_ge(b.d.irqs.queue[0], 2);
}

START_TEST(what_comes_back_meanwhile_is_held)
{
	ROW("PLT-5", "HD-152");
	bench_up(&b, MODERN);
	b.td.mode = TESTDEV_HOLD;
	publish_and_kick(0);
	publish_and_kick(0);
	publish_and_kick(1);
	virtio_set_bus_master(&b.td.vd, false);
	uint32_t irqs = b.d.irqs.queue[0];
	testdev_finish(&b.td, 0, 1, true);
	testdev_finish(&b.td, 0, 0, true);
	bench_settle(&b);
	ck_assert_uint_eq(used_idx(0), 0);
	ck_assert_uint_eq(b.d.irqs.queue[0], irqs);
	virtio_set_bus_master(&b.td.vd, true);
	bench_settle(&b);
	ck_assert_uint_eq(used_idx(0), 2);
	ck_assert_uint_eq(b.d.irqs.queue[0], irqs + 1);
	uint32_t id, len;
	ck_assert(ring_get(&b.d.rings[0], &id, &len));
	ck_assert_uint_eq(len, 16);
	testdev_finish_all(&b.td);
	bench_settle(&b);
	ck_assert_uint_eq(used_idx(1), 1);
}

START_TEST(a_reset_drops_what_is_held)
{
	ROW("PLT-5");
	bench_up(&b, MODERN);
	b.td.mode = TESTDEV_HOLD;
	publish_and_kick(0);
	virtio_set_bus_master(&b.td.vd, false);
	testdev_finish_all(&b.td);
	bench_settle(&b);
	drv_set_status(&b.d, 0);
	ck_assert_uint_eq(drv_status(&b.d), 0);
	/* It is the function's, not the device's: a reset does not turn it on. */
	b.td.mode = TESTDEV_AUTO;
	bench_up(&b, MODERN);
	publish_and_kick(0);
	ck_assert_uint_eq(used_idx(0), 0);
	virtio_set_bus_master(&b.td.vd, true);
	bench_settle(&b);
	ck_assert_uint_eq(used_idx(0), 1);
}

START_TEST(toggled_at_any_stage)
{
	ROW("HD-152");
	for (unsigned int i = 0; i < 100; i++) {
		virtio_set_bus_master(&b.td.vd, i % 3);
		if (i % 10 == 0)
			bench_up(&b, MODERN_ALL);
		if (i % 10 > 4)
			publish_and_kick(i % 2);
		virtio_set_bus_master(&b.td.vd, i % 2);
	}
}

static uint64_t legacy_ring;

static void try_legacy(struct virtio_device *vd)
{
	virtio_legacy_set_status(vd, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_DRIVER_OK);
	virtio_legacy_set_status(vd, VIRTIO_FAILED);
	virtio_legacy_set_features(vd, 1);
	virtio_queue_select(vd, 1);
	virtio_legacy_set_pfn(vd, (uint32_t)(legacy_ring / 4096));
	virtio_legacy_set_pfn(vd, 0);
}

/* What comes back meanwhile would have no place: the device breaks instead. */
START_TEST(without_memory_for_what_is_held)
{
	for (unsigned int late = 0; late < 2; late++) {
		bench_prepare(&b, MODERN);
		if (late) {
			drv_driver_ok(&b.d);
			bench_settle(&b);
		}
		no_memory = true;
		virtio_set_bus_master(&b.td.vd, false);
		if (!late)
			drv_driver_ok(&b.d);
		no_memory = false;
		bench_settle(&b);
		ck_assert_uint_eq(drv_status(&b.d), 0x4f);
		virtio_set_bus_master(&b.td.vd, true);
		bench_up(&b, MODERN);
		bench_echo(&b, 0);
	}
}

/* A queue that does not run holds nothing; one that begins later does. */
START_TEST(a_queue_that_begins_without_it)
{
	bench_up(&b, MODERN_ALL);
	drv_set_reg(&b.d, 1, DRV_RESET, 1);
	bench_settle(&b);
	virtio_set_bus_master(&b.td.vd, false);
	struct vq_held *held = b.td.vd.vqs[0].held;
	ck_assert_ptr_nonnull(held);
	/* The same again is no news. */
	ck_assert_int_eq(vq_set_bus_master(&b.td.vd.vqs[0], false), 0);
	ck_assert_ptr_eq(b.td.vd.vqs[0].held, held);
	ck_assert_ptr_null(b.td.vd.vqs[1].held);
	ring_make(&b.d, 1, 16);
	ring_enable(&b.d.rings[1]);
	bench_settle(&b);
	ck_assert_ptr_nonnull(b.td.vd.vqs[1].held);
	publish_and_kick(1);
	ck_assert_uint_eq(b.td.taken, 0);
	virtio_set_bus_master(&b.td.vd, true);
	bench_settle(&b);
	ck_assert_uint_eq(b.td.taken, 1);
	ck_assert_ptr_null(b.td.vd.vqs[1].held);
}

START_TEST(the_first_face_owns_it)
{
	ROW("LEG-34", "HD-167");
	struct virtio_device *vd = &b.td.vd;

	legacy_ring = arena_alloc(&b.a, 16384, 4096);
	bench_up(&b, MODERN);
	ck_assert_int_eq(virtio_get_iface(vd), VIRTIO_IFACE_MODERN);
	try_legacy(vd);
	ck_assert_uint_eq(drv_status(&b.d), 0x0f);
	ck_assert(virtio_has(vd, VIRTIO_F_VERSION_1));
	bench_echo(&b, 0);
	bench_echo(&b, 1);
	/* Before the queues are up, too. */
	bench_reset(&b);
	drv_set_status(&b.d, 1);
	try_legacy(vd);
	ck_assert_uint_eq(drv_status(&b.d), 1);
	ck_assert_uint_eq(virtio_legacy_get_pfn(vd), 0);
	/* Status 0 is taken from either. */
	virtio_legacy_set_status(vd, 0);
	ck_assert_uint_eq(drv_status(&b.d), 0);
	ck_assert_int_eq(virtio_get_iface(vd), VIRTIO_IFACE_NONE);
}

START_TEST(the_other_way_round)
{
	ROW("LEG-34", "HD-167");
	struct virtio_device *vd = &b.td.vd;

	legacy_ring = arena_alloc(&b.a, 16384, 4096);
	bench_reset(&b);
	virtio_legacy_set_status(vd, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER);
	drv_set_status(&b.d, 0x0b);
	drv_accept(&b.d, MODERN);
	ck_assert_uint_eq(drv_status(&b.d), 3);
	ck_assert_uint_eq(virtio_legacy_get_driver_features(vd), 0);
	virtio_queue_select(vd, 0);
	virtio_legacy_set_pfn(vd, (uint32_t)(legacy_ring / 4096));
	virtio_legacy_set_status(vd, 7);
	/* Its other queue is not set up through the modern registers. */
	drv_set_reg(&b.d, 1, DRV_SIZE, 4);
	drv_set_addr(&b.d, 1, DRV_DESC, legacy_ring);
	drv_set_reg(&b.d, 1, DRV_ENABLE, 1);
	ck_assert_uint_eq(drv_reg(&b.d, 1, DRV_SIZE), 16);
	ck_assert_uint_eq(drv_reg(&b.d, 1, DRV_ENABLE), 0);
	ck_assert_uint_eq(drv_addr(&b.d, 1, DRV_DESC), 0);
	drv_set_status(&b.d, 0);
	ck_assert_uint_eq(drv_status(&b.d), 0);
}

UNIT_SUITE("virtio-bus-master", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, without_it_memory_is_left_alone);
	tcase_add_test(tc, what_comes_back_meanwhile_is_held);
	tcase_add_test(tc, a_reset_drops_what_is_held);
	tcase_add_test(tc, toggled_at_any_stage);
	tcase_add_test(tc, without_memory_for_what_is_held);
	tcase_add_test(tc, a_queue_that_begins_without_it);
	tcase_add_test(tc, the_first_face_owns_it);
	tcase_add_test(tc, the_other_way_round);
})
