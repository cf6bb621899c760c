/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Queues that the host's kernel serves (vhost): this side validates their addresses, hands them over, and takes them
 * back where the kernel stopped. Kicks and interrupts pass by the transport's descriptors (struct virtio_queue_fds), so
 * that neither costs an exit or a thread of ours.
 *
 * One struct vhost is one instance of the kernel's device, which has a worker thread of its own. Its queues have one
 * owner's loop. Queues are started and stopped on it, and the rest is for whoever makes the device.
 *
 * What the kernel refuses at set-up is a sentence in `err`; while the device runs it is virtio_fault().
 *
 * Source: include/uapi/linux/vhost.h of Linux.
 */
#ifndef LKVM_VIRTIO_VHOST_H
#define LKVM_VIRTIO_VHOST_H

#include <lkvm/err.h>
#include <lkvm/virtio/device.h>

#define VHOST_NET_DEV    "/dev/vhost-net"
#define VHOST_QUEUES_MAX 2

struct vhost {
	int fd;            /* -1: closed */
	uint64_t features; /* that the kernel has, of those that a driver negotiates */
	struct virtqueue *vqs[VHOST_QUEUES_MAX];
	bool started[VHOST_QUEUES_MAX];
	struct loop_fd error; /* an eventfd: the kernel found a ring broken */
};

/* `option` is what asked for it, as in "vhost=on". */
int vhost_open(struct vhost *v, const char *dev, const char *option, const struct gmem *gm,
	       struct err *err);
/* Its queues are stopped. No-op when it is closed. */
void vhost_close(struct vhost *v);

/* Queue `i` of the instance is `vq`, which the device does not serve from now on. While it is REALIZED. */
void vhost_add_queue(struct vhost *v, unsigned int i, struct virtqueue *vq);

/* Device's start(): what was negotiated. 0 or -errno. */
int vhost_set_features(struct vhost *v, uint64_t features);

/*
 * On the owner's thread. Hands queue `i` over, from where it was stopped or, after vq_start(), its beginning; `backend`
 * is the tap's descriptor. No-op when it has it.
 */
void vhost_net_start(struct vhost *v, unsigned int i, int backend);
/* On the owner's thread. When it returns the kernel touches neither ring nor buffers. No-op when it is stopped. */
void vhost_net_stop(struct vhost *v, unsigned int i);
/* Any thread, from plug to unplug: the kernel looks at the queue. */
void vhost_kick(struct vhost *v, unsigned int i);

#endif
