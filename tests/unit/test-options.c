/* SPDX-License-Identifier: GPL-2.0 */
// LINK: util/options.c util/option-types.c util/nearest.c util/err.c run-foreign.c
#include "unit.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include <lkvm/nearest.h>
#include <lkvm/options.h>
#include <lkvm/run-foreign.h>
#include <lkvm/util.h>

struct config {
	const char *kernel;
	struct option_strings initrd;
	bool debug, acpi;
	uint64_t mem, timeout;
	uint32_t cpus, port;
	unsigned int console;
	struct option_cpus affinity;
};

static const char *const consoles[] = { "serial", "none", NULL };

#define FIELD(f) .off = offsetof(struct config, f)

static const struct option_def defs[] = {
	{ .help = "Boot" },
	{ "kernel", 'k', .arg = "FILE", .parse = option_string, FIELD(kernel),
	  .help = "the kernel: a bzImage or a vmlinux of the architecture that this host has, "
		  "found at "
		  "the usual places when it is not given" },
	{ "initrd", 'i', .repeat = true, .arg = "FILE", .parse = option_strings, FIELD(initrd),
	  .help = "an initrd; several are joined" },
	{ .help = "Machine" },
	{ "mem", 'm', .arg = "SIZE", .parse = option_size, FIELD(mem), .min = 16 * MIB,
	  .max = 4096 * GIB, .help = "memory" },
	{ "cpus", 'c', .arg = "N", .parse = option_u32, FIELD(cpus), .min = 1, .max = 254,
	  .help = "virtual CPUs" },
	{ "debug-exit", .arg = "PORT", .parse = option_u32, FIELD(port), .max = 0xffff,
	  .help = "a port" },
	{ "any", .arg = "N", .parse = option_u32, FIELD(port), .help = "any number" },
	{ "bytes", .arg = "SIZE", .parse = option_size, FIELD(mem), .help = "any size" },
	{ "no-acpi", .parse = option_clear, FIELD(acpi), .help = "no ACPI" },
	{ "console", .arg = "KIND", .parse = option_choice, FIELD(console), .choices = consoles,
	  .help = "where" },
	{ "timeout", .arg = "SECONDS", .parse = option_seconds, FIELD(timeout), .min = 1,
	  .max = 1000000 * NSEC_PER_SEC, .help = "when" },
	{ "vcpu-affinity-with-a-long-name", .arg = "LIST", .parse = option_cpus, FIELD(affinity),
	  .help = "which" },
	{ "debug", 'd', .parse = option_set, FIELD(debug), .help = "more" },
};

static const struct option_foreign foreign[] = {
	{ "-kernel", "lkvm spells it --kernel" },
	{ "-append", "lkvm spells it --params" },
	{ "--disk", "lkvm has no disks yet" },
	{ "--mem", "never said: lkvm has it" },
	{ "-d", "never said either" },
	{ "-n", "no network" },
};

static const struct option_table table = { defs, ARRAY_SIZE(defs), foreign, ARRAY_SIZE(foreign) };

static struct config cfg;
static struct err err;
static int rest;

/* Parses the words of `line`, which are parted by blanks. */
static int parse(const char *line)
{
	static char words[1024];
	char *argv[2 * OPTION_STRINGS_MAX + 8];
	int argc = 0;

	cfg = (struct config){ .acpi = true };
	err = ERR_INIT;
	rest = -1;
	strcpy(words, line);
	for (char *p = strtok(words, " "); p; p = strtok(NULL, " "))
		argv[argc++] = p;
	argv[argc] = NULL;
	return options_parse(&table, &cfg, argc, argv, &rest, &err);
}

static void assert_bad(const char *line, const char *sentence)
{
	ck_assert_msg(parse(line) == -EINVAL, "%s", line);
	ck_assert_int_eq(err.kind, ERR_USAGE);
	ck_assert_str_eq(err.msg, sentence);
}

START_TEST(spellings)
{
	static const char *const lines[] = { "--kernel vm", "--kernel=vm", "-k vm", "-kvm" };

	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		ck_assert_int_eq(parse(lines[i]), 0);
		ck_assert_str_eq(cfg.kernel, "vm");
		ck_assert_int_eq(rest, i == 0 || i == 2 ? 2 : 1);
	}
	ck_assert_int_eq(parse("--kernel="), 0);
	ck_assert_str_eq(cfg.kernel, "");
	ck_assert_int_eq(parse("--kernel=a=b"), 0);
	ck_assert_str_eq(cfg.kernel, "a=b");
	/* The next word is the value whatever it looks like. */
	ck_assert_int_eq(parse("-k --debug --debug"), 0);
	ck_assert_str_eq(cfg.kernel, "--debug");
	ck_assert(cfg.debug);
}
END_TEST

