// SPDX-License-Identifier: GPL-2.0
// LINK: virtio/device.c virtio/registers.c virtio/legacy.c virtio/queue.c virtio/mini.c gmem.c util/loop.c util/log.c util/err.c tests/mock/clock.c tests/mock/testdev.c
/*
 * A hostile driver at the virtio core: the input is a program of good and bad chains, ring bytes, register
 * accesses, kicks, and what the backend does. It starts from devices that are up. After each step the
 * core's own rules must hold, and at the end a reset must bring everything back.
 */
#include "fuzz.h"

#include <lkvm/loop.h>
#include <lkvm/virtio/mini.h>

#include "../mock/clock.h"
#include "../mock/testdev.h"

#define MEM_LEN 0x10000
#define QUEUES  2
#define SIZE    16
#define DATA    0x4000
#define TABLE   0x8000
#define FEATURES                                                                                   \
	(VIRTIO_BIT(VIRTIO_F_VERSION_1) | VIRTIO_BIT(VIRTIO_F_INDIRECT_DESC) |                     \
	 VIRTIO_BIT(VIRTIO_F_EVENT_IDX) | VIRTIO_BIT(VIRTIO_F_RING_RESET))

struct bench {
	struct fuzz_memory mem;
	struct loop *loop;
	struct testdev td;
	struct mini mini;
	uint16_t idx[QUEUES + 1]; /* of the available rings; the last is mini's */
	uint8_t next[QUEUES + 1]; /* the descriptor that a good chain begins with */
};

/* The input, read in small pieces; all zero behind its end. */
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

static void no_irq_queue(struct virtio_device *vd, uint16_t queue)
{
	FUZZ_CHECK(queue < virtio_queues_nr(vd));
}

static void no_irq_config(struct virtio_device *vd)
{
	FUZZ_CHECK(virtio_get_status(vd) & VIRTIO_DRIVER_OK || vd->iface == VIRTIO_IFACE_LEGACY);
}

static void on_reset(struct virtio_device *vd)
{
	FUZZ_CHECK(vd->state == VIRTIO_PLUGGED || vd->state == VIRTIO_RESETTING);
}

static const struct virtio_transport_ops transport = {
	.irq_queue = no_irq_queue,
	.irq_config = no_irq_config,
	.reset = on_reset,
};

static struct virtio_device *device(struct bench *b, unsigned int q)
{
	return q < QUEUES ? &b->td.vd : &b->mini.vd;
}

static uint64_t ring_gpa(unsigned int q)
{
	return 0x1000 * (1 + (uint64_t)q);
}

static uint16_t queue_size(unsigned int q)
{
	return q < QUEUES ? SIZE : MINI_QUEUE_SIZE;
}

static void up_queue(struct bench *b, unsigned int q)
{
	struct virtio_device *vd = device(b, q);

	virtio_queue_select(vd, q < QUEUES ? (uint16_t)q : 0);
	virtio_set_queue_size(vd, queue_size(q));
	virtio_set_queue_addr(vd, VIRTIO_QUEUE_DESC, ring_gpa(q));
	virtio_set_queue_addr(vd, VIRTIO_QUEUE_AVAIL, ring_gpa(q) + 0x400);
	virtio_set_queue_addr(vd, VIRTIO_QUEUE_USED, ring_gpa(q) + 0x800);
	virtio_set_queue_enable(vd, 1);
	FUZZ_CHECK(gmem_zero(b->mem.gm, ring_gpa(q), 0x1000) == 0);
	b->idx[q] = b->next[q] = 0;
}

static void up(struct bench *b, unsigned int q, uint64_t features)
{
	struct virtio_device *vd = device(b, q);

	virtio_set_status(vd, 0x03);
	for (uint32_t w = 0; w < 2; w++) {
		virtio_select_driver_features(vd, w);
		virtio_set_driver_features(vd, (uint32_t)(features >> 32 * w));
	}
	virtio_set_status(vd, 0x0b);
	if (q == QUEUES)
		up_queue(b, q);
	else
		for (unsigned int i = 0; i < QUEUES; i++)
			up_queue(b, i);
	virtio_set_status(vd, 0x0f);
}

