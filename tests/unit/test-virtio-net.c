// SPDX-License-Identifier: GPL-2.0
// LINK: virtio/net.c virtio/net-io.c virtio/late.c virtio/net-ctrl.c virtio/net-vhost.c virtio/vhost.c virtio/device.c virtio/registers.c virtio/legacy.c virtio/queue.c virtio/mini.c gmem.c util/loop.c util/log.c util/err.c tests/mock/clock.c tests/mock/arena.c tests/mock/ring.c tests/mock/driver.c tests/mock/core.c tests/mock/testdev.c tests/mock/bench.c tests/mock/net.c tests/mock/netbench.c
/* virtio-net: what it offers, its configuration space, its link, and packets by the book. */
#include "unit.h"

#include <errno.h>
#include <string.h>

#include <lkvm/util.h>

#include "../mock/net.h"

static struct netbench b;
static uint8_t frame[NET_FRAME_MAX + 1], got[NET_FRAME_MAX];
static uint8_t header[12];

/* Everything that is offered with the usual backend. */
#define ALL drv_offered(&b.d)

static const struct drv_transport_ops *const transports[] = { &drv_core, &drv_core_legacy };

static void begin(const struct netbench_opts *o)
{
	netbench_init(&b, o);
}

static void end(void)
{
	netbench_recover(&b);
	netbench_release(&b);
}

static void config(void *buf, uint32_t off, uint32_t len)
{
	b.d.ops->config_read(&b.d, off, buf, len);
}

static uint16_t config16(uint32_t off)
{
	uint8_t v[2];

	config(v, off, 2);
	return get_le16(v);
}

/* --- features --- */

/* The table of 5.1.3.1, written once more. */
static const struct {
	uint64_t feature, needs_any;
} needs[] = {
	{ NF(GUEST_TSO4), NF(GUEST_CSUM) },
	{ NF(GUEST_TSO6), NF(GUEST_CSUM) },
	{ NF(GUEST_ECN), NF(GUEST_TSO4) | NF(GUEST_TSO6) },
	{ NF(GUEST_UFO), NF(GUEST_CSUM) },
	{ NF(GUEST_USO4), NF(GUEST_CSUM) },
	{ NF(GUEST_USO6), NF(GUEST_CSUM) },
	{ NF(HOST_TSO4), NF(CSUM) },
	{ NF(HOST_TSO6), NF(CSUM) },
	{ NF(HOST_ECN), NF(HOST_TSO4) | NF(HOST_TSO6) },
	{ NF(HOST_UFO), NF(CSUM) },
	{ NF(HOST_USO), NF(CSUM) },
	{ NF(CTRL_RX), NF(CTRL_VQ) },
	{ NF(CTRL_VLAN), NF(CTRL_VQ) },
	{ NF(CTRL_RX_EXTRA), NF(CTRL_VQ) },
	{ NF(GUEST_ANNOUNCE), NF(CTRL_VQ) },
	{ NF(MQ), NF(CTRL_VQ) },
	{ NF(CTRL_MAC_ADDR), NF(CTRL_VQ) },
	/* Not in the specification's list (X20). */
	{ NF(CTRL_GUEST_OFFLOADS), NF(CTRL_VQ) },
};

