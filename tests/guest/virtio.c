/* SPDX-License-Identifier: GPL-2.0 */
/* Virtio devices: either interface, and a ring. */
#include "virtio.h"

#define MSI_ADDRESS     0xfee00000ULL
#define NOTIFY_MULTIPLY 4
#define RNG_UNTOUCHED   0xaa

static struct ring rings[VDEVS_NR];

static uint64_t common_read(const struct vdev *d, uint32_t off, unsigned int width)
{
	return bar_read(d, d->common.bar, d->common.off + off, width);
}

static void common_write(const struct vdev *d, uint32_t off, unsigned int width, uint64_t v)
{
	bar_write(d, d->common.bar, d->common.off + off, width, v);
}

uint8_t vdev_status(const struct vdev *d)
{
	return d->legacy ? bar_read(d, 0, LEGACY_STATUS, 1) : common_read(d, COMMON_STATUS, 1);
}

static void set_status(const struct vdev *d, uint8_t v)
{
	if (d->legacy)
		bar_write(d, 0, LEGACY_STATUS, 1, v);
	else
		common_write(d, COMMON_STATUS, 1, v);
}

uint8_t vdev_isr(const struct vdev *d)
{
	return d->legacy ? bar_read(d, 0, LEGACY_ISR, 1) : bar_read(d, d->isr.bar, d->isr.off, 1);
}

void vdev_reset(struct vdev *d)
{
	set_status(d, 0);
	while (vdev_status(d))
		cpu_pause();
}

static void start_modern(struct vdev *d, uint16_t config_vector, uint16_t queue_vector)
{
	struct ring *r = d->ring;

	set_status(d, STATUS_ACK | STATUS_DRIVER);
	common_write(d, COMMON_DEV_SELECT, 4, 0);
	d->features &= common_read(d, COMMON_DEV_FEATURE, 4);
	for (uint32_t word = 0; word < 2; word++) { /* word 1: VERSION_1 */
		common_write(d, COMMON_DRV_SELECT, 4, word);
		common_write(d, COMMON_DRV_FEATURE, 4, word ? 1 : d->features);
	}
	set_status(d, STATUS_ACK | STATUS_DRIVER | STATUS_FEATURES_OK);
	if (!(vdev_status(d) & STATUS_FEATURES_OK))
		fail("the features are refused", vdev_status(d));
	common_write(d, COMMON_MSIX, 2, config_vector);
	common_write(d, COMMON_QUEUE_SELECT, 2, 0);
	common_write(d, COMMON_QUEUE_SIZE, 2, RING_SIZE);
	common_write(d, COMMON_QUEUE_MSIX, 2, queue_vector);
	if (common_read(d, COMMON_QUEUE_MSIX, 2) != queue_vector)
		fail("the queue's vector reads back as", common_read(d, COMMON_QUEUE_MSIX, 2));
	common_write(d, COMMON_QUEUE_DESC, 8, (uint64_t)r->desc);
	common_write(d, COMMON_QUEUE_AVAIL, 8, (uint64_t)&r->avail);
	common_write(d, COMMON_QUEUE_USED, 8, (uint64_t)&r->used);
	common_write(d, COMMON_QUEUE_ENABLE, 2, 1);
	set_status(d, STATUS_ACK | STATUS_DRIVER | STATUS_FEATURES_OK | STATUS_DRIVER_OK);
}

static void start_legacy(struct vdev *d, uint16_t config_vector, uint16_t queue_vector)
{
	set_status(d, STATUS_ACK | STATUS_DRIVER);
	d->features &= bar_read(d, 0, LEGACY_HOST_FEATURES, 4);
	bar_write(d, 0, LEGACY_GUEST_FEATURES, 4, d->features);
	bar_write(d, 0, LEGACY_QUEUE_SELECT, 2, 0);
	if (bar_read(d, 0, LEGACY_QUEUE_SIZE, 2) != RING_SIZE)
		fail("the legacy queue's size is", bar_read(d, 0, LEGACY_QUEUE_SIZE, 2));
	if (d->irq == IRQ_MSIX) {
		bar_write(d, 0, LEGACY_MSIX, 2, config_vector);
		bar_write(d, 0, LEGACY_QUEUE_MSIX, 2, queue_vector);
	}
	bar_write(d, 0, LEGACY_PFN, 4, (uint64_t)d->ring >> 12);
	set_status(d, STATUS_ACK | STATUS_DRIVER | STATUS_DRIVER_OK);
}

static void start_irq(struct vdev *d)
{
	if (d->irq == IRQ_INTX)
		intx_init(d);
	if (d->irq != IRQ_MSIX)
		return;
	if (!d->msix_cap || d->table.len < 2)
		fail("too few vectors for MSI-X", d->table.len);
	for (unsigned int i = 0; i < 2; i++)
		msix_entry(d, i, MSI_ADDRESS, VEC_MSI + 2 * d->index + i, 0);
	msix_control(d, MSIX_ENABLE);
}

