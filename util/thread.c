/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include <lkvm/thread.h>

/* A stack as large as the default gets a huge page, nearly all of it for nothing. */
#define STACK_LEN (256 * 1024)

static int pin(pthread_attr_t *attr, int host_cpu)
{
	cpu_set_t *set = CPU_ALLOC(host_cpu + 1);
	size_t len = CPU_ALLOC_SIZE(host_cpu + 1);

	if (!set)
		return ENOMEM;
	CPU_ZERO_S(len, set);
	CPU_SET_S(host_cpu, len, set);
	int ret = pthread_attr_setaffinity_np(attr, len, set);
	CPU_FREE(set);
	return ret;
}

/* A thread inherits its starter's CPU; the main thread is never pinned. More CPUs than the set has: inherited. */
static void unpin(pthread_attr_t *attr)
{
	cpu_set_t set;

	if (sched_getaffinity(getpid(), sizeof(set), &set) == 0)
		pthread_attr_setaffinity_np(attr, sizeof(set), &set);
}

int thread_start(pthread_t *thread, const char *name, int host_cpu, void *(*fn)(void *), void *arg)
{
	pthread_attr_t attr;
	sigset_t all, old;
	char cut[16];

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_LEN);
	int ret = 0;
	if (host_cpu >= 0)
		ret = pin(&attr, host_cpu);
	else
		unpin(&attr);
	if (!ret) {
		/* A thread inherits the mask. */
		sigfillset(&all);
		pthread_sigmask(SIG_SETMASK, &all, &old);
		ret = pthread_create(thread, &attr, fn, arg);
		pthread_sigmask(SIG_SETMASK, &old, NULL);
	}
	pthread_attr_destroy(&attr);
	if (ret)
		return -ret;
	snprintf(cut, sizeof(cut), "%s", name);
	pthread_setname_np(*thread, cut);
	return 0;
}
