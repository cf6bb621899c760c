// SPDX-License-Identifier: GPL-2.0
// LINK: virtio/device.c virtio/registers.c virtio/legacy.c virtio/queue.c virtio/mini.c gmem.c util/loop.c util/log.c util/err.c tests/mock/clock.c tests/mock/arena.c tests/mock/ring.c tests/mock/driver.c tests/mock/core.c tests/mock/testdev.c tests/mock/bench.c tests/mock/hostile.c virtio/transport-pci.c virtio/transport-modern.c virtio/transport-legacy.c virtio/transport-doorbell.c virtio/transport-fds.c pci.c pci-bar.c pci-irq.c pci-ecam.c bus.c ioeventfd.c tests/mock/fake-kvm.c irq-route.c tests/mock/pci.c tests/mock/pci-driver.c
/* The core's half of the legacy interface: no FEATURES_OK, page-frame rings, first use starts, bounded reset. */
#include "unit.h"

#include <string.h>

#include <lkvm/util.h>

#include "../mock/hostile.h"
#include "../mock/transports.h"

static struct bench b;

static void setup(void)
{
	bench_init(&b, &(struct bench_opts){ .queues = 2 });
}

static void teardown(void)
{
	hostile_recover(&b);
	bench_release(&b);
}

static void publish(uint16_t q)
{
	struct drv_buf bufs[2];

	bench_bufs(&b, bufs, 16);
	ring_add(&b.d.rings[q], bufs, 2);
	ring_publish(&b.d.rings[q]);
}

START_TEST(offers_one_word)
{
	ROW("LEG-14", "LEG-25", "LEG-27", "LEG-29");
	uint32_t offered = (uint32_t)drv_offered(&b.d);

	ck_assert_uint_eq(drv_offered(&b.d) >> 32, 0);
	ck_assert_uint_eq(offered, VIRTIO_BIT(TESTDEV_F_A) | VIRTIO_BIT(TESTDEV_F_B) |
					   VIRTIO_BIT(VIRTIO_F_ANY_LAYOUT) |
					   VIRTIO_BIT(VIRTIO_F_INDIRECT_DESC) |
					   VIRTIO_BIT(VIRTIO_F_EVENT_IDX));
	/* The modern words do not have it. */
	virtio_select_device_features(&b.td.vd, 0);
	ck_assert_uint_eq(virtio_get_device_features(&b.td.vd) & VIRTIO_BIT(VIRTIO_F_ANY_LAYOUT),
			  0);
	/* What was not offered, bit 30 too, is not accepted; the rest is. */
	drv_accept(&b.d, UINT64_MAX);
	ck_assert_uint_eq(drv_accepted(&b.d), offered);
	drv_accept(&b.d, 0);
	ck_assert_uint_eq(drv_accepted(&b.d), 0);
}

START_TEST(a_modern_attempt_leaves_nothing)
{
	ROW("LEG-14");
	virtio_set_status(&b.td.vd, 0x03);
	virtio_select_driver_features(&b.td.vd, 1);
	virtio_set_driver_features(&b.td.vd, 1);
	drv_set_status(&b.d, 0);
	bench_up(&b, 0);
	ck_assert(!virtio_has(&b.td.vd, VIRTIO_F_VERSION_1));
	bench_echo(&b, 0);
}

START_TEST(status_is_stored_as_written)
{
	ROW("LEG-15", "LEG-16");
	static const uint8_t values[] = { 0x07, 0x03, 0x01, 0x0b, 0x0f, 0x04 };

	for (unsigned int i = 0; i < ARRAY_SIZE(values); i++) {
		drv_set_status(&b.d, values[i]);
		ck_assert_uint_eq(drv_status(&b.d), values[i]);
	}
	drv_set_status(&b.d, 0x7f);
	ck_assert_uint_eq(drv_status(&b.d), 0x0f);
	drv_set_status(&b.d, 0);
	ck_assert_uint_eq(drv_status(&b.d), 0);
	drv_set_status(&b.d, 7);
	ck_assert_uint_eq(drv_status(&b.d), 7);
	ring_make(&b.d, 0, 16);
	ring_enable(&b.d.rings[0]);
	bench_echo(&b, 0);
	ck_assert_uint_eq(b.td.starts, 2);
}

START_TEST(a_broken_device_says_so_whatever_is_written)
{
	ROW("LEG-16");
	bench_up(&b, 0);
	ring_push(&b.d.rings[0], 0x7fff);
	drv_notify(&b.d, 0);
	bench_settle(&b);
	ck_assert_uint_eq(drv_status(&b.d), 0x47);
	ck_assert_uint_eq(b.d.irqs.config, 1);
	drv_set_status(&b.d, 3);
	ck_assert_uint_eq(drv_status(&b.d), 0x43);
	bench_up(&b, 0);
	bench_echo(&b, 0);
	drv_set_status(&b.d, 0x87);
	ck_assert_uint_eq(drv_status(&b.d), 0x87);
	publish(0);
	drv_notify(&b.d, 0);
	bench_settle(&b);
	ck_assert_uint_eq(ring_used_idx(&b.d.rings[0]), 1);
}

