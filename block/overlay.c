/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include <lkvm/util.h>

#include "io.h"
#include "iov.h"
#include "overlay.h"

#define WORD_BITS 64u

struct overlay {
	struct blk_backend be;
	struct blk_backend *lower, *upper;
	struct blk_info info;
	/* A bit a block, set: it is in the upper file. Address space; memory as bits are set. */
	_Atomic uint64_t *map;
	size_t map_len; /* bytes */
};

/* A request's part that one of the two files serves now. */
struct part {
	struct blk_request r; /* to the file */
	struct blk_request *whole;
	struct blk_iov_cut cut;
	struct part *next; /* while it is free */
};

struct overlay_channel {
	struct blk_channel ch;
	struct overlay *ov;
	struct blk_channel *lower, *upper;
	struct blk_list waiting; /* for a free part */
	struct part *free;
	struct part parts[];
};

/* The map. */

static bool map_get(const struct overlay *ov, uint64_t block)
{
	uint64_t word = atomic_load_explicit(&ov->map[block / WORD_BITS], memory_order_acquire);

	return word >> (block % WORD_BITS) & 1;
}

static void map_set(struct overlay *ov, uint64_t block, uint64_t nr)
{
	while (nr > 0) {
		unsigned int at = block % WORD_BITS;
		uint64_t n = MIN(nr, (uint64_t)(WORD_BITS - at));
		uint64_t mask = (n == WORD_BITS ? ~0ull : (1ull << n) - 1) << at;
		_Atomic uint64_t *word = &ov->map[block / WORD_BITS];

		/* A block is written far more often than it moves: then nothing is shared. */
		if ((atomic_load_explicit(word, memory_order_relaxed) & mask) != mask)
			atomic_fetch_or_explicit(word, mask, memory_order_release);
		block += n;
		nr -= n;
	}
}

/* How many of `nr` blocks from `block` on are where the first is. */
static uint64_t map_run(const struct overlay *ov, uint64_t block, uint64_t nr)
{
	bool upper = map_get(ov, block);
	uint64_t n = 1;

	while (n < nr) {
		uint64_t word = atomic_load_explicit(&ov->map[(block + n) / WORD_BITS],
						     memory_order_acquire);
		unsigned int at = (block + n) % WORD_BITS;
		uint64_t differ = (upper ? ~word : word) >> at;

		if (differ)
			return MIN(nr, n + (uint64_t)__builtin_ctzll(differ));
		n += WORD_BITS - at;
	}
	return nr;
}

/* Parts. */

static void part_done(struct blk_request *r, int ret);

/* Sends the next part of a request to its file. */
static void part_start(struct overlay_channel *oc, struct part *p)
{
	struct blk_request *w = p->whole;
	uint32_t bs = oc->ov->info.block_size;
	uint64_t off = w->off + w->progress, len = w->len - w->progress;
	struct blk_iov v = { w->iov, w->iov_nr };
	struct blk_channel *to = oc->upper;

	if (w->op == BLK_READ) {
		to = map_get(oc->ov, off / bs) ? oc->upper : oc->lower;
		len = map_run(oc->ov, off / bs, len / bs) * bs;
	}
	p->r = (struct blk_request){
		.op = w->op, .unmap = w->unmap, .off = off, .len = len, .done = part_done
	};
	if (w->op == BLK_DISCARD) {
		/* What is discarded must not show the image again. */
		p->r.op = BLK_WRITE_ZEROES;
		p->r.unmap = true;
	}
	if (w->op == BLK_READ || w->op == BLK_WRITE) {
		v = blk_iov_cut(v, len, &p->cut);
		p->r.iov = v.iov;
		p->r.iov_nr = v.nr;
	}
	to->be->ops->submit(to, &p->r);
}

static void overlay_start(struct overlay_channel *oc, struct blk_request *r)
{
	struct part *p = oc->free;

	if (!p) {
		blk_list_add(&oc->waiting, r);
		return;
	}
	oc->free = p->next;
	p->whole = r;
	part_start(oc, p);
}

static void kick_both(struct overlay_channel *oc)
{
	oc->lower->be->ops->kick(oc->lower);
	oc->upper->be->ops->kick(oc->upper);
}

static void part_end(struct overlay_channel *oc, struct part *p, int ret)
{
	struct blk_request *w = p->whole, *next;

	p->next = oc->free;
	oc->free = p;
	w->done(w, ret);
	next = oc->free ? blk_list_take(&oc->waiting) : NULL;
	if (next) {
		overlay_start(oc, next);
		kick_both(oc);
	}
}

