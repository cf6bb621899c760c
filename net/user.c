/* SPDX-License-Identifier: GPL-2.0 */
/*
 * libslirp on the port's loop. Frames of the guest's go in as they come; sockets and timers have their turn once in
 * each turn of the loop, at its end; frames for the guest wait in a bounded queue, and while that is full, sockets are
 * not looked at, so that their peers wait too.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include <lkvm/net/user.h>
#include <lkvm/util.h>

#include "user-check.h"
#include "user-fds.h"
#include "user-lib.h"

#define NSEC_PER_MSEC 1000000u
#define MTU_DEFAULT   1500

/* The queue to the guest: one connection has up to 64 KiB under way. */
#define QUEUE_LEN    (4 * MIB)
#define QUEUE_NR_MIN 64u
#define QUEUE_NR_MAX 1024u

/* Descriptors that one network takes at most, with half of the process's limit. */
#define FDS_MAX 4096u

struct user_timer {
	struct user *u;
	struct loop_timer timer;
	SlirpTimerId id;
	void *arg; /* libslirp's */
	bool set;  /* `timer.deadline_ns` waits for a loop */
};

struct user {
	struct net_backend be;
	const struct log *log;
	struct log_limit limit;
	struct user_lib lib;
	Slirp *slirp;
	struct net_forwards forwards;
	int forward_fds[NET_FORWARDS_MAX]; /* what listens for them */

	struct loop *loop;  /* NULL: it was not served yet */
	unsigned int watch; /* enum net_watch */
	struct loop_fd lf;  /* of `fds` */
	struct loop_timer timer;
	struct loop_defer work;
	struct loop_post more; /* somebody asks for a level that is there */
	struct user_timer timers[SLIRP_TIMER_NUM];
	bool ready;      /* some of `fds` are */
	bool stalled;    /* the queue is full */
	uint64_t now_ms; /* when libslirp last looked at the clock */

	struct user_fds fds;
	unsigned int fds_max;
	int newest; /* the last that was not there before */

	/* queue[first..first + nr) modulo queue_nr, slot_len bytes each */
	uint8_t *queue;
	uint32_t *lens;
	uint32_t slot_len, queue_nr, first, nr;

	uint8_t in[NET_FRAME_MAX];
};

static struct user *user_of(const struct net_backend *be)
{
	return container_of(be, struct user, be);
}

static struct net_port *port_of(struct user *u)
{
	return &u->be.ports[0];
}

/* --- the queue to the guest --- */

static int queue_init(struct user *u, unsigned int mtu)
{
	u->slot_len = NET_ETH_LEN + mtu;
	u->queue_nr = (uint32_t)MIN(MAX(QUEUE_LEN / u->slot_len, QUEUE_NR_MIN), QUEUE_NR_MAX);
	u->queue = calloc(u->queue_nr, u->slot_len);
	u->lens = calloc(u->queue_nr, sizeof(u->lens[0]));
	return u->queue && u->lens ? 0 : -ENOMEM;
}

static ssize_t on_packet(const void *buf, size_t len, void *opaque)
{
	struct user *u = opaque;

	/* What does not fit is lost as on any network. */
	if (u->nr < u->queue_nr && len <= u->slot_len) {
		uint32_t at = (u->first + u->nr++) % u->queue_nr;

		memcpy(u->queue + (size_t)at * u->slot_len, buf, len);
		u->lens[at] = (uint32_t)len;
	}
	return (ssize_t)len;
}

static void pop(struct user *u)
{
	u->first = (u->first + 1) % u->queue_nr;
	u->nr--;
}

/* --- libslirp's callbacks --- */

static void on_guest_error(const char *msg, void *opaque)
{
	struct user *u = opaque;

	log_guest(u->log, &u->limit, "net user: the guest sent what is wrong: %s", msg ?: "");
}

static int64_t on_clock(void *opaque)
{
	(void)opaque;
	return (int64_t)util_now_ns();
}

