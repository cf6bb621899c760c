// SPDX-License-Identifier: GPL-2.0
// ARCH: x86
// LINK: x86/memmap.c
#include "x86/memmap.h"

#include "unit.h"

START_TEST(ram_goes_around_the_hole)
{
	static const struct {
		uint64_t size;
		unsigned int nr;
		uint64_t low, high;
	} cases[] = {
		{ 4096, 1, 4096, 0 },
		{ 128 * MIB, 1, 128 * MIB, 0 },
		{ 3 * GIB - 4096, 1, 3 * GIB - 4096, 0 },
		{ 3 * GIB, 1, 3 * GIB, 0 },
		{ 3 * GIB + 4096, 2, 3 * GIB, 4096 },
		{ 6 * GIB, 2, 3 * GIB, 3 * GIB },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct gmem_region spans[2] = { { 0 }, { 0 } };

		ck_assert_uint_eq(memmap_ram(cases[i].size, spans), cases[i].nr);
		ck_assert_uint_eq(spans[0].gpa, 0);
		ck_assert_uint_eq(spans[0].size, cases[i].low);
		ck_assert_uint_eq(spans[1].gpa, cases[i].nr == 2 ? 4 * GIB : 0);
		ck_assert_uint_eq(spans[1].size, cases[i].high);
	}
}
END_TEST

/* True when [addr, addr + len) lies in one range of the type. */
static bool has(const struct e820_range *map, unsigned int nr, enum e820_type type, uint64_t addr,
		uint64_t len)
{
	for (unsigned int i = 0; i < nr; i++)
		if (map[i].type == type && addr >= map[i].addr &&
		    range_ok(addr - map[i].addr, len, map[i].size))
			return true;
	return false;
}

START_TEST(e820_covers_all_and_overlaps_nothing)
{
	static const uint64_t sizes[] = { MIB / 2, MIB, 2 * MIB, 128 * MIB, 3 * GIB, 6 * GIB };

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct gmem gm = { 0 };
		struct e820_range map[E820_MAX];
		uint64_t ram = 0;

		gm.regions_nr = memmap_ram(sizes[i], gm.regions);
		unsigned int nr = memmap_e820(&gm, map);

		for (unsigned int r = 0; r < nr; r++) {
			ck_assert_uint_gt(map[r].size, 0);
			if (r > 0)
				ck_assert_uint_ge(map[r].addr - map[r - 1].addr, map[r - 1].size);
			if (map[r].type == E820_RAM)
				ram += map[r].size;
		}
		/* All RAM but the part from the EBDA to 1 MiB. */
		uint64_t hidden = sizes[i] > MIB        ? MIB - GPA_EBDA
				  : sizes[i] > GPA_EBDA ? sizes[i] - GPA_EBDA
							: 0;
		ck_assert_uint_eq(ram, sizes[i] - hidden);
	}
}
END_TEST

START_TEST(e820_reserves_what_is_not_the_kernels)
{
	struct gmem gm = { 0 };
	struct e820_range map[E820_MAX];

	gm.regions_nr = memmap_ram(6 * GIB, gm.regions);
	unsigned int nr = memmap_e820(&gm, map);

	ck_assert(has(map, nr, E820_RESERVED, GPA_EBDA, GPA_LOW_END - GPA_EBDA));
	ck_assert(has(map, nr, E820_RESERVED, GPA_ACPI, GPA_ACPI_LEN));
	ck_assert(has(map, nr, E820_RESERVED, GPA_MPTABLE, GPA_MPTABLE_LEN));
	ck_assert(has(map, nr, E820_RESERVED, GPA_ECAM, GPA_ECAM_LEN));
	ck_assert(has(map, nr, E820_RESERVED, GPA_IDENTITY, 4096));
	ck_assert(has(map, nr, E820_RESERVED, GPA_TSS, 3 * 4096));
	/* The PCI window stays free for devices, RAM is RAM. */
	ck_assert(!has(map, nr, E820_RESERVED, GPA_PCI32, 1) &&
		  !has(map, nr, E820_RAM, GPA_PCI32, 1));
	ck_assert(has(map, nr, E820_RAM, 0, GPA_EBDA));
	ck_assert(has(map, nr, E820_RAM, GPA_HIGH, 3 * GIB - GPA_HIGH));
	ck_assert(has(map, nr, E820_RAM, 4 * GIB, 3 * GIB));
}
END_TEST

