/* SPDX-License-Identifier: GPL-2.0 */
/* BARs that are moved, sized and switched off while queues run and doorbells are armed. */
#include "virtio.h"

#define FREE_MEM 0xd0000000ULL /* nobody's, in the bridge's windows */
#define FREE_PIO 0x8000

static struct vdev dev, neighbour;
static unsigned int bar; /* of `dev`: the one with its doorbell, or its MSI-X table */

/*
 * What `dev` was asked first is done when this is done: one thread serves both, in the order of the kicks, and
 * the neighbour is always reachable. Before a request that nobody is to serve: the device may still be at its last look
 * at the ring.
 */
static void settle(void)
{
	vdev_serve(&neighbour);
}

static bool moves_doorbell(void)
{
	return bar != dev.table.bar;
}

/* At `addr`, where its BAR was, nothing answers, and a kick there has no effect. */
static void expect_gone(uint64_t addr, const char *where)
{
	bool io = dev.bar_io[bar];
	uint64_t door = addr + (door_addr(&dev) - dev.bar[bar]);

	if (mem_read(io, addr, 4) != ~0u)
		fail(where, mem_read(io, addr, 4));
	if (!moves_doorbell())
		return;
	settle();
	vdev_post(&dev);
	mem_write(io, door, 2, 0);
	settle();
	if (vdev_done(&dev))
		fail("served by a kick where no BAR is:", door);
	vdev_kick(&dev);
	vdev_finish(&dev);
}

static uint64_t elsewhere(void)
{
	return dev.bar_io[bar] ? FREE_PIO : FREE_MEM;
}

/* With decode on: all of it answers at the new place, nothing at the old one, and the same on the way back. */
static void t_move(void)
{
	uint64_t home = dev.bar[bar];

	for (uint32_t n = arg_num("n", 3); n--;) {
		bar_set(&dev, bar, elsewhere());
		vdev_serve(&dev);
		expect_gone(home, "the old place answers");
		bar_set(&dev, bar, home);
		vdev_serve(&dev);
		expect_gone(elsewhere(), "the left place answers");
	}
}

/* n requests at the new place, so that the test can tell what one costs. */
static void t_serve_there(void)
{
	bar_set(&dev, bar, elsewhere());
	for (uint32_t n = arg_num("n", 20); n--;)
		vdev_serve(&dev);
}

/* One of two BARs at one place answers, that of the lower slot; the other is back when one of them leaves. */
static void overlap(struct vdev *mover, unsigned int its_bar, struct vdev *owner, uint64_t at)
{
	struct vdev *winner = mover->slot < owner->slot ? mover : owner;
	struct vdev *loser = winner == mover ? owner : mover;
	uint64_t home = mover->bar[its_bar];

	bar_set(mover, its_bar, at);
	vdev_serve(winner);
	vdev_post(loser);
	vdev_serve(winner);
	vdev_serve(winner);
	if (vdev_done(loser))
		fail("two BARs answer at", at);
	bar_set(mover, its_bar, home);
	vdev_kick(loser);
	vdev_finish(loser);
	vdev_serve(loser);
	vdev_serve(winner);
}

static void t_overlap(void)
{
	unsigned int its_bar = neighbour.notify.bar;

	if (dev.bar_io[bar])
		its_bar = 0;
	neighbour.door = dev.bar_io[bar] ? DOOR_LEGACY : DOOR_MMIO;
	for (uint32_t n = arg_num("n", 3); n--;) {
		overlap(&dev, bar, &neighbour, neighbour.bar[its_bar]);
		overlap(&neighbour, its_bar, &dev, dev.bar[bar]);
	}
}

/* The doorbell's BAR over the smaller one of an MSI-X table of the other function, and the table into the middle of it. */
static void t_overlap_part(void)
{
	uint64_t home = dev.bar[bar], table_home = neighbour.bar[neighbour.table.bar];
	/* Two places in the 32-bit window where nothing else is, as the table cannot leave it. */
	uint64_t here = (table_home & ~0xfffffull) + 0x100000, there = here + 0x100000;

	/* the lower slot has it, whoever came last */
	bar_set(&neighbour, neighbour.table.bar, here + 0x1000);
	vdev_serve(&neighbour);
	bar_set(&dev, bar, here);
	vdev_serve(&dev);
	bar_set(&dev, bar, there);
	vdev_serve(&neighbour);
	bar_set(&neighbour, neighbour.table.bar, there + 0x1000);
	vdev_serve(&dev);
	bar_set(&neighbour, neighbour.table.bar, table_home);
	vdev_serve(&neighbour);
	bar_set(&dev, bar, home);
	if (!bar_read(&neighbour, neighbour.table.bar, MSIX_ENTRY_LEN + 8, 4))
		fail("the table lost its entry", 0);
	vdev_serve(&dev);
}

