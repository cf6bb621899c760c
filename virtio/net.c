/* SPDX-License-Identifier: GPL-2.0 */
/* virtio-net: features, configuration space, life cycle and link. */
#include <errno.h>
#include <string.h>

#include <lkvm/util.h>

#include "net-dev.h"

#define F(name) VIRTIO_BIT(VIRTIO_NET_F_##name)

/* 5.1.4; Mbit/s, as a tap tells its own. */
#define NET_SPEED   10000
#define DUPLEX_FULL 1
/* 5.1.4.1 */
#define MTU_ADVISED 1280

struct net_config {
	uint8_t mac[6];
	uint16_t status;
	uint16_t max_virtqueue_pairs;
	uint16_t mtu;
	uint32_t speed;
	uint8_t duplex;
} __attribute__((packed));

_Static_assert(sizeof(struct net_config) == VIRTIO_NET_CONFIG_LEN, "what drivers are told");

/* --- features --- */

/* 5.1.3.1 */
static const struct virtio_feature_dep net_deps[] = {
	{ VIRTIO_NET_F_GUEST_TSO4, F(GUEST_CSUM) },
	{ VIRTIO_NET_F_GUEST_TSO6, F(GUEST_CSUM) },
	{ VIRTIO_NET_F_GUEST_ECN, F(GUEST_TSO4) | F(GUEST_TSO6) },
	{ VIRTIO_NET_F_GUEST_UFO, F(GUEST_CSUM) },
	{ VIRTIO_NET_F_GUEST_USO4, F(GUEST_CSUM) },
	{ VIRTIO_NET_F_GUEST_USO6, F(GUEST_CSUM) },
	{ VIRTIO_NET_F_HOST_TSO4, F(CSUM) },
	{ VIRTIO_NET_F_HOST_TSO6, F(CSUM) },
	{ VIRTIO_NET_F_HOST_ECN, F(HOST_TSO4) | F(HOST_TSO6) },
	{ VIRTIO_NET_F_HOST_UFO, F(CSUM) },
	{ VIRTIO_NET_F_HOST_USO, F(CSUM) },
	{ VIRTIO_NET_F_CTRL_RX, F(CTRL_VQ) },
	{ VIRTIO_NET_F_CTRL_VLAN, F(CTRL_VQ) },
	{ VIRTIO_NET_F_CTRL_RX_EXTRA, F(CTRL_VQ) },
	{ VIRTIO_NET_F_GUEST_ANNOUNCE, F(CTRL_VQ) },
	{ VIRTIO_NET_F_MQ, F(CTRL_VQ) },
	{ VIRTIO_NET_F_CTRL_MAC_ADDR, F(CTRL_VQ) },
};

/* What each of the backend's offloads lets the device offer: a feature needs all of its offloads. */
static const struct {
	uint32_t offloads;
	uint64_t tx, rx;
} offload_features[] = {
	{ NET_CSUM, F(CSUM), F(GUEST_CSUM) },
	{ NET_CSUM | NET_TSO4, F(HOST_TSO4), F(GUEST_TSO4) },
	{ NET_CSUM | NET_TSO6, F(HOST_TSO6), F(GUEST_TSO6) },
	{ NET_CSUM | NET_UFO, F(HOST_UFO), F(GUEST_UFO) },
	{ NET_CSUM | NET_USO, F(HOST_USO), F(GUEST_USO4) | F(GUEST_USO6) },
	{ NET_CSUM | NET_TSO4 | NET_ECN, F(HOST_ECN), F(GUEST_ECN) },
	{ NET_CSUM | NET_TSO6 | NET_ECN, F(HOST_ECN), F(GUEST_ECN) },
};

/* What needs nothing of the backend. */
#define ALWAYS                                                                                     \
	(F(MAC) | F(STATUS) | F(SPEED_DUPLEX) | F(MRG_RXBUF) | F(CTRL_VQ) | F(CTRL_RX) |           \
	 F(CTRL_RX_EXTRA) | F(CTRL_VLAN) | F(CTRL_MAC_ADDR) | F(GUEST_ANNOUNCE))

