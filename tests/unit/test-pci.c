/* SPDX-License-Identifier: GPL-2.0 */
// LINK: pci.c pci-bar.c pci-ecam.c pci-irq.c bus.c util/err.c util/log.c util/util.c
#include <errno.h>
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
	ROW("PLT-8");
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
	ROW("PLT-8", "HD-154");
	for (uint32_t bdf = 1; bdf < 0x10000; bdf++)
		ck_assert_uint_eq(conf1_read(bdf, 0, 4), UINT32_MAX);
	for (uint32_t f = 1; f < 256; f++) {
		ck_assert_uint_eq(read_ecam(f * 4096, 4), UINT32_MAX);
		ck_assert_uint_eq(read_ecam(f * 4096 + 4092, 4), UINT32_MAX);
	}
}
END_TEST

START_TEST(a_function_has_no_extended_space)
{
	for (uint32_t off = PCI_CONFIG_LEN; off < 4096; off += 4)
		ck_assert_uint_eq(read_ecam(off, 4), UINT32_MAX);
	/* Over the end of what it has, and into the next function. */
	ck_assert_uint_eq(read_ecam(PCI_CONFIG_LEN - 2, 4), 0xffff0000);
	ck_assert_uint_eq(read_ecam(4095, 4), UINT32_MAX);
}
END_TEST

START_TEST(the_address_register_takes_dwords_only)
{
	ROW("HD-155");
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
	out(0xcf9, 2, 0x06);   /* nor is this */
	ck_assert_uint_eq(fake_stop.requests, 0);
	ck_assert_uint_eq(in(0xcf9, 1), 0);
	ck_assert_uint_eq(in(0xcf9, 2) & 0xffff, 0xffff);
	out(0xcf8, 4, 0x80000004);
	ck_assert_uint_eq(in(0xcf8, 1) & 0xff, 0xff);
	ck_assert_uint_eq(in(0xcf8, 2) & 0xffff, 0xffff);
	out(0xcf9, 1, 0x06);
	ck_assert_uint_eq(fake_stop.requests, 1);
	ck_assert_int_eq(fake_stop.reason, STOP_RESET);
}
END_TEST

/* --- a function --- */

static const uint8_t cap_body[] = { 0x10, 1, 2, 3, 4, 5, 6, 7, 8 };
static const uint8_t cap_wmask[] = { 0, 0, 0x0f, 0, 0xff, 0xff, 0xff, 0xff, 0 };

/* With an I/O, a 32-bit and a 64-bit BAR, two capabilities, and MSI-X in a BAR of its own. */
static void make(struct func *f)
{
	struct err err = ERR_INIT;

	func_init(f);
	func_bar(f, 0, PCI_BAR_IO, 32);
	func_bar(f, 1, PCI_BAR_MEM32, 4096);
	func_bar(f, 4, PCI_BAR_MEM64, 16384);
	ck_assert_uint_eq(pci_add_cap(&f->pd, 9, cap_body, sizeof(cap_body), cap_wmask), 0x40);
	ck_assert_int_eq(pci_add_msix(&f->pd, 2, 3, &err), 0);
	ck_assert_uint_eq(pci_add_cap(&f->pd, 9, cap_body, sizeof(cap_body), NULL), 0x58);
}

START_TEST(a_function_has_its_header)
{
	static struct func f;

	make(&f);
	func_add(&f);
	memset(f.pd.wmask, 0xff, 4); /* what follows the bytes in memory is not theirs */
	ck_assert_uint_eq(f.pd.slot, 1);
	ck_assert_uint_eq(conf1_read(8, PCI_VENDOR_ID, 4), 0x10421af4);
	ck_assert_uint_eq(conf1_read(8, PCI_CLASS_REVISION, 4), 0x01000001);
	ck_assert_uint_eq(conf1_read(8, PCI_SUBSYSTEM_VENDOR_ID, 4), 0x00421af4);
	ck_assert_uint_eq(conf1_read(8, PCI_COMMAND, 4), PCI_STATUS_CAP_LIST << 16);
	ck_assert_uint_eq(conf1_read(8, PCI_HEADER_TYPE, 1), 0);
	ck_assert_uint_eq(conf1_read(8, PCI_INTERRUPT_PIN, 1), 1);
	ck_assert_uint_eq(conf1_read(8, PCI_INTERRUPT_LINE, 1), GSI_FIRST + 1);
	for (uint32_t reg = 0; reg < 4096; reg++)
		ck_assert_uint_eq(read_ecam(1 << 15 | reg, 1),
				  reg < 256 ? conf1_read(8, reg, 1) : 0xff);
	func_remove(&f);
	ck_assert_uint_eq(conf1_read(8, PCI_VENDOR_ID, 4), ONES);
}
END_TEST

