/* SPDX-License-Identifier: GPL-2.0 */
/* virtio-net: the control queue (5.1.6.5), and the filter that it sets. */
#include <lkvm/util.h>

#include "net-dev.h"

#define F(name) VIRTIO_BIT(VIRTIO_NET_F_##name)

/* --- the filter --- */

/* Bits of `modes`. The first six have the numbers of their commands in class 0. */
enum {
	PROMISC = 1 << 0,
	ALLMULTI = 1 << 1,
	ALLUNI = 1 << 2,
	NOMULTI = 1 << 3,
	NOUNI = 1 << 4,
	NOBCAST = 1 << 5,
	UNI_FULL = 1 << 6, /* more addresses than the table holds: all of the kind pass (NET-83) */
	MULTI_FULL = 1 << 7,
	NO_MACS = 1 << 8,  /* the driver cannot say what it wants: every address passes */
	NO_VLANS = 1 << 9, /* the same for tags (NET-85) */
};

enum { UNICAST, MULTICAST };

#define ETH_TAGGED 0x8100 /* IEEE 802.1Q */
#define VLAN_MASK  0xfff

/*
 * A sequence lock: who reads while somebody writes reads again. All words are atomic. Stores stay between the
 * two steps of the writer's, which acquires with the first; the reader acquires with each load, so its second look
 * at the number comes last.
 */
static void filter_begin(struct virtio_net_filter *f)
{
	atomic_fetch_add(&f->seq, 1);
}

static void filter_end(struct virtio_net_filter *f)
{
	atomic_fetch_add(&f->seq, 1);
}

static void set_modes(struct virtio_net *n, uint32_t clear, uint32_t set)
{
	struct virtio_net_filter *f = &n->filter;

	atomic_store(&f->modes, (atomic_load(&f->modes) & ~clear) | set);
}

void net_filter_reset(struct virtio_net *n, uint64_t features)
{
	struct virtio_net_filter *f = &n->filter;
	bool ctrl = features & F(CTRL_VQ);

	filter_begin(f);
	set_modes(n, UINT32_MAX,
		  (ctrl && (features & F(CTRL_RX)) ? 0 : NO_MACS) |
			  (ctrl && (features & F(CTRL_VLAN)) ? 0 : NO_VLANS));
	atomic_store(&f->macs_nr[UNICAST], 0);
	atomic_store(&f->macs_nr[MULTICAST], 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(f->vlans); i++)
		atomic_store(&f->vlans[i], 0);
	filter_end(f);
}

static bool in_table(struct virtio_net_filter *f, unsigned int kind, uint64_t mac)
{
	uint32_t nr = atomic_load_explicit(&f->macs_nr[kind], memory_order_acquire);

	for (uint32_t i = 0; i < MIN(nr, (uint32_t)VIRTIO_NET_MACS); i++)
		if (atomic_load_explicit(&f->macs[kind][i], memory_order_acquire) == mac)
			return true;
	return false;
}

/* 5.1.6.5.1: what forbids a kind goes before what allows all of it. */
static bool mac_passes(struct virtio_net *n, uint32_t modes, uint64_t mac)
{
	struct virtio_net_filter *f = &n->filter;

	if (mac == MAC_BROADCAST)
		return !(modes & NOBCAST);
	if (mac & MAC_MULTICAST)
		return !(modes & NOMULTI) &&
		       ((modes & (ALLMULTI | MULTI_FULL)) || in_table(f, MULTICAST, mac));
	return !(modes & NOUNI) && ((modes & (ALLUNI | UNI_FULL)) ||
				    mac == atomic_load_explicit(&n->mac, memory_order_acquire) ||
				    in_table(f, UNICAST, mac));
}

static bool vlan_passes(struct virtio_net_filter *f, const uint8_t *frame, unsigned int len)
{
	if (len < NET_ETH_LEN + NET_TAG_LEN || (frame[12] << 8 | frame[13]) != ETH_TAGGED)
		return true;
	unsigned int id = (frame[14] << 8 | frame[15]) & VLAN_MASK;
	return atomic_load_explicit(&f->vlans[id / 64], memory_order_acquire) >> id % 64 & 1;
}

static bool passes(struct virtio_net *n, const uint8_t *frame, unsigned int len)
{
	uint32_t modes = atomic_load_explicit(&n->filter.modes, memory_order_acquire);

	if (modes & PROMISC)
		return true;
	return ((modes & NO_VLANS) || vlan_passes(&n->filter, frame, len)) &&
	       ((modes & NO_MACS) || mac_passes(n, modes, mac_of(frame)));
}

bool net_filter_passes(struct virtio_net *n, const uint8_t *frame, unsigned int len)
{
	struct virtio_net_filter *f = &n->filter;
	uint32_t seq;
	bool yes;

	do {
		seq = atomic_load_explicit(&f->seq, memory_order_acquire);
		yes = passes(n, frame, len);
	} while ((seq & 1) || atomic_load_explicit(&f->seq, memory_order_relaxed) != seq);
	return yes;
}

/* --- commands --- */

