// SPDX-License-Identifier: GPL-2.0
// LINK: chr/port.c chr/console-port.c chr/chr.c chr/out.c chr/fd.c util/loop.c util/log.c util/err.c util/util.c util/thread.c
/* Ports on descriptors and on a console: nothing is lost, nothing blocks, and who waits is called. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <lkvm/chr-port.h>
#include <lkvm/chr.h>
#include <lkvm/log.h>
#include <lkvm/loop.h>
#include <lkvm/util.h>

#define BIG (8u << 20)

static struct loop *loop;
static struct log nolog = { .fd = -1 };
static struct err err;
static struct port *port;
static atomic_uint readies;
static uint8_t pattern[BIG], got[BIG];

static void ready(struct port *p)
{
	ck_assert_ptr_eq(p, port);
	atomic_fetch_add(&readies, 1);
}

static void attach(void)
{
	port->ready = ready;
	port->ops->attach(port, loop);
}

static void turn(void)
{
	loop_stop(loop);
	ck_assert_int_eq(loop_run(loop), 0);
}

/* Until the port has called; a port that never does runs into libcheck's limit. */
static void wait_ready(unsigned int before)
{
	while (atomic_load(&readies) == before) {
		turn();
		usleep(100);
	}
}

static void setup(void)
{
	err = ERR_INIT;
	loop = loop_new(&err);
	atomic_store(&readies, 0);
	for (size_t i = 0; i < BIG; i++)
		pattern[i] = (uint8_t)(i * 31 >> 5 ^ i);
}

static void teardown(void)
{
	loop_free(loop);
}

static void make(int in_fd, int out_fd)
{
	port = chr_port_new("port", in_fd, out_fd, &nolog, &err);
	ck_assert_ptr_nonnull(port);
	attach();
}

static void unmake(void)
{
	port->ops->detach(port);
	chr_port_free(port);
}

/* --- output --- */

struct reader {
	int fd;
	size_t len;
};

static void *read_all(void *arg)
{
	struct reader *r = arg;
	ssize_t n;

	while ((n = read(r->fd, got + r->len, BIG - r->len)) > 0)
		r->len += (size_t)n;
	return NULL;
}

/* Far more than a pipe and the buffer hold, past a reader that begins late. */
START_TEST(output_waits_for_its_reader_and_loses_nothing)
{
	int p[2];
	struct reader r;
	pthread_t t;
	size_t off = 0;
	bool waited = false;

	ck_assert_int_eq(pipe2(p, O_CLOEXEC), 0);
	make(-1, p[1]);
	while (off < BIG) {
		unsigned int before = atomic_load(&readies);
		ssize_t n = port->ops->write(port, pattern + off, MIN(BIG - off, (size_t)65536));

		ck_assert_int_ge(n, 0);
		off += (size_t)n;
		if ((size_t)n == 65536 || off == BIG)
			continue;
		if (!waited) {
			/* A pipe and a buffer: no more than that was taken. */
			ck_assert_uint_le(off, 2u << 20);
			r = (struct reader){ .fd = p[0] };
			ck_assert_int_eq(pthread_create(&t, NULL, read_all, &r), 0);
		}
		waited = true;
		wait_ready(before);
	}
	ck_assert(waited);
	ck_assert_int_eq(chr_port_drain(port, 60000), 0);
	close(p[1]);
	unmake();
	pthread_join(t, NULL);
	ck_assert_uint_eq(r.len, BIG);
	ck_assert_mem_eq(got, pattern, BIG);
	close(p[0]);
}

START_TEST(output_whose_reader_goes_says_so)
{
	int p[2];
	ssize_t n;
	unsigned int before = 0;

	ck_assert_int_eq(pipe2(p, O_CLOEXEC), 0);
	make(-1, p[1]);
	do {
		before = atomic_load(&readies);
		n = port->ops->write(port, pattern, 65536);
	} while (n == 65536);
	close(p[0]);
	/* Who waits for room is told, and then hears why there will never be any. */
	wait_ready(before);
	while ((n = port->ops->write(port, pattern, 65536)) >= 0)
		;
	ck_assert_int_eq(n, -EPIPE);
	ck_assert_int_eq(chr_port_drain(port, 60000), EPIPE);
	unmake();
	close(p[1]);
}

START_TEST(output_that_nobody_reads_is_given_up)
{
	int p[2];

	ck_assert_int_eq(pipe2(p, O_CLOEXEC), 0);
	make(-1, p[1]);
	while (port->ops->write(port, pattern, 65536) == 65536)
		;
	ck_assert_int_eq(chr_port_drain(port, 10), ETIMEDOUT);
	/* Once: the answer stays. */
	ck_assert_int_eq(chr_port_drain(port, 10), ETIMEDOUT);
	unmake();
	close(p[0]);
	close(p[1]);
}

