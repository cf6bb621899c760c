/* SPDX-License-Identifier: GPL-2.0 */
// LINK: util/loop.c util/err.c
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <lkvm/loop.h>
#include <lkvm/util.h>

/* The clock is the host's plus what a test adds, so that no test waits for a deadline. */
static _Atomic uint64_t clock_skew;

uint64_t util_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec + clock_skew;
}

static struct loop *loop;
static char trace[256];

static void note(const char *what)
{
	strcat(trace, what);
}

static void setup(void)
{
	struct err err = ERR_INIT;

	loop = loop_new(&err);
	ck_assert_ptr_nonnull(loop);
}

static void teardown(void)
{
	loop_free(loop);
}

/* One round: everything that is due now. */
static void run_once(void)
{
	loop_stop(loop);
	ck_assert_int_eq(loop_run(loop), 0);
}

/* Sources: eventfds that are always ready, a letter each. */

struct source {
	struct loop_fd lf;
	char name[2];
	struct source *del; /* deleted, closed and freed by this one's callback */
	bool del_self;
};

static void source_free(struct source *s)
{
	loop_fd_del(loop, &s->lf);
	close(s->lf.fd);
	free(s);
}

static void source_fn(struct loop_fd *lf, uint32_t events)
{
	struct source *s = container_of(lf, struct source, lf);
	struct source *del = s->del;

	ck_assert_uint_eq(events, EPOLLIN);
	note(s->name);
	s->del = NULL;
	if (del)
		source_free(del);
	if (s->del_self)
		source_free(s);
}

static struct source *source_new(char name)
{
	struct source *s = calloc(1, sizeof(*s));

	s->lf = (struct loop_fd){ .fd = eventfd(1, 0), .fn = source_fn, .events = EPOLLIN };
	s->name[0] = name;
	ck_assert_int_eq(loop_fd_add(loop, &s->lf), 0);
	return s;
}

START_TEST(fd_add_mod_del)
{
	struct source *s = source_new('a');

	ck_assert(s->lf.added);
	ck_assert_int_eq(loop_fd_add(loop, &s->lf), -EEXIST);
	run_once();
	ck_assert_str_eq(trace, "a");
	ck_assert_int_eq(loop_fd_mod(loop, &s->lf, EPOLLPRI), 0);
	run_once();
	ck_assert_str_eq(trace, "a");
	ck_assert_int_eq(loop_fd_mod(loop, &s->lf, EPOLLIN), 0);
	run_once();
	ck_assert_str_eq(trace, "aa");
	loop_fd_del(loop, &s->lf);
	loop_fd_del(loop, &s->lf);
	ck_assert(!s->lf.added);
	ck_assert_int_eq(loop_fd_mod(loop, &s->lf, EPOLLIN), -ENOENT);
	run_once();
	ck_assert_str_eq(trace, "aa");
	source_free(s);
}
END_TEST

START_TEST(fd_that_epoll_refuses)
{
	struct loop_fd lf = { .fd = open("/dev/null", O_RDONLY),
			      .fn = source_fn,
			      .events = EPOLLIN };

	ck_assert_int_eq(loop_fd_add(loop, &lf), -EPERM);
	ck_assert(!lf.added);
	close(lf.fd);
	lf.fd = -1;
	ck_assert_int_eq(loop_fd_add(loop, &lf), -EBADF);
}
END_TEST

/* Two are ready in one batch, each would delete and free the other: whoever comes first does. */
START_TEST(deleted_in_the_same_batch)
{
	struct source *a = source_new('a'), *b = source_new('b'), *c = source_new('c');

	a->del = b;
	b->del = a;
	run_once();
	ck_assert_uint_eq(strlen(trace), 2);
	ck_assert_ptr_nonnull(strchr(trace, 'c'));
	source_free(strchr(trace, 'a') ? a : b);
	source_free(c);
}
END_TEST

START_TEST(deletes_itself)
{
	struct source *a = source_new('a');

	a->del_self = true;
	run_once();
	run_once();
	ck_assert_str_eq(trace, "a");
}
END_TEST

/* Timers. */

