/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <lkvm/loop.h>
#include <lkvm/util.h>

/* Events taken from the kernel at once. */
#define LOOP_BATCH 32

struct loop {
	int epoll_fd;
	int wake_fd; /* an eventfd: posts and stops from other threads */
	_Atomic bool stop;

	/* The batch that is being served; a deleted source is taken out of it. */
	struct epoll_event events[LOOP_BATCH];
	int events_nr;

	struct loop_timer *timers; /* ascending by deadline */
	uint64_t firing_ns;        /* the time while timers fire, else 0 */
	bool posted;               /* the owner posted: this turn does not wait */

	struct loop_defer *deferred; /* for the end of this turn */

	pthread_mutex_t lock; /* guards what follows and each post's `queued` and `next` */
	bool served;          /* somebody is in loop_run(): */
	pthread_t owner;
	unsigned int
		calls; /* loop_call()s that are queued: loop_run() does not return before them */
	struct loop_post *posts, **posts_tail;
	struct loop_post *running; /* taken from `posts`, not called yet */
};

static int loop_init_fds(struct loop *loop)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = loop };

	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0)
		return -errno;
	loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->wake_fd < 0)
		return -errno;
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->wake_fd, &ev) < 0)
		return -errno;
	return 0;
}

static void loop_close(struct loop *loop)
{
	if (loop->wake_fd >= 0)
		close(loop->wake_fd);
	if (loop->epoll_fd >= 0)
		close(loop->epoll_fd);
	pthread_mutex_destroy(&loop->lock);
	free(loop);
}

struct loop *loop_new(struct err *err)
{
	struct loop *loop = calloc(1, sizeof(*loop));
	int ret;

	if (!loop) {
		err_host(err, ENOMEM, "cannot make an event loop");
		return NULL;
	}
	pthread_mutex_init(&loop->lock, NULL);
	loop->posts_tail = &loop->posts;
	loop->epoll_fd = loop->wake_fd = -1;
	ret = loop_init_fds(loop);
	if (ret < 0) {
		err_host(err, -ret, "cannot make an event loop");
		loop_close(loop);
		return NULL;
	}
	return loop;
}

/* Descriptors. */

int loop_fd_add(struct loop *loop, struct loop_fd *lf)
{
	struct epoll_event ev = { .events = lf->events, .data.ptr = lf };

	if (lf->added)
		return -EEXIST;
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, lf->fd, &ev) < 0)
		return -errno;
	lf->added = true;
	return 0;
}

int loop_fd_mod(struct loop *loop, struct loop_fd *lf, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = lf };

	if (!lf->added)
		return -ENOENT;
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, lf->fd, &ev) < 0)
		return -errno;
	lf->events = events;
	return 0;
}

void loop_fd_del(struct loop *loop, struct loop_fd *lf)
{
	if (!lf->added)
		return;
	lf->added = false;
	epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, lf->fd, NULL);
	/* Its event may be in the batch already; the storage may be gone when the batch gets there. */
	for (int i = 0; i < loop->events_nr; i++)
		if (loop->events[i].data.ptr == lf)
			loop->events[i].data.ptr = NULL;
}

static void loop_drain_wake(struct loop *loop)
{
	uint64_t count;

	/* Before the posts are taken: one that comes later raises it again. */
	while (read(loop->wake_fd, &count, sizeof(count)) < 0 && errno == EINTR)
		;
}

static void loop_dispatch(struct loop *loop)
{
	for (int i = 0; i < loop->events_nr; i++) {
		void *ptr = loop->events[i].data.ptr;
		struct loop_fd *lf = ptr;

		if (ptr == loop)
			loop_drain_wake(loop);
		else if (ptr)
			lf->fn(lf, loop->events[i].events);
	}
	loop->events_nr = 0;
}

/* Timers. */

void loop_timer_cancel(struct loop *loop, struct loop_timer *t)
{
	struct loop_timer **p = &loop->timers;

	if (!t->armed)
		return;
	while (*p && *p != t)
		p = &(*p)->next;
	if (*p)
		*p = t->next;
	t->armed = false;
}

