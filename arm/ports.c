/* SPDX-License-Identifier: GPL-2.0 */
#include <lkvm/util.h>

#include "memmap.h"
#include "ports.h"

static uint64_t ports_bus_read(struct bus_region *r, uint64_t off, unsigned int width)
{
	struct ports *p = container_of(r, struct ports, region);
	uint64_t le = UINT64_MAX;

	if (off >= PCI_IO_FIRST)
		bus_read(p->pio, off, &le, width);
	return le64toh(le) & (UINT64_MAX >> (64 - 8 * width));
}

static void ports_bus_write(struct bus_region *r, uint64_t off, unsigned int width, uint64_t value)
{
	struct ports *p = container_of(r, struct ports, region);
	uint64_t le = htole64(value);

	if (off >= PCI_IO_FIRST)
		bus_write(p->pio, off, &le, width);
}

int ports_init(struct ports *p, struct bus *mmio, struct bus *pio, struct err *err)
{
	*p = (struct ports){ .mmio = mmio, .pio = pio };
	p->region = (struct bus_region){
		.name = "ports",
		.base = GPA_PCI_IO,
		.size = GPA_PCI_IO_LEN,
		.max_width = 4,
		.read = ports_bus_read,
		.write = ports_bus_write,
	};
	if (bus_add(mmio, &p->region))
		return err_internal(err, "the window of PCI's ports is taken");
	return 0;
}

void ports_release(struct ports *p)
{
	bus_remove(p->mmio, &p->region);
}
