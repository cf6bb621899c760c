/* SPDX-License-Identifier: GPL-2.0 */
#include <linux/kvm.h>
#include <sys/mman.h>

#include <lkvm/kvm.h>
#include <lkvm/log.h>
#include <lkvm/util.h>

#include "pci-priv.h"

/*
 * A guest that scans the bus by ECAM makes hundreds of reads; one that reads a few registers is not worth
 * the memory slot, whose making waits for every CPU.
 */
#define READS_WORTH_A_SLOT 16
#define SLOT_LEN           (ECAM_FUNCTIONS_NR * ECAM_FUNCTION_LEN)

/*
 * The bus up to its last device: as config_read() has it, with zeros for the configuration of the functions that are
 * there. Reads beyond trap; a guest makes one for each slot.
 */
static uint8_t *map_bus(const struct pci *pci, size_t len)
{
	uint8_t *map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (map == MAP_FAILED)
		return NULL;
	memset(map, 0xff, len);
	for (unsigned int i = 0; i < PCI_SLOTS_NR; i++)
		if (pci->devices[i])
			memset(map + i * SLOT_LEN, 0, PCI_CONFIG_LEN);
	return map;
}

static size_t bus_len(const struct pci *pci)
{
	unsigned int nr = PCI_SLOTS_NR;

	while (!pci->devices[nr - 1])
		nr--; /* slot 0 has the host bridge */
	return nr * SLOT_LEN;
}

/* pci_intx_set() writes Interrupt Status under this lock alone. */
static void move_config(struct pci *pci, struct pci_device *pd, uint8_t *to)
{
	pthread_mutex_lock(&pci->intx_lock);
	memcpy(to, pd->config, PCI_CONFIG_LEN);
	pd->config = to;
	pthread_mutex_unlock(&pci->intx_lock);
}

static void make_slot(struct pci *pci)
{
	struct err err = ERR_INIT;

	pci->ecam_map_len = bus_len(pci);
	pci->ecam_map = map_bus(pci, pci->ecam_map_len);
	if (!pci->ecam_map)
		return;
	for (unsigned int i = 0; i < PCI_SLOTS_NR; i++)
		if (pci->devices[i])
			move_config(pci, pci->devices[i], pci->ecam_map + i * SLOT_LEN);
	pci->ecam_slot = kvm_add_memory(pci->kvm, pci->cfg.ecam_gpa, pci->ecam_map_len,
					pci->ecam_map, true, &err);
	if (pci->ecam_slot < 0)
		log_debug(pci->log, "reading PCI configuration space costs exits: %s", err.msg);
}

void pci_ecam_count_locked(struct pci *pci)
{
	if (pci->ecam_reads == READS_WORTH_A_SLOT || !pci->kvm || pci->cfg.ecam_traps)
		return;
	if (++pci->ecam_reads == READS_WORTH_A_SLOT && !pci->ecam_window &&
	    kvm_check_cap(pci->kvm, KVM_CAP_READONLY_MEM))
		make_slot(pci);
}

static void drop_slot(struct pci *pci)
{
	if (pci->ecam_slot >= 0)
		kvm_del_memory(pci->kvm, pci->ecam_slot);
	pci->ecam_slot = -1;
}

void pci_ecam_trap_locked(struct pci *pci)
{
	pci->ecam_window = true;
	drop_slot(pci);
}

void pci_ecam_leave_locked(struct pci *pci, struct pci_device *pd)
{
	if (pd->config != pd->own_config)
		move_config(pci, pd, pd->own_config);
}

void pci_ecam_release(struct pci *pci)
{
	drop_slot(pci);
	if (pci->ecam_map)
		munmap(pci->ecam_map, pci->ecam_map_len);
	pci->ecam_map = NULL;
}
