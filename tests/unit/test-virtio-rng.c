// SPDX-License-Identifier: GPL-2.0
// LINK: virtio/rng.c virtio/device.c virtio/registers.c virtio/legacy.c virtio/queue.c virtio/mini.c gmem.c
// LINK: util/loop.c util/log.c util/err.c util/options.c util/option-types.c util/option-keys.c util/nearest.c
// LINK: tests/mock/clock.c tests/mock/arena.c tests/mock/ring.c tests/mock/driver.c tests/mock/core.c tests/mock/testdev.c tests/mock/bench.c tests/mock/hostile.c
/*
 * The random number device, through both interfaces of the core: what it gives, what it does with odd buffers, its rate
 * and every kind of source. Its loop is turned by the test, and its clock is the test's.
 */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <lkvm/util.h>
#include <lkvm/virtio/rng.h>

#include "../mock/hostile.h"

#define MS      (NSEC_PER_SEC / 1000)
#define BUF_MAX 8192

static const struct drv_transport_ops *const transports[] = { &drv_core, &drv_core_legacy };

static struct bench b;
static struct virtio_device *vd;
static struct drv d;
static uint64_t buf_gpa;
static int pipe_in; /* of the source, -1: it is no pipe */

static int make(const struct rng_opts *o, struct err *err)
{
	struct virtio_host host = {
		.gm = &b.a.gm, .log = &b.log, .loops = b.loops, .loops_nr = 1, .cpus_nr = 1
	};

	*err = ERR_INIT;
	return virtio_rng_type.make(&vd, o, &host, err);
}

static void up(uint64_t features)
{
	drv_set_status(&d, 0);
	ck_assert_uint_eq(drv_status(&d), 0);
	ck_assert(drv_negotiate(&d, features));
	ring_make(&d, 0, RNG_QUEUE_SIZE);
	ring_enable(&d.rings[0]);
	drv_driver_ok(&d);
	ck_assert_uint_eq(drv_status(&d) & VIRTIO_DRIVER_OK, VIRTIO_DRIVER_OK);
}

static void start(unsigned int transport, struct rng_opts o)
{
	struct err err;

	ck_assert_msg(!make(&o, &err), "%s", err.msg);
	drv_init(&d, transports[transport], &b.a, vd);
	buf_gpa = arena_alloc(&b.a, BUF_MAX, 1);
	arena_permit(&b.a, buf_gpa, BUF_MAX);
	up(transport ? MODERN_ALL & UINT32_MAX : MODERN_ALL);
}

/* A pipe that has nothing yet. */
static void start_pipe(unsigned int transport, uint64_t rate)
{
	char path[64];
	int ends[2];

	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	pipe_in = ends[1];
	snprintf(path, sizeof(path), "/proc/self/fd/%d", ends[0]);
	start(transport, (struct rng_opts){ .source = path, .rate = rate });
	close(ends[0]);
}

/* So many bytes, that count up from `first`. */
static void pipe_put(uint8_t first, unsigned int n)
{
	uint8_t bytes[256];

	for (unsigned int i = 0; i < n; i++)
		bytes[i] = (uint8_t)(first + i);
	ck_assert_int_eq(write(pipe_in, bytes, n), n);
}

static void pipe_end(void)
{
	close(pipe_in);
	pipe_in = -1;
}

static void expect_bytes(uint64_t gpa, uint8_t first, unsigned int n)
{
	uint8_t byte;

	for (unsigned int i = 0; i < n; i++) {
		arena_read(&b.a, gpa + i, &byte, 1);
		ck_assert_uint_eq(byte, (uint8_t)(first + i));
	}
}

static void setup(void)
{
	vd = NULL;
	pipe_in = -1;
	bench_init(&b, &(struct bench_opts){ .queues = 1 });
}

static void teardown(void)
{
	if (pipe_in >= 0)
		close(pipe_in);
	if (vd) {
		ck_assert_uint_eq(arena_stray(&b.a), ARENA_CLEAN);
		drv_set_status(&d, 0);
		ck_assert_uint_eq(drv_status(&d), 0);
		drv_release(&d);
		virtio_rng_type.destroy(vd);
	}
	hostile_recover(&b);
	bench_release(&b);
}

static void turn(void)
{
	for (unsigned int i = 0; i < 4; i++)
		bench_turn(&b);
}