/* With whatever backend, all features have what they need, and what the backend lacks is not offered. */
START_TEST(offers_what_it_can)
{
	ROW("NET-3", "NET-15", "NET-19", "NET-20", "NET-101", "GEN-16", "GEN-17");
	uint32_t mask = (uint32_t)_i;
	struct net_info info = { .tx_offloads = mask,
				 .rx_offloads = NET_ALL_OFFLOADS & ~mask,
				 .ports_max = mask % 2 ? 8 : 1,
				 .carrier = true };
	begin(&(struct netbench_opts){
		.info = &info, .pairs = info.ports_max, .mtu = mask & 4 ? 1500 : 0 });
	uint64_t offered = drv_offered(&b.d);
	for (unsigned int i = 0; i < ARRAY_SIZE(needs); i++)
		ck_assert(!(offered & needs[i].feature) || (offered & needs[i].needs_any));
	ck_assert_int_eq(!!(offered & NF(CSUM)), !!(mask & NET_CSUM));
	ck_assert_int_eq(!!(offered & NF(HOST_TSO4)), (mask & NET_CSUM) && (mask & NET_TSO4));
	ck_assert_int_eq(!!(offered & NF(HOST_USO)), (mask & NET_CSUM) && (mask & NET_USO));
	ck_assert_int_eq(!!(offered & NF(GUEST_CSUM)), !(mask & NET_CSUM));
	ck_assert_int_eq(!!(offered & NF(GUEST_TSO6)), !(mask & (NET_CSUM | NET_TSO6)));
	ck_assert_int_eq(!!(offered & NF(GUEST_ECN)),
			 !(mask & (NET_CSUM | NET_ECN)) && (~mask & (NET_TSO4 | NET_TSO6)));
	ck_assert_int_eq(!!(offered & NF(MQ)), mask % 2);
	ck_assert_int_eq(!!(offered & NF(MTU)), !!(mask & 4));
	/* GSO; RSC, RSS, hashes, coalescing, STANDBY, GUEST_HDRLEN: never. */
	ck_assert_uint_eq(offered & (VIRTIO_BIT(6) | VIRTIO_BIT(41) | VIRTIO_BIT(42) |
				     UINT64_C(0x7fe) << 43 | VIRTIO_BIT(57) | VIRTIO_BIT(59) |
				     VIRTIO_BIT(60) | VIRTIO_BIT(61) | VIRTIO_BIT(62)),
			  0);
	netbench_release(&b);
}

/* What lacks its base is refused at FEATURES_OK; everything else is taken and works. */
START_TEST(takes_every_valid_set)
{
	ROW("NET-3", "GEN-18", "GEN-20");
	begin(&(struct netbench_opts){ .pairs = 4 });
	for (unsigned int i = 0; i < ARRAY_SIZE(needs) - 1; i++) {
		netbench_reset(&b);
		ck_assert(!drv_negotiate(&b.d, MODERN | needs[i].feature));
		netbench_reset(&b);
		ck_assert(!drv_negotiate(&b.d, ALL & ~needs[i].needs_any));
	}
	for (uint32_t round = 0; round < 200; round++) {
		uint64_t set = 0;

		for (unsigned int bit = 0; bit < 64; bit++) {
			b.seed = b.seed * 1664525 + 1013904223;
			set |= (uint64_t)(b.seed >> 31) << bit;
		}
		set = (set & ALL) | MODERN;
		/* Twice: a base may lack its own base. */
		for (unsigned int i = 0; i < 2 * ARRAY_SIZE(needs); i++)
			if (!(set & needs[i % ARRAY_SIZE(needs)].needs_any))
				set &= ~needs[i % ARRAY_SIZE(needs)].feature;
		netbench_up(&b, set);
		netbench_frame(&b, frame, 300, NULL, -1);
		ck_assert(netbench_send(&b, 0, NULL, frame, 300));
		ck_assert(netbench_passes(&b, frame, 300));
	}
	end();
}

/* 5.1.2: the control queue is the one after the last pair, and there with its feature only. */
START_TEST(queues_follow_the_features)
{
	ROW("NET-1", "NET-2", "NET-21", "HD-206");
	begin(&(struct netbench_opts){ .pairs = 4 });
	netbench_reset(&b);
	ck_assert(drv_negotiate(&b.d, ALL & ~NF(MQ)));
	for (uint16_t q = 0; q < 10; q++)
		ck_assert_uint_eq(drv_reg(&b.d, q, DRV_SIZE), q < 3 ? VIRTIO_NET_QUEUE_SIZE : 0);
	netbench_reset(&b);
	ck_assert(drv_negotiate(&b.d, MODERN));
	for (uint16_t q = 0; q < 10; q++)
		ck_assert_uint_eq(drv_reg(&b.d, q, DRV_SIZE), q < 2 ? VIRTIO_NET_QUEUE_SIZE : 0);
	netbench_reset(&b);
	ck_assert(drv_negotiate(&b.d, ALL));
	for (uint16_t q = 0; q < 10; q++)
		ck_assert_uint_eq(drv_reg(&b.d, q, DRV_SIZE), q < 9 ? VIRTIO_NET_QUEUE_SIZE : 0);
	/* Without MQ a command is one on queue 2; with it, queue 2 holds receive buffers. */
	uint8_t on = 1;
	netbench_up(&b, ALL & ~NF(MQ));
	ck_assert_uint_eq(netbench_command(&b, 0, 0, &on, 1), 0);
	netbench_up(&b, ALL);
	ck_assert_uint_eq(netbench_command(&b, 0, 0, &on, 1), 0);
	struct drv_buf buf = { b.ctrl_gpa, 64, true };
	ring_add(&b.d.rings[2], &buf, 1);
	ring_publish(&b.d.rings[2]);
	drv_notify(&b.d, 2);
	netbench_settle(&b);
	ck_assert_uint_eq(ring_used_idx(&b.d.rings[2]), 0);
	/* Enabled, and given back before DRIVER_OK. */
	netbench_reset(&b);
	ck_assert(drv_negotiate(&b.d, ALL));
	for (uint16_t q = 0; q < 9; q++) {
		ring_make(&b.d, q, NETBENCH_RING);
		ring_enable(&b.d.rings[q]);
	}
	netbench_reset(&b);
	netbench_up(&b, ALL);
	/* More than there can be with these features is not listened to. */
	drv_notify(&b.d, 9);
	drv_notify(&b.d, 0xffff);
	end();
}

