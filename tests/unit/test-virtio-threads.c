// SPDX-License-Identifier: GPL-2.0
// LINK: virtio/device.c virtio/registers.c virtio/legacy.c virtio/queue.c virtio/mini.c gmem.c util/loop.c util/log.c util/err.c tests/mock/clock.c tests/mock/arena.c tests/mock/ring.c tests/mock/driver.c tests/mock/core.c tests/mock/testdev.c tests/mock/bench.c tests/mock/hostile.c virtio/transport-pci.c virtio/transport-modern.c virtio/transport-legacy.c virtio/transport-doorbell.c virtio/transport-fds.c pci.c pci-bar.c pci-irq.c pci-ecam.c bus.c ioeventfd.c tests/mock/fake-kvm.c irq-route.c tests/mock/pci.c tests/mock/pci-driver.c
/* Drivers on threads of their own, beside the loops': ordering, lost wake-ups, and hostile races. */
#include "unit.h"

#include <sched.h>
#include <string.h>

#include <lkvm/util.h>

#include "../mock/hostile.h"
#include "../mock/transports.h"

#define DEADLINE_NS (50 * NSEC_PER_SEC)

static struct bench b;

static void setup(void)
{
	bench_init(&b, &(struct bench_opts){ .queues = 2, .loops = 2, .threads = true });
	b.td.cancels = true;
}

static void teardown(void)
{
	hostile_recover(&b);
	bench_release(&b);
}

/* A number per step of a thread's own sequence. */
static uint32_t roll(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 8;
}

/*
 * A driver that trusts the suppression words: it kicks only when it is wanted, and sleeps until an
 * interrupt when the ring was empty after it asked for one. A wake-up that is lost in either direction
 * stops it, which the deadline finds.
 */
static void sleep_until_irq(struct drv_ring *r, uint32_t seen, uint64_t deadline)
{
	while (b.d.irqs.queue[r->q] == seen) {
		MUST(mock_real_now_ns() < deadline);
		sched_yield();
	}
}

/*
 * The same accesses once more as a driver makes them, not atomic: so a missing acquire or release in the
 * device is a race that ThreadSanitizer sees.
 */
static void write_plainly(struct drv_ring *r, uint16_t head)
{
	uint64_t slot = r->avail + 4 + 2 * (uint64_t)((r->avail_idx - 1) & (r->size - 1));
	uint8_t desc[16];
	uint16_t le = htole16(head);

	arena_read(&b.a, r->desc + 16 * head, desc, sizeof(desc));
	arena_write(&b.a, r->desc + 16 * head, desc, sizeof(desc));
	arena_write(&b.a, slot, &le, sizeof(le));
}

static void read_plainly(struct drv_ring *r)
{
	uint8_t elem[8];

	if (ring_used_idx(r) != r->last_used)
		arena_read(&b.a, r->used + 4 + 8 * (r->last_used & (r->size - 1)), elem,
			   sizeof(elem));
}

static void converse(uint64_t features, unsigned int total)
{
	struct drv_ring *r = &b.d.rings[0];
	uint64_t gpa = arena_alloc(&b.a, 16 * 8, 64), deadline = mock_real_now_ns() + DEADLINE_NS;
	uint64_t gpa_of_head[16];
	unsigned int sent = 0, got = 0;
	uint32_t seed = 1, id, len;

	bench_up(&b, features);
	arena_permit(&b.a, gpa, 16 * 8);
	for (unsigned int i = 0; i < 16; i++) {
		arena_put32(&b.a, r->used + 4 + 8 * i, 0xdeadbeef);
		arena_put32(&b.a, r->used + 8 + 8 * i, 0xdeadbeef);
	}
	while (got < total) {
		unsigned int nr = 1 + roll(&seed) % 3;
		uint32_t seen = b.d.irqs.queue[0];

		for (; nr && sent < total && sent - got < 4; nr--, sent++) {
			struct drv_buf buf = { gpa + 8 * (sent % 16), 1 + sent % 7, true };
			uint16_t head = ring_add(r, &buf, 1);

			gpa_of_head[head] = sent % 7;
			write_plainly(r, head);
			ring_publish(r);
			ring_kick(r);
		}
		bool some = false;
		read_plainly(r);
		while (ring_get(r, &id, &len)) {
			/* A stale entry would say something else. */
			MUST(len == 1 + gpa_of_head[id]);
			some = true;
			got++;
		}
		if (!some && got < total && !ring_irq_on(r))
			sleep_until_irq(r, seen, deadline);
	}
}

