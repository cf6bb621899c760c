// SPDX-License-Identifier: GPL-2.0
// LINK: hw/rtc.c bus.c util/err.c
#include <time.h>

#include "unit.h"
#include "fake-hw.h"

#include <lkvm/rtc.h>

#define PORT 0x70
#define GSI  8

#define UF   0x10
#define AF   0x20
#define PF   0x40
#define IRQF 0x80
#define SET  0x80

static struct rtc rtc;
static struct err err;
static uint64_t wall; /* the host's CLOCK_REALTIME, ns */

/* A loop of one timer and one posted call. Monotonic and real time are the same here. */
static struct loop {
	struct loop_timer *timer;
	struct loop_post *post;
} loop;

uint64_t util_now_ns(void)
{
	return wall;
}

void loop_timer_set(struct loop *l, struct loop_timer *t, uint64_t deadline_ns)
{
	t->deadline_ns = deadline_ns;
	l->timer = t;
}

void loop_timer_cancel(struct loop *l, struct loop_timer *t)
{
	(void)t;
	l->timer = NULL;
}

void loop_post(struct loop *l, struct loop_post *p)
{
	l->post = p;
}

void loop_post_cancel(struct loop *l, struct loop_post *p)
{
	if (l->post == p)
		l->post = NULL;
}

static uint64_t fake_wall(void)
{
	return wall;
}

static void run_posted(void)
{
	struct loop_post *p = loop.post;

	loop.post = NULL;
	if (p)
		p->fn(p);
}

/* Lets time pass in the loop's steps; returns how often the timer fired. */
static unsigned int run_until(uint64_t when)
{
	unsigned int fired = 0;

	run_posted();
	while (loop.timer && loop.timer->deadline_ns <= when) {
		struct loop_timer *t = loop.timer;

		wall = MAX(wall, t->deadline_ns);
		loop.timer = NULL;
		t->fn(t);
		run_posted();
		fired++;
		ck_assert_uint_lt(fired, 100000);
	}
	wall = when;
	return fired;
}

static uint8_t reg(uint8_t index)
{
	outb(PORT, index);
	return inb(PORT + 1);
}

static void set(uint8_t index, uint8_t value)
{
	outb(PORT, index);
	outb(PORT + 1, value);
}

static uint64_t at(int year, int mon, int day, int h, int m, int s)
{
	struct tm tm = { .tm_year = year - 1900,
			 .tm_mon = mon - 1,
			 .tm_mday = day,
			 .tm_hour = h,
			 .tm_min = m,
			 .tm_sec = s };

	return (uint64_t)timegm(&tm) * NSEC_PER_SEC;
}

static void expect_time(const uint8_t want[8])
{
	static const uint8_t index[8] = { 0x32, 9, 8, 7, 6, 4, 2, 0 };

	for (unsigned int i = 0; i < 8; i++)
		ck_assert_msg(reg(index[i]) == want[i], "register 0x%x is 0x%x, not 0x%x", index[i],
			      reg(index[i]), want[i]);
}

static void setup(void)
{
	loop = (struct loop){ 0 };
	wall = at(2026, 12, 31, 23, 59, 58); /* a Thursday */
	bus_init(&fake_bus);
	err = ERR_INIT;
	ck_assert_int_eq(rtc_init(&rtc, &fake_bus, PORT, NULL, GSI, &loop, &err), 0);
	rtc.now_ns = fake_wall;
	rtc.seen_s = (int64_t)(wall / NSEC_PER_SEC);
	rtc.seen_ns = wall;
}

static void teardown(void)
{
	rtc_release(&rtc);
	ck_assert_ptr_null(loop.timer);
	ck_assert_ptr_null(loop.post); /* nothing points to what is gone */
	bus_release(&fake_bus);
}

static bool line(void)
{
	return fake_lines[GSI].level;
}

START_TEST(time_in_every_mode)
{
	expect_time((uint8_t[]){ 0x20, 0x26, 0x12, 0x31, 5, 0x23, 0x59, 0x58 });
	set(11, 0x06);
	expect_time((uint8_t[]){ 20, 26, 12, 31, 5, 23, 59, 58 });
	set(11, 0x00);
	expect_time((uint8_t[]){ 0x20, 0x26, 0x12, 0x31, 5, 0x91, 0x59, 0x58 });
	set(11, 0x04);
	expect_time((uint8_t[]){ 20, 26, 12, 31, 5, 0x8b, 59, 58 });
	wall += 2 * NSEC_PER_SEC;
	expect_time((uint8_t[]){ 20, 27, 1, 1, 6, 12, 0, 0 }); /* midnight is 12 AM */
	wall += 12 * 3600 * NSEC_PER_SEC;
	ck_assert_uint_eq(reg(4), 0x8c); /* noon is 12 PM */
}
END_TEST

