// SPDX-License-Identifier: GPL-2.0
// LINK: virtio/net.c virtio/net-io.c virtio/late.c virtio/net-ctrl.c virtio/net-vhost.c virtio/vhost.c virtio/device.c virtio/registers.c virtio/legacy.c virtio/queue.c virtio/mini.c gmem.c util/loop.c util/log.c util/err.c tests/mock/clock.c tests/mock/arena.c tests/mock/ring.c tests/mock/driver.c tests/mock/core.c tests/mock/testdev.c tests/mock/bench.c tests/mock/net.c tests/mock/netbench.c
/* Interrupts for what was sent: when they are held back, spared, given late, and given at once. */
#include "unit.h"

#include <lkvm/util.h>

#include "../mock/net.h"

static struct netbench b;
static uint8_t frame[1514];

#define ALL drv_offered(&b.d)

/* The clock stands, but for later(). */
static void setup(void)
{
	netbench_init(&b, &(struct netbench_opts){ 0 });
	netbench_frame(&b, frame, sizeof(frame), NULL, -1);
	atomic_store(&mock_clock_frozen, mock_real_now_ns());
	netbench_up(&b, ALL);
}

static void teardown(void)
{
	atomic_store(&mock_clock_frozen, 0);
	netbench_recover(&b);
	netbench_release(&b);
}

static void later(uint64_t ns)
{
	atomic_fetch_add(&mock_clock_frozen, ns);
	bench_turn(&b.b);
	netbench_settle(&b);
}

static struct drv_ring *ring(void)
{
	return &b.d.rings[1];
}

static uint32_t irqs(void)
{
	return b.d.irqs.queue[1];
}

/* One kick for `nr` frames, which all are used at once. */
static void send(unsigned int nr)
{
	struct drv_buf buf = { b.tx_gpa, 12 + sizeof(frame), false };
	uint16_t used = ring_used_idx(ring());

	for (unsigned int i = 0; i < nr; i++)
		ring_add(ring(), &buf, 1);
	ring_publish(ring());
	ring_kick(ring());
	netbench_settle(&b);
	ck_assert_uint_eq((uint16_t)(ring_used_idx(ring()) - used), nr);
}

/* The driver takes back what is used, and wants to be told of the next. */
static void look(void)
{
	uint32_t id, len;

	while (ring_get(ring(), &id, &len))
		;
	ring_irq_on(ring());
}

static void receive(void)
{
	netbench_post(&b, 0, 2048, 0);
	ck_assert(mock_net_inject(&b.be, 0, NULL, frame, sizeof(frame)));
	netbench_settle(&b);
}

START_TEST(is_spared_when_the_driver_looks)
{
	for (unsigned int i = 0; i < 1000; i++) {
		send(1);
		later(VQ_LATE_NS - 1);
		ck_assert_uint_eq(irqs(), 0);
		look();
		/* Whether it is seen by the next kick or by the clock. */
		if (i % 2)
			later(1);
	}
	later(10 * VQ_LATE_NS);
	ck_assert_uint_eq(irqs(), 0);
}

/* Each sends before the time of the one before it is over: the time is the new one's. */
START_TEST(begins_anew_for_what_comes_later)
{
	send(1);
	later(VQ_LATE_NS - 1);
	look();
	send(1);
	later(VQ_LATE_NS - 1);
	ck_assert_uint_eq(irqs(), 0);
	later(1);
	ck_assert_uint_eq(irqs(), 1);
}

/* What comes meanwhile does not put it off. */
START_TEST(is_given_in_time)
{
	for (unsigned int i = 0; i < 3; i++) {
		ck_assert_uint_eq(irqs(), 0);
		send(1);
		later(VQ_LATE_NS / 3);
	}
	later(VQ_LATE_NS / 3);
	ck_assert_uint_eq(irqs(), 1);
	later(10 * VQ_LATE_NS);
	ck_assert_uint_eq(irqs(), 1);
}

/* How many are given at once now. */
static unsigned int prompt(void)
{
	unsigned int nr = 0;

	for (;; nr++) {
		uint32_t before = irqs();

		send(1);
		if (irqs() == before)
			return nr;
		ck_assert_uint_eq(irqs(), before + 1);
		look();
	}
}

