// SPDX-License-Identifier: GPL-2.0
// LINK: virtio/device.c virtio/registers.c virtio/legacy.c virtio/queue.c virtio/mini.c gmem.c util/loop.c util/log.c util/err.c tests/mock/clock.c tests/mock/arena.c tests/mock/ring.c tests/mock/driver.c tests/mock/core.c tests/mock/testdev.c tests/mock/bench.c tests/mock/hostile.c virtio/transport-pci.c virtio/transport-modern.c virtio/transport-legacy.c virtio/transport-doorbell.c virtio/transport-fds.c pci.c pci-bar.c pci-irq.c pci-ecam.c bus.c ioeventfd.c tests/mock/fake-kvm.c irq-route.c tests/mock/pci.c tests/mock/pci-driver.c
/* Split rings, as a driver that keeps the rules sees them. */
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

/* Another bench, of queues of this size. */
static void resize(uint16_t size)
{
	bench_release(&b);
	bench_init(&b, &(struct bench_opts){ .queues = 1, .size = size });
}

static struct drv_ring *ring(void)
{
	return &b.d.rings[0];
}

static void kick(void)
{
	drv_notify(&b.d, 0);
	bench_settle(&b);
}

/* Publishes chains of one writable byte and settles. */
static void serve(unsigned int nr)
{
	struct drv_buf buf = { b.echo_gpa, 1, true };
	uint32_t id, len;

	arena_permit(&b.a, b.echo_gpa, 1);
	for (unsigned int i = 0; i < nr; i++)
		ring_add(ring(), &buf, 1);
	ring_publish(ring());
	kick();
	for (unsigned int i = 0; i < nr; i++) {
		ck_assert(ring_get(ring(), &id, &len));
		ck_assert_uint_eq(len, 1);
	}
}

static uint32_t irqs(void)
{
	return b.d.irqs.queue[0];
}

/* --- layout --- */

/* Three areas at these addresses serve, or not. */
static bool serves_at(uint64_t desc, uint64_t avail, uint64_t used)
{
	bench_reset(&b);
	ck_assert(drv_negotiate(&b.d, MODERN));
	ring_make_at(&b.d, 0, 16, desc, avail, used);
	ring_enable(ring());
	drv_driver_ok(&b.d);
	bench_settle(&b);
	if (drv_status(&b.d) & VIRTIO_NEEDS_RESET)
		return false;
	bench_echo(&b, 0);
	return true;
}

START_TEST(areas_end_where_memory_does)
{
	ROW("SPL-2", "HD-53", "HD-58");
	const uint64_t desc = 0x20000, avail = 0x21000, used = 0x22000;
	const struct {
		uint64_t end;
	} ends[] = { { ARENA_LOW_END }, { ARENA_HIGH_END } };

	for (unsigned int i = 0; i < ARRAY_SIZE(ends); i++) {
		uint64_t end = ends[i].end;

		/* Up to the last byte that alignment allows, and one step of it further. */
		ck_assert(serves_at(end - RING_DESC_LEN(16), avail, used));
		ck_assert(!serves_at(end - RING_DESC_LEN(16) + 16, avail, used));
		ck_assert(serves_at(desc, end - RING_AVAIL_LEN(16), used));
		ck_assert(!serves_at(desc, end - RING_AVAIL_LEN(16) + 2, used));
		ck_assert(serves_at(desc, avail, end - RING_USED_LEN(16) - 2));
		ck_assert(!serves_at(desc, avail, end - RING_USED_LEN(16) + 2));
	}
}

START_TEST(areas_need_their_alignment)
{
	ROW("SPL-1", "HD-57");
	ck_assert(serves_at(0x20000, 0x21000, 0x22000));
	ck_assert(!serves_at(0x20008, 0x21000, 0x22000));
	ck_assert(!serves_at(0x20000, 0x21001, 0x22000));
	ck_assert(!serves_at(0x20000, 0x21000, 0x22002));
	ck_assert(serves_at(0x20010, 0x21002, 0x22004));
}

START_TEST(areas_may_be_anywhere)
{
	ROW("SPL-4");
	ck_assert(serves_at(0x20000, ARENA_HIGH + 0x1000, ARENA_SPLIT));
	ck_assert(serves_at(ARENA_HIGH, 0x20000, ARENA_HIGH + 0x2000));
	ck_assert(serves_at(ARENA_SPLIT, ARENA_HIGH, 0x20000));
}