void loop_timer_set(struct loop *loop, struct loop_timer *t, uint64_t deadline_ns)
{
	struct loop_timer **p = &loop->timers;

	loop_timer_cancel(loop, t);
	/* A callback that always arms itself in the past waits for its next turn like everybody. */
	if (loop->firing_ns && deadline_ns <= loop->firing_ns)
		deadline_ns = loop->firing_ns + 1;
	while (*p && (*p)->deadline_ns <= deadline_ns)
		p = &(*p)->next;
	t->deadline_ns = deadline_ns;
	t->armed = true;
	t->next = *p;
	*p = t;
}

static void loop_fire_timers(struct loop *loop)
{
	if (!loop->timers)
		return;
	loop->firing_ns = util_now_ns();
	while (loop->timers && loop->timers->deadline_ns <= loop->firing_ns) {
		struct loop_timer *t = loop->timers;

		loop->timers = t->next;
		t->armed = false;
		t->fn(t);
	}
	loop->firing_ns = 0;
}

/* Milliseconds until the first timer, rounded up so that none fires early; 0 with posts to run; -1: no timer. */
static int loop_timeout_ms(const struct loop *loop)
{
	uint64_t now, ms;

	if (loop->posted)
		return 0;
	if (!loop->timers)
		return -1;
	now = util_now_ns();
	if (loop->timers->deadline_ns <= now)
		return 0;
	ms = (loop->timers->deadline_ns - now - 1) / 1000000 + 1;
	return (int)MIN(ms, (uint64_t)INT_MAX);
}

/* Deferred calls. */

void loop_defer(struct loop *loop, struct loop_defer *d)
{
	if (d->queued)
		return;
	d->queued = true;
	d->next = loop->deferred;
	loop->deferred = d;
}

void loop_defer_cancel(struct loop *loop, struct loop_defer *d)
{
	struct loop_defer **p = &loop->deferred;

	while (*p && *p != d)
		p = &(*p)->next;
	if (*p)
		*p = d->next;
	d->queued = false;
}

static void loop_run_deferred(struct loop *loop)
{
	while (loop->deferred) {
		struct loop_defer *d = loop->deferred;

		loop->deferred = d->next;
		d->queued = false;
		d->fn(d);
	}
}

/* Posts. */

