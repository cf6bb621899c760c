/* SPDX-License-Identifier: GPL-2.0 */
// LINK: stop.c util/util.c
#include "unit.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <lkvm/loop.h>
#include <lkvm/stop.h>

static _Atomic unsigned int stops_nr;
static char loop_storage;
#define LOOP ((struct loop *)&loop_storage)

void loop_stop(struct loop *loop)
{
	ck_assert_ptr_eq(loop, LOOP);
	stops_nr++;
}

START_TEST(nothing_yet)
{
	struct stop_info info;
	struct stop stop;

	stop_init(&stop, LOOP);
	stop_get(&stop, &info);
	ck_assert_int_eq(info.reason, STOP_NONE);
	ck_assert_str_eq(info.detail, "");
	ck_assert_uint_eq(stops_nr, 0);
	stop_release(&stop);
}
END_TEST

/* A console line of the user's ends the run: only the user, the host and KVM can still say otherwise. */
static bool is_over(int reason)
{
	return reason == STOP_UNTIL || reason == STOP_FAIL;
}

/* Every pair in both orders: the higher one stays with its own value and words; the loop stops once. */
START_TEST(highest_wins)
{
	for (int a = STOP_RESET; a <= STOP_KVM; a++) {
		for (int b = STOP_RESET; b <= STOP_KVM; b++) {
			int winner = b > a && !(is_over(a) && b < STOP_USER) ? b : a;
			struct stop_info info;
			struct stop stop;
			char want[32];

			stops_nr = 0;
			stop_init(&stop, LOOP);
			stop_request(&stop, (enum stop_reason)a, (uint32_t)a, "r%d", a);
			stop_request(&stop, (enum stop_reason)b, (uint32_t)b, "r%d", b);
			stop_get(&stop, &info);
			snprintf(want, sizeof(want), "r%d", winner);
			ck_assert_int_eq(info.reason, winner);
			ck_assert_uint_eq(info.value, winner);
			ck_assert_str_eq(info.detail, want);
			ck_assert_uint_eq(stops_nr, 1);
			stop_release(&stop);
		}
	}
}
END_TEST

START_TEST(first_words_of_a_reason_stay)
{
	struct stop_info info;
	struct stop stop;

	stop_init(&stop, LOOP);
	stop_request(&stop, STOP_DEBUG_EXIT, 3, "first");
	stop_request(&stop, STOP_DEBUG_EXIT, 4, "second");
	stop_get(&stop, &info);
	ck_assert_uint_eq(info.value, 3);
	ck_assert_str_eq(info.detail, "first");
	stop_release(&stop);
}
END_TEST

/* A noted panic ends nothing, outranks what follows below it and yields to what is above it. */
START_TEST(panic_is_noted)
{
	for (int r = STOP_RESET; r <= STOP_KVM; r++) {
		struct stop_info info;
		struct stop stop;

		stops_nr = 0;
		stop_init(&stop, LOOP);
		stop_note(&stop, STOP_PANIC, "Attempted to kill %s", "init");
		ck_assert_uint_eq(stops_nr, 0);
		stop_get(&stop, &info);
		ck_assert_int_eq(info.reason, STOP_PANIC);
		stop_request(&stop, (enum stop_reason)r, 1, "later");
		ck_assert_uint_eq(stops_nr, 1);
		stop_get(&stop, &info);
		ck_assert_int_eq(info.reason, r > STOP_PANIC ? r : STOP_PANIC);
		ck_assert_str_eq(info.detail, r > STOP_PANIC ? "later" : "Attempted to kill init");
		stop_release(&stop);
	}
}
END_TEST

/* The order in which the statuses outrank each other is an interface. */
START_TEST(ranks)
{
	static const enum stop_reason order[] = {
		STOP_KVM,          STOP_HOST, STOP_PANIC,   STOP_SPLAT, STOP_FAIL,
		STOP_TRIPLE_FAULT, STOP_HANG, STOP_TIMEOUT, STOP_EARLY, STOP_RESET,
	};

	for (unsigned int i = 1; i < sizeof(order) / sizeof(order[0]); i++)
		ck_assert_int_gt(order[i - 1], order[i]);
}
END_TEST

/* A splat is noted like a panic, and yields to one; the guest's own end does not hide it. */
START_TEST(splat_is_noted)
{
	struct stop_info info;
	struct stop stop;

	stops_nr = 0;
	stop_init(&stop, LOOP);
	stop_note(&stop, STOP_SPLAT, "WARNING: %d", 1);
	stop_note(&stop, STOP_SPLAT, "WARNING: %d", 2);
	ck_assert_uint_eq(stops_nr, 0);
	stop_request(&stop, STOP_UNTIL, 0, "PASS");
	ck_assert_uint_eq(stops_nr, 1);
	stop_get(&stop, &info);
	ck_assert_int_eq(info.reason, STOP_SPLAT);
	ck_assert_str_eq(info.detail, "WARNING: 1");
	stop_note(&stop, STOP_PANIC, "it was fatal");
	stop_get(&stop, &info);
	ck_assert_int_eq(info.reason, STOP_PANIC);
	stop_release(&stop);
}
END_TEST

