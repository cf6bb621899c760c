// SPDX-License-Identifier: GPL-2.0
// ARCH: x86
// LINK: x86/vmlinux.c util/kcache.c util/kindex.c util/src.c util/err.c util/util.c gmem.c
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "x86/loader.h"

#include "images.h"
#include "unit.h"

#define RAM (32 * MIB)

static struct gmem gm;
static struct elf_image *k;
static char dir[64];

static void setup(void)
{
	struct gmem_region spans[2] = { { .gpa = 0, .size = RAM },
					{ .gpa = GPA_RAM_HIGH, .size = RAM } };
	struct gmem_backing backing = { 0 };
	struct err err = ERR_INIT;

	ck_assert_int_eq(gmem_init(&gm, spans, 2, &backing, &err), 0);
	k = malloc(sizeof(*k));
	image_elf(k, true);
}

static void teardown(void)
{
	gmem_release(&gm);
	free(k);
}

static int load_len(size_t len, bool pvh, struct loaded *out, struct err *err)
{
	uint8_t *copy = malloc(len ? len : 1);
	struct vmlinux vm;
	struct src src;
	int ret;

	*err = ERR_INIT;
	memcpy(copy, k->bytes, len);
	src_init_mem(&src, "kernel", "vmlinux", copy, len);
	ret = vmlinux_parse(&src, pvh, &vm, err);
	if (ret == 0)
		ret = vmlinux_load(&gm, &src, &vm, NULL, out, err);
	free(copy);
	if (ret < 0) {
		ck_assert_int_eq(err->kind, ERR_USAGE);
		ck_assert_ptr_nonnull(strstr(err->msg, "kernel vmlinux"));
	}
	return ret;
}

static int load(bool pvh, struct loaded *out, struct err *err)
{
	return load_len(ELF_LEN, pvh, out, err);
}

static bool all_zero(uint64_t gpa, uint64_t len)
{
	const uint8_t *p = gmem_span(&gm, gpa, len);

	while (len > 0 && *p == 0)
		p++, len--;
	return len == 0;
}

static void check_loaded(void)
{
	ck_assert_mem_eq(gmem_span(&gm, ELF_GPA, 1), k->bytes + ELF_SEG1, ELF_SEG_LEN);
	ck_assert_mem_eq(gmem_span(&gm, ELF_GPA2, 1), k->bytes + ELF_SEG2, ELF_SEG_LEN);
	ck_assert(all_zero(ELF_GPA - 4096, 4096));
	ck_assert(all_zero(ELF_GPA + ELF_SEG_LEN, ELF_GPA2 - ELF_GPA - ELF_SEG_LEN));
	ck_assert(all_zero(ELF_GPA2 + ELF_SEG_LEN, 4096));
}

START_TEST(loads_segments_by_physical_address)
{
	struct loaded out;
	struct err err;

	for (int swapped = 0; swapped < 2; swapped++) {
		ck_assert_msg(load(false, &out, &err) == 0, "%s", err.msg);
		ck_assert_uint_eq(out.gpa, ELF_GPA);
		ck_assert_uint_eq(out.len, ELF_GPA2 - ELF_GPA + ELF_SEG_LEN + ELF_BSS_LEN);
		ck_assert_uint_eq(out.entry, ELF_GPA);
		ck_assert(!out.pvh);
		check_loaded();
		/* Their order in the table does not matter. */
		Elf64_Phdr p = k->phdrs[0];
		k->phdrs[0] = k->phdrs[1];
		k->phdrs[1] = p;
	}
}
END_TEST

START_TEST(takes_the_pvh_entry_when_asked)
{
	struct loaded out;
	struct err err;

	ck_assert_int_eq(load(true, &out, &err), 0);
	ck_assert(out.pvh);
	ck_assert_uint_eq(out.entry, ELF_PVH);
	/* Without the note there is nothing to take. */
	image_elf(k, false);
	ck_assert_int_eq(load(true, &out, &err), 0);
	ck_assert(!out.pvh);
	ck_assert_uint_eq(out.entry, ELF_GPA);
}
END_TEST

