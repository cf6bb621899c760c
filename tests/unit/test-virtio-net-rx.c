// SPDX-License-Identifier: GPL-2.0
// LINK: virtio/net.c virtio/net-io.c virtio/late.c virtio/net-ctrl.c virtio/net-vhost.c virtio/vhost.c virtio/device.c virtio/registers.c virtio/legacy.c virtio/queue.c virtio/mini.c gmem.c util/loop.c util/log.c util/err.c tests/mock/clock.c tests/mock/arena.c tests/mock/ring.c tests/mock/driver.c tests/mock/core.c tests/mock/testdev.c tests/mock/bench.c tests/mock/net.c tests/mock/netbench.c
/* virtio-net: packets to the guest, merged over buffers or not, and what happens without buffers. */
#include "unit.h"

#include <errno.h>
#include <string.h>

#include <lkvm/util.h>

#include "../mock/net.h"

static struct netbench b;
static uint8_t frame[NET_FRAME_MAX + 64], got[NET_FRAME_MAX];
static uint8_t header[12];

#define ALL drv_offered(&b.d)
#define MS  1000000

/* The clock stands, but for later(). */
static void begin(const struct netbench_opts *o)
{
	netbench_init(&b, o);
	atomic_store(&mock_clock_frozen, mock_real_now_ns());
}

static void end(void)
{
	atomic_store(&mock_clock_frozen, 0);
	netbench_recover(&b);
	netbench_release(&b);
}

static struct virtio_net_count *count(void)
{
	return &b.n.pair[0].rx_count;
}

static void inject(uint32_t len)
{
	netbench_frame(&b, frame, len, NULL, -1);
	ck_assert(mock_net_inject(&b.be, 0, NULL, frame, len));
	netbench_settle(&b);
}

static void expect(uint32_t len, unsigned int buffers)
{
	unsigned int nr;

	ck_assert_int_eq(netbench_receive(&b, 0, header, got, &nr), (int)len);
	ck_assert_mem_eq(got, frame, len);
	ck_assert_uint_eq(nr, buffers);
}

static void later(uint64_t ns)
{
	atomic_fetch_add(&mock_clock_frozen, ns);
	bench_turn(&b.b);
	netbench_settle(&b);
}

/* Over buffers of every small size: all but the last are full, and only the first has the header. */
START_TEST(merges)
{
	ROW("NET-39", "NET-41", "NET-43", "NET-44", "NET-42", "NET-47", "HD-199");
	begin(&(struct netbench_opts){ .transport = _i ? &drv_core_legacy : &drv_core });
	netbench_up(&b, ALL);
	for (uint32_t size = 12; size < 100; size++) {
		uint32_t len = 150, nr = (12 + len + size - 1) / size;

		for (uint32_t i = 0; i < nr; i++)
			netbench_post(&b, 0, size, size / 3 + 1 + i % 5);
		inject(len);
		struct drv_ring *r = &b.d.rings[0];
		uint16_t first = r->last_used;
		ck_assert_uint_eq((uint16_t)(ring_used_idx(r) - first), nr);
		for (uint32_t i = 0; i < nr; i++) {
			uint32_t id, used;

			ring_used_elem(r, (uint16_t)(first + i) & (r->size - 1), &id, &used);
			ck_assert_uint_eq(used, i < nr - 1 ? size : 12 + len - size * (nr - 1));
		}
		expect(len, nr);
		ck_assert_uint_eq(arena_stray(&b.b.a), ARENA_CLEAN);
	}
	ck_assert_uint_eq(count()->dropped, 0);
	end();
}

START_TEST(merges_the_largest)
{
	ROW("NET-39", "NET-42");
	begin(&(struct netbench_opts){ 0 });
	netbench_up(&b, ALL);
	for (unsigned int round = 0; round < 20; round++) {
		while (b.d.rings[0].spare_nr)
			netbench_post(&b, 0, 1526, 0);
		inject(NET_FRAME_MAX);
		expect(NET_FRAME_MAX, 43);
	}
	ck_assert_uint_eq(count()->packets, 20);
	ck_assert_uint_eq(count()->bytes, 20 * NET_FRAME_MAX);
	ck_assert_uint_eq(count()->dropped, 0);
	end();
}

