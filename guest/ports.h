/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The command's streams as ports of a virtio console (cmd-abi.h). Freestanding.
 */
#ifndef LKVM_GUEST_PORTS_H
#define LKVM_GUEST_PORTS_H

#include <stdbool.h>
#include <stdint.h>

#include <lkvm/cmd-abi.h>

/* All of them, non-blocking. False: the kernel has no driver for them, and none is open. */
bool ports_open(int fds[CMD_PORTS_NR]);

/* "MAJOR:MINOR", as sysfs says it, to what mknod(2) takes. False for anything else. */
bool ports_device(const char *text, uint32_t *dev);

#endif
