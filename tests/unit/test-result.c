/* SPDX-License-Identifier: GPL-2.0 */
// LINK: result.c
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
	{ { .reason = STOP_RESET, .detail = "x" }, 200, "guest reset: x" },
	{ { .reason = STOP_PANIC, .detail = "Kernel panic - not syncing: y" },
	  201,
	  "guest panic: Kernel panic - not syncing: y" },
	{ { .reason = STOP_TRIPLE_FAULT }, 203, "guest triple fault" },
	{ { .reason = STOP_TIMEOUT }, 205, "timeout" },
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
	struct err err = { .kind = _i };

	ck_assert_int_eq(result_err_status(&err), statuses[_i]);
}
END_TEST

START_TEST(every_status_of_the_guest)
{
	for (uint32_t v = 0; v < 256; v++) {
		struct stop_info info = { .reason = STOP_DEBUG_EXIT, .value = v };

		ck_assert_int_eq(result_status(&info), v <= 192 ? (int)v : 199);
	}
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
	tcase_add_test(tc, a_small_buffer_is_not_overrun);
})
