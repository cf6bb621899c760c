/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Writes an archive for an initramfs, in memory: the "newc" format of cpio.
 * Source: Documentation/driver-api/early-userspace/buffer-format.rst.
 */
#ifndef LKVM_CPIO_H
#define LKVM_CPIO_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <lkvm/err.h>

struct cpio {
	FILE *out;
	char *data; /* valid after cpio_end(), with `len` */
	size_t len;
	uint32_t files_nr;
};

int cpio_begin(struct cpio *c, struct err *err);
/* `path` is without a slash at its start; `mode` has the type's bits; owned by root. A directory has no data. */
void cpio_add(struct cpio *c, const char *path, uint32_t mode, const void *data, uint32_t len);
/* Writes the last record. The archive is whole, or there is an error. */
int cpio_end(struct cpio *c, struct err *err);
/* Also after a failure, or in place of cpio_end(). Zeroed storage is fine. */
void cpio_release(struct cpio *c);

#endif
