// SPDX-License-Identifier: GPL-2.0
// LINK: util/kcache.c util/kindex.c util/src.c util/err.c util/util.c
// LIBS: -Wl,--wrap=geteuid,--wrap=fstatat64,--wrap=pwrite64
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <lkvm/kcache.h>
#include <lkvm/util.h>

#include "unit.h"

#define DATA_LEN (300 * KIB)
#define TRAILER  56 /* bytes behind the kernel */

static char dir[64], cache[96];
static uint8_t *data;

/* Someone else runs the test. */
static bool other_user;
uid_t __real_geteuid(void);
uid_t __wrap_geteuid(void);
uid_t __wrap_geteuid(void)
{
	return __real_geteuid() + other_user;
}

/* What every file claims to occupy on disk, 0: the truth. */
static uint64_t fake_bytes;
int __real_fstatat64(int fd, const char *path, struct stat *st, int flags);
int __wrap_fstatat64(int fd, const char *path, struct stat *st, int flags);
int __wrap_fstatat64(int fd, const char *path, struct stat *st, int flags)
{
	int ret = __real_fstatat64(fd, path, st, flags);

	if (fake_bytes)
		st->st_blocks = (blkcnt_t)(fake_bytes / 512);
	return ret;
}

/* The n-th write (1: the next) ends in this way, 0: none. */
static int bad_write, bad_errno;
ssize_t __real_pwrite64(int fd, const void *buf, size_t len, off_t off);
ssize_t __wrap_pwrite64(int fd, const void *buf, size_t len, off_t off);
ssize_t __wrap_pwrite64(int fd, const void *buf, size_t len, off_t off)
{
	if (bad_write && --bad_write == 0) {
		errno = bad_errno;
		return bad_errno ? -1 : 0;
	}
	/* Short writes are as good as long ones. */
	return __real_pwrite64(fd, buf, len > 100000 ? 100000 : len, off);
}

/* The pieces of the kernel that are kept: more than a chunk, a hole between, none at the end. */
static const struct kcache_range ranges[] = {
	{ 0, 64 },
	{ 4096, 200 * KIB },
	{ 250 * KIB, 1000 },
};

