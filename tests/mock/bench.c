/* SPDX-License-Identifier: GPL-2.0 */
#include <dirent.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <lkvm/util.h>

#include "bench.h"

/* More turns than any amount of honest work needs. */
#define TURNS_MAX 100000
#define ECHO_LEN  32
#define WAIT_NS   (20 * NSEC_PER_SEC)

const struct drv_transport_ops *bench_transport = &drv_core;

void mock_failed(const char *file, int line, const char *what)
{
	ck_abort_msg("%s:%d: %s", file, line, what);
}

unsigned int bench_rounds(unsigned int n)
{
	return getenv("LKVM_TEST_LONG") ? n : MAX(n / 100, 1u);
}

unsigned int bench_count_dir(const char *path)
{
	DIR *dir = opendir(path);
	unsigned int n = 0;

	MUST(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* --- making --- */

static void *serve_loop(void *arg)
{
	loop_run(arg);
	return NULL;
}

static void nothing(void *arg)
{
	(void)arg;
}

static void *do_nothing(void *arg)
{
	return arg;
}

/* With the first thread a sanitizer starts one of its own, which is not to be counted as a leak. */
static void first_thread(void)
{
	pthread_t t;

	MUST(pthread_create(&t, NULL, do_nothing, NULL) == 0);
	pthread_join(t, NULL);
}

struct hello {
	struct loop_post post;
	atomic_bool said;
};

static void say_hello(struct loop_post *p)
{
	atomic_store(&container_of(p, struct hello, post)->said, true);
}

/* Returns when the thread is in loop_run(): from then on calls are its to run. */
static void start_thread(pthread_t *t, struct loop *loop)
{
	struct hello hello = { .post.fn = say_hello };

	loop_post(loop, &hello.post);
	MUST(pthread_create(t, NULL, serve_loop, loop) == 0);
	while (!atomic_load(&hello.said))
		sched_yield();
}

static void add_canary(struct bench *b)
{
	MUST(mini_init(&b->canary, &b->a.gm, &b->log, b->loops[0]) == 0);
	drv_init(&b->cd, &drv_core, &b->a, &b->canary.vd);
	MUST(drv_negotiate(&b->cd, MODERN));
	ring_make(&b->cd, 0, MINI_QUEUE_SIZE);
	ring_enable(&b->cd.rings[0]);
	drv_driver_ok(&b->cd);
	b->canary_gpa = arena_alloc(&b->a, 2 * ECHO_LEN, 64);
	b->echo_gpa = arena_alloc(&b->a, 2 * ECHO_LEN, 64);
}

void bench_init(struct bench *b, const struct bench_opts *o)
{
	struct err err = ERR_INIT;

	memset(b, 0, sizeof(*b));
	b->o = *o;
	b->o.transport = o->transport ?: bench_transport;
	b->o.queues = o->queues ?: 2;
	b->o.size = o->size ?: 16;
	b->o.loops = o->loops ?: 1;
	first_thread();
	atomic_store(&mock_clock_skew, 0);
	atomic_store(&mock_clock_step, 0);
	b->started_ns = util_now_ns();
	arena_init(&b->a);
	for (unsigned int i = 0; i < b->o.loops; i++)
		MUST((b->loops[i] = loop_new(&err)));
	b->log = (struct log){ .fd = memfd_create("log", MFD_CLOEXEC), .level = LOG_DEBUG };
	for (unsigned int i = 0; b->o.threads && i < b->o.loops; i++)
		start_thread(&b->threads[i], b->loops[i]);
	add_canary(b);
	testdev_init(&b->td, &b->a.gm, &b->log, b->o.queues, b->o.size, b->loops, b->o.loops);
	drv_init(&b->d, b->o.transport, &b->a, &b->td.vd);
	bench_canary(b);
	b->fds = bench_count_dir("/proc/self/fd");
	b->tasks = bench_count_dir("/proc/self/task");
}

void bench_release(struct bench *b)
{
	bench_reset(b);
	drv_release(&b->cd);
	drv_release(&b->d);
	for (unsigned int i = 0; i < b->o.loops; i++) {
		if (!b->o.threads)
			continue;
		loop_stop(b->loops[i]);
		pthread_join(b->threads[i], NULL);
	}
	testdev_release(&b->td);
	mini_release(&b->canary);
	for (unsigned int i = 0; i < b->o.loops; i++)
		loop_free(b->loops[i]);
	close(b->log.fd);
	arena_release(&b->a);
}

/* --- turning --- */

bool bench_idle(const struct bench *b)
{
	for (unsigned int i = 0; i < b->td.vd.queues_nr; i++)
		if (b->td.vd.vqs[i].kick_post.queued)
			return false;
	if (b->d.ops->is_busy && b->d.ops->is_busy(&b->d))
		return false;
	return !testdev_busy(&b->td) && !b->canary.vd.vqs[0].kick_post.queued;
}

void bench_turn(struct bench *b)
{
	MUST(!b->o.threads);
	for (unsigned int i = 0; i < b->o.loops; i++) {
		loop_stop(b->loops[i]);
		MUST(loop_run(b->loops[i]) == 0);
	}
}

void bench_settle(struct bench *b)
{
	if (b->o.threads) {
		/* What was posted before a call ran before it; what that posted runs before the next. */
		for (unsigned int i = 0; i < 4 * b->o.loops; i++)
			loop_call(b->loops[i % b->o.loops], nothing, NULL);
		return;
	}
	for (unsigned int i = 0; !bench_idle(b); i++) {
		MUST(i < TURNS_MAX);
		bench_turn(b);
	}
}

/* --- using --- */

void bench_reset(struct bench *b)
{
	uint64_t deadline = mock_real_now_ns() + WAIT_NS;

	drv_set_status(&b->d, 0);
	while (drv_status(&b->d)) {
		testdev_finish_all(&b->td);
		bench_settle(b);
		MUST(mock_real_now_ns() < deadline);
	}
	testdev_finish_all(&b->td);
	bench_settle(b);
}

void bench_prepare(struct bench *b, uint64_t features)
{
	bench_reset(b);
	MUST(drv_negotiate(&b->d, features));
	for (uint16_t q = 0; q < b->o.queues; q++) {
		struct drv_ring *r = &b->d.rings[q];

		/* A driver keeps the memory of its rings as long as it fits. */
		if (r->d && r->size == b->o.size && !r->odd)
			ring_make_at(&b->d, q, r->size, r->desc, r->avail, r->used);
		else
			ring_make(&b->d, q, b->o.size);
		r->odd = false;
		ring_enable(r);
	}
}

void bench_up(struct bench *b, uint64_t features)
{
	bench_prepare(b, features);
	drv_driver_ok(&b->d);
	MUST((drv_status(&b->d) & ~VIRTIO_FEATURES_OK) ==
	     (VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_DRIVER_OK));
	bench_settle(b);
}

void bench_bufs(struct bench *b, struct drv_buf bufs[2], uint32_t len)
{
	uint8_t *bytes = malloc(len);

	for (uint32_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)(i * 7 + b->echoes + 1);
	b->echoes++;
	bufs[0] = (struct drv_buf){ arena_alloc(&b->a, len, 1), len, false };
	bufs[1] = (struct drv_buf){ arena_alloc(&b->a, len, 1), len, true };
	arena_write(&b->a, bufs[0].gpa, bytes, len);
	arena_permit(&b->a, bufs[1].gpa, len);
	free(bytes);
}

/* Waits for the answer; kicks only as a driver does, so that a lost kick is found. */
static void transact(struct bench *b, struct drv_ring *r, uint64_t gpa, uint8_t answer[ECHO_LEN],
		     const uint8_t request[ECHO_LEN])
{
	struct drv_buf bufs[] = { { gpa, ECHO_LEN, false }, { gpa + ECHO_LEN, ECHO_LEN, true } };
	uint64_t deadline = mock_real_now_ns() + WAIT_NS;
	uint32_t id, len;

	arena_write(&b->a, gpa, request, ECHO_LEN);
	arena_fill(&b->a, gpa + ECHO_LEN, 0, ECHO_LEN);
	uint16_t head = ring_add(r, bufs, 2);
	ring_publish(r);
	ring_kick(r);
	bench_settle(b);
	while (!ring_get(r, &id, &len)) {
		MUST(b->o.threads && mock_real_now_ns() < deadline);
		sched_yield();
	}
	MUST(id == head && len == ECHO_LEN);
	arena_read(&b->a, gpa + ECHO_LEN, answer, ECHO_LEN);
}

void bench_echo(struct bench *b, uint16_t q)
{
	uint8_t request[ECHO_LEN], answer[ECHO_LEN];

	for (unsigned int i = 0; i < ECHO_LEN; i++)
		request[i] = (uint8_t)(++b->echoes);
	transact(b, &b->d.rings[q], b->echo_gpa, answer, request);
	MUST(memcmp(request, answer, ECHO_LEN) == 0);
}

void bench_canary(struct bench *b)
{
	uint8_t request[ECHO_LEN], answer[ECHO_LEN];

	for (unsigned int i = 0; i < ECHO_LEN; i++)
		request[i] = (uint8_t)(++b->echoes);
	transact(b, &b->cd.rings[0], b->canary_gpa, answer, request);
	for (unsigned int i = 0; i < ECHO_LEN; i++)
		MUST(request[i] == answer[ECHO_LEN - 1 - i]);
}

unsigned int bench_log_lines(struct bench *b)
{
	char buf[65536];
	ssize_t n = pread(b->log.fd, buf, sizeof(buf), 0);
	unsigned int lines = 0;

	for (ssize_t i = 0; i < n; i++)
		lines += buf[i] == '\n';
	return lines;
}
