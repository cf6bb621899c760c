/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Options that people know from kvmtool and QEMU and try on `lkvm run`: what lkvm spells instead, or
 * that it does not have it. A row goes when lkvm gets an option of that very name.
 */
#ifndef LKVM_RUN_FOREIGN_H
#define LKVM_RUN_FOREIGN_H

#include <lkvm/options.h>

extern const struct option_foreign run_foreign[];
extern const unsigned int run_foreign_nr;

#endif
