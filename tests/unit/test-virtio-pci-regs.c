// SPDX-License-Identifier: GPL-2.0
// LINK: virtio/device.c virtio/registers.c virtio/legacy.c virtio/queue.c virtio/mini.c virtio/transport-pci.c virtio/transport-modern.c virtio/transport-legacy.c virtio/transport-doorbell.c virtio/transport-fds.c pci.c pci-bar.c pci-irq.c pci-ecam.c bus.c ioeventfd.c gmem.c util/loop.c util/log.c util/err.c tests/mock/clock.c tests/mock/arena.c tests/mock/ring.c tests/mock/driver.c tests/mock/core.c tests/mock/testdev.c tests/mock/bench.c tests/mock/hostile.c tests/mock/fake-kvm.c irq-route.c tests/mock/pci.c tests/mock/pci-driver.c
/* The registers of a modern function at every width and place, its doorbells as registers, and the access window. */
#include "unit.h"

#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>
#include <pthread.h>
#include <string.h>

#include <lkvm/util.h>

#include "../mock/hostile.h"
#include "../mock/pci.h"
#include "../mock/transports.h"

#define COMMON_LEN 0x40
#define PAGE       0x1000
#define BAR        4
#define BAR_LEN    (4 * PAGE)

static struct bench b;
static struct mock_fn *fn;

static void setup(void)
{
	bench_init(&b, &(struct bench_opts){ .queues = 3 });
	fn = mock_fn_of(&b.d);
}

static void teardown(void)
{
	hostile_recover(&b);
	bench_release(&b);
}

static uint64_t get(uint64_t off, unsigned int len)
{
	return mock_fn_get(fn, MOCK_COMMON, off, len);
}

static void set(uint64_t off, unsigned int len, uint64_t v)
{
	mock_fn_set(fn, MOCK_COMMON, off, len, v);
}

static void publish(uint16_t q)
{
	struct drv_buf bufs[2];

	bench_bufs(&b, bufs, 16);
	ring_add(&b.d.rings[q], bufs, 2);
	ring_publish(&b.d.rings[q]);
}

/* --- common registers --- */

enum { RO, RW };

static const struct field {
	uint8_t off, width, rw;
} fields[] = {
	{ 0x00, 4, RW }, { 0x04, 4, RO }, { 0x08, 4, RW }, { 0x0c, 4, RW }, { 0x10, 2, RW },
	{ 0x12, 2, RO }, { 0x14, 1, RW }, { 0x15, 1, RO }, { 0x16, 2, RW }, { 0x18, 2, RW },
	{ 0x1a, 2, RW }, { 0x1c, 2, RW }, { 0x1e, 2, RO }, { 0x20, 8, RW }, { 0x28, 8, RW },
	{ 0x30, 8, RW }, { 0x38, 2, RO }, { 0x3a, 2, RW }, { 0x3c, 2, RO }, { 0x3e, 2, RO },
};

static void read_image(uint8_t image[COMMON_LEN])
{
	for (unsigned int i = 0; i < ARRAY_SIZE(fields); i++) {
		uint64_t v = htole64(get(fields[i].off, fields[i].width));

		memcpy(image + fields[i].off, &v, fields[i].width);
	}
}

/* An access that the field at its place takes as a whole. */
static bool is_natural(uint64_t off, unsigned int width)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(fields); i++) {
		const struct field *f = &fields[i];

		if (f->rw != RW)
			continue;
		if (off == f->off && width == f->width)
			return true;
		if (f->width == 8 && width == 4 && (off == f->off || off == f->off + 4u))
			return true;
	}
	return false;
}

START_TEST(reads_are_bytes_of_one_image)
{
	ROW("PCI-10", "PCI-12", "HD-113");
	uint8_t image[COMMON_LEN + 16] = { 0 };

	bench_prepare(&b, MODERN_ALL);
	drv_set_addr(&b.d, 2, DRV_DESC, 0x1122334455667788);
	set(0x16, 2, 1);
	read_image(image);
	for (unsigned int width = 1; width <= 8; width *= 2) {
		for (uint64_t off = 0; off < COMMON_LEN; off++) {
			uint64_t v = htole64(mock_fn_in(fn, BAR, off, width));

			ck_assert_mem_eq(&v, image + off, width);
		}
	}
}

