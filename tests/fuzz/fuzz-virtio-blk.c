// SPDX-License-Identifier: GPL-2.0
// LINK: virtio/device.c virtio/registers.c virtio/legacy.c virtio/queue.c virtio/blk.c virtio/blk-config.c gmem.c util/loop.c util/log.c util/err.c tests/mock/clock.c tests/mock/testdisk.c
/*
 * Requests to a disk: the input is a program of requests of any content and framing, answers of the image,
 * configuration writes, resets and wild ring bytes. What reaches the image is checked by testdisk; here every
 * published head comes back exactly once, with a status, no longer than its writable part, and nothing else
 * of guest memory changes.
 */
#include "fuzz.h"

#include <errno.h>

#include <lkvm/virtio/blk.h>

#include "../mock/clock.h"
#include "../mock/testdisk.h"

#define MEM_LEN  0x20000
#define QUEUES   2
#define SIZE     16
#define READ     0x8000 /* what the driver writes: headers, data, ranges; 512 bytes for each request */
#define TABLE    0xc000  /* indirect tables, 256 bytes each */
#define WRITE    0x10000 /* data that a device writes */
#define WRITABLE 0x8000
#define STATUS   0x18000
#define SECTORS  64
#define CORE                                                                                       \
	(VIRTIO_BIT(VIRTIO_F_VERSION_1) | VIRTIO_BIT(VIRTIO_F_INDIRECT_DESC) |                     \
	 VIRTIO_BIT(VIRTIO_F_EVENT_IDX) | VIRTIO_BIT(VIRTIO_F_RING_RESET))

struct sent {
	bool out, status;
	uint32_t in_len;
};

