/* SPDX-License-Identifier: GPL-2.0 */
#include <elf.h>
#include <errno.h>

#include <lkvm/src.h>
#include <lkvm/symbols.h>
#include <lkvm/util.h>

/* A kernel with everything built in has about 400000 symbols of 30 bytes. */
#define TABLE_LEN_MAX  (256 * MIB)
#define SECTIONS_MAX   65535
#define FUNCTION_MAX   MIB /* no function is longer: further on is something else */
#define ADDR_DIGITS_NR 16

enum { RANK_GLOBAL, RANK_WEAK, RANK_LOCAL, RANK_MARK };

static int no_memory(const struct src *src, struct err *err)
{
	return err_host(err, ENOMEM, "no memory for the symbols of %s", src->name);
}

/* Room for one more of `len` bytes; doubles. */
static int grow(void **buf, size_t *max, size_t need, size_t each)
{
	if (need <= *max)
		return 0;
	size_t more = MAX(need, MAX(2 * *max, (size_t)1024));
	void *p = reallocarray(*buf, more, each);
	if (!p)
		return -ENOMEM;
	*buf = p;
	*max = more;
	return 0;
}

/* Where code ends. */
static bool is_end(const char *name)
{
	return !strcmp(name, "_etext") || !strcmp(name, "_einittext");
}

static bool is_start(const char *name)
{
	return !strcmp(name, "_stext") || !strcmp(name, "_text") || !strcmp(name, "_sinittext");
}

/* Adds a function; a name that is none is left out. */
static int add(struct symbols *s, uint64_t addr, uint32_t rank, const char *name, size_t len)
{
	if (!addr || !len || len > SYMBOL_NAME_MAX)
		return 0;
	void *list = s->list, *names = s->names;
	int ret = grow(&list, &s->max, s->nr + 1, sizeof(s->list[0]));
	s->list = list;
	if (!ret)
		ret = grow(&names, &s->names_max, s->names_len + len + 1, 1);
	s->names = names;
	if (ret || s->names_len > UINT32_MAX)
		return -ENOMEM;
	char *to = s->names + s->names_len;
	memcpy(to, name, len);
	to[len] = 0;
	util_clean_text(to);
	s->list[s->nr++] = (struct symbol){
		.addr = addr,
		.name = (uint32_t)s->names_len,
		.rank = is_start(to) ? RANK_MARK : rank,
	};
	s->names_len += len + 1;
	return 0;
}

/* --- text --- */

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "ffffffff81000000 T _text": false when the line is not of that form. */
static bool parse_line(const char *p, const char *end, uint64_t *addr, char *type,
		       const char **name, size_t *len)
{
	const char *begin = p;

	*addr = 0;
	for (; p < end && digit(*p) >= 0; p++)
		*addr = *addr << 4 | (unsigned int)digit(*p);
	if (p == begin || p - begin > ADDR_DIGITS_NR || end - p < 4 || *p != ' ' || p[2] != ' ')
		return false;
	*type = p[1];
	*name = p + 3;
	for (p = *name; p < end && *p && !is_space(*p); p++)
		;
	*len = (size_t)(p - *name);
	return *len > 0;
}

static int read_text(struct symbols *s, const struct src *src, const char *text, size_t size,
		     struct err *err)
{
	const char *p = text, *end = text + size;
	bool zero = false;

	for (unsigned long nr = 1; p < end; nr++) {
		const char *nl = memchr(p, '\n', (size_t)(end - p));
		const char *stop = nl ? nl : end, *name;
		uint64_t addr;
		size_t len;
		char type;

		if (!parse_line(p, stop, &addr, &type, &name, &len))
			return err_usage(
				err,
				"--symbols %s: line %lu is not \"address type name\", as in "
				"System.map, and the file is no ELF file",
				src->name, nr);
		zero |= !addr;
		p = nl ? nl + 1 : end;
		if (!strchr("tTwW", type))
			continue;
		if (add(s, addr,
			type == 'T'   ? RANK_GLOBAL
			: type == 't' ? RANK_LOCAL
				      : RANK_WEAK,
			name, len))
			return no_memory(src, err);
	}
	if (!s->nr && zero)
		return err_usage(
			err, "--symbols %s has addresses of 0 alone: read /proc/kallsyms as root",
			src->name);
	return 0;
}

/* --- ELF --- */

/* All of a range of the file, in memory that the caller frees. */
static int read_range(const struct src *src, uint64_t off, uint64_t len, void **buf,
		      struct err *err)
{
	if (len > TABLE_LEN_MAX)
		return err_usage(err, "--symbols %s: a table of more than %llu MiB", src->name,
				 (unsigned long long)(TABLE_LEN_MAX / MIB));
	*buf = malloc(len + 1);
	if (!*buf)
		return no_memory(src, err);
	int ret = src_read(src, off, *buf, len, err);
	if (ret) {
		free(*buf);
		*buf = NULL;
	}
	return ret;
}

static uint32_t rank_of(const Elf64_Sym *sym)
{
	switch (ELF64_ST_BIND(sym->st_info)) {
	case STB_GLOBAL:
		return RANK_GLOBAL;
	case STB_WEAK:
		return RANK_WEAK;
	default:
		return RANK_LOCAL;
	}
}