START_TEST(every_hour_in_every_mode_is_taken_back)
{
	for (unsigned int mode = 0; mode < 8; mode += 2)
		for (int h = 0; h < 24; h++) {
			wall = at(2026, 6, 15, h, 30, 30);
			set(11, 0x06);
			uint8_t hour = reg(4);
			set(11, mode);
			uint8_t v = reg(4);
			wall = at(2026, 6, 15, (h + 7) % 24, 30, 30);
			set(4, v);
			ck_assert_uint_eq(reg(4), v);
			set(11, 0x06);
			ck_assert_uint_eq(reg(4), hour);
		}
}
END_TEST

START_TEST(uip_before_each_second)
{
	uint64_t second = wall;

	for (unsigned int us = 0; us < 1000000; us += 244) {
		wall = second + us * 1000ull;
		ck_assert_uint_eq(reg(10) & 0x80, us >= 1000000 - 244 ? 0x80 : 0);
	}
	wall = second + NSEC_PER_SEC - 1;
	ck_assert_uint_eq(reg(10), 0xa6);
	set(10, 0xa6); /* UIP cannot be written */
	wall = second;
	ck_assert_uint_eq(reg(10), 0x26);
	/* No update, no UIP: with SET, or with the divider held. */
	wall = second + NSEC_PER_SEC - 1;
	set(11, SET | 0x02);
	ck_assert_uint_eq(reg(10), 0x26);
	set(11, 0x02);
	set(10, 0x76);
	ck_assert_uint_eq(reg(10), 0x76);
}
END_TEST

/* The order in which Linux writes the time. */
START_TEST(set_time)
{
	uint8_t b = reg(11), a = reg(10);

	set(11, b | SET);
	set(10, a | 0x70);
	static const uint8_t v[][2] = { { 9, 0x99 }, { 8, 0x02 }, { 7, 0x28 },   { 4, 0x23 },
					{ 2, 0x59 }, { 0, 0x57 }, { 0x32, 0x19 } };
	for (unsigned int i = 0; i < ARRAY_SIZE(v); i++)
		set(v[i][0], v[i][1]);
	wall += 100 * NSEC_PER_SEC; /* stands still while SET is on */
	ck_assert_uint_eq(reg(0), 0x57);
	set(11, b);
	set(10, a);
	expect_time((uint8_t[]){ 0x19, 0x99, 0x02, 0x28, 1, 0x23, 0x59, 0x57 });
	wall += 3 * NSEC_PER_SEC;
	expect_time((uint8_t[]){ 0x19, 0x99, 0x03, 0x01, 2, 0x00, 0x00, 0x00 });
	/* A byte at a time without SET works too. */
	set(2, 0x30);
	expect_time((uint8_t[]){ 0x19, 0x99, 0x03, 0x01, 2, 0x00, 0x30, 0x00 });
}
END_TEST

START_TEST(what_is_no_date_is_not_taken)
{
	static const uint8_t bad[][2] = {
		{ 0, 0x60 }, { 0, 0x5a }, { 2, 0x60 }, { 2, 0xa0 }, { 4, 0x24 },    { 4, 0xff },
		{ 7, 0x00 }, { 7, 0x32 }, { 8, 0x00 }, { 8, 0x13 }, { 9, 0x9a },    { 0x32, 0xff },
		{ 8, 0x02 }, { 8, 0x11 }, { 9, 0xa0 }, { 0, 0xff }, { 0x32, 0x0a },
	};
	static const uint8_t want[] = { 0x20, 0x26, 0x12, 0x31, 5, 0x23, 0x59, 0x58 };

	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		set(bad[i][0], bad[i][1]);
		expect_time(want);
		set(11, SET | 0x02);
		set(bad[i][0], bad[i][1]);
		ck_assert_uint_eq(reg(bad[i][0]), bad[i][1]); /* memory meanwhile */
		set(11, 0x02);
		expect_time(want);
	}
	/* In the middle of a month nothing carries further than the day. */
	wall -= 16ull * 86400 * NSEC_PER_SEC;
	set(4, 0x24);
	ck_assert_uint_eq(reg(4), 0x23);
	ck_assert_uint_eq(reg(7), 0x15);
	wall += 16ull * 86400 * NSEC_PER_SEC;
	/* In binary and 12-hour modes too. */
	set(11, 0x06);
	set(9, 100);
	set(0x32, 100);
	set(4, 24);
	set(11, 0x04);
	set(4, 0);
	set(4, 13);
	set(4, 0x80);
	set(11, 0x02);
	expect_time(want);
}
END_TEST

