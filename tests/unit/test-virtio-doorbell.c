// SPDX-License-Identifier: GPL-2.0
// LINK: virtio/device.c virtio/registers.c virtio/legacy.c virtio/queue.c virtio/mini.c virtio/transport-pci.c virtio/transport-modern.c virtio/transport-legacy.c virtio/transport-doorbell.c virtio/transport-fds.c pci.c pci-bar.c pci-irq.c pci-ecam.c bus.c ioeventfd.c gmem.c util/loop.c util/log.c util/err.c tests/mock/clock.c tests/mock/arena.c tests/mock/ring.c tests/mock/driver.c tests/mock/core.c tests/mock/testdev.c tests/mock/bench.c tests/mock/hostile.c tests/mock/fake-kvm.c irq-route.c tests/mock/pci.c tests/mock/pci-driver.c
/* Doorbells of a virtio function on a KVM without a CPU: what is armed, when, where, and what becomes of failures. */
#include "unit.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>

#include <lkvm/util.h>

#include "../mock/fake-kvm.h"
#include "../mock/hostile.h"
#include "../mock/pci.h"
#include "../mock/transports.h"

#define QUEUES     3
#define NOTIFY_OFF 0x3000
#define BAR        4

static struct bench b;
static struct mock_fn *fn;
static struct fake_kvm *kvm;

static void begin(bool threads)
{
	bench_init(&b, &(struct bench_opts){ .queues = QUEUES, .loops = 2, .threads = threads });
	fn = mock_fn_of(&b.d);
	kvm = mock_kvm_of(&b.d);
}

static void setup(void)
{
	begin(false);
}

static void setup_threads(void)
{
	begin(true);
	b.td.cancels = true;
}

static void teardown(void)
{
	hostile_recover(&b);
	bench_reset(&b);
	ck_assert_uint_eq(kvm->doorbells_nr, 0);
	bench_release(&b);
}

static bool is_legacy(void)
{
	return b.d.ops->set_pfn;
}

static bool has_pio(void)
{
	return b.d.ops == &drv_pci_pio;
}

static unsigned int armed_when_up(void)
{
	return has_pio() ? 2 * QUEUES : QUEUES;
}

static void up(void)
{
	bench_up(&b, is_legacy() ? 0 : MODERN_ALL);
}

static void set_command(uint16_t v)
{
	mock_fn_set_conf(fn, PCI_COMMAND, 2, v);
}

/* The BAR that the driver kicks in; its first register, and one that has the type bits. */
static unsigned int kick_bar(void)
{
	return is_legacy() ? 0 : has_pio() ? 2 : BAR;
}

static void move(unsigned int bar, uint64_t addr)
{
	mock_fn_set_conf(fn, PCI_BASE_ADDRESS_0 + 4 * bar, 4, (uint32_t)addr);
	if (bar == BAR)
		mock_fn_set_conf(fn, PCI_BASE_ADDRESS_0 + 4 * bar + 4, 4, addr >> 32);
	mock_fn_find_bars(fn);
}

static uint64_t elsewhere(void)
{
	return kick_bar() == BAR ? MOCK_MEM64 + 0x40000000 : MOCK_IO + 0x4000;
}

static void publish(uint16_t q)
{
	struct drv_buf bufs[2];

	bench_bufs(&b, bufs, 16);
	ring_add(&b.d.rings[q], bufs, 2);
	ring_publish(&b.d.rings[q]);
}

static bool is_armed(bool pio, uint64_t addr, unsigned int len, int data)
{
	for (unsigned int i = 0; i < kvm->doorbells_nr; i++) {
		const struct kvm_ioeventfd *d = &kvm->doorbells[i];
		bool match = d->flags & KVM_IOEVENTFD_FLAG_DATAMATCH;

		if (!!(d->flags & KVM_IOEVENTFD_FLAG_PIO) == pio && d->addr == addr &&
		    d->len == len && match == (data >= 0) &&
		    (!match || d->datamatch == (uint64_t)data))
			return true;
	}
	return false;
}

