/* SPDX-License-Identifier: GPL-2.0 */
#include <string.h>

#include <lkvm/util.h>

#include "hostile.h"

/* Of one access, with a reset that waits as long as a legacy driver's may. */
#define ACCESS_NS (5 * NSEC_PER_SEC)

static void check_broken(struct bench *b)
{
	uint32_t taken = b->td.taken, irqs = b->d.irqs.queue[0];
	struct drv_ring *r = &b->d.rings[0];
	/* Unless the ring is what is wrong. */
	bool there = gmem_span(&b->a.gm, r->used, 4);
	uint16_t used = there ? ring_used_idx(r) : 0;

	ck_assert_uint_eq(drv_status(&b->d) & VIRTIO_NEEDS_RESET, VIRTIO_NEEDS_RESET);
	ck_assert_uint_eq(b->d.irqs.config, 1);
	ck_assert_uint_eq(b->d.irqs.status_at_config & VIRTIO_NEEDS_RESET, VIRTIO_NEEDS_RESET);
	/* It stays broken, and quiet. */
	for (unsigned int i = 0; i < 16; i++) {
		drv_notify(&b->d, i % b->o.queues);
		bench_settle(b);
	}
	ck_assert_uint_eq(b->td.taken, taken);
	ck_assert_uint_eq(b->d.irqs.queue[0], irqs);
	ck_assert_uint_eq(b->d.irqs.config, 1);
	ck_assert_uint_eq(there ? ring_used_idx(r) : 0, used);
}

/* Every head that was published since the ring was made is back, unserved. */
static void check_returned(struct bench *b)
{
	struct drv_ring *r = &b->d.rings[0];

	ck_assert_uint_eq(ring_used_idx(r), r->avail_idx);
	ck_assert_uint_gt(r->avail_idx, 0);
	for (uint16_t i = 0; i < MIN(r->avail_idx, r->size); i++) {
		uint32_t id, len;

		ring_used_elem(r, i, &id, &len);
		ck_assert_uint_lt(id, r->size);
		ck_assert_uint_eq(len, 0);
	}
}

/* The queue serves the next request without a reset (G9). */
static void check_goes_on(struct bench *b)
{
	ck_assert_uint_eq(drv_status(&b->d), 0x0f);
	ck_assert_uint_eq(b->d.irqs.config, 0);
	ring_forget(&b->d.rings[0]);
	bench_echo(b, 0);
}

void hostile_recover(struct bench *b)
{
	bool legacy = b->d.ops->set_pfn;
	uint64_t seconds;

	bench_settle(b);
	/* G3: nothing was written that was not given to be written. */
	uint64_t stray = arena_stray(&b->a);
	ck_assert_msg(stray == ARENA_CLEAN, "%#llx was written", (unsigned long long)stray);
	/* G2: what is the host's is not in the guest. */
	ck_assert(!arena_contains(&b->a, b->td.secret, sizeof(b->td.secret)));
	/* G4: the neighbour, on the same loop, did not notice. */
	bench_canary(b);
	ck_assert_uint_eq(b->cd.irqs.config, 0);
	/* G8: recovery. */
	b->td.mode = TESTDEV_AUTO;
	b->td.on_take = NULL;
	b->td.lazy = false;
	b->td.start_ret = 0;
	bench_reset(b);
	/* G6, while no doorbell is armed. */
	ck_assert_uint_eq(bench_count_dir("/proc/self/fd"), b->fds);
	b->d.irqs.config = 0;
	bench_up(b, legacy ? 0 : MODERN_ALL);
	for (uint16_t q = 0; q < b->o.queues; q++)
		bench_echo(b, q);
	ck_assert_uint_eq(drv_status(&b->d), legacy ? 0x07 : 0x0f);
	ck_assert_uint_eq(b->d.irqs.config, 0);
	bench_canary(b);
	/* G5, G6, G7; that nothing spins is bench_settle()'s. */
	ck_assert_uint_lt(b->d.slowest_ns, ACCESS_NS);
	/* A thread that was joined may be listed a moment longer. */
	uint64_t deadline = mock_real_now_ns() + 2 * ACCESS_NS;
	while (bench_count_dir("/proc/self/task") > b->tasks)
		ck_assert_uint_lt(mock_real_now_ns(), deadline);
	seconds = util_now_ns() / NSEC_PER_SEC - b->started_ns / NSEC_PER_SEC + 1;
	ck_assert_uint_le(bench_log_lines(b), LOG_LIMIT_BURST * seconds);
}

void hostile_check(struct bench *b, enum outcome outcome)
{
	bench_settle(b);
	switch (outcome) {
	case HD_BROKEN:
		check_broken(b);
		break;
	case HD_RETURNED:
		check_returned(b);
		check_goes_on(b);
		break;
	case HD_IGNORED:
	case HD_ODD:
		check_goes_on(b);
		break;
	case HD_SAFE:
		break;
	}
	hostile_recover(b);
}
