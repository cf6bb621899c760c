/* SPDX-License-Identifier: GPL-2.0 */
/* Two CPUs at one device: a driver and a meddler, and two that write garbage. */
#include "virtio.h"

#define DEVS_NR  2
#define ARENA    (64 * KIB)
#define FREE_MEM 0xd0000000ULL
#define FREE_PIO 0x8000

static struct vdev devs[DEVS_NR]; /* as they were found */
static volatile bool over;

struct dice {
	uint64_t state;
};

static uint32_t roll(struct dice *dice, uint32_t sides)
{
	dice->state = dice->state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(dice->state >> 33) % sides;
}

/* --- one drives, one meddles --- */

static void meddle(uint32_t nr)
{
	struct vdev d = devs[0]; /* its addresses at the start: often somebody else's */
	struct dice dice = { 99 + nr };

	d.ring = NULL;
	while (!over) {
		switch (roll(&dice, 8)) {
		case 0:
			(void)vdev_isr(&d);
			break;
		case 1:
			(void)cfg_read(&d, 4 * roll(&dice, 64), 4);
			break;
		case 2:
			msix_mask(&d, 1, roll(&dice, 2));
			break;
		case 3:
			(void)conf1_read(d.slot, 4 * roll(&dice, 64), 4);
			break;
		case 4:
			bar_write(&d, d.common.bar, d.common.off + COMMON_QUEUE_SELECT, 2,
				  roll(&dice, 3));
			break;
		default:
			vdev_kick(&d);
			break;
		}
	}
}

/* Requests, BAR moves and decode on one CPU; kicks, registers and masks of the same device on the other. */
static void t_race(void)
{
	struct vdev *d = &devs[0], *other = &devs[1];
	const uint64_t places[] = { FREE_MEM, 0, 0, (uint64_t)&over & ~0x3fffULL };
	struct dice dice = { arg_num("seed", 1) };
	uint64_t home;

	dev_from_args(d);
	d->irq = IRQ_NONE; /* interrupts come when they come */
	home = d->bar[d->notify.bar];
	vdev_find(other, VIRTIO_RNG, 0, true);
	other->index = 1;
	vdev_start(other, DOOR_MMIO, IRQ_NONE);
	cpus_start(2, meddle);
	for (uint32_t n = arg_num("n", 100); n--;) {
		uint64_t at = places[roll(&dice, 4)];
		vdev_serve(d);
		bar_set(d, d->notify.bar, at ? at : other->bar[other->notify.bar]);
		vdev_serve(other->slot < d->slot || at != 0 ? other : d);
		if (roll(&dice, 4) == 0)
			cfg_write(d, PCI_COMMAND, 2, COMMAND_MASTER);
		vdev_post(d);
		cfg_write(d, PCI_COMMAND, 2, COMMAND_ALL);
		bar_set(d, d->notify.bar, home);
		vdev_kick(d);
		vdev_finish(d);
		vdev_serve(other);
	}
	over = true;
	cpus_wait(2);
	vdev_serve(d);
	pass();
}

/* --- garbage --- */

/*
 * What a guest does to itself is not lkvm's matter, so three things are kept out: addresses in RAM but for an arena
 * of rings and buffers, messages that are no interrupts (an INIT would stop this very program), and the ports outside
 * of the PCI window (one is a reset).
 */
#define MSI_DELIVERY_MODE 0x0000070000000700ULL

static uint8_t arena[ARENA] __attribute__((aligned(16384)));

static uint64_t garbage(struct dice *dice)
{
	switch (roll(dice, 8)) {
	case 0:
		return 0;
	case 1:
		return ~0ULL;
	case 2:
		return roll(dice, 64);
	case 3:
		return 0xc000000000000000ULL | (uint64_t)roll(dice, ~0u) << 20 | 0xc0000000 |
		       roll(dice, ~0u);
	case 4:
		return (uint64_t)arena + roll(dice, ARENA);
	case 5:
		return (uint64_t)arena + (roll(dice, ARENA) & ~0xfffu);
	default:
		return 0xc0000000 | roll(dice, ~0u);
	}
}

