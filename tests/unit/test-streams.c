/* SPDX-License-Identifier: GPL-2.0 */
// LINK: streams.c hw/cmd-status.c stop.c bus.c chr/chr.c chr/port.c chr/out.c chr/fd.c
// LINK: util/loop.c util/thread.c util/log.c util/util.c util/err.c
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <lkvm/bus.h>
#include <lkvm/chr.h>
#include <lkvm/log.h>
#include <lkvm/loop.h>
#include <lkvm/stop.h>
#include <lkvm/streams.h>
#include <lkvm/util.h>
#include <lkvm/virtio/console.h>

#include "unit.h"

#define BASE 0x510

static struct loop *loop;
static struct stop stop;
static struct streams *streams;
static struct bus bus;
static struct log log_to = { .fd = -1 };
static struct err err;
static unsigned int starts;
static int in[2], out[2], errs[2];

/* Ports that the console was asked of to say when all was taken. */
static struct port *asked[CMD_PORTS_NR];
static bool with_ports;

/* What the guest's serial port has got of stdin. */
static uint8_t got[65536];
static size_t got_nr, room;
static unsigned int writables;

static size_t fe_room(void *arg)
{
	(void)arg;
	return room;
}

static void fe_input(void *arg, const uint8_t *buf, size_t len)
{
	(void)arg;
	ck_assert_uint_le(len, room);
	memcpy(got + got_nr, buf, len);
	got_nr += len;
}

static void fe_writable(void *arg)
{
	(void)arg;
	writables++;
}

static const struct chr_frontend fe = { fe_room, fe_input, fe_writable, NULL };

static uint64_t reg(unsigned int r, unsigned int width)
{
	uint8_t data[8] = { 0 };

	bus_read(&bus, BASE + r, data, width);
	return get_le64(data);
}

static void reg_set(unsigned int r, uint32_t v)
{
	bus_write(&bus, BASE + r, &v, sizeof(v));
}

/* The loop runs until what is due is done. */
static void on_turn(struct loop_post *p)
{
	(void)p;
	loop_stop(loop);
}

static void turn(void)
{
	for (int i = 0; i < 4; i++) {
		struct loop_post p = { .fn = on_turn };

		loop_post(loop, &p);
		ck_assert_int_eq(loop_run(loop), 0);
	}
}