/* --- configuration space --- */

START_TEST(fields)
{
	uint8_t bytes[VIRTIO_NET_CONFIG_LEN + 8], ff[4] = { 0xff, 0xff, 0xff, 0xff };

	ROW("NET-4", "NET-5", "NET-7", "NET-8", "NET-16", "NET-17", "NET-18", "NET-13", "NET-14");
	begin(&(struct netbench_opts){ .pairs = 3, .mtu = 9000 });
	for (unsigned int i = 0; i < 3; i++) {
		memset(bytes, 0xee, sizeof(bytes));
		config(bytes, 0, sizeof(bytes));
		ck_assert_mem_eq(bytes, netbench_mac, 6);
		ck_assert_uint_eq(get_le16(bytes + 6), VIRTIO_NET_S_LINK_UP);
		ck_assert_uint_eq(get_le16(bytes + 8), 3);
		ck_assert_uint_eq(get_le16(bytes + 10), 9000);
		ck_assert_uint_eq(get_le32(bytes + 12), 10000);
		ck_assert_uint_eq(bytes[16], 1);
		for (unsigned int k = VIRTIO_NET_CONFIG_LEN; k < sizeof(bytes); k++)
			ck_assert_uint_eq(bytes[k], 0);
		if (i == 0)
			netbench_up(&b, ALL);
		for (uint32_t off = 0; off < sizeof(bytes); off++)
			for (uint32_t len = 1; len <= 4; len++)
				b.d.ops->config_write(&b.d, off, ff, len);
	}
	end();
	begin(&(struct netbench_opts){ .pairs = 1 });
	ck_assert_uint_eq(config16(8), 0);
	ck_assert_uint_eq(config16(10), 0);
	end();
}

static int init_with(const uint8_t mac[6], uint16_t mtu, unsigned int pairs, struct err *err)
{
	static struct virtio_net n;
	struct virtio_net_opts o = { .backend = &b.be.be, .mtu = mtu, .pairs = pairs };

	*err = ERR_INIT;
	memcpy(o.mac, mac, 6);
	int ret = virtio_net_init(&n, &o, &b.b.a.gm, &b.b.log, b.b.loops, 1, err);
	if (!ret)
		virtio_net_release(&n);
	return ret;
}

START_TEST(options_that_cannot_be)
{
	static const uint8_t multicast[6] = { 1, 2, 3, 4, 5, 6 }, zero[6];
	struct net_info info = { .ports_max = 2, .carrier = true };
	struct err err;

	ROW("NET-8", "NET-9");
	begin(&(struct netbench_opts){ .info = &info });
	unsigned int lines = bench_log_lines(&b.b);
	netbench_reset(&b);
	ck_assert_int_eq(init_with(multicast, 0, 1, &err), -EINVAL);
	ck_assert_int_eq(err.kind, ERR_USAGE);
	ck_assert_ptr_nonnull(strstr(err.msg, "mac=01:02:03:04:05:06"));
	ck_assert_int_eq(init_with(zero, 0, 1, &err), -EINVAL);
	ck_assert_int_eq(init_with(netbench_mac, 67, 1, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.msg, "mtu=67"));
	ck_assert_int_eq(init_with(netbench_mac, 0, 3, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.msg, "mq=3"));
	ck_assert_uint_eq(bench_log_lines(&b.b), lines);
	ck_assert_int_eq(init_with(netbench_mac, 68, 2, &err), 0);
	ck_assert_uint_eq(bench_log_lines(&b.b), lines + 1);
	ck_assert_int_eq(init_with(netbench_mac, 65535, 2, &err), 0);
	ck_assert_int_eq(init_with(netbench_mac, 1280, 0, &err), 0);
	ck_assert_uint_eq(bench_log_lines(&b.b), lines + 1);
	netbench_release(&b);
}

