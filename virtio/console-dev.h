/* SPDX-License-Identifier: GPL-2.0 */
/* virtio-console inside: its state, all of it of the owner's thread but where it says so. */
#ifndef VIRTIO_CONSOLE_DEV_H
#define VIRTIO_CONSOLE_DEV_H

#include <stdatomic.h>

#include <lkvm/virtio/console.h>

/* The first queue of a port; the next one is the other direction. Those of control are between ports 0 and 1 (5.3.2). */
#define CONSOLE_CTRL_RX       2
#define CONSOLE_CTRL_TX       3
#define CONSOLE_PORT_QUEUE(i) ((i) ? 2 + 2 * (i) : 0)

/* Messages that a port has for the driver, in the order in which they go. A newer one replaces one that waits. */
enum console_todo {
	TODO_ADD,
	TODO_CONSOLE,
	TODO_NAME,
	TODO_OPEN, /* or closed: as `host_open` says when it is sent */
	TODO_RESIZE,
	TODO_NR,
};

struct console_port {
	struct virtio_console *c;
	const struct virtio_console_port *cfg;
	struct virtqueue *rxq, *txq;
	struct loop_post ready; /* any thread */
	_Atomic bool finishing; /* port.finish() was called; any thread */

	unsigned int todo; /* a bit for each enum console_todo */
	bool added;        /* the driver was told of it */
	bool guest_ready;  /* PORT_READY 1 came */
	bool guest_open;
	bool told_open; /* what port_ops.guest() was told last */
	bool host_open; /* until the end of input */

	/* From the host: read and not delivered yet. */
	size_t rx_off, rx_len;
	uint8_t rx[PORT_BUF_LEN];

	/* From the guest: a chain that was taken in part. */
	bool held;
	bool tx_empty; /* all that was there at the last look was taken */
	uint64_t tx_off;
	struct vq_chain tx;
	struct iovec tx_iovs[VQ_IOVS(VIRTIO_CONSOLE_QUEUE_SIZE)];
};

struct virtio_console {
	struct virtio_device vd;
	const struct virtio_console_cfg *cfg;
	bool multiport;        /* negotiated */
	_Atomic uint32_t size; /* of the terminal: columns, and rows << 16 */
	struct loop_post resized;
	struct console_port ports[];
};

struct virtio_console *console_of(struct virtio_device *vd);

/* console-ctrl.c */

/* The driver's messages. */
bool console_ctrl_tx(struct virtio_console *c);
/* Sends what the ports have for the driver, as far as it has buffers. */
bool console_ctrl_rx(struct virtio_console *c);
/* Notes a message, and sends it when it can be. */
void console_tell(struct console_port *p, enum console_todo what);
/* A new driver knows nothing. */
void console_ctrl_reset(struct virtio_console *c);

/* console.c */

void console_set_guest_open(struct console_port *p, bool open);

#endif
