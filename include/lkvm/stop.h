/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Why a VM ends.
 *
 * Anything that sees the end of the VM says so here: a device (power-off, reset), a vCPU (triple fault,
 * a KVM error), the user (a signal, Ctrl-A x), the clock. The request that ranks highest wins, whatever
 * the order of arrival, because several are usual for one cause: a panic is followed by a reset. But a
 * console line that the user named ends the run where it stands: what the guest does after it, while its
 * CPUs are being stopped, is ignored.
 * The loop that waits for the end is stopped by the first request that ends the VM.
 */
#ifndef LKVM_STOP_H
#define LKVM_STOP_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct loop;

#define STOP_DETAIL_LEN 256

/* Ascending rank. */
enum stop_reason {
	STOP_NONE,
	STOP_RESET,      /* the guest asked for a reset */
	STOP_POWEROFF,   /* the guest powered off */
	STOP_DEBUG_EXIT, /* a byte was written to the --debug-exit port; `value` is the byte */
	STOP_COMMAND,    /* a command in the guest has ended; `value` is its status */
	STOP_EARLY, /* one of these, but not what was waited for; made of them at the end. `value`: enum stop_early */
	STOP_TIMEOUT,      /* --timeout or --boot-timeout expired */
	STOP_HANG,         /* --idle-timeout expired, or all CPUs sleep for ever */
	STOP_TRIPLE_FAULT, /* KVM_EXIT_SHUTDOWN */
	STOP_UNTIL,        /* a console line that --until waits for */
	STOP_FAIL,         /* a console line that --fail names, or --ktap at the end */
	STOP_SPLAT,        /* a crash that the guest's kernel survived, with --fail-on splat */
	STOP_PANIC,        /* the guest's kernel panicked */
	STOP_USER,         /* Ctrl-A x, `lkvm stop`, the end of the parent process */
	STOP_SIGNAL,       /* `value` is the signal */
	STOP_HOST,         /* the host failed us: memory, a file */
	STOP_KVM,          /* KVM_EXIT_INTERNAL_ERROR, KVM_EXIT_FAIL_ENTRY, a failed ioctl */
};

/* The `value` of STOP_EARLY: what did not come. */
enum stop_early { EARLY_UNTIL, EARLY_COMMAND, EARLY_TESTS };

/* The `value` of STOP_FAIL: what failed. */
enum stop_fail { FAIL_LINE, FAIL_TESTS };

struct stop {
	pthread_mutex_t lock;
	enum stop_reason reason;
	_Atomic bool
		ended; /* by the first stop_request(), not by a note; vCPUs look without the lock */
	uint32_t value;
	char detail[STOP_DETAIL_LEN]; /* the cause in words, without control bytes; may be empty */
	struct loop *loop;            /* not owned; NULL: nobody waits */
};

void stop_init(struct stop *stop, struct loop *loop);
void stop_release(struct stop *stop);
/* Forgets what was requested, for a restart. While nothing else uses it. */
void stop_clear(struct stop *stop);

/*
 * Any thread, any number of times. Ends the VM; does not wait for it. Of several requests of one
 * reason the first one's value and words stay. Takes a leaf lock only.
 */
void stop_request(struct stop *stop, enum stop_reason reason, uint32_t value, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/*
 * Any thread. Notes a panic or a splat and lets the VM go on: its last words are printed, and a guest that survives
 * does what it was started for.
 */
void stop_note(struct stop *stop, enum stop_reason reason, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* A consistent copy. `reason` is what was noted when nothing higher was requested. */
struct stop_info {
	enum stop_reason reason;
	uint32_t value;
	char detail[STOP_DETAIL_LEN];
};
void stop_get(struct stop *stop, struct stop_info *info);

#endif
