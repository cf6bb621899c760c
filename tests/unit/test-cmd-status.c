/* SPDX-License-Identifier: GPL-2.0 */
// LINK: hw/cmd-status.c bus.c util/err.c
#include "unit.h"
#include "fake-hw.h"

#include <lkvm/cmd-status.h>

#define BASE   0x510
#define STATUS (BASE + CMD_REG_STATUS)
#define CREDIT (BASE + CMD_REG_CREDIT)

static struct cmd_status dev;
static unsigned int statuses_nr, credits_nr;
static uint32_t last_status, last_credit;

static void on_status(void *arg, uint32_t status)
{
	ck_assert_ptr_eq(arg, &dev);
	last_status = status;
	statuses_nr++;
}

static void on_credit(void *arg, uint32_t bytes)
{
	ck_assert_ptr_eq(arg, &dev);
	last_credit = bytes;
	credits_nr++;
}

static const struct cmd_status_ops ops = { on_status, on_credit };

static void setup(void)
{
	struct err err = ERR_INIT;

	statuses_nr = credits_nr = last_status = last_credit = 0;
	bus_init(&fake_bus);
	cmd_status_init(&dev, &ops, &dev);
	ck_assert_int_eq(cmd_status_plug(&dev, &fake_bus, BASE, &err), 0);
}

static void teardown(void)
{
	cmd_status_unplug(&dev);
	ck_assert_uint_eq(inb(BASE), 0xff);
	cmd_status_release(&dev);
	bus_release(&fake_bus);
}

START_TEST(what_it_reads_as)
{
	static const uint32_t at_start[] = { CMD_ID, 0, 0, 0, 0, 0 };

	for (unsigned int i = 0; i < ARRAY_SIZE(at_start); i++)
		ck_assert_uint_eq(in(BASE + 4 * i, 4), at_start[i]);
	/* What is written is not to be read back. */
	for (unsigned int i = 0; i < CMD_REGS_LEN; i++)
		outb(BASE + i, 0xa5);
	for (unsigned int i = 0; i < ARRAY_SIZE(at_start); i++)
		ck_assert_uint_eq(in(BASE + 4 * i, 4), at_start[i]);
	ck_assert_uint_eq(inb(BASE), CMD_ID & 0xff);
	ck_assert_uint_eq(in(BASE + 1, 2), CMD_ID >> 8 & 0xffff);
	/* Wider than the block, and beside it. */
	ck_assert_uint_eq(in(BASE + CMD_REGS_LEN - 1, 8), 0xffffffffffffff00);
}
END_TEST

START_TEST(the_end_of_stdin_and_of_readers)
{
	cmd_status_gone(&dev, CMD_STDERR);
	ck_assert_uint_eq(in(BASE + CMD_REG_STATE, 4), CMD_STATE_GONE(CMD_STDERR));
	ck_assert_uint_eq(in(BASE + CMD_REG_LEN, 8), 0);
	cmd_status_stdin_ended(&dev, 0x123456789abcdef0);
	cmd_status_gone(&dev, CMD_STDIO);
	ck_assert_uint_eq(in(BASE + CMD_REG_STATE, 4),
			  CMD_STATE_ENDED | CMD_STATE_GONE(CMD_STDERR) | CMD_STATE_GONE(CMD_STDIO));
	ck_assert_uint_eq(in(BASE + CMD_REG_LEN, 8), 0x123456789abcdef0);
	ck_assert_uint_eq(in(BASE + CMD_REG_LEN + 4, 4), 0x12345678);
	/* A guest cannot take it back. */
	out(BASE + CMD_REG_STATE, 4, 0);
	out(BASE + CMD_REG_LEN, 8, 0);
	ck_assert_uint_eq(in(BASE + CMD_REG_LEN, 8), 0x123456789abcdef0);
}
END_TEST

START_TEST(every_status_once)
{
	out(STATUS, 4, (uint32_t)_i * 0x01010101u);
	ck_assert_uint_eq(statuses_nr, 1);
	ck_assert_uint_eq(last_status, (uint32_t)_i * 0x01010101u);
	for (uint32_t v = 0; v < 256; v++)
		out(STATUS, 4, v);
	ck_assert_uint_eq(statuses_nr, 1);
	ck_assert_uint_eq(credits_nr, 0);
}
END_TEST

/* As /dev/port writes. */
START_TEST(a_status_by_bytes)
{
	for (unsigned int i = 0; i < 3; i++) {
		outb(STATUS + i, 0x10 + i);
		ck_assert_uint_eq(statuses_nr, 0);
	}
	outb(STATUS + 3, 0);
	ck_assert_uint_eq(statuses_nr, 1);
	ck_assert_uint_eq(last_status, 0x121110);
}
END_TEST

/* Any write of a guest's ends here: a number handed on, or nothing. */
START_TEST(writes_of_all_widths_and_places)
{
	for (unsigned int width = 1; width <= 8; width++)
		for (uint64_t at = BASE - 8; at < BASE + CMD_REGS_LEN + 8; at++)
			out(at, width, 0xffffffffffffffff);
	ck_assert_uint_eq(statuses_nr, 1);
	ck_assert_uint_gt(credits_nr, 8);
	ck_assert_uint_eq(last_credit, CMD_CREDIT_ALL);
	ck_assert_uint_eq(in(BASE + CMD_REG_STATE, 4), 0);
}
END_TEST

START_TEST(credit_as_often_as_wanted)
{
	for (uint32_t v = 0; v < 300; v++) {
		out(CREDIT, 4, v << 20);
		ck_assert_uint_eq(credits_nr, v + 1);
		ck_assert_uint_eq(last_credit, v << 20);
	}
	ck_assert_uint_eq(statuses_nr, 0);
}
END_TEST

START_TEST(a_taken_place)
{
	struct cmd_status other;
	struct err err = ERR_INIT;

	cmd_status_init(&other, &ops, &other);
	ck_assert_int_lt(cmd_status_plug(&other, &fake_bus, BASE + 4, &err), 0);
	ck_assert_int_eq(err.kind, ERR_INTERNAL);
	cmd_status_release(&other);
}
END_TEST

UNIT_SUITE("cmd-status", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, what_it_reads_as);
	tcase_add_test(tc, the_end_of_stdin_and_of_readers);
	tcase_add_loop_test(tc, every_status_once, 0, 256);
	tcase_add_test(tc, a_status_by_bytes);
	tcase_add_test(tc, writes_of_all_widths_and_places);
	tcase_add_test(tc, credit_as_often_as_wanted);
	tcase_add_test(tc, a_taken_place);
})
