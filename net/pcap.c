/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <lkvm/net/pcap.h>
#include <lkvm/thread.h>
#include <lkvm/util.h>

/* draft-ietf-opsawg-pcap: in the byte order of the writer, whom the magic number tells. */
struct file_header {
	uint32_t magic;
	uint16_t major, minor;
	uint32_t reserved[2];
	uint32_t snap_len, link_type;
};

struct record_header {
	uint32_t sec, nsec;
	uint32_t len, original_len;
};

#define PCAP_NSEC_MAGIC   0xa1b23c4d
#define LINKTYPE_ETHERNET 1

#define CHUNK_LEN         65536u

struct pcap {
	struct net_backend be, *inner;
	const struct log *log;
	int fd;
	pthread_t thread;

	pthread_mutex_t lock; /* a leaf; guards the rest */
	pthread_cond_t more;
	bool closing, failed;
	uint64_t missed;
	uint32_t first, used; /* ring[first..first + used), wrapping */
	uint8_t *ring;
};

static struct pcap *pcap_of(const struct net_backend *be)
{
	return container_of(be, struct pcap, be);
}

/* --- the file --- */

static uint32_t take_locked(struct pcap *p, uint8_t *chunk)
{
	uint32_t len = MIN(MIN(p->used, CHUNK_LEN), NET_PCAP_BUFFER - p->first);

	memcpy(chunk, p->ring + p->first, len);
	p->first = (p->first + len) % NET_PCAP_BUFFER;
	p->used -= len;
	return len;
}

