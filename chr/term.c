/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <lkvm/term.h>
#include <lkvm/util.h>

#define GUARD_WAIT_MS 1000
#define GUARD_FDS     1024 /* closed one by one where close_range(2) is missing (before Linux 5.9) */

/* Puts the settings back, unless somebody else (a shell) has changed them since. */
static void term_put_back(int fd, const struct term *term)
{
	struct termios now;

	if (tcgetattr(fd, &now) == 0 && now.c_lflag == term->raw.c_lflag &&
	    now.c_iflag == term->raw.c_iflag && now.c_oflag == term->raw.c_oflag)
		tcsetattr(fd, TCSANOW, &term->saved);
}

/* The guard process. */

/* An open descriptor is a reader that waits for its end of file: the guard keeps the two it needs. */
static void guard_close_fds(void)
{
	if (syscall(SYS_close_range, 2u, ~0u, 0u) == 0)
		return;
	for (int fd = 2; fd < GUARD_FDS; fd++)
		close(fd);
}

/* True when lkvm is gone without having put the settings back; a byte says that it did. */
static bool guard_wait(int fd)
{
	ssize_t n;
	char c;

	do
		n = read(fd, &c, 1);
	while (n < 0 && errno == EINTR);
	return n <= 0;
}

/* Every signal is blocked since before the fork, SIGTTOU among them. Only async-signal-safe calls. */
static void __attribute__((noreturn)) guard_main(const struct term *term, int sock)
{
	/* To places that close_range() leaves alone; by way of high ones, for either may be 0 or 1. */
	int tty = fcntl(term->fd, F_DUPFD, 3);
	int wait_fd = fcntl(sock, F_DUPFD, 3);

	if (tty < 0 || wait_fd < 0 || dup2(tty, 0) < 0 || dup2(wait_fd, 1) < 0)
		_exit(1);
	guard_close_fds();
	setsid();
	prctl(PR_SET_NAME, "lkvm-term");
	if (write(1, "g", 1) != 1)
		_exit(1);
	if (guard_wait(1))
		term_put_back(0, term);
	_exit(0);
}

/* Waits until the guard is out of reach of what kills us, and ready. */
static int guard_wait_ready(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	char c;

	if (poll(&pfd, 1, GUARD_WAIT_MS) != 1)
		return -ETIMEDOUT;
	return read(fd, &c, 1) == 1 ? 0 : -ECHILD;
}

static int guard_start(struct term *term)
{
	sigset_t all, old;
	int sock[2], ret;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock) < 0)
		return -errno;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &old);
	term->guard = fork();
	ret = term->guard < 0 ? -errno : 0;
	if (term->guard == 0)
		guard_main(term, sock[1]);
	sigprocmask(SIG_SETMASK, &old, NULL);
	close(sock[1]);
	if (ret == 0)
		ret = guard_wait_ready(sock[0]);
	if (ret < 0)
		close(sock[0]);
	else
		term->guard_fd = sock[0];
	return ret;
}

/* Ends the guard; its end closes when it exits. */
static void guard_stop(struct term *term)
{
	struct pollfd pfd = { .fd = term->guard_fd, .events = POLLIN };
	bool ended;

	/* MSG_NOSIGNAL: the guard may have been killed. */
	(void)!send(term->guard_fd, "r", 1, MSG_NOSIGNAL);
	ended = poll(&pfd, 1, GUARD_WAIT_MS) == 1;
	close(term->guard_fd);
	term->guard_fd = -1;
	/* One that somebody stopped is left to init rather than waited for. */
	if (ended)
		waitpid(term->guard, NULL, 0);
}

/* The terminal. */

static bool term_in_background(int fd)
{
	pid_t foreground = tcgetpgrp(fd);

	/* No foreground group: not our controlling terminal, so no job control. */
	return foreground > 0 && foreground != getpgrp();
}

int term_raw(struct term *term, int fd, struct err *err)
{
	int ret;

	*term = (struct term){ .fd = -1, .guard_fd = -1, .guard = -1 };
	if (!isatty(fd) || term_in_background(fd))
		return 0;
	if (tcgetattr(fd, &term->saved) < 0)
		return err_host(err, errno, "cannot read the settings of the terminal");
	term->raw = term->saved;
	cfmakeraw(&term->raw);
	term->raw.c_oflag = term->saved.c_oflag;

	/* The guard first: there is no moment in which nobody would restore. */
	term->fd = fd;
	ret = guard_start(term);
	if (ret < 0) {
		term->fd = -1;
		return err_host(err, -ret, "cannot start the process that guards the terminal");
	}
	if (tcsetattr(fd, TCSANOW, &term->raw) < 0) {
		ret = err_host(err, errno, "cannot put the terminal into raw mode");
		term_restore(term);
	}
	return ret;
}

void term_restore(struct term *term)
{
	sigset_t ttou, old;

	if (term->fd < 0)
		return;
	/* lkvm may be in the background by now; SIGTTOU would stop it here. */
	sigemptyset(&ttou);
	sigaddset(&ttou, SIGTTOU);
	pthread_sigmask(SIG_BLOCK, &ttou, &old);
	term_put_back(term->fd, term);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	term->fd = -1;
	guard_stop(term);
}
