/* SPDX-License-Identifier: GPL-2.0 */
// LINK: chr/term.c util/err.c
#include "unit.h"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utmp.h>

#include <lkvm/term.h>

static const int deadly[] = { SIGKILL, SIGSEGV, SIGTERM, SIGHUP };
static int master, slave;
static struct termios before;

static void setup(void)
{
	ck_assert_int_eq(openpty(&master, &slave, NULL, NULL, NULL), 0);
	ck_assert_int_eq(tcgetattr(slave, &before), 0);
	ck_assert_uint_ne(before.c_lflag & (ICANON | ECHO | ISIG), 0);
}

static tcflag_t lflag(void)
{
	struct termios now;

	ck_assert_int_eq(tcgetattr(slave, &now), 0);
	return now.c_lflag;
}

static bool is_raw(void)
{
	return (lflag() & (ICANON | ECHO | ISIG)) == 0;
}

static void assert_restored(void)
{
	struct termios now;

	ck_assert_int_eq(tcgetattr(slave, &now), 0);
	ck_assert_uint_eq(now.c_lflag, before.c_lflag);
	ck_assert_uint_eq(now.c_iflag, before.c_iflag);
	ck_assert_uint_eq(now.c_oflag, before.c_oflag);
	ck_assert_uint_eq(now.c_cflag, before.c_cflag);
	ck_assert_int_eq(memcmp(now.c_cc, before.c_cc, sizeof(now.c_cc)), 0);
}

START_TEST(raw_and_back)
{
	struct err err = ERR_INIT;
	struct termios now;
	struct term term;
	pid_t guard;

	ck_assert_int_eq(term_raw(&term, slave, &err), 0);
	ck_assert(is_raw());
	tcgetattr(slave, &now);
	ck_assert_uint_eq(now.c_oflag, before.c_oflag);
	ck_assert_int_ne(fcntl(term.guard_fd, F_GETFD) & FD_CLOEXEC, 0);
	guard = term.guard;
	ck_assert_int_eq(kill(guard, 0), 0);
	term_restore(&term);
	assert_restored();
	ck_assert_int_eq(term.fd, -1);
	/* The guard is gone and was waited for. */
	ck_assert_int_eq(kill(guard, 0), -1);
	ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
	term_restore(&term);
	assert_restored();
}
END_TEST

START_TEST(not_a_terminal)
{
	struct err err = ERR_INIT;
	struct term term;
	int fd[2];

	ck_assert_int_eq(pipe(fd), 0);
	ck_assert_int_eq(term_raw(&term, fd[0], &err), 0);
	ck_assert_int_eq(term.fd, -1);
	ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
	term_restore(&term);
	ck_assert_int_eq(term_raw(&term, -1, &err), 0);
	ck_assert_int_eq(term.fd, -1);
}
END_TEST

/*
 * Starts a process that makes the terminal raw, in a process group of its own, and says so. It holds
 * the write end of *held open, and so does nobody else but what it left behind.
 */
static pid_t start_raw_process(int *held, pid_t *guard)
{
	int ready[2], hold[2];
	pid_t pid;

	ck_assert_int_eq(pipe(ready), 0);
	ck_assert_int_eq(pipe(hold), 0);
	pid = fork();
	if (pid == 0) {
		struct err err = ERR_INIT;
		struct term term;

		setpgid(0, 0);
		for (size_t i = 0; i < 4; i++)
			signal(deadly[i], SIG_DFL); /* the test's frame has handlers */
		if (term_raw(&term, slave, &err) < 0 ||
		    write(ready[1], &term.guard, sizeof(term.guard)) != sizeof(term.guard))
			_exit(1);
		for (;;)
			pause();
	}
	close(hold[1]);
	*held = hold[0];
	ck_assert_int_eq(read(ready[0], guard, sizeof(*guard)), sizeof(*guard));
	ck_assert(is_raw());
	return pid;
}

/* The guard ends by closing its terminal; we wait for the settings, for there is nothing else to see. */
static void wait_restored(void)
{
	while (is_raw())
		poll(NULL, 0, 1);
	assert_restored();
}

START_TEST(killed)
{
	pid_t guard, pid;
	int held;

	pid = start_raw_process(&held, &guard);
	/* The whole process group, as timeout(1) and a shell do it. */
	ck_assert_int_eq(kill(-pid, deadly[_i]), 0);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	wait_restored();
}
END_TEST

/* A pipe that lkvm was given ends with lkvm, not with the guard. */
START_TEST(guard_holds_no_descriptor)
{
	pid_t guard, pid;
	int held;
	char c;

	pid = start_raw_process(&held, &guard);
	/* A guard that is stopped cannot end: a copy of its own would keep the pipe open. */
	ck_assert_int_eq(kill(guard, SIGSTOP), 0);
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	ck_assert_int_eq(read(held, &c, 1), 0);
	ck_assert(is_raw());
	ck_assert_int_eq(kill(guard, SIGCONT), 0);
	wait_restored();
}
END_TEST

/* A shell that set the terminal before the guard came has its way, whichever setting it was. */
START_TEST(guard_does_not_undo_others)
{
	struct termios shell, now;
	struct err err = ERR_INIT;
	struct term term;

	ck_assert_int_eq(term_raw(&term, slave, &err), 0);
	shell = term.raw;
	*(_i == 0   ? &shell.c_lflag
	  : _i == 1 ? &shell.c_iflag
		    : &shell.c_oflag) ^= _i == 0   ? ECHO
					 : _i == 1 ? ICRNL
						   : OPOST;
	tcsetattr(slave, TCSANOW, &shell);
	/* The end of the socket without the word, as a crash leaves it. */
	close(term.guard_fd);
	ck_assert_int_eq(waitpid(term.guard, NULL, 0), term.guard);
	tcgetattr(slave, &now);
	ck_assert_uint_eq(now.c_lflag, shell.c_lflag);
	ck_assert_uint_eq(now.c_iflag, shell.c_iflag);
	ck_assert_uint_eq(now.c_oflag, shell.c_oflag);
}
END_TEST

START_TEST(guard_was_killed)
{
	struct err err = ERR_INIT;
	struct term term;

	ck_assert_int_eq(term_raw(&term, slave, &err), 0);
	ck_assert_int_eq(kill(term.guard, SIGKILL), 0);
	term_restore(&term);
	assert_restored();
	ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
}
END_TEST

/* In the background of a terminal's session: the shell's settings stay. */
START_TEST(background_is_left_alone)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		struct err err = ERR_INIT;
		struct term term;
		pid_t child;

		/* This one is the shell; its child gets a process group that is not in front. */
		if (login_tty(slave) < 0)
			_exit(2);
		child = fork();
		if (child == 0) {
			setpgid(0, 0);
			_exit(term_raw(&term, 0, &err) == 0 && term.fd == -1 ? 0 : 3);
		}
		if (waitpid(child, &status, WUNTRACED) != child || !WIFEXITED(status))
			_exit(4);
		_exit(WEXITSTATUS(status));
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}
END_TEST

UNIT_SUITE("term", {
	tcase_add_checked_fixture(tc, setup, NULL);
	tcase_add_test(tc, raw_and_back);
	tcase_add_test(tc, not_a_terminal);
	tcase_add_loop_test(tc, killed, 0, 4);
	tcase_add_test(tc, guard_holds_no_descriptor);
	tcase_add_loop_test(tc, guard_does_not_undo_others, 0, 3);
	tcase_add_test(tc, guard_was_killed);
	tcase_add_test(tc, background_is_left_alone);
})