/* With buffers always held, through many rounds of where they are held. */
START_TEST(goes_on_and_on)
{
	begin(&(struct netbench_opts){ 0 });
	netbench_up(&b, ALL);
	for (unsigned int round = 0; round < 1500; round++) {
		while (b.d.rings[0].spare_nr >= 2)
			netbench_post(&b, 0, 2000, 1000);
		inject(100 + round % 3000);
		expect(100 + round % 3000, (12 + 100 + round % 3000 + 1999) / 2000);
	}
	ck_assert_uint_eq(count()->packets, 1500);
	ck_assert_uint_eq(count()->dropped, 0);
	end();
}

/* A buffer in many pieces, with the header cut anywhere, in both layouts. */
START_TEST(scatters)
{
	ROW("NET-47", "NET-40", "HD-199");
	begin(&(struct netbench_opts){ .transport = _i % 2 ? &drv_core_legacy : &drv_core });
	netbench_up(&b, ALL & ~(_i / 2 ? NF(MRG_RXBUF) : 0));
	uint32_t len = netbench_header_len(&b) + 60;
	for (uint32_t cut = 2; cut <= len; cut++) {
		netbench_post(&b, 0, len, cut);
		inject(60);
		expect(60, 1);
	}
	end();
}

START_TEST(one_buffer_without_the_feature)
{
	ROW("NET-40", "NET-45", "HD-197", "HD-198");
	begin(&(struct netbench_opts){ .transport = _i ? &drv_core_legacy : &drv_core });
	netbench_up(&b, ALL & ~NF(MRG_RXBUF));
	uint32_t len = netbench_header_len(&b);
	/* One byte too long: dropped, and the buffer is still there for one that fits. */
	netbench_post(&b, 0, len + 100, 0);
	netbench_post(&b, 0, len + 100, 0);
	inject(101);
	inject(NET_FRAME_MAX);
	ck_assert_uint_eq(ring_used_idx(&b.d.rings[0]), 0);
	ck_assert_uint_eq(count()->dropped, 2);
	inject(100);
	expect(100, 1);
	inject(14);
	expect(14, 1);
	ck_assert_uint_eq(count()->packets, 2);
	/* Room for the header, or a little more, only. */
	for (uint32_t room = 0; room < 33; room++) {
		netbench_reset(&b);
		netbench_up(&b, ALL & ~NF(MRG_RXBUF));
		netbench_post(&b, 0, len + room, 0);
		inject(room + 1);
		ck_assert_uint_eq(ring_used_idx(&b.d.rings[0]), 0);
		ck_assert_uint_eq(arena_stray(&b.b.a), ARENA_CLEAN);
		if (room < NET_ETH_LEN)
			continue;
		inject(room);
		expect(room, 1);
	}
	end();
}

/* What is no Ethernet frame is dropped. */
START_TEST(too_short)
{
	begin(&(struct netbench_opts){ 0 });
	netbench_up(&b, ALL);
	netbench_post(&b, 0, 2048, 0);
	for (uint32_t len = 0; len < NET_ETH_LEN; len++)
		inject(len);
	ck_assert_uint_eq(count()->dropped, NET_ETH_LEN);
	ck_assert_uint_eq(ring_used_idx(&b.d.rings[0]), 0);
	inject(NET_ETH_LEN);
	expect(NET_ETH_LEN, 1);
	end();
}

START_TEST(too_few_buffers)
{
	ROW("NET-45", "HD-202", "HD-200");
	begin(&(struct netbench_opts){ 0 });
	netbench_up(&b, ALL);
	/* A driver that never had room for the largest is not waited for: what fits comes, the rest is dropped. */
	for (unsigned int i = 0; i < 3; i++)
		netbench_post(&b, 0, 1000, 0);
	inject(2989);
	ck_assert_uint_eq(count()->dropped, 1);
	ck_assert_uint_eq(ring_used_idx(&b.d.rings[0]), 0);
	inject(2988);
	expect(2988, 3);
	/* Thousands of buffers would be needed: a ring of the smallest that there can be. */
	while (b.d.rings[0].spare_nr)
		netbench_post(&b, 0, 13, 0);
	inject(NET_FRAME_MAX);
	ck_assert_uint_eq(count()->dropped, 2);
	inject(13 * NETBENCH_RING - 12);
	expect(13 * NETBENCH_RING - 12, NETBENCH_RING);
	end();
}

