/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include <lkvm/util.h>

#include "net.h"

static struct mock_net *mock_of(const struct net_backend *be)
{
	return container_of(be, struct mock_net, be);
}

/* --- the backend --- */

static void info(const struct net_backend *be, struct net_info *i)
{
	struct mock_net *m = mock_of((struct net_backend *)be);

	pthread_mutex_lock(&m->lock);
	*i = m->info;
	pthread_mutex_unlock(&m->lock);
}

static int set_header(struct net_backend *be, unsigned int len)
{
	struct mock_net *m = mock_of(be);

	for (unsigned int i = 0; i < m->info.ports_max; i++)
		MUST(!m->port[i].watch);
	m->header_len = len;
	return m->header_ret;
}

static int set_offloads(struct net_backend *be, uint32_t offloads)
{
	struct mock_net *m = mock_of(be);

	pthread_mutex_lock(&m->lock);
	m->offloads = offloads;
	pthread_mutex_unlock(&m->lock);
	return m->offloads_ret;
}

static void drop_in(struct mock_net_port *p)
{
	while (p->in_nr)
		free(p->in[--p->in_nr].bytes);
}

static int set_ports(struct net_backend *be, unsigned int nr)
{
	struct mock_net *m = mock_of(be);

	pthread_mutex_lock(&m->lock);
	m->ports = nr;
	for (unsigned int i = nr; i < NET_PORTS_MAX; i++)
		drop_in(&m->port[i]);
	pthread_mutex_unlock(&m->lock);
	return m->ports_ret;
}

static bool level(const struct mock_net *m, const struct mock_net_port *p, unsigned int *what)
{
	*what = (p->in_nr || m->recv_errno ? NET_READABLE : 0) | (m->full ? 0 : NET_WRITABLE);
	*what &= p->watch;
	return *what;
}

static void wake_locked(struct mock_net *m, unsigned int i)
{
	struct mock_net_port *p = &m->port[i];
	unsigned int what;

	if (level(m, p, &what))
		loop_post(m->be.ports[i].loop, &p->post);
}

static void on_post(struct loop_post *post)
{
	struct mock_net_port *p = container_of(post, struct mock_net_port, post);
	struct mock_net *m = p->m;
	struct net_port *port = p->port;
	unsigned int what;

	pthread_mutex_lock(&m->lock);
	bool up = level(m, p, &what);
	m->calls += up;
	pthread_mutex_unlock(&m->lock);
	if (what & NET_READABLE)
		port->readable(port);
	if (what & NET_WRITABLE)
		port->writable(port);
	/* Levels: as long as the device does not do what there is to do. */
	pthread_mutex_lock(&m->lock);
	wake_locked(m, port->index);
	pthread_mutex_unlock(&m->lock);
}

static void port_watch(struct net_port *port, unsigned int watch)
{
	struct mock_net *m = mock_of(port->be);

	pthread_mutex_lock(&m->lock);
	m->port[port->index].watch = watch;
	if (watch)
		wake_locked(m, port->index);
	else
		loop_post_cancel(port->loop, &m->port[port->index].post);
	pthread_mutex_unlock(&m->lock);
}

static void keep_locked(struct mock_net *m, struct net_port *port, const struct iovec *iov,
			unsigned int nr)
{
	struct mock_frame f = { .port = port->index };

	MUST(nr >= 2 && nr <= 1024 && iov[0].iov_len == m->header_len);
	memcpy(f.header, iov[0].iov_base, iov[0].iov_len);
	f.bytes = malloc(NET_FRAME_MAX);
	for (unsigned int i = 1; i < nr; i++) {
		MUST(range_ok(f.len, iov[i].iov_len, NET_FRAME_MAX));
		memcpy(f.bytes + f.len, iov[i].iov_base, iov[i].iov_len);
		f.len += (uint32_t)iov[i].iov_len;
	}
	if (m->out_nr == MOCK_NET_FRAMES) {
		free(m->out[0].bytes);
		memmove(m->out, m->out + 1, (MOCK_NET_FRAMES - 1) * sizeof(m->out[0]));
		m->out_nr--;
	}
	m->out[m->out_nr++] = f;
	m->iovs = nr;
	m->sent_from = iov[1].iov_base;
}

static int send(struct net_port *port, const struct iovec *iov, unsigned int nr)
{
	struct mock_net *m = mock_of(port->be);
	int ret = 0;

	pthread_mutex_lock(&m->lock);
	m->sends++;
	if (m->full)
		ret = -EAGAIN;
	else if (m->send_errno)
		ret = -m->send_errno;
	else
		keep_locked(m, port, iov, nr);
	pthread_mutex_unlock(&m->lock);
	return ret;
}

