/* SPDX-License-Identifier: GPL-2.0 */
/*
 * --symbols and --core: what is asked for before the boot.
 */
#ifndef LKVM_RUN_SYMBOLS_H
#define LKVM_RUN_SYMBOLS_H

#include <lkvm/config.h>
#include <lkvm/err.h>
#include <lkvm/result-file.h>
#include <lkvm/run-options.h>
#include <lkvm/symbols.h>

/*
 * Reads the file of --symbols and puts what the machine needs of it into `cfg`, whose kernel and command line are there.
 * Refuses a run in which the kernel may choose its own address. symbols_release() in any case.
 */
int run_symbols_load(struct symbols *s, const struct run_options *opt, struct machine_config *cfg,
		     struct err *err);

/* Checks that --core can be written. */
int run_core_open(struct result_file *f, const char *path, struct machine_config *cfg,
		  struct err *err);

#endif