/* Buffers of as many pieces as a chain can have: the iovecs of a packet are bounded, too. */
START_TEST(many_pieces)
{
	struct drv_ring *r = &b.d.rings[0];
	struct drv_buf bufs[NETBENCH_RING];

	begin(&(struct netbench_opts){ 0 });
	netbench_up(&b, ALL);
	for (unsigned int n = 0; n < 40; n++) {
		uint64_t gpa = b.rx_gpa + 0x100 * n;

		for (unsigned int i = 0; i < NETBENCH_RING; i++)
			bufs[i] = (struct drv_buf){ gpa + i, 1, true };
		uint64_t table = arena_alloc_high(&b.b.a, 16 * NETBENCH_RING, 16);
		b.rx_of[0][ring_add_indirect(r, bufs, NETBENCH_RING, 0, table)] = gpa;
	}
	ring_publish(r);
	ring_kick(r);
	for (unsigned int n = 0; n < 20; n++) {
		inject(64 + 52);
		expect(64 + 52, 2);
	}
	inject(16);
	ck_assert_uint_eq(count()->dropped, 0);
	end();
}

/* What cannot be a receive buffer goes back at once, and between good ones. */
START_TEST(not_a_buffer)
{
	struct drv_ring *r = &b.d.rings[0];

	ROW("HD-197", "HD-198");
	for (unsigned int mrg = 0; mrg < 2; mrg++) {
		begin(&(struct netbench_opts){ 0 });
		netbench_up(&b, ALL & ~(mrg ? 0 : NF(MRG_RXBUF)));
		struct drv_buf readable[] = { { b.rx_gpa, 100, false },
					      { b.rx_gpa + 100, 1000, true } };
		struct drv_buf small = { b.rx_gpa, 0, true };
		uint32_t id, len;

		for (unsigned int i = 0; i < 4; i++) {
			small.len = (uint32_t[]){ 0, 1, 10, 11 }[i];
			ring_add(r, &small, 1);
		}
		ring_add(r, readable, 1);
		ring_add(r, readable, 2);
		ring_publish(r);
		ring_kick(r);
		netbench_post(&b, 0, 2048, 0);
		netbench_settle(&b);
		for (unsigned int i = 0; i < 6; i++) {
			if (!mrg && i == 0)
				inject(300);
			ck_assert(ring_get(r, &id, &len));
			ck_assert_uint_eq(len, 0);
		}
		if (mrg)
			inject(300);
		expect(300, 1);
		ck_assert_uint_eq(drv_status(&b.d), 0x0f);
		end();
	}
}

/* Without buffers the frames stay where they are, and nothing turns; the next buffer brings one. */
START_TEST(waits_for_buffers)
{
	ROW("NET-46", "HD-202");
	begin(&(struct netbench_opts){ .transport = _i ? &drv_core_legacy : &drv_core });
	netbench_up(&b, ALL & ~NF(MRG_RXBUF));
	for (unsigned int i = 0; i < 10; i++)
		inject(100);
	unsigned int calls = b.be.calls;
	for (unsigned int i = 0; i < 100; i++)
		bench_turn(&b.b);
	ck_assert_uint_eq(b.be.calls, calls);
	ck_assert_uint_eq(b.be.recvs, 0);
	ck_assert_uint_eq(mock_net_waiting(&b.be, 0), 10);
	for (unsigned int i = 0; i < 10; i++) {
		netbench_post(&b, 0, 2048, 0);
		netbench_settle(&b);
		ck_assert_uint_eq(mock_net_waiting(&b.be, 0), 9 - i);
		ck_assert_int_eq(netbench_receive(&b, 0, header, got, NULL), 100);
	}
	ck_assert_uint_eq(count()->dropped, 0);
	ck_assert_uint_eq(b.be.port[0].watch, 0);
	end();
}