static void *on_timer_new(SlirpTimerId id, void *arg, void *opaque)
{
	struct user *u = opaque;
	struct user_timer *t = &u->timers[id];

	t->id = id;
	t->arg = arg;
	return t;
}

static void on_timer_free(void *timer, void *opaque)
{
	struct user *u = opaque;
	struct user_timer *t = timer;

	t->set = false;
	if (u->loop)
		loop_timer_cancel(u->loop, &t->timer);
}

static void on_timer_mod(void *timer, int64_t ms, void *opaque)
{
	struct user *u = opaque;
	struct user_timer *t = timer;

	t->timer.deadline_ns = (uint64_t)ms * NSEC_PER_MSEC;
	t->set = true;
	if (u->loop)
		loop_timer_set(u->loop, &t->timer, t->timer.deadline_ns);
}

static void on_fd_changed(int fd, void *opaque)
{
	user_fds_forget(&((struct user *)opaque)->fds, fd);
}

static void on_notify(void *opaque)
{
	struct user *u = opaque;

	if (u->loop)
		loop_defer(u->loop, &u->work);
}

static const SlirpCb callbacks = {
	.send_packet = on_packet,
	.guest_error = on_guest_error,
	.clock_get_ns = on_clock,
	.timer_new_opaque = on_timer_new,
	.timer_free = on_timer_free,
	.timer_mod = on_timer_mod,
	.register_poll_fd = on_fd_changed,
	.unregister_poll_fd = on_fd_changed,
	.notify = on_notify,
};

/* --- sockets --- */

static const struct {
	int slirp;
	uint32_t epoll;
} event_bits[] = {
	{ SLIRP_POLL_IN, EPOLLIN },   { SLIRP_POLL_OUT, EPOLLOUT }, { SLIRP_POLL_PRI, EPOLLPRI },
	{ SLIRP_POLL_ERR, EPOLLERR }, { SLIRP_POLL_HUP, EPOLLHUP },
};

static bool is_crowded(const struct user *u)
{
	return u->fds.nr >= u->fds_max;
}

static bool is_forward(const struct user *u, int fd)
{
	for (unsigned int i = 0; i < u->forwards.nr; i++)
		if (u->forward_fds[i] == fd)
			return true;
	return false;
}

static int on_add_poll(int fd, int events, void *opaque)
{
	struct user *u = opaque;
	unsigned int before = u->fds.nr;
	uint32_t wanted = 0;

	for (unsigned int i = 0; i < ARRAY_SIZE(event_bits); i++)
		wanted |= events & event_bits[i].slirp ? event_bits[i].epoll : 0;
	/* Nobody new is let in. */
	if (is_crowded(u) && is_forward(u, fd))
		return fd;
	if (user_fds_want(&u->fds, fd, wanted))
		return -1;
	if (u->fds.nr > before)
		u->newest = fd;
	return fd;
}

static int on_get_revents(int fd, void *opaque)
{
	uint32_t revents = user_fds_revents(&((struct user *)opaque)->fds, fd);
	int events = 0;

	for (unsigned int i = 0; i < ARRAY_SIZE(event_bits); i++)
		events |= revents & event_bits[i].epoll ? event_bits[i].slirp : 0;
	return events;
}

/* What it waits for now, and until when. */
static uint32_t fill(struct user *u)
{
	uint32_t timeout_ms = UINT32_MAX;

	user_fds_begin(&u->fds);
	u->lib.fill(u->slirp, &timeout_ms, on_add_poll, u);
	user_fds_end(&u->fds);
	return timeout_ms;
}

/* Its sockets, its timers and its clock. */
static void poll_all(struct user *u)
{
	if (u->ready)
		user_fds_poll(&u->fds);
	u->lib.poll(u->slirp, 0, on_get_revents, u);
	if (u->ready)
		user_fds_clear(&u->fds);
	u->ready = false;
	u->now_ms = util_now_ns() / NSEC_PER_MSEC;
}

/* --- a turn --- */