static void setup(void)
{
	strcpy(dir, "/tmp/lkvm-test-kcache-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	/* Two levels that do not exist. */
	snprintf(cache, sizeof(cache), "%s/a/lkvm", dir);
	data = malloc(DATA_LEN);
	for (size_t i = 0; i < DATA_LEN; i++)
		data[i] = (uint8_t)(i * 3 + (i >> 9));
	other_user = false;
	fake_bytes = 0;
	bad_write = 0;
}

static void teardown(void)
{
	char cmd[96];

	free(data);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	ck_assert_int_eq(system(cmd), 0);
}

static struct kcache_key key_of(uint32_t n)
{
	struct err err = ERR_INIT;
	struct kcache_key key;
	struct src src;

	src_init_mem(&src, "kernel", "k", &n, sizeof(n));
	ck_assert_int_eq(kcache_key(&src, &key, &err), 0);
	return key;
}

static int store(uint32_t n)
{
	struct kcache_key key = key_of(n);

	return kcache_store(cache, &key, data, ranges, ARRAY_SIZE(ranges));
}

/* Reads the entry like a loader: 0 when all is there and right. */
static int load(uint32_t n)
{
	struct kcache_key key = key_of(n);
	struct kcache_entry e;
	int ret = kcache_open(&e, cache, &key);

	if (ret < 0) {
		ck_assert_int_eq(e.src.fd, -1);
		return ret;
	}
	for (size_t i = 0; i < ARRAY_SIZE(ranges) && ret == 0; i++) {
		uint8_t *buf = malloc(ranges[i].len);

		ret = kcache_read(&e, ranges[i].off, buf, ranges[i].len);
		if (ret == 0)
			ret = kcache_check(&e) == 0 && i + 1 < ARRAY_SIZE(ranges) ? -EDOM : 0;
		if (ret == 0 && i + 1 == ARRAY_SIZE(ranges))
			ret = kcache_check(&e);
		/* What passes the check is what was stored. */
		if (ret == 0 && i + 1 == ARRAY_SIZE(ranges))
			ck_assert_mem_eq(buf, data + ranges[i].off, ranges[i].len);
		free(buf);
	}
	kcache_close(&e);
	return ret;
}

static const char *path_of(uint32_t n)
{
	static char path[192];
	struct kcache_key key = key_of(n);
	int len = snprintf(path, sizeof(path), "%s/", cache);

	for (int i = 0; i < 16; i++)
		len += sprintf(path + len, "%02x", key.hash[i]);
	strcpy(path + len, ".vmlinux");
	return path;
}

static unsigned int count_in(const char *path)
{
	DIR *d = opendir(path);
	unsigned int nr = 0;

	while (readdir(d))
		nr++;
	closedir(d);
	return nr - 2;
}

static unsigned int files_nr(void)
{
	return count_in(cache);
}

static void set_time(const char *path, time_t sec)
{
	struct timespec ts[2] = { { .tv_sec = sec }, { .tv_sec = sec } };

	ck_assert_int_eq(utimensat(AT_FDCWD, path, ts, 0), 0);
}

static void flip(const char *path, off_t at)
{
	int fd = open(path, O_RDWR);
	uint8_t c;

	ck_assert_int_eq(pread(fd, &c, 1, at), 1);
	c ^= 0x10;
	ck_assert_int_eq(pwrite(fd, &c, 1, at), 1);
	close(fd);
}

START_TEST(keeps_what_was_stored)
{
	char above[96];
	struct stat st;

	ck_assert_int_eq(load(1), -ENOENT);
	ck_assert_int_eq(store(1), 0);
	ck_assert_int_eq(load(1), 0);
	ck_assert_int_eq(load(2), -ENOENT);
	ck_assert_int_eq(store(1), 0);
	ck_assert_int_eq(load(1), 0);
	ck_assert_uint_eq(files_nr(), 1);

	ck_assert_int_eq(stat(cache, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0700);
	ck_assert_int_eq(stat(path_of(1), &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0600);
	/* Of the path above it no more was made than was missing. */
	snprintf(above, sizeof(above), "%s/a", dir);
	ck_assert_uint_eq(count_in(above), 1);
	/* The kernel ends with its last range. */
	ck_assert_uint_eq(st.st_size, 250 * KIB + 1000 + TRAILER);
}
END_TEST

START_TEST(key_is_the_content)
{
	struct err err = ERR_INIT;
	struct kcache_key a, b;
	struct src src;

	/* The last byte of the last chunk counts, and so does the length. */
	src_init_mem(&src, "kernel", "k", data, DATA_LEN);
	ck_assert_int_eq(kcache_key(&src, &a, &err), 0);
	src_init_mem(&src, "kernel", "other name", data, DATA_LEN);
	ck_assert_int_eq(kcache_key(&src, &b, &err), 0);
	ck_assert_mem_eq(&a, &b, sizeof(a));
	data[DATA_LEN - 1] ^= 1;
	ck_assert_int_eq(kcache_key(&src, &b, &err), 0);
	ck_assert_mem_ne(&a, &b, sizeof(a));
	data[DATA_LEN - 1] ^= 1;
	src_init_mem(&src, "kernel", "k", data, DATA_LEN - 1);
	ck_assert_int_eq(kcache_key(&src, &b, &err), 0);
	ck_assert_mem_ne(&a, &b, sizeof(a));
}
END_TEST

START_TEST(key_needs_a_readable_image)
{
	char path[128];
	struct err err = ERR_INIT;
	struct kcache_key key;
	struct src src;

	snprintf(path, sizeof(path), "%s/image", dir);
	FILE *f = fopen(path, "w");
	fputs("0123456789", f);
	fclose(f);
	ck_assert_int_eq(src_open(&src, "kernel", path, &err), 0);
	ck_assert_int_eq(truncate(path, 5), 0);
	ck_assert_int_lt(kcache_key(&src, &key, &err), 0);
	ck_assert_int_eq(err.kind, ERR_USAGE);
	src_release(&src);
}
END_TEST

START_TEST(damaged_trailer_is_a_miss)
{
	off_t end = 250 * KIB + 1000;

	for (off_t at = 0; at < TRAILER; at++) {
		ck_assert_int_eq(store(1), 0);
		flip(path_of(1), end + at);
		ck_assert_msg(load(1) == -ENOENT, "byte %d of the trailer", (int)at);
		ck_assert_uint_eq(files_nr(), 0);
	}
	/* Also when it belongs to another kernel. */
	char *other = strdup(path_of(2));

	ck_assert_int_eq(store(1), 0);
	ck_assert_int_eq(rename(path_of(1), other), 0);
	ck_assert_int_eq(load(2), -ENOENT);
	free(other);
}
END_TEST

/* Puts a trailer behind the first `len` bytes of entry 1, with a field changed and the right checksum. */
static void forge(off_t len, size_t at, uint8_t flipped)
{
	uint8_t t[TRAILER];
	uint64_t sum;
	int fd = open(path_of(1), O_RDWR);

	ck_assert_int_eq(pread(fd, t, sizeof(t), 250 * KIB + 1000), sizeof(t));
	t[at] ^= flipped;
	sum = XXH3_64bits(t, sizeof(t) - sizeof(sum));
	memcpy(t + sizeof(t) - sizeof(sum), &sum, sizeof(sum));
	ck_assert_int_eq(ftruncate(fd, len), 0);
	ck_assert_int_eq(pwrite(fd, t, sizeof(t), len), sizeof(t));
	close(fd);
}

START_TEST(each_field_of_the_trailer_counts)
{
	static const struct {
		size_t at;
		int more; /* the kernel is that much longer than the trailer says */
		int ret;
	} cases[] = {
		{ 0, 0, -ENOENT },   /* magic */
		{ 8, 0, -ENOENT },   /* version */
		{ 16, 0, -ENOENT },  /* key */
		{ 32, 0, -ENOENT },  /* size */
		{ 40, 0, -EBADMSG }, /* checksum of the kernel */
		{ 12, 1, -ENOENT },  { 12, -1, -ENOENT },
		{ 12, 0, 0 }, /* the field that means nothing */
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		ck_assert_int_eq(store(1), 0);
		forge(250 * KIB + 1000 + cases[i].more, cases[i].at, 1);
		ck_assert_msg(load(1) == cases[i].ret, "case %zu", i);
	}
}
END_TEST

START_TEST(damaged_data_is_noticed)
{
	for (size_t i = 0; i < ARRAY_SIZE(ranges); i++) {
		for (unsigned int last = 0; last < 2; last++) {
			off_t at = (off_t)(ranges[i].off + (last ? ranges[i].len - 1 : 0));

			ck_assert_int_eq(store(1), 0);
			flip(path_of(1), at);
			ck_assert_int_eq(load(1), -EBADMSG);
		}
	}
	/* What no range covers does not matter. */
	ck_assert_int_eq(store(1), 0);
	flip(path_of(1), 64);
	ck_assert_int_eq(load(1), 0);
}
END_TEST

START_TEST(other_lengths_are_a_miss)
{
	static const off_t lens[] = { 0,
				      1,
				      TRAILER - 1,
				      TRAILER,
				      TRAILER + 1,
				      250 * KIB + 1000,
				      250 * KIB + 999 + TRAILER,
				      250 * KIB + 1001 + TRAILER };

	for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
		ck_assert_int_eq(store(1), 0);
		ck_assert_int_eq(truncate(path_of(1), lens[i]), 0);
		ck_assert_int_eq(load(1), -ENOENT);
		ck_assert_uint_eq(files_nr(), 0);
	}
}
END_TEST

/* A trailer that is right, and a kernel that is shorter than its loader believes. */
START_TEST(reads_stay_in_the_kernel)
{
	struct kcache_key key = key_of(1);
	struct kcache_entry e;
	uint8_t buf[2];

	ck_assert_int_eq(store(1), 0);
	ck_assert_int_eq(kcache_open(&e, cache, &key), 0);
	ck_assert_uint_eq(e.src.size, 250 * KIB + 1000);
	ck_assert_int_eq(kcache_read(&e, e.src.size - 1, buf, 2), -EBADMSG);
	ck_assert_int_eq(kcache_read(&e, UINT64_MAX, buf, 1), -EBADMSG);
	ck_assert_int_eq(kcache_read(&e, e.src.size, buf, 0), 0);
	kcache_close(&e);
}
END_TEST

START_TEST(no_file_but_a_file_is_opened)
{
	char *target = strdup(path_of(2));

	ck_assert_int_eq(store(2), 0);
	ck_assert_int_eq(symlink(target, path_of(1)), 0);
	ck_assert_int_eq(load(1), -ELOOP);
	ck_assert_int_eq(unlink(path_of(1)), 0);
	ck_assert_int_eq(mkfifo(path_of(1), 0600), 0);
	ck_assert_int_eq(load(1), -ENOENT);
	free(target);
}
END_TEST

START_TEST(directory_of_others_is_not_used)
{
	ck_assert_int_eq(store(1), 0);
	other_user = true;
	ck_assert_int_eq(load(1), -EPERM);
	ck_assert_int_eq(store(1), -EPERM);
	other_user = false;
	static const mode_t modes[] = { 0720, 0702 };

	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		ck_assert_int_eq(chmod(cache, modes[i]), 0);
		ck_assert_int_eq(load(1), -EPERM);
		ck_assert_int_eq(store(1), -EPERM);
	}
	ck_assert_int_eq(chmod(cache, 0755), 0);
	ck_assert_int_eq(load(1), 0);
}
END_TEST

START_TEST(place_that_cannot_be_written)
{
	char file[128];

	snprintf(file, sizeof(file), "%s/file", dir);
	fclose(fopen(file, "w"));
	snprintf(cache, sizeof(cache), "%s/file/lkvm", dir);
	ck_assert_int_eq(store(1), -ENOTDIR);
	ck_assert_int_eq(load(1), -ENOTDIR);
	snprintf(cache, sizeof(cache), "/proc/lkvm-test");
	ck_assert_int_lt(store(1), 0);
}
END_TEST

START_TEST(full_disk_leaves_nothing)
{
	/* Each write: three ranges in five pieces, then the trailer. */
	for (int n = 1; n <= 6; n++) {
		bad_write = n;
		bad_errno = ENOSPC;
		ck_assert_int_eq(store(1), -ENOSPC);
		ck_assert_int_eq(bad_write, 0);
		ck_assert_uint_eq(files_nr(), 0);
		bad_write = n;
		bad_errno = 0;
		ck_assert_int_eq(store(1), -EIO);
		ck_assert_uint_eq(files_nr(), 0);
		bad_write = n;
		bad_errno = EINTR;
		ck_assert_int_eq(store(1), 0);
		ck_assert_int_eq(load(1), 0);
		ck_assert_int_eq(unlink(path_of(1)), 0);
	}
}
END_TEST

START_TEST(keeps_the_entries_used_last)
{
	for (uint32_t n = 0; n < KCACHE_ENTRIES_MAX; n++) {
		ck_assert_int_eq(store(n), 0);
		set_time(path_of(n), 1000 + n);
	}
	/* A use makes an entry young. */
	ck_assert_int_eq(load(0), 0);
	ck_assert_int_eq(store(100), 0);
	ck_assert_uint_eq(files_nr(), KCACHE_ENTRIES_MAX);
	ck_assert_int_eq(load(1), -ENOENT);
	ck_assert_int_eq(load(0), 0);
	ck_assert_int_eq(load(2), 0);
	ck_assert_int_eq(load(100), 0);
}
END_TEST

START_TEST(stays_within_its_bytes)
{
	for (uint32_t n = 0; n < 4; n++) {
		ck_assert_int_eq(store(n), 0);
		set_time(path_of(n), 1000 + n);
	}
	/* With four of 400 MiB there is room beside two of them. */
	fake_bytes = 400 * MIB;
	ck_assert_int_eq(store(4), 0);
	ck_assert_int_eq(load(0), -ENOENT);
	ck_assert_int_eq(load(1), -ENOENT);
	ck_assert_int_eq(load(2), 0);
	ck_assert_int_eq(load(3), 0);
	ck_assert_int_eq(load(4), 0);

	/* What can never fit throws nothing out. */
	struct kcache_range huge = { 0, KCACHE_BYTES_MAX };
	struct kcache_key key = key_of(5);

	fake_bytes = 0;
	ck_assert_int_eq(kcache_store(cache, &key, data, &huge, 1), -EFBIG);
	ck_assert_uint_eq(files_nr(), 3);
}
END_TEST

START_TEST(cleans_up_after_dead_writers)
{
	static const char *const names[] = { ".new-1-aa", ".new-2-bb", "notes.txt" };
	char path[192];

	ck_assert_int_eq(store(1), 0);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", cache, names[i]);
		fclose(fopen(path, "w"));
		if (i != 1)
			set_time(path, 1000);
	}
	ck_assert_int_eq(store(2), 0);
	/* The old temporary file is gone; the young one, and what is not ours, stay. */
	ck_assert_uint_eq(files_nr(), 4);
	snprintf(path, sizeof(path), "%s/%s", cache, names[0]);
	ck_assert_int_lt(access(path, F_OK), 0);
}
END_TEST

