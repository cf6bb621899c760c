/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <lkvm/kindex.h>

#define MAGIC   "lkvmindx"
#define VERSION 1

/* The file; in the host's byte order, since it never leaves the host. No padding. */
struct record {
	char magic[8];
	uint64_t version;
	struct kindex ix;
	uint64_t sum; /* of what is before it */
};

static uint64_t to_ns(const struct timespec *t)
{
	return (uint64_t)t->tv_sec * NSEC_PER_SEC + (uint64_t)t->tv_nsec;
}

int kstamp_fd(int fd, struct kstamp *stamp)
{
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	*stamp = (struct kstamp){
		.dev = st.st_dev,
		.ino = st.st_ino,
		.size = (uint64_t)st.st_size,
		.mtime_ns = to_ns(&st.st_mtim),
		.ctime_ns = to_ns(&st.st_ctim),
	};
	return 0;
}

bool kstamp_equal(const struct kstamp *a, const struct kstamp *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
	       a->mtime_ns == b->mtime_ns && a->ctime_ns == b->ctime_ns;
}

uint64_t kindex_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return to_ns(&t);
}

/* One file an image, whatever becomes of its content. */
static int record_path(const char *dir, const struct kstamp *image, char *path, size_t len)
{
	uint64_t id[2] = { image->dev, image->ino };
	int n = snprintf(path, len, "%s/%016llx.index", dir,
			 (unsigned long long)XXH3_64bits(id, sizeof(id)));

	return n > 0 && (size_t)n < len ? 0 : -ENAMETOOLONG;
}

static uint64_t record_sum(const struct record *r)
{
	return XXH3_64bits(r, offsetof(struct record, sum));
}

/* A file of somebody else's must not say what an image is. */
static int read_record(const char *path, struct record *r)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct stat st;

	if (fd < 0)
		return -ENOENT;
	bool mine = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() &&
		    !(st.st_mode & (S_IWGRP | S_IWOTH));
	ssize_t n = mine ? read(fd, r, sizeof(*r)) : -1;
	close(fd);
	return n == sizeof(*r) ? 0 : -ENOENT;
}

int kindex_load(const char *dir, const struct kstamp *image, struct kindex *ix)
{
	char path[4096];
	struct record r;

	if (record_path(dir, image, path, sizeof(path)) || read_record(path, &r))
		return -ENOENT;
	if (memcmp(r.magic, MAGIC, sizeof(r.magic)) || r.version != VERSION ||
	    r.sum != record_sum(&r) || !kstamp_equal(&r.ix.image, image))
		return -ENOENT;
	*ix = r.ix;
	return 0;
}

static bool settled(const struct kstamp *s, uint64_t read_ns)
{
	return read_ns > KINDEX_SETTLE_NS && s->ctime_ns < read_ns - KINDEX_SETTLE_NS;
}

void kindex_store(const char *dir, const struct kindex *ix)
{
	char path[4096], tmp[4096 + 32];
	struct record r = { .magic = MAGIC, .version = VERSION, .ix = *ix };

	if (!settled(&ix->image, ix->read_ns) || !settled(&ix->entry, ix->read_ns) ||
	    record_path(dir, &ix->image, path, sizeof(path)))
		return;
	r.sum = record_sum(&r);
	/* The cache's own name for what is not finished, so that it clears away what a dead writer left. */
	snprintf(tmp, sizeof(tmp), "%s/.new-%d-%llx", dir, (int)gettid(),
		 (unsigned long long)util_now_ns());
	int fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return;
	int ret = util_write_all(fd, &r, sizeof(r));
	if (close(fd) || ret || rename(tmp, path))
		unlink(tmp);
}