START_TEST(reads_notes_of_both_kinds)
{
	uint64_t entry = ELF_PVH;
	uint32_t other = 1;
	struct loaded out;
	struct err err;

	/* A value of 4 bytes, as the ABI says; Linux writes 8. */
	memset(k->bytes + ELF_NOTES, 0xff, 0x100);
	k->phdrs[2].p_filesz = image_note(k->bytes, ELF_NOTES, "Xen", 18, &entry, 4) - ELF_NOTES;
	ck_assert_int_eq(load(true, &out, &err), 0);
	ck_assert_uint_eq(out.entry, ELF_PVH);

	/* Others before it: with odd lengths, the same type of another name, the same name. */
	size_t end = image_note(k->bytes, ELF_NOTES, "GNU..", 1, &other, 3);
	end = image_note(k->bytes, end, "Xeo", 18, &entry, 4);
	end = image_note(k->bytes, end, "Xen", 17, &entry, 4);
	end = image_note(k->bytes, end, "Xen", 18, &entry, 2);
	size_t before = end;
	end = image_note(k->bytes, end, "Xen", 18, &entry, 8);
	k->phdrs[2].p_filesz = end - ELF_NOTES;
	ck_assert_int_eq(load(true, &out, &err), 0);
	ck_assert(out.pvh);

	/* A longer name that begins like it is another name. */
	Elf64_Nhdr *n = (void *)(k->bytes + before);
	n->n_namesz = 6;
	memmove(k->bytes + before + 20, k->bytes + before + 16, 8);
	k->phdrs[2].p_filesz = end + 4 - ELF_NOTES;
	ck_assert_int_eq(load(true, &out, &err), 0);
	ck_assert(!out.pvh);
	image_note(k->bytes, before, "Xen", 18, &entry, 8);

	/* Cut anywhere, it is not there. */
	for (size_t cut = before; cut < end; cut++) {
		k->phdrs[2].p_filesz = cut - ELF_NOTES;
		ck_assert_int_eq(load(true, &out, &err), 0);
		ck_assert(!out.pvh);
	}
}
END_TEST

START_TEST(pads_notes_as_their_segment_says)
{
	uint64_t entry = ELF_PVH;
	Elf64_Nhdr n = { .n_namesz = 4, .n_descsz = 4, .n_type = 1 };
	struct loaded out;
	struct err err;

	/* 12 + 4 -> 12 + 8, then 4 -> 8: 28 bytes instead of 20. */
	memset(k->bytes + ELF_NOTES, 0, 0x100);
	memcpy(k->bytes + ELF_NOTES, &n, sizeof(n));
	memcpy(k->bytes + ELF_NOTES + 12, "GNU", 4);
	image_note(k->bytes, ELF_NOTES + 28, "Xen", 18, &entry, 4);
	memmove(k->bytes + ELF_NOTES + 28 + 20, k->bytes + ELF_NOTES + 28 + 16, 4);
	k->phdrs[2].p_filesz = 28 + 28;
	k->phdrs[2].p_align = 8;
	ck_assert_int_eq(load(true, &out, &err), 0);
	ck_assert(out.pvh);
	ck_assert_uint_eq(out.entry, ELF_PVH);
}
END_TEST

START_TEST(notes_end)
{
	struct loaded out;
	struct err err;

	/* Notes with nothing in them, or that claim 4 GiB, to the end of the segment. */
	for (int fill = 0; fill < 2; fill++) {
		memset(k->bytes + ELF_NOTES, fill ? 0xff : 0, ELF_SEG1 - ELF_NOTES);
		k->phdrs[2].p_filesz = ELF_SEG1 - ELF_NOTES;
		ck_assert_int_eq(load(true, &out, &err), 0);
		ck_assert(!out.pvh);
	}
}
END_TEST

