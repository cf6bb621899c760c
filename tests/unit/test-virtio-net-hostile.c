// SPDX-License-Identifier: GPL-2.0
// LINK: virtio/net.c virtio/net-io.c virtio/late.c virtio/net-ctrl.c virtio/net-vhost.c virtio/vhost.c virtio/device.c virtio/registers.c virtio/legacy.c virtio/queue.c virtio/mini.c gmem.c util/loop.c util/log.c util/err.c tests/mock/clock.c tests/mock/arena.c tests/mock/ring.c tests/mock/driver.c tests/mock/core.c tests/mock/testdev.c tests/mock/bench.c tests/mock/net.c tests/mock/netbench.c
/* virtio-net and drivers that mean harm: section HD-L of the checklist. G1 to G9 are netbench_recover()'s. */
#include "unit.h"

#include <errno.h>
#include <string.h>

#include <lkvm/util.h>

#include "../mock/net.h"

static struct netbench b;
static uint8_t frame[NET_FRAME_MAX + 64], got[NET_FRAME_MAX], header[12];

#define ALL drv_offered(&b.d)

static void begin(unsigned int pairs)
{
	netbench_init(&b, &(struct netbench_opts){ .pairs = pairs });
	netbench_up(&b, ALL);
}

/* The queue of this number gives its next chain back with this length, and the device is well. */
static void expect_returned(uint16_t q, uint32_t length)
{
	uint32_t id, len;

	netbench_settle(&b);
	ck_assert(ring_get(&b.d.rings[q], &id, &len));
	ck_assert_uint_eq(len, length);
	ck_assert_uint_eq(drv_status(&b.d), 0x0f);
}

static void give(uint16_t q, const struct drv_buf *bufs, unsigned int nr)
{
	ring_add(&b.d.rings[q], bufs, nr);
	ring_publish(&b.d.rings[q]);
	ring_kick(&b.d.rings[q]);
}

static void returned(uint16_t q, const struct drv_buf *bufs, unsigned int nr, uint32_t len)
{
	give(q, bufs, nr);
	expect_returned(q, len);
}

/* --- TX --- */

static void short_chains(void)
{
	for (uint32_t len = 0; len < 12 + NET_ETH_LEN; len++)
		for (uint32_t cut = 0; cut < 3; cut++)
			ck_assert_uint_eq(netbench_send_raw(&b, 0, frame, len, cut), 0);
	ck_assert_uint_eq(b.be.sends, 0);
	ck_assert_uint_eq(b.n.pair[0].tx_count.dropped, 3 * (12 + NET_ETH_LEN));
	ck_assert_uint_eq(netbench_send_raw(&b, 0, frame, 12 + NET_ETH_LEN, 0), 0);
	ck_assert_uint_eq(b.be.sends, 1);
}

static void huge_chains(void)
{
	struct drv_buf bufs[NETBENCH_RING];

	ck_assert_uint_eq(netbench_send_raw(&b, 0, frame, 12 + NET_FRAME_MAX + 1, 0), 0);
	for (unsigned int i = 0; i < NETBENCH_RING; i++)
		bufs[i] = (struct drv_buf){ b.tx_gpa, 0x4000, false };
	returned(1, bufs, NETBENCH_RING, 0);
	/* As much as a chain may have: 4 GiB less one. */
	for (unsigned int i = 0; i < NETBENCH_RING; i++)
		bufs[i] = (struct drv_buf){ ARENA_HIGH, ARENA_HIGH_LEN, false };
	returned(1, bufs, NETBENCH_RING, 0);
	bufs[0].len = UINT32_MAX;
	returned(1, bufs, 1, 0);
	ck_assert_uint_eq(b.be.sends, 0);
}

static void only_writable(void)
{
	struct drv_buf bufs[] = { { b.tx_gpa, 100, true }, { b.tx_gpa + 100, 100, true } };

	returned(1, bufs, 2, 0);
	ck_assert_uint_eq(b.be.sends, 0);
}

/* A writable part behind a frame is none of ours. */
static void writable_behind(void)
{
	struct drv_buf bufs[] = { { b.tx_gpa, 112, false }, { b.tx_gpa + 200, 100, true } };

	arena_fill(&b.b.a, b.tx_gpa, 0, 112);
	returned(1, bufs, 2, 0);
	ck_assert_uint_eq(b.be.out[0].len, 100);
}

static void outside_memory(void)
{
	struct drv_buf bufs[] = { { b.tx_gpa, 12, false }, { ARENA_LOW_END, 100, false } };

	returned(1, bufs, 2, 0);
	ck_assert_uint_eq(b.be.sends, 0);
}

/* --- RX --- */

static void mmio_buffer(void)
{
	struct drv_buf buf = { ARENA_LOW_END, 2048, true };

	returned(0, &buf, 1, 0);
	struct drv_buf tail[] = { { b.rx_gpa, 12, true }, { ARENA_HIGH_END - 4, 100, true } };
	returned(0, tail, 2, 0);
	netbench_frame(&b, frame, 200, NULL, -1);
	ck_assert(netbench_passes(&b, frame, 200));
}

