/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What this host's KVM really executes, found out with a guest of a few instructions.
 *
 * Some hosts offer all of KVM's calls and then interpret the guest instead of running it on the CPU.
 * CPUID does not tell: such a host may hide the CPU's virtualization and work, or show it and fail. So
 * the probe makes a VM of its own with bare KVM calls, one vCPU a question, and looks at how it exits.
 *
 * It runs on the caller's thread, starts no thread, installs no signal handler and leaves nothing
 * behind. Each question is bounded by a timer that ends KVM_RUN with a signal (KICK_SIGNAL, kick.h) that
 * is blocked outside it.
 */
#ifndef LKVM_PROBE_H
#define LKVM_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <lkvm/err.h>

enum probe_result {
	PROBE_NOT_RUN,
	PROBE_WORKS,
	PROBE_NOT_OFFERED, /* CPUID does not offer it, so no guest will use it */
	PROBE_FAILS,       /* offered, and it does not execute */
};

/* Instructions that Linux uses wherever CPUID offers them. */
#define PROBE_INSNS_MAX 4

struct probe_insn {
	const char *name; /* "cmpxchg16b" */
	enum probe_result result;
};

struct probe_facts {
	struct probe_insn insns[PROBE_INSNS_MAX];
	unsigned int insns_nr;
	/* CPU time of the vCPU's thread; 0 means not measured. */
	uint64_t insns_per_sec;
	uint64_t pio_ns;      /* a port write that user space sees, and back */
	uint64_t mmio_ns;     /* the same by memory-mapped I/O */
	uint64_t doorbell_ns; /* a memory-mapped write that an ioeventfd catches */
};

/*
 * Asks everything; takes about 0.1 s, at most a few seconds on a host that answers nothing. `dev_fd` is
 * KVM's device, not owned. An instruction that does not execute is a fact, not an error; an error is a
 * call that KVM refuses (ERR_HOST), and then no guest can run.
 */
int probe_run(int dev_fd, struct probe_facts *facts, struct err *err);

#define PROBE_SENTENCE_LEN 256

/*
 * True when something that Linux needs does not execute; then `buf` holds why, without a full stop:
 * "this host's KVM interprets guest code instead of running it, and cannot execute cmpxchg16b, which
 * Linux needs".
 */
bool probe_explain(const struct probe_facts *facts, char *buf, size_t len);

/*
 * For `lkvm run`, after KVM gave up on an instruction: asks the host and explains. False when the host
 * executes everything, or cannot be asked.
 */
bool probe_explain_host(int dev_fd, char *buf, size_t len);

#endif
