// SPDX-License-Identifier: GPL-2.0
// LINK: virtio/device.c virtio/registers.c virtio/legacy.c virtio/queue.c virtio/mini.c gmem.c util/loop.c util/log.c util/err.c tests/mock/clock.c tests/mock/arena.c tests/mock/ring.c tests/mock/driver.c tests/mock/core.c tests/mock/testdev.c tests/mock/bench.c tests/mock/hostile.c virtio/transport-pci.c virtio/transport-modern.c virtio/transport-legacy.c virtio/transport-doorbell.c virtio/transport-fds.c pci.c pci-bar.c pci-irq.c pci-ecam.c bus.c ioeventfd.c tests/mock/fake-kvm.c irq-route.c tests/mock/pci.c tests/mock/pci-driver.c
/*
 * A driver that breaks the rules of split rings. Each act is on queue 0 of a testdev that was up, with
 * every core feature unless it says otherwise; hostile_check() then asserts its outcome and G1 to G9.
 */
#include "unit.h"

#include <string.h>

#include "hostile-acts.h"

/* --- A: chains --- */

static void loops_at_once(void)
{
	push_chain_to(1, 0);
}

static void loops_of_two(void)
{
	bad(3, data, 4, NEXT, 7);
	bad(7, data, 4, NEXT, 3);
	push_head(3);
}

static void loops_through_all(void)
{
	/* N descriptors are a chain; N and one more are a loop. */
	chain_to(N, 0);
	bad(N - 1, data, 4, 0, 0);
	push_and_kick(0);
	ck_assert_uint_eq(b.td.taken, 1);
	chain_to(N, 0);
	push_and_kick(0);
	ck_assert_uint_eq(b.td.taken, 1);
}

static void next_is_n(void)
{
	push_chain_to(2, N);
}

static void next_is_n_plus_1(void)
{
	push_chain_to(2, N + 1);
}

static void next_is_ffff(void)
{
	push_chain_to(2, 0xffff);
}

static void head_is_n(void)
{
	push_head(N);
}

static void head_is_7fff(void)
{
	push_head(0x7fff);
}

static void head_is_ffff(void)
{
	push_head(0xffff);
}

static void all_heads_are_bad(void)
{
	for (uint16_t i = 0; i < N; i++)
		ring_set_slot(r, i, 0xff00 + i);
	ring_set_idx(r, N);
	kick();
	ck_assert_uint_eq(ring_used_idx(r), 0);
}

static void same_head_twice(void)
{
	b.td.mode = TESTDEV_HOLD;
	ring_desc(r, 2, data, 4, WRITE, 0);
	push_and_kick(2);
	push_and_kick(2);
	ck_assert_uint_eq(testdev_held(&b.td, 0), 2);
	testdev_finish(&b.td, 0, 1, true);
	testdev_finish(&b.td, 0, 0, true);
	bench_settle(&b);
	ck_assert_uint_eq(ring_used_idx(r), 2);
	b.td.mode = TESTDEV_AUTO;
}

static void shared_tail(void)
{
	bad(0, data, 4, NEXT, 2);
	bad(1, data + 16, 8, NEXT, 2);
	ring_desc(r, 2, data + 32, 4, WRITE, 0);
	b.td.mode = TESTDEV_HOLD;
	push_and_kick(0);
	push_and_kick(1);
	testdev_finish_all(&b.td);
	bench_settle(&b);
	ck_assert_uint_eq(ring_used_idx(r), 2);
	b.td.mode = TESTDEV_AUTO;
}

static void empty_in_the_middle(void)
{
	bad(0, data, 4, NEXT, 1);
	bad(1, UINT64_MAX, 0, NEXT, 2);
	bad(2, data + 8, 4, NEXT, 3);
	bad(3, data + 16, 0, NEXT | WRITE, 4);
	ring_desc(r, 4, data + 32, 8, WRITE, 0);
	push_and_kick(0);
	ck_assert_uint_eq(b.td.out_len, 8);
	ck_assert_uint_eq(b.td.in_len, 8);
}

static void all_empty(void)
{
	for (uint16_t i = 0; i < N; i++)
		bad(i, data, 0, i < N - 1 ? NEXT : 0, i + 1);
	push_and_kick(0);
}

static void empty_head(void)
{
	bad(0, 0, 0, NEXT, 1);
	bad(1, data, 4, NEXT, 2);
	ring_desc(r, 2, data + 16, 4, WRITE, 0);
	push_and_kick(0);
	ck_assert_uint_eq(b.td.out_len, 4);
	ck_assert_uint_eq(b.td.in_len, 4);
}

