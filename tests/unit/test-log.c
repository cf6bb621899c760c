/* SPDX-License-Identifier: GPL-2.0 */
// LINK: util/log.c
#include "unit.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include <lkvm/log.h>
#include <lkvm/util.h>

/* A fake of util.c: the clock stands where the test puts it, what is written is kept. */
static _Atomic uint64_t fake_seconds;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char out[65536];
static size_t out_len, writes_nr;

uint64_t util_now_ns(void)
{
	return fake_seconds * NSEC_PER_SEC + 5;
}

int util_write_all(int fd, const void *buf, size_t len)
{
	ck_assert_int_eq(fd, 7);
	pthread_mutex_lock(&lock);
	ck_assert_uint_lt(out_len + len, sizeof(out));
	memcpy(out + out_len, buf, len);
	out_len += len;
	out[out_len] = '\0';
	writes_nr++;
	pthread_mutex_unlock(&lock);
	errno = EBADF;
	return -EBADF;
}

static bool reader_sleeps;

bool util_can_write(int fd)
{
	ck_assert_int_eq(fd, 7);
	return !reader_sleeps;
}

void util_clean_text(char *s)
{
	for (; *s; s++)
		if (*s == '\n' || *s == '\033')
			*s = '?';
}

static void clear(void)
{
	out_len = writes_nr = 0;
	out[0] = '\0';
}

START_TEST(level_names)
{
	static const char *const names[] = { "error", "warning", "info", "debug" };
	enum log_level level;

	for (unsigned int i = 0; i < ARRAY_SIZE(names); i++) {
		ck_assert_int_eq(log_level_parse(names[i], &level), 0);
		ck_assert_uint_eq(level, i);
	}
	ck_assert_int_eq(log_level_parse("warn", &level), -EINVAL);
	ck_assert_int_eq(log_level_parse("", &level), -EINVAL);
	ck_assert_int_eq(log_level_parse("ERROR", &level), -EINVAL);
}
END_TEST

START_TEST(levels_above_are_dropped)
{
	for (enum log_level limit = LOG_ERROR; limit <= LOG_DEBUG; limit++) {
		struct log log = { .fd = 7, .level = limit };

		clear();
		log_error(&log, "e%d", 1);
		log_warn(&log, "w");
		log_info(&log, "i");
		log_debug(&log, "d");
		ck_assert_uint_eq(writes_nr, limit + 1);
		ck_assert_int_eq(strncmp(out, "lkvm: error: e1\n", 16), 0);
	}
	ck_assert_str_eq(out, "lkvm: error: e1\nlkvm: warning: w\nlkvm: i\nlkvm: debug: d\n");
}
END_TEST

START_TEST(nobody_listens)
{
	struct log log = { .fd = -1, .level = LOG_DEBUG };
	struct log_limit limit = { 0 };

	log_error(&log, "x");
	log_error(NULL, "x");
	log_guest(&log, &limit, "x");
	log_guest(NULL, &limit, "x");
	ck_assert_uint_eq(writes_nr, 0);
	ck_assert(!log_enabled(&log, LOG_ERROR));
}
END_TEST

