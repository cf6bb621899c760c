// SPDX-License-Identifier: GPL-2.0
// LINK: elf-libs.c initramfs.c util/cpio.c util/src.c util/err.c util/util.c
/* Programs with their libraries: small ones made here, which name each other, and what is wrong with a file. */
#include "unit.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lkvm/elf-libs.h>
#include <lkvm/ld-conf.h>
#include <lkvm/util.h>

#include "archive.h"

#ifdef __aarch64__
#define MACHINE EM_AARCH64
#else
#define MACHINE EM_X86_64
#endif

#define BASE 0x400000 /* where it is loaded */

/* A file of one segment. */
struct elf {
	Elf64_Ehdr eh;
	Elf64_Phdr ph[3];
	Elf64_Dyn dyn[8];
	char text[256];
};

/* In the place of the system's: NULL, none. */
static char conf[64];

char *ld_conf_folders(const char *file)
{
	ck_assert_str_eq(file, "/etc/ld.so.conf");
	return *conf ? strdup(conf) : NULL;
}

static void setup(void)
{
	conf[0] = 0;
	archive_setup("--add-exec x");
	ck_assert_int_eq(mkdir("lib", 0755), 0);
	ck_assert_int_eq(unsetenv("LD_LIBRARY_PATH"), 0);
}

static void teardown(void)
{
	archive_teardown();
}

static uint64_t add_text(struct elf *e, size_t *at, const char *s)
{
	size_t here = *at;

	strcpy(e->text + here, s);
	*at += strlen(s) + 1;
	return here;
}

/* `needed` are names with a blank between two. */
static struct elf build(const char *interp, const char *runpath, const char *needed)
{
	struct elf e = {
		.eh = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
			.e_type = ET_DYN,
			.e_machine = MACHINE,
			.e_phoff = offsetof(struct elf, ph),
			.e_phentsize = sizeof(Elf64_Phdr),
			.e_phnum = interp ? 3 : 2 },
		.ph = { { .p_type = PT_LOAD, .p_vaddr = BASE, .p_filesz = sizeof(e) },
			{ .p_type = PT_DYNAMIC,
			  .p_offset = offsetof(struct elf, dyn),
			  .p_filesz = sizeof(e.dyn) } },
	};
	size_t at = 1;
	unsigned int n = 0;
	char names[128], *rest = names, *name;

	snprintf(names, sizeof(names), "%s", needed);
	while ((name = strsep(&rest, " ")))
		if (*name)
			e.dyn[n++] = (Elf64_Dyn){ .d_tag = DT_NEEDED,
						  .d_un.d_val = add_text(&e, &at, name) };
	if (runpath)
		e.dyn[n++] = (Elf64_Dyn){ .d_tag = DT_RUNPATH,
					  .d_un.d_val = add_text(&e, &at, runpath) };
	e.dyn[n++] = (Elf64_Dyn){ .d_tag = DT_STRTAB,
				  .d_un.d_ptr = BASE + offsetof(struct elf, text) };
	e.dyn[n++] = (Elf64_Dyn){ .d_tag = DT_STRSZ, .d_un.d_val = sizeof(e.text) };
	ck_assert_uint_lt(n, ARRAY_SIZE(e.dyn));
	if (interp)
		e.ph[2] = (Elf64_Phdr){ .p_type = PT_INTERP,
					.p_offset = offsetof(struct elf, text) +
						    add_text(&e, &at, interp),
					.p_filesz = strlen(interp) + 1 };
	return e;
}

static void write_file(const char *path, const void *data, size_t len)
{
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fwrite(data, 1, len, f), len);
	fclose(f);
	ck_assert_int_eq(chmod(path, 0755), 0);
}

static void make(const char *path, const char *interp, const char *runpath, const char *needed)
{
	struct elf e = build(interp, runpath, needed);

	write_file(path, &e, sizeof(e));
}

static bool has(const char *path)
{
	char full[128];
	struct entry e;

	snprintf(full, sizeof(full), "%s%s%s", *path == '/' ? "" : dir + 1, *path == '/' ? "" : "/",
		 *path == '/' ? path + 1 : path);
	return archive_find(&c, full, &e) && S_ISREG(e.mode);
}

static int add(void)
{
	return elf_libs_add(&ir, "prog", "/bin/prog", &err);
}

START_TEST(a_static_program)
{
	struct entry e;

	make("prog", NULL, NULL, "");
	ck_assert_msg(!add(), "%s", err.msg);
	ck_assert(!cpio_end(&c, &err));
	ck_assert(archive_find(&c, "bin/prog", &e));
	ck_assert_uint_eq(e.mode, S_IFREG | 0755);
	ck_assert_uint_eq(archive_count(&c), 2);
}

