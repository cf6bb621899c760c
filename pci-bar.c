/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>

#include <lkvm/util.h>

#include "pci-priv.h"

/* No BAR starts here, and the windows are so far away that it overlaps none that answers. */
#define NOWHERE UINT64_MAX

static uint64_t bar_read(struct bus_region *r, uint64_t off, unsigned int width)
{
	struct pci_bar *b = container_of(r, struct pci_bar, region);

	return b->ops->read(b->pd, b->index, off, width);
}

static void bar_write(struct bus_region *r, uint64_t off, unsigned int width, uint64_t value)
{
	struct pci_bar *b = container_of(r, struct pci_bar, region);

	b->ops->write(b->pd, b->index, off, width, value);
}

/* The register's type bits, and its address bits below the size, are not in the write mask: 6.2.5.1. */
void pci_set_bar(struct pci_device *pd, unsigned int bar, enum pci_bar_kind kind, uint64_t size,
		 const struct pci_bar_ops *ops)
{
	bool io = kind == PCI_BAR_IO;

	BUG_ON(bar >= PCI_BARS_NR || pd->bars[bar].kind || (size & (size - 1)));
	BUG_ON(io ? size < 4 || size > 256 : size < 16);
	BUG_ON(kind == PCI_BAR_MEM64 ? bar + 1 >= PCI_BARS_NR || pd->bars[bar + 1].kind
				     : size > UINT32_MAX);
	pd->bars[bar] = (struct pci_bar){
		.kind = kind,
		.size = size,
		.ops = ops,
		.pd = pd,
		.index = bar,
		.region = { .name = pd->ops->name,
			    .size = size,
			    .max_width = io ? 4 : 8,
			    .read = bar_read,
			    .write = bar_write },
	};
	unsigned int reg = PCI_BASE_ADDRESS_0 + 4 * bar;
	put_le32(pd->wmask + reg, (uint32_t) ~(size - 1));
	if (io)
		pd->config[reg] = PCI_BASE_ADDRESS_SPACE_IO;
	if (kind == PCI_BAR_MEM64) {
		pd->config[reg] = PCI_BASE_ADDRESS_MEM_TYPE_64;
		put_le32(pd->wmask + reg + 4, ~(size - 1) >> 32);
	}
}

static uint64_t bar_base(const struct pci_bar *b)
{
	unsigned int reg = PCI_BASE_ADDRESS_0 + 4 * b->index;
	uint32_t low = pci_config_load(b->pd, reg);

	if (b->kind == PCI_BAR_IO)
		return low & (uint32_t)PCI_BASE_ADDRESS_IO_MASK;
	low &= (uint32_t)PCI_BASE_ADDRESS_MEM_MASK;
	return b->kind == PCI_BAR_MEM64 ? (uint64_t)pci_config_load(b->pd, reg + 4) << 32 | low
					: low;
}

/* What lies below the window is, by the subtraction, far above it. */
static bool inside(const struct pci_window *w, uint64_t base, uint64_t size)
{
	return range_ok(base - w->base, size, w->len);
}

static bool in_window(const struct pci *pci, const struct pci_bar *b, uint64_t base)
{
	const struct pci_config *cfg = &pci->cfg;

	if (b->kind == PCI_BAR_IO)
		return inside(&cfg->io, base, b->size);
	return inside(&cfg->mem32, base, b->size) || inside(&cfg->mem64, base, b->size);
}

static bool decodes(const struct pci_bar *b)
{
	uint32_t command = pci_config_load(b->pd, PCI_COMMAND);

	return command & (b->kind == PCI_BAR_IO ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY);
}

/* A BAR and where it is to answer. */
struct place {
	struct pci_bar *bar;
	uint64_t base;
};

static bool overlap(const struct place *a, const struct place *b)
{
	if ((a->bar->kind == PCI_BAR_IO) != (b->bar->kind == PCI_BAR_IO))
		return false;
	return a->base >= b->base ? a->base - b->base < b->bar->size
				  : b->base - a->base < a->bar->size;
}

