// SPDX-License-Identifier: GPL-2.0
// LINK: virtio/net.c virtio/net-io.c virtio/late.c virtio/net-ctrl.c virtio/net-vhost.c virtio/vhost.c virtio/device.c virtio/registers.c virtio/legacy.c virtio/queue.c gmem.c util/loop.c util/log.c util/err.c tests/mock/clock.c tests/mock/net.c
/*
 * A hostile driver, and a hostile peer behind the backend, at virtio-net: the input chooses features and is then a
 * program of chains for each queue, frames with any header, control commands, kicks, resets and what the backend does.
 * After each step the counts must agree, and what went out must be well-formed.
 */
#include "fuzz.h"

#include "../mock/net.h"

#define MEM_LEN 0x60000
#define PAIRS   2
#define QUEUES  (2 * PAIRS + 1)
#define SIZE    32
#define DATA    0x20000

struct state {
	struct gmem *gm;
	struct loop *loop;
	struct mock_net be;
	struct virtio_net n;
	uint16_t idx[QUEUES];
	uint8_t next[QUEUES];
};

struct tape {
	const uint8_t *at, *end;
};

static uint8_t byte(struct tape *t)
{
	return t->at < t->end ? *t->at++ : 0;
}

static uint32_t word(struct tape *t)
{
	uint32_t v = byte(t);

	return v << 8 | byte(t);
}

void mock_failed(const char *file, int line, const char *what)
{
	fprintf(stderr, "%s:%d: broken: %s\n", file, line, what);
	abort();
}

static void on_irq_queue(struct virtio_device *vd, uint16_t queue)
{
	FUZZ_CHECK(queue < virtio_queues_nr(vd));
}

static void on_irq_config(struct virtio_device *vd)
{
	FUZZ_CHECK(virtio_get_status(vd) & VIRTIO_DRIVER_OK || vd->iface == VIRTIO_IFACE_LEGACY);
}

static void on_reset(struct virtio_device *vd)
{
	(void)vd;
}

static const struct virtio_transport_ops transport = {
	.irq_queue = on_irq_queue,
	.irq_config = on_irq_config,
	.reset = on_reset,
};

static uint64_t ring_gpa(unsigned int q)
{
	return 0x2000 * (1 + (uint64_t)q);
}

static void put(struct state *s, uint64_t gpa, const void *buf, size_t len)
{
	(void)!gmem_write(s->gm, gpa, buf, len);
}

static void put16(struct state *s, uint64_t gpa, uint16_t v)
{
	uint8_t le[2];

	put_le16(le, v);
	put(s, gpa, le, 2);
}

static void put_desc(struct state *s, unsigned int q, unsigned int i, uint64_t addr, uint32_t len,
		     uint16_t flags, uint16_t next)
{
	uint8_t d[16];

	put_le64(d, addr);
	put_le32(d + 8, len);
	put_le16(d + 12, flags);
	put_le16(d + 14, next);
	put(s, ring_gpa(q) + 16 * i, d, sizeof(d));
}

static void turn(struct state *s)
{
	loop_stop(s->loop);
	FUZZ_CHECK(loop_run(s->loop) == 0);
}

/* --- up --- */

static void up_queue(struct state *s, unsigned int q)
{
	struct virtio_device *vd = &s->n.vd;

	virtio_queue_select(vd, (uint16_t)q);
	virtio_set_queue_size(vd, SIZE);
	virtio_set_queue_addr(vd, VIRTIO_QUEUE_DESC, ring_gpa(q));
	virtio_set_queue_addr(vd, VIRTIO_QUEUE_AVAIL, ring_gpa(q) + 0x1000);
	virtio_set_queue_addr(vd, VIRTIO_QUEUE_USED, ring_gpa(q) + 0x1800);
	FUZZ_CHECK(gmem_zero(s->gm, ring_gpa(q), 0x2000) == 0);
	virtio_set_queue_enable(vd, 1);
	s->idx[q] = s->next[q] = 0;
}