START_TEST(where_options_end)
{
	static const struct {
		const char *line;
		int rest;
	} rows[] = {
		{ "", 0 },        { "-d", 1 },           { "-d -- -k x", 2 },
		{ "--", 1 },      { "cmd -d", 0 },       { "-d cmd --kernel x", 1 },
		{ "-d - -k", 1 }, { "-k x -- -- y", 3 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		ck_assert_int_eq(parse(rows[i].line), 0);
		ck_assert_msg(rest == rows[i].rest, "%s: %d", rows[i].line, rest);
	}
}
END_TEST

START_TEST(flags)
{
	ck_assert_int_eq(parse("--debug --no-acpi"), 0);
	ck_assert(cfg.debug && !cfg.acpi);
	ck_assert_int_eq(parse("-d"), 0);
	ck_assert(cfg.debug && cfg.acpi);
	assert_bad("--debug=1", "option --debug takes no value (\"1\")");
	assert_bad("-dx", "unknown option -dx: --help lists the options");
	assert_bad("--no-debug", "unknown option --no-debug: --help lists the options");
	assert_bad("--acpi", "unknown option --acpi: --help lists the options");
}
END_TEST

START_TEST(once_unless_it_repeats)
{
	assert_bad("-k a --kernel b", "option --kernel is given twice");
	assert_bad("-d -d", "option --debug is given twice");
	ck_assert_int_eq(parse("-i a --initrd b --initrd=c"), 0);
	ck_assert_uint_eq(cfg.initrd.nr, 3);
	ck_assert_str_eq(cfg.initrd.str[0], "a");
	ck_assert_str_eq(cfg.initrd.str[2], "c");
}
END_TEST

START_TEST(strings_have_a_limit)
{
	char line[8 * OPTION_STRINGS_MAX] = "";

	for (int i = 0; i < OPTION_STRINGS_MAX; i++)
		strcat(line, "-i a ");
	ck_assert_int_eq(parse(line), 0);
	strcat(line, "-i last");
	assert_bad(line, "option --initrd: \"last\" is one too many: at most 64");
}
END_TEST

START_TEST(values_are_needed)
{
	assert_bad("--kernel", "option --kernel needs its FILE");
	assert_bad("-d -k", "option --kernel needs its FILE");
}
END_TEST

START_TEST(unknown_ones)
{
	assert_bad("--kernal x", "unknown option --kernal: did you mean --kernel?");
	assert_bad("--kerenl=x", "unknown option --kerenl: did you mean --kernel?");
	assert_bad("--kern x", "unknown option --kern: did you mean --kernel?");
	assert_bad("--noacpi", "unknown option --noacpi: did you mean --no-acpi?");
	assert_bad("-debug", "unknown option -debug: did you mean --debug?");
	assert_bad("-x", "unknown option -x: --help lists the options");
	assert_bad("--frobnicate", "unknown option --frobnicate: --help lists the options");
	assert_bad("--=x", "unknown option --: --help lists the options");
	/* No abbreviations, not even when only one fits. */
	assert_bad("--k x", "unknown option --k: --help lists the options");
}
END_TEST

START_TEST(long_nonsense)
{
	char line[512] = "--";

	memset(line + 2, 'k', 400);
	ck_assert_int_eq(parse(line), -EINVAL);
}
END_TEST

START_TEST(foreign_ones)
{
	assert_bad("-kernel x", "option -kernel: lkvm spells it --kernel");
	assert_bad("-append=x", "option -append: lkvm spells it --params");
	assert_bad("--disk=a.img", "option --disk: lkvm has no disks yet");
	assert_bad("-n x", "option -n: no network");
	/* The table wins, by name and by letter; a longer word is not the foreign one. */
	ck_assert_int_eq(parse("--mem 64 -d"), 0);
	ck_assert_int_eq(parse("-kernels"), 0);
	ck_assert_str_eq(cfg.kernel, "ernels");
}
END_TEST

START_TEST(headings_are_no_options)
{
	assert_bad("--Boot", "unknown option --Boot: --help lists the options");
}
END_TEST

START_TEST(numbers)
{
	static const struct {
		const char *line;
		uint32_t v;
	} good[] = {
		{ "-c 1", 1 },
		{ "-c 254", 254 },
		{ "-c 010", 10 },
		{ "-c 0x10", 16 },
		{ "--debug-exit 0xF4", 0xf4 },
		{ "--debug-exit 0", 0 },
		{ "--any 4294967295", UINT32_MAX },
		{ "--any 0xffffffff", UINT32_MAX },
	};
	static const char *const bad[] = { "",   "x",  "12x", "0x",  "0xg", "-1",
					   "+1", " 1", "1 ",  "1.5", "a",   "1k" };

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		ck_assert_msg(parse(good[i].line) == 0, "%s", good[i].line);
		ck_assert_uint_eq(good[i].line[1] == 'c' ? cfg.cpus : cfg.port, good[i].v);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		char sentence[128], arg[] = "--cpus", value[16];
		char *argv[] = { arg, value };

		strcpy(value, bad[i]);
		err = ERR_INIT;
		ck_assert_int_eq(options_parse(&table, &cfg, 2, argv, &rest, &err), -EINVAL);
		snprintf(sentence, sizeof(sentence), "option --cpus: \"%s\" is not a number",
			 bad[i]);
		ck_assert_str_eq(err.msg, sentence);
	}
	assert_bad("-c 0", "option --cpus: \"0\" is too small: at least 1");
	assert_bad("-c 255", "option --cpus: \"255\" is too large: at most 254");
	assert_bad("-c 100000", "option --cpus: \"100000\" is too large: at most 254");
	assert_bad("-c 4294967297", "option --cpus: \"4294967297\" is too large: at most 254");
	assert_bad("-c 18446744073709551617",
		   "option --cpus: \"18446744073709551617\" is too large: at most 254");
	assert_bad("--any 4294967296",
		   "option --any: \"4294967296\" is too large: at most 4294967295");
}
END_TEST

