/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <lkvm/err.h>

/* The first sentence wins: a later one would hide the cause behind its consequence. */
static void err_fill(struct err *err, enum err_kind kind, const char *fmt, va_list ap)
{
	if (!err || err->kind != ERR_NONE)
		return;
	err->kind = kind;
	vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
}

/* Appends at the end of the sentence, cut when it does not fit. */
static void err_append(struct err *err, const char *text)
{
	size_t len = strlen(err->msg);

	snprintf(err->msg + len, sizeof(err->msg) - len, ": %s", text);
}

int err_usage(struct err *err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	err_fill(err, ERR_USAGE, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

int err_host(struct err *err, int errnum, const char *fmt, ...)
{
	bool first = err && err->kind == ERR_NONE;
	char text[128];
	va_list ap;

	va_start(ap, fmt);
	err_fill(err, ERR_HOST, fmt, ap);
	va_end(ap);
	if (errnum == 0)
		return -EIO;
	if (first)
		err_append(err, strerror_r(errnum, text, sizeof(text)));
	return -errnum;
}

int err_internal(struct err *err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	err_fill(err, ERR_INTERNAL, fmt, ap);
	va_end(ap);
	return -EIO;
}

void err_prefix(struct err *err, const char *fmt, ...)
{
	char old[ERR_MSG_LEN];
	va_list ap;

	if (!err || err->kind == ERR_NONE)
		return;
	memcpy(old, err->msg, sizeof(old));
	va_start(ap, fmt);
	vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	err_append(err, old);
}
