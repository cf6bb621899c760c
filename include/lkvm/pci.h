/* SPDX-License-Identifier: GPL-2.0 */
/*
 * PCI bus 0: configuration space through the ports CF8/CFC and through ECAM, base address registers,
 * MSI-X, and the shared INTx lines. It knows no virtio.
 *
 * One bus of 32 slots, function 0 of each; slot 0 is the host bridge. Every byte of a function's
 * configuration space has a write mask: a bit that is not in it never changes by the guest's hand.
 *
 * Base address registers. A BAR answers while its decode bit in Command is set, its range lies as a whole
 * inside the host bridge's window of its kind, and no BAR of a lower slot, or of a lower number in the
 * same slot, that answers overlaps it. So RAM and the fixed devices always win over a BAR, two BARs
 * never answer at one address, and the loser of an overlap comes back when the winner moves away.
 * `activate` and `deactivate` tell the owner; a doorbell follows its BAR by them.
 *
 * Threads. Any vCPU's thread enters through the buses. pci->lock guards configuration space and the
 * BARs; it is held in `activate` and `deactivate`, and not in `read`, `write`, `window_*` and `bus_master`.
 * Signalling (pci_msix_signal(), pci_intx_set()) is for any thread and takes leaf locks only. Lock order:
 * pci -> virtio device -> doorbell -> bus -> MSI-X vector, INTx. A handler may still be running on another
 * vCPU after its BAR was deactivated; a function lives as long as the vCPUs.
 *
 * Source: PCI Local Bus Specification 3.0, 3.2.2.3.2 (configuration mechanism), 6.1 (header), 6.2.5 (base
 * addresses), 6.8.2 (MSI-X); PCI Express Base Specification 5.0, 7.2.2 (ECAM); the reset control register at
 * CF9 as in Intel chipsets.
 */
#ifndef LKVM_PCI_H
#define LKVM_PCI_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <lkvm/bus.h>
#include <lkvm/err.h>
#include <lkvm/irq.h>
#include <lkvm/irq-route.h>

struct kvm;
struct log;
struct pci;
struct pci_device;
struct stop;

#define PCI_SLOTS_NR       32
#define PCI_CONFIG_LEN     256
#define PCI_BARS_NR        6
#define PCI_MSIX_MAX       2048 /* vectors: PCI 3.0, 6.8.2.3 */
#define PCI_INTX_LINES_MAX 8

enum pci_bar_kind { PCI_BAR_NONE, PCI_BAR_IO, PCI_BAR_MEM32, PCI_BAR_MEM64 };

/* One per user of a BAR, const. */
struct pci_bar_ops {
	/* `off` and `width` as in bus.h: inside the BAR. Any vCPU's thread, no lock held. */
	uint64_t (*read)(struct pci_device *pd, unsigned int bar, uint64_t off, unsigned int width);
	void (*write)(struct pci_device *pd, unsigned int bar, uint64_t off, unsigned int width,
		      uint64_t value);
	/* The BAR answers at `addr` from now on, or no longer; in turns, under pci->lock. May be NULL. */
	void (*activate)(struct pci_device *pd, unsigned int bar, uint64_t addr);
	void (*deactivate)(struct pci_device *pd, unsigned int bar);
};

/* One per kind of function, const. */
struct pci_device_ops {
	const char *name;
	/*
	 * Whether it may master the bus changed. Until the guest has set Command's Bus Master bit once, it
	 * may: drivers that never set it exist. No lock held; in turns, the last call has the last value.
	 * May be NULL.
	 */
	void (*bus_master)(struct pci_device *pd, bool on);
	/*
	 * The access window of pci_set_window(): the guest read or wrote `width` bytes that start at its
	 * first. What was written is in configuration space already; what `window_read` returns goes to the
	 * guest. No lock held. NULL without a window.
	 */
	uint32_t (*window_read)(struct pci_device *pd, unsigned int width);
	void (*window_write)(struct pci_device *pd, unsigned int width, uint32_t value);
};

