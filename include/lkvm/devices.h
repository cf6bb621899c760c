/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The virtio devices of a machine: made from their specs, put on the PCI bus, served by poller threads.
 */
#ifndef LKVM_DEVICES_H
#define LKVM_DEVICES_H

#include <stdint.h>
#include <stdio.h>

#include <lkvm/err.h>

struct devices;
struct gmem;
struct kvm;
struct machine_config;
struct pci;
struct virtio_spec;

/*
 * Makes and plugs what the config lists, in its order, and then the machine's own. Everything given outlives the
 * devices.
 */
int devices_new(struct devices **out, const struct machine_config *cfg,
		const struct virtio_spec *own, unsigned int own_nr, struct kvm *kvm,
		const struct gmem *gm, struct pci *pci, struct err *err);
/* The poller threads begin to serve. Before the vCPUs run. */
int devices_start(struct devices *devs, struct err *err);
/*
 * Takes what the guest left in its queues, for at most DEVICES_DRAIN_MS, resets and unplugs all, and frees them. The
 * vCPUs are gone. -EBUSY when a back end still holds guest memory after
 * DEVICES_DRAIN_MS: then nothing is freed, guest memory must stay mapped, and the process should end.
 */
int devices_free(struct devices *devs);
#define DEVICES_DRAIN_MS 1000

/* Any thread, while they exist: requests taken from all queues so far. */
uint64_t devices_requests(const struct devices *devs);

struct device_stats {
	const char *name; /* the type's option */
	unsigned int slot;
	uint64_t requests; /* taken from its queues */
	char *own; /* what its type has to say (struct virtio_type), a JSON object; heap; NULL: nothing */
};
/*
 * Adds to `stats`, an entry for each device in the order of the config; returns how many there are, at most `max`. What
 * a type says is replaced.
 */
unsigned int devices_add_stats(const struct devices *devs, struct device_stats *stats,
			       unsigned int max);

/* For --dry-run: a line each. */
void devices_describe(const struct devices *devs, FILE *out);

#endif
