// SPDX-License-Identifier: GPL-2.0
// LINK: virtio/console.c virtio/console-ctrl.c virtio/device.c virtio/registers.c virtio/legacy.c virtio/queue.c gmem.c util/loop.c util/log.c util/err.c util/util.c
/*
 * Consoles: the input is a program of chains on any queue, control messages among them, of answers of the host's side,
 * resets and wild ring bytes. Every published head comes back at most once, no longer than its writable part; a host
 * is asked for bytes only while its port is open and before its end; nothing else of guest memory changes; and a good
 * driver follows.
 */
#include "fuzz.h"

#include <errno.h>

#include <lkvm/virtio/console.h>

#define MEM_LEN 0x20000
#define PORTS   3
#define QUEUES  (2 * PORTS + 2)
#define SIZE    VIRTIO_CONSOLE_QUEUE_SIZE
#define RING(q) (0x1000 * (1 + (uint64_t)(q)))
#define READ    0xa000  /* what the driver writes: 64 bytes for each of its chains */
#define WRITE   0x10000 /* what the device writes: 64 bytes for each */
#define SLOTS   0x100
#define DESCS   (SIZE / 2) /* chains of up to two descriptors */
#define CORE                                                                                       \
	(VIRTIO_BIT(VIRTIO_F_VERSION_1) | VIRTIO_BIT(VIRTIO_F_INDIRECT_DESC) |                     \
	 VIRTIO_BIT(VIRTIO_F_EVENT_IDX) | VIRTIO_BIT(VIRTIO_F_RING_RESET))

struct host {
	struct port port;
	size_t room;
	unsigned int gives; /* bytes for the guest */
	bool ends, ended, gone, open;
};

struct bench {
	struct fuzz_memory mem;
	struct loop *loop;
	struct virtio_console_cfg cfg;
	struct virtio_device *vd;
	struct host host[PORTS];
	bool multiport, wild;
	uint8_t model[MEM_LEN];
	struct {
		uint16_t idx, used;
		bool out[DESCS];
		uint32_t in_len[DESCS];
	} q[QUEUES];
};

struct tape {
	const uint8_t *at, *end;
};

static uint8_t byte(struct tape *t)
{
	return t->at < t->end ? *t->at++ : 0;
}

static void nothing(struct virtio_device *vd)
{
	(void)vd;
}

static void irq_queue(struct virtio_device *vd, uint16_t queue)
{
	FUZZ_CHECK(queue < virtio_queues_nr(vd));
}

static const struct virtio_transport_ops transport = {
	.irq_queue = irq_queue,
	.irq_config = nothing,
	.reset = nothing,
};

/* --- the host's side --- */

static ssize_t host_write(struct port *port, const uint8_t *buf, size_t len)
{
	struct host *h = container_of(port, struct host, port);
	size_t n = MIN(len, h->room);

	FUZZ_CHECK(len);
	/* All of it is there to be read. */
	FUZZ_CHECK(memchr(buf, 0, len) != buf + len);
	h->room -= n;
	return h->gone ? -EPIPE : (ssize_t)n;
}

static ssize_t host_read(struct port *port, uint8_t *buf, size_t len)
{
	struct host *h = container_of(port, struct host, port);
	size_t n = MIN(len, (size_t)h->gives);

	FUZZ_CHECK(!h->ended && h->open && len);
	h->ended = !n && h->ends;
	memset(buf, 0x5a, n);
	h->gives -= (unsigned int)n;
	return n ? (ssize_t)n : h->ended ? 0 : -EAGAIN;
}

static void host_guest(struct port *port, bool open)
{
	struct host *h = container_of(port, struct host, port);

	FUZZ_CHECK(h->open != open);
	h->open = open;
}

static const struct port_ops host_ops = {
	.write = host_write,
	.read = host_read,
	.guest = host_guest,
};

static void check_memory(struct bench *b)
{
	uint64_t from = 0;

	for (unsigned int q = 0; q < QUEUES && !b->wild; q++) {
		FUZZ_CHECK(
			!memcmp(b->model + from, fuzz_at(&b->mem, from), RING(q) + 0x800 - from));
		from = RING(q) + 0x800 + 6 + 8 * SIZE;
	}
	FUZZ_CHECK(b->wild || !memcmp(b->model + from, fuzz_at(&b->mem, from), WRITE - from));
}

/* --- the driver --- */

