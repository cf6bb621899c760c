/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <lkvm/gmem.h>
#include <lkvm/util.h>

/* 2 MiB: a huge page of the guest must be one of the host's, so both addresses share this alignment. */
#define HUGE_LEN (2 * MIB)

/* Reserves `len` bytes of address space that start on a huge page. */
static void *reserve_aligned(uint64_t len)
{
	if (len > SIZE_MAX - HUGE_LEN)
		return MAP_FAILED;
	uint8_t *p = mmap(NULL, len + HUGE_LEN, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return p;

	size_t head = align_up((uintptr_t)p, HUGE_LEN) - (uintptr_t)p;
	if (head)
		munmap(p, head);
	munmap(p + head + len, HUGE_LEN - head);
	return p + head;
}

/* A memfd that can never shrink under a mapping: another holder cannot cause a SIGBUS here. */
static int shared_fd(uint64_t len)
{
	int fd = memfd_create("lkvm-ram", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, len) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) {
		int ret = -errno;
		close(fd);
		return ret;
	}
	return fd;
}

#define HUGETLBFS_MAGIC 0x958458f6 /* linux/magic.h */

static int hugetlbfs_fd(const char *dir, uint64_t len, struct err *err)
{
	struct statfs fs;

	if (statfs(dir, &fs))
		return err_host(err, errno, "--hugetlbfs %s", dir);
	if (fs.f_type != HUGETLBFS_MAGIC)
		return err_usage(err, "--hugetlbfs %s is not on a hugetlbfs mount", dir);
	if (len % (uint64_t)fs.f_bsize)
		return err_usage(err,
				 "--mem must be a multiple of the %lld KiB pages of --hugetlbfs %s",
				 (long long)fs.f_bsize / 1024, dir);

	/* O_TMPFILE has no name, so nothing is left behind however lkvm ends. */
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_host(err, errno, "--hugetlbfs %s: cannot make a file there", dir);
	if (ftruncate(fd, len)) {
		int errnum = errno;
		close(fd);
		return err_host(err, errnum, "--hugetlbfs %s: cannot get %llu MiB", dir,
				(unsigned long long)(len / MIB));
	}
	return fd;
}

static int backing_fd(const struct gmem_backing *backing, uint64_t len, struct err *err)
{
	if (backing->hugetlbfs)
		return hugetlbfs_fd(backing->hugetlbfs, len, err);

	int fd = shared_fd(len);
	if (fd < 0)
		return err_host(err, -fd, "--mem-shared: cannot make a memfd of %llu MiB",
				(unsigned long long)(len / MIB));
	return fd;
}

static int map_fd(void *at, uint64_t len, const struct gmem_backing *backing, struct err *err)
{
	int fd = backing_fd(backing, len, err);
	if (fd < 0)
		return fd;

	/*
	 * Huge pages are reserved here (no MAP_NORESERVE): running out later would be a SIGBUS in the
	 * middle of a run instead of an error now.
	 */
	int flags = MAP_SHARED | MAP_FIXED | (backing->hugetlbfs ? 0 : MAP_NORESERVE);
	void *p = mmap(at, len, PROT_READ | PROT_WRITE, flags, fd, 0);
	int errnum = errno;
	close(fd);
	if (p == MAP_FAILED)
		return err_host(err, errnum, "cannot map %llu MiB of guest memory (see --mem%s)",
				(unsigned long long)(len / MIB),
				backing->hugetlbfs ? " and /proc/sys/vm/nr_hugepages" : "");
	return 0;
}

static int map_all(struct gmem *gm, uint64_t len, const struct gmem_backing *backing,
		   struct err *err)
{
	void *p = reserve_aligned(len);
	if (p == MAP_FAILED)
		return err_host(err, ENOMEM, "--mem: no address space for %llu MiB of guest memory",
				(unsigned long long)(len / MIB));
	gm->map = p;
	gm->map_len = len;

	int ret = 0;
	if (backing->shared || backing->hugetlbfs)
		ret = map_fd(p, len, backing, err);
	else if (mprotect(p, len, PROT_READ | PROT_WRITE))
		ret = err_host(err, errno, "--mem: cannot map %llu MiB of guest memory",
			       (unsigned long long)(len / MIB));
	if (ret)
		return ret;

	/* Both are only advice: a kernel without huge pages, or of an older kind, runs the guest too. */
	if (backing->hugepages && !backing->hugetlbfs)
		madvise(p, len, MADV_HUGEPAGE);
	madvise(p, len, MADV_DONTDUMP);
	/* A forked child must not keep guest RAM, nor make its pages copy-on-write. */
	madvise(p, len, MADV_DONTFORK);
	return 0;
}

