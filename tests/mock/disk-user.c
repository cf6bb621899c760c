/* SPDX-License-Identifier: GPL-2.0 */
#include <dirent.h>
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <lkvm/util.h>

#include "disk-user.h"

#define BATCH 32

void user_init(struct disk_user *u)
{
	struct err err = ERR_INIT;

	*u = (struct disk_user){ .log.level = LOG_DEBUG };
	u->log.fd = memfd_create("log", MFD_CLOEXEC);
	u->loop = loop_new(&err);
	ck_assert_ptr_nonnull(u->loop);
}

void user_open(struct disk_user *u, unsigned int depth)
{
	struct err err = ERR_INIT;

	u->be->ops->info(u->be, &u->info);
	u->ch = u->be->ops->channel_open(u->be, u->loop, depth, &err);
	ck_assert_msg(u->ch != NULL, "%s", err.msg);
}

void user_close(struct disk_user *u)
{
	ck_assert_uint_eq(u->inflight, 0);
	if (u->ch)
		u->be->ops->channel_close(u->ch);
	if (u->be)
		u->be->ops->close(u->be);
	u->ch = NULL;
	u->be = NULL;
}

void user_release(struct disk_user *u)
{
	user_close(u);
	loop_free(u->loop);
	close(u->log.fd);
}

bool user_logged(const struct disk_user *u, const char *text)
{
	char buf[8192];
	ssize_t n = pread(u->log.fd, buf, sizeof(buf) - 1, 0);

	ck_assert_int_ge(n, 0);
	buf[n] = 0;
	return strstr(buf, text);
}

static void on_done(struct blk_request *r, int ret)
{
	struct user_request *q = container_of(r, struct user_request, r);

	q->dones++;
	q->ret = ret;
	ck_assert_uint_eq(q->dones, 1);
	if (--q->u->inflight == 0)
		loop_stop(q->u->loop);
}

void user_submit_as_is(struct disk_user *u, struct user_request *q)
{
	q->u = u;
	q->r.done = on_done;
	q->dones = 0;
	u->inflight++;
	u->be->ops->submit(u->ch, &q->r);
}

void user_submit(struct disk_user *u, struct user_request *q, enum blk_op op, uint64_t off,
		 void *buf, uint64_t len)
{
	*q = (struct user_request){ .r = { .op = op, .off = off, .len = len } };
	if (buf) {
		q->iov[0] = (struct iovec){ buf, len };
		q->r.iov = q->iov;
		q->r.iov_nr = 1;
	}
	user_submit_as_is(u, q);
}

void user_wait(struct disk_user *u)
{
	u->be->ops->kick(u->ch);
	while (u->inflight > 0)
		ck_assert_int_eq(loop_run(u->loop), 0);
}

int user_do(struct disk_user *u, enum blk_op op, uint64_t off, void *buf, uint64_t len)
{
	struct user_request q;

	user_submit(u, &q, op, off, buf, len);
	user_wait(u);
	return q.ret;
}

/* Random I/O. */

static uint64_t next(unsigned int *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 8;
}

struct chaos {
	struct disk_user *u;
	uint8_t *model;
	const struct user_chaos *c;
	unsigned int seed;
	struct user_request q[BATCH];
	uint64_t off[BATCH], len[BATCH]; /* as submitted */
	uint8_t *buf[BATCH];    /* from malloc(), so that a sanitizer sees each byte beyond */
	uint8_t *expect[BATCH]; /* of reads: what the model had, else NULL */
};

static bool overlaps(const struct chaos *x, unsigned int nr, uint64_t off, uint64_t len)
{
	for (unsigned int i = 0; i < nr; i++)
		if (off < x->off[i] + x->len[i] && x->off[i] < off + len)
			return true;
	return false;
}

/* Cuts buf[0..len) into pieces of any length, some empty. */
static void cut(struct chaos *x, struct user_request *q, uint8_t *buf, uint64_t len)
{
	unsigned int nr = 0, want = 1 + next(&x->seed) % (USER_IOV - 1);

	while (nr + 1 < want && len > 0) {
		size_t n = next(&x->seed) % (len + 1);

		if (next(&x->seed) % 2)
			n = MIN(len, n & ~(size_t)511);
		q->iov[nr++] = (struct iovec){ buf, n };
		buf += n;
		len -= n;
	}
	q->iov[nr++] = (struct iovec){ buf, len };
	q->r.iov = q->iov;
	q->r.iov_nr = nr;
}