/* A driver with room for the largest packet is waited for when it has less, but not for ever. */
START_TEST(waits_for_room)
{
	ROW("NET-46", "NET-45");
	begin(&(struct netbench_opts){ 0 });
	netbench_up(&b, ALL);
	for (unsigned int i = 0; i < 45; i++)
		netbench_post(&b, 0, 1526, 0);
	inject(60000);
	expect(60000, 40);
	/* Five are left: the next stays with the backend until there is room again. */
	inject(60000);
	ck_assert_uint_eq(mock_net_waiting(&b.be, 0), 1);
	later(MS);
	for (unsigned int i = 0; i < 40; i++)
		netbench_post(&b, 0, 1526, 0);
	expect(60000, 40);
	ck_assert_uint_eq(count()->dropped, 0);
	/* It does not come: then what does not fit is dropped, and what fits comes at once. */
	inject(60000);
	ck_assert_uint_eq(mock_net_waiting(&b.be, 0), 1);
	/* Kicks that bring nothing do not put it off: together it is 2 ms. */
	for (unsigned int i = 0; i < 3; i++) {
		later(MS / 2);
		drv_notify(&b.d, 0);
		netbench_settle(&b);
		ck_assert_uint_eq(mock_net_waiting(&b.be, 0), 1);
	}
	later(MS / 2);
	ck_assert_uint_eq(mock_net_waiting(&b.be, 0), 0);
	ck_assert_uint_eq(count()->dropped, 1);
	inject(1000);
	expect(1000, 1);
	end();
}

static void permit_all(void)
{
	arena_permit(&b.b.a, 0, ARENA_LOW_END);
	arena_permit(&b.b.a, ARENA_HIGH, ARENA_HIGH_LEN);
}

START_TEST(reset_takes_held_buffers_back)
{
	ROW("HD-203", "GEN-34");
	begin(&(struct netbench_opts){ .transport = _i ? &drv_core_legacy : &drv_core });
	for (unsigned int i = 0; i < 3; i++) {
		/* Also for a driver that wants no feature at all. */
		netbench_up(&b, _i ? 0 : ALL);
		for (unsigned int k = 0; k < 40; k++)
			netbench_post(&b, 0, 1526, 0);
		inject(100);
		expect(100, 1);
		ck_assert_uint_gt(b.n.vd.in_flight, 0);
		netbench_reset(&b);
		ck_assert_uint_eq(b.n.vd.in_flight, 0);
		arena_settle(&b.b.a);
		inject(200);
		later(1000 * MS);
		ck_assert_uint_eq(arena_stray(&b.b.a), ARENA_CLEAN);
		ck_assert_uint_eq(b.be.port[0].watch, 0);
		permit_all();
	}
	end();
}

/* A broken device lets go of the port, and writes into no buffer that it holds. */
START_TEST(a_fault_leaves_buffers_alone)
{
	begin(&(struct netbench_opts){ 0 });
	netbench_up(&b, ALL);
	for (unsigned int k = 0; k < 50; k++)
		netbench_post(&b, 0, 1526, 0);
	inject(100);
	expect(100, 1);
	virtio_fault(&b.n.vd, "a test");
	arena_settle(&b.b.a);
	inject(200);
	later(1000 * MS);
	ck_assert_uint_eq(mock_net_waiting(&b.be, 0), 1);
	ck_assert_uint_eq(b.be.port[0].watch & NET_READABLE, 0);
	ck_assert_uint_eq(arena_stray(&b.b.a), ARENA_CLEAN);
	permit_all();
	end();
}

START_TEST(frames_for_a_queue_in_reset)
{
	ROW("NET-98", "GEN-48", "GEN-49");
	begin(&(struct netbench_opts){ 0 });
	netbench_up(&b, ALL);
	for (unsigned int k = 0; k < 50; k++)
		netbench_post(&b, 0, 1526, 0);
	netbench_settle(&b);
	drv_set_reg(&b.d, 0, DRV_RESET, 1);
	ck_assert_uint_eq(drv_reg(&b.d, 0, DRV_RESET), 0);
	uint32_t irqs = b.d.irqs.queue[0];
	for (unsigned int i = 0; i < 3; i++)
		inject(100);
	ck_assert_uint_eq(mock_net_waiting(&b.be, 0), 0);
	ck_assert_uint_eq(count()->dropped, 3);
	ck_assert_uint_eq(b.d.irqs.queue[0], irqs);
	ring_make(&b.d, 0, NETBENCH_RING);
	ring_enable(&b.d.rings[0]);
	netbench_settle(&b);
	netbench_frame(&b, frame, 100, NULL, -1);
	ck_assert(netbench_passes(&b, frame, 100));
	ck_assert(netbench_send(&b, 0, NULL, frame, 100));
	end();
}

