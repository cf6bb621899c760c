// SPDX-License-Identifier: GPL-2.0
// LINK: virtio/console.c virtio/console-ctrl.c virtio/device.c virtio/registers.c virtio/legacy.c virtio/queue.c virtio/mini.c gmem.c
// LINK: chr/port.c chr/out.c chr/fd.c util/thread.c util/loop.c util/log.c util/err.c util/options.c util/option-types.c util/option-keys.c util/nearest.c
// LINK: tests/mock/clock.c tests/mock/arena.c tests/mock/ring.c tests/mock/driver.c tests/mock/core.c tests/mock/testdev.c tests/mock/bench.c
/* The console with threads: a port on pipes, a driver, the device's loop, the writer, and who resizes; resets between. */
#include "unit.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include <lkvm/chr-port.h>
#include <lkvm/util.h>
#include <lkvm/virtio/console.h>

#include "../mock/bench.h"

#define SIZE    VIRTIO_CONSOLE_QUEUE_SIZE
#define BUF_LEN 4096
#define BUFS    16
#define TOTAL   (4u << 20)

static struct bench b;
static struct loop *loop;
static pthread_t server;
static atomic_bool serving;
static struct virtio_device *vd;
static struct drv d;
static struct virtio_console_cfg cfg;
static struct port *port;
static int to_guest[2], from_guest[2];
static uint64_t gpa[2]; /* buffers of each queue */
static uint8_t sent[TOTAL], got[TOTAL];

static void say_so(struct loop_post *p)
{
	(void)p;
	atomic_store(&serving, true);
}

static void *serve(void *arg)
{
	loop_run(arg);
	return NULL;
}

static void up(void)
{
	drv_set_status(&d, 0);
	while (drv_status(&d))
		sched_yield();
	ck_assert(drv_negotiate(&d, MODERN_ALL));
	for (uint16_t q = 0; q < 2; q++) {
		ring_make(&d, q, SIZE);
		ring_enable(&d.rings[q]);
	}
	drv_driver_ok(&d);
}

