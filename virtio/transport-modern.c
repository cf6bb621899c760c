/* SPDX-License-Identifier: GPL-2.0 */
/* The modern side: each access to a structure of 4.1.4 is one of the core's calls. */
#include <linux/virtio_pci.h>

#include <lkvm/util.h>

#include "transport.h"

/* --- common registers (4.1.4.3) --- */

#define COMMON_QUEUE_RESET 0x3a /* newer than some kernels' headers */

#define GET(name, expr)                                                                            \
	static uint64_t get_##name(struct virtio_pci *vp)                                          \
	{                                                                                          \
		return expr;                                                                       \
	}
#define SET(name, expr)                                                                            \
	static void set_##name(struct virtio_pci *vp, uint64_t v)                                  \
	{                                                                                          \
		expr;                                                                              \
	}

GET(device_select, virtio_get_device_feature_select(vp->vd))
SET(device_select, virtio_select_device_features(vp->vd, (uint32_t)v))
GET(device_features, virtio_get_device_features(vp->vd))
GET(driver_select, virtio_get_driver_feature_select(vp->vd))
SET(driver_select, virtio_select_driver_features(vp->vd, (uint32_t)v))
GET(driver_features, virtio_get_driver_features(vp->vd))
SET(driver_features, virtio_set_driver_features(vp->vd, (uint32_t)v))
SET(config_vector, virtio_pci_set_config_vector(vp, VIRTIO_IFACE_MODERN, v))
GET(queues_nr, virtio_queues_nr(vp->vd))
GET(status, virtio_get_status(vp->vd))
SET(status, virtio_set_status(vp->vd, (uint8_t)v))
GET(generation, virtio_get_generation(vp->vd))
GET(queue_select, virtio_get_queue_select(vp->vd))
GET(queue_size, virtio_get_queue_size(vp->vd))
SET(queue_size, virtio_set_queue_size(vp->vd, (uint16_t)v))
SET(queue_vector, virtio_pci_set_queue_vector(vp, VIRTIO_IFACE_MODERN, v))
GET(queue_enable, virtio_get_queue_enable(vp->vd))
SET(queue_enable, virtio_set_queue_enable(vp->vd, (uint16_t)v))
GET(queue_desc, virtio_get_queue_addr(vp->vd, VIRTIO_QUEUE_DESC))
SET(queue_desc, virtio_set_queue_addr(vp->vd, VIRTIO_QUEUE_DESC, v))
GET(queue_avail, virtio_get_queue_addr(vp->vd, VIRTIO_QUEUE_AVAIL))
SET(queue_avail, virtio_set_queue_addr(vp->vd, VIRTIO_QUEUE_AVAIL, v))
GET(queue_used, virtio_get_queue_addr(vp->vd, VIRTIO_QUEUE_USED))
SET(queue_used, virtio_set_queue_addr(vp->vd, VIRTIO_QUEUE_USED, v))
GET(queue_reset, virtio_get_queue_reset(vp->vd))
SET(queue_reset, virtio_set_queue_reset(vp->vd, (uint16_t)v))

/* Each queue has the place of its number; one that does not exist has none. */
static uint64_t get_notify_off(struct virtio_pci *vp)
{
	uint16_t n = virtio_get_queue_select(vp->vd);

	return n < virtio_queues_nr(vp->vd) ? n : 0;
}