static void announce(struct user *u)
{
	if ((u->watch & NET_READABLE && u->nr) || u->watch & NET_WRITABLE)
		loop_post(u->loop, &u->more);
}

static void feed(struct user *u)
{
	if (u->watch & NET_WRITABLE)
		port_of(u)->writable(port_of(u));
	if (u->watch & NET_READABLE && u->nr)
		port_of(u)->readable(port_of(u));
	announce(u);
}

static void on_more(struct loop_post *p)
{
	feed(container_of(p, struct user, more));
}

static void watch_fds(struct user *u)
{
	int ret = loop_fd_add(u->loop, &u->lf);

	if (ret && ret != -EEXIST)
		log_error(u->log, "net user: cannot be watched: %s", strerror(-ret));
}

static void on_work(struct loop_defer *d)
{
	struct user *u = container_of(d, struct user, work);

	if (u->nr > u->queue_nr / 4 * 3) {
		u->stalled = true;
		loop_fd_del(u->loop, &u->lf);
		loop_timer_cancel(u->loop, &u->timer);
	} else {
		poll_all(u);
		uint32_t timeout_ms = fill(u);
		uint64_t deadline = util_now_ns() + (uint64_t)timeout_ms * NSEC_PER_MSEC;
		/* Each round counts anew from its own time: what was due earlier stays due. */
		if (timeout_ms != UINT32_MAX &&
		    (!u->timer.armed || deadline < u->timer.deadline_ns))
			loop_timer_set(u->loop, &u->timer, deadline);
	}
	feed(u);
}

static void on_fds(struct loop_fd *lf, uint32_t events)
{
	struct user *u = container_of(lf, struct user, lf);

	(void)events;
	u->ready = true;
	loop_defer(u->loop, &u->work);
}

static void on_timer(struct loop_timer *t)
{
	struct user *u = container_of(t, struct user, timer);

	loop_defer(u->loop, &u->work);
}

static void on_slirp_timer(struct loop_timer *timer)
{
	struct user_timer *t = container_of(timer, struct user_timer, timer);

	t->u->lib.handle_timer(t->u->slirp, t->id, t->arg);
	loop_defer(t->u->loop, &t->u->work);
}

static void start(struct user *u)
{
	if (u->loop)
		return;
	u->loop = port_of(u)->loop;
	for (unsigned int i = 0; i < ARRAY_SIZE(u->timers); i++)
		if (u->timers[i].set)
			loop_timer_set(u->loop, &u->timers[i].timer,
				       u->timers[i].timer.deadline_ns);
	watch_fds(u);
	loop_defer(u->loop, &u->work);
}

/* --- the table --- */

static void user_info(const struct net_backend *be, struct net_info *info)
{
	(void)be;
	*info = (struct net_info){ .ports_max = 1, .carrier = true };
}

static void user_port_watch(struct net_port *port, unsigned int watch)
{
	struct user *u = user_of(port->be);

	u->watch = watch;
	if (!watch && !u->loop)
		return;
	start(u);
	announce(u);
}

static int user_send(struct net_port *port, const struct iovec *iov, unsigned int nr)
{
	struct user *u = user_of(port->be);
	size_t len = 0;

	start(u);
	for (unsigned int i = 1; i < nr; i++) {
		if (!range_ok(len, iov[i].iov_len, sizeof(u->in)))
			return -EMSGSIZE;
		memcpy(u->in + len, iov[i].iov_base, iov[i].iov_len);
		len += iov[i].iov_len;
	}
	enum user_verdict verdict = user_check_frame(u->in, len);
	if (verdict == USER_FRAME_BAD)
		return -EINVAL;
	if (verdict == USER_FRAME_MAY_CONNECT && is_crowded(u)) {
		log_guest(
			u->log, &u->limit,
			"net user: the guest has %u connections, which is the limit; see ulimit -n",
			u->fds.nr);
		return -EMFILE;
	}
	/* What a frame starts is timed by its clock, which stands still while there is nothing to do. */
	if (u->now_ms != util_now_ns() / NSEC_PER_MSEC)
		poll_all(u);
	u->lib.input(u->slirp, u->in, (int)len);
	loop_defer(u->loop, &u->work);
	return 0;
}

