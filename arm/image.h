/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The arm64 kernel file: an Image, an Image compressed as a whole (Image.gz), or an EFI program that holds a compressed
 * one (vmlinuz.efi). An Image with an EFI stub is an Image.
 *
 * Source: Documentation/arch/arm64/booting.rst; drivers/firmware/efi/libstub/zboot-header.S for the last.
 *
 * The file is hostile: what its header says is checked against the file, and against guest memory before a byte is copied.
 */
#ifndef LKVM_ARM_IMAGE_H
#define LKVM_ARM_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include <lkvm/err.h>

#include "entry.h"

struct gmem;
struct src;

struct image {
	uint64_t text_offset;
	uint64_t len; /* of memory that it occupies from its first byte on */
	bool big_endian;
	enum arm_pages pages; /* of its page tables */
};

/* The header of an Image. -EINVAL and a sentence for everything else, as far as it can be told what it is. */
int image_parse(const struct src *src, struct image *img, struct err *err);

/* Whether the CPU can run it. */
int image_check(const char *name, const struct image *img, const struct arm_cpu *cpu,
		struct err *err);

/* What was loaded. */
struct image_loaded {
	const char *how; /* "Image", "Image, decompressed" */
	uint64_t gpa, len;
};

/* Loads a kernel file of any of the kinds to the start of RAM. */
int image_load(const struct gmem *gm, const struct src *src, const struct arm_cpu *cpu,
	       struct image_loaded *out, struct err *err);

#endif
