// SPDX-License-Identifier: GPL-2.0
// LINK: virtio/device.c virtio/registers.c virtio/legacy.c virtio/queue.c virtio/mini.c virtio/transport-pci.c virtio/transport-modern.c virtio/transport-legacy.c virtio/transport-doorbell.c virtio/transport-fds.c pci.c pci-bar.c pci-irq.c pci-ecam.c bus.c ioeventfd.c gmem.c util/loop.c util/log.c util/err.c tests/mock/clock.c tests/mock/arena.c tests/mock/ring.c tests/mock/driver.c tests/mock/core.c tests/mock/testdev.c tests/mock/bench.c tests/mock/hostile.c tests/mock/fake-kvm.c irq-route.c tests/mock/pci.c tests/mock/pci-driver.c
/* The legacy register block in ports, and a transitional function that is driven through both of its sides. */
#include "unit.h"

#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>
#include <pthread.h>
#include <string.h>

#include <lkvm/util.h>

#include "../mock/hostile.h"
#include "../mock/pci.h"
#include "../mock/transports.h"

#define BAR_LEN   64
#define NO_VECTOR 0xffff

static struct bench b;
static struct mock_fn *fn;

static void setup(void)
{
	bench_init(&b, &(struct bench_opts){ .queues = 2 });
	fn = mock_fn_of(&b.d);
}

static void teardown(void)
{
	hostile_recover(&b);
	bench_release(&b);
}

static uint32_t in(uint32_t off, unsigned int width)
{
	return (uint32_t)mock_fn_in(fn, 0, off, width);
}

static void out(uint32_t off, unsigned int width, uint32_t v)
{
	mock_fn_out(fn, 0, off, width, v);
}

static uint64_t modern(uint64_t off, unsigned int width)
{
	return mock_fn_get(fn, MOCK_COMMON, off, width);
}

static void set_modern(uint64_t off, unsigned int width, uint64_t v)
{
	mock_fn_set(fn, MOCK_COMMON, off, width, v);
}

START_TEST(registers_have_their_places)
{
	ROW("LEG-7", "LEG-9", "LEG-10", "LEG-11");
	testdev_set_wide(&b.td, 0x0102030405060708);
	bench_up(&b, 0);
	ck_assert_uint_eq(in(0, 4), (uint32_t)drv_offered(&b.d));
	ck_assert_uint_eq(in(4, 4), 0);
	out(VIRTIO_PCI_QUEUE_SEL, 2, 1);
	ck_assert_uint_eq(in(VIRTIO_PCI_QUEUE_PFN, 4), b.d.rings[1].desc / 4096);
	ck_assert_uint_eq(in(VIRTIO_PCI_QUEUE_NUM, 2), 16);
	ck_assert_uint_eq(in(VIRTIO_PCI_QUEUE_SEL, 2), 1);
	ck_assert_uint_eq(in(VIRTIO_PCI_QUEUE_NOTIFY, 2), 0);
	ck_assert_uint_eq(in(VIRTIO_PCI_STATUS, 1), 7);
	for (unsigned int i = 0; i < 3; i++) {
		mock_fn_enable_msix(fn, true);
		ck_assert_uint_eq(in(0x14, 2), 0);
		ck_assert_uint_eq(in(0x16, 2), 2);
		ck_assert_uint_eq(in(0x18, 4), 0x05060708);
		mock_fn_enable_msix(fn, false);
		ck_assert_uint_eq(in(0x14, 4), 0x05060708);
		ck_assert_uint_eq(in(0x18, 4), 0x01020304);
		/* There are no vectors to write. */
		out(0x16, 2, NO_VECTOR);
		ck_assert_uint_eq(modern(VIRTIO_PCI_COMMON_Q_MSIX, 2), 2);
	}
	mock_fn_enable_msix(fn, true);
}