/* Each once, though two need it, and one needs itself. */
START_TEST(all_that_it_needs)
{
	char interp[64], runpath[64];

	snprintf(interp, sizeof(interp), "%s/ld.so", dir);
	snprintf(runpath, sizeof(runpath), "/nowhere:%s/lib", dir);
	make("ld.so", NULL, NULL, "");
	make("prog", interp, runpath, "a.so b.so");
	make("lib/a.so", NULL, "$ORIGIN/../other", "b.so c.so");
	make("lib/b.so", NULL, NULL, "a.so b.so");
	ck_assert_int_eq(mkdir("other", 0755), 0);
	make("other/c.so", NULL, NULL, "");
	ck_assert_msg(!add(), "%s", err.msg);
	ck_assert(!cpio_end(&c, &err));
	ck_assert(has("ld.so"));
	ck_assert(has("lib/a.so"));
	ck_assert(has("lib/b.so"));
	ck_assert(has("lib/../other/c.so")); /* the kernel walks it as it stands */
}

START_TEST(where_libraries_are)
{
	static const char *const origins[] = { "$ORIGIN/lib", "${ORIGIN}/lib" };
	char where[64];

	make("lib/a.so", NULL, NULL, "");
	if (_i < 2) {
		make("prog", NULL, origins[_i], "a.so");
	} else if (_i == 2) {
		snprintf(where, sizeof(where), ":/nowhere:%s/lib", dir);
		setenv("LD_LIBRARY_PATH", where, 1);
		make("prog", NULL, NULL, "a.so");
	} else {
		snprintf(where, sizeof(where), "%s/lib/a.so", dir);
		make("prog", NULL, NULL, where);
	}
	ck_assert_msg(!add(), "%s", err.msg);
	ck_assert(!cpio_end(&c, &err));
	/* $ORIGIN is the program's folder there, not here. */
	if (_i < 2)
		ck_assert(has("/bin/lib/a.so"));
	else
		ck_assert(has("lib/a.so"));
}

/* The guest's ld.so knows such a folder by its cache alone. */
START_TEST(folders_of_the_system_s_configuration)
{
	struct entry e;

	make("lib/a.so", NULL, NULL, "");
	make("prog", NULL, NULL, "a.so");
	ck_assert_int_eq(add(), -EINVAL);
	cpio_release(&c);
	initramfs_release(&ir);
	err = ERR_INIT;
	ck_assert_int_eq(cpio_begin(&c, &err), 0);
	initramfs_init(&ir, &c, 1 << 20);
	ir.option = "--add-exec x";
	snprintf(conf, sizeof(conf), "/nowhere:%s/lib", dir);
	int ret = add();
	ck_assert(!cpio_end(&c, &err));
	ck_assert(has("lib/a.so"));
	/* Not every system has one. */
	ck_assert_int_eq(ret == 0, access("/etc/ld.so.cache", R_OK) == 0);
	ck_assert_int_eq(archive_find(&c, "etc/ld.so.cache", &e), ret == 0);
}

START_TEST(static_or_not)
{
	make("prog", NULL, NULL, "");
	ck_assert(elf_libs_static("prog"));
	make("prog", "/lib/ld.so", NULL, "");
	ck_assert(!elf_libs_static("prog"));
	write_file("prog", "#!/bin/sh\n", 10);
	ck_assert(!elf_libs_static("prog"));
	ck_assert(!elf_libs_static("missing"));
}

START_TEST(another_machine_s_library_is_passed_over)
{
	struct elf e = build(NULL, NULL, "");
	char runpath[128];

	ck_assert_int_eq(mkdir("first", 0755), 0);
	e.eh.e_machine = EM_386;
	write_file("first/a.so", &e, sizeof(e));
	make("lib/a.so", NULL, NULL, "");
	snprintf(runpath, sizeof(runpath), "%s/first:%s/lib", dir, dir);
	make("prog", NULL, runpath, "a.so");
	ck_assert_msg(!add(), "%s", err.msg);
	ck_assert(!cpio_end(&c, &err));
	ck_assert(has("lib/a.so"));
	ck_assert(!has("first/a.so"));
}

