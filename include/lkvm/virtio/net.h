/* SPDX-License-Identifier: GPL-2.0 */
/*
 * virtio-net: a NIC in front of a packet backend. Storage is the caller's, and large: it holds all that a
 * packet needs, so that nothing is allocated while it runs.
 *
 * Pair i of queues is served by loops[i % loops_nr] and uses port i of the backend on that loop. The control
 * queue is the one after the last pair that the driver's features give it. What it sets and the data path
 * reads is atomic words (net-ctrl.c).
 *
 * With `vhost` the kernel moves the frames, and each pair has an instance of its own. The control queue stays here. What
 * only this side could do is not offered: filters of addresses and VLANs. Counts stay 0.
 *
 * Frames that cannot be delivered are dropped and counted, or stay in the backend while the guest has no
 * buffers; nothing here waits for a guest.
 *
 * Source: VIRTIO 1.3, 5.1; rows of the project's checklist are named as NET-n and HD-n.
 */
#ifndef LKVM_VIRTIO_NET_H
#define LKVM_VIRTIO_NET_H

#include <lkvm/net/backend.h>
#include <lkvm/virtio/device.h>
#include <lkvm/virtio/late.h>
#include <lkvm/virtio/vhost.h>

#define VIRTIO_NET_ID         1
#define VIRTIO_NET_LEGACY_ID  0x1000
#define VIRTIO_NET_CONFIG_LEN 17 /* up to `duplex`: RSS and hash reports are not offered */
#define VIRTIO_NET_QUEUE_SIZE 256
#define VIRTIO_NET_MACS       64 /* of each table of the filter */

/* 5.1.3 */
enum virtio_net_feature {
	VIRTIO_NET_F_CSUM = 0,
	VIRTIO_NET_F_GUEST_CSUM = 1,
	VIRTIO_NET_F_CTRL_GUEST_OFFLOADS = 2,
	VIRTIO_NET_F_MTU = 3,
	VIRTIO_NET_F_MAC = 5,
	VIRTIO_NET_F_GUEST_TSO4 = 7,
	VIRTIO_NET_F_GUEST_TSO6 = 8,
	VIRTIO_NET_F_GUEST_ECN = 9,
	VIRTIO_NET_F_GUEST_UFO = 10,
	VIRTIO_NET_F_HOST_TSO4 = 11,
	VIRTIO_NET_F_HOST_TSO6 = 12,
	VIRTIO_NET_F_HOST_ECN = 13,
	VIRTIO_NET_F_HOST_UFO = 14,
	VIRTIO_NET_F_MRG_RXBUF = 15,
	VIRTIO_NET_F_STATUS = 16,
	VIRTIO_NET_F_CTRL_VQ = 17,
	VIRTIO_NET_F_CTRL_RX = 18,
	VIRTIO_NET_F_CTRL_VLAN = 19,
	VIRTIO_NET_F_CTRL_RX_EXTRA = 20,
	VIRTIO_NET_F_GUEST_ANNOUNCE = 21,
	VIRTIO_NET_F_MQ = 22,
	VIRTIO_NET_F_CTRL_MAC_ADDR = 23,
	VIRTIO_NET_F_GUEST_USO4 = 54,
	VIRTIO_NET_F_GUEST_USO6 = 55,
	VIRTIO_NET_F_HOST_USO = 56,
	VIRTIO_NET_F_SPEED_DUPLEX = 63,
};

/* 5.1.4 */
enum virtio_net_status { VIRTIO_NET_S_LINK_UP = 1, VIRTIO_NET_S_ANNOUNCE = 2 };

struct virtio_net;

/* What one direction of a pair did since the device was made. */
struct virtio_net_count {
	_Atomic uint64_t packets; /* delivered */
	_Atomic uint64_t bytes;   /* of their frames, without headers */
	_Atomic uint64_t
		dropped; /* bad header or length, no room, link down, the backend's refusal */
	_Atomic uint64_t filtered; /* not for this guest; RX only */
	_Atomic uint64_t errors;   /* of the backend */
};

/* Chains that are held for the next packets, oldest first. */
#define VIRTIO_NET_HELD_IOVS 1020 /* with the three of receive() no more than a readv() takes */

struct virtio_net_rx {
	struct vq_chain held[VIRTIO_NET_QUEUE_SIZE];
	unsigned int first, nr;            /* of held[] */
	unsigned int iovs_first, iovs_end; /* of iovs[]: what held[first..first + nr) has */
	uint64_t room;                     /* bytes in all of them */
	struct iovec iovs[VIRTIO_NET_HELD_IOVS];
	struct iovec vec[VIRTIO_NET_HELD_IOVS + 3]; /* for recv() */
	bool had_room;           /* the driver does offer room for the largest packet */
	bool paused;             /* for `timer` */
	struct loop_timer timer; /* the end of a wait for room, or of a backend's error */
};