START_TEST(vectors_through_ports)
{
	ROW("LEG-9", "LEG-23", "HD-128", "HD-166");
	static const uint16_t bad[] = { 3, 0x7ff, 0x800, 0xfffe, 0xffff };

	bench_up(&b, 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		out(VIRTIO_PCI_QUEUE_SEL, 2, 1);
		out(0x14, 2, 1);
		out(0x16, 2, 1);
		ck_assert_uint_eq(in(0x14, 4), 0x00010001);
		out(0x14, 2, bad[i]);
		out(0x16, 2, bad[i]);
		ck_assert_uint_eq(in(0x14, 4), UINT32_MAX);
	}
	out(VIRTIO_PCI_QUEUE_SEL, 2, 77);
	out(0x16, 2, 1);
	ck_assert_uint_eq(in(0x16, 2), NO_VECTOR);
	out(VIRTIO_PCI_QUEUE_PFN, 4, 0x10);
	ck_assert_uint_eq(in(VIRTIO_PCI_QUEUE_PFN, 4), 0);
	ck_assert_uint_eq(in(VIRTIO_PCI_QUEUE_NUM, 2), 0);
	out(VIRTIO_PCI_QUEUE_NOTIFY, 2, 77);
	out(VIRTIO_PCI_QUEUE_NOTIFY, 2, 0xffff);
	bench_settle(&b);
	ck_assert_uint_eq(b.td.taken, 0);
	ck_assert_uint_eq(in(VIRTIO_PCI_STATUS, 1), 7);
}

START_TEST(configuration_at_any_width)
{
	ROW("LEG-12", "LEG-18");
	uint8_t by[3][8];

	testdev_set_wide(&b.td, 0x1122334455667788);
	for (unsigned int k = 0, width = 1; k < 3; k++, width *= 2) {
		for (unsigned int i = 0; i < 8; i += width) {
			uint32_t v = htole32(in(0x18 + i, width));
			memcpy(by[k] + i, &v, width);
		}
	}
	ck_assert_mem_eq(by[0], by[1], 8);
	ck_assert_mem_eq(by[0], by[2], 8);
	ck_assert_uint_eq(by[0][0], 0x88);
	/* `word`, by bytes; `id` is not the driver's. */
	for (unsigned int i = 0; i < 4; i++) {
		out(0x18 + 12 + i, 1, 0x10 + i);
		out(0x18 + 8 + i, 1, 0xff);
	}
	ck_assert_uint_eq(in(0x18 + 12, 4), 0x13121110);
	ck_assert_uint_eq(in(0x18 + 8, 4), 0x7e57de1);
}

START_TEST(every_width_at_every_place)
{
	ROW("HD-168", "LEG-12");
	uint8_t image[BAR_LEN + 8] = { 0 };

	/* What lies across the border is seen to be there. */
	testdev_set_wide(&b.td, 0x1122334455667788);
	bench_up(&b, 0);
	for (unsigned int msix = 0; msix < 2; msix++) {
		static const uint8_t natural[] = { 0, 4, 4, 4, 8, 4, 12, 2, 14, 2, 18, 1 };

		mock_fn_enable_msix(fn, msix);
		memset(image, 0, sizeof(image));
		for (unsigned int i = 0; i < ARRAY_SIZE(natural); i += 2) {
			uint32_t v = htole32(in(natural[i], natural[i + 1]));
			memcpy(image + natural[i], &v, natural[i + 1]);
		}
		for (unsigned int off = 0x14; off < BAR_LEN; off++)
			image[off] = in(off, 1);
		memset(image + BAR_LEN, 0xff, 8);
		for (unsigned int width = 1; width <= 4; width++) {
			for (uint32_t off = 0; off < BAR_LEN; off++) {
				uint32_t v = htole32(in(off, width));

				ck_assert_mem_eq(&v, image + off, width);
			}
		}
		/* Writes that are not a register's: nothing changes. */
		for (unsigned int width = 1; width <= 4; width++)
			for (uint32_t off = 0; off < 0x14; off++)
				if ((width != 4 || off % 4) && (width != 2 || off % 2) &&
				    !(width == 1 && off == VIRTIO_PCI_STATUS) && width != 3)
					out(off, width, 0);
		out(VIRTIO_PCI_QUEUE_NUM, 4, UINT32_MAX);
		out(VIRTIO_PCI_QUEUE_NOTIFY, 4, 0);
		out(VIRTIO_PCI_STATUS, 2, 0);
		for (uint32_t off = 0; off < 0x13; off++)
			ck_assert_uint_eq(in(off, 1), image[off]);
	}
	for (uint16_t q = 0; q < 2; q++)
		bench_echo(&b, q);
}

