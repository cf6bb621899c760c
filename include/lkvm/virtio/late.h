/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Interrupts that may be late, for a queue whose driver rarely waits for them: it takes the buffers of what it sent back
 * when it next sends or receives. An interrupt of this kind costs the guest as much as one that it needs.
 *
 * What was pushed is published at once, as ever. If the driver is to be interrupted for it, that is held back for up to
 * VQ_LATE_NS, and spared when the driver has looked by then. It is not held back
 * - from a driver that has much of its ring out, which may have to wait for room;
 * - from one without EVENT_IDX, which cannot tell that it has looked;
 * - for a while after a driver was found waiting though nothing else had interrupted it: for twice as many interrupts
 *   each time, so that one that lives by them has them at once.
 *
 * All on the queue's owner thread.
 */
#ifndef LKVM_VIRTIO_LATE_H
#define LKVM_VIRTIO_LATE_H

#include <lkvm/virtio/queue.h>

/* One tick of a guest's 250 Hz clock; longer than most answers to a packet take. */
#define VQ_LATE_NS 4000000
/* Interrupts that are not held back after a driver was found waiting: at first, and at most. */
#define VQ_LATE_PROMPT_MIN 16
#define VQ_LATE_PROMPT_MAX 4096

struct vq_late {
	struct virtqueue *vq;
	const struct virtqueue *partner; /* whose interrupts make drivers look at `vq` too */
	struct loop_timer timer;         /* armed: one is held back, since */
	uint16_t partner_signalled;      /* the partner's `signalled` was this */
	unsigned int prompt;             /* as many are not held back */
	unsigned int prompt_next;        /* the next time */
};

/* Both queues outlive it and have one owner. */
void vq_late_init(struct vq_late *l, struct virtqueue *vq, const struct virtqueue *partner);
/* In place of vq_flush(). */
void vq_late_flush(struct vq_late *l);
/* The queue has stopped: nothing is held back, and what is known of the driver is forgotten. */
void vq_late_stop(struct vq_late *l);

#endif
