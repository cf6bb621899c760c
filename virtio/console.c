/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <lkvm/util.h>

#include "console-dev.h"

/* Copied at a time, on the stack. */
#define SLICE 16384u
/* Bytes of the guest in one turn of the loop: one chain may have 4 GiB. */
#define TURN_MAX (1u << 20)

struct virtio_console *console_of(struct virtio_device *vd)
{
	return vd->priv;
}

const struct virtio_console_cfg *virtio_console_cfg_of(struct virtio_device *vd)
{
	return console_of(vd)->cfg;
}

static const struct port_ops *ops_of(const struct console_port *p)
{
	return p->cfg->port->ops;
}

/* --- configuration space (5.3.4) --- */

static void console_config_read(struct virtio_device *vd, uint32_t off, void *buf, uint32_t len)
{
	struct virtio_console *c = console_of(vd);
	uint32_t size = atomic_load(&c->size);
	uint8_t config[VIRTIO_CONSOLE_CONFIG_LEN];

	put_le16(config, (uint16_t)size);
	put_le16(config + 2, (uint16_t)(size >> 16));
	put_le32(config + 4, c->cfg->nr);
	memcpy(buf, config + off, len);
}

/* --- from the guest --- */

/* Tells the host's side what the guest's last word is. */
static void tell_guest(struct console_port *p)
{
	if (p->told_open == p->guest_open)
		return;
	p->told_open = p->guest_open;
	if (ops_of(p)->guest)
		ops_of(p)->guest(p->cfg->port, p->told_open);
}

/* Gives what is left of the chain to the host. False: it is full, or it is enough for now; the chain is held. */
static bool tx_chain(struct console_port *p, uint64_t *turn)
{
	uint8_t slice[SLICE];

	while (p->tx_off < p->tx.out_len) {
		if (*turn >= TURN_MAX) {
			loop_post(p->txq->loop, &p->ready);
			return false;
		}
		size_t n = vq_copy_out(&p->tx, p->tx_off, slice, sizeof(slice));
		ssize_t taken = ops_of(p)->write(p->cfg->port, slice, n);

		/* A host that takes nothing any more does not stop the guest: its bytes are lost. */
		if (taken < 0)
			return true;
		p->tx_off += MIN((size_t)taken, n);
		*turn += n;
		if ((size_t)taken < n)
			return false;
	}
	return true;
}

static void tell_finished(struct console_port *p)
{
	if (ops_of(p)->finished)
		ops_of(p)->finished(p->cfg->port);
}

static bool port_tx(struct console_port *p)
{
	/* Before the look at the ring: what is in it by then is what counts. */
	bool finishing = atomic_load(&p->finishing);
	uint64_t turn = 0;

	/* Without bus mastering memory is not read either; then this is called again. */
	if (!vq_usable(p->txq))
		return false;
	p->tx_empty = false;
	vq_kicks_off(p->txq);
	while (p->held || vq_pop(p->txq, &p->tx)) {
		if (!p->held)
			p->tx_off = 0;
		p->held = !tx_chain(p, &turn);
		if (p->held)
			return false;
		vq_push(p->txq, &p->tx, 0);
	}
	/* With the turn's budget used up there may be more. */
	p->tx_empty = p->txq->budget;
	if (p->tx_empty)
		tell_guest(p);
	if (p->tx_empty && finishing)
		tell_finished(p);
	return true;
}

static void tx_stopped(struct console_port *p)
{
	if (p->held)
		vq_push(p->txq, &p->tx, 0);
	p->held = false;
}

/* --- to the guest --- */

/* The host has no more. What it had is in the guest's ring, and published, before this is told. */
static void end_input(struct console_port *p)
{
	p->host_open = false;
	/* A console goes on to print. */
	if (!p->cfg->name)
		return;
	vq_flush(p->rxq);
	console_tell(p, TODO_OPEN);
}

/* Reads ahead. False: there is nothing now. */
static bool rx_fill(struct console_port *p)
{
	if (p->rx_off < p->rx_len)
		return true;
	if (!p->guest_open || !p->host_open || !ops_of(p)->read)
		return false;
	ssize_t n = ops_of(p)->read(p->cfg->port, p->rx, sizeof(p->rx));
	if (n == -EAGAIN)
		return false;
	if (n <= 0) {
		end_input(p);
		return false;
	}
	p->rx_off = 0;
	p->rx_len = MIN((size_t)n, sizeof(p->rx));
	return true;
}

