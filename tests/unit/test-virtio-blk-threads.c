// SPDX-License-Identifier: GPL-2.0
// LINK: virtio/device.c virtio/registers.c virtio/legacy.c virtio/queue.c virtio/mini.c virtio/blk.c virtio/blk-config.c gmem.c util/loop.c util/log.c util/err.c tests/mock/clock.c tests/mock/arena.c tests/mock/ring.c tests/mock/driver.c tests/mock/core.c tests/mock/testdev.c tests/mock/bench.c tests/mock/testdisk.c tests/mock/blkbench.c
/* The block device with threads: queues side by side, resets under load, and a CPU that rewrites requests. */
#include "unit.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

#include <lkvm/util.h>

#include "../mock/blkbench.h"

#define QUEUES      2
#define DEADLINE_NS (50 * NSEC_PER_SEC)

static struct blkbench b;

static void setup(void)
{
	blkbench_init(&b, &(struct blkbench_opts){ .queues = QUEUES, .loops = 2, .threads = true });
	b.disk.mode = TESTDISK_POST;
	blkbench_up(&b, BLK_ALL);
}

static void teardown(void)
{
	blkbench_recover(&b);
	blkbench_release(&b);
}

static uint32_t roll(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 8;
}

/* --- a driver per queue --- */

/* Each has its own sectors and memory, and knows what is in them. */
struct driver {
	pthread_t thread;
	uint16_t q;
	unsigned int rounds;
	atomic_bool *stop;
	uint64_t gpa, header, status;
	uint32_t seed;
	uint8_t now[64];
};

#define FIRST(d) (1000 + 64ull * (d)->q)

static void wait_used(struct drv_ring *r, uint32_t want)
{
	uint64_t deadline = mock_real_now_ns() + DEADLINE_NS;
	uint32_t id, len;

	while (!ring_get(r, &id, &len)) {
		MUST(mock_real_now_ns() < deadline);
		sched_yield();
	}
	MUST(len == want);
}

static void one_request(struct driver *d, unsigned int sector, bool write)
{
	struct drv_ring *r = &b.d.rings[d->q];
	struct drv_buf bufs[] = { { d->header, 16, false },
				  { d->gpa, 512, !write },
				  { d->status, 1, true } };
	uint8_t h[16] = { write ? BLKT_OUT : BLKT_IN }, bytes[512], poison = BLKS_NONE, status;

	put_le64(h + 8, FIRST(d) + sector);
	arena_write(&b.n.a, d->header, h, 16);
	arena_write(&b.n.a, d->status, &poison, 1);
	if (write)
		d->now[sector] = (uint8_t)roll(&d->seed);
	memset(bytes, write ? d->now[sector] : 0xff, 512);
	arena_write(&b.n.a, d->gpa, bytes, 512);
	ring_add(r, bufs, 3);
	ring_publish(r);
	ring_kick(r);
	wait_used(r, write ? 1 : 513);
	/* Plain reads: a status or data that came after the used entry would be a race. */
	arena_read(&b.n.a, d->status, &status, 1);
	MUST(status == BLKS_OK);
	arena_read(&b.n.a, d->gpa, bytes, 512);
	for (unsigned int i = 0; i < 512; i++)
		MUST(bytes[i] == d->now[sector]);
}

static void *drive(void *arg)
{
	struct driver *d = arg;

	for (unsigned int i = 0; i < 64; i++)
		one_request(d, i, true);
	for (unsigned int i = 0; d->stop ? !*d->stop : i < d->rounds; i++)
		one_request(d, roll(&d->seed) % 64, roll(&d->seed) % 2);
	return NULL;
}

static void start_driver(struct driver *d, uint16_t q, unsigned int rounds, atomic_bool *stop)
{
	uint64_t gpa = arena_alloc(&b.n.a, 1024, 64);

	*d = (struct driver){ .q = q,
			      .rounds = rounds,
			      .stop = stop,
			      .gpa = gpa,
			      .header = gpa + 512,
			      .status = gpa + 600,
			      .seed = q + 1u };
	MUST(pthread_create(&d->thread, NULL, drive, d) == 0);
}

