/* SPDX-License-Identifier: GPL-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <lkvm/net/socket.h>
#include <lkvm/util.h>

#define PREFIX_LEN 4
/* Whatever is read at once; at least a frame with its length. */
#define IN_LEN (2 * (PREFIX_LEN + NET_FRAME_MAX))
/* That one sendmsg() is given; a frame in more pieces does not exist (queue.h). */
#define VEC_MAX 512

struct sock {
	struct net_backend be;
	const struct log *log;
	struct log_limit limit; /* a peer may come and go as fast as it likes */
	const char *name;       /* in messages */
	char *path;             /* that a server made */
	struct loop_fd lf;      /* the peer; fd -1: there is none */
	struct loop_fd wait;    /* a server's; fd -1: it is none */
	unsigned int watch;     /* enum net_watch */
	_Atomic bool carrier;
	struct loop_post more; /* a whole frame is in `in` */

	/* in[in_first..in_end): what came and was not taken. */
	unsigned int in_first, in_end;
	/* out[out_first..out_end): the rest of a frame that the peer had no room for. */
	unsigned int out_first, out_end;
	uint8_t in[IN_LEN];
	uint8_t out[PREFIX_LEN + NET_FRAME_MAX];
};

static struct sock *sock_of(const struct net_backend *be)
{
	return container_of(be, struct sock, be);
}

static struct net_port *port_of(struct sock *s)
{
	return &s->be.ports[0];
}

static void set_carrier(struct sock *s, bool up)
{
	if (atomic_exchange(&s->carrier, up) != up && s->be.on_carrier)
		s->be.on_carrier(&s->be, up);
}

/* --- what is watched --- */

static void watch_fd(struct sock *s, struct loop_fd *lf, uint32_t events)
{
	struct loop *loop = port_of(s)->loop;
	int ret = 0;

	if (lf->fd < 0)
		return;
	if (!events)
		loop_fd_del(loop, lf);
	else if (lf->added)
		ret = loop_fd_mod(loop, lf, events);
	else {
		lf->events = events;
		ret = loop_fd_add(loop, lf);
	}
	if (ret)
		log_error(s->log, "%s cannot be watched: %s", s->name, strerror(-ret));
}

/* The length of the frame at in[in_first], or -1 while its length has not come. */
static int64_t next_len(const struct sock *s)
{
	uint32_t len;

	if (s->in_end - s->in_first < PREFIX_LEN)
		return -1;
	memcpy(&len, s->in + s->in_first, sizeof(len));
	return ntohl(len);
}

static bool has_frame(const struct sock *s)
{
	int64_t len = next_len(s);

	return len >= 0 && s->in_end - s->in_first - PREFIX_LEN >= len;
}

/* What was read already makes no event. */
static void announce_more(struct sock *s)
{
	if ((s->watch & NET_READABLE) && has_frame(s))
		loop_post(port_of(s)->loop, &s->more);
}

/* Also without the device's wish: the rest of a frame has to go out. */
static void update_watch(struct sock *s)
{
	bool out = (s->watch & NET_WRITABLE) || s->out_first < s->out_end;

	watch_fd(s, &s->lf, (s->watch & NET_READABLE ? EPOLLIN : 0) | (out ? EPOLLOUT : 0));
	watch_fd(s, &s->wait, s->lf.fd < 0 ? EPOLLIN : 0);
	announce_more(s);
}

static void disconnect(struct sock *s, const char *why)
{
	if (s->lf.fd < 0)
		return;
	loop_fd_del(port_of(s)->loop, &s->lf);
	close(s->lf.fd);
	s->lf.fd = -1;
	s->in_first = s->in_end = s->out_first = s->out_end = 0;
	log_guest(s->log, &s->limit, "%s is not connected any more: %s", s->name, why);
	set_carrier(s, false);
	update_watch(s);
}

static void on_more(struct loop_post *post)
{
	struct sock *s = container_of(post, struct sock, more);

	if ((s->watch & NET_READABLE) && has_frame(s))
		port_of(s)->readable(port_of(s));
	update_watch(s);
}

static bool flush(struct sock *s);

static void on_event(struct loop_fd *lf, uint32_t events)
{
	struct sock *s = container_of(lf, struct sock, lf);
	struct net_port *port = port_of(s);
	uint32_t error = events & (EPOLLERR | EPOLLHUP);

	if ((events & EPOLLOUT || error) && flush(s) && (s->watch & NET_WRITABLE))
		port->writable(port);
	if ((events & EPOLLIN || error) && (s->watch & NET_READABLE))
		port->readable(port);
	update_watch(s);
}

