/* SPDX-License-Identifier: GPL-2.0 */
#include <stdio.h>
#include <string.h>

#include <lkvm/result.h>

static const struct {
	int status;
	const char *text;
} outcomes[] = {
	[STOP_NONE] = { STATUS_INTERNAL, "ended without a reason" },
	[STOP_RESET] = { STATUS_RESET, "guest reset" },
	[STOP_POWEROFF] = { STATUS_OK, "guest powered off" },
	[STOP_DEBUG_EXIT] = { STATUS_OK, "guest wrote its status" },
	[STOP_TIMEOUT] = { STATUS_TIMEOUT, "timeout" },
	[STOP_TRIPLE_FAULT] = { STATUS_TRIPLE_FAULT, "guest triple fault" },
	[STOP_PANIC] = { STATUS_PANIC, "guest panic" },
	[STOP_USER] = { STATUS_USER, "stopped by the user" },
	[STOP_SIGNAL] = { 0, "stopped by a signal" },
	[STOP_HOST] = { STATUS_HOST, "host failure" },
	[STOP_KVM] = { STATUS_INTERNAL, "KVM failure" },
};

int result_status(const struct stop_info *info)
{
	switch (info->reason) {
	case STOP_DEBUG_EXIT:
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

void result_describe(const struct stop_info *info, char *buf, size_t len)
{
	const char *text = outcomes[info->reason].text;

	if (info->reason == STOP_DEBUG_EXIT)
		snprintf(buf, len, "%s: %u", text, info->value);
	else if (info->reason == STOP_SIGNAL)
		snprintf(buf, len, "%s: SIG%s", text, sigabbrev_np((int)info->value) ?: "?");
	else
		snprintf(buf, len, "%s%s%s", text, info->detail[0] ? ": " : "", info->detail);
}