/* A backend that fails as the driver starts breaks the device, and only until the next reset. */
START_TEST(backend_cannot_start)
{
	int *const which[] = { &b.be.header_ret, &b.be.offloads_ret, &b.be.ports_ret };

	ROW("GEN-8");
	begin(&(struct netbench_opts){ .pairs = 2 });
	for (unsigned int i = 0; i < ARRAY_SIZE(which); i++) {
		netbench_reset(&b);
		ck_assert(drv_negotiate(&b.d, ALL));
		*which[i] = -EBUSY;
		drv_driver_ok(&b.d);
		ck_assert_uint_eq(drv_status(&b.d), 0x4f);
		*which[i] = 0;
		netbench_up(&b, ALL);
	}
	end();
}

/* --- link --- */

START_TEST(link_goes_down_and_comes_back)
{
	ROW("NET-6", "NET-18", "GEN-42");
	begin(&(struct netbench_opts){ .transport = transports[_i] });
	netbench_up(&b, ALL & ~NF(GUEST_ANNOUNCE));
	ck_assert_uint_eq(config16(6), VIRTIO_NET_S_LINK_UP);
	netbench_frame(&b, frame, 100, NULL, -1);
	for (uint32_t i = 0; i < 2; i++) {
		b.d.irqs.config = 0;
		if (i)
			virtio_net_set_link(&b.n, false);
		else
			mock_net_set_carrier(&b.be, false);
		ck_assert_uint_eq(config16(6), 0);
		ck_assert_uint_eq(b.d.irqs.config, 1);
		/* Nothing moves, and nothing waits. */
		ck_assert(!netbench_send(&b, 0, NULL, frame, 100));
		ck_assert(!netbench_passes(&b, frame, 100));
		/* Both halves must be up. */
		virtio_net_set_link(&b.n, !i);
		mock_net_set_carrier(&b.be, i);
		ck_assert_uint_eq(config16(6), 0);
		ck_assert_uint_eq(b.d.irqs.config, 1);
		virtio_net_set_link(&b.n, true);
		mock_net_set_carrier(&b.be, true);
		ck_assert_uint_eq(config16(6), VIRTIO_NET_S_LINK_UP);
		ck_assert_uint_eq(b.d.irqs.config, 2);
		ck_assert_uint_eq(config16(12), 10000);
		ck_assert(netbench_send(&b, 0, NULL, frame, 100));
		ck_assert(netbench_passes(&b, frame, 100));
	}
	ck_assert_uint_eq(b.n.pair[0].tx_count.dropped, 2);
	ck_assert_uint_eq(b.n.pair[0].rx_count.dropped, 2);
	/* Who did not ask is not told; nor who does not run. */
	netbench_up(&b, ALL & ~NF(STATUS) & ~NF(GUEST_ANNOUNCE));
	virtio_net_set_link(&b.n, false);
	netbench_reset(&b);
	virtio_net_set_link(&b.n, true);
	ck_assert_uint_eq(b.d.irqs.config, 0);
	end();
}

START_TEST(link_off_from_the_start)
{
	begin(&(struct netbench_opts){ .link_off = true });
	netbench_up(&b, ALL);
	ck_assert_uint_eq(config16(6), 0);
	virtio_net_set_link(&b.n, true);
	ck_assert_uint_eq(config16(6) & VIRTIO_NET_S_LINK_UP, VIRTIO_NET_S_LINK_UP);
	end();
}

/* --- sending --- */