START_TEST(capabilities_are_a_list)
{
	ROW("HD-153");
	static struct func f;

	make(&f);
	func_add(&f);
	for (int pass = 0; pass < 2; pass++) {
		ck_assert_uint_eq(cfg_in(&f.pd, PCI_CAPABILITY_LIST, 1), 0x40);
		ck_assert_uint_eq(cfg_in(&f.pd, 0x40, 2), 0x4c09);
		ck_assert_uint_eq(cfg_in(&f.pd, 0x4c, 2), 0x5800 | PCI_CAP_ID_MSIX);
		ck_assert_uint_eq(cfg_in(&f.pd, 0x58, 2), 0x0009);
		for (unsigned int i = 0; i < sizeof(cap_body); i++)
			ck_assert_uint_eq(cfg_in(&f.pd, 0x5a + i, 1), cap_body[i]);
		for (uint32_t reg = 0x40; reg < 0x100; reg += 4)
			cfg_out(&f.pd, reg, 4, ONES);
	}
	func_remove(&f);
}
END_TEST

START_TEST(capabilities_fill_the_space_and_no_more)
{
	static struct func f;
	static const uint8_t body[255];

	func_init(&f);
	ck_assert_uint_eq(pci_add_cap(&f.pd, 9, body, 191, NULL), 0); /* one byte too long */
	ck_assert_uint_eq(pci_add_cap(&f.pd, 9, body, 255, NULL), 0);
	ck_assert_uint_eq(cfg_in(&f.pd, PCI_CAPABILITY_LIST, 1), 0); /* of the host bridge */
	ck_assert_uint_eq(pci_add_cap(&f.pd, 9, body, 186, NULL), 0x40);
	ck_assert_uint_eq(pci_add_cap(&f.pd, 9, body, 3, NULL), 0);
	ck_assert_uint_eq(pci_add_cap(&f.pd, 9, body, 2, NULL), 0xfc);
	ck_assert_uint_eq(pci_add_cap(&f.pd, 9, body, 0, NULL), 0); /* the space is full */
	func_add(&f);
	ck_assert_uint_eq(cfg_in(&f.pd, 0x40, 4), 0xfc09);
	ck_assert_uint_eq(cfg_in(&f.pd, 0xfc, 4), 9);
	ck_assert_uint_eq(cfg_in(&f.pd, 0, 4), 0x10421af4);
	func_remove(&f);
}
END_TEST

/* What a guest may change of the function of make(), from the specification and not from the code. */
static uint32_t writable(uint32_t reg)
{
	switch (reg) {
	case PCI_COMMAND: /* and nothing of Status */
		return PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_SERR |
		       PCI_COMMAND_INTX_DISABLE;
	case PCI_CACHE_LINE_SIZE:
		return 0xff;
	case PCI_BASE_ADDRESS_0:
		return ~31u;
	case PCI_BASE_ADDRESS_1:
	case PCI_BASE_ADDRESS_2: /* MSI-X: 4 KiB */
		return ~4095u;
	case PCI_BASE_ADDRESS_4:
		return ~16383u;
	case PCI_BASE_ADDRESS_5:
		return ONES;
	case PCI_INTERRUPT_LINE:
		return 0xff;
	case 0x44: /* cap_wmask starts at 0x42 */
		return 0xffff000f;
	case 0x48:
		return 0x0000ffff;
	case 0x4c:
		return (uint32_t)(PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL) << 16;
	default:
		return 0;
	}
}

