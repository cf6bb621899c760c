/* SPDX-License-Identifier: GPL-2.0 */
// LINK: tests/mock/fake-kvm.c ioeventfd.c util/loop.c util/err.c util/util.c
/* Doorbells on a KVM without a CPU: every one that rings is heard, also the last before it is removed. */
#include <errno.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <lkvm/ioeventfd.h>
#include <lkvm/kvm.h>
#include <lkvm/util.h>

#include "../mock/fake-kvm.h"
#include "unit.h"

#define MMIO(a)                                                                                    \
	(&(struct ioeventfd_place){                                                                \
		.addr = (a),                                                                       \
	})
#define PORT(a, d)                                                                                 \
	(&(struct ioeventfd_place){                                                                \
		.addr = (a), .pio = true, .len = 2, .match = true, .data = (d) })

static struct fake_kvm *f;
static struct kvm kvm;
static struct loop *loop;
static pthread_t thread;
static _Atomic unsigned int heard;
static int fds_before;

static int next_fd(void)
{
	int fd = dup(0);

	close(fd);
	return fd;
}

static void on_ring(struct ioeventfd *e)
{
	ck_assert_ptr_eq(e->loop, loop);
	heard++;
}

static void setup(void)
{
	struct err err = ERR_INIT;

	f = fake_kvm_start();
	kvm = (struct kvm){ .vm_fd = -1 };
	loop = loop_new(&err);
	heard = 0;
	fds_before = next_fd();
}

static void teardown(void)
{
	ck_assert_int_eq(next_fd(), fds_before);
	ck_assert_uint_eq(f->doorbells_nr, 0);
	loop_free(loop);
}

static void turn(void)
{
	loop_stop(loop);
	ck_assert_int_eq(loop_run(loop), 0);
}

START_TEST(rings_where_it_is)
{
	struct ioeventfd a, b;

	ck_assert_int_eq(ioeventfd_add(&a, &kvm, loop, MMIO(0x1000), on_ring), 0);
	ck_assert_int_eq(ioeventfd_add(&b, &kvm, loop, PORT(0x1000, 3), on_ring), 0);
	ck_assert(fake_kvm_write(false, 0x1000, 4, 77));
	turn();
	ck_assert_uint_eq(heard, 1);
	ck_assert(fake_kvm_write(true, 0x1000, 2, 3));
	ck_assert(!fake_kvm_write(true, 0x1000, 2, 4));
	ck_assert(!fake_kvm_write(true, 0x1000, 4, 3));
	ck_assert(!fake_kvm_write(false, 0x1004, 2, 3));
	turn();
	ck_assert_uint_eq(heard, 2);
	ioeventfd_remove(&a);
	heard = 0;
	ck_assert(!fake_kvm_write(false, 0x1000, 4, 0));
	ck_assert(fake_kvm_write(true, 0x1000, 2, 3));
	turn();
	ck_assert_uint_eq(heard, 1);
	ioeventfd_remove(&b);
	heard = 0;
	ioeventfd_remove(&b);
	ck_assert_uint_eq(heard, 0);
}

/* Each batch of rings is heard once, and none is heard when nothing rang. */
START_TEST(rings_again)
{
	struct ioeventfd e;

	ck_assert_int_eq(ioeventfd_add(&e, &kvm, loop, MMIO(0x1000), on_ring), 0);
	for (unsigned int i = 0; i < 5; i++) {
		for (unsigned int k = 0; k <= i; k++)
			ck_assert(fake_kvm_write(false, 0x1000, 2, 0));
		turn();
		ck_assert_uint_eq(heard, i + 1);
		turn();
		ck_assert_uint_eq(heard, i + 1);
	}
	ioeventfd_remove(&e);
}

START_TEST(quiet_when_it_never_rang)
{
	struct ioeventfd e;

	ck_assert_int_eq(ioeventfd_add(&e, &kvm, loop, MMIO(0x1000), on_ring), 0);
	ioeventfd_remove(&e);
	ck_assert_uint_eq(heard, 0);
}

START_TEST(the_last_ring_is_not_lost)
{
	struct ioeventfd e;

	ck_assert_int_eq(ioeventfd_add(&e, &kvm, loop, MMIO(0x1000), on_ring), 0);
	for (unsigned int i = 0; i < 3; i++)
		ck_assert(fake_kvm_write(false, 0x1000, 2, 0));
	ioeventfd_remove(&e);
	ck_assert_uint_eq(heard, 1);
	turn();
	ck_assert_uint_eq(heard, 1);
}

/* Each way in which it can fail, with nothing left behind (the teardown counts). */
START_TEST(fails_whole)
{
	struct ioeventfd a, b;

	f->fail_at = 1;
	f->fail_errno = ENOSPC;
	ck_assert_int_eq(ioeventfd_add(&a, &kvm, loop, MMIO(0x1000), on_ring), -ENOSPC);
	ioeventfd_remove(&a);
	f->fail_at = 0;
	ck_assert_int_eq(ioeventfd_add(&a, &kvm, loop, MMIO(0x1000), on_ring), 0);
	ck_assert_int_eq(ioeventfd_add(&b, &kvm, loop, MMIO(0x1000), on_ring), -EEXIST);
	/* KVM has no port doorbell of any length. */
	ck_assert_int_eq(ioeventfd_add(&b, &kvm, loop,
				       &(struct ioeventfd_place){ .addr = 1, .match = true },
				       on_ring),
			 -EINVAL);
	ioeventfd_remove(&a);
}

static void *serve(void *arg)
{
	loop_run(arg);
	return NULL;
}

static void is_served(struct loop_post *p)
{
	(void)p;
	heard = 1;
}

/* Rung on one thread, heard on the loop's, removed on a third: never after the removal. */
START_TEST(threads)
{
	struct loop_post hello = { .fn = is_served };
	struct ioeventfd e;

	loop_post(loop, &hello);
	ck_assert_int_eq(pthread_create(&thread, NULL, serve, loop), 0);
	while (!heard)
		sched_yield();
	for (unsigned int i = 0; i < 200; i++) {
		ck_assert_int_eq(ioeventfd_add(&e, &kvm, loop, MMIO(0x1000), on_ring), 0);
		heard = 0;
		ck_assert(fake_kvm_write(false, 0x1000, 2, 0));
		if (i % 2)
			sched_yield();
		ioeventfd_remove(&e);
		ck_assert_uint_ge(heard, 1);
		e.fn = NULL;
	}
	loop_stop(loop);
	pthread_join(thread, NULL);
}

UNIT_SUITE("ioeventfd", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, rings_where_it_is);
	tcase_add_test(tc, rings_again);
	tcase_add_test(tc, quiet_when_it_never_rang);
	tcase_add_test(tc, the_last_ring_is_not_lost);
	tcase_add_test(tc, fails_whole);
	tcase_add_test(tc, threads);
})
