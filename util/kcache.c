/* SPDX-License-Identifier: GPL-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <lkvm/kcache.h>
#include <lkvm/util.h>

/* Small enough to stay in the processor's cache between the copy and the hash. */
#define CHUNK         (256 * KIB)

#define TRAILER_MAGIC "lkvmkern"
/* Raised when an entry of the same image would look different. */
#define TRAILER_VERSION 2

/* The last bytes of an entry. In the host's byte order: an entry never leaves the host. */
struct trailer {
	char magic[8];
	uint32_t version;
	uint32_t zero;
	uint8_t key[16];
	uint64_t size; /* of the kernel, which ends where the trailer starts */
	uint64_t data_sum;
	uint64_t sum; /* of the trailer up to here */
};

#define ENTRY_SUFFIX   ".vmlinux"
#define ENTRY_NAME_LEN (32 + sizeof(ENTRY_SUFFIX))
#define TMP_PREFIX     ".new-"
#define INDEX_AGE_MAX  (30 * 24 * 3600) /* seconds; it is made anew when it is missed */
#define USE_STEP       (24 * 3600)      /* seconds */
#define TMP_AGE_MAX    600              /* seconds: no writer that lives takes so long */

static void entry_name(const struct kcache_key *key, char name[ENTRY_NAME_LEN])
{
	for (unsigned int i = 0; i < sizeof(key->hash); i++)
		snprintf(name + 2 * i, 3, "%02x", key->hash[i]);
	memcpy(name + 32, ENTRY_SUFFIX, sizeof(ENTRY_SUFFIX));
}

static bool is_entry(const char *name)
{
	return strlen(name) == ENTRY_NAME_LEN - 1 && strspn(name, "0123456789abcdef") == 32 &&
	       strcmp(name + 32, ENTRY_SUFFIX) == 0;
}

static bool is_index(const char *name)
{
	return strlen(name) == 16 + strlen(".index") && strspn(name, "0123456789abcdef") == 16 &&
	       strcmp(name + 16, ".index") == 0;
}

static uint64_t trailer_sum(const struct trailer *t)
{
	return XXH3_64bits(t, offsetof(struct trailer, sum));
}

/* Chunks are chained through the seed: no state has to be kept between them. */
static uint64_t sum_add(uint64_t sum, const void *buf, size_t len)
{
	return XXH3_64bits_withSeed(buf, len, sum);
}

int kcache_key(const struct src *image, struct kcache_key *key, struct err *err)
{
	const uint32_t version = TRAILER_VERSION;
	XXH3_state_t state;
	XXH128_canonical_t hash;
	uint8_t *buf = malloc(CHUNK);
	uint64_t off = 0;
	int ret = 0;

	if (!buf)
		return err_host(err, ENOMEM, "cannot read %s %s", image->what, image->name);
	XXH3_128bits_reset(&state);
	XXH3_128bits_update(&state, &version, sizeof(version));
	while (off < image->size && ret == 0) {
		size_t n = MIN(CHUNK, image->size - off);

		ret = src_read(image, off, buf, n, err);
		if (ret == 0)
			XXH3_128bits_update(&state, buf, n);
		off += n;
	}
	free(buf);
	XXH128_canonicalFromHash(&hash, XXH3_128bits_digest(&state));
	memcpy(key->hash, hash.digest, sizeof(key->hash));
	return ret;
}

/* Opens the directory, which nobody else may write to. Returns a descriptor or -errno. */
static int open_dir(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat st;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0 || st.st_uid != geteuid() || (st.st_mode & (S_IWGRP | S_IWOTH))) {
		close(fd);
		return -EPERM;
	}
	return fd;
}

/* Makes the directory and those above it that are missing. */
static int make_dir(const char *dir)
{
	char *path = strdup(dir);
	int ret = 0;

	if (!path)
		return -ENOMEM;
	for (char *p = path + 1; ret == 0; p++) {
		char c = *p;

		if (c != '/' && c != '\0')
			continue;
		*p = '\0';
		if (mkdir(path, 0700) < 0 && errno != EEXIST)
			ret = -errno;
		*p = c;
		if (c == '\0')
			break;
	}
	free(path);
	return ret;
}