/* Every cut of a readable and a writable part of 5 bytes into pieces gives the same answer. */
START_TEST(framing_does_not_matter)
{
	ROW("SPL-5");
	resize(16);
	bench_up(&b, MODERN_ALL);
	uint64_t gpa = arena_alloc(&b.a, 64, 64), table = arena_alloc(&b.a, 256, 16);
	arena_write(&b.a, gpa, "hello", 5);
	for (unsigned int cuts = 0; cuts < 256; cuts++) {
		struct drv_buf bufs[10];
		unsigned int nr = 0;
		uint8_t got[5];
		uint32_t id, len;

		for (unsigned int i = 0; i < 10; i++) {
			/* Bit i: a cut after byte i of a part. */
			bool first = i % 5 == 0 || cuts >> (i / 5 * 4 + i % 5 - 1) & 1;

			if (first)
				bufs[nr++] = (struct drv_buf){ gpa + 16 * (i / 5) + i % 5, 0,
							       i >= 5 };
			bufs[nr - 1].len++;
		}
		arena_fill(&b.a, gpa + 16, 0, 5);
		if (cuts % 3 == 0)
			ring_add(ring(), bufs, nr);
		else
			ring_add_indirect(ring(), bufs, nr, cuts % 3 - 1, table);
		ring_publish(ring());
		kick();
		ck_assert(ring_get(ring(), &id, &len));
		ck_assert_uint_eq(len, 5);
		arena_read(&b.a, gpa + 16, got, 5);
		ck_assert_mem_eq(got, "hello", 5);
	}
	ck_assert_uint_eq(arena_stray(&b.a), ARENA_CLEAN);
}

START_TEST(a_chain_may_fill_the_queue)
{
	ROW("SPL-6", "HD-27");
	static const uint16_t sizes[] = { 2, 16, 256, 1024 };

	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct drv_buf bufs[1024];
		uint32_t id, len;

		resize(sizes[i]);
		bench_up(&b, MODERN_ALL);
		uint64_t gpa = arena_alloc(&b.a, 2048, 1), table = arena_alloc(&b.a, 16 * 1024, 16);
		for (unsigned int n = 0; n < sizes[i]; n++)
			bufs[n] = (struct drv_buf){ gpa + n, 1, n >= sizes[i] / 2 };
		for (int indirect = 0; indirect < 2; indirect++) {
			ring_add_indirect(ring(), bufs, sizes[i], 0, indirect ? table : 0);
			ring_publish(ring());
			kick();
			ck_assert(ring_get(ring(), &id, &len));
			ck_assert_uint_eq(len, sizes[i] / 2);
			ck_assert_uint_eq(b.td.out_len, sizes[i] / 2);
		}
	}
}

/* --- descriptors --- */

START_TEST(writes_only_what_is_writable)
{
	ROW("SPL-8", "SPL-10", "SPL-20");
	uint64_t desc = 0x20000, avail = 0x24000, table = 0x28000;

	ck_assert(serves_at(desc, avail, 0x22000));
	bench_reset(&b);
	ck_assert(drv_negotiate(&b.d, MODERN_ALL));
	ring_make_at(&b.d, 0, 16, desc, avail, 0x22000);
	ring_enable(ring());
	drv_driver_ok(&b.d);
	for (unsigned int i = 0; i < 24; i++) {
		struct drv_buf bufs[2];
		uint32_t id, len;

		b.td.mode = i % 3 == 0 ? TESTDEV_FAIL : TESTDEV_AUTO;
		bench_bufs(&b, bufs, 20);
		ring_add_indirect(ring(), bufs, 2, i % 2, i % 4 < 2 ? table : 0);
		ring_publish(ring());
		/* A write to any of these would be a fault. */
		arena_protect(&b.a, desc, 4096, true);
		arena_protect(&b.a, avail, 4096, true);
		arena_protect(&b.a, table, 4096, true);
		kick();
		arena_protect(&b.a, desc, 4096, false);
		arena_protect(&b.a, avail, 4096, false);
		arena_protect(&b.a, table, 4096, false);
		ck_assert(ring_get(ring(), &id, &len));
		ck_assert_uint_eq(len, i % 3 == 0 ? 0 : 20);
	}
	ck_assert_uint_eq(arena_stray(&b.a), ARENA_CLEAN);
}

