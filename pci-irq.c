/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <stdlib.h>

#include <lkvm/util.h>

#include "pci-priv.h"

#define MSIX_BAR_MIN   4096u /* no smaller than the pages that a driver maps */
#define MSIX_ADDR_BITS (~3u) /* 6.8.2.7: a message is a dword */

/* --- MSI-X --- */

bool pci_msix_enabled(const struct pci_device *pd)
{
	return atomic_load(&pd->msix_control) & PCI_MSIX_FLAGS_ENABLE;
}

static bool may_send(const struct pci_device *pd, const struct pci_msix_vector *v)
{
	return !(atomic_load(&pd->msix_control) & PCI_MSIX_FLAGS_MASKALL) &&
	       !(v->control & PCI_MSIX_ENTRY_CTRL_MASKBIT) && atomic_load(&pd->bus_master);
}

/* Under the vector's lock: whoever changes a mask takes it afterwards, and then nothing is on its way. */
static void send_pending_locked(struct pci_device *pd, struct pci_msix_vector *v)
{
	if (!pci_msix_enabled(pd)) {
		v->pending = false;
	} else if (v->pending && may_send(pd, v)) {
		v->pending = false;
		irq_msi_send(pd->pci->kvm, pd->slot << 3, (uint64_t)v->addr_hi << 32 | v->addr_lo,
			     v->data);
	}
}

/*
 * The owner reads the eventfd on another thread: what it reads while `direct` is not set it signals itself. So that is
 * set after KVM has begun, which looks for earlier writes, and cleared before KVM ends.
 */
static void irqfd_unbind_locked(struct pci_irqfd *f)
{
	if (!atomic_load(&f->direct))
		return;
	atomic_store(&f->direct, false);
	irq_route_unbind(&f->route, f->fd);
}

static void irqfd_update_locked(struct pci_device *pd, const struct pci_msix_vector *v,
				struct pci_irqfd *f)
{
	uint64_t addr = (uint64_t)v->addr_hi << 32 | v->addr_lo;

	/* A masked entry may be anything: it is not looked at before it is used. */
	if (!f->route.kvm)
		return;
	if (!pci_msix_enabled(pd) || !may_send(pd, v) ||
	    irq_route_set(&f->route, pd->slot << 3, addr, v->data))
		irqfd_unbind_locked(f);
	else if (!atomic_load(&f->direct))
		atomic_store(&f->direct, irq_route_bind(&f->route, f->fd) == 0);
}

/* The entry, or what lets it send, has changed. */
static void vector_changed_locked(struct pci_device *pd, struct pci_msix_vector *v)
{
	for (struct pci_irqfd *f = v->irqfds; f; f = f->next)
		irqfd_update_locked(pd, v, f);
	send_pending_locked(pd, v);
}

void pci_irqfd_init(struct pci_irqfd *f, struct pci_device *pd, struct kvm *kvm, int fd)
{
	*f = (struct pci_irqfd){ .fd = fd, .pd = pd, .vector = PCI_NO_VECTOR };
	/* Without a route the owner does it all. */
	(void)irq_route_init(&f->route, kvm);
}

void pci_irqfd_release(struct pci_irqfd *f)
{
	pci_irqfd_set_vector(f, PCI_NO_VECTOR);
	irq_route_release(&f->route);
}

static void irqfd_leave(struct pci_irqfd *f)
{
	struct pci_msix_vector *v = &f->pd->msix[f->vector];

	pthread_mutex_lock(&v->lock);
	for (struct pci_irqfd **p = &v->irqfds; *p; p = &(*p)->next) {
		if (*p == f) {
			*p = f->next;
			break;
		}
	}
	irqfd_unbind_locked(f);
	pthread_mutex_unlock(&v->lock);
}

