/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The legacy interface of the core (VIRTIO 1.3, 2.2.3, 3.1.2 and 4.1.4.10): no FEATURES_OK, contiguous
 * rings given by a page frame number, a status that is stored as written.
 */
#include <time.h>

#include <lkvm/util.h>

#include "core.h"

uint32_t virtio_legacy_features(const struct virtio_device *vd)
{
	return vd->offered_legacy;
}

uint32_t virtio_legacy_get_driver_features(struct virtio_device *vd)
{
	pthread_mutex_lock(&vd->lock);
	uint32_t v = (uint32_t)vd->accepted;
	pthread_mutex_unlock(&vd->lock);
	return v;
}

/* There is no FEATURES_OK to refuse with: what was not offered is not accepted (3.1.2). */
void virtio_legacy_set_features(struct virtio_device *vd, uint32_t bits)
{
	pthread_mutex_lock(&vd->lock);
	if (vd_state(vd) == VIRTIO_PLUGGED && vd_claim(vd, VIRTIO_IFACE_LEGACY))
		vd->accepted = bits & vd->offered_legacy;
	pthread_mutex_unlock(&vd->lock);
}

/* 2.7.2: one contiguous ring; the used part starts on the next 4096 bytes. */
#define LEGACY_ALIGN 4096

static void place_legacy_ring(struct virtqueue *vq, uint32_t pfn)
{
	vq->desc_gpa = (uint64_t)pfn * LEGACY_ALIGN;
	vq->avail_gpa = vq->desc_gpa + 16 * (uint64_t)vq->size;
	vq->used_gpa = align_up(vq->avail_gpa + 6 + 2 * (uint64_t)vq->size, LEGACY_ALIGN);
	vq->enabled = true;
}

static void legacy_start(struct virtio_device *vd)
{
	if (vd_state(vd) == VIRTIO_PLUGGED)
		vd_start(vd, VIRTIO_EV_LEGACY_START);
}

uint32_t virtio_legacy_get_pfn(struct virtio_device *vd)
{
	pthread_mutex_lock(&vd->lock);
	struct virtqueue *vq = vd_selected_queue(vd);
	uint32_t v = vq && vq->enabled ? (uint32_t)(vq->desc_gpa / LEGACY_ALIGN) : 0;
	pthread_mutex_unlock(&vd->lock);
	return v;
}

void virtio_legacy_set_pfn(struct virtio_device *vd, uint32_t pfn)
{
	pthread_mutex_lock(&vd->lock);
	struct virtqueue *vq = vd_selected_queue(vd);
	bool usable = (vd_state(vd) == VIRTIO_PLUGGED || vd_is_running(vd)) &&
		      vd_claim(vd, VIRTIO_IFACE_LEGACY);
	if (vq && usable && !pfn && vq->enabled) {
		vd_reset_queue(vq);
	} else if (vq && usable && pfn && !vq->enabled && !vq_is_resetting(vq)) {
		place_legacy_ring(vq, pfn);
		if (vd_is_running(vd))
			vd_start_queue(vd, vq);
		else
			legacy_start(vd);
	}
	pthread_mutex_unlock(&vd->lock);
}

void virtio_legacy_notify(struct virtio_device *vd, uint32_t n)
{
	if (n < vd->queues_nr && vd_state(vd) == VIRTIO_PLUGGED) {
		pthread_mutex_lock(&vd->lock);
		if (vd->iface == VIRTIO_IFACE_LEGACY)
			legacy_start(vd);
		pthread_mutex_unlock(&vd->lock);
	}
	virtio_queue_notify(vd, n);
}

/* A legacy driver does not poll for the end of a reset: it gets this long (ARCHITECTURE: reset). */
#define LEGACY_RESET_NS NSEC_PER_SEC
#define LEGACY_POLL_NS  1000000

static void wait_for_reset(struct virtio_device *vd)
{
	static const struct timespec pause = { .tv_nsec = LEGACY_POLL_NS };
	uint64_t deadline = util_now_ns() + LEGACY_RESET_NS;

	/* Status, which ends it: the next read must be 0 (LEG-33). */
	while (virtio_get_status(vd)) {
		if (util_now_ns() >= deadline) {
			log_guest(vd->log, &vd->log_limit,
				  "virtio %s: a reset waits for requests that do not end",
				  vd->ops->name);
			return;
		}
		nanosleep(&pause, NULL);
	}
}

void virtio_legacy_set_status(struct virtio_device *vd, uint8_t status)
{
	if (status == 0) {
		virtio_reset(vd);
		wait_for_reset(vd);
		return;
	}
	pthread_mutex_lock(&vd->lock);
	/* Stored as written, in any order (LEG-16); NEEDS_RESET stays the device's own. */
	if (vd_state(vd) != VIRTIO_RESETTING && vd_claim(vd, VIRTIO_IFACE_LEGACY)) {
		/* In one step: a fault may come meanwhile from a queue's thread. */
		uint8_t old = virtio_get_status(vd);

		while (!atomic_compare_exchange_weak(&vd->status, &old,
						     (status & VIRTIO_DRIVER_BITS) |
							     (old & VIRTIO_NEEDS_RESET)))
			;
		if (status & VIRTIO_FAILED)
			vd_give_up(vd);
		else if (status & VIRTIO_DRIVER_OK)
			legacy_start(vd);
	}
	pthread_mutex_unlock(&vd->lock);
}
