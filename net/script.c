/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <lkvm/util.h>

#include "script.h"

#define SCRIPT_MS 30000

/* With no signal blocked: ours are. Returns 0 or an errno. */
static int spawn(pid_t *pid, const struct net_program *p)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none;

	sigemptyset(&none);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
	posix_spawn_file_actions_init(&actions);
	if (p->fd >= 0)
		posix_spawn_file_actions_adddup2(&actions, p->fd, p->as);
	int ret = (p->search ? posix_spawnp : posix_spawn)(pid, p->argv[0], &actions, &attr,
							   p->argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attr);
	return ret;
}

/* False when it had to be ended. */
static bool wait_for(pid_t pid, int *status)
{
	struct pollfd pfd = { .fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN };
	uint64_t deadline = util_now_ns() + SCRIPT_MS * 1000000ULL;
	bool ended = false;

	while (pfd.fd >= 0 && !ended && util_now_ns() < deadline)
		ended = poll(&pfd, 1, (int)((deadline - util_now_ns()) / 1000000 + 1)) == 1;
	if (!ended)
		kill(pid, SIGKILL);
	if (pfd.fd >= 0)
		close(pfd.fd);
	while (waitpid(pid, status, 0) < 0 && errno == EINTR)
		;
	return ended;
}

int net_program_run(const struct net_program *p, struct err *err)
{
	pid_t pid;
	int status, ret = spawn(&pid, p);

	if (ret) {
		err_usage(err, "%s: cannot be run: %s", p->what, strerror(ret));
		return -ret;
	}
	if (!wait_for(pid, &status))
		return err_host(err, ETIMEDOUT, "%s: did not end within %u s", p->what,
				SCRIPT_MS / 1000);
	if (WIFSIGNALED(status))
		return err_host(err, 0, "%s: was ended by signal %d", p->what, WTERMSIG(status));
	if (WEXITSTATUS(status))
		return err_host(err, 0, "%s: ended with status %d", p->what, WEXITSTATUS(status));
	return 0;
}

int net_script_run(const char *option, const char *path, const char *ifname, struct err *err)
{
	char what[ERR_MSG_LEN / 2];
	char *const argv[] = { (char *)path, (char *)ifname, NULL };

	snprintf(what, sizeof(what), "%s=%s", option, path);
	return net_program_run(&(struct net_program){ .what = what, .argv = argv, .fd = -1 }, err);
}