/* The trailer of an entry's file, checked; afterwards the source ends where the kernel does. */
static int read_trailer(struct kcache_entry *e, const struct kcache_key *key)
{
	struct err err = ERR_INIT;
	struct trailer t;

	if (e->src.size <= sizeof(t) ||
	    src_read(&e->src, e->src.size - sizeof(t), &t, sizeof(t), &err) < 0)
		return -EBADMSG;
	if (memcmp(t.magic, TRAILER_MAGIC, sizeof(t.magic)) != 0 || t.version != TRAILER_VERSION ||
	    memcmp(t.key, key->hash, sizeof(t.key)) != 0 || t.sum != trailer_sum(&t) ||
	    t.size != e->src.size - sizeof(t))
		return -EBADMSG;
	e->src.size = t.size;
	e->want = t.data_sum;
	return 0;
}

static int open_entry(struct kcache_entry *e, int dir_fd, const char *name)
{
	struct stat st;
	int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	if (fd < 0)
		return -errno;
	e->src.fd = fd;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return -EBADMSG;
	e->src.size = (uint64_t)st.st_size;
	/*
	 * The time of its last use decides which entry goes when the cache is full. To the day is
	 * enough, and keeps the stamp of an entry that is in use (kindex.h).
	 */
	if (st.st_mtime < time(NULL) - USE_STEP)
		(void)futimens(fd, NULL);
	return kstamp_fd(fd, &e->stamp);
}

int kcache_open(struct kcache_entry *e, const char *dir, const struct kcache_key *key)
{
	char name[ENTRY_NAME_LEN];
	int dir_fd = open_dir(dir);
	int ret;

	*e = (struct kcache_entry){
		.src = { .what = "decompressed kernel", .name = dir, .fd = -1 }
	};
	if (dir_fd < 0)
		return dir_fd;
	entry_name(key, name);
	ret = open_entry(e, dir_fd, name);
	if (ret == 0)
		ret = read_trailer(e, key);
	if (ret == -EBADMSG) {
		unlinkat(dir_fd, name, 0);
		ret = -ENOENT;
	}
	close(dir_fd);
	if (ret < 0)
		kcache_close(e);
	return ret;
}

void kcache_close(struct kcache_entry *e)
{
	src_release(&e->src);
}

int kcache_read(struct kcache_entry *e, uint64_t off, void *buf, uint64_t len)
{
	struct err err = ERR_INIT;
	uint8_t *to = buf;

	while (len > 0) {
		size_t n = MIN(CHUNK, len);

		if (src_read(&e->src, off, to, n, &err) < 0)
			return -EBADMSG;
		if (!e->trusted)
			e->sum = sum_add(e->sum, to, n);
		to += n;
		off += n;
		len -= n;
	}
	return 0;
}

int kcache_check(const struct kcache_entry *e)
{
	return e->trusted || e->sum == e->want ? 0 : -EBADMSG;
}

void kcache_trust(struct kcache_entry *e, const struct kstamp *intact)
{
	e->trusted = kstamp_equal(&e->stamp, intact);
}

void kcache_remove(const char *dir, const struct kcache_key *key)
{
	char name[ENTRY_NAME_LEN];
	int dir_fd = open_dir(dir);

	if (dir_fd < 0)
		return;
	entry_name(key, name);
	unlinkat(dir_fd, name, 0);
	close(dir_fd);
}

/* What one look through the directory found. */
struct survey {
	unsigned int entries;
	uint64_t bytes;
	struct timespec oldest_used;
	char oldest[ENTRY_NAME_LEN];
};

static bool older(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec < b->tv_sec || (a->tv_sec == b->tv_sec && a->tv_nsec < b->tv_nsec);
}

static void survey_file(struct survey *s, int dir_fd, const char *name)
{
	struct stat st;

	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return;
	if (strncmp(name, TMP_PREFIX, strlen(TMP_PREFIX)) == 0) {
		if (st.st_mtime < time(NULL) - TMP_AGE_MAX)
			unlinkat(dir_fd, name, 0);
		return;
	}
	/* An index is small, but there is one for every image that ever was. */
	if (is_index(name) && st.st_mtime < time(NULL) - INDEX_AGE_MAX)
		unlinkat(dir_fd, name, 0);
	if (!is_entry(name))
		return;
	if (s->entries == 0 || older(&st.st_mtim, &s->oldest_used)) {
		s->oldest_used = st.st_mtim;
		memcpy(s->oldest, name, sizeof(s->oldest));
	}
	s->entries++;
	s->bytes += (uint64_t)st.st_blocks * 512;
}

