// SPDX-License-Identifier: GPL-2.0
// LINK: net/socket.c util/loop.c util/log.c util/err.c util/util.c
/* Frames over a stream socket: cut and joined anywhere, a peer that is slow, gone, or lies. */
#include "unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <lkvm/net/socket.h>
#include <lkvm/util.h>

static struct net_backend *be;
static struct net_port *port;
static struct loop *loop;
static struct log logger;
static int peer;
static char dir[64], path[96];
static unsigned int readable_nr, writable_nr, ups, downs;
static bool take; /* `readable` takes all there is */
static uint8_t got[NET_FRAME_MAX + 1], bytes[NET_FRAME_MAX + 1];
static uint64_t got_frames;

static ssize_t receive(void)
{
	uint8_t header[12];
	struct iovec iov[] = { { header, 12 }, { got, 10 }, { got + 10, sizeof(got) - 10 } };

	memset(header, 0xee, 12);
	ssize_t n = be->ops->recv(port, iov, 3);
	if (n >= 0)
		for (unsigned int i = 0; i < 12; i++)
			ck_assert_uint_eq(header[i], 0);
	return n;
}

static int transmit(const uint8_t *frame, uint32_t len)
{
	uint8_t header[12] = { 1, 2, 3 };
	uint32_t half = len / 2;
	struct iovec iov[] = { { header, 12 },
			       { (void *)frame, half },
			       { (void *)(frame + half), len - half } };

	return be->ops->send(port, iov, 3);
}

static void on_readable(struct net_port *p)
{
	ck_assert_ptr_eq(p, port);
	readable_nr++;
	while (take && receive() >= 0)
		got_frames++;
}

static void on_writable(struct net_port *p)
{
	ck_assert_ptr_eq(p, port);
	writable_nr++;
}

static void on_carrier(struct net_backend *b, bool up)
{
	ck_assert_ptr_eq(b, be);
	*(up ? &ups : &downs) += 1;
}

static void turn(void)
{
	for (unsigned int i = 0; i < 3; i++) {
		loop_stop(loop);
		ck_assert_int_eq(loop_run(loop), 0);
	}
}

static void adopt(void)
{
	port = &be->ports[0];
	port->loop = loop;
	port->readable = on_readable;
	port->writable = on_writable;
	be->on_carrier = on_carrier;
}

static void setup(void)
{
	struct err err = ERR_INIT;

	snprintf(dir, sizeof(dir), "/tmp/net-socket.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/socket", dir);
	for (unsigned int i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 31 + i / 256);
	logger = (struct log){ .fd = memfd_create("log", 0), .level = LOG_DEBUG };
	loop = loop_new(&err);
	ck_assert_ptr_nonnull(loop);
	be = NULL;
}

static void setup_pair(void)
{
	struct err err = ERR_INIT;
	int fds[2];

	setup();
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	peer = fds[0];
	ck_assert_int_eq(
		net_socket_open(&be, &(struct net_socket_opts){ .fd = fds[1] }, &logger, &err), 0);
	adopt();
}

static void teardown(void)
{
	if (be) {
		be->ops->port_watch(&be->ports[0], 0);
		be->ops->close(be);
	}
	close(peer);
	loop_free(loop);
	close(logger.fd);
	unlink(path);
	ck_assert_int_eq(rmdir(dir), 0);
}

static bool carrier(void)
{
	struct net_info info;

	be->ops->info(be, &info);
	ck_assert_uint_eq(info.tx_offloads | info.rx_offloads, 0);
	ck_assert_uint_eq(info.ports_max, 1);
	return info.carrier;
}

static void put_frame(uint32_t len)
{
	uint32_t prefix = htonl(len);

	ck_assert_int_eq(write(peer, &prefix, 4), 4);
	ck_assert_int_eq(write(peer, bytes, len), len);
}

static uint32_t get_frame(uint8_t *to)
{
	uint32_t prefix, done = 0;

	ck_assert_int_eq(recv(peer, &prefix, 4, MSG_WAITALL), 4);
	while (done < ntohl(prefix)) {
		ssize_t n = read(peer, to + done, ntohl(prefix) - done);

		ck_assert_int_gt(n, 0);
		done += (uint32_t)n;
	}
	return done;
}