/* The descriptor of the host fails: no spin, one look now and then, and it goes on when it is back. */
START_TEST(backend_fails_and_recovers)
{
	ROW("HD-217");
	begin(&(struct netbench_opts){ 0 });
	netbench_up(&b, ALL);
	for (unsigned int k = 0; k < 50; k++)
		netbench_post(&b, 0, 1526, 0);
	netbench_settle(&b);
	b.be.recv_errno = EIO;
	inject(100);
	for (unsigned int i = 0; i < 5; i++) {
		ck_assert_uint_eq(count()->errors, i + 1);
		later(50 * MS);
		ck_assert_uint_eq(count()->errors, i + 1);
		later(51 * MS);
	}
	b.be.recv_errno = 0;
	later(101 * MS);
	expect(100, 1);
	/* The same while nobody would get them. */
	virtio_net_set_link(&b.n, false);
	b.be.recv_errno = EIO;
	inject(100);
	uint64_t errors = count()->errors;
	later(50 * MS);
	ck_assert_uint_eq(count()->errors, errors);
	later(51 * MS);
	ck_assert_uint_eq(count()->errors, errors + 1);
	b.be.recv_errno = 0;
	later(101 * MS);
	ck_assert_uint_eq(mock_net_waiting(&b.be, 0), 0);
	ck_assert_uint_eq(drv_status(&b.d), 0x0f);
	end();
}

#define GUEST_GSO                                                                                  \
	(NF(GUEST_TSO4) | NF(GUEST_TSO6) | NF(GUEST_UFO) | NF(GUEST_USO4) | NF(GUEST_USO6) |       \
	 NF(GUEST_ECN))