START_TEST(does_not_read_what_is_writable)
{
	ROW("SPL-9");
	uint8_t secret[32], got[32];
	struct drv_buf bufs[2];

	bench_up(&b, MODERN);
	bench_bufs(&b, bufs, 32);
	bufs[0].len = 4;
	memset(secret, 0xc7, sizeof(secret));
	arena_write(&b.a, bufs[1].gpa, secret, 32);
	ring_add(ring(), bufs, 2);
	ring_publish(ring());
	kick();
	ck_assert_uint_eq(b.td.out_len, 4);
	arena_read(&b.a, bufs[1].gpa, got, 32);
	for (unsigned int i = 4; i < 32; i++)
		ck_assert_uint_eq(got[i], TESTDEV_FILL);
}

/* --- indirect --- */

START_TEST(indirect_tables_in_all_forms)
{
	ROW("SPL-13", "SPL-14", "SPL-16", "SPL-17", "SPL-18");
	bench_up(&b, MODERN_ALL);
	for (unsigned int i = 0; i < 64; i++) {
		/* At every alignment, and across two regions that touch. */
		uint64_t table = (i & 32 ? ARENA_SPLIT - 40 : 0x30000) + (i & 7);
		struct drv_buf bufs[2], parts[3];
		uint8_t want[16], got[16];
		uint32_t id, len;

		bench_bufs(&b, bufs, 16);
		parts[0] = (struct drv_buf){ bufs[0].gpa, 6, false };
		parts[1] = (struct drv_buf){ bufs[0].gpa + 6, 10, false };
		parts[2] = bufs[1];
		uint16_t head = ring_add_indirect(ring(), parts, 3, i >> 3 & 1 ? 2 : i % 2, table);
		if (i & 16) {
			/* WRITE on the descriptor that refers to the table says nothing. */
			for (uint16_t d = head;; d = ring()->next[d]) {
				uint64_t flags = ring()->desc + 16 * (uint64_t)d + 12;

				if (arena_get16(&b.a, flags) & DESC_INDIRECT)
					arena_put16(&b.a, flags, DESC_INDIRECT | DESC_WRITE);
				if (ring()->next[d] == d)
					break;
			}
		}
		ring_publish(ring());
		kick();
		ck_assert(ring_get(ring(), &id, &len));
		ck_assert_uint_eq(id, head);
		ck_assert_uint_eq(len, 16);
		arena_read(&b.a, bufs[0].gpa, want, 16);
		arena_read(&b.a, bufs[1].gpa, got, 16);
		ck_assert_mem_eq(got, want, 16);
	}
	ck_assert_uint_eq(arena_stray(&b.a), ARENA_CLEAN);
}

START_TEST(indirect_tables_go_by_next)
{
	ROW("SPL-15");
	uint64_t table = 0x30000, data = 0x31000;
	char got[4] = "";

	bench_up(&b, MODERN_ALL);
	arena_write(&b.a, data, "abcd", 4);
	arena_permit(&b.a, data + 64, 3);
	desc_put(&b.a, table, 0, (struct drv_desc){ data + 3, 1, DESC_NEXT, 3 });
	desc_put(&b.a, table, 1, (struct drv_desc){ data + 64, 3, DESC_WRITE, 0xffff });
	/* Not in the chain, and nothing that could be. */
	desc_put(&b.a, table, 2, (struct drv_desc){ UINT64_MAX, 99, 0xffff, 0xffff });
	desc_put(&b.a, table, 3, (struct drv_desc){ data, 2, DESC_NEXT, 1 });
	ring_desc(ring(), 5, table, 64, DESC_INDIRECT, 0);
	ring_push(ring(), 5);
	kick();
	ck_assert_uint_eq(drv_status(&b.d), 0x0f);
	arena_read(&b.a, data + 64, got, 3);
	ck_assert_str_eq(got, "dab");
}

/* --- available ring --- */