START_TEST(sizes)
{
	static const struct {
		const char *arg;
		uint64_t v;
	} good[] = {
		{ "512", 512 * MIB }, { "512M", 512 * MIB }, { "512m", 512 * MIB },
		{ "2G", 2 * GIB },    { "2g", 2 * GIB },     { "65536K", 64 * MIB },
		{ "1T", 1024 * GIB }, { "16", 16 * MIB },    { "4096G", 4096 * GIB },
	};
	static const char *const bad[] = { "",     "x",  "12x",  "M",  "2GB",
					   "2.5G", "-1", "0x10", "1P", "2G " };

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		char line[64];

		snprintf(line, sizeof(line), "-m %s", good[i].arg);
		ck_assert_msg(parse(line) == 0, "%s", line);
		ck_assert_uint_eq(cfg.mem, good[i].v);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		char arg[] = "--mem", value[16], sentence[128];
		char *argv[] = { arg, value };

		strcpy(value, bad[i]);
		err = ERR_INIT;
		ck_assert_int_eq(options_parse(&table, &cfg, 2, argv, &rest, &err), -EINVAL);
		snprintf(sentence, sizeof(sentence),
			 "option --mem: \"%s\" is not a size: use MiB (512) or K, M, G or T (2G)",
			 bad[i]);
		ck_assert_str_eq(err.msg, sentence);
	}
	assert_bad("-m 0", "option --mem: \"0\" is too small: at least 16M");
	assert_bad("-m 1", "option --mem: \"1\" is too small: at least 16M");
	assert_bad("-m 99999999G", "option --mem: \"99999999G\" is too large: at most 4194304M");
	assert_bad("-m 17179869185G",
		   "option --mem: \"17179869185G\" is too large: at most 4194304M");
	assert_bad("-m 99999999999999999999",
		   "option --mem: \"99999999999999999999\" is too large: at most 4194304M");
	/* Without a limit of its own the type's is the limit, not a wrap: 2^24 T is 2^64. */
	assert_bad("--bytes 16777216T",
		   "option --bytes: \"16777216T\" is too large: at most 17592186044415M");
	ck_assert_int_eq(parse("--bytes 16777215T"), 0);
	ck_assert_uint_eq(cfg.mem, 16777215ULL << 40);
}
END_TEST