static void setup(void)
{
	signal(SIGPIPE, SIG_IGN);
	with_ports = false;
	memset(asked, 0, sizeof(asked));
	err = ERR_INIT;
	got_nr = writables = starts = 0;
	room = sizeof(got);
	loop = loop_new(&err);
	stop_init(&stop, loop);
	bus_init(&bus);
	ck_assert_int_eq(pipe2(in, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(out, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(errs, O_CLOEXEC), 0);
}

static void on_start(void *arg)
{
	ck_assert_ptr_eq(arg, &starts);
	starts++;
}

static void no_ready(struct port *p)
{
	(void)p;
}

static void on_finish(struct port *p)
{
	for (unsigned int i = 0; i < CMD_PORTS_NR; i++)
		if (streams_console(streams)->ports[i].port == p)
			asked[i] = p;
}

static void make(int in_fd)
{
	struct streams_config cfg = { .in_fd = in_fd,
				      .out_fd = out[1],
				      .err_fd = errs[1],
				      .results_fd = -1,
				      .ports = with_ports,
				      .started = on_start,
				      .arg = &starts };

	streams = streams_new(&cfg, loop, &stop, &log_to, &err);
	ck_assert_ptr_nonnull(streams);
	ck_assert_int_eq(cmd_status_plug(streams_registers(streams), &bus, BASE, &err), 0);
	chr_set_frontend(streams_chr(streams, CMD_STDIO), &fe);
}

static struct port *make_with_ports(int in_fd, enum cmd_port nr)
{
	struct virtio_console_cfg *console;

	with_ports = true;
	make(in_fd);
	console = streams_console(streams);
	for (unsigned int i = 0; i < console->nr; i++) {
		console->ports[i].port->ready = no_ready;
		console->ports[i].port->finish = on_finish;
		console->ports[i].port->ops->attach(console->ports[i].port, loop);
	}
	return console->ports[nr].port;
}

static void teardown(void)
{
	cmd_status_unplug(streams_registers(streams));
	streams_free(streams);
	stop_release(&stop);
	loop_free(loop);
	bus_release(&bus);
	for (int i = 0; i < 2; i++) {
		close(in[i]);
		close(out[i]);
		close(errs[i]);
	}
}

START_TEST(which_streams_there_are)
{
	make(-1);
	ck_assert_ptr_null(streams_chr(streams, 0));
	ck_assert_ptr_nonnull(streams_chr(streams, CMD_STDIO));
	ck_assert_ptr_nonnull(streams_chr(streams, CMD_STDERR));
	ck_assert_ptr_null(streams_chr(streams, CMD_RESULTS));
	ck_assert_ptr_null(streams_chr(streams, CMD_STREAMS_END));
	ck_assert_ptr_null(streams_chr(streams, UINT32_MAX));
}
END_TEST

START_TEST(stdin_is_given_against_credit)
{
	int left;

	make(in[0]);
	ck_assert_int_eq(write(in[1], "0123456789", 10), 10);
	turn();
	ck_assert_uint_eq(got_nr, 0);
	/* Nor is it taken from whoever else may read it. */
	ck_assert_int_eq(ioctl(in[0], FIONREAD, &left), 0);
	ck_assert_int_eq(left, 10);
	ck_assert_uint_eq(starts, 0);
	reg_set(CMD_REG_CREDIT, 4);
	turn();
	ck_assert_uint_eq(got_nr, 4);
	reg_set(CMD_REG_CREDIT, 0);
	turn();
	ck_assert_uint_eq(got_nr, 4);
	reg_set(CMD_REG_CREDIT, 5);
	close(in[1]);
	turn();
	ck_assert_uint_eq(got_nr, 9);
	ck_assert_uint_eq(reg(CMD_REG_STATE, 4), 0);
	reg_set(CMD_REG_CREDIT, 100);
	turn();
	/* All of it, and the byte that says to look. */
	ck_assert_uint_eq(got_nr, 11);
	ck_assert_int_eq(memcmp(got, "0123456789\0", 11), 0);
	ck_assert_uint_eq(starts, 1);
	ck_assert_uint_eq(reg(CMD_REG_STATE, 4), CMD_STATE_ENDED);
	ck_assert_uint_eq(reg(CMD_REG_LEN, 8), 10);
	turn();
	ck_assert_uint_eq(got_nr, 11);
}
END_TEST

START_TEST(credit_does_not_wrap)
{
	make(in[0]);
	for (int i = 0; i < 3; i++)
		reg_set(CMD_REG_CREDIT, CMD_CREDIT_ALL);
	reg_set(CMD_REG_CREDIT, 1);
	for (int i = 0; i < 5; i++) {
		ck_assert_int_eq(write(in[1], "12345678", 8), 8);
		turn();
	}
	ck_assert_uint_eq(got_nr, 40);
}
END_TEST

START_TEST(a_guest_without_room_gets_nothing)
{
	make(in[0]);
	room = 0;
	ck_assert_int_eq(write(in[1], "12345678", 8), 8);
	reg_set(CMD_REG_CREDIT, 4);
	turn();
	ck_assert_uint_eq(got_nr, 0);
	/* And its credit is not spent. */
	room = sizeof(got);
	chr_input_ready(streams_chr(streams, CMD_STDIO));
	turn();
	ck_assert_uint_eq(got_nr, 4);
}
END_TEST

START_TEST(no_stdin_is_an_empty_one)
{
	make(-1);
	turn();
	ck_assert_uint_eq(reg(CMD_REG_STATE, 4), CMD_STATE_ENDED);
	ck_assert_uint_eq(reg(CMD_REG_LEN, 8), 0);
	ck_assert_uint_eq(got_nr, 0);
	reg_set(CMD_REG_CREDIT, 10);
	turn();
	ck_assert_uint_eq(got_nr, 1);
	ck_assert_uint_eq(got[0], 0);
}
END_TEST

/* Reads `want_nr` bytes, slowly at first. (The end of the pipe comes only with that of the streams.) */
static _Atomic size_t read_nr, want_nr;

static void *read_all(void *arg)
{
	static uint8_t buf[65536];
	int fd = *(int *)arg;
	ssize_t n;

	while (read_nr < want_nr && (n = read(fd, buf, read_nr < 1000 ? 100 : sizeof(buf))) > 0)
		read_nr += (size_t)n;
	return NULL;
}

START_TEST(the_end_waits_for_readers)
{
	static uint8_t data[1 << 20];
	struct stop_info info;
	pthread_t thread;
	uint32_t status;

	read_nr = 0;
	make(-1);
	chr_write(streams_chr(streams, CMD_STDIO), data, sizeof(data));
	ck_assert(!streams_status(streams, &status));
	reg_set(CMD_REG_STATUS, 42);
	ck_assert(streams_status(streams, &status));
	ck_assert_uint_eq(status, 42);
	turn();
	/* Nobody reads yet. */
	stop_get(&stop, &info);
	ck_assert_int_eq(info.reason, STOP_NONE);
	want_nr = sizeof(data);
	ck_assert_int_eq(pthread_create(&thread, NULL, read_all, &out[0]), 0);
	ck_assert_int_eq(loop_run(loop), 0);
	stop_get(&stop, &info);
	ck_assert_int_eq(info.reason, STOP_COMMAND);
	ck_assert_uint_eq(info.value, 42);
	int errnum;
	ck_assert_uint_eq(streams_drain(streams, 1000, &errnum), 0);
	ck_assert_int_eq(errnum, 0);
	pthread_join(thread, NULL);
	ck_assert_uint_eq(read_nr, sizeof(data));
}
END_TEST

START_TEST(a_status_with_nothing_written)
{
	struct stop_info info;

	make(-1);
	reg_set(CMD_REG_STATUS, 0);
	ck_assert_int_eq(loop_run(loop), 0);
	stop_get(&stop, &info);
	ck_assert_int_eq(info.reason, STOP_COMMAND);
	ck_assert_uint_eq(info.value, 0);
}
END_TEST

/* Both readers have gone before the status comes. */
START_TEST(readers_that_are_gone)
{
	const uint64_t both = CMD_STATE_GONE(CMD_STDIO) | CMD_STATE_GONE(CMD_STDERR);
	struct stop_info info;
	int errnum;

	make(-1);
	close(out[0]);
	close(errs[0]);
	chr_write(streams_chr(streams, CMD_STDIO), "x\n", 2);
	while (!(reg(CMD_REG_STATE, 4) & CMD_STATE_GONE(CMD_STDIO)))
		turn();
	ck_assert(!(reg(CMD_REG_STATE, 4) & CMD_STATE_GONE(CMD_STDERR)));
	chr_write(streams_chr(streams, CMD_STDERR), "x\n", 2);
	while ((reg(CMD_REG_STATE, 4) & both) != both)
		turn();
	stop_get(&stop, &info);
	ck_assert_int_eq(info.reason, STOP_NONE);
	reg_set(CMD_REG_STATUS, 141);
	ck_assert_int_eq(loop_run(loop), 0);
	stop_get(&stop, &info);
	ck_assert_int_eq(info.reason, STOP_COMMAND);
	streams_drain(streams, 1000, &errnum);
	ck_assert_int_eq(errnum, EPIPE);
}
END_TEST

/* Half of the buffer is in use: the device is to wait, and is told when it may go on. Nothing is lost. */
START_TEST(a_slow_reader_stalls_the_device)
{
	static uint8_t data[1 << 20];
	struct chr *chr;
	pthread_t thread;
	size_t written = 0;
	int errnum;

	read_nr = 0;
	make(-1);
	chr = streams_chr(streams, CMD_STDIO);
	while (!chr_full(chr)) {
		ck_assert_uint_lt(written, CHR_BUF_LEN);
		chr_write(chr, data, sizeof(data));
		written += sizeof(data);
	}
	ck_assert_uint_ge(written, CHR_BUF_LEN / 2);
	/* There is room for what a device has on its way. */
	chr_write(chr, data, sizeof(data));
	written += sizeof(data);
	turn();
	writables = 0;
	want_nr = written;
	ck_assert_int_eq(pthread_create(&thread, NULL, read_all, &out[0]), 0);
	while (!writables)
		turn();
	ck_assert(!chr_full(chr));
	reg_set(CMD_REG_STATUS, 0);
	ck_assert_int_eq(loop_run(loop), 0);
	ck_assert_uint_eq(streams_drain(streams, 1000, &errnum), 0);
	pthread_join(thread, NULL);
	ck_assert_uint_eq(read_nr, written);
}
END_TEST

START_TEST(ports_have_names_and_an_order)
{
	static const char *const names[] = { "lkvm.stdin", "lkvm.stdout", "lkvm.stderr",
					     "lkvm.results" };

	make_with_ports(-1, 0);
	ck_assert_uint_eq(streams_console(streams)->nr, 4);
	for (unsigned int i = 0; i < 4; i++)
		ck_assert_str_eq(streams_console(streams)->ports[i].name, names[i]);
}

START_TEST(no_ports_unless_asked_for)
{
	make(-1);
	ck_assert_ptr_null(streams_console(streams));
}

/* By the port that is its, and without credit; where there is none it ends at once. */
START_TEST(stdin_by_its_port)
{
	struct port *port = make_with_ports(_i ? -1 : in[0], CMD_PORT_STDIN);
	uint8_t buf[16];

	ck_assert_int_eq(write(in[1], "abc", 3), 3);
	close(in[1]);
	turn();
	if (!_i)
		ck_assert_int_eq(port->ops->read(port, buf, sizeof(buf)), 3);
	ck_assert_int_eq(port->ops->read(port, buf, sizeof(buf)), 0);
	ck_assert_uint_eq(got_nr, 0);
}

/* The status ends the VM when the console has said of every port that all was taken, and readers have it. */
START_TEST(the_end_waits_for_ports)
{
	struct port *port = make_with_ports(-1, CMD_PORT_STDOUT);
	struct stop_info info;
	uint8_t buf[16];

	ck_assert_int_eq(port->ops->write(port, (const uint8_t *)"abc", 3), 3);
	reg_set(CMD_REG_STATUS, 5);
	turn();
	for (unsigned int i = 0; i < CMD_PORTS_NR; i++)
		ck_assert_ptr_nonnull(asked[i]);
	ck_assert_int_eq(port->ops->write(port, (const uint8_t *)"def", 3), 3);
	for (unsigned int i = 0; i < CMD_PORTS_NR; i++) {
		stop_get(&stop, &info);
		ck_assert_int_eq(info.reason, STOP_NONE);
		asked[i]->ops->finished(asked[i]);
	}
	ck_assert_int_eq(loop_run(loop), 0);
	stop_get(&stop, &info);
	ck_assert_int_eq(info.reason, STOP_COMMAND);
	ck_assert_uint_eq(info.value, 5);
	ck_assert_int_eq(read(out[0], buf, sizeof(buf)), 6);
	ck_assert_mem_eq(buf, "abcdef", 6);
}

START_TEST(the_reader_of_a_port_is_gone)
{
	struct port *port = make_with_ports(-1, CMD_PORT_STDOUT);

	close(out[0]);
	ck_assert_int_eq(port->ops->write(port, (const uint8_t *)"x", 1), 1);
	while (!(reg(CMD_REG_STATE, 4) & CMD_STATE_GONE(CMD_STDIO)))
		turn();
	ck_assert(!(reg(CMD_REG_STATE, 4) & CMD_STATE_GONE(CMD_STDERR)));
}

UNIT_SUITE("streams", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, which_streams_there_are);
	tcase_add_test(tc, stdin_is_given_against_credit);
	tcase_add_test(tc, credit_does_not_wrap);
	tcase_add_test(tc, a_guest_without_room_gets_nothing);
	tcase_add_test(tc, no_stdin_is_an_empty_one);
	tcase_add_test(tc, the_end_waits_for_readers);
	tcase_add_test(tc, a_status_with_nothing_written);
	tcase_add_test(tc, readers_that_are_gone);
	tcase_add_test(tc, a_slow_reader_stalls_the_device);
	tcase_add_test(tc, ports_have_names_and_an_order);
	tcase_add_test(tc, no_ports_unless_asked_for);
	tcase_add_loop_test(tc, stdin_by_its_port, 0, 2);
	tcase_add_test(tc, the_end_waits_for_ports);
	tcase_add_test(tc, the_reader_of_a_port_is_gone);
})