/* What is not here (features that are not offered) reads 0: queue_notif_config_data, admin queues. */
static const struct virtio_reg common_regs[] = {
	{ VIRTIO_PCI_COMMON_DFSELECT, 4, get_device_select, set_device_select },
	{ VIRTIO_PCI_COMMON_DF, 4, get_device_features, NULL },
	{ VIRTIO_PCI_COMMON_GFSELECT, 4, get_driver_select, set_driver_select },
	{ VIRTIO_PCI_COMMON_GF, 4, get_driver_features, set_driver_features },
	{ VIRTIO_PCI_COMMON_MSIX, 2, virtio_pci_get_config_vector, set_config_vector },
	{ VIRTIO_PCI_COMMON_NUMQ, 2, get_queues_nr, NULL },
	{ VIRTIO_PCI_COMMON_STATUS, 1, get_status, set_status },
	{ VIRTIO_PCI_COMMON_CFGGENERATION, 1, get_generation, NULL },
	{ VIRTIO_PCI_COMMON_Q_SELECT, 2, get_queue_select, virtio_pci_queue_select },
	{ VIRTIO_PCI_COMMON_Q_SIZE, 2, get_queue_size, set_queue_size },
	{ VIRTIO_PCI_COMMON_Q_MSIX, 2, virtio_pci_get_queue_vector, set_queue_vector },
	{ VIRTIO_PCI_COMMON_Q_ENABLE, 2, get_queue_enable, set_queue_enable },
	{ VIRTIO_PCI_COMMON_Q_NOFF, 2, get_notify_off, NULL },
	{ VIRTIO_PCI_COMMON_Q_DESCLO, 8, get_queue_desc, set_queue_desc },
	{ VIRTIO_PCI_COMMON_Q_AVAILLO, 8, get_queue_avail, set_queue_avail },
	{ VIRTIO_PCI_COMMON_Q_USEDLO, 8, get_queue_used, set_queue_used },
	{ COMMON_QUEUE_RESET, 2, get_queue_reset, set_queue_reset },
};

uint64_t virtio_regs_read(struct virtio_pci *vp, const struct virtio_reg *regs, unsigned int nr,
			  uint64_t off, unsigned int width)
{
	uint64_t image = 0;

	for (unsigned int i = 0; i < nr; i++) {
		const struct virtio_reg *r = &regs[i];

		if (!r->get || r->off >= off + width || off >= (uint64_t)r->off + r->width)
			continue;
		uint64_t v = r->get(vp);
		image |= r->off >= off ? v << 8 * (r->off - off) : v >> 8 * (off - r->off);
	}
	return width < 8 ? image & ((UINT64_C(1) << 8 * width) - 1) : image;
}

static void set_half(struct virtio_pci *vp, const struct virtio_reg *r, bool high, uint64_t v)
{
	pthread_mutex_lock(&vp->regs_lock);
	uint64_t old = r->get(vp);
	r->set(vp, high ? (old & UINT32_MAX) | v << 32 : (old & ~(uint64_t)UINT32_MAX) | v);
	pthread_mutex_unlock(&vp->regs_lock);
}

void virtio_regs_write(struct virtio_pci *vp, const struct virtio_reg *regs, unsigned int nr,
		       uint64_t off, unsigned int width, uint64_t value)
{
	for (unsigned int i = 0; i < nr; i++) {
		const struct virtio_reg *r = &regs[i];

		/* Below the register the subtraction wraps. */
		if (!r->set || off - r->off >= r->width)
			continue;
		if (off == r->off && width == r->width)
			r->set(vp, value);
		else if (r->width == 8 && width == 4 && off % 4 == 0)
			set_half(vp, r, off != r->off, (uint32_t)value);
		return;
	}
}

/* --- the BARs --- */

static uint64_t modern_read(struct pci_device *pd, unsigned int bar, uint64_t off,
			    unsigned int width)
{
	struct virtio_pci *vp = pd->priv;
	uint64_t in = off % MODERN_PAGE;

	(void)bar;
	switch ((enum modern_page)(off / MODERN_PAGE)) {
	case PAGE_COMMON:
		return virtio_regs_read(vp, common_regs, ARRAY_SIZE(common_regs), in, width);
	case PAGE_ISR:
		/* At its own address only, whatever the width (PCI-66, PCI-67). */
		return in == 0 ? virtio_pci_take_isr(vp) : 0;
	case PAGE_DEVICE:
		return virtio_pci_config_read(vp, in, width);
	case PAGE_NOTIFY:
		break;
	}
	return 0;
}

