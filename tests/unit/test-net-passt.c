// SPDX-License-Identifier: GPL-2.0
// LINK: net/passt.c net/forward.c net/socket.c net/script.c util/loop.c util/log.c util/err.c util/util.c
/* passt, by a program in its place: how it is started, what it is told, and how its end is seen. */
#include "unit.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lkvm/net/passt.h>
#include <lkvm/util.h>

static char dir[64], program[96], args[96];
static struct loop *loop;
static struct net_backend *be;
static struct net_port *port;
static struct log logger;
static struct err err;
static unsigned int fds_before, downs;

static unsigned int count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned int n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void setup(void)
{
	snprintf(dir, sizeof(dir), "/tmp/net-passt.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(program, sizeof(program), "%s/passt", dir);
	snprintf(args, sizeof(args), "%s/args", dir);
	logger = (struct log){ .fd = memfd_create("log", MFD_CLOEXEC), .level = LOG_WARN };
	err = ERR_INIT;
	loop = loop_new(&err);
	fds_before = count_fds();
}

static void teardown(void)
{
	if (be) {
		be->ops->port_watch(port, 0);
		be->ops->close(be);
	}
	ck_assert_uint_eq(count_fds(), fds_before);
	loop_free(loop);
	close(logger.fd);
	unlink(program);
	unlink(args);
	ck_assert_int_eq(rmdir(dir), 0);
}

static void write_program(const char *text)
{
	int fd = open(program, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);

	ck_assert_int_ge(fd, 0);
	dprintf(fd, "#!/bin/sh\n%s", text);
	close(fd);
}

static const char *read_file(int fd)
{
	static char text[4096];

	memset(text, 0, sizeof(text));
	ck_assert_int_ge(pread(fd, text, sizeof(text) - 1, 0), 0);
	return text;
}

static void on_carrier(struct net_backend *b, bool up)
{
	ck_assert_ptr_eq(b, be);
	ck_assert(!up);
	downs++;
}

static ssize_t receive(uint8_t *to, size_t len)
{
	uint8_t header[12];
	struct iovec iov[] = { { header, 12 }, { to, len } };

	return be->ops->recv(port, iov, 2);
}

static void on_readable(struct net_port *p)
{
	uint8_t frame[100];

	(void)p;
	receive(frame, sizeof(frame));
}

static void turn(void)
{
	loop_stop(loop);
	ck_assert_int_eq(loop_run(loop), 0);
}

static int open_it(struct net_passt_opts o)
{
	o.program = program;
	int ret = net_passt_open(&be, &o, &logger, &err);
	if (ret)
		return ret;
	port = &be->ports[0];
	port->loop = loop;
	port->readable = on_readable;
	be->on_carrier = on_carrier;
	return 0;
}

/* As passt does: it says that it is ready by its end, and goes on in the background. */
#define ECHO "(exec cat <&3 >&3) </dev/null >/dev/null 2>&1 &\n"

START_TEST(frames_there_and_back)
{
	uint8_t header[12] = { 0 }, bytes[60] = { 1, 2, 3 }, got[100];
	struct iovec iov[] = { { header, 12 }, { bytes, 60 } };
	char told[256];

	snprintf(told, sizeof(told), "echo \"$@\" >%s\n" ECHO, args);
	write_program(told);
	ck_assert_msg(!open_it((struct net_passt_opts){
			      .hostfwd = "tcp::8080-:80+udp:0.0.0.0:53-:5353", .mtu = 1400 }),
		      "%s", err.msg);
	int fd = open(args, O_RDONLY);
	ck_assert_str_eq(read_file(fd), "--quiet --fd 3 --mtu 1400 --tcp-ports 127.0.0.1/8080:80 "
					"--udp-ports 0.0.0.0/53:5353\n");
	close(fd);
	ck_assert_str_eq(read_file(logger.fd),
			 "lkvm: network: tcp 127.0.0.1:8080 -> guest port 80\n"
			 "lkvm: network: udp 0.0.0.0:53 -> guest port 5353\n");
	ck_assert_int_eq(be->ops->send(port, iov, 2), 0);
	while (receive(got, sizeof(got)) == -EAGAIN)
		;
	ck_assert_mem_eq(got, bytes, 60);
}

/* The other end is closed with the program: no descriptor of it stays here. */
START_TEST(its_death_is_a_lost_carrier)
{
	write_program("(read line <&3) &\n");
	ck_assert_msg(!open_it((struct net_passt_opts){ 0 }), "%s", err.msg);
	struct net_info info;
	be->ops->info(be, &info);
	ck_assert(info.carrier);
	be->ops->port_watch(port, NET_READABLE);
	turn();
	ck_assert_uint_eq(downs, 0);
	uint8_t header[12] = { 0 }, bytes[60] = "\n\n\n";
	memset(bytes, '\n', sizeof(bytes));
	ck_assert_int_eq(be->ops->send(port, (struct iovec[]){ { header, 12 }, { bytes, 60 } }, 2),
			 0);
	while (!downs)
		turn();
	be->ops->info(be, &info);
	ck_assert(!info.carrier);
	ck_assert_ptr_nonnull(strstr(read_file(logger.fd), "passt is not connected any more"));
}

/* Nothing is left behind: it sees the end of its descriptor. */
START_TEST(ends_with_us)
{
	char text[256];
	struct stat st;

	snprintf(text, sizeof(text),
		 "(cat <&3 >/dev/null; echo >%s) </dev/null >/dev/null 2>&1 &\n", args);
	write_program(text);
	ck_assert_msg(!open_it((struct net_passt_opts){ 0 }), "%s", err.msg);
	be->ops->close(be);
	be = NULL;
	while (stat(args, &st))
		;
}

static const struct {
	const char *program;
	struct net_passt_opts o;
	enum err_kind kind;
	const char *says;
} bad[] = {
	{ NULL, { 0 }, ERR_HOST, "is missing: install the Debian package passt, or use mode=user" },
	{ "exit 1\n", { 0 }, ERR_HOST, "passt: ended with status 1" },
	{ "kill -9 $$\n", { 0 }, ERR_HOST, "passt: was ended by signal 9" },
	{ ECHO,
	  { .hostfwd = "tcp::0-:22" },
	  ERR_USAGE,
	  "hostfwd: passt does not choose a port: give one that is not 0, or use mode=user" },
	{ ECHO,
	  { .hostfwd = "tcp::1-10.0.2.15:22" },
	  ERR_USAGE,
	  "hostfwd: passt takes IPv4 addresses, and no GADDR" },
	{ ECHO,
	  { .hostfwd = "tcp:[::1]:1-[::1]:22" },
	  ERR_USAGE,
	  "hostfwd: passt takes IPv4 addresses, and no GADDR" },
	{ ECHO, { .hostfwd = "tcp" }, ERR_USAGE, "hostfwd=tcp: is not tcp|udp:" },
};

START_TEST(does_not_start)
{
	if (bad[_i].program)
		write_program(bad[_i].program);
	ck_assert_int_lt(open_it(bad[_i].o), 0);
	ck_assert_int_eq(err.kind, bad[_i].kind);
	ck_assert_msg(strstr(err.msg, bad[_i].says) != NULL, "%s", err.msg);
	ck_assert_ptr_null(be);
}

UNIT_SUITE("net-passt", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, frames_there_and_back);
	tcase_add_test(tc, its_death_is_a_lost_carrier);
	tcase_add_test(tc, ends_with_us);
	tcase_add_loop_test(tc, does_not_start, 0, ARRAY_SIZE(bad));
})
