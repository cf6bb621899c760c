// SPDX-License-Identifier: GPL-2.0
// LINK: virtio/device.c virtio/registers.c virtio/legacy.c virtio/queue.c virtio/mini.c gmem.c util/loop.c util/log.c util/err.c tests/mock/clock.c tests/mock/arena.c tests/mock/ring.c tests/mock/driver.c tests/mock/core.c tests/mock/testdev.c tests/mock/bench.c tests/mock/hostile.c
/* The smallest device: a good request, each content error, its fields, and reset with a fault. */
#include "unit.h"

#include <string.h>

#include <lkvm/util.h>

#include "../mock/hostile.h"

/* The bench's neighbour is a mini, which is the subject here. */
static struct bench b;

static void setup(void)
{
	bench_init(&b, &(struct bench_opts){ .queues = 1 });
}

static void teardown(void)
{
	hostile_recover(&b);
	bench_release(&b);
}

static void up(uint64_t features)
{
	drv_set_status(&b.cd, 0);
	ck_assert(drv_negotiate(&b.cd, features));
	ring_make(&b.cd, 0, MINI_QUEUE_SIZE);
	ring_enable(&b.cd.rings[0]);
	drv_driver_ok(&b.cd);
	ck_assert_uint_eq(drv_status(&b.cd), 0x0f);
}

/* Sends a readable and a writable part of these lengths; returns what was used, and the answer. */
static uint32_t request(uint32_t out, uint32_t in, uint8_t *answer)
{
	struct drv_buf bufs[2], *first = bufs;
	struct drv_ring *r = &b.cd.rings[0];
	unsigned int nr = 0;
	uint32_t id, len;

	bench_bufs(&b, bufs, MAX(MAX(out, in), 1u));
	bufs[0].len = out;
	bufs[1].len = in;
	nr = (out > 0) + (in > 0);
	if (!out)
		first++;
	ring_add(r, first, nr);
	ring_publish(r);
	ring_kick(r);
	bench_settle(&b);
	ck_assert(ring_get(r, &id, &len));
	if (answer)
		arena_read(&b.a, bufs[1].gpa, answer, len);
	ck_assert_uint_eq(arena_stray(&b.a), ARENA_CLEAN);
	return len;
}

static uint32_t served(void)
{
	uint32_t v = 0;

	b.cd.ops->config_read(&b.cd, 0, &v, 4);
	return le32toh(v);
}

START_TEST(reverses)
{
	static const uint32_t lens[] = { 1, 2, 31, 32, 1000, MINI_MAX };
	uint8_t answer[MINI_MAX];

	ROW("SPL-8");
	up(MODERN_ALL);
	for (unsigned int i = 0; i < ARRAY_SIZE(lens); i++) {
		uint8_t seed = (uint8_t)(b.echoes + 1);

		ck_assert_uint_eq(request(lens[i], lens[i], answer), lens[i]);
		for (uint32_t k = 0; k < lens[i]; k++)
			ck_assert_uint_eq(answer[lens[i] - 1 - k], (uint8_t)(k * 7 + seed));
	}
	/* More room than the answer takes. */
	ck_assert_uint_eq(request(5, 9, NULL), 5);
}

START_TEST(refuses)
{
	ROW("HD-20", "HD-21", "HD-22");
	up(MODERN_ALL);
	uint32_t before = served();

	ck_assert_uint_eq(request(9, 8, NULL), 0);
	ck_assert_uint_eq(request(MINI_MAX + 1, MINI_MAX + 1, NULL), 0);
	ck_assert_uint_eq(request(1, 0, NULL), 0);
	ck_assert_uint_eq(request(0, 1, NULL), 0);
	ck_assert_uint_eq(request(4, 4, NULL), 4);
	ck_assert_uint_eq(drv_status(&b.cd), 0x0f);
	ck_assert_uint_eq(served(), before + 5);
}

START_TEST(masks)
{
	uint8_t mask = 0x3c, plain[4], masked[4], got = 0;

	up(MODERN_ALL);
	b.cd.ops->config_write(&b.cd, 4, &mask, 1);
	b.cd.ops->config_read(&b.cd, 4, &got, 1);
	ck_assert_uint_eq(got, mask);
	uint32_t seed = b.echoes;
	ck_assert_uint_eq(request(4, 4, plain), 4);
	/* Only when it was negotiated, and forgotten with it. */
	up(MODERN_ALL | VIRTIO_BIT(MINI_F_MASK));
	b.echoes = seed;
	ck_assert_uint_eq(request(4, 4, masked), 4);
	for (unsigned int i = 0; i < 4; i++)
		ck_assert_uint_eq(masked[i], plain[i] ^ mask);
	up(MODERN_ALL);
	b.echoes = seed;
	ck_assert_uint_eq(request(4, 4, masked), 4);
	ck_assert_mem_eq(masked, plain, 4);
}

START_TEST(only_the_mask_is_the_drivers)
{
	ROW("GEN-44");
	uint64_t ones = UINT64_MAX;
	uint32_t before = served();

	for (uint32_t width = 1; width <= 8; width++)
		for (uint64_t off = 0; off < 8; off++)
			if (off != 4 || width != 1)
				b.cd.ops->config_write(&b.cd, off, &ones, width);
	ck_assert_uint_eq(served(), before);
	uint8_t mask = 0xff;
	b.cd.ops->config_read(&b.cd, 4, &mask, 1);
	ck_assert_uint_eq(mask, 0);
}

START_TEST(breaks_and_mends)
{
	up(MODERN_ALL);
	ring_push(&b.cd.rings[0], MINI_QUEUE_SIZE);
	ring_kick(&b.cd.rings[0]);
	bench_settle(&b);
	ck_assert_uint_eq(drv_status(&b.cd), 0x4f);
	ck_assert_uint_eq(b.cd.irqs.config--, 1);
	up(MODERN_ALL);
	ck_assert_uint_eq(request(4, 4, NULL), 4);
}

UNIT_SUITE("virtio-mini", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, reverses);
	tcase_add_test(tc, refuses);
	tcase_add_test(tc, masks);
	tcase_add_test(tc, only_the_mask_is_the_drivers);
	tcase_add_test(tc, breaks_and_mends);
})
