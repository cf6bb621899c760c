/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What of the host's files goes into a guest's initramfs. Paths in the guest are absolute; the directories on their way
 * are made, once. What is added belongs to root, with the mode that it has here.
 *
 * A path is added once: the same again is an error, unless both are directories, or it is the same file again.
 */
#ifndef LKVM_INITRAMFS_H
#define LKVM_INITRAMFS_H

#include <stddef.h>
#include <stdint.h>

#include <lkvm/cpio.h>
#include <lkvm/err.h>

struct initramfs {
	struct cpio *archive; /* begun; stays the caller's */
	const char *option;   /* that asks for what is added now, for errors: "--add a:/b" */
	uint64_t left;        /* bytes of files that may still be added */
	void *paths;          /* what was added, tsearch(3)'s */
};

/* `max` bounds the bytes of all files. */
void initramfs_init(struct initramfs *ir, struct cpio *archive, uint64_t max);
void initramfs_release(struct initramfs *ir);

/*
 * FILE[:DEST]: DEST begins after the first ":/"; with a slash at its end it is a directory for FILE. Without one, FILE's
 * own path is taken if it is absolute, else its name in the root. `from` and `dest` are the caller's to free.
 */
int initramfs_split(const char *spec, char **from, char **dest, struct err *err);

/*
 * A file; a directory with all that is in it; `from` itself may be a symbolic link to one, links below are added as
 * such. Other kinds of files are refused.
 */
int initramfs_add(struct initramfs *ir, const char *from, const char *dest, struct err *err);

/* A file whose bytes are here already. */
int initramfs_add_data(struct initramfs *ir, const char *from, const char *dest, uint32_t mode,
		       const void *data, size_t len, struct err *err);

#endif
