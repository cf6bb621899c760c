// SPDX-License-Identifier: GPL-2.0
// ARCH: x86
// LINK: x86/bzimage.c util/src.c util/err.c gmem.c
#include <errno.h>

#include "x86/loader.h"

#include "images.h"
#include "unit.h"

#define RAM (64 * MIB)

static struct gmem gm;
static struct bz_image *k;

static void setup(void)
{
	struct gmem_region spans[2] = { { .gpa = 0, .size = RAM },
					{ .gpa = GPA_RAM_HIGH, .size = RAM } };
	struct gmem_backing backing = { 0 };
	struct err err = ERR_INIT;

	ck_assert_int_eq(gmem_init(&gm, spans, 2, &backing, &err), 0);
	k = malloc(sizeof(*k));
	image_bz(k, "\x1f\x8bpayload", 10);
}

static void teardown(void)
{
	gmem_release(&gm);
	free(k);
}

/* Parses and loads the first `len` bytes, from an exact copy. */
static int load(size_t len, struct loaded *out, struct err *err)
{
	uint8_t *copy = malloc(len ? len : 1);
	uint64_t off, payload;
	struct bzimage bz;
	struct src src;
	int ret;

	*err = ERR_INIT;
	memcpy(copy, k->bytes, len);
	src_init_mem(&src, "kernel", "bzImage", copy, len);
	ret = bzimage_parse(&src, &bz, err);
	if (ret == 0)
		ret = bzimage_payload(&src, &bz, &off, &payload, err);
	if (ret == 0)
		ret = bzimage_load(&gm, &src, &bz, out, err);
	free(copy);
	if (ret < 0) {
		ck_assert_int_eq(err->kind, ERR_USAGE);
		ck_assert_ptr_nonnull(strstr(err->msg, "kernel bzImage "));
	}
	return ret;
}

static void refused(const char *says)
{
	struct loaded out;
	struct err err;

	ck_assert_int_eq(load(k->len, &out, &err), -EINVAL);
	ck_assert_msg(strstr(err.msg, says), "%s", err.msg);
}

START_TEST(loads_where_the_kernel_prefers)
{
	struct loaded out;
	struct err err;

	ck_assert_msg(load(k->len, &out, &err) == 0, "%s", err.msg);
	ck_assert_uint_eq(out.gpa, BZ_PREF);
	ck_assert_uint_eq(out.len, 0x100000); /* init_size, which is more than the file */
	ck_assert_uint_eq(out.entry, BZ_PREF + 0x200);
	ck_assert(!out.pvh);
	ck_assert_mem_eq(gmem_span(&gm, BZ_PREF, 1), k->bytes + BZ_BODY, k->len - BZ_BODY);
	/* Nothing in front and nothing behind. */
	ck_assert_uint_eq(*(uint8_t *)gmem_span(&gm, BZ_PREF - 1, 1), 0);
	ck_assert_uint_eq(*(uint8_t *)gmem_span(&gm, BZ_PREF + k->len - BZ_BODY, 1), 0);
	ck_assert_mem_eq(&out.hdr, &k->hdr, offsetof(struct setup_header, kernel_info_offset));
}
END_TEST

START_TEST(a_probe_needs_the_magic)
{
	ck_assert(bzimage_probe(k->bytes, 0x206));
	ck_assert(!bzimage_probe(k->bytes, 0x205));
	ck_assert(!bzimage_probe(k->bytes, 0));
	k->hdr.header++;
	ck_assert(!bzimage_probe(k->bytes, 0x300));
}
END_TEST

START_TEST(refuses_each_cut)
{
	for (size_t len = 0; len <= k->len - 16; len++) {
		struct loaded out;
		struct err err;

		ck_assert_int_eq(load(len, &out, &err), -EINVAL);
		ck_assert_ptr_nonnull(strstr(err.msg, "cut short"));
	}
}
END_TEST

/* One field of the header at a time. */
#define FIELD(f, v, says)                                                                          \
	{                                                                                          \
		offsetof(struct setup_header, f), sizeof(((struct setup_header *)0)->f), (v), says \
	}

