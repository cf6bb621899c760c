/* SPDX-License-Identifier: GPL-2.0 */
// LINK: pci.c bus.c util/err.c
#include <linux/pci_regs.h>
#include <string.h>

#include <lkvm/pci.h>
#include <lkvm/util.h>

#include "fake-hw.h"
#include "unit.h"

#define ECAM 0xe0000000ULL

static struct bus mmio;
static struct pci pci;

static void setup(void)
{
	struct err err = ERR_INIT;

	fake_stop = (struct fake_stop){ 0 };
	bus_init(&fake_bus);
	bus_init(&mmio);
	ck_assert_int_eq(pci_init(&pci, &fake_bus, &mmio, ECAM, NULL, &err), 0);
}

static void teardown(void)
{
	pci_release(&pci);
	bus_release(&mmio);
	bus_release(&fake_bus);
}

static uint32_t read_port(uint16_t port, unsigned int width)
{
	uint32_t v = 0;

	bus_read(&fake_bus, port, &v, width);
	return v;
}

static void write_port(uint16_t port, uint32_t v, unsigned int width)
{
	bus_write(&fake_bus, port, &v, width);
}

static uint32_t read_ecam(uint32_t off, unsigned int width)
{
	uint32_t v = 0;

	bus_read(&mmio, ECAM + off, &v, width);
	return v;
}

static uint32_t conf1_read(uint32_t bdf, uint32_t reg, unsigned int width)
{
	write_port(0xcf8, 1u << 31 | bdf << 8 | (reg & 0xfc), 4);
	return read_port(0xcfc + (reg & 3), width);
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
	write_port(0xcf8, 0x80000004, 4);
	ck_assert_uint_eq(read_port(0xcf8, 4), 0x80000004);
	write_port(0xcf8, 0x12, 1);
	write_port(0xcf8, 0x1234, 2);
	write_port(0xcfa, 0x1234, 2);
	write_port(0xcfb, 0x12, 1);
	ck_assert_uint_eq(read_port(0xcf8, 4), 0x80000004);
	write_port(0xcf8, 0x80000007, 4);
	ck_assert_uint_eq(read_port(0xcf8, 4), 0x80000004); /* the low bits are not there */
	write_port(0xcf8, 0x00000000, 4);
	ck_assert_uint_eq(read_port(0xcfc, 4), UINT32_MAX); /* disabled */
}
END_TEST

START_TEST(only_masked_bits_change)
{
	uint8_t before[PCI_CONFIG_LEN];

	memcpy(before, pci.host_bridge.config, sizeof(before));
	for (int pass = 0; pass < 2; pass++) {
		uint32_t v = pass ? 0 : UINT32_MAX;

		for (uint32_t off = 0; off < 4096; off++)
			bus_write(&mmio, ECAM + off, &v, 4);
		for (uint32_t reg = 0; reg < PCI_CONFIG_LEN; reg++) {
			uint8_t mask = pci.host_bridge.wmask[reg];
			ck_assert_uint_eq(pci.host_bridge.config[reg],
					  (before[reg] & ~mask) | (v & mask));
		}
	}
	ck_assert_uint_eq(conf1_read(0, PCI_VENDOR_ID, 4), 0x00081b36);
	write_port(0xcf8, 0x80000000 | PCI_INTERRUPT_LINE, 4);
	write_port(0xcfc, 0x5a, 1);
	ck_assert_uint_eq(read_ecam(PCI_INTERRUPT_LINE, 1), 0x5a);
}
END_TEST

START_TEST(the_reset_register_resets)
{
	write_port(0xcf9, 0x02, 1); /* chooses the kind of reset */
	ck_assert_uint_eq(fake_stop.requests, 0);
	write_port(0xcf8, 0x0600, 2); /* not a byte at 0xcf9 */
	ck_assert_uint_eq(fake_stop.requests, 0);
	write_port(0xcf9, 0x06, 1);
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