/* What follows class and command: read piece by piece, each once. */
struct args {
	const struct vq_chain *chain;
	uint64_t off;
};

static uint64_t left(const struct args *a)
{
	return a->chain->out_len - a->off;
}

/* False, and nothing taken, when there are not so many. */
static bool take(struct args *a, void *buf, uint64_t len)
{
	if (left(a) < len)
		return false;
	vq_copy_out(a->chain, a->off, buf, len);
	a->off += len;
	return true;
}

/* The whole of what is left is one number. */
static bool take_last(struct args *a, void *buf, uint64_t len)
{
	return left(a) == len && take(a, buf, len);
}

static bool rx_mode(struct virtio_net *n, struct args *a, uint8_t cmd)
{
	uint8_t on;

	if (!take_last(a, &on, 1))
		return false;
	filter_begin(&n->filter);
	set_modes(n, 1u << cmd, on ? 1u << cmd : 0);
	filter_end(&n->filter);
	return true;
}

/* A table of addresses, copied; one that is too long is skipped, and `nr` tells. False: it does not fit the data. */
struct mac_table {
	uint32_t nr;
	uint64_t macs[VIRTIO_NET_MACS];
};

static bool take_macs(struct args *a, struct mac_table *t)
{
	uint8_t bytes[VIRTIO_NET_MACS][6], nr[4];

	if (!take(a, nr, sizeof(nr)))
		return false;
	t->nr = get_le32(nr);
	if (t->nr > left(a) / 6)
		return false;
	if (t->nr > VIRTIO_NET_MACS) {
		a->off += (uint64_t)t->nr * 6;
		return true;
	}
	take(a, bytes, (uint64_t)t->nr * 6);
	for (uint32_t i = 0; i < t->nr; i++)
		t->macs[i] = mac_of(bytes[i]);
	return true;
}

static void put_table(struct virtio_net *n, unsigned int kind, const struct mac_table *t)
{
	struct virtio_net_filter *f = &n->filter;
	uint32_t full = kind == UNICAST ? UNI_FULL : MULTI_FULL;
	bool fits = t->nr <= VIRTIO_NET_MACS;

	for (uint32_t i = 0; fits && i < t->nr; i++)
		atomic_store(&f->macs[kind][i], t->macs[i]);
	atomic_store(&f->macs_nr[kind], fits ? t->nr : 0);
	set_modes(n, full, fits ? 0 : full);
}

static bool mac_table_set(struct virtio_net *n, struct args *a, uint8_t cmd)
{
	struct mac_table uni, multi;

	(void)cmd;
	if (!take_macs(a, &uni) || !take_macs(a, &multi) || left(a))
		return false;
	filter_begin(&n->filter);
	put_table(n, UNICAST, &uni);
	put_table(n, MULTICAST, &multi);
	filter_end(&n->filter);
	return true;
}

static bool mac_addr_set(struct virtio_net *n, struct args *a, uint8_t cmd)
{
	uint8_t mac[6];

	(void)cmd;
	if (!take_last(a, mac, sizeof(mac)) || !mac_is_station(mac_of(mac)))
		return false;
	atomic_store(&n->mac, mac_of(mac));
	return true;
}

static bool vlan(struct virtio_net *n, struct args *a, uint8_t cmd)
{
	struct virtio_net_filter *f = &n->filter;
	uint8_t bytes[2];

	if (!take_last(a, bytes, sizeof(bytes)) || get_le16(bytes) > VLAN_MASK)
		return false;
	uint16_t id = get_le16(bytes);
	uint64_t bit = UINT64_C(1) << id % 64;
	filter_begin(f);
	if (cmd == 0)
		atomic_fetch_or(&f->vlans[id / 64], bit);
	else
		atomic_fetch_and(&f->vlans[id / 64], ~bit);
	filter_end(f);
	return true;
}

static bool announce_ack(struct virtio_net *n, struct args *a, uint8_t cmd)
{
	(void)cmd;
	if (left(a))
		return false;
	net_clear_announce(n);
	return true;
}

static bool pairs_set(struct virtio_net *n, struct args *a, uint8_t cmd)
{
	uint8_t bytes[2];

	(void)cmd;
	if (!take_last(a, bytes, sizeof(bytes)))
		return false;
	uint16_t nr = get_le16(bytes);
	if (!nr || nr > n->pairs_max)
		return false;
	for (unsigned int i = 0; i < nr; i++)
		if (!atomic_load(&n->pair[i].rx_runs) || !atomic_load(&n->pair[i].tx_runs))
			return false;
	if (n->be->ops->set_ports && n->be->ops->set_ports(n->be, nr))
		return false;
	atomic_store(&n->pairs, nr);
	atomic_store(&n->ctrl.unseen, n->pairs_max);
	for (unsigned int i = 0; i < n->pairs_max; i++)
		loop_post(n->pair[i].port->loop, &n->pair[i].sync);
	return true;
}