/* Lets that much time pass, as a busy loop would see it: a millisecond a turn. */
static void pass(unsigned int ms)
{
	for (unsigned int i = 0; i < ms; i++) {
		mock_clock_skew += MS;
		bench_turn(&b);
	}
}

static void offer(uint32_t len)
{
	struct drv_buf buf = { buf_gpa, len, true };

	ring_add(&d.rings[0], &buf, 1);
	ring_publish(&d.rings[0]);
	ring_kick(&d.rings[0]);
}

/* The length of the next answer, or -1. */
static int answer(void)
{
	uint32_t id, len;

	return ring_get(&d.rings[0], &id, &len) ? (int)len : -1;
}

static int ask(uint32_t len)
{
	offer(len);
	turn();
	return answer();
}

START_TEST(gives_bytes_that_differ)
{
	uint8_t bytes[8][64];

	start(_i, (struct rng_opts){ 0 });
	for (unsigned int i = 0; i < 8; i++) {
		ck_assert_int_eq(ask(64), 64);
		arena_read(&b.a, buf_gpa, bytes[i], 64);
		for (unsigned int k = 0; k < i; k++)
			ck_assert_mem_ne(bytes[i], bytes[k], 64);
	}
	/* No byte beyond the length that was given. */
	arena_fill(&b.a, buf_gpa, 0, 128);
	arena_permit(&b.a, buf_gpa, BUF_MAX);
	ck_assert_int_eq(ask(64), 64);
	arena_read(&b.a, buf_gpa + 64, bytes[0], 64);
	for (unsigned int i = 0; i < 64; i++)
		ck_assert_uint_eq(bytes[0][i], 0);
	ck_assert_uint_gt(d.irqs.queue[0], 0);
}

START_TEST(answers_every_buffer_of_a_full_ring)
{
	start(_i, (struct rng_opts){ 0 });
	for (unsigned int i = 0; i < RNG_QUEUE_SIZE; i++) {
		struct drv_buf buf = { buf_gpa, 16, true };

		ring_add(&d.rings[0], &buf, 1);
	}
	ring_publish(&d.rings[0]);
	ring_kick(&d.rings[0]);
	turn();
	for (unsigned int i = 0; i < RNG_QUEUE_SIZE; i++)
		ck_assert_int_eq(answer(), 16);
	ck_assert_int_eq(answer(), -1);
}

/* A buffer costs one read at most, whatever its length; another one of its parts may be long, too. */
START_TEST(long_buffers_get_a_part)
{
	start(_i, (struct rng_opts){ 0 });
	ck_assert_int_eq(ask(BUF_MAX), RNG_CHUNK);
	ck_assert_int_eq(ask(RNG_CHUNK + 1), RNG_CHUNK);
	ck_assert_int_eq(ask(1), 1);
}

START_TEST(many_parts_are_filled_in_order)
{
	struct drv_buf bufs[] = { { 0, 3, true }, { 0, 1, true }, { 0, 4, true } };

	start_pipe(_i, 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(bufs); i++)
		bufs[i].gpa = buf_gpa + 100 * (uint64_t)i;
	pipe_put(0, 64);
	ring_add(&d.rings[0], bufs, 3);
	ring_publish(&d.rings[0]);
	ring_kick(&d.rings[0]);
	turn();
	ck_assert_int_eq(answer(), 8);
	/* The last that came are the first to go. */
	expect_bytes(buf_gpa, 56, 3);
	expect_bytes(buf_gpa + 100, 59, 1);
	expect_bytes(buf_gpa + 200, 60, 4);
}

/* What has no room for a byte comes back, with length 0; the device goes on. */
START_TEST(odd_buffers_come_back_empty)
{
	struct drv_buf readable = { 0, 64, false };
	struct drv_buf mixed[] = { { 0, 8, false }, { 0, 8, true } };

	ROW("HD-20", "HD-21");
	start(_i, (struct rng_opts){ 0 });
	readable.gpa = mixed[0].gpa = buf_gpa;
	mixed[1].gpa = buf_gpa + 64;
	ring_add(&d.rings[0], &readable, 1);
	ring_add(&d.rings[0], mixed, 2);
	ring_publish(&d.rings[0]);
	ring_kick(&d.rings[0]);
	turn();
	ck_assert_int_eq(answer(), 0);
	/* A readable part in front is no reason to refuse the rest. */
	ck_assert_int_eq(answer(), 8);
	ck_assert_int_eq(ask(0), 0);
	ck_assert_int_eq(ask(16), 16);
	ck_assert_uint_eq(drv_status(&d) & VIRTIO_NEEDS_RESET, 0);
}

