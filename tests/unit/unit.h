/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The frame of a unit test program: one suite named after the module, a line a test.
 *
 *   UNIT_SUITE("bus", { tcase_add_test(tc, splits_wide_access); ... })
 */
#ifndef LKVM_TESTS_UNIT_H
#define LKVM_TESTS_UNIT_H

#include <check.h>
#include <stdlib.h>

/* The rows of the virtio checklist that a test shows; read by tests/conformance/run. */
#define ROW(...) ((void)sizeof((const char *const[]){ __VA_ARGS__ }))

#define UNIT_SUITE(name, ...)                                                                      \
	int main(void)                                                                             \
	{                                                                                          \
		Suite *s = suite_create(name);                                                     \
		TCase *tc = tcase_create(name);                                                    \
		tcase_set_timeout(tc, 60);                                                         \
		__VA_ARGS__                                                                        \
		suite_add_tcase(s, tc);                                                            \
		SRunner *sr = srunner_create(s);                                                   \
		srunner_run_all(sr, CK_VERBOSE);                                                   \
		int failed = srunner_ntests_failed(sr);                                            \
		srunner_free(sr);                                                                  \
		return failed ? 1 : 0;                                                             \
	}

#endif