START_TEST(notes_at_the_end_of_the_file)
{
	struct loaded out;
	struct err err;

	/* Less than a header; nothing behind it can be read. */
	for (size_t len = 0; len < sizeof(Elf64_Nhdr); len++) {
		k->phdrs[2].p_offset = ELF_LEN - len;
		k->phdrs[2].p_filesz = len;
		ck_assert_msg(load(true, &out, &err) == 0, "%s", err.msg);
		ck_assert(!out.pvh);
	}
}
END_TEST

START_TEST(first_pvh_note_counts)
{
	uint64_t entry = ELF_PVH, other = ELF_PVH + 1;
	struct loaded out;
	struct err err;

	k->phdrs[1] = k->phdrs[2];
	k->phdrs[2].p_offset += 0x100;
	k->phdrs[1].p_filesz = k->phdrs[2].p_filesz = 28;
	image_note(k->bytes, ELF_NOTES, "Xen", 18, &entry, 8);
	image_note(k->bytes, ELF_NOTES + 0x100, "Xen", 18, &other, 8);
	ck_assert_msg(load(true, &out, &err) == 0, "%s", err.msg);
	ck_assert_uint_eq(out.entry, ELF_PVH);
}
END_TEST

START_TEST(pvh_entry_is_in_a_segment)
{
	static const uint64_t bad[] = { ELF_GPA - 1, ELF_GPA + ELF_SEG_LEN, ELF_GPA2 + ELF_SEG_LEN,
					0xffffffff,  0x100000000 + ELF_GPA, UINT64_MAX };

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct loaded out;
		struct err err;

		image_note(k->bytes, ELF_NOTES, "Xen", 18, &bad[i], 8);
		ck_assert_int_eq(load(true, &out, &err), -EINVAL);
		ck_assert_ptr_nonnull(strstr(err.msg, "PVH entry"));
	}
}
END_TEST

#define EHDR(f, v, says)                                                                           \
	{                                                                                          \
		offsetof(Elf64_Ehdr, f), sizeof(((Elf64_Ehdr *)0)->f), (uint64_t)(v), says         \
	}
#define IDENT(i, v, says)                                                                          \
	{                                                                                          \
		(i), 1, (v), says                                                                  \
	}
#define PHDR(n, f, v, says)                                                                        \
	{                                                                                          \
		sizeof(Elf64_Ehdr) + (n) * sizeof(Elf64_Phdr) + offsetof(Elf64_Phdr, f),           \
			sizeof(((Elf64_Phdr *)0)->f), (uint64_t)(v), says                          \
	}