START_TEST(output_to_a_file)
{
	int fd = memfd_create("out", MFD_CLOEXEC);

	make(-1, fd);
	ck_assert_int_eq(port->ops->write(port, pattern, 100), 100);
	ck_assert_int_eq(port->ops->write(port, pattern + 100, 100), 100);
	ck_assert_int_eq(port->ops->read(port, got, 10), -EAGAIN);
	ck_assert_int_eq(chr_port_drain(port, 60000), 0);
	ck_assert_int_eq(pread(fd, got, BIG, 0), 200);
	ck_assert_mem_eq(got, pattern, 200);
	unmake();
	close(fd);
}

static void count(void *arg)
{
	atomic_fetch_add((atomic_uint *)arg, 1);
}

START_TEST(output_ends_when_it_is_asked_to)
{
	atomic_uint changes = 0;
	int p[2];

	ck_assert_int_eq(pipe2(p, O_CLOEXEC), 0);
	make(-1, p[1]);
	chr_port_watch(port, count, &changes);
	while (port->ops->write(port, pattern, 65536) == 65536)
		;
	port->ops->finished(port);
	ck_assert_uint_ge(atomic_load(&changes), 1);
	ck_assert(!chr_port_ended(port));
	ck_assert_int_eq(port->ops->write(port, pattern, 10), -EPIPE);
	/* What was given up counts as lost; in the pipe it is with its reader. */
	ck_assert_int_eq(chr_port_drain(port, 10), ETIMEDOUT);
	ck_assert_uint_gt(chr_port_lost(port), 65536);
	ck_assert(chr_port_ended(port));
	unmake();
	close(p[0]);
	close(p[1]);
}

START_TEST(a_port_without_descriptors)
{
	make(-1, -1);
	ck_assert(chr_port_ended(port));
	ck_assert_int_eq(port->ops->write(port, pattern, 10), -EPIPE);
	ck_assert_int_eq(port->ops->read(port, got, 10), -EAGAIN);
	unmake();
	make(CHR_PORT_ENDED, -1);
	ck_assert_int_eq(port->ops->read(port, got, 10), 0);
	unmake();
}

/* --- input --- */

START_TEST(input_of_a_pipe)
{
	int p[2];

	ck_assert_int_eq(pipe2(p, O_CLOEXEC), 0);
	make(p[0], -1);
	ck_assert_int_eq(port->ops->write(port, pattern, 10), -EPIPE);
	ck_assert_int_eq(port->ops->read(port, got, 100), -EAGAIN);
	turn();
	ck_assert_uint_eq(atomic_load(&readies), 0);
	ck_assert_int_eq(write(p[1], pattern, 100), 100);
	wait_ready(0);
	/* Once, until it was read: nobody spins while the guest has no room. */
	for (unsigned int i = 0; i < 10; i++)
		turn();
	ck_assert_uint_eq(atomic_load(&readies), 1);
	ck_assert_int_eq(port->ops->read(port, got, 60), 60);
	ck_assert_int_eq(port->ops->read(port, got + 60, 60), 40);
	ck_assert_mem_eq(got, pattern, 100);
	ck_assert_int_eq(port->ops->read(port, got, 60), -EAGAIN);
	ck_assert_int_eq(port->ops->read(port, got, 60), -EAGAIN);
	close(p[1]);
	wait_ready(1);
	ck_assert_int_eq(port->ops->read(port, got, 60), 0);
	unmake();
	close(p[0]);
}

START_TEST(input_of_a_file_ends)
{
	int fd = memfd_create("in", MFD_CLOEXEC);

	ck_assert_int_eq(write(fd, pattern, 100), 100);
	lseek(fd, 0, SEEK_SET);
	make(fd, -1);
	ck_assert_int_eq(port->ops->read(port, got, 60), 60);
	ck_assert_int_eq(port->ops->read(port, got, 60), 40);
	ck_assert_int_eq(port->ops->read(port, got, 60), 0);
	unmake();
	close(fd);
}

/* The flags of what was inherited are the shell's. */
START_TEST(descriptors_stay_as_they_are)
{
	int s[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), 0);
	int flags = fcntl(s[0], F_GETFL);
	make(s[0], s[0]);
	ck_assert_int_eq(port->ops->read(port, got, 60), -EAGAIN);
	ck_assert_int_eq(fcntl(s[0], F_GETFL), flags);
	ck_assert_int_eq(port->ops->write(port, pattern, 10), 10);
	ck_assert_int_eq(read(s[1], got, 10), 10);
	unmake();
	ck_assert_int_eq(fcntl(s[0], F_GETFL), flags);
	close(s[0]);
	close(s[1]);
}

