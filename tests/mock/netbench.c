/* SPDX-License-Identifier: GPL-2.0 */
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include <lkvm/util.h>

#include "net.h"

#define TURNS_MAX 100000
#define WAIT_NS   (20 * NSEC_PER_SEC)
#define TX_LEN    0x20000
#define RX_LEN    0x200000
#define CTRL_LEN  0x1000

const uint8_t netbench_mac[6] = { 0x02, 0x11, 0x22, 0x33, 0x44, 0x55 };

void netbench_init(struct netbench *b, const struct netbench_opts *o)
{
	struct err err = ERR_INIT;
	struct virtio_net_opts no = { .backend = &b->be.be, .mtu = o->mtu, .pairs = o->pairs };

	memset(b, 0, sizeof(*b));
	b->o = *o;
	b->o.pairs = o->pairs ?: 1;
	bench_init(&b->b, &(struct bench_opts){ .loops = o->loops, .threads = o->threads });
	mock_net_init(&b->be);
	if (o->info)
		b->be.info = *o->info;
	memcpy(no.mac, netbench_mac, sizeof(no.mac));
	no.link_off = o->link_off;
	no.vhost = o->vhost;
	no.vhost_dev = "/dev/null";
	MUST(virtio_net_init(&b->n, &no, &b->b.a.gm, &b->b.log, b->b.loops, b->b.o.loops, &err) ==
	     0);
	drv_init(&b->d, o->transport ?: &drv_core, &b->b.a, &b->n.vd);
	b->tx_gpa = arena_alloc_high(&b->b.a, TX_LEN, 4096);
	b->rx_gpa = arena_alloc_high(&b->b.a, RX_LEN, 4096);
	b->ctrl_gpa = arena_alloc_high(&b->b.a, CTRL_LEN, 4096);
	b->b.fds = bench_count_dir("/proc/self/fd");
}

void netbench_release(struct netbench *b)
{
	netbench_reset(b);
	drv_release(&b->d);
	/* The loops end with their threads, before what they may have posted goes. */
	virtio_net_release(&b->n);
	bench_release(&b->b);
	mock_net_release(&b->be);
}

bool netbench_is_legacy(const struct netbench *b)
{
	return b->d.ops->set_pfn;
}

unsigned int netbench_header_len(const struct netbench *b)
{
	return b->d.features & (VIRTIO_BIT(VIRTIO_F_VERSION_1) | NF(MRG_RXBUF)) ? 12 : 10;
}

static unsigned int pairs(const struct netbench *b)
{
	return b->d.features & NF(MQ) ? b->o.pairs : 1;
}

uint16_t netbench_ctrl(const struct netbench *b)
{
	return (uint16_t)(2 * pairs(b));
}

static bool is_idle(struct netbench *b)
{
	for (uint16_t i = 0; i < b->n.vd.queues_nr; i++)
		if (b->n.vd.vqs[i].kick_post.queued)
			return false;
	for (unsigned int i = 0; i < b->o.pairs; i++)
		if (b->n.pair[i].sync.queued || b->be.port[i].post.queued)
			return false;
	return !b->n.ctrl.seen.queued && bench_idle(&b->b);
}

void netbench_settle(struct netbench *b)
{
	if (b->b.o.threads) {
		bench_settle(&b->b);
		return;
	}
	/* Doorbells of a fake KVM are no posts: what has rung is heard in a turn. */
	for (unsigned int i = 0; !is_idle(b) || (b->o.vhost && i < 2); i++) {
		MUST(i < TURNS_MAX);
		bench_turn(&b->b);
	}
}

void netbench_reset(struct netbench *b)
{
	uint64_t deadline = mock_real_now_ns() + WAIT_NS;

	drv_set_status(&b->d, 0);
	while (drv_status(&b->d)) {
		netbench_settle(b);
		MUST(mock_real_now_ns() < deadline);
	}
	netbench_settle(b);
}

static void make_ring(struct netbench *b, uint16_t q)
{
	struct drv_ring *r = &b->d.rings[q];
	uint16_t size = netbench_is_legacy(b) ? VIRTIO_NET_QUEUE_SIZE : NETBENCH_RING;

	if (r->d && r->size == size && !r->odd)
		ring_make_at(&b->d, q, size, r->desc, r->avail, r->used);
	else
		ring_make(&b->d, q, size);
	r->odd = false;
	ring_enable(r);
}

