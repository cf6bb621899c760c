/* SPDX-License-Identifier: GPL-2.0 */
/* The legacy side: the register block of 4.1.4.10 in BAR 0, in ports. */
#include <linux/virtio_pci.h>

#include <lkvm/util.h>

#include "transport.h"

static uint64_t get_features(struct virtio_pci *vp)
{
	return virtio_legacy_features(vp->vd);
}

static uint64_t get_driver_features(struct virtio_pci *vp)
{
	return virtio_legacy_get_driver_features(vp->vd);
}

static void set_driver_features(struct virtio_pci *vp, uint64_t v)
{
	virtio_legacy_set_features(vp->vd, (uint32_t)v);
}

static uint64_t get_pfn(struct virtio_pci *vp)
{
	return virtio_legacy_get_pfn(vp->vd);
}

static void set_pfn(struct virtio_pci *vp, uint64_t v)
{
	virtio_legacy_set_pfn(vp->vd, (uint32_t)v);
}

static uint64_t get_size(struct virtio_pci *vp)
{
	return virtio_get_queue_size(vp->vd);
}

static uint64_t get_select(struct virtio_pci *vp)
{
	return virtio_get_queue_select(vp->vd);
}

static void set_notify(struct virtio_pci *vp, uint64_t v)
{
	virtio_legacy_notify(vp->vd, (uint32_t)v);
}

static uint64_t get_status(struct virtio_pci *vp)
{
	return virtio_get_status(vp->vd);
}

static void set_status(struct virtio_pci *vp, uint64_t v)
{
	virtio_legacy_set_status(vp->vd, (uint8_t)v);
}

static void set_config_vector(struct virtio_pci *vp, uint64_t v)
{
	virtio_pci_set_config_vector(vp, VIRTIO_IFACE_LEGACY, v);
}

static void set_queue_vector(struct virtio_pci *vp, uint64_t v)
{
	virtio_pci_set_queue_vector(vp, VIRTIO_IFACE_LEGACY, v);
}

/* The interrupt status is not here: reading it takes it, so a wider read in passing must not. */
static const struct virtio_reg legacy_regs[] = {
	{ VIRTIO_PCI_HOST_FEATURES, 4, get_features, NULL },
	{ VIRTIO_PCI_GUEST_FEATURES, 4, get_driver_features, set_driver_features },
	{ VIRTIO_PCI_QUEUE_PFN, 4, get_pfn, set_pfn },
	{ VIRTIO_PCI_QUEUE_NUM, 2, get_size, NULL },
	{ VIRTIO_PCI_QUEUE_SEL, 2, get_select, virtio_pci_queue_select },
	{ VIRTIO_PCI_QUEUE_NOTIFY, 2, NULL, set_notify },
	{ VIRTIO_PCI_STATUS, 1, get_status, set_status },
	/* The last two only while MSI-X is enabled: else the device's configuration stands here. */
	{ VIRTIO_MSI_CONFIG_VECTOR, 2, virtio_pci_get_config_vector, set_config_vector },
	{ VIRTIO_MSI_QUEUE_VECTOR, 2, virtio_pci_get_queue_vector, set_queue_vector },
};

/* Looked at once in an access, so that what follows agrees with itself (HD-169). */
static uint64_t header_len(const struct virtio_pci *vp)
{
	return pci_msix_enabled(&vp->pd) ? LEGACY_HEADER_MSIX_LEN : LEGACY_HEADER_LEN;
}

static unsigned int regs_nr(uint64_t header)
{
	return ARRAY_SIZE(legacy_regs) - (header == LEGACY_HEADER_LEN ? 2 : 0);
}

static uint64_t legacy_read(struct pci_device *pd, unsigned int bar, uint64_t off,
			    unsigned int width)
{
	struct virtio_pci *vp = pd->priv;
	uint64_t header = header_len(vp), v;

	(void)bar;
	if (off >= header)
		return virtio_pci_config_read(vp, off - header, width);
	v = virtio_regs_read(vp, legacy_regs, regs_nr(header), off, width);
	if (off == VIRTIO_PCI_ISR)
		v |= virtio_pci_take_isr(vp);
	/* Any width gives the same bytes (LEG-12), also across the border. */
	if (width > header - off)
		v |= virtio_pci_config_read(vp, 0, width - (unsigned int)(header - off))
		     << 8 * (header - off);
	return v;
}

static void legacy_write(struct pci_device *pd, unsigned int bar, uint64_t off, unsigned int width,
			 uint64_t value)
{
	struct virtio_pci *vp = pd->priv;
	uint64_t header = header_len(vp);

	(void)bar;
	if (off >= header)
		virtio_pci_config_write(vp, VIRTIO_IFACE_LEGACY, off - header, width, value);
	else
		virtio_regs_write(vp, legacy_regs, regs_nr(header), off, width, value);
}

const struct pci_bar_ops virtio_pci_legacy_bar = {
	.read = legacy_read,
	.write = legacy_write,
	.activate = virtio_pci_bar_on,
	.deactivate = virtio_pci_bar_off,
};
