/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <lkvm/gmem.h>
#include <lkvm/util.h>
#include <lkvm/virtio/device.h>
#include <lkvm/virtio/queue.h>

/* 2.7.5: the descriptor; 2.7.6 and 2.7.8: the rings. All little-endian. */
struct vring_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next;
};

#define DESC_F_NEXT     1
#define DESC_F_WRITE    2
#define DESC_F_INDIRECT 4

struct vring_avail {
	uint16_t flags;
	uint16_t idx;
	uint16_t ring[]; /* `size` entries, then used_event */
};

#define AVAIL_F_NO_INTERRUPT 1

struct vring_used_elem {
	uint32_t id;
	uint32_t len;
};

struct vring_used {
	uint16_t flags;
	uint16_t idx;
	struct vring_used_elem ring[]; /* `size` entries, then avail_event */
};

#define USED_F_NO_NOTIFY 1

/* Area lengths, event words included (2.7). */
#define DESC_LEN(n)  (sizeof(struct vring_desc) * (uint64_t)(n))
#define AVAIL_LEN(n) (6 + 2 * (uint64_t)(n))
#define USED_LEN(n)  (6 + 8 * (uint64_t)(n))

/* Words that both sides touch: one access each, never torn, never repeated by the compiler. */
static uint16_t load16(const uint16_t *p)
{
	return le16toh(__atomic_load_n(p, __ATOMIC_RELAXED));
}

static uint16_t load16_acquire(const uint16_t *p)
{
	return le16toh(__atomic_load_n(p, __ATOMIC_ACQUIRE));
}

static void store16(uint16_t *p, uint16_t v)
{
	__atomic_store_n(p, htole16(v), __ATOMIC_RELAXED);
}

static void store16_release(uint16_t *p, uint16_t v)
{
	__atomic_store_n(p, htole16(v), __ATOMIC_RELEASE);
}

/* Each field once; the driver may rewrite the descriptor meanwhile, then the mix is its own doing. */
static struct vring_desc load_desc(const struct vring_desc *d)
{
	return (struct vring_desc){
		.addr = le64toh(__atomic_load_n(&d->addr, __ATOMIC_RELAXED)),
		.len = le32toh(__atomic_load_n(&d->len, __ATOMIC_RELAXED)),
		.flags = load16(&d->flags),
		.next = load16(&d->next),
	};
}

static uint16_t *used_event(const struct virtqueue *vq)
{
	return &vq->avail->ring[vq->size];
}

static uint16_t *avail_event(const struct virtqueue *vq)
{
	return (uint16_t *)&vq->used->ring[vq->size];
}

void vq_init(struct virtqueue *vq, struct virtio_device *vd, uint16_t index, uint16_t size_max,
	     struct loop *loop)
{
	*vq = (struct virtqueue){
		.vd = vd, .index = index, .size_max = size_max, .loop = loop, .bus_master = true
	};
	vq_reset_registers(vq);
}

void vq_reset_registers(struct virtqueue *vq)
{
	vq->size = vq->size_max;
	vq->desc_gpa = vq->avail_gpa = vq->used_gpa = 0;
	vq->enabled = false;
}

/* 2.7: alignment of the areas; each lies in RAM as a whole, with the size in force. */
static int map_areas(const struct virtqueue *vq, struct vring_desc **desc,
		     struct vring_avail **avail, struct vring_used **used)
{
	const struct gmem *gm = vq->vd->gm;

	if (vq->desc_gpa % 16 || vq->avail_gpa % 2 || vq->used_gpa % 4)
		return -EINVAL;
	*desc = gmem_span(gm, vq->desc_gpa, DESC_LEN(vq->size));
	*avail = gmem_span(gm, vq->avail_gpa, AVAIL_LEN(vq->size));
	*used = gmem_span(gm, vq->used_gpa, USED_LEN(vq->size));
	return *desc && *avail && *used ? 0 : -EINVAL;
}

int vq_check(const struct virtqueue *vq)
{
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;

	return map_areas(vq, &desc, &avail, &used);
}

int vq_start(struct virtqueue *vq)
{
	int ret = map_areas(vq, &vq->desc, &vq->avail, &vq->used);
	if (ret)
		return ret;
	vq->event_idx = virtio_has(vq->vd, VIRTIO_F_EVENT_IDX);
	vq->indirect = virtio_has(vq->vd, VIRTIO_F_INDIRECT_DESC);
	vq->next_avail = vq->next_used = vq->published = vq->signalled = 0;
	vq->kicks_off = false;
	vq->running = true;
	return 0;
}

static void drop_held(struct virtqueue *vq)
{
	free(vq->held);
	vq->held = NULL;
	vq->held_nr = 0;
}

