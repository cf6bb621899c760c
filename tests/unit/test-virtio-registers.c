// SPDX-License-Identifier: GPL-2.0
// LINK: virtio/device.c virtio/registers.c virtio/legacy.c virtio/queue.c virtio/mini.c gmem.c util/loop.c util/log.c util/err.c tests/mock/clock.c tests/mock/arena.c tests/mock/ring.c tests/mock/driver.c tests/mock/core.c tests/mock/testdev.c tests/mock/bench.c tests/mock/hostile.c virtio/transport-pci.c virtio/transport-modern.c virtio/transport-legacy.c virtio/transport-doorbell.c virtio/transport-fds.c pci.c pci-bar.c pci-irq.c pci-ecam.c bus.c ioeventfd.c tests/mock/fake-kvm.c irq-route.c tests/mock/pci.c tests/mock/pci-driver.c
/* The core's configuration space, queue registers and queue reset, through a driver. */
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

/* --- configuration space --- */

static uint64_t config(uint64_t off, uint32_t len)
{
	uint64_t v = 0;

	b.d.ops->config_read(&b.d, off, &v, len);
	return le64toh(v);
}

START_TEST(config_is_readable_early_and_little_endian)
{
	ROW("GEN-39", "GEN-40", "GEN-43");
	static const uint8_t bytes[] = { 8, 7, 6, 5, 4, 3, 2, 1 };
	uint8_t early[32], late[32], got[8];

	testdev_set_wide(&b.td, 0x0102030405060708);
	drv_set_status(&b.d, 0x03);
	for (uint32_t i = 0; i < 8; i++)
		b.d.ops->config_read(&b.d, i, &got[i], 1);
	ck_assert_mem_eq(got, bytes, 8);
	memset(early, 0xff, 32);
	b.d.ops->config_read(&b.d, 0, early, 32);
	for (unsigned int i = TESTDEV_CONFIG_LEN; i < 32; i++)
		ck_assert_uint_eq(early[i], 0);
	bench_up(&b, MODERN);
	b.d.ops->config_read(&b.d, 0, late, 32);
	ck_assert_mem_eq(early, late, 32);
}

START_TEST(config_has_an_end)
{
	ROW("GEN-43", "HD-117");
	static const uint64_t offs[] = {
		TESTDEV_CONFIG_LEN - 1,   TESTDEV_CONFIG_LEN, 0xffff,    UINT32_MAX,
		(uint64_t)UINT32_MAX + 1, UINT64_MAX - 3,     UINT64_MAX
	};
	struct testdev_config before = b.td.config;

	for (unsigned int i = 0; i < ARRAY_SIZE(offs); i++) {
		uint64_t v = UINT64_MAX;

		b.d.ops->config_read(&b.d, offs[i], &v, 8);
		ck_assert_uint_eq(v, 0);
		v = UINT64_MAX;
		b.d.ops->config_write(&b.d, offs[i], &v, 8);
	}
	ck_assert_mem_eq(&b.td.config, &before, sizeof(before));
}

START_TEST(read_only_config_is_that)
{
	ROW("GEN-44", "HD-118");
	for (uint32_t width = 1; width <= 8; width *= 2) {
		for (uint64_t off = 0; off < TESTDEV_CONFIG_LEN; off += width) {
			uint64_t ones = UINT64_MAX;

			b.d.ops->config_write(&b.d, off, &ones, width);
		}
		ck_assert_uint_eq(config(0, 8), 0);
		ck_assert_uint_eq(config(8, 4), 0x7e57de1);
		ck_assert_uint_eq(config(12, 4), 0xffffffff);
		uint32_t zero = 0;
		b.d.ops->config_write(&b.d, 12, &zero, 4);
	}
	/* A type without a writable field. */
	uint32_t v = UINT32_MAX;
	bench_canary(&b);
	uint32_t served = 0;
	b.cd.ops->config_write(&b.cd, 0, &v, 4);
	b.cd.ops->config_read(&b.cd, 0, &served, 4);
	ck_assert_uint_eq(le32toh(served), 2);
}

