/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The registers by which a command in the guest reports (cmd-abi.h): its status, written once and synchronously, so
 * that it cannot be lost on the way, and what the guest must know of its streams.
 *
 * Everything that a guest does here concerns its own command alone: a status is a number, credit is how much of stdin
 * it wants, and both are told to `ops` and kept nowhere.
 *
 * Ownership: storage is the caller's and outlives the vCPUs. Threads: any; a leaf lock, not held while `ops` are called.
 */
#ifndef LKVM_CMD_STATUS_H
#define LKVM_CMD_STATUS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <lkvm/bus.h>
#include <lkvm/cmd-abi.h>
#include <lkvm/err.h>

/* On a vCPU's thread. */
struct cmd_status_ops {
	void (*status)(void *arg, uint32_t status); /* once */
	void (*credit)(void *arg, uint32_t bytes);  /* CMD_CREDIT_ALL: without end */
};

struct cmd_status {
	struct bus_region region;
	struct bus *bus;
	const struct cmd_status_ops *ops;
	void *arg;

	pthread_mutex_t lock; /* everything below */
	uint32_t state;
	uint64_t len;
	uint8_t credit[4], status[4]; /* what was written of these words */
	bool reported;
};

/* Storage before its place on a bus, since the state of streams comes from outside. */
void cmd_status_init(struct cmd_status *c, const struct cmd_status_ops *ops, void *arg);
void cmd_status_release(struct cmd_status *c);

/* Claims CMD_REGS_LEN addresses. ERR_INTERNAL when they are taken. */
int cmd_status_plug(struct cmd_status *c, struct bus *bus, uint64_t base, struct err *err);
void cmd_status_unplug(struct cmd_status *c);

/* Any thread. */
void cmd_status_stdin_ended(struct cmd_status *c, uint64_t len);
void cmd_status_gone(struct cmd_status *c, enum cmd_stream stream);

#endif
