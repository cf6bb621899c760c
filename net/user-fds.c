/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <lkvm/util.h>

#include "user-fds.h"

#define FDS_FIRST 64
/* The others are told in the next turn. */
#define BATCH 64

int user_fds_init(struct user_fds *f)
{
	*f = (struct user_fds){ .epoll_fd = epoll_create1(EPOLL_CLOEXEC) };
	return f->epoll_fd < 0 ? -errno : 0;
}

void user_fds_release(struct user_fds *f)
{
	if (f->epoll_fd >= 0)
		close(f->epoll_fd);
	free(f->fds);
	free(f->list);
}

static int grow(struct user_fds *f, unsigned int len)
{
	unsigned int new_len = f->fds_len ?: FDS_FIRST;

	while (new_len < len)
		new_len *= 2;
	int *list = reallocarray(f->list, new_len, sizeof(*list));
	if (!list)
		return -ENOMEM;
	f->list = list;
	struct user_fd *fds = reallocarray(f->fds, new_len, sizeof(*fds));
	if (!fds)
		return -ENOMEM;
	memset(fds + f->fds_len, 0, (new_len - f->fds_len) * sizeof(*fds));
	f->fds = fds;
	f->fds_len = new_len;
	return 0;
}

static struct user_fd *find(const struct user_fds *f, int fd)
{
	return fd >= 0 && (unsigned int)fd < f->fds_len ? &f->fds[fd] : NULL;
}

/* --- a round --- */

void user_fds_begin(struct user_fds *f)
{
	for (unsigned int i = 0; i < f->nr; i++)
		f->fds[f->list[i]].wanted = 0;
}

int user_fds_want(struct user_fds *f, int fd, uint32_t events)
{
	if (fd < 0)
		return -EBADF;
	if (!find(f, fd) && grow(f, (unsigned int)fd + 1))
		return -ENOMEM;
	struct user_fd *p = &f->fds[fd];
	if (!p->named)
		f->list[f->nr++] = fd;
	p->named = true;
	p->wanted |= events;
	return 0;
}

static void tell(const struct user_fds *f, int fd, struct user_fd *p)
{
	struct epoll_event ev = { .events = p->wanted, .data.fd = fd };
	int op = !p->events ? EPOLL_CTL_ADD : p->wanted ? EPOLL_CTL_MOD : EPOLL_CTL_DEL;
	int ret = epoll_ctl(f->epoll_fd, op, fd, &ev);

	/* A descriptor that was closed has left by itself, and its number may be a new one's. */
	if (ret < 0 && op == EPOLL_CTL_MOD && errno == ENOENT)
		ret = epoll_ctl(f->epoll_fd, EPOLL_CTL_ADD, fd, &ev);
	p->events = ret < 0 ? 0 : p->wanted;
}

void user_fds_end(struct user_fds *f)
{
	for (unsigned int i = f->nr; i-- > 0;) {
		int fd = f->list[i];
		struct user_fd *p = &f->fds[fd];

		if (p->wanted != p->events)
			tell(f, fd, p);
		if (p->wanted)
			continue;
		*p = (struct user_fd){ 0 };
		f->list[i] = f->list[--f->nr];
	}
}

void user_fds_forget(struct user_fds *f, int fd)
{
	struct user_fd *p = find(f, fd);

	if (!p || !p->events)
		return;
	epoll_ctl(f->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
	p->events = p->revents = 0;
}

/* --- what came --- */

void user_fds_poll(struct user_fds *f)
{
	struct epoll_event ev[BATCH];
	int nr = epoll_wait(f->epoll_fd, ev, BATCH, 0);

	for (int i = 0; i < nr; i++)
		f->fds[ev[i].data.fd].revents = ev[i].events;
}

uint32_t user_fds_revents(const struct user_fds *f, int fd)
{
	const struct user_fd *p = find(f, fd);

	return p ? p->revents : 0;
}

void user_fds_clear(struct user_fds *f)
{
	for (unsigned int i = 0; i < f->nr; i++)
		f->fds[f->list[i]].revents = 0;
}