START_TEST(indices_run_freely)
{
	ROW("SPL-21", "SPL-29");
	static const uint16_t sizes[] = { 1, 2, 256, 1024 };

	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++) {
		uint32_t done = 0, total = 70000;

		resize(sizes[i]);
		bench_up(&b, MODERN_ALL);
		/* In every wrap position: batches of changing length. */
		for (unsigned int nr = 1; done < total; nr = nr % MIN(sizes[i], 61) + 1) {
			serve(MIN(nr * 8 > sizes[i] ? nr : nr * 8, sizes[i]));
			done += MIN(nr * 8 > sizes[i] ? nr : nr * 8, sizes[i]);
		}
		ck_assert_uint_eq(b.td.taken, done);
		ck_assert_uint_eq(ring_used_idx(ring()), (uint16_t)done);
		ck_assert_uint_eq(ring_avail_event(ring()), (uint16_t)done);
	}
}

START_TEST(what_is_published_without_a_kick)
{
	ROW("SPL-23");
	struct drv_buf buf = { b.echo_gpa, 1, true };
	uint32_t id, len;

	arena_permit(&b.a, b.echo_gpa, 1);
	bench_up(&b, MODERN);
	/* Kicked for one, served are all; a kick of before covers what came until the loop turns. */
	ring_add(ring(), &buf, 1);
	ring_publish(ring());
	drv_notify(&b.d, 0);
	ring_add(ring(), &buf, 1);
	ring_publish(ring());
	bench_settle(&b);
	ck_assert(ring_get(ring(), &id, &len) && ring_get(ring(), &id, &len));
}

/* --- used ring --- */

START_TEST(used_entries_name_their_heads)
{
	ROW("SPL-25", "SPL-29", "SPL-30");
	static const uint16_t heads[] = { 0, 15, 7, 1, 14 };

	bench_up(&b, MODERN);
	arena_fill(&b.a, ring()->used + 4, 0xff, 8 * 16);
	for (unsigned int i = 0; i < ARRAY_SIZE(heads); i++) {
		uint32_t id, len;

		ring_desc(ring(), heads[i], b.echo_gpa, 3, DESC_WRITE, 0);
		ring_push(ring(), heads[i]);
		kick();
		ring_used_elem(ring(), (uint16_t)i, &id, &len);
		ck_assert_uint_eq(id, heads[i]);
		ck_assert_uint_eq(len, 3);
		ck_assert_uint_eq(ring_used_idx(ring()), i + 1);
	}
}

START_TEST(used_length_is_what_was_written)
{
	ROW("GEN-46", "SPL-27", "SPL-28", "LEG-30");
	static const uint32_t lens[] = { 0, 1, 4095, 4096, 4097, TESTDEV_MAX, TESTDEV_MAX + 1 };

	bench_up(&b, MODERN);
	for (unsigned int i = 0; i < ARRAY_SIZE(lens); i++) {
		uint64_t gpa = ARENA_HIGH + 0x10000;
		uint32_t want = MIN(lens[i], TESTDEV_MAX), id, len;
		uint8_t last[2] = { 0 };

		arena_fill(&b.a, gpa, 0xdd, TESTDEV_MAX + 16);
		struct drv_buf buf = { gpa, lens[i], true };
		ring_add(ring(), &buf, 1);
		ring_publish(ring());
		kick();
		ck_assert(ring_get(ring(), &id, &len));
		ck_assert_uint_eq(len, want);
		if (want)
			arena_read(&b.a, gpa + want - 1, last, 2);
		ck_assert_uint_eq(last[0], want ? TESTDEV_FILL : 0);
		ck_assert_uint_eq(last[1], want ? 0xdd : 0);
	}
	b.td.mode = TESTDEV_FAIL;
	struct drv_buf buf = { b.echo_gpa, 8, true };
	uint32_t id, len;
	ring_add(ring(), &buf, 1);
	ring_publish(ring());
	kick();
	ck_assert(ring_get(ring(), &id, &len));
	ck_assert_uint_eq(len, 0);
}

