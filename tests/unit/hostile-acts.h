/* SPDX-License-Identifier: GPL-2.0 */
/* What the acts of test-virtio-hostile.c are made of: one bench, queue 0 of its testdev, and raw descriptors. */
#ifndef LKVM_TESTS_HOSTILE_ACTS_H
#define LKVM_TESTS_HOSTILE_ACTS_H

#include <lkvm/util.h>

#include "../mock/hostile.h"
#include "../mock/transports.h"

#define N        16 /* entries of a queue */
#define NEXT     DESC_NEXT
#define WRITE    DESC_WRITE
#define INDIRECT DESC_INDIRECT

static struct bench b;
static struct drv_ring *r; /* of queue 0 */
static uint64_t data;      /* 4096 bytes for buffers */
static uint64_t table;     /* and for indirect descriptors */

static void begin(uint16_t size, uint64_t features)
{
	bench_init(&b, &(struct bench_opts){ .queues = 2, .size = size });
	bench_up(&b, features);
	r = &b.d.rings[0];
	data = arena_alloc(&b.a, 4096, 4096);
	table = arena_alloc(&b.a, 4096, 4096);
}

static void kick(void)
{
	drv_notify(&b.d, 0);
	bench_settle(&b);
}

static void push_and_kick(uint16_t head)
{
	ring_push(r, head);
	kick();
}

/* A descriptor whose buffer a device must not write. */
static void bad(uint16_t i, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
	desc_put(&b.a, r->desc, i, (struct drv_desc){ addr, len, flags, next });
}

/* The first `nr` descriptors, 4 bytes each; the last goes on to `next`. */
static void chain_to(uint16_t nr, uint16_t next)
{
	for (uint16_t i = 0; i < nr; i++)
		bad(i, data + 16 * i, 4, NEXT, i == nr - 1 ? next : i + 1);
}

static void push_chain_to(uint16_t nr, uint16_t next)
{
	chain_to(nr, next);
	push_and_kick(0);
	ck_assert_uint_eq(b.td.taken, 0);
}

static void push_head(uint16_t head)
{
	push_and_kick(head);
	ck_assert_uint_eq(b.td.taken, 0);
	ck_assert_uint_eq(ring_used_idx(r), 0);
}

static void push_buffer(uint64_t addr, uint32_t len, uint16_t flags)
{
	bad(0, addr, len, flags, 0);
	push_and_kick(0);
	ck_assert_uint_eq(b.td.taken, 0);
}

/* One that is as it should be: taken, and written as a whole. */
static void good_buffer(uint64_t addr, uint32_t len)
{
	uint32_t taken = b.td.taken;

	ring_desc(r, 0, addr, len, WRITE, 0);
	push_and_kick(0);
	ck_assert_uint_eq(b.td.taken, taken + 1);
	ck_assert_uint_eq(b.td.in_len, len);
}

/* An indirect table's entry. */
static void entry(uint32_t i, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
	desc_put(&b.a, table, i, (struct drv_desc){ addr, len, flags, next });
}

static void push_table(uint64_t addr, uint32_t len)
{
	bad(0, addr, len, INDIRECT, 0);
	push_and_kick(0);
}

#endif
