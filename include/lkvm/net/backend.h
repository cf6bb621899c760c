/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Where a NIC's frames go and come from, behind one table. Frames are iovecs that begin with a virtio_net
 * header of a length that the device chose; a backend knows no guest memory and no virtio queue.
 *
 * A backend has one port for each pair of queues. A port belongs to one loop: everything about it is
 * called on that loop, and so is `readable`. Nothing blocks.
 */
#ifndef LKVM_NET_BACKEND_H
#define LKVM_NET_BACKEND_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <lkvm/err.h>
#include <lkvm/log.h>
#include <lkvm/loop.h>

struct net_backend;
struct net_port;

/* What a frame's header may ask for; VIRTIO 1.3, 5.1.6.2 and 5.1.6.3 say what each means. */
enum net_offload {
	NET_CSUM = 1 << 0,
	NET_TSO4 = 1 << 1,
	NET_TSO6 = 1 << 2,
	NET_ECN = 1 << 3,
	NET_UFO = 1 << 4,
	NET_USO = 1 << 5,
};

struct net_info {
	uint32_t tx_offloads;   /* that it accepts in frames from the guest */
	uint32_t rx_offloads;   /* that it can be told to use in frames to the guest */
	unsigned int ports_max; /* pairs of queues */
	bool carrier;           /* it can tell whether the link is up */
};

struct net_backend_ops {
	const char *name;
	void (*info)(const struct net_backend *be, struct net_info *info);
	/* The device's header has this length from now on (10 or 12); no port is started. 0 or -errno. */
	int (*set_header)(struct net_backend *be, unsigned int len);
	/* Of `rx_offloads`, those that the driver takes. 0 or -errno. Any thread. */
	int (*set_offloads)(struct net_backend *be, uint32_t offloads);
	/* Starts and stops the watch for `readable`; on the port's loop. Starting twice is once. */
	int (*port_start)(struct net_port *port);
	void (*port_stop)(struct net_port *port);
	/* One frame. 0; -EAGAIN: it was not taken, `writable` is called when it may be; else it is lost. */
	int (*send)(struct net_port *port, const struct iovec *iov, unsigned int nr);
	/* The next frame's length, of which at most the iovecs' room was stored; -EAGAIN: none; -errno. */
	ssize_t (*recv)(struct net_port *port, const struct iovec *iov, unsigned int nr);
	/* Every port is stopped. Frees it, and takes back what it made on the host. */
	void (*close)(struct net_backend *be);
};

struct net_port {
	struct net_backend *be;
	unsigned int index;
	struct loop *loop;
	/* Set by the device before port_start(). */
	void (*readable)(struct net_port *port); /* there are frames; level-triggered while it is started */
	void (*writable)(struct net_port *port);
	void *priv;
};

struct net_backend {
	const struct net_backend_ops *ops;
	/* Any thread of the backend's; set by the device, may be NULL: the link went up or down. */
	void (*on_carrier)(struct net_backend *be, bool up);
	void *priv;
	struct net_port *ports; /* ports_max of them */
};

#endif
