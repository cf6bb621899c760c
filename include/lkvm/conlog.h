/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What lkvm itself reads from a console: the kernel's last words.
 *
 * Bytes are fed in order, under the console's lock; a line is looked at when it ends. The last
 * CONLOG_KEEP bytes are kept for reports.
 */
#ifndef LKVM_CONLOG_H
#define LKVM_CONLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONLOG_LINE 512 /* bytes of a line that are looked at */
#define CONLOG_KEEP (16 * 1024)

struct conlog {
	/* Called once, for the first line by which a kernel says that it panicked. */
	void (*on_panic)(void *arg, const char *line);
	void *arg;
	bool panicked;
	size_t line_len;
	char line[CONLOG_LINE + 1];
	uint64_t fed;           /* bytes so far */
	char keep[CONLOG_KEEP]; /* a ring; byte n of the console is at n % CONLOG_KEEP */
};

void conlog_init(struct conlog *c, void (*on_panic)(void *arg, const char *line), void *arg);
void conlog_feed(struct conlog *c, const uint8_t *buf, size_t len);

/*
 * The kernel's panic message in a console line, or NULL. A kernel's line begins with the message, or
 * with printk's "<level>", "[time]" and "[caller]"; text further right is somebody quoting one.
 */
const char *conlog_panic(const char *line);

/* Copies the last whole lines, at most `len - 1` bytes and a NUL; returns the length. */
size_t conlog_tail(const struct conlog *c, char *buf, size_t len);

#endif