START_TEST(choices)
{
	ck_assert_int_eq(parse("--console none"), 0);
	ck_assert_uint_eq(cfg.console, 1);
	ck_assert_int_eq(parse("--console=serial"), 0);
	ck_assert_uint_eq(cfg.console, 0);
	assert_bad("--console virtio", "option --console: \"virtio\" is none of serial, none");
	assert_bad("--console=", "option --console: \"\" is none of serial, none");
}
END_TEST

START_TEST(seconds)
{
	static const struct {
		const char *arg;
		uint64_t ns;
	} good[] = {
		{ "1", NSEC_PER_SEC },       { "30", 30 * NSEC_PER_SEC },
		{ "0.5", NSEC_PER_SEC / 2 }, { "1.25", NSEC_PER_SEC + NSEC_PER_SEC / 4 },
		{ "0.000000001", 1 },
	};
	static const char *const bad[] = { "x",   "1s",           "1.", ".5",  "1.5.",
					   "1,5", "1.0000000001", "-3", "1e3", "0x1" };

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		char line[64];

		snprintf(line, sizeof(line), "--timeout %s", good[i].arg);
		ck_assert_msg(parse(line) == 0, "%s", line);
		ck_assert_uint_eq(cfg.timeout, good[i].ns);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		char line[64], sentence[128];

		snprintf(line, sizeof(line), "--timeout %s", bad[i]);
		snprintf(sentence, sizeof(sentence),
			 "option --timeout: \"%s\" is not a number of seconds", bad[i]);
		assert_bad(line, sentence);
	}
	assert_bad("--timeout 0", "option --timeout: \"0\" is too small: it must be above 0");
	assert_bad("--timeout 0.0", "option --timeout: \"0.0\" is too small: it must be above 0");
	assert_bad("--timeout 1000001",
		   "option --timeout: \"1000001\" is too large: at most 1000000");
	assert_bad("--timeout 99999999999999",
		   "option --timeout: \"99999999999999\" is too large: at most 1000000");
}
END_TEST

#define AFF "--vcpu-affinity-with-a-long-name"

START_TEST(cpu_lists)
{
	static const uint16_t want[] = { 5, 0, 1, 2, 1023 };
	static const char *const bad[] = { "x",  "1,", ",1",    "1,,2", "3-1",
					   "1-", "-1", "1-2-3", "0x1",  "1;2" };

	ck_assert_int_eq(parse(AFF " 5,0-2,1023"), 0);
	ck_assert_uint_eq(cfg.affinity.nr, ARRAY_SIZE(want));
	for (size_t i = 0; i < ARRAY_SIZE(want); i++)
		ck_assert_uint_eq(cfg.affinity.cpu[i], want[i]);
	ck_assert_int_eq(parse(AFF " 0-1023"), 0);
	ck_assert_uint_eq(cfg.affinity.nr, OPTION_CPUS_MAX);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		char line[64], sentence[128];

		snprintf(line, sizeof(line), AFF " %s", bad[i]);
		snprintf(sentence, sizeof(sentence),
			 "option " AFF ": \"%s\" is not a list of CPUs (0,2-3)", bad[i]);
		assert_bad(line, sentence);
	}
	assert_bad(AFF " 1024", "option " AFF ": \"1024\" is too large: CPUs are 0 to 1023");
	assert_bad(AFF " 0-18446744073709551615",
		   "option " AFF ": \"0-18446744073709551615\" is too large: CPUs are 0 to 1023");
	assert_bad(AFF " 0,3,2-4", "option " AFF ": \"0,3,2-4\" names CPU 3 twice");
	assert_bad(AFF " 0-1023,0", "option " AFF ": \"0-1023,0\" names CPU 0 twice");
}
END_TEST

static char help[8192];

static void print_help(const struct option_table *t)
{
	FILE *f = fmemopen(help, sizeof(help), "w");

	options_help(t, f);
	fclose(f);
}

static const char help_start[] =
	"Boot:\n"
	"  -k, --kernel FILE         the kernel: a bzImage or a vmlinux of the\n"
	"                            architecture that this host has, found at the usual\n"
	"                            places when it is not given\n"
	"  -i, --initrd FILE         an initrd; several are joined\n"
	"\n"
	"Machine:\n"
	"  -m, --mem SIZE            memory\n";