START_TEST(frames_both_ways)
{
	static const uint32_t lens[] = { 0, 1, 14, 60, 1514, 9014, 65535, NET_FRAME_MAX };
	int room = 1 << 20;

	setsockopt(peer, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	ck_assert(carrier());
	for (unsigned int i = 0; i < ARRAY_SIZE(lens); i++) {
		put_frame(lens[i]);
		memset(got, 0, sizeof(got));
		ck_assert_int_eq(receive(), 12 + (ssize_t)lens[i]);
		ck_assert_mem_eq(got, bytes, lens[i]);
		ck_assert_int_eq(receive(), -EAGAIN);
		ck_assert_int_eq(transmit(bytes, lens[i]), 0);
		ck_assert_uint_eq(get_frame(got), lens[i]);
		ck_assert_mem_eq(got, bytes, lens[i]);
	}
	/* Longer than any frame is not sent, and costs nothing. */
	ck_assert_int_eq(transmit(bytes, NET_FRAME_MAX + 1), -EMSGSIZE);
	ck_assert(carrier());
}

START_TEST(byte_by_byte)
{
	uint8_t stream[2 * (4 + 50)];

	for (unsigned int i = 0; i < 2; i++) {
		memcpy(stream + 54 * i, &(uint32_t){ htonl(50) }, 4);
		memcpy(stream + 54 * i + 4, bytes, 50);
	}
	for (unsigned int cut = 1; cut < sizeof(stream); cut++) {
		unsigned int frames = 0;

		for (unsigned int off = 0; off < sizeof(stream); off += cut) {
			ck_assert_int_gt(write(peer, stream + off, MIN(cut, sizeof(stream) - off)),
					 0);
			ssize_t n;
			while ((n = receive()) >= 0) {
				ck_assert_int_eq(n, 62);
				ck_assert_mem_eq(got, bytes, 50);
				frames++;
			}
			ck_assert_int_eq(n, -EAGAIN);
		}
		ck_assert_uint_eq(frames, 2);
	}
}

/* A frame that is longer than there is room is cut; the next one is whole. */
START_TEST(cut_to_room)
{
	uint8_t header[10];
	struct iovec iov[] = { { header, 10 }, { got, 20 } };

	put_frame(100);
	put_frame(15);
	ck_assert_int_eq(be->ops->recv(port, iov, 2), 30);
	ck_assert_mem_eq(got, bytes, 20);
	ck_assert_int_eq(be->ops->recv(port, iov, 2), 25);
}

/* A level: it is told as long as there is a frame, also one that was read with another. */
START_TEST(readable_is_a_level)
{
	take = false;
	turn();
	ck_assert_uint_eq(readable_nr, 0);
	for (unsigned int i = 0; i < 5; i++)
		put_frame(100);
	turn();
	ck_assert_uint_eq(readable_nr, 0);
	be->ops->port_watch(port, NET_READABLE);
	for (unsigned int i = 0; i < 5; i++) {
		unsigned int before = readable_nr;

		turn();
		ck_assert_uint_gt(readable_nr, before);
		ck_assert_int_eq(receive(), 112);
	}
	unsigned int before = readable_nr;
	turn();
	ck_assert_uint_eq(readable_nr, before);
	/* Half a frame wakes once, as bytes came, and then no more. */
	ck_assert_int_eq(write(peer, &(uint32_t){ htonl(50) }, 4), 4);
	take = true;
	turn();
	before = readable_nr;
	turn();
	ck_assert_uint_eq(readable_nr, before);
	/* Not watched: not told. */
	be->ops->port_watch(port, 0);
	ck_assert_int_eq(write(peer, bytes, 50), 50);
	turn();
	ck_assert_uint_eq(readable_nr, before);
}

START_TEST(slow_peer)
{
	unsigned int sent = 0, full = 0;

	while (!full) {
		int ret = transmit(bytes, 60000);

		if (ret == -EAGAIN)
			full = 1;
		else
			ck_assert_int_eq(ret, 0);
		sent += !full;
		ck_assert_uint_lt(sent, 1000);
	}
	be->ops->port_watch(port, NET_WRITABLE);
	turn();
	ck_assert_uint_eq(writable_nr, 0);
	for (unsigned int i = 0; i < sent; i++) {
		/* What was begun goes on while the peer reads. */
		ck_assert_uint_eq(({
					  turn();
					  get_frame(got);
				  }),
				  60000);
		ck_assert_mem_eq(got, bytes, 60000);
	}
	turn();
	ck_assert_uint_gt(writable_nr, 0);
	ck_assert_int_eq(transmit(bytes, 60), 0);
	ck_assert_uint_eq(get_frame(got), 60);
}

/* The rest of a frame goes out although nobody asks whether there is room. */
START_TEST(rest_goes_out_by_itself)
{
	unsigned int sent = 0;

	while (transmit(bytes, 60000) == 0)
		sent++;
	be->ops->port_watch(port, 0);
	for (unsigned int i = 0; i < sent; i++) {
		turn();
		ck_assert_uint_eq(get_frame(got), 60000);
	}
	turn();
	ck_assert_uint_eq(writable_nr, 0);
}

START_TEST(peer_goes)
{
	take = true;
	be->ops->port_watch(port, NET_READABLE);
	put_frame(100);
	close(peer);
	turn();
	ck_assert_uint_eq(got_frames, 1);
	ck_assert_uint_eq(downs, 1);
	ck_assert(!carrier());
	unsigned int before = readable_nr;
	turn();
	ck_assert_uint_eq(readable_nr, before);
	ck_assert_int_eq(receive(), -EAGAIN);
	ck_assert_int_eq(transmit(bytes, 60), -ENOTCONN);
	ck_assert_uint_eq(downs, 1);
}

START_TEST(peer_goes_while_we_send)
{
	close(peer);
	ck_assert_int_eq(transmit(bytes, 60), -ENOTCONN);
	ck_assert_uint_eq(downs, 1);
	ck_assert(!carrier());
}

START_TEST(peer_lies)
{
	static const uint32_t lens[] = { NET_FRAME_MAX + 1, 0x80000000, 0xffffffff };
	uint32_t prefix = htonl(lens[_i]);

	put_frame(20);
	ck_assert_int_eq(write(peer, &prefix, 4), 4);
	ck_assert_int_eq(write(peer, bytes, 100), 100);
	ck_assert_int_eq(receive(), 32);
	ck_assert_int_eq(receive(), -EAGAIN);
	ck_assert(!carrier());
	ck_assert_uint_eq(downs, 1);
}

static int dial(void)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	memcpy(addr.sun_path, path, strlen(path));
	ck_assert_int_eq(connect(fd, (void *)&addr, sizeof(addr)), 0);
	return fd;
}

