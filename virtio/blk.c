/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>

#include <lkvm/util.h>
#include <lkvm/virtio/blk.h>

#include "blk-config.h"

/* 5.2.6 */
enum {
	T_IN = 0,
	T_OUT = 1,
	T_FLUSH = 4,
	T_FLUSH_OUT = 5, /* legacy (5.2.6.3); no other meaning since */
	T_GET_ID = 8,
	T_DISCARD = 11,
	T_WRITE_ZEROES = 13,
	T_SECURE_ERASE = 14, /* not served; named for what a read-only disk answers */
};

enum { S_OK = 0, S_IOERR = 1, S_UNSUPP = 2, PENDING = -1 };

struct blk_header {
	uint32_t type;
	uint32_t reserved;
	uint64_t sector;
} __attribute__((packed));

/* A range of discard and write zeroes. */
struct blk_range {
	uint64_t sector;
	uint32_t num_sectors;
	uint32_t flags;
} __attribute__((packed));

#define RANGE_F_UNMAP 1

#define HEADER_LEN    sizeof(struct blk_header)

struct blk_extent {
	uint64_t off, len; /* bytes */
	bool unmap;
};

/* A request, from vq_pop() to vq_push(). */
struct blk_req {
	struct blk_request io;
	struct vq_chain chain;
	struct virtio_blk_queue *q;
	struct blk_req *next; /* free */
	uint8_t *status;      /* in guest memory; NULL: there is no room for it */
	uint32_t written;     /* bytes of data that a success writes */
	uint32_t extents_nr, extent;
	struct blk_extent extents[VIRTIO_BLK_SEGS_MAX];
};

/* Of the owner's thread, but for what is set when it is made. */
struct virtio_blk_queue {
	struct virtio_blk *b;
	struct virtqueue *vq;
	struct blk_channel *ch;
	struct blk_req *
		reqs; /* one more than can be out: vq_pop() always has where to put what it finds */
	struct iovec *iovs;
	struct blk_req *spare;
	bool kicking; /* the ring is being emptied: one kick of the channel and one flush follow */
	struct loop_defer flush;
};

/* --- finish --- */

/* The only way back. `prefix` bytes of the writable part were written, from its start, besides the status. */
static void finish(struct blk_req *r, uint8_t status, uint32_t prefix)
{
	struct virtio_blk_queue *q = r->q;
	uint32_t len = prefix;

	/* The status is the last byte: it counts when there is no gap before it (2.7.8.2). */
	if (prefix + UINT64_C(1) == r->chain.in_len)
		len++;
	r->next = q->spare;
	q->spare = r;
	vq_push_status(q->vq, &r->chain, len, r->status, status);
	if (!q->kicking)
		loop_defer(q->vq->loop, &q->flush);
}

static void on_flush(struct loop_defer *d)
{
	vq_flush(container_of(d, struct virtio_blk_queue, flush)->vq);
}

/* --- process --- */

static void submit_extent(struct blk_req *r);

static void on_done(struct blk_request *io, int ret)
{
	struct blk_req *r = container_of(io, struct blk_req, io);
	struct virtio_blk_queue *q = r->q;

	if (!ret && r->extent < r->extents_nr && vq_is_live(q->vq, &r->chain)) {
		submit_extent(r);
		if (!q->kicking)
			q->b->backend->ops->kick(q->ch);
		return;
	}
	finish(r, ret ? S_IOERR : S_OK, ret ? 0 : r->written);
}

/* The request may be done, and used for another, when this returns. */
static int submit(struct blk_req *r, struct blk_request io)
{
	struct virtio_blk *b = r->q->b;

	io.done = on_done;
	io.fua = io.op != BLK_READ && io.op != BLK_FLUSH && !atomic_load(&b->write_back);
	r->io = io;
	b->backend->ops->submit(r->q->ch, &r->io);
	return PENDING;
}

static void submit_extent(struct blk_req *r)
{
	const struct blk_extent *e = &r->extents[r->extent++];

	submit(r, (struct blk_request){
			  .op = r->io.op, .off = e->off, .len = e->len, .unmap = e->unmap });
}

/* --- parse --- */