/* Any set: what is refused leaves the device as it is, which is worth a step too. */
static void up(struct state *s, struct tape *t)
{
	struct virtio_device *vd = &s->n.vd;
	uint8_t how = byte(t);
	uint32_t low = word(t) << 16 | word(t), high = word(t);

	virtio_set_status(vd, 0);
	if (how & 1) {
		virtio_legacy_set_features(vd, low);
		for (unsigned int q = 0; q < 2; q++) {
			virtio_queue_select(vd, (uint16_t)q);
			virtio_legacy_set_pfn(vd, (uint32_t)(ring_gpa(q) >> 12));
			s->idx[q] = s->next[q] = 0;
		}
		virtio_legacy_set_status(vd, 7);
		return;
	}
	virtio_set_status(vd, 3);
	virtio_select_driver_features(vd, 0);
	virtio_set_driver_features(vd, how & 2 ? low : (uint32_t)vd->offered & ~low);
	virtio_select_driver_features(vd, 1);
	virtio_set_driver_features(vd, how & 4 ? high << 16 | 1
					       : (uint32_t)(vd->offered >> 32) & ~(high << 16));
	virtio_set_status(vd, 0x0b);
	if (!(virtio_get_status(vd) & VIRTIO_FEATURES_OK)) {
		/* Without the rest, then. */
		virtio_select_driver_features(vd, 0);
		virtio_set_driver_features(vd, how & 8 ? 1u << VIRTIO_NET_F_MRG_RXBUF : 0);
		virtio_set_status(vd, 0x0b);
	}
	for (unsigned int q = 0; q < QUEUES; q++)
		up_queue(s, q);
	virtio_set_status(vd, 0x0f);
}

/* --- steps --- */

static void publish(struct state *s, unsigned int q, uint16_t head)
{
	put16(s, ring_gpa(q) + 0x1004 + 2 * (s->idx[q] % SIZE), head);
	put16(s, ring_gpa(q) + 0x1002, ++s->idx[q]);
	virtio_queue_notify(&s->n.vd, q);
}

/* Up to eight pieces of small or large lengths, well-formed but for one now and then. */
static void chain(struct state *s, struct tape *t, unsigned int q, unsigned int readable)
{
	static const uint32_t lens[] = { 0,  1,  2,  10,  11,   12,   13,    14,
					 18, 30, 60, 100, 1526, 4096, 16384, 65600 };
	uint8_t shape = byte(t), odd = byte(t), first = s->next[q];
	unsigned int nr = 1 + shape % 8;

	for (unsigned int i = 0; i < nr; i++) {
		bool last = i == nr - 1;
		uint64_t addr = DATA + 0x1000 * (i + (shape >> 3 & 3));
		uint32_t len = lens[byte(t) % ARRAY_SIZE(lens)];
		uint16_t at = (uint16_t)((first + i) % SIZE), next = (uint16_t)((at + 1) % SIZE);
		uint16_t flags = (last ? 0 : 1) | (i >= readable ? 2 : 0);

		if (odd == i + 1) {
			uint8_t what = byte(t);

			addr = what & 1 ? ~(uint64_t)word(t) : addr;
			addr = what & 2 ? MEM_LEN - 20 : addr;
			len = what & 4 ? word(t) << (what >> 3 & 16) : len;
			flags ^= what & 8 ? byte(t) : 0;
			next = what & 16 ? (uint16_t)word(t) : next;
		}
		put_desc(s, q, at, addr, len, flags, next);
	}
	publish(s, q, first);
	s->next[q] = (uint8_t)((first + nr) % SIZE);
}

static void send_chain(struct state *s, struct tape *t)
{
	uint8_t header[12];

	for (unsigned int i = 0; i < sizeof(header); i++)
		header[i] = byte(t);
	put(s, DATA, header, sizeof(header));
	chain(s, t, byte(t) % 4 ? 1 : 3, 8);
}

