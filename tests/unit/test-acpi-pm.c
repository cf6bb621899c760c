// SPDX-License-Identifier: GPL-2.0
// LINK: hw/acpi-pm.c bus.c util/err.c
#include <pthread.h>

#include "unit.h"
#include "fake-hw.h"

#include <lkvm/acpi-pm.h>

#define BASE   0x600
#define STATUS (BASE + 0)
#define ENABLE (BASE + 2)
#define CNT    (BASE + 4)
#define TMR    (BASE + 8)
#define SCI    9

#define PWRBTN 0x0100
#define SLP_EN 0x2000

static struct acpi_pm pm;
static struct err err;
static uint64_t now;

uint64_t util_now_ns(void)
{
	return now;
}

static void setup(void)
{
	now = 123456789012345;
	fake_stop = (struct fake_stop){ 0 };
	err = ERR_INIT;
	bus_init(&fake_bus);
	ck_assert_int_eq(acpi_pm_init(&pm, &fake_bus, BASE, NULL, SCI, NULL, &err), 0);
}

static void teardown(void)
{
	acpi_pm_release(&pm);
	ck_assert_uint_eq(in(STATUS, 4), 0xffffffff);
	bus_release(&fake_bus);
}

START_TEST(after_reset)
{
	ck_assert_uint_eq(in(STATUS, 4), 0);
	ck_assert_uint_eq(in(CNT, 2), 0x0001); /* SCI_EN: ACPI mode from the start */
	ck_assert_uint_eq(in(CNT, 4), 0x0001);
	ck_assert_uint_eq(in(TMR, 4), 0);
	ck_assert(!fake_lines[SCI].level);
}
END_TEST

START_TEST(enable_and_control_bits)
{
	for (unsigned int bit = 0; bit < 16; bit++) {
		out(ENABLE, 2, 1 << bit);
		ck_assert_uint_eq(in(ENABLE, 2), (1 << bit) & 0x0721);
		out(STATUS, 2, 1 << bit); /* nobody sets a status bit by writing */
		ck_assert_uint_eq(in(STATUS, 2), 0);
		out(CNT, 2, 1 << bit);
		ck_assert_uint_eq(in(CNT, 2), ((1 << bit) & 0x1c02) | 1);
	}
	ck_assert_uint_eq(fake_stop.requests, 0);
	/* Byte by byte is the same. */
	outb(ENABLE, 0xff);
	outb(ENABLE + 1, 0xff);
	ck_assert_uint_eq(inb(ENABLE), 0x21);
	ck_assert_uint_eq(inb(ENABLE + 1), 0x07);
	out(ENABLE, 4, 0x00000000);
	ck_assert_uint_eq(in(STATUS, 8), 0x0000000100000000);
}
END_TEST

START_TEST(power_button)
{
	acpi_pm_power_button(&pm);
	ck_assert_uint_eq(in(STATUS, 2), PWRBTN);
	ck_assert(!fake_lines[SCI].level);
	out(ENABLE, 2, PWRBTN);
	ck_assert(fake_lines[SCI].level);
	out(STATUS, 2, 0xffff & ~PWRBTN); /* cleared by its own bit alone */
	outb(STATUS, 0xff);
	ck_assert(fake_lines[SCI].level);
	out(STATUS, 2, PWRBTN);
	ck_assert(!fake_lines[SCI].level);
	ck_assert_uint_eq(in(STATUS, 2), 0);
	acpi_pm_power_button(&pm);
	ck_assert(fake_lines[SCI].level);
	out(ENABLE, 2, 0);
	ck_assert(!fake_lines[SCI].level);
	outb(STATUS + 1, 0x01);
	ck_assert_uint_eq(in(STATUS, 2), 0);
	ck_assert_uint_eq(fake_stop.requests, 0);
}
END_TEST