START_TEST(writes_are_taken_as_a_whole_or_not_at_all)
{
	ROW("PCI-12", "HD-111", "HD-112", "HD-113");
	uint8_t before[COMMON_LEN], after[COMMON_LEN];

	for (unsigned int ready = 0; ready < 2; ready++) {
		bench_reset(&b);
		drv_set_status(&b.d, 0x03);
		if (ready)
			ck_assert(drv_negotiate(&b.d, MODERN));
		for (unsigned int width = 1; width <= 8; width *= 2) {
			for (uint64_t off = 0; off < COMMON_LEN; off++) {
				if (is_natural(off, width))
					continue;
				read_image(before);
				mock_fn_out(fn, BAR, off, width, 0xa5a5a5a5a5a5a5a5);
				mock_fn_out(fn, BAR, off, width, 0x0101010101010101);
				read_image(after);
				ck_assert_mem_eq(before, after, COMMON_LEN);
			}
		}
	}
}

START_TEST(a_write_changes_its_field_alone)
{
	ROW("PCI-12", "PCI-44");
	static const struct {
		uint8_t off, width;
		uint64_t v, kept;
	} rows[] = {
		{ 0x18, 2, 8, 8 },
		{ 0x1a, 2, 2, 2 },
		{ 0x10, 2, 1, 1 },
		{ 0x20, 8, 0x0123456789abcdef, 0x0123456789abcdef },
		{ 0x28, 8, UINT64_MAX, UINT64_MAX },
		{ 0x30, 8, 0x8000000000000001, 0x8000000000000001 },
		{ 0x1c, 2, 1, 1 },
		{ 0x3a, 2, 1, 0 },
	};
	uint8_t before[COMMON_LEN], after[COMMON_LEN];

	ck_assert(drv_negotiate(&b.d, MODERN));
	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		read_image(before);
		set(rows[i].off, rows[i].width, rows[i].v);
		ck_assert_uint_eq(get(rows[i].off, rows[i].width), rows[i].kept);
		read_image(after);
		memcpy(after + rows[i].off, before + rows[i].off, rows[i].width);
		ck_assert_mem_eq(before, after, COMMON_LEN);
	}
	set(0x16, 2, 0xabcd);
	ck_assert_uint_eq(get(0x16, 2), 0xabcd);
}

START_TEST(halves_are_independent)
{
	ROW("PCI-11");
	static const uint8_t off[] = { 0x20, 0x28, 0x30 };

	ck_assert(drv_negotiate(&b.d, MODERN));
	for (unsigned int i = 0; i < ARRAY_SIZE(off); i++) {
		set(off[i] + 4, 4, 0x11223344);
		set(off[i], 4, 0x55667788);
		ck_assert_uint_eq(get(off[i], 8), 0x1122334455667788);
		set(off[i], 4, 0x99aabbcc);
		ck_assert_uint_eq(get(off[i] + 4, 4), 0x11223344);
		ck_assert_uint_eq(get(off[i], 4), 0x99aabbcc);
		set(off[i] + 4, 4, 0);
		ck_assert_uint_eq(get(off[i], 8), 0x99aabbcc);
	}
	testdev_set_wide(&b.td, 0x0102030405060708);
	ck_assert_uint_eq(mock_fn_get(fn, MOCK_DEVICE, 4, 4), 0x01020304);
	ck_assert_uint_eq(mock_fn_get(fn, MOCK_DEVICE, 0, 4), 0x05060708);
}

START_TEST(read_only_registers_are_that)
{
	ROW("PCI-13", "PCI-43", "PCI-49", "PCI-50", "HD-120");
	uint8_t before[COMMON_LEN], after[COMMON_LEN];

	bench_prepare(&b, MODERN);
	read_image(before);
	for (unsigned int i = 0; i < ARRAY_SIZE(fields); i++)
		if (fields[i].rw == RO)
			set(fields[i].off, fields[i].width, UINT64_MAX);
	read_image(after);
	ck_assert_mem_eq(before, after, COMMON_LEN);
	ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_NUMQ, 2), 3);
	ck_assert_uint_eq(get(0x38, 2), 0);
	ck_assert_uint_eq(get(0x3c, 4), 0);
}