static void nearly_4_gib(void)
{
	push_buffer(ARENA_HIGH, UINT32_MAX, 0);
	push_buffer(ARENA_HIGH, UINT32_MAX, WRITE);
	push_buffer(0, UINT32_MAX, WRITE);
}

/* 1024 pieces of 4 MiB are 2^32 bytes; a byte less is a chain. */
static void sum_of_4_gib(void)
{
	bench_release(&b);
	begin(1024, MODERN_ALL);
	for (uint16_t i = 0; i < 1024; i++)
		bad(i, ARENA_HIGH, (uint32_t)ARENA_HIGH_LEN,
		    (i < 1023 ? NEXT : 0) | (i > 511 ? WRITE : 0), i + 1);
	push_and_kick(0);
	ck_assert_uint_eq(b.td.taken, 0);
	bad(1023, ARENA_HIGH, (uint32_t)ARENA_HIGH_LEN - 1, WRITE, 0);
	b.td.mode = TESTDEV_FAIL;
	push_and_kick(0);
	ck_assert_uint_eq(b.td.taken, 1);
	ck_assert_uint_eq(b.td.out_len + b.td.in_len, UINT32_MAX);
	b.td.mode = TESTDEV_AUTO;
}

static void address_wraps(void)
{
	push_buffer(UINT64_MAX - 15, 32, 0);
	push_buffer(UINT64_MAX - 15, 32, WRITE);
	push_buffer(UINT64_MAX, 1, WRITE);
	push_buffer(UINT64_MAX - 15, 16, WRITE);
}

static void address_0_is_memory(void)
{
	good_buffer(0, 16);
}

static void address_0_is_not_memory(void)
{
	struct gmem_region *first = &b.a.gm.regions[0], was = *first;

	*first = (struct gmem_region){ .gpa = 0x1000,
				       .size = was.size - 0x1000,
				       .host = was.host + 0x1000 };
	push_buffer(0, 16, WRITE);
	push_buffer(0xff8, 16, WRITE);
	push_buffer(0, 16, 0);
	*first = was;
}

static void readable_after_writable(void)
{
	bad(0, data, 4, NEXT | WRITE, 1);
	bad(1, data + 16, 4, 0, 0);
	push_head(0);
}

static void reserved_flags(void)
{
	bad(0, data, 4, 0xfff8 | NEXT, 1);
	ring_desc(r, 1, data + 16, 8, 0xfff8 | WRITE, 0);
	push_and_kick(0);
	ck_assert_uint_eq(b.td.out_len, 4);
	ck_assert_uint_eq(b.td.in_len, 8);
}

static void next_without_its_flag(void)
{
	ring_desc(r, 0, data, 4, WRITE, 0xdead);
	push_and_kick(0);
	ck_assert_uint_eq(b.td.in_len, 4);
}

static void buffers_overlap(void)
{
	uint8_t got[12], want[12] = "abcdefgh";

	arena_write(&b.a, data, "abcdefgh", 8);
	bad(0, data, 8, NEXT, 1);
	ring_desc(r, 1, data + 4, 8, WRITE, 0);
	push_and_kick(0);
	arena_read(&b.a, data, got, 12);
	memcpy(want + 4, "abcdefgh", 8);
	ck_assert_mem_eq(got, want, 12);
}

static void buffer_is_the_descriptors(void)
{
	good_buffer(r->desc, RING_DESC_LEN(N));
	push_and_kick(1);
}

static void buffer_is_the_available_ring(void)
{
	good_buffer(r->avail, RING_AVAIL_LEN(N));
	kick();
}

static void buffer_is_the_used_ring(void)
{
	good_buffer(r->used, RING_USED_LEN(N));
	ck_assert_uint_eq(ring_used_idx(r), 1);
	push_and_kick(0);
}

static void buffer_is_another_ring(void)
{
	good_buffer(b.d.rings[1].desc, RING_DESC_LEN(N));
	good_buffer(b.d.rings[1].used, RING_USED_LEN(N));
	drv_notify(&b.d, 1);
}

