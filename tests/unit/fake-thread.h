/* SPDX-License-Identifier: GPL-2.0 */
/* thread_start() in the place of util/thread.c: it starts threads, and refuses one when the test says so. */
#ifndef LKVM_TESTS_FAKE_THREAD_H
#define LKVM_TESTS_FAKE_THREAD_H

#include <errno.h>
#include <stdio.h>

#include <lkvm/thread.h>

static unsigned int threads_started; /* since the test began */
static unsigned int threads_refuse;  /* the n-th from 1, 0: none */
static char threads_names[64][16];

int thread_start(pthread_t *thread, const char *name, int host_cpu, void *(*fn)(void *), void *arg)
{
	(void)host_cpu;
	if (threads_started + 1 == threads_refuse)
		return -EAGAIN;
	snprintf(threads_names[threads_started++ % 64], sizeof(threads_names[0]), "%s", name);
	return -pthread_create(thread, NULL, fn, arg);
}

#endif
