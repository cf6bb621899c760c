/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The host's side of a command that runs in the guest: its three streams, each a lossless chr that a serial port of
 * the board is the front end of, and its status (cmd-status.h). With `ports` they are there as ports of a virtio console
 * as well. The guest's init takes one way or the other; a guest that takes both mixes its own command's bytes.
 *
 * The VM is ended when the status has come and everything that the command wrote is with its reader: however long that
 * takes, as for a command on the host. A reader that is gone is told to the guest, whose init then does what a pipe
 * would have done.
 *
 * Threads: made, freed and asked by the owner of the loop; the rest happens on the loop and on vCPU threads.
 */
#ifndef LKVM_STREAMS_H
#define LKVM_STREAMS_H

#include <stdbool.h>
#include <stdint.h>

#include <lkvm/cmd-status.h>
#include <lkvm/err.h>

struct chr;
struct log;
struct loop;
struct stop;
struct streams;
struct virtio_console_cfg;

/* Not owned; -1: none. Where there is no input, the command's ends at once. */
struct streams_config {
	int in_fd, out_fd; /* CMD_STDIO */
	int err_fd;        /* CMD_STDERR */
	int results_fd;    /* CMD_RESULTS */
	bool ports;        /* also by a virtio console */
	bool escape;       /* in_fd is a terminal: Ctrl-A commands, and no end of input */
	void (*on_escape)(void *arg);
	void (*started)(void *arg); /* the guest's init is there; on a vCPU's thread, once */
	/* Sees every byte that the guest writes to a stream, as chr_config's; not stdin. */
	void (*tap)(void *arg, enum cmd_stream stream, const uint8_t *buf, size_t len);
	void *arg;
};

struct streams *streams_new(const struct streams_config *cfg, struct loop *loop, struct stop *stop,
			    const struct log *log, struct err *err);
/* When no device can call in any more. NULL is fine. */
void streams_free(struct streams *s);

/* For the board: who the serial port of this number is connected to, or NULL; and the registers. */
struct chr *streams_chr(struct streams *s, unsigned int stream);
struct cmd_status *streams_registers(struct streams *s);
/* What the virtio console is made of that has the ports; NULL: there is none. */
struct virtio_console_cfg *streams_console(struct streams *s);

/* Whether the command has reported, and what. Any thread. */
bool streams_status(struct streams *s, uint32_t *status);

/*
 * When the VM has ended: what is still on its way gets `deadline_ms`. Returns the bytes that were lost for want of
 * time, and why output ended early in *errnum, 0 if it did not.
 */
uint64_t streams_drain(struct streams *s, unsigned int deadline_ms, int *errnum);

#endif