static void rewritten_in_flight(void)
{
	b.td.mode = TESTDEV_HOLD;
	ring_desc(r, 0, data, 8, WRITE, 0);
	push_and_kick(0);
	bad(0, data + 512, 4096, WRITE | NEXT, 0);
	testdev_finish(&b.td, 0, 0, true);
	bench_settle(&b);
	uint32_t id, len;
	ring_used_elem(r, 0, &id, &len);
	ck_assert_uint_eq(len, 8);
	b.td.mode = TESTDEV_AUTO;
}

/* N pieces, each over the border of two regions or beside it: more iovecs than descriptors. */
static void n_pieces_over_a_border(void)
{
	for (uint16_t i = 0; i < N; i++)
		ring_desc(r, i, ARENA_SPLIT - 8, 16, WRITE | (i < N - 1 ? NEXT : 0), i + 1);
	push_and_kick(0);
	ck_assert_uint_eq(ring_used_idx(r), 1);
	ck_assert_uint_eq(b.td.taken, 0);
	/* As many as the iovecs are for. */
	for (uint16_t i = 8; i < N; i++)
		ring_desc(r, i, ARENA_SPLIT - 8, 8, WRITE | (i < N - 1 ? NEXT : 0), i + 1);
	push_and_kick(0);
	ck_assert_uint_eq(b.td.taken, 1);
	ck_assert_uint_eq(b.td.in_len, 8 * 16 + 8 * 8);
}

static void buffers_at_every_border(void)
{
	static const struct {
		uint64_t gpa;
		uint32_t len;
		bool ram;
	} at[] = {
		{ ARENA_LOW_END - 16, 16, true },   { ARENA_LOW_END - 16, 17, false },
		{ ARENA_LOW_END - 1, 2, false },    { ARENA_LOW_END, 1, false },
		{ ARENA_HIGH - 1, 2, false },       { ARENA_HIGH_END - 16, 16, true },
		{ ARENA_HIGH_END - 16, 17, false }, { ARENA_SPLIT - 8, 16, true },
		{ 0xfee00000, 4, false },           { UINT64_C(1) << 46, 16, false },
		{ UINT64_C(1) << 63, 16, false },   { (UINT64_C(1) << 52) | 0x20000, 16, false },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(at); i++) {
		uint32_t taken = b.td.taken;

		if (at[i].ram) {
			good_buffer(at[i].gpa, at[i].len);
			continue;
		}
		bad(0, at[i].gpa, at[i].len, WRITE, 0);
		push_and_kick(0);
		ck_assert_uint_eq(b.td.taken, taken);
	}
	/* From the last page under the hole to the first above it. */
	bad(0, ARENA_LOW_END - 4096, (uint32_t)(ARENA_HIGH - ARENA_LOW_END) + 8192, WRITE, 0);
	push_and_kick(0);
	ck_assert_uint_eq(ring_used_idx(r), r->avail_idx);
}

/* A buffer there is no memory: nothing is read, written or rung, least of all by the device itself. */
static void no_buffer(uint64_t gpa, uint32_t len)
{
	uint32_t taken = b.td.taken;

	bad(0, gpa, len, 0, 0);
	push_and_kick(0);
	bad(0, gpa, len, WRITE, 0);
	push_and_kick(0);
	ck_assert_uint_eq(b.td.taken, taken);
	ck_assert_uint_eq(ring_used_idx(r), r->avail_idx);
}

static void buffers_in_bars(struct drv *d)
{
	struct mock_fn *fn = mock_fn_of(d);

	for (unsigned int i = 0; fn && i < PCI_BARS_NR; i++) {
		if (!fn->bars[i] || fn->io[i])
			continue;
		for (unsigned int page = 0; page < 4; page++)
			no_buffer(fn->bars[i] + 0x1000 * page, 64);
	}
}

static void buffers_in_its_own_bars(void)
{
	uint32_t resets = b.td.resets, kicks = b.td.kicks;

	buffers_in_bars(&b.d);
	ck_assert_uint_eq(b.td.resets, resets);
	ck_assert_uint_eq(b.td.kicks - kicks, ring_used_idx(r));
}

static void buffers_in_the_neighbours_bars(void)
{
	buffers_in_bars(&b.cd);
}

/* All that writes configuration space, or interrupts, when a CPU does it. */
static void buffers_in_the_chipset(void)
{
	for (uint32_t slot = 0; slot < 4; slot++)
		no_buffer(MOCK_ECAM + 0x8000 * slot, 256);
	no_buffer(0xfec00000, 32);
	no_buffer(0xfee00000, 4096);
}

/* --- B: indirect tables --- */