START_TEST(only_documented_bits_change)
{
	ROW("PLT-2", "PLT-6", "PLT-7", "HD-153", "HD-162");
	static const unsigned int widths[] = { 1, 2, 4 };
	static struct func f;
	unsigned int width = widths[_i];
	uint32_t before[64];

	make(&f);
	func_add(&f);
	for (uint32_t i = 0; i < 64; i++)
		before[i] = cfg_in(&f.pd, 4 * i, 4);
	for (int pass = 0; pass < 2; pass++) {
		uint32_t v = pass ? 0 : ONES;

		for (uint32_t reg = 0; reg < 256; reg += width)
			cfg_out(&f.pd, reg, width, v);
		for (uint32_t i = 0; i < 64; i++) {
			uint32_t mask = writable(4 * i);
			ck_assert_msg(cfg_in(&f.pd, 4 * i, 4) == ((before[i] & ~mask) | (v & mask)),
				      "register 0x%x", 4 * i);
		}
	}
	ck_assert_uint_eq(cfg_in(&f.pd, PCI_ROM_ADDRESS, 4), 0);
	func_remove(&f);
}
END_TEST

/* Each width at each offset, by both ways, against an array of bytes. */
START_TEST(every_width_at_every_offset)
{
	ROW("PLT-8", "HD-154");
	static struct func f;
	static const uint8_t body[64] = { 0 };
	static uint8_t wmask[64], model[64];
	uint32_t seed = 1;

	memset(wmask, 0xff, sizeof(wmask));
	func_init(&f);
	ck_assert_uint_eq(pci_add_cap(&f.pd, 9, body, sizeof(body), wmask), 0x40);
	func_add(&f);
	for (unsigned int i = 0; i < 20000; i++) {
		uint32_t v = fake_random(&seed) << 16 ^ fake_random(&seed);
		unsigned int width = 1u << (fake_random(&seed) % 3);
		unsigned int at = fake_random(&seed) % (sizeof(model) - 3);
		bool ecam = fake_random(&seed) & 1;
		uint32_t reg = 0x42 + at;

		if (!ecam && (reg & 3) + width > 4)
			continue; /* leaves the data port */
		if (ecam)
			cfg_out(&f.pd, reg, width, v);
		else
			conf1_write(8, reg, width, v);
		memcpy(model + at, &v, width);
		ck_assert_uint_eq(cfg_in(&f.pd, reg, width), v & (UINT64_MAX >> (64 - 8 * width)));
		ck_assert_mem_eq(f.pd.config + 0x42, model, sizeof(model));
	}
	ck_assert_uint_eq(cfg_in(&f.pd, 0x40, 2), 9);
	func_remove(&f);
}
END_TEST

START_TEST(accesses_that_cross_are_bytes)
{
	ROW("PLT-8", "HD-154");
	static struct func f, g;

	func_init(&f);
	func_init(&g);
	func_add(&f);
	func_add(&g);
	ck_assert_uint_eq(cfg_in(&f.pd, 2, 4), 0x00001042);
	cfg_out(&f.pd, PCI_CACHE_LINE_SIZE - 2, 4,
		0x00550000); /* its last bytes are in the next dword */
	ck_assert_uint_eq(cfg_in(&f.pd, PCI_CACHE_LINE_SIZE, 1), 0x55);
	/* From the end of a function to an absent one, from that to the next slot. */
	ck_assert_uint_eq(cfg_in(&f.pd, 4094, 4), UINT32_MAX);
	ck_assert_uint_eq(cfg_in(&f.pd, 0x7ffe, 4), 0x1af4ffff);
	/* From the last byte of ECAM, and eight at once. */
	ck_assert_uint_eq(read_ecam(0xffffe, 4), ONES);
	ck_assert_uint_eq(mem_in(ECAM + (1 << 15), 8), 0x10421af4ull | 0x00000000ull << 32);
	/* 0xcfe takes two bytes at most, 0xcfa is no register of ours. */
	out(0xcf8, 4, 0x80000800);
	ck_assert_uint_eq(in(0xcfe, 4), 0xffff1042);
	ck_assert_uint_eq(in(0xcfa, 4), ONES);
	ck_assert_uint_eq(in(0xcfd, 2), 0x421a);
	func_remove(&g);
	func_remove(&f);
}
END_TEST

