/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A PCI bus for tests: both ways into configuration space, and functions whose BARs are bytes that
 * remember what was done to them.
 */
#ifndef LKVM_TESTS_PCI_HW_H
#define LKVM_TESTS_PCI_HW_H

#include <errno.h>
#include <linux/pci_regs.h>

#include <lkvm/log.h>
#include <lkvm/pci.h>

#include "fake-hw.h"

#define ECAM      0xe0000000ULL
#define IO_BASE   0x1000ULL
#define IO_LEN    0xf000ULL
#define M32_BASE  0xc0000000ULL
#define M32_LEN   0x20000000ULL
#define M64_BASE  0x8000000000ULL
#define M64_LEN   0x4000000000ULL
#define GSI_FIRST 16u
#define GSI_NR    4u
#define ONES      UINT32_MAX

static struct bus fake_mmio;
static struct pci pci;
static struct kvm *pci_hw_kvm; /* for pci_init(); a test sets it before it calls pci_hw_init() */

static const struct pci_config pci_hw_config = {
	.ecam_gpa = ECAM,
	.conf1 = true,
	.ecam = true,
	.io = { IO_BASE, IO_LEN },
	.mem32 = { M32_BASE, M32_LEN },
	.mem64 = { M64_BASE, M64_LEN },
	.gsi_base = GSI_FIRST,
	.gsi_nr = GSI_NR,
};

/* In the place of irq-route.c: one route and what is bound to it. */
static struct fake_route {
	bool none, refuse, refuse_bind; /* what the test sets */
	unsigned int given, sets, binds, unbinds;
	struct irq_route last; /* as it was set */
	int bound;             /* an eventfd, or -1 */
} fake_route = { .bound = -1 };

int irq_route_init(struct irq_route *r, struct kvm *kvm)
{
	*r = (struct irq_route){ 0 };
	if (fake_route.none || !kvm)
		return -ENOSPC;
	r->kvm = kvm;
	fake_route.given++;
	return 0;
}

void irq_route_release(struct irq_route *r)
{
	fake_route.given -= r->kvm ? 1 : 0;
	r->kvm = NULL;
}

int irq_route_set(struct irq_route *r, uint32_t devid, uint64_t addr, uint32_t data)
{
	if (r->set && r->devid == devid && r->addr == addr && r->data == data)
		return 0;
	if (fake_route.refuse)
		return -EINVAL;
	r->set = true;
	r->devid = devid;
	r->addr = addr;
	r->data = data;
	fake_route.last = *r;
	fake_route.sets++;
	return 0;
}

int irq_route_bind(struct irq_route *r, int fd)
{
	(void)r;
	if (fake_route.refuse_bind)
		return -ENOSPC;
	BUG_ON(fake_route.bound >= 0);
	fake_route.bound = fd;
	fake_route.binds++;
	return 0;
}

void irq_route_unbind(struct irq_route *r, int fd)
{
	(void)r;
	BUG_ON(fake_route.bound != fd);
	fake_route.bound = -1;
	fake_route.unbinds++;
}

static inline void pci_hw_init(const struct pci_config *cfg)
{
	static const struct log log = { .fd = -1 };
	struct err err = ERR_INIT;

	fake_stop = (struct fake_stop){ 0 };
	fake_slot = (struct fake_slot){ 0 };
	fake_msis_nr = 0;
	fake_route = (struct fake_route){ .bound = -1 };
	bus_init(&fake_bus);
	bus_init(&fake_mmio);
	BUG_ON(pci_init(&pci, cfg, pci_hw_kvm, &fake_bus, &fake_mmio, NULL, &log, &err));
}

static inline void pci_hw_release(void)
{
	pci_release(&pci);
	BUG_ON(fake_bus.nr || fake_mmio.nr || fake_slot.there);
	bus_release(&fake_mmio);
	bus_release(&fake_bus);
}

static inline uint64_t mem_in(uint64_t addr, unsigned int width)
{
	uint8_t data[8] = { 0 };

	bus_read(&fake_mmio, addr, data, width);
	return get_le64(data);
}

static inline void mem_out(uint64_t addr, unsigned int width, uint64_t value)
{
	uint8_t data[8];

	put_le64(data, value);
	bus_write(&fake_mmio, addr, data, width);
}

static inline uint32_t read_ecam(uint32_t off, unsigned int width)
{
	return (uint32_t)mem_in(ECAM + off, width);
}

static inline void write_ecam(uint32_t off, unsigned int width, uint32_t v)
{
	mem_out(ECAM + off, width, v);
}

static inline uint32_t conf1_read(uint32_t bdf, uint32_t reg, unsigned int width)
{
	out(0xcf8, 4, 1u << 31 | bdf << 8 | (reg & 0xfc));
	return (uint32_t)in(0xcfc + (reg & 3), width);
}

static inline void conf1_write(uint32_t bdf, uint32_t reg, unsigned int width, uint32_t v)
{
	out(0xcf8, 4, 1u << 31 | bdf << 8 | (reg & 0xfc));
	out(0xcfc + (reg & 3), width, v);
}

