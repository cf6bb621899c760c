/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A descriptor of the user's, read and written without blocking and without touching its flags.
 *
 * O_NONBLOCK belongs to the open file, which lkvm shares with the shell and with whatever else runs
 * there, so it is never set. Instead a pipe or a terminal is opened a second time through /proc, which
 * gives an open file of our own; a socket is asked per call. Where neither works (no /proc, no permission
 * on a terminal of another user) calls are made when poll(2) says that they do not block, and writes are
 * at most PIPE_BUF long, which is what poll promises for a pipe. Regular files count as never blocking.
 *
 * Threads: one at a time. Callers have SIGPIPE blocked.
 */
#ifndef LKVM_CHR_FD_H
#define LKVM_CHR_FD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum chr_fd_kind {
	CHR_FD_FILE,   /* a regular file: poll and epoll say nothing about it */
	CHR_FD_SOCKET, /* non-blocking per call */
	CHR_FD_OWN,    /* opened again, non-blocking */
	CHR_FD_POLL,   /* shared and blocking: look before the call */
};

struct chr_fd {
	int fd; /* what to watch with poll and epoll */
	enum chr_fd_kind kind;
};

/* `flags` is O_RDONLY or O_WRONLY. `fd` stays the caller's and outlives `cf`. Cannot fail. */
void chr_fd_init(struct chr_fd *cf, int fd, int flags);
void chr_fd_release(struct chr_fd *cf);

/* Bytes done, 0 for end of file (read), or -errno; -EAGAIN: wait with poll or epoll. EINTR is retried. */
ssize_t chr_fd_read(struct chr_fd *cf, void *buf, size_t len);
ssize_t chr_fd_write(struct chr_fd *cf, const void *buf, size_t len);

#endif
