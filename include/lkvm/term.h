/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Puts the user's terminal into raw mode and restores it on every way out.
 *
 * A small guard process holds the saved settings and restores them when lkvm is gone, whatever ended
 * it: a crash or SIGKILL leaves no broken terminal. It exists only while stdin is a terminal. It learns
 * of the end from a socket of which lkvm has the other end, so that descriptor must not reach another
 * process (it is close-on-exec). It is in a session of its own: what kills lkvm's process group spares
 * it. It restores only what is still as term_raw() left it: a shell that came first has its way.
 *
 * Output processing stays as it was, so that lkvm's own lines end where they should.
 */
#ifndef LKVM_TERM_H
#define LKVM_TERM_H

#include <stdbool.h>
#include <sys/types.h>
#include <termios.h>

#include <lkvm/err.h>

struct term {
	int fd;       /* not owned; -1 when nothing was changed */
	int guard_fd; /* our end of the guard's socket */
	pid_t guard;
	struct termios saved, raw;
};

/*
 * Does nothing, and succeeds, when `fd` is not a terminal or lkvm runs in its background, where the
 * terminal is not ours to set. It forks: before threads are started and before guest RAM is mapped,
 * which the guard would share.
 */
int term_raw(struct term *term, int fd, struct err *err);
/* Puts the settings back and ends the guard; waits for it at most a second. Twice is fine. */
void term_restore(struct term *term);

#endif