struct virtio_net_tx {
	struct vq_chain chain;
	struct iovec iovs[1 + VQ_IOVS(VIRTIO_NET_QUEUE_SIZE)];
	uint8_t header[NET_HEADER_MAX];
	unsigned int vec, vec_nr; /* in iovs[]: the header and the frame */
	uint32_t frame_len;
	bool pending; /* the backend had no room for it */
	struct vq_late late;
};

/* Of one owner's thread, but for the counts and `running`. */
struct virtio_net_pair {
	struct virtio_net *net;
	unsigned int index;
	struct net_port *port;
	struct virtqueue *rxq, *txq;
	unsigned int watch; /* enum net_watch */
	_Atomic bool rx_runs, tx_runs;
	struct vhost vhost;
	struct loop_post relook; /* the link changed, and the kernel has to know */
	struct loop_post sync;   /* the pairs in use changed: see struct virtio_net_ctrl */
	struct virtio_net_rx rx;
	struct virtio_net_tx tx;
	struct virtio_net_count rx_count, tx_count;
};

/*
 * Which frames the guest gets. Written by one thread at a time: the control queue's owner while the device runs,
 * else who starts it. Read by all pairs: an odd or changed `seq` means to look again.
 */
struct virtio_net_filter {
	_Atomic uint32_t seq;
	_Atomic uint32_t modes; /* net-ctrl.c */
	_Atomic uint32_t macs_nr[2];
	_Atomic uint64_t macs[2][VIRTIO_NET_MACS]; /* unicast, multicast */
	_Atomic uint64_t vlans[4096 / 64];         /* a bit for each */
};

/*
 * The control queue, on its owner's thread. A command that changes the pairs in use is answered when every
 * pair has seen it, so that no packet comes to another one after the answer (5.1.6.5.6.2).
 */
struct virtio_net_ctrl {
	struct iovec iovs[VQ_IOVS(VIRTIO_NET_QUEUE_SIZE)];
	struct vq_chain chain;
	struct virtqueue *vq;    /* that `chain` is of */
	bool pending;            /* `chain` waits for its answer */
	_Atomic uint32_t unseen; /* pairs that have not seen it */
	struct loop_post seen;
};

struct virtio_net {
	struct virtio_device vd;
	struct net_backend *be;
	struct net_info info;
	bool vhost;
	unsigned int pairs_max;
	uint16_t mtu;            /* 0: not told */
	uint64_t configured_mac; /* see mac_of() in net-dev.h */
	_Atomic uint64_t mac;    /* the driver may change it */
	uint8_t legacy_mac
		[6]; /* as far as a legacy driver has written it; under the device's lock */
	pthread_mutex_t link_lock;                 /* the three below; a leaf */
	bool link, carrier;                        /* the user's, the backend's */
	_Atomic uint16_t status;                   /* enum virtio_net_status */
	_Atomic uint64_t features;                 /* negotiated; 0 while it does not run */
	_Atomic uint32_t tx_offloads, rx_offloads; /* enum net_offload that frames may use now */
	_Atomic uint32_t pairs;                    /* in use */
	unsigned int header_len;                   /* set while nothing runs, like the next */
	bool mergeable;
	struct virtio_net_filter filter;
	struct virtio_net_ctrl ctrl;
	struct virtio_net_pair pair[NET_PORTS_MAX];
};

struct virtio_net_opts {
	struct net_backend *backend; /* stays the caller's, and outlives the device */
	uint8_t mac[6];              /* unicast */
	uint16_t mtu;          /* 0: the driver is not told; else NET_MTU_MIN to NET_MTU_MAX */
	unsigned int pairs;    /* 0: one */
	bool vhost;            /* the kernel moves the frames; the backend has port_fd() */
	const char *vhost_dev; /* NULL: VHOST_NET_DEV */
	bool link_off;         /* the link is down until virtio_net_set_link() */
};

/*
 * ERR_USAGE for options that cannot be: the MAC, the MTU, more pairs than the backend has, vhost with a backend of ours.
 * ERR_HOST when the host has no vhost for us. A low MTU is warned of in the log.
 */
int virtio_net_init(struct virtio_net *n, const struct virtio_net_opts *o, const struct gmem *gm,
		    const struct log *log, struct loop *const *loops, unsigned int loops_nr,
		    struct err *err);
/* Unplugged, and its loops at rest. */
void virtio_net_release(struct virtio_net *n);

/* Any thread, while it is initialized. The user's half of the link; the backend's carrier is the other. */
void virtio_net_set_link(struct virtio_net *n, bool up);
/* Any thread: asks the guest to make itself known to its network. Nothing without GUEST_ANNOUNCE. */
void virtio_net_announce(struct virtio_net *n);

#endif
