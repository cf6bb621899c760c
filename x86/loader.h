/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the files of the loader share with each other: boot.c decides, bzimage.c and vmlinux.c take a
 * kernel file apart and put it into guest memory, bootinfo.c tells the kernel about it.
 *
 * Everything in a kernel file is hostile. A parse function checks a file against itself, a load
 * function checks it against guest memory, and only then is a byte copied. Guest memory is fresh and
 * therefore zero: nothing here clears a .bss.
 */
#ifndef LKVM_X86_LOADER_H
#define LKVM_X86_LOADER_H

#include <asm/bootparam.h>
#include <elf.h>
#include <stdbool.h>
#include <stdint.h>

#include <lkvm/err.h>
#include <lkvm/gmem.h>
#include <lkvm/kcache.h>
#include <lkvm/src.h>
#include <lkvm/util.h>

#include "boot.h"
#include "memmap.h"

/*
 * The longest command line of a kernel whose image does not say: COMMAND_LINE_SIZE of x86 Linux less
 * the final NUL.
 */
#define CMDLINE_MAX_DEFAULT 2047

/* A kernel in guest memory, and what must be known to start it. */
struct loaded {
	uint64_t gpa, len; /* what it occupies until it manages memory itself */
	uint64_t entry;
	bool pvh;
	bool ecam; /* it is seen to find PCI configuration space by ECAM */
	/* The image's own header, or for a plain ELF one with the fields that a kernel reads. */
	struct setup_header hdr;
};

/*
 * The host address of memory that a kernel may be loaded to, or NULL: RAM above the first MiB, which is
 * the machine's, and below 4 GiB, which is all that is mapped at its entry.
 */
static inline void *loader_span(const struct gmem *gm, uint64_t gpa, uint64_t len)
{
	if (gpa < GPA_HIGH || !range_ok(gpa, len, GPA_RAM_HIGH))
		return NULL;
	return gmem_span(gm, gpa, len);
}

/* --- bzimage.c --- */

struct bzimage {
	struct setup_header hdr; /* zero beyond the length that the image gives */
	uint64_t body_off;       /* the protected-mode part in the file, and its length */
	uint64_t body_len;
};

/* Whether the file starts like an image of the Linux boot protocol. */
/* "6.1.0-17-amd64", or "" when a bzImage does not say. */
void bzimage_release(const struct src *src, char *release, size_t len);
bool bzimage_probe(const uint8_t *head, size_t len);
int bzimage_parse(const struct src *src, struct bzimage *bz, struct err *err);
/* The compressed kernel in the file. An error when it leaves the file. *len is 0 when there is none. */
int bzimage_payload(const struct src *src, const struct bzimage *bz, uint64_t *off, uint64_t *len,
		    struct err *err);
/* Loads the image as it is. */
int bzimage_load(const struct gmem *gm, const struct src *src, const struct bzimage *bz,
		 struct loaded *out, struct err *err);

/* --- vmlinux.c --- */

#define VMLINUX_PHDRS_MAX 32

struct vmlinux {
	Elf64_Ehdr ehdr;
	Elf64_Phdr phdrs[VMLINUX_PHDRS_MAX]; /* as in the file */
	unsigned int phdrs_nr;
	const Elf64_Phdr
		*segs[VMLINUX_PHDRS_MAX]; /* PT_LOAD that occupy memory, ascending by p_paddr */
	unsigned int segs_nr;
	uint64_t pvh_entry; /* from the note, 0: none, or not wanted */
};

bool vmlinux_probe(const uint8_t *head, size_t len);
/* As bzimage_release(); the whole file may have to be read for it. */
void vmlinux_release(const struct src *src, char *release, size_t len);
/* The notes are looked at only when the PVH entry is wanted; a cached kernel may have lost them. */
int vmlinux_parse(const struct src *src, bool pvh, struct vmlinux *vm, struct err *err);
/*
 * Copies the segments and fills out->{gpa,len,entry,pvh}. The PVH entry is taken when there is one.
 * `cached` is NULL, or the entry that `src` belongs to: it is then read in the order of
 * vmlinux_ranges(), and -EBADMSG means that it is damaged; guest memory is then as it was.
 */
int vmlinux_load(const struct gmem *gm, const struct src *src, const struct vmlinux *vm,
		 struct kcache_entry *cached, struct loaded *out, struct err *err);
/*
 * Takes the zeros at the end of each segment out of the file part, in `vm` and in the headers of `elf`,
 * the bytes it was parsed from: memory is zero already, and neither the copy nor the cache need them.
 */
void vmlinux_trim(struct vmlinux *vm, uint8_t *elf);
/* The parts of the file that a later load reads, in its order. Returns their number. */
#define VMLINUX_RANGES_MAX (2 + VMLINUX_PHDRS_MAX)
unsigned int vmlinux_ranges(const struct vmlinux *vm, struct kcache_range out[VMLINUX_RANGES_MAX]);

/*
 * Whether an unpacked kernel has the code that uses ECAM: it carries the code's messages. A kernel that is taken for one
 * without it costs exits; one that is taken for one with it finds no PCI.
 */
bool vmlinux_seems_to_use_ecam(const void *bytes, uint64_t len);

/* --- unpack.c --- */

/*
 * Loads the kernel inside a bzImage, from the cache or through the decompressor. 1 when it did, 0 when
 * lkvm cannot and the image has to do it itself (*why says why), -errno for a broken image.
 */
int unpack_load(const struct gmem *gm, const struct boot_request *req, const struct bzimage *bz,
		struct loaded *out, const char **how, struct err *why, struct err *err);

/* --- bootinfo.c --- */

/* Where things are that the kernel is told about. */
struct bootinfo {
	uint64_t initrd_gpa, initrd_len; /* len 0: none */
	uint64_t rsdp;                   /* 0: none */
};

/* boot_params for the 64-bit entry, with a seed for the random number generator. */
int bootinfo_write_params(const struct gmem *gm, const struct setup_header *hdr,
			  const struct bootinfo *info, struct err *err);
/* hvm_start_info for the PVH entry. */
int bootinfo_write_pvh(const struct gmem *gm, const struct bootinfo *info, struct err *err);

#endif