static void setup(void)
{
	static struct loop_post hello = { .fn = say_so };
	struct err err = ERR_INIT;

	bench_init(&b, &(struct bench_opts){ .queues = 1 });
	loop = loop_new(&err);
	ck_assert_int_eq(pipe2(to_guest, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(from_guest, O_CLOEXEC), 0);
	port = chr_port_new("port", to_guest[0], from_guest[1], &b.log, &err);
	cfg = (struct virtio_console_cfg){ .nr = 1, .cols = 80, .rows = 25, .ports[0].port = port };
	struct virtio_host host = {
		.gm = &b.a.gm, .log = &b.log, .loops = &loop, .loops_nr = 1, .cpus_nr = 1
	};
	ck_assert_int_eq(virtio_console_type.make(&vd, &cfg, &host, &err), 0);
	drv_init(&d, &drv_core, &b.a, vd);
	loop_post(loop, &hello);
	ck_assert_int_eq(pthread_create(&server, NULL, serve, loop), 0);
	while (!atomic_load(&serving))
		sched_yield();
	for (unsigned int i = 0; i < 2; i++)
		gpa[i] = arena_alloc_high(&b.a, BUFS * BUF_LEN, 1);
	arena_permit(&b.a, gpa[0], BUFS * BUF_LEN);
	for (size_t i = 0; i < TOTAL; i++)
		sent[i] = (uint8_t)(i * 167 >> 3 ^ i);
	up();
}

static void teardown(void)
{
	drv_set_status(&d, 0);
	while (drv_status(&d))
		sched_yield();
	drv_release(&d);
	loop_stop(loop);
	pthread_join(server, NULL);
	virtio_console_type.destroy(vd);
	chr_port_free(port);
	loop_free(loop);
	for (unsigned int i = 0; i < 2; i++) {
		close(to_guest[i]);
		close(from_guest[i]);
	}
	bench_release(&b);
}

static void *read_all(void *arg)
{
	size_t len = 0;
	ssize_t n;

	(void)arg;
	while (len < TOTAL && (n = read(from_guest[0], got + len, TOTAL - len)) > 0)
		len += (size_t)n;
	return NULL;
}

static void *write_all(void *arg)
{
	size_t len = 0;
	ssize_t n;

	(void)arg;
	while (len < TOTAL && (n = write(to_guest[1], sent + len, TOTAL - len)) > 0)
		len += (size_t)n;
	return NULL;
}

static atomic_bool over;

/* What other threads may call at any time. */
static void *disturb(void *arg)
{
	for (uint16_t i = 1; !atomic_load(&over); i++) {
		port->resize(port, i, i);
		port->ready(port);
		sched_yield();
	}
	return arg;
}

/* The driver writes all of `sent`; what comes back goes through the writer's thread to a reader's. */
START_TEST(everything_arrives_that_was_written)
{
	struct drv_ring *r = &d.rings[1];
	uint32_t id, len;
	pthread_t t[2];
	size_t off = 0;
	unsigned int out = 0;

	ck_assert_int_eq(pthread_create(&t[0], NULL, read_all, NULL), 0);
	ck_assert_int_eq(pthread_create(&t[1], NULL, disturb, NULL), 0);
	while (off < TOTAL || out) {
		while (off < TOTAL && out < BUFS) {
			struct drv_buf buf = { gpa[1] + off / BUF_LEN % BUFS * BUF_LEN, BUF_LEN,
					       false };

			arena_write(&b.a, buf.gpa, sent + off, BUF_LEN);
			ring_add(r, &buf, 1);
			off += BUF_LEN;
			out++;
		}
		ring_publish(r);
		ring_kick(r);
		/* In order, as they are taken. */
		while (out && ring_get(r, &id, &len))
			out--;
		sched_yield();
	}
	pthread_join(t[0], NULL);
	atomic_store(&over, true);
	pthread_join(t[1], NULL);
	ck_assert_mem_eq(got, sent, TOTAL);
}

START_TEST(everything_arrives_that_the_host_has)
{
	struct drv_ring *r = &d.rings[0];
	uint32_t id, len;
	pthread_t t[2];
	size_t off = 0;
	unsigned int next = 0, out = 0;

	ck_assert_int_eq(pthread_create(&t[0], NULL, write_all, NULL), 0);
	ck_assert_int_eq(pthread_create(&t[1], NULL, disturb, NULL), 0);
	while (off < TOTAL) {
		for (; out < BUFS; out++) {
			struct drv_buf buf = { gpa[0] + (next + out) % BUFS * BUF_LEN, BUF_LEN,
					       true };

			ring_add(r, &buf, 1);
		}
		ring_publish(r);
		ring_kick(r);
		while (out && ring_get(r, &id, &len)) {
			ck_assert_uint_le(len, MIN((size_t)BUF_LEN, TOTAL - off));
			arena_read(&b.a, gpa[0] + next % BUFS * BUF_LEN, got + off, len);
			off += len;
			next++;
			out--;
		}
		sched_yield();
	}
	pthread_join(t[0], NULL);
	atomic_store(&over, true);
	pthread_join(t[1], NULL);
	ck_assert_mem_eq(got, sent, TOTAL);
}

/* Chains are out, the host is full, and both directions have bytes; then a driver begins anew, again and again. */
START_TEST(resets_under_load)
{
	uint8_t bytes[1000] = { 0 };
	pthread_t t;

	ck_assert_int_eq(pthread_create(&t, NULL, disturb, NULL), 0);
	for (unsigned int i = 0; i < 100; i++) {
		for (unsigned int k = 0; k < BUFS; k++) {
			struct drv_buf in = { gpa[0] + k * BUF_LEN, BUF_LEN, true };
			struct drv_buf out = { gpa[1] + k * BUF_LEN, BUF_LEN, false };

			ring_add(&d.rings[0], &in, 1);
			ring_add(&d.rings[1], &out, 1);
		}
		for (unsigned int q = 0; q < 2; q++) {
			ring_publish(&d.rings[q]);
			ring_kick(&d.rings[q]);
		}
		if (i < 20)
			ck_assert_int_eq(write(to_guest[1], bytes, sizeof(bytes)), sizeof(bytes));
		up();
	}
	atomic_store(&over, true);
	pthread_join(t, NULL);
	ck_assert_uint_eq(drv_status(&d) & VIRTIO_NEEDS_RESET, 0);
}

static void block_sigpipe(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
}

UNIT_SUITE("virtio-console-threads", {
	block_sigpipe();
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, everything_arrives_that_was_written);
	tcase_add_test(tc, everything_arrives_that_the_host_has);
	tcase_add_test(tc, resets_under_load);
})
