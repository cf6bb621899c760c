/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What lkvm itself reads from a console: a kernel's crashes (classify.h), when init starts, and the lines that the user
 * waits for. The last CONLOG_KEEP bytes are kept for reports.
 *
 * Bytes are fed in order by whoever has them; a line is looked at when it ends, its first CONLOG_LINE bytes. Any
 * thread; a lock of its own is held meanwhile, also while `ops` are called, which must be quick and not call back.
 *
 * Whose line it is: once a line that begins with a time stamp was seen, only lines with one are the kernel's. If
 * the console begins as that of a kernel without time stamps, that is never learned, since a program that prints
 * dmesg's output would teach it. Of a kernel that prints nothing before its programs do ("quiet") it must be known.
 *
 * Init has started when the kernel says so, or with the first text that is not the kernel's, which is all there is to
 * see with "quiet". A kernel without time stamps must say so.
 */
#ifndef LKVM_CONLOG_H
#define LKVM_CONLOG_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <lkvm/classify.h>
#include <lkvm/match.h>

#define CONLOG_LINE  1024 /* bytes of a line that are looked at */
#define CONLOG_KEEP  (32 * 1024)
#define CONLOG_CAUSE 256 /* of a crash's line */

/* NULL: of no interest. */
struct conlog_ops {
	/* For the panic, and for each of what a kernel may survive; `text` without printk's prefix. */
	void (*crash)(void *arg, enum crash_kind kind, const char *text);
	void (*init)(void *arg);
	/*
	 * For the first line that `fail` or else `until` matches, after what it says of a crash. It ends what conlog looks
	 * for: later lines are kept, no more.
	 */
	void (*matched)(void *arg, bool fail, const char *pattern, const char *line);
};

#define CRASH_FRAMES 5

struct conlog_crash {
	enum crash_kind kind;
	char line[CONLOG_CAUSE];                   /* without printk's prefix and control bytes */
	char frames[CRASH_FRAMES][TRACE_NAME_LEN]; /* the innermost functions */
	unsigned int frames_nr;
};

struct conlog {
	const struct conlog_ops *ops;
	void *arg;
	const struct match *fail, *until; /* not owned; NULL: none */

	pthread_mutex_t lock;
	bool told;      /* `stamps` from the start, unless `plain` */
	bool stamps;    /* the kernel prints time stamps */
	bool plain;     /* it does not */
	bool any_line;  /* one that is not empty was seen since the start */
	bool init_seen; /* since the start */
	bool over;      /* a line matched */

	/* The first crash, the last one, and the panic; kind CRASH_NONE when there is none. */
	struct conlog_crash first, last, panic;
	struct conlog_crash *open; /* whose trace is being read */
	unsigned int open_lines;   /* since its line */
	bool in_trace;
	unsigned int splats;             /* crashes that are not panics */
	char no_init[CLASSIFY_HINT_LEN]; /* the first hint, before init started */

	size_t line_len;
	char line[CONLOG_LINE + 1];
	uint64_t fed;           /* bytes so far */
	uint64_t paused_at;     /* `fed` at the last conlog_pause() */
	char keep[CONLOG_KEEP]; /* a ring; byte n of the console is at n % CONLOG_KEEP */
};

/* `stamps`: the kernel's lines are known to have time stamps (classify_told_stamps()). */
void conlog_init(struct conlog *c, const struct conlog_ops *ops, void *arg,
		 const struct match *fail, const struct match *until, bool stamps);
void conlog_release(struct conlog *c);
/* A new kernel follows, as on a restart: what was learned of the old one is forgotten, its crashes are not. */
void conlog_restart(struct conlog *c);

/* Returns whether something waits for the end of its line that conlog_pause() would look at. */
bool conlog_feed(struct conlog *c, const uint8_t *buf, size_t len);
/*
 * To be called a while later: when nothing came since the last call, the unfinished line, a prompt perhaps, is looked at
 * as it is. Returns whether to call again.
 */
bool conlog_pause(struct conlog *c);
/* Nothing follows: the last line counts without its end. */
void conlog_end(struct conlog *c);

struct conlog_report {
	uint64_t bytes;
	unsigned int splats;
	/*
	 * The panic, else the first crash. A panic that follows from a crash has no trace of its own, and gets that of the
	 * last crash before it.
	 */
	struct conlog_crash crash;
	char no_init[CLASSIFY_HINT_LEN]; /* why init could not start, or "" */
};
void conlog_report(struct conlog *c, struct conlog_report *r);

/*
 * Copies the last whole lines, at most `lines` of them and `len - 1` bytes and a NUL; returns the length. Control
 * bytes but tab and newline are left out.
 */
size_t conlog_tail(struct conlog *c, char *buf, size_t len, unsigned int lines);

#endif
