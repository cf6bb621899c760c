/* SPDX-License-Identifier: GPL-2.0 */
// LINK: result.c chr/ktap.c chr/classify.c util/util.c
#include <signal.h>
#include <string.h>

#include <lkvm/result.h>
#include <lkvm/util.h>

#include "unit.h"

/* The table of the README: these numbers never change. */
static const struct {
	struct stop_info info;
	int status;
	const char *text;
} rows[] = {
	{ { .reason = STOP_POWEROFF, .detail = "ACPI S5" }, 0, "guest powered off: ACPI S5" },
	{ { .reason = STOP_POWEROFF }, 0, "guest powered off" },
	{ { .reason = STOP_DEBUG_EXIT, .value = 0 }, 0, "guest wrote its status: 0" },
	{ { .reason = STOP_DEBUG_EXIT, .value = 1 }, 1, "guest wrote its status: 1" },
	{ { .reason = STOP_DEBUG_EXIT, .value = 192 }, 192, "guest wrote its status: 192" },
	{ { .reason = STOP_DEBUG_EXIT, .value = 193 }, 199, "guest wrote its status: 193" },
	{ { .reason = STOP_DEBUG_EXIT, .value = 255 }, 199, "guest wrote its status: 255" },
	{ { .reason = STOP_COMMAND, .value = 0 }, 0, "the command's status: 0" },
	{ { .reason = STOP_COMMAND, .value = 192 }, 192, "the command's status: 192" },
	{ { .reason = STOP_COMMAND, .value = 193 }, 199, "the command's status: 193" },
	{ { .reason = STOP_COMMAND, .value = UINT32_MAX },
	  199,
	  "the command's status: 4294967295" },
	{ { .reason = STOP_EARLY, .value = EARLY_COMMAND, .detail = "guest reset" },
	  208,
	  "ended before the command's status came: guest reset" },
	{ { .reason = STOP_RESET, .detail = "x" }, 200, "guest reset: x" },
	{ { .reason = STOP_PANIC, .detail = "Kernel panic - not syncing: y" },
	  201,
	  "guest panic: Kernel panic - not syncing: y" },
	{ { .reason = STOP_TRIPLE_FAULT }, 203, "guest triple fault" },
	{ { .reason = STOP_SPLAT, .detail = "WARNING: CPU: 0" },
	  202,
	  "guest splat: WARNING: CPU: 0" },
	{ { .reason = STOP_HANG, .detail = "x" }, 204, "guest hang: x" },
	{ { .reason = STOP_TIMEOUT }, 205, "timeout" },
	{ { .reason = STOP_FAIL, .detail = "FAIL 1" }, 206, "--fail matched: FAIL 1" },
	{ { .reason = STOP_FAIL, .value = FAIL_TESTS, .detail = "y" }, 206, "tests failed: y" },
	{ { .reason = STOP_EARLY, .value = EARLY_TESTS, .detail = "reset" },
	  208,
	  "ended without a test result (--ktap): reset" },
	{ { .reason = STOP_EARLY, .detail = "guest reset" },
	  208,
	  "ended before --until matched: guest reset" },
	{ { .reason = STOP_UNTIL, .detail = "PASS" }, 0, "--until matched: PASS" },
	{ { .reason = STOP_USER, .detail = "Ctrl-A x" }, 207, "stopped by the user: Ctrl-A x" },
	{ { .reason = STOP_HOST, .detail = "z" }, 211, "host failure: z" },
	{ { .reason = STOP_KVM, .detail = "z" }, 212, "KVM failure: z" },
	{ { .reason = STOP_NONE }, 212, "ended without a reason" },
	{ { .reason = STOP_SIGNAL, .value = SIGTERM },
	  128 + SIGTERM,
	  "stopped by a signal: SIGTERM" },
	{ { .reason = STOP_SIGNAL, .value = 9999 }, 128 + 9999, "stopped by a signal: SIG?" },
};

START_TEST(each_outcome_has_its_status)
{
	char text[256];

	ck_assert_int_eq(result_status(&rows[_i].info), rows[_i].status);
	result_describe(&rows[_i].info, text, sizeof(text));
	ck_assert_str_eq(text, rows[_i].text);
}
END_TEST

