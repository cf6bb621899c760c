/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Messages (MSI) that KVM sends by itself when an eventfd is written: each is a number of KVM's (GSI) with the
 * message in the VM's table of routes.
 *
 * Calls for different routes may come on any threads; the caller serialises those for one. Setting a route costs a
 * grace period of the host's kernel, so it is left alone while it does not change.
 *
 * Source: KVM_SET_GSI_ROUTING and KVM_IRQFD in Documentation/virt/kvm/api.rst.
 */
#ifndef LKVM_IRQ_ROUTE_H
#define LKVM_IRQ_ROUTE_H

#include <stdbool.h>
#include <stdint.h>

struct kvm;

#define IRQ_ROUTES_MAX 512 /* of a VM: two a pair of 8 for each of 31 cards, and some */

struct irq_route {
	struct kvm *kvm; /* NULL: it was not given one */
	uint32_t gsi;
	bool set; /* the rest is in KVM's table */
	uint32_t devid;
	uint64_t addr;
	uint32_t data;
};

/* A number of its own. -ENOTSUP: this KVM has no routes, or `kvm` is NULL; -ENOSPC: they are used up; -ENOMEM. */
int irq_route_init(struct irq_route *r, struct kvm *kvm);
/* It is bound to nothing. No-op when it was not given a number. */
void irq_route_release(struct irq_route *r);
/* The message, as in irq_msi_send(). 0 or -errno, and then the table is as it was. Free when nothing changes. */
int irq_route_set(struct irq_route *r, uint32_t devid, uint64_t addr, uint32_t data);
/* Each write to the eventfd sends the message from now on, also one that nobody has read yet. 0 or -errno. */
int irq_route_bind(struct irq_route *r, int fd);
/* No longer: when it returns, what was written before has been sent. */
void irq_route_unbind(struct irq_route *r, int fd);

#endif
