/* SPDX-License-Identifier: GPL-2.0 */
// LINK: chr/out.c chr/fd.c util/log.c util/util.c util/err.c
#include "unit.h"

#include <errno.h>
#include <unistd.h>

#include <lkvm/chr-out.h>
#include <lkvm/log.h>
#include <lkvm/thread.h>
#include <lkvm/util.h>

static struct log log_to = { .fd = -1, .level = LOG_INFO };
static struct chr_out *out;
static int fds[2];
static unsigned int starts;
static int start_error;

int thread_start(pthread_t *thread, const char *name, int host_cpu, void *(*fn)(void *), void *arg)
{
	ck_assert_str_eq(name, "console");
	ck_assert_int_eq(host_cpu, -1);
	starts++;
	return start_error ? start_error : -pthread_create(thread, NULL, fn, arg);
}

static void setup(void)
{
	struct err err = ERR_INIT;

	starts = 0;
	start_error = 0;
	ck_assert_int_eq(pipe(fds), 0);
	out = chr_out_new("output", fds[1], 4096, &log_to, &err);
	ck_assert_ptr_nonnull(out);
}

static void teardown(void)
{
	chr_out_close(out);
	chr_out_wait(out, util_now_ns() + NSEC_PER_SEC);
	chr_out_free(out);
	close(fds[0]);
	close(fds[1]);
}

static void expect(char c)
{
	char got = 0;

	ck_assert_int_eq(read(fds[0], &got, 1), 1);
	ck_assert_int_eq(got, c);
}

/* A byte is written, and the next piece of the same line not sooner than the pace allows. */
START_TEST(pieces_keep_the_pace)
{
	uint64_t begin = util_now_ns();

	chr_out_write(out, (const uint8_t *)"a", 1);
	expect('a');
	ck_assert_uint_ge(util_now_ns() - begin, CHR_OUT_LINGER_MS * 1000000ULL);
	chr_out_write(out, (const uint8_t *)"b", 1);
	expect('b');
	ck_assert_uint_ge(util_now_ns() - begin, CHR_OUT_PACE_MS * 1000000ULL);
}
END_TEST

START_TEST(silence_needs_no_thread)
{
	chr_out_write(out, (const uint8_t *)"", 0);
	ck_assert_uint_eq(starts, 0);
	chr_out_close(out);
	/* In no time: nobody is waited for. */
	chr_out_wait(out, 0);
	ck_assert_uint_eq(starts, 0);
}
END_TEST

START_TEST(one_thread_however_much)
{
	chr_out_write(out, (const uint8_t *)"a", 1);
	chr_out_write(out, (const uint8_t *)"b", 1);
	expect('a');
	expect('b');
	ck_assert_uint_eq(starts, 1);
}
END_TEST

/* Output ends as by a write that fails, and is not tried again for every byte. */
START_TEST(no_thread_to_be_had)
{
	struct chr_out_stats st;

	start_error = -EAGAIN;
	chr_out_write(out, (const uint8_t *)"a", 1);
	chr_out_write(out, (const uint8_t *)"b", 1);
	ck_assert_uint_eq(starts, 1);
	chr_out_stats(out, &st);
	ck_assert_int_eq(st.errnum, EAGAIN);
}
END_TEST

UNIT_SUITE("chr-out", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, silence_needs_no_thread);
	tcase_add_test(tc, one_thread_however_much);
	tcase_add_test(tc, no_thread_to_be_had);
	tcase_add_test(tc, pieces_keep_the_pace);
})