static void indirect_without_the_feature(void)
{
	bench_up(&b, MODERN);
	entry(0, data, 4, 0, 0);
	push_table(table, 16);
}

static void indirect_in_indirect(void)
{
	entry(0, table + 64, 16, INDIRECT, 0);
	desc_put(&b.a, table + 64, 0, (struct drv_desc){ data, 4, 0, 0 });
	push_table(table, 16);
}

static void indirect_with_next(void)
{
	entry(0, data, 4, 0, 0);
	bad(0, table, 16, INDIRECT | NEXT, 1);
	bad(1, data, 4, 0, 0);
	push_head(0);
}

static void two_indirect(void)
{
	entry(0, data, 4, 0, 0);
	bad(0, table, 16, INDIRECT | NEXT, 1);
	bad(1, table, 16, INDIRECT, 0);
	push_head(0);
}

static void table_of_0(void)
{
	push_table(table, 0);
}

static void table_of_1(void)
{
	push_table(table, 1);
}

static void table_of_15(void)
{
	push_table(table, 15);
}

static void table_of_17(void)
{
	push_table(table, 17);
}

static void table_of_2_28(void)
{
	push_table(ARENA_HIGH, 0xfffffff0);
}

static void table_of_2_28_elsewhere(void)
{
	push_table(ARENA_LOW_END, 0xfffffff0);
}

/* One entry less is only long. */
static void table_of_2_16(void)
{
	desc_put(&b.a, ARENA_HIGH, 0, (struct drv_desc){ data, 4, NEXT, 65534 });
	desc_put(&b.a, ARENA_HIGH, 65534, (struct drv_desc){ data, 4, 0, 0 });
	push_table(ARENA_HIGH, 65535 * 16);
	ck_assert_uint_eq(b.td.taken, 1);
	push_table(ARENA_HIGH, 65536 * 16);
	ck_assert_uint_eq(b.td.taken, 1);
}

/* The queue's size counts, not the table's: N are a chain, N + 1 are returned, whatever follows them. */
static void chain_longer_than_the_queue(void)
{
	for (uint16_t i = 0; i < 2 * N; i++)
		entry(i, data, 1, i == N - 1 ? 0 : NEXT, i + 1);
	push_table(table, 32 * N);
	ck_assert_uint_eq(b.td.taken, 1);
	entry(N - 1, data, 1, NEXT, N);
	for (unsigned int i = 0; i < 2; i++) {
		entry(N, data, 1, i ? NEXT : 0, 0xffff);
		push_table(table, 32 * N);
		ck_assert_uint_eq(b.td.taken, 1);
	}
	b.td.taken = 0;
}

static void direct_and_indirect_too_long(void)
{
	for (uint16_t i = 0; i < N; i++)
		entry(i, data, 1, i == N - 1 ? 0 : NEXT, i + 1);
	bad(0, data, 4, NEXT, 1);
	bad(1, table, 16 * N, INDIRECT, 0);
	push_and_kick(0);
	ck_assert_uint_eq(b.td.taken, 0);
}

static void loop_in_a_table(void)
{
	entry(0, data, 4, NEXT, 1);
	entry(1, data, 4, NEXT, 0);
	push_table(table, 32);
}

/* A loop in a table that is longer than the queue is a chain that is too long. */
static void loop_in_a_long_table(void)
{
	entry(0, data, 4, NEXT, 0);
	push_table(table, 16 * (N + 1));
	ck_assert_uint_eq(b.td.taken, 0);
}

static void table_next_is_its_length(void)
{
	entry(0, data, 4, NEXT, 2);
	/* What would be there. */
	entry(2, data, 4, 0, 0);
	push_table(table, 32);
}

static void table_next_is_ffff(void)
{
	entry(0, data, 4, NEXT, 0xffff);
	push_table(table, 32);
}

static void table_in_a_hole(void)
{
	push_table(ARENA_LOW_END, 32);
}

static void table_over_the_end(void)
{
	push_table(ARENA_HIGH_END - 16, 32);
}

static void table_over_the_hole(void)
{
	push_table(ARENA_LOW_END - 16, 32);
}

static void table_wraps(void)
{
	push_table(UINT64_MAX - 15, 32);
}

static void table_ends_at_2_64(void)
{
	push_table(UINT64_MAX - 31, 32);
}

static void table_is_the_queues_own(void)
{
	/* From its second descriptor on: a chain like any other. */
	ring_desc(r, 1, data, 4, WRITE, 0);
	push_table(r->desc + 16, 16);
	ck_assert_uint_eq(b.td.in_len, 4);
}

