/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <stdlib.h>

#include <lkvm/decompress.h>
#include <lkvm/gmem.h>
#include <lkvm/src.h>
#include <lkvm/util.h>

#include "image.h"

/* booting.rst, "Call the kernel image": offsets in the header. */
#define HDR_LEN          64
#define HDR_TEXT_OFFSET  8
#define HDR_IMAGE_SIZE   16
#define HDR_FLAGS        24
#define HDR_MAGIC        56
#define MAGIC            0x644d5241 /* "ARM\x64" */

#define FLAG_BIG_ENDIAN  1u
#define FLAG_PAGES_SHIFT 1
#define FLAG_PAGES_MASK  3u

/* Of kernels before 3.17, which leave image_size 0. */
#define OLD_TEXT_OFFSET 0x80000

/* The image is at text_offset from an address of this alignment, and the offset keeps the kernel's 4 KiB alignment. */
#define BASE_ALIGN (2 * MIB)
#define TEXT_ALIGN 4096

/* zboot-header.S. */
#define ZBOOT_MAGIC_OFF   4
#define ZBOOT_MAGIC       0x676d697a /* "zimg" */
#define ZBOOT_PAYLOAD_OFF 8
#define ZBOOT_PAYLOAD_LEN 12

/* Documentation/arch/x86/boot.rst: of a bzImage. */
#define BZIMAGE_MAGIC_OFF 0x202
#define BZIMAGE_MAGIC     0x53726448 /* "HdrS" */

#define HEAD_LEN          0x206
#define UNPACKED_MAX      GIB

static bool has_magic(const uint8_t *head, size_t len, size_t off, uint32_t magic)
{
	return len >= off + 4 && get_le32(head + off) == magic;
}

static int unknown_kernel(const struct src *src, const uint8_t *head, size_t len, struct err *err)
{
	const char *format = decompress_format(head, len);

	if (has_magic(head, len, BZIMAGE_MAGIC_OFF, BZIMAGE_MAGIC))
		return err_usage(err,
				 "kernel %s is a bzImage, which is for x86; this machine is arm64",
				 src->name);
	if (len >= 4 && !memcmp(head, "\177ELF", 4))
		return err_usage(err,
				 "kernel %s is an ELF file; give the Image that is made of it "
				 "(arch/arm64/boot/Image)",
				 src->name);
	if (format)
		return err_usage(err, "kernel %s is compressed with %s twice", src->name, format);
	return err_usage(err, "kernel %s is no arm64 Image", src->name);
}

static int check_header(const struct src *src, struct image *img, uint64_t size, struct err *err)
{
	if (!size) {
		img->text_offset = OLD_TEXT_OFFSET;
		size = src->size;
	}
	if (size < src->size)
		return err_usage(
			err, "kernel %s has %llu bytes and its header says %llu: it is damaged",
			src->name, (unsigned long long)src->size, (unsigned long long)size);
	if (img->text_offset % TEXT_ALIGN)
		return err_usage(err, "kernel %s has a damaged header: text_offset is 0x%llx",
				 src->name, (unsigned long long)img->text_offset);
	img->len = size;
	return 0;
}

int image_parse(const struct src *src, struct image *img, struct err *err)
{
	uint8_t head[HEAD_LEN];
	size_t len = MIN(sizeof(head), src->size);

	*img = (struct image){ 0 };
	int ret = src_read(src, 0, head, len, err);
	if (ret)
		return ret;
	if (!has_magic(head, len, HDR_MAGIC, MAGIC))
		return unknown_kernel(src, head, len, err);
	if (len < HDR_LEN)
		return err_usage(err, "kernel %s is cut short: it ends in its header", src->name);
	uint64_t flags = get_le64(head + HDR_FLAGS);
	img->text_offset = get_le64(head + HDR_TEXT_OFFSET);
	img->big_endian = flags & FLAG_BIG_ENDIAN;
	img->pages = flags >> FLAG_PAGES_SHIFT & FLAG_PAGES_MASK;
	return check_header(src, img, get_le64(head + HDR_IMAGE_SIZE), err);
}