START_TEST(sends_however_it_is_cut)
{
	uint8_t bytes[12 + 80];

	ROW("NET-25", "NET-26", "GEN-46", "HD-192");
	begin(&(struct netbench_opts){ .transport = transports[_i % 2] });
	netbench_up(&b, _i / 2 ? ALL : ALL & ~NF(MRG_RXBUF));
	unsigned int len = netbench_header_len(&b) + 80;
	for (uint32_t cut = 2; cut <= len; cut++) {
		memset(bytes, 0, sizeof(bytes));
		netbench_frame(&b, bytes + len - 80, 80, NULL, -1);
		mock_net_clear(&b.be);
		ck_assert_uint_eq(netbench_send_raw(&b, 0, bytes, len, cut), 0);
		ck_assert_uint_eq(b.be.out_nr, 1);
		ck_assert_uint_eq(b.be.out[0].len, 80);
		ck_assert_mem_eq(b.be.out[0].bytes, bytes + len - 80, 80);
	}
	ck_assert_uint_eq(b.n.pair[0].tx_count.packets, len - 1);
	ck_assert_uint_eq(b.n.pair[0].tx_count.bytes, 80 * (len - 1));
	ck_assert_uint_eq(b.n.pair[0].tx_count.dropped, 0);
	end();
}

/* The largest, and without a copy: the backend is given guest memory. */
START_TEST(sends_from_guest_memory)
{
	begin(&(struct netbench_opts){ 0 });
	netbench_up(&b, ALL);
	netbench_frame(&b, frame, NET_FRAME_MAX, NULL, -1);
	ck_assert(netbench_send(&b, 0, NULL, frame, NET_FRAME_MAX));
	ck_assert_uint_eq(b.be.iovs, 2);
	ck_assert_ptr_eq(b.be.sent_from, gmem_span(&b.b.a.gm, b.tx_gpa + 12, 1));
	/* A header in a descriptor of its own leaves nothing of it. */
	memset(frame, 0, 12);
	ck_assert_uint_eq(netbench_send_raw(&b, 0, frame, 24, 12), 0);
	ck_assert_uint_eq(netbench_send_raw(&b, 0, frame, 12 + 60, 12), 0);
	ck_assert_uint_eq(b.be.iovs, 1 + 5);
	end();
}

#define HOST_GSO (NF(HOST_TSO4) | NF(HOST_TSO6) | NF(HOST_UFO) | NF(HOST_USO) | NF(HOST_ECN))

