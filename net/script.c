/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <lkvm/util.h>

#include "script.h"

#define SCRIPT_MS 30000

/* With no signal blocked: ours are. Returns 0 or an errno. */
static int spawn(pid_t *pid, const char *path, const char *ifname)
{
	char *const argv[] = { (char *)path, (char *)ifname, NULL };
	posix_spawnattr_t attr;
	sigset_t none;

	sigemptyset(&none);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
	int ret = posix_spawn(pid, path, NULL, &attr, argv, environ);
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

int net_script_run(const char *option, const char *path, const char *ifname, struct err *err)
{
	pid_t pid;
	int status, ret = spawn(&pid, path, ifname);

	if (ret)
		return err_usage(err, "%s=%s: cannot be run: %s", option, path, strerror(ret));
	if (!wait_for(pid, &status))
		return err_host(err, ETIMEDOUT, "%s=%s: did not end within %u s", option, path,
				SCRIPT_MS / 1000);
	if (WIFSIGNALED(status))
		return err_host(err, 0, "%s=%s: was ended by signal %d", option, path,
				WTERMSIG(status));
	if (WEXITSTATUS(status))
		return err_host(err, 0, "%s=%s: ended with status %d", option, path,
				WEXITSTATUS(status));
	return 0;
}