START_TEST(places_do_not_meet)
{
	static const struct {
		uint64_t gpa, len;
	} places[] = {
		{ GPA_GDT, 0x1000 },
		{ GPA_PML4, 6 * 4096 },
		{ GPA_BOOT_PARAMS, 4096 },
		{ GPA_SETUP_DATA, 4096 },
		{ GPA_PVH_INFO, 4096 },
		{ GPA_BOOT_STACK - 4096, 4096 },
		{ GPA_CMDLINE, GPA_CMDLINE_LEN },
		{ GPA_EBDA, GPA_LOW_END - GPA_EBDA },
		{ GPA_ACPI, GPA_ACPI_LEN },
		{ GPA_MPTABLE, GPA_MPTABLE_LEN },
		{ GPA_HIGH, GPA_RAM_LOW_MAX - GPA_HIGH },
		{ GPA_PCI32, GPA_PCI32_LEN },
		{ GPA_ECAM, GPA_ECAM_LEN },
		{ GPA_EARLYCON, GPA_EARLYCON_LEN },
		{ GPA_IOAPIC, 4096 },
		{ GPA_LAPIC, 4096 },
		{ GPA_IDENTITY, 4096 },
		{ GPA_TSS, 3 * 4096 },
		{ GPA_RAM_HIGH, GIB },
	};

	for (size_t i = 1; i < ARRAY_SIZE(places); i++)
		ck_assert_msg(places[i].gpa - places[i - 1].gpa >= places[i - 1].len, "place %zu",
			      i);
	for (size_t i = 0; i < SERIAL_NR; i++)
		for (size_t j = 0; j < i; j++) {
			ck_assert_uint_ge(serial_places[i].port ^ serial_places[j].port, 8);
			ck_assert_uint_ne(serial_places[i].irq, serial_places[j].irq);
		}
}
END_TEST

START_TEST(the_64_bit_pci_window_is_above_ram_and_in_reach)
{
	static const struct {
		uint64_t ram;
		unsigned int bits;
		uint64_t gpa, len;
	} cases[] = {
		{ 128 * MIB, 46, 4 * GIB, 64 * GIB },
		{ 3 * GIB, 46, 4 * GIB, 64 * GIB },
		{ 3 * GIB + 4096, 46, 5 * GIB, 64 * GIB },
		{ 6 * GIB, 52, 7 * GIB, 64 * GIB },
		{ 6 * GIB, 36, 7 * GIB, 57 * GIB },
		{ 62 * GIB, 36, 63 * GIB, GIB },
		{ 63 * GIB, 36, 0, 0 }, /* to the last address */
		{ 128 * MIB, 32, 0, 0 },
		{ 128 * MIB, 0, 0, 0 },
		{ 1024 * GIB, 36, 0, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t gpa, len;

		memmap_pci64(cases[i].ram, cases[i].bits, &gpa, &len);
		ck_assert_uint_eq(gpa, cases[i].gpa);
		ck_assert_uint_eq(len, cases[i].len);
	}
}
END_TEST

UNIT_SUITE("memmap", {
	tcase_add_test(tc, ram_goes_around_the_hole);
	tcase_add_test(tc, e820_covers_all_and_overlaps_nothing);
	tcase_add_test(tc, e820_reserves_what_is_not_the_kernels);
	tcase_add_test(tc, places_do_not_meet);
	tcase_add_test(tc, the_64_bit_pci_window_is_above_ram_and_in_reach);
})
