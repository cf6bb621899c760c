// SPDX-License-Identifier: GPL-2.0
// LINK: hw/pl031.c bus.c util/err.c
#include <lkvm/pl031.h>

#include "unit.h"

#define GPA 0x1080000

static struct bus mmio;
static struct pl031 rtc;
static uint64_t host_s;
static struct err err;

static uint64_t now_s(void)
{
	return host_s;
}

static void setup(void)
{
	bus_init(&mmio);
	err = ERR_INIT;
	ck_assert_int_eq(pl031_init(&rtc, &mmio, GPA, &err), 0);
	rtc.now_s = now_s;
	host_s = 1700000000;
}

static void teardown(void)
{
	pl031_release(&rtc);
	bus_release(&mmio);
}

static uint32_t reg(uint32_t off)
{
	uint32_t v;

	bus_read(&mmio, GPA + off, &v, 4);
	return v;
}

static void set(uint32_t off, uint32_t v)
{
	bus_write(&mmio, GPA + off, &v, 4);
}

START_TEST(counts_the_hosts_seconds)
{
	ck_assert_uint_eq(reg(0), 1700000000);
	host_s++;
	ck_assert_uint_eq(reg(0), 1700000001);
}
END_TEST

START_TEST(goes_on_from_what_is_loaded)
{
	set(8, 1000);
	ck_assert_uint_eq(reg(0), 1000);
	ck_assert_uint_eq(reg(8), 1000);
	host_s += 5;
	ck_assert_uint_eq(reg(0), 1005);
	/* Also backwards, and over the end. */
	set(8, UINT32_MAX);
	host_s++;
	ck_assert_uint_eq(reg(0), 0);
}
END_TEST

START_TEST(tells_when_the_alarm_is_due)
{
	set(4, 1700000002);
	set(0x10, 3);
	ck_assert_uint_eq(reg(4), 1700000002);
	ck_assert_uint_eq(reg(0x10), 1);
	ck_assert_uint_eq(reg(0x14), 0);
	host_s += 2;
	ck_assert_uint_eq(reg(0x14), 1);
	ck_assert_uint_eq(reg(0x18), 1);
	set(0x10, 0);
	ck_assert_uint_eq(reg(0x18), 0);
}
END_TEST

/* What a driver knows it by: the part, the designer, the cell. */
START_TEST(has_its_identification)
{
	static const uint8_t want[] = { 0x31, 0x10, 0x04, 0x00, 0x0d, 0xf0, 0x05, 0xb1 };

	for (unsigned int i = 0; i < 8; i++)
		ck_assert_uint_eq(reg(0xfe0 + 4 * i), want[i]);
	ck_assert_uint_eq(reg(0xc), 1);
	ck_assert_uint_eq(reg(0xfdc), 0);
	ck_assert_uint_eq(reg(0x20), 0);
}
END_TEST

START_TEST(narrow_accesses_do_no_harm)
{
	uint8_t byte = 0x55;
	uint16_t half;

	bus_write(&mmio, GPA + 8, &byte, 1);
	bus_write(&mmio, GPA + 9, &byte, 1);
	ck_assert_uint_eq(reg(0), 1700000000);
	bus_read(&mmio, GPA + 1, &byte, 1);
	ck_assert_uint_eq(byte, 1700000000 >> 8 & 0xff);
	bus_read(&mmio, GPA + 2, &half, 2);
	ck_assert_uint_eq(half, 1700000000 >> 16);
	bus_read(&mmio, GPA + 0xfff, &byte, 1);
	ck_assert_uint_eq(byte, 0);
}
END_TEST

START_TEST(says_when_its_place_is_taken)
{
	struct pl031 other;

	ck_assert_int_lt(pl031_init(&other, &mmio, GPA + 0x800, &err), 0);
	ck_assert_int_eq(err.kind, ERR_INTERNAL);
}
END_TEST

UNIT_SUITE("pl031", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, counts_the_hosts_seconds);
	tcase_add_test(tc, goes_on_from_what_is_loaded);
	tcase_add_test(tc, tells_when_the_alarm_is_due);
	tcase_add_test(tc, has_its_identification);
	tcase_add_test(tc, narrow_accesses_do_no_harm);
	tcase_add_test(tc, says_when_its_place_is_taken);
})
