/* SPDX-License-Identifier: GPL-2.0 */
// LINK: watch.c stop.c tests/mock/clock.c util/err.c
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <lkvm/util.h>
#include <lkvm/watch.h>

#include "tests/mock/clock.h"
#include "unit.h"

/* A loop whose time is the test's. */

#define TIMERS 8
static struct loop_timer *timers[TIMERS];
static struct loop_fd *fds[2];
static struct loop_post *posts[4];
static unsigned int loop_stops;
static int fd_add_error;

void loop_timer_set(struct loop *loop, struct loop_timer *t, uint64_t deadline_ns)
{
	(void)loop;
	t->deadline_ns = deadline_ns;
	for (unsigned int i = 0; !t->armed && i < TIMERS; i++) {
		if (timers[i])
			continue;
		timers[i] = t;
		t->armed = true;
	}
}

void loop_timer_cancel(struct loop *loop, struct loop_timer *t)
{
	(void)loop;
	for (unsigned int i = 0; i < TIMERS; i++)
		if (timers[i] == t)
			timers[i] = NULL;
	t->armed = false;
}

int loop_fd_add(struct loop *loop, struct loop_fd *lf)
{
	(void)loop;
	if (fd_add_error)
		return fd_add_error;
	fds[fds[0] ? 1 : 0] = lf;
	lf->added = true;
	return 0;
}

void loop_fd_del(struct loop *loop, struct loop_fd *lf)
{
	(void)loop;
	fds[fds[0] == lf ? 0 : 1] = NULL;
	lf->added = false;
}

void loop_post(struct loop *loop, struct loop_post *p)
{
	(void)loop;
	for (unsigned int i = 0; !p->queued && i < 4; i++) {
		if (posts[i])
			continue;
		posts[i] = p;
		p->queued = true;
	}
}

void loop_post_cancel(struct loop *loop, struct loop_post *p)
{
	(void)loop;
	for (unsigned int i = 0; i < 4; i++)
		if (posts[i] == p)
			posts[i] = NULL;
	p->queued = false;
}

void loop_stop(struct loop *loop)
{
	(void)loop;
	loop_stops++;
}

static void run_posts(void)
{
	for (unsigned int i = 0; i < 4; i++) {
		struct loop_post *p = posts[i];

		if (!p)
			continue;
		posts[i] = NULL;
		p->queued = false;
		p->fn(p);
	}
}

/* Time goes on by so much, and each timer fires when it is due. */
static void pass(double seconds)
{
	uint64_t until = mock_clock_frozen + (uint64_t)(seconds * NSEC_PER_SEC);

	for (;;) {
		struct loop_timer *next = NULL;

		for (unsigned int i = 0; i < TIMERS; i++)
			if (timers[i] && (!next || timers[i]->deadline_ns < next->deadline_ns))
				next = timers[i];
		if (!next || next->deadline_ns > until)
			break;
		mock_clock_frozen = MAX(mock_clock_frozen, next->deadline_ns);
		loop_timer_cancel(NULL, next);
		next->fn(next);
	}
	mock_clock_frozen = until;
}

/* A guest. */

static uint64_t bytes, others;
static bool stuck;
static unsigned int stuck_asked;

static uint64_t guest_console(void *arg)
{
	(void)arg;
	return bytes;
}

static uint64_t guest_progress(void *arg)
{
	(void)arg;
	return bytes + others;
}

static bool guest_stuck(void *arg)
{
	(void)arg;
	stuck_asked++;
	return stuck;
}

static const struct watch_ops ops = { guest_console, guest_progress, guest_stuck };
static struct machine_config cfg;
static struct watch w;
static struct stop stop;
static char loop_storage;
#define LOOP ((struct loop *)&loop_storage)

static void set_up(void)
{
	mock_clock_frozen = 1000 * NSEC_PER_SEC;
	stop_init(&stop, LOOP);
}

static void tear_down(void)
{
	watch_release(&w);
	for (unsigned int i = 0; i < TIMERS; i++)
		ck_assert_ptr_null(timers[i]);
	for (unsigned int i = 0; i < 4; i++)
		ck_assert_ptr_null(posts[i]);
	ck_assert(!fds[0] && !fds[1]);
	stop_release(&stop);
}

