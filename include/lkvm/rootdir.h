/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Root folders that have a name: `lkvm setup NAME` makes one in ~/.lkvm, where kvmtool has its own, and `lkvm run --root NAME`
 * puts it into the guest's initramfs.
 */
#ifndef LKVM_ROOTDIR_H
#define LKVM_ROOTDIR_H

#include <lkvm/err.h>

/* The folder's path, which need not exist; the caller's to free. ERR_USAGE for a name that cannot be one. */
int rootdir_path(const char *name, char **path, struct err *err);

/*
 * Makes the folder: what programs expect to be there, a static `busybox` with links of the usual names to it, and an init
 * that starts a shell and powers off behind it. What was made is gone again when it fails.
 */
int rootdir_make(const char *path, const char *busybox, struct err *err);

#endif
