/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What ends a VM from outside: signals, the end of the parent process, and the clock.
 *
 * --timeout         for the whole run, restarts included.
 * --boot-timeout    from each start until init (conlog.h).
 * --idle-timeout    no sign of life for so long. A sign of life is a byte on the console, a write to a device's
 *                   register, or a request that a device took from a queue. Reads are none (a clock that is watched by
 *                   another one is read for ever), nor is what only the guest itself knows: a guest that computes without
 *                   a word looks idle, and so does one that spins.
 * halted for good   always: every vCPU was seen stuck (vcpu_poll_stuck()) in two looks in a row; a look is once a second.
 * after a panic     a guest that prints nothing for five seconds is over.
 *
 * A process that was stopped (SIGSTOP) does not count that time as idle.
 */
#ifndef LKVM_WATCH_H
#define LKVM_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include <lkvm/config.h>
#include <lkvm/err.h>
#include <lkvm/loop.h>
#include <lkvm/stop.h>

/* All on the loop, while the VM runs. */
struct watch_ops {
	uint64_t (*console)(void *arg);  /* bytes so far */
	uint64_t (*progress)(void *arg); /* signs of life so far, console included */
	bool (*stuck)(
		void *arg); /* every vCPU was seen stuck when asked the last time; asks anew */
};

struct watch {
	const struct machine_config *cfg;
	struct loop *loop;
	struct stop *stop;
	const struct watch_ops *ops;
	void *arg;

	struct loop_fd signal_fd, parent_fd;
	struct loop_timer timeout, boot, tick, panic;
	struct loop_post init_post, panic_post;

	uint64_t tick_ns;      /* from one look to the next */
	uint64_t looked_ns;    /* the last look */
	uint64_t progress;     /* then */
	uint64_t idle_ns;      /* without a sign of life */
	unsigned int stuck_nr; /* looks in a row that found all vCPUs stuck */
	uint64_t panic_bytes;  /* on the console, at the last look after a panic */
};

/* Watches signals and the parent from now on. The rest begins with watch_start(). */
int watch_init(struct watch *w, const struct machine_config *cfg, struct loop *loop,
	       struct stop *stop, const struct watch_ops *ops, void *arg, struct err *err);
void watch_release(struct watch *w); /* also after a failed watch_init() */

/* The run begins. */
void watch_start(struct watch *w);
/* A VM's vCPUs run; they no longer do, and its objects go. */
void watch_vm_on(struct watch *w);
void watch_vm_off(struct watch *w);

/* Any thread: the guest's init runs; its kernel panicked. */
void watch_init_seen(struct watch *w);
void watch_panicked(struct watch *w);

#endif