/* What the kernel does not do for us. */
#define FILTERS (F(CTRL_RX) | F(CTRL_RX_EXTRA) | F(CTRL_VLAN))

static uint64_t features_of(const struct virtio_net *n)
{
	uint64_t features = ALWAYS;

	for (unsigned int i = 0; i < ARRAY_SIZE(offload_features); i++) {
		uint32_t needs = offload_features[i].offloads;

		if ((n->info.tx_offloads & needs) == needs)
			features |= offload_features[i].tx;
		if ((n->info.rx_offloads & needs) == needs)
			features |= offload_features[i].rx;
	}
	if (features & F(GUEST_CSUM))
		features |= F(CTRL_GUEST_OFFLOADS);
	if (n->pairs_max > 1)
		features |= F(MQ);
	if (n->mtu)
		features |= F(MTU);
	if (n->vhost)
		features &= ~FILTERS & (n->pair[0].vhost.features | ~F(MRG_RXBUF));
	return features;
}

/* A legacy driver's set may lack what it needs: then it is as if the feature was not there. */
uint32_t net_guest_offloads(uint64_t features)
{
	uint32_t o = 0;

	if (!(features & F(GUEST_CSUM)))
		return 0;
	o |= NET_CSUM;
	o |= features & F(GUEST_TSO4) ? NET_TSO4 : 0;
	o |= features & F(GUEST_TSO6) ? NET_TSO6 : 0;
	o |= features & F(GUEST_UFO) ? NET_UFO : 0;
	/* One gso_type for both, so both or none. */
	o |= (features & F(GUEST_USO4)) && (features & F(GUEST_USO6)) ? NET_USO : 0;
	o |= (features & F(GUEST_ECN)) && (o & (NET_TSO4 | NET_TSO6)) ? NET_ECN : 0;
	return o;
}

static uint32_t host_offloads(uint64_t features)
{
	uint32_t o = 0;

	if (!(features & F(CSUM)))
		return 0;
	o |= NET_CSUM;
	o |= features & F(HOST_TSO4) ? NET_TSO4 : 0;
	o |= features & F(HOST_TSO6) ? NET_TSO6 : 0;
	o |= features & F(HOST_UFO) ? NET_UFO : 0;
	o |= features & F(HOST_USO) ? NET_USO : 0;
	o |= (features & F(HOST_ECN)) && (o & (NET_TSO4 | NET_TSO6)) ? NET_ECN : 0;
	return o;
}

/* The one place that knows: 5.1.6, 5.1.6.1. */
static unsigned int header_len(uint64_t features)
{
	return features & (VIRTIO_BIT(VIRTIO_F_VERSION_1) | F(MRG_RXBUF)) ? 12 : 10;
}

/* --- queues: pairs, then the control queue (5.1.2) --- */

static unsigned int pairs_with(const struct virtio_net *n, uint64_t features)
{
	return features & F(MQ) ? n->pairs_max : 1;
}

bool net_is_ctrl(const struct virtio_net *n, uint64_t features, uint16_t q)
{
	return (features & F(CTRL_VQ)) && q == 2 * pairs_with(n, features);
}

static bool net_has_queue(const struct virtio_device *vd, uint16_t q)
{
	const struct virtio_net *n = vd->priv;

	return q < 2 * pairs_with(n, vd->accepted) || net_is_ctrl(n, vd->accepted, q);
}

static bool net_kick(struct virtio_device *vd, struct virtqueue *vq)
{
	struct virtio_net *n = vd->priv;

	if (net_is_ctrl(n, atomic_load(&n->features), vq->index))
		return net_ctrl_kick(n, vq);
	struct virtio_net_pair *p = &n->pair[vq->index / 2];
	if (n->vhost) {
		vhost_kick(&p->vhost, vq->index % 2);
		return true;
	}
	return vq->index % 2 ? net_tx_kick(p) : net_rx_kick(p);
}

