/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <lkvm/loop.h>
#include <lkvm/util.h>
#include <lkvm/virtio/device.h>

#include "core.h"

/* --- the life cycle --- */

/* Zero stands for "cannot happen": nothing leads back to ABSENT but UNREALIZE, which is told apart. */
#define TO(state) ((state) + 1)

static const uint8_t transitions[VIRTIO_STATES_NR][VIRTIO_EVENTS_NR] = {
	[VIRTIO_ABSENT] = { [VIRTIO_EV_REALIZE] = TO(VIRTIO_REALIZED) },
	[VIRTIO_REALIZED] = { [VIRTIO_EV_UNREALIZE] = TO(VIRTIO_ABSENT),
			      [VIRTIO_EV_PLUG] = TO(VIRTIO_PLUGGED) },
	[VIRTIO_PLUGGED] = { [VIRTIO_EV_UNPLUG] = TO(VIRTIO_REALIZED),
			     [VIRTIO_EV_FEATURES_OK] = TO(VIRTIO_NEGOTIATED),
			     [VIRTIO_EV_LEGACY_START] = TO(VIRTIO_RUNNING),
			     [VIRTIO_EV_RESET] = TO(VIRTIO_PLUGGED) },
	[VIRTIO_NEGOTIATED] = { [VIRTIO_EV_DRIVER_OK] = TO(VIRTIO_RUNNING),
				[VIRTIO_EV_FAULT] = TO(VIRTIO_BROKEN),
				[VIRTIO_EV_RESET] = TO(VIRTIO_RESETTING) },
	[VIRTIO_RUNNING] = { [VIRTIO_EV_DOORBELLS_ON] = TO(VIRTIO_LIVE),
			     [VIRTIO_EV_FAULT] = TO(VIRTIO_BROKEN),
			     [VIRTIO_EV_RESET] = TO(VIRTIO_RESETTING) },
	[VIRTIO_LIVE] = { [VIRTIO_EV_DOORBELLS_OFF] = TO(VIRTIO_RUNNING),
			  [VIRTIO_EV_FAULT] = TO(VIRTIO_BROKEN),
			  [VIRTIO_EV_RESET] = TO(VIRTIO_RESETTING) },
	[VIRTIO_BROKEN] = { [VIRTIO_EV_RESET] = TO(VIRTIO_RESETTING) },
	[VIRTIO_RESETTING] = { [VIRTIO_EV_DRAINED] = TO(VIRTIO_PLUGGED) },
};

int virtio_state_next(enum virtio_state state, enum virtio_event ev)
{
	return (int)transitions[state][ev] - 1;
}

enum virtio_state vd_state(const struct virtio_device *vd)
{
	return atomic_load_explicit(&vd->state, memory_order_acquire);
}

/* False when the event cannot happen now. A fault on another thread may come between: then look again. */
bool vd_transition(struct virtio_device *vd, enum virtio_event ev)
{
	uint8_t old = atomic_load(&vd->state);
	int new;

	do {
		new = virtio_state_next(old, ev);
		if (new < 0)
			return false;
	} while (!atomic_compare_exchange_weak(&vd->state, &old, new));
	return true;
}

bool vd_is_running(const struct virtio_device *vd)
{
	enum virtio_state state = vd_state(vd);

	return state == VIRTIO_RUNNING || state == VIRTIO_LIVE;
}

void virtio_device_init(struct virtio_device *vd, const struct virtio_device_ops *ops,
			const struct gmem *gm, const struct log *log, void *priv)
{
	*vd = (struct virtio_device){
		.ops = ops,
		.gm = gm,
		.log = log,
		.priv = priv,
		.features = ops->features,
		.lacks = ops->lacks,
		.bus_master = true,
	};
	pthread_mutex_init(&vd->lock, NULL);
	vd_transition(vd, VIRTIO_EV_REALIZE);
}

void virtio_device_release(struct virtio_device *vd)
{
	for (uint16_t i = 0; i < vd->queues_nr; i++)
		loop_post_cancel(vd->vqs[i].loop, &vd->vqs[i].kick_post);
	vd_transition(vd, VIRTIO_EV_UNREALIZE);
	pthread_mutex_destroy(&vd->lock);
}

static void on_kick_post(struct loop_post *p)
{
	virtio_queue_serve(container_of(p, struct virtqueue, kick_post));
}