void vdev_start(struct vdev *d, enum door door, enum irq_mode irq)
{
	bool msix = irq == IRQ_MSIX;

	d->door = door;
	d->irq = irq;
	d->legacy = door == DOOR_LEGACY;
	d->ring = &rings[d->index];
	memset(d->ring, 0, sizeof(*d->ring));
	d->posted = 0;
	d->seed = 7 + d->slot;
	cfg_write(d, PCI_COMMAND, 2, COMMAND_ALL);
	vdev_reset(d);
	if (d->msix_cap)
		msix_control(d, 0);
	start_irq(d);
	if (d->legacy)
		start_legacy(d, msix ? 0 : 0xffff, msix ? 1 : 0xffff);
	else
		start_modern(d, msix ? 0 : 0xffff, msix ? 1 : 0xffff);
}

/* --- doorbells --- */

bool door_is_io(const struct vdev *d)
{
	return d->door == DOOR_PIO || d->door == DOOR_LEGACY;
}

static const struct place *door_place(const struct vdev *d)
{
	static const struct place legacy = { 0, LEGACY_NOTIFY, 2 };

	switch (d->door) {
	case DOOR_LEGACY:
		return &legacy;
	case DOOR_PIO:
		return &d->notify_pio;
	default:
		return &d->notify;
	}
}

uint64_t door_addr(const struct vdev *d)
{
	const struct place *p = door_place(d);

	return d->bar[p->bar] + p->off;
}

/* 4.1.4.9: aim, then read or write the data field. */
uint64_t window_access(const struct vdev *d, const struct place *p, uint32_t off,
		       unsigned int width, bool write, uint32_t v)
{
	cfg_write(d, d->window + 4, 1, p->bar);
	cfg_write(d, d->window + 8, 4, p->off + off);
	cfg_write(d, d->window + 12, 4, width);
	if (!write)
		return cfg_read(d, d->window + 16, width);
	cfg_write(d, d->window + 16, width, v);
	return 0;
}

void vdev_kick(const struct vdev *d)
{
	if (d->door == DOOR_WINDOW)
		window_access(d, &d->notify, 0, d->door_width, true, 0);
	else
		mem_write(door_is_io(d), door_addr(d), d->door_width, 0);
}

/* --- requests --- */

static void put_desc(struct vdev *d, uint16_t i, void *buf, uint16_t flags)
{
	d->ring->desc[i] = (struct desc){ (uint64_t)buf, BUF_LEN, flags, i + 1 };
}

void vdev_post(struct vdev *d)
{
	struct ring *r = d->ring;

	for (unsigned int i = 0; i < BUF_LEN; i++) {
		d->seed = d->seed * 1103515245 + 12345;
		r->out[i] = d->seed >> 16;
		r->in[i] = RNG_UNTOUCHED;
	}
	if (d->id == VIRTIO_MINI) {
		put_desc(d, 0, r->out, DESC_NEXT);
		put_desc(d, 1, r->in, DESC_WRITE);
	} else {
		put_desc(d, 0, r->in, DESC_WRITE);
	}
	r->avail.ring[d->posted % RING_SIZE] = 0;
	__atomic_store_n(&r->avail.idx, ++d->posted, __ATOMIC_SEQ_CST);
}

bool vdev_done(const struct vdev *d)
{
	return __atomic_load_n(&d->ring->used.idx, __ATOMIC_ACQUIRE) == d->posted;
}

static void check_mini(const struct vdev *d, uint32_t len)
{
	if (len != BUF_LEN)
		fail("mini wrote bytes:", len);
	for (unsigned int i = 0; i < BUF_LEN; i++)
		if (d->ring->in[i] != d->ring->out[BUF_LEN - 1 - i])
			fail("mini's answer is wrong at", i);
}

static void check_rng(const struct vdev *d, uint32_t len)
{
	unsigned int same = 0;

	if (!len || len > BUF_LEN)
		fail("rng wrote bytes:", len);
	for (unsigned int i = 0; i < BUF_LEN; i++) {
		same += d->ring->in[i] == RNG_UNTOUCHED;
		if (i >= len && d->ring->in[i] != RNG_UNTOUCHED)
			fail("rng wrote more than it says", i);
	}
	if (same > BUF_LEN - len + len / 2)
		fail("rng wrote no random bytes", same);
}

void vdev_finish(struct vdev *d)
{
	struct ring *r = d->ring;
	unsigned int last = (uint16_t)(d->posted - 1) % RING_SIZE;

	while (!vdev_done(d))
		cpu_pause();
	if (r->used.ring[last].id != 0)
		fail("the used ring names descriptor", r->used.ring[last].id);
	if (d->id == VIRTIO_MINI)
		check_mini(d, r->used.ring[last].len);
	else
		check_rng(d, r->used.ring[last].len);
}

/* How often its queue has interrupted. */
static uint32_t queue_irqs(const struct vdev *d)
{
	return d->irq == IRQ_MSIX ? msi_count[2 * d->index + 1] : intx_queue[d->index];
}

void vdev_serve(struct vdev *d)
{
	uint32_t before = queue_irqs(d);

	vdev_post(d);
	vdev_kick(d);
	while (d->irq != IRQ_NONE && queue_irqs(d) == before)
		__asm__ volatile("sti; hlt; cli" : : : "memory");
	vdev_finish(d);
	if (d->irq != IRQ_NONE && queue_irqs(d) != before + 1)
		fail("interrupts for one request:", queue_irqs(d) - before);
}
