/* SPDX-License-Identifier: GPL-2.0 */
#define util_now_ns mock_real_now_ns
#include "../../util/util.c"
#undef util_now_ns

#include "clock.h"

_Atomic uint64_t mock_clock_skew, mock_clock_step, mock_clock_frozen;

uint64_t util_now_ns(void)
{
	uint64_t frozen = atomic_load(&mock_clock_frozen);

	if (frozen)
		return frozen;
	return mock_real_now_ns() + atomic_fetch_add(&mock_clock_skew, mock_clock_step);
}