static void table_holds_itself(void)
{
	push_table(r->desc, RING_DESC_LEN(N));
}

/* --- C: ring areas and indices --- */

static void idx_jumps_by_n_plus_1(void)
{
	ring_set_idx(r, N + 1);
	kick();
}

static void idx_jumps_by_8000(void)
{
	ring_set_idx(r, 0x8000);
	kick();
}

static void idx_jumps_by_ffff(void)
{
	ring_set_idx(r, 0xffff);
	kick();
}

static void idx_goes_back(void)
{
	for (unsigned int i = 0; i < 3; i++)
		bench_echo(&b, 0);
	ring_set_idx(r, 2);
	kick();
	ck_assert_uint_eq(b.td.taken, 3);
	ck_assert_uint_eq(ring_used_idx(r), 3);
}

static void kicked_on_and_on(void)
{
	push_head(0xffff);
	uint32_t kicks = b.td.kicks;
	for (unsigned int i = 0; i < bench_rounds(1000000); i++) {
		drv_notify(&b.d, i % b.o.queues);
		virtio_fault(&b.td.vd, "a test");
		if (i % 16 == 0)
			bench_turn(&b);
	}
	bench_settle(&b);
	ck_assert_uint_eq(b.td.kicks, kicks);
	ck_assert_uint_eq(bench_log_lines(&b), 1);
}

static void used_ring_is_overwritten(void)
{
	for (uint16_t i = 0; i < 4; i++) {
		arena_fill(&b.a, r->used, 0x11 * (i + 1), RING_USED_LEN(N));
		ring_desc(r, i, data, 4, WRITE, 0);
		push_and_kick(i);
		ck_assert_uint_eq(ring_used_idx(r), i + 1);
		uint32_t id, len;
		ring_used_elem(r, i, &id, &len);
		ck_assert_uint_eq(id, i);
		ck_assert_uint_eq(len, 4);
	}
}

static void wild_flags_and_events(void)
{
	for (unsigned int i = 0; i < 64; i++) {
		ring_set_avail_flags(r, (uint16_t)(i * 0x1357));
		ring_set_used_event(r, (uint16_t)(i * 0x2468 + 7));
		bench_echo(&b, 0);
	}
}

static void event_that_never_comes(void)
{
	for (unsigned int i = 0; i < 64; i++) {
		ring_set_used_event(r, (uint16_t)(ring_used_idx(r) - 1 - i % 2));
		bench_echo(&b, 0);
	}
	ck_assert_uint_eq(b.d.irqs.queue[0], 0);
}

/* A ring of these areas, whatever they are, and DRIVER_OK. The canary's is never among them. */
static void up_at(uint64_t desc, uint64_t avail, uint64_t used)
{
	bench_reset(&b);
	ck_assert(drv_negotiate(&b.d, MODERN_ALL));
	ring_make_at(&b.d, 0, N, desc, avail, used);
	ring_enable(r);
	b.td.taken = 0;
	drv_driver_ok(&b.d);
	bench_settle(&b);
}

/* On areas that overlap: publishes, kicks, and lets the queue feed itself for a while. */
static void run_overlapped(void)
{
	for (uint16_t i = 0; i < N; i++) {
		bad(i, data, 4, 0, 0);
		ring_set_slot(r, i, i);
	}
	for (uint16_t i = 1; i <= N; i++) {
		ring_set_idx(r, i);
		drv_notify(&b.d, 0);
		bench_turn(&b);
	}
}

static void used_over_descriptors(void)
{
	uint64_t at = arena_alloc(&b.a, 4096, 4096);

	up_at(at, at + 2048, at);
	run_overlapped();
}

static void used_over_available(void)
{
	uint64_t at = arena_alloc(&b.a, 4096, 4096);

	up_at(at, at + 2048, at + 2048);
	run_overlapped();
}

static void all_areas_in_one(void)
{
	uint64_t at = arena_alloc(&b.a, 4096, 4096);

	up_at(at, at, at);
	run_overlapped();
}

static void all_areas_at_0(void)
{
	up_at(0, 0, 0);
	ck_assert_uint_eq(drv_status(&b.d), 0x0f);
	run_overlapped();
}