START_TEST(other_buses_and_functions_are_nobodys)
{
	ROW("HD-154", "HD-155");
	static struct func f;

	make(&f);
	func_add(&f);
	for (uint32_t bdf = 0; bdf < 0x10000; bdf++) {
		conf1_write(bdf, PCI_INTERRUPT_LINE, 1, 0x77);
		ck_assert_uint_eq(conf1_read(bdf, PCI_INTERRUPT_LINE, 1),
				  bdf == 0 || bdf == 8 ? 0x77 : 0xff);
	}
	out(0xcf8, 4, 0x00000800); /* no enable bit */
	out(0xcfc, 4, 0);
	ck_assert_uint_eq(in(0xcfc, 4), ONES);
	func_remove(&f);
}
END_TEST

START_TEST(a_way_that_is_off_does_not_answer)
{
	struct pci_config cfg = pci_hw_config;

	pci_hw_release();
	cfg.conf1 = false;
	pci_hw_init(&cfg);
	ck_assert_uint_eq(conf1_read(0, 0, 4), ONES);
	ck_assert_uint_eq(in(0xcf8, 4), ONES);
	conf1_write(0, PCI_INTERRUPT_LINE, 1, 5);
	ck_assert_uint_eq(read_ecam(PCI_INTERRUPT_LINE, 1), 0);
	ck_assert_uint_eq(read_ecam(0, 4), 0x00081b36);
	outb(0xcf9, 6);
	ck_assert_uint_eq(fake_stop.requests, 1);
	pci_hw_release();
	cfg.conf1 = true;
	cfg.ecam = false;
	pci_hw_init(&cfg);
	ck_assert_uint_eq(conf1_read(0, 0, 4), 0x00081b36);
	ck_assert_uint_eq(read_ecam(0, 4), ONES);
}
END_TEST

START_TEST(the_slots_are_used_up)
{
	static struct func f[PCI_SLOTS_NR];
	struct err err = ERR_INIT;

	for (unsigned int i = 1; i < PCI_SLOTS_NR; i++) {
		func_init(&f[i]);
		func_add(&f[i]);
		ck_assert_uint_eq(f[i].pd.slot, i);
	}
	func_init(&f[0]);
	ck_assert_int_eq(pci_add(&pci, &f[0].pd, &err), -ENOSPC);
	ck_assert_int_eq(err.kind, ERR_USAGE);
	ck_assert_int_eq(strncmp(err.msg, "func: ", 6), 0);
	pci_remove(&f[0].pd); /* on no bus: nothing happens */
	func_remove(&f[7]);
	func_init(&f[7]);
	func_add(&f[7]);
	ck_assert_uint_eq(f[7].pd.slot, 7);
	for (unsigned int i = 1; i < PCI_SLOTS_NR; i++)
		func_remove(&f[i]);
}
END_TEST

START_TEST(bus_master_counts_once_it_was_set)
{
	ROW("PLT-5");
	static struct func f;

	make(&f);
	func_add(&f);
	ck_assert(f.pd.bus_master); /* drivers that never set it */
	func_command(&f, DECODE);
	ck_assert(f.pd.bus_master);
	func_command(&f, DECODE | PCI_COMMAND_MASTER);
	ck_assert(f.pd.bus_master);
	ck_assert_uint_eq(f.masters, 0); /* it did not change */
	func_command(&f, DECODE);
	ck_assert(!f.pd.bus_master);
	ck_assert(f.masters == 1 && !f.master);
	func_command(&f, 0);
	ck_assert_uint_eq(f.masters, 1);
	func_command(&f, PCI_COMMAND_MASTER);
	ck_assert(f.masters == 2 && f.master && f.pd.bus_master);
	func_remove(&f);
}
END_TEST

/* Another write comes while the owner is told of the first, as from another vCPU. */
static void interrupted_bus_master(struct pci_device *pd, bool on)
{
	struct func *f = container_of(pd, struct func, pd);

	if (!on)
		func_command(f, PCI_COMMAND_MASTER);
	func_bus_master(pd, on);
}

START_TEST(the_owners_last_news_is_the_last_value)
{
	ROW("PLT-5");
	static const struct pci_device_ops ops = { .name = "func",
						   .bus_master = interrupted_bus_master };
	static struct func f;

	make(&f);
	f.pd.ops = &ops;
	func_add(&f);
	func_command(&f, PCI_COMMAND_MASTER);
	func_command(&f, 0);
	ck_assert_uint_eq(f.masters, 2);
	ck_assert(f.master && f.pd.bus_master);
	func_remove(&f);
}
END_TEST

/* --- the access window --- */

