/* SPDX-License-Identifier: GPL-2.0 */
#include <dlfcn.h>
#include <errno.h>
#include <sys/epoll.h>

#include <liburing.h>

#include <lkvm/util.h>

#include "uring.h"

#define LIBRARY "liburing.so.2"
#define PACKAGE "liburing2"

/* More steps at once gain nothing, and a ring's memory grows with them. */
#define ENTRIES_MAX 256u

/* Where the kernel has no memory to take a step, it is asked again after this. */
#define RETRY_NS 1000000

/* What marks the completion of a cancel: no request has this address. */
#define CANCEL_DATA NULL

/* The rest of liburing is inline functions of its header. */
struct uring_lib {
	void *handle;
	__typeof__(&io_uring_queue_init_params) init;
	__typeof__(&io_uring_queue_exit) exit;
	__typeof__(&io_uring_register_files) register_files;
	__typeof__(&io_uring_unregister_files) unregister_files;
	__typeof__(&io_uring_submit) submit;
};

struct blk_uring {
	struct uring_lib lib;
	struct io_uring ring;
	struct loop *loop;
	struct loop_fd lf; /* the ring itself: readable while there are completions */
	struct loop_timer retry;
	const struct blk_io_user *user;
	void *owner;
	unsigned int entries, inflight; /* inflight: pushed and not reaped */
	bool fixed;                     /* the file is registered as number 0 */
	bool cancelling;                /* a cancel is in flight */
};

static int lib_open(struct uring_lib *lib, struct err *why)
{
	lib->handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	if (!lib->handle)
		return err_host(why, ENOENT, "the Debian package " PACKAGE " is not installed");
#define SYM(fn) ((__typeof__(&fn))dlsym(lib->handle, #fn))
	lib->init = SYM(io_uring_queue_init_params);
	lib->exit = SYM(io_uring_queue_exit);
	lib->register_files = SYM(io_uring_register_files);
	lib->unregister_files = SYM(io_uring_unregister_files);
	lib->submit = SYM(io_uring_submit);
#undef SYM
	if (lib->init && lib->exit && lib->register_files && lib->unregister_files && lib->submit)
		return 0;
	dlclose(lib->handle);
	return err_host(why, ENOSYS, "the installed " PACKAGE " lacks a function");
}

static int ring_init(struct blk_uring *u, unsigned int entries, struct err *why)
{
	struct io_uring_params p = { .flags = IORING_SETUP_COOP_TASKRUN };
	/* Steps without a buffer list, lists that are read when submitted, no lost completion. */
	const uint32_t need = IORING_FEAT_RW_CUR_POS | IORING_FEAT_SUBMIT_STABLE |
			      IORING_FEAT_NODROP;
	int ret = u->lib.init(entries, &u->ring, &p);

	if (ret == -EINVAL) {
		/* Before Linux 5.19 the flag is unknown. */
		p = (struct io_uring_params){ 0 };
		ret = u->lib.init(entries, &u->ring, &p);
	}
	if (ret < 0)
		return err_host(why, -ret, "io_uring_setup is refused");
	if ((p.features & need) == need)
		return 0;
	u->lib.exit(&u->ring);
	return err_host(why, ENOSYS, "this kernel's io_uring is older than Linux 5.6");
}

static void on_ready(struct loop_fd *lf, uint32_t events)
{
	struct blk_uring *u = container_of(lf, struct blk_uring, lf);

	(void)events;
	blk_uring_reap(u);
	u->user->batch_done(u->owner);
}

static void on_retry(struct loop_timer *t)
{
	blk_uring_kick(container_of(t, struct blk_uring, retry));
}

static int watch(struct blk_uring *u, int fd, struct err *why)
{
	int ret;

	u->fixed = u->lib.register_files(&u->ring, &fd, 1) == 0;
	u->lf = (struct loop_fd){ .fd = u->ring.ring_fd, .fn = on_ready, .events = EPOLLIN };
	ret = loop_fd_add(u->loop, &u->lf);
	if (ret == 0)
		return 0;
	u->lib.exit(&u->ring);
	return err_host(why, -ret, "an io_uring cannot be watched");
}

struct blk_uring *blk_uring_new(struct loop *loop, const struct blk_io_user *user, void *owner,
				int fd, unsigned int depth, struct err *why)
{
	struct blk_uring *u = calloc(1, sizeof(*u));

	if (!u) {
		err_host(why, ENOMEM, "no memory for an io_uring");
		return NULL;
	}
	u->loop = loop;
	u->user = user;
	u->owner = owner;
	u->retry.fn = on_retry;
	u->entries = MAX(1u, MIN(depth, ENTRIES_MAX));
	if (lib_open(&u->lib, why) < 0)
		goto fail;
	if (ring_init(u, u->entries, why) < 0 || watch(u, fd, why) < 0) {
		dlclose(u->lib.handle);
		goto fail;
	}
	return u;
fail:
	free(u);
	return NULL;
}