int image_check(const char *name, const struct image *img, const struct arm_cpu *cpu,
		struct err *err)
{
	static const char *const pages[] = {
		[ARM_PAGES_4K] = "4 KiB",
		[ARM_PAGES_16K] = "16 KiB",
		[ARM_PAGES_64K] = "64 KiB",
	};

	if (img->big_endian && !cpu->big_endian)
		return err_usage(err, "kernel %s is big-endian, which this host's CPUs cannot run",
				 name);
	if (img->pages && !(cpu->pages & 1u << img->pages))
		return err_usage(err,
				 "kernel %s has pages of %s, which this host's CPUs do not have",
				 name, pages[img->pages]);
	return 0;
}

/* RAM starts at a multiple of BASE_ALIGN, so flags that allow other places say nothing new. */
static int load_plain(const struct gmem *gm, const struct src *src, const struct arm_cpu *cpu,
		      struct image_loaded *out, struct err *err)
{
	uint64_t ram = gm->regions[0].gpa, size = gm->regions[0].size;
	struct image img;

	BUG_ON(ram % BASE_ALIGN);
	int ret = image_parse(src, &img, err);
	if (!ret)
		ret = image_check(src->name, &img, cpu, err);
	if (ret)
		return ret;
	if (!range_ok(img.text_offset, img.len, size))
		return err_usage(err,
				 "kernel %s takes %llu KiB of memory from 0x%llx on and the guest "
				 "has %llu MiB: give it more with -m",
				 src->name, (unsigned long long)(img.len / KIB),
				 (unsigned long long)img.text_offset,
				 (unsigned long long)(size / MIB));
	*out = (struct image_loaded){
		.how = "Image",
		.gpa = ram + img.text_offset,
		.len = img.len,
	};
	void *to = gmem_span(gm, out->gpa, src->size);
	BUG_ON(!to); /* the file is at most as long as the image */
	return src_read(src, 0, to, src->size, err);
}

static int load_unpacked(const struct gmem *gm, const struct src *src, uint64_t off, uint64_t len,
			 const struct arm_cpu *cpu, struct image_loaded *out, struct err *err)
{
	struct decompressed plain;
	struct src unpacked;

	uint8_t *packed = malloc(len ?: 1);
	if (!packed)
		return err_host(err, ENOMEM, "no memory for kernel %s", src->name);
	int ret = src_read(src, off, packed, len, err);
	if (!ret)
		ret = decompress(src->name, packed, len, UNPACKED_MAX, &plain, err);
	free(packed);
	if (ret)
		return ret;
	src_init_mem(&unpacked, src->what, src->name, plain.data, plain.len);
	ret = load_plain(gm, &unpacked, cpu, out, err);
	decompress_release(&plain);
	out->how = "Image, decompressed";
	return ret;
}

int image_load(const struct gmem *gm, const struct src *src, const struct arm_cpu *cpu,
	       struct image_loaded *out, struct err *err)
{
	uint8_t head[HEAD_LEN] = { 0 };
	size_t len = MIN(sizeof(head), src->size);

	*out = (struct image_loaded){ 0 };
	int ret = src_read(src, 0, head, len, err);
	if (ret)
		return ret;
	/* An Image is none of the others, whatever its first bytes are. */
	if (has_magic(head, len, HDR_MAGIC, MAGIC))
		return load_plain(gm, src, cpu, out, err);
	if (!memcmp(head, "MZ", 2) && has_magic(head, len, ZBOOT_MAGIC_OFF, ZBOOT_MAGIC)) {
		uint64_t off = get_le32(head + ZBOOT_PAYLOAD_OFF);
		uint64_t payload = get_le32(head + ZBOOT_PAYLOAD_LEN);

		if (!range_ok(off, payload, src->size))
			return err_usage(err,
					 "kernel %s is cut short: its compressed part is not in it",
					 src->name);
		return load_unpacked(gm, src, off, payload, cpu, out, err);
	}
	if (decompress_format(head, len))
		return load_unpacked(gm, src, 0, src->size, cpu, out, err);
	return load_plain(gm, src, cpu, out, err);
}