START_TEST(what_is_missing)
{
	make("prog", NULL, NULL, "no-such-library.so.7");
	ck_assert_int_eq(add(), -EINVAL);
	ck_assert_int_eq(err.kind, ERR_USAGE);
	says("--add-exec x: prog needs the library no-such-library.so.7, which is not found here");
	err = ERR_INIT;
	make("prog", "/nonexistent/ld.so", NULL, "");
	ck_assert_int_eq(elf_libs_add(&ir, "prog", "/bin/other", &err), -ENOENT);
	says("/nonexistent/ld.so");
	err = ERR_INIT;
	ck_assert_int_eq(elf_libs_add(&ir, "missing", "/bin/third", &err), -ENOENT);
	says("--add-exec x: cannot open program missing");
}

START_TEST(what_is_no_program)
{
	struct elf e = build(NULL, NULL, "a");

	write_file("prog", "#!/bin/sh\n", 10);
	ck_assert_int_eq(add(), -EINVAL);
	says("prog is not a program of this machine, or is damaged; a script is for --add");
	err = ERR_INIT;
	write_file("prog", "", 0);
	ck_assert_int_eq(add(), -EINVAL);
	says("is not a program of this machine, or is damaged");
	err = ERR_INIT;
	e.eh.e_machine = EM_386;
	write_file("prog", &e, sizeof(e));
	ck_assert_int_eq(add(), -EINVAL);
}

/* Each field that leads elsewhere, one at a time. */
START_TEST(what_leads_outside)
{
	struct elf e = build("/bin/sh", NULL, "a");

	switch (_i) {
	case 0:
		e.eh.e_phoff = UINT64_MAX - 8;
		break;
	case 1:
		e.eh.e_phoff = sizeof(e) - 3 * sizeof(Elf64_Phdr) + 1;
		break;
	case 2:
		e.eh.e_phnum = 65;
		break;
	case 3:
		e.eh.e_phentsize = sizeof(Elf64_Phdr) - 1;
		break;
	case 4:
		e.ph[1].p_offset = sizeof(e) - 8;
		break;
	case 5:
		e.ph[1].p_offset = UINT64_MAX - 8;
		break;
	case 6:
		e.ph[2].p_offset = sizeof(e);
		break;
	case 7:
		e.ph[2].p_filesz = 3; /* no NUL in it */
		break;
	case 8:
		e.dyn[0].d_un.d_val = sizeof(e.text);
		break;
	case 9:
		e.dyn[1].d_un.d_ptr = BASE - 1;
		break;
	case 10:
		memset(e.text + sizeof(e.text) - 4, 'x', 4);
		e.dyn[0].d_un.d_val = sizeof(e.text) - 4;
		break;
	case 11:
		e.dyn[1].d_tag = DT_DEBUG; /* no strings at all */
		break;
	case 12:
		e.text[strlen("a") + 2] = 'b'; /* the interpreter is no absolute path */
		break;
	case 13:
		e.ph[0].p_offset = UINT64_MAX - 100;
		break;
	}
	write_file("prog", &e, sizeof(e));
	ck_assert_msg(add() == -EINVAL, "%d", _i);
	says("is not a program of this machine, or is damaged");
}

/* Whatever a byte is, and wherever the file ends, nothing is read outside of it. */
START_TEST(any_byte)
{
	struct elf good = build(NULL, NULL, "/bin/sh");

	for (size_t i = 0; i < sizeof(good); i++) {
		struct elf e = good;

		((uint8_t *)&e)[i] ^= _i;
		write_file("prog", &e, _i ? sizeof(e) : i);
		struct cpio scratch;
		struct initramfs other;
		err = ERR_INIT;
		ck_assert_int_eq(cpio_begin(&scratch, &err), 0);
		initramfs_init(&other, &scratch, 16 << 20);
		other.option = "";
		int ret = elf_libs_add(&other, "prog", "/bin/prog", &err);
		ck_assert(!ret || err.msg[0]);
		initramfs_release(&other);
		cpio_release(&scratch);
	}
}

UNIT_SUITE("elf-libs", {
	tcase_set_timeout(tc, 300);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_static_program);
	tcase_add_test(tc, all_that_it_needs);
	tcase_add_loop_test(tc, where_libraries_are, 0, 4);
	tcase_add_test(tc, folders_of_the_system_s_configuration);
	tcase_add_test(tc, static_or_not);
	tcase_add_test(tc, another_machine_s_library_is_passed_over);
	tcase_add_test(tc, what_is_missing);
	tcase_add_test(tc, what_is_no_program);
	tcase_add_loop_test(tc, what_leads_outside, 0, 14);
	tcase_add_test(tc, any_byte);
	tcase_add_loop_test(tc, any_byte, 128, 129);
	tcase_add_loop_test(tc, any_byte, 255, 256);
})
