/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <stdlib.h>

#include <lkvm/stop.h>
#include <lkvm/util.h>

#include "pci-priv.h"

#define CONF1_BASE          0xcf8
#define CONF1_LEN           8
#define CONF1_DATA          4
#define CONF1_ENABLE        (1u << 31)
#define RESET_CONTROL       1    /* CF9 */
#define RESET_CONTROL_RESET 0x04 /* with 0x02, a hard reset; alone, a soft one: the same here */

/* The PCIe host bridge that generic virtual machines show; Linux has no quirk for it. */
#define HOST_BRIDGE_VENDOR 0x1b36
#define HOST_BRIDGE_DEVICE 0x0008
#define CLASS_HOST_BRIDGE  0x060000

#define CAPS_START         PCI_STD_HEADER_SIZEOF
#define COMMAND_WRITABLE                                                                           \
	(PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_SERR |             \
	 PCI_COMMAND_INTX_DISABLE)

/* --- configuration space --- */

static _Atomic uint32_t *config_dword(const struct pci_device *pd, unsigned int reg)
{
	return (_Atomic uint32_t *)(pd->config + reg);
}

uint32_t pci_config_load(const struct pci_device *pd, unsigned int reg)
{
	return le32toh(atomic_load(config_dword(pd, reg)));
}

uint32_t pci_config_store(struct pci_device *pd, unsigned int reg, uint32_t mask, uint32_t value)
{
	_Atomic uint32_t *dword = config_dword(pd, reg);
	uint32_t old = atomic_load(dword);

	while (!atomic_compare_exchange_weak(dword, &old,
					     (old & htole32(~mask)) | htole32(value & mask)))
		;
	return le32toh(old);
}

/* An address is an ECAM offset: slot, function and register. */
static struct pci_device *find(struct pci *pci, uint32_t addr)
{
	unsigned int function = addr >> ECAM_FUNCTION_SHIFT & (ECAM_FUNCTIONS_NR - 1);

	return function == 0 ? pci->devices[addr >> ECAM_SLOT_SHIFT & (PCI_SLOTS_NR - 1)] : NULL;
}

/* The bits of a dword that `width` bytes at its byte `at` are. */
static uint32_t byte_mask(unsigned int at, unsigned int width)
{
	return (uint32_t)((UINT64_C(1) << 8 * width) - 1) << 8 * at;
}

static bool crosses_dword(uint32_t addr, unsigned int width)
{
	return (addr & 3) + width > 4;
}

/*
 * An absent function reads as all ones, and so does the extended space: the functions are conventional ones, which end
 * at 256 bytes. Zeros there would be an extended space that is empty, and looked through.
 */
static uint32_t config_read(struct pci *pci, uint32_t addr, unsigned int width)
{
	uint32_t off = addr % ECAM_FUNCTION_LEN, v = UINT32_MAX;

	if (crosses_dword(addr, width)) {
		v = 0;
		for (unsigned int i = 0; i < width; i++)
			v |= (config_read(pci, addr + i, 1) & 0xff) << 8 * i;
		return v;
	}
	pthread_mutex_lock(&pci->lock);
	struct pci_device *pd = find(pci, addr);
	if (pd && off < PCI_CONFIG_LEN)
		v = pci_config_load(pd, off & ~3u) >> 8 * (off & 3);
	bool window = pd && pd->window && off == pd->window;
	pthread_mutex_unlock(&pci->lock);
	return window ? pd->ops->window_read(pd, width) : v;
}

static void command_written(struct pci_device *pd, uint32_t value, uint32_t changed)
{
	if (changed & (PCI_COMMAND_IO | PCI_COMMAND_MEMORY))
		pci_bars_update_locked(pd->pci);
	if (changed & PCI_COMMAND_INTX_DISABLE)
		pci_intx_update(pd);
	if (changed & PCI_COMMAND_MASTER) {
		/* It starts as false in Command and as true here, so the first change is no news. */
		atomic_store(&pd->bus_master, value & PCI_COMMAND_MASTER);
		pci_msix_update_locked(pd);
	}
}

