/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <lkvm/net/tap.h>
#include <lkvm/util.h>

#include "script.h"

/* Linux 6.2; older headers lack them, and kernels refuse them. */
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

#define TUN_DEV "/dev/net/tun"

struct tap_port {
	struct net_port *port;
	struct loop_fd lf;
	unsigned int watch; /* enum net_watch */
	bool attached;
};

struct tap {
	struct net_backend be;
	const struct log *log;
	unsigned int ports_nr;
	uint32_t offloads; /* that the kernel has */
	char name[IFNAMSIZ];
	char *downscript;
	struct tap_port ports[NET_PORTS_MAX];
};

static struct tap *tap_of(const struct net_backend *be)
{
	return container_of(be, struct tap, be);
}

static struct tap_port *port_of(struct net_port *port)
{
	return &tap_of(port->be)->ports[port->index];
}

/* --- offloads --- */

static const struct {
	uint32_t offload;
	unsigned int flags;
} offload_flags[] = {
	{ NET_CSUM, TUN_F_CSUM },
	{ NET_TSO4, TUN_F_TSO4 },
	{ NET_TSO6, TUN_F_TSO6 },
	{ NET_ECN, TUN_F_TSO_ECN },
	{ NET_UFO, TUN_F_UFO },
	/* The kernel takes both or none. */
	{ NET_USO, TUN_F_USO4 | TUN_F_USO6 },
};

static int tap_set_offloads(struct net_backend *be, uint32_t offloads)
{
	unsigned int flags = 0;

	for (unsigned int i = 0; i < ARRAY_SIZE(offload_flags); i++)
		if (offloads & offload_flags[i].offload)
			flags |= offload_flags[i].flags;
	/* Of the interface, so one queue is enough, and the first is always attached. */
	return ioctl(tap_of(be)->ports[0].lf.fd, TUNSETOFFLOAD, flags) < 0 ? -errno : 0;
}

/* What this kernel has, by asking. Leaves none of them on. */
static void probe_offloads(struct tap *t)
{
	static const uint32_t sets[] = {
		NET_CSUM | NET_TSO4 | NET_TSO6 | NET_ECN | NET_UFO | NET_USO,
		NET_CSUM | NET_TSO4 | NET_TSO6 | NET_ECN | NET_UFO,
		NET_CSUM | NET_TSO4 | NET_TSO6 | NET_ECN,
		NET_CSUM,
	};

	for (unsigned int i = 0; !t->offloads && i < ARRAY_SIZE(sets); i++)
		if (tap_set_offloads(&t->be, sets[i]) == 0)
			t->offloads = sets[i];
	tap_set_offloads(&t->be, 0);
}

/* --- the table --- */

static void tap_info(const struct net_backend *be, struct net_info *info)
{
	struct tap *t = tap_of(be);

	*info = (struct net_info){ .tx_offloads = t->offloads,
				   .rx_offloads = t->offloads,
				   .ports_max = t->ports_nr,
				   .carrier = true };
}

static int tap_set_header(struct net_backend *be, unsigned int len)
{
	int fd = tap_of(be)->ports[0].lf.fd, size = (int)len, one = 1;

	/* Fields are the guest's, which is little-endian whatever the host is. */
	if (ioctl(fd, TUNSETVNETHDRSZ, &size) < 0 || ioctl(fd, TUNSETVNETLE, &one) < 0)
		return -errno;
	return 0;
}

static int attach(struct tap_port *p, bool on)
{
	struct ifreq ifr = { .ifr_flags = on ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE };

	if (p->attached != on && ioctl(p->lf.fd, TUNSETQUEUE, &ifr) < 0)
		return -errno;
	p->attached = on;
	return 0;
}

static int tap_set_ports(struct net_backend *be, unsigned int nr)
{
	struct tap *t = tap_of(be);
	int ret = 0;

	for (unsigned int i = 1; !ret && i < t->ports_nr; i++)
		ret = attach(&t->ports[i], i < nr);
	return ret;
}