START_TEST(selectors_select_words)
{
	ROW("PCI-26", "PCI-27", "HD-119");
	static const uint32_t beyond[] = { 2, 3, 31, 32, 63, 64, 0x80000000, 0xffffffff };
	uint64_t offered = drv_offered(&b.d);

	ck_assert_uint_eq(offered & MODERN_ALL, MODERN_ALL);
	for (unsigned int i = 0; i < ARRAY_SIZE(beyond); i++) {
		set(0x00, 4, beyond[i]);
		set(0x08, 4, beyond[i]);
		ck_assert_uint_eq(get(0x00, 4), beyond[i]);
		ck_assert_uint_eq(get(0x08, 4), beyond[i]);
		ck_assert_uint_eq(get(0x04, 4), 0);
		ck_assert_uint_eq(get(0x0c, 4), 0);
	}
	ck_assert_uint_eq(drv_offered(&b.d), offered);
}

START_TEST(queues_that_do_not_exist_have_no_registers)
{
	ROW("PCI-33", "PCI-39", "PCI-89");
	static const uint16_t nr[] = { 3, 63, 64, 0x7fff, 0xffff };

	bench_prepare(&b, MODERN);
	for (unsigned int i = 0; i < ARRAY_SIZE(nr); i++) {
		set(0x16, 2, nr[i]);
		set(0x1a, 2, 0);
		ck_assert_uint_eq(get(0x1a, 2), 0xffff);
		ck_assert_uint_eq(get(0x1e, 2), 0);
		ck_assert_uint_eq(get(0x18, 2), 0);
		ck_assert_uint_eq(get(0x1c, 2), 0);
		ck_assert_uint_eq(get(0x20, 8) | get(0x28, 8) | get(0x30, 8), 0);
	}
	bench_reset(&b);
	for (uint16_t q = 0; q < 3; q++)
		ck_assert_uint_eq(drv_reg(&b.d, q, DRV_ENABLE), 0);
}

/* --- what is not a register --- */

START_TEST(accesses_of_any_length_anywhere)
{
	ROW("HD-114", "HD-115", "HD-116", "HD-117", "PCI-66");
	static const uint32_t places[] = {
		0,         0x3f,         COMMON_LEN,    PAGE - 8,     PAGE - 1,     PAGE + 1,
		PAGE + 64, 2 * PAGE - 1, 2 * PAGE + 17, 3 * PAGE - 8, 3 * PAGE - 1, 3 * PAGE + 12,
		0x3800,    BAR_LEN - 8,  BAR_LEN - 1,
	};

	bench_up(&b, MODERN_ALL);
	for (unsigned int i = 0; i < ARRAY_SIZE(places); i++) {
		for (unsigned int len = 1; len <= 8; len++) {
			uint64_t first = mock_fn_in(fn, BAR, places[i], len);

			/* No effect of it either, and what lies beyond the BAR is nobody's. */
			ck_assert_uint_eq(mock_fn_in(fn, BAR, places[i], len), first);
			if (places[i] + len > BAR_LEN)
				ck_assert_uint_eq(first >> 8 * (BAR_LEN - places[i]),
						  (UINT64_C(1) << 8 * (places[i] + len - BAR_LEN)) -
							  1);
			else if (places[i] >= COMMON_LEN)
				ck_assert_uint_eq(first, 0);
			if (places[i])
				mock_fn_out(fn, BAR, places[i], len, UINT64_MAX);
		}
	}
	ck_assert_uint_eq(drv_status(&b.d), 0x0f);
	for (uint16_t q = 0; q < 3; q++)
		bench_echo(&b, q);
}

START_TEST(device_configuration_has_an_end)
{
	ROW("HD-117", "HD-118", "GEN-43");
	testdev_set_wide(&b.td, UINT64_MAX);
	for (unsigned int width = 1; width <= 8; width *= 2) {
		for (uint64_t off = 0; off < PAGE; off += off < 64 ? 1 : 61) {
			uint64_t v = mock_fn_in(fn, BAR, 2 * PAGE + off, width);

			if (off >= TESTDEV_CONFIG_LEN)
				ck_assert_uint_eq(v, 0);
			mock_fn_out(fn, BAR, 2 * PAGE + off, width, UINT64_MAX);
		}
	}
	ck_assert_uint_eq(le64toh(b.td.config.wide), UINT64_MAX);
	ck_assert_uint_eq(le32toh(b.td.config.id), 0x7e57de1);
}