struct timer {
	struct loop_timer t;
	char name[2];
	uint64_t again_ns; /* armed again by its callback, this far from now; 0: not */
	struct loop_timer *cancel;
	bool backwards; /* armed again in the past */
};

static void timer_fn(struct loop_timer *t)
{
	struct timer *timer = container_of(t, struct timer, t);

	ck_assert(!t->armed);
	note(timer->name);
	if (timer->cancel)
		loop_timer_cancel(loop, timer->cancel);
	if (timer->again_ns)
		loop_timer_set(loop, t, util_now_ns() + timer->again_ns);
	if (timer->backwards)
		loop_timer_set(loop, t, 0);
}

#define TIMER(letter)                                                                              \
	{                                                                                          \
		.t.fn = timer_fn, .name = letter                                                   \
	}

START_TEST(timers_in_order)
{
	struct timer a = TIMER("a"), b = TIMER("b"), c = TIMER("c"), d = TIMER("d");
	uint64_t now = util_now_ns();

	loop_timer_set(loop, &c.t, now + 3 * NSEC_PER_SEC);
	loop_timer_set(loop, &a.t, now + 1 * NSEC_PER_SEC);
	loop_timer_set(loop, &b.t, now + 2 * NSEC_PER_SEC);
	loop_timer_set(loop, &d.t, now + 3 * NSEC_PER_SEC);
	clock_skew += 4 * NSEC_PER_SEC;
	run_once();
	ck_assert_str_eq(trace, "abcd");
	run_once();
	ck_assert_str_eq(trace, "abcd");
}
END_TEST

START_TEST(timers_not_early)
{
	struct timer a = TIMER("a");

	loop_timer_set(loop, &a.t, util_now_ns() + 1000 * NSEC_PER_SEC);
	run_once();
	ck_assert_str_eq(trace, "");
	ck_assert(a.t.armed);
	clock_skew += 1000 * NSEC_PER_SEC;
	run_once();
	ck_assert_str_eq(trace, "a");
}
END_TEST

START_TEST(timers_armed_anew_and_cancelled)
{
	struct timer a = TIMER("a"), b = TIMER("b"), c = TIMER("c");
	uint64_t now = util_now_ns();

	loop_timer_set(loop, &a.t, now + 1 * NSEC_PER_SEC);
	loop_timer_set(loop, &b.t, now + 2 * NSEC_PER_SEC);
	loop_timer_set(loop, &c.t, now + 3 * NSEC_PER_SEC);
	loop_timer_set(loop, &a.t, now + 4 * NSEC_PER_SEC);
	loop_timer_cancel(loop, &c.t);
	loop_timer_cancel(loop, &c.t);
	clock_skew += 5 * NSEC_PER_SEC;
	run_once();
	ck_assert_str_eq(trace, "ba");
}
END_TEST

/* One that is due is cancelled by one that fires before it. */
START_TEST(timers_cancel_each_other)
{
	struct timer a = TIMER("a"), b = TIMER("b"), c = TIMER("c");

	a.cancel = &b.t;
	loop_timer_set(loop, &a.t, 1);
	loop_timer_set(loop, &b.t, 2);
	loop_timer_set(loop, &c.t, 3);
	run_once();
	ck_assert_str_eq(trace, "ac");
	ck_assert(!b.t.armed);
}
END_TEST

/* One that arms itself in the past fires once a round, and others get their turn. */
START_TEST(timers_do_not_starve)
{
	struct timer a = TIMER("a"), b = TIMER("b");
	struct source *s = source_new('s');

	a.backwards = true;
	loop_timer_set(loop, &a.t, 0);
	loop_timer_set(loop, &b.t, 1);
	run_once();
	ck_assert_str_eq(trace, "sab");
	run_once();
	ck_assert_str_eq(trace, "sabsa");
	loop_timer_cancel(loop, &a.t);
	source_free(s);
}
END_TEST

static void stop_fn(struct loop_timer *t)
{
	(void)t;
	note("!");
	loop_stop(loop);
}