static bool is_code(const Elf64_Sym *sym, const Elf64_Shdr *sh, unsigned int sh_nr)
{
	unsigned int type = ELF64_ST_TYPE(sym->st_info);

	if (type != STT_FUNC && type != STT_NOTYPE)
		return false;
	return sym->st_shndx < sh_nr && (sh[sym->st_shndx].sh_flags & SHF_EXECINSTR);
}

static int add_table(struct symbols *s, const struct src *src, const Elf64_Shdr *sh,
		     unsigned int sh_nr, const Elf64_Shdr *symtab, struct err *err)
{
	void *table = NULL, *text = NULL;

	if (symtab->sh_link >= sh_nr)
		return err_usage(err, "--symbols %s: the table of symbols has no names", src->name);
	const Elf64_Shdr *names = &sh[symtab->sh_link];
	int ret = read_range(src, symtab->sh_offset, symtab->sh_size, &table, err);
	if (!ret)
		ret = read_range(src, names->sh_offset, names->sh_size, &text, err);
	const Elf64_Sym *sym = table;
	for (size_t i = 0; !ret && i < symtab->sh_size / sizeof(*sym); i++) {
		if (!is_code(&sym[i], sh, sh_nr) || sym[i].st_name >= names->sh_size)
			continue;
		const char *name = (const char *)text + sym[i].st_name;
		size_t len = strnlen(name, names->sh_size - sym[i].st_name);
		if (add(s, sym[i].st_value, rank_of(&sym[i]), name, len))
			ret = no_memory(src, err);
	}
	free(text);
	free(table);
	return ret;
}

static int read_elf(struct symbols *s, const struct src *src, struct err *err)
{
	Elf64_Ehdr e;
	void *sections;

	int ret = src_read(src, 0, &e, sizeof(e), err);
	if (ret)
		return ret;
	if (e.e_ident[EI_CLASS] != ELFCLASS64 || e.e_ident[EI_DATA] != ELFDATA2LSB)
		return err_usage(err, "--symbols %s is no 64-bit little-endian ELF file",
				 src->name);
	if (e.e_shnum && e.e_shentsize != sizeof(Elf64_Shdr))
		return err_usage(err, "--symbols %s: the table of sections is damaged", src->name);
	ret = read_range(src, e.e_shoff, (uint64_t)e.e_shnum * sizeof(Elf64_Shdr), &sections, err);
	if (ret)
		return ret;
	const Elf64_Shdr *sh = sections;
	for (unsigned int i = 0; !ret && i < e.e_shnum; i++)
		if (sh[i].sh_type == SHT_SYMTAB)
			ret = add_table(s, src, sh, e.e_shnum, &sh[i], err);
	free(sections);
	return ret;
}

static int compare(const void *a, const void *b)
{
	const struct symbol *x = a, *y = b;

	if (x->addr != y->addr)
		return x->addr < y->addr ? -1 : 1;
	if (x->rank != y->rank)
		return x->rank < y->rank ? -1 : 1;
	return x->name < y->name ? -1 : x->name > y->name;
}

static int read_all_text(struct symbols *s, const struct src *src, struct err *err)
{
	void *text;

	int ret = read_range(src, 0, src->size, &text, err);
	if (!ret)
		ret = read_text(s, src, text, src->size, err);
	else
		return ret;
	free(text);
	return ret;
}

int symbols_read(struct symbols *s, const struct src *src, struct err *err)
{
	char magic[SELFMAG] = { 0 };

	*s = (struct symbols){ 0 };
	int ret = src->size < sizeof(magic) ? 0 : src_read(src, 0, magic, sizeof(magic), err);
	if (!ret)
		ret = memcmp(magic, ELFMAG, SELFMAG) ? read_all_text(s, src, err)
						     : read_elf(s, src, err);
	if (!ret && !s->nr)
		ret = err_usage(
			err,
			"--symbols %s has no symbols of functions: take the System.map or "
			"the unstripped vmlinux of the kernel's build, or its /proc/kallsyms",
			src->name);
	if (!ret)
		qsort(s->list, s->nr, sizeof(s->list[0]), compare);
	return ret;
}

void symbols_release(struct symbols *s)
{
	free(s->list);
	free(s->names);
	*s = (struct symbols){ 0 };
}

bool symbols_find(const struct symbols *s, const char *name, uint64_t *addr)
{
	for (size_t i = 0; i < s->nr; i++) {
		if (strcmp(s->names + s->list[i].name, name))
			continue;
		*addr = s->list[i].addr;
		return true;
	}
	return false;
}

bool symbols_at(const struct symbols *s, uint64_t addr, struct symbol_at *at)
{
	size_t lo = 0, hi = s->nr;

	/* The first that begins after the address. */
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (s->list[mid].addr <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (!lo)
		return false;
	size_t i = lo - 1;
	while (i && s->list[i - 1].addr == s->list[i].addr)
		i--;
	const struct symbol *sym = &s->list[i];
	*at = (struct symbol_at){
		.name = s->names + sym->name,
		.off = addr - sym->addr,
		.size = lo < s->nr ? s->list[lo].addr - sym->addr : 0,
	};
	return at->off < FUNCTION_MAX && !is_end(at->name);
}