void vq_stop(struct virtqueue *vq)
{
	vq->running = false;
	vq->bus_master = true;
	drop_held(vq);
	vq->epoch++;
	vq->desc = NULL;
	vq->avail = NULL;
	vq->used = NULL;
}

static bool is_served(const struct virtqueue *vq)
{
	uint8_t state = atomic_load_explicit(&vq->vd->state, memory_order_relaxed);

	return vq->running && !vq->vhost && (state == VIRTIO_RUNNING || state == VIRTIO_LIVE);
}

/* Guest memory may be touched: neither without a running device nor without bus mastering (PLT-5). */
bool vq_usable(const struct virtqueue *vq)
{
	return vq->bus_master && is_served(vq);
}

/* --- bytes --- */

static uint64_t copy(const struct iovec *iov, unsigned int nr, uint64_t off, uint8_t *buf,
		     uint64_t len, bool in)
{
	uint64_t done = 0;

	for (unsigned int i = 0; i < nr && done < len; i++) {
		if (off >= iov[i].iov_len) {
			off -= iov[i].iov_len;
			continue;
		}
		uint64_t n = MIN(iov[i].iov_len - off, len - done);
		uint8_t *guest = (uint8_t *)iov[i].iov_base + off;
		if (in)
			gmem_copy(guest, buf + done, n);
		else
			gmem_copy(buf + done, guest, n);
		done += n;
		off = 0;
	}
	return done;
}

uint64_t vq_copy_out(const struct vq_chain *chain, uint64_t off, void *buf, uint64_t len)
{
	return copy(chain->iov, chain->out_nr, off, buf, len, false);
}

uint64_t vq_copy_in(const struct vq_chain *chain, uint64_t off, const void *buf, uint64_t len)
{
	return copy(chain->iov + chain->out_nr, chain->in_nr, off, (uint8_t *)buf, len, true);
}

/* --- walking a chain --- */

/* A walk in progress. `table` is where descriptors come from: the queue's, then perhaps an indirect one. */
struct walk {
	struct virtqueue *vq;
	const struct gmem *gm;
	struct vq_chain *chain;
	const struct vring_desc
		*table;       /* the queue's own; NULL in an indirect one, which is copied from */
	struct iovec *pieces; /* of an indirect one; room for GMEM_REGIONS_MAX */
	unsigned int pieces_nr;
	uint32_t table_nr;
	uint32_t steps;       /* descriptors of the present table */
	uint32_t total;       /* descriptors with a buffer */
	unsigned int iovs_nr; /* and bytes, of both parts */
	uint32_t bytes;
	bool writable; /* a writable one was seen */
	bool unusable; /* a buffer is not RAM, or there are too many: goes back unserved */
};

enum { WALK_END = 0, WALK_ON = 1 }; /* or a negative errno: the device was broken */

static __attribute__((cold, noinline)) int broken(struct virtqueue *vq, const char *why)
{
	virtio_fault(vq->vd, "queue %u: %s", vq->index, why);
	return -EPROTO;
}

/* All that was found so far is the readable part, which ends here. */
static void end_readable(struct walk *w)
{
	w->chain->out_nr = w->iovs_nr;
	w->chain->out_len = w->bytes;
}

static struct vring_desc fetch(const struct walk *w, uint32_t index)
{
	struct vring_desc d;

	if (w->table)
		return load_desc(&w->table[index]);
	/* An indirect table has no alignment (SPL-17), so it is copied rather than loaded. */
	copy(w->pieces, w->pieces_nr, index * sizeof(d), (uint8_t *)&d, sizeof(d), false);
	return (struct vring_desc){ .addr = le64toh(d.addr),
				    .len = le32toh(d.len),
				    .flags = le16toh(d.flags),
				    .next = le16toh(d.next) };
}

/* Returns whether another descriptor follows. */
static int add_buffer(struct walk *w, const struct vring_desc *d)
{
	/* 2.7.4.2: readable parts come first. */
	if (d->flags & DESC_F_WRITE) {
		if (!w->writable)
			end_readable(w);
		w->writable = true;
	} else if (w->writable) {
		return broken(w->vq, "a readable descriptor after a writable one");
	}
	/*
	 * The queue's size bounds a chain, in whatever tables it is (2.7.5.3.1). What comes after too many does not
	 * matter, and reading it is work of the driver's choice (HD-35).
	 */
	if (++w->total > w->vq->size) {
		w->unusable = true;
		return WALK_END;
	}
	/* 32 bits count its bytes (2.7.5.2). */
	if (d->len > UINT32_MAX - w->bytes || w->unusable ||
	    gmem_map(w->gm, d->addr, d->len, w->chain->iov, &w->iovs_nr, w->chain->iov_max))
		w->unusable = true;
	else
		w->bytes += d->len;
	return d->flags & DESC_F_NEXT ? WALK_ON : WALK_END;
}

