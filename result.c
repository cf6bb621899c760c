/* SPDX-License-Identifier: GPL-2.0 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <lkvm/result.h>

static const struct {
	int status;
	const char *outcome, *text;
} outcomes[] = {
	[STOP_NONE] = { STATUS_INTERNAL, "internal", "ended without a reason" },
	[STOP_RESET] = { STATUS_RESET, "reset", "guest reset" },
	[STOP_POWEROFF] = { STATUS_OK, "poweroff", "guest powered off" },
	[STOP_DEBUG_EXIT] = { STATUS_OK, "status", "guest wrote its status" },
	[STOP_COMMAND] = { STATUS_OK, "command", "the command's status" },
	[STOP_EARLY] = { STATUS_EARLY, "early", "ended before --until matched" },
	[STOP_TIMEOUT] = { STATUS_TIMEOUT, "timeout", "timeout" },
	[STOP_HANG] = { STATUS_HANG, "hang", "guest hang" },
	[STOP_TRIPLE_FAULT] = { STATUS_TRIPLE_FAULT, "triple-fault", "guest triple fault" },
	[STOP_UNTIL] = { STATUS_OK, "until", "--until matched" },
	[STOP_FAIL] = { STATUS_FAIL, "fail", "--fail matched" },
	[STOP_SPLAT] = { STATUS_SPLAT, "splat", "guest splat" },
	[STOP_PANIC] = { STATUS_PANIC, "panic", "guest panic" },
	[STOP_USER] = { STATUS_USER, "user", "stopped by the user" },
	[STOP_SIGNAL] = { 0, "signal", "stopped by a signal" },
	[STOP_HOST] = { STATUS_HOST, "host", "host failure" },
	[STOP_KVM] = { STATUS_INTERNAL, "internal", "KVM failure" },
};

int result_status(const struct stop_info *info)
{
	switch (info->reason) {
	case STOP_DEBUG_EXIT:
	case STOP_COMMAND:
		return info->value <= STATUS_GUEST_MAX ? (int)info->value : STATUS_GUEST_ABOVE;
	case STOP_SIGNAL:
		return 128 + (int)info->value;
	default:
		return outcomes[info->reason].status;
	}
}

int result_err_status(const struct err *err)
{
	switch (err->kind) {
	case ERR_NONE:
		return STATUS_OK;
	case ERR_USAGE:
		return STATUS_USAGE;
	case ERR_HOST:
		return STATUS_HOST;
	case ERR_INTERNAL:
		break;
	}
	return STATUS_INTERNAL;
}

const char *result_outcome(enum stop_reason reason)
{
	return outcomes[reason].outcome;
}

const char *result_err_outcome(const struct err *err)
{
	switch (err->kind) {
	case ERR_USAGE:
		return "usage";
	case ERR_HOST:
		return "host";
	case ERR_NONE:
	case ERR_INTERNAL:
		break;
	}
	return "internal";
}

/* It ended in order, with nothing to say of what did not come. */
static bool is_plain_end(const struct stop_info *info, enum stop_early what)
{
	switch (info->reason) {
	case STOP_UNTIL:
		return what == EARLY_TESTS;
	case STOP_RESET:
	case STOP_POWEROFF:
		return true;
	case STOP_DEBUG_EXIT:
	case STOP_COMMAND:
		return !info->value;
	default:
		return false;
	}
}

void result_early(struct stop_info *info, enum stop_early what)
{
	char text[STOP_DETAIL_LEN];

	if (!is_plain_end(info, what))
		return;
	result_describe(info, text, sizeof(text));
	*info = (struct stop_info){ .reason = STOP_EARLY, .value = what };
	memcpy(info->detail, text, sizeof(text));
}

void result_tests(struct stop_info *info, const struct ktap *k)
{
	const struct ktap_case *first = ktap_first_failure(k);
	char *text = info->detail;

	if (!k->count[KTAP_FAILED] && !k->broken[0]) {
		if (!ktap_tests(k))
			result_early(info, EARLY_TESTS);
		return;
	}
	if (info->reason >= STOP_FAIL)
		return;
	*info = (struct stop_info){ .reason = STOP_FAIL, .value = FAIL_TESTS };
	if (k->count[KTAP_FAILED])
		snprintf(text, STOP_DETAIL_LEN, "%" PRIu64 " of %" PRIu64 "%s%s",
			 k->count[KTAP_FAILED], ktap_tests(k), first ? ", the first: " : "",
			 first ? first->name : "");
	else
		snprintf(text, STOP_DETAIL_LEN, "%s", k->broken);
}

void result_describe(const struct stop_info *info, char *buf, size_t len)
{
	const char *text = outcomes[info->reason].text;

	if (info->reason == STOP_FAIL && info->value == FAIL_TESTS)
		text = "tests failed";
	else if (info->reason == STOP_EARLY && info->value == EARLY_TESTS)
		text = "ended without a test result (--ktap)";
	else if (info->reason == STOP_EARLY && info->value == EARLY_COMMAND)
		text = "ended before the command's status came";
	if (info->reason == STOP_DEBUG_EXIT || info->reason == STOP_COMMAND)
		snprintf(buf, len, "%s: %u", text, info->value);
	else if (info->reason == STOP_SIGNAL)
		snprintf(buf, len, "%s: SIG%s", text, sigabbrev_np((int)info->value) ?: "?");
	else
		snprintf(buf, len, "%s%s%s", text, info->detail[0] ? ": " : "", info->detail);
}