/* The writable ones of `bits` become those of `value`. */
static void write_dword_locked(struct pci_device *pd, unsigned int reg, uint32_t bits,
			       uint32_t value)
{
	uint32_t mask = get_le32(pd->wmask + reg) & bits;
	uint32_t changed = (pci_config_store(pd, reg, mask, value) ^ value) & mask;

	if (pd->window && reg >= pd->window_cap && reg <= pd->window)
		pci_ecam_trap_locked(pd->pci);
	if (!changed)
		return;
	if (reg == PCI_COMMAND) {
		command_written(pd, value, changed);
	} else if (reg >= PCI_BASE_ADDRESS_0 && reg <= PCI_BASE_ADDRESS_5) {
		pci_bars_update_locked(pd->pci);
	} else if (pd->msix_nr && reg == pd->msix_cap) {
		pci_msix_update_locked(pd);
		pci_intx_update(pd);
	}
}

/*
 * Tells the owner without the lock. A thread that finds another one at it leaves the news to it, so the last
 * call is about the last value.
 */
static void tell_bus_master_locked(struct pci *pci, struct pci_device *pd)
{
	if (!pd->ops->bus_master || pd->bus_master_telling)
		return;
	pd->bus_master_telling = true;
	while (pd->bus_master_told != atomic_load(&pd->bus_master)) {
		bool on = pd->bus_master_told = atomic_load(&pd->bus_master);

		pthread_mutex_unlock(&pci->lock);
		pd->ops->bus_master(pd, on);
		pthread_mutex_lock(&pci->lock);
	}
	pd->bus_master_telling = false;
}

static void config_write(struct pci *pci, uint32_t addr, unsigned int width, uint32_t value)
{
	uint32_t off = addr % ECAM_FUNCTION_LEN;

	if (crosses_dword(addr, width)) {
		for (unsigned int i = 0; i < width; i++)
			config_write(pci, addr + i, 1, value >> 8 * i);
		return;
	}
	pthread_mutex_lock(&pci->lock);
	struct pci_device *pd = find(pci, addr);
	bool window = pd && pd->window && off == pd->window;
	if (pd && off < PCI_CONFIG_LEN) {
		write_dword_locked(pd, off & ~3u, byte_mask(off & 3, width),
				   value << 8 * (off & 3));
		tell_bus_master_locked(pci, pd);
	}
	pthread_mutex_unlock(&pci->lock);
	if (window)
		pd->ops->window_write(pd, width, value & byte_mask(0, width));
}

uint32_t pci_config_get(struct pci_device *pd, uint8_t off, unsigned int width)
{
	struct pci *pci = pd->pci;

	BUG_ON(crosses_dword(off, width));
	if (pci)
		pthread_mutex_lock(&pci->lock);
	uint32_t v = pci_config_load(pd, off & ~3u) >> 8 * (off & 3);
	if (pci)
		pthread_mutex_unlock(&pci->lock);
	return v & byte_mask(0, width);
}

/* --- the ways in --- */

/* The ECAM offset that CF8 and a data port name; only bus 0 has anything. */
static bool conf1_target(uint32_t address, uint64_t port_off, uint32_t *addr)
{
	*addr = (address & 0xff00) << 4 | (address & 0xfc) | (port_off - CONF1_DATA);
	return (address & CONF1_ENABLE) && (address >> 16 & 0xff) == 0;
}

static uint64_t conf1_read(struct bus_region *r, uint64_t off, unsigned int width)
{
	struct pci *pci = container_of(r, struct pci, conf1);
	uint32_t addr;

	if (off == RESET_CONTROL && width == 1)
		return 0;
	if (!pci->cfg.conf1)
		return UINT32_MAX;
	if (off == 0 && width == 4)
		return atomic_load(&pci->address);
	if (off < CONF1_DATA || !conf1_target(atomic_load(&pci->address), off, &addr))
		return UINT32_MAX;
	return config_read(pci, addr, width);
}

