/* SPDX-License-Identifier: GPL-2.0 */
// LINK: find-program.c initramfs.c util/cpio.c util/src.c util/err.c util/util.c
/* Programs by their names, and what runs scripts. */
#include "unit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lkvm/find-program.h>
#include <lkvm/util.h>

#include "archive.h"

static char *path, *more;

static void put(const char *name, const char *text, mode_t mode)
{
	FILE *f = fopen(name, "w");

	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
	ck_assert_int_eq(chmod(name, mode), 0);
}

static void setup(void)
{
	char folders[128];

	archive_setup("");
	ck_assert_int_eq(mkdir("a", 0755) | mkdir("b", 0755) | mkdir("a/folder", 0755), 0);
	put("a/data", "x", 0644);
	put("b/data", "x", 0755);
	put("b/prog", "x", 0755);
	put("b/env", "x", 0755);
	ck_assert_int_eq(symlink("prog", "b/alias") | symlink("gone", "b/dead"), 0);
	snprintf(folders, sizeof(folders), "relative::%s/none:%s/a:%s/b", dir, dir, dir);
	setenv("PATH", folders, 1);
	path = more = NULL;
}

static void teardown(void)
{
	free(path);
	free(more);
	setenv("PATH", "/usr/bin:/bin", 1);
	archive_teardown();
}

static void is(const char *have, const char *want)
{
	char full[64];

	snprintf(full, sizeof(full), "%s/%s", dir, want);
	ck_assert_str_eq(have, full);
}

static const struct {
	const char *name, *want; /* NULL: there is none */
} names[] = {
	{ "prog", "b/prog" },
	/* What cannot be executed is passed over; a link keeps its name. */
	{ "data", "b/data" },
	{ "alias", "b/alias" },
	{ "b/alias", "b/alias" },
	{ "./a/../b/./prog", "b/prog" },
	{ "folder", NULL },
	{ "dead", NULL },
	{ "", NULL },
	{ "nosuch", NULL },
	{ "b/nosuch", NULL },
	{ "nowhere/prog", NULL },
	{ "a/data", NULL },
	{ "b/", NULL },
	{ "/", NULL },
};

START_TEST(by_its_name)
{
	int ret = find_program(names[_i].name, &path, &err);

	if (names[_i].want) {
		ck_assert_msg(!ret, "%s", err.msg);
		is(path, names[_i].want);
		return;
	}
	ck_assert_int_eq(ret, -EINVAL);
	ck_assert_int_eq(err.kind, ERR_USAGE);
	says("there is no program ");
	ck_assert_ptr_null(path);
}
END_TEST

START_TEST(without_a_path)
{
	unsetenv("PATH");
	ck_assert_int_eq(find_program("prog", &path, &err), -EINVAL);
	says("there is no program prog in PATH");
}
END_TEST

/* "@" stands for the test's folder. */
static const struct {
	const char *text, *path, *more, *says;
} scripts[] = {
	{ "\x7f"
	  "ELF",
	  NULL, NULL, NULL },
	{ "#", NULL, NULL, NULL },
	{ "#!@/b/prog\n", "b/prog", NULL, NULL },
	{ "#! \t@/b/prog -x y", "b/prog", NULL, NULL },
	{ "#!@/b/env prog\nx", "b/env", "b/prog", NULL },
	{ "#!@/b/env -S prog\n", "b/env", NULL, NULL },
	{ "#!@/b/env\n", "b/env", NULL, NULL },
	{ "#!@/b/env nosuch\n", NULL, NULL, "script: there is no program nosuch in PATH" },
	{ "#!@/nosuch\n", NULL, NULL, "there is no program /" },
	{ "#!prog\n", NULL, NULL, "names no interpreter by its path" },
	{ "#!\n", NULL, NULL, "names no interpreter by its path" },
	{ "#!", NULL, NULL, "names no interpreter by its path" },
};

START_TEST(what_runs_a_script)
{
	const char *at = strchr(scripts[_i].text, '@');
	char text[512];

	if (at)
		snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - scripts[_i].text),
			 scripts[_i].text, dir, at + 1);
	else
		snprintf(text, sizeof(text), "%s", scripts[_i].text);
	put("script", text, 0755);
	int ret = find_interpreter("script", &path, &more, &err);
	if (scripts[_i].says) {
		ck_assert_int_eq(ret, -EINVAL);
		says(scripts[_i].says);
		return;
	}
	ck_assert_msg(!ret, "%s", err.msg);
	ck_assert_int_eq(!path, !scripts[_i].path);
	ck_assert_int_eq(!more, !scripts[_i].more);
	if (path)
		is(path, scripts[_i].path);
	if (more)
		is(more, scripts[_i].more);
}
END_TEST

START_TEST(a_long_first_line)
{
	char text[2048] = "#!";

	memset(text + 2, '/', 2000);
	put("script", text, 0755);
	ck_assert_int_eq(find_interpreter("script", &path, &more, &err), -EINVAL);
	ck_assert_int_lt(find_interpreter("missing", &path, &more, &err), 0);
}
END_TEST

UNIT_SUITE("find-program", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, by_its_name, 0, ARRAY_SIZE(names));
	tcase_add_test(tc, without_a_path);
	tcase_add_loop_test(tc, what_runs_a_script, 0, ARRAY_SIZE(scripts));
	tcase_add_test(tc, a_long_first_line);
})