static void begin(struct chaos *x, unsigned int i)
{
	static const enum blk_op ops[] = { BLK_READ,    BLK_READ,         BLK_READ,
					   BLK_WRITE,   BLK_WRITE,        BLK_WRITE,
					   BLK_DISCARD, BLK_WRITE_ZEROES, BLK_FLUSH };
	struct user_request *q = &x->q[i];
	enum blk_op op = ops[next(&x->seed) % ARRAY_SIZE(ops)];
	uint8_t *at = x->model + x->off[i];

	*q = (struct user_request){ .r = { .op = op, .off = x->off[i], .len = x->len[i] } };
	q->r.fua = next(&x->seed) % 16 == 0;
	q->r.unmap = next(&x->seed) % 2;
	x->buf[i] = malloc(x->len[i]);
	x->expect[i] = NULL;
	if (op == BLK_READ) {
		x->expect[i] = malloc(x->len[i]);
		memcpy(x->expect[i], at, x->len[i]);
		cut(x, q, x->buf[i], x->len[i]);
	} else if (op == BLK_WRITE) {
		for (uint64_t k = 0; k < x->len[i]; k++)
			x->buf[i][k] = (uint8_t)next(&x->seed);
		memcpy(at, x->buf[i], x->len[i]);
		cut(x, q, x->buf[i], x->len[i]);
	} else if (op == BLK_WRITE_ZEROES || (op == BLK_DISCARD && x->c->zeroing)) {
		memset(at, 0, x->len[i]);
	} else {
		q->r.len = op == BLK_FLUSH ? 0 : q->r.len;
	}
	user_submit_as_is(x->u, q);
}

static void batch(struct chaos *x)
{
	uint32_t bs = x->u->info.block_size;
	unsigned int nr = 0;

	for (unsigned int want = 1 + next(&x->seed) % BATCH; want > 0; want--) {
		uint64_t len = (1 + next(&x->seed) % (x->c->max_len / bs)) * bs;
		uint64_t off = next(&x->seed) % ((x->u->info.size - len) / bs + 1) * bs;

		if (overlaps(x, nr, off, len))
			continue;
		x->off[nr] = off;
		x->len[nr] = len;
		begin(x, nr++);
	}
	user_wait(x->u);
	for (unsigned int i = 0; i < nr; i++) {
		ck_assert_uint_eq(x->q[i].dones, 1);
		ck_assert_int_eq(x->q[i].ret, 0);
		if (x->expect[i])
			ck_assert_mem_eq(x->buf[i], x->expect[i], x->len[i]);
		free(x->buf[i]);
		free(x->expect[i]);
	}
}

void user_chaos(struct disk_user *u, uint8_t *model, const struct user_chaos *c)
{
	struct chaos x = { .u = u, .model = model, .c = c, .seed = c->seed };

	for (unsigned int i = 0; i < c->rounds; i++)
		batch(&x);
	user_compare(u, model);
}

void user_compare(struct disk_user *u, const uint8_t *model)
{
	uint8_t *buf = malloc(u->info.size);

	ck_assert_int_eq(user_do(u, BLK_READ, 0, buf, u->info.size), 0);
	ck_assert(memcmp(buf, model, u->info.size) == 0);
	free(buf);
}

static unsigned int count(const char *path)
{
	DIR *dir = opendir(path);
	unsigned int nr = 0;

	ck_assert_ptr_nonnull(dir);
	while (readdir(dir))
		nr++;
	closedir(dir);
	return nr;
}

unsigned int user_fds(void)
{
	return count("/proc/self/fd");
}

unsigned int user_tasks(void)
{
	return count("/proc/self/task");
}

bool user_tasks_at_most(unsigned int nr)
{
	static const struct timespec pause = { .tv_nsec = 1000000 };

	/* A thread that was joined may still be on its way out of the kernel. */
	for (unsigned int i = 0; i < 20000; i++) {
		if (user_tasks() <= nr)
			return true;
		nanosleep(&pause, NULL);
	}
	return false;
}