void netbench_try_up(struct netbench *b, uint64_t features)
{
	uint16_t queues;

	netbench_reset(b);
	/* What nobody took is not this driver's. */
	mock_net_drop(&b->be);
	mock_net_clear(&b->be);
	MUST(drv_negotiate(&b->d, features));
	queues = (uint16_t)(netbench_ctrl(b) + (features & NF(CTRL_VQ) ? 1 : 0));
	for (uint16_t q = 0; q < queues; q++)
		make_ring(b, q);
	drv_driver_ok(&b->d);
}

void netbench_up(struct netbench *b, uint64_t features)
{
	netbench_try_up(b, features);
	MUST((drv_status(&b->d) & ~VIRTIO_FEATURES_OK) ==
	     (VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_DRIVER_OK));
	netbench_settle(b);
	b->d.irqs.config = 0;
}

void netbench_frame(struct netbench *b, uint8_t *frame, uint32_t len, const uint8_t *dst, int tag)
{
	uint8_t start[] = { 0, 0, 0, 0, 0, 0, 0x02, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0x08, 0x00 };
	uint8_t tagged[] = { 0x81, 0x00, (uint8_t)(tag >> 8), (uint8_t)tag, 0x08, 0x00 };

	for (uint32_t i = 0; i < len; i++)
		frame[i] = (uint8_t)((b->seed = b->seed * 1664525 + 1013904223) >> 24);
	memcpy(start, dst ?: netbench_mac, 6);
	memcpy(frame, start, MIN(len, (uint32_t)sizeof(start)));
	if (tag >= 0)
		memcpy(frame + 12, tagged, sizeof(tagged));
}

/* --- sending --- */

static bool wait_used(struct netbench *b, struct drv_ring *r, uint32_t *id, uint32_t *len)
{
	uint64_t deadline = mock_real_now_ns() + WAIT_NS;

	netbench_settle(b);
	while (!ring_get(r, id, len)) {
		if (!b->b.o.threads)
			return false;
		MUST(mock_real_now_ns() < deadline);
		sched_yield();
	}
	return true;
}

static unsigned int cut_bufs(struct drv_buf *bufs, unsigned int max, uint64_t gpa, uint32_t len,
			     uint32_t cut, bool write)
{
	unsigned int nr = 0;

	for (uint32_t off = 0; off < len || !nr; nr++) {
		uint32_t n = cut ? MIN(cut, len - off) : len;

		MUST(nr < max);
		bufs[nr] = (struct drv_buf){ gpa + off, n, write };
		off += n;
	}
	return nr;
}

uint32_t netbench_send_raw(struct netbench *b, unsigned int pair, const void *bytes, uint32_t len,
			   uint32_t cut)
{
	struct drv_ring *r = &b->d.rings[2 * pair + 1];
	struct drv_buf bufs[NETBENCH_RING];
	uint32_t id, used;

	arena_write(&b->b.a, b->tx_gpa, bytes, len);
	ring_add(r, bufs, cut_bufs(bufs, ARRAY_SIZE(bufs), b->tx_gpa, len, cut, false));
	ring_publish(r);
	ring_kick(r);
	return wait_used(b, r, &id, &used) ? used : NETBENCH_NONE;
}

bool netbench_send(struct netbench *b, unsigned int pair, const uint8_t *header, const void *frame,
		   uint32_t len)
{
	unsigned int header_len = netbench_header_len(b);
	uint8_t *bytes = calloc(1, header_len + len);

	if (header)
		memcpy(bytes, header, header_len);
	memcpy(bytes + header_len, frame, len);
	mock_net_clear(&b->be);
	MUST(netbench_send_raw(b, pair, bytes, header_len + len, 0) == 0);
	free(bytes);
	if (!b->be.out_nr)
		return false;
	MUST(b->be.out_nr == 1);
	struct mock_frame *f = &b->be.out[0];
	MUST(f->port == pair && f->len == len && !memcmp(f->bytes, frame, len));
	return true;
}

/* --- receiving --- */

uint16_t netbench_post(struct netbench *b, unsigned int pair, uint32_t len, uint32_t cut)
{
	struct drv_ring *r = &b->d.rings[2 * pair];
	struct drv_buf bufs[NETBENCH_RING];

	if (b->rx_next + len > RX_LEN)
		b->rx_next = 0;
	uint64_t gpa = b->rx_gpa + b->rx_next;
	b->rx_next += len;
	uint16_t head = ring_add(r, bufs, cut_bufs(bufs, ARRAY_SIZE(bufs), gpa, len, cut, true));
	b->rx_of[pair][head] = gpa;
	ring_publish(r);
	ring_kick(r);
	return head;
}

