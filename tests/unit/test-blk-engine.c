// SPDX-License-Identifier: GPL-2.0
// LINK: block/raw.c block/step.c block/file.c block/magic.c block/lock.c block/io.c block/iov.c block/pool.c block/uring.c util/loop.c util/log.c util/err.c util/util.c util/thread.c tests/mock/disk-user.c
/* Raw images by each engine: the same tests with io_uring, with threads, and with neither held back. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <lkvm/util.h>

#include "../../block/raw.h"
#include "../mock/disk-user.h"

#define SIZE (4 * MIB)

/* What each test runs with. */
static const struct mode {
	const char *dir;
	struct blk_raw_tuning tuning;
	bool direct;
	uint32_t block_size;
} modes[] = {
	{ "/var/tmp", { .no_inline = true }, false, 512 },
	{ "/var/tmp", { .threads = true, .no_inline = true }, false, 512 },
	{ "/var/tmp", { .no_inline = false }, false, 4096 },
	{ "/var/tmp", { .threads = true }, false, 512 },
	{ "/var/tmp", { .no_inline = true }, true, 4096 },
	{ "/var/tmp", { .threads = true }, true, 4096 },
	{ "/dev/shm", { .no_inline = false }, false, 512 },
	{ "/dev/shm", { .no_inline = true }, false, 512 },
};

static char path[64];
static struct disk_user u;
static const struct mode *mode;

static void make_file(const char *dir, uint64_t size)
{
	int fd;

	snprintf(path, sizeof(path), "%s/lkvm-test-blk-XXXXXX", dir);
	fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, (off_t)size), 0);
	close(fd);
}

static void open_image(void)
{
	struct blk_file_opts o = {
		.path = path,
		.direct = mode->direct,
		.block_size = mode->block_size,
		.log = &u.log,
	};
	struct err err = ERR_INIT;
	int ret = blk_raw_open(&u.be, &o, &err);

	ck_assert_msg(ret == 0, "%s", err.msg);
	blk_raw_tune(u.be, mode->tuning);
	user_open(&u, 64);
}

static void begin(int i, uint64_t size)
{
	mode = &modes[i];
	make_file(mode->dir, size);
	user_init(&u);
	open_image();
}

static void end(void)
{
	user_release(&u);
	unlink(path);
}

START_TEST(random_io_is_as_the_model)
{
	uint8_t *model = calloc(1, SIZE), *file = malloc(SIZE);
	struct user_chaos c = { .rounds = 12, .max_len = 128 * KIB, .zeroing = true };
	FILE *f;

	begin(_i, SIZE);
	for (c.seed = 1; c.seed <= 2; c.seed++)
		user_chaos(&u, model, &c);
	ck_assert_int_eq(user_do(&u, BLK_FLUSH, 0, NULL, 0), 0);
	f = fopen(path, "r");
	ck_assert_uint_eq(fread(file, 1, SIZE, f), SIZE);
	fclose(f);
	ck_assert(memcmp(file, model, SIZE) == 0);
	end();
	free(file);
	free(model);
}
END_TEST

/* More requests than a ring has room for, in one batch. */
START_TEST(more_than_the_depth_wait)
{
	enum { NR = 700 };
	struct user_request *q = calloc(NR, sizeof(*q));
	uint32_t *buf = aligned_alloc(4096, NR * 4096), word;

	begin(_i, SIZE);
	for (uint32_t i = 0; i < NR; i++) {
		buf[i * 1024] = i + 1;
		user_submit(&u, &q[i], BLK_WRITE, i * 4096ull, &buf[i * 1024], 4096);
	}
	user_wait(&u);
	for (uint32_t i = 0; i < NR; i++) {
		ck_assert_uint_eq(q[i].dones, 1);
		ck_assert_int_eq(q[i].ret, 0);
		buf[i * 1024] = 0;
		user_submit(&u, &q[i], BLK_READ, i * 4096ull, &buf[i * 1024], 4096);
	}
	user_wait(&u);
	for (uint32_t i = 0; i < NR; i++) {
		memcpy(&word, &buf[i * 1024], 4);
		ck_assert_uint_eq(word, i + 1);
	}
	end();
	free(buf);
	free(q);
}
END_TEST

