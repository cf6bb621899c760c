/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What device.c, registers.c and legacy.c (the legacy interface's half of the core) lend each other. Private to these.
 */
#ifndef LKVM_VIRTIO_CORE_H
#define LKVM_VIRTIO_CORE_H

#include <lkvm/virtio/device.h>

/* The bits of the status that are the driver's to set. */
#define VIRTIO_DRIVER_BITS                                                                         \
	(VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_DRIVER_OK | VIRTIO_FEATURES_OK | VIRTIO_FAILED)

/* Any thread. */
enum virtio_state vd_state(const struct virtio_device *vd);
bool vd_is_running(const struct virtio_device *vd);
/* False when the event cannot happen now. */
bool vd_transition(struct virtio_device *vd, enum virtio_event ev);
/* It is broken, by the driver's own verdict. Quietly; nothing when it does not run. */
void vd_give_up(struct virtio_device *vd);

/* Under the device's lock. */
/* False when the other interface drives the device: this one's writes are ignored (LEG-34). */
bool vd_claim(struct virtio_device *vd, enum virtio_iface iface);
struct virtqueue *vd_selected_queue(
	struct virtio_device *vd); /* NULL: there is none of that number */
bool vq_is_resetting(struct virtqueue *vq);
void vd_start(struct virtio_device *vd, enum virtio_event ev);
void vd_start_queue(struct virtio_device *vd, struct virtqueue *vq);
void vd_reset_queue(struct virtqueue *vq);

#endif
