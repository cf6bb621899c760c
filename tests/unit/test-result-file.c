/* SPDX-License-Identifier: GPL-2.0 */
// LINK: result-file.c tests/mock/clock.c util/err.c
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lkvm/result-file.h>

#include "tests/mock/clock.h"
#include "unit.h"

static char dir[] = "/tmp/lkvm-test-result-XXXXXX";

static void make_dir(void)
{
	ck_assert_ptr_nonnull(mkdtemp(dir));
	ck_assert_int_eq(chdir(dir), 0);
}

static unsigned int files(void)
{
	unsigned int nr = 0;
	DIR *d = opendir(".");

	for (struct dirent *e; (e = readdir(d));)
		nr += e->d_name[0] != '.';
	closedir(d);
	return nr;
}

static void remove_dir(void)
{
	static const char *const names[] = { "r", "link", "fifo" };

	for (unsigned int i = 0; i < 3; i++)
		unlink(names[i]);
	ck_assert_int_eq(chdir("/"), 0);
	ck_assert_int_eq(rmdir(dir), 0);
}

static void put(const char *name, const char *text)
{
	FILE *f = fopen(name, "w");

	fputs(text, f);
	fclose(f);
}

static const char *get(const char *name)
{
	static char buf[64];
	FILE *f = fopen(name, "r");

	ck_assert_ptr_nonnull(f);
	buf[fread(buf, 1, sizeof(buf) - 1, f)] = 0;
	fclose(f);
	return buf;
}

static void open_ok(struct result_file *f, const char *where)
{
	struct err err = ERR_INIT;

	ck_assert_msg(!result_file_open(f, "--result", where, &err), "%s", err.msg);
}

