/* SPDX-License-Identifier: GPL-2.0 */
/* A virtio device as a PCI function: identity, capabilities, interrupts. */
#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>
#include <string.h>

#include <lkvm/util.h>

#include "transport.h"

#define VENDOR_ID       0x1af4 /* 4.1.2.1 */
#define MODERN_ID_BASE  0x1040
#define REVISION_LEGACY 0
#define REVISION_MODERN 1
#define CLASS_OTHER     0x00ff00 /* a device of no specified kind */
#define ISR_QUEUE       0x01     /* 4.1.4.5 */
#define ISR_CONFIG      0x02

/* --- interrupts --- */

/* A vector that the function does not have is none (PCI-92); it never becomes an index. */
static uint16_t checked_vector(const struct virtio_pci *vp, uint64_t v)
{
	return v < vp->pd.msix_nr ? (uint16_t)v : NO_VECTOR;
}

static bool is_foreign(struct virtio_pci *vp, enum virtio_iface iface)
{
	enum virtio_iface owner = virtio_get_iface(vp->vd);

	return owner != VIRTIO_IFACE_NONE && owner != iface;
}

uint64_t virtio_pci_get_config_vector(struct virtio_pci *vp)
{
	return atomic_load(&vp->config_vector);
}

void virtio_pci_set_config_vector(struct virtio_pci *vp, enum virtio_iface iface, uint64_t v)
{
	if (!is_foreign(vp, iface))
		atomic_store(&vp->config_vector, checked_vector(vp, v));
}

/* The selected queue's, or NULL: there is no such queue. */
static _Atomic uint16_t *selected_vector(struct virtio_pci *vp)
{
	uint16_t n = virtio_get_queue_select(vp->vd);

	return n < virtio_queues_nr(vp->vd) ? &vp->queue_vector[n] : NULL;
}

uint64_t virtio_pci_get_queue_vector(struct virtio_pci *vp)
{
	const _Atomic uint16_t *vector = selected_vector(vp);

	return vector ? atomic_load(vector) : NO_VECTOR;
}

void virtio_pci_set_queue_vector(struct virtio_pci *vp, enum virtio_iface iface, uint64_t v)
{
	pthread_mutex_lock(&vp->regs_lock);
	_Atomic uint16_t *vector = selected_vector(vp);
	if (vector && !is_foreign(vp, iface)) {
		atomic_store(vector, checked_vector(vp, v));
		virtio_pci_fds_vector(vp, (uint16_t)(vector - vp->queue_vector));
	}
	pthread_mutex_unlock(&vp->regs_lock);
}

void virtio_pci_queue_select(struct virtio_pci *vp, uint64_t v)
{
	pthread_mutex_lock(&vp->regs_lock);
	virtio_queue_select(vp->vd, (uint16_t)v);
	pthread_mutex_unlock(&vp->regs_lock);
}

uint8_t virtio_pci_take_isr(struct virtio_pci *vp)
{
	pthread_mutex_lock(&vp->isr_lock);
	uint8_t isr = vp->isr;
	vp->isr = 0;
	pci_intx_set(&vp->pd, false);
	pthread_mutex_unlock(&vp->isr_lock);
	return isr;
}

static void raise_isr_locked(struct virtio_pci *vp, uint8_t bit)
{
	vp->isr |= bit;
	pci_intx_set(&vp->pd, true);
}

/* On the queue's thread, so never after a reset, which waits for it. */
void virtio_pci_irq_queue(struct virtio_device *vd, uint16_t queue)
{
	struct virtio_pci *vp = vd->transport_priv;

	if (pci_msix_enabled(&vp->pd)) {
		uint16_t vector = atomic_load(&vp->queue_vector[queue]);

		if (vector != NO_VECTOR)
			pci_msix_signal(&vp->pd, vector);
		return;
	}
	pthread_mutex_lock(&vp->isr_lock);
	raise_isr_locked(vp, ISR_QUEUE);
	pthread_mutex_unlock(&vp->isr_lock);
}

/* Of a device that runs or broke: on any thread, so a reset may have come between. */
static bool may_interrupt(const struct virtio_device *vd)
{
	uint8_t state = atomic_load(&vd->state);

	return state == VIRTIO_RUNNING || state == VIRTIO_LIVE || state == VIRTIO_BROKEN;
}