/* What the backend says and what the guest may see of it. */
static const struct rx_case {
	const char *rows;
	uint64_t without; /* features */
	uint8_t header[12], seen[12];
	bool dropped;
} rx_cases[] = {
	/* ROW_TABLE(receives_header) */
	{ "NET-48 NET-49",
	  NF(GUEST_CSUM) | GUEST_GSO | NF(CTRL_GUEST_OFFLOADS),
	  { 1, 0, 0, 0, 0, 0, 34, 0, 16 },
	  { 0 },
	  true },
	{ "NET-48", NF(GUEST_CSUM) | GUEST_GSO | NF(CTRL_GUEST_OFFLOADS), { 2 }, { 0 }, false },
	{ "NET-50 NET-54", NF(GUEST_TSO4), { 1, 1, 54, 0, 0xe8, 3, 34, 0, 16 }, { 0 }, true },
	{ "NET-51 NET-54", NF(GUEST_UFO), { 1, 3, 54, 0, 0xe8, 3, 34, 0, 16 }, { 0 }, true },
	{ "NET-52 NET-54", NF(GUEST_TSO6), { 1, 4, 54, 0, 0xe8, 3, 34, 0, 16 }, { 0 }, true },
	{ "NET-53 NET-54", NF(GUEST_USO4), { 1, 5, 54, 0, 0xe8, 3, 34, 0, 16 }, { 0 }, true },
	{ "NET-53 NET-54", NF(GUEST_USO6), { 1, 5, 54, 0, 0xe8, 3, 34, 0, 16 }, { 0 }, true },
	{ "NET-54", GUEST_GSO, { 1, 1, 54, 0, 0xe8, 3, 34, 0, 16 }, { 0 }, true },
	{ "NET-55", NF(GUEST_ECN), { 1, 0x81, 54, 0, 0xe8, 3, 34, 0, 16 }, { 0 }, true },
	{ "NET-56 NET-63",
	  0,
	  { 1, 0x81, 54, 0, 0xe8, 3, 34, 0, 16 },
	  { 1, 0x81, 54, 0, 0xe8, 3, 34, 0, 16, 0, 1 },
	  false },
	{ "NET-56",
	  0,
	  { 1, 0x84, 54, 0, 0xe8, 3, 34, 0, 16 },
	  { 1, 0x84, 54, 0, 0xe8, 3, 34, 0, 16, 0, 1 },
	  false },
	{ "NET-57",
	  0,
	  { 1, 0, 0, 0, 0, 0, 34, 0, 16 },
	  { 1, 0, 0, 0, 0, 0, 34, 0, 16, 0, 1 },
	  false },
	{ "NET-60 HD-216", 0, { 1, 0, 0, 0, 0, 0, 0xcf, 7, 0, 0 }, { 0 }, true },
	{ "NET-60 HD-216", 0, { 1, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff }, { 0 }, true },
	{ "NET-60",
	  0,
	  { 1, 0, 0, 0, 0, 0, 0xce, 7, 0, 0 },
	  { 1, 0, 0, 0, 0, 0, 0xce, 7, 0, 0, 1 },
	  false },
	{ "NET-61 HD-216", 0, { 0, 1, 54, 0, 0xe8, 3 }, { 0 }, true },
	{ "NET-61 HD-216", 0, { 1, 1, 54, 0, 0, 0, 34, 0, 16 }, { 0 }, true },
	{ "NET-61 HD-216", 0, { 1, 7, 54, 0, 1, 0, 34, 0, 16 }, { 0 }, true },
	{ "HD-216", 0, { 1, 1, 0xd1, 7, 1, 0, 34, 0, 16 }, { 0 }, true },
	{ "NET-62", 0, { 4 | 0xf8 }, { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1 }, false },
	{ "NET-62",
	  0,
	  { 5, 0, 0, 0, 0, 0, 34, 0, 16 },
	  { 1, 0, 0, 0, 0, 0, 34, 0, 16, 0, 1 },
	  false },
	{ "NET-64", 0, { 2 }, { 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1 }, false },
	{ "HD-216",
	  0,
	  { 0, 0, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9 },
	  { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1 },
	  false },
};

START_TEST(receives_header)
{
	const struct rx_case *c = &rx_cases[_i];

	begin(&(struct netbench_opts){ 0 });
	netbench_up(&b, ALL & ~c->without);
	netbench_post(&b, 0, 2048, 0);
	netbench_frame(&b, frame, 2000, NULL, -1);
	ck_assert(mock_net_inject(&b.be, 0, c->header, frame, 2000));
	int n = netbench_receive(&b, 0, header, got, NULL);
	ck_assert_int_eq(n, c->dropped ? -1 : 2000);
	ck_assert_uint_eq(count()->dropped, c->dropped);
	if (!c->dropped) {
		ck_assert_mem_eq(header, c->seen, 10);
		ck_assert_mem_eq(got, frame, 2000);
	}
	end();
}

/* The backend is told just what was negotiated. */
START_TEST(offloads_are_those_negotiated)
{
	static const struct {
		uint64_t features;
		uint32_t offloads;
	} sets[] = {
		{ 0, 0 },
		{ NF(GUEST_CSUM), NET_CSUM },
		{ NF(GUEST_CSUM) | NF(GUEST_TSO4), NET_CSUM | NET_TSO4 },
		{ NF(GUEST_CSUM) | NF(GUEST_TSO6) | NF(GUEST_ECN), NET_CSUM | NET_TSO6 | NET_ECN },
		{ NF(GUEST_CSUM) | NF(GUEST_UFO), NET_CSUM | NET_UFO },
		{ NF(GUEST_CSUM) | NF(GUEST_USO4), NET_CSUM },
		{ NF(GUEST_CSUM) | NF(GUEST_USO6), NET_CSUM },
		{ NF(GUEST_CSUM) | NF(GUEST_USO4) | NF(GUEST_USO6), NET_CSUM | NET_USO },
	};

	ROW("NET-24", "NET-50", "NET-51", "NET-52", "NET-53", "NET-54");
	begin(&(struct netbench_opts){ 0 });
	for (unsigned int i = 0; i < ARRAY_SIZE(sets); i++) {
		netbench_up(&b, MODERN | sets[i].features);
		ck_assert_uint_eq(b.be.offloads, sets[i].offloads);
	}
	netbench_up(&b, ALL);
	ck_assert_uint_eq(b.be.offloads, NET_ALL_OFFLOADS);
	end();
}

