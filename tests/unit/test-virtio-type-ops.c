// SPDX-License-Identifier: GPL-2.0
// LINK: virtio/device.c virtio/registers.c virtio/legacy.c virtio/queue.c virtio/mini.c gmem.c util/loop.c util/log.c util/err.c tests/mock/clock.c tests/mock/arena.c tests/mock/ring.c tests/mock/driver.c tests/mock/core.c tests/mock/testdev.c tests/mock/bench.c tests/mock/hostile.c
/* What a device type may ask of the core: its own features, queues that come and go, kicks that stay off. */
#include "unit.h"

#include <lkvm/util.h>

#include "../mock/hostile.h"

static struct bench b;

static void setup(void)
{
	bench_init(&b, &(struct bench_opts){ .queues = 3 });
}

static void teardown(void)
{
	b.td.hidden = 0;
	b.td.quiet = false;
	hostile_recover(&b);
	bench_release(&b);
}

/* Before it is plugged an instance may offer less than its type; what is offered is still closed. */
START_TEST(an_instance_has_its_own_features)
{
	struct testdev td;
	struct drv d;
	struct err err = ERR_INIT;

	testdev_init(&td, &b.a.gm, &b.log, 1, 16, b.loops, 1);
	ck_assert_uint_eq(td.vd.features, td.vd.ops->features);
	td.vd.features = VIRTIO_BIT(TESTDEV_F_B);
	ck_assert_int_lt(virtio_plug(&td.vd, b.td.vd.transport, &err), 0);
	td.vd.features = VIRTIO_BIT(TESTDEV_F_A);
	drv_init(&d, &drv_core, &b.a, &td.vd);
	ck_assert_uint_eq(drv_offered(&d), MODERN_ALL | VIRTIO_BIT(TESTDEV_F_A));
	ck_assert(!drv_negotiate(&d, MODERN | VIRTIO_BIT(TESTDEV_F_A) | VIRTIO_BIT(TESTDEV_F_B)));
	drv_release(&d);
	testdev_release(&td);
}

/* A queue that is not there reads 0 and takes no write, like one beyond the last. */
START_TEST(a_queue_may_be_missing)
{
	b.td.hidden = 1 << 1;
	bench_reset(&b);
	ck_assert(drv_negotiate(&b.d, MODERN_ALL));
	ck_assert_uint_eq(drv_reg(&b.d, 0, DRV_SIZE), 16);
	ck_assert_uint_eq(drv_reg(&b.d, 1, DRV_SIZE), 0);
	ck_assert_uint_eq(drv_reg(&b.d, 2, DRV_SIZE), 16);
	drv_set_addr(&b.d, 1, DRV_DESC, 0x1000);
	drv_set_reg(&b.d, 1, DRV_ENABLE, 1);
	ck_assert_uint_eq(drv_reg(&b.d, 1, DRV_ENABLE), 0);
	ck_assert_uint_eq(drv_addr(&b.d, 1, DRV_DESC), 0);
	drv_driver_ok(&b.d);
	ck_assert_int_eq(b.td.on[1], 0);
	b.td.hidden = 0;
	ck_assert_uint_eq(drv_reg(&b.d, 1, DRV_SIZE), 16);
}

START_TEST(a_type_knows_which_queues_run)
{
	bench_up(&b, MODERN_ALL);
	for (unsigned int i = 0; i < 3; i++)
		ck_assert_int_eq(b.td.on[i], 1);
	drv_set_reg(&b.d, 1, DRV_RESET, 1);
	ck_assert_int_eq(b.td.on[0], 1);
	ck_assert_int_eq(b.td.on[1], 0);
	ring_make(&b.d, 1, 16);
	ring_enable(&b.d.rings[1]);
	ck_assert_int_eq(b.td.on[1], 1);
	bench_reset(&b);
	for (unsigned int i = 0; i < 3; i++)
		ck_assert_int_eq(b.td.on[i], 0);
}

/* A queue whose rings are not in memory never began. */
START_TEST(a_queue_that_cannot_begin)
{
	bench_prepare(&b, MODERN_ALL);
	drv_driver_ok(&b.d);
	drv_set_reg(&b.d, 1, DRV_RESET, 1);
	drv_set_addr(&b.d, 1, DRV_DESC, ARENA_LOW_END);
	drv_set_reg(&b.d, 1, DRV_ENABLE, 1);
	ck_assert_int_eq(b.td.on[1], 0);
	ck_assert_uint_eq(drv_status(&b.d), 0x4f);
}

static bool kicked(void)
{
	struct drv_buf buf = { b.echo_gpa, 1, true };

	ring_add(&b.d.rings[0], &buf, 1);
	ring_publish(&b.d.rings[0]);
	bool wanted = ring_kick(&b.d.rings[0]);
	bench_settle(&b);
	return wanted;
}

/* A type that waits for something else and turned kicks off gets none until it serves the queue itself. */
START_TEST(kicks_stay_off_while_a_type_waits)
{
	for (unsigned int event_idx = 0; event_idx < 2; event_idx++) {
		bench_up(&b, event_idx ? MODERN_ALL : MODERN);
		b.td.lazy = b.td.quiet = true;
		ck_assert(kicked());
		ck_assert(!kicked());
		ck_assert_uint_eq(ring_used_idx(&b.d.rings[0]), 1);
		b.td.lazy = false;
		virtio_queue_serve(&b.td.vd.vqs[0]);
		ck_assert_uint_eq(ring_used_idx(&b.d.rings[0]), 2);
		ck_assert(kicked());
		b.td.quiet = false;
	}
}

/* Nothing is left of it in the queue's next life. */
START_TEST(kicks_are_on_after_a_restart)
{
	for (unsigned int event_idx = 0; event_idx < 2; event_idx++) {
		bench_up(&b, event_idx ? MODERN_ALL : MODERN);
		b.td.lazy = b.td.quiet = true;
		ck_assert(kicked());
		ck_assert(!kicked());
		b.td.quiet = false;
		bench_up(&b, event_idx ? MODERN_ALL : MODERN);
		ck_assert(kicked());
		ck_assert(kicked());
		ck_assert_uint_eq(ring_used_idx(&b.d.rings[0]), 2);
		b.td.lazy = false;
	}
}

START_TEST(a_broken_device_uses_nothing)
{
	struct virtqueue *vq = &b.td.vd.vqs[0];

	ck_assert(!vq_usable(vq));
	bench_up(&b, MODERN_ALL);
	ck_assert(vq_usable(vq));
	virtio_fault(&b.td.vd, "a test");
	ck_assert(!vq_usable(vq));
}

UNIT_SUITE("virtio-type-ops", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, an_instance_has_its_own_features);
	tcase_add_test(tc, a_queue_may_be_missing);
	tcase_add_test(tc, a_type_knows_which_queues_run);
	tcase_add_test(tc, a_queue_that_cannot_begin);
	tcase_add_test(tc, kicks_stay_off_while_a_type_waits);
	tcase_add_test(tc, kicks_are_on_after_a_restart);
	tcase_add_test(tc, a_broken_device_uses_nothing);
})