static bool port_rx(struct console_port *p)
{
	struct iovec iov[VQ_IOVS(VIRTIO_CONSOLE_QUEUE_SIZE)];
	struct vq_chain chain = { .iov = iov, .iov_max = ARRAY_SIZE(iov) };

	/* Bytes first: a buffer is taken only when it can be filled, so none is in hand when a reset comes. */
	while (p->guest_open && rx_fill(p)) {
		if (!vq_pop(p->rxq, &chain))
			return true;
		uint64_t n = vq_copy_in(&chain, 0, p->rx + p->rx_off, p->rx_len - p->rx_off);

		p->rx_off += n;
		vq_push(p->rxq, &chain, (uint32_t)n);
	}
	vq_kicks_off(p->rxq);
	return false;
}

/* --- both --- */

void console_set_guest_open(struct console_port *p, bool open)
{
	p->guest_open = open;
	/* Opened: at once. Closed: what was written before goes first. */
	if (open)
		tell_guest(p);
	virtio_queue_serve(p->txq);
	virtio_queue_serve(p->rxq);
}

static void on_ready(struct loop_post *post)
{
	struct console_port *p = container_of(post, struct console_port, ready);

	virtio_queue_serve(p->txq);
	virtio_queue_serve(p->rxq);
	/* A driver that never was, or is gone, writes nothing. */
	if (atomic_load(&p->finishing) && !vq_usable(p->txq))
		tell_finished(p);
}

static void port_ready(struct port *port)
{
	struct console_port *p = port->priv;

	loop_post(p->txq->loop, &p->ready);
}

static void port_finish(struct port *port)
{
	struct console_port *p = port->priv;

	atomic_store(&p->finishing, true);
	port_ready(port);
}

static void on_resized(struct loop_post *post)
{
	struct virtio_console *c = container_of(post, struct virtio_console, resized);

	if (c->ports[0].guest_ready)
		console_tell(&c->ports[0], TODO_RESIZE);
}

static void port_resize(struct port *port, uint16_t cols, uint16_t rows)
{
	struct console_port *p = port->priv;
	struct virtio_console *c = p->c;
	uint32_t size = cols | (uint32_t)rows << 16;

	if (p->cfg->name || !(c->vd.features & VIRTIO_BIT(VIRTIO_CONSOLE_F_SIZE)) ||
	    atomic_exchange(&c->size, size) == size)
		return;
	virtio_config_changed(&c->vd);
	loop_post(c->vd.vqs[0].loop, &c->resized);
}

/* --- the device --- */

static struct console_port *port_of_queue(struct virtio_console *c, uint16_t queue)
{
	return &c->ports[queue < CONSOLE_CTRL_RX ? 0 : queue / 2 - 1];
}

static bool is_ctrl(uint16_t queue)
{
	return queue == CONSOLE_CTRL_RX || queue == CONSOLE_CTRL_TX;
}

static bool console_kick(struct virtio_device *vd, struct virtqueue *vq)
{
	struct virtio_console *c = console_of(vd);

	/* Without MULTIPORT there are two queues, whatever else was enabled. */
	if (vq->index >= CONSOLE_CTRL_RX && !c->multiport)
		return false;
	if (vq->index == CONSOLE_CTRL_RX)
		return console_ctrl_rx(c);
	if (vq->index == CONSOLE_CTRL_TX)
		return console_ctrl_tx(c);
	struct console_port *p = port_of_queue(c, vq->index);

	return vq == p->rxq ? port_rx(p) : port_tx(p);
}

static void console_queue_state(struct virtio_device *vd, struct virtqueue *vq, bool on)
{
	struct virtio_console *c = console_of(vd);

	if (on || is_ctrl(vq->index) || vq->index % 2 == 0)
		return;
	struct console_port *p = port_of_queue(c, vq->index);

	tx_stopped(p);
	/* Who waits for the end of what it wrote has it now. */
	if (atomic_load(&p->finishing))
		loop_post(vq->loop, &p->ready);
}

static bool console_has_queue(const struct virtio_device *vd, uint16_t n)
{
	return n < CONSOLE_CTRL_RX || virtio_has(vd, VIRTIO_CONSOLE_F_MULTIPORT);
}

/* On the owner's thread: a driver begins. Without MULTIPORT its console is open from the start. */
static void begin_on_owner(void *arg)
{
	struct virtio_console *c = arg;

	c->multiport = virtio_has(&c->vd, VIRTIO_CONSOLE_F_MULTIPORT);
	c->ports[0].guest_open = !c->multiport;
	tell_guest(&c->ports[0]);
}

static int console_start(struct virtio_device *vd, uint64_t features)
{
	(void)features;
	loop_call(vd->vqs[0].loop, begin_on_owner, console_of(vd));
	return 0;
}

static void end_on_owner(void *arg)
{
	struct virtio_console *c = arg;

	console_ctrl_reset(c);
	for (unsigned int i = 0; i < c->cfg->nr; i++) {
		c->ports[i].guest_open = false;
		tell_guest(&c->ports[i]);
	}
}