static void irq_config(struct virtio_device *vd)
{
	struct virtio_pci *vp = vd->transport_priv;

	pthread_mutex_lock(&vp->isr_lock);
	if (may_interrupt(vd)) {
		uint16_t vector = atomic_load(&vp->config_vector);

		/* Both (PCI-60): with MSI-X the line does not move, without it no message goes. */
		raise_isr_locked(vp, ISR_CONFIG);
		if (vector != NO_VECTOR)
			pci_msix_signal(&vp->pd, vector);
	}
	pthread_mutex_unlock(&vp->isr_lock);
}

/* What is raised later finds the device stopped: it was so before this is called. */
static void on_reset(struct virtio_device *vd)
{
	struct virtio_pci *vp = vd->transport_priv;

	atomic_store(&vp->config_vector, NO_VECTOR);
	for (uint16_t i = 0; i < VIRTIO_QUEUES_MAX; i++) {
		atomic_store(&vp->queue_vector[i], NO_VECTOR);
		virtio_pci_fds_vector(vp, i);
	}
	virtio_pci_take_isr(vp);
}

static const struct virtio_transport_ops transport_ops = {
	.irq_queue = virtio_pci_irq_queue,
	.irq_config = irq_config,
	.doorbells_on = virtio_pci_doorbells_on,
	.doorbells_off = virtio_pci_doorbells_off,
	.queue_fds = virtio_pci_queue_fds,
	.reset = on_reset,
};

/* --- the device's configuration, from either side --- */

uint64_t virtio_pci_config_read(struct virtio_pci *vp, uint64_t off, unsigned int width)
{
	uint8_t bytes[8] = { 0 };

	virtio_config_read(vp->vd, off, bytes, width);
	return get_le64(bytes);
}

void virtio_pci_config_write(struct virtio_pci *vp, enum virtio_iface iface, uint64_t off,
			     unsigned int width, uint64_t value)
{
	uint8_t bytes[8];

	if (is_foreign(vp, iface))
		return;
	put_le64(bytes, value);
	virtio_config_write(vp->vd, off, bytes, width);
}

/* --- what the function looks like --- */

static void on_bus_master(struct pci_device *pd, bool on)
{
	struct virtio_pci *vp = pd->priv;

	virtio_set_bus_master(vp->vd, on);
}

static const struct pci_device_ops device_ops = {
	.name = "virtio",
	.bus_master = on_bus_master,
	.window_read = virtio_pci_window_read,
	.window_write = virtio_pci_window_write,
};

static bool legacy_fits(const struct virtio_device *vd)
{
	return vd->config_len <= LEGACY_BAR_MAX - LEGACY_HEADER_MSIX_LEN;
}

static int choose_sides(struct virtio_pci *vp, enum virtio_pci_how how, struct err *err)
{
	const struct virtio_device *vd = vp->vd;
	uint64_t offered = virtio_all_features(vd);
	bool platform = offered & VIRTIO_BIT(VIRTIO_F_ACCESS_PLATFORM);
	bool modern = offered & VIRTIO_BIT(VIRTIO_F_VERSION_1);
	bool legacy = vd->ops->legacy_id && !platform && legacy_fits(vd);

	if (how == VIRTIO_TRANS_PCI_LEGACY && !vd->ops->legacy_id)
		return err_usage(err, "virtio %s has no legacy PCI interface; use the modern one",
				 vd->ops->name);
	if (how == VIRTIO_TRANS_PCI_LEGACY && platform)
		return err_usage(err,
				 "virtio %s restricts its memory accesses (ACCESS_PLATFORM), which "
				 "a legacy PCI driver cannot know; use the modern interface",
				 vd->ops->name);
	if (how == VIRTIO_TRANS_PCI_LEGACY && !legacy)
		return err_usage(err,
				 "virtio %s has more configuration than a legacy PCI device can "
				 "show; use the modern interface",
				 vd->ops->name);
	if (how == VIRTIO_TRANS_PCI_MODERN && !modern)
		return err_usage(err,
				 "virtio %s has no modern PCI interface (it lacks VERSION_1); use "
				 "the legacy one",
				 vd->ops->name);
	vp->modern = modern && how != VIRTIO_TRANS_PCI_LEGACY;
	vp->legacy = legacy && how != VIRTIO_TRANS_PCI_MODERN;
	if (!vp->modern && !vp->legacy)
		return err_usage(err,
				 "virtio %s cannot be a PCI device: it has neither a modern "
				 "interface (it lacks VERSION_1) nor a legacy one",
				 vd->ops->name);
	return 0;
}

