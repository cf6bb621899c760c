/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <lkvm/chr-port.h>
#include <lkvm/chr.h>
#include <lkvm/util.h>

/* What was typed is on its way from the console's loop to the device's. */
struct console_port {
	struct port port;
	struct chr *chr;
	pthread_mutex_t lock;
	bool attached;
	size_t len;
	uint8_t buf[CHR_IN_LEN];
};

static ssize_t port_write(struct port *port, const uint8_t *buf, size_t len)
{
	struct console_port *cp = container_of(port, struct console_port, port);

	chr_write(cp->chr, buf, len);
	return (ssize_t)len;
}

static ssize_t port_read(struct port *port, uint8_t *buf, size_t len)
{
	struct console_port *cp = container_of(port, struct console_port, port);

	pthread_mutex_lock(&cp->lock);
	size_t n = MIN(len, cp->len);
	memcpy(buf, cp->buf, n);
	cp->len -= n;
	memmove(cp->buf, cp->buf + n, cp->len);
	pthread_mutex_unlock(&cp->lock);
	if (!n)
		return -EAGAIN;
	chr_input_ready(cp->chr);
	return (ssize_t)n;
}

/* --- the console's side, on its loop --- */

static size_t room(void *arg)
{
	struct console_port *cp = arg;

	pthread_mutex_lock(&cp->lock);
	size_t n = sizeof(cp->buf) - cp->len;
	pthread_mutex_unlock(&cp->lock);
	return n;
}

static void input(void *arg, const uint8_t *buf, size_t len)
{
	struct console_port *cp = arg;

	pthread_mutex_lock(&cp->lock);
	memcpy(cp->buf + cp->len, buf, len);
	cp->len += len;
	if (cp->attached)
		cp->port.ready(&cp->port);
	pthread_mutex_unlock(&cp->lock);
}

/* --- life --- */

static void set_attached(struct port *port, bool on)
{
	struct console_port *cp = container_of(port, struct console_port, port);

	pthread_mutex_lock(&cp->lock);
	cp->attached = on;
	pthread_mutex_unlock(&cp->lock);
}

static void port_attach(struct port *port, struct loop *loop)
{
	(void)loop;
	set_attached(port, true);
}

static void port_detach(struct port *port)
{
	set_attached(port, false);
}

static const struct port_ops ops = {
	.attach = port_attach,
	.detach = port_detach,
	.write = port_write,
	.read = port_read,
};

struct port *chr_console_port_new(struct chr *chr, struct err *err)
{
	struct console_port *cp = calloc(1, sizeof(*cp));

	if (!cp) {
		err_host(err, ENOMEM, "cannot make the console's port");
		return NULL;
	}
	cp->port.ops = &ops;
	cp->chr = chr;
	pthread_mutex_init(&cp->lock, NULL);
	chr_set_frontend(chr, &(struct chr_frontend){ .room = room, .input = input, .arg = cp });
	return &cp->port;
}

void chr_console_port_free(struct port *port)
{
	if (!port)
		return;
	struct console_port *cp = container_of(port, struct console_port, port);
	chr_set_frontend(cp->chr, &(struct chr_frontend){ 0 });
	pthread_mutex_destroy(&cp->lock);
	free(cp);
}
