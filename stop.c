/* SPDX-License-Identifier: GPL-2.0 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <lkvm/loop.h>
#include <lkvm/stop.h>
#include <lkvm/util.h>

void stop_init(struct stop *stop, struct loop *loop)
{
	memset(stop, 0, sizeof(*stop));
	pthread_mutex_init(&stop->lock, NULL);
	stop->loop = loop;
}

void stop_release(struct stop *stop)
{
	pthread_mutex_destroy(&stop->lock);
}

void stop_clear(struct stop *stop)
{
	pthread_mutex_lock(&stop->lock);
	stop->reason = STOP_NONE;
	stop->value = 0;
	stop->detail[0] = 0;
	atomic_store(&stop->ended, false);
	pthread_mutex_unlock(&stop->lock);
}

/* enum stop_reason ascends by rank. A second request of the same reason is its echo: the first stays. */
static void stop_set_locked(struct stop *stop, enum stop_reason reason, uint32_t value,
			    const char *fmt, va_list ap)
{
	bool over = stop->reason == STOP_UNTIL || stop->reason == STOP_FAIL;

	if (reason <= stop->reason || (over && reason < STOP_USER))
		return;
	stop->reason = reason;
	stop->value = value;
	vsnprintf(stop->detail, sizeof(stop->detail), fmt, ap);
	util_clean_text(stop->detail);
}

void stop_request(struct stop *stop, enum stop_reason reason, uint32_t value, const char *fmt, ...)
{
	bool first;
	va_list ap;

	pthread_mutex_lock(&stop->lock);
	va_start(ap, fmt);
	stop_set_locked(stop, reason, value, fmt, ap);
	va_end(ap);
	first = !atomic_exchange(&stop->ended, true);
	pthread_mutex_unlock(&stop->lock);

	/* Once: the loop serves the teardown too, and a late request must not cut that short. */
	if (first && stop->loop)
		loop_stop(stop->loop);
}

void stop_note(struct stop *stop, enum stop_reason reason, const char *fmt, ...)
{
	va_list ap;

	pthread_mutex_lock(&stop->lock);
	va_start(ap, fmt);
	stop_set_locked(stop, reason, 0, fmt, ap);
	va_end(ap);
	pthread_mutex_unlock(&stop->lock);
}

void stop_get(struct stop *stop, struct stop_info *info)
{
	pthread_mutex_lock(&stop->lock);
	info->reason = stop->reason;
	info->value = stop->value;
	memcpy(info->detail, stop->detail, sizeof(info->detail));
	pthread_mutex_unlock(&stop->lock);
}