START_TEST(a_file_is_whole_or_not_there)
{
	struct err err = ERR_INIT;
	struct result_file f;
	struct stat st;

	umask(027);
	put("r", "an older run's");
	open_ok(&f, "r");
	ck_assert_uint_eq(files(), 0); /* nothing is left of it, nor of the check */
	ck_assert_int_eq(result_file_write(&f, "{}\n", 3, &err), 0);
	ck_assert_uint_eq(files(), 1);
	ck_assert_str_eq(get("r"), "{}\n");
	ck_assert_int_eq(stat("r", &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0640);
	result_file_close(&f);
}
END_TEST

START_TEST(a_link_stays_one)
{
	struct err err = ERR_INIT;
	struct result_file f;
	struct stat st;

	put("r", "old");
	ck_assert_int_eq(symlink("r", "link"), 0);
	open_ok(&f, "link");
	ck_assert_int_eq(result_file_write(&f, "new", 3, &err), 0);
	ck_assert_int_eq(lstat("link", &st), 0);
	ck_assert(S_ISLNK(st.st_mode));
	ck_assert_str_eq(get("r"), "new");
	result_file_close(&f);
}
END_TEST

START_TEST(a_device_stays_one)
{
	struct err err = ERR_INIT;
	struct result_file f;
	struct stat st;

	open_ok(&f, "/dev/null");
	ck_assert_int_eq(result_file_write(&f, "x", 1, &err), 0);
	result_file_close(&f);
	ck_assert_int_eq(stat("/dev/null", &st), 0);
	ck_assert(S_ISCHR(st.st_mode));
}
END_TEST

static const char *const bad[][2] = {
	{ "nodir/r", "nodir/r" }, { ".", "directory" },   { "", "no name" },
	{ "fd:", "fd:" },         { "fd:x", "fd:x" },     { "fd:1x", "fd:1x" },
	{ "fd:-1", "fd:-1" },     { "fd:999", "fd:999" }, { "fd:99999999999999999999", "fd:" },
};

START_TEST(what_cannot_be_written_is_told_before)
{
	struct err err = ERR_INIT;
	struct result_file f;

	ck_assert_int_lt(result_file_open(&f, "--result", bad[_i][0], &err), 0);
	ck_assert_msg(strstr(err.msg, bad[_i][1]), "%s", err.msg);
	ck_assert_ptr_nonnull(strstr(err.msg, "--result"));
	result_file_close(&f);
}
END_TEST

START_TEST(descriptors)
{
	struct err err = ERR_INIT;
	struct result_file f;
	char where[16], buf[8];
	int p[2];

	ck_assert_int_eq(pipe(p), 0);
	snprintf(where, sizeof(where), "fd:%d", p[0]);
	ck_assert_int_lt(result_file_open(&f, "--result", where, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.msg, "reading only"));
	snprintf(where, sizeof(where), "fd:%d", p[1]);
	open_ok(&f, where);
	ck_assert_int_eq(fcntl(p[1], F_GETFD), FD_CLOEXEC);
	ck_assert_int_eq(result_file_write(&f, "{}", 2, &err), 0);
	ck_assert_int_eq(read(p[0], buf, sizeof(buf)), 2);
	result_file_close(&f);
	ck_assert_int_ge(fcntl(p[1], F_GETFD), 0); /* it is not ours to close */
	close(p[0]);
	close(p[1]);
}
END_TEST

/* A reader that takes nothing costs time, and is told. */
START_TEST(a_stuck_reader_is_given_up)
{
	static char big[1 << 18];
	struct err err = ERR_INIT;
	struct result_file f;
	char where[16];
	int p[2];

	ck_assert_int_eq(pipe(p), 0);
	snprintf(where, sizeof(where), "fd:%d", p[1]);
	open_ok(&f, where);
	mock_clock_step = 200000000; /* two seconds are over soon */
	ck_assert_int_lt(result_file_write(&f, big, sizeof(big), &err), 0);
	ck_assert_int_eq(err.kind, ERR_HOST);
	mock_clock_step = 0;
	close(p[0]);
	close(p[1]);
}
END_TEST

/* The folder went while the guest ran. */
START_TEST(a_late_failure_is_told)
{
	struct err err = ERR_INIT;
	struct result_file f;

	ck_assert_int_eq(mkdir("sub", 0700), 0);
	open_ok(&f, "sub/r");
	ck_assert_int_eq(rmdir("sub"), 0);
	ck_assert_int_lt(result_file_write(&f, "{}", 2, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.msg, "sub/r"));
	result_file_close(&f);
}
END_TEST

static int fill(int fd, void *arg)
{
	ck_assert_int_eq(write(fd, "part", 4), 4);
	return *(int *)arg;
}

START_TEST(a_file_that_is_filled_is_whole_or_not_there)
{
	struct err err = ERR_INIT;
	struct result_file f;
	unsigned int before = files();
	int ret = -ENOSPC;

	ck_assert_int_eq(result_file_open(&f, "--core", "filled", &err), 0);
	ck_assert_int_eq(result_file_fill(&f, fill, &ret, &err), -ENOSPC);
	ck_assert_str_eq(err.msg, "cannot write --core filled: No space left on device");
	ck_assert_uint_eq(files(), before);
	ret = 0;
	ck_assert_int_eq(result_file_fill(&f, fill, &ret, &err), 0);
	ck_assert_uint_eq(files(), before + 1);
	result_file_close(&f);
	unlink("filled");
}
END_TEST

UNIT_SUITE("result-file", {
	tcase_add_unchecked_fixture(tc, make_dir, remove_dir);
	tcase_add_test(tc, a_file_is_whole_or_not_there);
	tcase_add_test(tc, a_link_stays_one);
	tcase_add_test(tc, a_device_stays_one);
	tcase_add_loop_test(tc, what_cannot_be_written_is_told_before, 0,
			    sizeof(bad) / sizeof(bad[0]));
	tcase_add_test(tc, descriptors);
	tcase_add_test(tc, a_stuck_reader_is_given_up);
	tcase_add_test(tc, a_late_failure_is_told);
	tcase_add_test(tc, a_file_that_is_filled_is_whole_or_not_there);
})
