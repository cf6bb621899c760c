// SPDX-License-Identifier: GPL-2.0
// LINK: virtio/device.c virtio/registers.c virtio/legacy.c virtio/queue.c gmem.c util/loop.c util/log.c util/err.c util/util.c
/*
 * What the virtio core does for a request, without a device and without KVM: takes a chain of three descriptors (a
 * header, 4 KiB, a status byte) and gives it back.
 *	queue direct|indirect BATCH ROUNDS
 * prints nanoseconds and their number of chains. The device is bench_kick() alone, so that a profiler can count in it.
 * Exit status: 0 every chain came back, 1 not, 2 usage.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lkvm/gmem.h>
#include <lkvm/log.h>
#include <lkvm/util.h>
#include <lkvm/virtio/device.h>

#define SIZE       256u /* of the queue */
#define DESC_NR    3u
#define BATCH_MAX  (SIZE / DESC_NR)
#define DESC_GPA   0x10000u
#define AVAIL_GPA  0x20000u
#define USED_GPA   0x30000u
#define TABLES_GPA 0x40000u
#define DATA_GPA   0x100000u
#define MEM_LEN    (16 * MIB)
#define F_NEXT     1
#define F_WRITE    2
#define F_INDIRECT 4

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

/* Not inlined: what is between its begin and its end is what is counted. */
bool bench_kick(struct virtio_device *vd, struct virtqueue *vq);

__attribute__((noinline)) bool bench_kick(struct virtio_device *vd, struct virtqueue *vq)
{
	struct iovec iov[VQ_IOVS(SIZE)];
	struct vq_chain chain = { .iov = iov, .iov_max = ARRAY_SIZE(iov) };

	(void)vd;
	while (vq_pop(vq, &chain))
		vq_push(vq, &chain, (uint32_t)chain.in_len);
	return true;
}

static void config_read(struct virtio_device *vd, uint32_t off, void *buf, uint32_t len)
{
	(void)vd, (void)off, (void)buf, (void)len;
}

static const struct virtio_device_ops device_ops = {
	.name = "bench", .device_id = 63, .config_read = config_read, .kick = bench_kick
};

static void no_irq(struct virtio_device *vd, uint16_t queue)
{
	(void)vd, (void)queue;
}

static void nothing(struct virtio_device *vd)
{
	(void)vd;
}

static int no_doorbells(struct virtio_device *vd)
{
	(void)vd;
	return -1;
}

static const struct virtio_transport_ops transport_ops = {
	.irq_queue = no_irq,
	.irq_config = nothing,
	.doorbells_on = no_doorbells,
	.doorbells_off = nothing,
	.reset = nothing,
};

struct bench {
	struct gmem gm;
	struct log log;
	struct loop *loop;
	struct virtio_device vd;
	struct desc *desc;
	uint16_t *avail, *used;
};

static int prepare(struct bench *b, struct err *err)
{
	static const struct gmem_region ram = { .gpa = 0, .size = MEM_LEN };
	static const struct gmem_backing plain;

	if (gmem_init(&b->gm, &ram, 1, &plain, err))
		return -1;
	b->loop = loop_new(err);
	if (!b->loop)
		return -1;
	virtio_device_init(&b->vd, &device_ops, &b->gm, &b->log, b);
	if (virtio_add_queue(&b->vd, SIZE, b->loop) || virtio_plug(&b->vd, &transport_ops, err))
		return -1;
	b->desc = gmem_span(&b->gm, DESC_GPA, 1);
	b->avail = gmem_span(&b->gm, AVAIL_GPA, 1);
	b->used = gmem_span(&b->gm, USED_GPA, 1);
	return 0;
}

static void drive(struct virtio_device *vd)
{
	virtio_set_status(vd, 3);
	virtio_select_driver_features(vd, 0);
	virtio_set_driver_features(vd, 1u << VIRTIO_F_INDIRECT_DESC | 1u << VIRTIO_F_EVENT_IDX);
	virtio_select_driver_features(vd, 1);
	virtio_set_driver_features(vd, 1);
	virtio_set_status(vd, 11);
	virtio_queue_select(vd, 0);
	virtio_set_queue_addr(vd, VIRTIO_QUEUE_DESC, DESC_GPA);
	virtio_set_queue_addr(vd, VIRTIO_QUEUE_AVAIL, AVAIL_GPA);
	virtio_set_queue_addr(vd, VIRTIO_QUEUE_USED, USED_GPA);
	virtio_set_queue_enable(vd, 1);
	virtio_set_status(vd, 15);
}

/* Three descriptors at `d`, the first of which is number `first` of its table. */
static void fill_chain(struct desc *d, unsigned int first, unsigned int nr)
{
	uint64_t data = DATA_GPA + nr * 0x2000ull;

	d[0] = (struct desc){ data, 16, F_NEXT, (uint16_t)(first + 1) };
	d[1] = (struct desc){ data + 0x1000, 4096, F_NEXT | F_WRITE, (uint16_t)(first + 2) };
	d[2] = (struct desc){ data + 0x800, 1, F_WRITE, 0 };
}

/* Returns the head of chain `nr`. */
static uint16_t make_chain(struct bench *b, bool indirect, unsigned int nr)
{
	uint64_t table = TABLES_GPA + nr * DESC_NR * sizeof(struct desc);

	if (!indirect) {
		fill_chain(&b->desc[nr * DESC_NR], nr * DESC_NR, nr);
		return (uint16_t)(nr * DESC_NR);
	}
	fill_chain(gmem_span(&b->gm, table, DESC_NR * sizeof(struct desc)), 0, nr);
	b->desc[nr] = (struct desc){ table, DESC_NR * sizeof(struct desc), F_INDIRECT, 0 };
	return (uint16_t)nr;
}

static void run_rounds(struct bench *b, bool indirect, unsigned int batch, unsigned long rounds)
{
	uint16_t heads[BATCH_MAX], idx = 0;

	for (unsigned int i = 0; i < batch; i++)
		heads[i] = make_chain(b, indirect, i);
	uint64_t start = util_now_ns();
	for (unsigned long r = 0; r < rounds; r++) {
		for (unsigned int i = 0; i < batch; i++)
			b->avail[2 + idx++ % SIZE] = heads[i];
		__atomic_store_n(&b->avail[1], idx, __ATOMIC_RELEASE);
		virtio_queue_serve(&b->vd.vqs[0]);
	}
	uint64_t ns = util_now_ns() - start;
	if (b->used[1] != idx || virtio_get_status(&b->vd) != 15) {
		fprintf(stderr, "queue: the chains did not come back\n");
		exit(1);
	}
	printf("%llu %lu\n", (unsigned long long)ns, rounds * batch);
}

int main(int argc, char **argv)
{
	static struct bench b;
	struct err err = ERR_INIT;
	unsigned int batch = argc == 4 ? (unsigned int)strtoul(argv[2], NULL, 10) : 0;

	if (!batch || batch > BATCH_MAX) {
		fprintf(stderr, "usage: queue direct|indirect BATCH ROUNDS\n");
		return 2;
	}
	if (prepare(&b, &err)) {
		fprintf(stderr, "queue: %s\n", err.msg);
		return 1;
	}
	drive(&b.vd);
	run_rounds(&b, !strcmp(argv[1], "indirect"), batch, strtoul(argv[3], NULL, 10));
	return 0;
}