START_TEST(generation_tells_of_a_change)
{
	ROW("GEN-41", "PCI-30", "PCI-31");
	uint8_t before = b.d.ops->generation(&b.d);

	for (unsigned int i = 0; i < 1000; i++) {
		config(0, 4);
		ck_assert_uint_eq(b.d.ops->generation(&b.d), before);
	}
	config(0, 4);
	testdev_set_wide(&b.td, UINT64_C(1) << 40);
	config(4, 4);
	ck_assert_uint_ne(b.d.ops->generation(&b.d), before);
	/* However often it changed between two looks. */
	before = b.d.ops->generation(&b.d);
	config(0, 8);
	for (unsigned int i = 0; i < 256; i++)
		testdev_set_wide(&b.td, i);
	config(0, 8);
	ck_assert_uint_ne(b.d.ops->generation(&b.d), before);
}

START_TEST(a_change_is_told_while_the_driver_runs)
{
	ROW("GEN-42");
	testdev_set_wide(&b.td, 1);
	bench_prepare(&b, MODERN);
	testdev_set_wide(&b.td, 2);
	ck_assert_uint_eq(b.d.irqs.config, 0);
	drv_driver_ok(&b.d);
	testdev_set_wide(&b.td, 3);
	ck_assert_uint_eq(b.d.irqs.config, 1);
	bench_reset(&b);
	testdev_set_wide(&b.td, 4);
	ck_assert_uint_eq(b.d.irqs.config, 1);
}

/* --- queue registers --- */

START_TEST(queues_that_do_not_exist)
{
	ROW("GEN-45", "HD-92", "HD-121", "PCI-39", "PCI-44");
	static const uint16_t nr[] = { 4, 5, 63, 64, 65, 0x7fff, 0xabcd, 0xffff };

	bench_prepare(&b, MODERN_ALL);
	ck_assert_uint_eq(b.d.ops->queues_nr(&b.d), 4);
	for (int running = 0; running < 2; running++) {
		for (unsigned int i = 0; i < ARRAY_SIZE(nr); i++) {
			uint16_t q = nr[i];

			for (enum drv_reg reg = DRV_SIZE; reg <= DRV_RESET; reg++) {
				drv_set_reg(&b.d, q, reg, 1);
				ck_assert_uint_eq(drv_reg(&b.d, q, reg), 0);
			}
			for (enum drv_area a = DRV_DESC; a <= DRV_USED; a++) {
				drv_set_addr(&b.d, q, a, 0x1000);
				ck_assert_uint_eq(drv_addr(&b.d, q, a), 0);
			}
			ck_assert_uint_eq(b.d.ops->get_queue_select(&b.d), q);
			drv_notify(&b.d, q);
			drv_notify(&b.d, 0x10000u * q);
		}
		drv_notify(&b.d, UINT32_MAX);
		drv_driver_ok(&b.d);
	}
	bench_settle(&b);
	for (uint16_t q = 0; q < 4; q++)
		bench_echo(&b, q);
}

START_TEST(sizes_are_powers_of_two)
{
	ROW("PCI-40", "PCI-41", "PCI-42", "SPL-3", "HD-93", "HD-94");
	static const uint16_t bad[] = { 0, 3, 5, 12, 15, 17, 32, 48, 100, 0x8000, 0xffff };

	ck_assert(drv_negotiate(&b.d, MODERN));
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		drv_set_reg(&b.d, 0, DRV_SIZE, bad[i]);
		ck_assert_uint_eq(drv_reg(&b.d, 0, DRV_SIZE), 16);
	}
	for (uint16_t size = 1; size <= 16; size *= 2) {
		drv_set_reg(&b.d, 0, DRV_SIZE, size);
		ck_assert_uint_eq(drv_reg(&b.d, 0, DRV_SIZE), size);
	}
}