START_TEST(mtu)
{
	static const uint8_t tso[12] = { 1, 1, 54, 0, 0xe8, 3, 34, 0, 16 };

	ROW("NET-10", "NET-11", "NET-12");
	begin(&(struct netbench_opts){ .mtu = 1500 });
	netbench_up(&b, ALL & ~NF(CTRL_VLAN));
	netbench_frame(&b, frame, 1600, NULL, -1);
	ck_assert(netbench_passes(&b, frame, 1514));
	ck_assert(!netbench_passes(&b, frame, 1515));
	netbench_frame(&b, frame, 1600, NULL, 5);
	ck_assert(netbench_passes(&b, frame, 1518));
	ck_assert(!netbench_passes(&b, frame, 1519));
	ck_assert_uint_eq(count()->dropped, 2);
	netbench_frame(&b, frame, 1514, NULL, -1);
	ck_assert(netbench_send(&b, 0, NULL, frame, 1514));
	/* One that the guest's own stack takes apart. */
	netbench_frame(&b, frame, 1600, NULL, -1);
	ck_assert(mock_net_inject(&b.be, 0, tso, frame, 1600));
	ck_assert_int_eq(netbench_receive(&b, 0, header, got, NULL), 1600);
	/* Who was not told has no limit but the buffer's. */
	netbench_up(&b, ALL & ~NF(MTU) & ~NF(CTRL_VLAN));
	netbench_frame(&b, frame, 1600, NULL, -1);
	ck_assert(netbench_passes(&b, frame, 1600));
	uint8_t field[2];
	b.d.ops->config_read(&b.d, 10, field, 2);
	ck_assert_uint_eq(get_le16(field), 1500);
	end();
}

/* Kicks are wanted only while there are no buffers. */
START_TEST(kicks_are_off_while_there_are_buffers)
{
	struct drv_ring *r = &b.d.rings[0];

	for (unsigned int event_idx = 0; event_idx < 2; event_idx++) {
		begin(&(struct netbench_opts){ 0 });
		netbench_up(&b, (ALL & ~NF(MRG_RXBUF) & ~VIRTIO_BIT(VIRTIO_F_EVENT_IDX)) |
					(event_idx ? VIRTIO_BIT(VIRTIO_F_EVENT_IDX) : 0));
		uint32_t serves = 0;
		struct drv_buf buf = { b.rx_gpa, 2048, true };
		for (unsigned int i = 0; i < 20; i++) {
			ring_add(r, &buf, 1);
			ring_publish(r);
			serves += ring_kick(r);
			netbench_settle(&b);
		}
		ck_assert_uint_eq(serves, 1);
		end();
	}
}

UNIT_SUITE("virtio-net-rx", {
	tcase_add_loop_test(tc, merges, 0, 2);
	tcase_add_test(tc, merges_the_largest);
	tcase_add_test(tc, goes_on_and_on);
	tcase_add_loop_test(tc, scatters, 0, 4);
	tcase_add_loop_test(tc, one_buffer_without_the_feature, 0, 2);
	tcase_add_test(tc, too_short);
	tcase_add_test(tc, too_few_buffers);
	tcase_add_test(tc, many_pieces);
	tcase_add_test(tc, not_a_buffer);
	tcase_add_loop_test(tc, waits_for_buffers, 0, 2);
	tcase_add_test(tc, waits_for_room);
	tcase_add_loop_test(tc, reset_takes_held_buffers_back, 0, 2);
	tcase_add_test(tc, a_fault_leaves_buffers_alone);
	tcase_add_test(tc, frames_for_a_queue_in_reset);
	tcase_add_test(tc, backend_fails_and_recovers);
	tcase_add_loop_test(tc, receives_header, 0, ARRAY_SIZE(rx_cases));
	tcase_add_test(tc, offloads_are_those_negotiated);
	tcase_add_test(tc, mtu);
	tcase_add_test(tc, kicks_are_off_while_there_are_buffers);
})