START_TEST(works_before_driver_ok)
{
	ROW("LEG-17");
	drv_negotiate(&b.d, 0);
	ring_make(&b.d, 0, 16);
	ring_enable(&b.d.rings[0]);
	bench_settle(&b);
	bench_echo(&b, 0);
	ck_assert_uint_eq(drv_status(&b.d), 0x03);
	ck_assert_uint_eq(b.td.starts, 1);
	ring_make(&b.d, 1, 16);
	ring_enable(&b.d.rings[1]);
	bench_settle(&b);
	bench_echo(&b, 1);
	drv_driver_ok(&b.d);
	ck_assert_uint_eq(b.td.starts, 1);
	bench_echo(&b, 0);
}

START_TEST(a_kick_starts_it_too)
{
	ROW("LEG-17");
	/* Not one that no legacy driver stands behind. */
	drv_notify(&b.d, 0);
	drv_notify(&b.d, 77);
	ck_assert_uint_eq(b.td.starts, 0);
	drv_accept(&b.d, VIRTIO_BIT(VIRTIO_F_EVENT_IDX));
	drv_notify(&b.d, 77);
	ck_assert_uint_eq(b.td.starts, 0);
	drv_notify(&b.d, 0);
	ck_assert_uint_eq(b.td.starts, 1);
	ck_assert_uint_eq(b.td.started_with, VIRTIO_BIT(VIRTIO_F_EVENT_IDX));
	/* From here on the features are what they are. */
	drv_accept(&b.d, 0);
	ck_assert_uint_eq(drv_accepted(&b.d), VIRTIO_BIT(VIRTIO_F_EVENT_IDX));
}

START_TEST(config_may_be_written_first)
{
	ROW("LEG-18");
	uint32_t word = htole32(0x01020304), got = 0;

	b.d.ops->config_write(&b.d, 12, &word, 4);
	b.d.ops->config_read(&b.d, 12, &got, 4);
	ck_assert_uint_eq(got, word);
	ck_assert_uint_eq(b.td.starts, 0);
}

START_TEST(rings_of_one_piece)
{
	ROW("LEG-19", "LEG-20", "LEG-22", "LEG-23");
	static const uint16_t sizes[] = { 2, 128, 256, 1024 };

	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++) {
		uint64_t n = sizes[i], desc = ARENA_HIGH, avail = desc + 16 * n;
		uint64_t used = align_up(avail + 6 + 2 * n, 4096);

		bench_release(&b);
		bench_init(&b, &(struct bench_opts){ .size = sizes[i] });
		drv_negotiate(&b.d, 0);
		ck_assert_uint_eq(drv_reg(&b.d, 0, DRV_SIZE), n);
		ring_make_at(&b.d, 0, sizes[i], desc, avail, used);
		ring_enable(&b.d.rings[0]);
		bench_settle(&b);
		for (unsigned int k = 0; k < 3; k++)
			bench_echo(&b, 0);
		ck_assert_uint_eq(b.d.ops->get_pfn(&b.d), ARENA_HIGH / 4096);
		b.d.ops->queue_select(&b.d, 77);
		b.d.ops->set_pfn(&b.d, 0x10);
		ck_assert_uint_eq(b.d.ops->get_pfn(&b.d), 0);
		ck_assert_uint_eq(b.d.ops->get_reg(&b.d, DRV_SIZE), 0);
	}
}

START_TEST(pfn_0_gives_a_queue_back)
{
	ROW("LEG-21");
	bench_up(&b, 0);
	bench_echo(&b, 0);
	uint32_t pfn = (uint32_t)(b.d.rings[0].desc / 4096);
	b.d.ops->queue_select(&b.d, 0);
	ck_assert_uint_eq(b.d.ops->get_pfn(&b.d), pfn);
	/* It is taken: another place is not. */
	b.d.ops->set_pfn(&b.d, pfn + 4);
	ck_assert_uint_eq(b.d.ops->get_pfn(&b.d), pfn);
	b.td.mode = TESTDEV_HOLD;
	publish(0);
	drv_notify(&b.d, 0);
	bench_settle(&b);
	b.d.ops->set_pfn(&b.d, 0);
	ck_assert_uint_eq(b.d.ops->get_pfn(&b.d), 0);
	/* Its memory is the driver's, but for what is out: until that is back it cannot be used again. */
	b.d.ops->set_pfn(&b.d, pfn);
	ck_assert_uint_eq(b.d.ops->get_pfn(&b.d), 0);
	testdev_finish_all(&b.td);
	drv_notify(&b.d, 0);
	bench_settle(&b);
	b.td.mode = TESTDEV_AUTO;
	ring_clear(&b.d.rings[0]);
	ring_enable(&b.d.rings[0]);
	bench_settle(&b);
	bench_echo(&b, 0);
	bench_echo(&b, 1);
	bench_reset(&b);
	b.d.ops->queue_select(&b.d, 0);
	ck_assert_uint_eq(b.d.ops->get_pfn(&b.d), 0);
}

