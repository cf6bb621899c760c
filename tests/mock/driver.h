/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A virtio driver in user space, layered as a real one: a device's driver (bench.h) -> struct drv (life
 * cycle) -> struct drv_transport_ops (how a register is reached) -> struct drv_ring (split rings).
 *
 * One test body runs over every transport: it uses drv_*() only. A test that plays a broken driver edits
 * the ring with the raw calls at the end. Everything that a driver writes to memory goes through arena.h.
 */
#ifndef LKVM_TESTS_DRIVER_H
#define LKVM_TESTS_DRIVER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <lkvm/virtio/device.h>

#include "arena.h"

struct drv;

enum drv_reg { DRV_SIZE, DRV_ENABLE, DRV_RESET };
enum drv_area { DRV_DESC, DRV_AVAIL, DRV_USED };

struct drv_transport_ops {
	const char *name;
	/* Puts the device on the transport and its interrupts into d->irqs; takes it off again. */
	void (*attach)(struct drv *d, struct virtio_device *vd);
	void (*detach)(struct drv *d);
	bool (*is_busy)(
		const struct drv *d); /* something is on its way to a loop; NULL: the loops know */

	uint8_t (*get_status)(struct drv *d);
	void (*set_status)(struct drv *d, uint8_t status);
	uint32_t (*device_features)(struct drv *d, uint32_t word);
	uint32_t (*driver_features)(struct drv *d, uint32_t word);
	void (*accept_features)(struct drv *d, uint32_t word, uint32_t bits);
	uint16_t (*queues_nr)(struct drv *d);
	void (*queue_select)(struct drv *d, uint16_t n);
	uint16_t (*get_queue_select)(struct drv *d);
	/* Of the selected queue. */
	uint16_t (*get_reg)(struct drv *d, enum drv_reg reg);
	void (*set_reg)(struct drv *d, enum drv_reg reg, uint16_t v);
	uint64_t (*get_addr)(struct drv *d, enum drv_area area);
	void (*set_addr)(struct drv *d, enum drv_area area, uint64_t gpa);
	/* Legacy only, and then there is no set_addr(). */
	uint32_t (*get_pfn)(struct drv *d);
	void (*set_pfn)(struct drv *d, uint32_t pfn);

	void (*notify)(struct drv *d, uint32_t n);
	uint8_t (*generation)(struct drv *d); /* NULL: there is none */
	void (*config_read)(struct drv *d, uint64_t off, void *buf, uint32_t len);
	void (*config_write)(struct drv *d, uint64_t off, const void *buf, uint32_t len);
};

extern const struct drv_transport_ops drv_core; /* the core's calls, without a bus */
extern const struct drv_transport_ops drv_core_legacy;

/* What came from the device. Written on its threads. */
struct drv_irqs {
	_Atomic uint32_t queue[VIRTIO_QUEUES_MAX];
	_Atomic uint32_t config;
	_Atomic uint8_t status_at_config; /* status as the last config interrupt found it */
	_Atomic uint32_t resets;
	_Atomic uint32_t armed, disarmed; /* doorbells */
	int doorbell_ret;                 /* what arming returns; the test sets it */
};

struct drv_ring {
	struct drv *d;
	uint16_t q, size;
	uint64_t desc, avail, used;
	bool event_idx;
	bool odd;           /* its areas are a test's: not to be used again */
	uint16_t avail_idx; /* what is or will be published */
	uint16_t kicked;    /* avail_idx at the last look at whether to kick */
	uint16_t last_used;
	uint16_t *next;  /* of each descriptor, as this driver knows it */
	uint16_t *spare; /* a stack of free descriptors */
	uint16_t spare_nr;
};

#define DRV_RINGS 17

struct drv {
	const struct drv_transport_ops *ops;
	struct arena *a;
	struct virtio_device *vd; /* for the transport */
	void *bus;                /* the transport's */
	struct drv_irqs irqs;
	uint64_t features;           /* negotiated */
	_Atomic uint64_t slowest_ns; /* of the accesses that may wait for another thread */
	struct drv_ring rings[DRV_RINGS];
};

