/* SPDX-License-Identifier: GPL-2.0 */
#include <inttypes.h>
#include <string.h>

#include <lkvm/result-cases.h>
#include <lkvm/result.h>
#include <lkvm/util.h>

static const struct ktap no_tests;

static const char *run_name(const struct result_info *info)
{
	return info->name ? info->name : "run";
}

/* JUnit. */

/* Bytes that are not ASCII become '?': a name with one that is not UTF-8 would spoil the document. */
static void put_xml(FILE *out, const char *text)
{
	for (const unsigned char *s = (const unsigned char *)text; *s; s++) {
		if (*s == '&' || *s == '<' || *s == '>' || *s == '"')
			fprintf(out, "&#%u;", *s);
		else
			fputc(*s < ' ' || *s >= 0x7f ? '?' : *s, out);
	}
}

static void put_attribute(FILE *out, const char *name, const char *value)
{
	fprintf(out, " %s=\"", name);
	put_xml(out, value);
	fputc('"', out);
}

static void put_seconds(FILE *out, uint64_t ns)
{
	fprintf(out, " time=\"%" PRIu64 ".%03u\"", (uint64_t)(ns / NSEC_PER_SEC),
		(unsigned int)(ns % NSEC_PER_SEC / 1000000));
}

static void put_begin(FILE *out, const char *class, const char *name, uint64_t ns)
{
	fputs("    <testcase", out);
	put_attribute(out, "classname", class);
	put_attribute(out, "name", name);
	put_seconds(out, ns);
}

static bool is_error(const struct result_info *info)
{
	return info->status >= STATUS_USAGE && info->status <= STATUS_INTERNAL;
}

static void put_run(FILE *out, const struct result_info *info, uint64_t ns)
{
	put_begin(out, "lkvm", run_name(info), ns);
	if (!info->status) {
		fputs("/>\n", out);
		return;
	}
	fprintf(out, ">\n      <%s", is_error(info) ? "error" : "failure");
	put_attribute(out, "type", info->outcome);
	put_attribute(out, "message", info->message);
	fputs("/>\n    </testcase>\n", out);
}

static void put_case(FILE *out, const struct result_info *info, const struct ktap_case *c)
{
	put_begin(out, run_name(info), c->name, 0);
	if (c->outcome == KTAP_PASSED)
		fputs("/>\n", out);
	else if (c->outcome == KTAP_FAILED)
		fputs(">\n      <failure type=\"not ok\" message=\"not ok\"/>\n    </testcase>\n",
		      out);
	else
		fputs(">\n      <skipped/>\n    </testcase>\n", out);
}

static void put_suite(FILE *out, const struct result_info *info, const struct ktap *k, uint64_t ns)
{
	size_t failed = info->status && !is_error(info), skipped = 0;
	char date[sizeof("2000-01-01T00:00:00")];
	struct tm tm;

	for (size_t i = 0; i < k->cases_nr; i++) {
		failed += k->cases[i].outcome == KTAP_FAILED;
		skipped += k->cases[i].outcome > KTAP_FAILED;
	}
	gmtime_r(&info->start_wall.tv_sec, &tm);
	strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
	fputs("  <testsuite id=\"0\" package=\"lkvm\" hostname=\"localhost\"", out);
	put_attribute(out, "name", run_name(info));
	put_attribute(out, "timestamp", date);
	put_seconds(out, ns);
	fprintf(out, " tests=\"%zu\" failures=\"%zu\" errors=\"%d\" skipped=\"%zu\">\n",
		k->cases_nr + 1, failed, is_error(info), skipped);
}

void result_write_junit(FILE *out, const struct result_info *info)
{
	const struct ktap *k = info->tests ? info->tests : &no_tests;
	uint64_t end = info->res && info->res->times.end ? info->res->times.end : util_now_ns();
	uint64_t ns = end - info->start_ns;

	fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n", out);
	put_suite(out, info, k, ns);
	fputs("    <properties/>\n", out);
	put_run(out, info, ns);
	for (size_t i = 0; i < k->cases_nr; i++)
		put_case(out, info, &k->cases[i]);
	fputs("    <system-out>", out);
	put_xml(out, info->message);
	fputs("</system-out>\n    <system-err/>\n  </testsuite>\n</testsuites>\n", out);
}

/* TAP. */

static void put_tap(FILE *out, bool ok, size_t nr, const char *name)
{
	fprintf(out, "%sok %zu - ", ok ? "" : "not ", nr);
	for (; *name; name++) {
		if (*name == '#' || *name == '\\')
			fputc('\\', out);
		fputc((unsigned char)*name < ' ' ? '?' : *name, out);
	}
}

void result_write_tap(FILE *out, const struct result_info *info)
{
	static const char *const directives[] = {
		[KTAP_SKIPPED] = " # SKIP",
		[KTAP_EXPECTED] = " # todo",
	};
	const struct ktap *k = info->tests ? info->tests : &no_tests;

	fprintf(out, "TAP version 13\n1..%zu\n", k->cases_nr + 1);
	put_tap(out, !info->status, 1, run_name(info));
	fputs("\n# ", out);
	for (const char *s = info->message; *s; s++)
		fputc((unsigned char)*s < ' ' ? '?' : *s, out);
	fputc('\n', out);
	for (size_t i = 0; i < k->cases_nr; i++) {
		const struct ktap_case *c = &k->cases[i];
		bool ok = c->outcome == KTAP_PASSED || c->outcome == KTAP_SKIPPED;

		put_tap(out, ok, i + 2, c->name);
		fprintf(out, "%s\n", c->outcome > KTAP_FAILED ? directives[c->outcome] : "");
	}
}