static void turn(struct bench *b)
{
	loop_stop(b->loop);
	FUZZ_CHECK(loop_run(b->loop) == 0);
}

static void check_device(struct virtio_device *vd)
{
	uint32_t out = 0;

	for (uint16_t i = 0; i < vd->queues_nr; i++) {
		struct virtqueue *vq = &vd->vqs[i];

		FUZZ_CHECK(vq->in_flight <= vq->size_max);
		FUZZ_CHECK(vq->size && vq->size <= vq->size_max && !(vq->size & (vq->size - 1)));
		FUZZ_CHECK(!vq->running || vq->enabled);
		out += vq->in_flight;
	}
	FUZZ_CHECK(out == (vd->in_flight & ~VIRTIO_RESET_AT_WORK));
	FUZZ_CHECK(vd->state >= VIRTIO_PLUGGED && vd->state < VIRTIO_STATES_NR);
	FUZZ_CHECK(vd->state != VIRTIO_RESETTING || out);
	FUZZ_CHECK(vd->state != VIRTIO_PLUGGED || !out);
	FUZZ_CHECK(!(vd->status & VIRTIO_NEEDS_RESET) || vd->state == VIRTIO_BROKEN ||
		   vd->state == VIRTIO_RESETTING);
	FUZZ_CHECK(!(vd->status & 0x30));
}

static void check(struct bench *b)
{
	check_device(&b->td.vd);
	check_device(&b->mini.vd);
	for (unsigned int i = 0; i < QUEUES; i++) {
		struct testdev_queue *q = &b->td.q[i];

		FUZZ_CHECK(q->spare_nr + q->held_nr + q->done_nr == SIZE);
		FUZZ_CHECK(q->vq->in_flight == q->held_nr + q->done_nr);
	}
}

/* --- the program's steps --- */

static void publish(struct bench *b, unsigned int q, uint16_t head)
{
	fuzz_put16(&b->mem, ring_gpa(q) + 0x404 + 2 * (b->idx[q] & (queue_size(q) - 1)), head);
	fuzz_put16(&b->mem, ring_gpa(q) + 0x402, ++b->idx[q]);
}

/* A chain of up to four pieces, perhaps with a table: by the book, but for one field now and then. */
static void good_chain(struct bench *b, unsigned int q, struct tape *t)
{
	uint8_t shape = byte(t), odd = byte(t);
	unsigned int nr = 1 + (shape & 3), mask = queue_size(q) - 1u, table = shape & 0x80;
	uint64_t base = table ? TABLE + 64 * q : ring_gpa(q);
	uint8_t first = b->next[q];

	for (unsigned int i = 0; i < nr; i++) {
		bool last = i == nr - 1, bent = odd == i + 1;
		uint16_t flags = (last ? 0 : 1) | (i >= (shape >> 2 & 3u) ? 2 : 0);
		uint16_t at = (uint16_t)(table ? i : (first + i) & mask);
		uint16_t next = (uint16_t)(table ? at + 1u : (at + 1u) & mask);
		uint64_t addr = DATA + 256 * i;
		uint32_t len = shape >> 4 & 7 ? 32 : i;

		if (bent) {
			uint8_t what = byte(t);

			addr += what & 1 ? word(t) : 0;
			addr = what & 2 ? ~addr : addr;
			len ^= what & 4 ? word(t) << (what >> 6 & 3) * 8 : 0;
			flags ^= what & 8 ? byte(t) : 0;
			next ^= what & 16 ? word(t) : 0;
		}
		fuzz_put_desc(&b->mem, base + 16 * at, addr, len, flags, next);
	}
	if (table)
		fuzz_put_desc(&b->mem, ring_gpa(q) + 16 * b->next[q],
			      TABLE + 64 * q + (odd == 9 ? byte(t) : 0),
			      odd == 8 ? word(t) : 16 * nr, odd == 7 ? byte(t) : 4, 0);
	publish(b, q, b->next[q]);
	b->next[q] = (uint8_t)((b->next[q] + (table ? 1 : nr)) & mask);
}

