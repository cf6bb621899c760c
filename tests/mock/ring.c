/* SPDX-License-Identifier: GPL-2.0 */
#include <stdlib.h>

#include <lkvm/util.h>

#include "driver.h"

/* Split rings, from the driver's side: VIRTIO 1.3, 2.7. */

static void clear_area(struct arena *a, uint64_t gpa, uint64_t len)
{
	if (gmem_span(&a->gm, gpa, len))
		arena_fill(a, gpa, 0, len);
}

static void free_all(struct drv_ring *r)
{
	r->spare_nr = 0;
	/* The lowest is taken first. */
	for (uint16_t i = r->size; i > 0; i--)
		r->spare[r->spare_nr++] = i - 1;
}

void ring_clear(struct drv_ring *r)
{
	clear_area(r->d->a, r->desc, RING_DESC_LEN(r->size));
	clear_area(r->d->a, r->avail, RING_AVAIL_LEN(r->size));
	clear_area(r->d->a, r->used, RING_USED_LEN(r->size));
	r->avail_idx = r->kicked = r->last_used = 0;
	free_all(r);
}

void ring_forget(struct drv_ring *r)
{
	r->last_used = ring_used_idx(r);
	free_all(r);
}

void ring_make_at(struct drv *d, uint16_t q, uint16_t size, uint64_t desc, uint64_t avail,
		  uint64_t used)
{
	struct drv_ring *r = &d->rings[q];

	ring_free(r);
	*r = (struct drv_ring){ .d = d,
				.q = q,
				.size = size,
				.desc = desc,
				.avail = avail,
				.used = used,
				.odd = true };
	r->event_idx = d->features & VIRTIO_BIT(VIRTIO_F_EVENT_IDX);
	r->next = calloc(size, sizeof(*r->next));
	r->spare = calloc(size, sizeof(*r->spare));
	ring_clear(r);
	/* The device's part of it. */
	arena_permit(d->a, used, RING_USED_LEN(size));
}

void ring_make(struct drv *d, uint16_t q, uint16_t size)
{
	uint64_t desc, avail, used;

	if (d->ops->set_pfn) {
		/* One piece; the used part on the next 4096 bytes (2.7.2). */
		uint64_t first = RING_DESC_LEN(size) + RING_AVAIL_LEN(size);

		desc = arena_alloc(d->a, align_up(first, 4096) + RING_USED_LEN(size), 4096);
		avail = desc + RING_DESC_LEN(size);
		used = align_up(desc + first, 4096);
	} else {
		desc = arena_alloc(d->a, RING_DESC_LEN(size), 16);
		avail = arena_alloc(d->a, RING_AVAIL_LEN(size), 2);
		used = arena_alloc(d->a, RING_USED_LEN(size), 4);
	}
	ring_make_at(d, q, size, desc, avail, used);
	d->rings[q].odd = false;
}

void ring_enable(struct drv_ring *r)
{
	struct drv *d = r->d;

	d->ops->queue_select(d, r->q);
	if (d->ops->set_pfn) {
		d->ops->set_pfn(d, (uint32_t)(r->desc / 4096));
		return;
	}
	d->ops->set_reg(d, DRV_SIZE, r->size);
	d->ops->set_addr(d, DRV_DESC, r->desc);
	d->ops->set_addr(d, DRV_AVAIL, r->avail);
	d->ops->set_addr(d, DRV_USED, r->used);
	d->ops->set_reg(d, DRV_ENABLE, 1);
}

void ring_free(struct drv_ring *r)
{
	free(r->next);
	free(r->spare);
	*r = (struct drv_ring){ 0 };
}

void desc_put(struct arena *a, uint64_t table, uint32_t i, struct drv_desc d)
{
	uint64_t gpa = table + 16 * (uint64_t)i;

	arena_put64(a, gpa, d.addr);
	arena_put32(a, gpa + 8, d.len);
	arena_put16(a, gpa + 12, d.flags);
	arena_put16(a, gpa + 14, d.next);
}

void ring_desc(struct drv_ring *r, uint16_t i, uint64_t addr, uint32_t len, uint16_t flags,
	       uint16_t next)
{
	if (flags & DESC_WRITE && !(flags & DESC_INDIRECT))
		arena_permit(r->d->a, addr, len);
	desc_put(r->d->a, r->desc, i, (struct drv_desc){ addr, len, flags, next });
}

static uint16_t take_desc(struct drv_ring *r)
{
	MUST(r->spare_nr > 0);
	return r->spare[--r->spare_nr];
}

static void put_avail(struct drv_ring *r, uint16_t head)
{
	ring_set_slot(r, r->avail_idx & (r->size - 1), head);
	r->avail_idx++;
}