/* 5.1.6.5.8: the bits have the numbers of their features. */
#define GUEST_OFFLOADS                                                                             \
	(F(GUEST_CSUM) | F(GUEST_TSO4) | F(GUEST_TSO6) | F(GUEST_ECN) | F(GUEST_UFO) |             \
	 F(GUEST_USO4) | F(GUEST_USO6))

static bool guest_offloads_set(struct virtio_net *n, struct args *a, uint8_t cmd)
{
	uint8_t bytes[8];

	(void)cmd;
	if (!take_last(a, bytes, sizeof(bytes)))
		return false;
	uint64_t set = get_le64(bytes), may = atomic_load(&n->features) & GUEST_OFFLOADS;
	if (set & ~may)
		return false;
	uint32_t offloads = net_guest_offloads(set);
	if (n->be->ops->set_offloads && n->be->ops->set_offloads(n->be, offloads))
		return false;
	atomic_store(&n->rx_offloads, offloads);
	return true;
}

/* Commands `first` to `last` of a class, and the features of which one must be negotiated. */
static const struct command {
	uint8_t class, first, last;
	uint64_t needs_any;
	bool (*run)(struct virtio_net *n, struct args *a, uint8_t cmd); /* false: ERR, unchanged */
} commands[] = {
	{ 0, 0, 1, F(CTRL_RX), rx_mode },
	{ 0, 2, 5, F(CTRL_RX_EXTRA), rx_mode },
	{ 1, 0, 0, F(CTRL_RX) | F(CTRL_MAC_ADDR), mac_table_set },
	{ 1, 1, 1, F(CTRL_MAC_ADDR), mac_addr_set },
	{ 2, 0, 1, F(CTRL_VLAN), vlan },
	{ 3, 0, 0, F(GUEST_ANNOUNCE), announce_ack },
	{ 4, 0, 0, F(MQ), pairs_set },
	{ 5, 0, 0, F(CTRL_GUEST_OFFLOADS), guest_offloads_set },
};

enum { ACK_OK = 0, ACK_ERR = 1 };

static uint8_t run_command(struct virtio_net *n, const struct vq_chain *chain)
{
	struct args a = { .chain = chain };
	uint64_t features = atomic_load(&n->features);
	uint8_t head[2];

	if (!take(&a, head, sizeof(head)))
		return ACK_ERR;
	for (unsigned int i = 0; i < ARRAY_SIZE(commands); i++) {
		const struct command *c = &commands[i];

		if (c->class == head[0] && c->first <= head[1] && head[1] <= c->last &&
		    (features & c->needs_any))
			return c->run(n, &a, head[1]) ? ACK_OK : ACK_ERR;
	}
	return ACK_ERR;
}

static void answer(struct virtio_net *n, uint8_t ack)
{
	uint32_t used = (uint32_t)vq_copy_in(&n->ctrl.chain, 0, &ack, 1);

	n->ctrl.pending = false;
	vq_push(n->ctrl.vq, &n->ctrl.chain, used);
}

/* To the command that waited, as soon as every pair has seen it: from its post, or a kick before that. */
static void answer_seen(struct virtio_net *n)
{
	if (n->ctrl.pending && !atomic_load(&n->ctrl.unseen))
		answer(n, ACK_OK);
}

bool net_ctrl_kick(struct virtio_net *n, struct virtqueue *vq)
{
	struct virtio_net_ctrl *ctrl = &n->ctrl;

	/* Another one only after a reset, when no pair reads it. */
	if (ctrl->vq != vq)
		ctrl->vq = vq;
	answer_seen(n);
	while (!atomic_load(&ctrl->unseen) && vq_pop(vq, &ctrl->chain)) {
		/* Without a place for the answer nothing is done (HD-204). */
		if (!ctrl->chain.in_len) {
			vq_push(vq, &ctrl->chain, 0);
			continue;
		}
		uint8_t ack = run_command(n, &ctrl->chain);
		ctrl->pending = atomic_load(&ctrl->unseen);
		if (!ctrl->pending)
			answer(n, ack);
	}
	return !atomic_load(&ctrl->unseen);
}

void net_ctrl_synced(struct virtio_net *n)
{
	if (atomic_fetch_sub(&n->ctrl.unseen, 1) == 1)
		loop_post(n->ctrl.vq->loop, &n->ctrl.seen);
}

static void on_seen(struct loop_post *post)
{
	struct virtio_net *n = container_of(post, struct virtio_net, ctrl.seen);

	virtio_queue_serve(n->ctrl.vq);
}

void net_ctrl_stopped(struct virtio_net *n)
{
	if (n->ctrl.pending)
		vq_push(n->ctrl.vq, &n->ctrl.chain, 0);
	n->ctrl.pending = false;
}

void net_ctrl_rest(struct virtio_net *n)
{
	loop_post_cancel(n->ctrl.vq->loop, &n->ctrl.seen);
	atomic_store(&n->ctrl.unseen, 0);
}

void net_ctrl_init(struct virtio_net *n)
{
	n->ctrl.chain.iov = n->ctrl.iovs;
	n->ctrl.chain.iov_max = ARRAY_SIZE(n->ctrl.iovs);
	n->ctrl.seen.fn = on_seen;
}