/* --- doorbells as registers --- */

START_TEST(an_address_is_a_queue)
{
	ROW("PCI-55", "PCI-56", "PCI-57", "PCI-48", "GEN-54", "HD-121", "HD-122", "HD-123",
	    "HD-124");
	static const uint64_t values[] = { 0, 1, 9999, 0xffff, 0xffffffff, UINT64_MAX };
	uint32_t at = 3 * PAGE;

	bench_up(&b, MODERN);
	for (uint16_t q = 0; q < 3; q++) {
		for (unsigned int i = 0; i < ARRAY_SIZE(values); i++) {
			for (unsigned int width = 1; width <= 8; width *= 2) {
				uint32_t before[3] = { b.td.taken };

				publish(q);
				mock_fn_out(fn, BAR, at + 4 * q, width, values[i]);
				bench_settle(&b);
				ck_assert_uint_eq(b.td.taken, before[0] + 1);
				ring_forget(&b.d.rings[q]);
			}
		}
	}
	/* Not at the other bytes; and reading is nothing. */
	uint32_t taken = b.td.taken;
	publish(1);
	for (unsigned int width = 1; width <= 8; width *= 2) {
		for (uint32_t off = 0; off < 64; off++) {
			ck_assert_uint_eq(mock_fn_in(fn, BAR, at + off, width), 0);
			if (off % 4 || off >= 12)
				mock_fn_out(fn, BAR, at + off, width, 1);
		}
	}
	bench_settle(&b);
	ck_assert_uint_eq(b.td.taken, taken);
	/* Only while the device runs. */
	drv_set_status(&b.d, 0);
	mock_fn_out(fn, BAR, at + 4, 2, 1);
	bench_settle(&b);
	ck_assert_uint_eq(b.td.taken, taken);
}

START_TEST(kicks_without_work)
{
	ROW("HD-125", "HD-226");
	bench_up(&b, MODERN_ALL);
	for (unsigned int i = 0; i < bench_rounds(10000000) / 10; i++) {
		drv_notify(&b.d, i % 3);
		if (i % 64 == 0)
			bench_settle(&b);
	}
	bench_settle(&b);
	ck_assert_uint_eq(b.td.taken, 0);
	ck_assert_uint_eq(bench_log_lines(&b), 0);
}

START_TEST(nonsense_is_not_worth_a_log)
{
	ROW("HD-226");
	bench_up(&b, MODERN);
	for (unsigned int i = 0; i < bench_rounds(1000000); i++) {
		set(0x15, 1, i);
		mock_fn_out(fn, BAR, 0x3f, 8, i);
		set(0x16, 2, 0xffff);
		set(0x1c, 2, 1);
	}
	ck_assert_uint_le(bench_log_lines(&b), 1);
}

/* --- the access window --- */

static uint32_t window(uint32_t bar, uint32_t off, uint32_t len, unsigned int width)
{
	return mock_fn_window_in(fn, bar, off, len, width);
}

