/* SPDX-License-Identifier: GPL-2.0 */
// LINK: command.c util/cpio.c util/err.c guest/settings.c guest/setup.c
#include <elf.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lkvm/command.h>
#include <lkvm/cpio.h>
#include <lkvm/util.h>

#include "guest/settings.h"
#include "guest/setup.h"
#include "unit.h"

/* A file of an archive. */
struct file {
	unsigned int mode, nlink;
	const char *data;
	size_t len;
};

static unsigned int field(const char *head, unsigned int nr)
{
	char text[9] = { 0 };

	memcpy(text, head + 6 + 8 * nr, 8);
	return (unsigned int)strtoul(text, NULL, 16);
}

/* As the kernel's init/initramfs.c reads it. The number of records up to the one of this name; 0: it is not there. */
static unsigned int find_file(const struct cpio *c, const char *name, struct file *f)
{
	size_t at = 0;

	for (unsigned int nr = 1;; nr++) {
		ck_assert_uint_le(at + 110, c->len);
		ck_assert_int_eq(memcmp(c->data + at, "070701", 6), 0);
		const char *head = c->data + at, *path = head + 110;
		unsigned int name_len = field(head, 11);

		ck_assert_uint_eq(strnlen(path, c->len - at - 110), name_len - 1);
		*f = (struct file){ field(head, 1), field(head, 4), NULL, field(head, 6) };
		at = align_up(at + 110 + name_len, 4);
		f->data = c->data + at;
		at = align_up(at + f->len, 4);
		ck_assert_uint_le(at, c->len);
		if (!strcmp(path, name))
			return nr;
		if (!strcmp(path, "TRAILER!!!")) {
			ck_assert_uint_eq(at, c->len);
			return 0;
		}
	}
}

static struct cpio archive;
static struct err err;

static int make(const struct command *cmd)
{
	err = ERR_INIT;
	ck_assert_int_eq(cpio_begin(&archive, &err), 0);
	int ret = command_add(cmd, &archive, &err);
	ck_assert_int_eq(cpio_end(&archive, &err), 0);
	return ret;
}

static void teardown(void)
{
	cpio_release(&archive);
}

START_TEST(init_is_a_small_static_program)
{
	char *args[] = { "true", NULL };
	struct command cmd = { .args = args };
	struct file f;

	ck_assert_int_eq(make(&cmd), 0);
	/* A folder comes before what is in it. */
	unsigned int dir = find_file(&archive, ".lkvm", &f);
	ck_assert_uint_eq(f.mode, S_IFDIR | 0755);
	ck_assert_uint_lt(dir, find_file(&archive, ".lkvm/init", &f));
	ck_assert_uint_eq(f.mode, S_IFREG | 0755);
	ck_assert_uint_gt(f.len, sizeof(Elf64_Ehdr));
	ck_assert_uint_lt(f.len, 100 * KIB);
	const Elf64_Ehdr *e = (const void *)f.data;
	ck_assert_int_eq(memcmp(e->e_ident, ELFMAG, SELFMAG), 0);
	ck_assert_int_eq(e->e_type, ET_EXEC);
	const Elf64_Phdr *p = (const void *)(f.data + e->e_phoff);
	for (unsigned int i = 0; i < e->e_phnum; i++)
		ck_assert_int_ne(p[i].p_type, PT_INTERP);
	ck_assert_uint_eq(find_file(&archive, "nothing", &f), 0);
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
	struct file f;

	ck_assert_int_eq(make(&cmd), 0);
	ck_assert_uint_ne(find_file(&archive, ".lkvm/run", &f), 0);
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
	teardown();
	many[CMD_ARGS_MAX] = "x";
	ck_assert_int_lt(make(&(struct command){ .args = many }), 0);
	ck_assert_int_eq(err.kind, ERR_USAGE);
	teardown();
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

UNIT_SUITE("command", {
	tcase_add_checked_fixture(tc, NULL, teardown);
	tcase_add_test(tc, init_is_a_small_static_program);
	tcase_add_test(tc, the_guest_reads_what_the_host_wrote);
	tcase_add_test(tc, more_than_the_guest_reads_is_refused);
	tcase_add_loop_test(tc, broken_settings_are_refused, 0, ARRAY_SIZE(broken));
	tcase_add_test(tc, no_more_records_than_there_is_room_for);
	tcase_add_test(tc, a_file_is_read_whole_or_not);
})
