// SPDX-License-Identifier: GPL-2.0
// LINK: block/open.c block/overlay.c block/fault.c block/fault-plan.c block/raw.c block/step.c block/file.c block/magic.c block/lock.c block/io.c block/iov.c block/pool.c block/uring.c util/loop.c util/log.c util/err.c util/util.c util/thread.c tests/mock/disk-user.c
// LIBS: -Wl,--wrap=open64 -Wl,--wrap=fstat64 -Wl,--wrap=fcntl64 -Wl,--wrap=ftruncate64 -Wl,--wrap=pread64 -Wl,--wrap=preadv64v2 -Wl,--wrap=pwritev64v2 -Wl,--wrap=fallocate64 -Wl,--wrap=fdatasync -Wl,--wrap=calloc -Wl,--wrap=strdup -Wl,--wrap=posix_memalign -Wl,--wrap=mmap64 -Wl,--wrap=pthread_create -Wl,--wrap=dlopen -Wl,--wrap=dlsym -Wl,--wrap=epoll_ctl
/*
 * The n-th call to the host fails, for n = 1, 2, ... until a whole run makes fewer. Whatever happens,
 * each request is done once and nothing is left behind; and where only EINTR happens, all is well.
 */
#include "unit.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <liburing.h>

#include <lkvm/block/open.h>
#include <lkvm/util.h>

#include "../../block/raw.h"
#include "../mock/disk-user.h"

#define SIZE (256 * KIB)

/* Counts down to the call that fails; below 1 nothing does. */
static _Atomic int left;
/* Only calls that can end with this error, which passes, are counted: EINTR or EAGAIN; 0: all calls. */
static int passing;

static bool hit(void)
{
	return atomic_load(&left) > 0 && atomic_fetch_sub(&left, 1) == 1;
}

static bool fails(int error)
{
	if (passing || !hit())
		return false;
	errno = error;
	return true;
}

/* For calls that may be interrupted. */
static bool fails_or_eintr(int error)
{
	if (passing == EAGAIN || !hit())
		return false;
	errno = passing ? passing : error;
	return true;
}

/* And those of requests, which may find that they would block. */
static bool fails_or_passes(int error)
{
	if (!hit())
		return false;
	errno = passing ? passing : error;
	return true;
}

#define WRAP(type, name, args)                                                                     \
	type __real_##name args;                                                                   \
	type __wrap_##name args;                                                                   \
	type __wrap_##name args

WRAP(int, fstat64, (int fd, struct stat64 *st))
{
	return fails(EIO) ? -1 : __real_fstat64(fd, st);
}

WRAP(int, ftruncate64, (int fd, off_t len))
{
	return fails(ENOSPC) ? -1 : __real_ftruncate64(fd, len);
}

WRAP(ssize_t, pread64, (int fd, void *buf, size_t len, off_t off))
{
	return fails_or_eintr(EIO) ? -1 : __real_pread64(fd, buf, len, off);
}

WRAP(ssize_t, preadv64v2, (int fd, const struct iovec *iov, int nr, off_t off, int flags))
{
	return fails_or_passes(EIO) ? -1 : __real_preadv64v2(fd, iov, nr, off, flags);
}

WRAP(ssize_t, pwritev64v2, (int fd, const struct iovec *iov, int nr, off_t off, int flags))
{
	return fails_or_passes(ENOSPC) ? -1 : __real_pwritev64v2(fd, iov, nr, off, flags);
}

WRAP(int, fallocate64, (int fd, int mode, off_t off, off_t len))
{
	return fails_or_passes(ENOSPC) ? -1 : __real_fallocate64(fd, mode, off, len);
}

WRAP(int, fdatasync, (int fd))
{
	return fails_or_eintr(EIO) ? -1 : __real_fdatasync(fd);
}

WRAP(void *, calloc, (size_t nr, size_t size))
{
	return fails(ENOMEM) ? NULL : __real_calloc(nr, size);
}

WRAP(char *, strdup, (const char *s))
{
	return fails(ENOMEM) ? NULL : __real_strdup(s);
}

