/* SPDX-License-Identifier: GPL-2.0 */
/*
 * PCI configuration space of bus 0, reached through the ports CF8/CFC and through ECAM.
 *
 * One bus of 32 slots. Every byte of a function's configuration space has a write mask; a bit that is
 * not in the mask never changes by the guest's hand.
 * Source: PCI Local Bus Specification 3.0, 3.2.2.3.2 (configuration mechanism) and 6.1 (header); PCI
 * Express Base Specification 5.0, 7.2.2 (ECAM); the reset control register at CF9 as in Intel chipsets.
 */
#ifndef LKVM_PCI_H
#define LKVM_PCI_H

#include <pthread.h>
#include <stdint.h>

#include <lkvm/bus.h>
#include <lkvm/err.h>

struct stop;

#define PCI_SLOTS_NR   32
#define PCI_CONFIG_LEN 256

struct pci_function {
	uint8_t config[PCI_CONFIG_LEN];
	uint8_t wmask[PCI_CONFIG_LEN];
};

struct pci {
	pthread_mutex_t lock;                         /* config space and the address register */
	uint32_t address;                             /* CF8 */
	struct pci_function *functions[PCI_SLOTS_NR]; /* function 0 of each slot; not owned */
	struct pci_function host_bridge;              /* slot 0 */
	struct bus_region conf1, ecam;
	struct stop *stop;
};

/* Claims CF8 to CFF on `pio` and one bus of ECAM at `ecam_gpa` on `mmio`. */
int pci_init(struct pci *pci, struct bus *pio, struct bus *mmio, uint64_t ecam_gpa,
	     struct stop *stop, struct err *err);
void pci_release(struct pci *pci);

#endif