struct pci_bar {
	enum pci_bar_kind kind;
	uint64_t size; /* a power of two; 16 or more for memory, 4 to 256 for I/O */
	const struct pci_bar_ops *ops;
	struct pci_device *pd;
	unsigned int index;
	bool active;              /* under pci->lock */
	struct bus_region region; /* base is constant while it is on a bus */
};

/* An entry of the MSI-X table: 6.8.2.6 to 6.8.2.9. */
struct pci_msix_vector {
	pthread_mutex_t lock;
	uint32_t addr_lo, addr_hi, data, control;
	bool pending;
	struct pci_irqfd *irqfds; /* that signal it */
};

#define PCI_NO_VECTOR UINT32_MAX

/*
 * An eventfd whose writes signal a vector. While the vector may send, KVM sends its message without us; else, and when
 * KVM cannot, the owner has to read the eventfd and call pci_msix_signal() (or what it has in its place).
 */
struct pci_irqfd {
	int fd; /* not owned */
	struct pci_device *pd;
	uint32_t vector;
	struct irq_route route;
	_Atomic bool direct;
	struct pci_irqfd *next; /* of the vector; under its lock */
};

struct pci_device {
	const struct pci_device_ops *ops;
	struct pci *pci;   /* NULL while it is on no bus */
	unsigned int slot; /* from pci_add() on */
	void *priv;        /* the owner's */

	/* Under pci->lock; the bytes may be a page that the guest reads without an exit. */
	uint8_t *config;
	/* where `config` points until a page is there */
	_Alignas(uint32_t) uint8_t own_config[PCI_CONFIG_LEN];
	uint8_t wmask[PCI_CONFIG_LEN];
	uint8_t next_cap, last_cap; /* offsets: free, and the last one that was added */
	uint8_t window;             /* offset of the access window, 0: none */
	uint8_t window_cap;         /* of the capability that it is in */
	struct pci_bar bars[PCI_BARS_NR];

	unsigned int msix_nr; /* vectors, 0: no MSI-X */
	uint8_t msix_cap;     /* offset */
	unsigned int msix_bar;
	struct pci_msix_vector *msix;
	_Atomic uint16_t msix_control; /* Enable and Function Mask, as Message Control has them */

	_Atomic bool bus_master; /* as ops->bus_master means it */
	/* Under pci->lock: what the owner was told, and that it is being told. */
	bool bus_master_told, bus_master_telling;
	bool intx; /* what the owner wants of the line; under pci->intx_lock */
	bool intx_on_line;
};

/* The places of a machine, from its address map. */
struct pci_config {
	uint64_t ecam_gpa; /* 1 MiB: one bus */
	bool conf1;        /* CF8/CFC answer (CF9 always does) */
	bool ecam;
	bool ecam_traps; /* ECAM never becomes a memory slot */
	struct pci_window {
		uint64_t base, len; /* len 0: none */
	} io, mem32, mem64;
	unsigned int gsi_base, gsi_nr; /* INTx: slot and pin to gsi_base + (slot + pin) % gsi_nr */
};

/* INTx of several functions on one GSI: the line is the OR of them. */
struct pci_intx {
	struct irq_line line;
	unsigned int asserted;
};

struct pci {
	struct pci_config cfg;
	struct kvm *kvm;
	struct bus *pio, *mmio;
	struct stop *stop;
	const struct log *log;
	pthread_mutex_t lock;                     /* configuration space, BARs */
	_Atomic uint32_t address;                 /* CF8 */
	struct pci_device *devices[PCI_SLOTS_NR]; /* not owned */
	struct pci_device host_bridge;            /* slot 0 */
	uint64_t next_io, next_mem32, next_mem64; /* where pci_add() looks for room */
	pthread_mutex_t intx_lock;                /* a leaf */
	struct pci_intx intx[PCI_INTX_LINES_MAX];
	struct bus_region conf1, ecam;
	uint32_t ecam_reads; /* trapped ones; enough of them are worth a memory slot */
	uint8_t *ecam_map;   /* the bus's configuration space as memory; NULL: it traps */
	size_t ecam_map_len; /* up to the last device */
	int ecam_slot;       /* KVM's, -1: none */
	bool ecam_window; /* an access window was used: reads have effects, so they trap for good */
};

