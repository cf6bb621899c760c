// SPDX-License-Identifier: GPL-2.0
// LINK: hw/debug-exit.c bus.c util/err.c
#include "unit.h"
#include "fake-hw.h"

#include <lkvm/debug-exit.h>

#define PORT 0xf4

static struct debug_exit dev;
static struct err err;

static void setup(void)
{
	fake_stop = (struct fake_stop){ 0 };
	err = ERR_INIT;
	bus_init(&fake_bus);
	ck_assert_int_eq(debug_exit_init(&dev, &fake_bus, PORT, NULL, &err), 0);
}

static void teardown(void)
{
	debug_exit_release(&dev);
	ck_assert_uint_eq(inb(PORT), 0xff);
	bus_release(&fake_bus);
}

START_TEST(every_value)
{
	for (unsigned int v = 0; v < 256; v++) {
		outb(PORT, v);
		ck_assert_uint_eq(fake_stop.requests, v + 1);
		ck_assert_int_eq(fake_stop.reason, STOP_DEBUG_EXIT);
		ck_assert_uint_eq(fake_stop.value, v);
	}
	ck_assert_str_eq(fake_stop.detail, "port 0xf4");
	ck_assert_uint_eq(inb(PORT), 0);
}
END_TEST

START_TEST(the_low_byte_of_a_wider_write)
{
	for (unsigned int width = 1; width <= 8; width++) {
		out(PORT, width, 0x1122334455667788);
		ck_assert_uint_eq(fake_stop.requests, width); /* one request a write */
		ck_assert_uint_eq(fake_stop.value, 0x88);
	}
	out(PORT - 1, 2, 0x5a00);
	ck_assert_uint_eq(fake_stop.value, 0x5a);
	ck_assert_uint_eq(in(PORT, 4), 0xffffff00);
}
END_TEST

START_TEST(a_taken_port_is_the_users_to_change)
{
	struct debug_exit other;

	ck_assert_int_eq(debug_exit_init(&other, &fake_bus, PORT, NULL, &err), -22);
	ck_assert_int_eq(err.kind, ERR_USAGE);
	ck_assert_ptr_nonnull(strstr(err.msg, "--debug-exit 0xf4"));
}
END_TEST

START_TEST(the_last_port)
{
	struct debug_exit other;

	ck_assert_int_eq(debug_exit_init(&other, &fake_bus, 0xffff, NULL, &err), 0);
	outb(0xffff, 7);
	ck_assert_uint_eq(fake_stop.value, 7);
	debug_exit_release(&other);
}
END_TEST

UNIT_SUITE("debug-exit", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, every_value);
	tcase_add_test(tc, the_low_byte_of_a_wider_write);
	tcase_add_test(tc, a_taken_port_is_the_users_to_change);
	tcase_add_test(tc, the_last_port);
})