/* Turns to an indirect table: the last thing that a chain of the queue's own table can do. */
static int enter_table(struct walk *w, const struct vring_desc *d)
{
	unsigned int nr = 0;

	if (!w->vq->indirect)
		return broken(w->vq, "an indirect descriptor without the feature");
	if (!w->table)
		return broken(w->vq, "an indirect descriptor in an indirect table");
	if (d->flags & DESC_F_NEXT)
		return broken(w->vq, "an indirect descriptor that has a next");
	/* One of length 0 has no first entry, which step() finds. */
	if (d->len % sizeof(*d))
		return broken(w->vq, "an indirect table of a wrong length");
	/* Indices have 16 bits, and so has a count of them (HD-34). */
	if (d->len / sizeof(*d) > UINT16_MAX)
		return broken(w->vq, "an indirect table that is too long");
	if (gmem_map(w->gm, d->addr, d->len, w->pieces, &nr, GMEM_REGIONS_MAX))
		return broken(w->vq, "an indirect table outside memory");
	w->pieces_nr = nr;
	w->table = NULL;
	w->table_nr = d->len / sizeof(*d);
	w->steps = 0;
	return 0;
}

/* One descriptor. Sets *index to the next one. */
static int step(struct walk *w, uint32_t *index)
{
	if (*index >= w->table_nr)
		return broken(w->vq, "a descriptor index outside its table");
	/* More steps than the table has descriptors are a loop. */
	if (w->steps++ >= w->table_nr)
		return broken(w->vq, "a loop in a descriptor chain");
	struct vring_desc d = fetch(w, *index);
	if (d.flags & DESC_F_INDIRECT) {
		*index = 0;
		return enter_table(w, &d) ?: WALK_ON;
	}
	*index = d.next;
	return add_buffer(w, &d);
}

/* 0: the chain is in w->chain, or w->unusable; negative: the device is broken. */
static int walk(struct walk *w, uint16_t head)
{
	uint32_t index = head;
	int ret;

	do
		ret = step(w, &index);
	while (ret == WALK_ON);
	if (!w->writable)
		end_readable(w);
	w->chain->in_nr = w->iovs_nr - w->chain->out_nr;
	w->chain->in_len = w->bytes - w->chain->out_len;
	return ret;
}

/* --- what a device calls --- */

/* The next head: 1 got it, 0 none, negative: broken. */
static int next_head(struct virtqueue *vq, uint16_t *head)
{
	/* Pairs with the driver's barrier between a ring entry and idx (2.7.13.3.1). */
	uint16_t idx = load16_acquire(&vq->avail->idx);
	uint16_t pending = idx - vq->next_avail;

	if (!pending)
		return 0;
	/* Never more than the queue holds, less what is out: anything else is a wild idx (HD-43). */
	if (pending > vq->size ||
	    atomic_load_explicit(&vq->in_flight, memory_order_relaxed) >= vq->size) {
		virtio_fault(vq->vd, "queue %u: more available than the queue holds", vq->index);
		return -EPROTO;
	}
	/* An index like any other: the walk checks it. */
	*head = load16(&vq->avail->ring[vq->next_avail & (vq->size - 1)]);
	return 1;
}

static void count_out(struct virtqueue *vq)
{
	atomic_fetch_add_explicit(&vq->in_flight, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&vq->vd->in_flight, 1, memory_order_relaxed);
	atomic_store_explicit(&vq->chains_nr,
			      atomic_load_explicit(&vq->chains_nr, memory_order_relaxed) + 1,
			      memory_order_relaxed);
}

int vq_pop(struct virtqueue *vq, struct vq_chain *chain)
{
	struct iovec pieces[GMEM_REGIONS_MAX]; /* not cleared for each chain */

	while (vq_usable(vq) && vq->budget) {
		uint16_t head;

		if (next_head(vq, &head) <= 0)
			return 0;
		vq->budget--;
		chain->head = head;
		chain->epoch = vq->epoch;
		struct walk w = {
			.vq = vq,
			.gm = vq->vd->gm,
			.chain = chain,
			.table = vq->desc,
			.pieces = pieces,
			.table_nr = vq->size,
		};
		if (walk(&w, head))
			return 0;
		vq->next_avail++;
		count_out(vq);
		if (!w.unusable)
			return 1;
		/* It cannot be served; the head is known, so the driver gets it back (HD-12, HD-75). */
		vq_push(vq, chain, 0);
	}
	return 0;
}

static inline void put_used(struct virtqueue *vq, uint16_t head, uint32_t len, uint8_t *at,
			    uint8_t status)
{
	struct vring_used_elem *e = &vq->used->ring[vq->next_used & (vq->size - 1)];

	if (at)
		gmem_copy(at, &status, 1);
	__atomic_store_n(&e->id, htole32(head), __ATOMIC_RELAXED);
	__atomic_store_n(&e->len, htole32(len), __ATOMIC_RELAXED);
	vq->next_used++;
}