START_TEST(answers_come_in_any_order)
{
	ROW("SPL-31", "SPL-29");
	static const unsigned int order[] = { 2, 0, 1, 1, 0 };
	static const uint16_t want[] = { 2, 0, 3, 4, 1 };
	struct drv_buf buf = { b.echo_gpa, 1, true };

	bench_up(&b, MODERN);
	b.td.mode = TESTDEV_HOLD;
	for (unsigned int i = 0; i < 5; i++)
		ck_assert_uint_eq(ring_add(ring(), &buf, 1), i);
	ring_publish(ring());
	kick();
	ck_assert_uint_eq(testdev_held(&b.td, 0), 5);
	for (unsigned int i = 0; i < 5; i++) {
		uint32_t id, len;

		testdev_finish(&b.td, 0, order[i], i % 2);
		bench_settle(&b);
		ck_assert(ring_get(ring(), &id, &len));
		ck_assert_uint_eq(id, want[i]);
		ck_assert_uint_eq(len, i % 2);
	}
}

START_TEST(a_batch_is_one_decision)
{
	struct drv_buf buf = { b.echo_gpa, 1, true };

	bench_up(&b, MODERN);
	b.td.mode = TESTDEV_HOLD;
	for (unsigned int i = 0; i < 5; i++)
		ring_add(ring(), &buf, 1);
	ring_publish(ring());
	kick();
	ck_assert_uint_eq(irqs(), 0);
	testdev_finish_all(&b.td);
	bench_settle(&b);
	ck_assert_uint_eq(ring_used_idx(ring()), 5);
	ck_assert_uint_eq(irqs(), 1);
}

/* --- used-buffer notifications --- */

START_TEST(flags_suppress_interrupts)
{
	ROW("SPL-33", "SPL-34", "SPL-35");
	bench_up(&b, MODERN);
	ring_set_used_event(ring(), 0x7fff);
	serve(1);
	ck_assert_uint_eq(irqs(), 1);
	serve(1);
	ck_assert_uint_eq(irqs(), 2);
	ring_set_avail_flags(ring(), 1);
	serve(1);
	ck_assert_uint_eq(irqs(), 2);
	ring_set_avail_flags(ring(), 0xfffe);
	serve(1);
	ck_assert_uint_eq(irqs(), 3);
}

START_TEST(used_event_asks_for_one)
{
	ROW("SPL-36", "SPL-37", "SPL-38");
	bench_up(&b, MODERN_ALL);
	/* The flag says nothing. */
	ring_set_avail_flags(ring(), 1);
	ring_set_used_event(ring(), ring_used_idx(ring()));
	serve(1);
	ck_assert_uint_eq(irqs(), 1);
	/* Ten more are silent, the eleventh is told. */
	ring_set_avail_flags(ring(), 0);
	ring_set_used_event(ring(), (uint16_t)(ring_used_idx(ring()) + 10));
	for (unsigned int i = 0; i < 10; i++)
		serve(1);
	ck_assert_uint_eq(irqs(), 1);
	serve(1);
	ck_assert_uint_eq(irqs(), 2);
	/* Passed within a batch: at its first, in it, at its last, and not behind it. */
	for (uint16_t k = 0; k < 8; k++) {
		uint32_t before = irqs();

		ring_set_used_event(ring(), (uint16_t)(ring_used_idx(ring()) + k));
		serve(7);
		ck_assert_uint_eq(irqs() - before, k < 7);
	}
}

START_TEST(used_event_wraps)
{
	ROW("SPL-37", "SPL-40");
	bench_up(&b, MODERN_ALL);
	ring_set_used_event(ring(), 0x8000);
	while (ring_used_idx(ring()) != 0xfff0)
		serve(16);
	uint32_t before = irqs();
	ring_set_used_event(ring(), 0xfffd);
	serve(8); /* to 0xfff8 */
	ck_assert_uint_eq(irqs(), before);
	serve(16); /* to 8: passes */
	ck_assert_uint_eq(irqs(), before + 1);
	ring_set_used_event(ring(), 7); /* already passed: asks for the next round */
	serve(8);
	ck_assert_uint_eq(irqs(), before + 1);
}

/* Exhaustively, what the word asks for against a walk of every entry. */
START_TEST(used_event_by_the_book)
{
	ROW("SPL-40");
	bench_up(&b, MODERN_ALL);
	for (uint16_t event = 0; event < 40; event++) {
		uint16_t old = ring_used_idx(ring()), nr = 1 + event % 5;
		uint32_t before = irqs();
		bool want = false;

		ring_set_used_event(ring(), (uint16_t)(old - 20 + event));
		for (uint16_t i = old; i != (uint16_t)(old + nr); i++)
			want |= i == (uint16_t)(old - 20 + event);
		serve(nr);
		ck_assert_uint_eq(irqs() - before, want);
	}
}