START_TEST(the_window_reads_and_writes)
{
	ROW("PCI-32", "PCI-78", "PCI-79", "PCI-81", "HD-161");
	bench_up(&b, MODERN_ALL);
	ck_assert_uint_eq(window(BAR, 0x14, 1, 1), 0x0f);
	ck_assert_uint_eq(window(BAR, 0x14, 1, 4), 0x0f);
	ck_assert_uint_eq(window(BAR, 0x12, 2, 2), 3);
	ck_assert_uint_eq(window(BAR, 2 * PAGE + 8, 4, 4), 0x7e57de1);
	/* A doorbell rings through it. */
	publish(2);
	mock_fn_window_out(fn, BAR, 3 * PAGE + 8, 2, 2, 2);
	bench_settle(&b);
	ck_assert_uint_eq(b.td.taken, 1);
	/* It takes the interrupt status once, whatever the width. */
	testdev_set_wide(&b.td, 1);
	ck_assert_uint_eq(window(BAR, PAGE, 4, 4), 2);
	ck_assert_uint_eq(window(BAR, PAGE, 1, 1), 0);
	/* And needs no decoding. */
	mock_fn_set_conf(fn, PCI_COMMAND, 2, 0);
	ck_assert_uint_eq(mock_fn_in(fn, BAR, 0x14, 1), 0xff);
	ck_assert_uint_eq(window(BAR, 0x14, 1, 1), 0x0f);
	mock_fn_window_out(fn, BAR, 0x14, 1, 1, 0);
	ck_assert_uint_eq(window(BAR, 0x14, 1, 1), 0);
	mock_fn_set_conf(fn, PCI_COMMAND, 2, 7);
	ck_assert_uint_eq(drv_status(&b.d), 0);
}

START_TEST(the_window_has_one_trigger)
{
	ROW("PCI-80");
	testdev_set_wide(&b.td, 0x0807060504030201);
	/* Narrower than what it is aimed at, or not at its first byte: only bytes of configuration space. */
	ck_assert_uint_eq(window(BAR, 0x12, 2, 1), 0);
	mock_fn_window_out(fn, BAR, 0x08, 4, 2, 0x5555);
	ck_assert_uint_eq(get(0x08, 4), 0);
	mock_fn_window_out(fn, BAR, 0x08, 4, 4, 0x11223344);
	ck_assert_uint_eq(get(0x08, 4), 0x11223344);
	for (unsigned int i = 1; i < 4; i++)
		mock_fn_set_conf(fn, fn->window_cap + 16 + i, 1, 0xee);
	ck_assert_uint_eq(get(0x08, 4), 0x11223344);
	/* Wider is cut to what was asked for. */
	mock_fn_window_out(fn, BAR, 0x16, 2, 4, 0x99990002);
	ck_assert_uint_eq(get(0x16, 2), 2);
	ck_assert_uint_eq(get(0x18, 2), 16);
}

START_TEST(the_window_reaches_nothing_else)
{
	ROW("PCI-82", "PCI-83", "HD-156", "HD-157", "HD-158", "HD-159");
	static const struct {
		uint32_t bar, off, len;
	} bad[] = {
		{ 0, 0, 4 },
		{ 1, 0, 4 },
		{ 2, 0, 2 },
		{ 3, 0, 4 },
		{ 5, 0, 4 },
		{ 6, 0, 4 },
		{ 7, 0, 4 },
		{ 255, 0, 4 },
		{ BAR, BAR_LEN - 1, 4 },
		{ BAR, BAR_LEN, 1 },
		{ BAR, 0x7fffffff, 1 },
		{ BAR, 0xffffffff, 1 },
		{ BAR, 0xfffffffc, 4 },
		{ BAR, 0x01, 2 },
		{ BAR, 0x02, 4 },
		{ BAR, 0, 0 },
		{ BAR, 0, 3 },
		{ BAR, 0, 5 },
		{ BAR, 0, 8 },
		{ BAR, 0, 0xffffffff },
		{ BAR, 0, 0x80000000 },
	};
	uint8_t before[COMMON_LEN], after[COMMON_LEN];

	bench_up(&b, MODERN_ALL);
	publish(0); /* what a doorbell that rings would take */
	set(0x00, 4, 1);
	set(0x08, 4, 0xffffffff);
	read_image(before);
	uint64_t vector = mock_fn_in(fn, 1, 0, 8);
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		for (unsigned int width = 1; width <= 4; width *= 2) {
			ck_assert_uint_eq(window(bad[i].bar, bad[i].off, bad[i].len, width), 0);
			mock_fn_window_out(fn, bad[i].bar, bad[i].off, bad[i].len, width,
					   0xdeadbeef);
		}
	}
	read_image(after);
	ck_assert_mem_eq(before, after, COMMON_LEN);
	ck_assert_uint_eq(mock_fn_in(fn, 1, 0, 8), vector);
	bench_settle(&b);
	ck_assert_uint_eq(b.td.taken, 0);
}

