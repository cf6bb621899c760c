/* SPDX-License-Identifier: GPL-2.0 */
#include <lkvm/pvpanic.h>
#include <lkvm/stop.h>
#include <lkvm/util.h>

static uint64_t pvpanic_bus_read(struct bus_region *r, uint64_t off, unsigned int width)
{
	(void)r;
	(void)off;
	(void)width;
	return PVPANIC_PANICKED | PVPANIC_CRASH_LOADED;
}

static void pvpanic_bus_write(struct bus_region *r, uint64_t off, unsigned int width,
			      uint64_t value)
{
	struct pvpanic *p = container_of(r, struct pvpanic, region);

	(void)off;
	(void)width;
	if (value & PVPANIC_PANICKED)
		stop_note(p->stop, STOP_PANIC, "reported through pvpanic");
	if (value & PVPANIC_CRASH_LOADED)
		log_guest(p->log, &p->limit,
			  "the guest's kernel crashed and its crash kernel takes over");
}

int pvpanic_init(struct pvpanic *p, struct bus *pio, uint16_t port, struct stop *stop,
		 const struct log *log, struct err *err)
{
	*p = (struct pvpanic){ .pio = pio, .stop = stop, .log = log };
	p->region = (struct bus_region){
		.name = "pvpanic",
		.base = port,
		.size = 1,
		.max_width = 1,
		.read = pvpanic_bus_read,
		.write = pvpanic_bus_write,
	};
	if (bus_add(pio, &p->region))
		return err_internal(err, "pvpanic: port 0x%x is taken", port);
	return 0;
}

void pvpanic_release(struct pvpanic *p)
{
	bus_remove(p->pio, &p->region);
}
