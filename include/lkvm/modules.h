/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel modules for the guest's initramfs, from a kernel's module tree (/lib/modules/RELEASE or a copy), with those that
 * they depend on, as each module says itself: depmod(8) need not have run. Compressed ones (.ko.gz, .ko.xz, .ko.zst) are
 * decompressed here, so that any kernel can load them. They lie under CMD_MODULE_DIR, and
 * CMD_MODULES lists them in the order to load them in (cmd-abi.h).
 */
#ifndef LKVM_MODULES_H
#define LKVM_MODULES_H

#include <lkvm/err.h>
#include <lkvm/initramfs.h>

struct modules;

/* `dir` is looked through once. `release` is the kernel's ("6.1.0-17-amd64"), NULL when it is not known. */
int modules_new(struct modules **out, const char *dir, const char *release, struct err *err);
void modules_free(struct modules *m);

/*
 * A module by its name, '-' and '_' being the same, and what it depends on. One that the tree has not: -ENOENT, and
 * ERR_USAGE unless modules.builtin has it, which is 0. ERR_USAGE for one of another kernel.
 */
int modules_add(struct modules *m, struct initramfs *ir, const char *name, struct err *err);

/* The list, when all are added. */
int modules_add_list(struct modules *m, struct initramfs *ir, struct err *err);

#endif