int vq_set_bus_master(struct virtqueue *vq, bool on)
{
	if (!vq->running || on == vq->bus_master)
		return 0;
	if (vq->vhost) {
		vq->bus_master = on;
		return 0;
	}
	if (on) {
		vq->bus_master = true;
		for (uint32_t i = 0; i < vq->held_nr && is_served(vq); i++)
			put_used(vq, vq->held[i].head, vq->held[i].len, vq->held[i].at,
				 vq->held[i].status);
		drop_held(vq);
		return 0;
	}
	/* Room for every chain that is out: none comes back twice, and none is popped meanwhile. */
	vq->held = calloc(vq->size, sizeof(vq->held[0]));
	vq->bus_master = !vq->held;
	return vq->held ? 0 : -ENOMEM;
}

bool vq_is_live(const struct virtqueue *vq, const struct vq_chain *chain)
{
	return chain->epoch == vq->epoch && is_served(vq);
}

static inline void push(struct virtqueue *vq, const struct vq_chain *chain, uint32_t len,
			uint8_t *at, uint8_t status)
{
	if (!vq_is_live(vq, chain))
		;
	else if (vq->bus_master)
		put_used(vq, chain->head, len, at, status);
	else
		vq->held[vq->held_nr++] = (struct vq_held){
			.head = chain->head, .len = len, .at = at, .status = status
		};
	/* Release: whoever sees 0 (a reset) also sees that guest memory is left alone from here on. */
	atomic_fetch_sub_explicit(&vq->in_flight, 1, memory_order_release);
	virtio_drain_one(vq->vd);
}

void vq_push(struct virtqueue *vq, const struct vq_chain *chain, uint32_t len)
{
	push(vq, chain, len, NULL, 0);
}

void vq_push_status(struct virtqueue *vq, const struct vq_chain *chain, uint32_t len, uint8_t *at,
		    uint8_t status)
{
	push(vq, chain, len, at, status);
}

/* 2.7.10: `event` was passed by the step from `old` to `new`. All wrap at 2^16. */
static bool passed(uint16_t event, uint16_t old, uint16_t new)
{
	return (uint16_t)(new - event - 1) < (uint16_t)(new - old);
}

static bool wants_interrupt(const struct virtqueue *vq)
{
	if (vq->event_idx)
		return passed(load16(used_event(vq)), vq->signalled, vq->published);
	return !(load16(&vq->avail->flags) & AVAIL_F_NO_INTERRUPT);
}

void vq_publish(struct virtqueue *vq)
{
	if (!vq_usable(vq) || vq->published == vq->next_used)
		return;
	vq->published = vq->next_used;
	/* Entries before idx: the driver's read of idx pairs with this (2.7.8.2). */
	store16_release(&vq->used->idx, vq->published);
	/* idx before the driver's wish is read; pairs with the driver's, between wish and idx (2.7.7). */
	atomic_thread_fence(memory_order_seq_cst);
}

/* A driver that is not interested now looks at idx after it has changed its mind, so it is asked once. */
bool vq_is_awaited(struct virtqueue *vq)
{
	if (!vq_usable(vq) || vq->signalled == vq->published)
		return false;
	if (wants_interrupt(vq))
		return true;
	vq->signalled = vq->published;
	return false;
}

uint16_t vq_past_event(const struct virtqueue *vq)
{
	return load16(&vq->avail->idx) - load16(used_event(vq));
}

void vq_flush(struct virtqueue *vq)
{
	vq_publish(vq);
	if (!vq_is_awaited(vq))
		return;
	vq->signalled = vq->published;
	vq->vd->transport->irq_queue(vq->vd, vq->index);
}

void vq_kicks_off(struct virtqueue *vq)
{
	if (!vq_usable(vq) || vq->kicks_off)
		return;
	vq->kicks_off = true;
	/* With EVENT_IDX the event word simply stays behind; flags stay 0 (2.7.10.2). */
	if (!vq->event_idx)
		store16(&vq->used->flags, USED_F_NO_NOTIFY);
}

bool vq_kicks_on(struct virtqueue *vq)
{
	if (!vq_usable(vq))
		return false;
	vq->kicks_off = false;
	if (vq->event_idx)
		store16(avail_event(vq), vq->next_avail);
	else
		store16(&vq->used->flags, 0);
	/* The wish before the next look at avail.idx; pairs with the driver's between idx and wish. */
	atomic_thread_fence(memory_order_seq_cst);
	return load16(&vq->avail->idx) != vq->next_avail;
}