static void all_areas_at_0_without_memory(void)
{
	struct gmem_region *first = &b.a.gm.regions[0], was = *first;

	bench_reset(&b);
	*first = (struct gmem_region){ .gpa = 0x1000,
				       .size = was.size - 0x1000,
				       .host = was.host + 0x1000 };
	ck_assert(drv_negotiate(&b.d, MODERN_ALL));
	drv_set_reg(&b.d, 0, DRV_ENABLE, 1);
	drv_driver_ok(&b.d);
	ck_assert_uint_eq(drv_status(&b.d), 0x4f);
	*first = was;
}

static void two_queues_one_ring(void)
{
	bench_reset(&b);
	ck_assert(drv_negotiate(&b.d, MODERN_ALL));
	ring_make(&b.d, 0, N);
	ring_make_at(&b.d, 1, N, r->desc, r->avail, r->used);
	ring_enable(r);
	ring_enable(&b.d.rings[1]);
	drv_driver_ok(&b.d);
	b.td.taken = 0;
	for (uint16_t i = 0; i < N; i++) {
		bad(i, data, 4, 0, 0);
		ring_push(r, i);
		drv_notify(&b.d, i % 2);
		bench_settle(&b);
	}
	ck_assert_uint_gt(b.td.taken, N);
}

static void area_ends_in_a_hole(void)
{
	static const unsigned int which[] = { 0, 1, 2 };
	uint64_t at = arena_alloc(&b.a, 4096, 4096);

	for (unsigned int i = 0; i < ARRAY_SIZE(which); i++) {
		uint64_t areas[3] = { at, at + 1024, at + 2048 };

		b.d.irqs.config = 0;
		areas[which[i]] = ARENA_LOW_END - 16;
		up_at(areas[0], areas[1], areas[2]);
		ck_assert_uint_eq(drv_status(&b.d), 0x4f);
	}
}

static void area_wraps(void)
{
	up_at(UINT64_MAX - 15, 0x20000, 0x21000);
	b.d.irqs.config = 0;
	up_at(0x20000, UINT64_MAX - 1, 0x21000);
	b.d.irqs.config = 0;
	up_at(0x20000, 0x21000, UINT64_MAX - 3);
}

static void area_is_not_memory(void)
{
	up_at(0xfebf0000, 0x20000, 0x21000);
	b.d.irqs.config = 0;
	up_at(0x20000, 0xfebf0000, 0x21000);
	b.d.irqs.config = 0;
	up_at(0x20000, 0x21000, 0xfebf0000);
}

/* Two regions that touch for the guest are apart on the host. */
static void area_over_two_regions(void)
{
	up_at(ARENA_SPLIT - 32, 0x20000, 0x21000);
	b.d.irqs.config = 0;
	up_at(0x20000, ARENA_SPLIT - 8, 0x21000);
	b.d.irqs.config = 0;
	up_at(0x20000, 0x21000, ARENA_SPLIT - 8);
}

static void area_is_not_aligned(void)
{
	up_at(0x20008, 0x21000, 0x22000);
	b.d.irqs.config = 0;
	up_at(0x20000, 0x21001, 0x22000);
	b.d.irqs.config = 0;
	up_at(0x20000, 0x21000, 0x22002);
}

static void rings_for_less_than_the_size(void)
{
	bench_reset(&b);
	ck_assert(drv_negotiate(&b.d, MODERN_ALL));
	drv_set_addr(&b.d, 0, DRV_DESC, ARENA_HIGH_END - RING_DESC_LEN(N / 2));
	drv_set_addr(&b.d, 0, DRV_AVAIL, 0x20000);
	drv_set_addr(&b.d, 0, DRV_USED, 0x21000);
	drv_set_reg(&b.d, 0, DRV_ENABLE, 1);
	drv_driver_ok(&b.d);
}

static void more_than_the_queue_holds(void)
{
	b.td.mode = TESTDEV_HOLD;
	for (uint16_t i = 0; i < N; i++) {
		bad(i, data, 4, 0, 0);
		push_and_kick(i);
	}
	ck_assert_uint_eq(testdev_held(&b.td, 0), N);
	push_and_kick(0);
	ck_assert_uint_eq(b.td.taken, N);
}

/* Each chain publishes the next as it is answered. */
static void answers_publish_more(void)
{
	for (uint16_t i = 0; i < 8; i++) {
		uint16_t idx = htole16(i + 2);

		arena_write(&b.a, data + 2 * i, &idx, 2);
		bad(i, data + 2 * i, 2, NEXT, 8 + i);
		ring_desc(r, 8 + i, r->avail + 2, 2, WRITE, 0);
		ring_set_slot(r, i, i);
	}
	ring_desc(r, 7, data + 64, 2, WRITE, 0);
	ring_set_idx(r, 1);
	kick();
	ck_assert_uint_eq(ring_used_idx(r), 8);
	r->avail_idx = 8;
}