START_TEST(the_ends_of_the_calendar)
{
	set(11, SET | 0x06);
	set(0x32, 0);
	set(9, 0);
	set(11, 0x06);
	expect_time((uint8_t[]){ 0, 0, 12, 31, 1, 23, 59, 58 });
	/* The host's clock steps back: still a number, still no crash. */
	set(11, 0x02);
	wall -= 5000ull * 86400 * NSEC_PER_SEC;
	for (unsigned int i = 0; i < 10; i++)
		reg(i);
	ck_assert_uint_eq(reg(9), 0);
	set(11, SET | 0x06);
	set(0x32, 99);
	set(9, 99);
	set(8, 12);
	set(7, 31);
	set(4, 23);
	set(2, 59);
	set(0, 59);
	set(11, 0x06);
	wall += 1000ull * 86400 * NSEC_PER_SEC;
	ck_assert_uint_eq(reg(0x32), 0);
	ck_assert_uint_eq(reg(9), 2);
}
END_TEST

START_TEST(memory_and_read_only_registers)
{
	for (unsigned int i = 14; i < RTC_CMOS_LEN; i++)
		if (i != RTC_CENTURY)
			set(i, i ^ 0x5a);
	for (unsigned int i = 14; i < RTC_CMOS_LEN; i++)
		if (i != RTC_CENTURY)
			ck_assert_uint_eq(reg(i | 0x80), i ^ 0x5a); /* bit 7 is the NMI mask */
	set(12, 0xff);
	set(13, 0x00);
	ck_assert_uint_eq(reg(12), 0);
	ck_assert_uint_eq(reg(13), 0x80);
	ck_assert_uint_eq(inb(PORT), 0xff);
	/* Alarm bytes are kept as written. */
	for (unsigned int i = 1; i < 6; i += 2) {
		set(i, 0xc0 | i);
		ck_assert_uint_eq(reg(i), 0xc0 | i);
	}
	out(PORT, 2, 0x770f); /* index and data in one access */
	ck_assert_uint_eq(in(PORT, 2), 0x77ff);
}
END_TEST

START_TEST(flags_by_polling)
{
	ck_assert_uint_eq(reg(12), 0);
	wall += NSEC_PER_SEC / 1024;
	ck_assert_uint_eq(reg(12), PF);
	wall += NSEC_PER_SEC;
	ck_assert_uint_eq(reg(12), UF | PF);
	ck_assert_uint_eq(reg(12), 0);
	set(10, 0x20); /* rate 0: no periodic flag */
	set(5, 0xff);
	set(3, 0xff);
	set(1, 0xff);
	wall += 10 * NSEC_PER_SEC;
	ck_assert_uint_eq(reg(12), UF | AF);
	set(11, SET | 0x02);
	wall += 10 * NSEC_PER_SEC;
	ck_assert_uint_eq(reg(12), 0); /* no update cycles */
	set(11, 0x02);
	ck_assert_uint_eq(reg(12), 0);
	wall -= 100 * NSEC_PER_SEC; /* the host's clock steps back */
	ck_assert_uint_eq(reg(12), 0);
	wall += NSEC_PER_SEC;
	ck_assert_uint_eq(reg(12), UF | AF);
	ck_assert_uint_eq(fake_lines[GSI].rises, 0);
}
END_TEST

START_TEST(update_interrupt)
{
	wall += NSEC_PER_SEC / 4;
	set(11, 0x12);
	ck_assert_uint_eq(run_until(wall + NSEC_PER_SEC / 2), 0);
	ck_assert(!line());
	ck_assert_uint_eq(run_until(wall + NSEC_PER_SEC / 2), 1);
	ck_assert(line());
	/* Nobody reads register C: the timer rests. */
	ck_assert_uint_eq(run_until(wall + 10 * NSEC_PER_SEC), 0);
	ck_assert(line());
	ck_assert_uint_eq(reg(12) & (IRQF | UF), IRQF | UF);
	ck_assert(!line());
	for (unsigned int i = 0; i < 5; i++) {
		ck_assert_uint_eq(run_until(wall + NSEC_PER_SEC), 1);
		ck_assert_uint_eq(reg(12) & (IRQF | UF), IRQF | UF);
	}
	/* SET turns the interrupt off for good. */
	set(11, 0x92);
	ck_assert_uint_eq(reg(11), 0x82);
	set(11, 0x02);
	run_until(wall + 3 * NSEC_PER_SEC);
	ck_assert(!line());
}
END_TEST

