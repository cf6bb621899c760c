/* SPDX-License-Identifier: GPL-2.0 */
// LINK: chr/ktap.c chr/classify.c util/util.c
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include <lkvm/ktap.h>
#include <lkvm/util.h>

#include "unit.h"

static struct ktap k;

static void set_up(void)
{
	ktap_init(&k);
}

static void tear_down(void)
{
	ktap_release(&k);
}

static void say(const char *s)
{
	ktap_feed(&k, KTAP_CONSOLE, (const uint8_t *)s, strlen(s));
}

/* Streams, and what is seen in them. */
static const struct {
	const char *text;
	unsigned int passed, failed, skipped, expected;
	const char *first_failure, *broken;
} streams[] = {
	{ "hello\nok then\nnot ok at all\nok\n1...\n1..x\nok 1st\nokay 1\n", 0, 0, 0, 0, "", "" },
	{ "TAP version 13\n1..2\nok 1 - one\nok 2 two\n", 2, 0, 0, 0, "", "" },
	{ "ok 1 - without a plan\nnot ok 2 - this\n", 1, 1, 0, 0, "this", "" },
	{ "1..2\r\nok\r\nnot ok\r\n", 1, 1, 0, 0, "test 2", "" },
	/* A plan at the end, and one without its last line end. */
	{ "TAP version 13\nok 1\nok 2\n1..2", 2, 0, 0, 0, "", "" },
	{ "1..3\nok 1\nok 2\n", 2, 0, 0, 0, "", "2 results for a plan of 3 tests" },
	{ "1..1\nok 1\nok 2\n", 2, 0, 0, 0, "", "2 results for a plan of 1 tests" },
	{ "1..99999999999999999999999\nok 1\n", 1, 0, 0, 0, "",
	  "1 results for a plan of 1000000000 tests" },
	{ "KTAP version 1\nok 1 a\n", 1, 0, 0, 0, "", "a document of tests ended without a plan" },
	{ "1..5\nok 1 a\nBail out! no disk\n", 1, 0, 0, 0, "", "the tests bailed out: no disk" },
	{ "Bail out!\n1..1\nok 1\n", 1, 0, 0, 0, "", "the tests bailed out" },
	/* Directives. */
	{ "1..5\nok 1 a # SKIP why\nnot ok 2 b # skipped: why\nnot ok 3 c # todo later\n"
	  "not ok 4 d # XFAIL\nok 5 e # todo it works\n",
	  1, 0, 2, 2, "", "" },
	{ "1..3\nok 1 \\# SKIP\nnot ok 2 c#3 # todos\nnot ok 3 t # TIMEOUT 45 seconds\n", 1, 2, 0,
	  0, "c#3 # todos", "" },
	{ "1..0 # SKIP no device\n", 0, 0, 1, 0, "", "" },
	{ "1..0\n", 0, 0, 0, 0, "", "" },
	/* Subtests: the results of suites are not counted, but for one that has a failure of its own. */
	{ "KTAP version 1\n1..2\n  KTAP version 1\n  1..2\n    KTAP version 1\n    1..1\n"
	  "    # Subtest: deep\n    not ok 1 x\n  not ok 1 inner\n  ok 2 y\nnot ok 1 outer\n"
	  "ok 2 z\n",
	  2, 1, 0, 0, "deep/x", "" },
	{ "KTAP version 1\n1..1\n    # Subtest: s\n    1..2\n    ok 1 a\nok 1 s\n", 1, 0, 0, 0, "",
	  "1 results for a plan of 2 tests: s" },
	{ "1..1\n    # Subtest: s\n    1..1\n    ok 1 a\nnot ok 1 s\n", 1, 1, 0, 0, "s", "" },
	/* TAP 14 announces a subtest before it. */
	{ "TAP version 14\n1..2\n# Subtest: s\n    1..1\n    not ok 1 a\nnot ok 1 s\nok 2 b\n", 1,
	  1, 0, 0, "s/a", "" },
	/* KUnit as a module, on kernels that print no header then. */
	{ "    # Subtest: s\n    1..2\n    ok 1 - a\n    not ok 2 - b\nnot ok 1 - s\n", 1, 1, 0, 0,
	  "s/b", "" },
	/* KUnit on a console with time stamps. */
	{ "[    0.300000] KTAP version 1\r\n[    0.300100] 1..1\r\n"
	  "[    0.300200]     KTAP version 1\r\n[    0.300300]     # Subtest: ex\r\n"
	  "[    0.300400]     # module: ex_test\r\n[    0.300500]     1..3\r\n"
	  "[    0.300600]     ok 1 simple\r\n[    0.300700]     # skip: because\r\n"
	  "[    0.300800]     ok 2 skips # SKIP because\r\n"
	  "[    0.300900]         KTAP version 1\r\n[    0.301000]         # Subtest: params\r\n"
	  "[    0.301100]         ok 1 value 3\r\n[    0.301200]         not ok 2 value 2\r\n"
	  "[    0.301300]     # params: pass:1 fail:1 skip:0 total:2\r\n"
	  "[    0.301400]     not ok 3 params\r\n[    0.301500] # ex: pass:1 fail:1 skip:1 "
	  "total:3\r\n"
	  "[    0.301600] # Totals: pass:2 fail:1 skip:1 total:4\r\n[    0.301700] not ok 1 ex\r\n",
	  2, 1, 1, 0, "ex/params/value 2", "" },
	/* The kernel's document in the midst of a program's, its callers printed; and behind a prompt. */
	{ "1..2\nok 1 a\n<6>[    1.0][    T1] 1..1\n[    1.1][    T1] ok 1 k\nok 2 b\n", 3, 0, 0, 0,
	  "", "" },
	{ "# [    1.0] 1..2\n$ [    1.1] not ok 1 k\n[    1.2] ok 2 m\n", 1, 1, 0, 0, "k", "" },
	/* A name may look like a time stamp. */
	{ "1..1\nnot ok 1 takes [    1.5] s\n", 0, 1, 0, 0, "takes [    1.5] s", "" },
	/* kselftest: the runner's own lines, a program's as comments, and its names behind the directive. */
	{ "TAP version 13\n1..2\n# timeout set to 45\n# selftests: a: b\n# TAP version 13\n# 1..2\n"
	  "# not ok 1 x\nnot ok 1 selftests: a: b # exit=1\nok 2 selftests: a: c # SKIP\n"
	  "TAP version 13\n1..1\nok 1 # SKIP device is missing\n# Totals: pass:0 fail:0\n",
	  0, 1, 2, 0, "selftests: a: b # exit=1", "" },
	/* One document after the other, each checked. */
	{ "TAP version 13\n1..2\nok 1\nTAP version 13\n1..1\nok 1\n1..1\nok 1\n", 3, 0, 0, 0, "",
	  "1 results for a plan of 2 tests" },
	{ "KTAP version 1\n1..1\n  KTAP version 1\n  1..1\n  ok 1 a\n  KTAP version 1\n  1..1\n"
	  "  not ok 1 b\nnot ok 1 both\n",
	  1, 1, 0, 0, "b", "" },
	{ "1..1\nnot ok 1 \x1b[31mred\x7f\xff\n", 0, 1, 0, 0, "?[31mred?\xff", "" },
};