START_TEST(each_error_has_its_status)
{
	static const int statuses[] = { 0, 210, 211, 212 };
	static const char *const outcomes[] = { "internal", "usage", "host", "internal" };
	struct err err = { .kind = _i };

	ck_assert_int_eq(result_err_status(&err), statuses[_i]);
	ck_assert_str_eq(result_err_outcome(&err), outcomes[_i]);
}
END_TEST

START_TEST(every_status_of_the_guest)
{
	for (uint32_t v = 0; v < 256; v++) {
		struct stop_info info = { .reason = STOP_DEBUG_EXIT, .value = v };

		ck_assert_int_eq(result_status(&info), v <= 192 ? (int)v : 199);
		info.reason = STOP_COMMAND;
		ck_assert_int_eq(result_status(&info), v <= 192 ? (int)v : 199);
	}
}
END_TEST

/* With --until, an end that says nothing is not a success; one that says something stays what it is. */
START_TEST(an_end_without_the_line)
{
	for (int r = STOP_NONE; r <= STOP_KVM; r++) {
		for (uint32_t value = 0; value < 2; value++) {
			struct stop_info info = { .reason = r, .value = value, .detail = "x" };
			bool orderly = r == STOP_POWEROFF || r == STOP_RESET ||
				       ((r == STOP_DEBUG_EXIT || r == STOP_COMMAND) && !value);

			result_early(&info, EARLY_UNTIL);
			ck_assert_int_eq(info.reason, orderly ? STOP_EARLY : r);
			if (r == STOP_POWEROFF)
				ck_assert_str_eq(info.detail, "guest powered off: x");
			else if (!orderly)
				ck_assert_str_eq(info.detail, "x");
		}
	}
}
END_TEST

/* Tests that failed outrank what --fail does not, and a run without any is no success either. */
START_TEST(what_tests_say)
{
	static const struct {
		const char *text;
		enum stop_reason tests; /* STOP_NONE: nothing */
		const char *detail;
	} says[] = {
		{ "1..1\nok 1\n", STOP_NONE, "x" },
		{ "1..0 # SKIP\n", STOP_NONE, "x" },
		{ "1..2\nok 1\nnot ok 2 b\n", STOP_FAIL, "1 of 2, the first: b" },
		{ "1..2\nok 1\n", STOP_FAIL, "1 results for a plan of 2 tests" },
		{ "Bail out!\n", STOP_FAIL, "the tests bailed out" },
		{ "hello\n", STOP_EARLY, NULL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(says); i++) {
		struct ktap k;

		ktap_init(&k);
		ktap_feed(&k, KTAP_CONSOLE, (const uint8_t *)says[i].text, strlen(says[i].text));
		ktap_end(&k);
		for (int r = STOP_NONE; r <= STOP_KVM; r++) {
			struct stop_info info = { .reason = r, .detail = "x" };
			bool orderly = r == STOP_POWEROFF || r == STOP_RESET || r == STOP_UNTIL ||
				       r == STOP_DEBUG_EXIT || r == STOP_COMMAND;
			bool told = says[i].tests == STOP_FAIL
					    ? r < STOP_FAIL
					    : says[i].tests == STOP_EARLY && orderly;

			result_tests(&info, &k);
			ck_assert_int_eq(info.reason, told ? says[i].tests : (enum stop_reason)r);
			if (says[i].detail)
				ck_assert_str_eq(info.detail, told ? says[i].detail : "x");
		}
		ktap_release(&k);
	}
}
END_TEST

START_TEST(every_reason_has_a_name)
{
	for (int r = STOP_NONE; r <= STOP_KVM; r++)
		ck_assert_uint_gt(strlen(result_outcome(r)), 2);
}
END_TEST

START_TEST(a_small_buffer_is_not_overrun)
{
	struct stop_info info = { .reason = STOP_PANIC, .detail = "long enough" };
	char text[8] = "1234567";

	result_describe(&info, text, 4);
	ck_assert_str_eq(text, "gue");
	ck_assert_int_eq(text[4], '5');
}
END_TEST

UNIT_SUITE("result", {
	tcase_add_loop_test(tc, each_outcome_has_its_status, 0, ARRAY_SIZE(rows));
	tcase_add_loop_test(tc, each_error_has_its_status, 0, 4);
	tcase_add_test(tc, every_status_of_the_guest);
	tcase_add_test(tc, an_end_without_the_line);
	tcase_add_test(tc, what_tests_say);
	tcase_add_test(tc, every_reason_has_a_name);
	tcase_add_test(tc, a_small_buffer_is_not_overrun);
})
