/* SPDX-License-Identifier: GPL-2.0 */

#include <lkvm/util.h>

#include "clock.h"
#include "driver.h"

void drv_init(struct drv *d, const struct drv_transport_ops *ops, struct arena *a,
	      struct virtio_device *vd)
{
	*d = (struct drv){ .ops = ops, .a = a, .vd = vd };
	ops->attach(d, vd);
}

void drv_release(struct drv *d)
{
	d->ops->detach(d);
	for (unsigned int i = 0; i < DRV_RINGS; i++)
		ring_free(&d->rings[i]);
}

/* How long the guest's CPU stood still in an access. */
static void account(struct drv *d, uint64_t since)
{
	uint64_t ns = mock_real_now_ns() - since, old = d->slowest_ns;

	while (ns > old && !atomic_compare_exchange_weak(&d->slowest_ns, &old, ns))
		;
}

uint8_t drv_status(struct drv *d)
{
	return d->ops->get_status(d);
}

void drv_set_status(struct drv *d, uint8_t status)
{
	uint64_t since = mock_real_now_ns();

	d->ops->set_status(d, status);
	account(d, since);
}

uint64_t drv_offered(struct drv *d)
{
	return d->ops->device_features(d, 0) | (uint64_t)d->ops->device_features(d, 1) << 32;
}

void drv_accept(struct drv *d, uint64_t features)
{
	d->ops->accept_features(d, 0, (uint32_t)features);
	d->ops->accept_features(d, 1, (uint32_t)(features >> 32));
}

uint64_t drv_accepted(struct drv *d)
{
	return d->ops->driver_features(d, 0) | (uint64_t)d->ops->driver_features(d, 1) << 32;
}

bool drv_negotiate(struct drv *d, uint64_t features)
{
	drv_set_status(d, VIRTIO_ACKNOWLEDGE);
	drv_set_status(d, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER);
	drv_accept(d, features);
	d->features = features;
	/* The legacy interface has no FEATURES_OK. */
	if (d->ops->set_pfn)
		return true;
	drv_set_status(d, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_FEATURES_OK);
	return drv_status(d) & VIRTIO_FEATURES_OK;
}

void drv_driver_ok(struct drv *d)
{
	drv_set_status(d, drv_status(d) | VIRTIO_DRIVER_OK);
}

uint16_t drv_reg(struct drv *d, uint16_t q, enum drv_reg reg)
{
	d->ops->queue_select(d, q);
	return d->ops->get_reg(d, reg);
}

void drv_set_reg(struct drv *d, uint16_t q, enum drv_reg reg, uint16_t v)
{
	uint64_t since = mock_real_now_ns();

	d->ops->queue_select(d, q);
	d->ops->set_reg(d, reg, v);
	account(d, since);
}

uint64_t drv_addr(struct drv *d, uint16_t q, enum drv_area area)
{
	d->ops->queue_select(d, q);
	return d->ops->get_addr(d, area);
}

void drv_set_addr(struct drv *d, uint16_t q, enum drv_area area, uint64_t gpa)
{
	d->ops->queue_select(d, q);
	d->ops->set_addr(d, area, gpa);
}

void drv_notify(struct drv *d, uint32_t q)
{
	uint64_t since = mock_real_now_ns();

	d->ops->notify(d, q);
	account(d, since);
}
