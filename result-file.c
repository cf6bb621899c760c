/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lkvm/result-file.h>
#include <lkvm/util.h>

static int open_fd(struct result_file *f, const char *number, struct err *err)
{
	char *end;

	errno = 0;
	unsigned long fd = strtoul(number, &end, 10);
	if (*number < '0' || *number > '9' || *end || errno || fd > INT_MAX)
		return err_usage(err, "option %s: \"fd:%s\" has no descriptor's number", f->option,
				 number);
	int flags = fcntl((int)fd, F_GETFL);
	if (flags < 0)
		return err_host(err, errno, "%s fd:%lu", f->option, fd);
	if ((flags & O_ACCMODE) == O_RDONLY)
		return err_host(err, EBADF, "%s fd:%lu is open for reading only", f->option, fd);
	/* A program that lkvm starts must not keep the reader waiting for the end. */
	fcntl((int)fd, F_SETFD, FD_CLOEXEC);
	f->fd = (int)fd;
	return 0;
}

/* A file beside the result's, open for writing; its name is put into `tmp`. */
static int make_beside(const char *path, char **tmp)
{
	if (asprintf(tmp, "%s.XXXXXX", path) < 0) {
		*tmp = NULL;
		return -ENOMEM;
	}
	int fd = mkostemp(*tmp, O_CLOEXEC);
	if (fd >= 0)
		return fd;
	fd = -errno;
	free(*tmp);
	*tmp = NULL;
	return fd;
}

static int open_regular(struct result_file *f, const char *path, bool exists, struct err *err)
{
	char *tmp;
	int fd = make_beside(path, &tmp);

	if (fd < 0)
		return err_host(err, -fd, "cannot write %s %s", f->option, path);
	unlink(tmp);
	close(fd);
	free(tmp);
	if (exists && unlink(path))
		return err_host(err, errno, "cannot replace %s %s", f->option, path);
	f->path = strdup(path);
	return f->path ? 0 : err_host(err, ENOMEM, "%s %s", f->option, path);
}

int result_file_open(struct result_file *f, const char *option, const char *where, struct err *err)
{
	struct stat st;

	*f = RESULT_FILE_INIT;
	f->option = option;
	if (!strncmp(where, "fd:", 3))
		return open_fd(f, where + 3, err);
	if (!*where)
		return err_usage(err, "option %s: the file has no name", option);
	bool exists = stat(where, &st) == 0;
	if (!exists || S_ISREG(st.st_mode)) {
		/* A link stays one, and what it points to is replaced. */
		char *real = exists ? realpath(where, NULL) : NULL;
		int ret = open_regular(f, real ? real : where, exists, err);

		free(real);
		return ret;
	}
	/* Not blocked by a FIFO that nobody reads. */
	f->fd = open(where, O_WRONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	f->owned = f->fd >= 0;
	return f->owned ? 0 : err_host(err, errno, "cannot write %s %s", option, where);
}

/* In pieces that a pipe with room for any takes without blocking. */
static int write_fd(int fd, const char *text, size_t len)
{
	uint64_t end_ns = util_now_ns() + RESULT_WRITE_MS * (NSEC_PER_SEC / 1000);
	struct pollfd p = { .fd = fd, .events = POLLOUT };

	while (len) {
		uint64_t now = util_now_ns();

		if (now >= end_ns || poll(&p, 1, (int)((end_ns - now) / 1000000) + 1) == 0)
			return -ETIMEDOUT;
		ssize_t n = write(fd, text, MIN(len, (size_t)PIPE_BUF));
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return -errno;
		if (n > 0) {
			text += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

static int write_file(const char *path, int (*fill)(int fd, void *arg), void *arg)
{
	mode_t mask = umask(0);
	char *tmp;
	int fd = make_beside(path, &tmp);

	umask(mask);
	if (fd < 0)
		return fd;
	int ret = fchmod(fd, 0666 & ~mask) ? -errno : fill(fd, arg);
	if (close(fd) && !ret)
		ret = -errno;
	if (!ret && rename(tmp, path))
		ret = -errno;
	if (ret)
		unlink(tmp);
	free(tmp);
	return ret;
}

struct text {
	const char *text;
	size_t len;
};

static int fill_text(int fd, void *arg)
{
	const struct text *t = arg;

	return util_write_all(fd, t->text, t->len);
}

int result_file_fill(struct result_file *f, int (*fill)(int fd, void *arg), void *arg,
		     struct err *err)
{
	int ret = write_file(f->path, fill, arg);

	return ret ? err_host(err, -ret, "cannot write %s %s", f->option, f->path) : 0;
}

int result_file_write(struct result_file *f, const char *text, size_t len, struct err *err)
{
	struct text t = { text, len };

	if (f->path)
		return result_file_fill(f, fill_text, &t, err);
	int ret = write_fd(f->fd, text, len);
	return ret ? err_host(err, -ret, "cannot write %s", f->option) : 0;
}

void result_file_close(struct result_file *f)
{
	free(f->path);
	if (f->owned)
		close(f->fd);
	*f = RESULT_FILE_INIT;
}