static void conf1_write(struct bus_region *r, uint64_t off, unsigned int width, uint64_t value)
{
	struct pci *pci = container_of(r, struct pci, conf1);
	uint32_t addr;

	/* The address register takes 32-bit accesses only: bytes are other registers of the chipset. */
	if (off == RESET_CONTROL && width == 1) {
		if (value & RESET_CONTROL_RESET)
			stop_request(pci->stop, STOP_RESET, 0, "reset by port 0xcf9");
		return;
	}
	if (!pci->cfg.conf1)
		return;
	if (off == 0 && width == 4)
		atomic_store(&pci->address, value & ~3u);
	else if (off >= CONF1_DATA && conf1_target(atomic_load(&pci->address), off, &addr))
		config_write(pci, addr, width, (uint32_t)value);
}

static uint64_t ecam_read(struct bus_region *r, uint64_t off, unsigned int width)
{
	struct pci *pci = container_of(r, struct pci, ecam);

	pthread_mutex_lock(&pci->lock);
	pci_ecam_count_locked(pci);
	pthread_mutex_unlock(&pci->lock);
	return config_read(pci, (uint32_t)off, width);
}

static void ecam_write(struct bus_region *r, uint64_t off, unsigned int width, uint64_t value)
{
	config_write(container_of(r, struct pci, ecam), (uint32_t)off, width, (uint32_t)value);
}

/* --- functions --- */

static void init_header(struct pci_device *pd, const struct pci_device_ops *ops,
			const struct pci_ids *ids)
{
	*pd = (struct pci_device){ .ops = ops, .next_cap = CAPS_START, .bus_master_told = true };
	pd->config = pd->own_config;
	atomic_store(&pd->bus_master, true);
	put_le16(pd->config + PCI_VENDOR_ID, ids->vendor);
	put_le16(pd->config + PCI_DEVICE_ID, ids->device);
	put_le32(pd->config + PCI_CLASS_REVISION, ids->class << 8 | ids->revision);
	put_le16(pd->config + PCI_SUBSYSTEM_VENDOR_ID, ids->subsystem_vendor);
	put_le16(pd->config + PCI_SUBSYSTEM_ID, ids->subsystem);
	pd->wmask[PCI_CACHE_LINE_SIZE] = 0xff;
	pd->wmask[PCI_INTERRUPT_LINE] = 0xff;
}

void pci_device_init(struct pci_device *pd, const struct pci_device_ops *ops,
		     const struct pci_ids *ids, void *priv)
{
	init_header(pd, ops, ids);
	pd->priv = priv;
	put_le16(pd->wmask + PCI_COMMAND, COMMAND_WRITABLE);
	pd->config[PCI_INTERRUPT_PIN] = 1; /* INTA#: 6.2.4 */
}