/* Exactly what the driver's side needs, where its BARs are. */
static void check_armed(void)
{
	ck_assert_uint_eq(kvm->doorbells_nr, armed_when_up());
	for (unsigned int q = 0; q < QUEUES; q++) {
		if (is_legacy())
			ck_assert(is_armed(true, fn->bars[0] + 0x10, 2, q));
		else
			ck_assert(is_armed(false, fn->bars[BAR] + NOTIFY_OFF + 4 * q, 0, -1));
		if (has_pio())
			ck_assert(is_armed(true, fn->bars[2] + 4 * q, 2, -1));
	}
}

START_TEST(armed_while_the_device_runs)
{
	for (unsigned int i = 0; i < 3; i++) {
		bench_prepare(&b, is_legacy() ? 0 : MODERN_ALL);
		if (!is_legacy())
			ck_assert_uint_eq(kvm->doorbells_nr, 0);
		drv_driver_ok(&b.d);
		ck_assert_uint_eq(b.td.vd.state, VIRTIO_LIVE);
		check_armed();
		for (uint16_t q = 0; q < QUEUES; q++)
			bench_echo(&b, q);
		bench_reset(&b);
		ck_assert_uint_eq(kvm->doorbells_nr, 0);
		ck_assert_uint_eq(bench_count_dir("/proc/self/fd"), b.fds);
	}
}

START_TEST(trapped_and_rung_are_one)
{
	ROW("PCI-58", "HD-123");
	bench_up(&b, is_legacy() ? 0 : MODERN);
	for (uint16_t q = 0; q < QUEUES && !is_legacy(); q++) {
		uint32_t taken = b.td.taken;

		publish(q);
		drv_notify(&b.d, q);
		bench_settle(&b);
		/* No doorbell is in the way of these two. */
		publish(q);
		mock_fn_window_out(fn, BAR, NOTIFY_OFF + 4 * q, 2, 2, q);
		bench_settle(&b);
		publish(q);
		mock_fn_window_out(fn, BAR, NOTIFY_OFF + 4 * q, 4, 4, q);
		bench_settle(&b);
		ck_assert_uint_eq(b.td.taken, taken + 3);
		ck_assert_uint_eq(b.d.irqs.queue[q], 3);
		/* An odd place is neither. */
		publish(q);
		mock_fn_out(fn, BAR, NOTIFY_OFF + 4 * q + 1, 1, q);
		/* Nor is an aim at a BAR without doorbells. */
		for (uint32_t bar = 0; bar < 8; bar++)
			if (bar != BAR && bar != 2)
				mock_fn_window_out(fn, bar, 4 * q, 2, 2, q);
		bench_settle(&b);
		ck_assert_uint_eq(b.td.taken, taken + 3);
		mock_fn_window_out(fn, 2, 4 * q, 2, 2, q);
		bench_settle(&b);
		ck_assert_uint_eq(b.td.taken, taken + 3 + has_pio());
		drv_notify(&b.d, q);
		bench_settle(&b);
		ring_forget(&b.d.rings[q]);
	}
	/* A legacy kick of no queue meets no doorbell, and nothing else. */
	drv_notify(&b.d, 77);
	bench_settle(&b);
	bench_echo(&b, 0);
}

START_TEST(a_broken_device_hears_nothing)
{
	up();
	ring_push(&b.d.rings[0], 0x7fff);
	drv_notify(&b.d, 0);
	bench_settle(&b);
	ck_assert_uint_eq(drv_status(&b.d) & VIRTIO_NEEDS_RESET, VIRTIO_NEEDS_RESET);
	publish(1);
	drv_notify(&b.d, 1);
	bench_settle(&b);
	ck_assert_uint_eq(b.td.taken, 0);
}

/* --- BARs --- */

