/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Doorbells of a PCI function: what KVM is told to watch, while the device runs and its BAR answers.
 *
 * The lock is held while KVM and the loops are waited for. Nothing that a loop calls takes it, nor any
 * lock above it.
 */
#include <errno.h>
#include <stdlib.h>

#include <lkvm/util.h>

#include "transport.h"

static const unsigned int place_bars[] = {
	[VIRTIO_PCI_PLACE_MEM] = BAR_MODERN,
	[VIRTIO_PCI_PLACE_PIO] = BAR_NOTIFY,
	[VIRTIO_PCI_PLACE_LEGACY] = BAR_LEGACY,
};

static const unsigned int iface_places[] = {
	[VIRTIO_IFACE_NONE] = 0,
	[VIRTIO_IFACE_MODERN] = 1u << VIRTIO_PCI_PLACE_MEM | 1u << VIRTIO_PCI_PLACE_PIO,
	[VIRTIO_IFACE_LEGACY] = 1u << VIRTIO_PCI_PLACE_LEGACY,
};

static bool has_place(const struct virtio_pci *vp, enum virtio_pci_place place)
{
	switch (place) {
	case VIRTIO_PCI_PLACE_MEM:
		return vp->modern;
	case VIRTIO_PCI_PLACE_PIO:
		return vp->pio_notify;
	case VIRTIO_PCI_PLACE_LEGACY:
	case VIRTIO_PCI_PLACES_NR:
		break;
	}
	return vp->legacy;
}

/* `addr` is where the BAR answers. */
static struct ioeventfd_place place_of(enum virtio_pci_place place, uint64_t addr, uint16_t queue)
{
	switch (place) {
	case VIRTIO_PCI_PLACE_MEM:
		/* Any width, and no data: KVM need not even look at the instruction. */
		addr += PAGE_NOTIFY * MODERN_PAGE + NOTIFY_MULTIPLY * (uint64_t)queue;
		return (struct ioeventfd_place){ .addr = addr };
	case VIRTIO_PCI_PLACE_PIO:
		addr += NOTIFY_MULTIPLY * (uint64_t)queue;
		return (struct ioeventfd_place){ .addr = addr, .pio = true, .len = 2 };
	case VIRTIO_PCI_PLACE_LEGACY:
	case VIRTIO_PCI_PLACES_NR:
		break;
	}
	/* One port for all queues: the value tells them apart. */
	return (struct ioeventfd_place){
		.addr = addr + LEGACY_NOTIFY, .pio = true, .len = 2, .match = true, .data = queue
	};
}

static void on_doorbell(struct ioeventfd *e)
{
	virtio_queue_serve(container_of(e, struct virtio_pci_doorbell, e)->vq);
}

static void disarm_locked(struct virtio_pci *vp, enum virtio_pci_place place)
{
	for (uint16_t i = 0; i < virtio_queues_nr(vp->vd); i++)
		ioeventfd_remove(&vp->db.places[place].queue[i].e);
	vp->db.places[place].armed = false;
}

static int arm_locked(struct virtio_pci *vp, enum virtio_pci_place place)
{
	vp->db.places[place].armed = true;
	for (uint16_t i = 0; i < virtio_queues_nr(vp->vd); i++) {
		struct virtio_pci_doorbell *d = &vp->db.places[place].queue[i];
		struct ioeventfd_place at = place_of(place, vp->db.places[place].addr, i);
		struct virtio_queue_fds fds;
		int ret;

		if (d->vq->vhost) {
			virtio_pci_queue_fds(vp->vd, i, &fds);
			ret = ioeventfd_add_fd(&d->e, vp->db.kvm, fds.kick, &at);
		} else {
			ret = ioeventfd_add(&d->e, vp->db.kvm, d->vq->loop, &at, on_doorbell);
		}

		if (ret)
			return ret;
	}
	return 0;
}

static bool is_due(const struct virtio_pci_doorbells *db, enum virtio_pci_place place)
{
	return db->places[place].active && (db->wanted & 1u << place);
}

