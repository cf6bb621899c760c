/* SPDX-License-Identifier: GPL-2.0 */
#include <lkvm/util.h>
#include <lkvm/virtio/late.h>

static void give(struct vq_late *l)
{
	loop_timer_cancel(l->vq->loop, &l->timer);
	vq_flush(l->vq);
}

static void hold(struct vq_late *l)
{
	if (l->timer.armed)
		return;
	l->partner_signalled = l->partner->signalled;
	loop_timer_set(l->vq->loop, &l->timer, util_now_ns() + VQ_LATE_NS);
}

/* The one that is held back is no longer waited for. */
static void spare(struct vq_late *l)
{
	loop_timer_cancel(l->vq->loop, &l->timer);
	l->prompt_next = VQ_LATE_PROMPT_MIN;
}

static void on_timer(struct loop_timer *t)
{
	struct vq_late *l = container_of(t, struct vq_late, timer);

	if (!vq_is_awaited(l->vq)) {
		spare(l);
		return;
	}
	/* A driver that had another interrupt only was slow. */
	if (l->partner->signalled == l->partner_signalled) {
		l->prompt = l->prompt_next;
		l->prompt_next = MIN(2 * l->prompt_next, (unsigned int)VQ_LATE_PROMPT_MAX);
	}
	give(l);
}

/* Outstanding are four times as many as there are past the event of a driver that asks for three quarters. */
static bool is_pressed(const struct virtqueue *vq)
{
	return !vq->event_idx || vq_past_event(vq) >= vq->size / 16;
}

void vq_late_flush(struct vq_late *l)
{
	if (l->timer.armed && !vq_is_awaited(l->vq))
		spare(l);
	vq_publish(l->vq);
	if (!vq_is_awaited(l->vq))
		return;
	if (!l->prompt && !is_pressed(l->vq)) {
		hold(l);
		return;
	}
	if (l->prompt)
		l->prompt--;
	give(l);
}

void vq_late_stop(struct vq_late *l)
{
	loop_timer_cancel(l->vq->loop, &l->timer);
	l->prompt = 0;
	l->prompt_next = VQ_LATE_PROMPT_MIN;
}

void vq_late_init(struct vq_late *l, struct virtqueue *vq, const struct virtqueue *partner)
{
	*l = (struct vq_late){ .vq = vq,
			       .partner = partner,
			       .timer.fn = on_timer,
			       .prompt_next = VQ_LATE_PROMPT_MIN };
}