static uint64_t somewhere(struct dice *dice, const struct vdev *d, unsigned int bar)
{
	switch (roll(dice, 4)) {
	case 0:
		return d->bar_io[bar] ? FREE_PIO : FREE_MEM;
	case 1:
		return devs[roll(dice, DEVS_NR)].bar[d->bar_io[bar] ? 0 : roll(dice, 6)];
	default:
		return d->bar[bar];
	}
}

static void do_bar(struct dice *dice, const struct vdev *d)
{
	static const uint16_t lens[] = { 0x40, 0x1000, 0x4000 };
	unsigned int bar = roll(dice, 6), width = 1u << roll(dice, 4);
	uint64_t addr = somewhere(dice, d, bar) + roll(dice, lens[roll(dice, 3)]);
	bool io = d->bar_io[bar];

	if (io && width == 8)
		width = 4;
	if (io ? addr < PCI_PIO || addr > 0xfff0 : addr < PCI_MEM || addr >= ECAM)
		return;
	if (roll(dice, 3))
		mem_write(io, addr, width, garbage(dice) & ~MSI_DELIVERY_MODE);
	else
		mem_read(io, addr, width);
}

static void do_config(struct dice *dice, const struct vdev *d)
{
	static const uint8_t often[] = { PCI_COMMAND, PCI_COMMAND, 0x10, 0x14, 0x18, 0x20, 0x24 };
	unsigned int width = 1u << roll(dice, 3);
	uint32_t reg = roll(dice, 2) ? roll(dice, 256) : often[roll(dice, 7)];
	struct vdev v = { .slot = roll(dice, 16) ? d->slot : roll(dice, SLOTS_NR),
			  .ecam = roll(dice, 2) };

	if (!v.ecam)
		reg &= ~(width - 1);
	if (roll(dice, 2))
		cfg_write(&v, reg, width, garbage(dice));
	else
		(void)cfg_read(&v, reg, width);
}

static void do_move(struct dice *dice, const struct vdev *d)
{
	unsigned int bar = roll(dice, 6);

	cfg_write(d, PCI_BAR(bar), 4, somewhere(dice, d, bar));
	cfg_write(d, PCI_COMMAND, 2, roll(dice, 8) ? COMMAND_ALL : roll(dice, 8));
}

static void do_window(struct dice *dice, const struct vdev *d)
{
	struct place p = { roll(dice, 8) ? 4 : roll(dice, 256), 0x1000 * roll(dice, 4), 0 };

	window_access(d, &p, roll(dice, COMMON_LEN), roll(dice, 6), roll(dice, 2), garbage(dice));
}

/* Rings with descriptors that are right more often than not. */
static void do_ring(struct dice *dice)
{
	struct ring *r = (struct ring *)arena + roll(dice, 2);

	for (unsigned int n = 0; n < 8; n++) {
		struct desc *desc = &r->desc[roll(dice, RING_SIZE)];
		desc->addr = roll(dice, 8) ? (uint64_t)arena + 0x8000 + roll(dice, 0x4000)
					   : garbage(dice);
		desc->len = roll(dice, 8) ? roll(dice, 0x1000) : garbage(dice);
		desc->flags = roll(dice, 8) ? roll(dice, 4) : garbage(dice);
		desc->next = roll(dice, 8) ? roll(dice, RING_SIZE) : garbage(dice);
		r->avail.ring[roll(dice, RING_SIZE)] = roll(dice, 8) ? roll(dice, RING_SIZE)
								     : garbage(dice);
	}
	r->avail.idx += roll(dice, 16) ? roll(dice, 3) : garbage(dice);
	r->avail.flags = roll(dice, 2);
}

