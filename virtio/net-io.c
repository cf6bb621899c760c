/* SPDX-License-Identifier: GPL-2.0 */
/*
 * virtio-net: packets, in both directions. All of a pair on its owner's thread.
 *
 * A header is copied, checked once and sent from the copy, with nothing in it but what was asked for and is
 * negotiated; this goes for the guest's and for the backend's, which may be another guest's. The frame itself is not
 * copied: the backend reads and writes guest memory, but for the first bytes of a frame to the guest, which the filter
 * has to see.
 */
#include <errno.h>
#include <string.h>

#include <lkvm/util.h>

#include "net-dev.h"

/* Frames of one direction in one turn of the loop, which others share. */
#define BATCH 64
/* How long a driver that usually has room for the largest packet is waited for, before less must do. */
#define ROOM_WAIT_NS 2000000
/* After an error of the backend's descriptor, which would be told again at once. */
#define ERROR_WAIT_NS 100000000
/* The frame's first bytes: addresses, type, and a tag. */
#define HEAD_LEN (NET_ETH_LEN + NET_TAG_LEN)

static void add(_Atomic uint64_t *counter, uint64_t n)
{
	/* One writer. */
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

static void watch(struct virtio_net_pair *p, unsigned int set, unsigned int clear)
{
	unsigned int want = (p->watch | set) & ~clear;

	if (want == p->watch)
		return;
	p->watch = want;
	p->port->be->ops->port_watch(p->port, want);
}

/* --- the header (5.1.6) --- */

enum { NEEDS_CSUM = 1, DATA_VALID = 2 }; /* flags */
enum { GSO_NONE = 0, GSO_TCPV4 = 1, GSO_UDP = 3, GSO_TCPV6 = 4, GSO_UDP_L4 = 5, GSO_ECN = 0x80 };

struct header {
	uint8_t flags, gso_type;
	uint16_t hdr_len, gso_size, csum_start, csum_offset;
};

static struct header get_header(const uint8_t *b)
{
	return (struct header){
		.flags = b[0],
		.gso_type = b[1],
		.hdr_len = get_le16(b + 2),
		.gso_size = get_le16(b + 4),
		.csum_start = get_le16(b + 6),
		.csum_offset = get_le16(b + 8),
	};
}

static void put_header(uint8_t *b, const struct header *h)
{
	b[0] = h->flags;
	b[1] = h->gso_type;
	put_le16(b + 2, h->hdr_len);
	put_le16(b + 4, h->gso_size);
	put_le16(b + 6, h->csum_start);
	put_le16(b + 8, h->csum_offset);
}

/* The offloads that a gso_type stands for; 0: there is no such type. */
static uint32_t gso_offloads(uint8_t gso_type)
{
	uint32_t ecn = gso_type & GSO_ECN ? NET_ECN : 0;

	switch (gso_type & ~GSO_ECN) {
	case GSO_TCPV4:
		return NET_TSO4 | ecn;
	case GSO_TCPV6:
		return NET_TSO6 | ecn;
	case GSO_UDP:
		return ecn ? 0 : NET_UFO;
	case GSO_UDP_L4:
		return ecn ? 0 : NET_USO;
	}
	return 0;
}

/*
 * Whether a frame of this length may have the header, with the offloads of `may`; takes out what says nothing. What
 * uses the metadata further on reads the frame at csum_start and divides by gso_size.
 */
static bool check_header(struct header *h, uint32_t frame_len, uint32_t may)
{
	uint8_t flags = h->flags & NEEDS_CSUM;

	if (flags &&
	    (!(may & NET_CSUM) || (uint32_t)h->csum_start + h->csum_offset + 2 > frame_len))
		return false;
	if (!flags)
		h->csum_start = h->csum_offset = 0;
	h->flags = flags;
	if (h->gso_type == GSO_NONE) {
		h->hdr_len = h->gso_size = 0;
		return true;
	}
	uint32_t needs = gso_offloads(h->gso_type);
	return needs && (may & needs) == needs && flags && h->gso_size && h->hdr_len <= frame_len;
}

/* --- transmit --- */

/* Puts the header's copy in front of the rest of the frame: iovs[vec..vec + vec_nr). */
static void cut_header(struct virtio_net_tx *tx, unsigned int header_len)
{
	struct iovec *iov = tx->chain.iov;
	unsigned int i = 0, skip = header_len;

	while (skip >= iov[i].iov_len)
		skip -= iov[i++].iov_len;
	iov[i].iov_base = (uint8_t *)iov[i].iov_base + skip;
	iov[i].iov_len -= skip;
	/* The chain's iovecs begin at iovs[1]: there is one before them. */
	tx->vec = i;
	tx->vec_nr = tx->chain.out_nr - i + 1;
	tx->iovs[tx->vec] = (struct iovec){ tx->header, header_len };
}

/* From a chain to a frame that the backend can be given; false: it is not one. */
static bool tx_prepare(struct virtio_net_pair *p)
{
	struct virtio_net *n = p->net;
	struct virtio_net_tx *tx = &p->tx;
	unsigned int header_len = n->header_len;

	if (tx->chain.out_len < header_len + NET_ETH_LEN ||
	    tx->chain.out_len > header_len + NET_FRAME_MAX)
		return false;
	tx->frame_len = (uint32_t)tx->chain.out_len - header_len;
	memset(tx->header, 0, sizeof(tx->header));
	vq_copy_out(&tx->chain, 0, tx->header, 10);
	struct header h = get_header(tx->header);
	if (!net_link_is_up(n) || !check_header(&h, tx->frame_len, atomic_load(&n->tx_offloads)))
		return false;
	put_header(tx->header, &h);
	cut_header(tx, header_len);
	return true;
}

static bool tx_next(struct virtio_net_pair *p)
{
	struct virtio_net_tx *tx = &p->tx;

	while (vq_pop(p->txq, &tx->chain)) {
		if (tx_prepare(p))
			return true;
		add(&p->tx_count.dropped, 1);
		vq_push(p->txq, &tx->chain, 0);
	}
	return false;
}

static void tx_done(struct virtio_net_pair *p, int ret)
{
	struct virtio_net_tx *tx = &p->tx;

	if (ret) {
		add(&p->tx_count.errors, 1);
		add(&p->tx_count.dropped, 1);
	} else {
		add(&p->tx_count.packets, 1);
		add(&p->tx_count.bytes, tx->frame_len);
	}
	vq_push(p->txq, &tx->chain, 0);
}

bool net_tx_kick(struct virtio_net_pair *p)
{
	const struct net_backend_ops *be = p->port->be->ops;
	struct virtio_net_tx *tx = &p->tx;

	vq_kicks_off(p->txq);
	for (unsigned int i = 0; i < BATCH; i++) {
		if (!tx->pending && !tx_next(p))
			break;
		int ret = be->send(p->port, &tx->iovs[tx->vec], tx->vec_nr);
		tx->pending = ret == -EAGAIN;
		if (tx->pending) {
			watch(p, NET_WRITABLE, 0);
			return false;
		}
		tx_done(p, ret);
	}
	return true;
}

static void on_writable(struct net_port *port)
{
	struct virtio_net_pair *p = port->priv;

	watch(p, 0, NET_WRITABLE);
	virtio_queue_serve(p->txq);
}

void net_tx_stopped(struct virtio_net_pair *p)
{
	watch(p, 0, NET_WRITABLE);
	if (p->tx.pending)
		vq_push(p->txq, &p->tx.chain, 0);
	p->tx.pending = false;
	vq_late_stop(&p->tx.late);
}

/* --- receive: buffers that are held --- */

/* Moves what is held to the front of its arrays. */
static void compact(struct virtio_net_rx *rx)
{
	unsigned int shift = rx->iovs_first;

	if (!rx->first && !shift)
		return;
	memmove(rx->held, rx->held + rx->first, rx->nr * sizeof(rx->held[0]));
	memmove(rx->iovs, rx->iovs + shift, (rx->iovs_end - shift) * sizeof(rx->iovs[0]));
	for (unsigned int i = 0; i < rx->nr; i++)
		rx->held[i].iov -= shift;
	rx->first = 0;
	rx->iovs_first = 0;
	rx->iovs_end -= shift;
}

/* Room for one more chain, whatever it is. */
static bool make_place(struct virtio_net_rx *rx)
{
	unsigned int chain = VQ_IOVS(VIRTIO_NET_QUEUE_SIZE);

	if (rx->first + rx->nr == ARRAY_SIZE(rx->held) ||
	    ARRAY_SIZE(rx->iovs) - rx->iovs_end < chain)
		compact(rx);
	return rx->nr < ARRAY_SIZE(rx->held) && ARRAY_SIZE(rx->iovs) - rx->iovs_end >= chain;
}

/* One more chain, or false. What cannot take a header is not a receive buffer and goes back at once. */
static bool hold_one(struct virtio_net_pair *p)
{
	struct virtio_net_rx *rx = &p->rx;

	while (make_place(rx)) {
		struct vq_chain *c = &rx->held[rx->first + rx->nr];

		c->iov = rx->iovs + rx->iovs_end;
		c->iov_max = VQ_IOVS(VIRTIO_NET_QUEUE_SIZE);
		if (!vq_pop(p->rxq, c))
			return false;
		if (c->out_len || c->in_len < p->net->header_len) {
			vq_push(p->rxq, c, 0);
			continue;
		}
		rx->nr++;
		rx->iovs_end += c->in_nr;
		rx->room += c->in_len;
		return true;
	}
	return false;
}

static void drop_held(struct virtio_net_rx *rx)
{
	rx->first = rx->nr = rx->iovs_first = rx->iovs_end = 0;
	rx->room = 0;
}

/* The oldest was used. */
static void release_one(struct virtio_net_rx *rx)
{
	struct vq_chain *c = &rx->held[rx->first];

	rx->room -= c->in_len;
	rx->iovs_first += c->in_nr + c->out_nr;
	rx->first++;
	if (!--rx->nr)
		drop_held(rx);
}

/* With MRG_RXBUF a packet has as many chains as it takes, else one. */
static bool has_room(struct virtio_net_pair *p)
{
	struct virtio_net_rx *rx = &p->rx;

	if (!p->net->mergeable)
		return rx->nr || hold_one(p);
	while (rx->room < p->net->header_len + NET_FRAME_MAX)
		if (!hold_one(p))
			break;
	if (rx->room >= p->net->header_len + NET_FRAME_MAX)
		rx->had_room = true;
	return rx->nr && (rx->room >= p->net->header_len + NET_FRAME_MAX || !rx->had_room);
}

/* --- receive --- */

/* Of a packet: the two parts that were received here, and its length with the header. */
struct packet {
	uint8_t header[NET_HEADER_MAX];
	uint8_t head[HEAD_LEN];
	uint32_t len;
};

/* The iovecs of a packet: header, head, then guest memory behind these, then one byte too many. */
static unsigned int make_vec(struct virtio_net_pair *p, struct packet *pkt, uint8_t *excess)
{
	struct virtio_net_rx *rx = &p->rx;
	unsigned int header_len = p->net->header_len, skip = header_len + HEAD_LEN, nr = 2;
	unsigned int end = p->net->mergeable ? rx->iovs_end
					     : rx->iovs_first + rx->held[rx->first].in_nr;

	rx->vec[0] = (struct iovec){ pkt->header, header_len };
	rx->vec[1] = (struct iovec){ pkt->head, HEAD_LEN };
	for (unsigned int i = rx->iovs_first; i < end; i++) {
		const struct iovec *iov = &rx->iovs[i];
		size_t off = MIN(skip, iov->iov_len);

		skip -= off;
		if (off < iov->iov_len)
			rx->vec[nr++] = (struct iovec){ (uint8_t *)iov->iov_base + off,
							iov->iov_len - off };
	}
	rx->vec[nr++] = (struct iovec){ excess, 1 };
	return nr;
}

/* 5.1.4.1: what the driver's MTU allows; GSO frames are cut to size by their receiver. */
static bool is_too_long(const struct virtio_net *n, const struct packet *pkt,
			const struct header *h)
{
	uint32_t len = pkt->len - n->header_len;
	bool tagged = pkt->head[12] == 0x81 && pkt->head[13] == 0;

	if (!(atomic_load(&n->features) & VIRTIO_BIT(VIRTIO_NET_F_MTU)) || h->gso_type != GSO_NONE)
		return false;
	return len > n->mtu + NET_ETH_LEN + (tagged ? NET_TAG_LEN : 0u);
}

/* Checks what came, and makes the header what the guest may see. False: it is dropped, and counted. */
static bool rx_check(struct virtio_net_pair *p, struct packet *pkt, uint64_t room)
{
	struct virtio_net *n = p->net;
	uint32_t may = atomic_load(&n->rx_offloads);
	struct header h = get_header(pkt->header);
	uint8_t valid = may & NET_CSUM ? h.flags & DATA_VALID : 0;

	if (pkt->len > room || pkt->len < n->header_len + NET_ETH_LEN ||
	    !check_header(&h, pkt->len - n->header_len, may) || is_too_long(n, pkt, &h)) {
		add(&p->rx_count.dropped, 1);
		return false;
	}
	if (!net_filter_passes(n, pkt->head, MIN(pkt->len - n->header_len, (uint32_t)HEAD_LEN))) {
		add(&p->rx_count.filtered, 1);
		return false;
	}
	h.flags |= valid;
	put_header(pkt->header, &h);
	return true;
}

/* The chains that a packet takes. */
static unsigned int chains_of(const struct virtio_net_rx *rx, uint64_t len)
{
	unsigned int nr = 0;

	for (; len; nr++)
		len -= MIN(len, rx->held[rx->first + nr].in_len);
	return nr;
}

/* Header and head to where they belong, over as many iovecs and chains as it takes. */
static void put_start(struct virtio_net_rx *rx, const uint8_t *buf, uint32_t len)
{
	for (unsigned int i = rx->first; len; i++) {
		uint32_t n = (uint32_t)vq_copy_in(&rx->held[i], 0, buf, len);

		buf += n;
		len -= n;
	}
}

/* All chains of it, with one look of the driver's: they are published by one vq_flush(). */
static void deliver(struct virtio_net_pair *p, const struct packet *pkt)
{
	struct virtio_net_rx *rx = &p->rx;
	unsigned int header_len = p->net->header_len, nr = chains_of(rx, pkt->len);
	uint8_t start[NET_HEADER_MAX + HEAD_LEN];
	uint32_t left = pkt->len;

	memcpy(start, pkt->header, header_len);
	if (header_len == NET_HEADER_MAX)
		put_le16(start + 10, (uint16_t)nr);
	memcpy(start + header_len, pkt->head, HEAD_LEN);
	put_start(rx, start, MIN(pkt->len, header_len + HEAD_LEN));
	while (nr--) {
		struct vq_chain *c = &rx->held[rx->first];
		uint32_t n = (uint32_t)MIN((uint64_t)left, c->in_len);

		vq_push(p->rxq, c, n);
		release_one(rx);
		left -= n;
	}
	add(&p->rx_count.packets, 1);
	add(&p->rx_count.bytes, pkt->len - header_len);
}

/* No frames for a while: until the timer, or a kick. */
static void pause_rx(struct virtio_net_pair *p, uint64_t ns)
{
	watch(p, 0, NET_READABLE);
	/* Kicks do not put it off. */
	if (!p->rx.paused)
		loop_timer_set(p->port->loop, &p->rx.timer, util_now_ns() + ns);
	p->rx.paused = true;
}

static void resume_rx(struct virtio_net_pair *p)
{
	if (p->rx.paused)
		loop_timer_cancel(p->port->loop, &p->rx.timer);
	p->rx.paused = false;
}

/* One packet. Positive: go on; 0: there is none; negative: the backend's error. */
static int receive(struct virtio_net_pair *p)
{
	struct virtio_net_rx *rx = &p->rx;
	uint64_t room = p->net->mergeable ? rx->room : rx->held[rx->first].in_len;
	struct packet pkt = { .len = 0 };
	uint8_t excess;
	unsigned int nr = make_vec(p, &pkt, &excess);
	ssize_t len = p->port->be->ops->recv(p->port, rx->vec, nr);

	if (len < 0)
		return len == -EAGAIN ? 0 : (int)len;
	pkt.len = (uint32_t)len;
	if (rx_check(p, &pkt, room))
		deliver(p, &pkt);
	return 1;
}

static void rx_error(struct virtio_net_pair *p)
{
	add(&p->rx_count.errors, 1);
	pause_rx(p, ERROR_WAIT_NS);
}

static bool is_active(const struct virtio_net_pair *p)
{
	return p->index < atomic_load(&p->net->pairs);
}

/* Nobody to give packets to: they are dropped as they come. */
static bool is_discarding(const struct virtio_net_pair *p)
{
	return !net_link_is_up(p->net) || !atomic_load(&p->rx_runs);
}

/* No packet for the ring: the port is watched for those to drop, if it has any. */
static void rest(struct virtio_net_pair *p)
{
	resume_rx(p);
	if (is_active(p))
		watch(p, NET_READABLE, 0);
	else
		watch(p, 0, NET_READABLE);
}

/*
 * Serves the ring with what the backend has. While there are buffers the backend's frames drive it and kicks
 * are off; without buffers kicks do, and the port is not watched.
 */
bool net_rx_kick(struct virtio_net_pair *p)
{
	struct virtio_net_rx *rx = &p->rx;

	vq_kicks_off(p->rxq);
	if (!is_active(p) || is_discarding(p)) {
		rest(p);
		return false;
	}
	for (unsigned int i = 0; i < BATCH; i++) {
		/* Between two packets: a fault, or the last buffer. */
		if (!has_room(p) || !vq_usable(p->rxq)) {
			watch(p, 0, NET_READABLE);
			if (rx->nr && vq_usable(p->rxq))
				pause_rx(p, ROOM_WAIT_NS);
			return true;
		}
		resume_rx(p);
		int ret = receive(p);
		if (ret < 0) {
			rx_error(p);
			return false;
		}
		if (ret == 0)
			break;
	}
	watch(p, NET_READABLE, 0);
	return false;
}

static void discard(struct virtio_net_pair *p)
{
	struct packet pkt;
	struct iovec vec[] = { { pkt.header, p->net->header_len }, { pkt.head, HEAD_LEN } };

	for (unsigned int i = 0; i < BATCH; i++) {
		ssize_t len = p->port->be->ops->recv(p->port, vec, ARRAY_SIZE(vec));

		if (len < 0 && len != -EAGAIN)
			rx_error(p);
		if (len < 0)
			return;
		add(&p->rx_count.dropped, 1);
	}
}

static void on_readable(struct net_port *port)
{
	struct virtio_net_pair *p = port->priv;

	if (!is_active(p))
		rest(p);
	else if (is_discarding(p))
		discard(p);
	else if (vq_usable(p->rxq))
		virtio_queue_serve(p->rxq);
	else
		watch(p, 0, NET_READABLE);
}

static void on_timer(struct loop_timer *t)
{
	struct virtio_net_pair *p = container_of(t, struct virtio_net_pair, rx.timer);

	p->rx.paused = false;
	/* It does not give what it used to: less must do, from now on. */
	p->rx.had_room = false;
	if (is_discarding(p))
		rest(p);
	else
		virtio_queue_serve(p->rxq);
}

static void on_sync(struct loop_post *post)
{
	struct virtio_net_pair *p = container_of(post, struct virtio_net_pair, sync);

	if (p->net->vhost)
		net_vhost_update(p);
	else if (is_active(p))
		virtio_queue_serve(p->rxq);
	else
		rest(p);
	net_ctrl_synced(p->net);
}

static void on_relook(struct loop_post *post)
{
	net_vhost_update(container_of(post, struct virtio_net_pair, relook));
}

/* The port goes on to be watched: what comes for a queue that is being reset is dropped (5.1.6.5.6.2). */
void net_rx_stopped(struct virtio_net_pair *p)
{
	struct virtio_net_rx *rx = &p->rx;

	for (unsigned int i = 0; i < rx->nr; i++)
		vq_push(p->rxq, &rx->held[rx->first + i], 0);
	drop_held(rx);
	rx->had_room = false;
	rest(p);
}

void net_pair_init(struct virtio_net_pair *p)
{
	p->port->readable = on_readable;
	p->port->writable = on_writable;
	p->tx.chain = (struct vq_chain){ .iov = p->tx.iovs + 1,
					 .iov_max = ARRAY_SIZE(p->tx.iovs) - 1 };
	vq_late_init(&p->tx.late, p->txq, p->rxq);
	p->rx.timer.fn = on_timer;
	p->sync.fn = on_sync;
	p->relook.fn = on_relook;
}

void net_pair_rest(struct virtio_net_pair *p)
{
	resume_rx(p);
	loop_post_cancel(p->port->loop, &p->sync);
	loop_post_cancel(p->port->loop, &p->relook);
	watch(p, 0, NET_READABLE | NET_WRITABLE);
}
