// SPDX-License-Identifier: GPL-2.0
// LINK: net/pcap.c net/socket.c util/thread.c util/loop.c util/log.c util/err.c util/util.c
// LIBS: -Wl,--wrap=util_write_all
/* Frames that are recorded: what is in the file, and that the network does not mind how the file is. */
#include "unit.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <lkvm/net/pcap.h>
#include <lkvm/net/socket.h>
#include <lkvm/util.h>

static char path[64];
static struct loop *loop;
static struct net_backend *be;
static struct net_port *port;
static struct log logger;
static struct err err;
static int peer;
static unsigned int fds_before, readables, writables, downs;
static uint8_t bytes[NET_FRAME_MAX], got[NET_FRAME_MAX + 1];

/* A file that takes nothing until it is let go. */
static _Atomic bool held;
static sem_t let_go;
int __real_util_write_all(int fd, const void *buf, size_t len);
int __wrap_util_write_all(int fd, const void *buf, size_t len);
int __wrap_util_write_all(int fd, const void *buf, size_t len)
{
	if (atomic_exchange(&held, false))
		sem_wait(&let_go);
	return __real_util_write_all(fd, buf, len);
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

static void on_readable(struct net_port *p)
{
	ck_assert_ptr_eq(p, port);
	readables++;
}

static void on_writable(struct net_port *p)
{
	ck_assert_ptr_eq(p, port);
	writables++;
}

static void on_carrier(struct net_backend *b, bool up)
{
	ck_assert_ptr_eq(b, be);
	downs += !up;
}

static void setup(void)
{
	snprintf(path, sizeof(path), "/tmp/net-pcap.XXXXXX");
	int fd = mkstemp(path);
	/* What was in it is gone. */
	ck_assert_int_eq(write(fd, path, sizeof(path)), sizeof(path));
	close(fd);
	for (unsigned int i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 31 + i / 256);
	logger = (struct log){ .fd = memfd_create("log", MFD_CLOEXEC), .level = LOG_WARN };
	sem_init(&let_go, 0, 0);
	err = ERR_INIT;
	loop = loop_new(&err);
	fds_before = count_fds();
}

static void open_it(void)
{
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	peer = fds[0];
	ck_assert_int_eq(
		net_socket_open(&be, &(struct net_socket_opts){ .fd = fds[1] }, &logger, &err), 0);
	ck_assert_msg(!net_pcap_open(&be, path, &logger, &err), "%s", err.msg);
	port = &be->ports[0];
	port->loop = loop;
	port->readable = on_readable;
	port->writable = on_writable;
	be->on_carrier = on_carrier;
}

static void shut(void)
{
	be->ops->port_watch(port, 0);
	be->ops->close(be);
	close(peer);
	be = NULL;
}

static void teardown(void)
{
	if (be)
		shut();
	ck_assert_uint_eq(count_fds(), fds_before);
	loop_free(loop);
	close(logger.fd);
	unlink(path);
	rmdir(path);
}

static const char *logged(void)
{
	static char text[4096];

	memset(text, 0, sizeof(text));
	ck_assert_int_ge(pread(logger.fd, text, sizeof(text) - 1, 0), 0);
	return text;
}

static void turn(void)
{
	loop_stop(loop);
	ck_assert_int_eq(loop_run(loop), 0);
}

static int transmit(uint32_t len)
{
	uint8_t header[12];
	struct iovec iov[] = { { header, 12 },
			       { bytes, len / 3 },
			       { bytes + len / 3, len - len / 3 } };

	memset(header, 0xff, sizeof(header));
	return be->ops->send(port, iov, 3);
}

static ssize_t receive(void)
{
	uint8_t header[12];
	struct iovec iov[] = { { header, 12 }, { got, 18 }, { got + 18, sizeof(got) - 18 } };

	return be->ops->recv(port, iov, 3);
}

static void put_frame(uint32_t len)
{
	uint32_t prefix = htonl(len);

	ck_assert_int_eq(write(peer, &prefix, 4), 4);
	ck_assert_int_eq(write(peer, bytes, len), len);
}

static void eat_frame(uint32_t len)
{
	static uint8_t buf[4 + NET_FRAME_MAX];

	ck_assert_int_eq(recv(peer, buf, 4 + len, MSG_WAITALL), 4 + len);
	ck_assert_mem_eq(buf + 4, bytes, len);
}

/* The file's records: their lengths; the bytes and the times are looked at here. */
static unsigned int read_back(uint32_t *lens, unsigned int max)
{
	static uint8_t buf[NET_FRAME_MAX];
	uint32_t head[6], rec[4], last[2] = { 0, 0 };
	unsigned int nr = 0;
	FILE *f = fopen(path, "re");

	ck_assert_int_eq(fread(head, sizeof(head), 1, f), 1);
	ck_assert_uint_eq(head[0], 0xa1b23c4d);
	ck_assert_uint_eq(head[1], 2 | 4 << 16);
	ck_assert_uint_ge(head[4], NET_FRAME_MAX);
	ck_assert_uint_eq(head[5], 1);
	while (fread(rec, sizeof(rec), 1, f) == 1) {
		ck_assert_uint_lt(rec[1], 1000000000);
		ck_assert(rec[0] > last[0] || (rec[0] == last[0] && rec[1] >= last[1]));
		memcpy(last, rec, sizeof(last));
		ck_assert_uint_eq(rec[2], rec[3]);
		ck_assert_uint_le(rec[2], sizeof(buf));
		ck_assert_uint_eq(fread(buf, 1, rec[2], f), rec[2]);
		ck_assert_mem_eq(buf, bytes, rec[2]);
		ck_assert_uint_lt(nr, max);
		lens[nr++] = rec[2];
	}
	ck_assert_int_eq(ftell(f), (long)({
				 struct stat st;
				 fstat(fileno(f), &st);
				 st.st_size;
			 }));
	fclose(f);
	if (last[0])
		ck_assert_int_le(time(NULL) - (time_t)last[0], 100);
	return nr;
}

START_TEST(records_both_ways)
{
	static const uint32_t lens[] = { 14, 60, 1514, 9014, 65535, NET_FRAME_MAX };
	uint32_t back[64];
	struct stat st;
	int room = 1 << 20;

	open_it();
	setsockopt(peer, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	for (unsigned int i = 0; i < ARRAY_SIZE(lens); i++) {
		ck_assert_int_eq(transmit(lens[i]), 0);
		eat_frame(lens[i]);
		put_frame(lens[i] - 1);
		ck_assert_int_eq(receive(), 12 + (ssize_t)lens[i] - 1);
		ck_assert_mem_eq(got, bytes, lens[i] - 1);
	}
	ck_assert_int_eq(receive(), -EAGAIN);
	shut();
	ck_assert_uint_eq(read_back(back, 64), 2 * ARRAY_SIZE(lens));
	for (unsigned int i = 0; i < ARRAY_SIZE(lens); i++) {
		ck_assert_uint_eq(back[2 * i], lens[i]);
		ck_assert_uint_eq(back[2 * i + 1], lens[i] - 1);
	}
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_str_eq(logged(), "");
}

START_TEST(is_as_what_it_records)
{
	struct net_info info;

	open_it();
	be->ops->info(be, &info);
	ck_assert_uint_eq(info.ports_max, 1);
	ck_assert(info.carrier);
	ck_assert_int_eq(be->ops->set_header(be, 12), 0);
	ck_assert_int_eq(be->ops->set_offloads(be, 0), 0);
	ck_assert_int_eq(be->ops->set_ports(be, 1), 0);
	be->ops->port_watch(port, NET_READABLE | NET_WRITABLE);
	put_frame(60);
	turn();
	ck_assert_uint_gt(readables, 0);
	ck_assert_uint_gt(writables, 0);
	ck_assert_int_eq(receive(), 72);
	close(peer);
	ck_assert_int_eq(receive(), -EAGAIN);
	ck_assert_uint_eq(downs, 1);
	/* What is not sent is not recorded. */
	ck_assert_int_eq(transmit(60), -ENOTCONN);
	peer = -1;
	shut();
	uint32_t back[8];
	ck_assert_uint_eq(read_back(back, 8), 1);
}

/* The file is slow: what finds no room is not recorded, and is sent. */
START_TEST(a_slow_file)
{
	static uint32_t back[1000];
	unsigned int sent = 200;

	open_it();
	held = true;
	for (unsigned int i = 0; i < sent; i++) {
		ck_assert_int_eq(transmit(60000), 0);
		eat_frame(60000);
	}
	sem_post(&let_go);
	shut();
	unsigned int nr = read_back(back, 1000);
	ck_assert_uint_ge(nr, NET_PCAP_BUFFER / 60016 - 1);
	ck_assert_uint_lt(nr, sent);
	ck_assert_ptr_nonnull(
		strstr(logged(), "frames came faster than the file could be written"));
}

/* The disk is full: one line, and frames go their way. */
START_TEST(a_full_disk)
{
	struct rlimit old, small;
	const char *first;

	getrlimit(RLIMIT_FSIZE, &old);
	small = old;
	small.rlim_cur = 100000;
	open_it();
	setrlimit(RLIMIT_FSIZE, &small);
	for (unsigned int i = 0; i < 300; i++) {
		ck_assert_int_eq(transmit(60000), 0);
		eat_frame(60000);
	}
	shut();
	setrlimit(RLIMIT_FSIZE, &old);
	first = strstr(logged(), "pcap: recording ends: File too large");
	ck_assert_ptr_nonnull(first);
	ck_assert_ptr_null(strstr(first + 1, "pcap:"));
}

START_TEST(cannot_be_opened)
{
	static const struct {
		const char *path, *says;
		enum err_kind kind;
	} bad[] = {
		{ "/nonexistent/file", "pcap=/nonexistent/file: cannot be written: No such file",
		  ERR_HOST },
		{ "/dev/null", "pcap=/dev/null: is not a regular file", ERR_USAGE },
		{ "/tmp", "pcap=/tmp: cannot be written: Is a directory", ERR_HOST },
	};
	struct net_backend *inner = (void *)8;
	char fifo[80];

	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		err = ERR_INIT;
		ck_assert_int_lt(net_pcap_open(&inner, bad[i].path, &logger, &err), 0);
		ck_assert_msg(strncmp(err.msg, bad[i].says, strlen(bad[i].says)) == 0, "%s",
			      err.msg);
		ck_assert_int_eq(err.kind, bad[i].kind);
		ck_assert_ptr_eq(inner, (void *)8);
	}
	/* Nobody is waited for. */
	snprintf(fifo, sizeof(fifo), "%s.fifo", path);
	ck_assert_int_eq(mkfifo(fifo, 0600), 0);
	ck_assert_int_lt(net_pcap_open(&inner, fifo, &logger, &err), 0);
	unlink(fifo);
}

UNIT_SUITE("net-pcap", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, records_both_ways);
	tcase_add_test(tc, is_as_what_it_records);
	tcase_add_test(tc, a_slow_file);
	tcase_add_test(tc, a_full_disk);
	tcase_add_test(tc, cannot_be_opened);
})