/* As many buffers as a request may have, more than a system call takes. */
START_TEST(any_number_of_buffers)
{
	enum { NR = 3000, PIECE = 16 };
	struct iovec *iov = calloc(NR, sizeof(*iov));
	uint8_t *out = malloc(NR * PIECE), *in = calloc(NR, PIECE);
	uint64_t len = align_down(NR * PIECE, 4096);
	struct user_request q = { .r = { .len = len, .iov = iov } };

	begin(_i, SIZE);
	for (unsigned int i = 0; i < len; i++)
		out[i] = (uint8_t)(i * 7);
	for (int pass = 0; pass < 2; pass++) {
		q.r.op = pass ? BLK_READ : BLK_WRITE;
		q.r.iov = iov;
		q.r.iov_nr = (unsigned int)(len / PIECE);
		for (unsigned int i = 0; i < q.r.iov_nr; i++)
			iov[i] = (struct iovec){ (pass ? in : out) + i * PIECE, PIECE };
		user_submit_as_is(&u, &q);
		user_wait(&u);
		ck_assert_int_eq(q.ret, 0);
	}
	ck_assert_mem_eq(in, out, len);
	end();
	free(iov);
	free(out);
	free(in);
}
END_TEST

START_TEST(truncated_under_us)
{
	uint8_t *buf = aligned_alloc(4096, 64 * KIB);

	begin(_i, SIZE);
	ck_assert_int_eq(truncate(path, SIZE / 2 + 4096), 0);
	ck_assert_int_eq(user_do(&u, BLK_READ, SIZE / 2, buf, 4096), 0);
	ck_assert_int_eq(user_do(&u, BLK_READ, SIZE / 2, buf, 64 * KIB), -EIO);
	ck_assert_int_eq(user_do(&u, BLK_READ, SIZE - 4096, buf, 4096), -EIO);
	/* It still works. */
	ck_assert_int_eq(user_do(&u, BLK_READ, 0, buf, 4096), 0);
	end();
	free(buf);
}
END_TEST

static uint64_t blocks(void)
{
	struct stat st;

	ck_assert_int_eq(stat(path, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

START_TEST(discard_frees_and_zeroes_keep)
{
	uint8_t *buf = aligned_alloc(4096, MIB), *zero = calloc(1, MIB);
	struct user_request q;
	uint64_t full;

	begin(_i, SIZE);
	memset(buf, 0x55, MIB);
	for (uint64_t off = 0; off < SIZE; off += MIB)
		ck_assert_int_eq(user_do(&u, BLK_WRITE, off, buf, MIB), 0);
	ck_assert_int_eq(user_do(&u, BLK_FLUSH, 0, NULL, 0), 0);
	full = blocks();
	ck_assert_uint_ge(full, SIZE);

	ck_assert_int_eq(user_do(&u, BLK_WRITE_ZEROES, MIB, NULL, MIB), 0);
	ck_assert_int_eq(user_do(&u, BLK_FLUSH, 0, NULL, 0), 0);
	ck_assert_uint_ge(blocks(), SIZE);
	ck_assert_int_eq(user_do(&u, BLK_READ, MIB, buf, MIB), 0);
	ck_assert_mem_eq(buf, zero, MIB);

	ck_assert(u.info.discard);
	ck_assert_int_eq(user_do(&u, BLK_DISCARD, 0, NULL, MIB), 0);
	ck_assert_uint_le(blocks(), full - MIB + 64 * KIB);
	q = (struct user_request){ .r = { .op = BLK_WRITE_ZEROES, .off = 2 * MIB, .len = MIB } };
	q.r.unmap = q.r.fua = true;
	user_submit_as_is(&u, &q);
	user_wait(&u);
	ck_assert_int_eq(q.ret, 0);
	ck_assert_uint_le(blocks(), full - 2 * MIB + 64 * KIB);
	ck_assert_int_eq(user_do(&u, BLK_READ, 2 * MIB, buf, MIB), 0);
	ck_assert_mem_eq(buf, zero, MIB);
	end();
	free(buf);
	free(zero);
}
END_TEST

/* What is not started is done at once or soon; everything is done once, and the channel works on. */
START_TEST(cancel_with_requests_in_flight)
{
	enum { NR = 300 };
	struct user_request *q = calloc(NR, sizeof(*q));
	uint8_t *buf = aligned_alloc(4096, 64 * KIB);

	begin(_i, SIZE);
	memset(buf, 1, 64 * KIB);
	for (int round = 0; round < 10; round++) {
		for (unsigned int i = 0; i < NR; i++)
			user_submit(&u, &q[i], i % 3 ? BLK_READ : BLK_WRITE, i % 64 * 64 * KIB, buf,
				    64 * KIB);
		/* Before any is started, after some are, and after all could be. */
		if (round % 3 == 1)
			u.be->ops->kick(u.ch);
		if (round % 3 == 2)
			u.be->ops->kick(u.ch), loop_stop(u.loop), loop_run(u.loop);
		u.be->ops->cancel(u.ch);
		user_wait(&u);
		for (unsigned int i = 0; i < NR; i++) {
			ck_assert_uint_eq(q[i].dones, 1);
			ck_assert(q[i].ret == 0 || q[i].ret == -ECANCELED);
			ck_assert(round % 3 || q[i].ret == -ECANCELED);
		}
		ck_assert_int_eq(user_do(&u, BLK_READ, 0, buf, 4096), 0);
	}
	end();
	free(buf);
	free(q);
}
END_TEST

/* A channel that was used leaves nothing behind, nor does one that was not. */
START_TEST(close_leaves_nothing)
{
	unsigned int fds, tasks = 0;
	uint8_t *buf = aligned_alloc(4096, 4096);

	mode = &modes[_i];
	make_file(mode->dir, SIZE);
	user_init(&u);
	fds = user_fds();
	for (int i = 0; i < 6; i++) {
		open_image();
		if (i % 2)
			ck_assert_int_eq(user_do(&u, BLK_READ, 0, buf, 4096), 0);
		user_close(&u);
		ck_assert_uint_eq(user_fds(), fds);
		/* Not earlier: a sanitizer has a thread of its own when there is a first one. */
		if (i == 1)
			tasks = user_tasks();
	}
	/* io_uring's own threads end soon after their ring, which is the kernel's affair. */
	if (mode->tuning.threads)
		ck_assert(user_tasks_at_most(tasks));
	end();
	free(buf);
}
END_TEST

/* done() submits the next one, from inside the kick that served the last. */
struct chain {
	struct blk_request r;
	struct iovec iov;
	void *buf;
	unsigned int left;
};

static void chain_next(struct blk_request *r, int ret)
{
	struct chain *c = container_of(r, struct chain, r);

	ck_assert_int_eq(ret, 0);
	if (--c->left == 0) {
		loop_stop(u.loop);
		return;
	}
	c->iov = (struct iovec){ c->buf, 4096 };
	*r = (struct blk_request){ .op = BLK_READ,
				   .off = c->left % 1000 * 4096ull,
				   .len = 4096,
				   .iov = &c->iov,
				   .iov_nr = 1,
				   .done = chain_next };
	u.be->ops->submit(u.ch, r);
	u.be->ops->kick(u.ch);
}

START_TEST(done_submits_again)
{
	struct chain c[3];

	begin(_i, SIZE);
	for (size_t i = 0; i < ARRAY_SIZE(c); i++) {
		c[i] = (struct chain){ .buf = aligned_alloc(4096, 4096), .left = 2000 };
		chain_next(&c[i].r, 0);
	}
	while (c[0].left + c[1].left + c[2].left > 0)
		ck_assert_int_eq(loop_run(u.loop), 0);
	end();
	for (size_t i = 0; i < ARRAY_SIZE(c); i++)
		free(c[i].buf);
}
END_TEST

/* io_uring_setup ends with `error` in this process, which libcheck forked for one test. */
static void refuse_io_uring(int error)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { ARRAY_SIZE(code), code };

	ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog), 0);
}