static void console_stop(struct virtio_device *vd)
{
	loop_call(vd->vqs[0].loop, end_on_owner, console_of(vd));
}

static const struct virtio_device_ops console_ops = {
	.name = "console",
	.device_id = VIRTIO_CONSOLE_ID,
	.legacy_id = VIRTIO_CONSOLE_LEGACY_ID,
	.pci_class = 0x078000, /* communication controller, other */
	.config_read = console_config_read,
	.start = console_start,
	.stop = console_stop,
	.kick = console_kick,
	.queue_state = console_queue_state,
	.has_queue = console_has_queue,
};

/* --- making one --- */

static void attach_port(struct virtio_console *c, unsigned int i, struct loop *loop)
{
	struct console_port *p = &c->ports[i];
	struct port *port = c->cfg->ports[i].port;

	p->c = c;
	p->cfg = &c->cfg->ports[i];
	p->rxq = &c->vd.vqs[CONSOLE_PORT_QUEUE(i)];
	p->txq = p->rxq + 1;
	p->ready.fn = on_ready;
	p->host_open = true;
	p->tx = (struct vq_chain){ .iov = p->tx_iovs, .iov_max = ARRAY_SIZE(p->tx_iovs) };
	port->priv = p;
	port->ready = port_ready;
	port->resize = port_resize;
	port->finish = port_finish;
	if (port->ops->attach)
		port->ops->attach(port, loop);
}

static int console_make(struct virtio_device **out, const void *opts,
			const struct virtio_host *host, struct err *err)
{
	const struct virtio_console_cfg *cfg = opts;
	struct virtio_console *c = calloc(1, sizeof(*c) + cfg->nr * sizeof(c->ports[0]));
	struct loop *loop = host->loops[0];

	if (!c)
		return err_host(err, ENOMEM, "virtio console");
	c->cfg = cfg;
	c->size = cfg->cols | (uint32_t)cfg->rows << 16;
	c->resized.fn = on_resized;
	virtio_device_init(&c->vd, &console_ops, host->gm, host->log, c);
	c->vd.config_len = VIRTIO_CONSOLE_CONFIG_LEN;
	if (c->size && !cfg->ports[0].name)
		c->vd.features |= VIRTIO_BIT(VIRTIO_CONSOLE_F_SIZE);
	/* Also for a console alone: by PORT_OPEN it tells from when on it keeps what it gets; Linux discards what is earlier. */
	c->vd.features |= VIRTIO_BIT(VIRTIO_CONSOLE_F_MULTIPORT);
	/* Never too many: see VIRTIO_CONSOLE_PORTS_MAX. */
	for (unsigned int i = 0; i < 2 * cfg->nr + 2; i++)
		BUG_ON(virtio_add_queue(&c->vd, VIRTIO_CONSOLE_QUEUE_SIZE, loop));
	for (unsigned int i = 0; i < cfg->nr; i++)
		attach_port(c, i, loop);
	*out = &c->vd;
	return 0;
}

static void console_destroy(struct virtio_device *vd)
{
	struct virtio_console *c = console_of(vd);
	struct loop *loop = vd->vqs[0].loop;

	for (unsigned int i = 0; i < c->cfg->nr; i++) {
		struct port *port = c->cfg->ports[i].port;

		if (port->ops->detach)
			port->ops->detach(port);
		loop_post_cancel(loop, &c->ports[i].ready);
		port->ready = NULL;
		port->resize = NULL;
		port->finish = NULL;
	}
	loop_post_cancel(loop, &c->resized);
	virtio_device_release(vd);
	free(c);
}

/* --- the end of the guest --- */

#define DRAIN_POLL_NS 1000000

struct drain_call {
	struct virtio_console *c;
	bool done;
};

static void drain_on_owner(void *arg)
{
	struct drain_call *d = arg;

	d->done = true;
	for (unsigned int i = 0; i < d->c->cfg->nr; i++) {
		struct console_port *p = &d->c->ports[i];

		virtio_queue_serve(p->txq);
		d->done &= !vq_usable(p->txq) || p->tx_empty;
	}
}

/* A process in Linux has written when its bytes are in the ring: they count, also when the guest powers off next. */
static void console_drain(struct virtio_device *vd, uint64_t deadline_ns)
{
	static const struct timespec pause = { .tv_nsec = DRAIN_POLL_NS };
	struct drain_call d = { .c = console_of(vd) };

	for (;;) {
		loop_call(vd->vqs[0].loop, drain_on_owner, &d);
		if (d.done || util_now_ns() >= deadline_ns)
			return;
		nanosleep(&pause, NULL);
	}
}

const struct virtio_type virtio_console_type = {
	.option = "console",
	.opts_len = sizeof(struct virtio_console_cfg),
	.make = console_make,
	.drain = console_drain,
	.destroy = console_destroy,
};
