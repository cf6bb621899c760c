/* SPDX-License-Identifier: GPL-2.0 */
#include <lkvm/irq.h>
#include <lkvm/util.h>

#include "memmap.h"
#include "v2m.h"

#define FIRST (GIC_SPI_FIRST + SPI_V2M)

bool v2m_has(uint32_t data)
{
	return data - FIRST < SPI_V2M_NR;
}

static uint64_t v2m_bus_read(struct bus_region *r, uint64_t off, unsigned int width)
{
	(void)r;
	return off == V2M_TYPER && width == 4 ? FIRST << 16 | SPI_V2M_NR : 0;
}

static void v2m_bus_write(struct bus_region *r, uint64_t off, unsigned int width, uint64_t value)
{
	struct v2m *v = container_of(r, struct v2m, region);

	if (off == V2M_SETSPI && width == 4)
		irq_msi_send(v->kvm, 0, r->base + off, (uint32_t)value);
}

int v2m_init(struct v2m *v, struct bus *mmio, struct kvm *kvm, struct err *err)
{
	*v = (struct v2m){ .mmio = mmio, .kvm = kvm };
	v->region = (struct bus_region){
		.name = "v2m",
		.base = GPA_V2M,
		.size = GPA_V2M_LEN,
		.max_width = 4,
		.read = v2m_bus_read,
		.write = v2m_bus_write,
	};
	if (bus_add(mmio, &v->region))
		return err_internal(err, "v2m: the frame is taken");
	return 0;
}

void v2m_release(struct v2m *v)
{
	bus_remove(v->mmio, &v->region);
}
