// SPDX-License-Identifier: GPL-2.0
// LINK: net/user.c net/user-check.c net/user-fds.c net/user-lib.c net/forward.c util/loop.c util/log.c util/err.c util/util.c
/*
 * A hostile guest of the user-mode network, the library included. The input is frames: a byte of flags, a length of two
 * bytes, the frame. They go to this process's own servers on loopback and to nobody else, whatever their addresses say.
 */
#include "fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <lkvm/net/user.h>

#include "../unit/user-frames.h"

enum { FIX = 1, ANSWER = 2, DRAIN = 4, SEVER = 8 };

/* The library does not free all buffers of connections that end with it. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:libglib";
}

static struct loop *loop;
static struct net_backend *be;
static struct net_port *port;
static int servers[2], conns[8];
static unsigned int conns_nr;
static uint16_t ports[2];

static int server(int type, uint16_t *number)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, type | SOCK_NONBLOCK, 0);

	FUZZ_CHECK(bind(fd, (void *)&a, sizeof(a)) == 0);
	FUZZ_CHECK(type != SOCK_STREAM || listen(fd, 8) == 0);
	FUZZ_CHECK(getsockname(fd, (void *)&a, &len) == 0);
	*number = ntohs(a.sin_port);
	return fd;
}

static void on_readable(struct net_port *p)
{
	static uint8_t header[12], got[NET_FRAME_MAX + 1];
	struct iovec iov[] = { { header, 12 }, { got, sizeof(got) } };

	for (unsigned int i = 0; i < 16; i++) {
		ssize_t n = be->ops->recv(p, iov, 2);

		if (n == -EAGAIN)
			break;
		FUZZ_CHECK(n >= 12 + 14 && n <= 12 + 14 + 1500);
	}
}

static void on_writable(struct net_port *p)
{
	(void)p;
}

static void turn(void)
{
	loop_stop(loop);
	FUZZ_CHECK(loop_run(loop) == 0);
}

/* Sends it to the servers, or nowhere. */
static bool aim(struct frame *f)
{
	uint8_t *ip = f->b + IP_AT;
	uint32_t type = f->len >= 14 ? be16(f->b + 12) : 0;

	if (type == 0x86dd && f->len >= 14 + 40) {
		bool group = ip[24] == 0xff,
		     host = !memcmp(ip + 24, "\xfe\xc0", 2) || !memcmp(ip + 24, "\xfe\x80", 2);
		return (group || host) && ip[6] != IPPROTO_TCP && ip[6] != IPPROTO_UDP;
	}
	if (type != 0x0800 || f->len < L4_AT + 8)
		return true;
	uint8_t *l4 = ip + 4 * (ip[0] & 15);
	bool dhcp = ip[9] == IPPROTO_UDP && be16(l4 + 2) == 67 && be32(ip + 16) == 0xffffffff;
	if (dhcp)
		return true;
	put32(ip + 16, IP_HOST);
	if (l4 + 8 > f->b + f->len)
		return false;
	if (ip[9] == IPPROTO_TCP || ip[9] == IPPROTO_UDP)
		put16(l4 + 2, ports[ip[9] == IPPROTO_UDP]);
	return true;
}

/* The sums that would be looked at first. */
static void fix(struct frame *f)
{
	uint8_t *ip = f->b + IP_AT;

	if (f->len < L4_AT + 8)
		return;
	if (be16(f->b + 12) == 0x0800 && (ip[0] & 15) == 5) {
		put16(ip + 2, (uint32_t)f->len - IP_AT);
		fix_ip_csum(f);
		size_t len = f->len - L4_AT;
		uint32_t pseudo = (uint32_t)(ip[9] + len) + add16(0, ip + 12, 8);

		if (ip[9] == IPPROTO_TCP && len >= 20) {
			put16(f->b + L4_AT + 16, 0);
			put16(f->b + L4_AT + 16, fold(add16(pseudo, f->b + L4_AT, len)));
		} else if (ip[9] == IPPROTO_UDP) {
			put16(f->b + L4_AT + 4, (uint32_t)len);
			put16(f->b + L4_AT + 6, 0);
		} else if (ip[9] == IPPROTO_ICMP) {
			put16(f->b + L4_AT + 2, 0);
			put16(f->b + L4_AT + 2, fold(add16(0, f->b + L4_AT, len)));
		}
	} else if (be16(f->b + 12) == 0x86dd && f->len >= 14 + 48 && ip[6] == IPPROTO_ICMPV6) {
		size_t len = f->len - IP_AT - 40;

		put16(ip + 4, (uint32_t)len);
		put16(ip + 42, 0);
		put16(ip + 42, fold(add16((uint32_t)(len + IPPROTO_ICMPV6) + add16(0, ip + 8, 32),
					  ip + 40, len)));
	}
}

static void transmit(struct frame *f)
{
	uint8_t header[12] = { 0 };
	struct iovec iov[] = { { header, 12 }, { f->b, f->len } };

	be->ops->send(port, iov, 2);
}

/* The servers talk back, or hang up. */
static void serve(uint8_t flags)
{
	static uint8_t buf[5000];
	struct sockaddr_in a;
	socklen_t len = sizeof(a);
	ssize_t n = recvfrom(servers[1], buf, sizeof(buf), 0, (void *)&a, &len);

	if (n > 0 && flags & ANSWER)
		sendto(servers[1], buf, (size_t)n, 0, (void *)&a, len);
	int fd = accept4(servers[0], NULL, NULL, SOCK_NONBLOCK);
	if (fd >= 0 && conns_nr < ARRAY_SIZE(conns))
		conns[conns_nr++] = fd;
	else if (fd >= 0)
		close(fd);
	for (unsigned int i = 0; i < conns_nr; i++) {
		if (flags & DRAIN)
			(void)!read(conns[i], buf, sizeof(buf));
		if (flags & ANSWER)
			(void)!send(conns[i], buf, sizeof(buf), MSG_NOSIGNAL);
	}
	if (flags & SEVER && conns_nr)
		close(conns[--conns_nr]);
}

static void start(void)
{
	static const struct log quiet = { .fd = -1 };
	struct err err = ERR_INIT;

	if (!loop) {
		loop = loop_new(&err);
		servers[0] = server(SOCK_STREAM, &ports[0]);
		servers[1] = server(SOCK_DGRAM, &ports[1]);
	}
	FUZZ_CHECK(net_user_open(&be, &(struct net_user_opts){ 0 }, &quiet, &err) == 0);
	port = &be->ports[0];
	port->loop = loop;
	port->readable = on_readable;
	port->writable = on_writable;
	be->ops->port_watch(port, NET_READABLE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct frame f;

	start();
	for (unsigned int i = 0; size >= 3 && i < 64; i++) {
		uint8_t flags = data[0];
		size_t len = MIN(MIN((size_t)get_le16(data + 1), size - 3), sizeof(f.b));

		memset(&f, 0, sizeof(f));
		memcpy(f.b, data + 3, len);
		f.len = len;
		data += 3 + len;
		size -= 3 + len;
		if (!aim(&f))
			continue;
		if (flags & FIX)
			fix(&f);
		transmit(&f);
		turn();
		serve(flags);
		turn();
	}
	turn();
	while (conns_nr)
		close(conns[--conns_nr]);
	be->ops->port_watch(port, 0);
	be->ops->close(be);
	return 0;
}