void blk_uring_free(struct blk_uring *u)
{
	if (!u)
		return;
	loop_timer_cancel(u->loop, &u->retry);
	loop_fd_del(u->loop, &u->lf);
	/* The kernel takes a ring apart later; the file, and what it keeps others from, must go now. */
	if (u->fixed)
		u->lib.unregister_files(&u->ring);
	u->lib.exit(&u->ring);
	dlclose(u->lib.handle);
	free(u);
}

/* A copy of more bytes would keep others on the loop waiting. */
#define ASYNC_MIN MIB

/* From a step to a submission entry. */
static void prepare(const struct blk_uring *u, struct io_uring_sqe *sqe, const struct blk_io *io)
{
	const struct iovec *iov = io->iov;
	int fd = u->fixed ? 0 : io->fd;

	switch (io->kind) {
	case BLK_IO_READ:
		/* One buffer needs no list, which the kernel would have to copy. */
		if (io->iov_nr == 1)
			io_uring_prep_read(sqe, fd, iov->iov_base,
					   (unsigned int)MIN(iov->iov_len, GIB), io->off);
		else
			io_uring_prep_readv(sqe, fd, iov, io->iov_nr, io->off);
		sqe->rw_flags = io->flags;
		break;
	case BLK_IO_WRITE:
		if (io->iov_nr == 1)
			io_uring_prep_write(sqe, fd, iov->iov_base,
					    (unsigned int)MIN(iov->iov_len, GIB), io->off);
		else
			io_uring_prep_writev(sqe, fd, iov, io->iov_nr, io->off);
		sqe->rw_flags = io->flags;
		break;
	case BLK_IO_SYNC:
		io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
		break;
	case BLK_IO_FALLOCATE:
		io_uring_prep_fallocate(sqe, fd, io->flags, (off_t)io->off, (off_t)io->len);
		break;
	case BLK_IO_DISCARD: /* blk_uring_push() took none */
		break;
	}
	/* What the page cache has is copied by whoever submits, unless a kernel thread is asked to. */
	if ((io->kind == BLK_IO_READ || io->kind == BLK_IO_WRITE) && io->len > ASYNC_MIN)
		sqe->flags |= IOSQE_ASYNC;
	if (u->fixed)
		sqe->flags |= IOSQE_FIXED_FILE;
}

bool blk_uring_has_room(const struct blk_uring *u)
{
	return u->inflight < u->entries;
}

bool blk_uring_push(struct blk_uring *u, struct blk_request *r)
{
	struct io_uring_sqe *sqe;
	struct blk_io io;

	if (!blk_uring_has_room(u))
		return false;
	u->user->describe(r, &io);
	if (io.kind == BLK_IO_DISCARD)
		return false;
	sqe = io_uring_get_sqe(&u->ring);
	if (!sqe)
		return false;
	prepare(u, sqe, &io);
	io_uring_sqe_set_data(sqe, r);
	u->inflight++;
	return true;
}

void blk_uring_kick(struct blk_uring *u)
{
	/* A step that is refused ends a submission; what stands behind it takes another one. */
	while (io_uring_sq_ready(&u->ring) > 0) {
		int ret = u->lib.submit(&u->ring);

		if (ret > 0 || ret == -EINTR)
			continue;
		/* No memory now, or completions to be taken first. */
		loop_timer_set(u->loop, &u->retry, util_now_ns() + RETRY_NS);
		return;
	}
}

/* The results are copied before the first callback, which may push and kick. */
void blk_uring_reap(struct blk_uring *u)
{
	struct blk_list done = { 0 };
	struct blk_request *r;
	struct io_uring_cqe *cqe;
	unsigned int head, nr = 0;

	io_uring_for_each_cqe(&u->ring, head, cqe)
	{
		nr++;
		r = io_uring_cqe_get_data(cqe);
		if (r == CANCEL_DATA) {
			u->cancelling = false;
			continue;
		}
		r->res = cqe->res;
		blk_list_add(&done, r);
		u->inflight--;
	}
	io_uring_cq_advance(&u->ring, nr);
	while ((r = blk_list_take(&done)))
		u->user->step_done(r);
}

void blk_uring_cancel(struct blk_uring *u)
{
	struct io_uring_sqe *sqe;

	if (u->inflight == 0 || u->cancelling)
		return;
	blk_uring_kick(u);
	sqe = io_uring_get_sqe(&u->ring);
	if (!sqe)
		return;
	/* Linux 5.19; before, it ends with -EINVAL and the steps take their time. */
	io_uring_prep_cancel(sqe, NULL, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
	io_uring_sqe_set_data(sqe, CANCEL_DATA);
	u->cancelling = true;
	blk_uring_kick(u);
}