static atomic_bool racing;

static void *use_the_bar(void *arg)
{
	(void)arg;
	while (atomic_load(&racing)) {
		mock_fn_in(fn, BAR, 0, 4);
		mock_fn_in(fn, BAR, PAGE, 1);
		mock_fn_out(fn, BAR, 0x16, 2, 1);
		mock_fn_out(fn, BAR, 0x28, 4, 0x12340000);
		mock_fn_in(fn, BAR, 0x1a, 2);
	}
	return NULL;
}

START_TEST(a_reset_by_the_window_while_the_bar_is_used)
{
	ROW("HD-160", "HD-127");
	pthread_t t;

	atomic_store(&racing, true);
	MUST(pthread_create(&t, NULL, use_the_bar, NULL) == 0);
	for (unsigned int i = 0; i < bench_rounds(100000); i++) {
		mock_fn_window_out(fn, BAR, 0x14, 1, 1, 0x03);
		mock_fn_window_out(fn, BAR, 0x14, 1, 1, 0);
		ck_assert_uint_eq(window(BAR, 0x14, 1, 1), 0);
	}
	atomic_store(&racing, false);
	pthread_join(t, NULL);
}

static void check_free(pthread_mutex_t *lock)
{
	ck_assert_int_eq(pthread_mutex_trylock(lock), 0);
	pthread_mutex_unlock(lock);
}

START_TEST(no_lock_is_kept)
{
	ROW("HD-224");
	/* A CPU may stop for good when an access has returned, or be paused there: nothing waits for it. */
	bench_up(&b, MODERN_ALL);
	for (unsigned int bar = 0; bar < 5; bar++) {
		for (uint64_t off = 0; off < (bar == BAR ? 4 * PAGE : 64);
		     off += off % PAGE < 64 ? 1 : 509) {
			mock_fn_in(fn, bar, off, 2);
			mock_fn_out(fn, bar, off, 2, 0x0101);
			check_free(&fn->vp.regs_lock);
			check_free(&fn->vp.isr_lock);
			check_free(&fn->vp.db.lock);
			check_free(&b.td.vd.lock);
			check_free(&fn->m->pci.lock);
			check_free(&fn->m->pci.intx_lock);
		}
	}
	mock_fn_set_conf(fn, fn->msix_cap + PCI_MSIX_FLAGS, 2, 0);
	mock_fn_enable_msix(fn, true);
	bench_settle(&b);
	arena_settle(&b.a);
	arena_permit(&b.a, 0, ARENA_LOW_END);
	arena_permit(&b.a, ARENA_HIGH, ARENA_HIGH_LEN);
	for (unsigned int i = 0; i < fn->vectors; i++) {
		mock_fn_out(fn, 1, 16 * i, 8, 0xfee00000 | fn->id << 12);
		mock_fn_out(fn, 1, 16 * i + 8, 8, i);
	}
}

static void add_by_bar(TCase *tc)
{
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, reads_are_bytes_of_one_image);
	tcase_add_test(tc, writes_are_taken_as_a_whole_or_not_at_all);
	tcase_add_test(tc, accesses_of_any_length_anywhere);
	tcase_add_test(tc, device_configuration_has_an_end);
	tcase_add_test(tc, an_address_is_a_queue);
	tcase_add_test(tc, the_window_reads_and_writes);
	tcase_add_test(tc, the_window_has_one_trigger);
	tcase_add_test(tc, the_window_reaches_nothing_else);
	tcase_add_test(tc, a_reset_by_the_window_while_the_bar_is_used);
	tcase_add_test(tc, no_lock_is_kept);
}

static void add(TCase *tc)
{
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_write_changes_its_field_alone);
	tcase_add_test(tc, halves_are_independent);
	tcase_add_test(tc, read_only_registers_are_that);
	tcase_add_test(tc, selectors_select_words);
	tcase_add_test(tc, queues_that_do_not_exist_have_no_registers);
	tcase_add_test(tc, kicks_without_work);
	tcase_add_test(tc, nonsense_is_not_worth_a_log);
}

TRANSPORTS_SUITE("virtio-pci-regs", add, add_by_bar, on_pci, on_pci_window, on_pci_armed)
