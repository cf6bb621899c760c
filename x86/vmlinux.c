/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>

#include "loader.h"

/* The note with the 32-bit entry of the PVH boot ABI: Xen's include/public/elfnote.h. */
#define NOTE_NAME         "Xen"
#define NOTE_PHYS32_ENTRY 18
/* A kernel has about 20; more would only be there to keep us busy. */
#define NOTES_MAX 256

#define ULL(x)    ((unsigned long long)(x))

bool vmlinux_probe(const uint8_t *head, size_t len)
{
	return len >= SELFMAG && memcmp(head, ELFMAG, SELFMAG) == 0;
}

static int check_ehdr(const struct src *src, const Elf64_Ehdr *e, struct err *err)
{
	const char *wrong = NULL;

	if (e->e_ident[EI_CLASS] == ELFCLASS32)
		wrong = "a 32-bit ELF file; lkvm boots 64-bit kernels";
	else if (e->e_ident[EI_CLASS] != ELFCLASS64 || e->e_ident[EI_DATA] != ELFDATA2LSB ||
		 e->e_ident[EI_VERSION] != EV_CURRENT)
		wrong = "an ELF file with a damaged header";
	else if (e->e_machine == EM_AARCH64)
		wrong = "an arm64 kernel; this machine is x86-64";
	else if (e->e_machine != EM_X86_64)
		wrong = "an ELF file for another processor than x86-64";
	else if (e->e_type != ET_EXEC && e->e_type != ET_DYN)
		wrong = "an ELF file that is not executable";
	else if (e->e_phentsize != sizeof(Elf64_Phdr) || e->e_phnum == 0)
		wrong = "an ELF file without program headers";
	else if (e->e_phnum > VMLINUX_PHDRS_MAX)
		wrong = "an ELF file with more program headers than a kernel has";
	return wrong ? err_usage(err, "%s %s is %s", src->what, src->name, wrong) : 0;
}

/* The rules of one segment; `i` is its place in the table. */
static int check_segment(const struct src *src, unsigned int i, const Elf64_Phdr *p,
			 struct err *err)
{
	const char *wrong = NULL;

	if (p->p_filesz > p->p_memsz)
		wrong = "is larger in the file than in memory";
	else if (!range_ok(p->p_offset, p->p_filesz, src->size))
		wrong = "leaves the file";
	else if (!range_ok(p->p_paddr, p->p_memsz, GPA_RAM_HIGH))
		wrong = "does not lie below 4 GiB";
	else if (p->p_paddr < GPA_HIGH)
		wrong = "lies below 1 MiB";
	/* ELF: 0 and 1 mean none; else a power of two that address and offset agree on. */
	else if (p->p_align & (p->p_align - 1))
		wrong = "has an alignment that is no power of two";
	else if (p->p_align > 1 && ((p->p_vaddr ^ p->p_offset) & (p->p_align - 1)))
		wrong = "is not aligned as it says";
	return wrong ? err_usage(err, "%s %s: segment %u %s", src->what, src->name, i, wrong) : 0;
}

/* Adds a segment to the ascending list, which must stay free of overlaps. */
static int add_segment(const struct src *src, struct vmlinux *vm, const Elf64_Phdr *p,
		       struct err *err)
{
	unsigned int at = vm->segs_nr;

	for (; at > 0 && vm->segs[at - 1]->p_paddr > p->p_paddr; at--)
		vm->segs[at] = vm->segs[at - 1];
	vm->segs[at] = p;
	vm->segs_nr++;

	if ((at > 0 && p->p_paddr - vm->segs[at - 1]->p_paddr < vm->segs[at - 1]->p_memsz) ||
	    (at + 1 < vm->segs_nr && vm->segs[at + 1]->p_paddr - p->p_paddr < p->p_memsz))
		return err_usage(err, "%s %s: two segments overlap at %#llx", src->what, src->name,
				 ULL(p->p_paddr));
	return 0;
}

