/* SPDX-License-Identifier: GPL-2.0 */
#include <linux/pci_regs.h>
#include <string.h>

#include <lkvm/pci.h>
#include <lkvm/stop.h>
#include <lkvm/util.h>

#define CONF1_BASE          0xcf8
#define CONF1_LEN           8
#define CONF1_DATA          4
#define CONF1_ENABLE        (1u << 31)
#define RESET_CONTROL       1    /* CF9 */
#define RESET_CONTROL_RESET 0x04 /* with 0x02, a hard reset; alone, a soft one: the same here */

#define ECAM_FUNCTION_LEN   4096
#define ECAM_BUS_LEN        (256 * ECAM_FUNCTION_LEN)

/* The PCIe host bridge that generic virtual machines show; Linux has no quirk for it. */
#define HOST_BRIDGE_VENDOR 0x1b36
#define HOST_BRIDGE_DEVICE 0x0008
#define CLASS_HOST_BRIDGE  0x0600

static struct pci_function *find(struct pci *pci, unsigned int slot, unsigned int function)
{
	return slot < PCI_SLOTS_NR && function == 0 ? pci->functions[slot] : NULL;
}

/* An absent function reads as all ones, the space past a function's end as zeros (PCIe 7.2.2). */
static uint32_t config_read(struct pci *pci, unsigned int slot, unsigned int function, uint32_t off,
			    unsigned int width)
{
	const struct pci_function *f = find(pci, slot, function);
	uint32_t v = 0;

	if (!f)
		return UINT32_MAX;
	for (unsigned int i = 0; i < width && off + i < PCI_CONFIG_LEN; i++)
		v |= (uint32_t)f->config[off + i] << (8 * i);
	return v;
}

static void config_write(struct pci *pci, unsigned int slot, unsigned int function, uint32_t off,
			 unsigned int width, uint32_t value)
{
	struct pci_function *f = find(pci, slot, function);

	if (!f)
		return;
	for (unsigned int i = 0; i < width && off + i < PCI_CONFIG_LEN; i++) {
		uint8_t mask = f->wmask[off + i];

		f->config[off + i] = (f->config[off + i] & ~mask) | (value >> (8 * i) & mask);
	}
}

/* Bus, slot, function and register of CF8; only bus 0 has anything. */
static bool conf1_target(const struct pci *pci, uint64_t port_off, unsigned int *slot,
			 unsigned int *function, uint32_t *off)
{
	uint32_t a = pci->address;

	*slot = a >> 11 & 0x1f;
	*function = a >> 8 & 7;
	*off = (a & 0xfc) + (port_off - CONF1_DATA);
	return (a & CONF1_ENABLE) && (a >> 16 & 0xff) == 0;
}

static uint64_t conf1_read(struct bus_region *r, uint64_t off, unsigned int width)
{
	struct pci *pci = container_of(r, struct pci, conf1);
	unsigned int slot, function;
	uint32_t reg, v = UINT32_MAX;

	pthread_mutex_lock(&pci->lock);
	if (off == 0 && width == 4)
		v = pci->address;
	else if (off == RESET_CONTROL && width == 1)
		v = 0;
	else if (off >= CONF1_DATA && conf1_target(pci, off, &slot, &function, &reg))
		v = config_read(pci, slot, function, reg, width);
	pthread_mutex_unlock(&pci->lock);
	return v;
}

static void conf1_write(struct bus_region *r, uint64_t off, unsigned int width, uint64_t value)
{
	struct pci *pci = container_of(r, struct pci, conf1);
	unsigned int slot, function;
	uint32_t reg;

	/* The address register takes 32-bit accesses only: bytes are other registers of the chipset. */
	if (off == RESET_CONTROL && width == 1) {
		if (value & RESET_CONTROL_RESET)
			stop_request(pci->stop, STOP_RESET, 0, "reset by port 0xcf9");
		return;
	}
	pthread_mutex_lock(&pci->lock);
	if (off == 0 && width == 4)
		pci->address = value & ~3u;
	else if (off >= CONF1_DATA && conf1_target(pci, off, &slot, &function, &reg))
		config_write(pci, slot, function, reg, width, value);
	pthread_mutex_unlock(&pci->lock);
}

static uint64_t ecam_read(struct bus_region *r, uint64_t off, unsigned int width)
{
	struct pci *pci = container_of(r, struct pci, ecam);

	pthread_mutex_lock(&pci->lock);
	uint32_t v = config_read(pci, off >> 15, off >> 12 & 7, off % ECAM_FUNCTION_LEN, width);
	pthread_mutex_unlock(&pci->lock);
	return v;
}

static void ecam_write(struct bus_region *r, uint64_t off, unsigned int width, uint64_t value)
{
	struct pci *pci = container_of(r, struct pci, ecam);

	pthread_mutex_lock(&pci->lock);
	config_write(pci, off >> 15, off >> 12 & 7, off % ECAM_FUNCTION_LEN, width, value);
	pthread_mutex_unlock(&pci->lock);
}

static void init_host_bridge(struct pci_function *f)
{
	put_le16(f->config + PCI_VENDOR_ID, HOST_BRIDGE_VENDOR);
	put_le16(f->config + PCI_DEVICE_ID, HOST_BRIDGE_DEVICE);
	put_le16(f->config + PCI_CLASS_DEVICE, CLASS_HOST_BRIDGE);
	put_le16(f->wmask + PCI_COMMAND,
		 PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_SERR);
	f->wmask[PCI_CACHE_LINE_SIZE] = 0xff;
	f->wmask[PCI_INTERRUPT_LINE] = 0xff;
}

int pci_init(struct pci *pci, struct bus *pio, struct bus *mmio, uint64_t ecam_gpa,
	     struct stop *stop, struct err *err)
{
	*pci = (struct pci){
		.stop = stop,
		.conf1 = { .name = "pci-conf1",
			   .base = CONF1_BASE,
			   .size = CONF1_LEN,
			   .max_width = 4,
			   .read = conf1_read,
			   .write = conf1_write },
		.ecam = { .name = "pci-ecam",
			  .base = ecam_gpa,
			  .size = ECAM_BUS_LEN,
			  .max_width = 4,
			  .read = ecam_read,
			  .write = ecam_write },
	};
	pthread_mutex_init(&pci->lock, NULL);
	init_host_bridge(&pci->host_bridge);
	pci->functions[0] = &pci->host_bridge;
	if (bus_add(pio, &pci->conf1) || bus_add(mmio, &pci->ecam))
		return err_internal(err, "the PCI configuration windows overlap a device");
	return 0;
}

void pci_release(struct pci *pci)
{
	pthread_mutex_destroy(&pci->lock);
}
