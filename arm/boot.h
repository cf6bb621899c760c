/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Puts a kernel and its initrds into guest memory, and finds room for the device tree.
 *
 * Source: Documentation/arch/arm64/booting.rst. All three are in the first GiB of RAM, so that the kernel reaches them with
 * its first page tables.
 */
#ifndef LKVM_ARM_BOOT_H
#define LKVM_ARM_BOOT_H

#include <stdint.h>

#include <lkvm/err.h>

#include "entry.h"

struct gmem;
struct src;

#define BOOT_DTB_LEN     (512 * 1024) /* booting.rst allows 2 MiB */
#define BOOT_CMDLINE_MAX 2047         /* COMMAND_LINE_SIZE less the NUL */

struct boot_request {
	const struct src *kernel;
	const struct src *initrds;
	unsigned int initrds_nr;
	const char *cmdline; /* it goes into the device tree; here its length is checked */
	const struct arm_cpu *cpu;
};

struct boot_result {
	const char *how;
	uint64_t kernel_gpa, kernel_len;
	uint64_t initrd_gpa, initrd_len; /* len 0: none */
	uint64_t dtb_gpa;                /* BOOT_DTB_LEN bytes */
};

int boot_load(const struct gmem *gm, const struct boot_request *req, struct boot_result *res,
	      struct err *err);

#endif