static void settle(struct bench *b)
{
	for (unsigned int i = 0; i < 8; i++) {
		loop_stop(b->loop);
		FUZZ_CHECK(loop_run(b->loop) == 0);
	}
	for (unsigned int q = 0; q < QUEUES && !b->wild; q++) {
		uint64_t used = RING(q) + 0x800;

		while (b->q[q].used != get_le16(fuzz_at(&b->mem, used + 2))) {
			uint64_t e = used + 4 + 8 * (b->q[q].used++ & (SIZE - 1));
			uint32_t slot = get_le32(fuzz_at(&b->mem, e)) / 2;

			FUZZ_CHECK(slot < DESCS && b->q[q].out[slot]);
			FUZZ_CHECK(get_le32(fuzz_at(&b->mem, e + 4)) <= b->q[q].in_len[slot]);
			b->q[q].out[slot] = false;
		}
	}
}

static void up_queue(struct bench *b, unsigned int q)
{
	static const uint8_t zeroes[0x1000];

	fuzz_put(&b->mem, RING(q), zeroes, sizeof(zeroes));
	memset(&b->q[q], 0, sizeof(b->q[q]));
	virtio_queue_select(b->vd, (uint16_t)q);
	virtio_set_queue_addr(b->vd, VIRTIO_QUEUE_DESC, RING(q));
	virtio_set_queue_addr(b->vd, VIRTIO_QUEUE_AVAIL, RING(q) + 0x400);
	virtio_set_queue_addr(b->vd, VIRTIO_QUEUE_USED, RING(q) + 0x800);
	virtio_set_queue_enable(b->vd, 1);
}

static void up(struct bench *b, uint64_t features)
{
	check_memory(b);
	memcpy(b->model, fuzz_at(&b->mem, 0), MEM_LEN);
	b->wild = false;
	virtio_set_status(b->vd, 0);
	FUZZ_CHECK(virtio_get_status(b->vd) == 0);
	for (unsigned int i = 0; i < PORTS; i++)
		FUZZ_CHECK(!b->host[i].open);
	virtio_set_status(b->vd, 0x03);
	features &= b->vd->offered;
	for (uint32_t w = 0; w < 2; w++) {
		virtio_select_driver_features(b->vd, w);
		virtio_set_driver_features(b->vd, (uint32_t)(features >> 32 * w));
	}
	virtio_set_status(b->vd, 0x0b);
	FUZZ_CHECK(virtio_get_status(b->vd) == 0x0b);
	for (unsigned int q = 0; q < QUEUES; q++)
		up_queue(b, q);
	virtio_set_status(b->vd, 0x0f);
	settle(b);
}

/* A chain of up to two parts, readable or writable, which may be a control message. */
static void chain(struct bench *b, unsigned int q, struct tape *t)
{
	uint8_t how = byte(t), m[64] = { 0 };
	unsigned int slot = b->q[q].idx % DESCS, id = (q * DESCS + slot) % SLOTS;
	uint64_t desc = RING(q) + 32 * slot;
	uint32_t out = how & 1 ? (how & 2 ? 8 : byte(t) & 63) : 0;
	uint32_t in = how & 4 ? byte(t) & 63 : 0;

	if (b->q[q].out[slot])
		return;
	put_le32(m, how & 8 ? (uint32_t)byte(t) << 24 | byte(t) : how >> 6);
	put_le16(m + 4, how & 16 ? byte(t) << 8 | byte(t) : byte(t) & 7);
	put_le16(m + 6, how & 32 ? byte(t) << 8 | byte(t) : 1);
	fuzz_put(&b->mem, READ + 64 * (uint64_t)id, m, sizeof(m));
	if (out || !in)
		fuzz_put_desc(&b->mem, desc, READ + 64 * (uint64_t)id, out, in ? 1 : 0,
			      (uint16_t)(2 * slot + 1));
	if (in)
		fuzz_put_desc(&b->mem, desc + (out ? 16 : 0), WRITE + 64 * (uint64_t)id, in, 2, 0);
	b->q[q].out[slot] = true;
	b->q[q].in_len[slot] = in;
	fuzz_put16(&b->mem, RING(q) + 0x404 + 2 * (b->q[q].idx & (SIZE - 1)), (uint16_t)(2 * slot));
	fuzz_put16(&b->mem, RING(q) + 0x402, ++b->q[q].idx);
	virtio_queue_notify(b->vd, q);
}