static int collect_segments(const struct src *src, struct vmlinux *vm, struct err *err)
{
	vm->segs_nr = 0;
	for (unsigned int i = 0; i < vm->phdrs_nr; i++) {
		const Elf64_Phdr *p = &vm->phdrs[i];
		int ret;

		if (p->p_type != PT_LOAD || p->p_memsz == 0)
			continue;
		ret = check_segment(src, i, p, err);
		if (ret == 0)
			ret = add_segment(src, vm, p, err);
		if (ret < 0)
			return ret;
	}
	if (vm->segs_nr == 0)
		return err_usage(err, "%s %s has nothing to load", src->what, src->name);
	return 0;
}

/* `gpa` is in the part of a segment that comes from the file. */
static bool is_loaded(const struct vmlinux *vm, uint64_t gpa)
{
	for (unsigned int i = 0; i < vm->segs_nr; i++)
		if (gpa >= vm->segs[i]->p_paddr &&
		    gpa - vm->segs[i]->p_paddr < vm->segs[i]->p_filesz)
			return true;
	return false;
}

/* One note at *off, which is moved past it. 1 when it gave the PVH entry, 0 when not. */
static int read_note(const struct src *src, uint64_t align, uint64_t *off, uint64_t end,
		     uint64_t *entry, struct err *err)
{
	Elf64_Nhdr n;
	char name[sizeof(NOTE_NAME)];
	uint64_t name_off, desc_off;
	uint64_t value = 0;
	int ret = src_read(src, *off, &n, sizeof(n), err);

	if (ret < 0)
		return ret;
	/* Both lengths are 32 bits and `end` is inside the file, so the sums cannot wrap. */
	name_off = *off + sizeof(n);
	desc_off = name_off + align_up(n.n_namesz, align);
	*off = desc_off + align_up(n.n_descsz, align);
	if (n.n_type != NOTE_PHYS32_ENTRY || n.n_namesz != sizeof(name) ||
	    (n.n_descsz != sizeof(uint32_t) && n.n_descsz != sizeof(uint64_t)) || desc_off > end ||
	    n.n_descsz > end - desc_off)
		return 0;

	ret = src_read(src, name_off, name, sizeof(name), err);
	if (ret < 0 || memcmp(name, NOTE_NAME, sizeof(name)) != 0)
		return ret;
	ret = src_read(src, desc_off, &value, n.n_descsz, err);
	*entry = le64toh(value);
	return ret < 0 ? ret : 1;
}

static int read_notes(const struct src *src, const Elf64_Phdr *p, struct vmlinux *vm,
		      struct err *err)
{
	uint64_t align = p->p_align == 8 ? 8 : 4;
	uint64_t off = p->p_offset, end = p->p_offset + p->p_filesz;

	for (unsigned int i = 0; i < NOTES_MAX; i++) {
		int ret;

		if (off > end || end - off < sizeof(Elf64_Nhdr))
			return 0;
		ret = read_note(src, align, &off, end, &vm->pvh_entry, err);
		if (ret != 0)
			return ret;
	}
	return 0;
}

/* Finds the PVH entry. A kernel without notes, or with others, has none. */
static int find_pvh(const struct src *src, struct vmlinux *vm, struct err *err)
{
	for (unsigned int i = 0; i < vm->phdrs_nr; i++) {
		const Elf64_Phdr *p = &vm->phdrs[i];
		int ret;

		if (p->p_type != PT_NOTE)
			continue;
		if (!range_ok(p->p_offset, p->p_filesz, src->size))
			return err_usage(err, "%s %s: its notes leave the file", src->what,
					 src->name);
		ret = read_notes(src, p, vm, err);
		if (ret < 0)
			return ret;
		if (ret > 0)
			break;
	}
	if (vm->pvh_entry && (vm->pvh_entry > UINT32_MAX || !is_loaded(vm, vm->pvh_entry)))
		return err_usage(err, "%s %s: its PVH entry %#llx is in no segment", src->what,
				 src->name, ULL(vm->pvh_entry));
	return 0;
}

