// SPDX-License-Identifier: GPL-2.0
// LINK: virtio/device.c virtio/registers.c virtio/legacy.c virtio/queue.c virtio/mini.c virtio/transport-pci.c virtio/transport-modern.c virtio/transport-legacy.c virtio/transport-doorbell.c virtio/transport-fds.c pci.c pci-bar.c pci-irq.c pci-ecam.c bus.c ioeventfd.c gmem.c util/loop.c util/log.c util/err.c tests/mock/clock.c tests/mock/arena.c tests/mock/ring.c tests/mock/driver.c tests/mock/core.c tests/mock/testdev.c tests/mock/bench.c tests/mock/hostile.c tests/mock/fake-kvm.c irq-route.c tests/mock/pci.c tests/mock/pci-driver.c
/* Interrupts of a virtio function: the interrupt status and its line, vectors, and what hostile drivers do to both. */
#include "unit.h"

#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>

#include <lkvm/util.h>

#include "../mock/hostile.h"
#include "../mock/pci.h"

#define NO_VECTOR 0xffff
#define DEADLINE  (50 * NSEC_PER_SEC)

static struct bench b;
static struct mock_fn *fn;

static void begin(bool threads)
{
	bench_init(&b,
		   &(struct bench_opts){ .transport = &drv_pci, .queues = 3, .threads = threads });
	fn = mock_fn_of(&b.d);
}

static void setup(void)
{
	begin(false);
}

static void setup_threads(void)
{
	begin(true);
}

static void teardown(void)
{
	mock_fn_enable_msix(fn, true);
	hostile_recover(&b);
	bench_release(&b);
}

static uint32_t isr(unsigned int width)
{
	return (uint32_t)mock_fn_get(fn, MOCK_ISR, 0, width);
}

static bool line(void)
{
	return mock_line(MOCK_GSI + fn->slot % MOCK_GSIS);
}

static uint32_t rises(void)
{
	return mock_line_rises(MOCK_GSI + fn->slot % MOCK_GSIS);
}

