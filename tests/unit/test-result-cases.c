/* SPDX-License-Identifier: GPL-2.0 */
// LINK: result-cases.c result.c util/util.c chr/ktap.c chr/classify.c
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <lkvm/result-cases.h>
#include <lkvm/result.h>
#include <lkvm/util.h>

#include "unit.h"

static struct ktap k;

/* It takes files only. */
static const char prove[] = "f=$(mktemp) && cat >$f && prove -e cat $f >/dev/null 2>&1; s=$?; "
			    "rm -f $f; exit $s";

static void set_up(void)
{
	static const char text[] = "1..5\nok 1 fine\nnot ok 2 a<b>&\"c\" \\#1 \xff\n"
				   "ok 3 s # SKIP\nnot ok 4 t # todo\nok 5\n";

	ktap_init(&k);
	ktap_feed(&k, KTAP_CONSOLE, (const uint8_t *)text, sizeof(text) - 1);
	ktap_end(&k);
}

static void tear_down(void)
{
	ktap_release(&k);
}

static char *written(void (*fn)(FILE *, const struct result_info *), const struct result_info *info)
{
	char *text;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	fn(f, info);
	fclose(f);
	return text;
}

static void has(const char *text, const char *part)
{
	ck_assert_msg(strstr(text, part) != NULL, "no %s in %s", part, text);
}

static struct result_info info_of(int status, const char *outcome)
{
	static const struct machine_result res = { .times.end = 2500000000 };

	return (struct result_info){
		.outcome = outcome,
		.status = status,
		.message = "in <words> # and",
		.res = &res,
		.start_ns = 1000000000,
		.start_wall = { .tv_sec = 951782400 },
	};
}

/* Gives a text to a program of the host's that knows the format. */
static int feed(const char *command, const char *text)
{
	FILE *f = popen(command, "w");

	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	return pclose(f);
}

START_TEST(junit_of_a_run_with_tests)
{
	struct result_info info = info_of(STATUS_FAIL, "fail");

	info.tests = &k;
	info.name = "vm";
	char *xml = written(result_write_junit, &info);
	has(xml, " name=\"vm\" timestamp=\"2000-02-29T00:00:00\" time=\"1.500\" tests=\"6\" "
		 "failures=\"2\" errors=\"0\" skipped=\"2\">");
	has(xml, "<testcase classname=\"lkvm\" name=\"vm\" time=\"1.500\">\n      <failure "
		 "type=\"fail\" message=\"in &#60;words&#62; # and\"/>");
	has(xml, "name=\"a&#60;b&#62;&#38;&#34;c&#34; \\#1 ?\"");
	/* The rules that the common schemas share. */
	ck_assert_int_eq(feed("python3 tests/junit-check", xml), 0);
	free(xml);
}
END_TEST

START_TEST(junit_tells_errors_from_failures)
{
	struct result_info info = info_of(STATUS_HOST, "host");
	char *xml = written(result_write_junit, &info);

	has(xml, "tests=\"1\" failures=\"0\" errors=\"1\" skipped=\"0\"");
	has(xml, "<error type=\"host\"");
	ck_assert_int_eq(feed("python3 tests/junit-check", xml), 0);
	free(xml);
	info = info_of(STATUS_OK, "poweroff");
	xml = written(result_write_junit, &info);
	has(xml, "name=\"run\" time=\"1.500\"/>");
	ck_assert_int_eq(feed("python3 tests/junit-check", xml), 0);
	free(xml);
}
END_TEST

START_TEST(tap_of_a_run_with_tests)
{
	struct result_info info = info_of(STATUS_FAIL, "fail");

	info.tests = &k;
	char *tap = written(result_write_tap, &info);
	ck_assert_str_eq(tap,
			 "TAP version 13\n1..6\nnot ok 1 - run\n# in <words> # and\nok 2 - fine\n"
			 "not ok 3 - a<b>&\"c\" \\\\\\#1 \xff\nok 4 - s # SKIP\n"
			 "not ok 5 - t # todo\nok 6 - test 5\n");
	ck_assert_int_ne(feed(prove, tap), 0);
	free(tap);
}
END_TEST

START_TEST(prove_agrees)
{
	struct result_info info = info_of(STATUS_OK, "poweroff");
	struct ktap good;

	ktap_init(&good);
	const char *said = "ok 1 a # SKIP\nnot ok 2 b # todo\nok 3 c\n";
	ktap_feed(&good, KTAP_CONSOLE, (const uint8_t *)said, strlen(said));
	ktap_end(&good);
	info.tests = &good;
	char *tap = written(result_write_tap, &info);
	ck_assert_int_eq(feed(prove, tap), 0);
	free(tap);
	ktap_release(&good);
}
END_TEST

UNIT_SUITE("result-cases", {
	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, junit_of_a_run_with_tests);
	tcase_add_test(tc, junit_tells_errors_from_failures);
	tcase_add_test(tc, tap_of_a_run_with_tests);
	tcase_add_test(tc, prove_agrees);
})
