// SPDX-License-Identifier: GPL-2.0
// LINK: initramfs.c util/cpio.c util/src.c util/err.c util/util.c
/* Files of the host on their way into an archive, which is read back here by its format's description. */
#include "unit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lkvm/initramfs.h>
#include <lkvm/util.h>

#include "archive.h"

static void setup(void)
{
	archive_setup("--add x");
}

static void teardown(void)
{
	archive_teardown();
}

static void put(const char *path, const char *text, mode_t mode)
{
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
	ck_assert_int_eq(chmod(path, mode), 0);
}

static void end(void)
{
	ck_assert_msg(cpio_end(&c, &err) == 0, "%s", err.msg);
}

static const struct {
	const char *spec, *from, *dest;
} specs[] = {
	{ "/bin/ls", "/bin/ls", "/bin/ls" },
	{ "a", "a", "/a" },
	{ "x/y/a", "x/y/a", "/a" },
	{ "x/y/", "x/y", "/y" },
	{ "x/y//", "x/y", "/y" },
	{ "a:/b", "a", "/b" },
	{ "a:/b/", "a", "/b/a" },
	{ "a:/", "a", "/a" },
	{ "x/a/:/b/", "x/a", "/b/a" },
	{ "a:b", "a:b", "/a:b" },
	{ "a:b:/c", "a:b", "/c" },
	{ "a://b//./c/.", "a", "/b/c" },
	{ "a:/...", "a", "/..." },
	{ "a:/.", "a", "/" },
	{ "/", "/", "/" },
};

START_TEST(where_it_goes)
{
	char *from, *dest;

	ck_assert_int_eq(initramfs_split(specs[_i].spec, &from, &dest, &err), 0);
	ck_assert_str_eq(from, specs[_i].from);
	ck_assert_str_eq(dest, specs[_i].dest);
	free(from);
	free(dest);
}

START_TEST(where_it_cannot_go)
{
	static const struct {
		const char *spec, *says;
	} bad[] = {
		{ "", "names no file" },      { ":/a", "names no file" },
		{ "a:/..", "has a \"..\"" },  { "a:/b/../c", "has a \"..\"" },
		{ "a:/../", "has a \"..\"" },
	};
	char *from, *dest, spec[3 + 4096] = "a:/";

	memset(spec + 3, 'b', 4095);
	ck_assert_int_eq(initramfs_split(spec, &from, &dest, &err), -EINVAL);
	says("is longer than 4095 bytes");
	spec[3 + 4094] = 0;
	ck_assert_int_eq(initramfs_split(spec, &from, &dest, &err), 0);
	free(from);
	free(dest);
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		err = ERR_INIT;
		ck_assert_int_eq(initramfs_split(bad[i].spec, &from, &dest, &err), -EINVAL);
		ck_assert_int_eq(err.kind, ERR_USAGE);
		says(bad[i].says);
	}
}

START_TEST(a_file_and_the_directories_on_its_way)
{
	struct entry e;

	put("f", "text", 0751);
	ck_assert_msg(!initramfs_add(&ir, "f", "/a/b/f", &err), "%s", err.msg);
	ck_assert_msg(!initramfs_add(&ir, "f", "/a/c", &err), "%s", err.msg);
	end();
	ck_assert_uint_eq(archive_count(&c), 4);
	ck_assert(archive_find(&c, "a", &e));
	ck_assert_uint_eq(e.mode, S_IFDIR | 0755);
	ck_assert(archive_find(&c, "a/b", &e));
	ck_assert(archive_find(&c, "a/c", &e));
	ck_assert(archive_find(&c, "a/b/f", &e));
	ck_assert_uint_eq(e.mode, S_IFREG | 0751);
	ck_assert_uint_eq(e.len, 4);
	ck_assert_mem_eq(e.data, "text", 4);
}

START_TEST(a_directory)
{
	struct entry e;

	ck_assert_int_eq(mkdir("d", 0700) | mkdir("d/sub", 01777) | symlink("no/where", "d/link"),
			 0);
	ck_assert_int_eq(chmod("d/sub", 01777), 0);
	put("d/sub/f", "", 0600);
	ck_assert_int_eq(symlink("d", "to-d"), 0);
	/* The link that was named is followed, one below is not. */
	ck_assert_msg(!initramfs_add(&ir, "to-d", "/x", &err), "%s", err.msg);
	end();
	ck_assert_uint_eq(archive_count(&c), 4);
	ck_assert(archive_find(&c, "x", &e));
	ck_assert_uint_eq(e.mode, S_IFDIR | 0700);
	ck_assert(archive_find(&c, "x/sub", &e));
	ck_assert_uint_eq(e.mode, S_IFDIR | 01777);
	ck_assert(archive_find(&c, "x/sub/f", &e));
	ck_assert_uint_eq(e.len, 0);
	ck_assert(archive_find(&c, "x/link", &e));
	ck_assert_uint_eq(e.mode, S_IFLNK | 0777);
	ck_assert_uint_eq(e.len, 8);
	ck_assert_mem_eq(e.data, "no/where", 8);
}

