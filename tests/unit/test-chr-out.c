/* SPDX-License-Identifier: GPL-2.0 */
// LINK: util/thread.c chr/out.c chr/fd.c util/log.c util/util.c util/err.c
#include "unit.h"

#include <unistd.h>

#include <lkvm/chr-out.h>
#include <lkvm/log.h>
#include <lkvm/util.h>

static struct log log_to = { .fd = -1, .level = LOG_INFO };
static struct chr_out *out;
static int fds[2];

static void setup(void)
{
	struct err err = ERR_INIT;

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

UNIT_SUITE("chr-out", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, pieces_keep_the_pace);
})