/* The loop sleeps until a timer by itself, and not past it; nothing else wakes it here. */
START_TEST(timers_wake_the_loop)
{
	struct loop_timer t = { .fn = stop_fn };
	uint64_t start = util_now_ns();

	loop_timer_set(loop, &t, start + NSEC_PER_SEC / 50);
	ck_assert_int_eq(loop_run(loop), 0);
	ck_assert_str_eq(trace, "!");
	ck_assert_uint_ge(util_now_ns() - start, NSEC_PER_SEC / 50);
}
END_TEST

/* Posts. */

struct post {
	struct loop_post p;
	char name[2];
	struct loop_post *cancel;
	bool again, gone; /* posts itself again; frees itself */
};

static void post_fn(struct loop_post *p)
{
	struct post *post = container_of(p, struct post, p);

	ck_assert(!p->queued);
	note(post->name);
	if (post->cancel)
		loop_post_cancel(loop, post->cancel);
	if (post->again)
		loop_post(loop, p);
	if (post->gone)
		free(post);
}

#define POST(letter)                                                                               \
	{                                                                                          \
		.p.fn = post_fn, .name = letter                                                    \
	}

START_TEST(posts_in_order_and_once)
{
	struct post a = POST("a"), b = POST("b"), c = POST("c");

	loop_post(loop, &b.p);
	loop_post(loop, &a.p);
	loop_post(loop, &b.p);
	loop_post(loop, &c.p);
	run_once();
	ck_assert_str_eq(trace, "bac");
	loop_post(loop, &b.p);
	run_once();
	ck_assert_str_eq(trace, "bacb");
}
END_TEST

START_TEST(posts_take_turns)
{
	struct post a = POST("a"), b = POST("b");
	struct source *s = source_new('s');

	a.again = true;
	loop_post(loop, &a.p);
	loop_post(loop, &b.p);
	run_once();
	run_once();
	ck_assert_str_eq(trace, "sabsa");
	a.again = false;
	run_once();
	source_free(s);
}
END_TEST

/* The owner's own posts raise no event: the turn that follows must not wait for one. */
static struct {
	struct loop_post first, last;
	struct loop_defer defer;
} own;

static void own_stop(struct loop_post *p)
{
	(void)p;
	note("c");
	loop_stop(loop);
}

static void own_defer(struct loop_defer *d)
{
	(void)d;
	note("b");
	loop_post(loop, &own.last);
}

static void own_first(struct loop_post *p)
{
	(void)p;
	note("a");
	loop_defer(loop, &own.defer);
}

START_TEST(posts_of_the_owner)
{
	own.first.fn = own_first;
	own.defer.fn = own_defer;
	own.last.fn = own_stop;
	loop_post(loop, &own.first);
	ck_assert_int_eq(loop_run(loop), 0);
	ck_assert_str_eq(trace, "abc");
}
END_TEST

START_TEST(posts_may_free_themselves)
{
	struct post *a = malloc(sizeof(*a));

	*a = (struct post)POST("a");
	a->gone = true;
	loop_post(loop, &a->p);
	run_once();
	ck_assert_str_eq(trace, "a");
}
END_TEST

/* Cancelled at every place of the queue; the queue still takes more and keeps its order. */
START_TEST(posts_cancelled)
{
	for (int victim = 0; victim < 3; victim++) {
		struct post p[] = { POST("a"), POST("b"), POST("c") }, d = POST("d");
		static const char *const want[] = { "bcd", "acd", "abd" };

		trace[0] = '\0';
		for (int i = 0; i < 3; i++)
			loop_post(loop, &p[i].p);
		loop_post_cancel(loop, &p[victim].p);
		loop_post_cancel(loop, &p[victim].p);
		ck_assert(!p[victim].p.queued);
		loop_post(loop, &d.p);
		run_once();
		ck_assert_str_eq(trace, want[victim]);
	}
}
END_TEST

/* The one that is cancelled was taken for this round already. */
START_TEST(posts_cancelled_while_running)
{
	struct post a = POST("a"), b = POST("b"), c = POST("c");

	a.cancel = &b.p;
	loop_post(loop, &a.p);
	loop_post(loop, &b.p);
	loop_post(loop, &c.p);
	run_once();
	ck_assert_str_eq(trace, "ac");
	loop_post(loop, &b.p);
	run_once();
	ck_assert_str_eq(trace, "acb");
}
END_TEST

