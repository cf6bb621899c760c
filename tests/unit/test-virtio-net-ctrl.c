// SPDX-License-Identifier: GPL-2.0
// LINK: virtio/net.c virtio/net-io.c virtio/late.c virtio/net-ctrl.c virtio/net-vhost.c virtio/vhost.c virtio/device.c virtio/registers.c virtio/legacy.c virtio/queue.c virtio/mini.c gmem.c util/loop.c util/log.c util/err.c tests/mock/clock.c tests/mock/arena.c tests/mock/ring.c tests/mock/driver.c tests/mock/core.c tests/mock/testdev.c tests/mock/bench.c tests/mock/net.c tests/mock/netbench.c
/* virtio-net: the control queue, the filter, pairs of queues, and the MAC of a legacy driver. */
#include "unit.h"

#include <errno.h>
#include <string.h>

#include <lkvm/util.h>

#include "../mock/net.h"

enum { OK, ERR };
enum { CLASS_RX, CLASS_MAC, CLASS_VLAN, CLASS_ANNOUNCE, CLASS_MQ, CLASS_OFFLOADS };
enum { PROMISC, ALLMULTI, ALLUNI, NOMULTI, NOUNI, NOBCAST };

static struct netbench b;
static uint8_t frame[2048];

#define ALL drv_offered(&b.d)

