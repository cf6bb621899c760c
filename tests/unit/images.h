/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel images made in memory, small and well formed, for tests to break one thing at a time.
 */
#ifndef LKVM_TESTS_IMAGES_H
#define LKVM_TESTS_IMAGES_H

#include <asm/bootparam.h>
#include <elf.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <lkvm/util.h>

/* --- an ELF kernel: two segments and a note segment --- */

#define ELF_GPA     0x1000000ULL /* of the first segment, and the entry */
#define ELF_GPA2    0x1010000ULL
#define ELF_SEG1    0x800 /* offsets and lengths in the file */
#define ELF_SEG2    0xc00
#define ELF_SEG_LEN 0x400
#define ELF_BSS_LEN 0x800
#define ELF_NOTES   0x400
#define ELF_LEN     0x1000
#define ELF_PVH     (ELF_GPA + 0x50)

struct elf_image {
	union {
		uint8_t bytes[ELF_LEN];
		struct {
			Elf64_Ehdr ehdr;
			Elf64_Phdr phdrs[3]; /* two PT_LOAD, then PT_NOTE */
		};
	};
};

/* Appends a note at `off` and returns the offset behind it. */
static inline size_t image_note(uint8_t *buf, size_t off, const char *name, uint32_t type,
				const void *desc, uint32_t desc_len)
{
	Elf64_Nhdr n = { .n_namesz = (uint32_t)strlen(name) + 1,
			 .n_descsz = desc_len,
			 .n_type = type };

	memcpy(buf + off, &n, sizeof(n));
	memcpy(buf + off + sizeof(n), name, n.n_namesz);
	off += sizeof(n) + align_up(n.n_namesz, 4);
	memcpy(buf + off, desc, desc_len);
	return off + align_up(desc_len, 4);
}

static inline void image_elf(struct elf_image *k, bool pvh)
{
	uint64_t entry = ELF_PVH;
	size_t end;

	memset(k, 0, sizeof(*k));
	for (size_t i = ELF_SEG1; i < ELF_LEN; i++)
		k->bytes[i] = (uint8_t)(i * 7 + (i >> 8) + 1);
	k->ehdr = (Elf64_Ehdr){
		.e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
		.e_type = ET_EXEC,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_entry = ELF_GPA,
		.e_phoff = sizeof(Elf64_Ehdr),
		.e_ehsize = sizeof(Elf64_Ehdr),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 3,
	};
	k->phdrs[0] = (Elf64_Phdr){ .p_type = PT_LOAD,
				    .p_offset = ELF_SEG1,
				    .p_vaddr = 0xffffffff81000000,
				    .p_paddr = ELF_GPA,
				    .p_filesz = ELF_SEG_LEN,
				    .p_memsz = ELF_SEG_LEN,
				    .p_align = ELF_SEG_LEN };
	k->phdrs[1] = (Elf64_Phdr){ .p_type = PT_LOAD,
				    .p_offset = ELF_SEG2,
				    .p_vaddr = 0, /* as the per-CPU segment of Linux */
				    .p_paddr = ELF_GPA2,
				    .p_filesz = ELF_SEG_LEN,
				    .p_memsz = ELF_SEG_LEN + ELF_BSS_LEN,
				    .p_align = ELF_SEG_LEN };
	end = image_note(k->bytes, ELF_NOTES, "Linux", 18, &entry, 4);
	end = image_note(k->bytes, end, "Xen", pvh ? 18 : 17, &entry, 8);
	k->phdrs[2] = (Elf64_Phdr){ .p_type = PT_NOTE,
				    .p_offset = ELF_NOTES,
				    .p_filesz = end - ELF_NOTES,
				    .p_memsz = end - ELF_NOTES,
				    .p_align = 4 };
}

/* --- a bzImage: one setup sector, some code, a payload --- */

#define BZ_BODY    0x400 /* offset of the protected-mode code */
#define BZ_CODE    0x400 /* its length; the payload follows */
#define BZ_HDR_OFF 0x1f1
#define BZ_PREF    0x1000000ULL
#define BZ_CMDLINE 255
#define BZ_MAX     0x8000

struct bz_image {
	union {
		uint8_t bytes[BZ_MAX];
		struct {
			uint8_t pad[BZ_HDR_OFF];
			struct setup_header hdr;
		} __attribute__((packed));
	};
	size_t len;
};

static inline void image_bz(struct bz_image *k, const void *payload, size_t len)
{
	memset(k, 0, sizeof(*k));
	memset(k->bytes + BZ_BODY, 0x90, BZ_CODE);
	memcpy(k->bytes + BZ_BODY + BZ_CODE, payload, len);
	k->len = align_up(BZ_BODY + BZ_CODE + len, 16);
	k->hdr = (struct setup_header){
		.setup_sects = 1,
		.syssize = (uint32_t)(k->len - BZ_BODY) / 16,
		.boot_flag = 0xaa55,
		.jump = 0x6aeb,
		.header = 0x53726448,
		.version = 0x020f,
		.loadflags = LOADED_HIGH | CAN_USE_HEAP,
		.initrd_addr_max = 0x7fffffff,
		.kernel_alignment = 0x200000,
		.relocatable_kernel = 1,
		.xloadflags = XLF_KERNEL_64 | XLF_CAN_BE_LOADED_ABOVE_4G,
		.cmdline_size = BZ_CMDLINE,
		.payload_offset = BZ_CODE,
		.payload_length = (uint32_t)len,
		.pref_address = BZ_PREF,
		.init_size = 0x100000,
	};
}

#endif
