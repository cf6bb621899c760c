/* SPDX-License-Identifier: GPL-2.0 */
/* Virtio devices that are driven as they are meant to be: doorbells, interrupts, configuration space. */
#include "virtio.h"

static struct vdev dev, neighbour;

static enum door arg_door(void)
{
	if (arg_is("door", "pio"))
		return DOOR_PIO;
	if (arg_is("door", "legacy"))
		return DOOR_LEGACY;
	return arg_is("door", "window") ? DOOR_WINDOW : DOOR_MMIO;
}

static enum irq_mode arg_irq(void)
{
	if (arg_is("irq", "msix"))
		return IRQ_MSIX;
	return arg_is("irq", "intx") ? IRQ_INTX : IRQ_NONE;
}

void dev_from_args(struct vdev *d)
{
	irqs_init();
	vdev_find(d, arg_is("dev", "rng") ? VIRTIO_RNG : VIRTIO_MINI, 0,
		  !arg_is("access", "conf1"));
	vdev_start(d, arg_door(), arg_irq());
	d->door_width = arg_num("width", 2);
}

/* n requests through one doorbell. What the device counts agrees. */
static void t_serve(void)
{
	uint32_t n = arg_num("n", 50);

	dev_from_args(&dev);
	for (uint32_t i = 0; i < n; i++)
		vdev_serve(&dev);
	if (dev.id == VIRTIO_MINI && bar_read(&dev, dev.config.bar, dev.config.off, 4) != n)
		fail("mini counts", bar_read(&dev, dev.config.bar, dev.config.off, 4));
	if (dev.irq == IRQ_INTX && (cfg_read(&dev, PCI_STATUS, 2) & STATUS_INTX))
		fail("Interrupt Status is still set", cfg_read(&dev, PCI_STATUS, 2));
	pass();
}

/* The same registers by the window as by the BAR, and no answer where it is aimed at nothing. */
static void t_window(void)
{
	static const struct place nowhere = { 3, 0, 16 };

	dev_from_args(&dev);
	for (unsigned int width = 1; width <= 4; width *= 2) {
		for (uint32_t off = 0; off < COMMON_LEN; off += width) {
			uint64_t by_window = window_access(&dev, &dev.common, off, width, false, 0);
			uint64_t by_bar = bar_read(&dev, dev.common.bar, dev.common.off + off,
						   width);
			if (by_window != by_bar)
				fail("the window reads wrong at", off);
		}
	}
	if (window_access(&dev, &nowhere, 0, 4, false, 0))
		fail("the window reads what is not there", 0);
	vdev_serve(&dev);
	pass();
}

/* --- MSI-X --- */

static void post_and_pend(struct vdev *d)
{
	vdev_post(d);
	vdev_kick(d);
	vdev_finish(d);
	while (!msix_pending(d, 1))
		cpu_pause();
}

/* A KVM that interprets looks for interrupts every some hundred instructions only. */
static void let_interrupts_in(void)
{
	__asm__ volatile("sti" : : : "memory");
	for (unsigned int i = 0; i < 1000; i++)
		cpu_pause();
	__asm__ volatile("cli" : : : "memory");
}

/* Nothing was sent before; one message when `unmask` is done, whatever number of requests. */
static void expect_replay(const char *what, uint32_t vector, uint32_t before)
{
	while (msi_count[vector] == before)
		__asm__ volatile("sti; hlt; cli" : : : "memory");
	let_interrupts_in();
	if (msi_count[vector] != before + 1 || msix_pending(&dev, 1))
		fail(what, msi_count[vector] - before);
}

static void expect_silence(const char *what, uint32_t vector, uint32_t before)
{
	let_interrupts_in();
	if (msi_count[vector] != before)
		fail(what, msi_count[vector] - before);
}

static void t_msix(void)
{
	uint32_t n;

	dev_from_args(&dev);
	vdev_serve(&dev);
	for (unsigned int round = 0; round < 20; round++) {
		n = msi_count[1];
		msix_mask(&dev, 1, true);
		post_and_pend(&dev);
		post_and_pend(&dev);
		expect_silence("a masked vector was sent", 1, n);
		msix_mask(&dev, 1, false);
		expect_replay("messages of an unmasked vector:", 1, n++);
		msix_control(&dev, MSIX_ENABLE | MSIX_MASK_ALL);
		post_and_pend(&dev);
		expect_silence("a masked function has sent", 1, n);
		msix_control(&dev, MSIX_ENABLE);
		expect_replay("messages of an unmasked function:", 1, n++);
		/* the entry as it is when it is unmasked is what counts */
		msix_mask(&dev, 1, true);
		post_and_pend(&dev);
		msix_entry(&dev, 1, 0xfee00000, VEC_MSI + 2, 0);
		expect_replay("messages of a changed entry:", 2, msi_count[2]);
		expect_silence("the old entry was sent", 1, n);
		msix_entry(&dev, 1, 0xfee00000, VEC_MSI + 1, 0);
		/* without bus mastering it waits too */
		msix_mask(&dev, 1, true);
		post_and_pend(&dev);
		cfg_write(&dev, PCI_COMMAND, 2, COMMAND_MEM);
		msix_mask(&dev, 1, false);
		expect_silence("a function that is no bus master has sent", 1, n);
		cfg_write(&dev, PCI_COMMAND, 2, COMMAND_MEM | COMMAND_MASTER);
		expect_replay("messages of a bus master:", 1, n++);
	}
	pass();
}

