/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Poller threads: named loops, each with a thread of its own that serves queues and nothing else.
 *
 * Whoever makes the set owns it and calls everything here. A loop is used as its header says: sources may be
 * added freely until pollers_start(), and then on the loop's thread only.
 */
#ifndef LKVM_POLLER_H
#define LKVM_POLLER_H

#include <lkvm/err.h>
#include <lkvm/loop.h>

struct pollers;

struct pollers *pollers_new(struct err *err);
/* The loop of that name, made when it is the first time. NULL and a sentence. Before pollers_start(). */
struct loop *pollers_get(struct pollers *set, const char *name, struct err *err);
/* Returns when every loop is served. On failure those that were started go on until pollers_stop(). */
int pollers_start(struct pollers *set, struct err *err);
/* Returns when none is served any more. */
void pollers_stop(struct pollers *set);
/* Also stops them. Their sources are gone. */
void pollers_free(struct pollers *set);

#endif
