/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A virtio device that only tests link: up to 8 queues, a legacy id, read-only and writable configuration
 * fields, features that depend on others, and a backend in the test's hands.
 *
 * A request is any chain. The device writes its whole writable part, up to TESTDEV_MAX bytes: first what
 * the readable part holds, then TESTDEV_FILL.
 */
#ifndef LKVM_TESTS_TESTDEV_H
#define LKVM_TESTS_TESTDEV_H

#include <lkvm/virtio/device.h>

#include "arena.h"

#define TESTDEV_QUEUES    8
#define TESTDEV_MAX       65536
#define TESTDEV_FILL      0x5a
#define TESTDEV_ID        62
#define TESTDEV_LEGACY_ID 0x103f

/* B needs A; C needs A or B. */
enum testdev_feature { TESTDEV_F_A = 0, TESTDEV_F_B = 1, TESTDEV_F_C = 50 };

enum testdev_mode {
	TESTDEV_AUTO, /* answers as it takes */
	TESTDEV_HOLD, /* answers when the test says so */
	TESTDEV_FAIL, /* returns everything with length 0 */
};

struct testdev_config {
	uint64_t wide; /* read-only; testdev_set_wide() */
	uint32_t id;   /* read-only */
	uint32_t word; /* the driver's */
	uint8_t byte;  /* the driver's */
} __attribute__((packed));

#define TESTDEV_CONFIG_LEN 17

struct testdev_req {
	struct vq_chain chain;
	bool ok;
};

struct testdev_queue {
	struct virtqueue *vq;
	struct testdev_req *reqs; /* as many as the queue has entries */
	struct iovec *iovs;
	struct testdev_req **spare, **held, **done; /* stacks, fifos of pointers; under the lock */
	unsigned int spare_nr, held_nr, done_nr;
	struct loop_post post; /* `done` has something */
	uint8_t *bytes;        /* of one request; the owner's */
};

struct testdev {
	struct virtio_device vd;
	uint8_t secret[16]; /* must never be seen in guest memory */
	struct testdev_config config;
	_Atomic enum testdev_mode mode;
	int start_ret; /* what the next DRIVER_OK gets */
	bool cancels;  /* a reset ends what is held */
	bool lazy;     /* takes one chain a kick and waits for the next */
	void (*on_take)(
		struct testdev *
			td); /* of the test; on the loop's thread, after each chain that is taken */
	_Atomic uint32_t taken, served, starts, stops, kicks;
	_Atomic uint32_t resets, queue_stops[TESTDEV_QUEUES];
	bool quiet;                         /* turns kicks off before it takes */
	uint32_t hidden;                    /* a bit for each queue that is not there */
	_Atomic int32_t on[TESTDEV_QUEUES]; /* began less stopped, as the core told */
	uint64_t started_with;              /* features */
	_Atomic uint64_t out_len, in_len;   /* of the last chain */
	pthread_mutex_t lock;
	unsigned int queues_nr;
	struct testdev_queue q[TESTDEV_QUEUES];
};

/* Queue i belongs to loops[i % loops_nr]. */
void testdev_init(struct testdev *td, const struct gmem *gm, const struct log *log,
		  unsigned int queues, uint16_t size, struct loop *const *loops,
		  unsigned int loops_nr);
void testdev_release(struct testdev *td);

unsigned int testdev_held(struct testdev *td, unsigned int q);
/* Ends the i-th held request of a queue, in the order of arrival. Any thread. */
void testdev_finish(struct testdev *td, unsigned int q, unsigned int i, bool ok);
void testdev_finish_all(struct testdev *td);
/* Something is on its way to the loop. While no thread serves it. */
bool testdev_busy(const struct testdev *td);
void testdev_set_wide(struct testdev *td, uint64_t v);

#endif
