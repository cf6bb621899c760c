/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include <lkvm/arch.h>
#include <lkvm/irq-route.h>
#include <lkvm/kvm.h>
#include <lkvm/util.h>

#define FIXED_MAX   256 /* the architecture's own */
#define ENTRIES_MAX (FIXED_MAX + IRQ_ROUTES_MAX)

/* Of a VM, while it has any; under its irq_routes_lock. */
struct irq_routes {
	unsigned int max; /* KVM's limit, and ours */
	unsigned int nr;  /* given out */
	uint32_t first;   /* number of given[0] */
	unsigned int fixed_nr;
	struct irq_route *given[IRQ_ROUTES_MAX];
	struct kvm_irq_routing table; /* what KVM is told; with room for ENTRIES_MAX */
};

static struct irq_routes *new_routes(const struct kvm *kvm)
{
	struct irq_routes *t = calloc(1, sizeof(*t) + ENTRIES_MAX * sizeof(t->table.entries[0]));
	unsigned int limit = (unsigned int)kvm_check_cap(kvm, KVM_CAP_IRQ_ROUTING);

	if (!t)
		return NULL;
	t->fixed_nr = arch_irq_routes(t->table.entries, FIXED_MAX);
	for (unsigned int i = 0; i < t->fixed_nr; i++)
		t->first = MAX(t->first, t->table.entries[i].gsi + 1);
	/* KVM limits the numbers as it does the entries; the architecture's have at most as many as entries. */
	t->max = limit > t->fixed_nr ? MIN(limit - t->fixed_nr, (unsigned int)IRQ_ROUTES_MAX) : 0;
	return t;
}

static int take_number_locked(struct irq_routes *t, struct irq_route *r)
{
	for (unsigned int i = 0; i < t->max; i++) {
		if (t->given[i])
			continue;
		t->given[i] = r;
		t->nr++;
		r->gsi = t->first + i;
		return 0;
	}
	return -ENOSPC;
}

static void drop_unused_locked(struct kvm *kvm)
{
	if (kvm->irq_routes && !kvm->irq_routes->nr) {
		free(kvm->irq_routes);
		kvm->irq_routes = NULL;
	}
}

int irq_route_init(struct irq_route *r, struct kvm *kvm)
{
	int ret = -ENOMEM;

	*r = (struct irq_route){ 0 };
	if (!kvm || kvm->msi_send || !kvm_check_cap(kvm, KVM_CAP_IRQ_ROUTING))
		return -ENOTSUP;
	pthread_mutex_lock(&kvm->irq_routes_lock);
	if (!kvm->irq_routes)
		kvm->irq_routes = new_routes(kvm);
	if (kvm->irq_routes)
		ret = take_number_locked(kvm->irq_routes, r);
	drop_unused_locked(kvm);
	pthread_mutex_unlock(&kvm->irq_routes_lock);
	if (!ret)
		r->kvm = kvm;
	return ret;
}

static int tell_kvm_locked(const struct kvm *kvm)
{
	struct irq_routes *t = kvm->irq_routes;
	unsigned int nr = t->fixed_nr;

	for (unsigned int i = 0; i < t->max; i++) {
		const struct irq_route *r = t->given[i];

		if (!r || !r->set)
			continue;
		struct kvm_irq_routing_entry *e = &t->table.entries[nr++];
		*e = (struct kvm_irq_routing_entry){ .gsi = r->gsi, .type = KVM_IRQ_ROUTING_MSI };
		e->u.msi.address_lo = (uint32_t)r->addr;
		e->u.msi.address_hi = r->addr >> 32;
		e->u.msi.data = r->data;
		if (kvm->msi_devid) {
			e->flags = KVM_MSI_VALID_DEVID;
			e->u.msi.devid = r->devid;
		}
	}
	t->table.nr = nr;
	return ioctl(kvm->vm_fd, KVM_SET_GSI_ROUTING, &t->table) ? -errno : 0;
}

void irq_route_release(struct irq_route *r)
{
	struct kvm *kvm = r->kvm;

	if (!kvm)
		return;
	pthread_mutex_lock(&kvm->irq_routes_lock);
	struct irq_routes *t = kvm->irq_routes;
	/* A message that nothing is bound to does no harm: KVM forgets it with the next change. */
	t->given[r->gsi - t->first] = NULL;
	t->nr--;
	drop_unused_locked(kvm);
	pthread_mutex_unlock(&kvm->irq_routes_lock);
	r->kvm = NULL;
}

int irq_route_set(struct irq_route *r, uint32_t devid, uint64_t addr, uint32_t data)
{
	if (r->set && r->devid == devid && r->addr == addr && r->data == data)
		return 0;
	pthread_mutex_lock(&r->kvm->irq_routes_lock);
	struct irq_route old = *r;
	r->set = true;
	r->devid = devid;
	r->addr = addr;
	r->data = data;
	int ret = tell_kvm_locked(r->kvm);
	/* The guest's message is what KVM may refuse, and the next route's change must not fail for it. */
	if (ret)
		*r = old;
	pthread_mutex_unlock(&r->kvm->irq_routes_lock);
	return ret;
}

static int irqfd(const struct irq_route *r, int fd, uint32_t flags)
{
	struct kvm_irqfd args = { .fd = (uint32_t)fd, .gsi = r->gsi, .flags = flags };

	return ioctl(r->kvm->vm_fd, KVM_IRQFD, &args) ? -errno : 0;
}

int irq_route_bind(struct irq_route *r, int fd)
{
	return irqfd(r, fd, 0);
}

void irq_route_unbind(struct irq_route *r, int fd)
{
	/* Of what is bound: it cannot fail. */
	irqfd(r, fd, KVM_IRQFD_FLAG_DEASSIGN);
}
