// SPDX-License-Identifier: GPL-2.0
// LINK: util/symbols.c util/src.c util/err.c util/util.c
#include <elf.h>
#include <stdio.h>
#include <string.h>

#include <lkvm/src.h>
#include <lkvm/symbols.h>
#include <lkvm/util.h>

#include "unit.h"

static struct symbols syms;
static struct err err;

static int read_mem(const void *mem, size_t len)
{
	struct src src;

	/* In a buffer of its own length, so that a step beyond it is seen. */
	void *copy = malloc(len ? len : 1);
	memcpy(copy, mem, len);
	src_init_mem(&src, "--symbols", "file", copy, len);
	err = ERR_INIT;
	int ret = symbols_read(&syms, &src, &err);
	free(copy);
	ck_assert_int_eq(ret < 0, err.kind != ERR_NONE);
	return ret;
}

static void refused(const char *text, const char *why)
{
	ck_assert_int_lt(read_mem(text, strlen(text)), 0);
	ck_assert_msg(err.kind == ERR_USAGE && strstr(err.msg, why), "%s", err.msg);
	symbols_release(&syms);
}

/* "name+off/size", or "-". */
static const char *at(uint64_t addr)
{
	static char buf[SYMBOL_NAME_MAX + 64];
	struct symbol_at place;

	if (!symbols_at(&syms, addr, &place))
		return "-";
	snprintf(buf, sizeof(buf), "%s+%llu/%llu", place.name, (unsigned long long)place.off,
		 (unsigned long long)place.size);
	return buf;
}

static const char map[] = "ffffffff81000000 T _text\n"
			  "ffffffff81000000 T startup_64\n"
			  "ffffffff81000100 t local\n"
			  "ffffffff81000100 W weak\n"
			  "ffffffff81000100 T global\n"
			  "ffffffff81000200 D data\n"
			  "ffffffff81000300 T panic\n"
			  "ffffffff81000400 T _etext\n"
			  "0000000000000010 A percpu\n"
			  "ffffffffc0000000 t fn\t[mod]\n";

START_TEST(text)
{
	uint64_t addr = 0;

	ck_assert_msg(read_mem(map, sizeof(map) - 1) == 0, "%s", err.msg);
	ck_assert(symbols_find(&syms, "panic", &addr));
	ck_assert_uint_eq(addr, 0xffffffff81000300);
	ck_assert(!symbols_find(&syms, "pani", &addr));
	ck_assert(!symbols_find(&syms, "data", &addr));
	ck_assert(symbols_find(&syms, "fn", &addr));
	/* The name of a function before that of a place, a global one before a weak one before a local one. */
	ck_assert_str_eq(at(0xffffffff81000000), "startup_64+0/256");
	ck_assert_str_eq(at(0xffffffff810001ff), "global+255/512");
	ck_assert_str_eq(at(0xffffffff810002ff), "global+511/512");
	ck_assert_str_eq(at(0xffffffff81000300), "panic+0/256");
	ck_assert_str_eq(at(0xffffffff810003ff), "panic+255/256");
	/* Before the first, behind the end of code, in the last, and far from it. */
	ck_assert_str_eq(at(0xffffffff80ffffff), "-");
	ck_assert_str_eq(at(0xffffffff81000400), "-");
	ck_assert_str_eq(at(0xffffffff81000450), "-");
	ck_assert_str_eq(at(0xffffffffc0000007), "fn+7/0");
	ck_assert_str_eq(at(UINT64_MAX), "-");
	ck_assert_str_eq(at(0), "-");
	symbols_release(&syms);
}
END_TEST

START_TEST(forms_of_a_line)
{
	static const char kinds[] =
		"1 T a\r\n2 t b\n0000000000000003 w c\t[m]\nFFFFffff00000000 W d";

	ck_assert_msg(read_mem(kinds, sizeof(kinds) - 1) == 0, "%s", err.msg);
	ck_assert_str_eq(at(1), "a+0/1");
	ck_assert_str_eq(at(2), "b+0/1");
	ck_assert_str_eq(at(3), "c+0/18446744069414584317");
	ck_assert_str_eq(at(0xffffffff00000000), "d+0/0");
	symbols_release(&syms);
}
END_TEST