/* --- available-buffer notifications --- */

START_TEST(idle_queues_want_kicks)
{
	ROW("SPL-41", "SPL-42", "SPL-43", "SPL-44", "SPL-24");
	bench_up(&b, MODERN);
	for (unsigned int i = 0; i < 50; i++) {
		serve(1 + i % 16);
		ck_assert_uint_eq(ring_used_flags(ring()), 0);
	}
	bench_up(&b, MODERN_ALL);
	ck_assert_uint_eq(ring_avail_event(ring()), 0);
	uint16_t n = 0;
	for (unsigned int i = 0; i < 50; i++) {
		serve(1 + i % 16);
		n += 1 + i % 16;
		ck_assert_uint_eq(ring_used_flags(ring()), 0);
		ck_assert_uint_eq(ring_avail_event(ring()), n);
	}
}

START_TEST(kicks_can_be_suppressed)
{
	ROW("SPL-41", "SPL-43", "SPL-24");
	struct drv_buf buf = { b.echo_gpa, 1, true };

	for (int event_idx = 0; event_idx < 2; event_idx++) {
		struct virtqueue *vq = &b.td.vd.vqs[0];

		bench_up(&b, event_idx ? MODERN_ALL : MODERN);
		/* This thread owns the loop while nobody serves it. */
		vq_kicks_off(vq);
		vq_kicks_off(vq);
		ck_assert_uint_eq(ring_used_flags(ring()), !event_idx);
		ring_add(ring(), &buf, 1);
		ring_publish(ring());
		/* The first is the one that avail_event stands for. */
		if (!event_idx)
			ck_assert(!ring_kick(ring()));
		ck_assert(vq_kicks_on(vq));
		ck_assert_uint_eq(ring_used_flags(ring()), 0);
		ring_kick(ring());
		virtio_queue_serve(vq);
		ck_assert_uint_eq(ring_used_idx(ring()), 1);
		ck_assert(!vq_kicks_on(vq));
		ring_forget(ring());
		bench_settle(&b);
		bench_echo(&b, 0);
	}
}

START_TEST(spurious_kicks)
{
	ROW("SPL-45", "HD-125");
	bench_up(&b, MODERN);
	for (unsigned int i = 0; i < bench_rounds(1000000); i++) {
		drv_notify(&b.d, 0);
		if (i % 16 == 0)
			bench_turn(&b);
	}
	bench_settle(&b);
	ck_assert_uint_eq(irqs(), 0);
	ck_assert_uint_eq(b.td.taken, 0);
	bench_echo(&b, 0);
}

/* A device that takes one chain a kick, and asks for the rest itself. */
START_TEST(a_type_may_take_less)
{
	struct drv_buf buf = { b.echo_gpa, 1, true };

	bench_up(&b, MODERN);
	b.td.lazy = true;
	for (unsigned int i = 0; i < 3; i++)
		ring_add(ring(), &buf, 1);
	ring_publish(ring());
	kick();
	ck_assert_uint_eq(b.td.taken, 1);
	kick();
	ck_assert_uint_eq(b.td.taken, 2);
	virtio_queue_serve(&b.td.vd.vqs[0]);
	ck_assert_uint_eq(b.td.taken, 3);
	ck_assert_uint_eq(irqs(), 3);
}

static uint16_t used_at_fault;

static void break_it(struct testdev *td)
{
	used_at_fault = ring_used_idx(ring());
	virtio_fault(&td->vd, "a test");
}