/* One that waits for them has them at once, for longer each time; until it has been seen to look by itself. */
START_TEST(a_driver_that_waits_is_served)
{
	unsigned int want = VQ_LATE_PROMPT_MIN;

	ck_assert_uint_eq(prompt(), 0);
	for (unsigned int i = 0; i < 12; i++) {
		uint32_t before = irqs();

		later(VQ_LATE_NS);
		ck_assert_uint_eq(irqs(), before + 1);
		look();
		ck_assert_uint_eq(prompt(), want);
		want = MIN(2 * want, (unsigned int)VQ_LATE_PROMPT_MAX);
	}
	look();
	ck_assert_uint_eq(prompt(), 0);
	later(VQ_LATE_NS);
	look();
	ck_assert_uint_eq(prompt(), VQ_LATE_PROMPT_MIN);
}

/* It was told of a packet, and would have looked, but for the time that it takes. */
START_TEST(a_slow_driver_is_not_taken_for_one_that_waits)
{
	for (unsigned int i = 0; i < 10; i++) {
		send(1);
		receive();
		later(VQ_LATE_NS);
		ck_assert_uint_eq(irqs(), i + 1);
		look();
	}
	ck_assert_uint_eq(prompt(), 0);
}

/* A quarter of the ring and more is out: it may need the room. */
START_TEST(a_driver_with_much_out_is_told)
{
	unsigned int past = NETBENCH_RING / 16;

	for (unsigned int nr = 1; nr <= past; nr++) {
		uint32_t before = irqs();

		send(nr);
		ck_assert_uint_eq(irqs() - before, nr == past);
		look();
	}
	/* Also when it wants to be told of the last quarter of them only. */
	uint32_t before = irqs();
	ring_set_used_event(ring(), (uint16_t)(ring()->last_used + 3 * past));
	send(3 * past);
	ck_assert_uint_eq(irqs(), before);
	send(past - 1);
	ck_assert_uint_eq(irqs(), before);
	send(1);
	ck_assert_uint_eq(irqs(), before + 1);
}

START_TEST(at_once_without_event_idx)
{
	netbench_up(&b, ALL & ~VIRTIO_BIT(VIRTIO_F_EVENT_IDX));
	for (uint32_t i = 0; i < 10; i++) {
		send(1);
		ck_assert_uint_eq(irqs(), i + 1);
	}
	ring_set_avail_flags(ring(), 1);
	send(1);
	later(VQ_LATE_NS);
	ck_assert_uint_eq(irqs(), 10);
}

/* Of what is held back nothing is left after a reset, nor of what was known of the driver. */
START_TEST(a_reset_forgets_it)
{
	send(1);
	netbench_up(&b, ALL);
	later(VQ_LATE_NS);
	ck_assert_uint_eq(irqs(), 0);
	send(1);
	later(VQ_LATE_NS);
	ck_assert_uint_eq(irqs(), 1);
	netbench_up(&b, ALL);
	ck_assert_uint_eq(prompt(), 0);
	/* Nor after one of the queue. */
	uint32_t before = irqs();
	drv_set_reg(&b.d, 1, DRV_RESET, 1);
	ck_assert_uint_eq(drv_reg(&b.d, 1, DRV_RESET), 0);
	later(VQ_LATE_NS);
	ck_assert_uint_eq(irqs(), before);
}

/* Nor is a broken device's driver told, nor one whose device may not write. */
START_TEST(no_interrupt_of_a_broken_device)
{
	send(1);
	virtio_set_bus_master(&b.n.vd, false);
	later(VQ_LATE_NS);
	ck_assert_uint_eq(irqs(), 0);
	virtio_set_bus_master(&b.n.vd, true);
	netbench_settle(&b);
	later(VQ_LATE_NS);
	ck_assert_uint_eq(irqs(), 1);
	look();
	netbench_up(&b, ALL);
	send(1);
	virtio_fault(&b.n.vd, "a test");
	later(VQ_LATE_NS);
	ck_assert_uint_eq(irqs(), 1);
}

UNIT_SUITE("virtio-late", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, is_spared_when_the_driver_looks);
	tcase_add_test(tc, begins_anew_for_what_comes_later);
	tcase_add_test(tc, is_given_in_time);
	tcase_add_test(tc, a_driver_that_waits_is_served);
	tcase_add_test(tc, a_slow_driver_is_not_taken_for_one_that_waits);
	tcase_add_test(tc, a_driver_with_much_out_is_told);
	tcase_add_test(tc, at_once_without_event_idx);
	tcase_add_test(tc, a_reset_forgets_it);
	tcase_add_test(tc, no_interrupt_of_a_broken_device);
})
