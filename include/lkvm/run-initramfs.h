/* SPDX-License-Identifier: GPL-2.0 */
/*
 * --add, --add-exec and --modules: from the options to what the initramfs gets.
 */
#ifndef LKVM_RUN_INITRAMFS_H
#define LKVM_RUN_INITRAMFS_H

#include <stdbool.h>

#include <lkvm/err.h>
#include <lkvm/initramfs.h>
#include <lkvm/run-options.h>

/* Whether an option asks for something. */
bool run_initramfs_wanted(const struct run_options *opt);

/* Adds it all. `kernel` is the file to boot, which modules must be for. */
int run_initramfs_add(const struct run_options *opt, const char *kernel, struct initramfs *ir,
		      struct err *err);

#endif
