/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <lkvm/util.h>

#include "file.h"
#include "lock.h"

/* Direct I/O is aligned to a device's sectors, of which these are the sizes. */
#define SECTOR_MIN 512u
#define SECTOR_MAX 4096u

static int refuse_open(const struct blk_file_opts *o, int errnum, struct err *err)
{
	bool denied = errnum == EACCES || errnum == EPERM || errnum == EROFS;

	if (errnum == EISDIR)
		return err_usage(err, "disk %s is a directory", o->path);
	if (errnum == EBUSY)
		return err_host(err, EBUSY, "disk %s is mounted or otherwise in use", o->path);
	if (errnum == EINVAL && o->direct) {
		err_usage(err, "disk %s: its file system has no direct I/O; leave out direct",
			  o->path);
		return -EINVAL;
	}
	if (denied && !o->ro)
		return err_host(err, errnum,
				"cannot open disk %s for writing (ro or overlay=ephemeral only "
				"read it)",
				o->path);
	return err_host(err, errnum, "cannot open disk %s", o->path);
}

static int open_path(struct blk_file *f, const struct blk_file_opts *o, struct err *err)
{
	/*
	 * O_NONBLOCK: opening a FIFO that nobody writes must not hang. O_EXCL: the kernel refuses to write a
	 * block device that is mounted; it means nothing for a file.
	 */
	int flags = O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
	unsigned int waited_ms = 0;

	flags |= o->ro ? O_RDONLY : O_RDWR | O_EXCL;
	flags |= o->direct ? O_DIRECT : 0;
	do
		f->fd = open(o->path, flags);
	while (f->fd < 0 && errno == EBUSY && blk_lock_wait(&waited_ms));
	if (f->fd < 0)
		return refuse_open(o, errno, err);
	/* Reads that would wait must wait. */
	if (fcntl(f->fd, F_SETFL, o->direct ? O_DIRECT : 0) < 0)
		return err_host(err, errno, "cannot open disk %s", o->path);
	return 0;
}

/* The kind of the file and its size, before it is cut to whole blocks. */
static int measure(struct blk_file *f, struct err *err)
{
	struct stat st;

	if (fstat(f->fd, &st) < 0)
		return err_host(err, errno, "cannot read disk %s", f->path);
	if (S_ISDIR(st.st_mode))
		return err_usage(err, "disk %s is a directory", f->path);
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return err_usage(err, "disk %s is neither a file nor a block device", f->path);
	f->device = S_ISBLK(st.st_mode);
	f->size = (uint64_t)st.st_size;
	if (f->device && ioctl(f->fd, BLKGETSIZE64, &f->size) < 0)
		return err_host(err, errno, "cannot read the size of disk %s", f->path);
	f->discard_align = MAX((uint32_t)st.st_blksize, f->block_size);
	return 0;
}

static int check_size(struct blk_file *f, struct err *err)
{
	uint64_t rest = f->size % f->block_size;

	if (f->size == 0)
		return err_usage(err, "disk %s is empty", f->path);
	if (f->size == rest)
		return err_usage(err, "disk %s is smaller than one block of %u bytes", f->path,
				 f->block_size);
	if (rest)
		log_warn(f->log,
			 "disk %s: its last %llu bytes are no whole block of %u, the guest does "
			 "not see them",
			 f->path, (unsigned long long)rest, f->block_size);
	f->size -= rest;
	return 0;
}