int netbench_receive(struct netbench *b, unsigned int pair, uint8_t *header, uint8_t *frame,
		     unsigned int *buffers)
{
	struct drv_ring *r = &b->d.rings[2 * pair];
	unsigned int header_len = netbench_header_len(b), nr = 1, got = 0;
	uint32_t id, len;

	if (!wait_used(b, r, &id, &len) || !len)
		return -1;
	MUST(len >= header_len);
	memset(header, 0, 12);
	arena_read(&b->b.a, b->rx_of[pair][id], header, header_len);
	arena_read(&b->b.a, b->rx_of[pair][id] + header_len, frame, len - header_len);
	got = len - header_len;
	if (header_len == 12)
		nr = get_le16(header + 10);
	MUST(nr >= 1);
	for (unsigned int i = 1; i < nr; i++) {
		/* They are there at once. */
		MUST(ring_get(r, &id, &len));
		arena_read(&b->b.a, b->rx_of[pair][id], frame + got, len);
		got += len;
	}
	if (buffers)
		*buffers = nr;
	return (int)got;
}

bool netbench_passes(struct netbench *b, const uint8_t *frame, uint32_t len)
{
	static uint8_t got[NET_FRAME_MAX];
	uint8_t header[12];
	struct drv_ring *r = &b->d.rings[0];

	/* One buffer, unless what was posted for a frame that did not pass is still there. */
	if (r->avail_idx == r->last_used)
		netbench_post(b, 0, 2048, 0);
	MUST(mock_net_inject(&b->be, 0, NULL, frame, len));
	int n = netbench_receive(b, 0, header, got, NULL);
	MUST(n < 0 || (n == (int)len && !memcmp(got, frame, len)));
	MUST(mock_net_waiting(&b->be, 0) == 0);
	return n >= 0;
}

/* --- the control queue --- */

uint8_t netbench_command(struct netbench *b, uint8_t class, uint8_t cmd, const void *data,
			 uint32_t len)
{
	struct drv_ring *r = &b->d.rings[netbench_ctrl(b)];
	uint8_t head[2] = { class, cmd }, ack = 0xff;
	uint64_t at = b->ctrl_gpa, ack_gpa = at + CTRL_LEN - 1;
	struct drv_buf bufs[] = { { at, 2, false }, { at + 2, len, false }, { ack_gpa, 1, true } };
	uint32_t id, used;

	arena_write(&b->b.a, at, head, 2);
	arena_write(&b->b.a, at + 2, data, len);
	arena_write(&b->b.a, ack_gpa, &ack, 1);
	if (!len)
		bufs[1] = bufs[2];
	ring_add(r, bufs, len ? 3 : 2);
	ring_publish(r);
	ring_kick(r);
	if (!wait_used(b, r, &id, &used))
		return 0xff;
	MUST(used == 1);
	arena_read(&b->b.a, ack_gpa, &ack, 1);
	return ack;
}

/* --- after whatever was done --- */

void netbench_recover(struct netbench *b)
{
	uint64_t features = drv_offered(&b->d);
	uint8_t frame[1514];

	netbench_settle(b);
	uint64_t stray = arena_stray(&b->b.a);
	ck_assert_msg(stray == ARENA_CLEAN, "%#llx was written", (unsigned long long)stray);
	bench_canary(&b->b);
	mock_net_set_full(&b->be, false);
	b->be.send_errno = b->be.recv_errno = 0;
	b->be.header_ret = b->be.offloads_ret = b->be.ports_ret = 0;
	virtio_net_set_link(&b->n, true);
	mock_net_set_carrier(&b->be, true);
	netbench_up(b, features);
	netbench_frame(b, frame, sizeof(frame), NULL, -1);
	ck_assert(netbench_send(b, 0, NULL, frame, sizeof(frame)));
	ck_assert(netbench_passes(b, frame, sizeof(frame)));
	ck_assert_uint_eq(arena_stray(&b->b.a), ARENA_CLEAN);
	bench_canary(&b->b);
	ck_assert_uint_lt(b->d.slowest_ns, 5 * NSEC_PER_SEC);
	ck_assert_uint_eq(bench_count_dir("/proc/self/fd"), b->b.fds);
	uint64_t seconds = util_now_ns() / NSEC_PER_SEC - b->b.started_ns / NSEC_PER_SEC + 1;
	ck_assert_uint_le(bench_log_lines(&b->b), LOG_LIMIT_BURST * seconds + 1);
}