static ssize_t user_recv(struct net_port *port, const struct iovec *iov, unsigned int nr)
{
	struct user *u = user_of(port->be);
	const uint8_t *from = u->queue + (size_t)u->first * u->slot_len;
	size_t done = 0;

	if (!u->nr)
		return -EAGAIN;
	memset(iov[0].iov_base, 0, iov[0].iov_len);
	for (unsigned int i = 1; i < nr && done < u->lens[u->first]; i++) {
		size_t n = MIN(iov[i].iov_len, u->lens[u->first] - done);

		memcpy(iov[i].iov_base, from + done, n);
		done += n;
	}
	pop(u);
	if (u->stalled && u->nr <= u->queue_nr / 2) {
		u->stalled = false;
		watch_fds(u);
		loop_defer(u->loop, &u->work);
	}
	return (ssize_t)(iov[0].iov_len + done);
}

static void user_close(struct net_backend *be)
{
	struct user *u = user_of(be);

	if (u->loop) {
		loop_fd_del(u->loop, &u->lf);
		loop_timer_cancel(u->loop, &u->timer);
		loop_defer_cancel(u->loop, &u->work);
		loop_post_cancel(u->loop, &u->more);
	}
	if (u->slirp)
		u->lib.cleanup(u->slirp);
	user_fds_release(&u->fds);
	if (u->lib.handle)
		user_lib_close(&u->lib);
	free(u->queue);
	free(u->lens);
	free(u);
}

static const struct net_backend_ops user_ops = {
	.name = "user",
	.info = user_info,
	.port_watch = user_port_watch,
	.send = user_send,
	.recv = user_recv,
	.close = user_close,
};

/* --- opening --- */

static in_addr_t host_of(uint8_t last)
{
	return htonl(10U << 24 | 2U << 8 | last);
}

static struct in6_addr host6_of(uint8_t last)
{
	struct in6_addr a = { .s6_addr = { 0xfe, 0xc0 } };

	a.s6_addr[15] = last;
	return a;
}

static int make_slirp(struct user *u, const struct net_user_opts *o, struct err *err)
{
	const SlirpConfig cfg = {
		.version = 4,
		.restricted = o->restricted,
		.in_enabled = true,
		.vnetwork.s_addr = host_of(0),
		.vnetmask.s_addr = htonl(0xffffff00),
		.vhost.s_addr = host_of(2),
		.in6_enabled = true,
		.vprefix_addr6 = host6_of(0),
		.vprefix_len = 64,
		.vhost6 = host6_of(2),
		.vdhcp_start.s_addr = host_of(15),
		.vnameserver.s_addr = host_of(3),
		.vnameserver6 = host6_of(3),
		.if_mtu = o->mtu ?: MTU_DEFAULT,
		.if_mru = o->mtu ?: MTU_DEFAULT,
	};

	u->slirp = u->lib.new(&cfg, &callbacks, u);
	return u->slirp ? 0 : err_host(err, 0, "libslirp cannot make a network");
}