/* What was sent is rarely waited for. */
static void net_flush(struct virtio_device *vd, struct virtqueue *vq)
{
	struct virtio_net *n = vd->priv;

	if (vq->index % 2 && !n->vhost)
		vq_late_flush(&n->pair[vq->index / 2].tx.late);
	else
		vq_flush(vq);
}

static void net_queue_state(struct virtio_device *vd, struct virtqueue *vq, bool on)
{
	struct virtio_net *n = vd->priv;
	uint64_t features = atomic_load(&n->features);

	if (net_is_ctrl(n, features, vq->index)) {
		if (!on)
			net_ctrl_stopped(n);
		return;
	}
	/* One that is given back before the device ran, when no features say what it is. */
	if (vq->index / 2 >= n->pairs_max)
		return;
	struct virtio_net_pair *p = &n->pair[vq->index / 2];
	atomic_store(vq->index % 2 ? &p->tx_runs : &p->rx_runs, on);
	if (n->vhost)
		net_vhost_update(p);
	else if (!on && vq->index % 2)
		net_tx_stopped(p);
	else if (!on)
		net_rx_stopped(p);
}

/* --- configuration space --- */

static void put_mac(uint8_t b[6], uint64_t mac)
{
	for (unsigned int i = 0; i < 6; i++)
		b[i] = (uint8_t)(mac >> (40 - 8 * i));
}

static void net_config_read(struct virtio_device *vd, uint32_t off, void *buf, uint32_t len)
{
	struct virtio_net *n = vd->priv;
	struct net_config c = {
		.status = htole16(atomic_load(&n->status)),
		.max_virtqueue_pairs = htole16(n->pairs_max > 1 ? (uint16_t)n->pairs_max : 0),
		.mtu = htole16(n->mtu),
		.speed = htole32(NET_SPEED),
		.duplex = DUPLEX_FULL,
	};

	put_mac(c.mac, atomic_load(&n->mac));
	memcpy(buf, (uint8_t *)&c + off, len);
}

/*
 * 5.1.4.3, 5.1.6.5.2.3: the MAC is a legacy driver's to write, a byte at a time. It is the new one when the
 * last byte is there.
 */
static void net_config_write(struct virtio_device *vd, uint32_t off, const void *buf, uint32_t len)
{
	struct virtio_net *n = vd->priv;

	if (vd->iface != VIRTIO_IFACE_LEGACY || off >= sizeof(n->legacy_mac))
		return;
	memcpy(n->legacy_mac + off, buf, MIN(len, sizeof(n->legacy_mac) - off));
	if (off + len >= sizeof(n->legacy_mac) && mac_is_station(mac_of(n->legacy_mac)))
		atomic_store(&n->mac, mac_of(n->legacy_mac));
}

/* --- link --- */

bool net_link_is_up(const struct virtio_net *n)
{
	return atomic_load_explicit(&n->status, memory_order_relaxed) & VIRTIO_NET_S_LINK_UP;
}

static bool has_feature(struct virtio_net *n, uint64_t feature)
{
	return atomic_load(&n->features) & feature;
}

/* A network that the link has come back to may be another one, which does not know the guest (5.1.6.5.4). */
static void link_changed_locked(struct virtio_net *n)
{
	bool up = n->link && n->carrier;

	if (up == net_link_is_up(n))
		return;
	if (!up)
		atomic_store(&n->status, 0);
	else
		atomic_store(&n->status, VIRTIO_NET_S_LINK_UP | (has_feature(n, F(GUEST_ANNOUNCE))
									 ? VIRTIO_NET_S_ANNOUNCE
									 : 0));
	for (unsigned int i = 0; n->vhost && i < n->pairs_max; i++)
		loop_post(n->pair[i].port->loop, &n->pair[i].relook);
	if (has_feature(n, F(STATUS)))
		virtio_config_changed(&n->vd);
}