/* Header and frame over the border of two regions that touch for the guest only. */
static void split_over_regions(void)
{
	for (uint32_t before = 1; before < 40; before++) {
		struct drv_buf buf = { ARENA_SPLIT - before, 300, true };
		uint16_t head = ring_add(&b.d.rings[0], &buf, 1);

		b.rx_of[0][head] = buf.gpa;
		ring_publish(&b.d.rings[0]);
		ring_kick(&b.d.rings[0]);
		netbench_frame(&b, frame, 288, NULL, -1);
		mock_net_inject(&b.be, 0, NULL, frame, 288);
		ck_assert_int_eq(netbench_receive(&b, 0, header, got, NULL), 288);
		ck_assert_mem_eq(got, frame, 288);
		ck_assert_uint_eq(get_le16(header + 10), 1);
	}
}

/* All buffers in one place: it gets its own bytes mixed, and nobody else's. */
static void same_buffer(void)
{
	struct drv_buf buf = { b.rx_gpa, 100, true };

	for (unsigned int i = 0; i < NETBENCH_RING; i++)
		ring_add(&b.d.rings[0], &buf, 1);
	ring_publish(&b.d.rings[0]);
	ring_kick(&b.d.rings[0]);
	netbench_frame(&b, frame, 3000, NULL, -1);
	mock_net_inject(&b.be, 0, NULL, frame, 3000);
	netbench_settle(&b);
	ck_assert_uint_eq(ring_used_idx(&b.d.rings[0]), 31);
}

/* The rings themselves as buffers. */
static void buffer_is_the_ring(void)
{
	struct drv_ring *r = &b.d.rings[0];
	struct drv_buf bufs[] = { { r->used, (uint32_t)RING_USED_LEN(r->size), true },
				  { r->desc, (uint32_t)RING_DESC_LEN(r->size), true } };

	give(0, bufs, 2);
	netbench_frame(&b, frame, 1200, NULL, -1);
	for (unsigned int i = 0; i < 4; i++) {
		mock_net_inject(&b.be, 0, NULL, frame, 1200);
		netbench_settle(&b);
	}
	r->odd = true;
}

static void wild_index(void)
{
	ring_set_idx(&b.d.rings[0], 0x8000);
	drv_notify(&b.d, 0);
	netbench_settle(&b);
	ck_assert_uint_eq(drv_status(&b.d), 0x4f);
	ck_assert_uint_eq(b.d.irqs.config, 1);
	netbench_frame(&b, frame, 100, NULL, -1);
	mock_net_inject(&b.be, 0, NULL, frame, 100);
	netbench_settle(&b);
	ck_assert_uint_eq(b.be.port[0].watch & NET_READABLE, 0);
}

/* A chain that breaks the device in the middle of a packet's buffers: those before it are not used. */
static void broken_in_the_middle(void)
{
	for (unsigned int i = 0; i < 5; i++)
		netbench_post(&b, 0, 1000, 0);
	ring_push(&b.d.rings[0], 0x7fff);
	netbench_frame(&b, frame, 1500, NULL, -1);
	mock_net_inject(&b.be, 0, NULL, frame, 1500);
	drv_notify(&b.d, 0);
	netbench_settle(&b);
	ck_assert_uint_eq(drv_status(&b.d), 0x4f);
	ck_assert_uint_eq(ring_used_idx(&b.d.rings[0]), 0);
	ck_assert_uint_eq(mock_net_waiting(&b.be, 0), 1);
}

/* --- the control queue --- */

static void control_shapes(void)
{
	uint16_t q = netbench_ctrl(&b);
	uint64_t at = b.ctrl_gpa;
	uint8_t cmd[3] = { 0, 0, 1 };
	struct drv_buf nothing = { at, 0, false },
		       one[] = { { at, 1, false }, { at + 64, 1, true } };
	struct drv_buf no_ack = { at, 3, false },
		       readable[] = { { at, 3, false }, { at + 64, 1, false } };
	struct drv_buf only_ack = { at + 64, 1, true },
		       empty_ack[] = { { at, 3, false }, { at + 64, 0, true } };

	arena_write(&b.b.a, at, cmd, 3);
	returned(q, &nothing, 1, 0);
	returned(q, one, 2, 1);
	returned(q, &no_ack, 1, 0);
	returned(q, readable, 2, 0);
	returned(q, empty_ack, 2, 0);
	returned(q, &only_ack, 1, 1);
	/* None of them was a command. */
	static const uint8_t foreign[6] = { 2, 9, 9, 9, 9, 9 };
	netbench_frame(&b, frame, 100, foreign, -1);
	ck_assert(!netbench_passes(&b, frame, 100));
}

/* The answer in front of the command is a wrong order of descriptors. */
static void ack_in_front(void)
{
	struct drv_buf bufs[] = { { b.ctrl_gpa + 64, 1, true }, { b.ctrl_gpa, 3, false } };

	give(netbench_ctrl(&b), bufs, 2);
	netbench_settle(&b);
	ck_assert_uint_eq(drv_status(&b.d), 0x4f);
}