static const struct {
	size_t off, len;
	uint64_t value;
	const char *says;
} bad_fields[] = {
	IDENT(EI_CLASS, ELFCLASS32, "32-bit ELF"),
	IDENT(EI_CLASS, 0, "damaged"),
	IDENT(EI_DATA, ELFDATA2MSB, "damaged"),
	IDENT(EI_VERSION, 0, "damaged"),
	EHDR(e_machine, EM_AARCH64, "arm64 kernel"),
	EHDR(e_machine, EM_386, "another processor"),
	EHDR(e_type, ET_REL, "not executable"),
	EHDR(e_type, ET_CORE, "not executable"),
	EHDR(e_phentsize, 55, "without program headers"),
	EHDR(e_phnum, 0, "without program headers"),
	EHDR(e_phnum, VMLINUX_PHDRS_MAX + 1, "more program headers"),
	EHDR(e_phnum, 0xffff, "more program headers"),
	EHDR(e_phoff, ELF_LEN - 3 * sizeof(Elf64_Phdr) + 1, "cut short"),
	EHDR(e_phoff, UINT64_MAX, "cut short"),
	EHDR(e_phoff, UINT64_MAX - 8, "cut short"),
	EHDR(e_entry, 0, "entry 0 "),
	EHDR(e_entry, ELF_GPA - 1, "entry"),
	EHDR(e_entry, ELF_GPA + ELF_SEG_LEN, "entry"),
	EHDR(e_entry, ELF_GPA2 + ELF_SEG_LEN, "entry"), /* in the .bss */
	EHDR(e_entry, 0xffffffff81000000, "entry"),     /* a virtual address */
	PHDR(0, p_filesz, ELF_SEG_LEN + 1, "segment 0 is larger in the file"),
	PHDR(0, p_filesz, UINT64_MAX, "larger in the file"),
	PHDR(1, p_offset, ELF_SEG2 + 0x1000, "segment 1 leaves the file"),
	PHDR(1, p_offset, -0x1000, "leaves the file"),
	PHDR(1, p_offset, UINT64_MAX, "leaves the file"),
	PHDR(0, p_paddr, 0, "below 1 MiB"),
	PHDR(0, p_paddr, GPA_HIGH - 1, "below 1 MiB"),
	PHDR(0, p_paddr, UINT64_MAX, "below 4 GiB"),
	PHDR(0, p_paddr, -0x200, "below 4 GiB"), /* wraps */
	PHDR(0, p_paddr, GPA_RAM_HIGH, "below 4 GiB"),
	PHDR(0, p_paddr, GPA_RAM_HIGH - ELF_SEG_LEN + 1, "below 4 GiB"),
	PHDR(1, p_memsz, UINT64_MAX, "below 4 GiB"),
	PHDR(1, p_memsz, GPA_RAM_HIGH - ELF_GPA2 + 1, "below 4 GiB"),
	PHDR(1, p_memsz, RAM - ELF_GPA2 + 1, "64 MiB, give it more"),
	PHDR(1, p_paddr, RAM, "give it more"),
	PHDR(1, p_paddr, RAM - ELF_SEG_LEN, "give it more"),
	PHDR(0, p_align, 3, "power of two"),
	PHDR(0, p_align, UINT64_MAX, "power of two"),
	PHDR(0, p_align, 0x2000, "not aligned"),
	PHDR(0, p_vaddr, 0xffffffff81000200, "not aligned"),
	PHDR(1, p_paddr, ELF_GPA, "overlap"),
	PHDR(1, p_paddr, ELF_GPA + ELF_SEG_LEN - 1, "overlap"),
	PHDR(1, p_paddr, ELF_GPA - ELF_SEG_LEN, "overlap"), /* by its .bss alone */
	PHDR(2, p_offset, ELF_LEN, "notes leave the file"),
	PHDR(2, p_filesz, UINT64_MAX, "notes leave the file"),
};

START_TEST(refuses_a_bad_field)
{
	struct loaded out;
	struct err err;

	memcpy(k->bytes + bad_fields[_i].off, &bad_fields[_i].value, bad_fields[_i].len);
	ck_assert_int_eq(load(strstr(bad_fields[_i].says, "notes"), &out, &err), -EINVAL);
	ck_assert_msg(strstr(err.msg, bad_fields[_i].says), "%s", err.msg);
	/* Nothing was copied before all was checked. */
	ck_assert(all_zero(0, RAM));
}
END_TEST

START_TEST(takes_what_is_odd_but_right)
{
	struct loaded out;
	struct err err;

	image_elf(k, false);
	k->phdrs[0].p_align = 0;
	k->phdrs[1].p_align = 1;
	k->phdrs[0].p_vaddr = 0x123;
	k->phdrs[1].p_paddr = ELF_GPA + ELF_SEG_LEN; /* touching is not overlapping */
	ck_assert_msg(load(false, &out, &err) == 0, "%s", err.msg);
	k->phdrs[0].p_paddr = GPA_HIGH;
	k->ehdr.e_entry = GPA_HIGH + ELF_SEG_LEN - 1;
	k->phdrs[1].p_paddr = RAM - ELF_SEG_LEN - ELF_BSS_LEN;
	ck_assert_msg(load(false, &out, &err) == 0, "%s", err.msg);
	/* Segments that occupy nothing are no segments, whatever else they say. */
	k->phdrs[1] = (Elf64_Phdr){ .p_type = PT_LOAD, .p_filesz = UINT64_MAX };
	ck_assert_msg(load(false, &out, &err) == 0, "%s", err.msg);
	k->phdrs[0].p_memsz = 0;
	ck_assert_int_eq(load(false, &out, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.msg, "nothing to load"));
}
END_TEST