static void check(size_t i)
{
	const struct ktap_case *first = ktap_first_failure(&k);

	ck_assert_uint_eq(k.count[KTAP_PASSED], streams[i].passed);
	ck_assert_uint_eq(k.count[KTAP_FAILED], streams[i].failed);
	ck_assert_uint_eq(k.count[KTAP_SKIPPED], streams[i].skipped);
	ck_assert_uint_eq(k.count[KTAP_EXPECTED], streams[i].expected);
	ck_assert_uint_eq(ktap_tests(&k), k.cases_nr);
	ck_assert_str_eq(first ? first->name : "", streams[i].first_failure);
	ck_assert_str_eq(k.broken, streams[i].broken);
}

START_TEST(streams_are_understood)
{
	say(streams[_i].text);
	ktap_end(&k);
	check(_i);
}
END_TEST

START_TEST(pieces_are_put_together)
{
	for (const char *s = streams[_i].text; *s; s++)
		ktap_feed(&k, KTAP_CONSOLE, (const uint8_t *)s, 1);
	ktap_end(&k);
	check(_i);
}
END_TEST

START_TEST(what_ends_is_forgotten)
{
	say("1..1\nok 1 a");
	ktap_end(&k);
	say("ok\n1..1\nok 1 b\n");
	ktap_end(&k);
	ck_assert_uint_eq(ktap_tests(&k), 2);
	ck_assert_str_eq(k.broken, "");
}
END_TEST

