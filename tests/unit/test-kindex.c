/* SPDX-License-Identifier: GPL-2.0 */
// LINK: util/kindex.c util/util.c
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lkvm/kindex.h>

#include "unit.h"

static char dir[] = "/tmp/lkvm-test-kindex-XXXXXX";
static char image[64];

static void setup(void)
{
	strcpy(dir + sizeof(dir) - 7, "XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(image, sizeof(image), "%s/image", dir);
	int fd = open(image, O_WRONLY | O_CREAT, 0600);
	ck_assert_int_eq(write(fd, "kernel", 6), 6);
	close(fd);
}

static void teardown(void)
{
	DIR *d = opendir(dir);
	struct dirent *de;

	while ((de = readdir(d)))
		unlinkat(dirfd(d), de->d_name, 0);
	closedir(d);
	rmdir(dir);
}

static struct kstamp stamp_of(const char *path)
{
	struct kstamp s;
	int fd = open(path, O_RDONLY);

	ck_assert_int_eq(kstamp_fd(fd, &s), 0);
	close(fd);
	return s;
}

/* As if the image had been read two seconds after it was written. */
static struct kindex learned(void)
{
	struct kindex ix = { .image = stamp_of(image), .key = "0123456789abcde" };

	ix.entry = ix.image;
	ix.read_ns = ix.image.ctime_ns + 2 * KINDEX_SETTLE_NS;
	return ix;
}

/* The one file beside the image. */
static void index_path(char *path, size_t len)
{
	DIR *d = opendir(dir);
	struct dirent *de;
	unsigned int nr = 0;

	while ((de = readdir(d))) {
		if (de->d_name[0] == '.' || !strcmp(de->d_name, "image"))
			continue;
		snprintf(path, len, "%s/%s", dir, de->d_name);
		nr++;
	}
	closedir(d);
	ck_assert_uint_eq(nr, 1);
}

START_TEST(what_was_learned_is_known)
{
	struct kindex ix = learned(), got;

	ck_assert_int_eq(kindex_load(dir, &ix.image, &got), -ENOENT);
	kindex_store(dir, &ix);
	ck_assert_int_eq(kindex_load(dir, &ix.image, &got), 0);
	ck_assert_mem_eq(got.key, ix.key, sizeof(ix.key));
	ck_assert(kstamp_equal(&got.entry, &ix.entry));
	ix.key[0] = 'x';
	kindex_store(dir, &ix); /* replaced, not added */
	ck_assert_int_eq(kindex_load(dir, &ix.image, &got), 0);
	ck_assert_int_eq(got.key[0], 'x');
	char path[512];
	index_path(path, sizeof(path));
}
END_TEST

START_TEST(a_change_of_any_part_of_a_stamp_counts)
{
	struct kindex ix = learned(), got;

	kindex_store(dir, &ix);
	for (size_t at = 0; at < sizeof(struct kstamp); at += 8) {
		struct kstamp other = ix.image;

		((uint8_t *)&other)[at] ^= 1;
		ck_assert(!kstamp_equal(&other, &ix.image));
		ck_assert_int_eq(kindex_load(dir, &other, &got), -ENOENT);
	}
}
END_TEST

START_TEST(a_file_that_was_written_has_another_stamp)
{
	struct kstamp before = stamp_of(image), after;
	struct timespec past[2] = { { .tv_sec = 1 }, { .tv_sec = 1 } };

	/* The same size, and the old times set back: what a test for damage would do. */
	int fd = open(image, O_WRONLY);
	ck_assert_int_eq(futimens(fd, past), 0);
	before = stamp_of(image);
	do { /* until the file system's clock has ticked */
		ck_assert_int_eq(pwrite(fd, "KERNEL", 6, 0), 6);
		ck_assert_int_eq(futimens(fd, past), 0);
		after = stamp_of(image);
	} while (after.ctime_ns == before.ctime_ns);
	close(fd);
	ck_assert_uint_eq(after.mtime_ns, before.mtime_ns);
	ck_assert(!kstamp_equal(&after, &before));
}
END_TEST

START_TEST(a_fresh_stamp_is_not_kept)
{
	struct kindex ix = learned(), got;

	ix.read_ns = ix.image.ctime_ns +
		     KINDEX_SETTLE_NS; /* it may have changed in the same tick */
	kindex_store(dir, &ix);
	ck_assert_int_eq(kindex_load(dir, &ix.image, &got), -ENOENT);
	ix = learned();
	ix.entry.ctime_ns = ix.read_ns;
	kindex_store(dir, &ix);
	ck_assert_int_eq(kindex_load(dir, &ix.image, &got), -ENOENT);
	ix = learned();
	ix.read_ns = 5; /* a clock that was set back */
	kindex_store(dir, &ix);
	ck_assert_int_eq(kindex_load(dir, &ix.image, &got), -ENOENT);
}
END_TEST

START_TEST(every_damaged_byte_is_found)
{
	struct kindex ix = learned(), got;
	char path[512];
	uint8_t b;

	kindex_store(dir, &ix);
	index_path(path, sizeof(path));
	int fd = open(path, O_RDWR);
	off_t len = lseek(fd, 0, SEEK_END);
	for (off_t at = 0; at < len; at++) {
		ck_assert_int_eq(pread(fd, &b, 1, at), 1);
		b ^= 0x10;
		ck_assert_int_eq(pwrite(fd, &b, 1, at), 1);
		ck_assert_int_eq(kindex_load(dir, &ix.image, &got), -ENOENT);
		b ^= 0x10;
		ck_assert_int_eq(pwrite(fd, &b, 1, at), 1);
	}
	ck_assert_int_eq(kindex_load(dir, &ix.image, &got), 0);
	for (off_t cut = len - 1; cut >= 0; cut -= 7) {
		ck_assert_int_eq(ftruncate(fd, cut), 0);
		ck_assert_int_eq(kindex_load(dir, &ix.image, &got), -ENOENT);
	}
	close(fd);
}
END_TEST

START_TEST(what_others_can_write_says_nothing)
{
	struct kindex ix = learned(), got;
	char path[512];

	kindex_store(dir, &ix);
	index_path(path, sizeof(path));
	ck_assert_int_eq(chmod(path, 0620), 0);
	ck_assert_int_eq(kindex_load(dir, &ix.image, &got), -ENOENT);
	ck_assert_int_eq(chmod(path, 0602), 0);
	ck_assert_int_eq(kindex_load(dir, &ix.image, &got), -ENOENT);
	ck_assert_int_eq(chmod(path, 0600), 0);
	ck_assert_int_eq(kindex_load(dir, &ix.image, &got), 0);
	unlink(path);
	ck_assert_int_eq(symlink(image, path), 0);
	ck_assert_int_eq(kindex_load(dir, &ix.image, &got), -ENOENT);
}
END_TEST

START_TEST(only_files_have_stamps)
{
	struct kstamp s;
	int fd = open(dir, O_RDONLY);

	ck_assert_int_eq(kstamp_fd(fd, &s), -EINVAL);
	close(fd);
	ck_assert_int_eq(kstamp_fd(fd, &s), -EBADF);
	ck_assert_uint_gt(kindex_now_ns(), 0);
}
END_TEST

START_TEST(a_directory_that_is_not_there)
{
	struct kindex ix = learned(), got;

	kindex_store("/nonexistent/dir", &ix);
	ck_assert_int_eq(kindex_load("/nonexistent/dir", &ix.image, &got), -ENOENT);
}
END_TEST

UNIT_SUITE("kindex", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, what_was_learned_is_known);
	tcase_add_test(tc, a_change_of_any_part_of_a_stamp_counts);
	tcase_add_test(tc, a_file_that_was_written_has_another_stamp);
	tcase_add_test(tc, a_fresh_stamp_is_not_kept);
	tcase_add_test(tc, every_damaged_byte_is_found);
	tcase_add_test(tc, what_others_can_write_says_nothing);
	tcase_add_test(tc, only_files_have_stamps);
	tcase_add_test(tc, a_directory_that_is_not_there);
})
