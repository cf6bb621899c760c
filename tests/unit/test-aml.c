// SPDX-License-Identifier: GPL-2.0
// ARCH: x86
// LINK: x86/aml.c
#include <signal.h>
#include <string.h>

#include <lkvm/util.h>

#include "x86/aml.h"

#include "unit.h"

/* A buffer with a guard behind its capacity, so that a write too many is seen without a sanitizer too. */
static uint8_t buf[1u << 21];
static struct aml a;

static void fresh(size_t cap)
{
	memset(buf, 0xee, sizeof(buf));
	aml_init(&a, buf, cap);
}

static void check_bytes(const char *want, size_t len)
{
	ck_assert(!a.full);
	ck_assert_uint_eq(a.len, len);
	ck_assert_mem_eq(buf, want, len);
	fresh(sizeof(buf));
}
#define CHECK(bytes) check_bytes(bytes, sizeof(bytes) - 1)

START_TEST(encodes_integers_in_their_shortest_form)
{
	fresh(sizeof(buf));
	aml_int(&a, 0);
	CHECK("\x00");
	aml_int(&a, 1);
	CHECK("\x01");
	aml_int(&a, 2);
	CHECK("\x0a\x02");
	aml_int(&a, 0xff);
	CHECK("\x0a\xff");
	aml_int(&a, 0x100);
	CHECK("\x0b\x00\x01");
	aml_int(&a, 0xffff);
	CHECK("\x0b\xff\xff");
	aml_int(&a, 0x10000);
	CHECK("\x0c\x00\x00\x01\x00");
	aml_int(&a, 0xffffffff);
	CHECK("\x0c\xff\xff\xff\xff");
	aml_int(&a, 0x123456789abcdef0);
	CHECK("\x0e\xf0\xde\xbc\x9a\x78\x56\x34\x12");
}
END_TEST

START_TEST(encodes_names_strings_and_ids)
{
	fresh(sizeof(buf));
	aml_name(&a, "_HID");
	aml_string(&a, "QEMU0001");
	CHECK("\x08_HID\x0dQEMU0001\x00");
	aml_eisa_id(&a, "PNP0A03"); /* the value of the specification's example */
	CHECK("\x0c\x41\xd0\x0a\x03");
	aml_eisa_id(&a, "PNP0501");
	CHECK("\x0c\x41\xd0\x05\x01");
	aml_eisa_id(&a, "ZZZFFFF");
	CHECK("\x0c\x6b\x5a\xff\xff");
	aml_put64(&a, 0x1122334455667788);
	aml_put32(&a, 0x11223344);
	aml_put16(&a, 0x1122);
	aml_put8(&a, 0x99);
	aml_pad(&a, 16);
	aml_pad(&a, 16);
	CHECK("\x88\x77\x66\x55\x44\x33\x22\x11\x44\x33\x22\x11\x22\x11\x99\x00");
}
END_TEST

START_TEST(nests_objects)
{
	fresh(sizeof(buf));
	size_t scope = aml_scope(&a, "_SB_");
	size_t dev = aml_device(&a, "COM1");
	aml_name(&a, "_UID");
	size_t pkg = aml_package(&a, 2);
	aml_int(&a, 7);
	aml_int(&a, 0);
	aml_end(&a, pkg);
	aml_end(&a, dev);
	aml_end(&a, scope);
	CHECK("\x10\x17_SB_\x5b\x82\x10"
	      "COM1\x08_UID\x12\x05\x02\x0a\x07\x00");
}
END_TEST

START_TEST(encodes_resources)
{
	fresh(sizeof(buf));
	size_t crs = aml_resources(&a);
	aml_res_io(&a, 0x3f8, 8);
	aml_res_irq(&a, 4);
	aml_res_irq(&a, 15);
	aml_res_mem32(&a, 0xe0000000, 0x100000);
	aml_resources_end(&a, crs);
	CHECK("\x11\x1f\x0a\x1c\x47\x01\xf8\x03\xf8\x03\x01\x08\x22\x10\x00\x22\x00\x80\x86\x09\x00"
	      "\x01"
	      "\x00\x00\x00\xe0\x00\x00\x10\x00\x79\x00");

	aml_res_bus_window(&a, 0, 1);
	CHECK("\x88\x0d\x00\x02\x0c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00");
	aml_res_io_window(&a, 0x1000, 0xf000);
	CHECK("\x88\x0d\x00\x01\x0c\x03\x00\x00\x00\x10\xff\xff\x00\x00\x00\xf0");
	aml_res_mem32_window(&a, 0xc0000000, 0x40000000); /* up to the last byte */
	CHECK("\x87\x17\x00\x00\x0c\x01\x00\x00\x00\x00\x00\x00\x00\xc0\xff\xff\xff\xff\x00\x00\x00"
	      "\x00"
	      "\x00\x00\x00\x40");
	aml_res_mem64_window(&a, 0x8000000000, 0x1000000000);
	CHECK("\x8a\x2b\x00\x00\x0c\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80\x00\x00"
	      "\x00"
	      "\xff\xff\xff\xff\x8f\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x10"
	      "\x00"
	      "\x00\x00");
}
END_TEST