void virtio_net_set_link(struct virtio_net *n, bool up)
{
	pthread_mutex_lock(&n->link_lock);
	n->link = up;
	link_changed_locked(n);
	pthread_mutex_unlock(&n->link_lock);
}

static void on_carrier(struct net_backend *be, bool up)
{
	struct virtio_net *n = be->priv;

	pthread_mutex_lock(&n->link_lock);
	n->carrier = up;
	link_changed_locked(n);
	pthread_mutex_unlock(&n->link_lock);
}

void virtio_net_announce(struct virtio_net *n)
{
	pthread_mutex_lock(&n->link_lock);
	if (net_link_is_up(n) && has_feature(n, F(GUEST_ANNOUNCE))) {
		atomic_fetch_or(&n->status, VIRTIO_NET_S_ANNOUNCE);
		virtio_config_changed(&n->vd);
	}
	pthread_mutex_unlock(&n->link_lock);
}

void net_clear_announce(struct virtio_net *n)
{
	atomic_fetch_and(&n->status, (uint16_t)~VIRTIO_NET_S_ANNOUNCE);
}

/* --- start and stop --- */

static int net_start(struct virtio_device *vd, uint64_t features)
{
	struct virtio_net *n = vd->priv;
	const struct net_backend_ops *be = n->be->ops;
	int ret = 0;

	n->header_len = header_len(features);
	n->mergeable = features & F(MRG_RXBUF);
	atomic_store(&n->tx_offloads, host_offloads(features));
	atomic_store(&n->rx_offloads, net_guest_offloads(features));
	atomic_store(&n->pairs, 1);
	net_filter_reset(n, features);
	if (be->set_header)
		ret = be->set_header(n->be, n->header_len);
	if (!ret && be->set_offloads)
		ret = be->set_offloads(n->be, atomic_load(&n->rx_offloads));
	if (!ret && be->set_ports)
		ret = be->set_ports(n->be, 1);
	if (!ret && n->vhost)
		ret = net_vhost_start(n, features);
	if (ret)
		log_guest(vd->log, &vd->log_limit, "net %s: the back end cannot start: %s",
			  be->name, strerror(-ret));
	else
		atomic_store(&n->features, features);
	return ret;
}

static void rest_on_owner(void *arg)
{
	net_pair_rest(arg);
}

static void rest_ctrl_on_owner(void *arg)
{
	net_ctrl_rest(arg);
}

static void net_stop(struct virtio_device *vd)
{
	struct virtio_net *n = vd->priv;

	atomic_store(&n->features, 0);
	for (unsigned int i = 0; i < n->pairs_max; i++)
		loop_call(n->pair[i].port->loop, rest_on_owner, &n->pair[i]);
	if (n->ctrl.vq)
		loop_call(n->ctrl.vq->loop, rest_ctrl_on_owner, n);
	net_clear_announce(n);
	atomic_store(&n->mac, n->configured_mac);
	put_mac(n->legacy_mac, n->configured_mac);
}

static const struct virtio_device_ops net_ops = {
	.name = "net",
	.device_id = VIRTIO_NET_ID,
	.legacy_id = VIRTIO_NET_LEGACY_ID,
	.features = ALWAYS,
	.deps = net_deps,
	.deps_nr = ARRAY_SIZE(net_deps),
	.config_read = net_config_read,
	.config_write = net_config_write,
	.start = net_start,
	.stop = net_stop,
	.kick = net_kick,
	.flush = net_flush,
	.queue_state = net_queue_state,
	.has_queue = net_has_queue,
};

/* --- making one --- */

