/* SPDX-License-Identifier: GPL-2.0 */
/* PCI configuration space, BARs, MSI-X and INTx. */
#include "virtio.h"

#define CONF1_ADDRESS  0xcf8
#define CONF1_DATA     0xcfc
#define CAP_POINTER    0x34
#define CAP_MSIX       0x11
#define CAP_VENDOR     0x09
#define VENDOR_VIRTIO  0x1af4
#define MODERN_ID_BASE 0x1040

#define IOAPIC_DATA    (IOAPIC + 0x10)
#define IOAPIC_PIN(n)  (0x10 + 2 * (n))
#define IOAPIC_LEVEL   (1u << 15)
#define MSI_ADDRESS    0xfee00000

/* 4.1.4: cfg_type */
enum { CFG_COMMON = 1, CFG_NOTIFY, CFG_ISR, CFG_DEVICE, CFG_PCI };

volatile uint64_t msi_tsc;
volatile uint32_t msi_count[2 * VDEVS_NR], intx_count, intx_queue[VDEVS_NR];
static struct vdev *intx_devs[VDEVS_NR];

uint64_t mem_read(bool io, uint64_t addr, unsigned int width)
{
	switch (width) {
	case 1:
		return io ? inb(addr) : read8(addr);
	case 2:
		return io ? inw(addr) : read16(addr);
	case 4:
		return io ? inl(addr) : read32(addr);
	default:
		return read64(addr);
	}
}

void mem_write(bool io, uint64_t addr, unsigned int width, uint64_t v)
{
	switch (width) {
	case 1:
		return io ? outb(addr, v) : write8(addr, v);
	case 2:
		return io ? outw(addr, v) : write16(addr, v);
	case 4:
		return io ? outl(addr, v) : write32(addr, v);
	default:
		return write64(addr, v);
	}
}

uint32_t conf1_read(uint32_t slot, uint32_t reg, unsigned int width)
{
	outl(CONF1_ADDRESS, 1u << 31 | slot << 11 | (reg & 0xfc));
	return mem_read(true, CONF1_DATA + (reg & 3), width);
}

void conf1_write(uint32_t slot, uint32_t reg, unsigned int width, uint32_t v)
{
	outl(CONF1_ADDRESS, 1u << 31 | slot << 11 | (reg & 0xfc));
	mem_write(true, CONF1_DATA + (reg & 3), width, v);
}

uint32_t cfg_read(const struct vdev *d, uint32_t reg, unsigned int width)
{
	if (d->ecam)
		return mem_read(false, ECAM + (d->slot << 15) + reg, width);
	return conf1_read(d->slot, reg, width);
}

void cfg_write(const struct vdev *d, uint32_t reg, unsigned int width, uint32_t v)
{
	if (d->ecam)
		mem_write(false, ECAM + (d->slot << 15) + reg, width, v);
	else
		conf1_write(d->slot, reg, width, v);
}

uint64_t bar_read(const struct vdev *d, unsigned int bar, uint64_t off, unsigned int width)
{
	return mem_read(d->bar_io[bar], d->bar[bar] + off, width);
}

void bar_write(const struct vdev *d, unsigned int bar, uint64_t off, unsigned int width, uint64_t v)
{
	mem_write(d->bar_io[bar], d->bar[bar] + off, width, v);
}

static bool bar_is_64(const struct vdev *d, unsigned int bar)
{
	return (cfg_read(d, PCI_BAR(bar), 4) & 7) == 4;
}

void bar_set(struct vdev *d, unsigned int bar, uint64_t addr)
{
	cfg_write(d, PCI_BAR(bar), 4, addr);
	if (bar_is_64(d, bar))
		cfg_write(d, PCI_BAR(bar + 1), 4, addr >> 32);
	d->bar[bar] = addr;
}

uint64_t bar_size(struct vdev *d, unsigned int bar)
{
	uint32_t low, high = ~0u;

	cfg_write(d, PCI_BAR(bar), 4, ~0u);
	low = cfg_read(d, PCI_BAR(bar), 4) & (d->bar_io[bar] ? ~3u : ~15u);
	if (bar_is_64(d, bar)) {
		cfg_write(d, PCI_BAR(bar + 1), 4, ~0u);
		high = cfg_read(d, PCI_BAR(bar + 1), 4);
	}
	bar_set(d, bar, d->bar[bar]);
	return ~((uint64_t)high << 32 | low) + 1;
}

static void read_bars(struct vdev *d)
{
	for (unsigned int i = 0; i < 6; i++) {
		uint32_t v = cfg_read(d, PCI_BAR(i), 4);
		d->bar_io[i] = v & 1;
		d->bar[i] = v & (v & 1 ? ~3u : ~15u);
		if (!(v & 1) && (v & 4) && i < 5) {
			d->bar[i] |= (uint64_t)cfg_read(d, PCI_BAR(i + 1), 4) << 32;
			i++;
		}
	}
}

