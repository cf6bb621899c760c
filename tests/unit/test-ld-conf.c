/* SPDX-License-Identifier: GPL-2.0 */
// LINK: ld-conf.c initramfs.c util/cpio.c util/src.c util/err.c util/util.c
/* The folders of an ld.so.conf. */
#include "unit.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lkvm/ld-conf.h>
#include <lkvm/util.h>

#include "archive.h"

static void setup(void)
{
	archive_setup("");
	ck_assert_int_eq(mkdir("conf.d", 0755), 0);
}

static void put(const char *name, const char *text)
{
	FILE *f = fopen(name, "w");

	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
}

static void gives(const char *want)
{
	char conf[64];

	snprintf(conf, sizeof(conf), "%s/ld.so.conf", dir);
	char *have = ld_conf_folders(conf);
	ck_assert_str_eq(have, want);
	free(have);
}

START_TEST(no_file)
{
	gives("");
	put("ld.so.conf", "");
	gives("");
}
END_TEST

START_TEST(folders)
{
	put("ld.so.conf",
	    "# comment\n/a\n\t/b # more\r\n/c:/d,/e /f\n/g=libc6\nrelative\nhwcap 0 x\n\n/last");
	gives("/a:/b:/c:/d:/e:/f:/g:/last");
}
END_TEST

START_TEST(included_files)
{
	char text[128];

	put("conf.d/2.conf", "/two\n");
	put("conf.d/1.conf", "/one\n");
	put("conf.d/other", "/other\n");
	snprintf(text, sizeof(text),
		 "/first\ninclude conf.d/*.conf %s/conf.d/other\nincludes /no\n", dir);
	put("ld.so.conf", text);
	gives("/first:/one:/two:/other:/no");
}
END_TEST

/* Those that include themselves, or nothing. */
START_TEST(there_is_an_end)
{
	put("ld.so.conf", "/a\ninclude ld.so.conf\ninclude nothing/*\ninclude conf.d\ninclude\n");
	gives("/a:/a:/a:/a:/a");
	put("ld.so.conf", "/b\ninclude ld.so.con* ld.so.con* ld.so.con* ld.so.con* ld.so.con*\n");
	char *have = ld_conf_folders("ld.so.conf");
	ck_assert_uint_lt(strlen(have), 3 * 256);
	free(have);
}
END_TEST

UNIT_SUITE("ld-conf", {
	tcase_add_checked_fixture(tc, setup, archive_teardown);
	tcase_add_test(tc, no_file);
	tcase_add_test(tc, folders);
	tcase_add_test(tc, included_files);
	tcase_add_test(tc, there_is_an_end);
})