START_TEST(one_line_one_write)
{
	struct log log = { .fd = 7, .level = LOG_INFO };
	char text[4096];

	log_info(&log, "a\nb\033c");
	ck_assert_str_eq(out, "lkvm: a?b?c\n");
	ck_assert_uint_eq(writes_nr, 1);

	clear();
	memset(text, 'y', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	log_info(&log, "%s", text);
	ck_assert_uint_eq(writes_nr, 1);
	ck_assert_uint_lt(out_len, 1024);
	ck_assert_uint_eq(out[out_len - 1], '\n');
}
END_TEST

START_TEST(errno_survives)
{
	struct log log = { .fd = 7, .level = LOG_INFO };

	errno = ENOENT;
	log_info(&log, "x");
	ck_assert_int_eq(errno, ENOENT);
}
END_TEST

START_TEST(guest_lines_are_limited)
{
	struct log log = { .fd = 7, .level = LOG_WARN };
	struct log_limit limit = { 0 }, other = { 0 };

	fake_seconds = 100;
	for (int i = 0; i < 50; i++)
		log_guest(&log, &limit, "bad %d", i);
	ck_assert_uint_eq(writes_nr, LOG_LIMIT_BURST);
	ck_assert_ptr_nonnull(strstr(out, "lkvm: warning: bad 4\n"));

	/* Another limiter is not concerned. */
	log_guest(&log, &other, "other");
	ck_assert_uint_eq(writes_nr, LOG_LIMIT_BURST + 1);

	clear();
	fake_seconds = 101;
	log_guest(&log, &limit, "again");
	ck_assert_str_eq(out, "lkvm: warning: again (45 more held back before it)\n");
	clear();
	log_guest(&log, &limit, "again");
	ck_assert_str_eq(out, "lkvm: warning: again\n");
}
END_TEST

START_TEST(guest_lines_wait_for_nobody)
{
	struct log log = { .fd = 7, .level = LOG_WARN };
	struct log_limit limit = { 0 };

	fake_seconds = 100;
	reader_sleeps = true;
	log_guest(&log, &limit, "a");
	fake_seconds = 101;
	log_guest(&log, &limit, "b");
	ck_assert_uint_eq(writes_nr, 0);
	reader_sleeps = false;
	fake_seconds = 102;
	log_guest(&log, &limit, "c");
	ck_assert_str_eq(out, "lkvm: warning: c (2 more held back before it)\n");
}
END_TEST

START_TEST(guest_limit_starts_at_zero_seconds)
{
	struct log log = { .fd = 7, .level = LOG_WARN };
	struct log_limit limit = { 0 };

	fake_seconds = 0;
	for (int i = 0; i < 50; i++)
		log_guest(&log, &limit, "x");
	ck_assert_uint_eq(writes_nr, LOG_LIMIT_BURST);
}
END_TEST

/* A guest that never stops must not wrap the count of the window. */
START_TEST(guest_limit_count_does_not_wrap)
{
	struct log log = { .fd = 7, .level = LOG_WARN };
	struct log_limit limit = { 0 };

	fake_seconds = 5;
	log_guest(&log, &limit, "x");
	limit.used = UINT32_MAX;
	log_guest(&log, &limit, "x");
	log_guest(&log, &limit, "x");
	ck_assert_uint_eq(writes_nr, 1);
	ck_assert_uint_eq(limit.dropped, 2);
}
END_TEST

#define THREADS_NR 4
#define LINES_NR   2000

static struct log_limit shared;

static void *flood(void *arg)
{
	struct log log = { .fd = 7, .level = LOG_WARN };

	(void)arg;
	for (int i = 0; i < LINES_NR; i++) {
		log_guest(&log, &shared, "x");
		if (i % 500 == 0)
			fake_seconds++;
	}
	return NULL;
}

/* Every line is written or counted, whatever the threads do at a change of second. */
START_TEST(guest_limit_counts_all)
{
	pthread_t threads[THREADS_NR];
	uint64_t total = 0;

	for (int i = 0; i < THREADS_NR; i++)
		pthread_create(&threads[i], NULL, flood, NULL);
	for (int i = 0; i < THREADS_NR; i++)
		pthread_join(threads[i], NULL);
	for (char *p = out; (p = strchr(p, '\n')); p++)
		total++;
	for (char *p = out; (p = strstr(p, " (")); p++)
		total += strtoul(p + 2, NULL, 10);
	ck_assert_uint_eq(total + shared.dropped, THREADS_NR * LINES_NR);
	ck_assert_uint_lt(writes_nr, THREADS_NR * LINES_NR / 4);
}
END_TEST

UNIT_SUITE("log", {
	tcase_add_test(tc, level_names);
	tcase_add_test(tc, levels_above_are_dropped);
	tcase_add_test(tc, nobody_listens);
	tcase_add_test(tc, one_line_one_write);
	tcase_add_test(tc, errno_survives);
	tcase_add_test(tc, guest_lines_are_limited);
	tcase_add_test(tc, guest_lines_wait_for_nobody);
	tcase_add_test(tc, guest_limit_starts_at_zero_seconds);
	tcase_add_test(tc, guest_limit_count_does_not_wrap);
	tcase_add_test(tc, guest_limit_counts_all);
})
