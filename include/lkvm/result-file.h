/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Where --result, --junit, --tap or --core goes: "fd:N", a descriptor that lkvm inherited, or a file.
 *
 * A file is written beside its place and renamed into it, so that a reader sees the whole or nothing; an older one
 * is removed when it is opened, so that what is there after the run is of this run. What is no regular file (a
 * pipe, a terminal, /dev/null) is opened and written as it is.
 */
#ifndef LKVM_RESULT_FILE_H
#define LKVM_RESULT_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include <lkvm/err.h>

struct result_file {
	const char *option; /* "--result", for messages; not owned */
	char *path;         /* NULL: not open, or a descriptor */
	int fd;             /* -1: a regular file, which is made when it is written */
	bool owned;         /* fd is to be closed */
};

#define RESULT_FILE_INIT ((struct result_file){ .fd = -1 })
/* A reader that takes nothing for so long is given up. */
#define RESULT_WRITE_MS 2000

/* Checks that it can be written. `where` is the value of `option`. */
int result_file_open(struct result_file *f, const char *option, const char *where, struct err *err);
/* Once. */
int result_file_write(struct result_file *f, const char *text, size_t len, struct err *err);
/* The same by a function that fills an empty regular file and returns 0 or -errno; for one that has a path. */
int result_file_fill(struct result_file *f, int (*fill)(int fd, void *arg), void *arg,
		     struct err *err);
void result_file_close(struct result_file *f);

#endif
