/* SPDX-License-Identifier: GPL-2.0 */
#include <stddef.h>
#include <string.h>

#include <lkvm/util.h>

#include "testdev.h"

_Static_assert(sizeof(struct testdev_config) == TESTDEV_CONFIG_LEN, "what drivers are told");

static void config_read(struct virtio_device *vd, uint32_t off, void *buf, uint32_t len)
{
	struct testdev *td = vd->priv;

	MUST(range_ok(off, len, TESTDEV_CONFIG_LEN));
	pthread_mutex_lock(&td->lock);
	memcpy(buf, (uint8_t *)&td->config + off, len);
	pthread_mutex_unlock(&td->lock);
}

static void config_write(struct virtio_device *vd, uint32_t off, const void *buf, uint32_t len)
{
	struct testdev *td = vd->priv;
	uint32_t first = offsetof(struct testdev_config, word);

	MUST(range_ok(off, len, TESTDEV_CONFIG_LEN));
	pthread_mutex_lock(&td->lock);
	for (uint32_t i = 0; i < len; i++)
		if (off + i >= first)
			((uint8_t *)&td->config)[off + i] = ((const uint8_t *)buf)[i];
	pthread_mutex_unlock(&td->lock);
}

static int start(struct virtio_device *vd, uint64_t features)
{
	struct testdev *td = vd->priv;

	td->started_with = features;
	td->starts++;
	return td->start_ret;
}

static void stop(struct virtio_device *vd)
{
	struct testdev *td = vd->priv;

	td->stops++;
	for (unsigned int i = 0; td->cancels && i < td->queues_nr; i++)
		while (testdev_held(td, i))
			testdev_finish(td, i, 0, false);
}

static void reset(struct virtio_device *vd)
{
	struct testdev *td = vd->priv;

	td->resets++;
}

/* Returns the bytes written. */
static uint32_t serve(struct testdev *td, struct testdev_queue *q, const struct vq_chain *c)
{
	uint64_t n = MIN(c->in_len, (uint64_t)TESTDEV_MAX);

	memset(q->bytes, TESTDEV_FILL, n);
	vq_copy_out(c, 0, q->bytes, n);
	td->served++;
	return (uint32_t)vq_copy_in(c, 0, q->bytes, n);
}

static void put_back(struct testdev *td, struct testdev_queue *q, struct testdev_req *r)
{
	pthread_mutex_lock(&td->lock);
	q->spare[q->spare_nr++] = r;
	pthread_mutex_unlock(&td->lock);
}

static void push(struct testdev *td, struct testdev_queue *q, struct testdev_req *r)
{
	/* A request of before a reset has no memory to write to any more. */
	bool live = r->chain.epoch == q->vq->epoch;

	vq_push(q->vq, &r->chain, r->ok && live ? serve(td, q, &r->chain) : 0);
	put_back(td, q, r);
}

static struct testdev_req *spare(struct testdev *td, struct testdev_queue *q)
{
	pthread_mutex_lock(&td->lock);
	/* The core never has more out than the queue has entries. */
	MUST(q->spare_nr > 0);
	struct testdev_req *r = q->spare[--q->spare_nr];
	pthread_mutex_unlock(&td->lock);
	return r;
}

static void take(struct testdev *td, struct testdev_queue *q, struct testdev_req *r)
{
	enum testdev_mode mode = td->mode;

	td->taken++;
	if (td->on_take)
		td->on_take(td);
	td->out_len = r->chain.out_len;
	td->in_len = r->chain.in_len;
	r->ok = mode != TESTDEV_FAIL;
	if (mode != TESTDEV_HOLD) {
		push(td, q, r);
		return;
	}
	pthread_mutex_lock(&td->lock);
	q->held[q->held_nr++] = r;
	pthread_mutex_unlock(&td->lock);
}

static bool kick(struct virtio_device *vd, struct virtqueue *vq)
{
	struct testdev *td = vd->priv;
	struct testdev_queue *q = &td->q[vq->index];
	uint16_t room;

	td->kicks++;
	if (td->quiet)
		vq_kicks_off(vq);
	do {
		/* With everything out there is no request to fill; the core says what that means. */
		struct vq_chain none = { 0 };
		pthread_mutex_lock(&td->lock);
		room = (uint16_t)q->spare_nr;
		pthread_mutex_unlock(&td->lock);
		if (!room) {
			MUST(vq_pop(vq, &none) == 0);
			break;
		}
		struct testdev_req *r = spare(td, q);
		if (!vq_pop(vq, &r->chain)) {
			put_back(td, q, r);
			break;
		}
		take(td, q, r);
	} while (!td->lazy);
	return !td->lazy;
}

static void queue_state(struct virtio_device *vd, struct virtqueue *vq, bool on)
{
	struct testdev *td = vd->priv;

	MUST(vq->running == on);
	td->on[vq->index] = on ? td->on[vq->index] + 1 : 0;
	td->queue_stops[vq->index] += !on;
}

static bool has_queue(const struct virtio_device *vd, uint16_t n)
{
	const struct testdev *td = vd->priv;

	return !(td->hidden & 1u << n);
}