/* --- life cycle --- */

void drv_init(struct drv *d, const struct drv_transport_ops *ops, struct arena *a,
	      struct virtio_device *vd);
void drv_release(struct drv *d);

uint8_t drv_status(struct drv *d);
void drv_set_status(struct drv *d, uint8_t status);
uint64_t drv_offered(struct drv *d);
void drv_accept(struct drv *d, uint64_t features);
uint64_t drv_accepted(struct drv *d);
/* ACKNOWLEDGE, DRIVER, features, FEATURES_OK. Returns whether the device agreed. */
bool drv_negotiate(struct drv *d, uint64_t features);
void drv_driver_ok(struct drv *d);
uint16_t drv_reg(struct drv *d, uint16_t q, enum drv_reg reg);
void drv_set_reg(struct drv *d, uint16_t q, enum drv_reg reg, uint16_t v);
uint64_t drv_addr(struct drv *d, uint16_t q, enum drv_area area);
void drv_set_addr(struct drv *d, uint16_t q, enum drv_area area, uint64_t gpa);
void drv_notify(struct drv *d, uint32_t q);

/* --- rings --- */

#define RING_DESC_LEN(n)  (16 * (uint64_t)(n))
#define RING_AVAIL_LEN(n) (6 + 2 * (uint64_t)(n))
#define RING_USED_LEN(n)  (6 + 8 * (uint64_t)(n))

enum { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4 };

struct drv_buf {
	uint64_t gpa;
	uint32_t len;
	bool write;
};

/* Takes memory for a ring of `size`; the device does not know it yet. */
void ring_make(struct drv *d, uint16_t q, uint16_t size);
/* The same with areas that the test chose; what is not RAM is not cleared. */
void ring_make_at(struct drv *d, uint16_t q, uint16_t size, uint64_t desc, uint64_t avail,
		  uint64_t used);
/* Clears a ring of before, as a driver does before it uses it again. */
void ring_clear(struct drv_ring *r);
/* Writes the registers, and enables the queue. */
void ring_enable(struct drv_ring *r);
void ring_free(struct drv_ring *r);

/* Puts a chain into the available ring; not published. Returns the head. */
uint16_t ring_add(struct drv_ring *r, const struct drv_buf *bufs, unsigned int nr);
/* The same, with all but the first `direct` buffers in an indirect table at `table`. */
uint16_t ring_add_indirect(struct drv_ring *r, const struct drv_buf *bufs, unsigned int nr,
			   unsigned int direct, uint64_t table);
void ring_publish(struct drv_ring *r);
/* Notifies if the device wants it. Returns whether it did. */
bool ring_kick(struct drv_ring *r);
/* The next used entry, and its descriptors are free again. */
bool ring_get(struct drv_ring *r, uint32_t *id, uint32_t *len);
/* With EVENT_IDX asks for an interrupt at the next entry; else clears the flag. Then says if there is one now. */
bool ring_irq_on(struct drv_ring *r);

/* --- raw --- */

struct drv_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

void desc_put(struct arena *a, uint64_t table, uint32_t i, struct drv_desc d);
/* Raw chains are not known to ring_get(): after them all is taken as returned. */
void ring_forget(struct drv_ring *r);
void ring_desc(struct drv_ring *r, uint16_t i, uint64_t addr, uint32_t len, uint16_t flags,
	       uint16_t next);
/* Puts `head` into the next slot and publishes it. */
void ring_push(struct drv_ring *r, uint16_t head);
void ring_set_idx(struct drv_ring *r, uint16_t idx);
void ring_set_slot(struct drv_ring *r, uint16_t slot, uint16_t head);
void ring_set_avail_flags(struct drv_ring *r, uint16_t flags);
void ring_set_used_event(struct drv_ring *r, uint16_t v);
uint16_t ring_used_idx(struct drv_ring *r);
uint16_t ring_used_flags(struct drv_ring *r);
uint16_t ring_avail_event(struct drv_ring *r);
void ring_used_elem(struct drv_ring *r, uint16_t slot, uint32_t *id, uint32_t *len);

#endif