int virtio_add_queue(struct virtio_device *vd, uint16_t size, struct loop *loop)
{
	BUG_ON(!size || size > VQ_SIZE_MAX || (size & (size - 1)));
	if (vd->queues_nr == VIRTIO_QUEUES_MAX)
		return -ENOSPC;
	struct virtqueue *vq = &vd->vqs[vd->queues_nr];
	vq_init(vq, vd, vd->queues_nr, size, loop);
	vq->kick_post.fn = on_kick_post;
	vd->queues_nr++;
	return 0;
}

/* --- features --- */

/* Bits that exist only for legacy drivers, and so never in the modern words (X13 of the checklist). */
#define LEGACY_ONLY                                                                                \
	(VIRTIO_BIT(24) | VIRTIO_BIT(VIRTIO_F_ANY_LAYOUT) | VIRTIO_BIT(30) | VIRTIO_BIT(31))
#define CORE_FEATURES                                                                              \
	(VIRTIO_BIT(VIRTIO_F_INDIRECT_DESC) | VIRTIO_BIT(VIRTIO_F_EVENT_IDX) |                     \
	 VIRTIO_BIT(VIRTIO_F_VERSION_1) | VIRTIO_BIT(VIRTIO_F_RING_RESET))

/* Every feature of the set has one of those it needs (2.2.1). */
static bool closed(const struct virtio_device_ops *ops, uint64_t set)
{
	for (unsigned int i = 0; i < ops->deps_nr; i++) {
		const struct virtio_feature_dep *d = &ops->deps[i];

		if ((set & VIRTIO_BIT(d->bit)) && !(set & d->needs_any))
			return false;
	}
	return true;
}

static bool features_valid(const struct virtio_device *vd)
{
	return !vd->accepted_wild && !(vd->accepted & ~vd->offered) &&
	       (vd->accepted & VIRTIO_BIT(VIRTIO_F_VERSION_1)) && closed(vd->ops, vd->accepted);
}

bool virtio_has(const struct virtio_device *vd, unsigned int feature)
{
	return vd->accepted & VIRTIO_BIT(feature);
}

uint64_t virtio_all_features(const struct virtio_device *vd)
{
	return vd->features | (CORE_FEATURES & ~vd->lacks);
}

int virtio_plug(struct virtio_device *vd, const struct virtio_transport_ops *transport,
		struct err *err)
{
	uint64_t all = virtio_all_features(vd);

	if (!closed(vd->ops, all))
		return err_internal(err, "virtio %s offers a feature without what it needs",
				    vd->ops->name);
	for (uint16_t i = 0; i < vd->queues_nr; i++)
		if (vd->vqs[i].vhost && !transport->queue_fds)
			return err_internal(err, "virtio %s: no vhost on this transport",
					    vd->ops->name);
	vd->transport = transport;
	vd->offered = all & ~LEGACY_ONLY;
	/* Bits above 31 do not exist for a legacy driver (4.1.4.10). */
	vd->offered_legacy = (uint32_t)(all | VIRTIO_BIT(VIRTIO_F_ANY_LAYOUT));
	if (!vd_transition(vd, VIRTIO_EV_PLUG))
		return err_internal(err, "virtio %s is plugged twice", vd->ops->name);
	return 0;
}

void virtio_unplug(struct virtio_device *vd)
{
	virtio_reset(vd);
	if (vd_transition(vd, VIRTIO_EV_UNPLUG))
		vd->transport = NULL;
}

bool vd_claim(struct virtio_device *vd, enum virtio_iface iface)
{
	if (vd->iface == VIRTIO_IFACE_NONE)
		vd->iface = iface;
	return vd->iface == iface;
}

enum virtio_iface virtio_get_iface(struct virtio_device *vd)
{
	pthread_mutex_lock(&vd->lock);
	enum virtio_iface iface = vd->iface;
	pthread_mutex_unlock(&vd->lock);
	return iface;
}

void virtio_select_device_features(struct virtio_device *vd, uint32_t word)
{
	pthread_mutex_lock(&vd->lock);
	vd->device_feature_select = word;
	pthread_mutex_unlock(&vd->lock);
}

uint32_t virtio_get_device_feature_select(struct virtio_device *vd)
{
	pthread_mutex_lock(&vd->lock);
	uint32_t v = vd->device_feature_select;
	pthread_mutex_unlock(&vd->lock);
	return v;
}

/* Words beyond the second do not exist and read 0; the selector is never a shift count unchecked. */
static uint32_t feature_word(uint64_t set, uint32_t word)
{
	return word > 1 ? 0 : (uint32_t)(set >> (32 * word));
}