/* As KVM's doorbells see it: the address says which queue, its first byte is the one that counts. */
static void notify_at(struct virtio_pci *vp, uint64_t off)
{
	if (off % NOTIFY_MULTIPLY == 0)
		virtio_queue_notify(vp->vd, (uint32_t)(off / NOTIFY_MULTIPLY));
}

static void modern_write(struct pci_device *pd, unsigned int bar, uint64_t off, unsigned int width,
			 uint64_t value)
{
	struct virtio_pci *vp = pd->priv;
	uint64_t in = off % MODERN_PAGE;

	(void)bar;
	switch ((enum modern_page)(off / MODERN_PAGE)) {
	case PAGE_COMMON:
		virtio_regs_write(vp, common_regs, ARRAY_SIZE(common_regs), in, width, value);
		break;
	case PAGE_ISR:
		break;
	case PAGE_DEVICE:
		virtio_pci_config_write(vp, VIRTIO_IFACE_MODERN, in, width, value);
		break;
	case PAGE_NOTIFY:
		notify_at(vp, in);
		break;
	}
}

const struct pci_bar_ops virtio_pci_modern_bar = {
	.read = modern_read,
	.write = modern_write,
	.activate = virtio_pci_bar_on,
	.deactivate = virtio_pci_bar_off,
};

static uint64_t notify_read(struct pci_device *pd, unsigned int bar, uint64_t off,
			    unsigned int width)
{
	(void)pd, (void)bar, (void)off, (void)width;
	return 0;
}

static void notify_write(struct pci_device *pd, unsigned int bar, uint64_t off, unsigned int width,
			 uint64_t value)
{
	(void)bar, (void)width, (void)value;
	notify_at(pd->priv, off);
}

const struct pci_bar_ops virtio_pci_notify_bar = {
	.read = notify_read,
	.write = notify_write,
	.activate = virtio_pci_bar_on,
	.deactivate = virtio_pci_bar_off,
};

/* --- the access window (4.1.4.9) --- */

struct aim {
	unsigned int bar, width;
	uint64_t off;
};

/*
 * Where the driver points the window, checked as a whole: a structure of this function, in the width and
 * at a place that an ordinary access could have (PCI-80 to PCI-83).
 */
static bool take_aim(struct virtio_pci *vp, unsigned int width, struct aim *a)
{
	uint8_t cap = vp->window_cap;
	uint32_t bar = pci_config_get(&vp->pd, cap + offsetof(struct virtio_pci_cap, bar), 1);
	uint32_t len = pci_config_get(&vp->pd, cap + offsetof(struct virtio_pci_cap, length), 4);
	uint64_t end;

	a->off = pci_config_get(&vp->pd, cap + offsetof(struct virtio_pci_cap, offset), 4);
	if ((len != 1 && len != 2 && len != 4) || width < len || a->off % len)
		return false;
	if (bar == BAR_MODERN)
		end = MODERN_BAR_LEN;
	else if (bar == BAR_NOTIFY && vp->pio_notify)
		end = NOTIFY_MULTIPLY * (uint64_t)virtio_queues_nr(vp->vd);
	else
		return false;
	a->bar = bar;
	a->width = len;
	return range_ok(a->off, len, end);
}

uint32_t virtio_pci_window_read(struct pci_device *pd, unsigned int width)
{
	struct aim a;

	if (!take_aim(pd->priv, width, &a))
		return 0;
	return (uint32_t)(a.bar == BAR_MODERN ? modern_read(pd, a.bar, a.off, a.width) : 0);
}

void virtio_pci_window_write(struct pci_device *pd, unsigned int width, uint32_t value)
{
	struct aim a;

	if (!take_aim(pd->priv, width, &a))
		return;
	if (a.width < 4)
		value &= (1u << 8 * a.width) - 1;
	if (a.bar == BAR_MODERN)
		modern_write(pd, a.bar, a.off, a.width, value);
	else
		notify_at(pd->priv, a.off);
}
