/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>

#include <lkvm/util.h>

#include "fault-plan.h"

#define SECTOR 512u

/* Linux's errno values are below this. */
#define ERRNO_END 134

#define OP(op)    (1u << (op))
#define OPS_DATA  (OP(BLK_READ) | OP(BLK_WRITE))

static const struct {
	const char *name;
	unsigned int ops;
} ops[] = {
	{ "read", OP(BLK_READ) },
	{ "write", OP(BLK_WRITE) },
	{ "flush", OP(BLK_FLUSH) },
	{ "discard", OP(BLK_DISCARD) },
	{ "zeroes", OP(BLK_WRITE_ZEROES) },
	{ "any", OPS_DATA | OP(BLK_FLUSH) | OP(BLK_DISCARD) | OP(BLK_WRITE_ZEROES) },
};

/* A piece of the plan's text. */
struct text {
	const char *at;
	size_t len;
};

static bool text_is(struct text t, const char *name)
{
	return t.len == strlen(name) && memcmp(t.at, name, t.len) == 0;
}

/* Cuts the piece up to the first `sep`, or all. */
static struct text text_cut(struct text *t, char sep)
{
	const char *end = memchr(t->at, sep, t->len);
	struct text piece = { t->at, end ? (size_t)(end - t->at) : t->len };

	t->at += piece.len + (end ? 1 : 0);
	t->len -= piece.len + (end ? 1 : 0);
	return piece;
}

/* A decimal number at the start, which is taken away. */
static bool text_number(struct text *t, uint64_t *v)
{
	size_t nr = 0;

	for (*v = 0; nr < t->len && t->at[nr] >= '0' && t->at[nr] <= '9'; nr++)
		if (__builtin_mul_overflow(*v, 10, v) ||
		    __builtin_add_overflow(*v, t->at[nr] - '0', v))
			return false;
	t->at += nr;
	t->len -= nr;
	return nr > 0;
}

/* Terms. Each returns whether its value is right. */

static bool term_count(struct text value, uint64_t *to)
{
	return text_number(&value, to) && value.len == 0 && *to > 0;
}

static bool term_sectors(struct fault_rule *rule, struct text value)
{
	if (!text_number(&value, &rule->first))
		return false;
	rule->last = rule->first;
	if (value.len > 0 && (text_cut(&value, '-').len > 0 || !text_number(&value, &rule->last)))
		return false;
	return value.len == 0 && rule->first <= rule->last;
}

static bool term_delay(struct fault_rule *rule, struct text value)
{
	static const struct {
		const char *name;
		uint64_t ns;
	} units[] = { { "us", 1000 }, { "ms", 1000000 }, { "s", NSEC_PER_SEC } };
	uint64_t v;

	if (!text_number(&value, &v))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(units); i++)
		if (text_is(value, units[i].name))
			return v > 0 && v <= 3600 * NSEC_PER_SEC / units[i].ns &&
			       (rule->delay_ns = v * units[i].ns);
	return false;
}

static bool term_errno(struct fault_rule *rule, struct text value)
{
	for (int e = 1; e < ERRNO_END; e++) {
		const char *name = strerrorname_np(e);

		if (name && text_is(value, name)) {
			rule->error = -e;
			return true;
		}
	}
	return false;
}

static int parse_term(struct fault_rule *rule, struct text term, struct err *err)
{
	struct text whole = term, key = text_cut(&term, '=');
	bool flag = key.len == whole.len, ok;

	if (text_is(key, "nth"))
		ok = term_count(term, &rule->nth);
	else if (text_is(key, "from"))
		ok = term_count(term, &rule->from);
	else if (text_is(key, "every"))
		ok = term_count(term, &rule->every);
	else if (text_is(key, "sectors"))
		ok = term_sectors(rule, term);
	else if (text_is(key, "delay"))
		ok = term_delay(rule, term);
	else if (text_is(key, "errno"))
		ok = term_errno(rule, term);
	else if (text_is(whole, "short") || text_is(whole, "torn"))
		ok = flag && rule->end == FAULT_NONE &&
		     (rule->end = text_is(whole, "short") ? FAULT_SHORT : FAULT_TORN);
	else
		return err_usage(err,
				 "fault plan: \"%.*s\" is not nth=N, from=N, every=N, sectors=A-B, "
				 "errno=NAME, delay=TIME, short or torn",
				 (int)MIN(whole.len, (size_t)40), whole.at);
	if (!ok)
		return err_usage(err,
				 "fault plan: \"%.*s\" is wrong: numbers start at 1, sectors=8-15, "
				 "delay=10ms, errno=EIO, short or torn once",
				 (int)MIN(whole.len, (size_t)40), whole.at);
	return 0;
}