START_TEST(no_wake_up_is_lost)
{
	ROW("SPL-22", "SPL-24", "SPL-26", "SPL-27", "SPL-39", "SPL-40", "GEN-29");
	converse(_i ? MODERN_ALL : MODERN, bench_rounds(10000000) / 2);
}

/* --- litmus: two threads at one step of a queue, as close as they can be --- */

static _Atomic uint32_t at_step[2];

/* Both sides meet here; who comes first spins, and gives way when the other does not run at all. */
static void meet(unsigned int side, uint32_t step)
{
	at_step[side] = step;
	for (unsigned int i = 0; at_step[!side] < step; i++)
		if (i > 1000)
			sched_yield();
}

/* So that over the rounds either side is the earlier one, by every small amount. */
static void lag(uint32_t steps)
{
	for (volatile uint32_t i = 0; i < steps; i++)
		;
}

struct litmus {
	unsigned int rounds;
	_Atomic bool has; /* the device found the ring not empty when it asked for kicks again */
};

/* The owner's side, in the place of a loop. Each round: it has a chain out; returns it; asks for kicks. */
static void *owner(void *arg)
{
	struct litmus *l = arg;
	struct virtqueue *vq = &b.td.vd.vqs[0];
	struct iovec iov[4];
	struct vq_chain c = { .iov = iov, .iov_max = 4 };

	for (uint32_t i = 0; i < l->rounds; i++) {
		meet(1, 5 * i + 1);
		vq->budget = 1;
		MUST(vq_pop(vq, &c) == 1);
		vq_push(vq, &c, 1);
		meet(1, 5 * i + 2);
		lag(i % 64);
		vq_flush(vq);
		meet(1, 5 * i + 3);
		vq_kicks_off(vq);
		meet(1, 5 * i + 4);
		/* Each side has the other's words in its cache: then its own store is the slow part. */
		arena_get16(&b.a, b.d.rings[0].avail + 2);
		meet(1, 5 * i + 5);
		lag(i / 64 % 64);
		l->has = vq_kicks_on(vq);
	}
	meet(1, 5 * l->rounds + 1);
	return NULL;
}

static void check_irq(struct drv_ring *r, bool found, uint32_t irqs)
{
	uint32_t id, len;

	/* Nobody told it and it did not see it: it would sleep for ever. */
	MUST(found || b.d.irqs.queue[0] != irqs);
	MUST(ring_get(r, &id, &len) && len == 1);
	if (!r->event_idx)
		ring_set_avail_flags(r, 1);
}

/* The driver's idx, and then the device's wish, with nothing between that takes time. */
static __attribute__((noinline)) bool publish_and_look(const struct drv_ring *r, uint16_t *idx,
						       const uint16_t *wish)
{
	__atomic_store_n(idx, htole16(r->avail_idx), __ATOMIC_RELEASE);
	atomic_thread_fence(memory_order_seq_cst);
	uint16_t v = le16toh(__atomic_load_n(wish, __ATOMIC_RELAXED));
	return r->event_idx ? v == (uint16_t)(r->avail_idx - 1) : !v;
}

START_TEST(neither_side_sleeps_through)
{
	ROW("SPL-24", "SPL-39", "SPL-40");
	struct litmus l = { .rounds = bench_rounds(10000000) };
	struct drv_buf buf = { b.echo_gpa, 1, true };
	struct drv_ring *r = &b.d.rings[0];
	bool wanted = true;
	pthread_t t;

	/* The loops have no threads here: `owner` is the owner. */
	bench_release(&b);
	bench_init(&b, &(struct bench_opts){ .queues = 2 });
	bench_up(&b, _i ? MODERN_ALL : MODERN);
	uint16_t *idx = gmem_span(&b.a.gm, r->avail + 2, 2);
	uint16_t *wish = gmem_span(&b.a.gm, r->used + (_i ? 4 + 8 * 16 : 0), 2);
	at_step[0] = at_step[1] = 0;
	arena_permit(&b.a, b.echo_gpa, 1);
	MUST(pthread_create(&t, NULL, owner, &l) == 0);
	ring_add(r, &buf, 1);
	ring_publish(r);
	for (uint32_t i = 0; i < l.rounds; i++) {
		uint32_t irqs = b.d.irqs.queue[0];

		meet(0, 5 * i + 1);
		if (i)
			MUST(wanted || l.has);
		meet(0, 5 * i + 2);
		bool found = ring_irq_on(r);
		meet(0, 5 * i + 3);
		check_irq(r, found, irqs);
		ring_add(r, &buf, 1);
		meet(0, 5 * i + 4);
		MUST(r->event_idx ? ring_avail_event(r) != r->avail_idx : ring_used_flags(r) == 1);
		meet(0, 5 * i + 5);
		wanted = publish_and_look(r, idx, wish);
		ring_publish(r);
	}
	meet(0, 5 * l.rounds + 1);
	MUST(wanted || l.has);
	pthread_join(t, NULL);
}