START_TEST(the_interrupt_status_is_one)
{
	ROW("LEG-32", "PCI-63");
	bench_up(&b, 0);
	mock_fn_enable_msix(fn, false);
	bench_echo(&b, 0);
	unsigned int gsi = MOCK_GSI + fn->slot % MOCK_GSIS;
	ck_assert(mock_line(gsi));
	/* Not in passing. */
	ck_assert_uint_eq(in(0x10, 4) >> 24, 0);
	ck_assert_uint_eq(in(0x12, 2) >> 8, 0);
	ck_assert(mock_line(gsi));
	ck_assert_uint_eq(in(VIRTIO_PCI_ISR, 1), 1);
	ck_assert(!mock_line(gsi));
	ck_assert_uint_eq(mock_fn_get(fn, MOCK_ISR, 0, 1), 0);
	testdev_set_wide(&b.td, 1);
	ck_assert_uint_eq(mock_fn_get(fn, MOCK_ISR, 0, 1), 2);
	ck_assert_uint_eq(in(VIRTIO_PCI_ISR, 1), 0);
	mock_fn_enable_msix(fn, true);
}

/* --- page frames --- */

START_TEST(page_frames_that_are_not_there)
{
	ROW("HD-164");
	static const uint32_t pfn[] = { 0xffffffff, ARENA_LOW_END / 4096, ARENA_LOW_END / 4096 - 1,
					ARENA_HIGH_END / 4096 - 1, 0x80000000 };

	for (unsigned int i = 0; i < ARRAY_SIZE(pfn); i++) {
		bench_reset(&b);
		out(VIRTIO_PCI_STATUS, 1, 3);
		out(VIRTIO_PCI_QUEUE_SEL, 2, 0);
		out(VIRTIO_PCI_QUEUE_PFN, 4, pfn[i]);
		ck_assert_uint_eq(in(VIRTIO_PCI_QUEUE_PFN, 4), pfn[i]);
		ck_assert_uint_eq(in(VIRTIO_PCI_STATUS, 1), 0x43);
		out(VIRTIO_PCI_QUEUE_NOTIFY, 2, 0);
		bench_settle(&b);
		ck_assert_uint_eq(b.td.taken, 0);
	}
}

START_TEST(a_live_queue_stays_where_it_is)
{
	ROW("HD-165", "HD-170", "HD-171", "LEG-22");
	bench_up(&b, 0);
	uint32_t pfn = b.d.rings[0].desc / 4096, starts = b.td.starts;

	out(VIRTIO_PCI_QUEUE_SEL, 2, 0);
	for (unsigned int i = 0; i < 16; i++) {
		out(VIRTIO_PCI_QUEUE_NUM, 2, 0x8000u >> i);
		out(VIRTIO_PCI_QUEUE_PFN, 4, pfn + 1 + i);
		out(VIRTIO_PCI_GUEST_FEATURES, 4, 1u << i);
		ck_assert_uint_eq(in(VIRTIO_PCI_QUEUE_NUM, 2), 16);
		ck_assert_uint_eq(in(VIRTIO_PCI_QUEUE_PFN, 4), pfn);
		ck_assert_uint_eq(in(VIRTIO_PCI_GUEST_FEATURES, 4), 0);
	}
	ck_assert_uint_eq(b.td.starts, starts);
	bench_echo(&b, 0);
	bench_echo(&b, 1);
}

START_TEST(odd_framing)
{
	ROW("LEG-26", "LEG-30");
	struct drv_buf bufs[2], pieces[6];
	uint32_t id, len;

	bench_up(&b, 0);
	bench_bufs(&b, bufs, 12);
	for (unsigned int i = 0; i < 6; i++)
		pieces[i] = (struct drv_buf){ bufs[i / 3].gpa + 4 * (i % 3), 4, i >= 3 };
	ring_add(&b.d.rings[0], pieces, 6);
	ring_publish(&b.d.rings[0]);
	ring_kick(&b.d.rings[0]);
	bench_settle(&b);
	ck_assert(ring_get(&b.d.rings[0], &id, &len));
	ck_assert_uint_eq(len, 12);
}

/* --- both sides --- */