/* What a reader of PkgLength computes, and how many bytes it took. */
static size_t read_pkg_length(const uint8_t *p, size_t *nr)
{
	size_t len = p[0] & 0x3f;

	*nr = 1 + (p[0] >> 6);
	if (*nr > 1)
		len &= 0xf;
	for (size_t i = 1; i < *nr; i++)
		len |= (size_t)p[i] << (8 * i - 4);
	return len;
}

START_TEST(package_length_is_right_at_its_boundaries)
{
	/* The largest content of each form, and its neighbours: the length counts its own bytes. */
	static const struct {
		size_t content, nr;
	} rows[] = {
		{ 1, 1 },       { 62, 1 },      { 63, 2 },      { 64, 2 },
		{ 4093, 2 },    { 4094, 3 },    { 4095, 3 },    { 65533, 3 },
		{ 1048572, 3 }, { 1048573, 4 }, { 1048574, 4 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		size_t nr;

		fresh(sizeof(buf));
		size_t mark = aml_package(&a, 0);
		while (a.len - mark < rows[i].content)
			aml_put8(&a, 0x55);
		aml_end(&a, mark);
		ck_assert(!a.full);
		ck_assert_uint_eq(read_pkg_length(buf + 1, &nr), rows[i].content + rows[i].nr);
		ck_assert_uint_eq(nr, rows[i].nr);
		ck_assert_uint_eq(a.len, 1 + nr + rows[i].content);
		ck_assert_uint_eq(buf[1 + nr], 0); /* the element count was moved whole */
		ck_assert_uint_eq(buf[a.len], 0xee);
	}
}
END_TEST

/* A sample of every call that appends. */
static void sample(void)
{
	size_t scope = aml_scope(&a, "_SB_");
	size_t dev = aml_device(&a, "PCI0");

	aml_name(&a, "_HID");
	aml_eisa_id(&a, "PNP0A08");
	aml_string(&a, "text");
	size_t crs = aml_resources(&a);
	aml_res_io(&a, 1, 1);
	aml_res_irq(&a, 3);
	aml_res_mem32(&a, 1, 1);
	aml_res_bus_window(&a, 0, 1);
	aml_res_io_window(&a, 1, 1);
	aml_res_mem32_window(&a, 1, 1);
	aml_res_mem64_window(&a, 1, 1);
	aml_resources_end(&a, crs);
	size_t pkg = aml_package(&a, 4);
	for (unsigned int i = 0; i < 4; i++)
		aml_int(&a, 1ULL << (15 * i));
	aml_end(&a, pkg);
	aml_put64(&a, 1);
	aml_put32(&a, 1);
	aml_put16(&a, 1);
	aml_pad(&a, 64);
	aml_end(&a, dev);
	aml_end(&a, scope);
}

START_TEST(never_writes_past_its_buffer)
{
	fresh(sizeof(buf));
	sample();
	size_t whole = a.len;
	ck_assert(!a.full);
	ck_assert_uint_gt(whole, 192);

	for (size_t cap = 0; cap <= whole; cap++) {
		fresh(cap);
		sample();
		ck_assert_int_eq(a.full, cap < whole);
		ck_assert_uint_le(a.len, cap);
		for (size_t i = cap; i < whole + 64; i++)
			ck_assert_uint_eq(buf[i], 0xee);
	}
	/* Once full, always full: a small piece that would fit must not follow a large one that did not. */
	fresh(4);
	aml_put64(&a, 1);
	aml_put8(&a, 1);
	ck_assert(a.full);
	ck_assert_uint_eq(a.len, 0);
}
END_TEST

/* A malformed constant of our own must not become a table that a kernel misreads. */
START_TEST(traps_malformed_constants)
{
	fresh(sizeof(buf));
	switch (_i) {
	case 0:
		aml_name(&a, "_HI");
		break;
	case 1:
		aml_device(&a, "TOOLONG");
		break;
	case 2:
		aml_eisa_id(&a, "PNP05010");
		break;
	case 3:
		aml_eisa_id(&a, "pNP0501");
		break;
	case 4:
		aml_eisa_id(&a, "PNP05G1");
		break;
	case 5:
		aml_res_irq(&a, 16);
		break;
	case 6:
		aml_res_mem32_window(&a, 0, 0);
		break;
	case 7:
		aml_res_io_window(&a, 0x1000, 0xf001);
		break;
	case 8:
		aml_res_io_window(&a, 0, 0x10000); /* its length does not fit the field */
		break;
	case 9:
		aml_res_mem64_window(&a, UINT64_MAX, 2);
		break;
	}
}
END_TEST

UNIT_SUITE("aml", {
	tcase_add_loop_test_raise_signal(tc, traps_malformed_constants, SIGILL, 0, 10);
	tcase_add_test(tc, encodes_integers_in_their_shortest_form);
	tcase_add_test(tc, encodes_names_strings_and_ids);
	tcase_add_test(tc, nests_objects);
	tcase_add_test(tc, encodes_resources);
	tcase_add_test(tc, package_length_is_right_at_its_boundaries);
	tcase_add_test(tc, never_writes_past_its_buffer);
})