static void part_done(struct blk_request *r, int ret)
{
	struct part *p = container_of(r, struct part, r);
	struct blk_request *w = p->whole;
	struct overlay_channel *oc = container_of(w->channel, struct overlay_channel, ch);
	uint32_t bs = oc->ov->info.block_size;

	if (ret == 0 && w->op != BLK_READ)
		map_set(oc->ov, r->off / bs, r->len / bs);
	w->progress += r->len;
	if (ret < 0 || w->progress == w->len) {
		part_end(oc, p, ret);
		return;
	}
	w->iov = blk_iov_uncut(&p->cut).iov;
	w->iov_nr = p->cut.rest.nr;
	part_start(oc, p);
	kick_both(oc);
}

/* The table. */

static void overlay_submit(struct blk_channel *ch, struct blk_request *r)
{
	r->channel = ch;
	r->progress = 0;
	if (r->op == BLK_FLUSH || r->len == 0)
		r->done(r, 0);
	else
		overlay_start(container_of(ch, struct overlay_channel, ch), r);
}

static void overlay_kick(struct blk_channel *ch)
{
	kick_both(container_of(ch, struct overlay_channel, ch));
}

static void overlay_cancel(struct blk_channel *ch)
{
	struct overlay_channel *oc = container_of(ch, struct overlay_channel, ch);
	struct blk_list waiting = oc->waiting;
	struct blk_request *r;

	oc->waiting.first = NULL;
	oc->lower->be->ops->cancel(oc->lower);
	oc->upper->be->ops->cancel(oc->upper);
	while ((r = blk_list_take(&waiting)))
		r->done(r, -ECANCELED);
}

static void overlay_channel_close(struct blk_channel *ch)
{
	struct overlay_channel *oc = container_of(ch, struct overlay_channel, ch);

	if (oc->lower)
		oc->lower->be->ops->channel_close(oc->lower);
	if (oc->upper)
		oc->upper->be->ops->channel_close(oc->upper);
	free(oc);
}

static struct blk_channel *overlay_channel_open(struct blk_backend *be, struct loop *loop,
						unsigned int depth, struct err *err)
{
	struct overlay *ov = container_of(be, struct overlay, be);
	struct overlay_channel *oc;

	depth = MAX(1u, depth);
	oc = calloc(1, sizeof(*oc) + depth * sizeof(oc->parts[0]));
	if (!oc) {
		err_host(err, ENOMEM, "no memory for an overlay");
		return NULL;
	}
	oc->ch.be = be;
	oc->ch.loop = loop;
	oc->ov = ov;
	for (unsigned int i = 0; i < depth; i++) {
		oc->parts[i].next = oc->free;
		oc->free = &oc->parts[i];
	}
	oc->lower = ov->lower->ops->channel_open(ov->lower, loop, depth, err);
	if (oc->lower)
		oc->upper = ov->upper->ops->channel_open(ov->upper, loop, depth, err);
	if (oc->upper)
		return &oc->ch;
	overlay_channel_close(&oc->ch);
	return NULL;
}

static void overlay_info(const struct blk_backend *be, struct blk_info *info)
{
	*info = container_of(be, struct overlay, be)->info;
}

static void overlay_close(struct blk_backend *be)
{
	struct overlay *ov = container_of(be, struct overlay, be);

	ov->lower->ops->close(ov->lower);
	ov->upper->ops->close(ov->upper);
	if (ov->map)
		munmap(ov->map, ov->map_len);
	free(ov);
}

static const struct blk_backend_ops overlay_ops = {
	.name = "overlay",
	.info = overlay_info,
	.channel_open = overlay_channel_open,
	.submit = overlay_submit,
	.kick = overlay_kick,
	.cancel = overlay_cancel,
	.channel_close = overlay_channel_close,
	.close = overlay_close,
};

static int map_init(struct overlay *ov, struct err *err)
{
	uint64_t blocks = ov->info.size / ov->info.block_size;
	void *p;

	ov->map_len = (blocks + WORD_BITS - 1) / WORD_BITS * sizeof(*ov->map);
	p = mmap(NULL, ov->map_len, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return err_host(err, errno, "no memory for an overlay's map of %zu bytes",
				ov->map_len);
	ov->map = p;
	return 0;
}

int blk_overlay_new(struct blk_backend **out, struct blk_backend *lower, struct blk_backend *upper,
		    struct err *err)
{
	struct overlay *ov = calloc(1, sizeof(*ov));
	struct blk_info below;
	int ret;

	if (!ov) {
		lower->ops->close(lower);
		upper->ops->close(upper);
		return err_host(err, ENOMEM, "no memory for an overlay");
	}
	ov->be.ops = &overlay_ops;
	ov->lower = lower;
	ov->upper = upper;
	lower->ops->info(lower, &below);
	upper->ops->info(upper, &ov->info);
	ov->info.size = below.size;
	ov->info.block_size = below.block_size;
	ov->info.one_channel = below.one_channel;
	ret = map_init(ov, err);
	if (ret < 0)
		overlay_close(&ov->be);
	else
		*out = &ov->be;
	return ret;
}