static void write_queue(struct virtio_device *vd, struct tape *t)
{
	uint8_t what = byte(t);

	virtio_queue_select(vd, what & 0x80 ? (uint16_t)word(t) : what >> 4 & 1);
	switch (what & 7) {
	case 0:
		virtio_set_queue_size(vd, (uint16_t)word(t));
		break;
	case 1:
	case 2:
	case 3:
		virtio_set_queue_addr(vd, (what & 7) - 1, (uint64_t)word(t) << (what & 8 ? 48 : 0));
		break;
	case 4:
		virtio_set_queue_enable(vd, what & 8 ? (uint16_t)word(t) : 1);
		break;
	case 5:
		virtio_set_queue_reset(vd, what & 8 ? (uint16_t)word(t) : 1);
		break;
	default:
		virtio_get_queue_size(vd);
		virtio_get_queue_addr(vd, VIRTIO_QUEUE_USED);
		virtio_get_queue_enable(vd);
		virtio_get_queue_reset(vd);
		break;
	}
}

static void write_features(struct virtio_device *vd, struct tape *t)
{
	uint32_t w = byte(t), bits = word(t) << 16;

	virtio_select_driver_features(vd, w);
	virtio_set_driver_features(vd, bits | word(t));
	virtio_get_driver_features(vd);
	virtio_select_device_features(vd, w);
	virtio_get_device_features(vd);
}

static void touch_config(struct virtio_device *vd, struct tape *t)
{
	uint8_t what = byte(t), bytes[8] = { byte(t) };
	uint64_t off = what & 0x80 ? ~(uint64_t)byte(t) : what & 31;
	uint32_t len = what >> 5 & 3 ? 1u << (what >> 5 & 3) : 1;

	if (bytes[0] & 1)
		virtio_config_write(vd, off, bytes, len);
	else
		virtio_config_read(vd, off, bytes, len);
	virtio_get_generation(vd);
}

static void legacy(struct virtio_device *vd, struct tape *t)
{
	uint8_t what = byte(t);

	virtio_queue_select(vd, what >> 4 & 3);
	switch (what & 3) {
	case 0:
		virtio_legacy_set_pfn(vd, byte(t));
		virtio_legacy_get_pfn(vd);
		break;
	case 1:
		virtio_legacy_set_status(vd, byte(t));
		break;
	case 2:
		virtio_legacy_notify(vd, word(t) & 3);
		break;
	default:
		virtio_legacy_set_features(vd, word(t) << 16);
		break;
	}
}

static void backend(struct bench *b, struct tape *t)
{
	uint8_t what = byte(t);
	unsigned int q = what & 1, held = testdev_held(&b->td, q);

	if (what & 2)
		b->td.mode = (what >> 2) % 3;
	else if (what & 4)
		testdev_finish_all(&b->td);
	else if (what & 8)
		testdev_set_wide(&b->td, what);
	else if (what & 16)
		b->td.cancels = what & 32;
	else if (what & 64)
		b->td.start_ret = what & 128 ? -5 : 0;
	else if (held)
		testdev_finish(&b->td, q, byte(t) % held, what & 32);
}

