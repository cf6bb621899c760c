/* SPDX-License-Identifier: GPL-2.0 */
// LINK: util/util.c
#include "unit.h"

/* What __builtin_trap() raises. */
#if defined(__aarch64__)
#define TRAP_SIGNAL SIGTRAP
#else
#define TRAP_SIGNAL SIGILL
#endif

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <lkvm/util.h>

START_TEST(ranges_never_wrap)
{
	static const struct {
		uint64_t off, len, size;
		bool ok;
	} rows[] = {
		{ 0, 0, 0, true },
		{ 0, 1, 0, false },
		{ 1, 0, 0, false },
		{ 0, 10, 10, true },
		{ 1, 10, 10, false },
		{ 10, 0, 10, true },
		{ 11, 0, 10, false },
		{ 10, 1, 10, false },
		{ UINT64_MAX, 2, UINT64_MAX, false },
		{ 2, UINT64_MAX, UINT64_MAX, false },
		{ UINT64_MAX, UINT64_MAX, 10, false },
		{ 5, UINT64_MAX - 4, 10, false },
		{ 0, UINT64_MAX, UINT64_MAX, true },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		ck_assert_msg(range_ok(rows[i].off, rows[i].len, rows[i].size) == rows[i].ok,
			      "row %zu", i);
}
END_TEST

START_TEST(aligns)
{
	ck_assert_uint_eq(align_up(0, 4096), 0);
	ck_assert_uint_eq(align_up(1, 4096), 4096);
	ck_assert_uint_eq(align_up(4096, 4096), 4096);
	ck_assert_uint_eq(align_down(4095, 4096), 0);
	ck_assert_uint_eq(align_down(8191, 4096), 4096);
	ck_assert_uint_eq(align_up(5 * GIB - 1, 2 * MIB), 5 * GIB);
}
END_TEST

START_TEST(little_endian_unaligned)
{
	uint8_t b[16] = { 0xff, 1, 2, 3, 4, 5, 6, 7, 8 };
	uint8_t w[16] = { 0 };

	ck_assert_uint_eq(get_le16(b + 1), 0x0201);
	ck_assert_uint_eq(get_le32(b + 1), 0x04030201);
	ck_assert_uint_eq(get_le64(b + 1), 0x0807060504030201);
	put_le16(w + 1, 0x0201);
	put_le32(w + 3, 0x06050403);
	put_le64(w + 7, 0x0e0d0c0b0a090807);
	for (uint8_t i = 0; i < 15; i++)
		ck_assert_uint_eq(w[i], i);
}
END_TEST

START_TEST(container)
{
	struct {
		int a;
		char b;
	} s;

	ck_assert_ptr_eq(container_of(&s.b, __typeof__(s), b), &s);
}
END_TEST

START_TEST(clean_text)
{
	char s[] = "a\033[2J\n\x7f\t\xc3\xa9~ ";

	util_clean_text(s);
	ck_assert_str_eq(s, "a?[2J???\xc3\xa9~ ");
}
END_TEST

START_TEST(time_moves_on)
{
	uint64_t a = util_now_ns(), b = a;

	while (b == a)
		b = util_now_ns();
	ck_assert_uint_gt(b, a);
}
END_TEST

static void *drain(void *arg)
{
	static const size_t want = 1 << 20;
	size_t *got = arg;
	char buf[4096];
	ssize_t n;

	while (*got < want && (n = read((int)got[1], buf, sizeof(buf))) > 0)
		*got += (size_t)n;
	return NULL;
}

/* More than a pipe holds: write(2) comes back in pieces. */
START_TEST(write_all_writes_all)
{
	static char buf[1 << 20];
	size_t got[2];
	pthread_t thread;
	int fd[2];

	ck_assert_int_eq(pipe(fd), 0);
	got[0] = 0;
	got[1] = (size_t)fd[0];
	pthread_create(&thread, NULL, drain, got);
	ck_assert_int_eq(util_write_all(fd[1], buf, sizeof(buf)), 0);
	pthread_join(thread, NULL);
	ck_assert_uint_eq(got[0], sizeof(buf));
}
END_TEST

START_TEST(can_write_while_there_is_room)
{
	char page[4096] = "";
	int fds[2];

	ck_assert_int_eq(pipe(fds), 0);
	ck_assert(util_can_write(fds[1]));
	fcntl(fds[1], F_SETFL, O_NONBLOCK);
	while (write(fds[1], page, sizeof(page)) > 0)
		;
	ck_assert(!util_can_write(fds[1]));
	ck_assert_int_eq(read(fds[0], page, sizeof(page)), sizeof(page));
	ck_assert(util_can_write(fds[1]));
	close(fds[0]);
	/* Then it fails at once. */
	ck_assert(util_can_write(fds[1]));
	close(fds[1]);
}
END_TEST

START_TEST(write_all_reports)
{
	int fd = open("/dev/full", O_WRONLY);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(util_write_all(fd, "x", 1), -ENOSPC);
	ck_assert_int_eq(util_write_all(fd, "x", 0), 0);
	ck_assert_int_eq(util_write_all(-1, "x", 1), -EBADF);
}
END_TEST

START_TEST(bug_on_traps)
{
	BUG_ON(1 + 1 == 3);
	BUG_ON(1 + 1 == 2);
}
END_TEST

START_TEST(names_are_fit_for_files)
{
	static const char *const good[] = { "a", "A.b-c_9", "-", "a..", "0" };
	static const char *const bad[] = { "", ".", ".a", "a b", "a/b", "a\n", "\xc3\xa4", "a:" };
	char name[66] = "";

	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		ck_assert_msg(util_is_name(good[i]), "%s", good[i]);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_msg(!util_is_name(bad[i]), "%s", bad[i]);
	memset(name, 'x', 64);
	ck_assert(util_is_name(name));
	name[64] = 'x';
	ck_assert(!util_is_name(name));
}
END_TEST

UNIT_SUITE("util", {
	tcase_add_test(tc, ranges_never_wrap);
	tcase_add_test(tc, aligns);
	tcase_add_test(tc, little_endian_unaligned);
	tcase_add_test(tc, container);
	tcase_add_test(tc, clean_text);
	tcase_add_test(tc, time_moves_on);
	tcase_add_test(tc, write_all_writes_all);
	tcase_add_test(tc, can_write_while_there_is_room);
	tcase_add_test(tc, write_all_reports);
	tcase_add_test_raise_signal(tc, bug_on_traps, TRAP_SIGNAL);
	tcase_add_test(tc, names_are_fit_for_files);
})