START_TEST(a_name_drives_no_terminal)
{
	ck_assert_int_eq(read_mem("1 T a\033b\n", 8), 0);
	ck_assert_str_eq(at(1), "a?b+0/0");
	symbols_release(&syms);
}
END_TEST

START_TEST(text_that_is_none)
{
	refused("hello\n", "line 1 is not");
	refused("1 T a\n\n", "line 2 is not");
	refused("1 T \n", "line 1 is not");
	refused("1  T a\n", "line 1 is not");
	refused("1 Ta\n", "line 1 is not");
	refused("1 T", "line 1 is not");
	refused("11112222333344445 T a\n", "line 1 is not");
	refused("g T a\n", "line 1 is not");
	refused("ffffffffffffffff B The real System.map is elsewhere\n", "no symbols of functions");
	refused("0000000000000000 T panic\n0000000000000000 T x\n", "as root");
	refused("", "no symbols");
	/* A name has no 0 in it. */
	ck_assert_int_lt(read_mem("1 T \0a\n", 7), 0);
	symbols_release(&syms);
}
END_TEST

START_TEST(a_long_name_is_left_out)
{
	char line[SYMBOL_NAME_MAX + 32];

	for (unsigned int more = 0; more < 2; more++) {
		size_t len = SYMBOL_NAME_MAX + more;

		memcpy(line, "1 T ", 4);
		memset(line + 4, 'x', len);
		ck_assert_int_eq(read_mem(line, 4 + len) == 0, !more);
		symbols_release(&syms);
	}
}
END_TEST

struct elf {
	Elf64_Ehdr e;
	Elf64_Shdr sh[4]; /* none, code, symbols, names */
	Elf64_Sym sym[6];
	char names[32];
};

static struct elf elf(void)
{
	struct elf f = {
		.e = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
		       .e_shoff = offsetof(struct elf, sh),
		       .e_shentsize = sizeof(Elf64_Shdr),
		       .e_shnum = 4 },
		.sh = { { 0 },
			{ .sh_type = SHT_PROGBITS, .sh_flags = SHF_ALLOC | SHF_EXECINSTR },
			{ .sh_type = SHT_SYMTAB,
			  .sh_offset = offsetof(struct elf, sym),
			  .sh_size = sizeof(f.sym),
			  .sh_link = 3 },
			{ .sh_type = SHT_STRTAB,
			  .sh_offset = offsetof(struct elf, names),
			  .sh_size = sizeof(f.names) } },
		.names = "\0panic\0local\0object\0none\0last",
	};
	const unsigned int func = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC);

	f.sym[1] = (Elf64_Sym){ .st_name = 1, .st_info = func, .st_shndx = 1, .st_value = 0x2000 };
	f.sym[2] = (Elf64_Sym){ .st_name = 7,
				.st_info = ELF64_ST_INFO(STB_LOCAL, STT_NOTYPE),
				.st_shndx = 1,
				.st_value = 0x1000 };
	f.sym[3] = (Elf64_Sym){ .st_name = 13,
				.st_info = ELF64_ST_INFO(STB_GLOBAL, STT_OBJECT),
				.st_shndx = 1,
				.st_value = 0x1800 };
	f.sym[4] = (Elf64_Sym){
		.st_name = 20, .st_info = func, .st_shndx = SHN_ABS, .st_value = 0x1900
	};
	/* Its name ends with the file, without a 0. */
	memcpy(f.names + 27, "lastx", 5);
	f.sym[5] = (Elf64_Sym){ .st_name = 27, .st_info = func, .st_shndx = 1, .st_value = 0x3000 };
	return f;
}