START_TEST(queues_side_by_side)
{
	ROW("BLK-18", "BLK-33", "SPL-26", "SPL-27");
	struct driver d[QUEUES];

	if (_i == 1)
		blkbench_up(&b, BLK_ALL & ~VIRTIO_BIT(VIRTIO_F_EVENT_IDX));
	if (_i == 2) {
		struct blk_info info = b.disk.info;

		info.one_channel = true;
		blkbench_release(&b);
		blkbench_init(
			&b, &(struct blkbench_opts){
				    .queues = QUEUES, .loops = 2, .threads = true, .info = info });
		b.disk.mode = TESTDISK_POST;
		blkbench_up(&b, BLK_ALL);
	}
	for (uint16_t q = 0; q < QUEUES; q++)
		start_driver(&d[q], q, bench_rounds(200000), NULL);
	for (uint16_t q = 0; q < QUEUES; q++)
		pthread_join(d[q].thread, NULL);
}

START_TEST(a_queue_is_reset_beside_another)
{
	ROW("GEN-48", "GEN-52");
	struct driver d;
	atomic_bool stop = false;
	struct drv_ring *r = &b.d.rings[1];
	struct blk_cmd c = { .type = BLKT_IN, .in = b.data, .in_len = 512 };

	start_driver(&d, 0, 0, &stop);
	for (unsigned int i = 0; i < bench_rounds(20000); i++) {
		uint64_t deadline = mock_real_now_ns() + DEADLINE_NS;

		for (unsigned int k = 0; k < 4; k++) {
			blk_send(&b, 1, &c);
			ring_kick(r);
		}
		drv_set_reg(&b.d, 1, DRV_RESET, 1);
		while (drv_reg(&b.d, 1, DRV_RESET)) {
			MUST(mock_real_now_ns() < deadline);
			sched_yield();
		}
		/* It is the driver's memory again. */
		arena_fill(&b.n.a, b.data, 0xa5, 512);
		ring_clear(r);
		ring_enable(r);
	}
	stop = true;
	pthread_join(d.thread, NULL);
}

/* --- resets and changes under load --- */

static void fill(uint16_t q)
{
	struct blk_cmd c = { .type = BLKT_IN, .in = b.data + 4096 * q, .in_len = 512 };

	for (unsigned int i = 0; i < 5; i++) {
		c.sector = i;
		blk_send(&b, q, &c);
	}
	drv_notify(&b.d, q);
}

struct racer {
	pthread_t thread;
	atomic_bool *stop;
	_Atomic uint32_t rounds;
};

/* Answers for an image that is slow, looks at the fields, and changes the size. */
static void *meddle(void *arg)
{
	struct racer *x = arg;
	uint32_t seed = 7;

	while (!*x->stop) {
		uint8_t bytes[BLKC_LEN], v = (uint8_t)roll(&seed);

		testdisk_finish_all(&b.disk, roll(&seed) % 2 ? 0 : -EIO);
		virtio_config_read(&b.blk.vd, 0, bytes, sizeof(bytes));
		virtio_config_write(&b.blk.vd, BLKC_WRITEBACK, &v, 1);
		virtio_blk_resize(&b.blk, 512 * (64 + roll(&seed) % 64));
		drv_notify(&b.d, roll(&seed) % 4);
		x->rounds++;
		sched_yield();
	}
	return NULL;
}

static void end_racer(struct racer *x)
{
	while (x->rounds < 10)
		sched_yield();
	*x->stop = true;
	pthread_join(x->thread, NULL);
	virtio_blk_resize(&b.blk, b.disk.info.size);
}

START_TEST(resets_under_load)
{
	ROW("GEN-33", "GEN-34", "HD-103", "HD-104", "HD-106", "BLK-16");
	atomic_bool stop = false;
	struct racer x = { .stop = &stop };

	MUST(pthread_create(&x.thread, NULL, meddle, &x) == 0);
	for (unsigned int i = 0; i < bench_rounds(40000); i++) {
		b.disk.mode = i % 3 ? TESTDISK_HOLD : TESTDISK_POST;
		b.disk.deaf = i % 4 == 0;
		fill(0);
		fill(1);
		drv_set_status(&b.d, 0);
		while (drv_status(&b.d))
			sched_yield();
		/* Nothing of before comes any more: else this is a race. */
		arena_fill(&b.n.a, b.data, 0xa5, 8192);
		arena_fill(&b.n.a, b.slots, 0xa5, 32 * BLK_SLOTS);
		b.disk.deaf = false;
		blkbench_up(&b, BLK_ALL);
	}
	end_racer(&x);
}

