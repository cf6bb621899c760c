/* SPDX-License-Identifier: GPL-2.0 */
/*
 * From why a VM ended to what a script sees: the exit status of `lkvm run` and one line of text. The
 * numbers are an interface and never change.
 */
#ifndef LKVM_RESULT_H
#define LKVM_RESULT_H

#include <stddef.h>

#include <lkvm/err.h>
#include <lkvm/ktap.h>
#include <lkvm/stop.h>

enum {
	STATUS_OK = 0,
	STATUS_GUEST_MAX = 192,   /* a status of the guest's own, up to here */
	STATUS_GUEST_ABOVE = 199, /* ... and above */
	STATUS_RESET = 200,
	STATUS_PANIC = 201,
	STATUS_SPLAT = 202,
	STATUS_TRIPLE_FAULT = 203,
	STATUS_HANG = 204,
	STATUS_TIMEOUT = 205,
	STATUS_FAIL = 206,
	STATUS_USER = 207,
	STATUS_EARLY = 208,
	STATUS_USAGE = 210,
	STATUS_HOST = 211,
	STATUS_INTERNAL = 212,
};

/* STOP_SIGNAL has no status of its own: the process ends by the signal. 128 + signal is returned. */
int result_status(const struct stop_info *info);
int result_err_status(const struct err *err);

/* For programs: "poweroff", "panic", "hang"; of an error "usage", "host" or "internal". */
const char *result_outcome(enum stop_reason reason);
const char *result_err_outcome(const struct err *err);

/*
 * A run that should have shown a console line or a command's status, and did not: when it ended in order otherwise, with
 * nothing to say (power-off, reset, a status of 0), it becomes STOP_EARLY, in whose words that end is.
 */
void result_early(struct stop_info *info, enum stop_early what);
/*
 * What the tests of a run that is over say of it: STOP_FAIL when one failed or something is wrong with their stream,
 * unless what ended the run ranks higher; STOP_EARLY when there was none and the run ended in order.
 */
void result_tests(struct stop_info *info, const struct ktap *k);

/* "guest panic: Kernel panic - not syncing: ..." without a newline. */
void result_describe(const struct stop_info *info, char *buf, size_t len);

#endif