START_TEST(elf_file)
{
	struct elf f = elf();
	uint64_t addr = 0;

	ck_assert_msg(read_mem(&f, sizeof(f)) == 0, "%s", err.msg);
	ck_assert_uint_eq(syms.nr, 3);
	ck_assert(symbols_find(&syms, "panic", &addr));
	ck_assert_uint_eq(addr, 0x2000);
	ck_assert_str_eq(at(0x1fff), "local+4095/4096");
	ck_assert_str_eq(at(0x3001), "lastx+1/0");
	symbols_release(&syms);
}
END_TEST

/* Each number of the file that may lead out of it. */
START_TEST(elf_damage)
{
	static const struct {
		size_t off, len;
		uint64_t value;
		bool works; /* what is odd is left out */
	} rows[] = {
		{ offsetof(Elf64_Ehdr, e_ident[EI_CLASS]), 1, ELFCLASS32, false },
		{ offsetof(Elf64_Ehdr, e_ident[EI_DATA]), 1, ELFDATA2MSB, false },
		{ offsetof(Elf64_Ehdr, e_shentsize), 2, 8, false },
		{ offsetof(Elf64_Ehdr, e_shnum), 2, 0, false },
		{ offsetof(Elf64_Ehdr, e_shnum), 2, 0xffff, false },
		{ offsetof(Elf64_Ehdr, e_shnum), 2, 3, false },
		{ offsetof(Elf64_Ehdr, e_shoff), 8, UINT64_MAX, false },
		{ offsetof(Elf64_Ehdr, e_shoff), 8, sizeof(struct elf), false },
		{ offsetof(struct elf, sh[2].sh_offset), 8, UINT64_MAX - 8, false },
		{ offsetof(struct elf, sh[2].sh_size), 8, sizeof(struct elf), false },
		{ offsetof(struct elf, sh[2].sh_size), 8, UINT64_MAX, false },
		{ offsetof(struct elf, sh[2].sh_size), 8, 60, true },
		{ offsetof(struct elf, sh[2].sh_link), 4, 4, false },
		{ offsetof(struct elf, sh[2].sh_link), 4, UINT32_MAX, false },
		{ offsetof(struct elf, sh[2].sh_type), 4, SHT_DYNSYM, false },
		{ offsetof(struct elf, sh[3].sh_offset), 8, sizeof(struct elf) - 31, false },
		{ offsetof(struct elf, sh[3].sh_size), 8, 0, false },
		{ offsetof(struct elf, sh[3].sh_size), 8, 1, false },
		{ offsetof(struct elf, sym[5].st_name), 4, 32, true },
		{ offsetof(struct elf, sym[5].st_name), 4, UINT32_MAX, true },
		{ offsetof(struct elf, sym[5].st_shndx), 2, 4, true },
		{ offsetof(struct elf, sym[5].st_shndx), 2, 0xfffe, true },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct elf f = elf();
		uint64_t v = htole64(rows[i].value);

		memcpy((uint8_t *)&f + rows[i].off, &v, rows[i].len);
		int ret = read_mem(&f, sizeof(f));
		ck_assert_msg((ret == 0) == rows[i].works, "row %zu: %d %s", i, ret, err.msg);
		ck_assert(ret == 0 || err.kind == ERR_USAGE);
		symbols_release(&syms);
	}
}
END_TEST

START_TEST(elf_cut_anywhere)
{
	struct elf f = elf();

	for (size_t len = 0; len < sizeof(f); len++) {
		ck_assert_int_lt(read_mem(&f, len), 0);
		symbols_release(&syms);
	}
}
END_TEST

UNIT_SUITE("symbols", {
	tcase_add_test(tc, text);
	tcase_add_test(tc, forms_of_a_line);
	tcase_add_test(tc, a_name_drives_no_terminal);
	tcase_add_test(tc, text_that_is_none);
	tcase_add_test(tc, a_long_name_is_left_out);
	tcase_add_test(tc, elf_file);
	tcase_add_test(tc, elf_damage);
	tcase_add_test(tc, elf_cut_anywhere);
})