static int check_opts(const struct virtio_net_opts *o, const struct net_info *info,
		      const struct log *log, struct err *err)
{
	const struct net_backend *be = o->backend;

	if (!mac_is_station(mac_of(o->mac)))
		return err_usage(
			err,
			"mac=%02x:%02x:%02x:%02x:%02x:%02x: a network card needs a unicast "
			"address: choose one whose first byte is even, as 02",
			o->mac[0], o->mac[1], o->mac[2], o->mac[3], o->mac[4], o->mac[5]);
	if (o->mtu && o->mtu < NET_MTU_MIN)
		return err_usage(err, "mtu=%u: choose one from %u to %u", o->mtu, NET_MTU_MIN,
				 NET_MTU_MAX);
	if (o->pairs > info->ports_max)
		return err_usage(err, "mq=%u: this kind of network has at most %u pairs of queues",
				 o->pairs, info->ports_max);
	if (o->vhost && !be->ops->port_fd)
		return err_usage(err, "vhost=on: only a tap's frames can be moved by the kernel: "
				      "use mode=tap, or leave vhost=on out");
	if (o->mtu && o->mtu < MTU_ADVISED)
		log_warn(log, "mtu=%u: below %u IPv6 does not work in the guest", o->mtu,
			 MTU_ADVISED);
	return 0;
}

static void make_pairs(struct virtio_net *n, struct loop *const *loops, unsigned int loops_nr)
{
	for (unsigned int i = 0; i < n->pairs_max; i++) {
		struct virtio_net_pair *p = &n->pair[i];
		struct loop *loop = loops[i % loops_nr];

		virtio_add_queue(&n->vd, VIRTIO_NET_QUEUE_SIZE, loop);
		virtio_add_queue(&n->vd, VIRTIO_NET_QUEUE_SIZE, loop);
		p->net = n;
		p->index = i;
		p->rxq = &n->vd.vqs[2 * i];
		p->txq = &n->vd.vqs[2 * i + 1];
		p->port = &n->be->ports[i];
		p->port->loop = loop;
		p->port->priv = p;
		net_pair_init(p);
		if (n->vhost) {
			vhost_add_queue(&p->vhost, 0, p->rxq);
			vhost_add_queue(&p->vhost, 1, p->txq);
		}
	}
	virtio_add_queue(&n->vd, VIRTIO_NET_QUEUE_SIZE, loops[0]);
}

int virtio_net_init(struct virtio_net *n, const struct virtio_net_opts *o, const struct gmem *gm,
		    const struct log *log, struct loop *const *loops, unsigned int loops_nr,
		    struct err *err)
{
	memset(n, 0, sizeof(*n));
	n->be = o->backend;
	n->be->ops->info(n->be, &n->info);
	int ret = check_opts(o, &n->info, log, err);
	if (ret)
		return ret;
	virtio_device_init(&n->vd, &net_ops, gm, log, n);
	n->vd.config_len = VIRTIO_NET_CONFIG_LEN;
	n->pairs_max = o->pairs ?: 1;
	n->mtu = o->mtu;
	n->vhost = o->vhost;
	if (n->vhost && (ret = net_vhost_open(n, o->vhost_dev ?: VHOST_NET_DEV, err)))
		return ret;
	pthread_mutex_init(&n->link_lock, NULL);
	n->vd.features = features_of(n);
	n->configured_mac = mac_of(o->mac);
	n->mac = n->configured_mac;
	put_mac(n->legacy_mac, n->configured_mac);
	make_pairs(n, loops, loops_nr);
	net_ctrl_init(n);
	n->be->priv = n;
	n->be->on_carrier = on_carrier;
	pthread_mutex_lock(&n->link_lock);
	/* Asked again: what changes from here on is told, and waits for the lock. */
	n->be->ops->info(n->be, &n->info);
	n->link = !o->link_off;
	n->carrier = n->info.carrier;
	link_changed_locked(n);
	pthread_mutex_unlock(&n->link_lock);
	return 0;
}

void virtio_net_release(struct virtio_net *n)
{
	n->be->on_carrier = NULL;
	net_vhost_close(n);
	virtio_device_release(&n->vd);
	pthread_mutex_destroy(&n->link_lock);
}