/* One peer after the other; the path goes with the backend. */
START_TEST(serves)
{
	struct err err = ERR_INIT;
	struct net_socket_opts o = { .path = path, .server = true, .fd = -1 };
	struct net_backend *other = NULL;

	ck_assert_int_eq(net_socket_open(&be, &o, &logger, &err), 0);
	adopt();
	take = true;
	ck_assert(!carrier());
	ck_assert_int_eq(transmit(bytes, 60), -ENOTCONN);
	ck_assert_int_eq(net_socket_open(&other, &o, &logger, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.msg, path));
	be->ops->port_watch(port, NET_READABLE);
	for (unsigned int i = 0; i < 3; i++) {
		peer = dial();
		int waits = dial();
		turn();
		ck_assert(carrier());
		ck_assert_uint_eq(ups, 2 * i + 1);
		put_frame(100);
		turn();
		ck_assert_uint_eq(got_frames, 2 * i + 1);
		ck_assert_int_eq(transmit(bytes, 60), 0);
		ck_assert_uint_eq(get_frame(got), 60);
		/* Half a frame of the first is none of the second's. */
		ck_assert_int_eq(write(peer, &(uint32_t){ htonl(50) }, 4), 4);
		close(peer);
		peer = waits;
		turn();
		turn();
		ck_assert_uint_eq(ups, 2 * i + 2);
		put_frame(100);
		turn();
		ck_assert_uint_eq(got_frames, 2 * i + 2);
		close(peer);
		turn();
	}
	peer = -1;
	be->ops->port_watch(port, 0);
	be->ops->close(be);
	be = NULL;
	struct stat st;
	ck_assert_int_eq(stat(path, &st), -1);
}

