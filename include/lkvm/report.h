/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What is told of a guest that failed: registers, backtraces and the console's end on stderr, and its core.
 *
 * With --symbols a breakpoint is on the function that a panic calls. Its hit is noted, with a backtrace as the stack is
 * still that of the caller, and the guest goes on without it: its own words follow on the console.
 */
#ifndef LKVM_REPORT_H
#define LKVM_REPORT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <lkvm/err.h>

struct conlog;
struct gmem;
struct machine_config;
struct stop_info;
struct vcpu;

struct report {
	const struct machine_config *cfg;
	struct vcpu *vcpus;
	unsigned int vcpus_nr;
	const struct gmem *gm;
	void (*panicked)(void *arg); /* on a vCPU's thread, once */
	void *arg;
	_Atomic bool hit;
	/* Of the first hit; its vCPU's until that is joined. */
	unsigned int hit_vcpu;
	char *hit_trace;
};

/* For a VM whose vCPUs are made and do not run; the caller has filled the part above `hit`. */
void report_start(struct report *r);
void report_release(struct report *r);

/* After the vCPUs have ended: */

/* Whether an outcome wants words on stderr; `status` is its exit status. */
bool report_wanted(const struct report *r, const struct stop_info *info, int status);
void report_write(const struct report *r, struct conlog *console, FILE *out);
/* The core, if the outcome is a failure of the guest's or of KVM's and --core was given. */
int report_core(const struct report *r, int status, struct err *err);

#endif