START_TEST(posts_run_before_free)
{
	struct err err = ERR_INIT;
	struct loop *mine = loop_new(&err);
	struct post a = POST("a"), b = POST("b");

	loop_post(mine, &a.p);
	loop_post(mine, &b.p);
	loop_free(mine);
	ck_assert_str_eq(trace, "ab");
	loop_free(NULL);
}
END_TEST

#define THREADS_NR 4
#define POSTS_NR   3000

struct counter {
	struct loop_post p;
	struct loop_post *last;
	unsigned int nr, thread, *order;
	bool bad;
};

static struct poster {
	pthread_t thread;
	struct counter counters[POSTS_NR];
	unsigned int next; /* what the loop expects of this thread */
} posters[THREADS_NR];
static unsigned int posts_seen; /* the loop's alone: TSan would see another user */

static void counter_fn(struct loop_post *p)
{
	struct counter *c = container_of(p, struct counter, p);

	c->bad = posters[c->thread].next++ != c->nr;
	if (++posts_seen == THREADS_NR * POSTS_NR)
		loop_stop(loop);
}

static void *poster_fn(void *arg)
{
	struct poster *poster = arg;

	for (unsigned int i = 0; i < POSTS_NR; i++) {
		poster->counters[i] = (struct counter){
			.p.fn = counter_fn, .nr = i, .thread = (unsigned int)(poster - posters)
		};
		loop_post(loop, &poster->counters[i].p);
	}
	return NULL;
}

/* All arrive, each thread's in its order, and the loop sleeps in between without missing one. */
START_TEST(posts_from_threads)
{
	for (int i = 0; i < THREADS_NR; i++)
		pthread_create(&posters[i].thread, NULL, poster_fn, &posters[i]);
	ck_assert_int_eq(loop_run(loop), 0);
	for (int i = 0; i < THREADS_NR; i++)
		pthread_join(posters[i].thread, NULL);
	for (int i = 0; i < THREADS_NR; i++)
		for (int j = 0; j < POSTS_NR; j++)
			ck_assert(!posters[i].counters[j].bad);
}
END_TEST

static _Atomic unsigned int level_calls, level_work;

static void level_fn(struct loop_post *p)
{
	(void)p;
	level_calls++;
	if (level_work == THREADS_NR * POSTS_NR)
		loop_stop(loop);
}

static struct loop_post level = { .fn = level_fn };

static void *level_thread(void *arg)
{
	(void)arg;
	for (int i = 0; i < POSTS_NR; i++) {
		level_work++;
		loop_post(loop, &level);
	}
	return NULL;
}