/* Header by header: sent, and with what; or dropped. Offsets: 0 flags, 1 gso_type, 2 hdr_len, 4 gso_size, 6 start, 8 offset. */
static const struct tx_case {
	const char *rows;
	uint64_t without; /* features */
	uint8_t header[12], sent[12];
	bool dropped;
} tx_cases[] = {
	/* ROW_TABLE(sends_header) */
	{ "NET-27 NET-35 NET-65", 0, { 0xfe }, { 0 }, false },
	{ "NET-27 NET-29",
	  0,
	  { 0xff, 0, 0, 0, 0, 0, 34, 0, 16 },
	  { 1, 0, 0, 0, 0, 0, 34, 0, 16 },
	  false },
	{ "NET-28", 0, { 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff }, { 0 }, false },
	{ "NET-30", NF(CSUM) | HOST_GSO, { 1, 0, 0, 0, 0, 0, 34, 0, 16 }, { 0 }, true },
	{ "NET-31", NF(HOST_TSO4), { 1, 1, 54, 0, 0xe8, 3, 34, 0, 16 }, { 0 }, true },
	{ "NET-31", NF(HOST_TSO6), { 1, 4, 54, 0, 0xe8, 3, 34, 0, 16 }, { 0 }, true },
	{ "NET-31", NF(HOST_UFO), { 1, 3, 54, 0, 0xe8, 3, 34, 0, 16 }, { 0 }, true },
	{ "NET-31", NF(HOST_USO), { 1, 5, 54, 0, 0xe8, 3, 34, 0, 16 }, { 0 }, true },
	{ "NET-31", NF(HOST_ECN), { 1, 0x81, 54, 0, 0xe8, 3, 34, 0, 16 }, { 0 }, true },
	{ "NET-31 HD-195", 0, { 1, 2, 54, 0, 0xe8, 3, 34, 0, 16 }, { 0 }, true },
	{ "NET-31 HD-195", 0, { 1, 6, 54, 0, 0xe8, 3, 34, 0, 16 }, { 0 }, true },
	{ "NET-31 HD-195", 0, { 1, 0x7f, 54, 0, 0xe8, 3, 34, 0, 16 }, { 0 }, true },
	{ "HD-195", 0, { 1, 0x80, 54, 0, 0xe8, 3, 34, 0, 16 }, { 0 }, true },
	{ "HD-195", 0, { 1, 0x83, 54, 0, 0xe8, 3, 34, 0, 16 }, { 0 }, true },
	{ "HD-195", 0, { 1, 0x85, 54, 0, 0xe8, 3, 34, 0, 16 }, { 0 }, true },
	{ "HD-195", 0, { 0, 1, 54, 0, 0xe8, 3, 34, 0, 16 }, { 0 }, true },
	{ "HD-195", 0, { 1, 1, 54, 0, 0, 0, 34, 0, 16 }, { 0 }, true },
	{ "HD-195 NET-34", 0, { 1, 1, 0xff, 0xff, 0xe8, 3, 34, 0, 16 }, { 0 }, true },
	{ "HD-195", 0, { 1, 1, 0xd1, 7, 0xe8, 3, 34, 0, 16 }, { 0 }, true },
	{ "NET-22 NET-36",
	  0,
	  { 1, 1, 54, 0, 0xe8, 3, 34, 0, 16, 0, 0xff, 0xff },
	  { 1, 1, 54, 0, 0xe8, 3, 34, 0, 16 },
	  false },
	{ "NET-22",
	  0,
	  { 1, 0x81, 54, 0, 0xe8, 3, 34, 0, 16 },
	  { 1, 0x81, 54, 0, 0xe8, 3, 34, 0, 16 },
	  false },
	{ "NET-22",
	  0,
	  { 1, 0x84, 54, 0, 0xe8, 3, 34, 0, 16 },
	  { 1, 0x84, 54, 0, 0xe8, 3, 34, 0, 16 },
	  false },
	{ "NET-22",
	  0,
	  { 1, 3, 54, 0, 0xe8, 3, 34, 0, 16 },
	  { 1, 3, 54, 0, 0xe8, 3, 34, 0, 16 },
	  false },
	{ "NET-22",
	  0,
	  { 1, 5, 54, 0, 0xe8, 3, 34, 0, 16 },
	  { 1, 5, 54, 0, 0xe8, 3, 34, 0, 16 },
	  false },
	{ "NET-34 NET-33 NET-32",
	  0,
	  { 1, 1, 0, 0, 0xe8, 3, 34, 0, 16 },
	  { 1, 1, 0, 0, 0xe8, 3, 34, 0, 16 },
	  false },
	{ "NET-34",
	  0,
	  { 1, 1, 1, 0, 0xe8, 3, 34, 0, 16 },
	  { 1, 1, 1, 0, 0xe8, 3, 34, 0, 16 },
	  false },
	{ "NET-34",
	  0,
	  { 1, 1, 0xd0, 7, 0xe8, 3, 34, 0, 16 },
	  { 1, 1, 0xd0, 7, 0xe8, 3, 34, 0, 16 },
	  false },
	{ "NET-33", 0, { 0, 0, 0xff, 0xff, 0xff, 0xff }, { 0 }, false },
	/* The frame has 2000 bytes: 0x7d0. */
	{ "HD-194", 0, { 1, 0, 0, 0, 0, 0, 0xce, 7, 0, 0 }, { 1, 0, 0, 0, 0, 0, 0xce, 7 }, false },
	{ "HD-194", 0, { 1, 0, 0, 0, 0, 0, 0xcf, 7, 0, 0 }, { 0 }, true },
	{ "HD-194", 0, { 1, 0, 0, 0, 0, 0, 0, 0, 0xcf, 7 }, { 0 }, true },
	{ "HD-194", 0, { 1, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff }, { 0 }, true },
	{ "HD-194", 0, { 1, 0, 0, 0, 0, 0, 0xff, 0xff, 0x01, 0 }, { 0 }, true },
};

START_TEST(sends_header)
{
	const struct tx_case *c = &tx_cases[_i];

	begin(&(struct netbench_opts){ 0 });
	netbench_up(&b, ALL & ~c->without);
	netbench_frame(&b, frame, 2000, NULL, -1);
	ck_assert_int_eq(netbench_send(&b, 0, c->header, frame, 2000), !c->dropped);
	if (!c->dropped)
		ck_assert_mem_eq(b.be.out[0].header, c->sent, 12);
	ck_assert_uint_eq(b.n.pair[0].tx_count.dropped, c->dropped);
	ck_assert_uint_eq(drv_status(&b.d), 0x0f);
	end();
}