static const struct {
	size_t off, len;
	uint64_t value;
	const char *says;
} bad_fields[] = {
	FIELD(boot_flag, 0xaa54, "damaged boot header"),
	FIELD(header, 0, "damaged boot header"),
	FIELD(jump, 0x6ae9, "damaged boot header"),
	FIELD(jump, 0x00eb, "damaged boot header"),
	FIELD(jump, 0x61eb, "damaged boot header"), /* a byte less than init_size needs */
	FIELD(version, 0x020b, "boot protocol 2.11"),
	FIELD(version, 0, "boot protocol 0.00"),
	FIELD(loadflags, CAN_USE_HEAP, "zImage"),
	FIELD(xloadflags, XLF_CAN_BE_LOADED_ABOVE_4G, "32-bit kernel"),
	FIELD(setup_sects, 0, "cut short"), /* stands for 4 */
	FIELD(setup_sects, 2, "cut short"),
	FIELD(setup_sects, 3, "cut short"),
	FIELD(setup_sects, 255, "cut short"),
	FIELD(syssize, 0x1000, "cut short"),
	FIELD(syssize, 0xffffffff, "cut short"),
	FIELD(payload_offset, 0xffffffff, "payload"),
	FIELD(payload_offset, BZ_CODE + 7, "payload"),
	FIELD(payload_length, 17, "payload"),
	FIELD(payload_length, 0xffffffff, "payload"),
	FIELD(init_size, RAM + 1, "65 MiB of memory"),
	FIELD(init_size, 0xffffffff, "of memory"),
};

START_TEST(refuses_a_bad_field)
{
	uint64_t v = bad_fields[_i].value;

	memcpy((uint8_t *)&k->hdr + bad_fields[_i].off, &v, bad_fields[_i].len);
	refused(bad_fields[_i].says);
}
END_TEST

START_TEST(moves_when_the_place_is_taken)
{
	/* No RAM; the machine's own first MiB; not below 4 GiB, where nothing is mapped; wrapping. */
	static const uint64_t bad[] = { RAM - 0x80000,       0,
					GPA_HIGH - 4096,     GPA_RAM_HIGH,
					GPA_RAM_HIGH - 4096, UINT64_MAX - 10,
					UINT64_MAX };

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct loaded out;
		struct err err;

		k->hdr.pref_address = bad[i];
		ck_assert_msg(load(k->len, &out, &err) == 0, "%s", err.msg);
		ck_assert_uint_eq(out.gpa, 0x200000);
		ck_assert_uint_eq(out.entry, 0x200200);

		k->hdr.relocatable_kernel = 0;
		refused("of memory");
		k->hdr.relocatable_kernel = 1;
	}
}
END_TEST

START_TEST(moves_only_to_a_sane_alignment)
{
	static const uint32_t bad[] = { 0, 3, 0x200001, 0x80000000, 0xffffffff, GIB, 128 * MIB };

	k->hdr.pref_address = 0;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		k->hdr.kernel_alignment = bad[i];
		refused("of memory");
	}
}
END_TEST

START_TEST(header_ends_where_the_image_says)
{
	struct loaded out;
	struct err err;

	/* Code follows the header and is no part of it. */
	k->hdr.handover_offset = k->hdr.kernel_info_offset = 0xcccccccc;
	k->hdr.jump = 0x62eb;
	ck_assert_int_eq(load(k->len, &out, &err), 0);
	ck_assert_uint_eq(out.hdr.init_size, k->hdr.init_size);
	ck_assert_uint_eq(out.hdr.handover_offset, 0);
	ck_assert_uint_eq(out.hdr.kernel_info_offset, 0);
	/* A longer header than we know is cut at what we know. */
	k->hdr.jump = 0xffeb;
	ck_assert_int_eq(load(k->len, &out, &err), 0);
	ck_assert_uint_eq(out.hdr.kernel_info_offset, 0xcccccccc);
}
END_TEST

START_TEST(entry_is_in_the_image)
{
	struct loaded out;
	struct err err;

	k->hdr.syssize = k->hdr.payload_offset = k->hdr.payload_length = 0;
	ck_assert_int_eq(load(BZ_BODY + 0x200, &out, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.msg, "64-bit entry"));
	ck_assert_int_eq(load(BZ_BODY + 0x201, &out, &err), 0);
}
END_TEST

UNIT_SUITE("bzimage", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, loads_where_the_kernel_prefers);
	tcase_add_test(tc, a_probe_needs_the_magic);
	tcase_add_test(tc, refuses_each_cut);
	tcase_add_loop_test(tc, refuses_a_bad_field, 0, ARRAY_SIZE(bad_fields));
	tcase_add_test(tc, moves_when_the_place_is_taken);
	tcase_add_test(tc, moves_only_to_a_sane_alignment);
	tcase_add_test(tc, header_ends_where_the_image_says);
	tcase_add_test(tc, entry_is_in_the_image);
})
