/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Puts a Linux kernel, its initrds and its command line into guest memory.
 *
 * Source: Documentation/arch/x86/boot.rst (boot protocol 2.12 or later, 64-bit entry), the PVH ABI of
 * Xen's include/public/arch-x86/hvm/start_info.h, and the ELF specification.
 *
 * Every input file is hostile: an offset or a size from a file is checked against the file and against
 * guest memory before it is used.
 */
#ifndef LKVM_X86_BOOT_H
#define LKVM_X86_BOOT_H

#include <stdbool.h>
#include <stdint.h>

#include <lkvm/config.h>
#include <lkvm/err.h>

#include "entry.h"

struct gmem;
struct log;
struct src;

struct boot_request {
	const struct src *kernel;
	const struct src *initrds; /* concatenated in this order, each padded to 4 bytes */
	unsigned int initrds_nr;
	const char *cmdline;
	enum boot_how how;
	bool kaslr;            /* with BOOT_AUTO: take the bzImage path */
	const char *cache_dir; /* for decompressed kernels; NULL: no cache */
	uint64_t rsdp;         /* guest address for the kernel's acpi_rsdp_addr, 0: none */
	const struct log *log;
};

/* What was loaded, for --debug, --dry-run and the machine. */
struct boot_result {
	struct x86_entry entry;
	const char *
		how; /* "bzImage, 64-bit entry", "vmlinux from cache, 64-bit entry", "vmlinux, PVH" */
	bool ecam;   /* the kernel is seen to use ECAM */
	uint64_t kernel_gpa, kernel_len;
	uint64_t initrd_gpa, initrd_len;
};

int boot_load(const struct gmem *gm, const struct boot_request *req, struct boot_result *res,
	      struct err *err);

/* The release of the kernel in a file, "" when it does not say without being decompressed. */
void boot_kernel_release(const char *path, char *release, size_t len);

#endif
