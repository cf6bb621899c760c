// SPDX-License-Identifier: GPL-2.0
// LINK: arm/boot.c arm/image.c arm/memmap.c initrds.c util/decompress.c util/src.c util/err.c util/util.c gmem.c
// LIBS: -lz
#include <errno.h>
#include <stdio.h>
#include <zlib.h>

#include <lkvm/src.h>

#include "arm/boot.h"
#include "arm/image.h"
#include "arm/memmap.h"

#include "arm-image.h"
#include "unit.h"

#define RAM (64 * MIB)

static const struct arm_cpu cpu = { .pages = 1u << ARM_PAGES_4K | 1u << ARM_PAGES_64K };

static struct gmem gm;
static uint8_t image[ARM_IMAGE_LEN];
static struct boot_result res;
static struct err err;

static void setup(void)
{
	struct gmem_region span = { .gpa = GPA_RAM, .size = RAM };
	struct gmem_backing backing = { 0 };

	ck_assert_int_eq(gmem_init(&gm, &span, 1, &backing, &err), 0);
	arm_image_make(image);
}

static void teardown(void)
{
	gmem_release(&gm);
}

/* From an exact copy, so that a read beyond it is seen. */
static int load(const void *file, size_t len, const char *cmdline, const struct src *initrds,
		unsigned int nr)
{
	uint8_t *copy = malloc(len);
	struct src src;

	memcpy(copy, file, len);
	src_init_mem(&src, "kernel", "K", copy, len);
	struct boot_request req = { .kernel = &src,
				    .initrds = initrds,
				    .initrds_nr = nr,
				    .cmdline = cmdline,
				    .cpu = &cpu };
	err = ERR_INIT;
	int ret = boot_load(&gm, &req, &res, &err);
	free(copy);
	ck_assert_int_eq(ret < 0, err.kind != ERR_NONE);
	return ret;
}

static void refused(const void *file, size_t len, const char *says)
{
	ck_assert_int_lt(load(file, len, "", NULL, 0), 0);
	ck_assert_int_eq(err.kind, ERR_USAGE);
	ck_assert_msg(strstr(err.msg, says), "%s", err.msg);
	ck_assert_msg(strstr(err.msg, "kernel K "), "%s", err.msg);
}

START_TEST(loads_to_the_start_of_ram)
{
	ck_assert_msg(load(image, sizeof(image), "", NULL, 0) == 0, "%s", err.msg);
	ck_assert_uint_eq(res.kernel_gpa, GPA_RAM);
	ck_assert_uint_eq(res.kernel_len, ARM_IMAGE_SIZE);
	ck_assert_str_eq(res.how, "Image");
	ck_assert_mem_eq(gmem_span(&gm, GPA_RAM, 1), image, sizeof(image));
	ck_assert_uint_eq(*(uint8_t *)gmem_span(&gm, GPA_RAM + sizeof(image), 1), 0);
	ck_assert_uint_eq(res.dtb_gpa % (2 * MIB), 0);
	ck_assert_ptr_nonnull(gmem_span(&gm, res.dtb_gpa, BOOT_DTB_LEN));
	ck_assert_uint_ge(res.dtb_gpa, res.kernel_gpa + res.kernel_len);
}
END_TEST

START_TEST(honours_text_offset)
{
	put_le64(image + ARM_AT_TEXT, 0x81000);
	ck_assert_int_eq(load(image, sizeof(image), "", NULL, 0), 0);
	ck_assert_uint_eq(res.kernel_gpa, GPA_RAM + 0x81000);
	ck_assert_mem_eq(gmem_span(&gm, GPA_RAM + 0x81000, 1), image, sizeof(image));
	put_le64(image + ARM_AT_TEXT, 0x800);
	refused(image, sizeof(image), "text_offset is 0x800");
	put_le64(image + ARM_AT_TEXT, RAM);
	refused(image, sizeof(image), "give it more with -m");
	put_le64(image + ARM_AT_TEXT, UINT64_MAX & ~0xfffull);
	refused(image, sizeof(image), "give it more with -m");
}
END_TEST

START_TEST(an_old_kernel_gives_no_size)
{
	put_le64(image + ARM_AT_SIZE, 0);
	put_le64(image + ARM_AT_TEXT, 0x1234);
	ck_assert_int_eq(load(image, sizeof(image), "", NULL, 0), 0);
	ck_assert_uint_eq(res.kernel_gpa, GPA_RAM + 0x80000);
	ck_assert_uint_eq(res.kernel_len, ARM_IMAGE_LEN);
}
END_TEST

START_TEST(refuses_a_size_that_is_a_lie)
{
	put_le64(image + ARM_AT_SIZE, ARM_IMAGE_LEN - 1);
	refused(image, sizeof(image), "has 4096 bytes and its header says 4095: it is damaged");
	put_le64(image + ARM_AT_SIZE, RAM + 1);
	refused(image, sizeof(image), "give it more with -m");
	put_le64(image + ARM_AT_SIZE, UINT64_MAX);
	refused(image, sizeof(image), "give it more with -m");
}
END_TEST

START_TEST(leaves_room_for_the_tree)
{
	put_le64(image + ARM_AT_SIZE, RAM - 2 * MIB);
	ck_assert_int_eq(load(image, sizeof(image), "", NULL, 0), 0);
	put_le64(image + ARM_AT_SIZE, RAM - 2 * MIB + 1);
	refused(image, sizeof(image), "leaves no memory for the device tree");
}
END_TEST

