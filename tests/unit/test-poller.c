// SPDX-License-Identifier: GPL-2.0
// LINK: util/poller.c util/loop.c util/err.c util/util.c
/* Named loops and their threads: one a name, served from start to stop, and nothing left of them. */
#include "unit.h"

#include <dirent.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/resource.h>

#include <lkvm/poller.h>
#include <lkvm/util.h>

#include "fake-thread.h"

static struct pollers *set;
static struct err err;

static unsigned int open_fds(void)
{
	unsigned int nr = 0;
	DIR *d = opendir("/proc/self/fd");

	while (readdir(d))
		nr++;
	closedir(d);
	return nr;
}

static unsigned int fds_before;

static void setup(void)
{
	err = ERR_INIT;
	threads_started = threads_refuse = 0;
	fds_before = open_fds();
	set = pollers_new(&err);
	ck_assert_ptr_nonnull(set);
}

static void teardown(void)
{
	pollers_free(set);
	ck_assert_uint_eq(open_fds(), fds_before);
}

static struct loop *get(const char *name)
{
	struct loop *loop = pollers_get(set, name, &err);

	ck_assert_msg(loop, "%s", err.msg);
	return loop;
}

struct visit {
	pthread_t thread;
	struct loop_post post;
	atomic_bool done;
};

static void who(void *arg)
{
	((struct visit *)arg)->thread = pthread_self();
}

static pthread_t owner(struct loop *loop)
{
	struct visit v;

	loop_call(loop, who, &v);
	return v.thread;
}

START_TEST(a_loop_for_each_name)
{
	struct loop *a = get("a"), *b = get("b");

	ck_assert_ptr_ne(a, b);
	ck_assert_ptr_eq(get("a"), a);
	ck_assert_ptr_eq(get("b"), b);
	ck_assert_ptr_ne(get("ab"), a);
}

START_TEST(a_thread_for_each_loop)
{
	struct loop *loops[] = { get("disk"), get("net"), get("disk"), get("rng") };

	ck_assert_int_eq(pollers_start(set, &err), 0);
	ck_assert_uint_eq(threads_started, 3);
	ck_assert_str_eq(threads_names[0], "disk");
	ck_assert_str_eq(threads_names[1], "net");
	ck_assert_str_eq(threads_names[2], "rng");
	for (unsigned int i = 0; i < ARRAY_SIZE(loops); i++) {
		/* A call is the thread's, from the first moment on. */
		ck_assert(!pthread_equal(owner(loops[i]), pthread_self()));
		for (unsigned int k = 0; k < i; k++)
			ck_assert_int_eq(!pthread_equal(owner(loops[i]), owner(loops[k])),
					 loops[i] != loops[k]);
	}
	pollers_stop(set);
	/* Nobody serves it now, so it is the caller's. */
	ck_assert(pthread_equal(owner(loops[0]), pthread_self()));
	pollers_stop(set);
}

START_TEST(none_at_all)
{
	ck_assert_int_eq(pollers_start(set, &err), 0);
	ck_assert_uint_eq(threads_started, 0);
	pollers_stop(set);
}

START_TEST(never_started)
{
	get("a");
	get("b");
}

static void on_post(struct loop_post *p)
{
	atomic_store(&container_of(p, struct visit, post)->done, true);
}

/* What was posted before they start, and what is posted just before they stop, is done. */
START_TEST(nothing_posted_is_lost)
{
	struct visit before = { .post.fn = on_post }, last = { .post.fn = on_post };
	struct loop *loop = get("a");

	loop_post(loop, &before.post);
	ck_assert_int_eq(pollers_start(set, &err), 0);
	ck_assert(atomic_load(&before.done));
	loop_post(loop, &last.post);
	pollers_stop(set);
	ck_assert(atomic_load(&last.done));
}

START_TEST(a_thread_that_does_not_start)
{
	struct loop *first = get("first");

	get("second");
	get("third");
	threads_refuse = (unsigned int)_i;
	ck_assert_int_eq(pollers_start(set, &err), -EAGAIN);
	ck_assert_int_eq(err.kind, ERR_HOST);
	ck_assert_str_eq(err.msg, _i == 1   ? "cannot start the poller thread \"first\": Resource "
					      "temporarily unavailable"
				  : _i == 2 ? "cannot start the poller thread \"second\": Resource "
					      "temporarily unavailable"
					    : "cannot start the poller thread \"third\": Resource "
					      "temporarily unavailable");
	ck_assert_uint_eq(threads_started, (unsigned int)_i - 1);
	pollers_stop(set);
	ck_assert(pthread_equal(owner(first), pthread_self()));
}

START_TEST(a_loop_that_cannot_be_made)
{
	struct rlimit old, none;

	get("a");
	getrlimit(RLIMIT_NOFILE, &old);
	none = old;
	none.rlim_cur = 3;
	setrlimit(RLIMIT_NOFILE, &none);
	struct loop *loop = pollers_get(set, "b", &err);
	setrlimit(RLIMIT_NOFILE, &old);
	ck_assert_ptr_null(loop);
	ck_assert_int_eq(err.kind, ERR_HOST);
	ck_assert_ptr_nonnull(strstr(err.msg, "Too many open files"));
	/* It is as if nobody had asked. */
	err = ERR_INIT;
	get("b");
	ck_assert_int_eq(pollers_start(set, &err), 0);
	ck_assert_uint_eq(threads_started, 2);
}

UNIT_SUITE("poller", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_loop_for_each_name);
	tcase_add_test(tc, a_thread_for_each_loop);
	tcase_add_test(tc, none_at_all);
	tcase_add_test(tc, never_started);
	tcase_add_test(tc, nothing_posted_is_lost);
	tcase_add_loop_test(tc, a_thread_that_does_not_start, 1, 4);
	tcase_add_test(tc, a_loop_that_cannot_be_made);
})