static void on_event(struct loop_fd *lf, uint32_t events)
{
	struct tap_port *p = container_of(lf, struct tap_port, lf);
	uint32_t error = events & (EPOLLERR | EPOLLHUP);

	if ((p->watch & NET_READABLE) && (events & EPOLLIN || error))
		p->port->readable(p->port);
	if ((p->watch & NET_WRITABLE) && (events & EPOLLOUT || error))
		p->port->writable(p->port);
}

static void tap_port_watch(struct net_port *port, unsigned int watch)
{
	struct tap_port *p = port_of(port);
	uint32_t events = (watch & NET_READABLE ? EPOLLIN : 0) |
			  (watch & NET_WRITABLE ? EPOLLOUT : 0);
	int ret = 0;

	p->watch = watch;
	if (!watch)
		/* Errors are told whatever is asked for, and nobody asks. */
		loop_fd_del(port->loop, &p->lf);
	else if (p->lf.added)
		ret = loop_fd_mod(port->loop, &p->lf, events);
	else {
		p->lf.events = events;
		ret = loop_fd_add(port->loop, &p->lf);
	}
	if (ret)
		log_error(tap_of(port->be)->log, "%s: cannot be watched: %s",
			  tap_of(port->be)->name, strerror(-ret));
}

static int tap_send(struct net_port *port, const struct iovec *iov, unsigned int nr)
{
	ssize_t n;

	do
		n = writev(port_of(port)->lf.fd, iov, (int)nr);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

static ssize_t tap_recv(struct net_port *port, const struct iovec *iov, unsigned int nr)
{
	ssize_t n;

	do
		n = readv(port_of(port)->lf.fd, iov, (int)nr);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static int tap_port_fd(const struct net_port *port)
{
	return tap_of(port->be)->ports[port->index].lf.fd;
}

static void tap_close(struct net_backend *be)
{
	struct tap *t = tap_of(be);
	struct err err = ERR_INIT;

	if (t->downscript && net_script_run("downscript", t->downscript, t->name, &err))
		log_error(t->log, "%s", err.msg);
	/* An interface of our own goes with its last queue. */
	for (unsigned int i = 0; i < t->ports_nr; i++)
		close(t->ports[i].lf.fd);
	free(t->downscript);
	free(t);
}

static const struct net_backend_ops tap_ops = {
	.name = "tap",
	.info = tap_info,
	.set_header = tap_set_header,
	.set_offloads = tap_set_offloads,
	.set_ports = tap_set_ports,
	.port_watch = tap_port_watch,
	.send = tap_send,
	.recv = tap_recv,
	.port_fd = tap_port_fd,
	.close = tap_close,
};

const char *net_tap_name(const struct net_backend *be)
{
	return tap_of(be)->name;
}

/* --- opening --- */

/* Takes the descriptor. */
static void add_port(struct tap *t, int fd)
{
	unsigned int i = t->ports_nr++;

	t->ports[i] = (struct tap_port){
		.port = &t->be.ports[i],
		.lf = { .fd = fd, .fn = on_event },
		.attached = true,
	};
	t->be.ports[i].be = &t->be;
	t->be.ports[i].index = i;
}

static int open_dev(const char *dev, const char *option, struct err *err)
{
	int fd = open(dev, O_RDWR | O_NONBLOCK | O_CLOEXEC);

	if (fd >= 0)
		return fd;
	if (errno == ENOENT && !option)
		return err_host(err, ENOENT,
				"%s is missing: load the kernel's module with `modprobe tun`", dev);
	if (errno == EACCES && !option)
		return err_host(
			err, EACCES,
			"%s may not be opened: give this user read and write permission on it",
			dev);
	if (option)
		return err_usage(err, "%s=%s: %s", option, dev, strerror(errno));
	return err_host(err, errno, "cannot open %s", dev);
}

/* What the kernel said to TUNSETIFF; `name` is empty for a new interface. */
static int explain(const struct net_tap_opts *o, int errnum, struct err *err)
{
	const char *name = o->tapif ?: "tap0", *mq = o->queues > 1 ? " multi_queue" : "";

	switch (errnum) {
	case EPERM:
		if (!o->tapif)
			return err_host(
				err, EPERM,
				"a tap interface cannot be made: that needs CAP_NET_ADMIN; as root "
				"make one with "
				"`ip tuntap add %s mode tap%s user NAME` and give it as tapif=%s",
				name, mq, name);
		return err_host(err, EPERM,
				"tapif=%s: is not this user's: that needs CAP_NET_ADMIN, or an "
				"interface that root "
				"made with `ip tuntap add %s mode tap%s user NAME`",
				name, name, mq);
	case EBUSY:
		return err_usage(err, "tapif=%s: is in use by another program", name);
	case EINVAL:
		if (o->tapif && o->queues > 1)
			return err_usage(err,
					 "tapif=%s: is not a tap with several queues: make one "
					 "with `ip tuntap add %s "
					 "mode tap multi_queue user NAME`, or leave mq= out",
					 name, name);
		return err_usage(err, "tapif=%s: is not a tap interface", name);
	case E2BIG:
		return err_usage(err, "mq=%u: interface %s has no more free queues", o->queues,
				 name);
	}
	return err_host(err, errnum, "tap interface %s cannot be opened", name);
}

/* One queue of the interface; its name comes back in t->name. 0 or -errno of the kernel's. */
static int set_iff(struct tap *t, int fd, const char *name, short more)
{
	struct ifreq ifr = { .ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | more) };

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	if (ioctl(fd, TUNSETIFF, &ifr) < 0)
		return -errno;
	snprintf(t->name, sizeof(t->name), "%.*s", IFNAMSIZ - 1, ifr.ifr_name);
	return 0;
}

static int open_queue(struct tap *t, const struct net_tap_opts *o, struct err *err)
{
	short more = o->queues > 1 ? IFF_MULTI_QUEUE : 0;
	/* The first one names the interface for the others. */
	const char *name = t->ports_nr ? t->name : o->tapif ?: "lkvm%d";
	int fd = open_dev(o->dev ?: TUN_DEV, NULL, err);

	if (fd < 0)
		return fd;
	int ret = set_iff(t, fd, name, more);
	/* An interface that was made for several queues has to be told so, even for one. */
	if (ret == -EINVAL && o->tapif && !more)
		ret = set_iff(t, fd, name, IFF_MULTI_QUEUE);
	if (ret) {
		close(fd);
		return explain(o, -ret, err);
	}
	add_port(t, fd);
	return 0;
}

static int open_queues(struct tap *t, const struct net_tap_opts *o, struct err *err)
{
	unsigned int nr = o->queues ?: 1;
	int ret = 0;

	if (o->tapif && !if_nametoindex(o->tapif))
		return err_usage(err,
				 "tapif=%s: there is no such interface: make it with `ip tuntap "
				 "add %s mode tap user NAME`",
				 o->tapif, o->tapif);
	for (unsigned int i = 0; !ret && i < nr; i++)
		ret = open_queue(t, o, err);
	return ret;
}

static int open_macvtap(struct tap *t, const struct net_tap_opts *o, struct err *err)
{
	int fd = open_dev(o->macvtap, "macvtap", err);

	if (fd < 0)
		return fd;
	add_port(t, fd);
	if (set_iff(t, fd, "", 0))
		return err_usage(err, "macvtap=%s: is not the device file of a macvtap interface",
				 o->macvtap);
	return 0;
}

static int take_fd(struct tap *t, const struct net_tap_opts *o, struct err *err)
{
	const short want = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
	struct ifreq ifr = { 0 };

	if (ioctl(o->fd, TUNGETIFF, &ifr) < 0)
		return err_usage(err, "fd=%d: is not an open tap interface", o->fd);
	if ((ifr.ifr_flags & (want | IFF_TUN)) != want)
		return err_usage(err,
				 "fd=%d: was not opened with IFF_TAP, IFF_NO_PI and IFF_VNET_HDR",
				 o->fd);
	if (fcntl(o->fd, F_SETFL, O_RDWR | O_NONBLOCK) < 0 || fcntl(o->fd, F_SETFD, FD_CLOEXEC) < 0)
		return err_host(err, errno, "fd=%d: cannot be used", o->fd);
	snprintf(t->name, sizeof(t->name), "%.*s", IFNAMSIZ - 1, ifr.ifr_name);
	add_port(t, o->fd);
	return 0;
}

/* A new interface is up, with the MTU that was asked for. */
static int configure(struct tap *t, const struct net_tap_opts *o, struct err *err)
{
	struct ifreq ifr = { .ifr_mtu = o->mtu };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), ret = 0;

	memcpy(ifr.ifr_name, t->name, sizeof(ifr.ifr_name));
	if (fd < 0)
		return err_host(err, errno, "cannot open a socket");
	if (o->mtu && ioctl(fd, SIOCSIFMTU, &ifr) < 0)
		ret = err_host(err, errno, "mtu=%u: interface %s does not take it", o->mtu,
			       t->name);
	if (!ret && ioctl(fd, SIOCGIFFLAGS, &ifr) == 0) {
		ifr.ifr_flags |= IFF_UP;
		if (ioctl(fd, SIOCSIFFLAGS, &ifr) < 0)
			ret = err_host(err, errno, "interface %s cannot be set up", t->name);
	}
	close(fd);
	return ret;
}

