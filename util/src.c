/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lkvm/src.h>
#include <lkvm/util.h>

/* The size of a regular file, or an error for anything else. */
static int src_size(struct src *src, struct err *err)
{
	struct stat st;

	if (fstat(src->fd, &st) < 0)
		return err_host(err, errno, "cannot read %s %s", src->what, src->name);
	if (S_ISDIR(st.st_mode))
		return err_usage(err, "%s %s is a directory", src->what, src->name);
	if (!S_ISREG(st.st_mode))
		return err_usage(err, "%s %s is not a regular file", src->what, src->name);
	src->size = (uint64_t)st.st_size;
	return 0;
}

static int open_any(struct src *src, const char *what, const char *path, struct err *err)
{
	int ret;

	*src = (struct src){ .name = path, .what = what };
	/* O_NONBLOCK: opening a FIFO that nobody writes must not hang. */
	src->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (src->fd < 0)
		return err_host(err, errno, "cannot open %s %s", what, path);

	ret = src_size(src, err);
	if (ret < 0)
		src_release(src);
	return ret;
}

int src_open(struct src *src, const char *what, const char *path, struct err *err)
{
	int ret = open_any(src, what, path, err);

	if (!ret && !src->size) {
		ret = err_usage(err, "%s %s is empty", what, path);
		src_release(src);
	}
	return ret;
}

void src_init_mem(struct src *src, const char *what, const char *name, const void *mem, size_t len)
{
	*src = (struct src){ .name = name, .what = what, .fd = -1, .mem = mem, .size = len };
}

void src_release(struct src *src)
{
	if (src->fd >= 0)
		close(src->fd);
	src->fd = -1;
	src->mem = NULL;
	src->size = 0;
}

static int src_short(const struct src *src, uint64_t off, size_t len, struct err *err)
{
	return err_usage(err, "%s %s is cut short: %zu bytes at offset %llu lie beyond its end",
			 src->what, src->name, len, (unsigned long long)off);
}

int src_read(const struct src *src, uint64_t off, void *buf, size_t len, struct err *err)
{
	uint8_t *to = buf;

	if (!range_ok(off, len, src->size))
		return src_short(src, off, len, err);
	if (src->mem) {
		memcpy(to, src->mem + off, len);
		return 0;
	}
	while (len > 0) {
		ssize_t n = pread(src->fd, to, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_host(err, errno, "cannot read %s %s", src->what, src->name);
		/* The file shrank since it was opened. */
		if (n == 0)
			return src_short(src, off, len, err);
		to += n;
		off += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

int src_read_file(const char *what, const char *path, uint64_t max, uint8_t **data, size_t *len,
		  struct err *err)
{
	struct src src;

	*data = NULL;
	*len = 0;
	int ret = open_any(&src, what, path, err);
	if (ret)
		return ret;
	if (src.size > max)
		ret = err_usage(err,
				"%s %s is too large: %llu bytes, and at most %llu are possible",
				what, path, (unsigned long long)src.size, (unsigned long long)max);
	if (!ret && !(*data = malloc(src.size + 1)))
		ret = err_host(err, ENOMEM, "cannot read %s %s", what, path);
	if (!ret)
		ret = src_read(&src, 0, *data, src.size, err);
	if (ret) {
		free(*data);
		*data = NULL;
	} else {
		*len = src.size;
	}
	src_release(&src);
	return ret;
}