START_TEST(refuses_each_cut)
{
	for (size_t len = 0; len < ELF_LEN; len += len < ELF_SEG1 ? 1 : 97) {
		struct loaded out;
		struct err err;

		ck_assert_int_eq(load_len(len, true, &out, &err), -EINVAL);
	}
}
END_TEST

START_TEST(a_probe_needs_the_magic)
{
	ck_assert(vmlinux_probe(k->bytes, 4));
	ck_assert(!vmlinux_probe(k->bytes, 3));
	k->bytes[3] = 'G';
	ck_assert(!vmlinux_probe(k->bytes, 4));
}
END_TEST

START_TEST(fills_the_table_of_segments)
{
	struct loaded out;
	struct err err;

	/* As many as there is room for, in falling order. */
	k->ehdr.e_phnum = VMLINUX_PHDRS_MAX;
	for (unsigned int i = 0; i < VMLINUX_PHDRS_MAX; i++) {
		Elf64_Phdr p = { .p_type = PT_LOAD,
				 .p_offset = ELF_SEG1 + i * 16,
				 .p_filesz = 16,
				 .p_memsz = 16,
				 .p_paddr = ELF_GPA + (VMLINUX_PHDRS_MAX - 1 - i) * 16 };

		memcpy(k->bytes + sizeof(Elf64_Ehdr) + i * sizeof(p), &p, sizeof(p));
	}
	ck_assert_msg(load(true, &out, &err) == 0, "%s", err.msg);
	ck_assert_uint_eq(out.len, VMLINUX_PHDRS_MAX * 16);
	for (unsigned int i = 0; i < VMLINUX_PHDRS_MAX; i++)
		ck_assert_mem_eq(gmem_span(&gm, ELF_GPA + (VMLINUX_PHDRS_MAX - 1 - i) * 16, 16),
				 k->bytes + ELF_SEG1 + i * 16, 16);
}
END_TEST

/* --- from the cache --- */

static const struct kcache_key key = { { 1 } };

static void store(void)
{
	struct kcache_range ranges[VMLINUX_RANGES_MAX];
	struct err err = ERR_INIT;
	struct vmlinux vm;
	struct src src;

	src_init_mem(&src, "kernel", "vmlinux", k->bytes, ELF_LEN);
	ck_assert_int_eq(vmlinux_parse(&src, false, &vm, &err), 0);
	ck_assert_int_eq(kcache_store(dir, &key, k->bytes, ranges, vmlinux_ranges(&vm, ranges)), 0);
}

