/* SPDX-License-Identifier: GPL-2.0 */
/* The transport that is none: a driver's accesses are the core's calls, its interrupts are counted. */

#include "driver.h"

static struct drv *drv_of(const struct virtio_device *vd)
{
	return vd->transport_priv;
}

static void irq_queue(struct virtio_device *vd, uint16_t queue)
{
	drv_of(vd)->irqs.queue[queue]++;
}

static void irq_config(struct virtio_device *vd)
{
	struct drv *d = drv_of(vd);

	d->irqs.status_at_config = virtio_get_status(vd);
	d->irqs.config++;
}

static int doorbells_on(struct virtio_device *vd)
{
	struct drv *d = drv_of(vd);

	if (d->irqs.doorbell_ret == 0)
		d->irqs.armed++;
	return d->irqs.doorbell_ret;
}

static void doorbells_off(struct virtio_device *vd)
{
	drv_of(vd)->irqs.disarmed++;
}

static void on_reset(struct virtio_device *vd)
{
	drv_of(vd)->irqs.resets++;
}

static const struct virtio_transport_ops core_ops = {
	.irq_queue = irq_queue,
	.irq_config = irq_config,
	.doorbells_on = doorbells_on,
	.doorbells_off = doorbells_off,
	.reset = on_reset,
};

static void attach(struct drv *d, struct virtio_device *vd)
{
	struct err err = ERR_INIT;

	vd->transport_priv = d;
	MUST(virtio_plug(vd, &core_ops, &err) == 0);
}

static void detach(struct drv *d)
{
	virtio_unplug(d->vd);
}

static uint8_t get_status(struct drv *d)
{
	return virtio_get_status(d->vd);
}

static void set_status(struct drv *d, uint8_t status)
{
	virtio_set_status(d->vd, status);
}

static uint32_t device_features(struct drv *d, uint32_t word)
{
	virtio_select_device_features(d->vd, word);
	MUST(virtio_get_device_feature_select(d->vd) == word);
	return virtio_get_device_features(d->vd);
}

static uint32_t driver_features(struct drv *d, uint32_t word)
{
	virtio_select_driver_features(d->vd, word);
	MUST(virtio_get_driver_feature_select(d->vd) == word);
	return virtio_get_driver_features(d->vd);
}

static void accept_features(struct drv *d, uint32_t word, uint32_t bits)
{
	virtio_select_driver_features(d->vd, word);
	virtio_set_driver_features(d->vd, bits);
}

static uint16_t queues_nr(struct drv *d)
{
	return virtio_queues_nr(d->vd);
}

static void queue_select(struct drv *d, uint16_t n)
{
	virtio_queue_select(d->vd, n);
}

static uint16_t get_queue_select(struct drv *d)
{
	return virtio_get_queue_select(d->vd);
}

static uint16_t get_reg(struct drv *d, enum drv_reg reg)
{
	switch (reg) {
	case DRV_SIZE:
		return virtio_get_queue_size(d->vd);
	case DRV_ENABLE:
		return virtio_get_queue_enable(d->vd);
	case DRV_RESET:
		break;
	}
	return virtio_get_queue_reset(d->vd);
}

static void set_reg(struct drv *d, enum drv_reg reg, uint16_t v)
{
	switch (reg) {
	case DRV_SIZE:
		virtio_set_queue_size(d->vd, v);
		return;
	case DRV_ENABLE:
		virtio_set_queue_enable(d->vd, v);
		return;
	case DRV_RESET:
		break;
	}
	virtio_set_queue_reset(d->vd, v);
}

static const enum virtio_queue_addr areas[] = {
	[DRV_DESC] = VIRTIO_QUEUE_DESC,
	[DRV_AVAIL] = VIRTIO_QUEUE_AVAIL,
	[DRV_USED] = VIRTIO_QUEUE_USED,
};

static uint64_t get_addr(struct drv *d, enum drv_area area)
{
	return virtio_get_queue_addr(d->vd, areas[area]);
}

static void set_addr(struct drv *d, enum drv_area area, uint64_t gpa)
{
	virtio_set_queue_addr(d->vd, areas[area], gpa);
}

static void notify(struct drv *d, uint32_t n)
{
	virtio_queue_notify(d->vd, n);
}

static uint8_t generation(struct drv *d)
{
	return virtio_get_generation(d->vd);
}

static void config_read(struct drv *d, uint64_t off, void *buf, uint32_t len)
{
	virtio_config_read(d->vd, off, buf, len);
}

static void config_write(struct drv *d, uint64_t off, const void *buf, uint32_t len)
{
	virtio_config_write(d->vd, off, buf, len);
}

const struct drv_transport_ops drv_core = {
	.name = "core",
	.attach = attach,
	.detach = detach,
	.get_status = get_status,
	.set_status = set_status,
	.device_features = device_features,
	.driver_features = driver_features,
	.accept_features = accept_features,
	.queues_nr = queues_nr,
	.queue_select = queue_select,
	.get_queue_select = get_queue_select,
	.get_reg = get_reg,
	.set_reg = set_reg,
	.get_addr = get_addr,
	.set_addr = set_addr,
	.notify = notify,
	.generation = generation,
	.config_read = config_read,
	.config_write = config_write,
};

/* --- the legacy half --- */

static void legacy_set_status(struct drv *d, uint8_t status)
{
	virtio_legacy_set_status(d->vd, status);
}

/* There is one word; what is beyond it does not exist. */
static uint32_t legacy_device_features(struct drv *d, uint32_t word)
{
	return word ? 0 : virtio_legacy_features(d->vd);
}

static uint32_t legacy_driver_features(struct drv *d, uint32_t word)
{
	return word ? 0 : virtio_legacy_get_driver_features(d->vd);
}

static void legacy_accept_features(struct drv *d, uint32_t word, uint32_t bits)
{
	if (word == 0)
		virtio_legacy_set_features(d->vd, bits);
}

/* Only the size can be read, and nothing written. */
static uint16_t legacy_get_reg(struct drv *d, enum drv_reg reg)
{
	return reg == DRV_SIZE ? virtio_get_queue_size(d->vd) : 0;
}

static void legacy_set_reg(struct drv *d, enum drv_reg reg, uint16_t v)
{
	(void)d, (void)reg, (void)v;
	MUST(!"there is such a register");
}

static uint32_t get_pfn(struct drv *d)
{
	return virtio_legacy_get_pfn(d->vd);
}

static void set_pfn(struct drv *d, uint32_t pfn)
{
	virtio_legacy_set_pfn(d->vd, pfn);
}

static void legacy_notify(struct drv *d, uint32_t n)
{
	virtio_legacy_notify(d->vd, n);
}

const struct drv_transport_ops drv_core_legacy = {
	.name = "core-legacy",
	.attach = attach,
	.detach = detach,
	.get_status = get_status,
	.set_status = legacy_set_status,
	.device_features = legacy_device_features,
	.driver_features = legacy_driver_features,
	.accept_features = legacy_accept_features,
	.queues_nr = queues_nr,
	.queue_select = queue_select,
	.get_queue_select = get_queue_select,
	.get_reg = legacy_get_reg,
	.set_reg = legacy_set_reg,
	.get_pfn = get_pfn,
	.set_pfn = set_pfn,
	.notify = legacy_notify,
	.config_read = config_read,
	.config_write = config_write,
};