uint32_t virtio_get_device_features(struct virtio_device *vd)
{
	pthread_mutex_lock(&vd->lock);
	uint32_t v = feature_word(vd->offered, vd->device_feature_select);
	pthread_mutex_unlock(&vd->lock);
	return v;
}

void virtio_select_driver_features(struct virtio_device *vd, uint32_t word)
{
	pthread_mutex_lock(&vd->lock);
	vd->driver_feature_select = word;
	pthread_mutex_unlock(&vd->lock);
}

uint32_t virtio_get_driver_feature_select(struct virtio_device *vd)
{
	pthread_mutex_lock(&vd->lock);
	uint32_t v = vd->driver_feature_select;
	pthread_mutex_unlock(&vd->lock);
	return v;
}

uint32_t virtio_get_driver_features(struct virtio_device *vd)
{
	pthread_mutex_lock(&vd->lock);
	uint32_t v = feature_word(vd->accepted, vd->driver_feature_select);
	pthread_mutex_unlock(&vd->lock);
	return v;
}

/* What was written is kept, valid or not, so that FEATURES_OK can refuse it (PCI-28). */
void virtio_set_driver_features(struct virtio_device *vd, uint32_t bits)
{
	pthread_mutex_lock(&vd->lock);
	if (vd_state(vd) == VIRTIO_PLUGGED && vd_claim(vd, VIRTIO_IFACE_MODERN)) {
		uint32_t word = vd->driver_feature_select;

		uint64_t wild = word > 1 ? VIRTIO_BIT(MIN(word, 63)) : 0;

		/* Remembered, and forgotten when the driver thinks better of it (PCI-29, GEN-21). */
		if (wild)
			vd->accepted_wild = bits ? vd->accepted_wild | wild
						 : vd->accepted_wild & ~wild;
		else if (word == 1)
			vd->accepted = (vd->accepted & UINT32_MAX) | (uint64_t)bits << 32;
		else
			vd->accepted = (vd->accepted & ~(uint64_t)UINT32_MAX) | bits;
	}
	pthread_mutex_unlock(&vd->lock);
}

/* --- faults --- */

/* It is broken now. What the kernel serves is taken from it, by the owners. */
static void rest(struct virtio_device *vd)
{
	for (uint16_t i = 0; i < vd->queues_nr; i++)
		if (vd->vqs[i].vhost)
			loop_post(vd->vqs[i].loop, &vd->vqs[i].kick_post);
}

void vd_give_up(struct virtio_device *vd)
{
	if (vd_transition(vd, VIRTIO_EV_FAULT))
		rest(vd);
}

void virtio_fault(struct virtio_device *vd, const char *fmt, ...)
{
	char text[128];
	va_list ap;

	/* Once: a broken device stays quiet until it is reset (HD-45). */
	if (!vd_transition(vd, VIRTIO_EV_FAULT))
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	log_guest(vd->log, &vd->log_limit, "virtio %s: the driver broke it: %s", vd->ops->name,
		  text);
	rest(vd);
	/* 2.1.2: a driver that is running is told; one that is not will read the status. */
	if (atomic_fetch_or(&vd->status, VIRTIO_NEEDS_RESET) & VIRTIO_DRIVER_OK)
		vd->transport->irq_config(vd);
}

void virtio_config_changed(struct virtio_device *vd)
{
	atomic_store(&vd->config_changed, true);
	if (vd_is_running(vd))
		vd->transport->irq_config(vd);
}

/* --- queues --- */

static void tell_queue_state(struct virtqueue *vq, bool on)
{
	if (vq->vd->ops->queue_state)
		vq->vd->ops->queue_state(vq->vd, vq, on);
}

void virtio_queue_serve(struct virtqueue *vq)
{
	if (!vq->running)
		return;
	if (!vd_is_running(vq->vd)) {
		if (vq->vhost)
			tell_queue_state(vq, false);
		return;
	}
	vq->budget = vq->size;
	bool again = vq->vd->ops->kick(vq->vd, vq);
	if (vq->vd->ops->flush)
		vq->vd->ops->flush(vq->vd, vq);
	else
		vq_flush(vq);
	if (!again && vq->kicks_off)
		return;
	if (vq_kicks_on(vq) && again)
		loop_post(vq->loop, &vq->kick_post);
}

void virtio_queue_notify(struct virtio_device *vd, uint32_t n)
{
	if (n < vd->queues_nr && vd_is_running(vd))
		loop_post(vd->vqs[n].loop, &vd->vqs[n].kick_post);
}