static void begin(void)
{
	struct err err = ERR_INIT;

	ck_assert_msg(!watch_init(&w, &cfg, LOOP, &stop, &ops, NULL, &err), "%s", err.msg);
	watch_start(&w);
	watch_vm_on(&w);
}

static enum stop_reason reason(void)
{
	struct stop_info info;

	stop_get(&stop, &info);
	return info.reason;
}

static bool says(const char *text)
{
	struct stop_info info;

	stop_get(&stop, &info);
	return strstr(info.detail, text);
}

START_TEST(nothing_is_asked_for)
{
	begin();
	pass(100000);
	ck_assert_int_eq(reason(), STOP_NONE);
	watch_vm_off(&w);
}
END_TEST

START_TEST(the_whole_run_has_a_deadline)
{
	cfg.timeout_ns = 30 * NSEC_PER_SEC;
	begin();
	for (int i = 0; i < 29; i++, bytes++) {
		pass(1);
		/* A restart gives no new time. */
		watch_vm_off(&w);
		watch_vm_on(&w);
	}
	ck_assert_int_eq(reason(), STOP_NONE);
	pass(1);
	ck_assert_int_eq(reason(), STOP_TIMEOUT);
	ck_assert(says("--timeout 30 s"));
	watch_vm_off(&w);
}
END_TEST

START_TEST(the_boot_has_a_deadline)
{
	cfg.boot_timeout_ns = 10 * NSEC_PER_SEC;
	begin();
	pass(9.9);
	ck_assert_int_eq(reason(), STOP_NONE);
	pass(0.1);
	ck_assert_int_eq(reason(), STOP_TIMEOUT);
	ck_assert(says("--boot-timeout 10 s"));
	watch_vm_off(&w);
}
END_TEST

START_TEST(init_ends_the_boot)
{
	cfg.boot_timeout_ns = 10 * NSEC_PER_SEC;
	begin();
	pass(9.9);
	watch_init_seen(&w);
	run_posts();
	pass(1000);
	ck_assert_int_eq(reason(), STOP_NONE);
	/* The next boot has its own. */
	watch_vm_off(&w);
	watch_vm_on(&w);
	pass(10);
	ck_assert_int_eq(reason(), STOP_TIMEOUT);
	watch_vm_off(&w);
}
END_TEST

START_TEST(silence_has_a_deadline)
{
	cfg.idle_timeout_ns = 20 * NSEC_PER_SEC;
	begin();
	for (int i = 0; i < 50; i++) {
		pass(19);
		if (i % 2)
			bytes++;
		else
			others++; /* a device was used */
		pass(1);
	}
	ck_assert_int_eq(reason(), STOP_NONE);
	pass(18.9);
	ck_assert_int_eq(reason(), STOP_NONE);
	pass(2);
	ck_assert_int_eq(reason(), STOP_HANG);
	ck_assert(says("--idle-timeout") && says("20 s"));
	watch_vm_off(&w);
}
END_TEST

START_TEST(a_short_silence_too)
{
	cfg.idle_timeout_ns = NSEC_PER_SEC / 2;
	begin();
	for (int i = 0; i < 50; i++, bytes++)
		pass(0.3);
	ck_assert_int_eq(reason(), STOP_NONE);
	pass(0.7);
	ck_assert_int_eq(reason(), STOP_HANG);
	watch_vm_off(&w);
}
END_TEST

/* While lkvm was stopped the guest was too. */
START_TEST(a_stopped_process_is_not_idle)
{
	cfg.idle_timeout_ns = 20 * NSEC_PER_SEC;
	begin();
	for (int i = 0; i < 5; i++) {
		pass(1);
		mock_clock_frozen += 3600 * NSEC_PER_SEC;
	}
	ck_assert_int_eq(reason(), STOP_NONE);
	pass(10);
	ck_assert_int_eq(reason(), STOP_HANG);
	watch_vm_off(&w);
}
END_TEST