/* A bring-up that is mostly right, so that the garbage meets queues that run. */
static void do_start(struct dice *dice, const struct vdev *d)
{
	static const uint8_t statuses[] = { 0, 3, 11, 11, 15, 15, 15 };
	struct ring *r = (struct ring *)arena + roll(dice, 2);
	uint64_t common = d->bar[d->common.bar] + d->common.off;

	cfg_write(d, PCI_COMMAND, 2, COMMAND_ALL);
	for (unsigned int i = 0; i < 7; i++)
		write8(common + COMMON_STATUS, statuses[i]);
	write8(common + COMMON_STATUS, 0);
	write8(common + COMMON_STATUS, 3);
	write32(common + COMMON_DRV_SELECT, 1);
	write32(common + COMMON_DRV_FEATURE, 1);
	write32(common + COMMON_DRV_SELECT, 0);
	write32(common + COMMON_DRV_FEATURE, roll(dice, 4) << 28);
	write8(common + COMMON_STATUS, 11);
	write16(common + COMMON_QUEUE_SELECT, roll(dice, 8) ? 0 : garbage(dice));
	write16(common + COMMON_QUEUE_SIZE, roll(dice, 8) ? RING_SIZE : garbage(dice));
	write64(common + COMMON_QUEUE_DESC, roll(dice, 16) ? (uint64_t)r->desc : garbage(dice));
	write64(common + COMMON_QUEUE_AVAIL, roll(dice, 16) ? (uint64_t)&r->avail : garbage(dice));
	write64(common + COMMON_QUEUE_USED, roll(dice, 16) ? (uint64_t)&r->used : garbage(dice));
	write16(common + COMMON_QUEUE_ENABLE, 1);
	write8(common + COMMON_STATUS, 15);
}

static void do_legacy_start(struct dice *dice, const struct vdev *d)
{
	if (!d->bar_io[0])
		return;
	outb(d->bar[0] + LEGACY_STATUS, roll(dice, 8) ? 0 : garbage(dice));
	outl(d->bar[0] + LEGACY_GUEST_FEATURES, roll(dice, 4) << 28);
	outl(d->bar[0] + LEGACY_PFN, roll(dice, 8) ? (uint64_t)arena >> 12 : garbage(dice));
	outb(d->bar[0] + LEGACY_STATUS, 7);
	outw(d->bar[0] + LEGACY_NOTIFY, roll(dice, 8) ? 0 : garbage(dice));
}

static void do_kick(const struct vdev *d)
{
	write16(d->bar[d->notify.bar] + d->notify.off, 0);
}

static void misbehave(struct dice *dice)
{
	const struct vdev *d = &devs[roll(dice, DEVS_NR)];
	uint32_t what = roll(dice, 100);

	if (what < 40)
		do_bar(dice, d);
	else if (what < 55)
		do_config(dice, d);
	else if (what < 60)
		do_move(dice, d);
	else if (what < 65)
		do_window(dice, d);
	else if (what < 80)
		do_ring(dice);
	else if (what < 88)
		do_start(dice, d);
	else if (what < 91)
		do_legacy_start(dice, d);
	else
		do_kick(d);
}

static void misbehave_long(uint32_t cpu)
{
	struct dice dice = { arg_num("seed", 1) * 2 + cpu };

	for (uint64_t n = arg_num("n", 2000); n--;)
		misbehave(&dice);
}

static void misbehave_too(uint32_t nr)
{
	misbehave_long(nr + 1);
}

/* The functions as they were found, and the devices reset. */
static void restore(void)
{
	for (unsigned int i = 0; i < DEVS_NR; i++)
		cfg_write(&devs[i], PCI_COMMAND, 2, 0);
	for (unsigned int i = 0; i < DEVS_NR; i++)
		for (unsigned int bar = 0; bar < 6; bar++)
			if (devs[i].bar[bar])
				bar_set(&devs[i], bar, devs[i].bar[bar]);
	for (unsigned int i = 0; i < DEVS_NR; i++) {
		vdev_start(&devs[i], DOOR_MMIO, IRQ_MSIX);
		for (unsigned int n = 0; n < 10; n++)
			vdev_serve(&devs[i]);
	}
}

/* Two CPUs write garbage into everything; afterwards the devices work, and nothing more is held than before. */
static void t_garbage(void)
{
	irqs_init();
	for (unsigned int i = 0; i < DEVS_NR; i++) {
		vdev_find(&devs[i], i ? VIRTIO_RNG : VIRTIO_MINI, 0, true);
		devs[i].index = i;
	}
	restore();
	checkpoint();
	cpus_start(2, misbehave_too);
	misbehave_long(0);
	cpus_wait(2);
	restore();
	checkpoint();
	pass();
}

const struct guest_case cases_hostile[] = {
	{ "h-race", t_race },
	{ "h-garbage", t_garbage },
	{ NULL, NULL },
};
