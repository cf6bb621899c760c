/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The host side of a console: bounded buffers between a device and the user's descriptors.
 *
 * Output: chr_write() never blocks. It appends to a buffer of `buf_len` bytes for each descriptor, and
 * a thread for each empties it, so neither a slow or dead stdout nor a full disk under --log stops the
 * other. What does not fit is dropped, counted, and marked in the output with
 * "[lkvm: N bytes dropped]\n" where it is missing. EPIPE and other write errors end output to that
 * descriptor, never the VM. Inherited descriptors are never made non-blocking, because that would change
 * the shell's: chr-fd.h says what is done instead.
 *
 * Input: read on the loop, handed to the device as far as it has room. What the device does not take is
 * kept and no more is read; but with `escape` reading goes on and what is typed beyond CHR_IN_LEN is
 * lost, as on a terminal line, so that the escape works when the guest hangs. End of file ends input,
 * not the VM.
 *
 * A `lossless` chr is a stream that belongs to a program in the guest. Its device stops sending when chr_full() says so
 * and goes on when it is told writable(). Its input is given out against credit (chr_input_credit()), as the reader in
 * the guest has room: what a driver in between cannot hold is never sent, and nothing is read before. The end of input is told by on_end() with
 * the number of bytes that there were, and then by one more byte, a 0, that wakes the reader: by that number it
 * knows that it is no data.
 */
#ifndef LKVM_CHR_H
#define LKVM_CHR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <lkvm/err.h>

struct loop;
struct log;
struct chr;

#define CHR_BUF_LEN (16u << 20)
#define CHR_IN_LEN  4096u

/* The device's side of input; both run on the loop. */
struct chr_frontend {
	size_t (*room)(void *arg);                                /* bytes it takes now */
	void (*input)(void *arg, const uint8_t *buf, size_t len); /* len <= what room() said */
	void (*writable)(void *arg); /* lossless: after chr_full() there is room again */
	void *arg;
};

struct chr_config {
	int in_fd;      /* -1: no input; not owned */
	int out_fd;     /* -1: no output; not owned */
	int copy_fd;    /* gets every byte too (--log), -1: none; not owned */
	size_t buf_len; /* 0: CHR_BUF_LEN */
	/*
	 * For terminals: Ctrl-A x calls on_escape on the loop, Ctrl-A Ctrl-A sends one Ctrl-A; Ctrl-A and
	 * any other key sends both.
	 */
	bool escape;
	void (*on_escape)(void *arg);
	/*
	 * Sees every output byte in order, dropped ones too, on the thread that calls chr_write(), under
	 * the chr's lock: must be quick and not call back.
	 */
	void (*tap)(void *arg, const uint8_t *buf, size_t len);
	bool lossless;
	void (*on_end)(void *arg, uint64_t len); /* lossless, on the loop: input has ended */
	void (*on_output_end)(
		void *arg); /* lossless, on the loop, once or more: chr_output_ended() */
	void *arg;
};

struct chr *chr_new(const struct chr_config *cfg, struct loop *loop, const struct log *log,
		    struct err *err);
/*
 * Ends output: writes out what is buffered, at most for `deadline_ms`; what is left then is given up and
 * counts as dropped. Later chr_write() calls do nothing but the tap. So that the last console line is out
 * before the outcome is printed, and chr_stats() is final.
 */
void chr_drain(struct chr *chr, unsigned int deadline_ms);
/*
 * Drains when that was not done, ends input and frees. On the loop's thread or when nobody runs it; not
 * while a device can still call in. NULL is fine.
 */
void chr_free(struct chr *chr, unsigned int deadline_ms);

void chr_set_frontend(struct chr *chr,
		      const struct chr_frontend *fe);         /* before the first vCPU runs */
void chr_write(struct chr *chr, const void *buf, size_t len); /* any thread */
void chr_input_ready(struct chr *chr); /* any thread: the device has room again */

/* Of a lossless chr; any thread. */
#define CHR_CREDIT_ALL UINT64_MAX
void chr_input_credit(struct chr *chr,
		      uint64_t bytes); /* adds; what would overflow is CHR_CREDIT_ALL */
/* The device is to wait for writable(). May be called with the device's lock held. Of others: false. */
bool chr_full(struct chr *chr);
/* The stream is complete: when all of it is with its reader, or lost, on_output_end() is called. */
void chr_finish(struct chr *chr);
/* Nothing that is written now reaches a reader: chr_finish() has done its work, or the reader is gone. */
bool chr_output_ended(struct chr *chr);

struct chr_stats {
	uint64_t written; /* bytes given to chr_write() */
	uint64_t dropped; /* of these, bytes that found no room or no time on the way to out_fd */
	uint64_t copy_dropped; /* the same for copy_fd */
	int out_errno;         /* why output ended early, 0 if it did not */
	int copy_errno;        /* the same for copy_fd */
};
void chr_stats(struct chr *chr, struct chr_stats *st);

#endif
