/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <lkvm/kick.h>
#include <lkvm/util.h>

#define SIGNALS_NR 64

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

static void arm(struct kick *k, uint64_t ns)
{
	struct itimerspec its = {
		.it_value = { (time_t)(ns / NSEC_PER_SEC), (long)(ns % NSEC_PER_SEC) },
	};

	timer_settime(k->timer, 0, &its, NULL);
}

static sigset_t kick_set(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, KICK_SIGNAL);
	return set;
}

/* Takes a kick that came, so that the next call starts without one. */
static void drain(void)
{
	struct timespec zero = { 0, 0 };
	sigset_t set = kick_set();

	while (sigtimedwait(&set, NULL, &zero) > 0)
		;
}

void kick_after(struct kick *k, uint64_t ns)
{
	arm(k, ns);
}

void kick_cancel(struct kick *k)
{
	arm(k, 0);
	drain();
}

int kick_init(struct kick *k, struct err *err)
{
	struct sigevent ev = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = KICK_SIGNAL };
	sigset_t set = kick_set();

	*k = (struct kick){ 0 };
	pthread_sigmask(SIG_BLOCK, &set, &k->saved);
	ev.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
	if (timer_create(CLOCK_MONOTONIC, &ev, &k->timer) < 0)
		return err_host(err, errno, "no timer for the probe");
	k->made = true;
	return 0;
}

void kick_release(struct kick *k)
{
	if (k->made)
		timer_delete(k->timer);
	drain();
	pthread_sigmask(SIG_SETMASK, &k->saved, NULL);
}

uint64_t kick_mask(const struct kick *k)
{
	uint64_t mask = 0;

	for (int sig = 1; sig <= SIGNALS_NR; sig++)
		if (sig != KICK_SIGNAL && sigismember(&k->saved, sig) == 1)
			mask |= UINT64_C(1) << (sig - 1);
	return mask;
}