/* Configuration space of a function by ECAM. */
static inline uint32_t cfg_in(const struct pci_device *pd, uint32_t reg, unsigned int width)
{
	return read_ecam(pd->slot << 15 | reg, width);
}

static inline void cfg_out(const struct pci_device *pd, uint32_t reg, unsigned int width,
			   uint32_t v)
{
	write_ecam(pd->slot << 15 | reg, width, v);
}

/* --- functions --- */

#define FUNC_BAR_BYTES 256 /* the bytes of a BAR repeat after so many */

struct func {
	struct pci_device pd;
	uint8_t bytes[PCI_BARS_NR][FUNC_BAR_BYTES];
	unsigned int reads, writes;
	/* As activate and deactivate said. */
	bool active[PCI_BARS_NR];
	uint64_t addr[PCI_BARS_NR];
	unsigned int turns;
	/* bus_master */
	unsigned int masters;
	bool master;
	/* The access window: what is read there, and what was done. Any vCPU's thread comes, without a lock. */
	_Atomic uint32_t window_value, window_wrote;
	_Atomic unsigned int window_reads, window_writes, window_width;
};

static inline uint64_t func_read(struct pci_device *pd, unsigned int bar, uint64_t off,
				 unsigned int width)
{
	struct func *f = container_of(pd, struct func, pd);
	uint64_t v = 0;

	BUG_ON(!range_ok(off, width, pd->bars[bar].size));
	BUG_ON(width > (pd->bars[bar].kind == PCI_BAR_IO ? 4 : 8));
	f->reads++;
	for (unsigned int i = 0; i < width; i++)
		v |= (uint64_t)f->bytes[bar][(off + i) % FUNC_BAR_BYTES] << 8 * i;
	return v;
}

static inline void func_write(struct pci_device *pd, unsigned int bar, uint64_t off,
			      unsigned int width, uint64_t value)
{
	struct func *f = container_of(pd, struct func, pd);

	BUG_ON(!range_ok(off, width, pd->bars[bar].size));
	BUG_ON(width > (pd->bars[bar].kind == PCI_BAR_IO ? 4 : 8));
	f->writes++;
	for (unsigned int i = 0; i < width; i++)
		f->bytes[bar][(off + i) % FUNC_BAR_BYTES] = (uint8_t)(value >> 8 * i);
}

static inline void func_activate(struct pci_device *pd, unsigned int bar, uint64_t addr)
{
	struct func *f = container_of(pd, struct func, pd);

	BUG_ON(f->active[bar]); /* in turns */
	f->active[bar] = true;
	f->addr[bar] = addr;
	f->turns++;
}

static inline void func_deactivate(struct pci_device *pd, unsigned int bar)
{
	struct func *f = container_of(pd, struct func, pd);

	BUG_ON(!f->active[bar]);
	f->active[bar] = false;
	f->turns++;
}

static inline void func_bus_master(struct pci_device *pd, bool on)
{
	struct func *f = container_of(pd, struct func, pd);

	f->masters++;
	f->master = on;
}

static inline uint32_t func_window_read(struct pci_device *pd, unsigned int width)
{
	struct func *f = container_of(pd, struct func, pd);

	f->window_reads++;
	f->window_width = width;
	return f->window_value;
}

static inline void func_window_write(struct pci_device *pd, unsigned int width, uint32_t value)
{
	struct func *f = container_of(pd, struct func, pd);

	f->window_writes++;
	f->window_width = width;
	f->window_wrote = value;
}

static const struct pci_bar_ops func_bar_ops = { func_read, func_write, func_activate,
						 func_deactivate };
static const struct pci_device_ops func_ops = { "func", func_bus_master, func_window_read,
						func_window_write };
static const struct pci_ids func_ids = {
	.vendor = 0x1af4,
	.device = 0x1042,
	.subsystem_vendor = 0x1af4,
	.subsystem = 0x0042,
	.class = 0x010000,
	.revision = 1,
};

/* One that is on no bus yet. */
static inline void func_init(struct func *f)
{
	*f = (struct func){ .master = true };
	pci_device_init(&f->pd, &func_ops, &func_ids, f);
}

static inline void func_bar(struct func *f, unsigned int bar, enum pci_bar_kind kind, uint64_t size)
{
	pci_set_bar(&f->pd, bar, kind, size, &func_bar_ops);
}

static inline void func_add(struct func *f)
{
	struct err err = ERR_INIT;

	BUG_ON(pci_add(&pci, &f->pd, &err));
}

static inline void func_remove(struct func *f)
{
	pci_remove(&f->pd);
	pci_device_release(&f->pd);
}

static inline void func_command(struct func *f, uint16_t v)
{
	cfg_out(&f->pd, PCI_COMMAND, 2, v);
}

#define DECODE (PCI_COMMAND_IO | PCI_COMMAND_MEMORY)

static inline uint32_t bar_reg(unsigned int bar)
{
	return PCI_BASE_ADDRESS_0 + 4 * bar;
}

#endif
