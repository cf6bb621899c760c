// SPDX-License-Identifier: GPL-2.0
// LINK: net/user.c net/user-check.c net/user-fds.c net/user-lib.c net/forward.c util/loop.c util/log.c util/err.c util/util.c
// LIBS: -Wl,--wrap=epoll_wait
/* The user-mode network, by the library itself: the test is the guest, and what listens on loopback. */
#include "unit.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <lkvm/net/user.h>
#include <lkvm/util.h>

#include "user-frames.h"

static struct loop *loop;
static struct net_backend *be;
static struct net_port *port;
static struct log logger;
static struct err err;
static unsigned int waits, fds_before;
static bool take = true;

/* Counts the loop's turns, and the backend's own looks. */
int __real_epoll_wait(int fd, struct epoll_event *ev, int max, int timeout);
int __wrap_epoll_wait(int fd, struct epoll_event *ev, int max, int timeout);
int __wrap_epoll_wait(int fd, struct epoll_event *ev, int max, int timeout)
{
	waits++;
	return __real_epoll_wait(fd, ev, max, timeout);
}

static unsigned int count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned int n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* --- the guest --- */

#define KEPT 4096
static struct frame *kept;
static unsigned int kept_nr;

static bool receive(void)
{
	struct frame *f = &kept[kept_nr];
	uint8_t header[12];
	struct iovec iov[] = { { header, 12 }, { f->b, 100 }, { f->b + 100, sizeof(f->b) - 100 } };

	memset(header, 0xff, sizeof(header));
	ssize_t n = be->ops->recv(port, iov, 3);
	if (n == -EAGAIN)
		return false;
	ck_assert_int_ge(n, 12 + 14);
	for (unsigned int i = 0; i < 12; i++)
		ck_assert_uint_eq(header[i], 0);
	f->len = (size_t)n - 12;
	kept_nr = (kept_nr + 1) % KEPT;
	return true;
}

static void on_readable(struct net_port *p)
{
	ck_assert_ptr_eq(p, port);
	for (unsigned int i = 0; take && i < 8 && receive(); i++)
		;
}

static void on_writable(struct net_port *p)
{
	(void)p;
}

static void turn(void)
{
	loop_stop(loop);
	ck_assert_int_eq(loop_run(loop), 0);
}

static int transmit(const struct frame *f)
{
	uint8_t header[12] = { 0 };
	size_t half = f->len / 2;
	struct iovec iov[] = { { header, 12 },
			       { (void *)f->b, half },
			       { (void *)(f->b + half), f->len - half } };

	return be->ops->send(port, iov, 3);
}

static void say(const struct frame *f)
{
	ck_assert_int_eq(transmit(f), 0);
	turn();
}

/* The next frame that `is` says yes to; NULL: none came. Answers whoever asks for the guest's address. */
static struct frame *hear(bool (*is)(const struct frame *f), unsigned int ms)
{
	uint64_t deadline = util_now_ns() + ms * 1000000ULL;
	static unsigned int seen;

	do {
		turn();
		for (; seen != kept_nr; seen = (seen + 1) % KEPT) {
			if (is_arp_for_guest(&kept[seen]))
				say(arp_answer());
			if (is(&kept[seen])) {
				struct frame *f = &kept[seen];

				seen = (seen + 1) % KEPT;
				return f;
			}
		}
	} while (util_now_ns() < deadline);
	return NULL;
}

/* --- life --- */

static void open_it(const struct net_user_opts *o)
{
	ck_assert_msg(!net_user_open(&be, o, &logger, &err), "%s", err.msg);
	port = &be->ports[0];
	port->loop = loop;
	port->readable = on_readable;
	port->writable = on_writable;
	be->ops->port_watch(port, NET_READABLE);
}

static void setup(void)
{
	err = ERR_INIT;
	loop = loop_new(&err);
	kept = calloc(KEPT, sizeof(*kept));
	logger = (struct log){ .fd = memfd_create("log", 0), .level = LOG_WARN };
	fds_before = count_fds();
}