/* Interrupt Status of the Status register. */
static bool status_bit(void)
{
	return mock_fn_conf(fn, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT;
}

static void set_command(uint16_t bits)
{
	mock_fn_set_conf(fn, PCI_COMMAND, 2,
			 PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | bits);
}

static void up(bool msix)
{
	bench_up(&b, MODERN);
	mock_fn_enable_msix(fn, msix);
}

static uint32_t messages(void)
{
	uint32_t sum = fn->strange;

	for (unsigned int i = 0; i < MOCK_VECTORS; i++)
		sum += fn->messages[i];
	return sum;
}

/* Event 0 is the configuration's, event q + 1 queue q's. */
static void set_vector(unsigned int event, uint16_t vector)
{
	if (event) {
		mock_fn_set(fn, MOCK_COMMON, VIRTIO_PCI_COMMON_Q_SELECT, 2, event - 1);
		mock_fn_set(fn, MOCK_COMMON, VIRTIO_PCI_COMMON_Q_MSIX, 2, vector);
	} else {
		mock_fn_set(fn, MOCK_COMMON, VIRTIO_PCI_COMMON_MSIX, 2, vector);
	}
}

static uint16_t vector(unsigned int event)
{
	if (!event)
		return mock_fn_get(fn, MOCK_COMMON, VIRTIO_PCI_COMMON_MSIX, 2);
	mock_fn_set(fn, MOCK_COMMON, VIRTIO_PCI_COMMON_Q_SELECT, 2, event - 1);
	return mock_fn_get(fn, MOCK_COMMON, VIRTIO_PCI_COMMON_Q_MSIX, 2);
}

static void trigger(unsigned int event)
{
	if (event)
		bench_echo(&b, event - 1);
	else
		testdev_set_wide(&b.td, b.echoes++);
}

/* --- the interrupt status --- */

START_TEST(a_queue_raises_the_line)
{
	ROW("PCI-61", "PCI-62", "PCI-63", "PCI-64");
	up(false);
	ck_assert(!line() && !status_bit());
	bench_echo(&b, 0);
	ck_assert(line() && status_bit());
	ck_assert_uint_eq(isr(1), 1);
	ck_assert(!line() && !status_bit());
	ck_assert_uint_eq(isr(1), 0);
	trigger(0);
	ck_assert(line());
	bench_echo(&b, 1);
	ck_assert_uint_eq(isr(1), 3);
	ck_assert(!line());
	ck_assert_uint_eq(messages(), 0);
}

START_TEST(interrupt_disable_holds_the_line)
{
	ROW("PCI-62", "HD-136");
	up(false);
	set_command(PCI_COMMAND_INTX_DISABLE);
	bench_echo(&b, 0);
	ck_assert(!line() && status_bit());
	for (unsigned int i = 0; i < 100; i++) {
		set_command(i % 2 ? PCI_COMMAND_INTX_DISABLE : 0);
		ck_assert_uint_eq(line(), i % 2 == 0);
		ck_assert(status_bit());
	}
	set_command(0);
	ck_assert(line());
	ck_assert_uint_eq(isr(1), 1);
	ck_assert(!line());
}

START_TEST(the_status_is_one_byte)
{
	ROW("PCI-66", "PCI-67", "HD-161");
	up(false);
	for (unsigned int width = 1; width <= 8; width *= 2) {
		trigger(0);
		for (unsigned int off = 1; off < 16; off++) {
			ck_assert_uint_eq(mock_fn_get(fn, MOCK_ISR, off, 1), 0);
			mock_fn_set(fn, MOCK_ISR, off, 1, 0xff);
		}
		mock_fn_set(fn, MOCK_ISR, 0, width, 0);
		mock_fn_set(fn, MOCK_ISR, 0, width, UINT64_MAX);
		ck_assert(line());
		ck_assert_uint_eq(isr(width), 2);
		ck_assert_uint_eq(isr(width), 0);
	}
}

START_TEST(with_vectors_the_line_rests)
{
	ROW("PCI-60", "PCI-65");
	up(true);
	trigger(0);
	ck_assert(!line());
	ck_assert_uint_eq(fn->messages[0], 1);
	/* The bit is there all the same, and moves the line when vectors are given up. */
	mock_fn_enable_msix(fn, false);
	ck_assert(line());
	mock_fn_enable_msix(fn, true);
	ck_assert(!line());
	ck_assert_uint_eq(isr(1), 2);
	/* A queue's bit is for the line alone. */
	bench_echo(&b, 0);
	ck_assert_uint_eq(isr(1), 0);
	mock_fn_enable_msix(fn, false);
	ck_assert(!line());
}

START_TEST(a_reset_takes_interrupts_back)
{
	ROW("GEN-35", "GEN-36", "PCI-90");
	up(false);
	bench_echo(&b, 0);
	trigger(0);
	ck_assert(line());
	drv_set_status(&b.d, 0);
	ck_assert(!line() && !status_bit());
	ck_assert_uint_eq(isr(1), 0);
	for (unsigned int event = 0; event < 4; event++)
		ck_assert_uint_eq(vector(event), NO_VECTOR);
	/* The table is PCI's. */
	ck_assert_uint_eq(mock_fn_in(fn, 1, PCI_MSIX_ENTRY_SIZE + PCI_MSIX_ENTRY_DATA, 4), 1);
	/* What was on its way from before finds nothing, by line and by message. */
	b.td.vd.transport->irq_config(&b.td.vd);
	ck_assert(!line());
	ck_assert_uint_eq(isr(1), 0);
	mock_fn_enable_msix(fn, true);
	set_vector(0, 0);
	b.td.vd.transport->irq_config(&b.td.vd);
	ck_assert_uint_eq(messages(), 0);
}

START_TEST(nobody_acknowledges)
{
	ROW("HD-137");
	up(false);
	for (unsigned int i = 0; i < 1000; i++)
		bench_echo(&b, i % 3);
	ck_assert(line());
	ck_assert_uint_eq(rises(), 1);
}

/* --- vectors --- */

START_TEST(any_event_on_any_vector)
{
	ROW("PCI-87", "PCI-89", "PCI-91", "PCI-96", "PCI-85");
	up(true);
	for (unsigned int event = 0; event < 4; event++) {
		for (uint16_t v = 0; v < 4; v++) {
			uint32_t before = messages(), that = fn->messages[v];

			set_vector(event, v);
			ck_assert_uint_eq(vector(event), v);
			trigger(event);
			ck_assert_uint_eq(fn->messages[v], that + 1);
			ck_assert_uint_eq(messages(), before + 1);
		}
	}
	/* All on one. */
	uint32_t before = fn->messages[2];
	for (unsigned int event = 0; event < 4; event++)
		set_vector(event, 2);
	for (unsigned int event = 0; event < 4; event++)
		trigger(event);
	ck_assert_uint_eq(fn->messages[2], before + 4);
	ck_assert(!line());
}

START_TEST(no_vector_is_no_interrupt)
{
	ROW("PCI-88", "PCI-94", "PCI-95");
	up(true);
	for (unsigned int event = 0; event < 4; event++) {
		set_vector(event, NO_VECTOR);
		ck_assert_uint_eq(vector(event), NO_VECTOR);
		trigger(event);
	}
	ck_assert_uint_eq(messages(), 0);
	ck_assert(!line());
}

START_TEST(vectors_that_do_not_exist)
{
	ROW("PCI-92", "HD-128");
	static const uint16_t bad[] = { 4, 5, 0x7f, 0x7ff, 0x800, 0x8000, 0xfffe };

	up(true);
	for (unsigned int event = 0; event < 4; event++) {
		for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
			set_vector(event, 1);
			set_vector(event, bad[i]);
			ck_assert_uint_eq(vector(event), NO_VECTOR);
			trigger(event);
		}
	}
	ck_assert_uint_eq(messages(), 0);
}

