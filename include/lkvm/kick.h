/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A timer that takes its thread out of a long system call, by a signal that is blocked outside of it: none is lost before
 * the call, and none ends the process. KVM_RUN opens it (KVM_SET_SIGNAL_MASK) with kick_mask().
 *
 * Storage is the caller's. One thread: the one that is to be kicked.
 */
#ifndef LKVM_KICK_H
#define LKVM_KICK_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include <lkvm/err.h>

#define KICK_SIGNAL (SIGRTMIN)

struct kick {
	timer_t timer;
	bool made;
	sigset_t saved; /* the thread's signals before */
};

/* kick_release() also undoes a kick_init() that failed. */
int kick_init(struct kick *k, struct err *err);
void kick_release(struct kick *k);

/* From now on the call ends with EINTR after `ns`; kick_cancel() takes that back. */
void kick_after(struct kick *k, uint64_t ns);
void kick_cancel(struct kick *k);

/* The kernel's set of signals that are blocked during the call: those that were, but for KICK_SIGNAL. */
uint64_t kick_mask(const struct kick *k);

#endif
