/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lkvm/json.h>
#include <lkvm/result-json.h>
#include <lkvm/result.h>
#include <lkvm/util.h>

/* What a program needs to know of how it ended. `stop` is zero when no machine was made. */
static void put_end(struct json *j, const struct result_info *info, const struct stop_info *stop)
{
	const char *signal = NULL;
	char buf[32];

	json_string(j, "outcome", info->outcome);
	json_number(j, "status", (uint64_t)info->status);
	if (stop->reason == STOP_DEBUG_EXIT || stop->reason == STOP_COMMAND)
		json_number(j, "guest_status", stop->value);
	else
		json_null(j, "guest_status");
	if (stop->reason == STOP_SIGNAL) {
		snprintf(buf, sizeof(buf), "SIG%s", sigabbrev_np((int)stop->value) ?: "?");
		signal = buf;
	}
	json_string(j, "signal", signal);
	json_string(j, "message", info->message);
	json_string(j, "cause", stop->detail[0] ? stop->detail : NULL);
}

static void put_console(struct json *j, const struct machine_result *res)
{
	const struct conlog_crash *crash = &res->console.crash;

	if (crash->kind) {
		json_open(j, "crash", '{');
		json_string(j, "kind", crash_kind_name(crash->kind));
		json_string(j, "line", crash->line);
		json_open(j, "fingerprint", '[');
		for (unsigned int i = 0; i < crash->frames_nr; i++)
			json_string(j, NULL, crash->frames[i]);
		json_close(j, ']');
		json_close(j, '}');
	} else {
		json_null(j, "crash");
	}
	json_number(j, "splats", res->console.splats);
	json_open(j, "console", '{');
	json_number(j, "bytes", res->console.bytes);
	json_number(j, "dropped", res->console_dropped);
	json_close(j, '}');
}

static void put_tests(struct json *j, const struct ktap *k)
{
	unsigned int nr = 0;

	if (!k) {
		json_null(j, "tests");
		return;
	}
	json_open(j, "tests", '{');
	for (unsigned int i = 0; i < KTAP_OUTCOMES_NR; i++)
		json_number(j, ktap_outcome_name(i), k->count[i]);
	json_string(j, "broken", k->broken[0] ? k->broken : NULL);
	json_open(j, "failures", '[');
	for (size_t i = 0; i < k->cases_nr && nr < RESULT_FAILURES; i++)
		if (k->cases[i].outcome == KTAP_FAILED) {
			json_string(j, NULL, k->cases[i].name);
			nr++;
		}
	json_close(j, ']');
	json_close(j, '}');
}

static void put_time(struct json *j, const char *key, uint64_t at_ns, uint64_t start_ns)
{
	if (at_ns)
		json_number(j, key, at_ns - start_ns);
	else
		json_null(j, key);
}

static void put_times(struct json *j, const struct result_info *info,
		      const struct machine_times *times)
{
	char date[sizeof("2000-01-01T00:00:00")], text[sizeof(date) + sizeof(".000Z")];
	struct tm tm;

	gmtime_r(&info->start_wall.tv_sec, &tm);
	strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text, sizeof(text), "%s.%03uZ", date,
		 (unsigned int)(info->start_wall.tv_nsec / 1000000) % 1000);
	json_string(j, "started", text);
	json_open(j, "times_ns", '{');
	put_time(j, "first_exit", times->first_exit, info->start_ns);
	put_time(j, "first_byte", times->first_byte, info->start_ns);
	put_time(j, "init", times->init, info->start_ns);
	put_time(j, "end", times->end ? times->end : util_now_ns(), info->start_ns);
	json_close(j, '}');
}

static void put_counters(struct json *j, const struct machine_result *res)
{
	json_number(j, "restarts", res->restarts);
	json_open(j, "exits", '{');
	for (unsigned int reason = 0; reason < VCPU_EXITS_NR; reason++)
		if (res->exits[reason])
			json_number(j, vcpu_exit_name(reason), res->exits[reason]);
	json_close(j, '}');
	json_open(j, "devices", '[');
	for (unsigned int i = 0; i < res->devices_nr; i++) {
		json_open(j, NULL, '{');
		json_string(j, "device", res->devices[i].name);
		json_number(j, "slot", res->devices[i].slot);
		json_number(j, "requests", res->devices[i].requests);
		if (res->devices[i].own)
			json_raw(j, "detail", res->devices[i].own);
		json_close(j, '}');
	}
	json_close(j, ']');
}

void result_write_json(FILE *out, const struct result_info *info)
{
	static const struct machine_result none;
	const struct machine_result *res = info->res ? info->res : &none;
	struct json j = { .out = out };
	char *cwd = getcwd(NULL, 0);

	json_open(&j, NULL, '{');
	json_number(&j, "lkvm_result", RESULT_VERSION);
	json_string(&j, "version", LKVM_VERSION);
	json_string(&j, "name", info->name);
	put_end(&j, info, &res->stop);
	put_console(&j, res);
	put_tests(&j, info->tests);
	put_times(&j, info, &res->times);
	put_counters(&j, res);
	json_open(&j, "argv", '[');
	json_string(&j, NULL, program_invocation_name);
	for (char *const *arg = info->argv; *arg; arg++)
		json_string(&j, NULL, *arg);
	json_close(&j, ']');
	json_string(&j, "cwd", cwd);
	json_close(&j, '}');
	free(cwd);
}