/* Without MRG_RXBUF a legacy header has 10 bytes; with it, and in every modern one, 12. */
START_TEST(header_lengths)
{
	static const uint8_t csum[12] = { 1, 0, 0, 0, 0, 0, 34, 0, 16, 0, 7, 7 };
	uint64_t sets[] = { NF(CSUM) | NF(GUEST_CSUM), NF(CSUM) | NF(GUEST_CSUM) | NF(MRG_RXBUF) };

	ROW("NET-22", "NET-23", "NET-24", "NET-40");
	for (unsigned int t = 0; t < 2; t++) {
		begin(&(struct netbench_opts){ .transport = transports[t] });
		for (unsigned int round = 0; round < 6; round++) {
			uint64_t set = sets[round % 2] | (t ? 0 : MODERN);

			netbench_up(&b, set);
			ck_assert_uint_eq(b.be.header_len, t && round % 2 == 0 ? 10 : 12);
			netbench_frame(&b, frame, 200, NULL, -1);
			ck_assert(netbench_send(&b, 0, csum, frame, 200));
			ck_assert_mem_eq(b.be.out[0].header, csum, 10);
			netbench_post(&b, 0, 2048, 0);
			ck_assert(mock_net_inject(&b.be, 0, csum, frame, 200));
			ck_assert_int_eq(netbench_receive(&b, 0, header, got, NULL), 200);
			ck_assert_mem_eq(got, frame, 200);
			ck_assert_mem_eq(header, csum, 10);
			/* num_buffers, where there is one. */
			ck_assert_uint_eq(get_le16(header + 10), b.be.header_len == 12);
		}
		end();
	}
}

/* A legacy driver may accept what lacks its base; then it has neither. */
START_TEST(legacy_sets_that_are_not_closed)
{
	static const uint8_t tso[12] = { 1, 1, 54, 0, 0xe8, 3, 34, 0, 16 };

	begin(&(struct netbench_opts){ .transport = &drv_core_legacy });
	netbench_up(&b,
		    NF(HOST_TSO4) | NF(GUEST_TSO4) | NF(GUEST_ECN) | NF(HOST_ECN) | NF(MRG_RXBUF));
	ck_assert_uint_eq(b.be.offloads, 0);
	netbench_frame(&b, frame, 2000, NULL, -1);
	ck_assert(!netbench_send(&b, 0, tso, frame, 2000));
	end();
}

START_TEST(waits_for_the_backend)
{
	uint8_t bytes[112] = { 0 };

	ROW("NET-37");
	begin(&(struct netbench_opts){ 0 });
	netbench_up(&b, ALL);
	netbench_frame(&b, bytes + 12, 100, NULL, -1);
	mock_net_set_full(&b.be, true);
	for (unsigned int i = 0; i < 5; i++)
		ck_assert_uint_eq(netbench_send_raw(&b, 0, bytes, 112, 0), NETBENCH_NONE);
	/* It was asked once, and then it calls. */
	ck_assert_uint_eq(b.be.sends, 1);
	ck_assert_uint_eq(b.n.pair[0].tx_count.packets, 0);
	mock_net_set_full(&b.be, false);
	netbench_settle(&b);
	ck_assert_uint_eq(b.be.out_nr, 5);
	ck_assert_uint_eq(ring_used_idx(&b.d.rings[1]), 5);
	ck_assert_uint_eq(b.be.port[0].watch & NET_WRITABLE, 0);
	/* Kicks are wanted again. */
	ring_forget(&b.d.rings[1]);
	ck_assert_uint_eq(netbench_send_raw(&b, 0, bytes, 112, 0), 0);
	/* An error costs the frame and no more. */
	b.be.send_errno = EIO;
	ck_assert_uint_eq(netbench_send_raw(&b, 0, bytes, 112, 0), 0);
	ck_assert_uint_eq(b.n.pair[0].tx_count.errors, 1);
	ck_assert_uint_eq(b.n.pair[0].tx_count.dropped, 1);
	b.be.send_errno = 0;
	ck_assert_uint_eq(netbench_send_raw(&b, 0, bytes, 112, 0), 0);
	ck_assert_uint_eq(b.n.pair[0].tx_count.packets, 7);
	end();
}