static ssize_t take_locked(struct mock_net *m, struct mock_net_port *p, const struct iovec *iov,
			   unsigned int nr)
{
	struct mock_frame f = p->in[0];
	size_t done = 0;

	MUST(iov[0].iov_len == m->header_len);
	memcpy(iov[0].iov_base, f.header, m->header_len);
	for (unsigned int i = 1; i < nr && done < f.len; i++) {
		size_t n = MIN(iov[i].iov_len, f.len - done);

		memcpy(iov[i].iov_base, f.bytes + done, n);
		done += n;
	}
	free(f.bytes);
	memmove(p->in, p->in + 1, --p->in_nr * sizeof(p->in[0]));
	return (ssize_t)(m->header_len + done);
}

static ssize_t recv(struct net_port *port, const struct iovec *iov, unsigned int nr)
{
	struct mock_net *m = mock_of(port->be);
	struct mock_net_port *p = &m->port[port->index];
	ssize_t ret;

	pthread_mutex_lock(&m->lock);
	m->recvs++;
	MUST(nr >= 2 && nr <= 1024);
	if (m->recv_errno)
		ret = -m->recv_errno;
	else if (!p->in_nr)
		ret = -EAGAIN;
	else
		ret = take_locked(m, p, iov, nr);
	pthread_mutex_unlock(&m->lock);
	return ret;
}

/* Numbers that say which. */
static int port_fd(const struct net_port *port)
{
	return MOCK_NET_FD + (int)port->index;
}

static void close_mock(struct net_backend *be)
{
	mock_net_release(mock_of(be));
}

static const struct net_backend_ops mock_ops = {
	.name = "mock",
	.info = info,
	.set_header = set_header,
	.set_offloads = set_offloads,
	.set_ports = set_ports,
	.port_watch = port_watch,
	.send = send,
	.recv = recv,
	.port_fd = port_fd,
	.close = close_mock,
};

void mock_net_init(struct mock_net *m)
{
	memset(m, 0, sizeof(*m));
	m->be.ops = &mock_ops;
	m->info = (struct net_info){ .tx_offloads = NET_ALL_OFFLOADS,
				     .rx_offloads = NET_ALL_OFFLOADS,
				     .ports_max = NET_PORTS_MAX,
				     .carrier = true };
	pthread_mutex_init(&m->lock, NULL);
	for (unsigned int i = 0; i < NET_PORTS_MAX; i++) {
		m->be.ports[i].be = &m->be;
		m->be.ports[i].index = i;
		m->port[i].post.fn = on_post;
		m->port[i].m = m;
		m->port[i].port = &m->be.ports[i];
	}
}

void mock_net_clear(struct mock_net *m)
{
	pthread_mutex_lock(&m->lock);
	while (m->out_nr)
		free(m->out[--m->out_nr].bytes);
	pthread_mutex_unlock(&m->lock);
}

void mock_net_drop(struct mock_net *m)
{
	pthread_mutex_lock(&m->lock);
	for (unsigned int i = 0; i < NET_PORTS_MAX; i++)
		drop_in(&m->port[i]);
	pthread_mutex_unlock(&m->lock);
}

void mock_net_release(struct mock_net *m)
{
	mock_net_clear(m);
	mock_net_drop(m);
	pthread_mutex_destroy(&m->lock);
}

bool mock_net_inject(struct mock_net *m, unsigned int i, const uint8_t *header, const void *bytes,
		     uint32_t len)
{
	struct mock_net_port *p = &m->port[i];

	pthread_mutex_lock(&m->lock);
	bool fits = p->in_nr < MOCK_NET_FRAMES;
	if (fits) {
		struct mock_frame f = { .len = len, .bytes = malloc(len + 1) };

		if (header)
			memcpy(f.header, header, sizeof(f.header));
		memcpy(f.bytes, bytes, len);
		p->in[p->in_nr++] = f;
		wake_locked(m, i);
	}
	pthread_mutex_unlock(&m->lock);
	return fits;
}

void mock_net_set_full(struct mock_net *m, bool full)
{
	pthread_mutex_lock(&m->lock);
	m->full = full;
	for (unsigned int i = 0; !full && i < NET_PORTS_MAX; i++)
		wake_locked(m, i);
	pthread_mutex_unlock(&m->lock);
}

void mock_net_set_carrier(struct mock_net *m, bool up)
{
	pthread_mutex_lock(&m->lock);
	m->info.carrier = up;
	pthread_mutex_unlock(&m->lock);
	m->be.on_carrier(&m->be, up);
}

unsigned int mock_net_waiting(struct mock_net *m, unsigned int port)
{
	pthread_mutex_lock(&m->lock);
	unsigned int nr = m->port[port].in_nr;
	pthread_mutex_unlock(&m->lock);
	return nr;
}