static void *writer(void *arg)
{
	struct pcap *p = arg;
	uint8_t chunk[CHUNK_LEN];

	pthread_mutex_lock(&p->lock);
	for (;;) {
		while (!p->used && !p->closing)
			pthread_cond_wait(&p->more, &p->lock);
		if (!p->used)
			break;
		uint32_t len = take_locked(p, chunk);
		pthread_mutex_unlock(&p->lock);
		int ret = util_write_all(p->fd, chunk, len);
		if (ret)
			log_warn(p->log, "pcap: recording ends: %s", strerror(-ret));
		pthread_mutex_lock(&p->lock);
		p->failed = ret;
		if (ret)
			break;
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

static void put_locked(struct pcap *p, const void *buf, size_t len)
{
	const uint8_t *from = buf;

	while (len) {
		uint32_t at = (p->first + p->used) % NET_PCAP_BUFFER;
		uint32_t n = (uint32_t)MIN(len, NET_PCAP_BUFFER - at);

		memcpy(p->ring + at, from, n);
		p->used += n;
		from += n;
		len -= n;
	}
}

/* A frame of `len` bytes, in iov[1..nr). */
static void record(struct pcap *p, const struct iovec *iov, unsigned int nr, size_t len)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	struct record_header h = { .sec = (uint32_t)now.tv_sec,
				   .nsec = (uint32_t)now.tv_nsec,
				   .len = (uint32_t)len,
				   .original_len = (uint32_t)len };
	pthread_mutex_lock(&p->lock);
	if (p->failed || NET_PCAP_BUFFER - p->used < sizeof(h) + len) {
		p->missed += !p->failed;
		pthread_mutex_unlock(&p->lock);
		return;
	}
	put_locked(p, &h, sizeof(h));
	for (unsigned int i = 1; i < nr && len; i++) {
		size_t n = MIN(iov[i].iov_len, len);

		put_locked(p, iov[i].iov_base, n);
		len -= n;
	}
	pthread_cond_signal(&p->more);
	pthread_mutex_unlock(&p->lock);
}

/* --- the inner backend's side --- */

static void on_carrier(struct net_backend *inner, bool up)
{
	struct pcap *p = inner->priv;

	if (p->be.on_carrier)
		p->be.on_carrier(&p->be, up);
}

static void on_readable(struct net_port *inner)
{
	struct net_port *port = inner->priv;

	port->readable(port);
}

static void on_writable(struct net_port *inner)
{
	struct net_port *port = inner->priv;

	port->writable(port);
}

/* The device sets a port's loop when the backend is open already. */
static struct net_port *inner_of(struct net_port *port)
{
	struct net_port *inner = &pcap_of(port->be)->inner->ports[port->index];

	inner->loop = port->loop;
	return inner;
}

/* --- the table --- */

static void pcap_info(const struct net_backend *be, struct net_info *info)
{
	const struct net_backend *inner = pcap_of(be)->inner;

	inner->ops->info(inner, info);
}

static int pcap_set_header(struct net_backend *be, unsigned int len)
{
	struct net_backend *inner = pcap_of(be)->inner;

	return inner->ops->set_header ? inner->ops->set_header(inner, len) : 0;
}

static int pcap_set_offloads(struct net_backend *be, uint32_t offloads)
{
	struct net_backend *inner = pcap_of(be)->inner;

	return inner->ops->set_offloads ? inner->ops->set_offloads(inner, offloads) : 0;
}

static int pcap_set_ports(struct net_backend *be, unsigned int nr)
{
	struct net_backend *inner = pcap_of(be)->inner;

	return inner->ops->set_ports ? inner->ops->set_ports(inner, nr) : 0;
}

static void pcap_port_watch(struct net_port *port, unsigned int watch)
{
	struct net_port *inner = inner_of(port);

	inner->be->ops->port_watch(inner, watch);
}

static int pcap_send(struct net_port *port, const struct iovec *iov, unsigned int nr)
{
	struct net_port *inner = inner_of(port);
	int ret = inner->be->ops->send(inner, iov, nr);
	size_t len = 0;

	for (unsigned int i = 1; i < nr; i++)
		len += iov[i].iov_len;
	if (!ret)
		record(pcap_of(port->be), iov, nr, len);
	return ret;
}

static ssize_t pcap_recv(struct net_port *port, const struct iovec *iov, unsigned int nr)
{
	struct net_port *inner = inner_of(port);
	ssize_t ret = inner->be->ops->recv(inner, iov, nr);

	if (ret > (ssize_t)iov[0].iov_len)
		record(pcap_of(port->be), iov, nr, (size_t)ret - iov[0].iov_len);
	return ret;
}

static void release(struct pcap *p)
{
	if (p->fd >= 0)
		close(p->fd);
	pthread_cond_destroy(&p->more);
	pthread_mutex_destroy(&p->lock);
	free(p->ring);
	free(p);
}

static void pcap_close(struct net_backend *be)
{
	struct pcap *p = pcap_of(be);

	p->inner->ops->close(p->inner);
	pthread_mutex_lock(&p->lock);
	p->closing = true;
	pthread_cond_signal(&p->more);
	pthread_mutex_unlock(&p->lock);
	/* A regular file takes or refuses what is left. */
	pthread_join(p->thread, NULL);
	if (p->missed && !p->failed)
		log_warn(p->log,
			 "pcap: %" PRIu64 " frames came faster than the file could be written",
			 p->missed);
	release(p);
}

static const struct net_backend_ops pcap_ops = {
	.name = "pcap",
	.info = pcap_info,
	.set_header = pcap_set_header,
	.set_offloads = pcap_set_offloads,
	.set_ports = pcap_set_ports,
	.port_watch = pcap_port_watch,
	.send = pcap_send,
	.recv = pcap_recv,
	.close = pcap_close,
};

/* --- opening --- */

static int open_file(struct pcap *p, const char *path, struct err *err)
{
	const struct file_header h = { .magic = PCAP_NSEC_MAGIC,
				       .major = 2,
				       .minor = 4,
				       .snap_len = NET_FRAME_MAX,
				       .link_type = LINKTYPE_ETHERNET };
	struct stat st;

	/* A pipe without a reader would be waited for. What others say to the guest is not for everybody. */
	p->fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0600);
	if (p->fd < 0)
		return err_host(err, errno, "pcap=%s: cannot be written", path);
	if (fstat(p->fd, &st) < 0 || !S_ISREG(st.st_mode))
		return err_usage(err, "pcap=%s: is not a regular file", path);
	int ret = ftruncate(p->fd, 0) < 0 ? -errno : util_write_all(p->fd, &h, sizeof(h));
	return ret ? err_host(err, -ret, "pcap=%s: cannot be written", path) : 0;
}

static void adopt(struct pcap *p, struct net_backend *inner)
{
	p->inner = inner;
	inner->priv = p;
	p->be.forwards = inner->forwards;
	inner->on_carrier = on_carrier;
	for (unsigned int i = 0; i < NET_PORTS_MAX; i++) {
		p->be.ports[i].be = &p->be;
		p->be.ports[i].index = i;
		inner->ports[i].readable = on_readable;
		inner->ports[i].writable = on_writable;
		inner->ports[i].priv = &p->be.ports[i];
	}
}

int net_pcap_open(struct net_backend **be, const char *path, const struct log *log, struct err *err)
{
	struct pcap *p = calloc(1, sizeof(*p));

	if (!p)
		return err_host(err, ENOMEM, "pcap=%s", path);
	p->be.ops = &pcap_ops;
	p->log = log;
	p->fd = -1;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->more, NULL);
	p->ring = malloc(NET_PCAP_BUFFER);
	int ret = p->ring ? open_file(p, path, err) : err_host(err, ENOMEM, "pcap=%s", path);
	if (!ret) {
		ret = thread_start(&p->thread, "pcap", -1, writer, p);
		if (ret)
			err_host(err, -ret, "pcap=%s: cannot start a thread", path);
	}
	if (ret) {
		release(p);
		return ret;
	}
	adopt(p, *be);
	*be = &p->be;
	return 0;
}