/* libslirp lets UDP ports be shared, which would hide that one is taken. */
static int try_udp(const union net_addr *a)
{
	int fd = socket(a->sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0), ret = 0;

	if (fd < 0)
		return -errno;
	if (bind(fd, &a->sa, net_addr_len(a)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

static int explain(const struct net_forward *f, int errnum, struct err *err)
{
	char addr[INET6_ADDRSTRLEN];
	unsigned int port = net_addr_port(&f->host);

	net_addr_text(&f->host, addr, sizeof(addr));
	switch (errnum) {
	case EADDRINUSE:
		return err_host(err, 0,
				"hostfwd: %s port %u of %s is taken: choose another, or 0 for any "
				"that is free",
				f->udp ? "udp" : "tcp", port, addr);
	case EACCES:
		return err_host(
			err, errnum,
			"hostfwd: port %u of %s needs CAP_NET_BIND_SERVICE: choose one from "
			"1024 up",
			port, addr);
	case EADDRNOTAVAIL:
		return err_usage(err, "hostfwd: %s is no address of this host", addr);
	}
	return err_host(err, errnum, "hostfwd: cannot listen at port %u of %s", port, addr);
}

static int open_forward(struct user *u, struct net_forward *f, struct err *err)
{
	int flags = (f->udp ? SLIRP_HOSTFWD_UDP : 0) | SLIRP_HOSTFWD_V6ONLY;
	int ret = f->udp ? try_udp(&f->host) : 0;
	socklen_t len = sizeof(f->host);
	char text[NET_FORWARD_TEXT_LEN];

	u->newest = -1;
	if (!ret && u->lib.add_hostfwd(u->slirp, &f->host.sa, net_addr_len(&f->host), &f->guest.sa,
				       net_addr_len(&f->guest), flags) < 0)
		ret = -errno;
	if (ret)
		return explain(f, -ret, err);
	/* The one that it waits for since now. */
	fill(u);
	if (u->newest < 0 || getsockname(u->newest, &f->host.sa, &len) < 0)
		return err_internal(err, "hostfwd: libslirp does not tell what it listens at");
	u->forward_fds[u->forwards.nr] = u->newest;
	net_forward_text(f, text, sizeof(text));
	log_notice(u->log, "network: %s", text);
	return 0;
}

static int open_forwards(struct user *u, const char *hostfwd, struct err *err)
{
	struct net_forwards asked;
	int ret = net_forwards_parse(&asked, hostfwd, err);

	for (unsigned int i = 0; !ret && i < asked.nr; i++) {
		ret = open_forward(u, &asked.list[i], err);
		if (!ret)
			u->forwards.list[u->forwards.nr++] = asked.list[i];
	}
	return ret;
}

static int open_one(struct user *u, const struct net_user_opts *o, struct err *err)
{
	struct rlimit files = { .rlim_cur = FDS_MAX };

	if (o->mtu > NET_USER_MTU_MAX)
		return err_usage(err, "mtu=%u: at most %u here", o->mtu, NET_USER_MTU_MAX);
	getrlimit(RLIMIT_NOFILE, &files);
	u->fds_max = (unsigned int)MIN(files.rlim_cur / 2, (rlim_t)FDS_MAX);
	int ret = user_fds_init(&u->fds);
	if (ret)
		return err_host(err, -ret, "cannot make an event loop");
	if (queue_init(u, o->mtu ?: MTU_DEFAULT))
		return err_host(err, ENOMEM, "no memory for a network");
	u->lf = (struct loop_fd){ .fd = u->fds.epoll_fd, .fn = on_fds, .events = EPOLLIN };
	ret = user_lib_open(&u->lib, o->library, u->log, err);
	if (!ret)
		ret = make_slirp(u, o, err);
	if (!ret)
		ret = open_forwards(u, o->hostfwd, err);
	if (!ret)
		fill(u);
	return ret;
}

int net_user_open(struct net_backend **be, const struct net_user_opts *o, const struct log *log,
		  struct err *err)
{
	struct user *u = calloc(1, sizeof(*u));

	if (!u)
		return err_host(err, ENOMEM, "no memory for a network");
	u->be.ops = &user_ops;
	u->be.ports[0].be = &u->be;
	u->be.forwards = &u->forwards;
	u->log = log;
	u->timer.fn = on_timer;
	u->work.fn = on_work;
	u->more.fn = on_more;
	u->fds.epoll_fd = -1;
	for (unsigned int i = 0; i < ARRAY_SIZE(u->timers); i++) {
		u->timers[i].u = u;
		u->timers[i].timer.fn = on_slirp_timer;
	}
	int ret = open_one(u, o, err);
	if (ret) {
		user_close(&u->be);
		return ret;
	}
	*be = &u->be;
	return 0;
}