void pci_irqfd_set_vector(struct pci_irqfd *f, uint32_t vector)
{
	if (f->vector == vector)
		return;
	if (f->vector != PCI_NO_VECTOR)
		irqfd_leave(f);
	f->vector = vector;
	if (vector == PCI_NO_VECTOR)
		return;
	BUG_ON(vector >= f->pd->msix_nr);
	struct pci_msix_vector *v = &f->pd->msix[vector];
	pthread_mutex_lock(&v->lock);
	f->next = v->irqfds;
	v->irqfds = f;
	irqfd_update_locked(f->pd, v, f);
	pthread_mutex_unlock(&v->lock);
}

bool pci_irqfd_is_direct(const struct pci_irqfd *f)
{
	return atomic_load(&f->direct);
}

void pci_msix_signal(struct pci_device *pd, unsigned int vector)
{
	BUG_ON(vector >= pd->msix_nr);
	struct pci_msix_vector *v = &pd->msix[vector];

	pthread_mutex_lock(&v->lock);
	v->pending = true;
	send_pending_locked(pd, v);
	pthread_mutex_unlock(&v->lock);
}

void pci_msix_update_locked(struct pci_device *pd)
{
	if (!pd->msix_nr)
		return;
	atomic_store(&pd->msix_control, pci_config_load(pd, pd->msix_cap) >> 16);
	for (unsigned int i = 0; i < pd->msix_nr; i++) {
		struct pci_msix_vector *v = &pd->msix[i];

		pthread_mutex_lock(&v->lock);
		vector_changed_locked(pd, v);
		pthread_mutex_unlock(&v->lock);
	}
}

/* Where the pending bits start: at half of the BAR, past the longest table. */
static uint64_t pba_off(const struct pci_device *pd)
{
	return pd->bars[pd->msix_bar].size / 2;
}

static uint32_t *entry_dword(struct pci_msix_vector *v, uint64_t off)
{
	switch (off % PCI_MSIX_ENTRY_SIZE) {
	case PCI_MSIX_ENTRY_LOWER_ADDR:
		return &v->addr_lo;
	case PCI_MSIX_ENTRY_UPPER_ADDR:
		return &v->addr_hi;
	case PCI_MSIX_ENTRY_DATA:
		return &v->data;
	default:
		return &v->control;
	}
}

static uint32_t table_read(struct pci_device *pd, uint64_t off)
{
	if (off / PCI_MSIX_ENTRY_SIZE >= pd->msix_nr)
		return 0;
	struct pci_msix_vector *v = &pd->msix[off / PCI_MSIX_ENTRY_SIZE];

	pthread_mutex_lock(&v->lock);
	uint32_t value = *entry_dword(v, off);
	pthread_mutex_unlock(&v->lock);
	return value;
}

static uint32_t pba_read(struct pci_device *pd, uint64_t off)
{
	uint32_t bits = 0;

	for (unsigned int i = 0; i < 32 && off * 8 + i < pd->msix_nr; i++) {
		struct pci_msix_vector *v = &pd->msix[off * 8 + i];

		pthread_mutex_lock(&v->lock);
		bits |= (uint32_t)v->pending << i;
		pthread_mutex_unlock(&v->lock);
	}
	return bits;
}

static uint64_t msix_read(struct pci_device *pd, unsigned int bar, uint64_t off, unsigned int width)
{
	uint8_t dwords[12] = { 0 };
	uint64_t first = off & ~3ull;

	(void)bar;
	for (uint64_t at = first; at < off + width; at += 4)
		put_le32(dwords + (at - first),
			 at < pba_off(pd) ? table_read(pd, at) : pba_read(pd, at - pba_off(pd)));
	return get_le64(dwords + (off - first));
}

