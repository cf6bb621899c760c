/* SPDX-License-Identifier: GPL-2.0 */
/*
 * One way out of a console: a bounded buffer and the thread that empties it into a descriptor. The
 * thread starts with the first byte; if it cannot, output ends with that error.
 *
 * chr_out_write() never blocks. A line is handed over at its end; what has no end of line yet waits
 * CHR_OUT_LINGER_MS, and in a row CHR_OUT_PACE_MS since the piece before, so that a console that is
 * written byte by byte costs a system call a line, even if a line takes its guest longer. Bytes that find no room are dropped and counted, and a mark takes their place in the output.
 *
 * Memory: address space for the whole buffer, touched as far as the reader lags behind.
 *
 * For who must not lose any there is chr_out_full(): with half of the buffer in use, the writer of the bytes is to wait.
 */
#ifndef LKVM_CHR_OUT_H
#define LKVM_CHR_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <lkvm/err.h>

struct chr_out;
struct log;

#define CHR_OUT_BUF_MIN   4096 /* a smaller buffer is made this large */
#define CHR_OUT_LINGER_MS 2
#define CHR_OUT_PACE_MS   20

/* `name` ("console output") is for messages; it, `fd` and `log` outlive the object. */
struct chr_out *chr_out_new(const char *name, int fd, size_t buf_len, const struct log *log,
			    struct err *err);

void chr_out_write(struct chr_out *out, const uint8_t *buf,
		   size_t len); /* any thread, in its order */

/*
 * `changed` is called on the writer's thread, under a leaf lock, when chr_out_full() has said yes and a quarter is in use,
 * and when the output ends. It posts to a loop and no more. To be set before the first byte.
 */
void chr_out_watch(struct chr_out *out, void (*changed)(void *arg), void *arg);
/* Any thread; takes a leaf lock. Of an output that has ended: false, since what is written goes nowhere. */
bool chr_out_full(struct chr_out *out);
/* All is written after chr_out_close(), or output ended early. */
bool chr_out_ended(struct chr_out *out);
/*
 * The same without loss: takes as many bytes as have room, and returns how many; after fewer than `len`, `changed` comes
 * as after a chr_out_full(). -EPIPE when output has ended. Nothing waits for the end of its line.
 */
ssize_t chr_out_put(struct chr_out *out, const uint8_t *buf, size_t len);

/*
 * Ending takes two steps, so that two outputs can share a deadline: close, then wait. Nothing is
 * accepted after the first. chr_out_wait() returns when all is written or at `deadline_ns`, when what is
 * left is given up and counts as dropped.
 */
void chr_out_close(struct chr_out *out);
void chr_out_wait(struct chr_out *out, uint64_t deadline_ns);
/* After chr_out_wait(). A thread that is stuck in the kernel is left behind with what it uses. */
void chr_out_free(struct chr_out *out);

struct chr_out_stats {
	uint64_t dropped; /* bytes that found no room or no time */
	int errnum;       /* why output ended early, 0 if it did not */
};
void chr_out_stats(struct chr_out *out, struct chr_out_stats *st);

#endif