static void inject(struct state *s, struct tape *t)
{
	static uint8_t frame[NET_FRAME_MAX + 1000];
	static const uint8_t macs[][6] = {
		{ 2, 0, 0, 0, 0, 1 }, { 255, 255, 255, 255, 255, 255 }, { 1, 2 }, { 2, 2 }
	};
	uint8_t header[12], how = byte(t);
	uint32_t len = how & 1 ? word(t) : how & 2 ? NET_FRAME_MAX : byte(t);

	for (unsigned int i = 0; i < sizeof(header); i++)
		header[i] = how & 4 ? byte(t) : 0;
	memcpy(frame, macs[how >> 3 & 3], 6);
	if (how & 0x20) {
		frame[12] = 0x81;
		frame[14] = byte(t);
	}
	mock_net_inject(&s->be, how >> 6 & 1, header, frame, len);
}

static void command(struct state *s, struct tape *t)
{
	uint8_t data[600], n = byte(t);
	unsigned int q = s->n.features & NF(MQ) ? 2 * PAIRS : 2,
		     len = 2 + n % 100 * (n & 0x80 ? 6 : 1);

	data[0] = byte(t) % 8;
	for (unsigned int i = 1; i < len; i++)
		data[i] = byte(t);
	put(s, DATA + 0x8000, data, len);
	uint8_t first = s->next[q], cut = byte(t);
	unsigned int split = cut % len;

	put_desc(s, q, first, DATA + 0x8000, split, 1, (first + 1) % SIZE);
	put_desc(s, q, (first + 1) % SIZE, DATA + 0x8000 + split, len - split, 1,
		 (first + 2) % SIZE);
	put_desc(s, q, (first + 2) % SIZE, DATA + 0x9000, cut & 0x80 ? 0 : 1, 2, 0);
	publish(s, q, first);
	s->next[q] = (uint8_t)((first + 3) % SIZE);
}

static void backend(struct state *s, struct tape *t)
{
	uint8_t what = byte(t);

	mock_net_set_full(&s->be, what & 1);
	s->be.send_errno = what & 2 ? 5 : 0;
	s->be.recv_errno = what & 4 ? 5 : 0;
	s->be.ports_ret = what & 8 ? -5 : 0;
	s->be.offloads_ret = what & 16 ? -5 : 0;
	if (what & 32)
		mock_net_set_carrier(&s->be, what & 64);
	if (what & 128)
		virtio_net_set_link(&s->n, what & 64);
	else
		virtio_net_announce(&s->n);
}

static void registers(struct state *s, struct tape *t)
{
	struct virtio_device *vd = &s->n.vd;
	uint8_t what = byte(t), bytes[8] = { byte(t), 2, 3, 4, 5, 6 };

	virtio_queue_select(vd, what >> 4);
	switch (what & 7) {
	case 0:
		virtio_set_queue_reset(vd, 1);
		break;
	case 1:
		if (what >> 4 < QUEUES)
			up_queue(s, what >> 4);
		break;
	case 2:
		virtio_config_write(vd, byte(t), bytes, 1 + bytes[0] % 8);
		break;
	case 3:
		virtio_config_read(vd, byte(t), bytes, 8);
		break;
	case 4:
		put16(s, ring_gpa((what >> 4) % QUEUES) + 0x1002, (uint16_t)word(t));
		break;
	case 5:
		atomic_fetch_add(&mock_clock_frozen, UINT64_C(3000000) << (what >> 4 & 7));
		break;
	default:
		virtio_queue_notify(vd, word(t));
		break;
	}
}

/* --- what must hold --- */

static void check_out(struct state *s)
{
	for (unsigned int i = 0; i < s->be.out_nr; i++) {
		struct mock_frame *f = &s->be.out[i];
		uint32_t start = get_le16(f->header + 6), off = get_le16(f->header + 8);

		FUZZ_CHECK(f->len >= NET_ETH_LEN && f->len <= NET_FRAME_MAX);
		FUZZ_CHECK(!(f->header[0] & ~1));
		FUZZ_CHECK(!f->header[0] || (s->n.tx_offloads & NET_CSUM));
		FUZZ_CHECK(!f->header[0] || start + off + 2 <= f->len);
		FUZZ_CHECK(!f->header[1] || (f->header[0] && get_le16(f->header + 4)));
		FUZZ_CHECK(get_le16(f->header + 2) <= f->len);
	}
	mock_net_clear(&s->be);
}

