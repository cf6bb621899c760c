/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Lines of a Linux console: which are the kernel's, and which of those say that something is wrong.
 *
 * The kernel's lines are told from user space's by printk's prefix, "[   12.345678] ", perhaps with a level
 * ("<4>") before it and a caller ("[    T1]") behind it. That holds as far as it can on one serial line:
 * - A kernel without CONFIG_PRINTK_TIME has no prefix, so any line that begins like one of its messages is taken
 *   for one. Whether there are prefixes is learned from the console (conlog.h); until the first one was seen, a
 *   line without counts. A kernel that was told on its command line (printk.time) needs no learning.
 * - A program that prints a prefix of its own, or that writes to /dev/kmsg, cannot be told from the kernel.
 * - A prefix may follow other text, since a prompt has no end of line: of such a line the first prefix counts.
 *
 * All functions are pure and take time in proportion to the line's length: prefixes are compared at one place
 * of a line, and for what may follow there is one search.
 */
#ifndef LKVM_CLASSIFY_H
#define LKVM_CLASSIFY_H

#include <stdbool.h>
#include <stddef.h>

enum crash_kind {
	CRASH_NONE,
	CRASH_PANIC, /* the kernel is over; all the others it survived, or may have */
	CRASH_OOPS,
	CRASH_BUG,
	CRASH_WARN,
	CRASH_KASAN, /* and KMSAN */
	CRASH_KCSAN,
	CRASH_KFENCE,
	CRASH_UBSAN,
	CRASH_LOCKDEP,
	CRASH_HUNG_TASK,
	CRASH_SOFT_LOCKUP,
	CRASH_HARD_LOCKUP,
	CRASH_RCU_STALL,
	CRASH_KINDS_NR,
};

/* "panic", "hung-task"; for results. */
const char *crash_kind_name(enum crash_kind kind);

struct kline {
	const char *text; /* the message: what follows the prefix, or the line */
	bool stamped;     /* there is a time */
	bool at_start;    /* ... and nothing before it */
};

void kline_parse(const char *line, struct kline *k);

/* Whether a kernel with this command line puts a time before each message, whatever it was built to do. */
bool classify_told_stamps(const char *cmdline);

/* What the message says, CRASH_NONE for most. The table is in classify.c. */
enum crash_kind classify(const char *text);

/* "Run /init as init process", which kernels say since 4.20, at a level that "quiet" hides. */
bool classify_is_init(const char *text);
/*
 * Lines in which a kernel that got an initrd says that it cannot start an init from it. Fills `hint`: what it lacks, as far
 * as that is told.
 */
#define CLASSIFY_HINT_LEN 200
bool classify_no_init(const char *text, char hint[CLASSIFY_HINT_LEN]);
/* What only a kernel without time stamps, or its decompressor, begins a console with. */
bool classify_is_plain_boot(const char *line);

/* The parts of the report that follows a crash's first line. */
enum trace_part {
	TRACE_OTHER,
	TRACE_HEAD, /* "Call Trace:" */
	TRACE_MARK, /* "<TASK>", or a frame that says nothing: uncertain, or the report's own plumbing */
	TRACE_FRAME, /* a function */
	TRACE_PC,    /* the function that was running: "RIP: 0010:name", "pc : name" */
};
#define TRACE_NAME_LEN 48

/* Fills `name` for the last two: without offset, module and what compilers append (".isra.0"). */
enum trace_part classify_trace(const char *text, char name[TRACE_NAME_LEN]);

#endif