START_TEST(a_lower_size_is_the_layout)
{
	ROW("PCI-41", "SPL-2");
	/* At the very end of memory: one entry more would not be there. */
	for (uint16_t size = 2; size <= 8; size *= 2) {
		uint64_t used = ARENA_HIGH_END - align_up(RING_USED_LEN(size), 4);

		bench_reset(&b);
		ck_assert(drv_negotiate(&b.d, MODERN));
		ring_make_at(&b.d, 0, size, 0x20000, 0x21000, used);
		ring_enable(&b.d.rings[0]);
		drv_driver_ok(&b.d);
		bench_settle(&b);
		for (unsigned int i = 0; i < 100; i++)
			bench_echo(&b, 0);
	}
}

START_TEST(registers_rest_while_enabled)
{
	ROW("PCI-45", "PCI-46", "HD-87", "HD-88", "HD-89", "HD-90", "HD-91");
	bench_prepare(&b, MODERN);
	for (int running = 0; running < 2; running++) {
		struct drv_ring *r = &b.d.rings[0];

		drv_set_reg(&b.d, 0, DRV_SIZE, 4);
		ck_assert_uint_eq(drv_reg(&b.d, 0, DRV_SIZE), 16);
		for (enum drv_area a = DRV_DESC; a <= DRV_USED; a++)
			drv_set_addr(&b.d, 0, a, 0x40000);
		ck_assert_uint_eq(drv_addr(&b.d, 0, DRV_DESC), r->desc);
		ck_assert_uint_eq(drv_addr(&b.d, 0, DRV_AVAIL), r->avail);
		ck_assert_uint_eq(drv_addr(&b.d, 0, DRV_USED), r->used);
		static const uint16_t odd[] = { 0, 1, 2, 0xffff };
		for (unsigned int i = 0; i < ARRAY_SIZE(odd); i++) {
			drv_set_reg(&b.d, 0, DRV_ENABLE, odd[i]);
			ck_assert_uint_eq(drv_reg(&b.d, 0, DRV_ENABLE), 1);
		}
		if (!running)
			drv_driver_ok(&b.d);
		bench_settle(&b);
		bench_echo(&b, 0);
	}
	ck_assert_uint_eq(b.td.starts, 1);
	bench_reset(&b);
	ck_assert(drv_negotiate(&b.d, MODERN));
	static const uint16_t not_one[] = { 0, 2, 0x101, 0xffff };
	for (unsigned int i = 0; i < ARRAY_SIZE(not_one); i++) {
		drv_set_reg(&b.d, 0, DRV_ENABLE, not_one[i]);
		ck_assert_uint_eq(drv_reg(&b.d, 0, DRV_ENABLE), 0);
	}
}

START_TEST(queues_wait_for_features_ok)
{
	ROW("PCI-47", "HD-95");
	static const uint8_t status[] = { 0, 0x01, 0x03 };

	for (unsigned int i = 0; i < ARRAY_SIZE(status); i++) {
		drv_set_status(&b.d, status[i]);
		drv_set_reg(&b.d, 0, DRV_SIZE, 8);
		drv_set_addr(&b.d, 0, DRV_DESC, 0x1000);
		drv_set_reg(&b.d, 0, DRV_ENABLE, 1);
		ck_assert_uint_eq(drv_reg(&b.d, 0, DRV_SIZE), 16);
		ck_assert_uint_eq(drv_addr(&b.d, 0, DRV_DESC), 0);
		ck_assert_uint_eq(drv_reg(&b.d, 0, DRV_ENABLE), 0);
	}
	/* And may come late, when the driver is up. */
	ck_assert(drv_negotiate(&b.d, MODERN));
	drv_driver_ok(&b.d);
	ck_assert_uint_eq(drv_status(&b.d), 0x0f);
	ring_make(&b.d, 3, 16);
	ring_enable(&b.d.rings[3]);
	bench_settle(&b);
	bench_echo(&b, 3);
	/* A bad one as late. */
	ring_make_at(&b.d, 2, 16, 0x1000, ARENA_LOW_END, 0x2000);
	ring_enable(&b.d.rings[2]);
	ck_assert_uint_eq(drv_status(&b.d), 0x4f);
	ck_assert_uint_eq(b.d.irqs.config, 1);
}