/* Reads the first bytes into `head`, aligned for direct I/O. Returns how many, or -errno. */
static ssize_t read_head(const struct blk_file *f, void *head, size_t len)
{
	ssize_t n;

	do
		n = pread(f->fd, head, len, 0);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/* The smallest read that the kernel takes shows the alignment that it wants. */
static int check_direct(struct blk_file *f, void *head, struct err *err)
{
	ssize_t n = -EINVAL;

	for (uint32_t align = SECTOR_MIN; n == -EINVAL && align <= SECTOR_MAX; align *= 2) {
		/* Not at a multiple of twice as much, so that this alignment is what is tried. */
		n = read_head(f, (char *)head + align, align);
		f->direct_align = align;
	}
	if (n == -EINVAL)
		return err_usage(err, "disk %s: direct I/O on it is impossible; leave out direct",
				 f->path);
	if (n < 0)
		return err_host(err, (int)-n, "cannot read disk %s", f->path);
	if (f->direct_align > f->block_size)
		return err_usage(err,
				 "disk %s: direct I/O on it is in blocks of %u bytes; give "
				 "block-size=4096",
				 f->path, f->direct_align);
	return 0;
}

static int check_head(struct blk_file *f, const struct blk_file_opts *o, struct err *err)
{
	void *head;
	int ret = 0;

	/* As SECTOR_MAX and what check_direct() skips. */
	if (posix_memalign(&head, SECTOR_MAX, 2 * SECTOR_MAX))
		return err_host(err, ENOMEM, "cannot read disk %s", f->path);
	if (o->direct)
		ret = check_direct(f, head, err);
	if (ret == 0 && !o->any_format) {
		ssize_t n = read_head(f, head, SECTOR_MAX);

		ret = n < 0 ? err_host(err, (int)-n, "cannot read disk %s", f->path)
			    : blk_file_check_magic(f->path, head, (uint64_t)n, err);
	}
	free(head);
	return ret;
}

/* A number from the device's queue in sysfs; a partition's is its parent's. 0: unknown. */
static uint64_t queue_value(dev_t dev, const char *name)
{
	static const char *const formats[] = { "/sys/dev/block/%u:%u/queue/%s",
					       "/sys/dev/block/%u:%u/../queue/%s" };
	char path[96], text[32];

	for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
		ssize_t n;
		int fd;

		snprintf(path, sizeof(path), formats[i], major(dev), minor(dev), name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		n = read(fd, text, sizeof(text) - 1);
		close(fd);
		if (n > 0) {
			text[n] = 0;
			return strtoull(text, NULL, 10);
		}
	}
	return 0;
}

/* Whether blocks can be freed, and in which unit. */
static void probe_discard(struct blk_file *f)
{
	struct stat st;
	int ret;

	if (f->readonly)
		return;
	if (f->device) {
		uint64_t unit;

		if (fstat(f->fd, &st) < 0)
			return;
		f->discard = queue_value(st.st_rdev, "discard_max_bytes") > 0;
		unit = queue_value(st.st_rdev, "discard_granularity");
		if (unit > 0 && unit <= UINT32_MAX && unit % f->block_size == 0)
			f->discard_align = (uint32_t)unit;
		return;
	}
	/* Behind the end there is nothing that could be lost. */
	do
		ret = fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				(off_t)align_up(f->size + SECTOR_MAX, SECTOR_MAX), SECTOR_MAX);
	while (ret < 0 && errno == EINTR);
	f->discard = ret == 0;
	f->no_punch = !f->discard;
}

static void probe(struct blk_file *f)
{
	struct statfs fs;

	f->memory = !f->device && fstatfs(f->fd, &fs) == 0 &&
		    (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC);
	probe_discard(f);
}

static int open_checked(struct blk_file *f, const struct blk_file_opts *o, struct err *err)
{
	int ret = open_path(f, o, err);

	if (ret == 0)
		ret = measure(f, err);
	if (ret == 0)
		ret = check_size(f, err);
	/* Locked before it is read: what is read then stays true. */
	if (ret == 0)
		ret = blk_lock(f->fd, f->path, !o->ro, f->log, err);
	if (ret == 0)
		ret = check_head(f, o, err);
	if (ret == 0)
		probe(f);
	return ret;
}

static int file_init(struct blk_file *f, const char *path, uint32_t block_size,
		     const struct log *log, struct err *err)
{
	*f = (struct blk_file){ .fd = -1, .block_size = block_size, .log = log };
	f->path = strdup(path);
	if (!f->path)
		return err_host(err, ENOMEM, "cannot open disk %s", path);
	return 0;
}

int blk_file_open(struct blk_file *f, const struct blk_file_opts *o, struct err *err)
{
	int ret = file_init(f, o->path, o->block_size, o->log, err);

	f->readonly = o->ro;
	if (ret == 0)
		ret = open_checked(f, o, err);
	if (ret < 0)
		blk_file_release(f);
	return ret;
}

/* Where the file system has no files without a name, one loses its name at once. */
static int open_unlinked(const char *dir)
{
	char path[4096];
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
		return fd;
	if (snprintf(path, sizeof(path), "%s/lkvm-overlay-XXXXXX", dir) >= (int)sizeof(path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	fd = mkostemp(path, O_CLOEXEC);
	if (fd >= 0)
		unlink(path);
	return fd;
}

int blk_file_open_temp(struct blk_file *f, uint64_t size, uint32_t block_size,
		       const struct log *log, struct err *err)
{
	const char *dir = getenv("TMPDIR");
	int ret;

	if (!dir || !*dir)
		dir = "/var/tmp";
	ret = file_init(f, dir, block_size, log, err);
	if (ret < 0)
		return ret;
	f->fd = open_unlinked(dir);
	if (f->fd < 0 || ftruncate(f->fd, (off_t)size) < 0) {
		ret = err_host(err, errno,
			       "cannot make the overlay's file of %llu bytes in %s (TMPDIR may "
			       "name another folder)",
			       (unsigned long long)size, dir);
		blk_file_release(f);
		return ret;
	}
	ret = measure(f, err);
	if (ret < 0) {
		blk_file_release(f);
		return ret;
	}
	probe(f);
	return 0;
}

void blk_file_release(struct blk_file *f)
{
	if (f->fd >= 0) {
		blk_unlock(f->fd);
		close(f->fd);
	}
	f->fd = -1;
	free(f->path);
	f->path = NULL;
}
