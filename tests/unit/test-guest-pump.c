/* SPDX-License-Identifier: GPL-2.0 */
// LINK: guest/pump.c
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "guest/pump.h"
#include "unit.h"

static int from[2], to[2];
static struct pump p;

static void setup(void)
{
	signal(SIGPIPE, SIG_IGN);
	ck_assert_int_eq(pipe2(from, O_NONBLOCK), 0);
	ck_assert_int_eq(pipe2(to, O_NONBLOCK), 0);
	p = (struct pump){ .from = from[0], .to = to[1] };
}

static void teardown(void)
{
	pump_close(&p);
	close(from[1]);
	close(to[0]);
}

START_TEST(bytes_of_all_values)
{
	uint8_t all[256], back[256];

	for (unsigned int i = 0; i < sizeof(all); i++)
		all[i] = (uint8_t)i;
	ck_assert(pump_wants_input(&p) && !pump_wants_output(&p));
	ck_assert_uint_eq(pump_fill(&p), 0);
	ck_assert_int_ge(p.from, 0);
	ck_assert_int_eq(write(from[1], all, sizeof(all)), sizeof(all));
	ck_assert_uint_eq(pump_fill(&p), sizeof(all));
	ck_assert(!pump_wants_input(&p) && pump_wants_output(&p));
	/* It is filled when it is empty, not before. */
	ck_assert_int_eq(write(from[1], "x", 1), 1);
	ck_assert_uint_eq(pump_fill(&p), 0);
	ck_assert_uint_eq(pump_drain(&p), sizeof(all));
	ck_assert_int_eq(read(to[0], back, sizeof(back)), sizeof(back));
	ck_assert_int_eq(memcmp(all, back, sizeof(all)), 0);
	ck_assert_uint_eq(pump_fill(&p), 1);
}
END_TEST

/* What does not fit waits where it is. */
START_TEST(a_reader_that_is_slow)
{
	static uint8_t data[PUMP_LEN], back[PUMP_LEN];
	size_t sent = 0, got = 0;
	ssize_t n;

	for (;;) {
		memset(data, (int)(sent / PUMP_LEN), sizeof(data));
		if (pump_wants_input(&p)) {
			ck_assert_int_eq(write(from[1], data, sizeof(data)), sizeof(data));
			sent += sizeof(data);
			ck_assert_uint_eq(pump_fill(&p), sizeof(data));
		}
		if (!pump_drain(&p))
			break;
	}
	ck_assert(pump_wants_output(&p));
	while (got < sent) {
		n = read(to[0], back, sizeof(back));
		ck_assert_int_gt(n, 0);
		for (ssize_t i = 0; i < n; i++, got++)
			ck_assert_uint_eq(back[i], (uint8_t)(got / PUMP_LEN));
		pump_drain(&p);
	}
	ck_assert(!pump_wants_output(&p));
}
END_TEST

START_TEST(the_end_of_input)
{
	char c;

	ck_assert_int_eq(write(from[1], "x", 1), 1);
	close(from[1]);
	from[1] = -1;
	ck_assert_uint_eq(pump_fill(&p), 1);
	ck_assert_uint_eq(pump_drain(&p), 1);
	ck_assert_uint_eq(pump_fill(&p), 0);
	ck_assert_int_eq(p.from, -1);
	ck_assert_int_ge(p.to, 0);
	ck_assert(!pump_wants_input(&p));
	ck_assert_int_eq(read(to[0], &c, 1), 1);
}
END_TEST

/* Who writes to us learns of it: its pipe is closed. */
START_TEST(a_reader_that_is_gone)
{
	ck_assert_int_eq(write(from[1], "x", 1), 1);
	ck_assert_uint_eq(pump_fill(&p), 1);
	close(to[0]);
	to[0] = -1;
	ck_assert_uint_eq(pump_drain(&p), 0);
	ck_assert_int_eq(p.from, -1);
	ck_assert_int_eq(p.to, -1);
	ck_assert(!pump_wants_output(&p) && !pump_wants_input(&p));
	ck_assert_int_eq(write(from[1], "x", 1), -1);
	pump_close(&p);
}
END_TEST

START_TEST(no_more_at_a_time)
{
	p.most = 3;
	ck_assert_int_eq(write(from[1], "abcde", 5), 5);
	ck_assert_uint_eq(pump_fill(&p), 3);
	ck_assert_uint_eq(pump_drain(&p), 3);
	ck_assert_uint_eq(pump_fill(&p), 2);
	ck_assert_uint_eq(pump_drain(&p), 2);
}
END_TEST

UNIT_SUITE("guest-pump", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, bytes_of_all_values);
	tcase_add_test(tc, a_reader_that_is_slow);
	tcase_add_test(tc, the_end_of_input);
	tcase_add_test(tc, a_reader_that_is_gone);
	tcase_add_test(tc, no_more_at_a_time);
})
