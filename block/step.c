/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <limits.h>
#include <linux/falloc.h>
#include <sys/uio.h>

#include <lkvm/util.h>

#include "iov.h"
#include "step.h"

static bool is_write(const struct blk_request *r)
{
	return r->op == BLK_WRITE || r->op == BLK_WRITE_ZEROES || r->op == BLK_DISCARD;
}

uint64_t blk_step_rest(const struct blk_request *r)
{
	return r->len - r->progress;
}

/* Steps as system calls. */

void blk_step_describe(const struct blk_file *f, struct blk_request *r, struct blk_io *io)
{
	*io = (struct blk_io){ .fd = f->fd, .off = r->off, .len = r->len };
	switch (r->step & ~BLK_STEP_BLOCKS) {
	case BLK_STEP_TRANSFER:
	case BLK_STEP_ZERO_WRITE:
		io->kind = r->op == BLK_READ ? BLK_IO_READ : BLK_IO_WRITE;
		/* Zeros are made stable by a step of its own. */
		io->flags = r->op == BLK_WRITE && r->fua ? RWF_DSYNC : 0;
		io->off += r->progress;
		io->len = blk_step_rest(r);
		io->iov = r->one.iov_base ? &r->one : r->iov;
		io->iov_nr = r->one.iov_base ? 1 : MIN(r->iov_nr, (unsigned int)IOV_MAX);
		break;
	case BLK_STEP_SYNC:
		io->kind = BLK_IO_SYNC;
		break;
	case BLK_STEP_DISCARD:
		io->kind = f->device ? BLK_IO_DISCARD : BLK_IO_FALLOCATE;
		io->flags = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
		break;
	case BLK_STEP_PUNCH:
		io->kind = BLK_IO_FALLOCATE;
		io->flags = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
		break;
	case BLK_STEP_ZERO_RANGE:
		io->kind = BLK_IO_FALLOCATE;
		io->flags = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
		break;
	}
}

/* The first step of a request, or what it is done with at once. */
int blk_step_first(const struct blk_file *f, struct blk_request *r)
{
	if (is_write(r) && f->readonly)
		return -EROFS;
	if (r->op != BLK_FLUSH && r->len == 0)
		return 0;
	switch (r->op) {
	case BLK_READ:
	case BLK_WRITE:
		r->step = BLK_STEP_TRANSFER;
		break;
	case BLK_FLUSH:
		if (f->flush_failed)
			return -EIO;
		r->step = BLK_STEP_SYNC;
		break;
	case BLK_DISCARD:
		if (!f->discard)
			return 0;
		r->step = BLK_STEP_DISCARD;
		break;
	case BLK_WRITE_ZEROES:
		r->step = r->unmap && !f->no_punch ? BLK_STEP_PUNCH
			  : !f->no_zero_range      ? BLK_STEP_ZERO_RANGE
						   : BLK_STEP_ZERO_WRITE;
		break;
	}
	return BLK_STEP_MORE;
}

/* What a step's end means for its request: BLK_STEP_MORE, 0 or -errno. */

static int end_transfer(struct blk_file *f, struct blk_request *r)
{
	if (r->res == -EIO && r->op == BLK_WRITE && r->fua)
		/* It may have been told of an earlier write, which the next flush would not be. */
		f->flush_failed = true;
	if (r->res < 0)
		return (int)r->res;
	/* A read that ends here met the end of a file that was truncated under us. */
	if (r->res == 0)
		return -EIO;
	if (r->step == BLK_STEP_TRANSFER) {
		struct blk_iov v = { r->iov, r->iov_nr };

		if (r->bounce && r->op == BLK_READ)
			blk_iov_write(v, r->bounce, (uint64_t)r->res);
		blk_iov_advance(&v, (uint64_t)r->res);
		r->iov = v.iov;
		r->iov_nr = v.nr;
	}
	r->progress += (uint64_t)r->res;
	if (blk_step_rest(r) > 0)
		return BLK_STEP_MORE;
	if (r->step == BLK_STEP_ZERO_WRITE && r->fua) {
		r->step = BLK_STEP_SYNC;
		return BLK_STEP_MORE;
	}
	return 0;
}

static int end_sync(struct blk_file *f, const struct blk_request *r)
{
	if (r->res == 0)
		return 0;
	/* The kernel tells a failed write-back once; a flush that follows would say that all is well. */
	if (!atomic_exchange(&f->flush_failed, true))
		log_error(f->log,
			  "disk %s: the host failed to make writes stable (%s); from now on each "
			  "flush fails",
			  f->path, strerrordesc_np((int)-r->res));
	return (int)r->res;
}

static bool unsupported(int64_t res)
{
	/* EINVAL: a device whose sectors are larger than the disk's blocks. */
	return res == -EOPNOTSUPP || res == -ENOSYS || res == -ENOTTY || res == -EINVAL;
}

static int end_range(struct blk_file *f, struct blk_request *r)
{
	if (!unsupported(r->res) || r->step == BLK_STEP_DISCARD) {
		/* A discard is a hint, which a device need not take. */
		if (r->res < 0 && !unsupported(r->res))
			return (int)r->res;
		r->step = BLK_STEP_SYNC;
		return r->fua ? BLK_STEP_MORE : 0;
	}
	if (r->step == BLK_STEP_PUNCH) {
		f->no_punch |= r->res == -EOPNOTSUPP;
		r->step = f->no_zero_range ? BLK_STEP_ZERO_WRITE : BLK_STEP_ZERO_RANGE;
	} else {
		f->no_zero_range |= r->res == -EOPNOTSUPP;
		r->step = BLK_STEP_ZERO_WRITE;
	}
	return BLK_STEP_MORE;
}

int blk_step_end(struct blk_file *f, struct blk_request *r)
{
	/* Not again when a thread was told so: it could not be started. */
	bool blocked = r->res == -EAGAIN && !(r->step & BLK_STEP_BLOCKS);

	r->step &= ~BLK_STEP_BLOCKS;
	if (r->res == -EINTR || blocked) {
		r->step |= blocked ? BLK_STEP_BLOCKS : 0;
		return BLK_STEP_MORE;
	}
	if (r->step == BLK_STEP_TRANSFER || r->step == BLK_STEP_ZERO_WRITE)
		return end_transfer(f, r);
	/* A cancel is no failure of the host's. */
	if (r->step == BLK_STEP_SYNC)
		return r->res == -ECANCELED ? -ECANCELED : end_sync(f, r);
	return end_range(f, r);
}
