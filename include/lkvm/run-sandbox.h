/* SPDX-License-Identifier: GPL-2.0 */
/*
 * `lkvm sandbox -- COMMAND`: as `lkvm run -- COMMAND`, of a program of this host, which goes into the initramfs with what it
 * needs to start.
 */
#ifndef LKVM_RUN_SANDBOX_H
#define LKVM_RUN_SANDBOX_H

#include <lkvm/err.h>
#include <lkvm/run-options.h>

struct run_sandbox {
	char *files[3]; /* the command, and for a script its interpreter, and what env(1) starts */
	char **args;    /* the command line in the guest */
};

/* Changes `opt`, which then points into `sb`. */
int run_sandbox_prepare(struct run_sandbox *sb, struct run_options *opt, struct err *err);
/* Zeroed storage is fine. */
void run_sandbox_release(struct run_sandbox *sb);

void run_sandbox_help(void);

#endif
