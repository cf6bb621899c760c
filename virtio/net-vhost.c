/* SPDX-License-Identifier: GPL-2.0 */
/* virtio-net: packets by the kernel (vhost-net). */
#include <lkvm/util.h>

#include "net-dev.h"

enum { RX, TX }; /* queues of an instance, as vhost-net numbers them */

/* Of the core's bits, those that the kernel has to know of. RING_RESET is ours: a ring is stopped alone. */
#define RING_FEATURES                                                                              \
	(VIRTIO_BIT(VIRTIO_F_INDIRECT_DESC) | VIRTIO_BIT(VIRTIO_F_EVENT_IDX) |                     \
	 VIRTIO_BIT(VIRTIO_F_VERSION_1))

int net_vhost_open(struct virtio_net *n, const char *dev, struct err *err)
{
	for (unsigned int i = 0; i < n->pairs_max; i++) {
		int ret = vhost_open(&n->pair[i].vhost, dev, "vhost=on", n->vd.gm, err);

		if (ret) {
			while (i-- > 0)
				vhost_close(&n->pair[i].vhost);
			return ret;
		}
	}
	n->vd.lacks |= RING_FEATURES & ~n->pair[0].vhost.features;
	return 0;
}

static void forget_relook(void *arg)
{
	struct virtio_net_pair *p = arg;

	loop_post_cancel(p->port->loop, &p->relook);
}

void net_vhost_close(struct virtio_net *n)
{
	for (unsigned int i = 0; n->vhost && i < n->pairs_max; i++) {
		loop_call(n->pair[i].port->loop, forget_relook, &n->pair[i]);
		vhost_close(&n->pair[i].vhost);
	}
}

int net_vhost_start(struct virtio_net *n, uint64_t features)
{
	int ret = 0;

	for (unsigned int i = 0; i < n->pairs_max && !ret; i++)
		ret = vhost_set_features(&n->pair[i].vhost, features);
	/* Without MQ the control queue is where the second pair would be. */
	for (uint16_t q = 0; q < 2 * n->pairs_max; q++)
		n->vd.vqs[q].vhost = !net_is_ctrl(n, features, q);
	return ret;
}

static void give(struct virtio_net_pair *p, unsigned int i, bool on)
{
	if (on)
		vhost_net_start(&p->vhost, i, p->port->be->ops->port_fd(p->port));
	else
		vhost_net_stop(&p->vhost, i);
}

/* A pair that is not in use, and a link that is down, have no packets. */
void net_vhost_update(struct virtio_net_pair *p)
{
	bool on = p->index < atomic_load(&p->net->pairs) && net_link_is_up(p->net);

	give(p, RX, on && atomic_load(&p->rx_runs));
	give(p, TX, on && atomic_load(&p->tx_runs));
}