/* What the guest does after the line that was waited for is not of the run. */
START_TEST(nothing_after_the_line)
{
	for (int r = STOP_RESET; r <= STOP_KVM; r++) {
		struct stop_info info;
		struct stop stop;

		stop_init(&stop, LOOP);
		stop_request(&stop, STOP_UNTIL, 0, "PASS");
		stop_request(&stop, (enum stop_reason)r, 0, "later");
		stop_note(&stop, STOP_PANIC, "later");
		stop_get(&stop, &info);
		ck_assert_int_eq(info.reason, r < STOP_USER ? STOP_UNTIL : r);
		stop_release(&stop);
	}
}
END_TEST

/* A panic that is seen after the request still counts: the console is drained after the reset. */
START_TEST(panic_after_reset)
{
	struct stop_info info;
	struct stop stop;

	stop_init(&stop, LOOP);
	stop_request(&stop, STOP_RESET, 0, "port 0x64");
	stop_note(&stop, STOP_PANIC, "oops");
	stop_get(&stop, &info);
	ck_assert_int_eq(info.reason, STOP_PANIC);
	ck_assert_str_eq(info.detail, "oops");
	stop_release(&stop);
}
END_TEST

/* For another life of the VM: as new, and the next request stops the loop again. */
START_TEST(cleared_for_a_restart)
{
	struct stop_info info;
	struct stop stop;

	stop_init(&stop, LOOP);
	stop_request(&stop, STOP_TRIPLE_FAULT, 5, "first life");
	stop_clear(&stop);
	stop_get(&stop, &info);
	ck_assert_int_eq(info.reason, STOP_NONE);
	ck_assert_uint_eq(info.value, 0);
	ck_assert_str_eq(info.detail, "");
	stop_request(&stop, STOP_RESET, 1, "second life");
	stop_get(&stop, &info);
	ck_assert_int_eq(info.reason, STOP_RESET);
	ck_assert_str_eq(info.detail, "second life");
	ck_assert_uint_eq(stops_nr, 2);
	stop_release(&stop);
}
END_TEST

START_TEST(guest_words_are_harmless)
{
	char text[3 * STOP_DETAIL_LEN];
	struct stop_info info;
	struct stop stop;

	memset(text, 'x', sizeof(text));
	text[0] = '\033';
	text[1] = '\n';
	text[sizeof(text) - 1] = '\0';
	stop_init(&stop, NULL);
	stop_request(&stop, STOP_PANIC, 0, "%s", text);
	stop_get(&stop, &info);
	ck_assert_uint_eq(strlen(info.detail), STOP_DETAIL_LEN - 1);
	ck_assert_int_eq(info.detail[0], '?');
	ck_assert_int_eq(info.detail[1], '?');
	stop_release(&stop);
}
END_TEST

static void *request_all(void *arg)
{
	for (int i = 0; i < 200; i++)
		for (int r = STOP_RESET; r <= STOP_KVM; r++)
			stop_request(arg, (enum stop_reason)r, (uint32_t)r, "reason %d", r);
	return NULL;
}

START_TEST(from_many_threads)
{
	pthread_t threads[4];
	struct stop_info info;
	struct stop stop;
	char want[32];

	stop_init(&stop, LOOP);
	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, request_all, &stop);
	for (int i = 0; i < 1000; i++) {
		stop_get(&stop, &info);
		snprintf(want, sizeof(want), "reason %d", info.reason);
		ck_assert_str_eq(info.detail, info.reason == STOP_NONE ? "" : want);
		ck_assert_uint_eq(info.value, info.reason);
	}
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	stop_get(&stop, &info);
	ck_assert_int_eq(info.reason, STOP_KVM);
	ck_assert_uint_eq(stops_nr, 1);
	stop_release(&stop);
}
END_TEST

UNIT_SUITE("stop", {
	tcase_add_test(tc, nothing_yet);
	tcase_add_test(tc, highest_wins);
	tcase_add_test(tc, first_words_of_a_reason_stay);
	tcase_add_test(tc, panic_is_noted);
	tcase_add_test(tc, ranks);
	tcase_add_test(tc, splat_is_noted);
	tcase_add_test(tc, nothing_after_the_line);
	tcase_add_test(tc, panic_after_reset);
	tcase_add_test(tc, cleared_for_a_restart);
	tcase_add_test(tc, guest_words_are_harmless);
	tcase_add_test(tc, from_many_threads);
})