static void shut(void)
{
	if (be) {
		be->ops->port_watch(port, 0);
		be->ops->close(be);
	}
	be = NULL;
}

static void teardown(void)
{
	shut();
	ck_assert_uint_eq(count_fds(), fds_before);
	loop_free(loop);
	free(kept);
	close(logger.fd);
}

static const char *logged(void)
{
	static char text[8192];

	memset(text, 0, sizeof(text));
	ck_assert_int_ge(pread(logger.fd, text, sizeof(text) - 1, 0), 0);
	return text;
}

static int server(int type, uint16_t *number)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, type, 0);

	ck_assert_int_eq(bind(fd, (void *)&a, sizeof(a)), 0);
	if (type == SOCK_STREAM)
		ck_assert_int_eq(listen(fd, 8), 0);
	ck_assert_int_eq(getsockname(fd, (void *)&a, &len), 0);
	*number = ntohs(a.sin_port);
	return fd;
}

/* --- what the guest finds --- */

START_TEST(gives_an_address)
{
	struct frame *f;

	open_it(&(struct net_user_opts){ 0 });
	say(dhcp(1));
	f = hear(is_dhcp, 5000);
	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(dhcp_type(f), 2);
	/* yiaddr */
	ck_assert_mem_eq(f->b + 14 + 20 + 8 + 16, "\x0a\x00\x02\x0f", 4);
	say(dhcp(3));
	f = hear(is_dhcp, 5000);
	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(dhcp_type(f), 5);
}

START_TEST(has_neighbours)
{
	open_it(&(struct net_user_opts){ 0 });
	for (uint8_t i = 2; i <= 3; i++) {
		say(arp_request(i));
		struct frame *f = hear(is_arp_reply, 5000);
		ck_assert_ptr_nonnull(f);
		ck_assert_uint_eq(f->b[31], i);
	}
	say(arp_request(77));
	ck_assert_ptr_null(hear(is_arp_reply, 20));
	say(echo_request());
	ck_assert_ptr_nonnull(hear(is_echo_reply, 5000));
}

