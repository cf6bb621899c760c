/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the parts of the PCI bus share: pci.c (configuration space and its ways in), pci-bar.c, pci-irq.c
 * (MSI-X and INTx), pci-ecam.c (configuration space as a memory slot).
 */
#ifndef LKVM_PCI_PRIV_H
#define LKVM_PCI_PRIV_H

#include <linux/pci_regs.h>

#include <lkvm/pci.h>

/* PCIe 7.2.2: slot, function and register in an ECAM offset. */
#define ECAM_SLOT_SHIFT     15
#define ECAM_FUNCTION_SHIFT 12
#define ECAM_FUNCTION_LEN   4096
#define ECAM_FUNCTIONS_NR   8
#define ECAM_LEN            (PCI_SLOTS_NR * ECAM_FUNCTIONS_NR * ECAM_FUNCTION_LEN)

/*
 * One dword of configuration space. The guest may read it as memory, and Interrupt Status changes under
 * another lock than the rest of its dword, so both are single atomic accesses. The store changes the bits
 * of `mask` and returns what was there.
 */
uint32_t pci_config_load(const struct pci_device *pd, unsigned int reg);
uint32_t pci_config_store(struct pci_device *pd, unsigned int reg, uint32_t mask, uint32_t value);

/* Each BAR its first address; -ENOSPC and a sentence when there is no room. */
int pci_bars_place(struct pci *pci, struct pci_device *pd, struct err *err);
/* Decides again which BARs answer, by the rule in pci.h. */
void pci_bars_update_locked(struct pci *pci);

/* Message Control was written, or the function may master the bus again. */
void pci_msix_update_locked(struct pci_device *pd);
/* Command or MSI-X Enable changed: the line follows. */
void pci_intx_update(struct pci_device *pd);

/* A trapped read; enough of them make the memory slot. */
void pci_ecam_count_locked(struct pci *pci);
/* Reads have effects from now on: they trap for good. */
void pci_ecam_trap_locked(struct pci *pci);
/* Its configuration space is in its own storage again. */
void pci_ecam_leave_locked(struct pci *pci, struct pci_device *pd);
void pci_ecam_release(struct pci *pci);

#endif