static const uint8_t bcast[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
static const uint8_t foreign[6] = { 0x02, 9, 9, 9, 9, 9 };
static const uint8_t group[6] = { 0x01, 0, 0x5e, 1, 2, 3 };

static void begin(const struct netbench_opts *o)
{
	netbench_init(&b, o);
	netbench_up(&b, ALL);
}

static void end(void)
{
	netbench_recover(&b);
	netbench_release(&b);
}

static bool passes(const uint8_t *dst, int tag)
{
	netbench_frame(&b, frame, 200, dst, tag);
	return netbench_passes(&b, frame, 200);
}

static uint8_t command(uint8_t class, uint8_t cmd, const void *data, uint32_t len)
{
	uint8_t ack = netbench_command(&b, class, cmd, data, len);

	ck_assert_uint_ne(ack, 0xff);
	return ack;
}

static uint8_t rx_mode(uint8_t cmd, uint8_t on)
{
	return command(CLASS_RX, cmd, &on, 1);
}

static uint8_t vlan(uint8_t cmd, uint16_t id)
{
	uint8_t bytes[2];

	put_le16(bytes, id);
	return command(CLASS_VLAN, cmd, bytes, 2);
}

static uint8_t pairs(uint16_t nr)
{
	uint8_t bytes[2];

	put_le16(bytes, nr);
	return command(CLASS_MQ, 0, bytes, 2);
}

static uint8_t offloads(uint64_t set)
{
	uint8_t bytes[8];

	put_le64(bytes, set);
	return command(CLASS_OFFLOADS, 0, bytes, 8);
}

static void nth_mac(uint8_t mac[6], unsigned int i, bool multicast)
{
	memcpy(mac, (uint8_t[6]){ multicast ? 3 : 2, 7, 7, 7, (uint8_t)(i >> 8), (uint8_t)i }, 6);
}

/* The two tables, with `uni` and `multi` addresses each, and the counts that are claimed. */
static uint8_t mac_table(unsigned int uni, unsigned int multi, uint32_t uni_says,
			 uint32_t multi_says, uint32_t cut)
{
	uint8_t data[8 + 6 * 200];

	put_le32(data, uni_says);
	for (unsigned int i = 0; i < uni; i++)
		nth_mac(data + 4 + 6 * i, i, false);
	put_le32(data + 4 + 6 * uni, multi_says);
	for (unsigned int i = 0; i < multi; i++)
		nth_mac(data + 8 + 6 * (uni + i), i, true);
	return command(CLASS_MAC, 0, data, 8 + 6 * (uni + multi) - cut);
}

/* --- the queue --- */

/* Class, command, data and answer by their place, however they are cut. */
START_TEST(commands_however_they_are_cut)
{
	uint8_t data[] = { CLASS_MAC, 1, 2, 8, 8, 8, 8, 0 };
	struct drv_ring *r = &b.d.rings[2];
	struct drv_buf bufs[16];

	ROW("NET-66", "NET-69", "NET-81", "NET-134");
	begin(&(struct netbench_opts){ .transport = _i ? &drv_core_legacy : &drv_core });
	for (uint32_t cut = 1; cut <= 8; cut++) {
		unsigned int nr = 0;
		uint32_t id, len;
		uint8_t ack = 0xee, mac[6], more = 0xee;

		data[7] = (uint8_t)cut;
		arena_write(&b.b.a, b.ctrl_gpa, data, 8);
		arena_write(&b.b.a, b.ctrl_gpa + 100, &ack, 1);
		arena_write(&b.b.a, b.ctrl_gpa + 101, &more, 1);
		for (uint32_t off = 0; off < 8; off += cut)
			bufs[nr++] = (struct drv_buf){ b.ctrl_gpa + off, MIN(cut, 8 - off), false };
		/* Room for more than the answer, in pieces. */
		bufs[nr++] = (struct drv_buf){ b.ctrl_gpa + 100, 1, true };
		bufs[nr++] = (struct drv_buf){ b.ctrl_gpa + 101, 1, true };
		ring_add(r, bufs, nr);
		ring_publish(r);
		ring_kick(r);
		netbench_settle(&b);
		ck_assert(ring_get(r, &id, &len));
		ck_assert_uint_eq(len, 1);
		arena_read(&b.b.a, b.ctrl_gpa + 100, &ack, 1);
		ck_assert_uint_eq(ack, OK);
		arena_read(&b.b.a, b.ctrl_gpa + 101, &more, 1);
		ck_assert_uint_eq(more, 0xee);
		b.d.ops->config_read(&b.d, 0, mac, 6);
		ck_assert_mem_eq(mac, data + 2, 6);
	}
	end();
}

/* What is known of each command: the length of its data, and a feature without which it is refused. */
static const struct {
	uint8_t class, cmd;
	uint32_t len;
	uint64_t features;
	uint8_t data[8];
} known[] = {
	{ CLASS_RX, PROMISC, 1, NF(CTRL_RX), { 0 } },
	{ CLASS_RX, ALLMULTI, 1, NF(CTRL_RX), { 0 } },
	{ CLASS_RX, ALLUNI, 1, NF(CTRL_RX_EXTRA), { 0 } },
	{ CLASS_RX, NOMULTI, 1, NF(CTRL_RX_EXTRA), { 0 } },
	{ CLASS_RX, NOUNI, 1, NF(CTRL_RX_EXTRA), { 0 } },
	{ CLASS_RX, NOBCAST, 1, NF(CTRL_RX_EXTRA), { 0 } },
	{ CLASS_MAC, 0, 8, NF(CTRL_RX) | NF(CTRL_MAC_ADDR), { 0 } },
	{ CLASS_MAC, 1, 6, NF(CTRL_MAC_ADDR), { 2, 1, 1, 1, 1, 1 } },
	{ CLASS_VLAN, 0, 2, NF(CTRL_VLAN), { 5 } },
	{ CLASS_VLAN, 1, 2, NF(CTRL_VLAN), { 5 } },
	{ CLASS_ANNOUNCE, 0, 0, NF(GUEST_ANNOUNCE), { 0 } },
	{ CLASS_MQ, 0, 2, NF(MQ), { 2 } },
	{ CLASS_OFFLOADS, 0, 8, NF(CTRL_GUEST_OFFLOADS), { 2 } },
};

START_TEST(every_command_is_known_or_refused)
{
	static const uint8_t zeros[64];

	ROW("NET-67", "NET-68", "NET-70", "NET-72", "NET-74", "NET-113", "HD-209", "HD-214");
	begin(&(struct netbench_opts){ .pairs = 2 });
	for (unsigned int i = 0; i < ARRAY_SIZE(known); i++) {
		ck_assert_uint_eq(
			command(known[i].class, known[i].cmd, known[i].data, known[i].len), OK);
		for (uint32_t len = 0; len < 40; len++)
			if (len != known[i].len)
				ck_assert_uint_eq(command(known[i].class, known[i].cmd, zeros, len),
						  ERR);
	}
	for (unsigned int class = 0; class < 256; class ++)
		for (unsigned int cmd = 0; cmd < 256; cmd += class < 8 ? 1 : 51) {
			bool is_known = false;

			for (unsigned int i = 0; i < ARRAY_SIZE(known); i++)
				is_known |= known[i].class == class && known[i].cmd == cmd;
			if (!is_known)
				ck_assert_uint_eq(
					command((uint8_t) class, (uint8_t)cmd, zeros, 1 + cmd % 9),
					ERR);
		}
	for (unsigned int i = 0; i < ARRAY_SIZE(known); i++) {
		netbench_up(&b, ALL & ~known[i].features);
		ck_assert_uint_eq(
			command(known[i].class, known[i].cmd, known[i].data, known[i].len), ERR);
	}
	end();
}

/* --- the filter --- */

START_TEST(modes)
{
	ROW("NET-71", "NET-73", "NET-75", "NET-76", "NET-77", "NET-78", "NET-82", "NET-79");
	begin(&(struct netbench_opts){ .transport = _i ? &drv_core_legacy : &drv_core });
	ck_assert(passes(NULL, -1) && passes(bcast, -1));
	ck_assert(!passes(foreign, -1) && !passes(group, -1));
	ck_assert_uint_eq(b.n.pair[0].rx_count.filtered, 2);
	ck_assert_uint_eq(b.n.pair[0].rx_count.dropped, 0);
	rx_mode(ALLMULTI, 1);
	ck_assert(passes(group, -1) && !passes(foreign, -1));
	rx_mode(NOMULTI, 1);
	ck_assert(!passes(group, -1) && passes(bcast, -1) && passes(NULL, -1));
	rx_mode(NOBCAST, 1);
	ck_assert(!passes(bcast, -1) && passes(NULL, -1));
	rx_mode(NOMULTI, 0);
	ck_assert(passes(group, -1) && !passes(bcast, -1));
	rx_mode(ALLUNI, 1);
	ck_assert(passes(foreign, -1) && !passes(bcast, -1));
	rx_mode(NOUNI, 1);
	ck_assert(!passes(foreign, -1) && !passes(NULL, -1) && passes(group, -1));
	rx_mode(NOMULTI, 1);
	rx_mode(PROMISC, 1);
	ck_assert(passes(foreign, -1) && passes(group, -1) && passes(bcast, -1) &&
		  passes(NULL, -1));
	ck_assert(passes(NULL, 77));
	rx_mode(PROMISC, 0);
	ck_assert(!passes(foreign, -1) && !passes(NULL, -1));
	netbench_up(&b, ALL);
	ck_assert(passes(NULL, -1) && passes(bcast, -1));
	ck_assert(!passes(foreign, -1) && !passes(group, -1));
	/* Who cannot say what it wants gets everything. */
	netbench_up(&b, ALL & ~NF(CTRL_RX));
	ck_assert(passes(foreign, -1) && passes(group, -1));
	end();
}

START_TEST(mac_tables)
{
	uint8_t mac[6];

	ROW("NET-79", "NET-80", "NET-82", "NET-83", "NET-84", "HD-205");
	begin(&(struct netbench_opts){ .transport = _i ? &drv_core_legacy : &drv_core });
	ck_assert_uint_eq(mac_table(VIRTIO_NET_MACS, VIRTIO_NET_MACS, 64, 64, 0), OK);
	for (unsigned int i = 0; i <= VIRTIO_NET_MACS; i++) {
		nth_mac(mac, i, false);
		ck_assert_int_eq(passes(mac, -1), i < VIRTIO_NET_MACS);
		nth_mac(mac, i, true);
		ck_assert_int_eq(passes(mac, -1), i < VIRTIO_NET_MACS);
	}
	ck_assert(passes(NULL, -1));
	/* Refused ones change nothing. */
	static const uint32_t wrong[][2] = {
		{ 65, 64 },         { 64, 65 },         { 0xffffffff, 64 }, { 64, 0xffffffff },
		{ 0x2aaaaaab, 64 }, { 64, 0x2aaaaaab }, { 63, 64 },         { 64, 63 },
		{ 0x80000000, 64 }, { 0, 0 },
	};
	for (unsigned int i = 0; i < ARRAY_SIZE(wrong); i++)
		ck_assert_uint_eq(mac_table(64, 64, wrong[i][0], wrong[i][1], 0), ERR);
	for (uint32_t cut = 1; cut < 8 + 12; cut++)
		ck_assert_uint_eq(mac_table(1, 1, 1, 1, cut), ERR);
	nth_mac(mac, 63, false);
	ck_assert(passes(mac, -1));
	ck_assert(!passes(foreign, -1));
	/* One more than fits: all of the kind pass. */
	ck_assert_uint_eq(mac_table(65, 2, 65, 2, 0), OK);
	ck_assert(passes(foreign, -1) && !passes(group, -1));
	ck_assert_uint_eq(mac_table(2, 100, 2, 100, 0), OK);
	ck_assert(!passes(foreign, -1) && passes(group, -1));
	nth_mac(mac, 1, false);
	ck_assert(passes(mac, -1));
	nth_mac(mac, 2, false);
	ck_assert(!passes(mac, -1));
	ck_assert_uint_eq(mac_table(0, 0, 0, 0, 0), OK);
	ck_assert(!passes(group, -1));
	mac_table(3, 3, 3, 3, 0);
	netbench_up(&b, ALL);
	nth_mac(mac, 1, false);
	ck_assert(!passes(mac, -1) && passes(bcast, -1));
	end();
}

START_TEST(mac_address)
{
	static const uint8_t zero[6];
	uint8_t mac[6];

	ROW("NET-81", "NET-5", "HD-213");
	begin(&(struct netbench_opts){ 0 });
	ck_assert_uint_eq(command(CLASS_MAC, 1, foreign, 6), OK);
	b.d.ops->config_read(&b.d, 0, mac, 6);
	ck_assert_mem_eq(mac, foreign, 6);
	ck_assert(passes(foreign, -1) && !passes(netbench_mac, -1));
	ck_assert_uint_eq(command(CLASS_MAC, 1, group, 6), ERR);
	ck_assert_uint_eq(command(CLASS_MAC, 1, zero, 6), ERR);
	b.d.ops->config_read(&b.d, 0, mac, 6);
	ck_assert_mem_eq(mac, foreign, 6);
	netbench_up(&b, ALL);
	b.d.ops->config_read(&b.d, 0, mac, 6);
	ck_assert_mem_eq(mac, netbench_mac, 6);
	ck_assert(!passes(foreign, -1) && passes(netbench_mac, -1));
	end();
}

/* A byte at a time; the last one makes it the address. Through the modern interface nothing is written. */
START_TEST(legacy_mac)
{
	uint8_t mac[6];

	ROW("NET-127", "NET-128", "HD-213", "NET-4", "GEN-44");
	begin(&(struct netbench_opts){ .transport = &drv_core_legacy });
	for (uint32_t i = 0; i < 6; i++) {
		ck_assert(passes(netbench_mac, -1));
		b.d.ops->config_write(&b.d, i, foreign + i, 1);
		b.d.ops->config_read(&b.d, 0, mac, 6);
		ck_assert_mem_eq(mac, i < 5 ? netbench_mac : foreign, 6);
	}
	ck_assert(passes(foreign, -1) && !passes(netbench_mac, -1));
	/* One that no station has is not taken; odd widths write what they cover. */
	b.d.ops->config_write(&b.d, 0, group, 6);
	b.d.ops->config_read(&b.d, 0, mac, 6);
	ck_assert_mem_eq(mac, foreign, 6);
	b.d.ops->config_write(&b.d, 0, netbench_mac, 4);
	b.d.ops->config_write(&b.d, 4, (uint8_t[4]){ 0x44, 0x55, 0xff, 0xff }, 4);
	b.d.ops->config_read(&b.d, 0, mac, 6);
	ck_assert_mem_eq(mac, netbench_mac, 6);
	ck_assert(passes(netbench_mac, -1));
	for (uint32_t i = 0; i < 6; i++)
		b.d.ops->config_write(&b.d, i, foreign + i, 1);
	netbench_up(&b, ALL);
	ck_assert(passes(netbench_mac, -1) && !passes(foreign, -1));
	/* And what was begun is not finished by another driver. */
	b.d.ops->config_write(&b.d, 0, foreign, 5);
	netbench_up(&b, ALL);
	b.d.ops->config_write(&b.d, 5, netbench_mac + 5, 1);
	b.d.ops->config_read(&b.d, 0, mac, 6);
	ck_assert_mem_eq(mac, netbench_mac, 6);
	end();
	begin(&(struct netbench_opts){ 0 });
	b.d.ops->config_write(&b.d, 0, foreign, 6);
	b.d.ops->config_read(&b.d, 0, mac, 6);
	ck_assert_mem_eq(mac, netbench_mac, 6);
	end();
}

START_TEST(vlans)
{
	ROW("NET-85", "NET-86", "NET-87", "NET-88", "NET-89", "HD-212");
	begin(&(struct netbench_opts){ .transport = _i ? &drv_core_legacy : &drv_core });
	for (int id = 0; id < 4096; id += 63)
		ck_assert(!passes(NULL, id));
	ck_assert(passes(NULL, -1));
	ck_assert_uint_eq(vlan(0, 5), OK);
	ck_assert_uint_eq(vlan(0, 4095), OK);
	ck_assert_uint_eq(vlan(0, 0), OK);
	/* The tag's priority bits are none of the table's. */
	ck_assert(passes(NULL, 5) && passes(NULL, 0xe005) && passes(NULL, 4095) && passes(NULL, 0));
	ck_assert(!passes(NULL, 6) && !passes(NULL, 4094) && !passes(NULL, 69));
	ck_assert(!passes(foreign, 5));
	for (unsigned int id = 4096; id < 65536; id += id < 4100 ? 1 : 4567)
		ck_assert_uint_eq(vlan(id % 2, (uint16_t)id), ERR);
	ck_assert_uint_eq(vlan(0, 65535), ERR);
	ck_assert_uint_eq(vlan(1, 5), OK);
	ck_assert(!passes(NULL, 5) && passes(NULL, 4095));
	/* A tag that is cut off is none. */
	netbench_frame(&b, frame, 20, NULL, 9);
	ck_assert(netbench_passes(&b, frame, 17));
	ck_assert(!netbench_passes(&b, frame, 18));
	netbench_up(&b, ALL);
	ck_assert(!passes(NULL, 4095));
	netbench_up(&b, ALL & ~NF(CTRL_VLAN));
	ck_assert(passes(NULL, 6) && passes(NULL, 4095));
	/* Without a filter of addresses, tags are still filtered. */
	netbench_up(&b, ALL & ~NF(CTRL_RX));
	ck_assert(!passes(NULL, 6) && passes(foreign, -1));
	end();
}

/* --- announcing --- */

static uint16_t status(void)
{
	uint8_t v[2];

	b.d.ops->config_read(&b.d, 6, v, 2);
	return get_le16(v);
}

START_TEST(announcing)
{
	ROW("NET-90", "NET-91", "HD-214");
	begin(&(struct netbench_opts){ 0 });
	ck_assert_uint_eq(status(), VIRTIO_NET_S_LINK_UP);
	virtio_net_announce(&b.n);
	ck_assert_uint_eq(status(), VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE);
	ck_assert_uint_eq(b.d.irqs.config, 1);
	ck_assert_uint_eq(command(CLASS_ANNOUNCE, 0, NULL, 0), OK);
	ck_assert_uint_eq(status(), VIRTIO_NET_S_LINK_UP);
	ck_assert_uint_eq(command(CLASS_ANNOUNCE, 0, NULL, 0), OK);
	ck_assert_uint_eq(b.d.irqs.config, 1);
	/* A link that comes back is another network, perhaps. */
	mock_net_set_carrier(&b.be, false);
	ck_assert_uint_eq(status(), 0);
	virtio_net_announce(&b.n);
	ck_assert_uint_eq(status(), 0);
	mock_net_set_carrier(&b.be, true);
	ck_assert_uint_eq(status(), VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE);
	ck_assert_uint_eq(b.d.irqs.config, 3);
	netbench_reset(&b);
	ck_assert_uint_eq(status(), VIRTIO_NET_S_LINK_UP);
	netbench_up(&b, ALL & ~NF(GUEST_ANNOUNCE));
	virtio_net_announce(&b.n);
	ck_assert_uint_eq(status(), VIRTIO_NET_S_LINK_UP);
	ck_assert_uint_eq(b.d.irqs.config, 0);
	end();
}

/* --- pairs --- */

static void post_on_all(void)
{
	for (unsigned int p = 0; p < b.o.pairs; p++)
		for (unsigned int i = 0; i < 50; i++)
			netbench_post(&b, p, 1526, 0);
	netbench_settle(&b);
}

static bool arrives(unsigned int pair)
{
	uint8_t header[12], got[2048];

	netbench_frame(&b, frame, 300, NULL, -1);
	ck_assert(mock_net_inject(&b.be, pair, NULL, frame, 300));
	return netbench_receive(&b, pair, header, got, NULL) == 300;
}

START_TEST(pairs_in_use)
{
	ROW("NET-21", "NET-95", "NET-96", "NET-99", "NET-100", "HD-207");
	begin(&(struct netbench_opts){ .pairs = 4, .loops = 1 + (unsigned int)_i });
	ck_assert_uint_eq(b.be.ports, 1);
	post_on_all();
	for (unsigned int p = 0; p < 4; p++)
		ck_assert_int_eq(arrives(p), p < 1);
	for (uint16_t nr = 1; nr <= 4; nr++) {
		ck_assert_uint_eq(pairs(nr), OK);
		ck_assert_uint_eq(b.be.ports, nr);
		for (unsigned int p = 0; p < nr; p++)
			ck_assert(arrives(p));
		for (unsigned int p = nr; p < 4; p++) {
			ck_assert_uint_eq(b.be.port[p].watch & NET_READABLE, 0);
			/* Nor does a kick make it look. */
			mock_net_inject(&b.be, p, NULL, frame, 300);
			drv_notify(&b.d, 2 * p);
			netbench_settle(&b);
			ck_assert_uint_eq(mock_net_waiting(&b.be, p), 1);
			ck_assert_uint_eq(b.be.port[p].watch & NET_READABLE, 0);
		}
		mock_net_drop(&b.be);
	}
	static const uint16_t wrong[] = { 0, 5, 0x8000, 0x8001, 0xffff, 0x0104 };
	for (unsigned int i = 0; i < ARRAY_SIZE(wrong); i++)
		ck_assert_uint_eq(pairs(wrong[i]), ERR);
	ck_assert_uint_eq(b.be.ports, 4);
	ck_assert(arrives(3));
	ck_assert_uint_eq(pairs(2), OK);
	ck_assert(arrives(1) && !arrives(2) && !arrives(3));
	/* Sending does not depend on it. */
	netbench_frame(&b, frame, 300, NULL, -1);
	ck_assert(netbench_send(&b, 3, NULL, frame, 300));
	/* The backend may refuse. */
	b.be.ports_ret = -EBUSY;
	ck_assert_uint_eq(pairs(3), ERR);
	b.be.ports_ret = 0;
	ck_assert_uint_eq(atomic_load(&b.n.pairs), 2);
	netbench_up(&b, ALL);
	ck_assert_uint_eq(b.be.ports, 1);
	post_on_all();
	ck_assert(arrives(0) && !arrives(1));
	end();
}

START_TEST(pairs_that_are_not_enabled)
{
	ROW("NET-99", "HD-207", "HD-208");
	begin(&(struct netbench_opts){ .pairs = 4 });
	ck_assert_uint_eq(pairs(3), OK);
	drv_set_reg(&b.d, 2 * 3 + 1, DRV_RESET, 1);
	ck_assert_uint_eq(pairs(4), ERR);
	drv_set_reg(&b.d, 2 * 1, DRV_RESET, 1);
	ck_assert_uint_eq(pairs(2), ERR);
	ck_assert_uint_eq(b.be.ports, 3);
	ck_assert_uint_eq(pairs(1), OK);
	/* A queue that was never enabled has a doorbell like any other. */
	drv_notify(&b.d, 2);
	drv_notify(&b.d, 7);
	end();
}

/* The answer comes when every pair has seen the change, and not before; a reset does not wait for it. */
START_TEST(pairs_answer_comes_last)
{
	uint8_t data[4] = { CLASS_MQ, 0, 2, 0 };
	uint32_t id, len;

	ROW("NET-96");
	begin(&(struct netbench_opts){ .pairs = 4 });
	for (unsigned int round = 0; round < 3; round++) {
		struct drv_ring *r = &b.d.rings[8];
		struct drv_buf bufs[] = { { b.ctrl_gpa, 4, false }, { b.ctrl_gpa + 64, 1, true } };

		arena_write(&b.b.a, b.ctrl_gpa, data, 4);
		ring_add(r, bufs, 2);
		ring_add(r, bufs, 2);
		ring_publish(r);
		/* On the owner's thread: the posts to the pairs have not run yet. */
		virtio_queue_serve(&b.n.vd.vqs[8]);
		ck_assert_uint_eq(b.n.ctrl.unseen, 4);
		ck_assert(!ring_get(r, &id, &len));
		if (round == 1) {
			drv_set_reg(&b.d, 8, DRV_RESET, 1);
			ck_assert_uint_eq(drv_reg(&b.d, 8, DRV_RESET), 0);
			ring_make(&b.d, 8, NETBENCH_RING);
			ring_enable(&b.d.rings[8]);
			netbench_settle(&b);
			ck_assert_uint_eq(ring_used_idx(r), 0);
			ck_assert_uint_eq(pairs(1), OK);
		} else if (round == 2) {
			netbench_up(&b, ALL & ~NF(MQ));
			ck_assert_uint_eq(rx_mode(PROMISC, 1), OK);
		} else {
			/* A kick may come first when the last pair has seen it. */
			for (unsigned int i = 0; i < 4; i++) {
				loop_post_cancel(b.b.loops[0], &b.n.pair[i].sync);
				b.n.pair[i].sync.fn(&b.n.pair[i].sync);
			}
			virtio_queue_serve(&b.n.vd.vqs[8]);
			netbench_settle(&b);
			ck_assert(ring_get(r, &id, &len) && len == 1);
			ck_assert(ring_get(r, &id, &len) && len == 1);
		}
	}
	end();
}

/* --- offloads --- */

START_TEST(guest_offloads)
{
	static const uint8_t tso[12] = { 1, 1, 54, 0, 0xe8, 3, 34, 0, 16 };
	uint64_t all = NF(GUEST_CSUM) | NF(GUEST_TSO4) | NF(GUEST_TSO6) | NF(GUEST_ECN) |
		       NF(GUEST_UFO) | NF(GUEST_USO4) | NF(GUEST_USO6);
	uint8_t header[12], got[2048];

	ROW("NET-102", "NET-103", "NET-104", "HD-211");
	begin(&(struct netbench_opts){ .transport = _i ? &drv_core_legacy : &drv_core });
	all &= ALL;
	uint32_t full = b.be.offloads;
	netbench_post(&b, 0, 2048, 0);
	netbench_frame(&b, frame, 1800, NULL, -1);
	ck_assert_uint_eq(offloads(0), OK);
	ck_assert_uint_eq(b.be.offloads, 0);
	/* One that was queued before. */
	mock_net_inject(&b.be, 0, tso, frame, 1800);
	ck_assert_int_eq(netbench_receive(&b, 0, header, got, NULL), -1);
	ck_assert_uint_eq(offloads(all), OK);
	ck_assert_uint_eq(b.be.offloads, full);
	mock_net_inject(&b.be, 0, tso, frame, 1800);
	ck_assert_int_eq(netbench_receive(&b, 0, header, got, NULL), 1800);
	ck_assert_uint_eq(offloads(NF(GUEST_CSUM)), OK);
	ck_assert_uint_eq(b.be.offloads, NET_CSUM);
	for (unsigned int bit = 0; bit < 64; bit++)
		ck_assert_uint_eq(offloads(VIRTIO_BIT(bit)), all & VIRTIO_BIT(bit) ? OK : ERR);
	ck_assert_uint_eq(offloads(NF(GUEST_CSUM)), OK);
	ck_assert_uint_eq(offloads(UINT64_MAX), ERR);
	ck_assert_uint_eq(b.be.offloads, NET_CSUM);
	b.be.offloads_ret = -EINVAL;
	ck_assert_uint_eq(offloads(0), ERR);
	b.be.offloads_ret = 0;
	ck_assert_uint_eq(atomic_load(&b.n.rx_offloads), NET_CSUM);
	/* Not negotiated. */
	netbench_up(&b, ALL & ~NF(GUEST_TSO4) & ~NF(GUEST_ECN));
	ck_assert_uint_eq(offloads(NF(GUEST_CSUM) | NF(GUEST_TSO4)), ERR);
	netbench_up(&b, ALL);
	ck_assert_uint_eq(b.be.offloads, full);
	end();
}

UNIT_SUITE("virtio-net-ctrl", {
	tcase_add_loop_test(tc, commands_however_they_are_cut, 0, 2);
	tcase_add_test(tc, every_command_is_known_or_refused);
	tcase_add_loop_test(tc, modes, 0, 2);
	tcase_add_loop_test(tc, mac_tables, 0, 2);
	tcase_add_test(tc, mac_address);
	tcase_add_test(tc, legacy_mac);
	tcase_add_loop_test(tc, vlans, 0, 2);
	tcase_add_test(tc, announcing);
	tcase_add_loop_test(tc, pairs_in_use, 0, 2);
	tcase_add_test(tc, pairs_that_are_not_enabled);
	tcase_add_test(tc, pairs_answer_comes_last);
	tcase_add_loop_test(tc, guest_offloads, 0, 2);
})