/* A VM that starts again attaches its ports again. */
START_TEST(a_port_outlives_its_device)
{
	int p[2];

	ck_assert_int_eq(pipe2(p, O_CLOEXEC), 0);
	make(p[0], -1);
	ck_assert_int_eq(port->ops->read(port, got, 10), -EAGAIN);
	port->ops->detach(port);
	ck_assert_int_eq(write(p[1], pattern, 10), 10);
	turn();
	ck_assert_uint_eq(atomic_load(&readies), 0);
	attach();
	ck_assert_int_eq(port->ops->read(port, got, 10), 10);
	unmake();
	close(p[0]);
	close(p[1]);
}

/* --- a console's --- */

static void make_console(struct chr **chr, int in_fd, int out_fd)
{
	struct chr_config cfg = { .in_fd = in_fd, .out_fd = out_fd, .copy_fd = -1 };

	*chr = chr_new(&cfg, loop, &nolog, &err);
	ck_assert_ptr_nonnull(*chr);
	port = chr_console_port_new(*chr, &err);
	ck_assert_ptr_nonnull(port);
}

START_TEST(a_console_goes_both_ways)
{
	int p[2], fd = memfd_create("out", MFD_CLOEXEC);
	struct chr *chr;
	size_t len = 0;

	ck_assert_int_eq(pipe2(p, O_CLOEXEC), 0);
	/* Typed before there is a device. */
	ck_assert_int_eq(write(p[1], pattern, 3 * CHR_IN_LEN), 3 * CHR_IN_LEN);
	make_console(&chr, p[0], fd);
	turn();
	turn();
	attach();
	while (len < 3 * CHR_IN_LEN) {
		ssize_t n = port->ops->read(port, got + len, 1000);

		if (n > 0)
			len += (size_t)n;
		turn();
	}
	ck_assert_mem_eq(got, pattern, 3 * CHR_IN_LEN);
	ck_assert_int_eq(port->ops->read(port, got, 1000), -EAGAIN);
	unsigned int before = atomic_load(&readies);
	ck_assert_int_eq(write(p[1], pattern, 1), 1);
	wait_ready(before);
	ck_assert_int_eq(port->ops->read(port, got, 1000), 1);
	/* The end of input is not the console's. */
	close(p[1]);
	for (unsigned int i = 0; i < 10; i++)
		turn();
	ck_assert_int_eq(port->ops->read(port, got, 1000), -EAGAIN);
	ck_assert_int_eq(port->ops->write(port, pattern, 5000), 5000);
	chr_drain(chr, 60000);
	ck_assert_int_eq(pread(fd, got, BIG, 0), 5000);
	ck_assert_mem_eq(got, pattern, 5000);
	port->ops->detach(port);
	chr_console_port_free(port);
	chr_free(chr, 0);
	close(p[0]);
	close(fd);
}

/* Linux waits for each byte with interrupts off: a console never does. */
START_TEST(a_console_never_waits)
{
	int p[2];
	struct chr *chr;
	struct chr_stats st;

	ck_assert_int_eq(pipe2(p, O_CLOEXEC), 0);
	make_console(&chr, -1, p[1]);
	attach();
	for (unsigned int i = 0; i < 5; i++)
		ck_assert_int_eq(port->ops->write(port, pattern, BIG), BIG);
	port->ops->detach(port);
	chr_console_port_free(port);
	close(p[0]);
	chr_drain(chr, 10);
	chr_stats(chr, &st);
	ck_assert_uint_eq(st.written, 5 * (uint64_t)BIG);
	chr_free(chr, 0);
	close(p[1]);
}

static void block_sigpipe(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
}

UNIT_SUITE("chr-port", {
	block_sigpipe();
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, output_waits_for_its_reader_and_loses_nothing);
	tcase_add_test(tc, output_whose_reader_goes_says_so);
	tcase_add_test(tc, output_that_nobody_reads_is_given_up);
	tcase_add_test(tc, output_to_a_file);
	tcase_add_test(tc, output_ends_when_it_is_asked_to);
	tcase_add_test(tc, a_port_without_descriptors);
	tcase_add_test(tc, input_of_a_pipe);
	tcase_add_test(tc, input_of_a_file_ends);
	tcase_add_test(tc, descriptors_stay_as_they_are);
	tcase_add_test(tc, a_port_outlives_its_device);
	tcase_add_test(tc, a_console_goes_both_ways);
	tcase_add_test(tc, a_console_never_waits);
})