START_TEST(refuses_what_the_cpu_cannot_run)
{
	put_le64(image + ARM_AT_FLAGS, 0xb);
	refused(image, sizeof(image), "is big-endian, which this host's CPUs cannot run");
	put_le64(image + ARM_AT_FLAGS, 0xc);
	refused(image, sizeof(image), "has pages of 16 KiB");
	put_le64(image + ARM_AT_FLAGS, 0xe);
	ck_assert_int_eq(load(image, sizeof(image), "", NULL, 0), 0);
	/* It does not say. */
	put_le64(image + ARM_AT_FLAGS, 0);
	ck_assert_int_eq(load(image, sizeof(image), "", NULL, 0), 0);
}
END_TEST

START_TEST(names_what_is_no_image)
{
	uint8_t file[0x400] = { 0 };

	refused(file, sizeof(file), "is no arm64 Image");
	refused(file, 1, "is no arm64 Image");
	memcpy(file + 0x202, "HdrS", 4);
	refused(file, sizeof(file), "is a bzImage, which is for x86");
	memcpy(file, "\177ELF", 4);
	memset(file + 0x202, 0, 4);
	refused(file, sizeof(file), "is an ELF file; give the Image");
	for (size_t len = 1; len < 60; len++)
		refused(image, len, "is no arm64 Image");
	refused(image, 62, "cut short");
}
END_TEST

static size_t gzip(const void *in, size_t len, uint8_t *out, size_t max)
{
	z_stream z = { .next_in = (void *)(uintptr_t)in,
		       .avail_in = (unsigned int)len,
		       .next_out = out,
		       .avail_out = (unsigned int)max };

	ck_assert_int_eq(deflateInit2(&z, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
	ck_assert_int_eq(deflate(&z, Z_FINISH), Z_STREAM_END);
	deflateEnd(&z);
	return z.total_out;
}

START_TEST(takes_a_compressed_image)
{
	uint8_t packed[2 * ARM_IMAGE_LEN], twice[2 * ARM_IMAGE_LEN];
	size_t len = gzip(image, sizeof(image), packed, sizeof(packed));

	ck_assert_msg(load(packed, len, "", NULL, 0) == 0, "%s", err.msg);
	ck_assert_str_eq(res.how, "Image, decompressed");
	ck_assert_mem_eq(gmem_span(&gm, GPA_RAM, 1), image, sizeof(image));
	refused(packed, len - 9, "kernel K ");
	refused(twice, gzip(packed, len, twice, sizeof(twice)), "compressed with gzip twice");
}
END_TEST

START_TEST(takes_an_efi_program_with_one)
{
	uint8_t file[64 + 2 * ARM_IMAGE_LEN] = "MZ";
	size_t len = gzip(image, sizeof(image), file + 64, sizeof(file) - 64);

	memcpy(file + 4, "zimg", 4);
	put_le32(file + 8, 64);
	put_le32(file + 12, (uint32_t)len);
	ck_assert_msg(load(file, 64 + len, "", NULL, 0) == 0, "%s", err.msg);
	ck_assert_mem_eq(gmem_span(&gm, GPA_RAM, 1), image, sizeof(image));
	refused(file, 64 + len - 1, "its compressed part is not in it");
	put_le32(file + 8, UINT32_MAX);
	refused(file, 64 + len, "its compressed part is not in it");
	put_le32(file + 8, 64);
	put_le32(file + 12, 0);
	refused(file, 64 + len, "kernel K ");
}
END_TEST

START_TEST(initrds_are_below_the_tree)
{
	struct src initrds[2];

	src_init_mem(&initrds[0], "initrd", "a", "abcde", 5);
	src_init_mem(&initrds[1], "initrd", "b", "xyz", 3);
	ck_assert_int_eq(load(image, sizeof(image), "", initrds, 2), 0);
	ck_assert_uint_eq(res.initrd_len, 12);
	ck_assert_uint_eq(res.initrd_gpa, res.dtb_gpa - 4096);
	ck_assert_mem_eq(gmem_span(&gm, res.initrd_gpa, 12), "abcde\0\0\0xyz\0", 12);
}
END_TEST

START_TEST(refuses_an_initrd_without_room)
{
	struct src initrd;
	uint8_t *big = calloc(1, RAM);

	src_init_mem(&initrd, "initrd", "I", big, RAM);
	ck_assert_int_lt(load(image, sizeof(image), "", &initrd, 1), 0);
	ck_assert_msg(strstr(err.msg, "initrd I of "), "%s", err.msg);
	free(big);
}
END_TEST

START_TEST(the_command_line_has_a_limit)
{
	char line[BOOT_CMDLINE_MAX + 2];

	memset(line, 'x', sizeof(line));
	line[BOOT_CMDLINE_MAX] = 0;
	ck_assert_int_eq(load(image, sizeof(image), line, NULL, 0), 0);
	line[BOOT_CMDLINE_MAX] = 'x';
	line[BOOT_CMDLINE_MAX + 1] = 0;
	ck_assert_int_lt(load(image, sizeof(image), line, NULL, 0), 0);
	ck_assert_msg(strstr(err.msg, "at most 2047: shorten -p"), "%s", err.msg);
}
END_TEST

UNIT_SUITE("arm boot", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, loads_to_the_start_of_ram);
	tcase_add_test(tc, honours_text_offset);
	tcase_add_test(tc, an_old_kernel_gives_no_size);
	tcase_add_test(tc, refuses_a_size_that_is_a_lie);
	tcase_add_test(tc, leaves_room_for_the_tree);
	tcase_add_test(tc, refuses_what_the_cpu_cannot_run);
	tcase_add_test(tc, names_what_is_no_image);
	tcase_add_test(tc, takes_a_compressed_image);
	tcase_add_test(tc, takes_an_efi_program_with_one);
	tcase_add_test(tc, initrds_are_below_the_tree);
	tcase_add_test(tc, refuses_an_initrd_without_room);
	tcase_add_test(tc, the_command_line_has_a_limit);
})
