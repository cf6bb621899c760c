/* SPDX-License-Identifier: GPL-2.0 */
/* What holds whatever a driver did: G1 to G9 of the checklist, in one place. */
#ifndef LKVM_TESTS_HOSTILE_H
#define LKVM_TESTS_HOSTILE_H

#include "bench.h"

enum outcome {
	HD_ODD,      /* W: odd, but served: the driver's next request is too */
	HD_IGNORED,  /* I, V: nothing changed; the same */
	HD_RETURNED, /* E: what was published came back with length 0, and the queue goes on */
	HD_BROKEN,   /* R: NEEDS_RESET, one config interrupt, nothing more is done */
	HD_SAFE,     /* whatever follows: the rings themselves were overwritten */
};

/* After a hostile act on queue 0 of testdev, which was up: its own outcome, then G1 to G9. */
void hostile_check(struct bench *b, enum outcome outcome);
/* G1 to G9 alone, at any time; leaves the device up and healthy. */
void hostile_recover(struct bench *b);

#endif