static void loop_wake(struct loop *loop)
{
	uint64_t one = 1;

	/* EAGAIN would mean a counter that is full, which wakes just as well. */
	while (write(loop->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

static bool loop_is_owner_locked(const struct loop *loop)
{
	return loop->served && pthread_equal(loop->owner, pthread_self());
}

/* Returns whether the loop must be woken. */
static bool loop_queue_locked(struct loop *loop, struct loop_post *p)
{
	bool wake = !loop->posts;

	p->queued = true;
	p->next = NULL;
	*loop->posts_tail = p;
	loop->posts_tail = &p->next;
	return wake;
}

void loop_post(struct loop *loop, struct loop_post *p)
{
	bool wake;

	pthread_mutex_lock(&loop->lock);
	if (p->queued) {
		pthread_mutex_unlock(&loop->lock);
		return;
	}
	wake = loop_queue_locked(loop, p);
	/* The owner is awake: it takes no system call to have it look. */
	if (wake && loop_is_owner_locked(loop)) {
		loop->posted = true;
		wake = false;
	}
	pthread_mutex_unlock(&loop->lock);
	if (wake)
		loop_wake(loop);
}

/* A call that somebody waits for. */
struct loop_call {
	struct loop_post post;
	struct loop *loop;
	void (*fn)(void *arg);
	void *arg;
	sem_t done;
};

static void loop_run_call(struct loop_post *p)
{
	struct loop_call *call = container_of(p, struct loop_call, post);
	struct loop *loop = call->loop;

	call->fn(call->arg);
	pthread_mutex_lock(&loop->lock);
	loop->calls--;
	pthread_mutex_unlock(&loop->lock);
	sem_post(&call->done);
}

void loop_call(struct loop *loop, void (*fn)(void *arg), void *arg)
{
	struct loop_call call = { .post.fn = loop_run_call, .loop = loop, .fn = fn, .arg = arg };
	bool wake = false, served;

	/* Before it is queued: the owner may run it at once. */
	sem_init(&call.done, 0, 0);
	pthread_mutex_lock(&loop->lock);
	served = loop->served;
	if (served) {
		wake = loop_queue_locked(loop, &call.post);
		loop->calls++;
	}
	pthread_mutex_unlock(&loop->lock);
	if (wake)
		loop_wake(loop);
	if (!served)
		fn(arg);
	else
		while (sem_wait(&call.done) < 0)
			;
	sem_destroy(&call.done);
}

static bool loop_unlink(struct loop_post **list, struct loop_post *p)
{
	while (*list && *list != p)
		list = &(*list)->next;
	if (!*list)
		return false;
	*list = p->next;
	return true;
}

void loop_post_cancel(struct loop *loop, struct loop_post *p)
{
	pthread_mutex_lock(&loop->lock);
	if (p->queued && !loop_unlink(&loop->running, p)) {
		loop_unlink(&loop->posts, p);
		loop->posts_tail = &loop->posts;
		while (*loop->posts_tail)
			loop->posts_tail = &(*loop->posts_tail)->next;
	}
	p->queued = false;
	pthread_mutex_unlock(&loop->lock);
}

static void loop_take_posts(struct loop *loop)
{
	pthread_mutex_lock(&loop->lock);
	loop->running = loop->posts;
	loop->posts = NULL;
	loop->posts_tail = &loop->posts;
	loop->posted = false;
	pthread_mutex_unlock(&loop->lock);
}

static struct loop_post *loop_next_post(struct loop *loop)
{
	struct loop_post *p;

	pthread_mutex_lock(&loop->lock);
	p = loop->running;
	if (p) {
		loop->running = p->next;
		p->queued = false; /* before the call, which may post it again or free it */
	}
	pthread_mutex_unlock(&loop->lock);
	return p;
}

/* Only what was posted before: a call that posts itself again cannot starve the descriptors. */
static void loop_run_posts(struct loop *loop)
{
	struct loop_post *p;

	loop_take_posts(loop);
	while ((p = loop_next_post(loop)))
		p->fn(p);
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	while (loop->posts)
		loop_run_posts(loop);
	loop_close(loop);
}

/* The loop. */

void loop_stop(struct loop *loop)
{
	atomic_store(&loop->stop, true);
	loop_wake(loop);
}

static void loop_enter(struct loop *loop)
{
	pthread_mutex_lock(&loop->lock);
	loop->served = true;
	loop->owner = pthread_self();
	pthread_mutex_unlock(&loop->lock);
}

/* False while somebody waits for a call: the loop is served until nobody does. */
static bool loop_leave(struct loop *loop)
{
	bool left;

	pthread_mutex_lock(&loop->lock);
	left = loop->calls == 0;
	if (left)
		loop->served = false;
	pthread_mutex_unlock(&loop->lock);
	return left;
}

int loop_run(struct loop *loop)
{
	bool stopping = false;
	int ret = 0;

	loop_enter(loop);
	loop_run_deferred(loop);
	while (!stopping) {
		int n;

		/* Read before the wait, so that what was due when it was set is served once more. */
		stopping = atomic_load(&loop->stop);
		n = epoll_wait(loop->epoll_fd, loop->events, LOOP_BATCH,
			       stopping ? 0 : loop_timeout_ms(loop));
		if (n < 0 && errno != EINTR) {
			ret = -errno;
			break;
		}
		loop->events_nr = n > 0 ? n : 0;
		loop_dispatch(loop);
		loop_fire_timers(loop);
		loop_run_posts(loop);
		loop_run_deferred(loop);
	}
	while (!loop_leave(loop)) {
		loop_run_posts(loop);
		loop_run_deferred(loop);
	}
	atomic_store(&loop->stop, false);
	return ret;
}