START_TEST(halted_for_good)
{
	begin();
	stuck = true;
	pass(1);
	ck_assert_int_eq(reason(), STOP_NONE);
	stuck = false; /* it was on its way out of that */
	pass(1);
	stuck = true;
	pass(1);
	ck_assert_int_eq(reason(), STOP_NONE);
	pass(1);
	ck_assert_int_eq(reason(), STOP_HANG);
	ck_assert(says("halted with interrupts off"));
	ck_assert_uint_eq(stuck_asked, 4); /* once a second */
	watch_vm_off(&w);
}
END_TEST

START_TEST(a_panic_that_goes_quiet)
{
	begin();
	stop_note(&stop, STOP_PANIC, "Kernel panic");
	watch_panicked(&w);
	run_posts();
	for (int i = 0; i < 20; i++, bytes++)
		pass(4);
	ck_assert_uint_eq(loop_stops, 0);
	pass(10);
	ck_assert_uint_eq(loop_stops, 1);
	ck_assert_int_eq(reason(), STOP_PANIC);
	ck_assert(says("Kernel panic"));
	watch_vm_off(&w);
}
END_TEST

/* Nothing is left armed or posted for a VM that is gone. */
START_TEST(off_is_off)
{
	cfg.boot_timeout_ns = cfg.idle_timeout_ns = NSEC_PER_SEC;
	cfg.timeout_ns = NSEC_PER_SEC;
	begin();
	watch_panicked(&w);
	run_posts();
	watch_panicked(&w);
	watch_init_seen(&w);
	watch_vm_off(&w);
	watch_release(&w);
	for (unsigned int i = 0; i < TIMERS; i++)
		ck_assert_ptr_null(timers[i]);
	for (unsigned int i = 0; i < 4; i++)
		ck_assert_ptr_null(posts[i]);
	pass(1000);
	ck_assert_int_eq(reason(), STOP_NONE);
}
END_TEST

START_TEST(the_parent_ends)
{
	int p[2];
	char c;

	ck_assert_int_eq(pipe(p), 0);
	cfg.die_with_parent = true;
	cfg.parent_fd = p[0];
	begin();
	ck_assert_ptr_nonnull(fds[0]);
	ck_assert_int_eq(fds[0]->fd, p[0]);
	fds[0]->fn(fds[0], fds[0]->events);
	ck_assert_int_eq(reason(), STOP_USER);
	ck_assert(says("parent"));
	watch_vm_off(&w);
	watch_release(&w);
	close(p[1]);
	ck_assert_int_eq(read(p[0], &c, 1), 0); /* it is not ours to close */
	close(p[0]);
}
END_TEST

START_TEST(a_signal_comes)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	cfg.signals = &set;
	begin();
	raise(SIGUSR1);
	fds[0]->fn(fds[0], fds[0]->events);
	ck_assert_int_eq(reason(), STOP_SIGNAL);
	watch_vm_off(&w);
	watch_release(&w);
}
END_TEST

START_TEST(what_cannot_be_watched_is_told)
{
	struct err err = ERR_INIT;
	sigset_t set;

	sigemptyset(&set);
	fd_add_error = -12;
	if (_i)
		cfg.die_with_parent = true;
	else
		cfg.signals = &set;
	ck_assert_int_eq(watch_init(&w, &cfg, LOOP, &stop, &ops, NULL, &err), -12);
	ck_assert_int_eq(err.kind, ERR_HOST);
}
END_TEST

UNIT_SUITE("watch", {
	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, nothing_is_asked_for);
	tcase_add_test(tc, the_whole_run_has_a_deadline);
	tcase_add_test(tc, the_boot_has_a_deadline);
	tcase_add_test(tc, init_ends_the_boot);
	tcase_add_test(tc, silence_has_a_deadline);
	tcase_add_test(tc, a_short_silence_too);
	tcase_add_test(tc, a_stopped_process_is_not_idle);
	tcase_add_test(tc, halted_for_good);
	tcase_add_test(tc, a_panic_that_goes_quiet);
	tcase_add_test(tc, off_is_off);
	tcase_add_test(tc, the_parent_ends);
	tcase_add_test(tc, a_signal_comes);
	tcase_add_loop_test(tc, what_cannot_be_watched_is_told, 0, 2);
})