#define WINDOW_LEN 18 /* of the body of a capability whose last four bytes it is */

static void make_window(struct func *f)
{
	static const uint8_t body[WINDOW_LEN];
	static uint8_t wmask[WINDOW_LEN];

	memset(wmask + 2, 0xff, WINDOW_LEN - 2);
	func_init(f);
	ck_assert_uint_eq(pci_add_cap(&f->pd, 9, body, sizeof(body), wmask), 0x40);
	ck_assert_uint_eq(pci_add_cap(&f->pd, 9, body, sizeof(body), wmask), 0x54);
	pci_set_window(&f->pd, 0x64);
}

START_TEST(the_window_calls_at_its_first_byte_only)
{
	ROW("HD-161");
	static const unsigned int widths[] = { 1, 2, 4 };
	static struct func f;

	make_window(&f);
	func_add(&f);
	f.window_value = 0x89abcdef;
	for (unsigned int i = 0; i < ARRAY_SIZE(widths); i++) {
		unsigned int w = widths[i];
		uint32_t mask = (uint32_t)(UINT64_MAX >> (64 - 8 * w));

		for (uint32_t reg = 0x44; reg < 0x80; reg += w) {
			struct func was = f;

			cfg_out(&f.pd, reg, w, 0x76543210);
			cfg_in(&f.pd, reg, w);
			ck_assert_uint_eq(f.window_reads - was.window_reads, reg == 0x64);
			ck_assert_uint_eq(f.window_writes - was.window_writes, reg == 0x64);
		}
		ck_assert_uint_eq(f.window_width, w);
		ck_assert_uint_eq(f.window_wrote, 0x76543210 & mask);
		ck_assert_uint_eq(pci_config_get(&f.pd, 0x64, w),
				  0x76543210 & mask); /* stored first */
		ck_assert_uint_eq(cfg_in(&f.pd, 0x64, w), 0x89abcdef & mask);
		ck_assert_uint_eq(conf1_read(8, 0x64, w), 0x89abcdef & mask);
	}
	cfg_out(&f.pd, 0x62, 4, 0xaabbccdd); /* reaches the window as a byte */
	ck_assert_uint_eq(f.window_width, 1);
	ck_assert_uint_eq(f.window_wrote, 0xbb);
	func_remove(&f);
}
END_TEST

START_TEST(fields_are_read_as_the_guest_left_them)
{
	static struct func f;

	make_window(&f);
	ck_assert_uint_eq(pci_config_get(&f.pd, 0x58, 4), 0); /* on no bus yet */
	func_add(&f);
	cfg_out(&f.pd, 0x58, 4, 0x11223344);
	ck_assert_uint_eq(pci_config_get(&f.pd, 0x58, 4), 0x11223344);
	ck_assert_uint_eq(pci_config_get(&f.pd, 0x59, 1), 0x33);
	ck_assert_uint_eq(pci_config_get(&f.pd, 0x5a, 2), 0x1122);
	func_remove(&f);
}
END_TEST

UNIT_SUITE("pci", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, the_host_bridge_answers_both_ways);
	tcase_add_test(tc, nobody_else_is_there);
	tcase_add_test(tc, a_function_has_no_extended_space);
	tcase_add_test(tc, the_address_register_takes_dwords_only);
	tcase_add_test(tc, only_masked_bits_change);
	tcase_add_test(tc, the_reset_register_resets);
	tcase_add_test(tc, a_function_has_its_header);
	tcase_add_test(tc, capabilities_are_a_list);
	tcase_add_test(tc, capabilities_fill_the_space_and_no_more);
	tcase_add_loop_test(tc, only_documented_bits_change, 0, 3);
	tcase_add_test(tc, every_width_at_every_offset);
	tcase_add_test(tc, accesses_that_cross_are_bytes);
	tcase_add_test(tc, other_buses_and_functions_are_nobodys);
	tcase_add_test(tc, a_way_that_is_off_does_not_answer);
	tcase_add_test(tc, the_slots_are_used_up);
	tcase_add_test(tc, bus_master_counts_once_it_was_set);
	tcase_add_test(tc, the_owners_last_news_is_the_last_value);
	tcase_add_test(tc, the_window_calls_at_its_first_byte_only);
	tcase_add_test(tc, fields_are_read_as_the_guest_left_them);
})
