/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Runs a program's tests over several transports, a case each, whose name ends with the transport's:
 *
 *   static void add(TCase *tc) { tcase_add_checked_fixture(tc, setup, teardown); tcase_add_test(tc, ...); }
 *   TRANSPORTS_SUITE("virtio-queue", add, NULL, on_core, on_pci)
 *
 * A bench whose options name no transport is on the case's.
 */
#ifndef LKVM_TESTS_TRANSPORTS_H
#define LKVM_TESTS_TRANSPORTS_H

#include <stdio.h>

#include "bench.h"
#include "pci.h"

/* A fixture is all that libcheck calls in the test's own process: it sets what bench_init() uses. */
#define TRANSPORT(name)                                                                            \
	static inline void on_##name(void)                                                         \
	{                                                                                          \
		bench_transport = &drv_##name;                                                     \
	}
TRANSPORT(core)
TRANSPORT(core_legacy)
TRANSPORT(pci)
TRANSPORT(pci_armed)
TRANSPORT(pci_pio)
TRANSPORT(pci_window)
TRANSPORT(pci_legacy)
TRANSPORT(pci_legacy_armed)

#define TRANSPORTS_MAX 8

/* libcheck keeps the label as it is given. */
static inline void transports_add(Suite *s, const char *name, void (*add)(TCase *tc),
				  void (*const *on)(void), unsigned int nr)
{
	static char labels[TRANSPORTS_MAX][64];

	for (unsigned int i = 0; i < nr; i++) {
		on[i]();
		snprintf(labels[i], sizeof(labels[i]), i ? "%s@%s" : "%s", name,
			 bench_transport->name);
		TCase *tc = tcase_create(labels[i]);
		tcase_set_timeout(tc, 60);
		tcase_add_checked_fixture(tc, on[i], NULL);
		add(tc);
		suite_add_tcase(s, tc);
	}
}

static inline int transports_run(Suite *s)
{
	SRunner *sr = srunner_create(s);

	srunner_run_all(sr, CK_VERBOSE);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}

/* `alone` (or NULL) adds tests that only the first transport has. */
#define TRANSPORTS_SUITE(name, add, alone, ...)                                                    \
	int main(void)                                                                             \
	{                                                                                          \
		static void (*const on[])(void) = { __VA_ARGS__ };                                 \
		void (*only)(TCase *) = alone;                                                     \
		Suite *s = suite_create(name);                                                     \
		transports_add(s, name, add, on, ARRAY_SIZE(on));                                  \
		if (only)                                                                          \
			transports_add(s, name, only, on, 1);                                      \
		return transports_run(s);                                                          \
	}

#endif