/* Whole dwords or qwords: 6.8.2. The pending bits are the function's. */
static void msix_write(struct pci_device *pd, unsigned int bar, uint64_t off, unsigned int width,
		       uint64_t value)
{
	(void)bar;
	if (width < 4 || off % width || off / PCI_MSIX_ENTRY_SIZE >= pd->msix_nr)
		return;
	struct pci_msix_vector *v = &pd->msix[off / PCI_MSIX_ENTRY_SIZE];

	pthread_mutex_lock(&v->lock);
	for (unsigned int i = 0; i < width; i += 4)
		*entry_dword(v, off + i) = (uint32_t)(value >> (8 * i));
	v->addr_lo &= MSIX_ADDR_BITS;
	v->control &= PCI_MSIX_ENTRY_CTRL_MASKBIT;
	vector_changed_locked(pd, v);
	pthread_mutex_unlock(&v->lock);
}

static const struct pci_bar_ops msix_bar_ops = { .read = msix_read, .write = msix_write };

int pci_add_msix(struct pci_device *pd, unsigned int bar, unsigned int vectors, struct err *err)
{
	uint8_t body[PCI_CAP_MSIX_SIZEOF - 2] = { 0 };
	static const uint8_t wmask[PCI_CAP_MSIX_SIZEOF - 2] = {
		[1] = (PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL) >> 8
	};
	uint32_t half = MSIX_BAR_MIN / 2;

	BUG_ON(!vectors || vectors > PCI_MSIX_MAX || pd->msix_nr || bar >= PCI_BARS_NR);
	while (half < vectors * PCI_MSIX_ENTRY_SIZE)
		half *= 2;
	put_le16(body + PCI_MSIX_FLAGS - 2, (uint16_t)(vectors - 1));
	put_le32(body + PCI_MSIX_TABLE - 2, bar);
	put_le32(body + PCI_MSIX_PBA - 2, half | bar);

	pd->msix = calloc(vectors, sizeof(pd->msix[0]));
	if (!pd->msix)
		return err_host(err, ENOMEM, "%s: no memory for interrupt vectors", pd->ops->name);
	pd->msix_cap = pci_add_cap(pd, PCI_CAP_ID_MSIX, body, sizeof(body), wmask);
	if (!pd->msix_cap) {
		free(pd->msix);
		pd->msix = NULL;
		return err_internal(err, "%s: no room for the MSI-X capability", pd->ops->name);
	}
	for (unsigned int i = 0; i < vectors; i++) {
		pthread_mutex_init(&pd->msix[i].lock, NULL);
		pd->msix[i].control = PCI_MSIX_ENTRY_CTRL_MASKBIT;
	}
	pd->msix_nr = vectors;
	pd->msix_bar = bar;
	pci_set_bar(pd, bar, PCI_BAR_MEM32, 2 * half, &msix_bar_ops);
	return 0;
}

/* --- INTx --- */

static void intx_update_locked(struct pci_device *pd)
{
	struct pci *pci = pd->pci;
	struct pci_intx *intx = &pci->intx[pd->slot % pci->cfg.gsi_nr];
	bool on = pd->intx && !pci_msix_enabled(pd) &&
		  !(pci_config_load(pd, PCI_COMMAND) & PCI_COMMAND_INTX_DISABLE);

	if (on == pd->intx_on_line)
		return;
	pd->intx_on_line = on;
	intx->asserted += on ? 1 : -1;
	irq_line_set(&intx->line, intx->asserted);
}

void pci_intx_update(struct pci_device *pd)
{
	pthread_mutex_lock(&pd->pci->intx_lock);
	intx_update_locked(pd);
	pthread_mutex_unlock(&pd->pci->intx_lock);
}

void pci_intx_set(struct pci_device *pd, bool level)
{
	uint32_t status = (uint32_t)PCI_STATUS_INTERRUPT << 16;

	if (!pd->pci)
		return;
	pthread_mutex_lock(&pd->pci->intx_lock);
	pd->intx = level;
	pci_config_store(pd, PCI_COMMAND, status, level ? status : 0);
	intx_update_locked(pd);
	pthread_mutex_unlock(&pd->pci->intx_lock);
}