/* --- races --- */

struct racer {
	pthread_t thread;
	atomic_bool *stop;
	uint32_t seed;
	_Atomic uint32_t rounds;
};

static void start_racer(struct racer *x, void *(*fn)(void *), atomic_bool *stop, uint32_t seed)
{
	*x = (struct racer){ .stop = stop, .seed = seed };
	MUST(pthread_create(&x->thread, NULL, fn, x) == 0);
}

static void *kicks(void *arg)
{
	struct racer *x = arg;

	while (!*x->stop) {
		virtio_queue_notify(&b.td.vd, roll(&x->seed) % 4);
		x->rounds++;
		sched_yield();
	}
	return NULL;
}

static void *looks(void *arg)
{
	struct racer *x = arg;

	while (!*x->stop) {
		uint8_t bytes[TESTDEV_CONFIG_LEN];

		virtio_config_read(&b.td.vd, roll(&x->seed) % 20, bytes, roll(&x->seed) % 17);
		virtio_queue_select(&b.td.vd, roll(&x->seed) % 4);
		virtio_set_queue_addr(&b.td.vd, roll(&x->seed) % 3, 0x1000);
		virtio_get_queue_enable(&b.td.vd);
		virtio_get_status(&b.td.vd);
		virtio_config_changed(&b.td.vd);
		x->rounds++;
		sched_yield();
	}
	return NULL;
}

/* Until each has been at it, so that there was a race. */
static void stop_racers(struct racer *x, unsigned int nr, atomic_bool *stop)
{
	for (unsigned int i = 0; i < nr; i++)
		while (x[i].rounds < 10)
			sched_yield();
	*stop = true;
	for (unsigned int i = 0; i < nr; i++)
		pthread_join(x[i].thread, NULL);
}

static void fill_ring(uint16_t q)
{
	struct drv_ring *r = &b.d.rings[q];

	for (uint16_t i = 0; i < 16; i++) {
		ring_desc(r, i, b.echo_gpa, 8, DESC_WRITE, 0);
		ring_push(r, i);
	}
	drv_notify(&b.d, q);
}

/* The bench's own way to enable a queue is a select and a write: here a racer comes between. */
static void enable_stubbornly(uint16_t q)
{
	struct drv_ring *r = &b.d.rings[q];

	ring_make_at(&b.d, q, 16, r->desc, r->avail, r->used);
	for (unsigned int i = 0; i < 3; i++)
		ring_enable(r);
}

START_TEST(resets_race_with_everybody)
{
	ROW("HD-104", "HD-106", "HD-108", "HD-127");
	atomic_bool stop = false;
	struct racer x[2];

	bench_up(&b, MODERN_ALL);
	start_racer(&x[0], kicks, &stop, 1);
	start_racer(&x[1], looks, &stop, 2);
	for (unsigned int i = 0; i < bench_rounds(100000) / 4; i++) {
		b.td.mode = i % 3 ? TESTDEV_HOLD : TESTDEV_AUTO;
		fill_ring(i % 2);
		if (i % 4 == 0) {
			drv_set_reg(&b.d, i / 4 % 2, DRV_RESET, 1);
			drv_set_reg(&b.d, i / 4 % 2, DRV_ENABLE, 1);
		}
		if (i % 5 == 0)
			virtio_fault(&b.td.vd, "a test");
		bench_reset(&b);
		/* A racer may have selected another word or queue: then the device says no, and that is all. */
		drv_negotiate(&b.d, MODERN_ALL);
		enable_stubbornly(0);
		enable_stubbornly(1);
		drv_driver_ok(&b.d);
	}
	stop_racers(x, 2, &stop);
	b.td.mode = TESTDEV_AUTO;
	bench_reset(&b);
	arena_settle(&b.a);
	arena_permit(&b.a, b.cd.rings[0].used, RING_USED_LEN(MINI_QUEUE_SIZE));
	arena_permit(&b.a, b.canary_gpa, 64);
}

