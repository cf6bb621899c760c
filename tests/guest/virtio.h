/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The payload's PCI and virtio front end: configuration space by ports or ECAM, BARs, MSI-X and INTx, the
 * modern and the legacy transport, and one split ring a device. One request is out at a time. Guest-physical
 * addresses are virtual ones; cpu_load_tables() maps them.
 *
 * Source: VIRTIO 1.3, 2.7 (rings), 4.1 (PCI), 5.4 (rng); PCI 3.0, 6.1, 6.2.5 and 6.8.2.
 */
#ifndef GUEST_VIRTIO_H
#define GUEST_VIRTIO_H

#include "guest.h"

#define ECAM     0xe0000000ULL
#define PCI_MEM  0xc0000000ULL /* windows of the host bridge: 512 MiB, and 60 KiB of ports */
#define PCI_PIO  0x1000
#define SLOTS_NR 32

/* Configuration space. */
#define PCI_COMMAND     0x04
#define PCI_STATUS      0x06
#define PCI_BAR(n)      (0x10 + 4 * (n))
#define COMMAND_IO      0x0001
#define COMMAND_MEM     0x0002
#define COMMAND_MASTER  0x0004
#define COMMAND_ALL     0x0007
#define COMMAND_NO_INTX 0x0400
#define STATUS_INTX     0x0008
#define MSIX_ENABLE     0x8000
#define MSIX_MASK_ALL   0x4000
#define MSIX_ENTRY_LEN  16
#define MSIX_ENTRY_CTRL 12
#define MSIX_ENTRY_MASK 1

#define VIRTIO_MINI     63
#define VIRTIO_RNG      4
#define VIRTIO_BLK      2

/* 4.1.4.3 */
#define COMMON_DEV_SELECT   0x00
#define COMMON_DEV_FEATURE  0x04
#define COMMON_DRV_SELECT   0x08
#define COMMON_DRV_FEATURE  0x0c
#define COMMON_MSIX         0x10
#define COMMON_NUM_QUEUES   0x12
#define COMMON_STATUS       0x14
#define COMMON_QUEUE_SELECT 0x16
#define COMMON_QUEUE_SIZE   0x18
#define COMMON_QUEUE_MSIX   0x1a
#define COMMON_QUEUE_ENABLE 0x1c
#define COMMON_QUEUE_NOFF   0x1e
#define COMMON_QUEUE_DESC   0x20
#define COMMON_QUEUE_AVAIL  0x28
#define COMMON_QUEUE_USED   0x30
#define COMMON_LEN          0x40

/* 4.1.4.10 */
#define LEGACY_HOST_FEATURES  0x00
#define LEGACY_GUEST_FEATURES 0x04
#define LEGACY_PFN            0x08
#define LEGACY_QUEUE_SIZE     0x0c
#define LEGACY_QUEUE_SELECT   0x0e
#define LEGACY_NOTIFY         0x10
#define LEGACY_STATUS         0x12
#define LEGACY_ISR            0x13
#define LEGACY_MSIX           0x14
#define LEGACY_QUEUE_MSIX     0x16

#define STATUS_ACK            0x01
#define STATUS_DRIVER         0x02
#define STATUS_DRIVER_OK      0x04
#define STATUS_FEATURES_OK    0x08

#define RING_SIZE             64
#define BUF_LEN               64

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};
#define DESC_NEXT  1
#define DESC_WRITE 2

/* 2.7.2: the layout of a legacy driver, which a modern one may have too. */
struct ring {
	struct desc desc[RING_SIZE];
	struct {
		uint16_t flags, idx, ring[RING_SIZE], event;
	} avail;
	_Alignas(4096) struct {
		uint16_t flags, idx;
		struct {
			uint32_t id, len;
		} ring[RING_SIZE];
		uint16_t event;
	} used;
	uint8_t out[BUF_LEN], in[BUF_LEN];
} __attribute__((aligned(16384)));

/* Where a structure of 4.1.4 is; bar 0xff: it does not exist. */
struct place {
	uint8_t bar;
	uint32_t off, len;
};