static void host_acts(struct bench *b, struct tape *t)
{
	uint8_t what = byte(t);
	struct host *h = &b->host[what % b->cfg.nr];

	if (what & 0x10)
		h->room = byte(t) * 4u;
	if (what & 0x20)
		h->gives = byte(t) * 16u;
	h->gone |= (what & 0xc0) == 0xc0;
	h->ends |= (what & 0xc0) == 0x80;
	if (what & 8)
		h->port.resize(&h->port, byte(t), byte(t));
	h->port.ready(&h->port);
}

static void control(struct bench *b, unsigned int q, struct tape *t)
{
	uint8_t what = byte(t), c[8];

	switch (what & 3) {
	case 0:
		virtio_queue_select(b->vd, (uint16_t)q);
		virtio_set_queue_reset(b->vd, 1);
		settle(b);
		if (virtio_get_queue_reset(b->vd) == 0 && virtio_get_queue_enable(b->vd) == 0 &&
		    !b->wild)
			up_queue(b, q);
		break;
	case 1:
		virtio_set_bus_master(b->vd, what & 4);
		virtio_set_bus_master(b->vd, true);
		break;
	case 2:
		virtio_config_read(b->vd, what >> 2, c, 1 + (what & 7));
		virtio_config_write(b->vd, what >> 2, c, 1 + (what & 7));
		break;
	default:
		up(b, what & 4 ? UINT64_MAX : CORE | byte(t));
		break;
	}
}

static void step(struct bench *b, struct tape *t)
{
	uint8_t op = byte(t), v[2];
	unsigned int q = (op >> 3) % QUEUES;

	switch (op & 7) {
	default:
		chain(b, q, t);
		break;
	case 4:
		settle(b);
		break;
	case 5:
		host_acts(b, t);
		break;
	case 6:
		control(b, q, t);
		break;
	case 7:
		if (!(op & 0x80))
			break;
		b->wild = true;
		v[0] = byte(t);
		v[1] = byte(t);
		fuzz_put(&b->mem, RING(q) + (byte(t) << 4 | (byte(t) & 15)) % 0xc00, v, 2);
		virtio_queue_notify(b->vd, q);
		break;
	}
}

static void build(struct bench *b, uint8_t kind)
{
	static struct loop *loop;
	struct err err = ERR_INIT;

	memset(b, 0, sizeof(*b));
	if (!loop)
		FUZZ_CHECK((loop = loop_new(&err)));
	b->loop = loop;
	b->mem =
		(struct fuzz_memory){ .gm = fuzz_gmem(MEM_LEN), .len = MEM_LEN, .model = b->model };
	b->cfg = (struct virtio_console_cfg){ .nr = kind & 1 ? 1 : PORTS,
					      .cols = kind >> 4,
					      .rows = 5 };
	for (unsigned int i = 0; i < PORTS; i++) {
		b->host[i].port.ops = &host_ops;
		b->cfg.ports[i] = (struct virtio_console_port){ .name = i || kind & 2 ? "name"
										      : NULL,
								.port = &b->host[i].port };
	}
	struct virtio_host host = {
		.gm = b->mem.gm, .loops = &b->loop, .loops_nr = 1, .cpus_nr = 1
	};
	FUZZ_CHECK(virtio_console_type.make(&b->vd, &b->cfg, &host, &err) == 0);
	FUZZ_CHECK(virtio_plug(b->vd, &transport, &err) == 0);
	up(b, UINT64_MAX);
}

/* Whatever happened, a reset, and the first port takes a byte. */
static void recover(struct bench *b)
{
	up(b, CORE);
	b->host[0].gone = false;
	b->host[0].room = 1;
	fuzz_put_desc(&b->mem, RING(1), READ, 1, 0, 0);
	b->q[1].out[0] = true;
	fuzz_put16(&b->mem, RING(1) + 0x402, 1);
	virtio_queue_notify(b->vd, 1);
	settle(b);
	FUZZ_CHECK(!b->q[1].out[0] && b->host[0].room == 0);
	check_memory(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct bench b;
	struct tape t = { data, data + MIN(size, (size_t)1024) };

	build(&b, byte(&t));
	while (t.at < t.end)
		step(&b, &t);
	settle(&b);
	check_memory(&b);
	recover(&b);
	virtio_set_status(b.vd, 0);
	virtio_unplug(b.vd);
	virtio_console_type.destroy(b.vd);
	return 0;
}