/* A reset takes back the frame that waits. */
START_TEST(reset_while_the_backend_is_full)
{
	uint8_t bytes[112] = { 0 };

	ROW("HD-203", "GEN-33", "GEN-34", "GEN-48");
	begin(&(struct netbench_opts){ 0 });
	for (unsigned int i = 0; i < 2; i++) {
		netbench_up(&b, ALL);
		netbench_frame(&b, bytes + 12, 100, NULL, -1);
		mock_net_set_full(&b.be, true);
		netbench_send_raw(&b, 0, bytes, 112, 0);
		netbench_post(&b, 0, 2048, 0);
		netbench_settle(&b);
		if (i) {
			drv_set_reg(&b.d, 1, DRV_RESET, 1);
			ck_assert_uint_eq(drv_reg(&b.d, 1, DRV_RESET), 0);
			drv_set_reg(&b.d, 0, DRV_RESET, 1);
			ck_assert_uint_eq(drv_reg(&b.d, 0, DRV_RESET), 0);
			ck_assert_uint_eq(b.n.vd.in_flight, 0);
		} else {
			netbench_reset(&b);
			ck_assert_uint_eq(b.be.port[0].watch, 0);
		}
		mock_net_set_full(&b.be, false);
		netbench_settle(&b);
		ck_assert_uint_eq(b.be.out_nr, 0);
	}
	end();
}

/* One turn of the loop does so much and no more; the neighbour gets its turn. */
START_TEST(one_turn_is_bounded)
{
	uint8_t bytes[32] = { 0 };
	struct drv_buf buf = { b.tx_gpa, 32, false };

	ROW("HD-221");
	begin(&(struct netbench_opts){ .transport = &drv_core_legacy });
	netbench_up(&b, NF(MRG_RXBUF));
	buf.gpa = b.tx_gpa;
	netbench_frame(&b, bytes + 12, 20, NULL, -1);
	arena_write(&b.b.a, b.tx_gpa, bytes, 32);
	for (unsigned int i = 0; i < VIRTIO_NET_QUEUE_SIZE; i++)
		ring_add(&b.d.rings[1], &buf, 1);
	ring_publish(&b.d.rings[1]);
	drv_notify(&b.d, 1);
	for (unsigned int i = 1; i <= 4; i++) {
		bench_turn(&b.b);
		ck_assert_uint_eq(b.be.sends, 64 * i);
	}
	for (unsigned int i = 0; i < 200; i++)
		netbench_post(&b, 0, 64, 0);
	netbench_settle(&b);
	/* More than a batch, in two goes as a port does not hold more. */
	netbench_frame(&b, frame, 20, NULL, -1);
	for (unsigned int i = 0; i < MOCK_NET_FRAMES; i++)
		mock_net_inject(&b.be, 0, NULL, frame, 20);
	unsigned int recvs = b.be.recvs;
	bench_turn(&b.b);
	ck_assert_uint_eq(b.be.recvs - recvs, 64);
	end();
}

UNIT_SUITE("virtio-net", {
	tcase_add_loop_test(tc, offers_what_it_can, 0, 64);
	tcase_add_test(tc, takes_every_valid_set);
	tcase_add_test(tc, queues_follow_the_features);
	tcase_add_test(tc, fields);
	tcase_add_test(tc, options_that_cannot_be);
	tcase_add_test(tc, backend_cannot_start);
	tcase_add_loop_test(tc, link_goes_down_and_comes_back, 0, 2);
	tcase_add_test(tc, link_off_from_the_start);
	tcase_add_loop_test(tc, sends_however_it_is_cut, 0, 4);
	tcase_add_test(tc, sends_from_guest_memory);
	tcase_add_loop_test(tc, sends_header, 0, ARRAY_SIZE(tx_cases));
	tcase_add_test(tc, header_lengths);
	tcase_add_test(tc, legacy_sets_that_are_not_closed);
	tcase_add_test(tc, waits_for_the_backend);
	tcase_add_test(tc, reset_while_the_backend_is_full);
	tcase_add_test(tc, one_turn_is_bounded);
})