static int check_opts(const struct net_tap_opts *o, struct err *err)
{
	if (!!o->tapif + !!o->macvtap + (o->fd >= 0) > 1)
		return err_usage(err, "give one of tapif=, macvtap= and fd=");
	if (o->tapif && (!*o->tapif || strlen(o->tapif) >= IFNAMSIZ || strchr(o->tapif, '%')))
		return err_usage(err, "tapif=%s: is no name of an interface", o->tapif);
	if (o->queues > NET_PORTS_MAX)
		return err_usage(err, "mq=%u: choose a number from 1 to %u", o->queues,
				 NET_PORTS_MAX);
	if (o->queues > 1 && (o->macvtap || o->fd >= 0))
		return err_usage(err, "mq=%u: %s has one queue: use tapif=", o->queues,
				 o->macvtap ? "macvtap=" : "fd=");
	return 0;
}

static int open_one(struct tap *t, const struct net_tap_opts *o, struct err *err)
{
	bool made = !o->tapif && !o->macvtap && o->fd < 0;
	int ret = check_opts(o, err);

	if (ret)
		return ret;
	if (o->macvtap)
		ret = open_macvtap(t, o, err);
	else if (o->fd >= 0)
		ret = take_fd(t, o, err);
	else
		ret = open_queues(t, o, err);
	if (!ret && made)
		ret = configure(t, o, err);
	if (!ret)
		probe_offloads(t);
	if (!ret && o->script)
		ret = net_script_run("script", o->script, t->name, err);
	if (!ret && o->downscript && !(t->downscript = strdup(o->downscript)))
		ret = err_host(err, ENOMEM, "cannot open a tap interface");
	return ret;
}

int net_tap_open(struct net_backend **be, const struct net_tap_opts *o, const struct log *log,
		 struct err *err)
{
	struct tap *t = calloc(1, sizeof(*t));

	if (!t)
		return err_host(err, ENOMEM, "cannot open a tap interface");
	t->be.ops = &tap_ops;
	t->log = log;
	int ret = open_one(t, o, err);
	if (ret)
		tap_close(&t->be);
	else
		*be = &t->be;
	return ret;
}
