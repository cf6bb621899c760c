/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <lkvm/util.h>
#include <lkvm/watch.h>

#define TICK_NS NSEC_PER_SEC
/* A short --idle-timeout is looked at more often. */
#define TICKS_OF_IDLE 4
#define STUCK_LOOKS   2
/* A panicked guest that neither resets nor prints for this long is over. */
#define PANIC_QUIET_NS (5 * NSEC_PER_SEC)

static double seconds(uint64_t ns)
{
	return (double)ns / NSEC_PER_SEC;
}

static void on_signal(struct loop_fd *lf, uint32_t events)
{
	struct watch *w = container_of(lf, struct watch, signal_fd);
	struct signalfd_siginfo si;

	(void)events;
	if (read(lf->fd, &si, sizeof(si)) == sizeof(si))
		stop_request(w->stop, STOP_SIGNAL, si.ssi_signo, "%s", "");
}

static void on_parent(struct loop_fd *lf, uint32_t events)
{
	struct watch *w = container_of(lf, struct watch, parent_fd);

	(void)events;
	loop_fd_del(w->loop, lf); /* it stays readable */
	stop_request(w->stop, STOP_USER, 0, "the parent process has ended (--die-with-parent)");
}

static void on_timeout(struct loop_timer *t)
{
	struct watch *w = container_of(t, struct watch, timeout);

	stop_request(w->stop, STOP_TIMEOUT, 0, "--timeout %.3g s expired",
		     seconds(w->cfg->timeout_ns));
}

static void on_boot_timeout(struct loop_timer *t)
{
	struct watch *w = container_of(t, struct watch, boot);

	stop_request(w->stop, STOP_TIMEOUT, 0, "--boot-timeout %.3g s expired before init",
		     seconds(w->cfg->boot_timeout_ns));
}

static void look_for_life(struct watch *w, uint64_t since_ns)
{
	uint64_t progress = w->ops->progress(w->arg);

	w->idle_ns = progress == w->progress ? w->idle_ns + since_ns : 0;
	w->progress = progress;
	if (w->cfg->idle_timeout_ns && w->idle_ns >= w->cfg->idle_timeout_ns)
		stop_request(w->stop, STOP_HANG, 0,
			     "--idle-timeout: nothing printed and no device used for %.3g s",
			     seconds(w->cfg->idle_timeout_ns));
}

static void on_tick(struct loop_timer *t)
{
	struct watch *w = container_of(t, struct watch, tick);
	uint64_t now = util_now_ns();

	/* A look that comes late says that this process was stopped, and the guest with it. */
	look_for_life(w, MIN(now - w->looked_ns, 2 * w->tick_ns));
	w->looked_ns = now;
	w->stuck_nr = w->ops->stuck(w->arg) ? w->stuck_nr + 1 : 0;
	if (w->stuck_nr >= STUCK_LOOKS)
		stop_request(w->stop, STOP_HANG, 0, "all CPUs are halted with interrupts off");
	loop_timer_set(w->loop, t, now + w->tick_ns);
}

static void on_panic_timer(struct loop_timer *t)
{
	struct watch *w = container_of(t, struct watch, panic);
	uint64_t bytes = w->ops->console(w->arg);

	/* Its last words, or those of a crash kernel: as long as it talks, it is not over. */
	if (bytes == w->panic_bytes)
		stop_request(w->stop, STOP_PANIC, 0, "%s", "");
	w->panic_bytes = bytes;
	loop_timer_set(w->loop, t, util_now_ns() + PANIC_QUIET_NS);
}

static void on_panic_post(struct loop_post *p)
{
	struct watch *w = container_of(p, struct watch, panic_post);

	w->panic_bytes = w->ops->console(w->arg);
	loop_timer_set(w->loop, &w->panic, util_now_ns() + PANIC_QUIET_NS);
}

static void on_init_post(struct loop_post *p)
{
	struct watch *w = container_of(p, struct watch, init_post);

	loop_timer_cancel(w->loop, &w->boot);
}

static int watch_signals(struct watch *w, struct err *err)
{
	if (!w->cfg->signals)
		return 0;
	w->signal_fd.fd = signalfd(-1, w->cfg->signals, SFD_CLOEXEC | SFD_NONBLOCK);
	if (w->signal_fd.fd < 0)
		return err_host(err, errno, "signalfd");
	int ret = loop_fd_add(w->loop, &w->signal_fd);
	return ret ? err_host(err, -ret, "cannot watch signals") : 0;
}

static int watch_parent(struct watch *w, struct err *err)
{
	if (!w->cfg->die_with_parent)
		return 0;
	w->parent_fd.fd = w->cfg->parent_fd;
	int ret = loop_fd_add(w->loop, &w->parent_fd);
	return ret ? err_host(err, -ret, "--die-with-parent: cannot watch the parent process") : 0;
}

int watch_init(struct watch *w, const struct machine_config *cfg, struct loop *loop,
	       struct stop *stop, const struct watch_ops *ops, void *arg, struct err *err)
{
	*w = (struct watch){
		.cfg = cfg,
		.loop = loop,
		.stop = stop,
		.ops = ops,
		.arg = arg,
		.signal_fd = { .fd = -1, .fn = on_signal, .events = EPOLLIN },
		.parent_fd = { .fd = -1, .fn = on_parent, .events = EPOLLIN },
		.timeout.fn = on_timeout,
		.boot.fn = on_boot_timeout,
		.tick.fn = on_tick,
		.panic.fn = on_panic_timer,
		.init_post.fn = on_init_post,
		.panic_post.fn = on_panic_post,
		.tick_ns = TICK_NS,
	};
	if (cfg->idle_timeout_ns)
		w->tick_ns = MIN(TICK_NS, MAX(cfg->idle_timeout_ns / TICKS_OF_IDLE, 1000000ULL));
	int ret = watch_signals(w, err);
	return ret ? ret : watch_parent(w, err);
}

void watch_release(struct watch *w)
{
	if (!w->loop)
		return;
	loop_timer_cancel(w->loop, &w->timeout);
	loop_post_cancel(w->loop, &w->init_post);
	loop_post_cancel(w->loop, &w->panic_post);
	if (w->signal_fd.added)
		loop_fd_del(w->loop, &w->signal_fd);
	if (w->parent_fd.added)
		loop_fd_del(w->loop, &w->parent_fd);
	if (w->signal_fd.fd >= 0)
		close(w->signal_fd.fd);
}

void watch_start(struct watch *w)
{
	if (w->cfg->timeout_ns)
		loop_timer_set(w->loop, &w->timeout, util_now_ns() + w->cfg->timeout_ns);
}

void watch_vm_on(struct watch *w)
{
	uint64_t now = util_now_ns();

	w->looked_ns = now;
	w->progress = w->ops->progress(w->arg);
	w->idle_ns = 0;
	w->stuck_nr = 0;
	loop_timer_set(w->loop, &w->tick, now + w->tick_ns);
	if (w->cfg->boot_timeout_ns)
		loop_timer_set(w->loop, &w->boot, now + w->cfg->boot_timeout_ns);
}

void watch_vm_off(struct watch *w)
{
	loop_timer_cancel(w->loop, &w->tick);
	loop_timer_cancel(w->loop, &w->boot);
	loop_timer_cancel(w->loop, &w->panic);
	loop_post_cancel(w->loop, &w->init_post);
	loop_post_cancel(w->loop, &w->panic_post);
}

void watch_init_seen(struct watch *w)
{
	loop_post(w->loop, &w->init_post);
}

void watch_panicked(struct watch *w)
{
	loop_post(w->loop, &w->panic_post);
}
