/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The host's side of a port of a virtio console: where the guest's bytes go to and where bytes for it come from, behind
 * one table. It knows no guest memory and no queue: it is given plain memory, which it copies.
 *
 * A port is attached to one device at a time. The device calls the table on its own loop's thread, from attach() to
 * detach(), and none of the calls may block. A side that takes or has no more for now says so, and calls ready() later:
 * the guest's bytes stay in the guest until then, so nothing is lost and memory is bounded.
 *
 * Who implements one embeds struct port, sets `ops`, and outlives the device. chr-port.h has one for descriptors.
 */
#ifndef LKVM_PORT_H
#define LKVM_PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct loop;
struct port;

struct port_ops {
	/*
	 * `loop` is the one that serves the device. Nobody runs it yet, so sources may be added to it. May be NULL,
	 * and so may the next.
	 */
	void (*attach)(struct port *port, struct loop *loop);
	/* Nobody runs the loop any more: what was added to it is taken off. No ready() is called after it. */
	void (*detach)(struct port *port);
	/*
	 * Bytes of the guest: how many were taken. Fewer than `len`: ready() is called when there is room again. -errno:
	 * nothing is taken any more, and what the guest writes is lost.
	 */
	ssize_t (*write)(struct port *port, const uint8_t *buf, size_t len);
	/*
	 * Bytes for the guest, asked for while the guest has the port open: how many there are. -EAGAIN: none now, and
	 * ready() is called when there are. 0: the end: it is not asked again before the next attach(). NULL: there
	 * are never any.
	 */
	ssize_t (*read)(struct port *port, uint8_t *buf, size_t len);
	/*
	 * The guest opened or closed its end. It is told that it closed when all that it wrote before was taken. A
	 * reset closes. May be NULL.
	 */
	void (*guest)(struct port *port, bool open);
	/* After port.finish(): what the guest wrote before that call was taken. More than once; may be NULL. */
	void (*finished)(struct port *port);
};

struct port {
	const struct port_ops *ops;
	/* The device's, set while it is attached. Any thread; all return at once. */
	void (*ready)(struct port *port);
	/* Asks for port_ops.finished(). */
	void (*finish)(struct port *port);
	/* Of the console: the terminal has this size from now on. */
	void (*resize)(struct port *port, uint16_t cols, uint16_t rows);
	void *priv;
};

#endif