int gmem_init(struct gmem *gm, const struct gmem_region *spans, unsigned int nr,
	      const struct gmem_backing *backing, struct err *err)
{
	uint64_t len = 0, off = 0;

	*gm = (struct gmem){ 0 };
	BUG_ON(nr > GMEM_REGIONS_MAX);
	for (unsigned int i = 0; i < nr; i++) {
		BUG_ON(!spans[i].size ||
		       (i && spans[i].gpa < spans[i - 1].gpa + spans[i - 1].size));
		len += spans[i].size;
	}

	int ret = map_all(gm, len, backing, err);
	if (ret) {
		gmem_release(gm);
		return ret;
	}
	for (unsigned int i = 0; i < nr; i++) {
		gm->regions[i] = spans[i];
		gm->regions[i].host = (uint8_t *)gm->map + off;
		off += spans[i].size;
	}
	gm->regions_nr = nr;
	return 0;
}

void gmem_release(struct gmem *gm)
{
	if (gm->map)
		munmap(gm->map, gm->map_len);
	*gm = (struct gmem){ 0 };
}

uint64_t gmem_size(const struct gmem *gm)
{
	return gm->map_len;
}

/* The host address of `gpa` and how many bytes follow it in its region, at most *len. */
static uint8_t *find(const struct gmem *gm, uint64_t gpa, uint64_t *len)
{
	for (unsigned int i = 0; i < gm->regions_nr; i++) {
		const struct gmem_region *r = &gm->regions[i];

		if (gpa < r->gpa || gpa - r->gpa >= r->size)
			continue;
		*len = MIN(*len, r->size - (gpa - r->gpa));
		return r->host + (gpa - r->gpa);
	}
	return NULL;
}

/* Every byte of the range is RAM. */
static bool covered(const struct gmem *gm, uint64_t gpa, uint64_t len)
{
	while (len) {
		uint64_t n = len;

		if (!find(gm, gpa, &n))
			return false;
		len -= n;
		/* A region that ends at 2^64 leaves nothing to go on to. */
		if (len && gpa > UINT64_MAX - n)
			return false;
		gpa += n;
	}
	return true;
}

/*
 * Bulk data is the one thing that races with the guest by its nature: what is copied out of guest memory
 * is looked at in the copy only. So it alone is not ThreadSanitizer's business.
 */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define __SANITIZE_THREAD__ 1
#endif
#endif
#ifdef __SANITIZE_THREAD__
void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreReadsEnd(const char *file, int line);
void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreWritesEnd(const char *file, int line);
#define RACES_BEGIN()                                                                              \
	(AnnotateIgnoreReadsBegin(__FILE__, __LINE__),                                             \
	 AnnotateIgnoreWritesBegin(__FILE__, __LINE__))
#define RACES_END()                                                                                \
	(AnnotateIgnoreWritesEnd(__FILE__, __LINE__), AnnotateIgnoreReadsEnd(__FILE__, __LINE__))
#else
#define RACES_BEGIN() ((void)0)
#define RACES_END()   ((void)0)
#endif

void gmem_copy(void *to, const void *from, size_t len)
{
	RACES_BEGIN();
	memcpy(to, from, len);
	RACES_END();
}

int gmem_read(const struct gmem *gm, uint64_t gpa, void *buf, size_t len)
{
	uint8_t *to = buf;

	if (!covered(gm, gpa, len))
		return -EFAULT;
	while (len) {
		uint64_t n = len;
		const uint8_t *from = find(gm, gpa, &n);

		gmem_copy(to, from, n);
		to += n;
		gpa += n;
		len -= n;
	}
	return 0;
}

int gmem_write(const struct gmem *gm, uint64_t gpa, const void *buf, size_t len)
{
	const uint8_t *from = buf;

	if (!covered(gm, gpa, len))
		return -EFAULT;
	while (len) {
		uint64_t n = len;
		uint8_t *to = find(gm, gpa, &n);

		gmem_copy(to, from, n);
		from += n;
		gpa += n;
		len -= n;
	}
	return 0;
}

int gmem_zero(const struct gmem *gm, uint64_t gpa, uint64_t len)
{
	if (!covered(gm, gpa, len))
		return -EFAULT;
	while (len) {
		uint64_t n = len;
		uint8_t *to = find(gm, gpa, &n);

		memset(to, 0, n);
		gpa += n;
		len -= n;
	}
	return 0;
}

int gmem_map_parts(const struct gmem *gm, uint64_t gpa, uint64_t len, struct iovec *iov,
		   unsigned int *iov_nr, unsigned int iov_max)
{
	unsigned int nr = *iov_nr;

	if (!covered(gm, gpa, len))
		return -EFAULT;
	while (len) {
		uint64_t n = len;
		uint8_t *host = find(gm, gpa, &n);

		if (nr >= iov_max)
			return -E2BIG;
		iov[nr++] = (struct iovec){ .iov_base = host, .iov_len = n };
		gpa += n;
		len -= n;
	}
	*iov_nr = nr;
	return 0;
}