static void step(struct bench *b, struct tape *t)
{
	uint8_t op = byte(t);
	unsigned int q = (op >> 4) % (QUEUES + 1);
	struct virtio_device *vd = device(b, q);
	uint8_t bytes[4];

	switch (op & 15) {
	case 0:
	case 1:
		good_chain(b, q, t);
		virtio_queue_notify(vd, q < QUEUES ? q : 0);
		break;
	case 2:
	case 3:
		turn(b);
		break;
	case 4: /* a few bytes somewhere in the rings */
		put_le32(bytes, word(t) << 16 | word(t));
		fuzz_put(&b->mem, ring_gpa(q) + word(t) % 0xc00, bytes, 1 + (op >> 6));
		break;
	case 5:
		fuzz_put16(&b->mem, ring_gpa(q) + 0x402,
			   b->idx[q] = (uint16_t)(b->idx[q] + (int8_t)byte(t)));
		break;
	case 6:
		virtio_queue_notify(vd, byte(t));
		break;
	case 7:
		backend(b, t);
		break;
	case 8:
		virtio_set_status(vd, byte(t));
		break;
	case 9:
		virtio_set_status(vd, 0);
		up(b, q, FEATURES);
		break;
	case 10:
		write_queue(vd, t);
		break;
	case 11:
		write_features(vd, t);
		break;
	case 12:
		touch_config(vd, t);
		break;
	case 13:
		legacy(vd, t);
		break;
	case 14:
		virtio_set_status(vd, 0);
		up(b, q, VIRTIO_BIT(VIRTIO_F_VERSION_1) | (byte(t) & 1 ? FEATURES : 0));
		break;
	default:
		up_queue(b, q);
		break;
	}
}

/* --- the frame --- */

static void build(struct bench *b)
{
	static struct loop *loop;
	struct err err = ERR_INIT;

	memset(b, 0, sizeof(*b));
	if (!loop)
		FUZZ_CHECK((loop = loop_new(&err)));
	b->loop = loop;
	b->mem = (struct fuzz_memory){ .gm = fuzz_gmem(MEM_LEN), .len = MEM_LEN };
	atomic_store(&mock_clock_step, NSEC_PER_SEC / 2);
	testdev_init(&b->td, b->mem.gm, NULL, QUEUES, SIZE, &loop, 1);
	FUZZ_CHECK(mini_init(&b->mini, b->mem.gm, NULL, loop) == 0);
	FUZZ_CHECK(virtio_plug(&b->td.vd, &transport, &err) == 0);
	FUZZ_CHECK(virtio_plug(&b->mini.vd, &transport, &err) == 0);
	up(b, 0, FEATURES);
	up(b, QUEUES, FEATURES);
}

/* Whatever happened, a reset and a good driver mend it. */
static void recover(struct bench *b)
{
	static const unsigned int all[] = { 0, 1, QUEUES };

	b->td.mode = TESTDEV_AUTO;
	b->td.start_ret = 0;
	virtio_set_status(&b->td.vd, 0);
	virtio_set_status(&b->mini.vd, 0);
	testdev_finish_all(&b->td);
	for (unsigned int i = 0; i < 4; i++)
		turn(b);
	FUZZ_CHECK(virtio_get_status(&b->td.vd) == 0 && virtio_get_status(&b->mini.vd) == 0);
	up(b, 0, FEATURES);
	up(b, QUEUES, FEATURES);
	for (unsigned int i = 0; i < ARRAY_SIZE(all); i++) {
		uint8_t used[12];
		unsigned int q = all[i];

		fuzz_put_desc(&b->mem, ring_gpa(q), DATA, 32, 1, 1);
		fuzz_put_desc(&b->mem, ring_gpa(q) + 16, DATA + 64, 32, 2, 0);
		publish(b, q, 0);
		virtio_queue_notify(device(b, q), q < QUEUES ? q : 0);
		turn(b);
		FUZZ_CHECK(gmem_read(b->mem.gm, ring_gpa(q) + 0x800, used, 12) == 0);
		FUZZ_CHECK(get_le16(used + 2) == 1 && get_le32(used + 4) == 0 &&
			   get_le32(used + 8) == 32);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct bench b;
	struct tape t = { data, data + MIN(size, (size_t)4096) };

	build(&b);
	while (t.at < t.end) {
		step(&b, &t);
		check(&b);
	}
	recover(&b);
	virtio_unplug(&b.td.vd);
	virtio_unplug(&b.mini.vd);
	testdev_release(&b.td);
	mini_release(&b.mini);
	return 0;
}
