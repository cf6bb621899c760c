/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A PCI bus with virtio functions on it, and a driver that reaches them as a guest does: through the two
 * buses and configuration space, nothing else. A write that KVM would have caught rings its doorbell.
 *
 * Interrupts are recorded here, in the place of irq.c. A function's vector i is programmed with a message
 * that names the function and i; with a driver of driver.h vector 0 is the configuration's and i + 1 queue
 * i's.
 */
#ifndef LKVM_TESTS_MOCK_PCI_H
#define LKVM_TESTS_MOCK_PCI_H

#include <lkvm/kvm.h>
#include <lkvm/virtio/transport-pci.h>

#include "driver.h"

/* The machine's address map. */
#define MOCK_ECAM      0xe0000000ULL
#define MOCK_IO        0x1000ULL
#define MOCK_IO_LEN    0xf000ULL
#define MOCK_MEM32     0xc0000000ULL
#define MOCK_MEM32_LEN 0x10000000ULL
#define MOCK_MEM64     0x8000000000ULL
#define MOCK_MEM64_LEN 0x100000000ULL
#define MOCK_GSI       16
#define MOCK_GSIS      4
#define MOCK_VECTORS   64
#define MOCK_ROUTES    20 /* of KVM, the architecture's one among them */

struct mock_pci {
	struct bus pio, mmio;
	struct pci pci;
	struct log log;
};

void mock_pci_init(struct mock_pci *m);
void mock_pci_release(struct mock_pci *m);

/* --- a guest's accesses --- */

/* Little-endian numbers of 1 to 8 bytes. */
uint64_t mock_in(struct mock_pci *m, bool pio, uint64_t addr, unsigned int len);
void mock_out(struct mock_pci *m, bool pio, uint64_t addr, unsigned int len, uint64_t v);
/* Configuration space of a slot: through the ports, or through ECAM. */
uint32_t mock_conf(struct mock_pci *m, bool ecam, unsigned int slot, uint32_t off,
		   unsigned int len);
void mock_set_conf(struct mock_pci *m, bool ecam, unsigned int slot, uint32_t off, unsigned int len,
		   uint32_t v);

/* --- interrupts --- */

/* Any thread. Of the line of a GSI. */
bool mock_line(unsigned int gsi);
/* How often it went up. */
uint32_t mock_line_rises(unsigned int gsi);

/* --- a function and what its driver knows of it --- */

enum mock_structure { MOCK_COMMON, MOCK_NOTIFY, MOCK_ISR, MOCK_DEVICE, MOCK_STRUCTURES };

struct mock_place {
	uint8_t cap; /* offset of the capability, 0: none */
	uint8_t bar;
	uint32_t off, len;
};

struct mock_fn {
	struct mock_pci *m;
	struct virtio_pci vp;
	struct drv *d; /* NULL: only `messages` are counted */
	unsigned int slot;
	uint32_t id;         /* in its messages */
	bool ecam;           /* its configuration space is reached so */
	bool legacy, window; /* how its registers are */
	uint64_t bars[PCI_BARS_NR];
	bool io[PCI_BARS_NR];
	struct mock_place at[MOCK_STRUCTURES];
	uint32_t notify_multiply;
	uint16_t notify_off[VIRTIO_QUEUES_MAX];
	uint8_t window_cap, msix_cap;
	unsigned int vectors;
	bool msix_on;
	pthread_mutex_t lock; /* the window's aim */
	_Atomic uint32_t messages[MOCK_VECTORS];
	_Atomic uint32_t strange; /* messages whose data names no vector; the last one's data */
	_Atomic uint64_t last_addr;
};

/* Plugs it; decode and bus mastering on, capabilities walked, vectors programmed, MSI-X enabled if there are any. */
void mock_fn_init(struct mock_fn *fn, struct mock_pci *m, struct virtio_device *vd,
		  const struct virtio_pci_opts *opts);
void mock_fn_release(struct mock_fn *fn);
/* Looks for its BARs again: a test has moved them. */
void mock_fn_find_bars(struct mock_fn *fn);
void mock_fn_enable_msix(struct mock_fn *fn, bool on);

uint32_t mock_fn_conf(struct mock_fn *fn, uint32_t off, unsigned int len);
void mock_fn_set_conf(struct mock_fn *fn, uint32_t off, unsigned int len, uint32_t v);
/* In a BAR. */
uint64_t mock_fn_in(struct mock_fn *fn, unsigned int bar, uint64_t off, unsigned int len);
void mock_fn_out(struct mock_fn *fn, unsigned int bar, uint64_t off, unsigned int len, uint64_t v);
/* In a structure, by BAR or by window as the function's driver does it. */
uint64_t mock_fn_get(struct mock_fn *fn, enum mock_structure s, uint64_t off, unsigned int len);
void mock_fn_set(struct mock_fn *fn, enum mock_structure s, uint64_t off, unsigned int len,
		 uint64_t v);
/* Through the window, wherever it points. */
uint32_t mock_fn_window_in(struct mock_fn *fn, uint32_t bar, uint32_t off, uint32_t len,
			   unsigned int width);
void mock_fn_window_out(struct mock_fn *fn, uint32_t bar, uint32_t off, uint32_t len,
			unsigned int width, uint32_t v);

/* --- transports --- */

extern const struct drv_transport_ops drv_pci;        /* modern, by its BARs */
extern const struct drv_transport_ops drv_pci_armed;  /* the same on a KVM that takes doorbells */
extern const struct drv_transport_ops drv_pci_pio;    /* the same with doorbells in ports */
extern const struct drv_transport_ops drv_pci_window; /* modern, by the access window alone */
extern const struct drv_transport_ops drv_pci_legacy; /* ports */
extern const struct drv_transport_ops drv_pci_legacy_armed;

/* Of a driver on one of them. */
struct mock_fn *mock_fn_of(struct drv *d);
/* The KVM that its doorbells are with; NULL: none. */
struct fake_kvm *mock_kvm_of(struct drv *d);

#endif