START_TEST(doorbells_follow_decoding)
{
	ROW("PLT-4", "HD-151");
	up();
	bench_echo(&b, 0);
	uint32_t taken = b.td.taken;
	set_command(0);
	ck_assert_uint_eq(kvm->doorbells_nr, 0);
	publish(0);
	drv_notify(&b.d, 0);
	ck_assert_uint_eq(mock_fn_in(fn, kick_bar(), 0, 4), UINT32_MAX);
	bench_settle(&b);
	ck_assert_uint_eq(b.td.taken, taken);
	ck_assert_uint_eq(b.td.vd.state, VIRTIO_LIVE);
	/* Back, and what was rung for meanwhile is found. */
	set_command(PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	check_armed();
	bench_settle(&b);
	ck_assert_uint_eq(b.td.taken, taken + 1);
	ring_forget(&b.d.rings[0]);
	bench_echo(&b, 0);
	/* One that runs before anything decodes is armed when it does. */
	bench_reset(&b);
	if (is_legacy())
		return;
	set_command(PCI_COMMAND_MASTER);
	virtio_set_status(&b.td.vd, 0x03);
	virtio_select_driver_features(&b.td.vd, 1);
	virtio_set_driver_features(&b.td.vd, 1);
	virtio_set_status(&b.td.vd, 0x0f);
	ck_assert_uint_eq(b.td.vd.state, VIRTIO_LIVE);
	ck_assert_uint_eq(kvm->doorbells_nr, 0);
	set_command(PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	check_armed();
}

START_TEST(doorbells_follow_their_bar)
{
	ROW("PLT-3", "HD-145");
	uint64_t old = fn->bars[kick_bar()];

	up();
	for (unsigned int i = 0; i < 10; i++) {
		uint32_t taken = b.td.taken;

		publish(0);
		move(kick_bar(), i % 2 ? old : elsewhere());
		check_armed();
		/* No kick: the move itself looks at every queue. */
		bench_settle(&b);
		ck_assert_uint_eq(b.td.taken, taken + 1);
		ring_forget(&b.d.rings[0]);
		for (uint16_t q = 0; q < QUEUES; q++)
			bench_echo(&b, q);
		/* The old place is nobody's. */
		ck_assert_uint_eq(mock_in(fn->m, fn->io[kick_bar()], i % 2 ? elsewhere() : old, 2),
				  0xffff);
	}
}

START_TEST(bars_are_sized_while_queues_live)
{
	ROW("HD-147", "HD-148", "HD-149", "PLT-1");
	static const uint32_t probes[] = { 0xffffffff, 0xfffffff0, 0xfffffffe, 0xfffffffc };
	uint32_t reg = PCI_BASE_ADDRESS_0 + 4 * kick_bar();

	up();
	for (unsigned int i = 0; i < ARRAY_SIZE(probes); i++) {
		for (unsigned int half = 0; half < (kick_bar() == BAR ? 2 : 1); half++) {
			uint32_t old = mock_fn_conf(fn, reg + 4 * half, 4);

			mock_fn_set_conf(fn, reg + 4 * half, 4, probes[i]);
			mock_fn_conf(fn, reg + 4 * half, 4);
			publish(1);
			ring_kick(&b.d.rings[1]);
			/* Restored byte by byte, any first. */
			for (unsigned int k = 0; k < 4; k++)
				mock_fn_set_conf(fn, reg + 4 * half + (k + i) % 4, 1,
						 old >> 8 * ((k + i) % 4));
			check_armed();
			bench_settle(&b);
			ring_forget(&b.d.rings[1]);
			bench_echo(&b, 1);
		}
	}
}

START_TEST(bars_where_they_cannot_be)
{
	ROW("HD-140", "HD-142", "HD-143", "HD-144");
	static const uint64_t mem[] = {
		0,
		0x1000,
		ARENA_HIGH,
		0xfee00000,
		0xfec00000,
		MOCK_ECAM,
		0xffffc000,
		0xfffffffffffff000,
		0xffffffffffffc000,
		UINT64_C(1) << 52,
		MOCK_MEM32 - 0x4000,
	};
	static const uint64_t io[] = { 0, 0x20, 0x40, 0x3f8, 0xc00, 0xfffc, 0xffffff00 };
	uint64_t old = fn->bars[kick_bar()];
	bool in_mem = kick_bar() == BAR;

	up();
	for (unsigned int i = 0; i < (in_mem ? ARRAY_SIZE(mem) : ARRAY_SIZE(io)); i++) {
		move(kick_bar(), in_mem ? mem[i] : io[i]);
		if (in_mem || io[i] != 0xfffc)
			ck_assert_uint_lt(kvm->doorbells_nr, armed_when_up());
		bench_canary(&b);
		move(kick_bar(), old);
		check_armed();
		bench_settle(&b);
		bench_echo(&b, 0);
	}
	if (is_legacy())
		return;
	/* On another BAR of its own: the one of the lower number answers. */
	move(kick_bar(), fn->bars[in_mem ? 1 : 0]);
	ck_assert_uint_eq(kvm->doorbells_nr, in_mem ? 0 : QUEUES);
	move(kick_bar(), old);
	check_armed();
	bench_settle(&b);
	bench_echo(&b, 0);
}

START_TEST(decoding_is_toggled_on_and_on)
{
	ROW("HD-150");
	up();
	unsigned int fds = bench_count_dir("/proc/self/fd");
	for (unsigned int i = 0; i < bench_rounds(100000); i++) {
		set_command(i % 2   ? PCI_COMMAND_IO | PCI_COMMAND_MEMORY
			    : i % 4 ? 0
				    : PCI_COMMAND_IO);
		if (i % 2)
			check_armed();
	}
	set_command(PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	bench_settle(&b);
	ck_assert_uint_eq(bench_count_dir("/proc/self/fd"), fds);
	ck_assert_uint_eq(kvm->doorbells_nr, armed_when_up());
}

/* --- failures --- */

START_TEST(all_or_none)
{
	ROW("HD-146");
	uint64_t old = fn->bars[kick_bar()];

	for (unsigned int most = 0; most < armed_when_up(); most++) {
		kvm->doorbells_max = most;
		bench_reset(&b);
		up();
		ck_assert_uint_eq(b.td.vd.state, VIRTIO_RUNNING);
		ck_assert_uint_eq(kvm->doorbells_nr, 0);
		ck_assert_uint_eq(bench_count_dir("/proc/self/fd"), b.fds);
		for (uint16_t q = 0; q < QUEUES; q++)
			bench_echo(&b, q);
		/* Refused for this run: a move does not bring them. */
		kvm->doorbells_max = FAKE_DOORBELLS;
		move(kick_bar(), elsewhere());
		ck_assert_uint_eq(kvm->doorbells_nr, 0);
		bench_echo(&b, 0);
		move(kick_bar(), old);
		bench_reset(&b);
		up();
		check_armed();
		/* At the new place: none, and kicks trap; at the next they are back. */
		kvm->doorbells_max = most;
		move(kick_bar(), elsewhere());
		ck_assert_uint_eq(kvm->doorbells_nr, 0);
		bench_settle(&b);
		for (uint16_t q = 0; q < QUEUES; q++)
			bench_echo(&b, q);
		kvm->doorbells_max = FAKE_DOORBELLS;
		move(kick_bar(), old);
		check_armed();
		bench_settle(&b);
	}
}

START_TEST(another_has_the_place)
{
	ROW("HD-146");
	struct kvm_ioeventfd other = { .fd = -1 };

	if (is_legacy()) {
		other.addr = fn->bars[0] + 0x10;
		other.flags = KVM_IOEVENTFD_FLAG_PIO;
		other.len = 2;
	} else {
		other.addr = fn->bars[BAR] + NOTIFY_OFF + 4;
	}
	/* EEXIST; it does not ring. */
	kvm->doorbells[0] = other;
	kvm->doorbells_nr = 1;
	bench_prepare(&b, is_legacy() ? 0 : MODERN_ALL);
	drv_driver_ok(&b.d);
	ck_assert_uint_eq(b.td.vd.state, VIRTIO_RUNNING);
	ck_assert_uint_eq(kvm->doorbells_nr, 1);
	kvm->doorbells_nr = 0;
	bench_settle(&b);
	bench_echo(&b, 1);
}

/* --- buffers --- */

START_TEST(a_buffer_in_its_own_registers)
{
	ROW("HD-105");
	up();
	/* The device would reset itself, or ring its own bell; but registers are not memory. */
	struct drv_buf bufs[] = { { fn->bars[BAR] + 0x14, 1, true },
				  { fn->bars[BAR] + NOTIFY_OFF, 2, true } };
	for (unsigned int i = 0; i < 2; i++) {
		uint32_t id, len;

		ring_add(&b.d.rings[0], &bufs[i], 1);
		ring_publish(&b.d.rings[0]);
		ring_kick(&b.d.rings[0]);
		bench_settle(&b);
		ck_assert(ring_get(&b.d.rings[0], &id, &len));
		ck_assert_uint_eq(len, 0);
	}
	ck_assert_uint_eq(drv_status(&b.d) & 7, 7);
	bench_echo(&b, 0);
}

/* --- threads --- */

static atomic_bool stopped;

/* Decoding off and on, another place and back; sometimes KVM has no room. */
static void *shake(void *arg)
{
	uint64_t old = fn->bars[kick_bar()];

	(void)arg;
	for (unsigned int i = 0; !atomic_load(&stopped); i++) {
		uint32_t reg = PCI_BASE_ADDRESS_0 + 4 * kick_bar();

		set_command(PCI_COMMAND_MASTER);
		set_command(PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
		mock_fn_set_conf(fn, reg, 4, 0);
		mock_fn_set_conf(fn, reg, 4, (uint32_t)old);
		sched_yield();
	}
	return NULL;
}

START_TEST(bars_move_while_queues_run)
{
	ROW("HD-145", "HD-147", "HD-150", "PLT-3");
	pthread_t t;

	up();
	stopped = false;
	MUST(pthread_create(&t, NULL, shake, NULL) == 0);
	/* A kick that goes nowhere is found when the BAR is back. */
	for (unsigned int i = 0; i < bench_rounds(100000); i++)
		bench_echo(&b, i % QUEUES);
	stopped = true;
	pthread_join(t, NULL);
	check_armed();
}

START_TEST(resets_while_bars_move)
{
	ROW("HD-106", "HD-150", "HD-225");
	pthread_t t;

	stopped = false;
	MUST(pthread_create(&t, NULL, shake, NULL) == 0);
	/* By the core's own calls: the registers come and go. */
	for (unsigned int i = 0; i < bench_rounds(20000); i++) {
		virtio_set_status(&b.td.vd, 0x03);
		virtio_select_driver_features(&b.td.vd, 1);
		virtio_set_driver_features(&b.td.vd, 1);
		virtio_set_status(&b.td.vd, 0x0f);
		if (i % 3 == 0)
			virtio_fault(&b.td.vd, "a test");
		virtio_set_status(&b.td.vd, 0);
		MUST(virtio_get_status(&b.td.vd) == 0);
	}
	stopped = true;
	pthread_join(t, NULL);
	ck_assert_uint_eq(kvm->doorbells_nr, 0);
}

static void add_calm(TCase *tc)
{
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, armed_while_the_device_runs);
	tcase_add_test(tc, trapped_and_rung_are_one);
	tcase_add_test(tc, a_broken_device_hears_nothing);
	tcase_add_test(tc, doorbells_follow_decoding);
	tcase_add_test(tc, doorbells_follow_their_bar);
	tcase_add_test(tc, bars_are_sized_while_queues_live);
	tcase_add_test(tc, bars_where_they_cannot_be);
	tcase_add_test(tc, decoding_is_toggled_on_and_on);
	tcase_add_test(tc, all_or_none);
	tcase_add_test(tc, another_has_the_place);
	tcase_add_test(tc, a_buffer_in_its_own_registers);
}

static void add_threads(TCase *tc)
{
	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup_threads, teardown);
	tcase_add_test(tc, bars_move_while_queues_run);
	tcase_add_test(tc, resets_while_bars_move);
}

static void (*const ways[])(void) = { on_pci_armed, on_pci_pio, on_pci_legacy_armed };

int main(void)
{
	Suite *s = suite_create("virtio-doorbell");

	transports_add(s, "virtio-doorbell", add_calm, ways, ARRAY_SIZE(ways));
	transports_add(s, "virtio-doorbell", add_threads, ways, ARRAY_SIZE(ways));
	return transports_run(s);
}
