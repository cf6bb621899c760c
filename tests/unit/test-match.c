/* SPDX-License-Identifier: GPL-2.0 */
// LINK: util/match.c util/err.c
#include <string.h>

#include <lkvm/match.h>
#include <lkvm/util.h>

#include "unit.h"

static const struct {
	const char *re, *line;
	bool found;
} rows[] = {
	{ "login:", "debian login: ", true },
	{ "^login:", "debian login: ", false },
	{ "^ok [0-9]+$", "ok 17", true },
	{ "^ok [0-9]+$", "ok 17 # SKIP", false },
	{ "a|b", "xbx", true },
	{ "(ab){2}", "abab", true },
	{ "[]x]1", "]1", true },
	{ "[^]x]1", "]1", false },
	{ "[\\1]", "\\", true }, /* in brackets a backslash is one */
	{ "\\(1\\)", "(1)", true },
	{ "\\\\1", "\\1", true },
	{ "\xff", "a\xff", true }, /* bytes */
	{ ".", "", false },
};

START_TEST(lines_are_found)
{
	struct match m = { .nr = 0 };
	struct err err = ERR_INIT;

	ck_assert_msg(!match_add(&m, "--until", "never this", &err), "%s", err.msg);
	ck_assert_msg(!match_add(&m, "--until", rows[_i].re, &err), "%s", err.msg);
	const char *found = match_find(&m, rows[_i].line);
	ck_assert_ptr_eq(found, rows[_i].found ? rows[_i].re : NULL);
	match_release(&m);
	ck_assert_ptr_null(match_find(&m, rows[_i].line));
}
END_TEST

/* What is refused, and what the sentence says beside the option. */
static const char *const bad[][2] = {
	{ "(", "(" },
	{ "[a", "[" },
	{ "a{2,1}", "a{2,1}" },
	{ "*a(", "*a(" },
	{ "", "empty" },
	{ "(a)\\1", "back-reference" },
	{ "[x](a)\\9", "back-reference" },
	{ "[]](a)\\1", "back-reference" },
};

START_TEST(what_is_none_is_refused)
{
	struct match m = { .nr = 0 };
	struct err err = ERR_INIT;

	ck_assert_int_lt(match_add(&m, "--fail", bad[_i][0], &err), 0);
	ck_assert_int_eq(err.kind, ERR_USAGE);
	ck_assert_ptr_nonnull(strstr(err.msg, "--fail"));
	ck_assert_ptr_nonnull(strstr(err.msg, bad[_i][1]));
	ck_assert_uint_eq(m.nr, 0);
}
END_TEST

START_TEST(limits)
{
	char text[MATCH_LEN_MAX + 2];
	struct match m = { .nr = 0 };
	struct err err = ERR_INIT;

	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	ck_assert_int_lt(match_add(&m, "--until", text, &err), 0);
	ck_assert_int_eq(match_add(&m, "--until", text + 1, &err), 0);
	for (unsigned int i = 1; i < MATCH_MAX; i++)
		ck_assert_int_eq(match_add(&m, "--until", "x", &err), 0);
	ck_assert_int_lt(match_add(&m, "--until", "x", &err), 0);
	match_release(&m);
}
END_TEST

UNIT_SUITE("match", {
	tcase_add_loop_test(tc, lines_are_found, 0, ARRAY_SIZE(rows));
	tcase_add_loop_test(tc, what_is_none_is_refused, 0, ARRAY_SIZE(bad));
	tcase_add_test(tc, limits);
})
