/* SPDX-License-Identifier: GPL-2.0 */
/*
 * One sentence for the person who started lkvm.
 *
 * A function that can fail for a reason the user can act on takes a `struct err *`, fills it and
 * returns a negative errno. Nothing below the commands prints it. The first sentence wins: a caller
 * that adds context does so before it passes the error on, with err_prefix().
 *
 * Ownership: the caller's storage, usually on the stack of a command. Threads: one at a time.
 */
#ifndef LKVM_ERR_H
#define LKVM_ERR_H

#include <stdarg.h>

#define ERR_MSG_LEN 512

enum err_kind {
	ERR_NONE,
	ERR_USAGE,    /* a bad option or a bad input file: exit status 210 */
	ERR_HOST,     /* the host lacks or refuses something: exit status 211 */
	ERR_INTERNAL, /* KVM or lkvm itself broke a promise: exit status 212 */
};

struct err {
	enum err_kind kind;
	char msg[ERR_MSG_LEN]; /* no newline, no trailing full stop; cut when too long */
};

#define ERR_INIT ((struct err){ .kind = ERR_NONE })

/* Each returns -EINVAL, -errnum and -EIO in that order, so that `return err_usage(...)` reads well. */
int err_usage(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Appends ": <strerror(errnum)>" unless errnum is 0, for which -EIO is returned. */
int err_host(struct err *err, int errnum, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
int err_internal(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Puts "<prefix>: " before the sentence. Does nothing when there is none. */
void err_prefix(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