/* 4.1.2: a transitional or legacy device has the old id and says its type in the subsystem's. */
static void set_identity(struct virtio_pci *vp)
{
	const struct virtio_device_ops *ops = vp->vd->ops;
	uint16_t modern_id = MODERN_ID_BASE + ops->device_id;
	struct pci_ids ids = {
		.vendor = VENDOR_ID,
		.device = vp->legacy ? ops->legacy_id : modern_id,
		.subsystem_vendor = VENDOR_ID,
		.subsystem = vp->legacy ? ops->device_id : modern_id,
		.class = ops->pci_class ?: CLASS_OTHER,
		.revision = vp->legacy ? REVISION_LEGACY : REVISION_MODERN,
	};

	pci_device_init(&vp->pd, &device_ops, &ids, vp);
}

static uint64_t power_of_two(uint64_t at_least, uint64_t min)
{
	while (min < at_least)
		min *= 2;
	return min;
}

static void set_bars(struct virtio_pci *vp)
{
	const struct virtio_device *vd = vp->vd;

	if (vp->legacy)
		pci_set_bar(&vp->pd, BAR_LEGACY, PCI_BAR_IO,
			    power_of_two(LEGACY_HEADER_MSIX_LEN + vd->config_len, LEGACY_BAR_MIN),
			    &virtio_pci_legacy_bar);
	if (vp->pio_notify)
		pci_set_bar(&vp->pd, BAR_NOTIFY, PCI_BAR_IO,
			    power_of_two(NOTIFY_MULTIPLY * vd->queues_nr, NOTIFY_MULTIPLY),
			    &virtio_pci_notify_bar);
	if (vp->modern)
		pci_set_bar(&vp->pd, BAR_MODERN, PCI_BAR_MEM64, MODERN_BAR_LEN,
			    &virtio_pci_modern_bar);
}

/* 4.1.4: the capability without its first two bytes, and the field that some have at the end. */
struct cap_body {
	uint8_t cap_len, cfg_type, bar, id, padding[2];
	uint32_t offset, length;
	uint32_t more;
} __attribute__((packed));

_Static_assert(sizeof(struct cap_body) == sizeof(struct virtio_pci_notify_cap) - 2, "4.1.4.4");

static uint8_t add_cap(struct virtio_pci *vp, uint8_t type, uint8_t bar, uint32_t off, uint32_t len)
{
	bool more = type == VIRTIO_PCI_CAP_NOTIFY_CFG || type == VIRTIO_PCI_CAP_PCI_CFG;
	uint8_t body_len = sizeof(struct cap_body) - (more ? 0 : sizeof(uint32_t));
	/* The window is aimed by the driver; all else is fixed (PCI-20, PCI-77). */
	static const struct cap_body aimed = {
		.bar = 0xff, .offset = UINT32_MAX, .length = UINT32_MAX, .more = UINT32_MAX
	};
	struct cap_body body = {
		.cap_len = 2 + body_len,
		.cfg_type = type,
		.bar = bar,
		.offset = htole32(off),
		.length = htole32(len),
		.more = type == VIRTIO_PCI_CAP_NOTIFY_CFG ? htole32(NOTIFY_MULTIPLY) : 0,
	};

	return pci_add_cap(&vp->pd, PCI_CAP_ID_VNDR, &body, body_len,
			   type == VIRTIO_PCI_CAP_PCI_CFG ? (const uint8_t *)&aimed : NULL);
}

