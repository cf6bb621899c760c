/* SPDX-License-Identifier: GPL-2.0 */
/*
 * virtio-console: the control queues (VIRTIO 1.3, 5.3.6.2).
 *
 * What is to be told is kept as a bit for each port and kind, not as a queue of messages: whatever a driver asks for, and
 * however often, takes no more memory than the bits.
 */
#include <string.h>

#include <lkvm/util.h>

#include "console-dev.h"

struct message {
	uint32_t id;
	uint16_t event, value;
};

#define MESSAGE_LEN 8

static bool is_console(const struct console_port *p)
{
	return !p->cfg->name;
}

/* --- to the driver --- */

/* Header, and what follows some of them: a name without an end, or columns and rows. Returns the length. */
static uint32_t put_message(const struct console_port *p, enum console_todo what, uint8_t *buf)
{
	static const uint16_t events[TODO_NR] = {
		[TODO_ADD] = VIRTIO_CONSOLE_DEVICE_ADD,
		[TODO_CONSOLE] = VIRTIO_CONSOLE_CONSOLE_PORT,
		[TODO_NAME] = VIRTIO_CONSOLE_PORT_NAME,
		[TODO_OPEN] = VIRTIO_CONSOLE_PORT_OPEN,
		[TODO_RESIZE] = VIRTIO_CONSOLE_RESIZE,
	};
	uint32_t size = atomic_load(&p->c->size), more = 0;

	put_le32(buf, (uint32_t)(p - p->c->ports));
	put_le16(buf + 4, events[what]);
	put_le16(buf + 6, what == TODO_OPEN ? p->host_open : 1);
	if (what == TODO_NAME) {
		more = (uint32_t)strlen(p->cfg->name);
		memcpy(buf + MESSAGE_LEN, p->cfg->name, more);
	} else if (what == TODO_RESIZE) {
		more = 4;
		/* 5.3.6.2: columns, rows. */
		put_le16(buf + MESSAGE_LEN, (uint16_t)size);
		put_le16(buf + MESSAGE_LEN + 2, (uint16_t)(size >> 16));
	}
	return MESSAGE_LEN + more;
}

/* The next message that waits: its port, or NULL. */
static struct console_port *next_message(struct virtio_console *c, enum console_todo *what)
{
	for (unsigned int i = 0; i < c->cfg->nr; i++) {
		struct console_port *p = &c->ports[i];

		for (*what = 0; *what < TODO_NR; ++*what)
			if (p->todo & (1u << *what))
				return p;
	}
	return NULL;
}

bool console_ctrl_rx(struct virtio_console *c)
{
	struct virtqueue *vq = &c->vd.vqs[CONSOLE_CTRL_RX];
	struct iovec iov[VQ_IOVS(VIRTIO_CONSOLE_QUEUE_SIZE)];
	struct vq_chain chain = { .iov = iov, .iov_max = ARRAY_SIZE(iov) };
	uint8_t buf[MESSAGE_LEN + VIRTIO_CONSOLE_NAME_MAX];
	struct console_port *p;
	enum console_todo what;

	while ((p = next_message(c, &what))) {
		if (!vq_pop(vq, &chain))
			return true;
		uint32_t len = put_message(p, what, buf);

		/* Half a message is none: the buffer goes back, and another one has room. */
		if (chain.in_len < len) {
			vq_push(vq, &chain, 0);
			continue;
		}
		vq_push(vq, &chain, (uint32_t)vq_copy_in(&chain, 0, buf, len));
		p->todo &= ~(1u << what);
		p->added |= what == TODO_ADD;
	}
	vq_kicks_off(vq);
	return false;
}

void console_tell(struct console_port *p, enum console_todo what)
{
	if (!p->c->multiport)
		return;
	p->todo |= 1u << what;
	virtio_queue_serve(&p->c->vd.vqs[CONSOLE_CTRL_RX]);
}

/* --- from the driver --- */

/* The driver is there: it learns which ports there are. */
static void device_ready(struct virtio_console *c, const struct message *m)
{
	if (m->value != 1)
		log_guest(c->vd.log, &c->vd.log_limit, "virtio console: the driver has failed");
	for (unsigned int i = 0; i < c->cfg->nr && m->value == 1; i++)
		console_tell(&c->ports[i], TODO_ADD);
}

/* It learns what is special about the port. */
static void port_ready(struct console_port *p, const struct message *m)
{
	if (m->value != 1) {
		log_guest(p->c->vd.log, &p->c->vd.log_limit,
			  "virtio console: the driver cannot use port %u",
			  (unsigned int)(p - p->c->ports));
		return;
	}
	p->guest_ready = true;
	console_tell(p, is_console(p) ? TODO_CONSOLE : TODO_NAME);
	if (is_console(p) && atomic_load(&p->c->size))
		console_tell(p, TODO_RESIZE);
	if (p->host_open)
		console_tell(p, TODO_OPEN);
}

static void port_open(struct console_port *p, const struct message *m)
{
	if (p->guest_ready && m->value <= 1)
		console_set_guest_open(p, m->value);
}

/* By event; those that a driver does not send, or that do not exist, are ignored, as is a port that does not exist. */
static void serve_message(struct virtio_console *c, const struct message *m)
{
	static void (*const of_port[])(struct console_port * p, const struct message *m) = {
		[VIRTIO_CONSOLE_PORT_READY] = port_ready,
		[VIRTIO_CONSOLE_PORT_OPEN] = port_open,
	};

	if (m->event == VIRTIO_CONSOLE_DEVICE_READY)
		device_ready(c, m);
	else if (m->event < ARRAY_SIZE(of_port) && of_port[m->event] && m->id < c->cfg->nr &&
		 c->ports[m->id].added)
		of_port[m->event](&c->ports[m->id], m);
}

bool console_ctrl_tx(struct virtio_console *c)
{
	struct virtqueue *vq = &c->vd.vqs[CONSOLE_CTRL_TX];
	struct iovec iov[VQ_IOVS(VIRTIO_CONSOLE_QUEUE_SIZE)];
	struct vq_chain chain = { .iov = iov, .iov_max = ARRAY_SIZE(iov) };
	uint8_t buf[MESSAGE_LEN];

	while (vq_pop(vq, &chain)) {
		/* What follows a message is not looked at; less than one is none. */
		bool whole = vq_copy_out(&chain, 0, buf, sizeof(buf)) == sizeof(buf);

		vq_push(vq, &chain, 0);
		if (whole)
			serve_message(c, &(struct message){ .id = get_le32(buf),
							    .event = get_le16(buf + 4),
							    .value = get_le16(buf + 6) });
	}
	return true;
}

void console_ctrl_reset(struct virtio_console *c)
{
	for (unsigned int i = 0; i < c->cfg->nr; i++) {
		struct console_port *p = &c->ports[i];

		p->todo = 0;
		p->added = p->guest_ready = false;
	}
}
