/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The descriptors that libslirp asks to be polled, kept in an epoll of their own: each of its rounds names all of them
 * anew, and only what changed is told to the kernel. One thread.
 */
#ifndef LKVM_NET_USER_FDS_H
#define LKVM_NET_USER_FDS_H

#include <stdbool.h>
#include <stdint.h>

struct user_fd {
	uint32_t events;  /* that epoll has it for, 0: it is not in there */
	uint32_t wanted;  /* in this round */
	uint32_t revents; /* that came */
	bool named;       /* it is in `list` */
};

struct user_fds {
	int epoll_fd;
	struct user_fd *fds; /* by number */
	int *list;           /* those that were named; has room for all */
	unsigned int fds_len, nr;
};

/* 0 or -errno. */
int user_fds_init(struct user_fds *f);
void user_fds_release(struct user_fds *f);

/* A round: begin, want for each (EPOLLIN, ...), end. want() may fail with -ENOMEM. */
void user_fds_begin(struct user_fds *f);
int user_fds_want(struct user_fds *f, int fd, uint32_t events);
void user_fds_end(struct user_fds *f);
/* It is about to be closed, or a new one. */
void user_fds_forget(struct user_fds *f, int fd);

/* What came, a few at once, until user_fds_clear(). Never waits. */
void user_fds_poll(struct user_fds *f);
uint32_t user_fds_revents(const struct user_fds *f, int fd);
void user_fds_clear(struct user_fds *f);

#endif
