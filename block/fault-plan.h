/* SPDX-License-Identifier: GPL-2.0 */
/* A fault plan as a table; fault.h has its grammar. */
#ifndef LKVM_BLOCK_FAULT_PLAN_H
#define LKVM_BLOCK_FAULT_PLAN_H

#include <stdatomic.h>

#include <lkvm/block/backend.h>

#define FAULT_RULES_MAX 32

enum fault_end { FAULT_NONE, FAULT_ERROR, FAULT_SHORT, FAULT_TORN };

struct fault_rule {
	unsigned int ops; /* a bit for each enum blk_op */
	enum fault_end end;
	int error; /* -errno, for FAULT_ERROR and FAULT_SHORT */
	uint64_t delay_ns;
	uint64_t nth, from, every; /* at most one is not 0 */
	uint64_t first, last;      /* sectors of 512 bytes */
	_Atomic uint64_t count;    /* requests of this kind so far */
};

struct fault_plan {
	struct fault_rule rules[FAULT_RULES_MAX];
	unsigned int rules_nr;
};

/* Returns 0, or -EINVAL and a sentence. */
int fault_plan_parse(struct fault_plan *plan, const char *text, struct err *err);

/* What becomes of `r`: counts it in each rule. Any thread. */
struct fault_verdict {
	enum fault_end end;
	int error;
	uint64_t delay_ns;
};

struct fault_verdict fault_plan_judge(struct fault_plan *plan, const struct blk_request *r);

#endif