/* --- for the machine --- */

/* Claims CF8 to CFF on `pio` and one bus of ECAM on `mmio`. `kvm` may be NULL in tests: no memory slot. */
int pci_init(struct pci *pci, const struct pci_config *cfg, struct kvm *kvm, struct bus *pio,
	     struct bus *mmio, struct stop *stop, const struct log *log, struct err *err);
/* After every function was removed. */
void pci_release(struct pci *pci);

/* --- for the owner of a function: in this order, before the vCPUs run --- */

/* Ids, class (24 bits) and revision of a type 0 header. */
struct pci_ids {
	uint16_t vendor, device, subsystem_vendor, subsystem;
	uint32_t class;
	uint8_t revision;
};
void pci_device_init(struct pci_device *pd, const struct pci_device_ops *ops,
		     const struct pci_ids *ids, void *priv);
void pci_set_bar(struct pci_device *pd, unsigned int bar, enum pci_bar_kind kind, uint64_t size,
		 const struct pci_bar_ops *ops);
/*
 * Appends a capability of `len` bytes, of which `body` are those after cap_vndr and cap_next; `wmask`
 * (may be NULL: read-only) has a byte for each of body's. Returns its offset, or 0 when there is no room.
 */
uint8_t pci_add_cap(struct pci_device *pd, uint8_t id, const void *body, uint8_t body_len,
		    const uint8_t *wmask);
/* The capability, the table at offset 0 and the pending bits at half of `bar`, a memory BAR of its own. */
int pci_add_msix(struct pci_device *pd, unsigned int bar, unsigned int vectors, struct err *err);
/*
 * Four bytes at `off` of configuration space, the last of a capability that was added, call the ops'
 * window functions.
 */
void pci_set_window(struct pci_device *pd, uint8_t off);

/*
 * Puts it into the first free slot and gives each BAR an address. ERR_USAGE and -ENOSPC when slots, I/O ports or
 * memory addresses are used up, with a sentence that begins with the ops' name.
 */
int pci_add(struct pci *pci, struct pci_device *pd, struct err *err);
/* Deactivates its BARs and gives its slot back. No-op when it is on no bus. The vCPUs are gone. */
void pci_remove(struct pci_device *pd);
/* Frees what it has. It is on no bus. */
void pci_device_release(struct pci_device *pd);

/* --- while the guest runs --- */

/* A field of configuration space as the guest last wrote it. Takes pci->lock. */
uint32_t pci_config_get(struct pci_device *pd, uint8_t off, unsigned int width);

/* Any thread. MSI-X replaces INTx while it is enabled. */
bool pci_msix_enabled(const struct pci_device *pd);
/*
 * Any thread; `vector` < msix_nr. Sends the entry's message, or marks it pending while it or the function is
 * masked or may not master the bus: then it is sent once when that ends. Nothing while MSI-X is disabled.
 */
void pci_msix_signal(struct pci_device *pd, unsigned int vector);
/*
 * Any thread but in turns for one irqfd; the storage is the caller's, until released. With no KVM, or when that has no
 * more numbers, it works all the same and is never direct.
 */
void pci_irqfd_init(struct pci_irqfd *f, struct pci_device *pd, struct kvm *kvm, int fd);
void pci_irqfd_release(struct pci_irqfd *f);
/* Which vector it signals, less than msix_nr, or PCI_NO_VECTOR. */
void pci_irqfd_set_vector(struct pci_irqfd *f, uint32_t vector);
/* What was just read from the eventfd has been sent, or is. A write is never lost; it may be sent twice. */
bool pci_irqfd_is_direct(const struct pci_irqfd *f);

/*
 * Any thread; the caller serialises calls for one function. Sets Interrupt Status; the line follows unless
 * Interrupt Disable is set or MSI-X is enabled.
 */
void pci_intx_set(struct pci_device *pd, bool level);

#endif
