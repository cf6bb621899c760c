/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The device's side of a disk backend: one channel, requests that are waited for, and random I/O that is
 * compared with a model, byte for byte.
 */
#ifndef LKVM_TESTS_DISK_USER_H
#define LKVM_TESTS_DISK_USER_H

#include <check.h>

#include <lkvm/block/backend.h>

#define USER_IOV 24

struct disk_user {
	struct loop *loop;
	struct blk_backend *be;
	struct blk_channel *ch;
	struct blk_info info;
	unsigned int inflight;
	struct log log; /* into a memfd */
};

struct user_request {
	struct blk_request r;
	struct disk_user *u;
	struct iovec iov[USER_IOV];
	unsigned int dones; /* calls of done() */
	int ret;            /* of the last */
};

/* A loop and a log; then the test opens u->be, and user_open() its channel. */
void user_init(struct disk_user *u);
void user_open(struct disk_user *u, unsigned int depth);
/* The channel and the backend, then the loop. */
void user_close(struct disk_user *u);
void user_release(struct disk_user *u);

/* Whether `text` is in the log. */
bool user_logged(const struct disk_user *u, const char *text);

/* One buffer; NULL for requests without data. Submits, and does not kick. */
void user_submit(struct disk_user *u, struct user_request *q, enum blk_op op, uint64_t off,
		 void *buf, uint64_t len);
/* With q->r and q->iov as the caller made them. */
void user_submit_as_is(struct disk_user *u, struct user_request *q);
/* Kicks, and turns the loop until nothing is in flight. */
void user_wait(struct disk_user *u);
/* All three for one request. Returns what it was done with. */
int user_do(struct disk_user *u, enum blk_op op, uint64_t off, void *buf, uint64_t len);

/*
 * Random I/O: `rounds` batches of up to 32 requests that do not overlap, of every kind, their buffers cut
 * anywhere. `model` has the disk's bytes before and after. `zeroing`: discarded blocks read as zeros.
 */
struct user_chaos {
	unsigned int seed, rounds;
	uint64_t max_len; /* bytes of a request */
	bool zeroing;
};

void user_chaos(struct disk_user *u, uint8_t *model, const struct user_chaos *c);
/* The whole disk is as the model says. */
void user_compare(struct disk_user *u, const uint8_t *model);

unsigned int user_fds(void);              /* open descriptors of this process */
unsigned int user_tasks(void);            /* its threads */
bool user_tasks_at_most(unsigned int nr); /* soon: waits for those that end */

#endif