START_TEST(alarm_interrupt)
{
	/* alarm hour, minute, second; when it comes, in seconds from 23:59:58; 0: never */
	static const struct {
		uint8_t b, h, m, s;
		int after;
	} alarms[] = {
		{ 0x22, 0x00, 0x00, 0x05, 7 },         { 0x22, 0x23, 0x59, 0x59, 1 },
		{ 0x22, 0x23, 0x59, 0x58, 86400 },     { 0x22, 0x23, 0x59, 0x57, 86399 },
		{ 0x22, 0xff, 0xc0, 0xd0, 1 },         { 0x22, 0xff, 0xff, 0x30, 32 },
		{ 0x22, 0xff, 0x30, 0xff, 1802 },      { 0x22, 0x12, 0xff, 0xff, 12 * 3600 + 2 },
		{ 0x22, 0xff, 0x59, 0x57, 3599 },      { 0x20, 0x12, 0x00, 0x01, 3 }, /* 12 AM */
		{ 0x20, 0x91, 0x59, 0x59, 1 },                                        /* 11 PM */
		{ 0x26, 1, 2, 3, 2 + 3600 + 120 + 3 }, { 0x22, 0x24, 0x00, 0x00, 0 },
		{ 0x22, 0x0a, 0xff, 0xff, 0 },         { 0x22, 0xff, 0x60, 0xff, 0 },
		{ 0x22, 0xff, 0x0a, 0xff, 0 },         { 0x22, 0xff, 0xff, 0x6a, 0 },
		{ 0x26, 0xff, 0xff, 60, 0 },           { 0x20, 0x13, 0xff, 0xff, 0 },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(alarms); i++) {
		setup();
		uint64_t start = wall;

		set(11, alarms[i].b);
		set(5, alarms[i].h);
		set(3, alarms[i].m);
		set(1, alarms[i].s);
		if (!alarms[i].after) {
			run_until(start + 2 * 86400 * NSEC_PER_SEC);
			ck_assert_msg(!line(), "alarm %u came", i);
			ck_assert_uint_eq(reg(12) & AF, 0);
			continue;
		}
		run_until(start + alarms[i].after * NSEC_PER_SEC - 1);
		ck_assert_msg(!line(), "alarm %u is early", i);
		run_until(start + alarms[i].after * NSEC_PER_SEC);
		ck_assert_msg(line(), "alarm %u is late", i);
		ck_assert_uint_eq(reg(12) & (IRQF | AF), IRQF | AF);
		ck_assert(!line());
	}
}
END_TEST

START_TEST(alarm_sleeps_are_short_enough_for_a_stepped_clock)
{
	set(11, 0x22);
	set(5, 0x12);
	set(3, 0);
	set(1, 0);
	run_posted();
	ck_assert_uint_eq(loop.timer->deadline_ns, wall + 60 * NSEC_PER_SEC);
}
END_TEST

START_TEST(periodic_interrupt)
{
	/* rate -> interrupts that a guest which acknowledges gets in 4 s */
	static const uint16_t want[16] = { 0,   256, 256, 256, 256, 256, 256, 256,
					   256, 256, 256, 128, 64,  32,  16,  8 };

	for (unsigned int rs = 0; rs < 16; rs++) {
		uint64_t end = wall + 4 * NSEC_PER_SEC;
		unsigned int got = 0;

		set(11, 0x02);
		reg(12);
		set(10, 0x20 | rs);
		reg(12);
		set(11, 0x42);
		run_posted();
		ck_assert_int_eq(!loop.timer, !rs);
		while (loop.timer && loop.timer->deadline_ns <= end) {
			run_until(loop.timer->deadline_ns);
			if (!line())
				continue;
			ck_assert_uint_eq(reg(12) & (IRQF | PF), IRQF | PF);
			run_posted();
			got++;
		}
		wall = end;
		ck_assert_msg(got == want[rs], "rate %u: %u interrupts", rs, got);
	}
}
END_TEST

START_TEST(periodic_flag_by_polling)
{
	/* rate -> period in ns: 1 and 2 repeat 8 and 9 */
	static const uint64_t period[16] = {
		[1] = 3906250, [2] = 7812500, [3] = 122070,     [6] = 976562,
		[8] = 3906250, [9] = 7812500, [13] = 125000000, [15] = 500000000
	};

	for (unsigned int rs = 1; rs < 16; rs++) {
		if (!period[rs])
			continue;
		wall = at(2027, 1, 1, 0, 0, rs);
		wall -= wall % period[rs];
		set(10, 0x20 | rs);
		reg(12);
		wall += period[rs] - 1;
		ck_assert_uint_eq(reg(12) & PF, 0);
		wall += 1;
		ck_assert_uint_eq(reg(12) & PF, PF);
	}
}
END_TEST