START_TEST(sleep_types)
{
	for (unsigned int typ = 0; typ < 8; typ++) {
		fake_stop.requests = 0;
		out(CNT, 2, typ << 10 | 1);
		ck_assert_uint_eq(fake_stop.requests, 0);
		ck_assert_uint_eq(in(CNT, 2), typ << 10 | 1);
		out(CNT, 2, typ << 10 | SLP_EN | 1);
		ck_assert_uint_eq(fake_stop.requests, typ == ACPI_PM_S5);
		ck_assert_uint_eq(in(CNT, 2) & SLP_EN, 0); /* write-only */
		/* Other writes do not repeat it. */
		outb(CNT, 0x01);
		out(ENABLE, 2, 0);
		ck_assert_uint_eq(fake_stop.requests, typ == ACPI_PM_S5);
	}
	fake_stop = (struct fake_stop){ 0 };
	outb(CNT + 1, (ACPI_PM_S5 << 10 | SLP_EN) >> 8);
	ck_assert_uint_eq(fake_stop.requests, 1);
	ck_assert_int_eq(fake_stop.reason, STOP_POWEROFF);
	ck_assert_str_eq(fake_stop.detail, "ACPI S5");
	out(CNT, 4, ACPI_PM_S5 << 10 | SLP_EN);
	ck_assert_uint_eq(fake_stop.requests, 2);
	/* In the timer or the gap the same value means nothing. */
	out(CNT + 2, 2, ACPI_PM_S5 << 10 | SLP_EN);
	out(TMR, 4, ACPI_PM_S5 << 10 | SLP_EN);
	ck_assert_uint_eq(fake_stop.requests, 2);
}
END_TEST

START_TEST(timer)
{
	uint64_t start = now;

	static const struct {
		uint64_t ns;
		uint32_t ticks;
	} table[] = {
		{ 279, 0 },
		{ 280, 1 },
		{ NSEC_PER_SEC, 3579545 },
		{ NSEC_PER_SEC / 2, 1789772 },
		{ 1199 * NSEC_PER_SEC, 4291874455 },
		{ 1200 * NSEC_PER_SEC, 486704 }, /* 32 bits */
		{ 1000000 * NSEC_PER_SEC, (uint32_t)(1000000ull * 3579545) },
	};
	for (unsigned int i = 0; i < ARRAY_SIZE(table); i++) {
		now = start + table[i].ns;
		ck_assert_uint_eq(in(TMR, 4), table[i].ticks);
		ck_assert_uint_eq(inb(TMR + 1), table[i].ticks >> 8 & 0xff);
		ck_assert_uint_eq(in(TMR + 2, 2), table[i].ticks >> 16);
		out(TMR, 4, 0xffffffff);
		ck_assert_uint_eq(in(TMR, 4), table[i].ticks);
	}
}
END_TEST

START_TEST(every_offset_and_width)
{
	uint8_t bytes[ACPI_PM_LEN + 16];

	out(ENABLE, 2, 0x0721);
	out(CNT, 2, 0x1402);
	acpi_pm_power_button(&pm);
	now += 987654321;
	for (unsigned int i = 0; i < sizeof(bytes); i++)
		bytes[i] = inb(BASE + i);
	for (unsigned int at = 0; at < ACPI_PM_LEN; at++)
		for (unsigned int width = 1; width <= 8; width++)
			ck_assert_uint_eq(in(BASE + at, width),
					  get_le64(bytes + at) & (UINT64_MAX >> (64 - 8 * width)));
	ck_assert_uint_eq(in(CNT, 4), 0x1403); /* the gap reads as 0 */
	for (unsigned int at = 0; at < ACPI_PM_LEN; at++)
		for (unsigned int width = 1; width <= 8; width++)
			out(BASE + at, width, 0);
	ck_assert_uint_eq(in(STATUS, 2), PWRBTN);
}
END_TEST

START_TEST(ports_taken)
{
	struct acpi_pm other;

	ck_assert_int_lt(acpi_pm_init(&other, &fake_bus, BASE + 11, NULL, SCI, NULL, &err), 0);
	ck_assert_int_eq(err.kind, ERR_INTERNAL);
}
END_TEST

static void *hammer(void *arg)
{
	(void)arg;
	for (unsigned int i = 0; i < 2000; i++) {
		out(ENABLE, 2, i & 1 ? PWRBTN : 0);
		out(STATUS, 2, PWRBTN);
		in(TMR, 4);
	}
	return NULL;
}

START_TEST(threads)
{
	pthread_t t[2];

	for (unsigned int i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_create(&t[i], NULL, hammer, NULL), 0);
	for (unsigned int i = 0; i < 2000; i++)
		acpi_pm_power_button(&pm);
	for (unsigned int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	out(STATUS, 2, PWRBTN);
	ck_assert(!fake_lines[SCI].level);
}
END_TEST

UNIT_SUITE("acpi-pm", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, after_reset);
	tcase_add_test(tc, enable_and_control_bits);
	tcase_add_test(tc, power_button);
	tcase_add_test(tc, sleep_types);
	tcase_add_test(tc, timer);
	tcase_add_test(tc, every_offset_and_width);
	tcase_add_test(tc, ports_taken);
	tcase_add_test(tc, threads);
})