START_TEST(a_directory_as_the_root)
{
	struct entry e;

	ck_assert_int_eq(mkdir("d", 0700) | mkdir("d/bin", 0755), 0);
	put("d/bin/f", "1", 0755);
	put("d/init", "2", 0755);
	ck_assert_msg(!initramfs_add(&ir, "d", "/", &err), "%s", err.msg);
	end();
	ck_assert_uint_eq(archive_count(&c), 3);
	ck_assert(archive_find(&c, "bin/f", &e));
	ck_assert(archive_find(&c, "init", &e));
}

/* The mode of one that was on the way before is that of the directory itself. */
START_TEST(directories_join)
{
	struct entry e;

	ck_assert_int_eq(mkdir("d", 0750) | mkdir("d2", 0700), 0);
	put("d/f", "1", 0644);
	put("d2/g", "2", 0644);
	ck_assert(!initramfs_add(&ir, "d2/g", "/x/y", &err));
	ck_assert(!initramfs_add(&ir, "d", "/x", &err));
	ck_assert(!initramfs_add(&ir, "d2", "/x", &err));
	ck_assert(!initramfs_add(&ir, "d/f", "/x/f", &err)); /* the same again */
	end();
	ck_assert(archive_find(&c, "x/f", &e));
	ck_assert(archive_find(&c, "x/g", &e));
	ck_assert(archive_find_last(&c, "x", &e));
	ck_assert_uint_eq(e.mode, S_IFDIR | 0750);
}

START_TEST(what_is_refused)
{
	put("f", "1", 0644);
	put("g", "2", 0644);
	ck_assert_int_eq(mkdir("d", 0700) | mkfifo("fifo", 0600) | symlink("gone", "dead"), 0);
	ck_assert_int_eq(initramfs_add(&ir, "missing", "/a", &err), -ENOENT);
	ck_assert_int_eq(err.kind, ERR_HOST);
	says("--add x: cannot read missing: No such file");
	err = ERR_INIT;
	ck_assert_int_eq(initramfs_add(&ir, "fifo", "/a", &err), -EINVAL);
	ck_assert_int_eq(err.kind, ERR_USAGE);
	says("fifo is neither a file nor a directory nor a link");
	err = ERR_INIT;
	ck_assert_int_eq(initramfs_add(&ir, "dead", "/a", &err), -EINVAL);
	says("dead is a link to nothing");
	err = ERR_INIT;
	ck_assert(!initramfs_add(&ir, "f", "/a", &err));
	ck_assert_int_eq(initramfs_add(&ir, "g", "/a", &err), -EINVAL);
	says("/a is in the initramfs already, as f");
	err = ERR_INIT;
	ck_assert_int_eq(initramfs_add(&ir, "g", "/a/b", &err), -EINVAL);
	says("/a is a file, and cannot be a directory too");
	err = ERR_INIT;
	ck_assert_int_eq(initramfs_add(&ir, "d", "/a", &err), -EINVAL);
	says("/a is a file");
	err = ERR_INIT;
	ck_assert(!initramfs_add(&ir, "d", "/d", &err));
	ck_assert_int_eq(initramfs_add(&ir, "g", "/d", &err), -EINVAL);
	says("/d is in the initramfs already, as d");
}

START_TEST(there_is_an_end)
{
	put("f", "12345", 0644);
	ir.left = 9;
	ck_assert(!initramfs_add(&ir, "f", "/a", &err));
	ck_assert_int_eq(initramfs_add(&ir, "f", "/b", &err), -EINVAL);
	says("--add x: file f is too large: 5 bytes, and at most 4 are possible");
	err = ERR_INIT;
	ck_assert_int_eq(initramfs_add_data(&ir, "data", "/b", S_IFREG, "12345", 5, &err), -EINVAL);
	says("data is more than fits in the guest's memory");
	ck_assert(!initramfs_add_data(&ir, "data", "/b", S_IFREG, "1234", 4, &err));
}

/* Root may read everything. */
START_TEST(what_cannot_be_read)
{
	ck_assert_int_eq(mkdir("d", 0700) | mkdir("d/sub", 0), 0);
	if (geteuid() == 0)
		ck_assert_int_eq(seteuid(65534) | 0, 0);
	ck_assert_int_ne(initramfs_add(&ir, "d", "/a", &err), 0);
	ck_assert_int_eq(err.kind, ERR_HOST);
	says("--add x: cannot read d");
	if (getuid() == 0)
		ck_assert_int_eq(seteuid(0), 0);
	ck_assert_int_eq(chmod("d/sub", 0700), 0);
}

UNIT_SUITE("initramfs", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, where_it_goes, 0, ARRAY_SIZE(specs));
	tcase_add_test(tc, where_it_cannot_go);
	tcase_add_test(tc, a_file_and_the_directories_on_its_way);
	tcase_add_test(tc, a_directory);
	tcase_add_test(tc, a_directory_as_the_root);
	tcase_add_test(tc, directories_join);
	tcase_add_test(tc, what_is_refused);
	tcase_add_test(tc, there_is_an_end);
	tcase_add_test(tc, what_cannot_be_read);
})
