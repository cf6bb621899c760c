/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Ports (port.h) of the host: on descriptors, and on a console's chr.
 *
 * Threads: they are made and freed while they are not attached; the rest is port.h's.
 */
#ifndef LKVM_CHR_PORT_H
#define LKVM_CHR_PORT_H

#include <stdbool.h>
#include <stdint.h>

#include <lkvm/err.h>
#include <lkvm/port.h>

struct chr;
struct chr_port;
struct log;

/*
 * What `in_fd` has goes to the guest, what the guest writes goes to `out_fd`; -1: none, and CHR_PORT_ENDED for input that has ended already. Both may be any file, pipe,
 * socket or terminal, stay the caller's and outlive the port; they are never made non-blocking (chr-fd.h). Output
 * has a buffer and a thread of its own (chr-out.h), but unlike a console's is never dropped: a full buffer is a full
 * port. An error of a write, such as EPIPE, ends output, and what the guest writes then is lost.
 * `name` is for messages, and outlives the port.
 */
#define CHR_PORT_ENDED (-2)
struct port *chr_port_new(const char *name, int in_fd, int out_fd, const struct log *log,
			  struct err *err);
/*
 * `changed` is called when chr_port_ended() may have become true: on any thread, under a leaf lock, so it posts to a loop
 * and no more. Before the port is attached.
 */
void chr_port_watch(struct port *port, void (*changed)(void *arg), void *arg);
/* Nothing that the guest writes now reaches a reader: port.finish() has done its work, or the reader is gone. */
bool chr_port_ended(struct port *port);
/* Writes out what is buffered, at most for `deadline_ms`; once. The errno that ended output, ETIMEDOUT, or 0. */
int chr_port_drain(struct port *port, unsigned int deadline_ms);
/* After that: bytes that were given up for want of time. */
uint64_t chr_port_lost(const struct port *port);
/* Drains when that was not done, with no time. NULL is fine. */
void chr_port_free(struct port *port);

/*
 * The console `chr`, which becomes its front end. As on a serial port output never waits: what its reader is too slow
 * for is dropped and marked (chr.h), because Linux spins until a console's byte was taken. `chr` outlives it.
 */
struct port *chr_console_port_new(struct chr *chr, struct err *err);
void chr_console_port_free(struct port *port);

#endif
