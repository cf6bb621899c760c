// SPDX-License-Identifier: GPL-2.0
/*
 * Writes the corpora of the loaders: small well-formed files, and each with the kinds of damage that a
 * fuzzer needs long to find. Usage: fuzz-seeds tests/fuzz/corpus
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <bzlib.h>
#include <lz4.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include "../unit/arm-image.h"
#include "../unit/images.h"

#define ROOM 0x4000

static const char *top;
static struct elf_image elf;
static struct bz_image bz;

static void put(const char *target, const char *name, const void *data, size_t len)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", top, target);
	mkdir(path, 0777);
	snprintf(path, sizeof(path), "%s/%s/%s", top, target, name);
	f = fopen(path, "wb");
	if (!f || fwrite(data, 1, len, f) != len || fclose(f)) {
		perror(path);
		exit(1);
	}
}

static size_t gzip(uint8_t *in, unsigned int len, uint8_t *out)
{
	z_stream z = { .next_in = in, .avail_in = len, .next_out = out, .avail_out = ROOM };

	deflateInit2(&z, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
	deflate(&z, Z_FINISH);
	deflateEnd(&z);
	return z.total_out;
}

static size_t pack_gzip(uint8_t *out)
{
	return gzip(elf.bytes, ELF_LEN, out);
}

static size_t pack_zstd(uint8_t *out)
{
	return ZSTD_compress(out, ROOM, elf.bytes, ELF_LEN, 19);
}

static size_t pack_lz4(uint8_t *out)
{
	int n = LZ4_compress_default((char *)elf.bytes, (char *)out + 8, ELF_LEN, ROOM - 8);

	put_le32(out, 0x184c2102);
	put_le32(out + 4, (uint32_t)n);
	return 8 + (size_t)n;
}

static size_t run_lzma(lzma_stream *s, uint8_t *out)
{
	s->next_in = elf.bytes;
	s->avail_in = ELF_LEN;
	s->next_out = out;
	s->avail_out = ROOM;
	if (lzma_code(s, LZMA_FINISH) != LZMA_STREAM_END)
		exit(1);
	lzma_end(s);
	return ROOM - s->avail_out;
}

static size_t pack_xz(uint8_t *out)
{
	lzma_options_lzma opt;
	lzma_filter filters[] = { { LZMA_FILTER_X86, NULL },
				  { LZMA_FILTER_LZMA2, &opt },
				  { LZMA_VLI_UNKNOWN, NULL } };
	lzma_stream s = LZMA_STREAM_INIT;

	lzma_lzma_preset(&opt, 6);
	return lzma_stream_encoder(&s, filters, LZMA_CHECK_CRC32) == LZMA_OK ? run_lzma(&s, out)
									     : 0;
}

static size_t pack_lzma(uint8_t *out)
{
	lzma_options_lzma opt;
	lzma_stream s = LZMA_STREAM_INIT;

	lzma_lzma_preset(&opt, 6);
	return lzma_alone_encoder(&s, &opt) == LZMA_OK ? run_lzma(&s, out) : 0;
}

static size_t pack_bzip2(uint8_t *out)
{
	unsigned int len = ROOM;

	BZ2_bzBuffToBuffCompress((char *)out, &len, (char *)elf.bytes, ELF_LEN, 9, 0, 0);
	return len;
}

static const struct {
	const char *name;
	size_t (*pack)(uint8_t *out);
	size_t after;
} formats[] = {
	{ "gzip", pack_gzip, 0 }, { "zstd", pack_zstd, 4 }, { "lz4", pack_lz4, 4 },
	{ "xz", pack_xz, 4 },     { "lzma", pack_lzma, 4 }, { "bzip2", pack_bzip2, 4 },
};

static void payloads(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
		uint8_t buf[ROOM + 4];
		size_t len = formats[i].pack(buf);
		char name[32];

		if (formats[i].after)
			put_le32(buf + len, ELF_LEN);
		len += formats[i].after;
		put("decompress", formats[i].name, buf, len);
		image_bz(&bz, buf, len);
		put("bzimage", formats[i].name, bz.bytes, bz.len);

		snprintf(name, sizeof(name), "%s-cut", formats[i].name);
		put("decompress", name, buf, len / 2);
		snprintf(name, sizeof(name), "%s-damaged", formats[i].name);
		buf[len / 2] ^= 0x10;
		put("decompress", name, buf, len);
		buf[len / 2] ^= 0x10;
		snprintf(name, sizeof(name), "%s-huge", formats[i].name);
		put_le32(buf + len - 4, 0xfffffff0);
		put("decompress", name, buf, len);
	}
}

/* In the bzimage corpus `bz` still holds the last of the images above. */
static void images(void)
{
	static const size_t cuts[] = {
		0x1f1, 0x200, 0x202, 0x206, 0x236, 0x264, 0x268, 0x400, 0x500
	};
	struct setup_header good;

	for (size_t i = 0; i < ARRAY_SIZE(cuts); i++) {
		char name[32];

		snprintf(name, sizeof(name), "cut-%zx", cuts[i]);
		put("bzimage", name, bz.bytes, cuts[i]);
	}
	good = bz.hdr;
#define BAD(field, value)                                                                          \
	do {                                                                                       \
		bz.hdr.field = (value);                                                            \
		put("bzimage", "bad-" #field, bz.bytes, bz.len);                                   \
		bz.hdr = good;                                                                     \
	} while (0)
	BAD(setup_sects, 0);
	BAD(syssize, 0xffffffff);
	BAD(version, 0x20b);
	BAD(loadflags, 0);
	BAD(xloadflags, 0);
	BAD(jump, 0xffeb);
	BAD(init_size, 0xffffffff);
	BAD(pref_address, UINT64_MAX - 100);
	BAD(kernel_alignment, 0);
	BAD(payload_offset, 0xfffffff0);
	BAD(payload_length, 0);
	BAD(cmdline_size, 0);
	BAD(initrd_addr_max, 0x1000);
}

static void elves(void)
{
	static const char *const targets[] = { "vmlinux", "kcache", "bzimage" };

	for (size_t i = 0; i < ARRAY_SIZE(targets); i++) {
		image_elf(&elf, true);
		put(targets[i], "elf-pvh", elf.bytes, ELF_LEN);
		put(targets[i], "elf-cut", elf.bytes, ELF_SEG2 + 100);
		elf.ehdr.e_machine = EM_AARCH64;
		put(targets[i], "elf-arm64", elf.bytes, ELF_LEN);
		image_elf(&elf, false);
		put(targets[i], "elf-64", elf.bytes, ELF_LEN);
		elf.phdrs[1].p_paddr = ELF_GPA + 1;
		put(targets[i], "elf-overlap", elf.bytes, ELF_LEN);
		elf.phdrs[1].p_paddr = UINT64_MAX - 100;
		put(targets[i], "elf-wraps", elf.bytes, ELF_LEN);
		image_elf(&elf, false);
		elf.phdrs[1].p_memsz = UINT64_MAX;
		put(targets[i], "elf-huge", elf.bytes, ELF_LEN);
	}
}

#define ARM_SEED_LEN 128 /* of the file: the header and a little more */

static void arm_images(void)
{
	static const struct {
		const char *name;
		size_t at;
		uint64_t value;
	} bad[] = {
		{ "old", ARM_AT_SIZE, 0 },
		{ "short", ARM_AT_SIZE, ARM_SEED_LEN - 1 },
		{ "huge", ARM_AT_SIZE, UINT64_MAX },
		{ "far", ARM_AT_TEXT, 0x1000000 },
		{ "wraps", ARM_AT_TEXT, UINT64_MAX & ~0xfffull },
		{ "big-endian", ARM_AT_FLAGS, 0xb },
		{ "64k-pages", ARM_AT_FLAGS, 0xe },
		{ "no-magic", ARM_AT_MAGIC, 0 },
	};
	uint8_t image[ARM_IMAGE_LEN], packed[64 + ROOM] = "MZ";

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		arm_image_make(image);
		put_le64(image + bad[i].at, bad[i].value);
		put("arm-image", bad[i].name, image, ARM_SEED_LEN);
	}
	arm_image_make(image);
	put("arm-image", "plain", image, ARM_SEED_LEN);
	put("arm-image", "cut", image, 62);
	size_t len = gzip(image, ARM_SEED_LEN, packed + 64);
	put("arm-image", "gzip", packed + 64, len);
	memcpy(packed + 4, "zimg", 4);
	put_le32(packed + 8, 64);
	put_le32(packed + 12, (uint32_t)len);
	put("arm-image", "zboot", packed, 64 + len);
	put_le32(packed + 12, (uint32_t)len + 1);
	put("arm-image", "zboot-cut", packed, 64 + len);
}

int main(int argc, char **argv)
{
	if (argc != 2)
		return 2;
	top = argv[1];
	image_elf(&elf, true);
	payloads();
	images();
	elves();
	arm_images();
	return 0;
}