WRAP(int, posix_memalign, (void **p, size_t align, size_t size))
{
	return fails(ENOMEM) ? ENOMEM : __real_posix_memalign(p, align, size);
}

WRAP(void *, mmap64, (void *addr, size_t len, int prot, int flags, int fd, off_t off))
{
	return fails(ENOMEM) ? MAP_FAILED : __real_mmap64(addr, len, prot, flags, fd, off);
}

WRAP(int, pthread_create,
     (pthread_t * t, const pthread_attr_t *attr, void *(*fn)(void *), void *arg))
{
	return fails(EAGAIN) ? EAGAIN : __real_pthread_create(t, attr, fn, arg);
}

WRAP(int, epoll_ctl, (int ep, int op, int fd, struct epoll_event *ev))
{
	return op == EPOLL_CTL_ADD && fails(ENOMEM) ? -1 : __real_epoll_ctl(ep, op, fd, ev);
}

WRAP(void *, dlopen, (const char *name, int flags))
{
	return fails(ENOENT) ? NULL : __real_dlopen(name, flags);
}

WRAP(int, open64, (const char *path, int flags, ...))
{
	return fails(EMFILE) ? -1 : __real_open64(path, flags, 0600);
}

WRAP(int, fcntl64, (int fd, int cmd, ...))
{
	va_list ap;
	void *arg;

	va_start(ap, cmd);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (cmd == F_OFD_SETLK ? fails_or_eintr(ENOLCK) : fails(EIO))
		return -1;
	return __real_fcntl64(fd, cmd, arg);
}

/* liburing's functions, by their own names where lkvm looks for them. */

static __typeof__(&io_uring_queue_init_params) real_init;
static __typeof__(&io_uring_register_files) real_register;
static __typeof__(&io_uring_submit) real_submit;

static int my_init(unsigned int entries, struct io_uring *ring, struct io_uring_params *p)
{
	return fails(EPERM) ? -EPERM : real_init(entries, ring, p);
}

static int my_register(struct io_uring *ring, const int *fds, unsigned int nr)
{
	return fails(ENOMEM) ? -ENOMEM : real_register(ring, fds, nr);
}

static int my_submit(struct io_uring *ring)
{
	return fails_or_passes(EAGAIN) ? -errno : real_submit(ring);
}

WRAP(void *, dlsym, (void *lib, const char *name))
{
	void *fn = __real_dlsym(lib, name);

	if (fails(ENOENT))
		return NULL;
	if (strcmp(name, "io_uring_queue_init_params") == 0)
		return real_init = (__typeof__(real_init))fn, (void *)my_init;
	if (strcmp(name, "io_uring_register_files") == 0)
		return real_register = (__typeof__(real_register))fn, (void *)my_register;
	if (strcmp(name, "io_uring_submit") == 0)
		return real_submit = (__typeof__(real_submit))fn, (void *)my_submit;
	return fn;
}

/* A run: every kind of request, some at once, unaligned ones, and a cancel in the end. */

static const struct setting {
	bool overlay, direct;
	struct blk_raw_tuning tuning; /* not with an overlay */
	const char *fault;
} settings[] = {
	{ .tuning = { .no_inline = true } },
	{ .tuning = { .threads = true, .no_inline = true } },
	{ .tuning = { .threads = true }, .direct = true },
	{ .direct = true },
	{ .overlay = true, .fault = "flush:nth=1000:errno=EIO" },
};

static char path[] = "/var/tmp/lkvm-test-blk-sweep-XXXXXX";
static struct disk_user u;
static unsigned int bad_requests; /* requests of a run */