START_TEST(buffers_outside_memory_come_back_empty)
{
	struct drv_buf buf = { ARENA_LOW_END - 4, 8, true };

	start(_i, (struct rng_opts){ 0 });
	ring_add(&d.rings[0], &buf, 1);
	ring_publish(&d.rings[0]);
	ring_kick(&d.rings[0]);
	turn();
	ck_assert_int_eq(answer(), 0);
	ck_assert_int_eq(ask(16), 16);
}

START_TEST(breaks_and_mends)
{
	start(_i, (struct rng_opts){ 0 });
	ring_push(&d.rings[0], RNG_QUEUE_SIZE);
	drv_notify(&d, 0);
	turn();
	ck_assert_uint_eq(drv_status(&d) & VIRTIO_NEEDS_RESET, VIRTIO_NEEDS_RESET);
	up(_i ? MODERN_ALL & UINT32_MAX : MODERN_ALL);
	ck_assert_int_eq(ask(16), 16);
}

/* --- the rate --- */

/* Asks again and again for that time, in steps of `step` ms. */
static unsigned int drain(unsigned int ms, unsigned int step, unsigned int *answers)
{
	unsigned int bytes = 0;
	int n;

	*answers = 0;
	offer(64);
	for (unsigned int i = 0; i < ms; i += step) {
		mock_clock_skew += step * MS;
		bench_turn(&b);
		while ((n = answer()) >= 0) {
			bytes += (unsigned int)n;
			(*answers)++;
			offer(64);
			turn();
		}
	}
	return bytes;
}

START_TEST(keeps_to_its_rate)
{
	unsigned int answers;

	start(_i, (struct rng_opts){ .rate = 1000 });
	/* A second's worth is there at the start, and ten more come in 10 s. */
	unsigned int bytes = drain(10000, 1, &answers);
	ck_assert_uint_ge(bytes, 10800);
	ck_assert_uint_le(bytes, 11200);
	/* Not byte by byte: an answer is an interrupt, and Linux's driver takes a short one amiss. */
	ck_assert_uint_eq(bytes, answers * 64);
}

START_TEST(saves_a_second_at_most)
{
	unsigned int answers;

	start(_i, (struct rng_opts){ .rate = 1000 });
	mock_clock_skew += 3600 * NSEC_PER_SEC;
	ck_assert_uint_le(drain(1, 1, &answers), 1024);
	ck_assert_uint_ge(answers, 15);
}

/* No fraction of a byte is lost in many short steps. */
START_TEST(slow_rates_are_kept_too)
{
	unsigned int answers;

	start(_i, (struct rng_opts){ .rate = 3 });
	ck_assert_int_eq(ask(64), 64);
	unsigned int bytes = drain(20 * 64 * 1000 / 3 + 1000, 50, &answers);
	ck_assert_uint_ge(bytes, 19 * 64);
	ck_assert_uint_le(bytes, 21 * 64);
}

/* What is left of a source that ended comes at its rate. */
START_TEST(the_rest_keeps_to_the_rate)
{
	start_pipe(_i, 10);
	pipe_put(0, 200);
	pipe_end();
	ck_assert_int_eq(ask(64), 64);
	ck_assert_int_eq(ask(64), -1);
	pass(6300);
	ck_assert_int_eq(answer(), -1);
	pass(300);
	ck_assert_int_eq(answer(), 64);
	offer(64);
	pass(6600);
	ck_assert_int_eq(answer(), 64);
	offer(64);
	pass(1000);
	ck_assert_int_eq(answer(), 8);
}

/* A rate that is used up does not keep a reset waiting, nor a queue's. */
START_TEST(resets_while_the_rate_is_used_up)
{
	start(_i, (struct rng_opts){ .rate = 100 });
	ck_assert_int_eq(ask(100), 100);
	ck_assert_int_eq(ask(64), -1);
	up(_i ? MODERN_ALL & UINT32_MAX : MODERN_ALL);
	pass(1100);
	ck_assert_int_eq(answer(), -1);
	ck_assert_int_eq(ask(64), 64);
}