/* All BARs in the order of their rank, each with its place or NOWHERE. Returns how many. */
static unsigned int decide(struct pci *pci, struct place *places)
{
	unsigned int nr = 0;

	for (unsigned int i = 0; i < PCI_SLOTS_NR * PCI_BARS_NR; i++) {
		struct pci_device *pd = pci->devices[i / PCI_BARS_NR];
		struct pci_bar *b = pd ? &pd->bars[i % PCI_BARS_NR] : NULL;

		if (!b || !b->kind)
			continue;
		struct place *p = &places[nr++];
		*p = (struct place){ .bar = b, .base = bar_base(b) };
		if (!decodes(b) || !in_window(pci, b, p->base))
			p->base = NOWHERE;
		for (struct place *q = places; q < p; q++)
			if (overlap(p, q))
				p->base = NOWHERE;
	}
	return nr;
}

static struct bus *bus_of(struct pci *pci, const struct pci_bar *b)
{
	return b->kind == PCI_BAR_IO ? pci->pio : pci->mmio;
}

/* The owner's doorbells go first and come last: meanwhile a kick is an access to the BAR, and is not lost. */
static void deactivate(struct pci *pci, struct pci_bar *b)
{
	if (b->ops->deactivate)
		b->ops->deactivate(b->pd, b->index);
	bus_remove(bus_of(pci, b), &b->region);
	b->active = false;
}

static void activate(struct pci *pci, struct pci_bar *b, uint64_t base)
{
	b->region.base = base;
	/* A fixed device inside the window keeps its place. */
	if (bus_add(bus_of(pci, b), &b->region))
		return;
	b->active = true;
	if (b->ops->activate)
		b->ops->activate(b->pd, b->index, base);
}

void pci_bars_update_locked(struct pci *pci)
{
	struct place places[PCI_SLOTS_NR * PCI_BARS_NR];
	unsigned int nr = decide(pci, places);

	for (struct place *p = places; p < places + nr; p++)
		if (p->bar->active && p->bar->region.base != p->base)
			deactivate(pci, p->bar);
	for (struct place *p = places; p < places + nr; p++)
		if (!p->bar->active && p->base != NOWHERE)
			activate(pci, p->bar, p->base);
}

/* --- where they start --- */

static uint64_t take(const struct pci_window *w, uint64_t *next, uint64_t size)
{
	uint64_t at = align_up(MAX(*next, w->base), size);

	if (!inside(w, at, size))
		return NOWHERE;
	*next = at + size;
	return at;
}

static uint64_t take_for(struct pci *pci, const struct pci_bar *b)
{
	uint64_t at = NOWHERE;

	if (b->kind == PCI_BAR_IO)
		return take(&pci->cfg.io, &pci->next_io, b->size);
	if (b->kind == PCI_BAR_MEM64)
		at = take(&pci->cfg.mem64, &pci->next_mem64, b->size);
	return at != NOWHERE ? at : take(&pci->cfg.mem32, &pci->next_mem32, b->size);
}

int pci_bars_place(struct pci *pci, struct pci_device *pd, struct err *err)
{
	uint64_t io = pci->next_io, mem32 = pci->next_mem32, mem64 = pci->next_mem64;

	for (unsigned int i = 0; i < PCI_BARS_NR; i++) {
		struct pci_bar *b = &pd->bars[i];
		unsigned int reg = PCI_BASE_ADDRESS_0 + 4 * i;

		if (!b->kind)
			continue;
		uint64_t at = take_for(pci, b);
		if (at == NOWHERE) {
			pci->next_io = io;
			pci->next_mem32 = mem32;
			pci->next_mem64 = mem64;
			err_usage(err, "%s: the %s for PCI devices are used up; use fewer devices",
				  pd->ops->name,
				  b->kind == PCI_BAR_IO ? "I/O ports" : "memory addresses");
			return -ENOSPC;
		}
		pci_config_store(pd, reg, get_le32(pd->wmask + reg), (uint32_t)at);
		if (b->kind == PCI_BAR_MEM64)
			pci_config_store(pd, reg + 4, get_le32(pd->wmask + reg + 4), at >> 32);
	}
	return 0;
}
