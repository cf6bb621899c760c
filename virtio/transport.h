/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the files of the PCI transport share. Private to virtio/transport-*.c.
 */
#ifndef LKVM_VIRTIO_TRANSPORT_H
#define LKVM_VIRTIO_TRANSPORT_H

#include <lkvm/virtio/transport-pci.h>

enum { BAR_LEGACY = 0, BAR_MSIX = 1, BAR_NOTIFY = 2, BAR_MODERN = 4 };

#define NO_VECTOR 0xffff /* 4.1.5.1.2.1 */

/* 4.1.4.10: what stands before the device's own configuration. */
#define LEGACY_HEADER_LEN      0x14
#define LEGACY_HEADER_MSIX_LEN 0x18
#define LEGACY_NOTIFY          0x10
#define LEGACY_BAR_MIN         64
#define LEGACY_BAR_MAX         256 /* PCI 3.0, 6.2.5.1: of an I/O BAR */

/* 4.1.4: the structures of the modern side and their places in its BAR, a page each. */
#define MODERN_PAGE     0x1000
#define MODERN_BAR_LEN  (4 * MODERN_PAGE)
#define COMMON_LEN      0x40
#define NOTIFY_MULTIPLY 4
enum modern_page { PAGE_COMMON, PAGE_ISR, PAGE_DEVICE, PAGE_NOTIFY };

/* A register: where it is, and the core's call for it. */
struct virtio_reg {
	uint8_t off, width; /* 1, 2, 4 or 8; one of 8 is also written in halves */
	uint64_t (*get)(struct virtio_pci *vp);             /* NULL: reads 0 */
	void (*set)(struct virtio_pci *vp, uint64_t value); /* NULL: read-only */
};

/* The bytes of the registers at [off, off + width); between registers they are 0. */
uint64_t virtio_regs_read(struct virtio_pci *vp, const struct virtio_reg *regs, unsigned int nr,
			  uint64_t off, unsigned int width);
/* Taken at a register's own width and place only (PCI-12). */
void virtio_regs_write(struct virtio_pci *vp, const struct virtio_reg *regs, unsigned int nr,
		       uint64_t off, unsigned int width, uint64_t value);

/* Registers that both sides have. A write through the side that does not drive the device is ignored. */
uint64_t virtio_pci_get_config_vector(struct virtio_pci *vp);
/* Interrupts of a queue, on its owner's thread. */
void virtio_pci_irq_queue(struct virtio_device *vd, uint16_t queue);
void virtio_pci_set_config_vector(struct virtio_pci *vp, enum virtio_iface iface, uint64_t v);
uint64_t virtio_pci_get_queue_vector(struct virtio_pci *vp);
void virtio_pci_set_queue_vector(struct virtio_pci *vp, enum virtio_iface iface, uint64_t v);
void virtio_pci_queue_select(struct virtio_pci *vp, uint64_t v);
uint64_t virtio_pci_config_read(struct virtio_pci *vp, uint64_t off, unsigned int width);
void virtio_pci_config_write(struct virtio_pci *vp, enum virtio_iface iface, uint64_t off,
			     unsigned int width, uint64_t value);
/* The interrupt status; reading takes it, and the line goes down. */
uint8_t virtio_pci_take_isr(struct virtio_pci *vp);

/* The operations of each BAR. */
extern const struct pci_bar_ops virtio_pci_modern_bar, virtio_pci_notify_bar, virtio_pci_legacy_bar;
/* The access window (4.1.4.9). */
uint32_t virtio_pci_window_read(struct pci_device *pd, unsigned int width);
void virtio_pci_window_write(struct pci_device *pd, unsigned int width, uint32_t value);

/* Descriptors of the queues that the kernel serves. */
int virtio_pci_fds_init(struct virtio_pci *vp, struct kvm *kvm);
void virtio_pci_fds_release(struct virtio_pci *vp);
void virtio_pci_queue_fds(struct virtio_device *vd, uint16_t queue, struct virtio_queue_fds *fds);
/* The queue's vector has changed, or may have. */
void virtio_pci_fds_vector(struct virtio_pci *vp, uint16_t queue);

int virtio_pci_doorbells_init(struct virtio_pci *vp, struct kvm *kvm);
void virtio_pci_doorbells_release(struct virtio_pci *vp);
int virtio_pci_doorbells_on(struct virtio_device *vd);
void virtio_pci_doorbells_off(struct virtio_device *vd);
/* A BAR answers, or no longer. */
void virtio_pci_bar_on(struct pci_device *pd, unsigned int bar, uint64_t addr);
void virtio_pci_bar_off(struct pci_device *pd, unsigned int bar);

#endif