struct bench {
	struct fuzz_memory mem;
	struct loop *loop;
	struct testdisk disk;
	struct virtio_blk blk;
	bool mq; /* negotiated */
	uint8_t model[MEM_LEN];
	struct {
		uint16_t idx, used;
		bool wild;  /* its memory says anything: what comes of it is not followed */
		bool quiet; /* it was reset, or is not served */
		struct sent sent[SIZE];
	} q[QUEUES];
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

/* --- memory --- */

static uint64_t ring_gpa(unsigned int q)
{
	return 0x1000 * (1 + (uint64_t)q);
}

/* Nothing but what a device may write: the writable half, and the used rings. */
static void check_memory(struct bench *b)
{
	uint64_t from = 0;

	for (unsigned int q = 0; q < QUEUES; q++) {
		if (b->q[q].wild)
			return;
		FUZZ_CHECK(!memcmp(b->model + from, fuzz_at(&b->mem, from),
				   ring_gpa(q) + 0x800 - from));
		from = ring_gpa(q) + 0x800 + 6 + 8 * SIZE;
	}
	FUZZ_CHECK(!memcmp(b->model + from, fuzz_at(&b->mem, from), WRITE - from));
}

/* --- the driver --- */

static void turn(struct bench *b)
{
	loop_stop(b->loop);
	FUZZ_CHECK(loop_run(b->loop) == 0);
}

static void reap(struct bench *b, unsigned int q)
{
	uint64_t used = ring_gpa(q) + 0x800;

	if (b->q[q].wild || b->q[q].quiet)
		return;
	while (b->q[q].used != get_le16(fuzz_at(&b->mem, used + 2))) {
		uint64_t e = used + 4 + 8 * (b->q[q].used++ & (SIZE - 1));
		uint32_t id = get_le32(fuzz_at(&b->mem, e)),
			 len = get_le32(fuzz_at(&b->mem, e + 4));

		FUZZ_CHECK(id < SIZE);
		struct sent *s = &b->q[q].sent[id];
		FUZZ_CHECK(s->out && len <= s->in_len);
		FUZZ_CHECK(!s->status || *fuzz_at(&b->mem, STATUS + 16 * (q * SIZE + id)) <= 2);
		s->out = false;
	}
}

static void settle(struct bench *b)
{
	for (unsigned int i = 0; i < 40; i++) {
		testdisk_finish_all(&b->disk, 0);
		turn(b);
	}
	for (unsigned int q = 0; q < QUEUES; q++)
		reap(b, q);
}

/* Once everything was answered nothing is out, unless the driver broke the device. */
static void check_all_back(struct bench *b)
{
	for (unsigned int q = 0; q < QUEUES; q++)
		virtio_queue_notify(&b->blk.vd, q);
	settle(b);
	if (b->blk.vd.state != VIRTIO_RUNNING)
		return;
	for (unsigned int q = 0; q < QUEUES; q++)
		for (unsigned int i = 0; i < SIZE; i++)
			FUZZ_CHECK(b->q[q].wild || b->q[q].quiet || !b->q[q].sent[i].out);
}

static void up_queue(struct bench *b, unsigned int q)
{
	static const uint8_t zeroes[0x1000];
	struct virtio_device *vd = &b->blk.vd;

	fuzz_put(&b->mem, ring_gpa(q), zeroes, sizeof(zeroes));
	memset(&b->q[q], 0, sizeof(b->q[q]));
	virtio_queue_select(vd, (uint16_t)q);
	virtio_set_queue_size(vd, SIZE);
	virtio_set_queue_addr(vd, VIRTIO_QUEUE_DESC, ring_gpa(q));
	virtio_set_queue_addr(vd, VIRTIO_QUEUE_AVAIL, ring_gpa(q) + 0x400);
	virtio_set_queue_addr(vd, VIRTIO_QUEUE_USED, ring_gpa(q) + 0x800);
	virtio_set_queue_enable(vd, 1);
	b->q[q].quiet = q && !b->mq;
}

static void reset(struct bench *b)
{
	virtio_set_status(&b->blk.vd, 0);
	settle(b);
	FUZZ_CHECK(virtio_get_status(&b->blk.vd) == 0);
}

/* After a wild ring the whole of memory may be anything: it is taken as it is. */
static void up(struct bench *b, uint64_t features)
{
	struct virtio_device *vd = &b->blk.vd;

	check_memory(b);
	memcpy(b->model, fuzz_at(&b->mem, 0), MEM_LEN);
	virtio_set_status(vd, 0x03);
	features &= vd->offered;
	for (uint32_t w = 0; w < 2; w++) {
		virtio_select_driver_features(vd, w);
		virtio_set_driver_features(vd, (uint32_t)(features >> 32 * w));
	}
	virtio_set_status(vd, 0x0b);
	FUZZ_CHECK(virtio_get_status(vd) == 0x0b);
	b->mq = virtio_has(vd, 12);
	for (unsigned int q = 0; q < QUEUES; q++)
		up_queue(b, q);
	virtio_set_status(vd, 0x0f);
}

/* --- requests --- */

static uint64_t some_sector(struct tape *t)
{
	static const uint64_t all[] = { 0,           8,          SECTORS - 1, SECTORS,
					SECTORS + 1, 1ULL << 55, 1ULL << 63,  UINT64_MAX };
	uint8_t v = byte(t);

	return v & 0x80 ? all[v & 7] : v & 63;
}

static uint32_t some_len(struct tape *t)
{
	static const uint32_t all[] = { 0, 512, 1024, 4096, 16, 32, 48, 20 };
	uint8_t v = byte(t);

	return v & 0x80 ? (uint32_t)v * 3 : all[v & 7];
}

/* Adds `len` bytes at `gpa` to the table, in pieces of the tape's lengths; the last takes the rest. */
static unsigned int add_pieces(struct bench *b, uint64_t table, unsigned int nr, uint64_t gpa,
			       uint32_t len, bool write, struct tape *t)
{
	for (unsigned int i = 0; i < 6 && len; i++) {
		uint8_t cut = byte(t);
		uint32_t n = i == 5 || !cut ? len : MIN(len, (uint32_t)cut);

		fuzz_put_desc(&b->mem, table + 16 * nr, gpa, n, 1 | (write ? 2 : 0),
			      (uint16_t)(nr + 1));
		nr++;
		gpa += n;
		len -= n;
	}
	return nr;
}

static void put_ranges(struct bench *b, uint64_t gpa, struct tape *t)
{
	for (unsigned int i = 0; i < 4; i++) {
		uint8_t r[16], v = byte(t);

		put_le64(r, some_sector(t));
		put_le32(r + 8, v & 0x80 ? word(t) << 16 : v & 15);
		put_le32(r + 12, v >> 4 & 3 ? v >> 4 & 1 : byte(t));
		fuzz_put(&b->mem, gpa + 16 * i, r, 16);
	}
}

static void request(struct bench *b, unsigned int q, struct tape *t)
{
	static const uint32_t types[] = { 0, 1, 4, 8, 11, 13, 5, 14 };
	unsigned int slot = b->q[q].idx & (SIZE - 1), id = q * SIZE + slot;
	uint64_t table = TABLE + 256 * (uint64_t)id, head = READ + 512 * (uint64_t)id;
	struct sent *s = &b->q[q].sent[slot];
	uint8_t how = byte(t), h[16];

	if (s->out)
		check_all_back(b);
	if (s->out)
		return;
	put_le32(h, how & 0x80 ? word(t) << 8 : types[how & 7]);
	put_le32(h + 4, how);
	put_le64(h + 8, some_sector(t));
	fuzz_put(&b->mem, head, h, 16);
	uint32_t out = how & 0x40 ? some_len(t) : 0, in = how & 0x20 ? some_len(t) : 0;
	if (how & 0x10)
		put_ranges(b, head + 16, t);
	/* Data is read from wherever the driver wrote. */
	out = MIN(16 + out, (uint32_t)(TABLE - head));
	if (how & 8)
		out = byte(t) & 31;
	unsigned int nr = add_pieces(b, table, 0, head, out, false, t);
	nr = add_pieces(b, table, nr, WRITE + 1024 * (uint64_t)id, in, true, t);
	bool status = !nr || byte(t) != 0xff;
	uint8_t none = 0xee;
	fuzz_put(&b->mem, STATUS + 16 * (uint64_t)id, &none, 1);
	if (status)
		fuzz_put_desc(&b->mem, table + 16 * nr++, STATUS + 16 * (uint64_t)id, 1, 2, 0);
	/* The last one ends the chain. */
	fuzz_put16(&b->mem, table + 16 * nr - 4, b->model[table + 16 * nr - 4] & 2);
	fuzz_put_desc(&b->mem, ring_gpa(q) + 16 * slot, table, 16 * nr, 4, 0);
	*s = (struct sent){ .out = true, .status = status, .in_len = in + status };
	fuzz_put16(&b->mem, ring_gpa(q) + 0x404 + 2 * slot, (uint16_t)slot);
	fuzz_put16(&b->mem, ring_gpa(q) + 0x402, ++b->q[q].idx);
}

/* --- the program's steps --- */

static void image(struct bench *b, struct tape *t)
{
	static const int rets[] = { 0, -EIO, -ENOSPC, 1 };
	uint8_t what = byte(t);
	unsigned int held = testdisk_held(&b->disk);

	switch (what & 3) {
	case 0:
		b->disk.mode = what >> 2 & 3;
		b->disk.deaf = what & 0x80;
		break;
	case 1:
		b->disk.fail = what >> 2 & 3;
		b->disk.part = what >> 4;
		break;
	default:
		if (held)
			testdisk_finish(&b->disk, (what >> 4) % held, rets[what >> 2 & 3]);
		break;
	}
}

static void fields(struct bench *b, struct tape *t)
{
	uint8_t what = byte(t), v[8] = { byte(t) };
	uint32_t len = 1u << (what >> 6);

	if (what & 1)
		virtio_blk_resize(&b->blk, MIN((uint64_t)v[0] * 512, b->disk.info.size));
	else if (what & 2)
		virtio_config_write(&b->blk.vd, what & 4 ? 0x20 : v[0], v, len);
	else
		virtio_config_read(&b->blk.vd, v[0], v, len);
}

static void control(struct bench *b, unsigned int q, struct tape *t)
{
	uint8_t what = byte(t);

	if (what & 1) {
		virtio_queue_select(&b->blk.vd, (uint16_t)q);
		virtio_set_queue_reset(&b->blk.vd, 1);
		settle(b);
		if (virtio_get_queue_reset(&b->blk.vd) == 0 &&
		    virtio_get_queue_enable(&b->blk.vd) == 0 && !b->q[q].wild)
			up_queue(b, q);
	} else if (what & 2) {
		virtio_set_bus_master(&b->blk.vd, what & 4);
		virtio_set_bus_master(&b->blk.vd, true);
	} else {
		reset(b);
		up(b, CORE | (what & 4 ? UINT64_MAX : word(t) << 8));
	}
}

static void step(struct bench *b, struct tape *t)
{
	uint8_t op = byte(t), bytes[4];
	unsigned int q = op >> 4 & 1;

	switch (op & 7) {
	default:
		request(b, q, t);
		if (op & 0x80)
			virtio_queue_notify(&b->blk.vd, q);
		break;
	case 3:
		virtio_queue_notify(&b->blk.vd, op >> 4);
		turn(b);
		break;
	case 4:
		image(b, t);
		break;
	case 5:
		fields(b, t);
		break;
	case 6:
		control(b, q, t);
		break;
	case 7:
		if (!(op & 0x80))
			break;
		b->q[0].wild = b->q[1].wild = true;
		put_le32(bytes, word(t) << 16 | word(t));
		fuzz_put(&b->mem,
			 op & 0x40 ? TABLE + word(t) % 0x2000 : ring_gpa(q) + word(t) % 0xc00,
			 bytes, 4);
		break;
	}
}

static void build(struct bench *b, uint8_t kind)
{
	static struct loop *loop;
	struct err err = ERR_INIT;
	struct blk_info info = { .size = 512 * SECTORS,
				 .block_size = kind & 1 ? 4096 : 512,
				 .readonly = kind & 2,
				 .flush = !(kind & 4),
				 .discard = !(kind & 8),
				 .write_zeroes = !(kind & 16),
				 .one_channel = kind & 32 };
	struct virtio_blk_opts opts = { .backend = &b->disk.be,
					.queues = QUEUES,
					.queue_size = SIZE,
					.serial = "fuzz",
					.wce = !(kind & 64),
					.discard = kind >> 7 };

	memset(b, 0, sizeof(*b));
	if (!loop)
		FUZZ_CHECK((loop = loop_new(&err)));
	b->loop = loop;
	b->mem =
		(struct fuzz_memory){ .gm = fuzz_gmem(MEM_LEN), .len = MEM_LEN, .model = b->model };
	testdisk_init(&b->disk, &info);
	FUZZ_CHECK(virtio_blk_init(&b->blk, &opts, b->mem.gm, NULL, &loop, 1, &err) == 0);
	FUZZ_CHECK(virtio_plug(&b->blk.vd, &transport, &err) == 0);
	up(b, UINT64_MAX);
}

/* Whatever happened, a reset and a good request. */
static void recover(struct bench *b)
{
	uint8_t h[16] = { 0 };

	b->disk.mode = TESTDISK_KICK;
	b->disk.fail = 0;
	reset(b);
	virtio_blk_resize(&b->blk, b->disk.info.size);
	up(b, UINT64_MAX);
	fuzz_put(&b->mem, READ, h, 16);
	fuzz_put_desc(&b->mem, ring_gpa(0), READ, 16, 1, 1);
	fuzz_put_desc(&b->mem, ring_gpa(0) + 16, WRITE, 4096, 3, 2);
	fuzz_put_desc(&b->mem, ring_gpa(0) + 32, STATUS, 1, 2, 0);
	b->q[0].sent[0] = (struct sent){ .out = true, .status = true, .in_len = 4097 };
	fuzz_put16(&b->mem, ring_gpa(0) + 0x402, 1);
	virtio_queue_notify(&b->blk.vd, 0);
	settle(b);
	FUZZ_CHECK(!b->q[0].sent[0].out && *fuzz_at(&b->mem, STATUS) == 0);
	FUZZ_CHECK(!memcmp(fuzz_at(&b->mem, WRITE), b->disk.bytes, 4096));
	check_memory(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct bench b;
	struct tape t = { data, data + MIN(size, (size_t)2048) };

	build(&b, byte(&t));
	while (t.at < t.end)
		step(&b, &t);
	check_all_back(&b);
	check_memory(&b);
	recover(&b);
	reset(&b);
	virtio_unplug(&b.blk.vd);
	FUZZ_CHECK(virtio_blk_release(&b.blk));
	testdisk_release(&b.disk);
	return 0;
}