START_TEST(a_ring_outside_memory)
{
	ROW("HD-53");
	static const uint32_t pfn[] = { ARENA_LOW_END / 4096, ARENA_LOW_END / 4096 - 1,
					0xffffffff };

	for (unsigned int i = 0; i < ARRAY_SIZE(pfn); i++) {
		bench_reset(&b);
		drv_negotiate(&b.d, 0);
		b.d.ops->queue_select(&b.d, 0);
		b.d.ops->set_pfn(&b.d, pfn[i]);
		ck_assert_uint_eq(drv_status(&b.d), 0x43);
		drv_driver_ok(&b.d);
		ck_assert_uint_eq(b.td.starts, 0);
	}
	bench_up(&b, 0);
	bench_echo(&b, 0);
}

START_TEST(a_reset_ends_before_the_write_does)
{
	ROW("LEG-33");
	bench_up(&b, 0);
	b.td.mode = TESTDEV_HOLD;
	b.td.cancels = true;
	publish(0);
	drv_notify(&b.d, 0);
	bench_settle(&b);
	/* The answer comes on the loop's thread while the write waits. */
	pthread_t t;
	pthread_create(&t, NULL, (void *(*)(void *))(void *)loop_run, b.loops[0]);
	drv_set_status(&b.d, 0);
	ck_assert_uint_eq(drv_status(&b.d), 0);
	loop_stop(b.loops[0]);
	pthread_join(t, NULL);
	ck_assert_uint_eq(ring_used_idx(&b.d.rings[0]), 0);
	ck_assert_uint_eq(bench_log_lines(&b), 0);
}

START_TEST(a_reset_does_not_wait_for_ever)
{
	ROW("LEG-33", "GEN-37");
	bench_up(&b, 0);
	b.td.mode = TESTDEV_HOLD;
	publish(0);
	drv_notify(&b.d, 0);
	bench_settle(&b);
	/* Each look at the clock takes a tenth of a second. */
	uint64_t before = mock_clock_skew;
	mock_clock_step = NSEC_PER_SEC / 10;
	drv_set_status(&b.d, 0);
	ck_assert_uint_ge(mock_clock_skew - before, NSEC_PER_SEC);
	ck_assert_uint_le(mock_clock_skew - before, 2 * NSEC_PER_SEC);
	mock_clock_step = 0;
	ck_assert_uint_eq(drv_status(&b.d), 7);
	ck_assert_uint_eq(bench_log_lines(&b), 1);
	/* Nothing is taken meanwhile. */
	drv_set_status(&b.d, 3);
	ck_assert_uint_eq(drv_status(&b.d), 7);
	drv_accept(&b.d, 1);
	b.d.ops->set_pfn(&b.d, 8);
	ck_assert_uint_eq(b.d.ops->get_pfn(&b.d), 0);
	ck_assert_uint_eq(drv_accepted(&b.d), 0);
	testdev_finish_all(&b.td);
	bench_settle(&b);
	ck_assert_uint_eq(drv_status(&b.d), 0);
	b.td.mode = TESTDEV_AUTO;
	bench_up(&b, 0);
	bench_echo(&b, 0);
}

/* A ring starts the device, whatever the status; a reset of it ends when its requests have all the same. */
START_TEST(a_reset_of_a_device_without_a_status)
{
	ROW("LEG-33", "GEN-37");
	ring_make(&b.d, 0, 16);
	ring_enable(&b.d.rings[0]);
	b.td.mode = TESTDEV_HOLD;
	publish(0);
	drv_notify(&b.d, 0);
	bench_settle(&b);
	ck_assert_uint_eq(testdev_held(&b.td, 0), 1);
	ck_assert_uint_eq(drv_status(&b.d), 0);
	mock_clock_step = NSEC_PER_SEC / 10;
	drv_set_status(&b.d, 0);
	mock_clock_step = 0;
	ck_assert_uint_ne(drv_status(&b.d), 0);
	testdev_finish_all(&b.td);
	bench_settle(&b);
	ck_assert_uint_eq(drv_status(&b.d), 0);
	b.td.mode = TESTDEV_AUTO;
	bench_up(&b, 0);
	bench_echo(&b, 0);
}

static void add(TCase *tc)
{
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, offers_one_word);
	tcase_add_test(tc, a_modern_attempt_leaves_nothing);
	tcase_add_test(tc, status_is_stored_as_written);
	tcase_add_test(tc, a_broken_device_says_so_whatever_is_written);
	tcase_add_test(tc, works_before_driver_ok);
	tcase_add_test(tc, a_kick_starts_it_too);
	tcase_add_test(tc, config_may_be_written_first);
	tcase_add_test(tc, rings_of_one_piece);
	tcase_add_test(tc, pfn_0_gives_a_queue_back);
	tcase_add_test(tc, a_ring_outside_memory);
	tcase_add_test(tc, a_reset_ends_before_the_write_does);
	tcase_add_test(tc, a_reset_does_not_wait_for_ever);
	tcase_add_test(tc, a_reset_of_a_device_without_a_status);
}

TRANSPORTS_SUITE("virtio-legacy", add, NULL, on_core_legacy, on_pci_legacy, on_pci_legacy_armed)