/* Makes what is armed what is due: all of it, or nothing. */
static int update_locked(struct virtio_pci *vp)
{
	struct virtio_pci_doorbells *db = &vp->db;
	int ret = 0;

	for (unsigned int i = 0; i < VIRTIO_PCI_PLACES_NR; i++)
		if (db->places[i].armed && !is_due(db, i))
			disarm_locked(vp, i);
	for (unsigned int i = 0; i < VIRTIO_PCI_PLACES_NR && !ret; i++)
		if (!db->places[i].armed && is_due(db, i))
			ret = arm_locked(vp, i);
	for (unsigned int i = 0; i < VIRTIO_PCI_PLACES_NR && ret; i++)
		if (db->places[i].armed)
			disarm_locked(vp, i);
	return ret;
}

int virtio_pci_doorbells_on(struct virtio_device *vd)
{
	struct virtio_pci *vp = vd->transport_priv;
	unsigned int places = 0;

	if (!vp->db.kvm)
		return -ENOSYS;
	for (unsigned int i = 0; i < VIRTIO_PCI_PLACES_NR; i++)
		if (vp->db.places[i].queue)
			places |= 1u << i;
	pthread_mutex_lock(&vp->db.lock);
	vp->db.wanted = places & iface_places[vd->iface];
	int ret = update_locked(vp);
	/* The core does not take back what it was refused. */
	if (ret)
		vp->db.wanted = 0;
	pthread_mutex_unlock(&vp->db.lock);
	return ret;
}

void virtio_pci_doorbells_off(struct virtio_device *vd)
{
	struct virtio_pci *vp = vd->transport_priv;

	pthread_mutex_lock(&vp->db.lock);
	vp->db.wanted = 0;
	update_locked(vp);
	pthread_mutex_unlock(&vp->db.lock);
}

static void set_active(struct virtio_pci *vp, unsigned int bar, bool active, uint64_t addr)
{
	struct virtio_pci_doorbells *db = &vp->db;

	pthread_mutex_lock(&db->lock);
	for (unsigned int i = 0; i < VIRTIO_PCI_PLACES_NR; i++) {
		if (place_bars[i] != bar)
			continue;
		db->places[i].active = active;
		db->places[i].addr = addr;
	}
	/* Kicks that find no doorbell trap, so there is nobody to tell of a failure. */
	update_locked(vp);
	bool look = active && db->wanted;
	pthread_mutex_unlock(&db->lock);
	/* A kick may have met neither doorbell nor trap while the BAR was on its way. */
	for (uint16_t i = 0; look && i < virtio_queues_nr(vp->vd); i++)
		virtio_queue_notify(vp->vd, i);
}

void virtio_pci_bar_on(struct pci_device *pd, unsigned int bar, uint64_t addr)
{
	set_active(pd->priv, bar, true, addr);
}

void virtio_pci_bar_off(struct pci_device *pd, unsigned int bar)
{
	set_active(pd->priv, bar, false, 0);
}

int virtio_pci_doorbells_init(struct virtio_pci *vp, struct kvm *kvm)
{
	uint16_t nr = virtio_queues_nr(vp->vd);

	pthread_mutex_init(&vp->db.lock, NULL);
	vp->db.kvm = kvm;
	for (unsigned int i = 0; i < VIRTIO_PCI_PLACES_NR; i++) {
		if (!kvm || !nr || !has_place(vp, i))
			continue;
		struct virtio_pci_doorbell *d = calloc(nr, sizeof(*d));
		if (!d)
			return -ENOMEM;
		for (uint16_t q = 0; q < nr; q++)
			d[q].vq = &vp->vd->vqs[q];
		vp->db.places[i].queue = d;
	}
	return 0;
}

void virtio_pci_doorbells_release(struct virtio_pci *vp)
{
	for (unsigned int i = 0; i < VIRTIO_PCI_PLACES_NR; i++)
		free(vp->db.places[i].queue);
	pthread_mutex_destroy(&vp->db.lock);
}
