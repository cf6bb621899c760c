/* SPDX-License-Identifier: GPL-2.0 */
// LINK: chr/conlog.c
#include <stdio.h>
#include <string.h>

#include <lkvm/conlog.h>
#include <lkvm/util.h>

#include "unit.h"

static const struct {
	const char *line;
	const char *panic; /* NULL: none */
} lines[] = {
	{ "Kernel panic - not syncing: VFS: Unable to mount root fs",
	  "Kernel panic - not syncing: VFS: Unable to mount root fs" },
	{ "[    1.234567] Kernel panic - not syncing: sysrq triggered crash",
	  "Kernel panic - not syncing: sysrq triggered crash" },
	{ "[ 1234.000001][    T1] Kernel panic - not syncing: Fatal exception",
	  "Kernel panic - not syncing: Fatal exception" },
	{ "[ 1234.000001] [    C0] Kernel panic - not syncing: x",
	  "Kernel panic - not syncing: x" },
	{ "<0>[    1.0] Kernel panic - not syncing: y", "Kernel panic - not syncing: y" },
	{ "<0>Kernel panic - not syncing: z", "Kernel panic - not syncing: z" },
	{ "# [   12.345678] Kernel panic - not syncing: after a prompt",
	  "Kernel panic - not syncing: after a prompt" },
	{ "[] [   12.345678] Kernel panic - not syncing: q", "Kernel panic - not syncing: q" },
	{ "# echo Kernel panic - not syncing", NULL },
	{ "# grep 'Kernel panic - not syncing' log", NULL },
	{ "---[ end Kernel panic - not syncing: x ]---", NULL },
	{ "[    1.234567] ---[ end Kernel panic - not syncing: x ]---", NULL },
	{ "[    1.234567] Command line: x Kernel panic - not syncing", NULL },
	{ "[1] Kernel panic - not syncing", NULL },
	{ "[.5] Kernel panic - not syncing", NULL },
	{ "[5.] Kernel panic - not syncing", NULL },
	{ "[5.5 Kernel panic - not syncing", NULL },
	{ "kernel panic - not syncing", NULL },
	{ "[", NULL },
	{ "<0>", NULL },
	{ "", NULL },
};

START_TEST(only_the_kernel_panics)
{
	const char *got = conlog_panic(lines[_i].line);

	if (lines[_i].panic)
		ck_assert_str_eq(got, lines[_i].panic);
	else
		ck_assert_msg(!got, "%s", got);
}
END_TEST

struct seen {
	unsigned int nr;
	char line[CONLOG_LINE + 1];
};

static void on_panic(void *arg, const char *line)
{
	struct seen *s = arg;

	s->nr++;
	strcpy(s->line, line);
}

static void feed(struct conlog *c, const char *s, size_t piece)
{
	for (size_t n = strlen(s), len; n; n -= len, s += len) {
		len = MIN(n, piece);
		conlog_feed(c, (const uint8_t *)s, len);
	}
}

START_TEST(a_panic_is_told_once_however_it_arrives)
{
	static struct conlog c;
	struct seen seen = { 0 };

	conlog_init(&c, on_panic, &seen);
	feed(&c, "booting\r\n[    1.0] Kernel panic - not syncing: one", _i + 1);
	ck_assert_uint_eq(seen.nr, 0); /* the line may go on */
	feed(&c, " and a half\r\n[    1.1] Kernel panic - not syncing: two\r\n", _i + 1);
	ck_assert_uint_eq(seen.nr, 1);
	ck_assert_str_eq(seen.line, "Kernel panic - not syncing: one and a half");
}
END_TEST

START_TEST(a_long_line_is_cut_not_overrun)
{
	static struct conlog c;
	struct seen seen = { 0 };

	conlog_init(&c, on_panic, &seen);
	feed(&c, "Kernel panic - not syncing: ", 99);
	for (int i = 0; i < 3 * CONLOG_LINE; i++)
		conlog_feed(&c, (const uint8_t *)"a\0", 2);
	feed(&c, "\n", 1);
	ck_assert_uint_eq(seen.nr, 1);
	ck_assert_uint_eq(strlen(seen.line), CONLOG_LINE);
}
END_TEST

START_TEST(the_tail_is_whole_lines)
{
	static struct conlog c;
	struct seen seen = { 0 };
	char buf[64], big[CONLOG_KEEP + 1];

	conlog_init(&c, on_panic, &seen);
	ck_assert_uint_eq(conlog_tail(&c, buf, sizeof(buf)), 0);
	feed(&c, "one\ntwo\nthree", 99);
	ck_assert_uint_eq(conlog_tail(&c, buf, sizeof(buf)), 13);
	ck_assert_str_eq(buf, "one\ntwo\nthree");
	ck_assert_uint_eq(conlog_tail(&c, buf, 12), 9); /* "ne\n" is not whole */
	ck_assert_str_eq(buf, "two\nthree");
	ck_assert_uint_eq(conlog_tail(&c, buf, 1), 0);
	ck_assert_uint_eq(conlog_tail(&c, buf, 0), 0);
	for (int i = 0; i < CONLOG_KEEP; i++) {
		char line[16];

		snprintf(line, sizeof(line), "line %d\n", i);
		feed(&c, line, 99);
	}
	size_t n = conlog_tail(&c, big, sizeof(big));
	ck_assert_uint_gt(n, CONLOG_KEEP - 16);
	ck_assert_mem_eq(big, "line ", 5);
	ck_assert_str_eq(big + n - 11, "line 16383\n");
}
END_TEST

UNIT_SUITE("conlog", {
	tcase_add_loop_test(tc, only_the_kernel_panics, 0, ARRAY_SIZE(lines));
	tcase_add_loop_test(tc, a_panic_is_told_once_however_it_arrives, 0, 5);
	tcase_add_test(tc, a_long_line_is_cut_not_overrun);
	tcase_add_test(tc, the_tail_is_whole_lines);
})