/* --- INTx --- */

/*
 * A KVM that interprets may deliver a level-triggered interrupt again whose line is low by then. Its handler
 * finds no reason, as on any shared line; here it must not come later, as what the test counts.
 */
static void settle_intx(void)
{
	uint32_t before;

	do {
		before = intx_count;
		let_interrupts_in();
	} while (intx_count != before);
}

/* Disabled, the line is quiet and the status bit still says it; enabled again, the line rises. */
static void t_intx(void)
{
	uint32_t before;

	dev_from_args(&dev);
	for (unsigned int round = 0; round < 20; round++) {
		vdev_serve(&dev);
		settle_intx();
		cfg_write(&dev, PCI_COMMAND, 2, COMMAND_ALL | COMMAND_NO_INTX);
		before = intx_count;
		vdev_post(&dev);
		vdev_kick(&dev);
		vdev_finish(&dev);
		while (!(cfg_read(&dev, PCI_STATUS, 2) & STATUS_INTX))
			cpu_pause();
		let_interrupts_in();
		if (intx_count != before)
			fail("a disabled line interrupts", intx_count - before);
		before = intx_queue[0];
		cfg_write(&dev, PCI_COMMAND, 2, COMMAND_ALL);
		while (intx_queue[0] == before)
			__asm__ volatile("sti; hlt; cli" : : : "memory");
		settle_intx();
		if (intx_queue[0] != before + 1 || (cfg_read(&dev, PCI_STATUS, 2) & STATUS_INTX))
			fail("interrupts of one request:", intx_queue[0] - before);
	}
	pass();
}

/* Two functions on one line: each interrupts, and neither is lost when both do at once. */
static void t_intx_shared(void)
{
	dev_from_args(&dev);
	neighbour.index = 1;
	for (unsigned int nth = 0;; nth++) {
		vdev_find(&neighbour, VIRTIO_RNG, nth, true);
		if (neighbour.slot % INTX_GSIS_NR == dev.slot % INTX_GSIS_NR)
			break;
	}
	neighbour.index = 1;
	vdev_start(&neighbour, DOOR_MMIO, IRQ_INTX);
	for (unsigned int round = 0; round < 50; round++) {
		uint32_t mine = intx_queue[0], theirs = intx_queue[1];
		vdev_post(&dev);
		vdev_post(&neighbour);
		vdev_kick(&dev);
		vdev_kick(&neighbour);
		while (intx_queue[0] == mine || intx_queue[1] == theirs)
			__asm__ volatile("sti; hlt; cli" : : : "memory");
		vdev_finish(&dev);
		vdev_finish(&neighbour);
	}
	pass();
}

/* --- configuration space --- */

/* n reads of every register of the first slots; then a write to the window, and the same again. */
static void t_ecam(void)
{
	uint32_t n = arg_num("n", 100), want[64];

	vdev_find(&dev, VIRTIO_MINI, 0, true);
	cpu_load_tables();
	for (uint32_t reg = 0; reg < 256; reg += 4)
		want[reg / 4] = conf1_read(dev.slot, reg, 4);
	if (arg_num("window", 0))
		window_access(&dev, &dev.common, COMMON_NUM_QUEUES, 2, false, 0);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t reg = i * 4 % dev.window;
		if (cfg_read(&dev, reg, 4) != want[reg / 4])
			fail("ECAM and the ports differ at", reg);
		/* functions 1 to 7 of the same device */
		uint32_t absent = 0x1000 + i % (7 * 1024) * 4;
		if (cfg_read(&dev, absent, 4) != ~0u)
			fail("an absent function answers at", absent);
	}
	/* what is written is what is read */
	cfg_write(&dev, PCI_COMMAND, 2, COMMAND_ALL);
	if (cfg_read(&dev, PCI_COMMAND, 2) != COMMAND_ALL)
		fail("Command reads back as", cfg_read(&dev, PCI_COMMAND, 2));
	if (arg_num("window", 0) &&
	    window_access(&dev, &dev.common, COMMON_NUM_QUEUES, 2, false, 0) != 1)
		fail("the window no longer answers", 0);
	pass();
}

const struct guest_case cases_virtio[] = {
	{ "v-serve", t_serve }, { "v-window", t_window },           { "v-msix", t_msix },
	{ "v-intx", t_intx },   { "v-intx-shared", t_intx_shared }, { "v-ecam", t_ecam },
	{ NULL, NULL },
};