static void use_disk(void)
{
	static const enum blk_op ops[] = { BLK_WRITE,        BLK_READ,         BLK_DISCARD,
					   BLK_WRITE_ZEROES, BLK_WRITE_ZEROES, BLK_FLUSH,
					   BLK_READ,         BLK_WRITE };
	enum { NR = 2 * ARRAY_SIZE(ops) };
	static uint8_t bufs[NR][8192 + 1];
	static struct user_request q[NR];

	for (int round = 0; round < 2; round++) {
		for (unsigned int i = 0; i < NR; i++) {
			enum blk_op op = ops[i % ARRAY_SIZE(ops)];
			bool data = op == BLK_READ || op == BLK_WRITE;

			q[i] = (struct user_request){ .r = { .op = op,
							     .unmap = i % 3,
							     .fua = i % 5 == 0,
							     .off = i * 8192,
							     .len = op == BLK_FLUSH ? 0 : 8192 } };
			q[i].iov[0] = (struct iovec){ bufs[i] + i % 2, 8192 };
			q[i].r.iov = q[i].iov;
			q[i].r.iov_nr = data;
			user_submit_as_is(&u, &q[i]);
		}
		if (round)
			u.be->ops->kick(u.ch), u.be->ops->cancel(u.ch);
		user_wait(&u);
		for (unsigned int i = 0; i < NR; i++) {
			ck_assert_uint_eq(q[i].dones, 1);
			bad_requests += q[i].ret != 0 && q[i].ret != -ECANCELED;
		}
	}
}

/* Returns whether the call that fails was reached. `opened`: and the disk could be used. */
static bool run(const struct setting *s, int n, bool *opened)
{
	const struct blk_open_opts o = { .path = path,
					 .direct = s->direct,
					 .overlay = s->overlay,
					 .fault = s->fault,
					 .block_size = 4096 };
	struct err err = ERR_INIT;
	bool reached;
	int ret;

	bad_requests = 0;
	atomic_store(&left, n);
	ret = blk_open(&u.be, &o, &u.log, &err);
	*opened = ret == 0;
	if (ret < 0)
		u.be = NULL;
	else if (!s->overlay)
		blk_raw_tune(u.be, s->tuning);
	if (ret == 0) {
		u.be->ops->info(u.be, &u.info);
		u.ch = u.be->ops->channel_open(u.be, u.loop, 8, &err);
		*opened = u.ch != NULL;
	}
	/* A failure says so, in one sentence. */
	ck_assert(*opened == (err.kind == ERR_NONE));
	ck_assert(*opened == (err.msg[0] == 0));
	if (*opened)
		use_disk();
	reached = atomic_load(&left) <= 0;
	atomic_store(&left, 0);
	user_close(&u);
	return reached;
}

static void sweep(const struct setting *s)
{
	int n, fd = mkstemp(path), failures = 0;
	unsigned int fds, tasks = 0;
	bool opened;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, SIZE), 0);
	close(fd);
	user_init(&u);
	run(s, 0, &opened);
	ck_assert(opened && bad_requests == 0);
	fds = user_fds();
	for (n = 1; run(s, n, &opened); n++) {
		ck_assert_uint_eq(user_fds(), fds);
		failures += !opened || bad_requests > 0;
		if (passing)
			ck_assert_msg(opened && bad_requests == 0, "call %d", n);
		/* io_uring's own threads come and go as the kernel likes. */
		if (s->tuning.threads && n > 1)
			ck_assert(user_tasks_at_most(tasks));
		tasks = user_tasks();
		ck_assert_int_lt(n, 2000);
	}
	ck_assert_int_gt(n, passing ? 3 : 15);
	ck_assert(passing || failures > 5);
	user_release(&u);
	unlink(path);
}

START_TEST(each_call_fails_once)
{
	sweep(&settings[_i]);
}
END_TEST

START_TEST(each_call_is_interrupted_once)
{
	passing = EINTR;
	sweep(&settings[_i]);
}
END_TEST

START_TEST(each_call_would_block_once)
{
	passing = EAGAIN;
	sweep(&settings[_i]);
}
END_TEST

UNIT_SUITE("blk-sweep", {
	int n = ARRAY_SIZE(settings);

	tcase_add_loop_test(tc, each_call_fails_once, 0, n);
	tcase_add_loop_test(tc, each_call_is_interrupted_once, 0, n);
	tcase_add_loop_test(tc, each_call_would_block_once, 0, n);
})