uint8_t pci_add_cap(struct pci_device *pd, uint8_t id, const void *body, uint8_t body_len,
		    const uint8_t *wmask)
{
	uint8_t off = pd->next_cap; /* 0: the space is full */

	BUG_ON(pd->pci);
	if (!off || !range_ok(off, 2u + body_len, PCI_CONFIG_LEN))
		return 0;
	pd->config[off + PCI_CAP_LIST_ID] = id;
	memcpy(pd->config + off + 2, body, body_len);
	if (wmask)
		memcpy(pd->wmask + off + 2, wmask, body_len);
	pd->config[pd->last_cap ? pd->last_cap + PCI_CAP_LIST_NEXT : PCI_CAPABILITY_LIST] = off;
	pd->config[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
	pd->last_cap = off;
	pd->next_cap = (uint8_t)align_up(off + 2u + body_len, 4);
	return off;
}

void pci_set_window(struct pci_device *pd, uint8_t off)
{
	BUG_ON(off % 4 || off < pd->last_cap || off + 4 > (pd->next_cap ? pd->next_cap : 256));
	pd->window = off;
	pd->window_cap = pd->last_cap;
}

int pci_add(struct pci *pci, struct pci_device *pd, struct err *err)
{
	unsigned int slot = 0;

	while (slot < PCI_SLOTS_NR && pci->devices[slot])
		slot++;
	if (slot == PCI_SLOTS_NR) {
		err_usage(err, "%s: the %d slots of the PCI bus are used up; use fewer devices",
			  pd->ops->name, PCI_SLOTS_NR);
		return -ENOSPC;
	}
	int ret = pci_bars_place(pci, pd, err);
	if (ret)
		return ret;
	pthread_mutex_lock(&pci->lock);
	pd->pci = pci;
	pd->slot = slot;
	/* What firmware leaves there for software that does not know the routing; nothing here reads it. */
	pd->config[PCI_INTERRUPT_LINE] = (uint8_t)pci->intx[slot % pci->cfg.gsi_nr].line.gsi;
	pci->devices[slot] = pd;
	pthread_mutex_unlock(&pci->lock);
	return 0;
}

void pci_remove(struct pci_device *pd)
{
	struct pci *pci = pd->pci;

	if (!pci)
		return;
	pci_intx_set(pd, false);
	pthread_mutex_lock(&pci->lock);
	pci_config_store(pd, PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY, 0);
	pci_bars_update_locked(pci);
	pci_ecam_leave_locked(pci, pd);
	pci->devices[pd->slot] = NULL;
	pd->pci = NULL;
	pthread_mutex_unlock(&pci->lock);
}

void pci_device_release(struct pci_device *pd)
{
	BUG_ON(pd->pci);
	for (unsigned int i = 0; i < pd->msix_nr; i++)
		pthread_mutex_destroy(&pd->msix[i].lock);
	free(pd->msix);
	pd->msix = NULL;
	pd->msix_nr = 0;
}

/* --- the bus --- */

static void init_host_bridge(struct pci *pci)
{
	static const struct pci_device_ops ops = { .name = "PCI host bridge" };
	static const struct pci_ids ids = { .vendor = HOST_BRIDGE_VENDOR,
					    .device = HOST_BRIDGE_DEVICE,
					    .class = CLASS_HOST_BRIDGE };
	struct pci_device *pd = &pci->host_bridge;

	init_header(pd, &ops, &ids);
	put_le16(pd->wmask + PCI_COMMAND,
		 PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_SERR);
	pd->pci = pci;
	pci->devices[0] = pd;
}

int pci_init(struct pci *pci, const struct pci_config *cfg, struct kvm *kvm, struct bus *pio,
	     struct bus *mmio, struct stop *stop, const struct log *log, struct err *err)
{
	BUG_ON(!cfg->gsi_nr || cfg->gsi_nr > PCI_INTX_LINES_MAX);
	*pci = (struct pci){
		.cfg = *cfg,
		.kvm = kvm,
		.pio = pio,
		.mmio = mmio,
		.stop = stop,
		.log = log,
		.ecam_slot = -1,
		.conf1 = { .name = "pci-conf1",
			   .base = CONF1_BASE,
			   .size = CONF1_LEN,
			   .max_width = 4,
			   .read = conf1_read,
			   .write = conf1_write },
		.ecam = { .name = "pci-ecam",
			  .base = cfg->ecam_gpa,
			  .size = ECAM_LEN,
			  .max_width = 4,
			  .read = ecam_read,
			  .write = ecam_write },
	};
	pthread_mutex_init(&pci->lock, NULL);
	pthread_mutex_init(&pci->intx_lock, NULL);
	for (unsigned int i = 0; i < cfg->gsi_nr; i++)
		irq_line_init(&pci->intx[i].line, kvm, cfg->gsi_base + i);
	init_host_bridge(pci);
	if (bus_add(pio, &pci->conf1) || (cfg->ecam && bus_add(mmio, &pci->ecam))) {
		pci_release(pci);
		return err_internal(err, "the PCI configuration windows overlap a device");
	}
	return 0;
}

void pci_release(struct pci *pci)
{
	bus_remove(pci->pio, &pci->conf1);
	bus_remove(pci->mmio, &pci->ecam);
	pci_ecam_release(pci);
	pthread_mutex_destroy(&pci->intx_lock);
	pthread_mutex_destroy(&pci->lock);
}
