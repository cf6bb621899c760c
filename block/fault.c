/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>

#include <lkvm/util.h>

#include "fault-plan.h"
#include "fault.h"
#include "io.h"
#include "iov.h"

struct fault {
	struct blk_backend be;
	struct blk_backend *below;
	struct blk_info info;
	struct fault_plan plan;
};

/* A request on its way through. */
struct passage {
	struct blk_request r; /* to the backend below */
	struct blk_request *whole;
	struct fault_verdict v;
	struct blk_iov_cut cut; /* of what is short or torn */
	struct loop_timer timer;
	struct passage *next; /* while it is free, or delayed */
};

struct fault_channel {
	struct blk_channel ch;
	struct fault *fault;
	struct blk_channel *below;
	struct blk_list waiting; /* for a free passage */
	struct passage *free, *delayed;
	struct passage passages[];
};

static struct fault_channel *channel_of(const struct passage *p)
{
	return container_of(p->whole->channel, struct fault_channel, ch);
}

static void passage_start(struct fault_channel *fc, struct blk_request *r);

static void passage_end(struct passage *p, int ret)
{
	struct fault_channel *fc = channel_of(p);
	struct blk_request *w = p->whole, *next;

	p->next = fc->free;
	fc->free = p;
	w->done(w, ret);
	next = fc->free ? blk_list_take(&fc->waiting) : NULL;
	if (next) {
		passage_start(fc, next);
		fc->below->be->ops->kick(fc->below);
	}
}

static void passage_done(struct blk_request *r, int ret)
{
	struct passage *p = container_of(r, struct passage, r);

	if (ret == 0 && p->v.end == FAULT_SHORT)
		ret = p->v.error;
	if (ret == 0 && p->v.end == FAULT_TORN && r->op == BLK_READ)
		blk_iov_zero(blk_iov_uncut(&p->cut));
	passage_end(p, ret);
}

/* Hands on what the verdict leaves of it. */
static void passage_go(struct passage *p)
{
	struct fault_channel *fc = channel_of(p);
	struct blk_request *w = p->whole;

	p->r = (struct blk_request){ .op = w->op,
				     .fua = w->fua,
				     .unmap = w->unmap,
				     .off = w->off,
				     .len = w->len,
				     .iov = w->iov,
				     .iov_nr = w->iov_nr,
				     .done = passage_done };
	if (p->v.end == FAULT_ERROR) {
		passage_end(p, p->v.error);
		return;
	}
	if (p->v.end == FAULT_SHORT || p->v.end == FAULT_TORN) {
		struct blk_iov v = { w->iov, w->iov_nr };

		p->r.len = align_down(w->len / 2, fc->fault->info.block_size);
		v = blk_iov_cut(v, p->r.len, &p->cut);
		p->r.iov = v.iov;
		p->r.iov_nr = v.nr;
	}
	fc->below->be->ops->submit(fc->below, &p->r);
}

static void on_timer(struct loop_timer *t)
{
	struct passage *p = container_of(t, struct passage, timer), **at;
	struct fault_channel *fc = channel_of(p);

	for (at = &fc->delayed; *at != p; at = &(*at)->next)
		;
	*at = p->next;
	passage_go(p);
	fc->below->be->ops->kick(fc->below);
}

static void passage_start(struct fault_channel *fc, struct blk_request *r)
{
	struct passage *p = fc->free;

	if (!p) {
		blk_list_add(&fc->waiting, r);
		return;
	}
	fc->free = p->next;
	p->whole = r;
	p->v = fault_plan_judge(&fc->fault->plan, r);
	if (p->v.delay_ns == 0) {
		passage_go(p);
		return;
	}
	p->next = fc->delayed;
	fc->delayed = p;
	p->timer.fn = on_timer;
	loop_timer_set(fc->ch.loop, &p->timer, util_now_ns() + p->v.delay_ns);
}

/* The table. */

static void fault_submit(struct blk_channel *ch, struct blk_request *r)
{
	r->channel = ch;
	passage_start(container_of(ch, struct fault_channel, ch), r);
}

static void fault_kick(struct blk_channel *ch)
{
	struct fault_channel *fc = container_of(ch, struct fault_channel, ch);

	fc->below->be->ops->kick(fc->below);
}

static void fault_cancel(struct blk_channel *ch)
{
	struct fault_channel *fc = container_of(ch, struct fault_channel, ch);
	struct passage *p, *next = fc->delayed;
	struct blk_list waiting = fc->waiting;
	struct blk_request *r;

	fc->waiting.first = NULL;
	fc->delayed = NULL;
	fc->below->be->ops->cancel(fc->below);
	while ((p = next)) {
		next = p->next;
		loop_timer_cancel(ch->loop, &p->timer);
		passage_end(p, -ECANCELED);
	}
	while ((r = blk_list_take(&waiting)))
		r->done(r, -ECANCELED);
}

static struct blk_channel *fault_channel_open(struct blk_backend *be, struct loop *loop,
					      unsigned int depth, struct err *err)
{
	struct fault *fault = container_of(be, struct fault, be);
	struct fault_channel *fc;

	depth = MAX(1u, depth);
	fc = calloc(1, sizeof(*fc) + depth * sizeof(fc->passages[0]));
	if (!fc) {
		err_host(err, ENOMEM, "no memory for a fault plan");
		return NULL;
	}
	fc->ch.be = be;
	fc->ch.loop = loop;
	fc->fault = fault;
	for (unsigned int i = 0; i < depth; i++) {
		fc->passages[i].next = fc->free;
		fc->free = &fc->passages[i];
	}
	fc->below = fault->below->ops->channel_open(fault->below, loop, depth, err);
	if (fc->below)
		return &fc->ch;
	free(fc);
	return NULL;
}

static void fault_channel_close(struct blk_channel *ch)
{
	struct fault_channel *fc = container_of(ch, struct fault_channel, ch);

	fc->below->be->ops->channel_close(fc->below);
	free(fc);
}

static void fault_info(const struct blk_backend *be, struct blk_info *info)
{
	*info = container_of(be, struct fault, be)->info;
}

static void fault_close(struct blk_backend *be)
{
	struct fault *fault = container_of(be, struct fault, be);

	fault->below->ops->close(fault->below);
	free(fault);
}

static const struct blk_backend_ops fault_ops = {
	.name = "fault",
	.info = fault_info,
	.channel_open = fault_channel_open,
	.submit = fault_submit,
	.kick = fault_kick,
	.cancel = fault_cancel,
	.channel_close = fault_channel_close,
	.close = fault_close,
};

int blk_fault_new(struct blk_backend **out, struct blk_backend *below, const char *plan,
		  struct err *err)
{
	struct fault *fault = calloc(1, sizeof(*fault));
	int ret;

	if (!fault) {
		below->ops->close(below);
		return err_host(err, ENOMEM, "no memory for a fault plan");
	}
	fault->be.ops = &fault_ops;
	fault->below = below;
	below->ops->info(below, &fault->info);
	ret = fault_plan_parse(&fault->plan, plan, err);
	if (ret < 0)
		fault_close(&fault->be);
	else
		*out = &fault->be;
	return ret;
}