START_TEST(names_and_lines_are_bounded)
{
	char text[3 * KTAP_LINE];

	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = 0;
	say("1..1\n");
	for (unsigned int i = 1; i < 3; i++) {
		char line[64];

		snprintf(line, sizeof(line), "%*s# Subtest: ", (int)(4 * i), "");
		say(line);
		say(text);
		snprintf(line, sizeof(line), "\n%*snot ok %u ", (int)(4 * i), "", i);
		say(line);
		say(text);
		say("\n");
	}
	ktap_end(&k);
	ck_assert_uint_eq(k.count[KTAP_FAILED], 2);
	ck_assert_uint_eq(strlen(k.cases[1].name), KTAP_NAME - 1);
	ck_assert_uint_lt(strlen(k.broken), sizeof(k.broken));
}
END_TEST

START_TEST(depth_is_bounded)
{
	char line[64];

	for (int way = 0; way < 2; way++)
		for (int i = 0; i < 3 * KTAP_DEPTH; i++) {
			snprintf(line, sizeof(line), "%*s%s\n", 2 * i, "",
				 way ? "KTAP version 1" : "1..1");
			say(line);
			snprintf(line, sizeof(line), "%*sok 1 a\n", 2 * i, "");
			say(line);
			ck_assert_uint_le(k.inputs[KTAP_CONSOLE].streams[0].depth, KTAP_DEPTH);
		}
	ktap_end(&k);
	ck_assert_uint_ne(k.count[KTAP_PASSED], 0);
}
END_TEST

START_TEST(failures_are_kept_when_there_are_too_many_tests)
{
	const unsigned int more = 500;

	say("1..1\n");
	for (unsigned int i = 0; i < KTAP_CASES + more; i++)
		say("ok\n");
	say("not ok - here\n");
	ck_assert_uint_eq(k.cases_nr, KTAP_CASES + 1);
	ck_assert_str_eq(ktap_first_failure(&k)->name, "here");
	for (unsigned int i = 0; i < KTAP_FAILURES + more; i++)
		say("not ok\n");
	ck_assert_uint_eq(k.cases_nr, KTAP_CASES + KTAP_FAILURES);
	ck_assert_uint_eq(k.count[KTAP_PASSED], KTAP_CASES + more);
	ck_assert_uint_eq(k.count[KTAP_FAILED], 1 + KTAP_FAILURES + more);
}
END_TEST

/* Each has lines and documents of its own; what is seen is counted together. */
START_TEST(several_sources)
{
	static const struct {
		enum ktap_source from;
		const char *text;
	} says[] = {
		{ KTAP_CONSOLE, "TAP version 13\n1..2\nok 1 a\n" },
		{ KTAP_STDOUT, "1..2\nok" },
		{ KTAP_RESULTS, "1..1\nnot ok 1 c\n" },
		{ KTAP_CONSOLE, "ok 2" },
		{ KTAP_STDOUT, " 1 b\nok 2 d\n" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(says); i++)
		ktap_feed(&k, says[i].from, (const uint8_t *)says[i].text, strlen(says[i].text));
	ktap_end(&k);
	ck_assert_uint_eq(k.count[KTAP_PASSED], 4);
	ck_assert_uint_eq(k.count[KTAP_FAILED], 1);
	ck_assert_str_eq(k.broken, "");
}
END_TEST

static void *feed_stdout(void *arg)
{
	(void)arg;
	for (int i = 0; i < 2000; i++)
		ktap_feed(&k, KTAP_STDOUT, (const uint8_t *)"ok 1 x\n", 7);
	return NULL;
}

START_TEST(from_several_threads)
{
	pthread_t t;

	ck_assert_int_eq(pthread_create(&t, NULL, feed_stdout, NULL), 0);
	for (int i = 0; i < 2000; i++)
		ktap_feed(&k, KTAP_RESULTS, (const uint8_t *)"not ok 1 x\n", 11);
	pthread_join(t, NULL);
	ktap_end(&k);
	ck_assert_uint_eq(k.count[KTAP_PASSED], 2000);
	ck_assert_uint_eq(k.count[KTAP_FAILED], 2000);
}
END_TEST

UNIT_SUITE("ktap", {
	tcase_add_test(tc, several_sources);
	tcase_add_test(tc, from_several_threads);
	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_loop_test(tc, streams_are_understood, 0, ARRAY_SIZE(streams));
	tcase_add_loop_test(tc, pieces_are_put_together, 0, ARRAY_SIZE(streams));
	tcase_add_test(tc, what_ends_is_forgotten);
	tcase_add_test(tc, names_and_lines_are_bounded);
	tcase_add_test(tc, depth_is_bounded);
	tcase_add_test(tc, failures_are_kept_when_there_are_too_many_tests);
})