struct start_call {
	struct virtqueue *vq;
	bool bus_master;
	int ret;
};

/* The kernel knows neither bus mastering nor broken devices: it does not get their queues. */
static bool is_for_kernel(const struct start_call *c)
{
	return c->bus_master && vd_is_running(c->vq->vd);
}

static void start_on_owner(void *arg)
{
	struct start_call *c = arg;

	c->ret = vq_start(c->vq);
	if (!c->ret && (!c->vq->vhost || is_for_kernel(c)))
		tell_queue_state(c->vq, true);
	if (!c->ret)
		c->ret = vq_set_bus_master(c->vq, c->bus_master);
}

static void bus_master_on_owner(void *arg)
{
	struct start_call *c = arg;

	c->ret = vq_set_bus_master(c->vq, c->bus_master);
	if (c->vq->vhost && c->vq->running)
		tell_queue_state(c->vq, is_for_kernel(c));
}

static void stop_on_owner(void *arg)
{
	vq_stop(arg);
	tell_queue_state(arg, false);
}

/* The device is running: the queue begins, and is looked at once, since a driver may have filled it. */
void vd_start_queue(struct virtio_device *vd, struct virtqueue *vq)
{
	struct start_call c = { .vq = vq, .bus_master = vd->bus_master };

	loop_call(vq->loop, start_on_owner, &c);
	if (c.ret == -ENOMEM)
		virtio_fault(vd, "queue %u: no memory to go on without bus mastering", vq->index);
	else if (c.ret)
		virtio_fault(vd, "queue %u: its rings are not in memory", vq->index);
	else
		loop_post(vq->loop, &vq->kick_post);
}

void virtio_set_bus_master(struct virtio_device *vd, bool on)
{
	pthread_mutex_lock(&vd->lock);
	if (vd->bus_master != on) {
		vd->bus_master = on;
		for (uint16_t i = 0; i < vd->queues_nr && vd_is_running(vd); i++) {
			struct virtqueue *vq = &vd->vqs[i];
			struct start_call c = { .vq = vq, .bus_master = on };

			loop_call(vq->loop, bus_master_on_owner, &c);
			if (c.ret)
				virtio_fault(vd,
					     "queue %u: no memory to go on without bus mastering",
					     i);
			/* What was held is published, and what was rung for is served. */
			loop_post(vq->loop, &vq->kick_post);
		}
	}
	pthread_mutex_unlock(&vd->lock);
}

static void arm_doorbells(struct virtio_device *vd)
{
	if (vd->doorbells || !vd->transport->doorbells_on || vd->transport->doorbells_on(vd))
		return;
	vd->doorbells = true;
	vd_transition(vd, VIRTIO_EV_DOORBELLS_ON);
}

static void disarm_doorbells(struct virtio_device *vd)
{
	if (!vd->doorbells)
		return;
	vd->transport->doorbells_off(vd);
	vd->doorbells = false;
	vd_transition(vd, VIRTIO_EV_DOORBELLS_OFF);
}

/* DRIVER_OK, or the legacy interface's first use. */
void vd_start(struct virtio_device *vd, enum virtio_event ev)
{
	/* First, so that what goes wrong below can break the device; no queue runs yet. */
	if (!vd_transition(vd, ev))
		return;
	/* Every ring as a whole, before any is touched (GEN-8, HD-53). */
	for (uint16_t i = 0; i < vd->queues_nr; i++) {
		if (!vd->vqs[i].enabled || vq_check(&vd->vqs[i]) == 0)
			continue;
		virtio_fault(vd, "queue %u: its rings are not in memory", i);
		return;
	}
	if (vd->ops->start && vd->ops->start(vd, vd->accepted)) {
		virtio_fault(vd, "it cannot start");
		return;
	}
	for (uint16_t i = 0; i < vd->queues_nr; i++) {
		if (vd->vqs[i].enabled)
			vd_start_queue(vd, &vd->vqs[i]);
	}
	arm_doorbells(vd);
}

/* --- status and reset --- */

static void reset_registers(struct virtio_device *vd)
{
	vd->accepted = vd->accepted_wild = 0;
	vd->iface = VIRTIO_IFACE_NONE;
	vd->device_feature_select = vd->driver_feature_select = 0;
	vd->queue_select = 0;
	for (uint16_t i = 0; i < vd->queues_nr; i++)
		vq_reset_registers(&vd->vqs[i]);
	if (vd->ops->reset)
		vd->ops->reset(vd);
	vd->transport->reset(vd);
}

