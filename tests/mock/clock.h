/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The project's clock as a test sets it: what the host says, plus a skew. Link tests/mock/clock.c in the
 * place of util/util.c.
 */
#ifndef LKVM_TESTS_CLOCK_H
#define LKVM_TESTS_CLOCK_H

#include <stdatomic.h>
#include <stdint.h>

extern _Atomic uint64_t mock_clock_skew; /* ns that are added */
extern _Atomic uint64_t
	mock_clock_step; /* ns by which the skew grows with every look at the clock */

extern _Atomic uint64_t mock_clock_frozen; /* if not 0: what it says, whatever the host's does */

uint64_t util_now_ns(void);
uint64_t mock_real_now_ns(void);

#endif