START_TEST(threads_where_io_uring_is_refused)
{
	static const int errors[] = { EPERM, ENOSYS, ENOMEM };
	struct user_chaos c = { .seed = 7, .rounds = 10, .max_len = 64 * KIB, .zeroing = true };
	uint8_t *model = calloc(1, SIZE);

	refuse_io_uring(errors[_i]);
	begin(0, SIZE);
	user_chaos(&u, model, &c);
	ck_assert(user_logged(&u, "worker threads instead of io_uring: io_uring_setup is refused"));
	end();
	free(model);
}
END_TEST

START_TEST(nothing_is_said_about_io_uring_that_works)
{
	uint8_t buf[4096];

	begin(0, SIZE);
	ck_assert_int_eq(user_do(&u, BLK_READ, 0, buf, 4096), 0);
	ck_assert(!user_logged(&u, "io_uring"));
	end();
}
END_TEST

UNIT_SUITE("blk-engine", {
	int n = ARRAY_SIZE(modes);

	tcase_add_loop_test(tc, random_io_is_as_the_model, 0, n);
	tcase_add_loop_test(tc, more_than_the_depth_wait, 0, n);
	tcase_add_loop_test(tc, any_number_of_buffers, 0, n);
	tcase_add_loop_test(tc, truncated_under_us, 0, n);
	tcase_add_loop_test(tc, discard_frees_and_zeroes_keep, 0, n);
	tcase_add_loop_test(tc, cancel_with_requests_in_flight, 0, n);
	tcase_add_loop_test(tc, close_leaves_nothing, 0, n);
	tcase_add_loop_test(tc, done_submits_again, 0, n);
	tcase_add_loop_test(tc, threads_where_io_uring_is_refused, 0, 3);
	tcase_add_test(tc, nothing_is_said_about_io_uring_that_works);
})