/* Between taking a chain and giving it back: nothing more is taken, written or told. */
START_TEST(a_fault_in_the_middle)
{
	struct drv_buf buf = { b.echo_gpa, 1, true };

	ROW("GEN-10", "HD-45");
	for (int event_idx = 0; event_idx < 2; event_idx++) {
		uint8_t before[RING_USED_LEN(16)], after[RING_USED_LEN(16)];

		bench_up(&b, event_idx ? MODERN_ALL : MODERN);
		serve(3);
		uint32_t irq = irqs(), taken = b.td.taken;
		b.td.on_take = break_it;
		ring_add(ring(), &buf, 1);
		ring_add(ring(), &buf, 1);
		ring_publish(ring());
		arena_read(&b.a, ring()->used, before, sizeof(before));
		kick();
		uint32_t kicks = b.td.kicks;
		virtio_queue_serve(&b.td.vd.vqs[0]);
		ck_assert_uint_eq(b.td.kicks, kicks);
		vq_kicks_off(&b.td.vd.vqs[0]);
		ck_assert(!vq_kicks_on(&b.td.vd.vqs[0]));
		arena_read(&b.a, ring()->used, after, sizeof(after));
		ck_assert_mem_eq(before, after, sizeof(before));
		ck_assert_uint_eq(used_at_fault, 3);
		ck_assert_uint_eq(irqs(), irq);
		ck_assert_uint_eq(b.td.taken, taken + 1);
		b.td.on_take = NULL;
	}
}

/* What was pushed before the fault and not published is not published after it. */
START_TEST(a_fault_before_the_flush)
{
	struct drv_buf buf = { b.echo_gpa, 1, true };
	struct virtqueue *vq = &b.td.vd.vqs[0];
	struct iovec iov[4];
	struct vq_chain c = { .iov = iov, .iov_max = 4 };

	bench_up(&b, MODERN);
	ring_add(ring(), &buf, 1);
	ring_publish(ring());
	vq->budget = 1;
	ck_assert_int_eq(vq_pop(vq, &c), 1);
	vq_push(vq, &c, 1);
	virtio_fault(&b.td.vd, "a test");
	vq_flush(vq);
	ck_assert_uint_eq(ring_used_idx(ring()), 0);
	ck_assert_uint_eq(irqs(), 0);
}

/* An answer to a chain of before the queue was stopped is counted, and no more. */
START_TEST(answers_from_before_a_stop)
{
	struct drv_buf buf = { b.echo_gpa, 1, true };
	struct virtqueue *vq = &b.td.vd.vqs[0];

	bench_up(&b, MODERN);
	b.td.mode = TESTDEV_HOLD;
	ring_add(ring(), &buf, 1);
	ring_publish(ring());
	kick();
	vq_stop(vq);
	ck_assert_int_eq(vq_start(vq), 0);
	testdev_finish_all(&b.td);
	bench_settle(&b);
	ck_assert_uint_eq(ring_used_idx(ring()), 0);
	ck_assert_uint_eq(vq->in_flight, 0);
	b.td.mode = TESTDEV_AUTO;
}

START_TEST(calls_on_a_queue_that_does_not_run)
{
	struct iovec iov[4];
	struct vq_chain c = { .iov = iov, .iov_max = 4 };
	struct virtqueue *vq = &b.td.vd.vqs[0];

	ck_assert_int_eq(vq_pop(vq, &c), 0);
	vq_flush(vq);
	vq_kicks_off(vq);
	ck_assert(!vq_kicks_on(vq));
	virtio_queue_serve(vq);
	ck_assert_uint_eq(b.td.kicks, 0);
}

START_TEST(all_that_fits_is_out)
{
	ROW("HD-222");
	struct drv_buf buf = { b.echo_gpa, 1, true };
	static struct drv_buf longest[1024];
	uint32_t id, len;

	bench_release(&b);
	bench_init(&b, &(struct bench_opts){ .queues = TESTDEV_QUEUES, .size = 1024 });
	bench_up(&b, MODERN_ALL);
	/* Every entry of every queue is a request; then each queue is one chain. */
	b.td.mode = TESTDEV_HOLD;
	buf.gpa = b.echo_gpa;
	for (unsigned int i = 0; i < 1024; i++)
		longest[i] = buf;
	for (unsigned int pass = 0; pass < 2; pass++) {
		unsigned int chains = pass ? 1 : 1024;

		for (uint16_t q = 0; q < TESTDEV_QUEUES; q++) {
			for (unsigned int i = 0; i < chains; i++)
				ring_add(&b.d.rings[q], longest, 1024 / chains);
			ring_publish(&b.d.rings[q]);
			drv_notify(&b.d, q);
		}
		bench_settle(&b);
		ck_assert_uint_eq(b.td.vd.in_flight, TESTDEV_QUEUES * chains);
		testdev_finish_all(&b.td);
		bench_settle(&b);
		for (uint16_t q = 0; q < TESTDEV_QUEUES; q++)
			for (unsigned int i = 0; i < chains; i++)
				ck_assert(ring_get(&b.d.rings[q], &id, &len));
	}
	ck_assert_uint_eq(drv_status(&b.d), 0x0f);
}