int vmlinux_parse(const struct src *src, bool pvh, struct vmlinux *vm, struct err *err)
{
	int ret = src_read(src, 0, &vm->ehdr, sizeof(vm->ehdr), err);

	if (ret == 0)
		ret = check_ehdr(src, &vm->ehdr, err);
	if (ret < 0)
		return ret;
	vm->phdrs_nr = vm->ehdr.e_phnum;
	ret = src_read(src, vm->ehdr.e_phoff, vm->phdrs, vm->phdrs_nr * sizeof(vm->phdrs[0]), err);
	if (ret == 0)
		ret = collect_segments(src, vm, err);
	vm->pvh_entry = 0;
	if (ret == 0 && pvh)
		ret = find_pvh(src, vm, err);
	return ret;
}

static uint64_t trimmed_len(const uint8_t *data, uint64_t len)
{
	while (len >= 8 && !get_le64(data + len - 8))
		len -= 8;
	while (len && !data[len - 1])
		len--;
	return len;
}

void vmlinux_trim(struct vmlinux *vm, uint8_t *elf)
{
	for (unsigned int i = 0; i < vm->phdrs_nr; i++) {
		Elf64_Phdr *p = &vm->phdrs[i];

		if (p->p_type == PT_LOAD && p->p_memsz)
			p->p_filesz = trimmed_len(elf + p->p_offset, p->p_filesz);
	}
	memcpy(elf + vm->ehdr.e_phoff, vm->phdrs, vm->phdrs_nr * sizeof(vm->phdrs[0]));
}

unsigned int vmlinux_ranges(const struct vmlinux *vm, struct kcache_range out[VMLINUX_RANGES_MAX])
{
	unsigned int nr = 0;

	out[nr++] = (struct kcache_range){ 0, sizeof(vm->ehdr) };
	out[nr++] = (struct kcache_range){ vm->ehdr.e_phoff, vm->phdrs_nr * sizeof(vm->phdrs[0]) };
	for (unsigned int i = 0; i < vm->segs_nr; i++)
		out[nr++] = (struct kcache_range){ vm->segs[i]->p_offset, vm->segs[i]->p_filesz };
	return nr;
}

/* Every segment is RAM. Nothing is copied before this holds for all. */
static int check_place(const struct gmem *gm, const struct src *src, const struct vmlinux *vm,
		       struct err *err)
{
	for (unsigned int i = 0; i < vm->segs_nr; i++) {
		const Elf64_Phdr *p = vm->segs[i];

		if (!loader_span(gm, p->p_paddr, p->p_memsz))
			return err_usage(
				err,
				"%s %s needs memory from %#llx to %#llx: the guest has %llu MiB, "
				"give it more with -m",
				src->what, src->name, ULL(p->p_paddr), ULL(p->p_paddr + p->p_memsz),
				ULL(gmem_size(gm) / MIB));
	}
	return 0;
}

static int copy_segments(const struct gmem *gm, const struct src *src, const struct vmlinux *vm,
			 struct err *err)
{
	int ret = 0;

	for (unsigned int i = 0; i < vm->segs_nr && ret == 0; i++) {
		const Elf64_Phdr *p = vm->segs[i];

		ret = src_read(src, p->p_offset, loader_span(gm, p->p_paddr, p->p_memsz),
			       p->p_filesz, err);
	}
	return ret;
}