static void on_peer(struct loop_fd *lf, uint32_t events)
{
	struct sock *s = container_of(lf, struct sock, wait);
	int fd = accept4(lf->fd, NULL, NULL, SOCK_CLOEXEC);

	(void)events;
	if (fd < 0)
		return;
	s->lf.fd = fd;
	set_carrier(s, true);
	update_watch(s);
}

/* --- the table --- */

static void sock_info(const struct net_backend *be, struct net_info *info)
{
	*info = (struct net_info){ .ports_max = 1, .carrier = atomic_load(&sock_of(be)->carrier) };
}

static void sock_port_watch(struct net_port *port, unsigned int watch)
{
	struct sock *s = sock_of(port->be);

	s->watch = watch;
	update_watch(s);
}

/* The rest of a frame that was begun. Whether there is none now. */
static bool flush(struct sock *s)
{
	while (s->out_first < s->out_end) {
		ssize_t n = send(s->lf.fd, s->out + s->out_first, s->out_end - s->out_first,
				 MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return false;
		if (n < 0) {
			disconnect(s, strerror(errno));
			return true;
		}
		s->out_first += (unsigned int)n;
	}
	s->out_first = s->out_end = 0;
	return true;
}

/* Keeps what is left of a frame when `done` bytes of it are gone. */
static void keep_rest(struct sock *s, const struct iovec *iov, unsigned int nr, size_t done)
{
	for (unsigned int i = 0; i < nr; i++) {
		size_t skip = MIN(done, iov[i].iov_len), n = iov[i].iov_len - skip;

		done -= skip;
		memcpy(s->out + s->out_end, (uint8_t *)iov[i].iov_base + skip, n);
		s->out_end += (unsigned int)n;
	}
}

static int sock_send(struct net_port *port, const struct iovec *iov, unsigned int nr)
{
	struct sock *s = sock_of(port->be);
	struct iovec vec[VEC_MAX];
	struct msghdr msg = { .msg_iov = vec, .msg_iovlen = nr };
	uint64_t len = 0;
	ssize_t n;

	if (s->lf.fd < 0)
		return -ENOTCONN;
	if (!flush(s))
		return -EAGAIN;
	/* The length takes the header's place. */
	for (unsigned int i = 1; i < nr && nr <= VEC_MAX; i++) {
		vec[i] = iov[i];
		len += iov[i].iov_len;
	}
	if (nr > VEC_MAX || len > NET_FRAME_MAX)
		return -EMSGSIZE;
	uint32_t prefix = htonl((uint32_t)len);
	vec[0] = (struct iovec){ &prefix, PREFIX_LEN };
	do
		n = sendmsg(s->lf.fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return -EAGAIN;
	if (n < 0) {
		disconnect(s, strerror(errno));
		return -ENOTCONN;
	}
	keep_rest(s, vec, nr, (size_t)n);
	if (s->out_end)
		update_watch(s);
	return 0;
}

/* More bytes. 1: some came; 0: none now; -ENOTCONN: it is over. */
static int fill(struct sock *s)
{
	ssize_t n;

	if (s->in_first) {
		memmove(s->in, s->in + s->in_first, s->in_end - s->in_first);
		s->in_end -= s->in_first;
		s->in_first = 0;
	}
	/* There is room: what is there is less than a frame. */
	do
		n = recv(s->lf.fd, s->in + s->in_end, IN_LEN - s->in_end, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return 0;
	if (n <= 0) {
		disconnect(s, n ? strerror(errno) : "the peer closed it");
		return -ENOTCONN;
	}
	s->in_end += (unsigned int)n;
	return 1;
}

static ssize_t take_frame(struct sock *s, const struct iovec *iov, unsigned int nr)
{
	size_t len = (size_t)next_len(s), done = 0;
	const uint8_t *from = s->in + s->in_first + PREFIX_LEN;

	memset(iov[0].iov_base, 0, iov[0].iov_len);
	for (unsigned int i = 1; i < nr && done < len; i++) {
		size_t n = MIN(iov[i].iov_len, len - done);

		memcpy(iov[i].iov_base, from + done, n);
		done += n;
	}
	s->in_first += PREFIX_LEN + (unsigned int)len;
	announce_more(s);
	return (ssize_t)(iov[0].iov_len + done);
}

static ssize_t sock_recv(struct net_port *port, const struct iovec *iov, unsigned int nr)
{
	struct sock *s = sock_of(port->be);

	/* Nobody there is no error: it is what the carrier says. */
	while (s->lf.fd >= 0) {
		if (next_len(s) > NET_FRAME_MAX) {
			disconnect(s, "the peer sent a frame of a length that no frame has");
			break;
		}
		if (has_frame(s))
			return take_frame(s, iov, nr);
		int ret = fill(s);
		if (ret <= 0)
			break;
	}
	return -EAGAIN;
}

static void sock_close(struct net_backend *be)
{
	struct sock *s = sock_of(be);

	if (port_of(s)->loop) {
		loop_post_cancel(port_of(s)->loop, &s->more);
		loop_fd_del(port_of(s)->loop, &s->lf);
		loop_fd_del(port_of(s)->loop, &s->wait);
	}
	if (s->lf.fd >= 0)
		close(s->lf.fd);
	if (s->wait.fd >= 0)
		close(s->wait.fd);
	if (s->path)
		unlink(s->path);
	free(s->path);
	free(s);
}

static const struct net_backend_ops sock_ops = {
	.name = "socket",
	.info = sock_info,
	.port_watch = sock_port_watch,
	.send = sock_send,
	.recv = sock_recv,
	.close = sock_close,
};

/* --- opening --- */

/*
 * Takes a socket away whose owner is gone, as a server that was killed leaves it, and no other file. A connect of the
 * other socket type is refused in either case (unix(7)): by ECONNREFUSED when no socket is bound there any more, by
 * EPROTOTYPE when one is, which does not notice.
 */
static bool remove_stale(const struct sockaddr_un *addr)
{
	struct stat st;

	if (lstat(addr->sun_path, &st) || !S_ISSOCK(st.st_mode))
		return false;
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool stale = fd >= 0 && connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 &&
		     errno == ECONNREFUSED;

	if (fd >= 0)
		close(fd);
	return stale && unlink(addr->sun_path) == 0;
}

static int bind_at(int fd, const struct sockaddr_un *addr)
{
	const struct sockaddr *sa = (const struct sockaddr *)addr;

	if (bind(fd, sa, sizeof(*addr)) == 0)
		return 0;
	if (errno != EADDRINUSE)
		return -errno;
	if (!remove_stale(addr))
		return -EADDRINUSE;
	return bind(fd, sa, sizeof(*addr)) ? -errno : 0;
}

static int listen_at(struct sock *s, const struct sockaddr_un *addr, struct err *err)
{
	int fd = s->wait.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return err_host(err, errno, "cannot open a socket");
	int ret = bind_at(fd, addr);
	if (ret == -EADDRINUSE)
		return err_usage(err, "path=%s: is there already, and no server's that has ended",
				 addr->sun_path);
	if (ret)
		return err_usage(err, "path=%s: %s", addr->sun_path, strerror(-ret));
	s->path = strdup(addr->sun_path);
	if (!s->path) {
		unlink(addr->sun_path);
		return err_host(err, ENOMEM, "cannot open a network socket");
	}
	if (listen(fd, 1) < 0)
		return err_host(err, errno, "path=%s: cannot listen", addr->sun_path);
	return 0;
}

static int connect_to(struct sock *s, const struct sockaddr_un *addr, struct err *err)
{
	int fd = s->lf.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return err_host(err, errno, "cannot open a socket");
	if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0)
		return err_usage(err, "path=%s: nobody answers there: %s", addr->sun_path,
				 strerror(errno));
	return 0;
}

static int take_fd(struct sock *s, int fd, struct err *err)
{
	int type = 0, listens = 0;
	socklen_t len = sizeof(type);

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_STREAM ||
	    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) < 0 || listens)
		return err_usage(err, "fd=%d: is not a connected stream socket", fd);
	s->lf.fd = fd;
	return 0;
}