static void read_virtio_cap(struct vdev *d, uint32_t cap)
{
	struct place p = { cfg_read(d, cap + 4, 1), cfg_read(d, cap + 8, 4),
			   cfg_read(d, cap + 12, 4) };

	switch (cfg_read(d, cap + 3, 1)) {
	case CFG_COMMON:
		d->common = p;
		break;
	case CFG_NOTIFY:
		*(d->bar_io[p.bar] ? &d->notify_pio : &d->notify) = p;
		break;
	case CFG_ISR:
		d->isr = p;
		break;
	case CFG_DEVICE:
		d->config = p;
		break;
	case CFG_PCI:
		d->window = cap;
		break;
	}
}

static void read_caps(struct vdev *d)
{
	static const struct place none = { 0xff, 0, 0 };

	d->common = d->isr = d->config = d->notify = d->notify_pio = d->table = none;
	for (uint32_t cap = cfg_read(d, CAP_POINTER, 1), n = 0; cap && n < 48; n++) {
		if (cfg_read(d, cap, 1) == CAP_VENDOR)
			read_virtio_cap(d, cap);
		if (cfg_read(d, cap, 1) == CAP_MSIX) {
			uint32_t table = cfg_read(d, cap + 4, 4);
			d->msix_cap = cap;
			d->table = (struct place){ table & 7, table & ~7u,
						   (cfg_read(d, cap + 2, 2) & 0x7ff) + 1 };
		}
		cap = cfg_read(d, cap + 1, 1);
	}
}

static bool is_type(const struct vdev *d, uint16_t id)
{
	uint32_t ids = cfg_read(d, 0, 4);

	if ((ids & 0xffff) != VENDOR_VIRTIO)
		return false;
	return ids >> 16 == MODERN_ID_BASE + (uint32_t)id ||
	       (ids >> 16 < MODERN_ID_BASE && cfg_read(d, 0x2e, 2) == id);
}

void vdev_find(struct vdev *d, uint16_t id, unsigned int nth, bool ecam)
{
	*d = (struct vdev){ .id = id, .ecam = ecam, .door_width = 2 };
	for (d->slot = 1; d->slot < SLOTS_NR; d->slot++) {
		if (!is_type(d, id) || nth--)
			continue;
		read_bars(d);
		read_caps(d);
		return;
	}
	fail("no such virtio device", id);
}

/* --- MSI-X --- */

static uint64_t entry_off(const struct vdev *d, unsigned int entry)
{
	return d->table.off + MSIX_ENTRY_LEN * entry;
}

void msix_entry(const struct vdev *d, unsigned int entry, uint64_t addr, uint32_t data,
		uint32_t control)
{
	bar_write(d, d->table.bar, entry_off(d, entry), 8, addr);
	bar_write(d, d->table.bar, entry_off(d, entry) + 8, 4, data);
	bar_write(d, d->table.bar, entry_off(d, entry) + MSIX_ENTRY_CTRL, 4, control);
}

void msix_mask(const struct vdev *d, unsigned int entry, bool mask)
{
	bar_write(d, d->table.bar, entry_off(d, entry) + MSIX_ENTRY_CTRL, 4,
		  mask ? MSIX_ENTRY_MASK : 0);
}

bool msix_pending(const struct vdev *d, unsigned int entry)
{
	uint32_t pba = cfg_read(d, d->msix_cap + 8, 4);

	return bar_read(d, pba & 7, (pba & ~7u) + entry / 32 * 4, 4) >> (entry % 32) & 1;
}

void msix_control(const struct vdev *d, uint16_t flags)
{
	cfg_write(d, d->msix_cap + 2, 2, flags);
}

/* --- handlers --- */

static void msi(unsigned int n)
{
	msi_tsc = rdtsc();
	msi_count[n]++;
	lapic_eoi();
}

void on_msi0(void)
{
	msi(0);
}

void on_msi1(void)
{
	msi(1);
}

void on_msi2(void)
{
	msi(2);
}

void on_msi3(void)
{
	msi(3);
}

/* The line is shared: every function on it is asked, and reading its status lets go of the line. */
void on_intx(void)
{
	intx_count++;
	for (unsigned int i = 0; i < VDEVS_NR; i++)
		if (intx_devs[i] && (vdev_isr(intx_devs[i]) & 1))
			intx_queue[i]++;
	lapic_eoi();
}

void irqs_init(void)
{
	static void (*const stubs[])(void) = { irq_msi0, irq_msi1, irq_msi2, irq_msi3 };

	for (unsigned int i = 0; i < 4; i++)
		idt_set(VEC_MSI + i, stubs[i]);
	idt_set(VEC_INTX, irq_intx);
	idt_load();
	outb(0x21, 0xff);
	outb(0xa1, 0xff);
	lapic_enable();
}

/* Level-triggered, active high: what the interrupt controller makes of a PCI line here. */
void intx_init(struct vdev *d)
{
	uint32_t pin = INTX_GSI_BASE + d->slot % INTX_GSIS_NR;

	intx_devs[d->index] = d;
	write32(IOAPIC, IOAPIC_PIN(pin) + 1);
	write32(IOAPIC_DATA, 0);
	write32(IOAPIC, IOAPIC_PIN(pin));
	write32(IOAPIC_DATA, IOAPIC_LEVEL | VEC_INTX);
}
