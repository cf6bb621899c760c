/* SPDX-License-Identifier: GPL-2.0 */
// LINK: command.c initramfs.c util/cpio.c util/src.c util/err.c util/util.c guest/settings.c guest/setup.c guest/ports.c
#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lkvm/command.h>
#include <lkvm/util.h>

#include "guest/ports.h"
#include "guest/settings.h"
#include "guest/setup.h"
#include "archive.h"
#include "unit.h"

static int make(const struct command *cmd)
{
	int ret = command_add(cmd, &ir, &err);

	ck_assert_int_eq(cpio_end(&c, &err), 0);
	return ret;
}

static void setup(void)
{
	archive_setup("the command");
}

START_TEST(init_is_a_small_static_program)
{
	char *args[] = { "true", NULL };
	struct command cmd = { .args = args };
	struct entry f;
	size_t at = 0;

	ck_assert_int_eq(make(&cmd), 0);
	/* A folder comes before what is in it. */
	ck_assert(archive_next(&c, &at, &f));
	ck_assert_str_eq(f.name, ".lkvm");
	ck_assert_uint_eq(f.mode, S_IFDIR | 0755);
	ck_assert(archive_find(&c, ".lkvm/init", &f));
	ck_assert_uint_eq(f.mode, S_IFREG | 0755);
	ck_assert_uint_gt(f.len, sizeof(Elf64_Ehdr));
	ck_assert_uint_lt(f.len, 100 * KIB);
	const Elf64_Ehdr *e = (const void *)f.data;
	ck_assert_int_eq(memcmp(e->e_ident, ELFMAG, SELFMAG), 0);
	ck_assert_int_eq(e->e_type, ET_EXEC);
	const Elf64_Phdr *p = (const void *)(f.data + e->e_phoff);
	for (unsigned int i = 0; i < e->e_phnum; i++)
		ck_assert_int_ne(p[i].p_type, PT_INTERP);
}
END_TEST

START_TEST(nothing_takes_its_place)
{
	char *args[] = { "true", NULL };
	FILE *f = fopen("x", "w");

	fclose(f);
	ck_assert_int_eq(mkdir("d", 0755) | mkdir("d/.lkvm", 0700), 0);
	ck_assert_int_eq(link("x", "d/.lkvm/run"), 0);
	ck_assert_int_eq(command_add(&(struct command){ .args = args }, &ir, &err), 0);
	ir.option = "--add";
	ck_assert_int_eq(initramfs_add(&ir, "x", "/.lkvm/init", &err), -EINVAL);
	ck_assert_int_eq(err.kind, ERR_USAGE);
	says("--add: /.lkvm/init is in the initramfs already, as lkvm's own");
	err = ERR_INIT;
	ck_assert_int_eq(initramfs_add(&ir, "x", "/.lkvm", &err), -EINVAL);
	says("--add: /.lkvm is in the initramfs already, as a directory");
	err = ERR_INIT;
	ck_assert_int_eq(initramfs_add(&ir, "d", "/", &err), -EINVAL);
	says("--add: /.lkvm/run is in the initramfs already, as lkvm's own");
}
END_TEST

START_TEST(the_guest_reads_what_the_host_wrote)
{
	static const char *const envs[] = { "A=1", "PATH=/x", "EMPTY=", "EQ=a=b" };
	char *args[] = { "sh", "-c", "", "two words\n\xff", NULL };
	struct command cmd = {
		.args = args,
		.envs = envs,
		.envs_nr = ARRAY_SIZE(envs),
		.cwd = "/tmp",
		.user = true,
		.uid = 1000,
		.gid = UINT32_MAX - 1,
		.terminal = true,
		.rows = 50,
		.cols = 200,
		.term = "xterm",
		.port = 0x510,
	};
	static struct settings s;
	struct entry f;

	ck_assert_int_eq(make(&cmd), 0);
	ck_assert(archive_find(&c, ".lkvm/run", &f));
	ck_assert_uint_eq(f.mode, S_IFREG | 0600);
	ck_assert(settings_env(&s, "PATH=/bin"));
	ck_assert_ptr_null(settings_parse(&s, f.data, f.len));
	ck_assert_uint_eq(s.args_nr, 4);
	for (unsigned int i = 0; i < 4; i++)
		ck_assert_str_eq(s.args[i], args[i]);
	ck_assert_ptr_null(s.args[4]);
	static const char *const want[] = { "PATH=/x", "TERM=xterm", "A=1", "EMPTY=", "EQ=a=b" };
	ck_assert_uint_eq(s.envs_nr, ARRAY_SIZE(want));
	for (unsigned int i = 0; i < ARRAY_SIZE(want); i++)
		ck_assert_str_eq(s.envs[i], want[i]);
	ck_assert_ptr_null(s.envs[s.envs_nr]);
	ck_assert_str_eq(s.cwd, "/tmp");
	ck_assert(s.user && s.terminal);
	ck_assert_uint_eq(s.uid, 1000);
	ck_assert_uint_eq(s.gid, UINT32_MAX - 1);
	ck_assert_uint_eq(s.rows, 50);
	ck_assert_uint_eq(s.cols, 200);
	ck_assert_uint_eq(s.port, 0x510);
}
END_TEST