START_TEST(after_status_0_there_is_silence)
{
	ROW("GEN-33", "GEN-34");
	for (unsigned int i = 0; i < bench_rounds(20000); i++) {
		b.td.mode = i % 2 ? TESTDEV_HOLD : TESTDEV_AUTO;
		bench_up(&b, MODERN_ALL);
		fill_ring(0);
		fill_ring(1);
		drv_set_status(&b.d, 0);
		while (drv_status(&b.d))
			sched_yield();
		uint32_t irqs = b.d.irqs.queue[0] + b.d.irqs.queue[1];
		/* The device's memory is the driver's again: a write of the device would be a race. */
		for (uint16_t q = 0; q < 2; q++)
			arena_fill(&b.a, b.d.rings[q].used, 0xa5, RING_USED_LEN(16));
		arena_fill(&b.a, b.echo_gpa, 0xa5, 8);
		arena_forbid(&b.a);
		arena_permit(&b.a, b.cd.rings[0].used, RING_USED_LEN(MINI_QUEUE_SIZE));
		arena_permit(&b.a, b.canary_gpa, 64);
		bench_settle(&b);
		ck_assert_uint_eq(arena_stray(&b.a), ARENA_CLEAN);
		ck_assert_uint_eq(b.d.irqs.queue[0] + b.d.irqs.queue[1], irqs);
	}
	b.td.mode = TESTDEV_AUTO;
}

/* --- a second CPU that rewrites the rings --- */

static uint64_t flip_data, flip_table;

static uint64_t wild_address(uint32_t *seed)
{
	switch (roll(seed) % 8) {
	case 0:
		return 0xfee00000;
	case 1:
		return UINT64_MAX - 7;
	case 2:
		return flip_table + roll(seed) % 64;
	default:
		return flip_data + roll(seed) % 4096;
	}
}

static void wild_desc(uint64_t table, uint32_t *seed)
{
	uint8_t *d = gmem_span(&b.a.gm, table + 16 * (roll(seed) % 16), 16);
	uint32_t what = roll(seed) % 16;

	/* Mostly one field; the rest of the chain stays good. */
	if (what < 6)
		__atomic_store_n((uint64_t *)(void *)d, htole64(wild_address(seed)),
				 __ATOMIC_RELAXED);
	else if (what < 10)
		__atomic_store_n((uint32_t *)(void *)(d + 8), htole32(roll(seed) % 512),
				 __ATOMIC_RELAXED);
	else if (what < 13)
		__atomic_store_n((uint16_t *)(void *)(d + 12), htole16(roll(seed) % 4),
				 __ATOMIC_RELAXED);
	else if (what < 14)
		__atomic_store_n((uint16_t *)(void *)(d + 12), htole16(roll(seed) % 8),
				 __ATOMIC_RELAXED);
	else
		__atomic_store_n((uint16_t *)(void *)(d + 14), htole16(roll(seed) % 17),
				 __ATOMIC_RELAXED);
}

static void *flips(void *arg)
{
	struct racer *x = arg;
	struct drv_ring *r = &b.d.rings[0];
	uint64_t desc = r->desc, avail = r->avail;

	while (!*x->stop) {
		uint16_t *a = gmem_span(&b.a.gm, avail, RING_AVAIL_LEN(16));

		for (unsigned int i = 0; i < 4; i++) {
			wild_desc(desc, &x->seed);
			wild_desc(flip_table, &x->seed);
		}
		if (roll(&x->seed) % 16 == 0)
			__atomic_store_n(&a[2 + roll(&x->seed) % 16], htole16(roll(&x->seed) % 17),
					 __ATOMIC_RELAXED);
		if (roll(&x->seed) % 64 == 0)
			__atomic_store_n(&a[1], htole16(roll(&x->seed) & 0xffff), __ATOMIC_RELAXED);
		else
			__atomic_fetch_add(&a[1], 1, __ATOMIC_RELEASE);
		x->rounds++;
		sched_yield();
	}
	return NULL;
}

/* Chains of three, then an indirect table of 16; all of them available. */
static void lay_good_chains(void)
{
	struct drv_ring *r = &b.d.rings[0];

	for (uint16_t i = 0; i < 16; i++) {
		desc_put(&b.a, flip_table, i,
			 (struct drv_desc){ flip_data, 64, i < 15 ? DESC_NEXT : 0, i + 1 });
		if (i % 4 == 3)
			ring_desc(r, i, flip_table, 256, DESC_INDIRECT, 0);
		else
			ring_desc(r, i, flip_data + 256 * i, 64, DESC_NEXT, i + 1);
		ring_set_slot(r, i, i);
	}
	ring_set_idx(r, 8);
}

