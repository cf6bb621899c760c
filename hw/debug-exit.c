/* SPDX-License-Identifier: GPL-2.0 */
#include <lkvm/debug-exit.h>
#include <lkvm/stop.h>
#include <lkvm/util.h>

static uint64_t debug_exit_bus_read(struct bus_region *r, uint64_t off, unsigned int width)
{
	(void)r;
	(void)off;
	(void)width;
	return 0;
}

static void debug_exit_bus_write(struct bus_region *r, uint64_t off, unsigned int width,
				 uint64_t value)
{
	struct debug_exit *d = container_of(r, struct debug_exit, region);

	(void)off;
	(void)width;
	stop_request(d->stop, STOP_DEBUG_EXIT, (uint32_t)value, "port 0x%x", (unsigned int)r->base);
}

int debug_exit_init(struct debug_exit *d, struct bus *pio, uint16_t port, struct stop *stop,
		    struct err *err)
{
	*d = (struct debug_exit){ .pio = pio, .stop = stop };
	d->region = (struct bus_region){
		.name = "debug-exit",
		.base = port,
		.size = 1,
		.max_width = 1,
		.read = debug_exit_bus_read,
		.write = debug_exit_bus_write,
	};
	if (bus_add(pio, &d->region))
		return err_usage(
			err,
			"--debug-exit 0x%x: the port belongs to a device; choose a free one, "
			"such as 0xf4",
			port);
	return 0;
}

void debug_exit_release(struct debug_exit *d)
{
	bus_remove(d->pio, &d->region);
}