START_TEST(help_text)
{
	print_help(&table);
	for (char *p = help, *end; *p; p = end + 1) {
		end = strchr(p, '\n');
		ck_assert_ptr_nonnull(end);
		ck_assert_msg(end - p <= 80, "%.*s", (int)(end - p), p);
		ck_assert_msg(end == p || !isspace((unsigned char)end[-1]), "%.*s", (int)(end - p),
			      p);
	}
	ck_assert_int_eq(strncmp(help, help_start, strlen(help_start)), 0);
	/* A name that leaves no room has its sentence on the next line. */
	ck_assert_ptr_nonnull(
		strstr(help, "      " AFF " LIST\n                            which\n"));
}
END_TEST

START_TEST(help_shows_every_option)
{
	print_help(&table);
	for (size_t i = 0; i < ARRAY_SIZE(defs); i++) {
		char name[64];

		snprintf(name, sizeof(name), defs[i].name ? "--%s" : "%s:\n",
			 defs[i].name ? defs[i].name : defs[i].help);
		ck_assert_msg(strstr(help, name) != NULL, "%s", name);
	}
}
END_TEST

START_TEST(nearest_names)
{
	static const char *const known[] = { "run", "doctor", "version", "help", "stop", "stat" };
	static const struct {
		const char *typed, *want;
	} rows[] = {
		{ "run", "run" },
		{ "rnu", "run" },
		{ "runn", "run" },
		{ "docter", "doctor" },
		{ "verison", "version" },
		{ "halp", "help" },
		{ "stpo", "stop" },
		{ "x", NULL },
		{ "", NULL },
		{ "abc", NULL },
		{ "start", "stat" },
		{ "ver", NULL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct nearest n = NEAREST_INIT(rows[i].typed);

		for (size_t j = 0; j < ARRAY_SIZE(known); j++)
			nearest_offer(&n, known[j]);
		ck_assert_msg(!n.best == !rows[i].want, "%s: %s", rows[i].typed, n.best);
		if (rows[i].want)
			ck_assert_str_eq(n.best, rows[i].want);
	}
}
END_TEST

/* Names of any length are compared or refused, never cut and never beyond the table of edits. */
START_TEST(nearest_long_names)
{
	char a[101], b[101];

	for (size_t alen = 0; alen <= 100; alen++) {
		for (size_t blen = 0; blen <= 100; blen += 5) {
			struct nearest n = NEAREST_INIT(a);

			memset(a, 'a', alen);
			memset(b, 'a', blen);
			a[alen] = b[blen] = '\0';
			nearest_offer(&n, b);
			ck_assert(!n.best || (alen <= 53 && blen <= 40));
			ck_assert(n.best || alen != blen || blen == 0 || blen > 40);
		}
	}
}
END_TEST

/* The rows about `lkvm run`: sentences that read well, no spelling twice. */
START_TEST(run_foreign_rows)
{
	ck_assert_uint_gt(run_foreign_nr, 60);
	for (unsigned int i = 0; i < run_foreign_nr; i++) {
		const struct option_foreign *f = &run_foreign[i];
		size_t len = strlen(f->say);

		ck_assert_msg(f->name[0] == '-' && !strpbrk(f->name, "= "), "%s", f->name);
		ck_assert_msg(len > 10 && f->say[len - 1] != '.', "%s", f->name);
		for (unsigned int j = 0; j < i; j++)
			ck_assert_str_ne(f->name, run_foreign[j].name);
	}
}
END_TEST

UNIT_SUITE("options", {
	tcase_add_test(tc, spellings);
	tcase_add_test(tc, where_options_end);
	tcase_add_test(tc, flags);
	tcase_add_test(tc, once_unless_it_repeats);
	tcase_add_test(tc, strings_have_a_limit);
	tcase_add_test(tc, values_are_needed);
	tcase_add_test(tc, unknown_ones);
	tcase_add_test(tc, long_nonsense);
	tcase_add_test(tc, foreign_ones);
	tcase_add_test(tc, headings_are_no_options);
	tcase_add_test(tc, numbers);
	tcase_add_test(tc, sizes);
	tcase_add_test(tc, choices);
	tcase_add_test(tc, seconds);
	tcase_add_test(tc, cpu_lists);
	tcase_add_test(tc, help_text);
	tcase_add_test(tc, help_shows_every_option);
	tcase_add_test(tc, nearest_names);
	tcase_add_test(tc, nearest_long_names);
	tcase_add_test(tc, run_foreign_rows);
})