static void publish_another(struct testdev *td)
{
	(void)td;
	ring_push(r, r->avail_idx & (N - 1));
}

/* As fast as it is emptied: a turn of the loop takes no more than the queue holds. */
static void always_full(void)
{
	for (uint16_t i = 0; i < N; i++)
		bad(i, data, 4, 0, 0);
	b.td.on_take = publish_another;
	ring_push(r, 0);
	drv_notify(&b.d, 0);
	for (unsigned int i = 1; i <= 10; i++) {
		bench_turn(&b);
		/* The first turn may have two passes: a doorbell is one, and what is left goes on. */
		ck_assert_uint_ge(b.td.taken, N * i);
		ck_assert_uint_le(b.td.taken, N * (i + 1));
	}
	/* Others on the loop get their turns, and so does a reset. */
	drv_notify(&b.cd, 0);
	b.canary.served = 0;
	struct drv_buf bufs[2];
	bench_bufs(&b, bufs, 4);
	ring_add(&b.cd.rings[0], bufs, 2);
	ring_publish(&b.cd.rings[0]);
	drv_notify(&b.cd, 0);
	bench_turn(&b);
	ck_assert_uint_eq(b.canary.served, 1);
	uint32_t id, len;
	ck_assert(ring_get(&b.cd.rings[0], &id, &len));
	drv_set_status(&b.d, 0);
	ck_assert_uint_eq(drv_status(&b.d), 0);
}

static void ignores_needs_reset(void)
{
	push_head(N);
	for (unsigned int i = 0; i < 100; i++) {
		uint32_t v;

		drv_notify(&b.d, i % 3);
		b.d.ops->config_read(&b.d, 8, &v, 4);
		ck_assert_uint_eq(le32toh(v), 0x7e57de1);
		testdev_set_wide(&b.td, i);
		drv_set_reg(&b.d, 1, DRV_RESET, 1);
		drv_set_reg(&b.d, 1, DRV_ENABLE, 1);
		drv_set_status(&b.d, 0x0f);
		bench_settle(&b);
	}
}

