/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The lock that keeps a second writer away from an image: an open-file-description lock (fcntl(2)) over
 * the whole file, exclusive for writing and shared for reading. It goes with the last descriptor of the
 * open file, so a process that is killed leaves none behind.
 */
#ifndef LKVM_BLOCK_LOCK_H
#define LKVM_BLOCK_LOCK_H

#include <stdbool.h>

#include <lkvm/err.h>
#include <lkvm/log.h>

/*
 * -EBUSY and a sentence that names the process that holds it, where that can be found out. A file system
 * without locks gets a warning in the log and 0.
 */
int blk_lock(int fd, const char *path, bool exclusive, const struct log *log, struct err *err);

/* Others may have it from now on, even if the kernel still holds the open file for a moment. */
void blk_unlock(int fd);

/*
 * The kernel takes an io_uring apart some time after its process was killed, and until then the ring holds
 * the file, its lock and a device's exclusive use. So what no process has is waited for: true after a
 * short wait, false when `*waited_ms`, which begins with 0, has come to its end.
 */
bool blk_lock_wait(unsigned int *waited_ms);

#endif
