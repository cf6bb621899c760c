/* SPDX-License-Identifier: GPL-2.0 */
// LINK: pci.c pci-bar.c pci-ecam.c pci-irq.c bus.c util/err.c util/log.c util/util.c
#include <string.h>

#include "pci-hw.h"
#include "unit.h"

static void setup(void)
{
	pci_hw_init(&pci_hw_config);
}

static void teardown(void)
{
	pci_hw_release();
}

START_TEST(the_host_bridge_answers_both_ways)
{
	ck_assert_uint_eq(conf1_read(0, PCI_VENDOR_ID, 4), 0x00081b36);
	ck_assert_uint_eq(conf1_read(0, PCI_CLASS_DEVICE, 2), 0x0600);
	for (uint32_t reg = 0; reg < PCI_CONFIG_LEN; reg++)
		ck_assert_uint_eq(conf1_read(0, reg, 1), read_ecam(reg, 1));
	ck_assert_uint_eq(read_ecam(0, 4), 0x00081b36);
	ck_assert_uint_eq(read_ecam(1, 2), 0x081b); /* unaligned */
}
END_TEST

START_TEST(nobody_else_is_there)
{
	for (uint32_t bdf = 1; bdf < 0x10000; bdf++)
		ck_assert_uint_eq(conf1_read(bdf, 0, 4), UINT32_MAX);
	for (uint32_t f = 1; f < 256; f++) {
		ck_assert_uint_eq(read_ecam(f * 4096, 4), UINT32_MAX);
		ck_assert_uint_eq(read_ecam(f * 4096 + 4092, 4), UINT32_MAX);
	}
}
END_TEST

START_TEST(the_extended_space_of_a_function_is_empty)
{
	for (uint32_t off = PCI_CONFIG_LEN; off < 4096; off += 4)
		ck_assert_uint_eq(read_ecam(off, 4), 0);
	ck_assert_uint_eq(read_ecam(PCI_CONFIG_LEN - 2, 4) >> 16, 0); /* over its end */
	ck_assert_uint_eq(read_ecam(4095, 4) & 0xff, 0);              /* into the next function */
}
END_TEST

START_TEST(the_address_register_takes_dwords_only)
{
	out(0xcf8, 4, 0x80000004);
	ck_assert_uint_eq((uint32_t)in(0xcf8, 4), 0x80000004);
	out(0xcf8, 1, 0x12);
	out(0xcf8, 2, 0x1234);
	out(0xcfa, 2, 0x1234);
	out(0xcfb, 1, 0x12);
	ck_assert_uint_eq((uint32_t)in(0xcf8, 4), 0x80000004);
	out(0xcf8, 4, 0x80000007);
	ck_assert_uint_eq((uint32_t)in(0xcf8, 4), 0x80000004); /* the low bits are not there */
	out(0xcf8, 4, 0x00000000);
	ck_assert_uint_eq((uint32_t)in(0xcfc, 4), UINT32_MAX); /* disabled */
}
END_TEST

START_TEST(only_masked_bits_change)
{
	uint8_t before[PCI_CONFIG_LEN];

	memcpy(before, pci.host_bridge.config, sizeof(before));
	for (int pass = 0; pass < 2; pass++) {
		uint32_t v = pass ? 0 : UINT32_MAX;

		for (uint32_t off = 0; off < 4096; off++)
			write_ecam(off, 4, v);
		for (uint32_t reg = 0; reg < PCI_CONFIG_LEN; reg++) {
			uint8_t mask = pci.host_bridge.wmask[reg];
			ck_assert_uint_eq(pci.host_bridge.config[reg],
					  (before[reg] & ~mask) | (v & mask));
		}
	}
	ck_assert_uint_eq(conf1_read(0, PCI_VENDOR_ID, 4), 0x00081b36);
	out(0xcf8, 4, 0x80000000 | PCI_INTERRUPT_LINE);
	out(0xcfc, 1, 0x5a);
	ck_assert_uint_eq(read_ecam(PCI_INTERRUPT_LINE, 1), 0x5a);
}
END_TEST

START_TEST(the_reset_register_resets)
{
	out(0xcf9, 1, 0x02); /* chooses the kind of reset */
	ck_assert_uint_eq(fake_stop.requests, 0);
	out(0xcf8, 2, 0x0600); /* not a byte at 0xcf9 */
	ck_assert_uint_eq(fake_stop.requests, 0);
	out(0xcf9, 1, 0x06);
	ck_assert_uint_eq(fake_stop.requests, 1);
	ck_assert_int_eq(fake_stop.reason, STOP_RESET);
}
END_TEST

UNIT_SUITE("pci", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, the_host_bridge_answers_both_ways);
	tcase_add_test(tc, nobody_else_is_there);
	tcase_add_test(tc, the_extended_space_of_a_function_is_empty);
	tcase_add_test(tc, the_address_register_takes_dwords_only);
	tcase_add_test(tc, only_masked_bits_change);
	tcase_add_test(tc, the_reset_register_resets);
})