static const struct row {
	const char *rows; /* of the checklist */
	void (*act)(void);
	enum outcome outcome;
} rows[] = {
	/* ROW_TABLE(hostile) */
	{ "HD-1", loops_at_once, HD_BROKEN },
	{ "HD-2", loops_of_two, HD_BROKEN },
	{ "HD-3", loops_through_all, HD_BROKEN },
	{ "HD-4", next_is_n, HD_BROKEN },
	{ "HD-4", next_is_n_plus_1, HD_BROKEN },
	{ "HD-4", next_is_ffff, HD_BROKEN },
	{ "HD-5 GEN-6", head_is_n, HD_BROKEN },
	{ "HD-5", head_is_7fff, HD_BROKEN },
	{ "HD-5", head_is_ffff, HD_BROKEN },
	{ "HD-6", all_heads_are_bad, HD_BROKEN },
	{ "HD-7", same_head_twice, HD_ODD },
	{ "HD-8", shared_tail, HD_ODD },
	{ "HD-9", empty_in_the_middle, HD_ODD },
	{ "HD-10", all_empty, HD_RETURNED },
	{ "HD-11", empty_head, HD_ODD },
	{ "HD-12", nearly_4_gib, HD_RETURNED },
	{ "HD-13", sum_of_4_gib, HD_RETURNED },
	{ "HD-14 HD-15", address_wraps, HD_RETURNED },
	{ "HD-16", address_0_is_memory, HD_ODD },
	{ "HD-16", address_0_is_not_memory, HD_RETURNED },
	{ "HD-17 SPL-11", readable_after_writable, HD_BROKEN },
	{ "HD-18", reserved_flags, HD_ODD },
	{ "HD-19", next_without_its_flag, HD_ODD },
	{ "HD-23", buffers_overlap, HD_ODD },
	{ "HD-24", buffer_is_the_descriptors, HD_SAFE },
	{ "HD-24", buffer_is_the_available_ring, HD_SAFE },
	{ "HD-24", buffer_is_the_used_ring, HD_SAFE },
	{ "HD-25", buffer_is_another_ring, HD_ODD },
	{ "HD-26", rewritten_in_flight, HD_ODD },
	{ "HD-27", n_pieces_over_a_border, HD_ODD },
	{ "HD-75 HD-76 HD-77 HD-81 HD-83", buffers_at_every_border, HD_ODD },
	{ "HD-79", buffers_in_its_own_bars, HD_ODD },
	{ "HD-80", buffers_in_the_neighbours_bars, HD_ODD },
	{ "HD-81 HD-82", buffers_in_the_chipset, HD_ODD },
	{ "HD-28 SPL-19", indirect_without_the_feature, HD_BROKEN },
	{ "HD-29", indirect_in_indirect, HD_BROKEN },
	{ "HD-30", indirect_with_next, HD_BROKEN },
	{ "HD-31", table_of_0, HD_BROKEN },
	{ "HD-32", table_of_1, HD_BROKEN },
	{ "HD-32", table_of_15, HD_BROKEN },
	{ "HD-32", table_of_17, HD_BROKEN },
	{ "HD-33", table_of_2_28, HD_BROKEN },
	{ "HD-33", table_of_2_28_elsewhere, HD_BROKEN },
	{ "HD-34", table_of_2_16, HD_BROKEN },
	{ "HD-35", chain_longer_than_the_queue, HD_ODD },
	{ "HD-35", direct_and_indirect_too_long, HD_RETURNED },
	{ "HD-36", loop_in_a_table, HD_BROKEN },
	{ "HD-36", loop_in_a_long_table, HD_RETURNED },
	{ "HD-37", table_next_is_its_length, HD_BROKEN },
	{ "HD-37", table_next_is_ffff, HD_BROKEN },
	{ "HD-38", table_in_a_hole, HD_BROKEN },
	{ "HD-38", table_over_the_end, HD_BROKEN },
	{ "HD-38", table_over_the_hole, HD_BROKEN },
	{ "HD-39", table_wraps, HD_BROKEN },
	{ "HD-39", table_ends_at_2_64, HD_BROKEN },
	{ "HD-40", table_is_the_queues_own, HD_ODD },
	{ "HD-40", table_holds_itself, HD_BROKEN },
	{ "HD-42", two_indirect, HD_BROKEN },
	{ "HD-43", idx_jumps_by_n_plus_1, HD_BROKEN },
	{ "HD-43", idx_jumps_by_8000, HD_BROKEN },
	{ "HD-43", idx_jumps_by_ffff, HD_BROKEN },
	{ "HD-44", idx_goes_back, HD_BROKEN },
	{ "HD-45", kicked_on_and_on, HD_BROKEN },
	{ "HD-46 SPL-30", used_ring_is_overwritten, HD_ODD },
	{ "HD-47", wild_flags_and_events, HD_ODD },
	{ "HD-48", event_that_never_comes, HD_ODD },
	{ "HD-49", used_over_descriptors, HD_SAFE },
	{ "HD-50", used_over_available, HD_SAFE },
	{ "HD-51", all_areas_in_one, HD_SAFE },
	{ "HD-52", two_queues_one_ring, HD_SAFE },
	{ "HD-53", area_ends_in_a_hole, HD_BROKEN },
	{ "HD-54", area_wraps, HD_BROKEN },
	{ "HD-55 HD-61", area_is_not_memory, HD_BROKEN },
	{ "HD-56", area_over_two_regions, HD_BROKEN },
	{ "HD-57 SPL-1", area_is_not_aligned, HD_BROKEN },
	{ "HD-58", rings_for_less_than_the_size, HD_BROKEN },
	{ "HD-59", all_areas_at_0, HD_SAFE },
	{ "HD-59", all_areas_at_0_without_memory, HD_BROKEN },
	{ "HD-62", more_than_the_queue_holds, HD_BROKEN },
	{ "HD-63", answers_publish_more, HD_ODD },
	{ "HD-63 HD-221", always_full, HD_SAFE },
	{ "HD-110", ignores_needs_reset, HD_BROKEN },
};

START_TEST(hostile)
{
	begin(N, MODERN_ALL);
	rows[_i].act();
	hostile_check(&b, rows[_i].outcome);
	bench_release(&b);
}

static void add(TCase *tc)
{
	tcase_add_loop_test(tc, hostile, 0, ARRAY_SIZE(rows));
}

TRANSPORTS_SUITE("virtio-hostile", add, NULL, on_core, on_pci, on_pci_armed)