static void cache_setup(void)
{
	setup();
	strcpy(dir, "/tmp/lkvm-test-vmlinux-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	store();
}

static void cache_teardown(void)
{
	char cmd[96];

	teardown();
	snprintf(cmd, sizeof(cmd), "rm -r %s", dir);
	ck_assert_int_eq(system(cmd), 0);
}

static int load_cached(struct loaded *out)
{
	struct err err = ERR_INIT;
	struct kcache_entry e;
	struct vmlinux vm;
	int ret;

	ck_assert_int_eq(kcache_open(&e, dir, &key), 0);
	ret = vmlinux_parse(&e.src, false, &vm, &err);
	if (ret == 0)
		ret = vmlinux_load(&gm, &e.src, &vm, &e, out, &err);
	kcache_close(&e);
	return ret;
}

START_TEST(loads_from_the_cache)
{
	struct loaded out;

	ck_assert_int_eq(load_cached(&out), 0);
	ck_assert_uint_eq(out.entry, ELF_GPA);
	check_loaded();
}
END_TEST

/* They are not loaded, so nothing keeps them. */
START_TEST(cached_kernel_may_lack_its_notes)
{
	struct loaded out;

	k->phdrs[1].p_filesz = 0x100;
	k->phdrs[2].p_offset = ELF_LEN - 0x40;
	store();
	ck_assert_int_eq(load_cached(&out), 0);
	ck_assert_uint_eq(out.entry, ELF_GPA);
}
END_TEST

START_TEST(takes_back_what_a_damaged_entry_wrote)
{
	/* A byte of each segment, and one of the headers that parsing lets pass. */
	static const size_t at[] = { ELF_SEG1, ELF_SEG2 + ELF_SEG_LEN - 1, 50 };
	char path[160];

	snprintf(path, sizeof(path), "%s/01000000000000000000000000000000.vmlinux", dir);
	for (size_t i = 0; i < ARRAY_SIZE(at); i++) {
		int fd = open(path, O_RDWR);
		uint8_t bad = k->bytes[at[i]] ^ 1;
		struct loaded out;

		ck_assert_int_eq(pwrite(fd, &bad, 1, at[i]), 1);
		ck_assert_int_eq(load_cached(&out), -EBADMSG);
		ck_assert(all_zero(0, RAM));
		ck_assert_int_eq(pwrite(fd, &k->bytes[at[i]], 1, at[i]), 1);
		ck_assert_int_eq(load_cached(&out), 0);
		close(fd);
		ck_assert_int_eq(gmem_zero(&gm, 0, RAM), 0);
	}
}
END_TEST

static void says_release(const char *text, size_t at, const char *want)
{
	const size_t len = MIB;
	char *file = calloc(1, len), release[128];
	struct src src;

	memcpy(file + at, text, MIN(strlen(text), len - at));
	src_init_mem(&src, "kernel", "vmlinux", file, len);
	vmlinux_release(&src, release, sizeof(release));
	ck_assert_str_eq(release, want);
	free(file);
}

/* Wherever it lies, as the file is read in parts. */
START_TEST(the_banner_has_the_release)
{
	static const char banner[] = "Linux version 6.1.0-1-test (who@where) #1 SMP";

	for (size_t at = 256 * KIB - 600; at <= 256 * KIB + 16; at++)
		says_release(banner, at, "6.1.0-1-test");
	says_release(banner, 0, "6.1.0-1-test");
	says_release(banner, MIB - 27, "6.1.0-1-test");
	says_release(banner, MIB - 26, "");
	says_release("", 0, "");
	says_release("Linux version %s (%s) Linux version 5.4 (x)", 100, "5.4");
	says_release("Linux version 6.1\x01.0 (x)", 100, "");
	says_release("Linux version x6.1.0 (x)", 100, "");
}
END_TEST

UNIT_SUITE("vmlinux", {
	TCase *cache = tcase_create("cache");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, loads_segments_by_physical_address);
	tcase_add_test(tc, takes_the_pvh_entry_when_asked);
	tcase_add_test(tc, reads_notes_of_both_kinds);
	tcase_add_test(tc, pads_notes_as_their_segment_says);
	tcase_add_test(tc, notes_end);
	tcase_add_test(tc, notes_at_the_end_of_the_file);
	tcase_add_test(tc, first_pvh_note_counts);
	tcase_add_test(tc, pvh_entry_is_in_a_segment);
	tcase_add_loop_test(tc, refuses_a_bad_field, 0, ARRAY_SIZE(bad_fields));
	tcase_add_test(tc, takes_what_is_odd_but_right);
	tcase_add_test(tc, refuses_each_cut);
	tcase_add_test(tc, a_probe_needs_the_magic);
	tcase_add_test(tc, the_banner_has_the_release);
	tcase_add_test(tc, fills_the_table_of_segments);
	tcase_add_checked_fixture(cache, cache_setup, cache_teardown);
	tcase_add_test(cache, loads_from_the_cache);
	tcase_add_test(cache, cached_kernel_may_lack_its_notes);
	tcase_add_test(cache, takes_back_what_a_damaged_entry_wrote);
	suite_add_tcase(s, cache);
})