/* What cannot be seen in one term. */
static int check_rule(struct fault_rule *rule, struct text text, struct err *err)
{
	const char *fault = NULL;

	if ((rule->nth > 0) + (rule->from > 0) + (rule->every > 0) > 1)
		fault = "has more than one of nth, from and every";
	else if (rule->end != FAULT_NONE && (rule->ops & ~OPS_DATA))
		fault = "is not for read or write, and only these can be short or torn";
	else if (rule->end == FAULT_TORN && rule->error)
		fault = "is torn, which is reported as done, and has an errno";
	else if (rule->end == FAULT_NONE && !rule->error && !rule->delay_ns)
		fault = "does nothing: give errno=NAME, delay=TIME, short or torn";
	else if ((rule->ops == OP(BLK_FLUSH)) && (rule->first > 0 || rule->last < UINT64_MAX))
		fault = "has sectors, which a flush has not";
	if (fault)
		return err_usage(err, "fault plan: rule \"%.*s\" %s",
				 (int)MIN(text.len, (size_t)80), text.at, fault);
	if (rule->end == FAULT_NONE && rule->error)
		rule->end = FAULT_ERROR;
	if (rule->end == FAULT_SHORT && !rule->error)
		rule->error = -EIO;
	return 0;
}

static int parse_rule(struct fault_rule *rule, struct text text, struct err *err)
{
	struct text rest = text, op = text_cut(&rest, ':');
	int ret;

	rule->last = UINT64_MAX;
	for (size_t i = 0; i < ARRAY_SIZE(ops); i++)
		if (text_is(op, ops[i].name))
			rule->ops = ops[i].ops;
	if (!rule->ops)
		return err_usage(err,
				 "fault plan: \"%.*s\" is not read, write, flush, discard, zeroes "
				 "or any",
				 (int)MIN(op.len, (size_t)40), op.at);
	while (rest.len > 0) {
		ret = parse_term(rule, text_cut(&rest, ':'), err);
		if (ret < 0)
			return ret;
	}
	return check_rule(rule, text, err);
}

int fault_plan_parse(struct fault_plan *plan, const char *text, struct err *err)
{
	struct text rest = { text, strlen(text) };
	int ret;

	*plan = (struct fault_plan){ 0 };
	do {
		if (plan->rules_nr == FAULT_RULES_MAX)
			return err_usage(err, "fault plan: has more than %d rules",
					 FAULT_RULES_MAX);
		ret = parse_rule(&plan->rules[plan->rules_nr++], text_cut(&rest, ';'), err);
	} while (ret == 0 && rest.len > 0);
	return ret;
}

/* Whether the rule holds for this one, which is counted. */
static bool holds(struct fault_rule *rule, const struct blk_request *r)
{
	uint64_t n;

	if (!(rule->ops & OP(r->op)))
		return false;
	if (r->op == BLK_FLUSH) {
		if (rule->first > 0 || rule->last < UINT64_MAX)
			return false;
	} else if (r->len == 0 || r->off / SECTOR > rule->last ||
		   (r->off + r->len - 1) / SECTOR < rule->first) {
		return false;
	}
	n = atomic_fetch_add(&rule->count, 1) + 1;
	return (!rule->nth || n == rule->nth) && (!rule->from || n >= rule->from) &&
	       (!rule->every || n % rule->every == 0);
}

struct fault_verdict fault_plan_judge(struct fault_plan *plan, const struct blk_request *r)
{
	struct fault_verdict v = { 0 };

	for (unsigned int i = 0; i < plan->rules_nr; i++) {
		struct fault_rule *rule = &plan->rules[i];

		if (!holds(rule, r))
			continue;
		v.delay_ns += rule->delay_ns;
		if (v.end == FAULT_NONE) {
			v.end = rule->end;
			v.error = rule->error;
		}
	}
	return v;
}
