/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The core's registers of the selected queue and its window on the configuration space: one call an access of the
 * driver, by value, each checked here (VIRTIO 1.3, 4.1.4.3).
 */
#include <lkvm/util.h>

#include "core.h"

/* --- queue registers --- */

uint16_t virtio_queues_nr(const struct virtio_device *vd)
{
	return vd->queues_nr;
}

void virtio_queue_select(struct virtio_device *vd, uint16_t n)
{
	pthread_mutex_lock(&vd->lock);
	vd->queue_select = n;
	pthread_mutex_unlock(&vd->lock);
}

uint16_t virtio_get_queue_select(struct virtio_device *vd)
{
	pthread_mutex_lock(&vd->lock);
	uint16_t v = vd->queue_select;
	pthread_mutex_unlock(&vd->lock);
	return v;
}

/* The one place where the driver's selector becomes an index. */
struct virtqueue *vd_selected_queue(struct virtio_device *vd)
{
	if (vd->queue_select >= vd->queues_nr ||
	    (vd->ops->has_queue && !vd->ops->has_queue(vd, vd->queue_select)))
		return NULL;
	return &vd->vqs[vd->queue_select];
}

/* While a queue reset waits for chains that are out, the queue stays as it is. */
bool vq_is_resetting(struct virtqueue *vq)
{
	if (vq->resetting && !atomic_load_explicit(&vq->in_flight, memory_order_acquire))
		vq->resetting = false;
	return vq->resetting;
}

/* Size and addresses: after FEATURES_OK, while the queue is not enabled (PCI-46, PCI-47). */
static bool is_writable(struct virtio_device *vd, struct virtqueue *vq)
{
	return vq && !vq->enabled && !vq_is_resetting(vq) && vd->iface == VIRTIO_IFACE_MODERN &&
	       (vd_state(vd) == VIRTIO_NEGOTIATED || vd_is_running(vd));
}

uint16_t virtio_get_queue_size(struct virtio_device *vd)
{
	pthread_mutex_lock(&vd->lock);
	struct virtqueue *vq = vd_selected_queue(vd);
	uint16_t v = vq ? vq->size : 0;
	pthread_mutex_unlock(&vd->lock);
	return v;
}

void virtio_set_queue_size(struct virtio_device *vd, uint16_t size)
{
	pthread_mutex_lock(&vd->lock);
	struct virtqueue *vq = vd_selected_queue(vd);
	if (is_writable(vd, vq) && size && size <= vq->size_max && !(size & (size - 1)))
		vq->size = size;
	pthread_mutex_unlock(&vd->lock);
}

static uint64_t *queue_addr(struct virtqueue *vq, enum virtio_queue_addr which)
{
	switch (which) {
	case VIRTIO_QUEUE_DESC:
		return &vq->desc_gpa;
	case VIRTIO_QUEUE_AVAIL:
		return &vq->avail_gpa;
	case VIRTIO_QUEUE_USED:
		break;
	}
	return &vq->used_gpa;
}

uint64_t virtio_get_queue_addr(struct virtio_device *vd, enum virtio_queue_addr which)
{
	pthread_mutex_lock(&vd->lock);
	struct virtqueue *vq = vd_selected_queue(vd);
	uint64_t v = vq ? *queue_addr(vq, which) : 0;
	pthread_mutex_unlock(&vd->lock);
	return v;
}

void virtio_set_queue_addr(struct virtio_device *vd, enum virtio_queue_addr which, uint64_t gpa)
{
	pthread_mutex_lock(&vd->lock);
	struct virtqueue *vq = vd_selected_queue(vd);
	if (is_writable(vd, vq))
		*queue_addr(vq, which) = gpa;
	pthread_mutex_unlock(&vd->lock);
}

uint16_t virtio_get_queue_enable(struct virtio_device *vd)
{
	pthread_mutex_lock(&vd->lock);
	struct virtqueue *vq = vd_selected_queue(vd);
	uint16_t v = vq && vq->enabled;
	pthread_mutex_unlock(&vd->lock);
	return v;
}

void virtio_set_queue_enable(struct virtio_device *vd, uint16_t value)
{
	pthread_mutex_lock(&vd->lock);
	struct virtqueue *vq = vd_selected_queue(vd);
	if (value == 1 && is_writable(vd, vq)) {
		vq->enabled = true;
		if (vd_is_running(vd))
			vd_start_queue(vd, vq);
	}
	pthread_mutex_unlock(&vd->lock);
}

uint16_t virtio_get_queue_reset(struct virtio_device *vd)
{
	pthread_mutex_lock(&vd->lock);
	struct virtqueue *vq = vd_selected_queue(vd);
	uint16_t v = vq && vq_is_resetting(vq);
	pthread_mutex_unlock(&vd->lock);
	return v;
}

void virtio_set_queue_reset(struct virtio_device *vd, uint16_t value)
{
	pthread_mutex_lock(&vd->lock);
	struct virtqueue *vq = vd_selected_queue(vd);
	if (value == 1 && vq && vq->enabled && virtio_has(vd, VIRTIO_F_RING_RESET) &&
	    (vd_state(vd) == VIRTIO_NEGOTIATED || vd_is_running(vd)))
		vd_reset_queue(vq);
	pthread_mutex_unlock(&vd->lock);
}

/* --- configuration space --- */

uint8_t virtio_get_generation(struct virtio_device *vd)
{
	pthread_mutex_lock(&vd->lock);
	uint8_t v = vd->generation;
	pthread_mutex_unlock(&vd->lock);
	return v;
}

void virtio_config_read(struct virtio_device *vd, uint64_t off, void *buf, uint32_t len)
{
	memset(buf, 0, len);
	pthread_mutex_lock(&vd->lock);
	if (off < vd->config_len) {
		/* A step only when somebody looks: a counter of all changes could wrap between two looks. */
		if (atomic_exchange(&vd->config_changed, false))
			vd->generation++;
		vd->ops->config_read(vd, (uint32_t)off, buf,
				     MIN(len, vd->config_len - (uint32_t)off));
	}
	pthread_mutex_unlock(&vd->lock);
}

void virtio_config_write(struct virtio_device *vd, uint64_t off, const void *buf, uint32_t len)
{
	pthread_mutex_lock(&vd->lock);
	if (vd->ops->config_write && range_ok(off, len, vd->config_len))
		vd->ops->config_write(vd, (uint32_t)off, buf, len);
	pthread_mutex_unlock(&vd->lock);
}
