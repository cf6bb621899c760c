/* SPDX-License-Identifier: GPL-2.0 */
// LINK: util/options.c util/option-types.c util/option-keys.c util/nearest.c util/err.c
/* Lists of keys in an option's value. */
#include "unit.h"

#include <errno.h>
#include <string.h>

#include <lkvm/options.h>
#include <lkvm/util.h>

struct disk {
	const char *file;
	uint32_t queues;
	bool ro, wce;
};
struct common {
	const char *iothread;
	uint32_t vectors;
};

#define DISK(f)   .off = offsetof(struct disk, f)
#define COMMON(f) .off = offsetof(struct common, f)

static const struct option_def disk_keys[] = {
	{ "", .arg = "FILE", .parse = option_string, DISK(file), .help = "the image" },
	{ "ro", .parse = option_set, DISK(ro), .help = "read-only" },
	{ "queues", .arg = "N", .parse = option_u32, DISK(queues), .min = 1, .max = 64,
	  .help = "queues" },
	{ "wce", .arg = "on|off", .parse = option_on_off, DISK(wce), .help = "cache" },
};
static const struct option_def common_keys[] = {
	{ "iothread", .arg = "NAME", .parse = option_string, COMMON(iothread), .help = "thread" },
	{ "vectors", .arg = "N", .parse = option_u32, COMMON(vectors), .help = "vectors" },
};

static struct disk disk;
static struct common common;
static char text[256];
static struct err err;

static int parse_some(const char *s, unsigned int skip)
{
	struct option_keys tables[] = {
		{ disk_keys + skip, ARRAY_SIZE(disk_keys) - skip, &disk },
		{ common_keys, ARRAY_SIZE(common_keys), &common },
	};

	disk = (struct disk){ 0 };
	common = (struct common){ 0 };
	err = ERR_INIT;
	snprintf(text, sizeof(text), "%s", s);
	return options_parse_keys("disk", tables, 2, text, &err);
}

static int parse(const char *s)
{
	return parse_some(s, 0);
}

START_TEST(takes_keys_of_all_tables)
{
	ck_assert_int_eq(parse("a.img,ro,queues=4,wce=on,iothread=t:u,vectors=0x10"), 0);
	ck_assert_str_eq(disk.file, "a.img");
	ck_assert(disk.ro && disk.wce);
	ck_assert_uint_eq(disk.queues, 4);
	ck_assert_str_eq(common.iothread, "t:u");
	ck_assert_uint_eq(common.vectors, 16);
	ck_assert_int_eq(parse("queues=4"), 0);
	ck_assert_ptr_null(disk.file);
	ck_assert_uint_eq(disk.queues, 4);
	ck_assert_int_eq(parse("ro,wce=off"), 0);
	ck_assert_str_eq(disk.file, "ro");
	ck_assert(!disk.ro && !disk.wce);
}

START_TEST(values_may_hold_anything)
{
	ck_assert_int_eq(parse("a,,b=c,,,,d,queues=1"), 0);
	ck_assert_str_eq(disk.file, "a,b=c,,d");
	ck_assert_int_eq(parse("./x,iothread=a=b,,"), 0);
	ck_assert_str_eq(common.iothread, "a=b,");
	ck_assert_int_eq(parse("./a=b"), 0);
	ck_assert_str_eq(disk.file, "./a=b");
}

static const struct {
	const char *text, *says;
} bad[] = {
	{ "a,queue=1", "option --disk: unknown key \"queue\": did you mean queues?" },
	{ "a,nonsense", "option --disk: unknown key \"nonsense\": `lkvm help run` lists them" },
	{ "file=a", "option --disk: unknown key \"file\": `lkvm help run` lists them" },
	{ "queue=1", "option --disk: unknown key \"queue\": did you mean queues?" },
	{ "a,", "option --disk: there is nothing between two commas" },
	{ "a,=x", "option --disk: unknown key \"\": `lkvm help run` lists them" },
	{ "", "option --disk needs its FILE" },
	{ "a,ro,ro", "option --disk: ro is given twice" },
	{ "a,vectors=1,vectors=1", "option --disk: vectors is given twice" },
	{ "a,ro=1", "option --disk, ro takes no value (\"1\")" },
	{ "a,queues", "option --disk, queues needs its N" },
	{ "a,queues=", "option --disk, queues needs its N" },
	{ "a,queues=0", "option --disk, queues: \"0\" is too small: at least 1" },
	{ "a,wce=yes", "option --disk, wce: \"yes\" is not on or off" },
};

START_TEST(says_what_is_wrong)
{
	ck_assert_int_eq(parse(bad[_i].text), -EINVAL);
	ck_assert_str_eq(err.msg, bad[_i].says);
}

START_TEST(without_a_value_of_its_own)
{
	ck_assert_int_eq(parse_some("ro", 1), 0);
	ck_assert(disk.ro);
	ck_assert_int_eq(parse_some("a.img", 1), -EINVAL);
	ck_assert_str_eq(err.msg,
			 "option --disk: unknown key \"a.img\": `lkvm help run` lists them");
}

START_TEST(help_lists_them)
{
	char *out;
	size_t len;
	FILE *f = open_memstream(&out, &len);

	options_help_keys(disk_keys, ARRAY_SIZE(disk_keys), f);
	fclose(f);
	ck_assert_str_eq(out, "      FILE                  the image\n"
			      "      ro                    read-only\n"
			      "      queues=N              queues\n"
			      "      wce=on|off            cache\n");
	free(out);
}

UNIT_SUITE("option-keys", {
	tcase_add_test(tc, takes_keys_of_all_tables);
	tcase_add_test(tc, values_may_hold_anything);
	tcase_add_loop_test(tc, says_what_is_wrong, 0, ARRAY_SIZE(bad));
	tcase_add_test(tc, without_a_value_of_its_own);
	tcase_add_test(tc, help_lists_them);
})