/* A server that was killed leaves its path; what is no socket, or has somebody listening, is not taken away. */
START_TEST(replaces_what_a_killed_server_left)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct net_socket_opts o = { .path = path, .server = true, .fd = -1 };
	struct err err = ERR_INIT;
	struct stat st;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), file;

	peer = -1;
	memcpy(addr.sun_path, path, strlen(path));
	ck_assert_int_eq(bind(fd, (void *)&addr, sizeof(addr)), 0);
	ck_assert_int_eq(listen(fd, 1), 0);
	ck_assert_int_eq(net_socket_open(&be, &o, &logger, &err), -EINVAL);
	ck_assert_int_eq(stat(path, &st), 0);
	close(fd);
	ck_assert_int_eq(net_socket_open(&be, &o, &logger, &err), 0);
	adopt();
	close(dial());
	be->ops->close(be);
	be = NULL;

	file = creat(path, 0600);
	ck_assert_int_ge(file, 0);
	close(file);
	ck_assert_int_eq(net_socket_open(&be, &o, &logger, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.msg, "is there already"));
	ck_assert_int_eq(stat(path, &st), 0);
}

START_TEST(connects)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct err err = ERR_INIT;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	memcpy(addr.sun_path, path, strlen(path));
	ck_assert_int_eq(bind(fd, (void *)&addr, sizeof(addr)), 0);
	ck_assert_int_eq(listen(fd, 1), 0);
	ck_assert_int_eq(net_socket_open(&be, &(struct net_socket_opts){ .path = path, .fd = -1 },
					 &logger, &err),
			 0);
	adopt();
	peer = accept(fd, NULL, NULL);
	close(fd);
	ck_assert(carrier());
	put_frame(33);
	ck_assert_int_eq(receive(), 45);
}

START_TEST(cannot_be_opened)
{
	char longer[200];
	int pair[2], listening = socket(AF_UNIX, SOCK_STREAM, 0);
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	peer = -1;
	memset(longer, 'x', sizeof(longer));
	longer[199] = 0;
	memcpy(addr.sun_path, path, strlen(path));
	ck_assert_int_eq(bind(listening, (void *)&addr, sizeof(addr)), 0);
	ck_assert_int_eq(listen(listening, 1), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), 0);
	const struct {
		struct net_socket_opts o;
		const char *says;
	} cases[] = {
		{ { .fd = -1 }, "one of path= and fd=" },
		{ { .path = path, .fd = 3 }, "one of path= and fd=" },
		{ { .path = "", .fd = -1 }, "path=" },
		{ { .path = longer, .fd = -1 }, "107 bytes" },
		{ { .path = "/nowhere/socket", .fd = -1 }, "path=/nowhere/socket: nobody answers" },
		{ { .path = "/nowhere/socket", .server = true, .fd = -1 },
		  "path=/nowhere/socket: No such" },
		{ { .fd = pair[0] }, "is not a connected stream socket" },
		{ { .fd = listening }, "is not a connected stream socket" },
		{ { .fd = logger.fd }, "is not a connected stream socket" },
		{ { .fd = 999 }, "fd=999: is not a connected stream socket" },
	};
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		struct err err = ERR_INIT;

		ck_assert_int_eq(net_socket_open(&be, &cases[i].o, &logger, &err), -EINVAL);
		ck_assert_int_eq(err.kind, ERR_USAGE);
		ck_assert_msg(strstr(err.msg, cases[i].says) != NULL, "%s", err.msg);
		ck_assert_ptr_null(be);
	}
	close(listening);
	close(pair[0]);
	close(pair[1]);
}

int main(void)
{
	Suite *s = suite_create("net-socket");
	TCase *tc = tcase_create("pair"), *paths = tcase_create("path");

	tcase_add_checked_fixture(tc, setup_pair, teardown);
	tcase_add_test(tc, frames_both_ways);
	tcase_add_test(tc, byte_by_byte);
	tcase_add_test(tc, cut_to_room);
	tcase_add_test(tc, readable_is_a_level);
	tcase_add_test(tc, slow_peer);
	tcase_add_test(tc, rest_goes_out_by_itself);
	tcase_add_test(tc, peer_goes);
	tcase_add_test(tc, peer_goes_while_we_send);
	tcase_add_loop_test(tc, peer_lies, 0, 3);
	tcase_add_checked_fixture(paths, setup, teardown);
	tcase_add_test(paths, serves);
	tcase_add_test(paths, replaces_what_a_killed_server_left);
	tcase_add_test(paths, connects);
	tcase_add_test(paths, cannot_be_opened);
	suite_add_tcase(s, tc);
	suite_add_tcase(s, paths);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_VERBOSE);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
