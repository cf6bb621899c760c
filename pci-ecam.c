/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <linux/kvm.h>
#include <sys/mman.h>
#include <unistd.h>

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

/* What absent functions read as: the pages of one slot, which all slots share. */
static int absent_fd(void)
{
	uint8_t ones[ECAM_FUNCTION_LEN];
	int fd = memfd_create("lkvm-pci-absent", MFD_CLOEXEC);
	int ret = fd < 0 ? -errno : 0;

	memset(ones, 0xff, sizeof(ones));
	for (unsigned int i = 0; !ret && i < ECAM_FUNCTIONS_NR; i++)
		ret = util_write_all(fd, ones, sizeof(ones));
	if (ret && fd >= 0)
		close(fd);
	return ret ? ret : fd;
}

static int map_slot(uint8_t *at, int fd, bool present)
{
	if (mmap(at, SLOT_LEN, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
		return -errno;
	if (present && mmap(at, ECAM_FUNCTION_LEN, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		return -errno;
	/* As config_read() has it. */
	if (present)
		memset(at + PCI_CONFIG_LEN, 0xff, ECAM_FUNCTION_LEN - PCI_CONFIG_LEN);
	return 0;
}

/* The whole bus, with zeros for the configuration of the functions that are there. */
static uint8_t *map_bus(const struct pci *pci)
{
	int fd = absent_fd();

	if (fd < 0)
		return NULL;
	uint8_t *map = mmap(NULL, ECAM_LEN, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int ret = map == MAP_FAILED ? -ENOMEM : 0;
	for (unsigned int i = 0; !ret && i < PCI_SLOTS_NR; i++)
		ret = map_slot(map + i * SLOT_LEN, fd, pci->devices[i]);
	close(fd);
	if (ret && map != MAP_FAILED)
		munmap(map, ECAM_LEN);
	return ret ? NULL : map;
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

	pci->ecam_map = map_bus(pci);
	if (!pci->ecam_map)
		return;
	for (unsigned int i = 0; i < PCI_SLOTS_NR; i++)
		if (pci->devices[i])
			move_config(pci, pci->devices[i], pci->ecam_map + i * SLOT_LEN);
	pci->ecam_slot = kvm_add_memory(pci->kvm, pci->cfg.ecam_gpa, ECAM_LEN, pci->ecam_map, true,
					&err);
	if (pci->ecam_slot < 0)
		log_debug(pci->log, "reading PCI configuration space costs exits: %s", err.msg);
}

void pci_ecam_count_locked(struct pci *pci)
{
	if (pci->ecam_reads == READS_WORTH_A_SLOT || !pci->kvm)
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
		munmap(pci->ecam_map, ECAM_LEN);
	pci->ecam_map = NULL;
}
