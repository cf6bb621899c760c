/* SPDX-License-Identifier: GPL-2.0 */
// LINK: util/json.c
#include <string.h>

#include <lkvm/json.h>
#include <lkvm/util.h>

#include "unit.h"

static const struct {
	const char *text, *json;
} strings[] = {
	{ "", "\"\"" },
	{ "plain", "\"plain\"" },
	{ "a\"b\\c/d", "\"a\\\"b\\\\c/d\"" },
	{ "\n\t\r\x01\x1f\x7f", "\"\\u000a\\u0009\\u000d\\u0001\\u001f\\u007f\"" },
	{ "\033[0m", "\"\\u001b[0m\"" },
	/* Each length's first and last. */
	{ "\xc2\x80 \xdf\xbf", "\"\xc2\x80 \xdf\xbf\"" },
	{ "\xe0\xa0\x80 \xef\xbf\xbf", "\"\xe0\xa0\x80 \xef\xbf\xbf\"" },
	{ "\xed\x9f\xbf \xee\x80\x80", "\"\xed\x9f\xbf \xee\x80\x80\"" },
	{ "\xf0\x90\x80\x80 \xf4\x8f\xbf\xbf", "\"\xf0\x90\x80\x80 \xf4\x8f\xbf\xbf\"" },
	/* No UTF-8: a stray byte, overlong, a surrogate, too high, cut off. */
	{ "\x80", "\"\\ufffd\"" },
	{ "\xff\xfe", "\"\\ufffd\\ufffd\"" },
	{ "\xc0\x80", "\"\\ufffd\\ufffd\"" },
	{ "\xc1\xbf", "\"\\ufffd\\ufffd\"" },
	{ "\xe0\x9f\xbf", "\"\\ufffd\\ufffd\\ufffd\"" },
	{ "\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\"" },
	{ "\xf0\x8f\xbf\xbf", "\"\\ufffd\\ufffd\\ufffd\\ufffd\"" },
	{ "\xf4\x90\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\"" },
	{ "\xf5\x80\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\"" },
	{ "\xc3", "\"\\ufffd\"" },
	{ "\xe2\x82", "\"\\ufffd\\ufffd\"" },
	{ "\xf0\x9f\x92", "\"\\ufffd\\ufffd\\ufffd\"" },
	{ "\xc3\"", "\"\\ufffd\\\"\"" },
};

START_TEST(strings_are_escaped)
{
	char buf[128] = "";
	FILE *f = fmemopen(buf, sizeof(buf), "w");
	struct json j = { .out = f, .depth = 0 };
	/* In storage of its own size, so that reading behind it is seen. */
	char *text = strdup(strings[_i].text);

	json_string(&j, NULL, text);
	fclose(f);
	ck_assert_str_eq(buf, strings[_i].json);
	free(text);
}
END_TEST

START_TEST(a_document)
{
	char buf[512] = "";
	FILE *f = fmemopen(buf, sizeof(buf), "w");
	struct json j = { .out = f };

	json_open(&j, NULL, '{');
	json_number(&j, "n", UINT64_MAX);
	json_string(&j, "none", NULL);
	json_open(&j, "empty", '[');
	json_close(&j, ']');
	json_open(&j, "list", '[');
	json_string(&j, NULL, "a");
	json_open(&j, NULL, '{');
	json_null(&j, "k\"");
	json_raw(&j, "raw", "{\"a\": 1}");
	json_close(&j, '}');
	json_close(&j, ']');
	json_close(&j, '}');
	fclose(f);
	ck_assert_str_eq(buf, "{\n"
			      "  \"n\": 18446744073709551615,\n"
			      "  \"none\": null,\n"
			      "  \"empty\": [],\n"
			      "  \"list\": [\n"
			      "    \"a\",\n"
			      "    {\n"
			      "      \"k\\\"\": null,\n"
			      "      \"raw\": {\"a\": 1}\n"
			      "    }\n"
			      "  ]\n"
			      "}\n");
}
END_TEST

UNIT_SUITE("json", {
	tcase_add_loop_test(tc, strings_are_escaped, 0, ARRAY_SIZE(strings));
	tcase_add_test(tc, a_document);
})