/* One post of many threads is a level: the last raise is always seen. */
START_TEST(post_as_a_level)
{
	pthread_t threads[THREADS_NR];

	for (int i = 0; i < THREADS_NR; i++)
		pthread_create(&threads[i], NULL, level_thread, NULL);
	ck_assert_int_eq(loop_run(loop), 0);
	for (int i = 0; i < THREADS_NR; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_ge(level_calls, 1);
	ck_assert_uint_le(level_calls, THREADS_NR * POSTS_NR);
}
END_TEST

/* Calls that are waited for. */

static unsigned int called; /* the owner's alone, but while nobody runs the loop */
static pthread_t owner;
static bool called_elsewhere;

static void call_fn(void *arg)
{
	called++;
	if (arg)
		called_elsewhere |= !pthread_equal(pthread_self(), owner);
}

/* Deferred calls. */

static struct loop_defer defers[2];
static struct loop_post defer_posts[3];

static void deferred_fn(struct loop_defer *d)
{
	note(d == &defers[0] ? "A" : "B");
}

static void defer_from_post(struct loop_post *p)
{
	note("p");
	loop_defer(loop, &defers[p == &defer_posts[2]]);
}

static void make_defers(void)
{
	trace[0] = 0;
	for (unsigned int i = 0; i < ARRAY_SIZE(defers); i++)
		defers[i] = (struct loop_defer){ .fn = deferred_fn };
	for (unsigned int i = 0; i < ARRAY_SIZE(defer_posts); i++)
		defer_posts[i] = (struct loop_post){ .fn = defer_from_post };
}

START_TEST(deferred_to_the_end_of_the_turn)
{
	make_defers();
	for (unsigned int i = 0; i < ARRAY_SIZE(defer_posts); i++)
		loop_post(loop, &defer_posts[i]);
	run_once();
	/* After all that asked, and once for each. */
	ck_assert_str_eq(trace, "pppBA");
	/* Deferred while nobody runs the loop: it does not wait for something else to happen. */
	loop_defer(loop, &defers[0]);
	loop_post(loop, &defer_posts[0]);
	run_once();
	ck_assert_str_eq(trace, "pppBAApA");
}

START_TEST(deferred_and_cancelled)
{
	make_defers();
	loop_defer(loop, &defers[0]);
	loop_defer(loop, &defers[1]);
	loop_defer_cancel(loop, &defers[0]);
	loop_defer_cancel(loop, &defers[0]);
	ck_assert(!defers[0].queued);
	run_once();
	ck_assert_str_eq(trace, "B");
	loop_defer(loop, &defers[0]);
	run_once();
	ck_assert_str_eq(trace, "BA");
}

START_TEST(call_without_an_owner)
{
	loop_call(loop, call_fn, NULL);
	ck_assert_uint_eq(called, 1);
	run_once();
	ck_assert_uint_eq(called, 1);
}
END_TEST

static _Atomic unsigned int callers_left;

static void *call_thread(void *arg)
{
	for (int i = 0; i < POSTS_NR; i++)
		loop_call(loop, call_fn, arg);
	if (--callers_left == 0)
		loop_stop(loop);
	return NULL;
}

static pthread_t callers[THREADS_NR];

/* The threads start on the loop, so that they find it running. */
static void start_callers(struct loop_post *p)
{
	(void)p;
	for (int i = 0; i < THREADS_NR; i++)
		pthread_create(&callers[i], NULL, call_thread, &owner);
}

START_TEST(calls_run_on_the_owner)
{
	struct loop_post starter = { .fn = start_callers };

	owner = pthread_self();
	callers_left = THREADS_NR;
	loop_post(loop, &starter);
	ck_assert_int_eq(loop_run(loop), 0);
	for (int i = 0; i < THREADS_NR; i++)
		pthread_join(callers[i], NULL);
	ck_assert_uint_eq(called, THREADS_NR * POSTS_NR);
	ck_assert(!called_elsewhere);
}
END_TEST

static _Atomic pid_t late_tid;

static void *late_caller(void *arg)
{
	(void)arg;
	late_tid = gettid();
	loop_call(loop, call_fn, &owner);
	return NULL;
}

static char thread_state(pid_t tid)
{
	char path[64], state = '?';
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	f = fopen(path, "r");
	ck_assert_int_eq(fscanf(f, "%*d (%*[^)]) %c", &state), 1);
	fclose(f);
	return state;
}

/* In the loop's last round: a thread calls, and sleeps until it is served. */
static void start_late_caller(struct loop_post *p)
{
	(void)p;
	pthread_create(&callers[0], NULL, late_caller, NULL);
	while (!late_tid || thread_state(late_tid) != 'S')
		sched_yield();
}

START_TEST(calls_at_the_end_are_served)
{
	struct loop_post starter = { .fn = start_late_caller };

	owner = pthread_self();
	loop_post(loop, &starter);
	run_once();
	pthread_join(callers[0], NULL);
	ck_assert_uint_eq(called, 1);
	ck_assert(!called_elsewhere);
}
END_TEST

/* Stop. */

START_TEST(stop_serves_what_is_due)
{
	struct post a = POST("a");
	struct timer t = TIMER("t");
	struct source *s = source_new('s');

	loop_post(loop, &a.p);
	loop_timer_set(loop, &t.t, 0);
	run_once();
	ck_assert_str_eq(trace, "sta");
	source_free(s);
}
END_TEST

static void *run_thread(void *arg)
{
	(void)arg;
	ck_assert_int_eq(loop_run(loop), 0);
	return NULL;
}

/* Before, during or after it starts: a stop is never lost, and the loop can run again. */
START_TEST(stop_from_another_thread)
{
	for (int i = 0; i < 200; i++) {
		pthread_t thread;

		pthread_create(&thread, NULL, run_thread, NULL);
		loop_stop(loop);
		pthread_join(thread, NULL);
	}
}
END_TEST

/* Stops that came before the return are used up: the next run serves its timer. */
START_TEST(stops_count_as_one)
{
	struct loop_timer t = { .fn = stop_fn };

	loop_stop(loop);
	loop_stop(loop);
	ck_assert_int_eq(loop_run(loop), 0);
	loop_timer_set(loop, &t, util_now_ns() + NSEC_PER_SEC / 100);
	ck_assert_int_eq(loop_run(loop), 0);
	ck_assert_str_eq(trace, "!");
}
END_TEST

static void count_fds(unsigned int *nr)
{
	*nr = 0;
	for (int fd = 0; fd < 256; fd++)
		*nr += fcntl(fd, F_GETFD) >= 0;
}

START_TEST(nothing_left_open)
{
	struct err err = ERR_INIT;
	unsigned int before, after;

	count_fds(&before);
	for (int i = 0; i < 10; i++)
		loop_free(loop_new(&err));
	count_fds(&after);
	ck_assert_uint_eq(before, after);
}
END_TEST

/* Out of descriptors at each step: an error in words and nothing left open. */
START_TEST(no_descriptors)
{
	for (int left = 0; left < 2; left++) {
		struct err err = ERR_INIT;
		unsigned int before, after;
		int fds[1024], nr = 0, fd;

		setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 64, 64 });
		while (nr < 1024 && (fd = open("/dev/null", O_RDONLY)) >= 0)
			fds[nr++] = fd;
		for (int i = 0; i < left; i++)
			close(fds[--nr]);
		count_fds(&before);
		ck_assert_ptr_null(loop_new(&err));
		count_fds(&after);
		ck_assert_uint_eq(before, after);
		ck_assert_int_eq(err.kind, ERR_HOST);
		while (nr > 0)
			close(fds[--nr]);
	}
}
END_TEST

