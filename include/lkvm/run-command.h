/* SPDX-License-Identifier: GPL-2.0 */
/*
 * `lkvm run ... -- COMMAND`: from the options to what the machine needs to run it.
 */
#ifndef LKVM_RUN_COMMAND_H
#define LKVM_RUN_COMMAND_H

#include <lkvm/config.h>
#include <lkvm/cpio.h>
#include <lkvm/err.h>
#include <lkvm/run-options.h>

/*
 * A descriptor is open, and for that direction. A terminal is only read by the job in its foreground: another one would
 * be stopped for it.
 */
bool run_may_read(int fd);
bool run_may_write(int fd);

struct run_command {
	struct cpio archive;
	char *envs[OPTION_STRINGS_MAX];
	unsigned int envs_nr;
	int results_fd; /* -1: none */
};

#define RUN_COMMAND_INIT ((struct run_command){ .results_fd = -1 })

/* What options say of each other, with or without a command. */
int run_command_check(const struct run_options *opt, struct err *err);

/*
 * Fills the parts of `cfg` that are about the command and its streams; they point into `rc`, whose storage is the
 * caller's. `dry` opens nothing. When there is no command it does nothing.
 */
int run_command_prepare(struct run_command *rc, const struct run_options *opt,
			struct machine_config *cfg, bool dry, struct err *err);
void run_command_release(struct run_command *rc);

/* The kernel parameter that is needed, with a blank before it: for --init it is to be followed by that. "": none. */
const char *run_command_param(const struct run_options *opt);

#endif
