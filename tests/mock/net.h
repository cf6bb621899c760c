/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A packet backend in the test's hands, and a bench with a virtio-net, its driver and, beside them, the
 * bench's mini. Frames to the guest wait in the ports until the device takes them; frames from it are kept.
 */
#ifndef LKVM_TESTS_NET_H
#define LKVM_TESTS_NET_H

#include <lkvm/virtio/net.h>

#include "bench.h"

#define MOCK_NET_FRAMES 64   /* that a port holds in each direction */
#define MOCK_NET_FD     1000 /* port_fd() of port 0 */
#define NF(name)        VIRTIO_BIT(VIRTIO_NET_F_##name)

struct mock_frame {
	uint8_t header[12];
	uint32_t len;
	uint8_t *bytes;
	unsigned int port;
};

struct mock_net;

struct mock_net_port {
	struct mock_net *m;
	struct net_port *port;
	struct mock_frame in[MOCK_NET_FRAMES]; /* to the guest */
	unsigned int in_nr;
	unsigned int watch;
	struct loop_post post; /* a level is up */
};

struct mock_net {
	struct net_backend be;
	struct net_info info; /* the test sets it before the device is made */
	pthread_mutex_t lock; /* everything below */
	struct mock_net_port port[NET_PORTS_MAX];
	struct mock_frame out[MOCK_NET_FRAMES]; /* from the guest; the latest if there are more */
	unsigned int out_nr;
	bool full;      /* send() gives -EAGAIN */
	int send_errno; /* it fails */
	int recv_errno; /* recv() fails */
	int header_ret, offloads_ret, ports_ret;
	unsigned int header_len;
	uint32_t offloads;
	unsigned int ports;
	unsigned int sends, recvs, calls; /* calls: of readable and writable */
	unsigned int iovs;                /* of the last frame that was sent */
	const uint8_t *sent_from;         /* its first byte behind the header */
};

void mock_net_init(struct mock_net *m);
void mock_net_release(struct mock_net *m);
/* Any thread: a frame for the guest with this header (12 bytes, or NULL for zeros). False: the port is full. */
bool mock_net_inject(struct mock_net *m, unsigned int port, const uint8_t *header,
		     const void *bytes, uint32_t len);
void mock_net_set_full(struct mock_net *m, bool full);
void mock_net_set_carrier(struct mock_net *m, bool up);
unsigned int mock_net_waiting(struct mock_net *m, unsigned int port);
/* Forgets what waits for the guest. */
void mock_net_drop(struct mock_net *m);
/* Forgets what was sent. */
void mock_net_clear(struct mock_net *m);

struct netbench_opts {
	const struct drv_transport_ops *transport;
	unsigned int pairs;
	uint16_t mtu;
	bool link_off;
	bool vhost;                  /* on fake-vhost.h */
	const struct net_info *info; /* default: all offloads, 8 ports, carrier */
	unsigned int loops;
	bool threads;
};

#define NET_ALL_OFFLOADS (NET_CSUM | NET_TSO4 | NET_TSO6 | NET_ECN | NET_UFO | NET_USO)
#define NETBENCH_RING    64 /* entries of a ring; a legacy driver's are the device's own size */
#define NETBENCH_NONE    UINT32_MAX

struct netbench {
	struct bench b;
	struct netbench_opts o;
	struct mock_net be;
	struct virtio_net n;
	struct drv d;
	uint64_t tx_gpa, ctrl_gpa, rx_gpa; /* memory for netbench_*() */
	uint64_t rx_of[NET_PORTS_MAX]
		      [VIRTIO_NET_QUEUE_SIZE]; /* where each posted buffer is, by head */
	uint64_t rx_next;
	uint32_t seed;
};

extern const uint8_t netbench_mac[6];

void netbench_init(struct netbench *b, const struct netbench_opts *o);
void netbench_release(struct netbench *b);
/* Reset, negotiation, all rings, DRIVER_OK.  */
void netbench_up(struct netbench *b, uint64_t features);
/* The same, whether or not the device takes DRIVER_OK. */
void netbench_try_up(struct netbench *b, uint64_t features);
void netbench_reset(struct netbench *b);
void netbench_settle(struct netbench *b);
bool netbench_is_legacy(const struct netbench *b);
unsigned int netbench_header_len(const struct netbench *b);
/* The control queue's index with what is negotiated. */
uint16_t netbench_ctrl(const struct netbench *b);

/* A frame of the length to `dst` (NULL: the device's MAC) with bytes of a pattern; `tag` -1: untagged. */
void netbench_frame(struct netbench *b, uint8_t *frame, uint32_t len, const uint8_t *dst, int tag);

/* Sends `len` bytes, header and frame together, in pieces of `cut` bytes (0: one). Returns the used length, or NETBENCH_NONE. */
uint32_t netbench_send_raw(struct netbench *b, unsigned int pair, const void *bytes, uint32_t len,
			   uint32_t cut);
/* The same with a header (12 bytes or NULL); whether exactly that frame came out, unchanged. */
bool netbench_send(struct netbench *b, unsigned int pair, const uint8_t *header, const void *frame,
		   uint32_t len);

/* Posts a receive buffer of `len` bytes in pieces of `cut`. Returns its head; kicks if wanted. */
uint16_t netbench_post(struct netbench *b, unsigned int pair, uint32_t len, uint32_t cut);
/* The next packet: header into `header` (12 bytes), frame into `frame`; its length, or -1. */
int netbench_receive(struct netbench *b, unsigned int pair, uint8_t *header, uint8_t *frame,
		     unsigned int *buffers);
/* Injects the frame with a buffer for it: whether the guest gets just that. */
bool netbench_passes(struct netbench *b, const uint8_t *frame, uint32_t len);

/* A control command; returns the answer, or 0xff when there was none. */
uint8_t netbench_command(struct netbench *b, uint8_t class, uint8_t cmd, const void *data,
			 uint32_t len);

/* G1 to G9 of the checklist, and that the device works by the book again. */
void netbench_recover(struct netbench *b);

#endif