static void check(struct state *s)
{
	struct virtio_device *vd = &s->n.vd;
	uint32_t out = 0;

	for (uint16_t i = 0; i < vd->queues_nr; i++)
		out += vd->vqs[i].in_flight;
	FUZZ_CHECK(out == (vd->in_flight & ~VIRTIO_RESET_AT_WORK));
	FUZZ_CHECK(vd->state != VIRTIO_PLUGGED || !out);
	for (unsigned int i = 0; i < PAIRS; i++) {
		struct virtio_net_rx *rx = &s->n.pair[i].rx;
		uint64_t room = 0;

		for (unsigned int k = 0; k < rx->nr; k++)
			room += rx->held[rx->first + k].in_len;
		FUZZ_CHECK(room == rx->room);
		FUZZ_CHECK(rx->first + rx->nr <= VIRTIO_NET_QUEUE_SIZE);
		FUZZ_CHECK(rx->iovs_end <= VIRTIO_NET_HELD_IOVS);
		FUZZ_CHECK(s->n.pair[i].rxq->in_flight ==
			   rx->nr + (s->n.ctrl.pending && s->n.ctrl.vq == s->n.pair[i].rxq));
		FUZZ_CHECK(s->n.pair[i].txq->in_flight == s->n.pair[i].tx.pending);
		FUZZ_CHECK(vd->state != VIRTIO_PLUGGED || !s->be.port[i].watch);
	}
}

static void step(struct state *s, struct tape *t)
{
	uint8_t op = byte(t);

	switch (op % 8) {
	case 0:
		send_chain(s, t);
		break;
	case 1:
		for (unsigned int i = 0; i <= (op >> 3 & 7); i++)
			chain(s, t, op & 0x40 ? 2 : 0, op & 0x80 ? 1 : 0);
		break;
	case 2:
		inject(s, t);
		break;
	case 3:
		command(s, t);
		break;
	case 4:
		backend(s, t);
		break;
	case 5:
		registers(s, t);
		break;
	case 6:
		if (op & 0x18)
			turn(s);
		else
			up(s, t);
		break;
	default:
		turn(s);
		break;
	}
	/* The counts of what a loop still has to do are its own. */
	check(s);
	check_out(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct state s;
	struct tape t = { data, data + size };
	struct err err = ERR_INIT;
	struct log log = { .fd = -1 };
	struct virtio_net_opts o = {
		.backend = &s.be.be, .mac = { 2, 0, 0, 0, 0, 1 }, .mtu = 1500, .pairs = PAIRS
	};

	memset(&s, 0, sizeof(s));
	atomic_store(&mock_clock_frozen, 1000000000);
	s.gm = fuzz_gmem(MEM_LEN);
	FUZZ_CHECK((s.loop = loop_new(&err)));
	mock_net_init(&s.be);
	FUZZ_CHECK(virtio_net_init(&s.n, &o, s.gm, &log, &s.loop, 1, &err) == 0);
	FUZZ_CHECK(virtio_plug(&s.n.vd, &transport, &err) == 0);
	up(&s, &t);
	while (t.at < t.end)
		step(&s, &t);
	for (unsigned int i = 0; i < 4; i++)
		turn(&s);
	virtio_unplug(&s.n.vd);
	check(&s);
	FUZZ_CHECK(!s.n.vd.in_flight);
	FUZZ_CHECK(s.n.vd.state == VIRTIO_REALIZED);
	turn(&s);
	virtio_net_release(&s.n);
	loop_free(s.loop);
	mock_net_release(&s.be);
	return 0;
}
