/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A virtio device as a PCI function: modern, legacy, or both (transitional).
 *
 * The function shows the driver's registers in base address registers and turns each access into one of
 * the core's calls, by value. What it keeps itself is what PCI adds: interrupt vectors, the interrupt
 * status, and doorbells.
 *
 *   BAR 0    I/O      the legacy registers, if it has a legacy side
 *   BAR 1    memory   MSI-X: vectors and pending bits
 *   BAR 2    I/O      doorbells as ports, 4 a queue, if asked for
 *   BAR 4+5  memory   a page each for the common registers, the interrupt status, the device's
 *                     configuration and the doorbells, if it has a modern side
 *
 * Doorbells. While the device runs, the writes that kick its queues go to their loops without an exit. The
 * core says when (DRIVER_OK, reset), the BARs where; what the driver's own interface needs is armed while
 * both hold, for all queues or none: a kick that is not taken traps, and is served all the same.
 *
 * Queues that the kernel serves (vhost) have their doorbells on the eventfd that it reads, and interrupt by one that KVM
 * sends from while MSI-X may; else their owner's loop does.
 *
 * Threads. The registers are for any vCPU's thread. Interrupts are raised on any thread and take leaf
 * locks only. Lock order: pci -> registers -> virtio device -> doorbells -> bus -> interrupt.
 *
 * Source: VIRTIO 1.3, 4.1; the rows of the project's checklist are PCI-n and LEG-n.
 */
#ifndef LKVM_VIRTIO_TRANSPORT_PCI_H
#define LKVM_VIRTIO_TRANSPORT_PCI_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <lkvm/err.h>
#include <lkvm/ioeventfd.h>
#include <lkvm/pci.h>
#include <lkvm/virtio/device.h>

enum virtio_pci_how {
	VIRTIO_TRANS_PCI, /* both sides, as far as the type has them */
	VIRTIO_TRANS_PCI_MODERN,
	VIRTIO_TRANS_PCI_LEGACY,
};

enum virtio_pci_pio_notify {
	VIRTIO_PCI_PIO_NOTIFY_AUTO, /* where the host prefers ports, and there is a modern side */
	VIRTIO_PCI_PIO_NOTIFY_ON,
	VIRTIO_PCI_PIO_NOTIFY_OFF,
};

#define VIRTIO_PCI_VECTORS_AUTO (-1)

struct virtio_pci_opts {
	enum virtio_pci_how how;
	int vectors; /* of MSI-X; AUTO: one a queue and one more; 0: none, INTx only */
	enum virtio_pci_pio_notify pio_notify;
	bool prefers_port; /* for AUTO: ports are the cheaper doorbells */
	struct kvm *kvm;   /* NULL: every kick traps */
};

/* Where kicks are written, in the order in which a driver would choose. */
enum virtio_pci_place {
	VIRTIO_PCI_PLACE_MEM,
	VIRTIO_PCI_PLACE_PIO,
	VIRTIO_PCI_PLACE_LEGACY,
	VIRTIO_PCI_PLACES_NR,
};

struct virtio_pci_doorbell {
	struct ioeventfd e;
	struct virtqueue *vq;
};

struct virtio_pci_doorbells {
	pthread_mutex_t lock;
	struct kvm *kvm;
	unsigned int wanted; /* places, a bit each; 0 while the device does not run */
	struct {
		bool active; /* its BAR answers, at `addr` */
		bool armed;
		uint64_t addr;
		struct virtio_pci_doorbell *queue; /* one a queue; NULL: there is no such place */
	} places[VIRTIO_PCI_PLACES_NR];
};

/* Of a queue that the kernel serves: its descriptors, and who looks at `call` when the kernel cannot interrupt. */
struct virtio_pci_fds {
	struct virtio_pci *vp;
	struct virtqueue *vq;
	int kick;
	struct loop_fd call;
	struct pci_irqfd irq;
};

struct virtio_pci {
	struct pci_device pd;
	struct virtio_device *vd; /* not owned */
	bool modern, legacy;      /* the sides that it has */
	bool pio_notify;
	uint8_t window_cap; /* offset of the capability in configuration space, 0: none */

	/* Accesses of more than one step: the selected queue's vector, and halves of its addresses. */
	pthread_mutex_t regs_lock;
	/* Vectors that exist, or NO_VECTOR; read by every interrupt. */
	_Atomic uint16_t config_vector, queue_vector[VIRTIO_QUEUES_MAX];

	pthread_mutex_t isr_lock; /* a leaf but for pci_intx_set() */
	uint8_t isr;

	struct virtio_pci_doorbells db;
	pthread_mutex_t fds_lock;   /* vectors of `fds`: a register's write and a reset may meet */
	struct virtio_pci_fds *fds; /* one a queue; NULL: the kernel serves none */
};

/*
 * Puts a realized device on the bus. ERR_USAGE when what was asked for and what the type has do not meet, or the bus is
 * full; nothing is left behind. The storage is the caller's, until virtio_pci_unplug().
 */
int virtio_pci_plug(struct virtio_pci *vp, struct virtio_device *vd, struct pci *pci,
		    const struct virtio_pci_opts *opts, struct err *err);
/* The vCPUs are gone; the device is realized again. */
void virtio_pci_unplug(struct virtio_pci *vp);

#endif