/* --- queue reset --- */

START_TEST(a_queue_reset_stops_its_queue)
{
	ROW("GEN-48", "GEN-49", "GEN-52", "PCI-36", "PCI-37", "PCI-38");
	bench_up(&b, MODERN_ALL);
	b.td.mode = TESTDEV_HOLD;
	for (unsigned int i = 0; i < 7; i++)
		publish_and_kick(1);
	ck_assert_uint_eq(b.td.taken, 7);
	drv_set_reg(&b.d, 1, DRV_RESET, 1);
	ck_assert_uint_eq(drv_reg(&b.d, 1, DRV_RESET), 1);
	ck_assert_uint_eq(drv_reg(&b.d, 1, DRV_ENABLE), 0);
	publish_and_kick(1);
	ck_assert_uint_eq(b.td.taken, 7);
	b.td.mode = TESTDEV_AUTO;
	bench_echo(&b, 0);
	/* While it lasts the registers rest. */
	drv_set_reg(&b.d, 1, DRV_SIZE, 4);
	ring_enable(&b.d.rings[1]);
	ck_assert_uint_eq(drv_reg(&b.d, 1, DRV_ENABLE), 0);
	arena_fill(&b.a, b.d.rings[1].desc, 0xa5, 1024);
	testdev_finish_all(&b.td);
	bench_settle(&b);
	ck_assert_uint_eq(drv_reg(&b.d, 1, DRV_RESET), 0);
	ck_assert_uint_eq(drv_reg(&b.d, 1, DRV_ENABLE), 0);
	ck_assert_uint_eq(b.d.irqs.queue[1], 0);
	bench_echo(&b, 0);
}

START_TEST(a_reset_queue_begins_again)
{
	ROW("GEN-50", "GEN-51", "PCI-35");
	bench_up(&b, MODERN_ALL);
	for (unsigned int i = 0; i < 5; i++)
		bench_echo(&b, 1);
	drv_set_reg(&b.d, 1, DRV_RESET, 1);
	ck_assert_uint_eq(drv_reg(&b.d, 1, DRV_RESET), 0);
	ck_assert_uint_eq(drv_reg(&b.d, 1, DRV_SIZE), 16);
	/* Half as long, elsewhere; what it was is not touched again. */
	uint64_t old = b.d.rings[1].used;
	ring_make(&b.d, 1, 8);
	arena_fill(&b.a, old, 0xee, RING_USED_LEN(16));
	ring_enable(&b.d.rings[1]);
	ck_assert_uint_eq(drv_reg(&b.d, 1, DRV_RESET), 0);
	ck_assert_uint_eq(drv_reg(&b.d, 1, DRV_ENABLE), 1);
	bench_settle(&b);
	for (unsigned int i = 0; i < 20; i++) {
		bench_echo(&b, 1);
		ck_assert_uint_eq(used_idx(1), i + 1);
	}
	ck_assert_uint_eq(arena_get32(&b.a, old), 0xeeeeeeee);
	ck_assert_uint_eq(arena_get32(&b.a, old + 4), 0xeeeeeeee);
	bench_echo(&b, 0);
}

START_TEST(queue_reset_where_it_means_nothing)
{
	ROW("GEN-53", "HD-107");
	bench_up(&b, MODERN);
	drv_set_reg(&b.d, 0, DRV_RESET, 1);
	ck_assert_uint_eq(drv_reg(&b.d, 0, DRV_RESET), 0);
	ck_assert_uint_eq(drv_reg(&b.d, 0, DRV_ENABLE), 1);
	bench_echo(&b, 0);
	bench_up(&b, MODERN_ALL);
	static const uint16_t values[] = { 0, 2, 0xffff };
	for (unsigned int i = 0; i < ARRAY_SIZE(values); i++) {
		drv_set_reg(&b.d, 0, DRV_RESET, values[i]);
		ck_assert_uint_eq(drv_reg(&b.d, 0, DRV_ENABLE), 1);
	}
	bench_echo(&b, 0);
	drv_set_reg(&b.d, 77, DRV_RESET, 1);
	/* Twice, and on a queue that is off. */
	uint32_t epoch = b.td.vd.vqs[1].epoch;
	drv_set_reg(&b.d, 1, DRV_RESET, 1);
	drv_set_reg(&b.d, 1, DRV_RESET, 1);
	ck_assert_uint_eq(b.td.vd.vqs[1].epoch, epoch + 1);
	bench_echo(&b, 0);
	/* Not on a broken device, and not before the features are there. */
	break_it();
	drv_set_reg(&b.d, 0, DRV_RESET, 1);
	ck_assert_uint_eq(drv_reg(&b.d, 0, DRV_ENABLE), 1);
}

