/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "io.h"

static int64_t call(const struct blk_io *io)
{
	uint64_t range[2] = { io->off, io->len };

	switch (io->kind) {
	case BLK_IO_READ:
		return preadv2(io->fd, io->iov, (int)io->iov_nr, (off_t)io->off, io->flags);
	case BLK_IO_WRITE:
		return pwritev2(io->fd, io->iov, (int)io->iov_nr, (off_t)io->off, io->flags);
	case BLK_IO_SYNC:
		return fdatasync(io->fd);
	case BLK_IO_FALLOCATE:
		return fallocate(io->fd, io->flags, (off_t)io->off, (off_t)io->len);
	case BLK_IO_DISCARD:
		return ioctl(io->fd, BLKDISCARD, range);
	}
	errno = ENOSYS;
	return -1;
}

int64_t blk_io_run(const struct blk_io *io)
{
	int64_t ret;

	do
		ret = call(io);
	while (ret < 0 && errno == EINTR);
	return ret < 0 ? -errno : ret;
}
