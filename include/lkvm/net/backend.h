/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Where a NIC's frames go and come from, behind one table. A frame is iovecs: the first is a virtio_net
 * header, whole and alone, of the length that the device chose; the Ethernet frame follows. A backend knows
 * no guest memory and no virtio queue. One without offloads sends what follows the header, and leaves the
 * header of what it receives zero.
 *
 * A backend has one port for each pair of queues. A port belongs to one loop: port_watch(), send() and
 * recv() are called on it, and so are `readable` and `writable`. Nothing blocks.
 *
 * Who implements one embeds struct net_backend, and makes the ports with it.
 */
#ifndef LKVM_NET_BACKEND_H
#define LKVM_NET_BACKEND_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <lkvm/loop.h>

struct net_backend;
struct net_forwards;
struct net_port;

#define NET_PORTS_MAX  8            /* pairs of queues */
#define NET_ETH_LEN    14           /* of an Ethernet header */
#define NET_TAG_LEN    4            /* of an 802.1Q tag */
#define NET_FRAME_MAX  (65535 + 18) /* the largest IP packet, with a tagged Ethernet header */
#define NET_HEADER_MAX 12
#define NET_MTU_MIN    68 /* RFC 791 */
#define NET_MTU_MAX    65535

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
	unsigned int ports_max; /* pairs of queues, 1 to NET_PORTS_MAX */
	bool carrier;           /* the link is up now; a change is told by on_carrier() */
};

enum net_watch { NET_READABLE = 1, NET_WRITABLE = 2 };

struct net_backend_ops {
	const char *name;
	void (*info)(const struct net_backend *be, struct net_info *info);
	/* The header has this length from now on (10 or 12). Ports are not watched. 0 or -errno. NULL: any. */
	int (*set_header)(struct net_backend *be, unsigned int len);
	/*
	 * Of `rx_offloads`, those that the driver takes. Frames that were queued before may still have others.
	 * Any thread, one at a time. 0 or -errno. NULL: there are none.
	 */
	int (*set_offloads)(struct net_backend *be, uint32_t offloads);
	/*
	 * Frames to the guest are spread over the first `nr` ports from now on; where a flow was sent from is
	 * where it comes back. Any thread, one at a time; may take some milliseconds. 0 or -errno. NULL: there is
	 * one port.
	 */
	int (*set_ports)(struct net_backend *be, unsigned int nr);
	/*
	 * What is called back from now on: a set of enum net_watch. Both are levels: called again and again
	 * while there is something to receive, or room to send. An error of the host's descriptor is both.
	 */
	void (*port_watch)(struct net_port *port, unsigned int watch);
	/* One frame. 0; -EAGAIN: it was not taken, and may be when the port is writable; else it is lost. */
	int (*send)(struct net_port *port, const struct iovec *iov, unsigned int nr);
	/*
	 * The next frame: bytes stored, with the header. One that is longer than the iovecs is cut without a
	 * word, so the caller has room for one byte too many. -EAGAIN: none now; -errno: the host's error, which may
	 * last.
	 */
	ssize_t (*recv)(struct net_port *port, const struct iovec *iov, unsigned int nr);
	/*
	 * What vhost-net takes for a port: frames on it have a header of set_header()'s length. The port is not watched
	 * while the kernel has it. Stays the backend's. NULL: there is none.
	 */
	int (*port_fd)(const struct net_port *port);
	/* No port is watched. Frees it, and takes back what it made on the host. */
	void (*close)(struct net_backend *be);
};

struct net_port {
	struct net_backend *be;
	unsigned int index;
	/* Set by the device before the first port_watch(). */
	struct loop *loop;
	void (*readable)(struct net_port *port);
	void (*writable)(struct net_port *port);
	void *priv; /* the device's */
};

struct net_backend {
	const struct net_backend_ops *ops;
	const struct net_forwards
		*forwards; /* that are open, with their ports, while it is; NULL: none */
	/* Set by the device, before any port is watched. Called on any thread: the link went up or down. */
	void (*on_carrier)(struct net_backend *be, bool up);
	void *priv; /* the device's */
	struct net_port ports[NET_PORTS_MAX];
};

#endif
