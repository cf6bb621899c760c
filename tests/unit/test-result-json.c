/* SPDX-License-Identifier: GPL-2.0 */
// LINK: result-json.c result.c util/json.c util/util.c chr/classify.c chr/ktap.c
#include <linux/kvm.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include <lkvm/result-json.h>
#include <lkvm/result.h>
#include <lkvm/util.h>

#include "unit.h"

const char *vcpu_exit_name(unsigned int reason)
{
	return reason == KVM_EXIT_IO ? "IO" : "?";
}

static char *argv[] = { "run", "-k", "a \"kernel\"", NULL };

static char *write_json(const struct machine_result *res)
{
	struct result_info info = {
		.outcome = res ? result_outcome(res->stop.reason) : "usage",
		.status = res ? result_status(&res->stop) : STATUS_USAGE,
		.message = "in words",
		.res = res,
		.start_ns = 1000,
		.start_wall = { .tv_sec = 951782400, .tv_nsec = 7000000 },
		.argv = argv,
	};
	char *text;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	result_write_json(f, &info);
	fclose(f);
	return text;
}

static void has(const char *json, const char *part)
{
	ck_assert_msg(strstr(json, part) != NULL, "no %s in %s", part, json);
}

START_TEST(all_of_a_run)
{
	char own[] = "{\n        \"is\": 7\n      }";
	struct machine_result res = {
		.stop = { .reason = STOP_PANIC, .detail = "Kernel panic - not syncing: x" },
		.times = { .first_exit = 1001, .first_byte = 1500, .end = 9000 },
		.console = { .bytes = 77,
			     .splats = 2,
			     .crash = { .kind = CRASH_PANIC,
					.line = "Kernel panic - not syncing: x",
					.frames = { "f", "g" },
					.frames_nr = 2 } },
		.exits = { [KVM_EXIT_IO] = 5 },
		.devices = { { .name = "rng", .slot = 1, .requests = 3 },
			     { .name = "fake", .slot = 2, .own = own } },
		.devices_nr = 2,
		.restarts = 4,
		.console_dropped = 6,
	};
	char *json = write_json(&res);

	has(json, "\"lkvm_result\": 1,");
	has(json, "\"version\": \"" LKVM_VERSION "\"");
	has(json, "\"name\": null");
	has(json, "\"outcome\": \"panic\"");
	has(json, "\"status\": 201");
	has(json, "\"guest_status\": null");
	has(json, "\"signal\": null");
	has(json, "\"message\": \"in words\"");
	has(json, "\"cause\": \"Kernel panic - not syncing: x\"");
	has(json, "\"kind\": \"panic\"");
	has(json, "\"fingerprint\": [\n      \"f\",\n      \"g\"\n    ]");
	has(json, "\"splats\": 2");
	has(json, "\"bytes\": 77");
	has(json, "\"dropped\": 6");
	has(json, "\"started\": \"2000-02-29T00:00:00.007Z\"");
	has(json, "\"first_exit\": 1,");
	has(json, "\"first_byte\": 500,");
	has(json, "\"init\": null,");
	has(json, "\"end\": 8000\n");
	has(json, "\"restarts\": 4");
	has(json, "\"exits\": {\n    \"IO\": 5\n  }");
	has(json, "\"device\": \"rng\",\n      \"slot\": 1,\n      \"requests\": 3\n    },");
	has(json, "\"requests\": 0,\n      \"detail\": {\n        \"is\": 7\n      }\n    }\n  ]");
	has(json, "\"run\",\n    \"-k\",\n    \"a \\\"kernel\\\"\"");
	has(json, "\"cwd\": \"/");
	free(json);
}
END_TEST

START_TEST(no_machine_was_made)
{
	char *json = write_json(NULL);

	has(json, "\"outcome\": \"usage\"");
	has(json, "\"status\": 210");
	has(json, "\"cause\": null");
	has(json, "\"crash\": null");
	has(json, "\"tests\": null");
	has(json, "\"first_exit\": null");
	has(json, "\"exits\": {}");
	has(json, "\"devices\": []");
	free(json);
}
END_TEST

START_TEST(the_guest_s_status_and_signals)
{
	struct machine_result res = { .stop = { .reason = STOP_DEBUG_EXIT, .value = 255 } };
	char *json = write_json(&res);

	has(json, "\"status\": 199");
	has(json, "\"guest_status\": 255");
	free(json);
	res.stop = (struct stop_info){ .reason = STOP_SIGNAL, .value = SIGTERM };
	json = write_json(&res);
	has(json, "\"outcome\": \"signal\"");
	has(json, "\"status\": 143");
	has(json, "\"signal\": \"SIGTERM\"");
	has(json, "\"guest_status\": null");
	free(json);
}
END_TEST

START_TEST(tests_are_counted_and_failures_are_named)
{
	struct ktap k;

	ktap_init(&k);
	for (unsigned int i = 0; i < RESULT_FAILURES + 2; i++)
		ktap_feed(&k, KTAP_CONSOLE, (const uint8_t *)"not ok 1 x\n", 11);
	ktap_feed(&k, KTAP_CONSOLE, (const uint8_t *)"ok 1 y\nBail out! z\n", 19);
	ktap_end(&k);
	struct result_info info = { .outcome = "fail", .message = "", .argv = argv, .tests = &k };
	char *json;
	size_t len;
	FILE *f = open_memstream(&json, &len);
	result_write_json(f, &info);
	fclose(f);
	has(json, "\"passed\": 1,");
	has(json, "\"failed\": 34,");
	has(json, "\"broken\": \"the tests bailed out: z\"");
	unsigned int nr = 0;
	for (const char *s = json; (s = strstr(s, "\"x\"")); s++)
		nr++;
	ck_assert_uint_eq(nr, RESULT_FAILURES);
	free(json);
	ktap_release(&k);
}
END_TEST

UNIT_SUITE("result-json", {
	tcase_add_test(tc, tests_are_counted_and_failures_are_named);
	tcase_add_test(tc, all_of_a_run);
	tcase_add_test(tc, no_machine_was_made);
	tcase_add_test(tc, the_guest_s_status_and_signals);
})
