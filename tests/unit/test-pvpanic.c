// SPDX-License-Identifier: GPL-2.0
// LINK: hw/pvpanic.c bus.c util/err.c util/log.c util/util.c
#include <fcntl.h>
#include <unistd.h>

#include "unit.h"
#include "fake-hw.h"

#include <lkvm/pvpanic.h>

#define PORT 0x505

static struct pvpanic pvpanic;
static struct err err;
static struct log vm_log;
static int log_pipe[2];

static void setup(void)
{
	ck_assert_int_eq(pipe2(log_pipe, O_NONBLOCK | O_CLOEXEC), 0);
	vm_log = (struct log){ .fd = log_pipe[1], .level = LOG_WARN };
	fake_stop = (struct fake_stop){ 0 };
	err = ERR_INIT;
	bus_init(&fake_bus);
	ck_assert_int_eq(pvpanic_init(&pvpanic, &fake_bus, PORT, NULL, &vm_log, &err), 0);
}

static void teardown(void)
{
	pvpanic_release(&pvpanic);
	ck_assert_uint_eq(inb(PORT), 0xff);
	bus_release(&fake_bus);
	close(log_pipe[0]);
	close(log_pipe[1]);
}

static unsigned int lines_logged(void)
{
	char buf[4096];
	unsigned int lines = 0;
	ssize_t n = read(log_pipe[0], buf, sizeof(buf));

	for (ssize_t i = 0; i < n; i++)
		lines += buf[i] == '\n';
	return lines;
}

START_TEST(every_value)
{
	ck_assert_uint_eq(inb(PORT), 0x03);
	for (unsigned int v = 0; v < 256; v++) {
		fake_stop = (struct fake_stop){ 0 };
		pvpanic.limit = (struct log_limit){ 0 };
		outb(PORT, v);
		ck_assert_uint_eq(fake_stop.panics, v & 1);
		ck_assert_uint_eq(fake_stop.requests, 0); /* the VM goes on */
		ck_assert_uint_eq(lines_logged(), v >> 1 & 1);
		ck_assert_uint_eq(inb(PORT), 0x03);
	}
}
END_TEST

START_TEST(widths)
{
	out(PORT, 4, 0x01010100);
	ck_assert_uint_eq(fake_stop.panics, 0);
	out(PORT, 2, 0x0001);
	ck_assert_uint_eq(fake_stop.panics, 1);
	out(PORT - 3, 8, 0x0000000001000000);
	ck_assert_uint_eq(fake_stop.panics, 2);
	ck_assert_uint_eq(in(PORT, 4), 0xffffff03);
}
END_TEST

START_TEST(a_flood_is_held_back)
{
	for (unsigned int i = 0; i < 1000; i++)
		outb(PORT, 0x02);
	ck_assert_uint_lt(lines_logged(), 100);
}
END_TEST

START_TEST(port_taken_and_no_log)
{
	struct pvpanic other;

	ck_assert_int_lt(pvpanic_init(&other, &fake_bus, PORT, NULL, NULL, &err), 0);
	ck_assert_int_eq(err.kind, ERR_INTERNAL);
	ck_assert_int_eq(pvpanic_init(&other, &fake_bus, PORT + 1, NULL, NULL, &err), 0);
	outb(PORT + 1, 0x03);
	ck_assert_uint_eq(fake_stop.panics, 1);
	pvpanic_release(&other);
}
END_TEST

UNIT_SUITE("pvpanic", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, every_value);
	tcase_add_test(tc, widths);
	tcase_add_test(tc, a_flood_is_held_back);
	tcase_add_test(tc, port_taken_and_no_log);
})