/* From any byte of a part to any other, over pieces that are not neighbours, and no further. */
START_TEST(copies_begin_and_end_anywhere)
{
	enum { LEN = 12 };
	uint8_t mem[32], flat[LEN], buf[LEN + 4];
	/* Readable, then writable: the same three pieces. */
	struct iovec iov[] = { { mem + 20, 3 }, { mem + 16, 1 }, { mem + 4, 8 },
			       { mem + 20, 3 }, { mem + 16, 1 }, { mem + 4, 8 } };
	struct vq_chain c = { .iov = iov, .out_nr = 3, .in_nr = 3, .out_len = LEN, .in_len = LEN };

	for (uint64_t off = 0; off <= LEN + 1; off++) {
		for (uint64_t len = 0; len <= LEN + 1; len++) {
			uint64_t want = off < LEN ? MIN(len, LEN - off) : 0;

			for (unsigned int i = 0; i < sizeof(mem); i++)
				mem[i] = (uint8_t)(100 + i);
			memcpy(flat, mem + 20, 3);
			memcpy(flat + 3, mem + 16, 1);
			memcpy(flat + 4, mem + 4, 8);
			memset(buf, 1, sizeof(buf));
			ck_assert_uint_eq(vq_copy_out(&c, off, buf, len), want);
			ck_assert(want == 0 || !memcmp(buf, flat + off, want));
			ck_assert_uint_eq(buf[want], 1);
			ck_assert_uint_eq(vq_copy_in(&c, off, buf + LEN, 0), 0);
			memset(buf, 7, sizeof(buf));
			ck_assert_uint_eq(vq_copy_in(&c, off, buf, len), want);
			for (unsigned int i = 0; i < sizeof(mem); i++) {
				uint64_t at = i >= 20 && i < 23  ? i - 20
					      : i == 16          ? 3
					      : i >= 4 && i < 12 ? i
								 : UINT64_MAX;
				bool in = at >= off && at - off < want;

				ck_assert_uint_eq(mem[i], in ? 7 : 100 + i);
			}
		}
	}
}

static void add_alone(TCase *tc)
{
	tcase_add_test(tc, copies_begin_and_end_anywhere);
}

static void add(TCase *tc)
{
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, areas_end_where_memory_does);
	tcase_add_test(tc, areas_need_their_alignment);
	tcase_add_test(tc, areas_may_be_anywhere);
	tcase_add_test(tc, framing_does_not_matter);
	tcase_add_test(tc, a_chain_may_fill_the_queue);
	tcase_add_test(tc, writes_only_what_is_writable);
	tcase_add_test(tc, does_not_read_what_is_writable);
	tcase_add_test(tc, indirect_tables_in_all_forms);
	tcase_add_test(tc, indirect_tables_go_by_next);
	tcase_add_test(tc, indices_run_freely);
	tcase_add_test(tc, what_is_published_without_a_kick);
	tcase_add_test(tc, used_entries_name_their_heads);
	tcase_add_test(tc, used_length_is_what_was_written);
	tcase_add_test(tc, answers_come_in_any_order);
	tcase_add_test(tc, a_batch_is_one_decision);
	tcase_add_test(tc, flags_suppress_interrupts);
	tcase_add_test(tc, used_event_asks_for_one);
	tcase_add_test(tc, used_event_wraps);
	tcase_add_test(tc, used_event_by_the_book);
	tcase_add_test(tc, idle_queues_want_kicks);
	tcase_add_test(tc, kicks_can_be_suppressed);
	tcase_add_test(tc, spurious_kicks);
	tcase_add_test(tc, a_type_may_take_less);
	tcase_add_test(tc, a_fault_in_the_middle);
	tcase_add_test(tc, a_fault_before_the_flush);
	tcase_add_test(tc, answers_from_before_a_stop);
	tcase_add_test(tc, calls_on_a_queue_that_does_not_run);
	tcase_add_test(tc, all_that_fits_is_out);
}

TRANSPORTS_SUITE("virtio-queue", add, add_alone, on_core, on_pci, on_pci_armed)
