/* SPDX-License-Identifier: GPL-2.0 */
// LINK: util/err.c
#include "unit.h"

#include <errno.h>
#include <string.h>

#include <lkvm/err.h>

START_TEST(returns_and_fills)
{
	struct err err = ERR_INIT;

	ck_assert_int_eq(err_usage(&err, "option --%s: %d", "mem", 7), -EINVAL);
	ck_assert_int_eq(err.kind, ERR_USAGE);
	ck_assert_str_eq(err.msg, "option --mem: 7");

	err = ERR_INIT;
	ck_assert_int_eq(err_host(&err, ENOENT, "cannot open %s", "x"), -ENOENT);
	ck_assert_int_eq(err.kind, ERR_HOST);
	ck_assert_str_eq(err.msg, "cannot open x: No such file or directory");

	err = ERR_INIT;
	ck_assert_int_eq(err_host(&err, 0, "no KVM"), -EIO);
	ck_assert_str_eq(err.msg, "no KVM");

	err = ERR_INIT;
	ck_assert_int_eq(err_internal(&err, "broken"), -EIO);
	ck_assert_int_eq(err.kind, ERR_INTERNAL);
	ck_assert_str_eq(err.msg, "broken");
}
END_TEST

START_TEST(first_sentence_wins)
{
	struct err err = ERR_INIT;

	err_usage(&err, "first");
	ck_assert_int_eq(err_host(&err, EIO, "second"), -EIO);
	ck_assert_int_eq(err_internal(&err, "third"), -EIO);
	ck_assert_int_eq(err_usage(&err, "fourth"), -EINVAL);
	ck_assert_int_eq(err.kind, ERR_USAGE);
	ck_assert_str_eq(err.msg, "first");
}
END_TEST

START_TEST(nobody_listens)
{
	ck_assert_int_eq(err_usage(NULL, "x"), -EINVAL);
	ck_assert_int_eq(err_host(NULL, EPERM, "x"), -EPERM);
	ck_assert_int_eq(err_internal(NULL, "x"), -EIO);
	err_prefix(NULL, "x");
}
END_TEST

START_TEST(prefix)
{
	struct err err = ERR_INIT;

	err_prefix(&err, "disk %d", 1);
	ck_assert_int_eq(err.kind, ERR_NONE);
	ck_assert_str_eq(err.msg, "");
	err_usage(&err, "bad");
	err_prefix(&err, "disk %d", 1);
	ck_assert_str_eq(err.msg, "disk 1: bad");
}
END_TEST

/* Cut, terminated, and nothing behind the array is touched. */
START_TEST(too_long_is_cut)
{
	char text[2 * ERR_MSG_LEN];
	struct {
		struct err err;
		char guard[16];
	} s = { .err = ERR_INIT };

	memset(text, 'a', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	memset(s.guard, 0x5a, sizeof(s.guard));
	err_host(&s.err, EIO, "%s", text);
	ck_assert_uint_eq(strlen(s.err.msg), ERR_MSG_LEN - 1);
	err_prefix(&s.err, "%s", text);
	ck_assert_uint_eq(strlen(s.err.msg), ERR_MSG_LEN - 1);
	for (size_t i = 0; i < sizeof(s.guard); i++)
		ck_assert_int_eq(s.guard[i], 0x5a);
}
END_TEST

UNIT_SUITE("err", {
	tcase_add_test(tc, returns_and_fills);
	tcase_add_test(tc, first_sentence_wins);
	tcase_add_test(tc, nobody_listens);
	tcase_add_test(tc, prefix);
	tcase_add_test(tc, too_long_is_cut);
})
