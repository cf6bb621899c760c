/* SPDX-License-Identifier: GPL-2.0 */
/*
 * An event loop: file descriptors, timers and posted calls, served by one thread.
 *
 * The thread that calls loop_run() owns the loop. Only loop_post() and loop_stop() may be called from
 * other threads; everything else is for the owner, or for any thread while no one runs the loop.
 * Callbacks run on the owner; they may add and remove sources, also their own. No callback may block.
 */
#ifndef LKVM_LOOP_H
#define LKVM_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include <lkvm/err.h>

struct loop;

struct loop *loop_new(struct err *err);
/* Not while it runs. Posted calls that were not run yet are run first; sources must be gone. */
void loop_free(struct loop *loop);

/* Serves events until loop_stop(). Returns 0, or -errno when epoll itself fails. */
int loop_run(struct loop *loop);
/*
 * Any thread. loop_run() returns after the callbacks that are already due; when nobody is in it, the
 * next one does. Several stops before it returns count as one.
 */
void loop_stop(struct loop *loop);

/*
 * A descriptor to watch. The caller owns the storage and the descriptor, and both outlive the watch.
 * `events` are EPOLLIN, EPOLLOUT, ...; the callback gets what happened. After loop_fd_del() returns
 * the callback is not called again.
 */
struct loop_fd {
	int fd;
	void (*fn)(struct loop_fd *lf, uint32_t events);
	uint32_t events;
	bool added;
};

int loop_fd_add(struct loop *loop, struct loop_fd *lf);
int loop_fd_mod(struct loop *loop, struct loop_fd *lf, uint32_t events);
void loop_fd_del(struct loop *loop, struct loop_fd *lf);

/*
 * A one-shot timer in the caller's storage; the callback may arm it again. Timers fire in the order of
 * their deadlines, never early, up to a millisecond late.
 */
struct loop_timer {
	void (*fn)(struct loop_timer *t);
	uint64_t deadline_ns; /* CLOCK_MONOTONIC */
	struct loop_timer *next;
	bool armed;
};

/* Arms or re-arms; `deadline_ns` as util_now_ns() counts. */
void loop_timer_set(struct loop *loop, struct loop_timer *t, uint64_t deadline_ns);
void loop_timer_cancel(struct loop *loop, struct loop_timer *t);

/*
 * Any thread: `fn(arg)` runs once on the owner, in the order of posting. The caller owns `post`, which
 * must stay until it ran; posting one that is still queued does nothing, so it serves as a level.
 */
struct loop_post {
	void (*fn)(struct loop_post *p);
	struct loop_post *next;
	bool queued; /* under the loop's lock */
};

void loop_post(struct loop *loop, struct loop_post *p);
/* For the owner of `post`, by the loop's rule for threads: when it is queued, it no longer is. */
void loop_post_cancel(struct loop *loop, struct loop_post *p);

/*
 * For the owner: `fn` runs once when the events and posts of this turn are served, before the loop waits; so
 * what many callbacks of a turn ask for is done once, without a system call. The caller owns the storage; `fn`
 * does not defer again. What is deferred while nobody runs the loop waits for the next loop_run().
 */
struct loop_defer {
	void (*fn)(struct loop_defer *d);
	struct loop_defer *next;
	bool queued;
};

void loop_defer(struct loop *loop, struct loop_defer *d);
void loop_defer_cancel(struct loop *loop, struct loop_defer *d);

/*
 * Any thread but the owner's: runs `fn(arg)` on the owner and returns when it has; a call that found the
 * loop running is served before loop_run() returns. While nobody is in loop_run() it runs here and now:
 * the caller sees to it that nobody enters meanwhile. Never with a lock held that a callback takes.
 */
void loop_call(struct loop *loop, void (*fn)(void *arg), void *arg);

#endif