static void add_caps(struct virtio_pci *vp)
{
	uint32_t notify_len = NOTIFY_MULTIPLY * (uint32_t)vp->vd->queues_nr;

	add_cap(vp, VIRTIO_PCI_CAP_COMMON_CFG, BAR_MODERN, PAGE_COMMON * MODERN_PAGE, COMMON_LEN);
	/* Best first (PCI-17): an access to a port is the cheaper exit. */
	if (vp->pio_notify)
		add_cap(vp, VIRTIO_PCI_CAP_NOTIFY_CFG, BAR_NOTIFY, 0, notify_len);
	add_cap(vp, VIRTIO_PCI_CAP_NOTIFY_CFG, BAR_MODERN, PAGE_NOTIFY * MODERN_PAGE, notify_len);
	add_cap(vp, VIRTIO_PCI_CAP_ISR_CFG, BAR_MODERN, PAGE_ISR * MODERN_PAGE, 1);
	if (vp->vd->config_len)
		add_cap(vp, VIRTIO_PCI_CAP_DEVICE_CFG, BAR_MODERN, PAGE_DEVICE * MODERN_PAGE,
			vp->vd->config_len);
	vp->window_cap = add_cap(vp, VIRTIO_PCI_CAP_PCI_CFG, BAR_MODERN, 0, 0);
	pci_set_window(&vp->pd, vp->window_cap + offsetof(struct virtio_pci_cfg_cap, pci_cfg_data));
}

static int add_vectors(struct virtio_pci *vp, int vectors, struct err *err)
{
	if (vectors == VIRTIO_PCI_VECTORS_AUTO)
		vectors = vp->vd->queues_nr + 1;
	if (vectors < 0 || vectors > PCI_MSIX_MAX)
		return err_usage(err, "virtio %s cannot have %d interrupt vectors; use 0 to %d",
				 vp->vd->ops->name, vectors, PCI_MSIX_MAX);
	return vectors ? pci_add_msix(&vp->pd, BAR_MSIX, (unsigned int)vectors, err) : 0;
}

static int make_function(struct virtio_pci *vp, const struct virtio_pci_opts *opts, struct err *err)
{
	set_bars(vp);
	if (vp->modern)
		add_caps(vp);
	int bells = virtio_pci_doorbells_init(vp, opts->kvm);
	int fds = virtio_pci_fds_init(vp, opts->kvm);
	if (bells)
		return err_host(err, -bells, "virtio %s cannot have doorbells", vp->vd->ops->name);
	if (fds)
		return err_host(err, -fds, "virtio %s cannot have eventfds for its queues",
				vp->vd->ops->name);
	return add_vectors(vp, opts->vectors, err);
}

static int go_online(struct virtio_pci *vp, struct pci *pci, struct err *err)
{
	int ret = virtio_plug(vp->vd, &transport_ops, err);

	if (ret)
		return ret;
	ret = pci_add(pci, &vp->pd, err);
	if (ret)
		virtio_unplug(vp->vd);
	return ret;
}

static void release(struct virtio_pci *vp)
{
	virtio_pci_doorbells_release(vp);
	virtio_pci_fds_release(vp);
	pci_device_release(&vp->pd);
	pthread_mutex_destroy(&vp->isr_lock);
	pthread_mutex_destroy(&vp->regs_lock);
}

int virtio_pci_plug(struct virtio_pci *vp, struct virtio_device *vd, struct pci *pci,
		    const struct virtio_pci_opts *opts, struct err *err)
{
	BUG_ON(vd->config_len > MODERN_PAGE);
	memset(vp, 0, sizeof(*vp));
	vp->vd = vd;
	int ret = choose_sides(vp, opts->how, err);
	if (ret)
		return ret;
	if (opts->pio_notify == VIRTIO_PCI_PIO_NOTIFY_ON && !vp->modern)
		return err_usage(err,
				 "virtio %s is a legacy PCI device, which has its doorbell in a "
				 "port already",
				 vd->ops->name);
	vp->pio_notify = opts->pio_notify == VIRTIO_PCI_PIO_NOTIFY_ON ||
			 (opts->pio_notify == VIRTIO_PCI_PIO_NOTIFY_AUTO && opts->prefers_port &&
			  vp->modern);
	pthread_mutex_init(&vp->regs_lock, NULL);
	pthread_mutex_init(&vp->isr_lock, NULL);
	atomic_store(&vp->config_vector, NO_VECTOR);
	for (unsigned int i = 0; i < VIRTIO_QUEUES_MAX; i++)
		atomic_store(&vp->queue_vector[i], NO_VECTOR);
	vd->transport_priv = vp;
	set_identity(vp);
	ret = make_function(vp, opts, err);
	ret = ret ?: go_online(vp, pci, err);
	if (ret)
		release(vp);
	return ret;
}

void virtio_pci_unplug(struct virtio_pci *vp)
{
	virtio_unplug(vp->vd);
	pci_remove(&vp->pd);
	release(vp);
}