/* The one check of a place on the disk; nothing is multiplied before it is in range. */
static bool on_disk(const struct virtio_blk *b, uint64_t sector, uint64_t len)
{
	if (!range_ok(sector, len / BLK_SECTOR, atomic_load(&b->capacity)))
		return false;
	/* Whole blocks, and so whole sectors. */
	return (sector * BLK_SECTOR | len) % b->info.block_size == 0;
}

/* Both parts of a chain hold more than what is cut off, and no iovec is empty. */
static void cut_header(struct iovec **iov, unsigned int *nr)
{
	uint64_t n = HEADER_LEN;

	while (n >= (*iov)->iov_len) {
		n -= (*iov)->iov_len;
		(*iov)++;
		(*nr)--;
	}
	(*iov)->iov_base = (uint8_t *)(*iov)->iov_base + n;
	(*iov)->iov_len -= n;
}

static void cut_status(struct iovec *iov, unsigned int *nr)
{
	if (!--iov[*nr - 1].iov_len)
		(*nr)--;
}

static int read_sectors(struct blk_req *r, uint64_t sector)
{
	struct vq_chain *c = &r->chain;
	struct iovec *iov = c->iov + c->out_nr;
	uint64_t len = c->in_len - 1;
	unsigned int nr = c->in_nr;

	if (c->out_len != HEADER_LEN || !on_disk(r->q->b, sector, len))
		return S_IOERR;
	if (!len)
		return S_OK;
	cut_status(iov, &nr);
	r->written = (uint32_t)len;
	return submit(r, (struct blk_request){ .op = BLK_READ,
					       .off = sector * BLK_SECTOR,
					       .len = len,
					       .iov = iov,
					       .iov_nr = nr });
}

static int write_sectors(struct blk_req *r, uint64_t sector)
{
	struct vq_chain *c = &r->chain;
	struct iovec *iov = c->iov;
	uint64_t len = c->out_len - HEADER_LEN;
	unsigned int nr = c->out_nr;

	if (r->q->b->info.readonly || c->in_len != 1 || !on_disk(r->q->b, sector, len))
		return S_IOERR;
	if (!len)
		return S_OK;
	cut_header(&iov, &nr);
	return submit(r, (struct blk_request){ .op = BLK_WRITE,
					       .off = sector * BLK_SECTOR,
					       .len = len,
					       .iov = iov,
					       .iov_nr = nr });
}

static int flush(struct blk_req *r)
{
	if (!r->q->b->info.flush)
		return S_OK;
	return submit(r, (struct blk_request){ .op = BLK_FLUSH });
}

static int get_id(struct blk_req *r)
{
	struct vq_chain *c = &r->chain;

	if (c->out_len != HEADER_LEN)
		return S_IOERR;
	r->written = (uint32_t)vq_copy_in(c, 0, r->q->b->serial,
					  MIN(c->in_len - 1, (uint64_t)VIRTIO_BLK_SERIAL_LEN));
	return S_OK;
}

/* Copies the ranges and checks all of them, before any is acted on (BLK-36, BLK-47, BLK-49). */
static int parse_ranges(struct blk_req *r, uint32_t flags)
{
	struct virtio_blk *b = r->q->b;
	struct vq_chain *c = &r->chain;
	uint64_t len = c->out_len - HEADER_LEN;
	struct blk_range ranges[VIRTIO_BLK_SEGS_MAX];
	int status = S_OK;

	if (c->in_len != 1 || !len || len % sizeof(ranges[0]) || len > sizeof(ranges))
		return S_IOERR;
	vq_copy_out(c, HEADER_LEN, ranges, len);
	for (uint64_t i = 0; i < len / sizeof(ranges[0]); i++) {
		uint64_t sector = le64toh(ranges[i].sector), nr = le32toh(ranges[i].num_sectors);
		uint32_t f = le32toh(ranges[i].flags);

		/* An unknown flag is said wherever it is, and before all else (5.2.6.2). */
		if (f & ~flags)
			return S_UNSUPP;
		if (nr > VIRTIO_BLK_RANGE_MAX || !on_disk(b, sector, nr * BLK_SECTOR))
			status = S_IOERR;
		else if (nr)
			r->extents[r->extents_nr++] =
				(struct blk_extent){ sector * BLK_SECTOR, nr * BLK_SECTOR,
						     f && b->opts.discard == VIRTIO_BLK_UNMAP };
	}
	return status;
}

