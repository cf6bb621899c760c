/* SPDX-License-Identifier: GPL-2.0 */
/*
 * vCPU threads and the exit loop.
 *
 * A kick is a flag (immediate_exit) and the signal VCPU_KICK_SIGNAL, which every thread of lkvm blocks
 * and KVM_RUN alone opens (KVM_SET_SIGNAL_MASK): it ends KVM_RUN with EINTR and stays pending, so no
 * handler is installed and no kick can be lost between the check and KVM_RUN.
 */
#ifndef LKVM_VCPU_H
#define LKVM_VCPU_H

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <lkvm/err.h>

struct bus;
struct coalesced;
struct kvm;
struct kvm_run;
struct stop;

#define VCPU_KICK_SIGNAL (SIGRTMIN)

/* Exits by KVM's reason; reasons that are newer than the table are counted in the last cell. */
#define VCPU_EXITS_NR 48

struct vcpu {
	struct kvm *kvm;
	struct bus *pio, *mmio;
	struct coalesced *coalesced; /* NULL: none */
	struct stop *stop;
	void (*on_break)(struct vcpu *vcpu, void *arg); /* at arch_vcpu_break_at(); on its thread */
	void *break_arg;
	unsigned int id;
	int fd;
	struct kvm_run *run;
	pthread_t thread;
	bool started;
	int host_cpu;                  /* to pin the thread to, -1: free */
	_Atomic bool quit;             /* leave the loop at the next exit */
	uint64_t exits[VCPU_EXITS_NR]; /* the vCPU's thread's until it is joined */
	uint64_t first_exit_ns;        /* when the first one came, 0: none; the same */
	_Atomic uint64_t writes;       /* exits that wrote to a device, so far */

	/* See vcpu_poll_stuck(). */
	_Atomic bool asked, stuck;
	uint64_t cpu_ns; /* of the thread, when it was asked last */
};

/* Creates the vCPU in KVM. The thread starts with vcpu_start(). */
int vcpu_init(struct vcpu *vcpu, struct kvm *kvm, unsigned int id, unsigned int cpus_nr,
	      struct err *err);
int vcpu_start(struct vcpu *vcpu, struct err *err);
/* Ask a vCPU to leave its loop; any thread. vcpu_join() waits for it. */
void vcpu_kick_out(struct vcpu *vcpu);
void vcpu_join(struct vcpu *vcpu);
void vcpu_release(struct vcpu *vcpu);

/*
 * Whether the vCPU was seen to sleep for good, as arch_vcpu_is_stuck() has it. To be called once in a while by one
 * thread: it gives the answer to the call before, and asks anew. Asking costs the vCPU an exit, so only one that used
 * hardly any CPU time since the last call is asked.
 */
bool vcpu_poll_stuck(struct vcpu *vcpu);

/* KVM's name of an exit reason ("IO", "MMIO"), "?" for one we do not know. */
const char *vcpu_exit_name(unsigned int reason);

#endif
