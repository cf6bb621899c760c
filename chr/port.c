/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include <lkvm/chr-fd.h>
#include <lkvm/chr-out.h>
#include <lkvm/chr-port.h>
#include <lkvm/log.h>
#include <lkvm/loop.h>
#include <lkvm/util.h>

#define OUT_LEN (1u << 20)

struct chr_port {
	struct port port;
	const char *name;
	const struct log *log;

	struct chr_out *out;  /* NULL: none */
	pthread_mutex_t lock; /* whom the writer's thread may call */
	bool attached;
	bool drained;
	int out_errno; /* once it is drained, as the next */
	uint64_t lost;
	void (*changed)(void *arg); /* NULL: nobody asks */
	void *changed_arg;

	/* Input; the loop's. */
	struct chr_fd in;
	bool in_open, in_ended;
	struct loop *loop;
	struct loop_fd watch;
};

static struct chr_port *of(struct port *port)
{
	return container_of(port, struct chr_port, port);
}

/* --- output --- */

static void tell_changed(struct chr_port *cp)
{
	if (cp->changed)
		cp->changed(cp->changed_arg);
}

/* There is room, or output has ended. */
static void on_room(void *arg)
{
	struct chr_port *cp = arg;

	pthread_mutex_lock(&cp->lock);
	if (cp->attached)
		cp->port.ready(&cp->port);
	pthread_mutex_unlock(&cp->lock);
	tell_changed(cp);
}

static ssize_t port_write(struct port *port, const uint8_t *buf, size_t len)
{
	struct chr_port *cp = of(port);

	return cp->out ? chr_out_put(cp->out, buf, len) : -EPIPE;
}

static void port_finished(struct port *port)
{
	struct chr_port *cp = of(port);

	if (cp->out)
		chr_out_close(cp->out);
	tell_changed(cp);
}

void chr_port_watch(struct port *port, void (*changed)(void *arg), void *arg)
{
	struct chr_port *cp = of(port);

	cp->changed = changed;
	cp->changed_arg = arg;
}

bool chr_port_ended(struct port *port)
{
	struct chr_port *cp = of(port);

	return !cp->out || chr_out_ended(cp->out);
}

/* --- input --- */

/* Once: the device then reads until there is nothing, and it is watched again. */
static void on_readable(struct loop_fd *lf, uint32_t events)
{
	struct chr_port *cp = container_of(lf, struct chr_port, watch);

	(void)events; /* an error or a hang-up shows in the read */
	loop_fd_del(cp->loop, lf);
	cp->port.ready(&cp->port);
}

/* Returns -EAGAIN, or 0 when it cannot be watched and so ends. */
static ssize_t watch_input(struct chr_port *cp)
{
	int ret = cp->watch.added ? 0 : loop_fd_add(cp->loop, &cp->watch);

	if (!ret)
		return -EAGAIN;
	log_warn(cp->log, "%s: its input cannot be watched (error %d)", cp->name, -ret);
	return 0;
}

static ssize_t port_read(struct port *port, uint8_t *buf, size_t len)
{
	struct chr_port *cp = of(port);

	if (!cp->in_open)
		return cp->in_ended ? 0 : -EAGAIN;
	ssize_t n = chr_fd_read(&cp->in, buf, len);
	if (n == -EAGAIN)
		return watch_input(cp);
	/* EIO is how a terminal says that it is gone. */
	if (n < 0 && n != -EIO)
		log_warn(cp->log, "%s: input ends with error %zd", cp->name, -n);
	return MAX(n, (ssize_t)0);
}

/* --- life --- */

static void port_attach(struct port *port, struct loop *loop)
{
	struct chr_port *cp = of(port);

	cp->loop = loop;
	pthread_mutex_lock(&cp->lock);
	cp->attached = true;
	pthread_mutex_unlock(&cp->lock);
}

static void port_detach(struct port *port)
{
	struct chr_port *cp = of(port);

	pthread_mutex_lock(&cp->lock);
	cp->attached = false;
	pthread_mutex_unlock(&cp->lock);
	loop_fd_del(cp->loop, &cp->watch);
}

static const struct port_ops ops = {
	.attach = port_attach,
	.detach = port_detach,
	.write = port_write,
	.read = port_read,
	.finished = port_finished,
};

struct port *chr_port_new(const char *name, int in_fd, int out_fd, const struct log *log,
			  struct err *err)
{
	struct chr_port *cp = calloc(1, sizeof(*cp));

	if (!cp) {
		err_host(err, ENOMEM, "cannot make the port %s", name);
		return NULL;
	}
	cp->port.ops = &ops;
	cp->name = name;
	cp->log = log;
	pthread_mutex_init(&cp->lock, NULL);
	if (out_fd >= 0) {
		cp->out = chr_out_new(name, out_fd, OUT_LEN, log, err);
		if (!cp->out) {
			chr_port_free(&cp->port);
			return NULL;
		}
		chr_out_watch(cp->out, on_room, cp);
	}
	cp->in_ended = in_fd == CHR_PORT_ENDED;
	if (in_fd >= 0) {
		chr_fd_init(&cp->in, in_fd, O_RDONLY);
		cp->in_open = true;
		cp->watch =
			(struct loop_fd){ .fd = cp->in.fd, .fn = on_readable, .events = EPOLLIN };
	}
	return &cp->port;
}

int chr_port_drain(struct port *port, unsigned int deadline_ms)
{
	struct chr_port *cp = of(port);
	struct chr_out_stats st;

	if (!cp->out || cp->drained)
		return cp->out_errno;
	cp->drained = true;
	chr_out_close(cp->out);
	chr_out_wait(cp->out, util_now_ns() + deadline_ms * 1000000ULL);
	chr_out_stats(cp->out, &st);
	cp->out_errno = st.errnum ?: st.dropped ? ETIMEDOUT : 0;
	cp->lost = st.dropped;
	return cp->out_errno;
}

uint64_t chr_port_lost(const struct port *port)
{
	return container_of(port, const struct chr_port, port)->lost;
}

void chr_port_free(struct port *port)
{
	if (!port)
		return;
	struct chr_port *cp = of(port);
	chr_port_drain(port, 0);
	if (cp->out)
		chr_out_free(cp->out);
	if (cp->in_open)
		chr_fd_release(&cp->in);
	pthread_mutex_destroy(&cp->lock);
	free(cp);
}