/* --- a second CPU that rewrites requests --- */

static uint64_t mine; /* header, ranges, status: rewritten all the time */

static void *rewrite(void *arg)
{
	struct racer *x = arg;
	uint32_t seed = 9;
	uint8_t *p = gmem_span(&b.n.a.gm, mine, 4096);

	while (!*x->stop) {
		uint32_t what = roll(&seed) % 8, at = roll(&seed) % 4;
		static const uint64_t sectors[] = { 0,           8,          BLK_SECTORS - 1,
						    BLK_SECTORS, 1ULL << 55, UINT64_MAX,
						    64,          1ULL << 63 };
		static const uint32_t types[] = { 0, 1, 4, 8, 11, 13, 99, 0x80000000 };

		if (what < 2)
			__atomic_store_n((uint32_t *)(void *)p, htole32(types[roll(&seed) % 8]),
					 __ATOMIC_RELAXED);
		else if (what < 4)
			__atomic_store_n((uint64_t *)(void *)(p + 8),
					 htole64(sectors[roll(&seed) % 8]), __ATOMIC_RELAXED);
		else if (what < 6)
			__atomic_store_n((uint64_t *)(void *)(p + 16 + 16 * at),
					 htole64(sectors[roll(&seed) % 8]), __ATOMIC_RELAXED);
		else if (what < 7)
			__atomic_store_n((uint32_t *)(void *)(p + 24 + 16 * at),
					 htole32(roll(&seed) % 3 ? 8 : UINT32_MAX),
					 __ATOMIC_RELAXED);
		else
			__atomic_store_n((uint32_t *)(void *)(p + 28 + 16 * at),
					 htole32(roll(&seed) % 4 ? 0 : 3), __ATOMIC_RELAXED);
		x->rounds++;
		if (x->rounds % 64 == 0)
			sched_yield();
	}
	return NULL;
}

/* testdisk checks each request that reaches it. */
START_TEST(requests_are_read_once)
{
	ROW("BLK-49", "HD-218", "HD-219", "SPL-29");
	atomic_bool stop = false;
	struct racer x = { .stop = &stop };
	struct drv_ring *r = &b.d.rings[0];
	unsigned int got[3] = { 0 };

	mine = arena_alloc(&b.n.a, 4096, 4096);
	arena_permit(&b.n.a, mine, 4096);
	MUST(pthread_create(&x.thread, NULL, rewrite, &x) == 0);
	/* On a busy host the other CPU may rest for long: until each outcome was seen. */
	for (unsigned int i = 0; i < bench_rounds(400000) || !got[0] || !got[1] || !got[2]; i++) {
		uint64_t deadline = mock_real_now_ns() + DEADLINE_NS, status = mine + 4000;
		struct drv_buf bufs[] = { { mine, 16, false },
					  { mine + 16, i % 2 ? 64 : 512, false },
					  { b.data, 512, true },
					  { status, 1, true } };
		uint8_t s = BLKS_NONE;
		uint32_t id, len;

		/* Readable data, writable data, or none of it. */
		if (i % 3 == 1)
			bufs[1] = bufs[2];
		if (i % 3 < 2)
			bufs[2] = bufs[3];
		arena_write(&b.n.a, status, &s, 1);
		ring_add(r, bufs, i % 3 < 2 ? 3 : 4);
		ring_publish(r);
		ring_kick(r);
		while (!ring_get(r, &id, &len)) {
			MUST(mock_real_now_ns() < deadline);
			sched_yield();
		}
		arena_read(&b.n.a, status, &s, 1);
		MUST(s <= BLKS_UNSUPP);
		got[s]++;
	}
	end_racer(&x);
	ck_assert_uint_eq(drv_status(&b.d), 0x0f);
}

UNIT_SUITE("virtio-blk-threads", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_loop_test(tc, queues_side_by_side, 0, 3);
	tcase_add_test(tc, a_queue_is_reset_beside_another);
	tcase_add_test(tc, resets_under_load);
	tcase_add_test(tc, requests_are_read_once);
})