/* RAM stays RAM, for the CPUs and for the devices: the ring of the neighbour and its own. */
static void t_over_ram(void)
{
	static uint64_t word;
	uint64_t home = dev.bar[bar];
	const uint64_t at[] = { (uint64_t)neighbour.ring, (uint64_t)dev.ring,
				(uint64_t)&word & ~0x3fffULL, 0, MIB };

	for (unsigned int i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		bar_set(&dev, bar, at[i]);
		vdev_serve(&neighbour);
		write64((uint64_t)&word, ~at[i]);
		if (read64((uint64_t)&word) != ~at[i])
			fail("RAM under a BAR is gone at", at[i]);
		bar_set(&dev, bar, home);
		vdev_serve(&dev);
	}
}

/* The fixed devices keep their places. */
static void t_over_fixed(void)
{
	static const uint64_t mem[] = { LAPIC,      IOAPIC,     ECAM,
					0xfffbc000, 0xffffc000, 0x100000000 - 0x4000 };
	static const uint64_t pio[] = { 0, 0x60, 0x3f8, 0x500, 0x600, 0xcf8, 0xff00 };
	bool io = dev.bar_io[bar];
	uint64_t home = dev.bar[bar], size = bar_size(&dev, bar);

	for (unsigned int i = 0; i < 6; i++) {
		bar_set(&dev, bar, io ? pio[i] & ~(size - 1) : mem[i]);
		(void)lapic_read(0x20);
		vdev_serve(&neighbour);
		bar_set(&dev, bar, home);
		vdev_serve(&dev);
	}
}

/* All-ones in and the address back, with decode on: a kick that was sent afterwards counts. */
static void t_size(void)
{
	for (uint32_t n = arg_num("n", 20); n--;) {
		uint64_t size = bar_size(&dev, bar);
		if (size & (size - 1) || !size)
			fail("the BAR's size is", size);
		vdev_serve(&dev);
	}
}

/* Off: nothing answers. On: as it was, status, queue and all. */
static void t_decode(void)
{
	uint8_t status = vdev_status(&dev);

	for (uint32_t n = arg_num("n", 100); n--;) {
		cfg_write(&dev, PCI_COMMAND, 2, COMMAND_MASTER);
		if (n % 10 == 0) {
			if (bar_read(&dev, bar, 0, 4) != ~0u)
				fail("a BAR answers without decode", bar_read(&dev, bar, 0, 4));
			if (moves_doorbell()) {
				settle();
				vdev_post(&dev);
				vdev_kick(&dev);
				settle();
				if (vdev_done(&dev))
					fail("a kick without decode is served", n);
			}
		}
		cfg_write(&dev, PCI_COMMAND, 2, COMMAND_ALL);
		if (!vdev_done(&dev)) {
			vdev_kick(&dev);
			vdev_finish(&dev);
		}
		if (n % 10 == 5)
			vdev_serve(&dev);
	}
	if (vdev_status(&dev) != status)
		fail("the status has become", vdev_status(&dev));
}

static void choose(void)
{
	bar = arg_is("bar", "msix") ? dev.table.bar : dev.notify.bar;
	if (dev.door == DOOR_PIO)
		bar = dev.notify_pio.bar;
	if (dev.door == DOOR_LEGACY)
		bar = 0;
}

/* count=1: before and after, the test counts what lkvm holds. */
static void run(void (*body)(void))
{
	bool count = arg_num("count", 0);

	dev_from_args(&dev);
	choose();
	vdev_find(&neighbour, arg_is("dev", "rng") ? VIRTIO_MINI : VIRTIO_RNG, 0, true);
	neighbour.index = 1;
	vdev_start(&neighbour, arg_is("beside", "legacy") ? DOOR_LEGACY : DOOR_MMIO,
		   arg_is("irq", "msix") ? IRQ_MSIX : IRQ_NONE);
	vdev_serve(&dev);
	settle();
	if (count)
		checkpoint();
	body();
	vdev_serve(&dev);
	settle();
	if (count)
		checkpoint();
	pass();
}

#define CASE(name)                                                                                 \
	static void run_##name(void)                                                               \
	{                                                                                          \
		run(t_##name);                                                                     \
	}
CASE(move)
CASE(serve_there)
CASE(overlap)
CASE(overlap_part)
CASE(over_ram)
CASE(over_fixed)
CASE(size)
CASE(decode)

const struct guest_case cases_move[] = {
	{ "m-move", run_move },
	{ "m-serve-there", run_serve_there },
	{ "m-overlap", run_overlap },
	{ "m-overlap-part", run_overlap_part },
	{ "m-over-ram", run_over_ram },
	{ "m-over-fixed", run_over_fixed },
	{ "m-size", run_size },
	{ "m-decode", run_decode },
	{ NULL, NULL },
};