static int change_ranges(struct blk_req *r, enum blk_op op, unsigned int feature, uint32_t flags)
{
	struct virtio_blk *b = r->q->b;

	if (b->info.readonly)
		return S_IOERR;
	if (!virtio_has(&b->vd, feature))
		return S_UNSUPP;
	int status = parse_ranges(r, flags);
	if (status != S_OK || !r->extents_nr)
		return status;
	if (op == BLK_DISCARD && b->opts.discard == VIRTIO_BLK_IGNORE)
		return S_OK;
	r->io.op = op;
	submit_extent(r);
	return PENDING;
}

/* A status, or PENDING: then on_done() follows, or was called. */
static int process(struct blk_req *r, uint32_t type, uint64_t sector)
{
	switch (type) {
	case T_IN:
		return read_sectors(r, sector);
	case T_OUT:
		return write_sectors(r, sector);
	case T_FLUSH:
	case T_FLUSH_OUT:
		return flush(r);
	case T_GET_ID:
		return get_id(r);
	case T_DISCARD:
		return change_ranges(r, BLK_DISCARD, BLK_F_DISCARD, 0);
	case T_WRITE_ZEROES:
		return change_ranges(r, BLK_WRITE_ZEROES, BLK_F_WRITE_ZEROES, RANGE_F_UNMAP);
	case T_SECURE_ERASE:
		return r->q->b->info.readonly ? S_IOERR : S_UNSUPP;
	default:
		return S_UNSUPP;
	}
}

static void serve(struct blk_req *r)
{
	struct vq_chain *c = &r->chain;
	struct blk_header h;

	r->status = NULL;
	r->written = r->extents_nr = r->extent = 0;
	if (!c->in_len) {
		finish(r, S_IOERR, 0);
		return;
	}
	const struct iovec *last = &c->iov[c->out_nr + c->in_nr - 1];
	r->status = (uint8_t *)last->iov_base + last->iov_len - 1;
	if (vq_copy_out(c, 0, &h, HEADER_LEN) != HEADER_LEN) {
		finish(r, S_IOERR, 0);
		return;
	}
	int status = process(r, le32toh(h.type), le64toh(h.sector));
	if (status != PENDING)
		finish(r, (uint8_t)status, r->written);
}

/* --- the ring --- */

static bool blk_kick(struct virtio_device *vd, struct virtqueue *vq)
{
	struct virtio_blk *b = vd->priv;
	struct virtio_blk_queue *q = &b->queues[vq->index];

	/* Without MQ there is one queue; nothing will change that before a reset (HD-185). */
	if (vq->index && !virtio_has(vd, BLK_F_MQ))
		return false;
	vq_kicks_off(vq);
	q->kicking = true;
	while (vq_pop(vq, &q->spare->chain)) {
		struct blk_req *r = q->spare;

		q->spare = r->next;
		serve(r);
	}
	b->backend->ops->kick(q->ch);
	q->kicking = false;
	return true;
}

static void blk_queue_state(struct virtio_device *vd, struct virtqueue *vq, bool on)
{
	struct virtio_blk *b = vd->priv;

	if (on)
		return;
	/* A channel that other queues use is not cancelled for one of them. */
	if (!b->info.one_channel || atomic_load(&vd->state) == VIRTIO_RESETTING)
		b->backend->ops->cancel(b->queues[vq->index].ch);
}

/* --- making one --- */

static const struct virtio_device_ops blk_ops = {
	.name = "blk",
	.device_id = 2,
	.legacy_id = 0x1001,
	.pci_class = 0x010000, /* mass storage, SCSI: what guests know virtio disks as */
	.features = BLK_FEATURES,
	.config_read = blk_config_read,
	.config_write = blk_config_write,
	.start = blk_start,
	.queue_state = blk_queue_state,
	.reset = blk_reset,
	.kick = blk_kick,
};

static int check_opts(const struct virtio_blk_opts *o, struct err *err)
{
	unsigned int size = o->queue_size;

	if (!o->queues || o->queues > VIRTIO_QUEUES_MAX)
		return err_usage(err, "queues=%u: a disk has 1 to %u queues", o->queues,
				 VIRTIO_QUEUES_MAX);
	if (size < VIRTIO_BLK_QUEUE_MIN || size > VQ_SIZE_MAX || (size & (size - 1)))
		return err_usage(
			err,
			"queue-size=%u: a disk's queue has a power of two of entries, %u to %u",
			size, VIRTIO_BLK_QUEUE_MIN, VQ_SIZE_MAX);
	return 0;
}