static void huge_command(void)
{
	struct drv_buf bufs[NETBENCH_RING];
	uint8_t start[10] = { 1, 0, 0xff, 0xff, 0xff, 0xff }, ack;

	for (unsigned int i = 0; i < NETBENCH_RING - 1; i++)
		bufs[i] = (struct drv_buf){ b.tx_gpa, 0x20000, false };
	bufs[NETBENCH_RING - 1] = (struct drv_buf){ b.ctrl_gpa, 1, true };
	static const uint32_t counts[] = { 0xffffffff, 0x2aaaaaab, 0x10000, 1000, 65 };
	for (unsigned int i = 0; i < ARRAY_SIZE(counts); i++) {
		put_le32(start + 2, counts[i]);
		arena_write(&b.b.a, b.tx_gpa, start, sizeof(start));
		returned(netbench_ctrl(&b), bufs, NETBENCH_RING, 1);
		arena_read(&b.b.a, b.ctrl_gpa, &ack, 1);
		ck_assert_uint_eq(ack, 1);
	}
}

/* --- pairs and queues --- */

/* Every queue's doorbell, with rings that are not there. */
static void doorbells_of_all(void)
{
	netbench_reset(&b);
	ck_assert(drv_negotiate(&b.d, ALL));
	drv_driver_ok(&b.d);
	for (unsigned int round = 0; round < 3; round++)
		for (uint32_t q = 0; q < 80; q++)
			drv_notify(&b.d, q);
	netbench_settle(&b);
	netbench_frame(&b, frame, 100, NULL, -1);
	mock_net_inject(&b.be, 0, NULL, frame, 100);
	netbench_settle(&b);
	ck_assert_uint_eq(drv_status(&b.d), 0x0f);
}

static void send_on_idle_pair(void)
{
	netbench_frame(&b, frame, 100, NULL, -1);
	ck_assert(netbench_send(&b, 3, NULL, frame, 100));
}

/* The device is reset and begun again before its answers and posts have run. */
static void resets_in_between(void)
{
	for (unsigned int i = 0; i < 50; i++) {
		for (unsigned int k = 0; k < 8; k++)
			netbench_post(&b, 0, 1526, 0);
		netbench_frame(&b, frame, 1000, NULL, -1);
		mock_net_inject(&b.be, 0, NULL, frame, 1000);
		struct drv_buf cmd[] = { { b.ctrl_gpa, 4, false }, { b.ctrl_gpa + 64, 1, true } };
		arena_write(&b.b.a, b.ctrl_gpa, (uint8_t[]){ 4, 0, 2, 0 }, 4);
		give(netbench_ctrl(&b), cmd, 2);
		for (unsigned int turns = 0; turns < i % 4; turns++)
			bench_turn(&b.b);
		if (i % 8 == 7)
			drv_set_status(&b.d, 0);
		netbench_up(&b, i % 2 ? ALL : ALL & ~NF(MQ));
	}
}

/* Frames go round, from the guest to the guest, as long as it likes: the neighbour is served. */
static void storm(void)
{
	uint8_t raw[112] = { 0 };

	netbench_frame(&b, raw + 12, 100, NULL, -1);
	for (unsigned int i = 0; i < 200; i++) {
		while (b.d.rings[0].spare_nr)
			netbench_post(&b, 0, 1526, 0);
		ck_assert_uint_eq(netbench_send_raw(&b, 0, raw, 112, 0), 0);
		mock_net_inject(&b.be, 0, NULL, raw + 12, 100);
		ck_assert_int_eq(netbench_receive(&b, 0, header, got, NULL), 100);
		if (i % 50 == 0)
			bench_canary(&b.b);
		mock_net_clear(&b.be);
	}
}

static const struct row {
	const char *rows;
	void (*act)(void);
} rows[] = {
	/* ROW_TABLE(hostile) */
	{ "HD-192 NET-38", short_chains },
	{ "HD-193", huge_chains },
	{ "HD-196", only_writable },
	{ "HD-196", writable_behind },
	{ "HD-196", outside_memory },
	{ "HD-201", mmio_buffer },
	{ "HD-199 SPL-8", split_over_regions },
	{ "HD-200", same_buffer },
	{ "HD-202", buffer_is_the_ring },
	{ "HD-202", wild_index },
	{ "HD-202", broken_in_the_middle },
	{ "HD-204", control_shapes },
	{ "HD-204", ack_in_front },
	{ "HD-205", huge_command },
	{ "HD-206 HD-208", doorbells_of_all },
	{ "HD-208", send_on_idle_pair },
	{ "HD-203 HD-207", resets_in_between },
	{ "HD-215", storm },
};

START_TEST(hostile)
{
	begin(4);
	rows[_i].act();
	netbench_recover(&b);
	netbench_release(&b);
}

UNIT_SUITE("virtio-net-hostile", { tcase_add_loop_test(tc, hostile, 0, ARRAY_SIZE(rows)); })