START_TEST(has_a_router_by_ipv6)
{
	open_it(&(struct net_user_opts){ 0 });
	say(router_solicit());
	struct frame *f = hear(is_router_advert, 5000);
	ck_assert_ptr_nonnull(f);
	/* The prefix option: fec0::/64 */
	ck_assert_ptr_nonnull(memmem(f->b, f->len, "\x03\x04\x40", 3));
	ck_assert_ptr_nonnull(memmem(f->b, f->len, "\xfe\xc0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16));
}

static void echo_udp(int fd)
{
	uint8_t buf[2048];
	struct sockaddr_in a;
	socklen_t len = sizeof(a);
	ssize_t n = recvfrom(fd, buf, sizeof(buf), 0, (void *)&a, &len);

	ck_assert_int_eq(n, 100);
	for (unsigned int i = 0; i < 100; i++)
		ck_assert_uint_eq(buf[i], i);
	ck_assert_int_eq(sendto(fd, buf, 77, 0, (void *)&a, len), 77);
}

static bool is_udp_77(const struct frame *f)
{
	return is_udp(f, 4000) && f->len == 14 + 20 + 8 + 77;
}

START_TEST(talks_to_the_host_by_udp)
{
	uint16_t number;
	int fd = server(SOCK_DGRAM, &number);

	open_it(&(struct net_user_opts){ 0 });
	for (unsigned int i = 0; i < 20; i++) {
		say(udp_to_host(4000, number, 100));
		echo_udp(fd);
		struct frame *f = hear(is_udp_77, 5000);
		ck_assert_ptr_nonnull(f);
		for (uint8_t k = 0; k < 77; k++)
			ck_assert_uint_eq(f->b[14 + 28 + k], k);
	}
	close(fd);
}

START_TEST(restricted_reaches_nobody)
{
	uint16_t number, listens;
	uint8_t byte;
	int fd = server(SOCK_DGRAM, &number), tcp = server(SOCK_STREAM, &listens);

	open_it(&(struct net_user_opts){ .restricted = true });
	say(udp_to_host(4000, number, 100));
	say(tcp_segment(4001, listens, 1000, 0, TCP_SYN, NULL, 0));
	say(dhcp(1));
	ck_assert_ptr_nonnull(hear(is_dhcp, 5000));
	ck_assert_int_eq(recv(fd, &byte, 1, MSG_DONTWAIT), -1);
	ck_assert_int_eq(fcntl(tcp, F_SETFL, O_NONBLOCK), 0);
	ck_assert_int_eq(accept(tcp, NULL, NULL), -1);
	close(fd);
	close(tcp);
}

/* --- connections --- */

static bool is_synack(const struct frame *f)
{
	return is_tcp(f) && (tcp_flags(f) & (TCP_SYN | TCP_ACK)) == (TCP_SYN | TCP_ACK);
}

static bool is_syn(const struct frame *f)
{
	return is_tcp(f) && (tcp_flags(f) & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

static bool is_data(const struct frame *f)
{
	return is_tcp(f) && tcp_data_len(f) > 0;
}

static int accept_soon(int fd)
{
	int conn = -1;

	fcntl(fd, F_SETFL, O_NONBLOCK);
	for (unsigned int i = 0; conn < 0 && i < 1000; i++) {
		turn();
		conn = accept(fd, NULL, NULL);
	}
	ck_assert_int_ge(conn, 0);
	return conn;
}

START_TEST(connects_to_the_host_by_tcp)
{
	uint16_t number;
	char text[16] = "";
	int fd = server(SOCK_STREAM, &number);

	open_it(&(struct net_user_opts){ 0 });
	say(tcp_segment(4001, number, 1000, 0, TCP_SYN, NULL, 0));
	struct frame *f = hear(is_synack, 5000);
	ck_assert_ptr_nonnull(f);
	uint32_t seq = tcp_seq(f) + 1;
	say(tcp_segment(4001, number, 1001, seq, TCP_ACK, "question", 8));
	int conn = accept_soon(fd);
	ck_assert_int_eq(read(conn, text, 8), 8);
	ck_assert_str_eq(text, "question");
	ck_assert_int_eq(write(conn, "answer", 6), 6);
	f = hear(is_data, 5000);
	ck_assert_ptr_nonnull(f);
	ck_assert_mem_eq(tcp_data(f), "answer", 6);
	close(conn);
	close(fd);
}

/* The port that was chosen is told, in the log and to who asks. */
static unsigned int told_port(void)
{
	const struct net_forwards *fw = be->forwards;
	unsigned int number = net_addr_port(&fw->list[0].host);
	char line[128];

	ck_assert_uint_eq(fw->nr, 1);
	ck_assert_uint_ne(number, 0);
	snprintf(line, sizeof(line), "lkvm: network: tcp 127.0.0.1:%u -> guest port 22\n", number);
	ck_assert_str_eq(logged(), line);
	return number;
}

static int dial(unsigned int number)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				 .sin_port = htons((uint16_t)number) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	ck_assert_int_eq(connect(fd, (void *)&a, sizeof(a)), 0);
	return fd;
}

START_TEST(lets_the_host_in)
{
	char text[16] = "";

	logger.level = LOG_ERROR;
	open_it(&(struct net_user_opts){ .hostfwd = "tcp::0-:22", .restricted = true });
	int fd = dial(told_port());
	struct frame *f = hear(is_syn, 5000);
	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(tcp_dport(f), 22);
	uint16_t peer = tcp_sport(f);
	uint32_t seq = tcp_seq(f) + 1;
	say(tcp_segment(22, peer, 500, seq, TCP_SYN | TCP_ACK, NULL, 0));
	ck_assert_int_eq(write(fd, "hello", 5), 5);
	f = hear(is_data, 5000);
	ck_assert_ptr_nonnull(f);
	ck_assert_mem_eq(tcp_data(f), "hello", 5);
	say(tcp_segment(22, peer, 501, seq + 5, TCP_ACK, "world", 5));
	ck_assert_int_eq(recv(fd, text, 5, 0), 5);
	ck_assert_str_eq(text, "world");
	/* It ends with the connection open, and another that nobody has answered. */
	int second = dial(net_addr_port(&be->forwards->list[0].host));
	turn();
	shut();
	ck_assert_int_eq(recv(fd, text, 5, 0), 0);
	close(fd);
	close(second);
}

static const char *const forwards[] = {
	"tcp::0-:22",
	"udp::0-:53",
	"tcp:127.0.0.1:0-10.0.2.20:1",
	"tcp:[::1]:0-[fec0::15]:80",
	"udp:[::1]:0-[fec0::15]:80",
	"udp:[::]:0-[fec0::15]:80+udp:0.0.0.0:0-:80",
	"tcp::0-:1+tcp::0-:2+udp::0-:3+tcp:127.0.0.2:0-:4",
};

/* Whoever connects is taken, and nothing of it is left. */
START_TEST(forwards_of_all_kinds)
{
	int fds[8];

	open_it(&(struct net_user_opts){ .hostfwd = forwards[_i] });
	const struct net_forwards *fw = be->forwards;
	for (unsigned int i = 0; i < fw->nr; i++) {
		const struct net_forward *f = &fw->list[i];

		ck_assert_uint_ne(net_addr_port(&f->host), 0);
		fds[i] = socket(f->host.sa.sa_family, f->udp ? SOCK_DGRAM : SOCK_STREAM, 0);
		ck_assert_int_eq(connect(fds[i], &f->host.sa, net_addr_len(&f->host)), 0);
		ck_assert_int_ge(send(fds[i], "x", 1, 0), 0);
		for (unsigned int k = 0; k < 20; k++)
			turn();
	}
	for (unsigned int i = 0; i < fw->nr; i++)
		close(fds[i]);
}

/* --- what must not happen --- */

static void on_end(struct loop_timer *t)
{
	(void)t;
	loop_stop(loop);
}

/* Turns in some time with nothing to do. */
static unsigned int idle_waits(unsigned int ms)
{
	struct loop_timer t = { .fn = on_end };

	turn();
	waits = 0;
	loop_timer_set(loop, &t, util_now_ns() + ms * 1000000ULL);
	ck_assert_int_eq(loop_run(loop), 0);
	return waits;
}

START_TEST(sleeps_when_idle)
{
	uint16_t number;
	int fd = server(SOCK_STREAM, &number);

	open_it(&(struct net_user_opts){ .hostfwd = "tcp::0-:22" });
	ck_assert_uint_lt(idle_waits(100), 20);
	/* Also with a connection, whose peer is slow, and with one that the peer has closed. */
	say(tcp_segment(4001, number, 1000, 0, TCP_SYN, NULL, 0));
	struct frame *f = hear(is_synack, 5000);
	ck_assert_ptr_nonnull(f);
	say(tcp_segment(4001, number, 1001, tcp_seq(f) + 1, TCP_ACK, NULL, 0));
	ck_assert_uint_lt(idle_waits(100), 40);
	close(accept_soon(fd));
	turn();
	ck_assert_uint_lt(idle_waits(100), 40);
	close(fd);
}

static bool is_from_flood(const struct frame *f)
{
	return is_udp(f, 4000);
}

/* A guest that takes nothing: the queue is full, and nobody turns around it. */
START_TEST(waits_for_a_guest_without_room)
{
	uint16_t number;
	int fd = server(SOCK_DGRAM, &number);
	struct sockaddr_in a;
	socklen_t len = sizeof(a);
	uint8_t buf[1000] = { 0 };

	open_it(&(struct net_user_opts){ 0 });
	say(arp_request(2));
	say(udp_to_host(4000, number, 100));
	ck_assert_int_eq(recvfrom(fd, buf, sizeof(buf), 0, (void *)&a, &len), 100);
	take = false;
	be->ops->port_watch(port, 0);
	for (unsigned int i = 0; i < 4000; i++) {
		ck_assert_int_eq(sendto(fd, buf, sizeof(buf), 0, (void *)&a, len), 1000);
		turn();
	}
	ck_assert_uint_lt(idle_waits(50), 20);
	take = true;
	be->ops->port_watch(port, NET_READABLE);
	unsigned int got = 0;
	while (hear(is_from_flood, 50))
		got++;
	ck_assert_uint_ge(got, 700);
	/* And goes on. */
	ck_assert_int_eq(sendto(fd, buf, 77, 0, (void *)&a, len), 77);
	ck_assert_ptr_nonnull(hear(is_udp_77, 5000));
	close(fd);
}

/* Connections end where half of the process's descriptors are. */
START_TEST(leaves_descriptors_for_others)
{
	struct rlimit old, few;
	uint16_t number, listens;
	int fd = server(SOCK_DGRAM, &number), tcp = server(SOCK_STREAM, &listens);
	unsigned int refused = 0, before;

	getrlimit(RLIMIT_NOFILE, &old);
	few = old;
	few.rlim_cur = 100;
	setrlimit(RLIMIT_NOFILE, &few);
	open_it(&(struct net_user_opts){ .hostfwd = "tcp::0-:22" });
	say(tcp_segment(4001, listens, 1000, 0, TCP_SYN, NULL, 0));
	struct frame *f = hear(is_synack, 5000);
	ck_assert_ptr_nonnull(f);
	uint32_t seq = tcp_seq(f) + 1;
	before = count_fds();
	for (uint16_t i = 0; i < 100; i++) {
		refused += transmit(udp_to_host(5000 + i, number, 100)) == -EMFILE;
		turn();
	}
	ck_assert_uint_ge(refused, 45);
	ck_assert_uint_le(count_fds(), before + 55);
	ck_assert_ptr_nonnull(strstr(logged(), "which is the limit"));
	/* No new ones, by what name ever; but those that are there go on. */
	ck_assert_int_eq(transmit(tcp_segment(4002, listens, 1, 0, TCP_SYN, NULL, 0)), -EMFILE);
	ck_assert_int_eq(transmit(echo_request()), -EMFILE);
	say(arp_request(2));
	say(tcp_segment(4001, listens, 1001, seq, TCP_ACK, "question", 8));
	int conn = accept_soon(tcp), in = dial(net_addr_port(&be->forwards->list[0].host));
	ck_assert_int_eq(write(conn, "answer", 6), 6);
	ck_assert_ptr_nonnull(hear(is_data, 5000));
	ck_assert_ptr_null(hear(is_syn, 20));
	setrlimit(RLIMIT_NOFILE, &old);
	close(in);
	close(conn);
	close(fd);
	close(tcp);
}

/* Frames of every length, and every good one cut anywhere or with a byte of nonsense. */
START_TEST(nonsense)
{
	static const uint16_t types[] = { 0x0800, 0x0806, 0x86dd, 0x88f8, 0x8100, 0 };
	const struct frame *good[] = {
		dhcp(1),        arp_request(2),   udp_to_host(4000, 9, 100),
		echo_request(), router_solicit(), tcp_segment(4001, 9, 1, 0, TCP_SYN, NULL, 0)
	};
	struct frame f;

	open_it(&(struct net_user_opts){ .restricted = true });
	for (unsigned int t = 0; t < ARRAY_SIZE(types); t++) {
		for (size_t len = 0; len < 120; len++) {
			memset(f.b, (int)(len * 37 + t), sizeof(f.b));
			f.b[12] = (uint8_t)(types[t] >> 8);
			f.b[13] = (uint8_t)types[t];
			f.len = len;
			transmit(&f);
		}
		turn();
	}
	for (unsigned int g = 0; g < ARRAY_SIZE(good); g++) {
		for (size_t len = 0; len <= good[g]->len; len++) {
			f = *good[g];
			f.len = len;
			transmit(&f);
		}
		turn();
		for (size_t at = 12; at < MIN(good[g]->len, (size_t)80); at++) {
			for (unsigned int v = 0; v < 256; v += 15) {
				f = *good[g];
				f.b[at] = (uint8_t)v;
				transmit(&f);
				if (at < 34)
					fix_ip_csum(&f);
				transmit(&f);
			}
			turn();
		}
	}
	f.len = sizeof(f.b);
	memset(f.b, 0, f.len);
	transmit(&f);
	say(dhcp(1));
	ck_assert_ptr_nonnull(hear(is_dhcp, 5000));
}

START_TEST(too_long_a_frame)
{
	static uint8_t bytes[NET_FRAME_MAX + 1];
	uint8_t header[12] = { 0 };
	struct iovec iov[] = { { header, 12 }, { bytes, sizeof(bytes) } };

	open_it(&(struct net_user_opts){ .mtu = NET_USER_MTU_MAX });
	ck_assert_int_eq(be->ops->send(port, iov, 2), -EMSGSIZE);
	iov[1].iov_len--;
	bytes[12] = 0x08;
	bytes[13] = 0x06;
	ck_assert_int_eq(be->ops->send(port, iov, 2), 0);
	turn();
}

/* --- what cannot be opened --- */

static uint16_t taken_tcp, taken_udp;

START_TEST(cannot_be_opened)
{
	int tcp = server(SOCK_STREAM, &taken_tcp), udp = server(SOCK_DGRAM, &taken_udp);
	char by_tcp[64], by_udp[64];

	snprintf(by_tcp, sizeof(by_tcp), "tcp::0-:1+tcp::%u-:22", taken_tcp);
	snprintf(by_udp, sizeof(by_udp), "udp::0-:1+udp::%u-:22", taken_udp);
	const struct {
		struct net_user_opts o;
		enum err_kind kind;
		const char *says;
	} cases[] = {
		{ { .hostfwd = "tcp:1" }, ERR_USAGE, "hostfwd=tcp:1: is not tcp|udp:[ADDR]:PORT" },
		{ { .hostfwd = by_tcp }, ERR_HOST, "is taken: choose another, or 0" },
		{ { .hostfwd = by_udp }, ERR_HOST, "is taken: choose another, or 0" },
		{ { .hostfwd = "tcp:192.0.2.1:0-:1" },
		  ERR_USAGE,
		  "hostfwd: 192.0.2.1 is no address of this host" },
		{ { .hostfwd = "udp:192.0.2.1:0-:1" },
		  ERR_USAGE,
		  "hostfwd: 192.0.2.1 is no address of this host" },
		{ { .mtu = NET_USER_MTU_MAX + 1 }, ERR_USAGE, "mtu=65522: at most 65521 here" },
		{ { .library = "libnothere.so.0" },
		  ERR_HOST,
		  "the library libslirp is missing: install the Debian package libslirp0" },
		{ { .library = "libc.so.6" }, ERR_HOST, "older than 4.7" },
	};
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		unsigned int before = count_fds();

		err = ERR_INIT;
		ck_assert_int_lt(net_user_open(&be, &cases[i].o, &logger, &err), 0);
		ck_assert_int_eq(err.kind, cases[i].kind);
		ck_assert_msg(strstr(err.msg, cases[i].says) != NULL, "%s", err.msg);
		ck_assert_ptr_null(be);
		ck_assert_uint_eq(count_fds(), before);
	}
	close(tcp);
	close(udp);
}

UNIT_SUITE("net-user", {
	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, gives_an_address);
	tcase_add_test(tc, has_neighbours);
	tcase_add_test(tc, has_a_router_by_ipv6);
	tcase_add_test(tc, talks_to_the_host_by_udp);
	tcase_add_test(tc, restricted_reaches_nobody);
	tcase_add_test(tc, connects_to_the_host_by_tcp);
	tcase_add_test(tc, lets_the_host_in);
	tcase_add_loop_test(tc, forwards_of_all_kinds, 0, ARRAY_SIZE(forwards));
	tcase_add_test(tc, sleeps_when_idle);
	tcase_add_test(tc, waits_for_a_guest_without_room);
	tcase_add_test(tc, leaves_descriptors_for_others);
	tcase_add_test(tc, nonsense);
	tcase_add_test(tc, too_long_a_frame);
	tcase_add_test(tc, cannot_be_opened);
})