/* The same from the cache. The headers are read again, because the checksum starts with them. */
static int copy_cached(const struct gmem *gm, const struct vmlinux *vm, struct kcache_entry *cached)
{
	Elf64_Ehdr ehdr;
	Elf64_Phdr phdrs[VMLINUX_PHDRS_MAX];
	size_t len = vm->phdrs_nr * sizeof(phdrs[0]);

	if (kcache_read(cached, 0, &ehdr, sizeof(ehdr)) < 0 ||
	    kcache_read(cached, vm->ehdr.e_phoff, phdrs, len) < 0)
		return -EBADMSG;
	for (unsigned int i = 0; i < vm->segs_nr; i++) {
		const Elf64_Phdr *p = vm->segs[i];

		if (kcache_read(cached, p->p_offset, loader_span(gm, p->p_paddr, p->p_memsz),
				p->p_filesz) < 0)
			return -EBADMSG;
	}
	return kcache_check(cached);
}

/* What a damaged entry wrote is taken back: the next loader relies on zeroed memory. */
static void clear_segments(const struct gmem *gm, const struct vmlinux *vm)
{
	for (unsigned int i = 0; i < vm->segs_nr; i++)
		memset(loader_span(gm, vm->segs[i]->p_paddr, vm->segs[i]->p_memsz), 0,
		       vm->segs[i]->p_filesz);
}

int vmlinux_load(const struct gmem *gm, const struct src *src, const struct vmlinux *vm,
		 struct kcache_entry *cached, struct loaded *out, struct err *err)
{
	const Elf64_Phdr *last = vm->segs[vm->segs_nr - 1];
	int ret;

	*out = (struct loaded){ .gpa = vm->segs[0]->p_paddr, .pvh = vm->pvh_entry != 0 };
	out->len = last->p_paddr + last->p_memsz - out->gpa;
	out->entry = out->pvh ? vm->pvh_entry : vm->ehdr.e_entry;
	if (!is_loaded(vm, out->entry))
		return err_usage(err,
				 "%s %s: its entry %#llx is the physical address of no segment",
				 src->what, src->name, ULL(out->entry));
	ret = check_place(gm, src, vm, err);
	if (ret < 0)
		return ret;

	if (!cached)
		return copy_segments(gm, src, vm, err);
	ret = copy_cached(gm, vm, cached);
	if (ret < 0)
		clear_segments(gm, vm);
	return ret;
}

#define SCAN_LEN    (256 * KIB)
#define RELEASE_MAX 256 /* of the message up to there */

/* "Linux version 6.1.0-17-amd64 (builder@host) ...": the kernel's first message. Its end may lie in the next part. */
static bool find_release(const uint8_t *buf, size_t buf_len, char *release, size_t len)
{
	static const char banner[] = "Linux version ";
	const uint8_t *end = buf + buf_len;

	for (const uint8_t *p = buf; (p = memmem(p, (size_t)(end - p), banner, strlen(banner)));) {
		p += strlen(banner);
		size_t n = 0;

		while (p + n < end && n < len - 1 && p[n] > ' ' && p[n] < 0x7f && p[n] != '%')
			n++;
		if (!n || p[0] < '0' || p[0] > '9' || p + n == end || p[n] != ' ')
			continue;
		snprintf(release, len, "%.*s", (int)n, (const char *)p);
		return true;
	}
	return false;
}

void vmlinux_release(const struct src *src, char *release, size_t len)
{
	uint8_t *buf = malloc(SCAN_LEN);
	struct err err = ERR_INIT;

	*release = 0;
	for (uint64_t at = 0; buf && at < src->size; at += SCAN_LEN - RELEASE_MAX) {
		size_t n = MIN(SCAN_LEN, src->size - at);

		if (src_read(src, at, buf, n, &err) || find_release(buf, n, release, len) ||
		    n < SCAN_LEN)
			break;
	}
	free(buf);
}

bool vmlinux_seems_to_use_ecam(const void *bytes, uint64_t len)
{
	/* What arch/x86/pci/mmconfig-shared.c prints, before 6.9 and since. */
	static const char *const texts[] = { "MMCONFIG for domain", "ECAM %pR (base" };

	for (unsigned int i = 0; i < ARRAY_SIZE(texts); i++)
		if (memmem(bytes, len, texts[i], strlen(texts[i])))
			return true;
	return false;
}
