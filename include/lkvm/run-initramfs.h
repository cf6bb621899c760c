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

/*
 * Adds the modules. `kernel` is the file to boot, which they must be for. `console` becomes true when it will have
 * virtio-console, built in or as a module: then a command's streams can take it.
 */
int run_initramfs_modules(const struct run_options *opt, const char *kernel, struct initramfs *ir,
			  bool *console, struct err *err);
/* Adds everything else. */
int run_initramfs_add(const struct run_options *opt, struct initramfs *ir, struct err *err);

#endif