UNIT_SUITE("loop", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, fd_add_mod_del);
	tcase_add_test(tc, fd_that_epoll_refuses);
	tcase_add_test(tc, deleted_in_the_same_batch);
	tcase_add_test(tc, deletes_itself);
	tcase_add_test(tc, timers_in_order);
	tcase_add_test(tc, timers_not_early);
	tcase_add_test(tc, timers_armed_anew_and_cancelled);
	tcase_add_test(tc, timers_cancel_each_other);
	tcase_add_test(tc, timers_do_not_starve);
	tcase_add_test(tc, timers_wake_the_loop);
	tcase_add_test(tc, posts_in_order_and_once);
	tcase_add_test(tc, posts_take_turns);
	tcase_add_test(tc, posts_of_the_owner);
	tcase_add_test(tc, posts_may_free_themselves);
	tcase_add_test(tc, posts_cancelled);
	tcase_add_test(tc, posts_cancelled_while_running);
	tcase_add_test(tc, posts_run_before_free);
	tcase_add_test(tc, posts_from_threads);
	tcase_add_test(tc, post_as_a_level);
	tcase_add_test(tc, deferred_to_the_end_of_the_turn);
	tcase_add_test(tc, deferred_and_cancelled);
	tcase_add_test(tc, call_without_an_owner);
	tcase_add_test(tc, calls_run_on_the_owner);
	tcase_add_test(tc, calls_at_the_end_are_served);
	tcase_add_test(tc, stop_serves_what_is_due);
	tcase_add_test(tc, stop_from_another_thread);
	tcase_add_test(tc, stops_count_as_one);
	tcase_add_test(tc, nothing_left_open);
	tcase_add_test(tc, no_descriptors);
})