/* --- sources --- */

START_TEST(a_pipe_runs_dry_and_fills_again)
{
	start_pipe(_i, 0);
	ck_assert_int_eq(ask(64), -1);
	pass(100);
	ck_assert_int_eq(answer(), -1);
	/* A short answer is not given while more may come. */
	pipe_put(0, 63);
	pass(100);
	ck_assert_int_eq(answer(), -1);
	pipe_put(63, 1);
	pass(20);
	ck_assert_int_eq(answer(), 64);
	expect_bytes(buf_gpa, 0, 64);
	/* More buffers than bytes. */
	offer(64);
	offer(64);
	pipe_put(0, 100);
	pass(20);
	ck_assert_int_eq(answer(), 64);
	ck_assert_int_eq(answer(), -1);
	pipe_put(100, 28);
	pass(20);
	ck_assert_int_eq(answer(), 64);
	/* A longer buffer gets what there is. */
	pipe_put(0, 200);
	ck_assert_int_eq(ask(BUF_MAX), 200);
	ck_assert_uint_eq(bench_log_lines(&b), 0);
}

/* The clock is looked at while a buffer waits for a dry source, and not at all when none does. */
START_TEST(nobody_waits_nothing_runs)
{
	start_pipe(_i, 0);
	pipe_put(0, 64);
	ck_assert_int_eq(ask(64), 64);
	pass(20);
	uint64_t before = mock_clock_skew;
	mock_clock_step = 1;
	for (unsigned int i = 0; i < 100; i++)
		bench_turn(&b);
	ck_assert_uint_eq(mock_clock_skew, before);
	ck_assert_int_eq(ask(64), -1);
	before = mock_clock_skew;
	for (unsigned int i = 0; i < 100; i++)
		bench_turn(&b);
	mock_clock_step = 0;
	ck_assert_uint_ge(mock_clock_skew - before, 100);
	ck_assert_uint_le(mock_clock_skew - before, 300);
}

START_TEST(a_source_that_ends)
{
	start_pipe(_i, 0);
	pipe_put(0, 65);
	pipe_end();
	ck_assert_int_eq(ask(64), 64);
	/* Now what is left may be less than a whole answer. */
	ck_assert_int_eq(ask(4), 1);
	ck_assert_int_eq(ask(4), -1);
	pass(50);
	ck_assert_int_eq(answer(), -1);
	/* Said once. */
	ck_assert_uint_eq(bench_log_lines(&b), 1);
	offer(4);
	pass(50);
	ck_assert_uint_eq(bench_log_lines(&b), 1);
	up(_i ? MODERN_ALL & UINT32_MAX : MODERN_ALL);
	ck_assert_int_eq(ask(4), -1);
	ck_assert_uint_eq(drv_status(&d) & VIRTIO_NEEDS_RESET, 0);
	ck_assert_uint_eq(bench_log_lines(&b), 1);
}

START_TEST(resets_while_the_source_is_dry)
{
	start_pipe(_i, 0);
	ck_assert_int_eq(ask(16), -1);
	up(_i ? MODERN_ALL & UINT32_MAX : MODERN_ALL);
	pipe_put(0, 64);
	/* Not into the buffer of before. */
	pass(50);
	ck_assert_int_eq(answer(), -1);
	ck_assert_int_eq(ask(16), 16);
}

START_TEST(resets_its_queue_while_the_source_is_dry)
{
	start_pipe(0, 0);
	ck_assert_int_eq(ask(16), -1);
	drv_set_reg(&d, 0, DRV_RESET, 1);
	turn();
	ck_assert_uint_eq(drv_reg(&d, 0, DRV_RESET), 0);
	pipe_put(0, 64);
	pass(50);
	ring_make(&d, 0, RNG_QUEUE_SIZE);
	ring_enable(&d.rings[0]);
	turn();
	ck_assert_int_eq(answer(), -1);
	ck_assert_int_eq(ask(16), 16);
}

/* The device is given up while a buffer waits for its source. */
START_TEST(goes_while_the_source_is_dry)
{
	start_pipe(_i, 0);
	ck_assert_int_eq(ask(16), -1);
}