enum door { DOOR_MMIO, DOOR_PIO, DOOR_LEGACY, DOOR_WINDOW };
enum irq_mode { IRQ_NONE, IRQ_MSIX, IRQ_INTX };

struct vdev {
	uint32_t slot;
	uint16_t id; /* VIRTIO_RNG, VIRTIO_MINI */
	bool ecam;   /* how its configuration space is reached */
	bool legacy; /* how it is driven */
	bool bar_io[6];
	uint64_t bar[6]; /* present address, as far as the driver knows */
	struct place common, isr, config, notify, notify_pio;
	uint8_t window, msix_cap; /* capabilities; 0: none */
	struct place table;       /* of MSI-X */
	enum door door;
	unsigned int door_width;
	enum irq_mode irq;
	unsigned int index; /* 0 or 1: its vectors and its ring */
	uint32_t features;  /* what to accept besides VERSION_1, as far as offered */
	struct ring *ring;
	uint16_t posted; /* avail.idx */
	uint32_t seed;
};

#define VDEVS_NR      2
#define VEC_MSI       0x50 /* of device i: configuration at + 2 i, queue at + 2 i + 1 */
#define VEC_INTX      0x60
#define INTX_GSI_BASE 16
#define INTX_GSIS_NR  8
extern volatile uint64_t msi_tsc; /* when the last message arrived */
extern volatile uint32_t msi_count[2 * VDEVS_NR], intx_count, intx_queue[VDEVS_NR];

/* pci.c */
uint32_t cfg_read(const struct vdev *d, uint32_t reg, unsigned int width);
void cfg_write(const struct vdev *d, uint32_t reg, unsigned int width, uint32_t v);
uint32_t conf1_read(uint32_t slot, uint32_t reg, unsigned int width);
void conf1_write(uint32_t slot, uint32_t reg, unsigned int width, uint32_t v);
uint64_t bar_read(const struct vdev *d, unsigned int bar, uint64_t off, unsigned int width);
void bar_write(const struct vdev *d, unsigned int bar, uint64_t off, unsigned int width,
	       uint64_t v);
void bar_set(struct vdev *d, unsigned int bar, uint64_t addr); /* both halves */
uint64_t bar_size(struct vdev *d, unsigned int bar);           /* leaves the address as it was */
uint64_t mem_read(bool io, uint64_t addr, unsigned int width);
void mem_write(bool io, uint64_t addr, unsigned int width, uint64_t v);
/* The n-th function of that type; ends the test when there is none. */
void vdev_find(struct vdev *d, uint16_t id, unsigned int nth, bool ecam);
void msix_entry(const struct vdev *d, unsigned int entry, uint64_t addr, uint32_t data,
		uint32_t control);
void msix_mask(const struct vdev *d, unsigned int entry, bool mask);
bool msix_pending(const struct vdev *d, unsigned int entry);
void msix_control(const struct vdev *d, uint16_t flags); /* Enable and Function Mask */
void irqs_init(void);
void intx_init(struct vdev *d);

/* virtio.c */
void vdev_reset(struct vdev *d);
void vdev_start(struct vdev *d, enum door door, enum irq_mode irq);
uint8_t vdev_status(const struct vdev *d);
uint8_t vdev_isr(const struct vdev *d);
uint64_t window_access(const struct vdev *d, const struct place *p, uint32_t off,
		       unsigned int width, bool write, uint32_t v);
bool door_is_io(const struct vdev *d);
uint64_t door_addr(const struct vdev *d);
void vdev_post(struct vdev *d); /* one request, no kick */
void vdev_kick(const struct vdev *d);
bool vdev_done(const struct vdev *d); /* nothing is out */
void vdev_finish(struct vdev *d);     /* waits for what was posted, and checks the answer */
void vdev_serve(struct vdev *d); /* post, kick, wait for the interrupt if there is one, finish */

/* cases-virtio.c: finds and starts what dev, door, irq, access and width say. */
void dev_from_args(struct vdev *d);

/* irq helpers of start.S */
void irq_msi0(void), irq_msi1(void), irq_msi2(void), irq_msi3(void), irq_intx(void);
void on_msi0(void), on_msi1(void), on_msi2(void), on_msi3(void), on_intx(void);

#endif
