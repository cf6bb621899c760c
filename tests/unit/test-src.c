// SPDX-License-Identifier: GPL-2.0
// LINK: util/src.c util/err.c
// LIBS: -Wl,--wrap=pread64
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lkvm/src.h>

#include "unit.h"

static char dir[] = "/tmp/lkvm-test-src-XXXXXX";

/* How the next read ends, once: 0 as it would. */
static int read_errno;
ssize_t __real_pread64(int fd, void *buf, size_t len, off_t off);
ssize_t __wrap_pread64(int fd, void *buf, size_t len, off_t off);
ssize_t __wrap_pread64(int fd, void *buf, size_t len, off_t off)
{
	if (read_errno) {
		errno = read_errno;
		read_errno = 0;
		return -1;
	}
	/* Short reads are as good as long ones. */
	return __real_pread64(fd, buf, len > 2 ? 2 : len, off);
}

static void setup(void)
{
	strcpy(dir + strlen(dir) - 6, "XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	ck_assert_int_eq(chdir(dir), 0);
}

static void teardown(void)
{
	ck_assert_int_eq(chdir("/"), 0);
	char cmd[64];

	snprintf(cmd, sizeof(cmd), "rm -r %s", dir);
	ck_assert_int_eq(system(cmd), 0);
}

static void put(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
}

START_TEST(refuses_what_is_no_file)
{
	static const struct {
		const char *path;
		enum err_kind kind;
		int ret;
		const char *says;
	} cases[] = {
		{ "missing", ERR_HOST, -ENOENT, "cannot open kernel missing: " },
		{ "file/x", ERR_HOST, -ENOTDIR, "cannot open kernel file/x: " },
		{ "sub", ERR_USAGE, -EINVAL, "kernel sub is a directory" },
		{ "empty", ERR_USAGE, -EINVAL, "kernel empty is empty" },
		{ "fifo", ERR_USAGE, -EINVAL, "kernel fifo is not a regular file" },
		{ "/dev/null", ERR_USAGE, -EINVAL, "kernel /dev/null is not a regular file" },
	};

	put("empty", "");
	put("file", "x");
	ck_assert_int_eq(mkdir("sub", 0700), 0);
	ck_assert_int_eq(mkfifo("fifo", 0600), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct err err = ERR_INIT;
		struct src src;

		ck_assert_int_eq(src_open(&src, "kernel", cases[i].path, &err), cases[i].ret);
		ck_assert_int_eq(err.kind, cases[i].kind);
		ck_assert_msg(strncmp(err.msg, cases[i].says, strlen(cases[i].says)) == 0, "%s",
			      err.msg);
		/* Nothing is left open, and a release after a failure is harmless. */
		ck_assert_int_eq(src.fd, -1);
		src_release(&src);
	}
}
END_TEST

/* The same rules for a file and for memory. */
static void check_reads(const struct src *src)
{
	static const struct {
		uint64_t off;
		size_t len;
		const char *want; /* NULL: cut short */
	} cases[] = {
		{ 0, 6, "abcdef" },    { 2, 3, "cde" },         { 6, 0, "" },
		{ 0, 7, NULL },        { 5, 2, NULL },          { 6, 1, NULL },
		{ 7, 0, NULL },        { UINT64_MAX, 1, NULL }, { UINT64_MAX, 2, NULL },
		{ 2, SIZE_MAX, NULL },
	};

	ck_assert_uint_eq(src->size, 6);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct err err = ERR_INIT;
		char buf[8] = "";
		int ret = src_read(src, cases[i].off, buf, cases[i].len, &err);

		if (cases[i].want) {
			ck_assert_int_eq(ret, 0);
			ck_assert_str_eq(buf, cases[i].want);
			continue;
		}
		ck_assert_int_eq(ret, -EINVAL);
		ck_assert_int_eq(err.kind, ERR_USAGE);
		ck_assert_ptr_nonnull(strstr(err.msg, "initrd file is cut short"));
	}
}

START_TEST(reads_files_and_memory)
{
	struct err err = ERR_INIT;
	struct src src;

	put("file", "abcdef");
	ck_assert_int_eq(src_open(&src, "initrd", "file", &err), 0);
	check_reads(&src);
	src_release(&src);
	ck_assert_int_eq(src.fd, -1);

	src_init_mem(&src, "initrd", "file", "abcdef", 6);
	check_reads(&src);
	src_release(&src);
}
END_TEST

START_TEST(reads_a_file_whole)
{
	struct err err = ERR_INIT;
	uint8_t *data;
	size_t len;

	put("file", "abcdef");
	put("empty", "");
	ck_assert_int_eq(src_read_file("file", "file", 6, &data, &len, &err), 0);
	ck_assert_uint_eq(len, 6);
	ck_assert_mem_eq(data, "abcdef", 6);
	free(data);
	ck_assert_int_eq(src_read_file("file", "empty", 0, &data, &len, &err), 0);
	ck_assert_uint_eq(len, 0);
	free(data);
	ck_assert_int_eq(src_read_file("file", "file", 5, &data, &len, &err), -EINVAL);
	ck_assert_str_eq(err.msg, "file file is too large: 6 bytes, and at most 5 are possible");
	ck_assert_ptr_null(data);
	err = ERR_INIT;
	read_errno = EIO;
	ck_assert_int_eq(src_read_file("file", "file", 6, &data, &len, &err), -EIO);
	ck_assert_int_eq(err.kind, ERR_HOST);
	ck_assert_ptr_null(data);
	err = ERR_INIT;
	ck_assert_int_eq(src_read_file("file", "missing", 6, &data, &len, &err), -ENOENT);
	ck_assert_ptr_null(data);
}
END_TEST

START_TEST(notices_a_file_that_shrinks)
{
	struct err err = ERR_INIT;
	struct src src;
	char buf[6];

	put("file", "abcdef");
	ck_assert_int_eq(src_open(&src, "kernel", "file", &err), 0);
	ck_assert_int_eq(truncate("file", 3), 0);
	ck_assert_int_eq(src_read(&src, 0, buf, 6, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.msg, "cut short"));
	src_release(&src);
}
END_TEST

START_TEST(retries_and_reports)
{
	struct err err = ERR_INIT;
	struct src src;
	char buf[7] = "";

	put("file", "abcdef");
	ck_assert_int_eq(src_open(&src, "kernel", "file", &err), 0);
	read_errno = EINTR;
	ck_assert_int_eq(src_read(&src, 0, buf, 6, &err), 0);
	ck_assert_str_eq(buf, "abcdef");
	read_errno = EIO;
	ck_assert_int_eq(src_read(&src, 0, buf, 6, &err), -EIO);
	ck_assert_int_eq(err.kind, ERR_HOST);
	ck_assert_ptr_nonnull(strstr(err.msg, "cannot read kernel file: "));
	src_release(&src);
}
END_TEST

UNIT_SUITE("src", {
	tcase_add_test(tc, retries_and_reports);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, refuses_what_is_no_file);
	tcase_add_test(tc, reads_files_and_memory);
	tcase_add_test(tc, reads_a_file_whole);
	tcase_add_test(tc, notices_a_file_that_shrinks);
})