START_TEST(a_device_is_a_source)
{
	uint8_t bytes[8];

	start(_i, (struct rng_opts){ .source = "/dev/zero" });
	arena_fill(&b.a, buf_gpa, 0xff, 8);
	arena_permit(&b.a, buf_gpa, BUF_MAX);
	ck_assert_int_eq(ask(8), 8);
	arena_read(&b.a, buf_gpa, bytes, 8);
	for (unsigned int i = 0; i < 8; i++)
		ck_assert_uint_eq(bytes[i], 0);
}

static void expect_refusal(const char *source, enum err_kind kind, const char *sentence)
{
	struct err err;
	unsigned int fds = bench_count_dir("/proc/self/fd");
	int ret = make(&(struct rng_opts){ .source = source }, &err);

	ck_assert_int_lt(ret, 0);
	ck_assert_int_eq(err.kind, kind);
	ck_assert_str_eq(err.msg, sentence);
	ck_assert_ptr_null(vd);
	ck_assert_uint_eq(bench_count_dir("/proc/self/fd"), fds);
}

START_TEST(sources_that_are_none)
{
	expect_refusal("/nonexistent/source", ERR_HOST,
		       "--rng /nonexistent/source: No such file or directory");
	expect_refusal("/tmp", ERR_USAGE, "--rng /tmp is neither a character device nor a pipe");
	expect_refusal("/proc/self/status", ERR_USAGE,
		       "--rng /proc/self/status is neither a character device nor a pipe");
}

/* Root may read everything, but not a socket's file. */
START_TEST(sources_that_cannot_be_opened)
{
	char sentence[192];
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(at.sun_path, sizeof(at.sun_path), "/tmp/lkvm-test-rng-%d", getpid());
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	snprintf(sentence, sizeof(sentence), "--rng %s: No such device or address", at.sun_path);
	expect_refusal(at.sun_path, ERR_HOST, sentence);
	unlink(at.sun_path);
	close(fd);
}

/* Root may read everything, so it is somebody else for a moment. */
START_TEST(sources_that_may_not_be_read)
{
	bool root = geteuid() == 0;
	char path[64], sentence[128];

	snprintf(path, sizeof(path), "/tmp/lkvm-test-rng-%d", getpid());
	ck_assert_int_eq(mkfifo(path, 0200), 0);
	snprintf(sentence, sizeof(sentence), "--rng %s: Permission denied", path);
	ck_assert(!root || !seteuid(65534));
	expect_refusal(path, ERR_HOST, sentence);
	ck_assert(!root || !seteuid(0));
	unlink(path);
}

UNIT_SUITE("virtio-rng", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, gives_bytes_that_differ, 0, 2);
	tcase_add_loop_test(tc, answers_every_buffer_of_a_full_ring, 0, 2);
	tcase_add_loop_test(tc, long_buffers_get_a_part, 0, 2);
	tcase_add_loop_test(tc, many_parts_are_filled_in_order, 0, 2);
	tcase_add_loop_test(tc, odd_buffers_come_back_empty, 0, 2);
	tcase_add_loop_test(tc, buffers_outside_memory_come_back_empty, 0, 2);
	tcase_add_loop_test(tc, breaks_and_mends, 0, 2);
	tcase_add_loop_test(tc, keeps_to_its_rate, 0, 2);
	tcase_add_loop_test(tc, saves_a_second_at_most, 0, 2);
	tcase_add_loop_test(tc, slow_rates_are_kept_too, 0, 2);
	tcase_add_loop_test(tc, the_rest_keeps_to_the_rate, 0, 2);
	tcase_add_loop_test(tc, resets_while_the_rate_is_used_up, 0, 2);
	tcase_add_loop_test(tc, a_pipe_runs_dry_and_fills_again, 0, 2);
	tcase_add_loop_test(tc, nobody_waits_nothing_runs, 0, 2);
	tcase_add_loop_test(tc, a_source_that_ends, 0, 2);
	tcase_add_loop_test(tc, resets_while_the_source_is_dry, 0, 2);
	tcase_add_test(tc, resets_its_queue_while_the_source_is_dry);
	tcase_add_loop_test(tc, goes_while_the_source_is_dry, 0, 2);
	tcase_add_loop_test(tc, a_device_is_a_source, 0, 2);
	tcase_add_test(tc, sources_that_are_none);
	tcase_add_test(tc, sources_that_cannot_be_opened);
	tcase_add_test(tc, sources_that_may_not_be_read);
})