static void on_done(struct loop_post *p)
{
	struct testdev_queue *q = container_of(p, struct testdev_queue, post);
	struct testdev *td = q->vq->vd->priv;

	for (;;) {
		struct testdev_req *r = NULL;

		pthread_mutex_lock(&td->lock);
		if (q->done_nr) {
			r = q->done[0];
			memmove(q->done, q->done + 1, --q->done_nr * sizeof(*q->done));
		}
		pthread_mutex_unlock(&td->lock);
		if (!r)
			break;
		push(td, q, r);
	}
	vq_flush(q->vq);
}

unsigned int testdev_held(struct testdev *td, unsigned int q)
{
	pthread_mutex_lock(&td->lock);
	unsigned int nr = td->q[q].held_nr;
	pthread_mutex_unlock(&td->lock);
	return nr;
}

void testdev_finish(struct testdev *td, unsigned int n, unsigned int i, bool ok)
{
	struct testdev_queue *q = &td->q[n];

	pthread_mutex_lock(&td->lock);
	MUST(i < q->held_nr);
	struct testdev_req *r = q->held[i];
	memmove(q->held + i, q->held + i + 1, (--q->held_nr - i) * sizeof(*q->held));
	r->ok = ok;
	q->done[q->done_nr++] = r;
	pthread_mutex_unlock(&td->lock);
	loop_post(q->vq->loop, &q->post);
}

void testdev_finish_all(struct testdev *td)
{
	for (unsigned int i = 0; i < td->queues_nr; i++)
		while (testdev_held(td, i))
			testdev_finish(td, i, 0, true);
}

bool testdev_busy(const struct testdev *td)
{
	for (unsigned int i = 0; i < td->queues_nr; i++)
		if (td->q[i].post.queued)
			return true;
	return false;
}

void testdev_set_wide(struct testdev *td, uint64_t v)
{
	pthread_mutex_lock(&td->lock);
	td->config.wide = htole64(v);
	pthread_mutex_unlock(&td->lock);
	virtio_config_changed(&td->vd);
}

static const struct virtio_feature_dep deps[] = {
	{ TESTDEV_F_B, VIRTIO_BIT(TESTDEV_F_A) },
	{ TESTDEV_F_C, VIRTIO_BIT(TESTDEV_F_A) | VIRTIO_BIT(TESTDEV_F_B) },
};

static const struct virtio_device_ops testdev_ops = {
	.name = "testdev",
	.device_id = TESTDEV_ID,
	.legacy_id = TESTDEV_LEGACY_ID,
	.features = VIRTIO_BIT(TESTDEV_F_A) | VIRTIO_BIT(TESTDEV_F_B) | VIRTIO_BIT(TESTDEV_F_C),
	.deps = deps,
	.deps_nr = ARRAY_SIZE(deps),
	.config_read = config_read,
	.config_write = config_write,
	.start = start,
	.stop = stop,
	.reset = reset,
	.kick = kick,
	.queue_state = queue_state,
	.has_queue = has_queue,
};

static void make_queue(struct testdev *td, unsigned int n, uint16_t size)
{
	struct testdev_queue *q = &td->q[n];

	q->vq = &td->vd.vqs[n];
	q->reqs = calloc(size, sizeof(*q->reqs));
	q->iovs = calloc((size_t)size * VQ_IOVS(size), sizeof(*q->iovs));
	q->spare = calloc(size, sizeof(*q->spare));
	q->held = calloc(size, sizeof(*q->held));
	q->done = calloc(size, sizeof(*q->done));
	q->bytes = malloc(TESTDEV_MAX);
	q->post.fn = on_done;
	for (unsigned int i = 0; i < size; i++) {
		q->reqs[i].chain.iov = q->iovs + (size_t)i * VQ_IOVS(size);
		q->reqs[i].chain.iov_max = VQ_IOVS(size);
		q->spare[q->spare_nr++] = &q->reqs[i];
	}
}

void testdev_init(struct testdev *td, const struct gmem *gm, const struct log *log,
		  unsigned int queues, uint16_t size, struct loop *const *loops,
		  unsigned int loops_nr)
{
	MUST(queues <= TESTDEV_QUEUES);
	memset(td, 0, sizeof(*td));
	memcpy(td->secret, "canary \xde\xad\xbe\xef never", sizeof(td->secret));
	td->config.id = htole32(0x7e57de1);
	pthread_mutex_init(&td->lock, NULL);
	virtio_device_init(&td->vd, &testdev_ops, gm, log, td);
	td->vd.config_len = TESTDEV_CONFIG_LEN;
	td->queues_nr = queues;
	for (unsigned int i = 0; i < queues; i++) {
		MUST(virtio_add_queue(&td->vd, size, loops[i % loops_nr]) == 0);
		make_queue(td, i, size);
	}
}

void testdev_release(struct testdev *td)
{
	virtio_device_release(&td->vd);
	for (unsigned int i = 0; i < td->queues_nr; i++) {
		struct testdev_queue *q = &td->q[i];

		loop_post_cancel(q->vq->loop, &q->post);
		free(q->reqs);
		free(q->iovs);
		free(q->spare);
		free(q->held);
		free(q->done);
		free(q->bytes);
	}
	pthread_mutex_destroy(&td->lock);
}
