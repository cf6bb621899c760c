/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the files of virtio-net share: net.c (life), net-io.c (packets), net-ctrl.c
 * (control queue, filter), net-vhost.c (packets by the kernel).
 */
#ifndef LKVM_VIRTIO_NET_DEV_H
#define LKVM_VIRTIO_NET_DEV_H

#include <lkvm/virtio/net.h>

/* A MAC address as a number: the first byte on the wire is the highest. */
#define MAC_MULTICAST (UINT64_C(1) << 40)
#define MAC_BROADCAST UINT64_C(0xffffffffffff)

static inline uint64_t mac_of(const uint8_t b[6])
{
	uint64_t mac = 0;

	for (unsigned int i = 0; i < 6; i++)
		mac = mac << 8 | b[i];
	return mac;
}

/* May be a station's own. */
static inline bool mac_is_station(uint64_t mac)
{
	return mac && !(mac & MAC_MULTICAST);
}

/* --- net.c --- */

/* The control queue with these features: the one after the last pair that they give. */
bool net_is_ctrl(const struct virtio_net *n, uint64_t features, uint16_t q);
/* The offloads that a set of guest offload features gives; a feature without its base gives none. */
uint32_t net_guest_offloads(uint64_t features);
bool net_link_is_up(const struct virtio_net *n);
void net_clear_announce(struct virtio_net *n);

/* --- net-io.c --- */

/* On the queue's owner thread; see kick and queue_state of struct virtio_device_ops. */
bool net_rx_kick(struct virtio_net_pair *p);
bool net_tx_kick(struct virtio_net_pair *p);
void net_rx_stopped(struct virtio_net_pair *p);
void net_tx_stopped(struct virtio_net_pair *p);
void net_pair_init(struct virtio_net_pair *p);
/* On its owner's thread: the port is let go. */
void net_pair_rest(struct virtio_net_pair *p);

/* --- net-vhost.c: with n->vhost --- */

int net_vhost_open(struct virtio_net *n, const char *dev, struct err *err);
void net_vhost_close(struct virtio_net *n);
/* Before the queues begin; 0 or -errno. */
int net_vhost_start(struct virtio_net *n, uint64_t features);
/* On the owner's thread: the kernel gets, or gives back, what it should now. */
void net_vhost_update(struct virtio_net_pair *p);

/* --- net-ctrl.c --- */

void net_ctrl_init(struct virtio_net *n);
/* On the owner's thread of the control queue. */
bool net_ctrl_kick(struct virtio_net *n, struct virtqueue *vq);
void net_ctrl_stopped(struct virtio_net *n);
/* The same thread, after all pairs are at rest: no answer is on its way. */
void net_ctrl_rest(struct virtio_net *n);
/* On any owner's thread: a pair has seen what the control queue changed. */
void net_ctrl_synced(struct virtio_net *n);
/* The filter as it is after a reset, for a driver with these features. */
void net_filter_reset(struct virtio_net *n, uint64_t features);
/* The first bytes of a frame, `len` of them, at most NET_ETH_LEN + NET_TAG_LEN. Any owner's thread. */
bool net_filter_passes(struct virtio_net *n, const uint8_t *frame, unsigned int len);

#endif
