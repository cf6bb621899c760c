/* SPDX-License-Identifier: GPL-2.0 */
// LINK: rootdir.c elf-libs.c ld-conf.c initramfs.c util/cpio.c util/src.c util/err.c util/util.c
// LIBS: -Wl,--wrap=symlinkat
/* Root folders of guests, made in a home of their own. */
#include "unit.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lkvm/rootdir.h>
#include <lkvm/util.h>

#include "archive.h"

static char *path;

/* The disk is full at the n-th link, 0: never. */
static int full_at;
int __real_symlinkat(const char *to, int dir, const char *name);
int __wrap_symlinkat(const char *to, int dir, const char *name);
int __wrap_symlinkat(const char *to, int dir, const char *name)
{
	if (full_at && --full_at == 0) {
		errno = ENOSPC;
		return -1;
	}
	return __real_symlinkat(to, dir, name);
}

static void write_program(bool dynamic)
{
	struct {
		Elf64_Ehdr eh;
		Elf64_Phdr ph;
	} elf = {
		.eh = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
			.e_type = ET_EXEC,
#ifdef __aarch64__
			.e_machine = EM_AARCH64,
#else
			.e_machine = EM_X86_64,
#endif
			.e_phoff = sizeof(Elf64_Ehdr),
			.e_phentsize = sizeof(Elf64_Phdr),
			.e_phnum = 1 },
		.ph = { .p_type = dynamic ? PT_INTERP : PT_LOAD },
	};
	FILE *f = fopen("program", "w");

	ck_assert_uint_eq(fwrite(&elf, sizeof(elf), 1, f), 1);
	fclose(f);
}

static void setup(void)
{
	archive_setup("");
	ck_assert_int_eq(setenv("HOME", dir, 1), 0);
	full_at = 0;
	write_program(false);
	ck_assert_msg(!rootdir_path("name", &path, &err), "%s", err.msg);
}

static void teardown(void)
{
	free(path);
	archive_teardown();
}

static mode_t mode_of(const char *name)
{
	struct stat st;
	char at[128];

	snprintf(at, sizeof(at), "%s/%s", path, name);
	return lstat(at, &st) ? 0 : st.st_mode;
}

START_TEST(what_is_in_it)
{
	char to[32] = "", at[128];

	umask(022);
	ck_assert_msg(!rootdir_make(path, "program", &err), "%s", err.msg);
	ck_assert_uint_eq(mode_of("init"), S_IFREG | 0755);
	ck_assert_uint_eq(mode_of("bin/busybox"), S_IFREG | 0755);
	ck_assert_uint_eq(mode_of("tmp"), S_IFDIR | 01777);
	ck_assert_uint_eq(mode_of("etc/passwd"), S_IFREG | 0644);
	snprintf(at, sizeof(at), "%s/bin/sh", path);
	ck_assert_int_eq(readlink(at, to, sizeof(to)), 7);
	ck_assert_str_eq(to, "busybox");
	/* All of it can be put into an initramfs. */
	ir.option = "--root";
	ck_assert_msg(!initramfs_add(&ir, path, "/", &err), "%s", err.msg);
	/* A second one of that name. */
	ck_assert_int_eq(rootdir_make(path, "program", &err), -EINVAL);
	says("/.lkvm/name is there already; remove it, or choose another name");
	ck_assert_uint_eq(mode_of("init"), S_IFREG | 0755);
}
END_TEST

START_TEST(names_and_homes)
{
	static const char *const bad[] = { "", ".", "..", ".x", "a/b", "/", "a b", "a\n", NULL };
	char name[66] = "", *p;

	memset(name, 'x', 65);
	ck_assert_int_eq(rootdir_path(name, &p, &err), -EINVAL);
	ck_assert_ptr_null(p);
	name[64] = 0;
	err = ERR_INIT;
	ck_assert_int_eq(rootdir_path(name, &p, &err), 0);
	free(p);
	for (unsigned int i = 0; bad[i]; i++) {
		err = ERR_INIT;
		ck_assert_int_eq(rootdir_path(bad[i], &p, &err), -EINVAL);
		says("is no name of");
	}
	err = ERR_INIT;
	setenv("HOME", "relative", 1);
	ck_assert_int_eq(rootdir_path("name", &p, &err), -EINVAL);
	unsetenv("HOME");
	ck_assert_int_eq(rootdir_path("name", &p, &err), -EINVAL);
	says("HOME is not set");
}
END_TEST

START_TEST(what_fails_leaves_nothing)
{
	struct stat st;

	full_at = _i;
	ck_assert_int_eq(rootdir_make(path, "program", &err), -ENOSPC);
	ck_assert_int_eq(err.kind, ERR_HOST);
	says("cannot fill ");
	ck_assert_int_lt(stat(path, &st), 0);
	err = ERR_INIT;
	ck_assert_msg(!rootdir_make(path, "program", &err), "%s", err.msg);
}
END_TEST

START_TEST(a_program_with_libraries)
{
	write_program(true);
	ck_assert_int_eq(rootdir_make(path, "program", &err), -EINVAL);
	says("program is no static program; the Debian package busybox-static has one");
	err = ERR_INIT;
	ck_assert_int_eq(rootdir_make(path, "missing", &err), -EINVAL);
	ck_assert_uint_eq(mode_of("."), 0);
}
END_TEST

START_TEST(a_home_that_cannot_be_written)
{
	free(path);
	setenv("HOME", "/proc", 1);
	ck_assert_int_eq(rootdir_path("name", &path, &err), 0);
	ck_assert_int_lt(rootdir_make(path, "program", &err), 0);
	ck_assert_int_eq(err.kind, ERR_HOST);
	says("cannot make /proc/.lkvm");
}
END_TEST

UNIT_SUITE("rootdir", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, what_is_in_it);
	tcase_add_test(tc, names_and_homes);
	tcase_add_loop_test(tc, what_fails_leaves_nothing, 1, 3);
	tcase_add_test(tc, a_program_with_libraries);
	tcase_add_test(tc, a_home_that_cannot_be_written);
})
