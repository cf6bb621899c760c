/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A VM from its config to its outcome.
 *
 * machine_new() takes host resources that last over a restart (the console, the event loop);
 * machine_run() builds the VM, runs it to its end and takes it apart again. The thread that calls
 * machine_run() serves the loop. The config outlives the machine.
 */
#ifndef LKVM_MACHINE_H
#define LKVM_MACHINE_H

#include <stdint.h>
#include <stdio.h>

#include <lkvm/config.h>
#include <lkvm/conlog.h>
#include <lkvm/devices.h>
#include <lkvm/err.h>
#include <lkvm/probe.h>
#include <lkvm/stop.h>
#include <lkvm/vcpu.h>

struct machine;

/* PCI slots 1 to 31. */
#define MACHINE_DEVICES_MAX 31

/* Moments, as util_now_ns() has them; 0: it did not come to that. */
struct machine_times {
	uint64_t first_exit, first_byte, init;
	uint64_t end; /* of the VM; its console may still be on its way to a slow reader */
};

/* How it ended, and what a report needs. */
struct machine_result {
	struct stop_info stop;
	struct machine_times times;
	struct conlog_report console;
	uint64_t exits[VCPU_EXITS_NR]; /* of all vCPUs and restarts */
	struct device_stats devices[MACHINE_DEVICES_MAX];
	unsigned int devices_nr;
	unsigned int restarts;
	char host_note
		[PROBE_SENTENCE_LEN]; /* why this host cannot run it, after a KVM failure; or "" */
	uint64_t console_dropped;     /* bytes that the reader was too slow for */
	int console_errno;            /* why output to out_fd ended early, 0 if it did not */
	int copy_errno;               /* the same for copy_fd */
	struct err core_err;   /* why there is no core, ERR_NONE if there is or it was not wanted */
	uint64_t streams_lost; /* bytes of a command's that its readers were too slow for */
	int streams_errno;     /* why one of its streams ended early, 0 if none did */
};

int machine_new(struct machine **out, const struct machine_config *cfg, struct err *err);
void machine_free(struct machine *m);

/*
 * Returns 0 when the VM ran, however it ended; -errno and a sentence when it could not be built.
 * When the end wants an explanation (a deadline, a hang, a panic, a failure of KVM or the host; with debug_on_fail every
 * one that is no success), registers and the last console lines are written to `report`. `res` is filled as far as
 * it came also after an error.
 */
int machine_run(struct machine *m, struct machine_result *res, FILE *report, struct err *err);

void machine_result_release(struct machine_result *res);

/* Builds the VM, prints what it consists of, and takes it apart. */
int machine_describe(struct machine *m, FILE *out, struct err *err);

#endif
