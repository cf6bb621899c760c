/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a virtio test runs on: guest memory, loops, a testdev and its driver, and beside them a mini whose
 * driver checks that it is left alone.
 *
 *   struct bench b;
 *   bench_init(&b, &(struct bench_opts){ .queues = 2 });
 *   bench_up(&b, features);
 *   ... bench_echo(&b, 0) ...
 *   bench_release(&b);
 *
 * Without threads the loops are turned by bench_settle(), so that a test decides when a device works.
 */
#ifndef LKVM_TESTS_BENCH_H
#define LKVM_TESTS_BENCH_H

#include <check.h>

#include <lkvm/virtio/mini.h>

#include "clock.h"
#include "driver.h"
#include "testdev.h"

#define MODERN_ALL                                                                                 \
	(VIRTIO_BIT(VIRTIO_F_VERSION_1) | VIRTIO_BIT(VIRTIO_F_INDIRECT_DESC) |                     \
	 VIRTIO_BIT(VIRTIO_F_EVENT_IDX) | VIRTIO_BIT(VIRTIO_F_RING_RESET))
#define MODERN VIRTIO_BIT(VIRTIO_F_VERSION_1)

struct bench_opts {
	const struct drv_transport_ops *transport; /* default: bench_transport */
	unsigned int queues;                       /* default 2 */
	uint16_t size;                             /* of each queue; default 16 */
	unsigned int loops;                        /* default 1; queue i is on loop i % loops */
	bool threads;                              /* each loop has one */
};

extern const struct drv_transport_ops *bench_transport; /* drv_core, or what a test sets */

#define BENCH_LOOPS 2

struct bench {
	struct bench_opts o;
	struct arena a;
	struct loop *loops[BENCH_LOOPS];
	pthread_t threads[BENCH_LOOPS];
	struct log log; /* into a memfd */
	uint64_t started_ns;
	unsigned int fds, tasks; /* before the devices were used */

	struct testdev td;
	struct drv d;
	struct mini canary;
	struct drv cd;
	uint64_t echo_gpa; /* 128 bytes for bench_echo(); the canary has its own */
	uint64_t canary_gpa;
	uint32_t echoes;
};

void bench_init(struct bench *b, const struct bench_opts *o);
void bench_release(struct bench *b);

/* Reset, negotiation, all queues with rings of their full size, DRIVER_OK. */
void bench_up(struct bench *b, uint64_t features);
/* The same without the last step. */
void bench_prepare(struct bench *b, uint64_t features);
/* Status 0 is written, and read, before it returns; what the backend holds is ended first. */
void bench_reset(struct bench *b);

/* Until no loop has anything to do. A device that never rests fails the test. */
void bench_settle(struct bench *b);
/* One turn of every loop. Not with threads. */
void bench_turn(struct bench *b);
bool bench_idle(const struct bench *b);

/* A good request on testdev's queue, by the book, and its answer. */
void bench_echo(struct bench *b, uint16_t q);
/* The same on the neighbour. */
void bench_canary(struct bench *b);
/* Lines in the log. */
unsigned int bench_log_lines(struct bench *b);
unsigned int bench_count_dir(const char *path);

/* Sets [0] a readable buffer with `len` bytes of a pattern, [1] a writable one as long. In low memory. */
void bench_bufs(struct bench *b, struct drv_buf bufs[2], uint32_t len);
/* The same count in the long run as asked for, a hundredth in the short one. */
unsigned int bench_rounds(unsigned int n);

#endif
