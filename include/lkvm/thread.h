/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Starting a thread the way all of lkvm's threads start: every signal blocked from its first
 * instruction, a small stack, a name. Whoever starts one joins it.
 */
#ifndef LKVM_THREAD_H
#define LKVM_THREAD_H

#include <pthread.h>

/* `host_cpu` pins it, -1: it runs where the main thread may, whoever starts it. `name` is cut to 15 bytes. Returns 0 or -errno. */
int thread_start(pthread_t *thread, const char *name, int host_cpu, void *(*fn)(void *), void *arg);

#endif
