// SPDX-License-Identifier: GPL-2.0
// LINK: arm/memmap.c
#include <errno.h>

#include "arm/memmap.h"

#include "unit.h"

static const struct place {
	uint64_t gpa, len;
} places[] = {
	{ GPA_SERIAL, SERIAL_NR *SERIAL_STRIDE },
	{ GPA_RTC, 0x10000 },
	{ GPA_EARLYCON, 0x10000 },
	{ GPA_PCI_IO, GPA_PCI_IO_LEN },
	{ GPA_GICD, GPA_GICD_LEN },
	{ GPA_GICC, GPA_GICC_LEN },
	{ GPA_V2M, GPA_V2M_LEN },
	{ GPA_ITS, GPA_ITS_LEN },
	{ GPA_GICR, GPA_GICR_LEN * 254 },
	{ GPA_ECAM, GPA_ECAM_LEN },
	{ GPA_PCI32, GPA_PCI32_LEN },
	{ GPA_RAM, GIB },
};

START_TEST(places_are_apart_and_ascend)
{
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		ck_assert_uint_eq(places[i].gpa % 0x10000, 0);
		if (i)
			ck_assert_uint_le(places[i - 1].gpa + places[i - 1].len, places[i].gpa);
	}
}
END_TEST

START_TEST(interrupts_are_apart)
{
	ck_assert_uint_le(SPI_SERIAL + SERIAL_NR, SPI_RTC);
	ck_assert_uint_lt(SPI_RTC, SPI_PCI);
	ck_assert_uint_le(SPI_PCI + SPI_PCI_NR, SPI_V2M);
	ck_assert_uint_le(GIC_SPI_FIRST + SPI_V2M + SPI_V2M_NR, GIC_NR_IRQS);
}
END_TEST

START_TEST(ram_is_one_span)
{
	struct gmem_region span = { 0 };
	uint64_t max;

	ck_assert_int_eq(memmap_ram(256 * MIB, 40, &span, &max), 1);
	ck_assert_uint_eq(span.gpa, GPA_RAM);
	ck_assert_uint_eq(span.size, 256 * MIB);
	ck_assert_uint_eq(max, 1024 * GIB - GPA_RAM);
}
END_TEST

START_TEST(ram_ends_with_the_addresses)
{
	struct gmem_region span = { 0 };
	uint64_t max;

	ck_assert_int_eq(memmap_ram(64 * GIB - GPA_RAM, 36, &span, &max), 1);
	ck_assert_int_eq(memmap_ram(64 * GIB - GPA_RAM + 4096, 36, &span, &max), -ENOSPC);
	ck_assert_uint_eq(max, 64 * GIB - GPA_RAM);
	ck_assert_int_eq(memmap_ram(4096, 31, &span, &max), -ENOSPC);
	ck_assert_uint_eq(max, 0);
}
END_TEST

START_TEST(the_high_window_follows_ram)
{
	uint64_t gpa, len;

	memmap_pci64(3 * GIB, 40, &gpa, &len);
	ck_assert_uint_eq(gpa, 5 * GIB);
	ck_assert_uint_eq(len, GPA_PCI64_LEN_MAX);
	memmap_pci64(3 * GIB + 4096, 40, &gpa, &len);
	ck_assert_uint_eq(gpa, 6 * GIB);
	memmap_pci64(60 * GIB, 36, &gpa, &len);
	ck_assert_uint_eq(gpa, 62 * GIB);
	ck_assert_uint_eq(len, 2 * GIB);
	memmap_pci64(62 * GIB, 36, &gpa, &len);
	ck_assert_uint_eq(gpa, 0);
	ck_assert_uint_eq(len, 0);
}
END_TEST

UNIT_SUITE("arm memmap", {
	tcase_add_test(tc, places_are_apart_and_ascend);
	tcase_add_test(tc, interrupts_are_apart);
	tcase_add_test(tc, ram_is_one_span);
	tcase_add_test(tc, ram_ends_with_the_addresses);
	tcase_add_test(tc, the_high_window_follows_ram);
})