START_TEST(a_device_reset_ends_a_queue_reset)
{
	ROW("HD-108", "PCI-34");
	bench_up(&b, MODERN_ALL);
	b.td.mode = TESTDEV_HOLD;
	publish_and_kick(1);
	drv_set_reg(&b.d, 1, DRV_RESET, 1);
	drv_set_status(&b.d, 0);
	ck_assert_uint_eq(drv_status(&b.d), 0x0f);
	testdev_finish_all(&b.td);
	bench_settle(&b);
	ck_assert_uint_eq(drv_status(&b.d), 0);
	ck_assert_uint_eq(drv_reg(&b.d, 1, DRV_RESET), 0);
	b.td.mode = TESTDEV_AUTO;
	bench_up(&b, MODERN_ALL);
	bench_echo(&b, 1);
}

static void no_read(struct virtio_device *vd, uint32_t off, void *buf, uint32_t len)
{
	(void)vd, (void)off, (void)buf, (void)len;
}

static const struct virtio_device_ops lone_ops = { .name = "lone", .config_read = no_read };

START_TEST(a_type_without_a_writable_field)
{
	struct virtio_device *vd = calloc(1, sizeof(*vd));
	uint32_t v = 1;

	ROW("GEN-44");
	virtio_device_init(vd, &lone_ops, &b.a.gm, &b.log, NULL);
	vd->config_len = 4;
	virtio_config_write(vd, 0, &v, 4);
	virtio_config_read(vd, 0, &v, 4);
	ck_assert_uint_eq(v, 0);
	virtio_device_release(vd);
	free(vd);
}

START_TEST(page_frames_are_not_for_a_modern_driver)
{
	bench_up(&b, MODERN);
	virtio_queue_select(&b.td.vd, 0);
	virtio_legacy_set_pfn(&b.td.vd, 0);
	virtio_legacy_set_pfn(&b.td.vd, 5);
	ck_assert_uint_eq(drv_reg(&b.d, 0, DRV_ENABLE), 1);
	bench_echo(&b, 0);
}

static void add(TCase *tc)
{
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, config_is_readable_early_and_little_endian);
	tcase_add_test(tc, config_has_an_end);
	tcase_add_test(tc, read_only_config_is_that);
	tcase_add_test(tc, generation_tells_of_a_change);
	tcase_add_test(tc, a_change_is_told_while_the_driver_runs);
	tcase_add_test(tc, queues_that_do_not_exist);
	tcase_add_test(tc, sizes_are_powers_of_two);
	tcase_add_test(tc, a_lower_size_is_the_layout);
	tcase_add_test(tc, registers_rest_while_enabled);
	tcase_add_test(tc, queues_wait_for_features_ok);
	tcase_add_test(tc, a_queue_reset_stops_its_queue);
	tcase_add_test(tc, a_reset_queue_begins_again);
	tcase_add_test(tc, queue_reset_where_it_means_nothing);
	tcase_add_test(tc, a_device_reset_ends_a_queue_reset);
}

/* What looks behind the transport, or has one of its own. */
static void add_alone(TCase *tc)
{
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_type_without_a_writable_field);
	tcase_add_test(tc, page_frames_are_not_for_a_modern_driver);
}

TRANSPORTS_SUITE("virtio-registers", add, add_alone, on_core, on_pci, on_pci_armed, on_pci_window)