START_TEST(removes_on_request)
{
	struct kcache_key key = key_of(1);

	kcache_remove(cache, &key);
	ck_assert_int_eq(store(1), 0);
	ck_assert_int_eq(store(2), 0);
	kcache_remove(cache, &key);
	ck_assert_int_eq(load(1), -ENOENT);
	ck_assert_int_eq(load(2), 0);
}
END_TEST

UNIT_SUITE("kcache", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, keeps_what_was_stored);
	tcase_add_test(tc, key_is_the_content);
	tcase_add_test(tc, key_needs_a_readable_image);
	tcase_add_test(tc, damaged_trailer_is_a_miss);
	tcase_add_test(tc, each_field_of_the_trailer_counts);
	tcase_add_test(tc, damaged_data_is_noticed);
	tcase_add_test(tc, other_lengths_are_a_miss);
	tcase_add_test(tc, reads_stay_in_the_kernel);
	tcase_add_test(tc, no_file_but_a_file_is_opened);
	tcase_add_test(tc, directory_of_others_is_not_used);
	tcase_add_test(tc, place_that_cannot_be_written);
	tcase_add_test(tc, full_disk_leaves_nothing);
	tcase_add_test(tc, keeps_the_entries_used_last);
	tcase_add_test(tc, stays_within_its_bytes);
	tcase_add_test(tc, cleans_up_after_dead_writers);
	tcase_add_test(tc, removes_on_request);
})