START_TEST(descriptors_are_read_once)
{
	ROW("HD-41", "HD-218", "HD-220");
	atomic_bool stop = false;
	struct racer x[2];
	unsigned int broken = 0;

	flip_data = arena_alloc(&b.a, 0x10000, 4096);
	flip_table = arena_alloc(&b.a, 4096, 4096);
	bench_up(&b, MODERN_ALL);
	lay_good_chains();
	start_racer(&x[0], kicks, &stop, 3);
	start_racer(&x[1], flips, &stop, 4);
	for (unsigned int i = 0; i < bench_rounds(500000); i++) {
		drv_notify(&b.d, 0);
		bench_settle(&b);
		if (!(drv_status(&b.d) & VIRTIO_NEEDS_RESET))
			continue;
		broken++;
		drv_set_status(&b.d, 0);
		while (drv_status(&b.d))
			sched_yield();
		lay_good_chains();
		MUST(drv_negotiate(&b.d, MODERN_ALL));
		ring_enable(&b.d.rings[0]);
		drv_driver_ok(&b.d);
	}
	stop_racers(x, 2, &stop);
	ck_assert_uint_gt(broken, 0);
	ck_assert_uint_gt(b.td.taken, 0);
	bench_reset(&b);
	arena_settle(&b.a);
	arena_permit(&b.a, b.cd.rings[0].used, RING_USED_LEN(MINI_QUEUE_SIZE));
	arena_permit(&b.a, b.canary_gpa, 64);
}

/* All that a driver can do at once, by its own transport: registers, rings, kicks, the end and the beginning. */
static void *rages(void *arg)
{
	struct racer *x = arg;

	while (!*x->stop) {
		uint32_t v = roll(&x->seed);

		b.d.ops->set_status(&b.d, v % 3 ? 0x0f : v >> 4);
		b.d.ops->queue_select(&b.d, v >> 8 & 3);
		b.d.ops->set_reg(&b.d, v % 3, v >> 3 & 17);
		b.d.ops->set_addr(&b.d, v % 3, b.d.rings[v & 1].desc);
		b.d.ops->accept_features(&b.d, v & 1, v & 2 ? UINT32_MAX : 1);
		b.d.ops->config_write(&b.d, v % 40, &v, 4);
		b.d.ops->notify(&b.d, v & 3);
		if (v % 7 == 0) {
			ring_set_idx(&b.d.rings[0], v);
			ring_desc(&b.d.rings[0], v % 16,
				  v & 64 ? b.echo_gpa : wild_address(&x->seed), 4, v & 7,
				  v >> 12 & 31);
		}
		if (v % 31 == 0) {
			b.d.ops->set_status(&b.d, 0);
			drv_negotiate(&b.d, MODERN_ALL);
			ring_enable(&b.d.rings[0]);
			drv_driver_ok(&b.d);
		}
		x->rounds++;
	}
	return NULL;
}

START_TEST(others_go_on)
{
	ROW("HD-227");
	atomic_bool stop = false;
	struct racer x[1];

	flip_data = arena_alloc(&b.a, 0x10000, 4096);
	flip_table = arena_alloc(&b.a, 4096, 4096);
	bench_up(&b, MODERN_ALL);
	arena_permit(&b.a, 0, ARENA_LOW_END);
	start_racer(&x[0], rages, &stop, 7);
	/* Each has a deadline of its own. */
	for (unsigned int i = 0; i < bench_rounds(100000); i++)
		bench_canary(&b);
	stop_racers(x, 1, &stop);
	bench_reset(&b);
	arena_settle(&b.a);
	arena_permit(&b.a, b.cd.rings[0].used, RING_USED_LEN(MINI_QUEUE_SIZE));
	arena_permit(&b.a, b.canary_gpa, 64);
}

static void add(TCase *tc)
{
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_loop_test(tc, no_wake_up_is_lost, 0, 2);
	tcase_add_test(tc, resets_race_with_everybody);
	tcase_add_test(tc, after_status_0_there_is_silence);
	tcase_add_test(tc, descriptors_are_read_once);
	tcase_add_test(tc, others_go_on);
}

/* What looks behind the transport, or has one of its own. */
static void add_alone(TCase *tc)
{
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_loop_test(tc, neither_side_sleeps_through, 0, 2);
}

TRANSPORTS_SUITE("virtio-threads", add, add_alone, on_core, on_pci, on_pci_armed)
