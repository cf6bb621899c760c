/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The virtio block device: an image (block/backend.h) as a disk. Storage is the caller's.
 *
 * A queue is served by the thread of its loop and has a channel of the image to itself, so queues share
 * nothing on the data path; an image that takes one channel has all queues of its disk on the first loop.
 *
 * What a driver gets: a request of a wrong content is completed with an error status and the device goes on.
 * The used length is what was written from the first writable byte on without a gap: data and status after
 * a success, the status alone when nothing else is writable, 0 after a failure with room for data.
 *
 * Source: VIRTIO 1.3, 5.2; rows of the project's checklist are named as BLK-n and HD-n.
 */
#ifndef LKVM_VIRTIO_BLK_H
#define LKVM_VIRTIO_BLK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <lkvm/block/backend.h>
#include <lkvm/err.h>
#include <lkvm/virtio/device.h>

#define VIRTIO_BLK_SERIAL_LEN 20 /* 5.2.6: bytes of GET_ID */
#define VIRTIO_BLK_QUEUE_MIN  4  /* entries: a header, two pieces of data and a status */
#define VIRTIO_BLK_SEGS_MAX   32 /* ranges of one discard or write-zeroes request */
/* Sectors of such a range: what a reset may have to wait for is bounded by it. */
#define VIRTIO_BLK_RANGE_MAX (UINT32_C(1) << 21)

enum virtio_blk_discard {
	VIRTIO_BLK_UNMAP,  /* discards and zeroes free blocks, where the image can */
	VIRTIO_BLK_IGNORE, /* discards succeed without effect; zeroes are written */
};

struct virtio_blk_opts {
	struct blk_backend *backend; /* not owned; outlives the device */
	unsigned int queues;         /* 1 to VIRTIO_QUEUES_MAX */
	uint16_t queue_size;         /* a power of two, VIRTIO_BLK_QUEUE_MIN to VQ_SIZE_MAX */
	const char *serial;          /* its first VIRTIO_BLK_SERIAL_LEN bytes; NULL: none */
	bool wce; /* a write may complete before it is stable, for drivers that flush */
	enum virtio_blk_discard discard;
};

struct virtio_blk {
	struct virtio_device vd;
	struct blk_backend *backend;
	struct blk_info info; /* as it was when the device was made */
	struct virtio_blk_opts opts;
	char serial[VIRTIO_BLK_SERIAL_LEN];
	struct virtio_blk_queue *queues;

	_Atomic uint64_t capacity; /* sectors of 512 bytes */
	_Atomic bool write_back;   /* the cache mode in force; in any thread's view */
	bool mode_written;         /* by the driver since the last reset; under the device's lock */
};

/* ABSENT to REALIZED: queue i is on loops[i % loops_nr]. -errno and a sentence; then nothing is held. */
int virtio_blk_init(struct virtio_blk *b, const struct virtio_blk_opts *opts, const struct gmem *gm,
		    const struct log *log, struct loop *const *loops, unsigned int loops_nr,
		    struct err *err);
/*
 * Unplugged, or never plugged; not on a thread of its loops. False while the image still holds requests: nothing
 * is freed, and guest memory, loops and image must stay until the process ends.
 */
bool virtio_blk_release(struct virtio_blk *b);

/*
 * The image has `size` bytes now, of which whole blocks are shown; a running driver is told. Requests that were
 * checked against the old size are the image's to refuse. Any thread, without a lock.
 */
void virtio_blk_resize(struct virtio_blk *b, uint64_t size);

#endif
