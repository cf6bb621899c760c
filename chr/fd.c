/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lkvm/chr-fd.h>
#include <lkvm/util.h>

/* An open file of our own for the same pipe or terminal, or -1. */
static int chr_fd_reopen(int fd, int flags)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, flags | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
}

void chr_fd_init(struct chr_fd *cf, int fd, int flags)
{
	struct stat st;
	int own;

	cf->fd = fd;
	cf->kind = CHR_FD_POLL;
	if (fstat(fd, &st) < 0)
		return;
	if (S_ISREG(st.st_mode)) {
		cf->kind = CHR_FD_FILE;
	} else if (S_ISSOCK(st.st_mode)) {
		cf->kind = CHR_FD_SOCKET;
	} else if (S_ISFIFO(st.st_mode) || isatty(fd)) {
		/* Nothing else: opening some devices has effects. */
		own = chr_fd_reopen(fd, flags);
		if (own >= 0) {
			cf->fd = own;
			cf->kind = CHR_FD_OWN;
		}
	}
}

void chr_fd_release(struct chr_fd *cf)
{
	if (cf->kind == CHR_FD_OWN)
		close(cf->fd);
	cf->fd = -1;
}

/* True when the call would block: only asked where the call itself cannot say so. */
static bool chr_fd_would_block(const struct chr_fd *cf, short events)
{
	struct pollfd pfd = { .fd = cf->fd, .events = events };

	return cf->kind == CHR_FD_POLL && poll(&pfd, 1, 0) == 0;
}

ssize_t chr_fd_read(struct chr_fd *cf, void *buf, size_t len)
{
	ssize_t n;

	if (chr_fd_would_block(cf, POLLIN))
		return -EAGAIN;
	do {
		if (cf->kind == CHR_FD_SOCKET)
			n = recv(cf->fd, buf, len, MSG_DONTWAIT);
		else
			n = read(cf->fd, buf, len);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

ssize_t chr_fd_write(struct chr_fd *cf, const void *buf, size_t len)
{
	ssize_t n;

	if (cf->kind == CHR_FD_POLL)
		len = MIN(len, (size_t)PIPE_BUF);
	if (chr_fd_would_block(cf, POLLOUT))
		return -EAGAIN;
	do {
		if (cf->kind == CHR_FD_SOCKET)
			n = send(cf->fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		else
			n = write(cf->fd, buf, len);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}