/* An alarm between the time as it was and the time as it is set is not passed. */
START_TEST(setting_the_time_skips_alarms)
{
	set(5, 0x23);
	set(3, 0x59);
	set(1, 0x59);
	set(11, SET | 0x22);
	set(7, 0x01);
	set(8, 0x01);
	set(9, 0x27);
	set(4, 0x00);
	set(11, 0x22);
	ck_assert(!line());
	ck_assert_uint_eq(reg(12) & (AF | UF), 0);
	set(7, 0x09); /* the same without SET */
	ck_assert(!line());
	ck_assert_uint_eq(reg(12) & (AF | UF), 0);
}
END_TEST

START_TEST(released_with_a_call_queued)
{
	set(11, 0x12);
	ck_assert_ptr_nonnull(loop.post); /* teardown looks */
}
END_TEST

START_TEST(enabling_a_flag_that_is_on)
{
	wall += NSEC_PER_SEC;
	ck_assert(!line());
	set(11, 0x12);
	ck_assert(line());
	set(11, 0x02);
	ck_assert(!line());
	ck_assert_uint_eq(reg(12), UF | PF);
}
END_TEST

START_TEST(held_divider_stops_interrupts)
{
	set(10, 0x76);
	set(11, 0x72);
	ck_assert_uint_eq(run_until(wall + 5 * NSEC_PER_SEC), 0);
	ck_assert_uint_eq(reg(12), 0);
}
END_TEST

START_TEST(without_a_loop)
{
	struct rtc r;

	ck_assert_int_eq(rtc_init(&r, &fake_bus, 0x80, NULL, 9, NULL, &err), 0);
	r.now_ns = fake_wall;
	r.seen_s = 0;
	outb(0x80, 11);
	outb(0x81, 0x72);
	outb(0x80, 12);
	ck_assert_uint_eq(inb(0x81) & (IRQF | UF), IRQF | UF);
	rtc_release(&r);
	ck_assert_uint_eq(inb(0x81), 0xff);
	ck_assert_int_lt(rtc_init(&r, &fake_bus, PORT + 1, NULL, 9, NULL, &err), 0);
	ck_assert_int_eq(err.kind, ERR_INTERNAL);
}
END_TEST

START_TEST(hosts_clock)
{
	struct rtc r;
	uint64_t before = (uint64_t)time(NULL);

	ck_assert_int_eq(rtc_init(&r, &fake_bus, 0x80, NULL, 9, NULL, &err), 0);
	ck_assert_uint_ge(r.now_ns() / NSEC_PER_SEC, before);
	ck_assert_int_ge(r.seen_s, (int64_t)before);
	rtc_release(&r);
}
END_TEST

START_TEST(hostile_accesses)
{
	uint32_t seed = _i + 1;

	for (unsigned int i = 0; i < 20000; i++) {
		uint32_t r = fake_random(&seed);

		wall += (uint64_t)r << (r % 24);
		if (r % 3)
			set(r >> 8, r >> 4);
		else
			reg(r >> 8);
		run_posted();
		if (loop.timer && r % 5 == 0)
			run_until(loop.timer->deadline_ns);
		ck_assert_uint_lt(rtc.index, RTC_CMOS_LEN);
	}
}
END_TEST

UNIT_SUITE("rtc", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, time_in_every_mode);
	tcase_add_test(tc, every_hour_in_every_mode_is_taken_back);
	tcase_add_test(tc, uip_before_each_second);
	tcase_add_test(tc, set_time);
	tcase_add_test(tc, what_is_no_date_is_not_taken);
	tcase_add_test(tc, the_ends_of_the_calendar);
	tcase_add_test(tc, memory_and_read_only_registers);
	tcase_add_test(tc, flags_by_polling);
	tcase_add_test(tc, update_interrupt);
	tcase_add_test(tc, alarm_interrupt);
	tcase_add_test(tc, alarm_sleeps_are_short_enough_for_a_stepped_clock);
	tcase_add_test(tc, periodic_interrupt);
	tcase_add_test(tc, periodic_flag_by_polling);
	tcase_add_test(tc, setting_the_time_skips_alarms);
	tcase_add_test(tc, released_with_a_call_queued);
	tcase_add_test(tc, enabling_a_flag_that_is_on);
	tcase_add_test(tc, held_divider_stops_interrupts);
	tcase_add_test(tc, without_a_loop);
	tcase_add_test(tc, hosts_clock);
	tcase_add_loop_test(tc, hostile_accesses, 0, 8);
})