START_TEST(vectors_wait_for_msix)
{
	ROW("PCI-93");
	bench_up(&b, MODERN);
	mock_fn_enable_msix(fn, false);
	set_vector(0, 2);
	set_vector(1, 3);
	ck_assert_uint_eq(vector(1), 3);
	trigger(0);
	trigger(1);
	ck_assert(line());
	ck_assert_uint_eq(isr(1), 3);
	/* What the line has told is no message later. */
	mock_fn_enable_msix(fn, true);
	ck_assert_uint_eq(messages(), 0);
	trigger(1);
	ck_assert_uint_eq(fn->messages[3], 1);
	ck_assert(!line());
}

static void mask(unsigned int v, bool on)
{
	mock_fn_out(fn, 1, v * PCI_MSIX_ENTRY_SIZE + PCI_MSIX_ENTRY_VECTOR_CTRL, 4, on);
}

static uint32_t pending(void)
{
	return mock_fn_in(fn, 1, mock_fn_conf(fn, fn->msix_cap + PCI_MSIX_PBA, 4) & ~7u, 4);
}

START_TEST(masked_vectors_are_pending)
{
	ROW("PCI-97", "HD-129");
	up(true);
	for (unsigned int v = 0; v < 4; v++)
		mask(v, true);
	for (unsigned int i = 0; i < 3; i++)
		for (unsigned int event = 0; event < 4; event++)
			trigger(event);
	ck_assert_uint_eq(messages(), 0);
	ck_assert_uint_eq(pending(), 0xf);
	for (unsigned int v = 0; v < 4; v++) {
		mask(v, false);
		ck_assert_uint_eq(fn->messages[v], 1);
	}
	ck_assert_uint_eq(pending(), 0);
	/* The whole function. */
	mock_fn_set_conf(fn, fn->msix_cap + PCI_MSIX_FLAGS, 2,
			 PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	for (unsigned int event = 0; event < 4; event++)
		trigger(event);
	ck_assert_uint_eq(messages(), 4);
	ck_assert(!line());
	mock_fn_enable_msix(fn, true);
	ck_assert_uint_eq(messages(), 8);
	ck_assert_uint_eq(pending(), 0);
}

START_TEST(a_message_is_the_entry_as_it_stands)
{
	ROW("PCI-97", "HD-131", "HD-132");
	static const uint64_t addresses[] = { 0, UINT64_MAX, 0x1000, ARENA_HIGH, 0xfec00000 };

	up(true);
	trigger(1);
	mock_fn_out(fn, 1, PCI_MSIX_ENTRY_SIZE + PCI_MSIX_ENTRY_DATA, 4, 3);
	trigger(1);
	ck_assert_uint_eq(fn->messages[1], 1);
	ck_assert_uint_eq(fn->messages[3], 1);
	/* Wherever it leads, it is a message, and KVM's to refuse: memory is not written. */
	bench_settle(&b);
	arena_settle(&b.a);
	arena_permit(&b.a, b.d.rings[0].used, RING_USED_LEN(16));
	arena_permit(&b.a, b.echo_gpa, 64);
	for (unsigned int i = 0; i < ARRAY_SIZE(addresses); i++) {
		mock_fn_out(fn, 1, PCI_MSIX_ENTRY_SIZE, 8, addresses[i]);
		trigger(1);
		ck_assert_uint_eq(fn->strange, i + 1);
		ck_assert_uint_eq(fn->last_addr, addresses[i] & ~3ull);
	}
	ck_assert_uint_eq(arena_stray(&b.a), ARENA_CLEAN);
	arena_permit(&b.a, 0, ARENA_LOW_END);
	arena_permit(&b.a, ARENA_HIGH, ARENA_HIGH_LEN);
	mock_fn_out(fn, 1, PCI_MSIX_ENTRY_SIZE, 8, 0xfee00000 | fn->id << 12);
	mock_fn_out(fn, 1, PCI_MSIX_ENTRY_SIZE + PCI_MSIX_ENTRY_DATA, 4, 1);
}

START_TEST(the_table_has_an_end)
{
	ROW("HD-133", "PLT-9");
	uint32_t half = mock_fn_conf(fn, fn->msix_cap + PCI_MSIX_PBA, 4) & ~7u;

	up(true);
	for (uint32_t off = 0; off < 2 * half; off += off % 64 < 40 ? 1 : 5) {
		for (unsigned int width = 1; width <= 8; width *= 2) {
			bool entry = off + width <= 64 && width >= 4 && off % width == 0;

			if (off >= 64 && off + width <= 2 * half)
				ck_assert_uint_eq(mock_fn_in(fn, 1, off, width), 0);
			if (!entry)
				mock_fn_out(fn, 1, off, width, UINT64_MAX);
		}
	}
	for (unsigned int event = 0; event < 4; event++) {
		trigger(event);
		ck_assert_uint_eq(fn->messages[event], 1);
	}
}

START_TEST(vectors_are_written_on_and_on)
{
	ROW("HD-134");
	up(true);
	for (unsigned int i = 0; i < bench_rounds(1000000); i++)
		set_vector(i % 4, i % 7);
	for (unsigned int event = 0; event < 4; event++)
		set_vector(event, event);
	for (unsigned int event = 0; event < 4; event++)
		trigger(event);
	ck_assert_uint_eq(messages(), 4);
}

/* --- threads --- */

static atomic_bool stopped;
static _Atomic uint32_t seen;

static void *read_status(void *arg)
{
	(void)arg;
	while (!atomic_load(&stopped))
		if (isr(1) & 2)
			seen++;
	return NULL;
}

START_TEST(no_bit_is_lost)
{
	ROW("PCI-63", "HD-126");
	pthread_t t;

	bench_up(&b, MODERN);
	mock_fn_enable_msix(fn, false);
	stopped = false;
	seen = 0;
	MUST(pthread_create(&t, NULL, read_status, NULL) == 0);
	for (uint32_t i = 1; i <= bench_rounds(1000000) / 4; i++) {
		uint64_t deadline = mock_real_now_ns() + DEADLINE;

		if (i % 16 == 0)
			drv_notify(&b.d, 0);
		virtio_config_changed(&b.td.vd);
		while (seen < i) {
			MUST(mock_real_now_ns() < deadline);
			sched_yield();
		}
	}
	stopped = true;
	pthread_join(t, NULL);
	isr(1);
	ck_assert(!line());
}

static void *toggle(void *arg)
{
	(void)arg;
	for (unsigned int i = 0; !atomic_load(&stopped); i++) {
		set_vector(1 + i % 2, i % 5);
		mock_fn_set_conf(fn, fn->msix_cap + PCI_MSIX_FLAGS, 2, i % 4 << 14);
		mask(i % 4, i % 3 == 0);
		mock_fn_out(fn, 1, i % 4 * PCI_MSIX_ENTRY_SIZE + PCI_MSIX_ENTRY_DATA, 4, i % 4);
	}
	return NULL;
}

START_TEST(everything_changes_while_it_is_used)
{
	ROW("HD-130", "HD-135");
	pthread_t t;

	bench_up(&b, MODERN);
	stopped = false;
	MUST(pthread_create(&t, NULL, toggle, NULL) == 0);
	for (unsigned int i = 0; i < bench_rounds(100000); i++) {
		bench_echo(&b, i % 3);
		if (i % 8 == 0)
			isr(1);
	}
	stopped = true;
	pthread_join(t, NULL);
	mock_fn_enable_msix(fn, true);
	ck_assert(!line());
	for (unsigned int v = 0; v < 4; v++) {
		mask(v, false);
		mock_fn_out(fn, 1, v * PCI_MSIX_ENTRY_SIZE + PCI_MSIX_ENTRY_DATA, 4, v);
	}
	for (unsigned int event = 0; event < 4; event++)
		set_vector(event, event);
	for (unsigned int event = 0; event < 4; event++) {
		uint32_t before = fn->messages[event];

		trigger(event);
		uint64_t deadline = mock_real_now_ns() + DEADLINE;
		while (fn->messages[event] == before)
			MUST(mock_real_now_ns() < deadline);
	}
}

/* --- two on a line --- */

static bool no_kick(struct virtio_device *vd, struct virtqueue *vq)
{
	(void)vd, (void)vq;
	return true;
}

static const struct virtio_device_ops plain = { .name = "plain", .device_id = 5, .kick = no_kick };

START_TEST(two_devices_share_a_line)
{
	ROW("HD-138");
	static struct mock_pci m;
	static struct virtio_device vds[5];
	static struct mock_fn fns[5];
	unsigned int gsi;

	/* Slots 1 to 5: the first and the last are four apart. */
	mock_pci_init(&m);
	for (unsigned int i = 0; i < 5; i++) {
		virtio_device_init(&vds[i], &plain, &b.a.gm, &b.log, NULL);
		MUST(virtio_add_queue(&vds[i], 8, b.loops[0]) == 0);
		mock_fn_init(&fns[i], &m, &vds[i], &(struct virtio_pci_opts){ .vectors = 0 });
		virtio_set_status(&vds[i], 0x03);
		virtio_select_driver_features(&vds[i], 1);
		virtio_set_driver_features(&vds[i], 1);
		virtio_set_status(&vds[i], 0x0f);
	}
	gsi = MOCK_GSI + fns[0].slot % MOCK_GSIS;
	ck_assert_uint_eq(gsi, MOCK_GSI + fns[4].slot % MOCK_GSIS);
	virtio_config_changed(&vds[0]);
	virtio_config_changed(&vds[4]);
	ck_assert(mock_line(gsi));
	/* One of them says anything; the other's request stays. */
	for (unsigned int i = 0; i < 10; i++) {
		mock_fn_get(&fns[0], MOCK_ISR, 0, 1);
		ck_assert(mock_line(gsi));
		virtio_config_changed(&vds[0]);
	}
	ck_assert_uint_eq(mock_fn_get(&fns[4], MOCK_ISR, 0, 1), 2);
	ck_assert(mock_line(gsi));
	ck_assert_uint_eq(mock_fn_get(&fns[0], MOCK_ISR, 0, 1), 2);
	ck_assert(!mock_line(gsi));
	ck_assert_uint_eq(mock_line_rises(gsi), 1);
	/* And going away is letting go. */
	virtio_config_changed(&vds[4]);
	for (unsigned int i = 0; i < 5; i++) {
		mock_fn_release(&fns[i]);
		virtio_device_release(&vds[i]);
	}
	ck_assert(!mock_line(gsi));
	mock_pci_release(&m);
}

static void add_threads(TCase *tc)
{
	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup_threads, teardown);
	tcase_add_test(tc, no_bit_is_lost);
	tcase_add_test(tc, everything_changes_while_it_is_used);
}

UNIT_SUITE("virtio-pci-irq", {
	TCase *threads = tcase_create("virtio-pci-irq-threads");
	add_threads(threads);
	suite_add_tcase(s, threads);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_queue_raises_the_line);
	tcase_add_test(tc, interrupt_disable_holds_the_line);
	tcase_add_test(tc, the_status_is_one_byte);
	tcase_add_test(tc, with_vectors_the_line_rests);
	tcase_add_test(tc, a_reset_takes_interrupts_back);
	tcase_add_test(tc, nobody_acknowledges);
	tcase_add_test(tc, any_event_on_any_vector);
	tcase_add_test(tc, no_vector_is_no_interrupt);
	tcase_add_test(tc, vectors_that_do_not_exist);
	tcase_add_test(tc, vectors_wait_for_msix);
	tcase_add_test(tc, masked_vectors_are_pending);
	tcase_add_test(tc, a_message_is_the_entry_as_it_stands);
	tcase_add_test(tc, the_table_has_an_end);
	tcase_add_test(tc, vectors_are_written_on_and_on);
	tcase_add_test(tc, two_devices_share_a_line);
})