/*
 * The last one out ends the reset: the chain that came back, or the reset itself. Whether there is one to end is of
 * the same moment as the count. The status goes first, so that nothing of the driver's next life comes between.
 */
void virtio_drain_one(struct virtio_device *vd)
{
	if (atomic_fetch_sub(&vd->in_flight, 1) != VIRTIO_RESET_AT_WORK + 1)
		return;
	atomic_store(&vd->in_flight, 0);
	atomic_store(&vd->status, 0);
	vd_transition(vd, VIRTIO_EV_DRAINED);
}

static void reset_locked(struct virtio_device *vd)
{
	enum virtio_state state = vd_state(vd);

	if (state == VIRTIO_RESETTING || state < VIRTIO_PLUGGED)
		return;
	if (state == VIRTIO_PLUGGED) {
		reset_registers(vd);
		atomic_store(&vd->status, 0);
		return;
	}
	/* Counted like a request, so that it cannot end before it is done here. */
	atomic_fetch_add(&vd->in_flight, VIRTIO_RESET_AT_WORK + 1);
	vd_transition(vd, VIRTIO_EV_RESET);
	disarm_doorbells(vd);
	for (uint16_t i = 0; i < vd->queues_nr; i++) {
		/* Also one whose own reset still waits for requests: now they may be cancelled with the rest. */
		if (vd->vqs[i].enabled || vq_is_resetting(&vd->vqs[i]))
			loop_call(vd->vqs[i].loop, stop_on_owner, &vd->vqs[i]);
	}
	if (vd->ops->stop)
		vd->ops->stop(vd);
	reset_registers(vd);
	virtio_drain_one(vd);
}

void virtio_reset(struct virtio_device *vd)
{
	pthread_mutex_lock(&vd->lock);
	reset_locked(vd);
	pthread_mutex_unlock(&vd->lock);
}

/*
 * A reset is over when the state says so, and not before it reads 0, whatever the status was: a legacy driver may run
 * a device without one. Acquires, as the end of the reset released: a driver that reads 0 finds its memory left alone.
 */
uint8_t virtio_get_status(struct virtio_device *vd)
{
	uint8_t status = atomic_load(&vd->status);

	return status || vd_state(vd) != VIRTIO_RESETTING ? status : VIRTIO_NEEDS_RESET;
}

static void add_status(struct virtio_device *vd, uint8_t bits)
{
	atomic_fetch_or(&vd->status, bits);
}

static void give_up(struct virtio_device *vd)
{
	add_status(vd, VIRTIO_FAILED);
	/* The driver's own verdict: queues rest, without NEEDS_RESET (GEN-14). */
	vd_give_up(vd);
}

static void set_status_locked(struct virtio_device *vd, uint8_t value)
{
	uint8_t old = virtio_get_status(vd) & VIRTIO_DRIVER_BITS;

	if (vd_state(vd) == VIRTIO_RESETTING || !vd_claim(vd, VIRTIO_IFACE_MODERN))
		return;
	/* Also once it is set: nothing but a reset follows it (GEN-14). */
	if (value & VIRTIO_FAILED) {
		give_up(vd);
		return;
	}
	/* A bit is never taken back but by a reset (GEN-11). */
	if (old & ~value)
		return;
	add_status(vd, value & (VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER));
	uint8_t both = VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER;
	if ((value & ~old & VIRTIO_FEATURES_OK) && (value & both) == both && features_valid(vd) &&
	    vd_transition(vd, VIRTIO_EV_FEATURES_OK))
		add_status(vd, VIRTIO_FEATURES_OK);
	if ((value & ~old & VIRTIO_DRIVER_OK) && vd_state(vd) == VIRTIO_NEGOTIATED) {
		add_status(vd, VIRTIO_DRIVER_OK);
		vd_start(vd, VIRTIO_EV_DRIVER_OK);
	}
}

void virtio_set_status(struct virtio_device *vd, uint8_t status)
{
	pthread_mutex_lock(&vd->lock);
	if (status == 0)
		reset_locked(vd);
	else
		set_status_locked(vd, status);
	pthread_mutex_unlock(&vd->lock);
}

void vd_reset_queue(struct virtqueue *vq)
{
	loop_call(vq->loop, stop_on_owner, vq);
	vq_reset_registers(vq);
	vq->resetting = true;
}
