/* SPDX-License-Identifier: GPL-2.0 */
// LINK: util/thread.c
#include <sched.h>
#include <signal.h>
#include <string.h>

#include <lkvm/thread.h>

#include "unit.h"

struct seen {
	sigset_t mask;
	char name[16];
	cpu_set_t cpus;
};

static void *look(void *arg)
{
	struct seen *s = arg;

	pthread_sigmask(SIG_SETMASK, NULL, &s->mask);
	sched_getaffinity(0, sizeof(s->cpus), &s->cpus);
	return s;
}

START_TEST(signals_are_blocked_in_it_alone)
{
	struct seen s;
	pthread_t t;
	void *ret;
	sigset_t here;

	ck_assert_int_eq(thread_start(&t, "a name of more than fifteen", -1, look, &s), 0);
	ck_assert_int_eq(pthread_join(t, &ret), 0);
	ck_assert_ptr_eq(ret, &s);
	for (int sig = 1; sig < SIGRTMAX; sig++) {
		if (sig != SIGKILL && sig != SIGSTOP && (sig < 32 || sig >= SIGRTMIN))
			ck_assert_int_eq(sigismember(&s.mask, sig), 1);
	}
	pthread_sigmask(SIG_SETMASK, NULL, &here);
	ck_assert_int_eq(sigismember(&here, SIGTERM), 0);
}
END_TEST

START_TEST(it_runs_where_it_was_pinned)
{
	struct seen s;
	pthread_t t;

	ck_assert_int_eq(thread_start(&t, "x", 0, look, &s), 0);
	pthread_join(t, NULL);
	ck_assert_int_eq(CPU_COUNT(&s.cpus), 1);
	ck_assert(CPU_ISSET(0, &s.cpus));
}
END_TEST

static void *start_free_one(void *arg)
{
	pthread_t t;

	ck_assert_int_eq(thread_start(&t, "y", -1, look, arg), 0);
	pthread_join(t, NULL);
	return NULL;
}

START_TEST(a_pinned_starter_does_not_pin)
{
	cpu_set_t here;
	struct seen s;
	pthread_t t;

	sched_getaffinity(0, sizeof(here), &here);
	ck_assert_int_eq(thread_start(&t, "x", 0, start_free_one, &s), 0);
	pthread_join(t, NULL);
	ck_assert(CPU_EQUAL(&s.cpus, &here));
}
END_TEST

START_TEST(a_cpu_that_is_not_there)
{
	struct seen s;
	pthread_t t;

	ck_assert_int_lt(thread_start(&t, "x", 8191, look, &s), 0);
}
END_TEST

UNIT_SUITE("thread", {
	tcase_add_test(tc, signals_are_blocked_in_it_alone);
	tcase_add_test(tc, it_runs_where_it_was_pinned);
	tcase_add_test(tc, a_pinned_starter_does_not_pin);
	tcase_add_test(tc, a_cpu_that_is_not_there);
})
