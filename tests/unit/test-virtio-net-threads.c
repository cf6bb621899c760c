// SPDX-License-Identifier: GPL-2.0
// LINK: virtio/net.c virtio/net-io.c virtio/late.c virtio/net-ctrl.c virtio/net-vhost.c virtio/vhost.c virtio/device.c virtio/registers.c virtio/legacy.c virtio/queue.c virtio/mini.c gmem.c util/loop.c util/log.c util/err.c tests/mock/clock.c tests/mock/arena.c tests/mock/ring.c tests/mock/driver.c tests/mock/core.c tests/mock/testdev.c tests/mock/bench.c tests/mock/net.c tests/mock/netbench.c
/* virtio-net with pairs on loops of their own: commands, link and resets while packets come on all ports. */
#include "unit.h"

#include <sched.h>
#include <string.h>

#include <lkvm/util.h>

#include "../mock/net.h"

#define DEADLINE_NS (40 * NSEC_PER_SEC)

static struct netbench b;
static atomic_bool ended;
static uint8_t own[200], foreign[200];

/* Packets on both ports, for this guest and for others, as fast as they are taken. */
static void *inject(void *arg)
{
	for (unsigned int i = 0; !atomic_load(&ended); i++)
		if (!mock_net_inject(&b.be, i % 2, NULL, i % 3 ? own : foreign, 200))
			sched_yield();
	return arg;
}

static void *toggle_link(void *arg)
{
	while (!atomic_load(&ended)) {
		virtio_net_set_link(&b.n, false);
		sched_yield();
		virtio_net_set_link(&b.n, true);
		virtio_net_announce(&b.n);
		sched_yield();
	}
	return arg;
}

static uint8_t pairs(uint8_t nr)
{
	return netbench_command(&b, 4, 0, (uint8_t[]){ nr, 0 }, 2);
}

static void post(unsigned int pair)
{
	struct drv_ring *r = &b.d.rings[2 * pair];
	uint32_t id, len;

	while (ring_get(r, &id, &len))
		;
	while (r->spare_nr)
		netbench_post(&b, pair, 1526, 0);
}

/* After the answer nothing comes to a pair that is not in use (5.1.6.5.6.2). */
static void check_pairs(void)
{
	struct drv_ring *r = &b.d.rings[2];

	ck_assert_uint_eq(pairs(2), 0);
	post(1);
	ck_assert_uint_eq(pairs(1), 0);
	uint16_t used = ring_used_idx(r);
	for (unsigned int i = 0; i < 50; i++) {
		sched_yield();
		ck_assert_uint_eq(ring_used_idx(r), used);
	}
}

/* What a filter forbids does not come after the answer, on any pair. */
static void check_filter(void)
{
	static const uint8_t on = 1, off = 0;
	uint8_t header[12], got[2048];
	struct drv_ring *r = &b.d.rings[0];

	ck_assert_uint_eq(netbench_command(&b, 0, 0, &on, 1), 0);
	ck_assert_uint_eq(netbench_command(&b, 0, 0, &off, 1), 0);
	/* What was used before the answer may be anybody's. */
	uint16_t before = ring_used_idx(r);
	while (r->last_used != before)
		ck_assert_int_gt(netbench_receive(&b, 0, header, got, NULL), 0);
	/* One that was on its way may follow. */
	post(0);
	netbench_settle(&b);
	post(0);
	before = ring_used_idx(r);
	netbench_settle(&b);
	while (r->last_used != ring_used_idx(r) && r->last_used != before) {
		ck_assert_int_gt(netbench_receive(&b, 0, header, got, NULL), 0);
		ck_assert_mem_eq(got, own, 6);
	}
}

START_TEST(everything_at_once)
{
	static const uint8_t other[6] = { 2, 9, 9, 9, 9, 9 };
	pthread_t threads[2];
	uint8_t frame[300];
	uint64_t deadline = mock_real_now_ns() + DEADLINE_NS;

	ROW("NET-96", "HD-203", "HD-211", "HD-218", "GEN-37", "HD-207");
	netbench_init(&b, &(struct netbench_opts){ .pairs = 2, .loops = 2, .threads = true });
	netbench_frame(&b, own, sizeof(own), NULL, -1);
	netbench_frame(&b, foreign, sizeof(foreign), other, -1);
	netbench_frame(&b, frame, sizeof(frame), NULL, -1);
	atomic_store(&ended, false);
	netbench_up(&b, drv_offered(&b.d));
	pthread_create(&threads[0], NULL, inject, NULL);
	pthread_create(&threads[1], NULL, toggle_link, NULL);
	for (unsigned int round = 0; round < 16 + bench_rounds(400); round++) {
		netbench_up(&b, drv_offered(&b.d));
		for (unsigned int pair = 0; pair < 2; pair++)
			post(pair);
		check_pairs();
		check_filter();
		for (unsigned int i = 0; i < 8; i++) {
			uint8_t raw[312] = { 0 };
			uint8_t offloads[8] = { i % 2 ? 2 : 0 };

			memcpy(raw + 12, frame, sizeof(frame));
			ck_assert_uint_eq(netbench_send_raw(&b, i % 2, raw, sizeof(raw), 0), 0);
			ck_assert_uint_eq(netbench_command(&b, 5, 0, offloads, 8), 0);
			post(0);
		}
		ck_assert_uint_lt(mock_real_now_ns(), deadline);
	}
	atomic_store(&ended, true);
	for (unsigned int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	netbench_reset(&b);
	netbench_recover(&b);
	netbench_release(&b);
}

UNIT_SUITE("virtio-net-threads", { tcase_add_test(tc, everything_at_once); })