struct channel_call {
	struct virtio_blk_queue *q;
	struct err *err;
};

static void open_on_owner(void *arg)
{
	struct channel_call *c = arg;
	struct virtio_blk *b = c->q->b;
	unsigned int queues = b->info.one_channel ? b->opts.queues : 1;

	c->q->ch = b->backend->ops->channel_open(b->backend, c->q->vq->loop,
						 queues * b->opts.queue_size, c->err);
}

static void close_on_owner(void *arg)
{
	struct virtio_blk_queue *q = arg;

	loop_defer_cancel(q->vq->loop, &q->flush);
	/* A shared channel is the first queue's. */
	if (q->ch && (!q->b->info.one_channel || q == q->b->queues))
		q->b->backend->ops->channel_close(q->ch);
}

static int make_queue(struct virtio_blk *b, unsigned int i, struct loop *loop, struct err *err)
{
	struct virtio_blk_queue *q = &b->queues[i];
	unsigned int nr = b->opts.queue_size + 1u, iovs = VQ_IOVS(b->opts.queue_size);
	struct channel_call call = { .q = q, .err = err };

	virtio_add_queue(&b->vd, b->opts.queue_size, loop);
	*q = (struct virtio_blk_queue){ .b = b, .vq = &b->vd.vqs[i], .flush.fn = on_flush };
	q->reqs = calloc(nr, sizeof(q->reqs[0]));
	q->iovs = calloc((size_t)nr * iovs, sizeof(q->iovs[0]));
	if (!q->reqs || !q->iovs)
		return err_host(err, ENOMEM, "cannot make the requests of a disk's queue");
	for (unsigned int k = 0; k < nr; k++) {
		struct blk_req *r = &q->reqs[k];

		r->q = q;
		r->chain.iov = q->iovs + (size_t)k * iovs;
		r->chain.iov_max = iovs;
		r->next = q->spare;
		q->spare = r;
	}
	if (i && b->info.one_channel)
		q->ch = b->queues[0].ch;
	else
		loop_call(loop, open_on_owner, &call);
	return q->ch ? 0 : -EIO;
}

static void free_all(struct virtio_blk *b)
{
	for (unsigned int i = b->vd.queues_nr; i-- > 0;) {
		struct virtio_blk_queue *q = &b->queues[i];

		loop_call(q->vq->loop, close_on_owner, q);
		free(q->reqs);
		free(q->iovs);
	}
	virtio_device_release(&b->vd);
	free(b->queues);
}

int virtio_blk_init(struct virtio_blk *b, const struct virtio_blk_opts *opts, const struct gmem *gm,
		    const struct log *log, struct loop *const *loops, unsigned int loops_nr,
		    struct err *err)
{
	int ret = check_opts(opts, err);

	if (ret)
		return ret;
	*b = (struct virtio_blk){ .backend = opts->backend, .opts = *opts };
	b->backend->ops->info(b->backend, &b->info);
	if (opts->serial)
		memcpy(b->serial, opts->serial, strnlen(opts->serial, sizeof(b->serial)));
	atomic_store(&b->capacity,
		     b->info.size / b->info.block_size * (b->info.block_size / BLK_SECTOR));
	atomic_store(&b->write_back, opts->wce);
	b->queues = calloc(opts->queues, sizeof(b->queues[0]));
	if (!b->queues)
		return err_host(err, ENOMEM, "cannot make a disk");
	virtio_device_init(&b->vd, &blk_ops, gm, log, b);
	b->vd.config_len = BLK_CONFIG_LEN;
	b->vd.features = blk_features(b);
	for (unsigned int i = 0; i < opts->queues && !ret; i++)
		ret = make_queue(b, i, loops[b->info.one_channel ? 0 : i % loops_nr], err);
	if (ret)
		free_all(b);
	return ret;
}

bool virtio_blk_release(struct virtio_blk *b)
{
	if (atomic_load(&b->vd.in_flight))
		return false;
	free_all(b);
	return true;
}
