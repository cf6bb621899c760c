/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A backend that lets another one fail by a plan: what a kernel, a file system or a test wants to meet.
 *
 *   PLAN   = RULE { ";" RULE }
 *   RULE   = OP { ":" TERM }
 *   OP     = read | write | flush | discard | zeroes | any
 *   which of them:
 *     nth=N        the N-th alone, counted from 1
 *     from=N       the N-th and all later ones
 *     every=N      the N-th, the 2N-th, ...
 *     sectors=A-B  only those that touch these sectors of 512 bytes; only they are counted
 *   what becomes of them (at least one):
 *     errno=NAME   fails with EIO, ENOSPC, ..., and does nothing
 *     delay=TIME   starts after 10ms, 2s, 50us; alone, or before one of the others
 *     short        its first half is transferred, then it fails with EIO, or with errno=NAME
 *     torn         its first half is transferred, and it is reported as done: the rest of a write is
 *                  lost, the rest of a read is zeros
 *
 * Without nth, from or every a rule is for each of its kind. A half is whole blocks, so of one block it is
 * nothing. Each rule counts on its own, over all queues, in the order in which requests arrive. Of several
 * rules that hold for a request delays add up, and the first of the others counts.
 *
 *   write:nth=3:errno=EIO;flush:every=2:delay=10ms;read:sectors=2048-4095:errno=EIO
 */
#ifndef LKVM_BLOCK_FAULT_H
#define LKVM_BLOCK_FAULT_H

#include <lkvm/block/backend.h>

/*
 * Makes `below` its own, also when it fails. -EINVAL and ERR_USAGE with a sentence when the plan is not
 * of that grammar. `plan` is not needed afterwards.
 */
int blk_fault_new(struct blk_backend **out, struct blk_backend *below, const char *plan,
		  struct err *err);

#endif