START_TEST(a_modern_driver_is_not_disturbed)
{
	ROW("LEG-2", "LEG-34", "HD-167");
	drv_release(&b.d);
	drv_init(&b.d, &drv_pci, &b.a, &b.td.vd);
	fn = mock_fn_of(&b.d);
	bench_up(&b, MODERN_ALL);
	ck_assert(virtio_has(&b.td.vd, VIRTIO_F_VERSION_1));
	uint32_t word = le32toh(b.td.config.word);
	uint16_t vector = (set_modern(0x16, 2, 1), modern(0x1a, 2));
	out(VIRTIO_PCI_STATUS, 1, 0x80);
	out(VIRTIO_PCI_STATUS, 1, 3);
	out(VIRTIO_PCI_GUEST_FEATURES, 4, 0);
	out(VIRTIO_PCI_QUEUE_PFN, 4, 0);
	out(VIRTIO_PCI_QUEUE_PFN, 4, 5);
	out(0x14, 2, NO_VECTOR);
	out(0x16, 2, NO_VECTOR);
	out(0x18 + 12, 4, ~word);
	ck_assert_uint_eq(drv_status(&b.d), 0x0f);
	ck_assert_uint_eq(modern(0x1a, 2), vector);
	ck_assert_uint_eq(modern(0x10, 2), 0);
	ck_assert_uint_eq(le32toh(b.td.config.word), word);
	for (uint16_t q = 0; q < 2; q++)
		bench_echo(&b, q);
	/* But it may be reset through either. */
	out(VIRTIO_PCI_STATUS, 1, 0);
	ck_assert_uint_eq(drv_status(&b.d), 0);
}

START_TEST(a_legacy_driver_is_not_disturbed)
{
	ROW("LEG-2", "LEG-33", "LEG-34", "HD-167", "PCI-32");
	bench_up(&b, 0);
	ck_assert(!virtio_has(&b.td.vd, VIRTIO_F_VERSION_1));
	uint32_t word = le32toh(b.td.config.word);
	set_modern(0x08, 4, 0);
	set_modern(0x0c, 4, UINT32_MAX);
	set_modern(0x14, 1, 0x80);
	set_modern(0x14, 1, 0x0f);
	set_modern(0x16, 2, 1);
	set_modern(0x18, 2, 2);
	set_modern(0x1a, 2, NO_VECTOR);
	set_modern(0x10, 2, NO_VECTOR);
	set_modern(0x1c, 2, 1);
	set_modern(0x20, 8, 0x1000);
	set_modern(0x3a, 2, 1);
	mock_fn_set(fn, MOCK_DEVICE, 12, 4, ~word);
	ck_assert_uint_eq(drv_status(&b.d), 7);
	ck_assert_uint_eq(in(0x14, 4), 0x00020000);
	ck_assert_uint_eq(le32toh(b.td.config.word), word);
	for (uint16_t q = 0; q < 2; q++)
		bench_echo(&b, q);
	set_modern(0x14, 1, 0);
	ck_assert_uint_eq(drv_status(&b.d), 0);
}

/* --- threads --- */

static atomic_bool stopped;

static void *flip(void *arg)
{
	(void)arg;
	for (unsigned int i = 0; !atomic_load(&stopped); i++) {
		mock_fn_set_conf(fn, fn->msix_cap + PCI_MSIX_FLAGS, 2,
				 i % 2 ? PCI_MSIX_FLAGS_ENABLE : 0);
		testdev_set_wide(&b.td, i % 2 ? 0 : UINT64_MAX);
	}
	return NULL;
}

START_TEST(the_block_shifts_while_it_is_read)
{
	ROW("HD-169", "LEG-31");
	pthread_t t;

	stopped = false;
	MUST(pthread_create(&t, NULL, flip, NULL) == 0);
	for (unsigned int i = 0; i < bench_rounds(1000000); i++) {
		uint32_t off = 0x10 + i % (BAR_LEN - 0x10), v = in(off, 1 << i % 3);

		if (off >= 0x18 + TESTDEV_CONFIG_LEN && off + 4 <= BAR_LEN)
			ck_assert_uint_eq(v, 0);
		out(off, 1 << i % 3, 0);
	}
	stopped = true;
	pthread_join(t, NULL);
	mock_fn_enable_msix(fn, true);
}

static void add(TCase *tc)
{
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, registers_have_their_places);
	tcase_add_test(tc, vectors_through_ports);
	tcase_add_test(tc, configuration_at_any_width);
	tcase_add_test(tc, every_width_at_every_place);
	tcase_add_test(tc, the_interrupt_status_is_one);
	tcase_add_test(tc, page_frames_that_are_not_there);
	tcase_add_test(tc, a_live_queue_stays_where_it_is);
	tcase_add_test(tc, odd_framing);
	tcase_add_test(tc, a_legacy_driver_is_not_disturbed);
	tcase_add_test(tc, the_block_shifts_while_it_is_read);
}

static void add_alone(TCase *tc)
{
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_modern_driver_is_not_disturbed);
}

TRANSPORTS_SUITE("virtio-legacy-pci", add, add_alone, on_pci_legacy, on_pci_legacy_armed)