START_TEST(more_than_the_guest_reads_is_refused)
{
	static char *many[CMD_ARGS_MAX + 2];
	static char big[CMD_SETTINGS_MAX];
	char *one[] = { big, NULL };

	for (unsigned int i = 0; i < CMD_ARGS_MAX; i++)
		many[i] = "x";
	ck_assert_int_eq(make(&(struct command){ .args = many }), 0);
	archive_teardown();
	setup();
	many[CMD_ARGS_MAX] = "x";
	ck_assert_int_lt(make(&(struct command){ .args = many }), 0);
	ck_assert_int_eq(err.kind, ERR_USAGE);
	archive_teardown();
	setup();
	memset(big, 'x', sizeof(big) - 1);
	ck_assert_int_lt(make(&(struct command){ .args = one }), 0);
	ck_assert_int_eq(err.kind, ERR_USAGE);
	ck_assert_ptr_nonnull(strstr(err.msg, "at most"));
}
END_TEST

/* What no lkvm has written. */
#define FILE_OF(text)                                                                              \
	{                                                                                          \
		text, sizeof(text)                                                                 \
	}
static const struct {
	const char *data;
	size_t len;
} broken[] = {
	{ "", 0 },
	{ "lkvm1", 5 },
	FILE_OF(""),
	FILE_OF("lkvm"),
	FILE_OF("lkvm2\0atrue"),
	FILE_OF("lkvm1"),
	FILE_OF("lkvm1\0"),
	FILE_OF("lkvm1\0\0atrue"),
	FILE_OF("lkvm1\0atrue\0"),
	{ "lkvm1\0atrue", 11 },
	FILE_OF("lkvm1\0zwhat\0atrue"),
	FILE_OF("lkvm1\0p\0atrue"),
	FILE_OF("lkvm1\0p-1\0atrue"),
	FILE_OF("lkvm1\0p0x510\0atrue"),
	FILE_OF("lkvm1\0p4294967296\0atrue"),
	FILE_OF("lkvm1\0u18446744073709551617\0atrue"),
	FILE_OF("lkvm1\0d\0atrue"),
	FILE_OF("lkvm1\0enovalue\0atrue"),
	FILE_OF("lkvm1\0e=noname\0atrue"),
	FILE_OF("lkvm1\0p1"),
};

START_TEST(broken_settings_are_refused)
{
	static struct settings s;
	/* On the heap, so that a sanitizer sees a read behind the end. */
	char *copy = malloc(broken[_i].len);

	memcpy(copy, broken[_i].data, broken[_i].len);
	ck_assert_ptr_nonnull(settings_parse(&s, copy, broken[_i].len));
	free(copy);
}
END_TEST

START_TEST(no_more_records_than_there_is_room_for)
{
	static struct settings s;
	static char file[CMD_SETTINGS_MAX];
	size_t len = 6;

	strcpy(file, "lkvm1");
	for (unsigned int i = 0; i <= CMD_ENVS_MAX; i++)
		len += (size_t)sprintf(file + len, "en%u=", i) + 1;
	ck_assert_ptr_nonnull(settings_parse(&s, file, len));
	ck_assert_uint_eq(s.envs_nr, CMD_ENVS_MAX);
	memset(&s, 0, sizeof(s));
	len = 6;
	for (unsigned int i = 0; i <= CMD_ARGS_MAX; i++)
		len += (size_t)sprintf(file + len, "a%u", i) + 1;
	ck_assert_ptr_nonnull(settings_parse(&s, file, len));
	ck_assert_uint_eq(s.args_nr, CMD_ARGS_MAX);
	ck_assert_ptr_null(s.args[CMD_ARGS_MAX]);
}
END_TEST

START_TEST(a_file_is_read_whole_or_not)
{
	char path[] = "/tmp/lkvm-test-command-XXXXXX", buf[8];
	int fd = mkstemp(path);

	ck_assert_int_eq(write(fd, "1234567", 7), 7);
	ck_assert_int_eq(setup_read_file(path, buf, sizeof(buf)), 7);
	ck_assert_int_eq(memcmp(buf, "1234567", 7), 0);
	ck_assert_int_eq(write(fd, "8", 1), 1);
	ck_assert_int_lt(setup_read_file(path, buf, sizeof(buf)), 0);
	close(fd);
	unlink(path);
	ck_assert_int_lt(setup_read_file(path, buf, sizeof(buf)), 0);
	ck_assert_int_lt(setup_read_file("/", buf, sizeof(buf)), 0);
}
END_TEST

START_TEST(numbers_of_a_device)
{
	static const char *const bad[] = { "",
					   "x",
					   "1",
					   "1:",
					   "0:1",
					   ":1",
					   "1:2x",
					   "4096:1",
					   "1:256",
					   "99999999999:1",
					   "1:4294967297" };
	uint32_t dev;

	ck_assert(ports_device("245:3", &dev));
	ck_assert_uint_eq(dev, 245 << 8 | 3);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_msg(!ports_device(bad[i], &dev), "%s", bad[i]);
}
END_TEST

/* The record that says that there are ports is there when there are. */
START_TEST(ports_are_told)
{
	struct settings s = { 0 };
	static const char file[] = CMD_SETTINGS_MAGIC "\0v1\0ax";

	ck_assert_ptr_null(settings_parse(&s, file, sizeof(file)));
	ck_assert_uint_eq(s.ports, 1);
}
END_TEST

UNIT_SUITE("command", {
	tcase_add_checked_fixture(tc, setup, archive_teardown);
	tcase_add_test(tc, numbers_of_a_device);
	tcase_add_test(tc, ports_are_told);
	tcase_add_test(tc, init_is_a_small_static_program);
	tcase_add_test(tc, nothing_takes_its_place);
	tcase_add_test(tc, the_guest_reads_what_the_host_wrote);
	tcase_add_test(tc, more_than_the_guest_reads_is_refused);
	tcase_add_loop_test(tc, broken_settings_are_refused, 0, ARRAY_SIZE(broken));
	tcase_add_test(tc, no_more_records_than_there_is_room_for);
	tcase_add_test(tc, a_file_is_read_whole_or_not);
})