static int open_one(struct sock *s, const struct net_socket_opts *o, struct err *err)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	if (!o->path == (o->fd < 0))
		return err_usage(err, "a network socket needs one of path= and fd=");
	if (!o->path)
		return take_fd(s, o->fd, err);
	if (!*o->path || strlen(o->path) >= sizeof(addr.sun_path))
		return err_usage(err, "path=%s: a socket's path has 1 to %zu bytes", o->path,
				 sizeof(addr.sun_path) - 1);
	memcpy(addr.sun_path, o->path, strlen(o->path));
	return o->server ? listen_at(s, &addr, err) : connect_to(s, &addr, err);
}

int net_socket_open(struct net_backend **be, const struct net_socket_opts *o, const struct log *log,
		    struct err *err)
{
	struct sock *s = calloc(1, sizeof(*s));

	if (!s)
		return err_host(err, ENOMEM, "cannot open a network socket");
	s->be.ops = &sock_ops;
	s->be.ports[0].be = &s->be;
	s->log = log;
	s->name = o->name ?: "a network socket";
	s->lf = (struct loop_fd){ .fd = -1, .fn = on_event };
	s->wait = (struct loop_fd){ .fd = -1, .fn = on_peer };
	s->more.fn = on_more;
	int ret = open_one(s, o, err);
	if (ret) {
		sock_close(&s->be);
		return ret;
	}
	s->carrier = s->lf.fd >= 0;
	*be = &s->be;
	return 0;
}