uint16_t ring_add_indirect(struct drv_ring *r, const struct drv_buf *bufs, unsigned int nr,
			   unsigned int direct, uint64_t table)
{
	unsigned int own = table ? direct + 1 : nr;
	uint16_t head = take_desc(r), i = head;

	for (unsigned int n = 0; n < own; n++) {
		bool last = n == own - 1;
		uint16_t next = last ? i : take_desc(r), more = last ? 0 : DESC_NEXT;

		r->next[i] = next;
		if (table && last)
			ring_desc(r, i, table, 16 * (nr - direct), DESC_INDIRECT, 0);
		else
			ring_desc(r, i, bufs[n].gpa, bufs[n].len,
				  more | (bufs[n].write ? DESC_WRITE : 0), next);
		i = next;
	}
	for (unsigned int n = direct; table && n < nr; n++) {
		uint16_t flags = (n < nr - 1 ? DESC_NEXT : 0) | (bufs[n].write ? DESC_WRITE : 0);

		if (bufs[n].write)
			arena_permit(r->d->a, bufs[n].gpa, bufs[n].len);
		desc_put(r->d->a, table, n - direct,
			 (struct drv_desc){ bufs[n].gpa, bufs[n].len, flags,
					    (uint16_t)(n - direct + 1) });
	}
	put_avail(r, head);
	return head;
}

uint16_t ring_add(struct drv_ring *r, const struct drv_buf *bufs, unsigned int nr)
{
	return ring_add_indirect(r, bufs, nr, 0, 0);
}

void ring_publish(struct drv_ring *r)
{
	arena_publish16(r->d->a, r->avail + 2, r->avail_idx);
}

bool ring_kick(struct drv_ring *r)
{
	uint16_t old = r->kicked, new = r->avail_idx;
	bool wanted;

	/* idx before the device's wish is read. */
	atomic_thread_fence(memory_order_seq_cst);
	if (r->event_idx)
		wanted = (uint16_t)(new - ring_avail_event(r) - 1) < (uint16_t)(new - old);
	else
		wanted = !(ring_used_flags(r) & 1);
	r->kicked = new;
	if (wanted)
		drv_notify(r->d, r->q);
	return wanted;
}

bool ring_get(struct drv_ring *r, uint32_t *id, uint32_t *len)
{
	if (arena_acquire16(r->d->a, r->used + 2) == r->last_used)
		return false;
	ring_used_elem(r, r->last_used & (r->size - 1), id, len);
	r->last_used++;
	MUST(*id < r->size);
	for (uint16_t i = (uint16_t)*id;; i = r->next[i]) {
		MUST(r->spare_nr < r->size);
		r->spare[r->spare_nr++] = i;
		if (r->next[i] == i)
			break;
	}
	return true;
}

bool ring_irq_on(struct drv_ring *r)
{
	if (r->event_idx)
		ring_set_used_event(r, r->last_used);
	else
		ring_set_avail_flags(r, 0);
	atomic_thread_fence(memory_order_seq_cst);
	return arena_acquire16(r->d->a, r->used + 2) != r->last_used;
}

void ring_push(struct drv_ring *r, uint16_t head)
{
	put_avail(r, head);
	ring_publish(r);
}

void ring_set_idx(struct drv_ring *r, uint16_t idx)
{
	arena_publish16(r->d->a, r->avail + 2, idx);
}

void ring_set_slot(struct drv_ring *r, uint16_t slot, uint16_t head)
{
	arena_put16(r->d->a, r->avail + 4 + 2 * (uint64_t)slot, head);
}

void ring_set_avail_flags(struct drv_ring *r, uint16_t flags)
{
	arena_put16(r->d->a, r->avail, flags);
}

void ring_set_used_event(struct drv_ring *r, uint16_t v)
{
	arena_put16(r->d->a, r->avail + 4 + 2 * (uint64_t)r->size, v);
}

uint16_t ring_used_idx(struct drv_ring *r)
{
	return arena_acquire16(r->d->a, r->used + 2);
}

uint16_t ring_used_flags(struct drv_ring *r)
{
	return arena_get16(r->d->a, r->used);
}

uint16_t ring_avail_event(struct drv_ring *r)
{
	return arena_get16(r->d->a, r->used + 4 + 8 * (uint64_t)r->size);
}

void ring_used_elem(struct drv_ring *r, uint16_t slot, uint32_t *id, uint32_t *len)
{
	*id = arena_get32(r->d->a, r->used + 4 + 8 * (uint64_t)slot);
	*len = arena_get32(r->d->a, r->used + 8 + 8 * (uint64_t)slot);
}
