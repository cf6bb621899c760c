/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Coalesced writes: KVM queues a guest's writes to chosen addresses in a ring instead of exiting.
 *
 * The ring belongs to the VM (every vCPU's mapping shows the same one). Order is kept by draining it
 * before any exit is handled and before an outcome is decided; what a guest writes and then never
 * exits is fetched by a timer, which the machine's loop runs.
 * Source: Documentation/virt/kvm/api.rst 4.116, struct kvm_coalesced_mmio_ring.
 */
#ifndef LKVM_COALESCED_H
#define LKVM_COALESCED_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <lkvm/err.h>
#include <lkvm/loop.h>

struct bus;
struct kvm;
struct kvm_coalesced_mmio_ring;

struct coalesced {
	struct kvm *kvm;
	struct bus *pio, *mmio;
	pthread_mutex_t lock; /* one drainer at a time; a handler runs under it, so order is kept */
	struct kvm_coalesced_mmio_ring *ring; /* NULL until the first vCPU is mapped */
	uint32_t ring_nr;                     /* entries of the ring */
	struct loop *loop;
	struct loop_timer timer;
};

void coalesced_init(struct coalesced *c, struct kvm *kvm, struct bus *pio, struct bus *mmio);
/* The ring is in vCPU 0's mapping; `run` is that mapping. Before the vCPUs run. */
void coalesced_attach(struct coalesced *c, void *run);
/* Starts and stops the timer; the loop's owner calls. */
void coalesced_start(struct coalesced *c, struct loop *loop);
void coalesced_stop(struct coalesced *c);
void coalesced_release(struct coalesced *c);

/* Queue writes to [addr, addr + size). -ENOTSUP when the host cannot; writes then exit as usual. */
int coalesced_add(struct coalesced *c, bool pio, uint64_t addr, uint32_t size);

/* Hands every queued write to its bus, in order. Any thread. Returns true when there was one. */
bool coalesced_drain(struct coalesced *c);

#endif