static int survey_dir(struct survey *s, int dir_fd)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *de;

	*s = (struct survey){ 0 };
	if (!d) {
		if (fd >= 0)
			close(fd);
		return -EIO;
	}
	while ((de = readdir(d)) != NULL)
		survey_file(s, dir_fd, de->d_name);
	closedir(d);
	return 0;
}

/* Makes room for one more entry of `len` bytes. */
static int evict(int dir_fd, uint64_t len)
{
	struct survey s;

	if (len > KCACHE_BYTES_MAX)
		return -EFBIG;
	for (;;) {
		int ret = survey_dir(&s, dir_fd);

		if (ret < 0)
			return ret;
		if (s.entries < KCACHE_ENTRIES_MAX && s.bytes <= KCACHE_BYTES_MAX - len)
			return 0;
		/* Another process may have removed it first; what cannot be removed ends the loop. */
		if (unlinkat(dir_fd, s.oldest, 0) < 0 && errno != ENOENT)
			return -errno;
	}
}

static int pwrite_all(int fd, const void *buf, size_t len, uint64_t off)
{
	const uint8_t *from = buf;

	while (len > 0) {
		ssize_t n = pwrite(fd, from, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		from += n;
		off += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

/* Writes a range and adds it to the checksum, in the chunks in which kcache_read() will. */
static int write_range(int fd, const uint8_t *data, const struct kcache_range *r, struct trailer *t)
{
	for (uint64_t done = 0; done < r->len;) {
		size_t n = MIN(CHUNK, r->len - done);
		int ret = pwrite_all(fd, data + r->off + done, n, r->off + done);

		if (ret < 0)
			return ret;
		t->data_sum = sum_add(t->data_sum, data + r->off + done, n);
		done += n;
	}
	t->size = MAX(t->size, r->off + r->len);
	return 0;
}

static int write_entry(int fd, const struct kcache_key *key, const uint8_t *data,
		       const struct kcache_range *ranges, unsigned int nr)
{
	struct trailer t = { .magic = TRAILER_MAGIC, .version = TRAILER_VERSION };

	for (unsigned int i = 0; i < nr; i++) {
		int ret = write_range(fd, data, &ranges[i], &t);

		if (ret < 0)
			return ret;
	}
	memcpy(t.key, key->hash, sizeof(t.key));
	t.sum = trailer_sum(&t);
	return pwrite_all(fd, &t, sizeof(t), t.size);
}

static int store_at(int dir_fd, const struct kcache_key *key, const void *data,
		    const struct kcache_range *ranges, unsigned int nr)
{
	char tmp[sizeof(TMP_PREFIX) + 32], name[ENTRY_NAME_LEN];
	int fd, ret;

	/* The thread and the time make it unique; O_EXCL makes sure. */
	snprintf(tmp, sizeof(tmp), TMP_PREFIX "%d-%llx", (int)gettid(),
		 (unsigned long long)util_now_ns());
	entry_name(key, name);
	fd = openat(dir_fd, tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	ret = write_entry(fd, key, data, ranges, nr);
	if (close(fd) < 0 && ret == 0)
		ret = -errno;
	if (ret == 0 && renameat(dir_fd, tmp, dir_fd, name) < 0)
		ret = -errno;
	if (ret < 0)
		unlinkat(dir_fd, tmp, 0);
	return ret;
}

int kcache_store(const char *dir, const struct kcache_key *key, const void *data,
		 const struct kcache_range *ranges, unsigned int nr)
{
	uint64_t len = sizeof(struct trailer);
	int dir_fd, ret = make_dir(dir);

	if (ret < 0)
		return ret;
	dir_fd = open_dir(dir);
	if (dir_fd < 0)
		return dir_fd;
	for (unsigned int i = 0; i < nr; i++)
		len += ranges[i].len;
	ret = evict(dir_fd, len);
	if (ret == 0)
		ret = store_at(dir_fd, key, data, ranges, nr);
	close(dir_fd);
	return ret;
}
