// SPDX-License-Identifier: GPL-2.0
// LINK: pci.c pci-bar.c pci-ecam.c pci-irq.c bus.c util/err.c util/log.c util/util.c
/* Configuration space as a read-only memory slot, and the threads that use the bus. */
#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#include "pci-hw.h"
#include "unit.h"

#define READS 16       /* trapped ones until the slot is made */
#define LEN   0x18000u /* up to slot 2 */
#define BUS   0x100000u

static struct func f, g;
static struct kvm kvm;

static void make(struct func *fn)
{
	static const uint8_t body[18];
	static uint8_t wmask[18];
	struct err err = ERR_INIT;

	memset(wmask + 2, 0xff, 16);
	func_init(fn);
	func_bar(fn, 0, PCI_BAR_MEM32, 4096);
	ck_assert_uint_eq(pci_add_cap(&fn->pd, 9, body, sizeof(body), wmask), 0x40);
	pci_set_window(&fn->pd, 0x50);
	ck_assert_int_eq(pci_add_msix(&fn->pd, 1, 4, &err), 0);
	func_add(fn);
}

static void setup(void)
{
	pci_hw_kvm = &kvm;
	pci_hw_init(&pci_hw_config);
	make(&f);
	make(&g);
}

static void teardown(void)
{
	func_remove(&f);
	func_remove(&g);
	pci_hw_release();
}

static void read_often(void)
{
	for (unsigned int i = 0; i < READS; i++)
		read_ecam(0, 4);
}

START_TEST(enough_reads_make_a_slot)
{
	for (unsigned int i = 0; i < READS; i++) {
		ck_assert(!fake_slot.there);
		ck_assert_uint_eq(read_ecam(0, 4), 0x00081b36);
		conf1_read(0, 0, 4); /* does not count */
		write_ecam(PCI_INTERRUPT_LINE, 1, 1);
	}
	ck_assert(fake_slot.there && fake_slot.readonly);
	ck_assert_uint_eq(fake_slot.gpa, ECAM);
	ck_assert_uint_eq(fake_slot.size, LEN);
	for (unsigned int i = 0; i < 10 * READS; i++)
		read_ecam(0, 4);
	ck_assert_uint_eq(fake_slot.added, 1);
	ck_assert_uint_eq(pci.ecam_reads, READS); /* nothing is counted that could wrap */
}
END_TEST

START_TEST(without_kvm_there_is_no_slot)
{
	teardown();
	pci_hw_kvm = NULL;
	pci_hw_init(&pci_hw_config);
	read_often();
	ck_assert_uint_eq(fake_slot.added, 0);
	pci_hw_release();
	setup();
}
END_TEST

START_TEST(the_slot_holds_what_an_exit_would_give)
{
	read_often();
	for (uint32_t off = 0; off < LEN; off += 4) {
		if (off % 4096 < 256 || off % 4096 >= 4092 || off % 0x10000 == 0x8400)
			ck_assert_uint_eq(get_le32(fake_slot.host + off), read_ecam(off, 4));
		else
			ck_assert_uint_eq(get_le32(fake_slot.host + off), ONES);
	}
	ck_assert_uint_eq(get_le32(fake_slot.host + 0x8000), 0x10421af4);
	ck_assert_uint_eq(get_le32(fake_slot.host + 0x9000), ONES);
	for (uint32_t off = LEN; off < BUS; off += 4096)
		ck_assert_uint_eq(read_ecam(off, 4), ONES); /* traps */
}
END_TEST

START_TEST(the_slot_ends_with_the_last_device)
{
	static struct func others[PCI_SLOTS_NR - 3];

	for (unsigned int i = 0; i < ARRAY_SIZE(others); i++) {
		func_init(&others[i]);
		func_add(&others[i]);
	}
	read_often();
	ck_assert_uint_eq(fake_slot.size, BUS);
	ck_assert_uint_eq(get_le32(fake_slot.host + BUS - 0x8000), read_ecam(BUS - 0x8000, 4));
	for (unsigned int i = 0; i < ARRAY_SIZE(others); i++)
		func_remove(&others[i]);
}
END_TEST

START_TEST(without_devices_the_slot_is_the_host_bridge)
{
	teardown();
	pci_hw_init(&pci_hw_config);
	read_often();
	ck_assert_uint_eq(fake_slot.size, 0x8000);
	ck_assert_uint_eq(get_le32(fake_slot.host), read_ecam(0, 4));
	pci_hw_release();
	setup();
}
END_TEST

START_TEST(nothing_stays_mapped)
{
	uint8_t *map;

	read_often();
	map = pci.ecam_map;
	ck_assert_int_eq(msync(map, 4096, MS_ASYNC), 0);
	teardown();
	ck_assert_int_eq(msync(map, 4096, MS_ASYNC), -1);
	ck_assert_int_eq(errno, ENOMEM);
	setup();
}
END_TEST

START_TEST(writes_show_in_the_slot)
{
	const uint8_t *c;

	conf1_write(8, PCI_COMMAND, 2, PCI_COMMAND_MEMORY); /* before and after */
	read_often();
	c = fake_slot.host + (1 << 15);
	ck_assert_uint_eq(get_le16(c + PCI_COMMAND), PCI_COMMAND_MEMORY);
	func_command(&f, DECODE);
	ck_assert_uint_eq(get_le16(c + PCI_COMMAND), DECODE);
	conf1_write(8, bar_reg(0), 4, ONES);
	ck_assert_uint_eq(get_le32(c + bar_reg(0)), 0xfffff000);
	ck_assert(!f.active[0]);
	pci_intx_set(&f.pd, true);
	ck_assert(get_le16(c + PCI_STATUS) & PCI_STATUS_INTERRUPT);
	pci_intx_set(&f.pd, false);
	ck_assert(!(get_le16(c + PCI_STATUS) & PCI_STATUS_INTERRUPT));
	ck_assert(fake_slot.there);
}
END_TEST

/* Each byte of the capability that holds the window, by either way; and its reads trap from then on. */
START_TEST(the_window_ends_the_slot_for_good)
{
	static const struct {
		uint32_t reg;
		unsigned int width;
		bool ends;
	} cases[] = {
		{ 0x3c, 4, false }, { 0x54, 4, false }, { 0x44, 4, true }, { 0x47, 1, true },
		{ 0x48, 4, true },  { 0x4c, 2, true },  { 0x50, 4, true }, { 0x53, 1, true },
	};
	bool early = _i & 1, ends = cases[_i / 2].ends;

	if (!early)
		read_often();
	if (early)
		conf1_write(8, cases[_i / 2].reg, cases[_i / 2].width, 1);
	else
		cfg_out(&f.pd, cases[_i / 2].reg, cases[_i / 2].width, 1);
	if (early)
		read_often();
	ck_assert(fake_slot.there == !ends);
	read_often();
	ck_assert(fake_slot.there == !ends);
	ck_assert_uint_eq(fake_slot.added, early && ends ? 0 : 1);
	ck_assert_uint_eq(cfg_in(&f.pd, 0, 4), 0x10421af4);
	func_command(&f, DECODE);
	ck_assert_uint_eq(cfg_in(&f.pd, PCI_COMMAND, 2), DECODE);
}
END_TEST

START_TEST(a_kvm_without_read_only_memory)
{
	fake_slot.no_cap = true;
	read_often();
	read_often();
	ck_assert_uint_eq(fake_slot.added, 0);
	ck_assert_ptr_null(pci.ecam_map);
}
END_TEST

START_TEST(a_refused_slot_changes_nothing)
{
	fake_slot.refuse = true;
	read_often();
	read_often();
	func_command(&f, DECODE);
	ck_assert_uint_eq(cfg_in(&f.pd, PCI_COMMAND, 2), DECODE);
	ck_assert_uint_eq(cfg_in(&f.pd, 0x50, 4), 0);
	cfg_out(&f.pd, 0x50, 4, 1); /* there is no slot to remove */
	ck_assert_uint_eq(f.window_writes, 1);
}
END_TEST

START_TEST(removed_functions_take_their_bytes_along)
{
	read_often();
	func_command(&f, DECODE);
	pci_remove(&f.pd);
	ck_assert_ptr_eq(f.pd.config, f.pd.own_config);
	ck_assert_uint_eq(get_le16(f.pd.config), 0x1af4);
	ck_assert(!f.active[0]);
}
END_TEST

/* --- threads --- */

#define ROUNDS 600

static _Atomic bool done;
static _Atomic unsigned int signals;

static void *signaller(void *arg)
{
	unsigned int v = (unsigned int)(uintptr_t)arg;

	while (!done) {
		pci_msix_signal(&f.pd, v);
		if (v == 0) {
			pci_intx_set(&f.pd, true);
			pci_intx_set(&f.pd, false);
		}
		signals++;
		sched_yield();
	}
	return NULL;
}

/* A vCPU that uses the BARs and configuration space by both ways while another one changes them. */
static void *accessor(void *arg)
{
	uint64_t base = *(uint64_t *)arg;
	uint32_t seed = 5;

	while (!done) {
		uint32_t off = fake_random(&seed) % 4096;

		mem_in(base + off, 8);
		mem_out(base + off, 4, fake_random(&seed));
		mem_in(base + 0x100000 + off, 4);
		conf1_read(8, off % 256, 2);
		conf1_write(8, PCI_INTERRUPT_LINE, 1, off);
		read_ecam(off << 3, 4);
	}
	return NULL;
}

START_TEST(nothing_is_sent_after_a_mask_was_written)
{
	ROW("HD-129", "HD-130", "HD-131", "HD-155");
	static uint64_t base;
	pthread_t t[3];

	func_command(&f, DECODE | PCI_COMMAND_MASTER);
	base = cfg_in(&f.pd, bar_reg(1), 4);
	for (unsigned int v = 0; v < 2; v++) {
		mem_out(base + v * 16, 8, 0xfee00000);
		mem_out(base + v * 16 + 8, 8, v);
	}
	done = false;
	pthread_create(&t[0], NULL, signaller, (void *)0);
	pthread_create(&t[1], NULL, signaller, (void *)1);
	for (unsigned int i = 0; i < ROUNDS / 5; i++) {
		uint32_t enable = (uint32_t)PCI_MSIX_FLAGS_ENABLE << 16;
		unsigned int before;

		cfg_out(&f.pd, 0x54, 4, enable);
		switch (i % 4) {
		case 0:
			cfg_out(&f.pd, 0x54, 4, 0);
			break;
		case 1:
			cfg_out(&f.pd, 0x54, 4, enable | (uint32_t)PCI_MSIX_FLAGS_MASKALL << 16);
			break;
		case 2:
			func_command(&f, DECODE);
			break;
		case 3:
			mem_out(base + 12, 4, 1);
			mem_out(base + 28, 4, 1);
			break;
		}
		before = fake_msis_sent();
		for (unsigned int s = signals; signals == s;)
			sched_yield();
		ck_assert_uint_eq(fake_msis_sent(), before);
		func_command(&f, DECODE | PCI_COMMAND_MASTER);
		mem_out(base + 12, 4, 0);
		mem_out(base + 28, 4, 0);
	}
	done = true;
	pthread_join(t[0], NULL);
	pthread_join(t[1], NULL);
	ck_assert(!fake_lines[GSI_FIRST + 1].level);
}
END_TEST

START_TEST(everything_moves_while_it_is_used)
{
	ROW("PLT-3", "HD-145", "HD-150", "HD-155");
	static uint64_t base;
	pthread_t t[3];

	base = cfg_in(&f.pd, bar_reg(1), 4);
	done = false;
	pthread_create(&t[0], NULL, signaller, (void *)1);
	pthread_create(&t[1], NULL, accessor, &base);
	pthread_create(&t[2], NULL, accessor, &base);
	for (unsigned int i = 0; i < ROUNDS; i++) {
		func_command(&f, i % 3 ? DECODE | PCI_COMMAND_MASTER : PCI_COMMAND_INTX_DISABLE);
		cfg_out(&f.pd, bar_reg(1), 4, (uint32_t)base + (i % 2 ? 0x100000 : 0));
		cfg_out(&f.pd, 0x54, 4, i % 5 ? (uint32_t)PCI_MSIX_FLAGS_ENABLE << 16 : 0);
		if (i == ROUNDS / 2)
			cfg_out(&f.pd, 0x50, 4, 0); /* the slot goes in the middle of it */
	}
	done = true;
	for (unsigned int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	ck_assert_uint_eq(cfg_in(&f.pd, 0, 4), 0x10421af4);
}
END_TEST

static void *toggle_master(void *arg)
{
	(void)arg;
	for (unsigned int i = 0; i < ROUNDS; i++)
		func_command(&g, i & 1 ? PCI_COMMAND_MASTER : 0);
	return NULL;
}

/* Two vCPUs write Command at once: the owner's last news is the last state. */
START_TEST(the_owner_knows_who_may_master_the_bus)
{
	ROW("PLT-5");
	pthread_t t;

	func_command(&g, PCI_COMMAND_MASTER);
	pthread_create(&t, NULL, toggle_master, NULL);
	toggle_master(NULL);
	pthread_join(t, NULL);
	ck_assert(g.master == g.pd.bus_master);
	ck_assert(g.pd.bus_master == !!(cfg_in(&g.pd, PCI_COMMAND, 2) & PCI_COMMAND_MASTER));
}
END_TEST

UNIT_SUITE("pci-ecam", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, enough_reads_make_a_slot);
	tcase_add_test(tc, without_kvm_there_is_no_slot);
	tcase_add_test(tc, the_slot_holds_what_an_exit_would_give);
	tcase_add_test(tc, the_slot_ends_with_the_last_device);
	tcase_add_test(tc, without_devices_the_slot_is_the_host_bridge);
	tcase_add_test(tc, nothing_stays_mapped);
	tcase_add_test(tc, writes_show_in_the_slot);
	tcase_add_loop_test(tc, the_window_ends_the_slot_for_good, 0, 16);
	tcase_add_test(tc, a_kvm_without_read_only_memory);
	tcase_add_test(tc, a_refused_slot_changes_nothing);
	tcase_add_test(tc, removed_functions_take_their_bytes_along);
	tcase_add_test(tc, nothing_is_sent_after_a_mask_was_written);
	tcase_add_test(tc, everything_moves_while_it_is_used);
	tcase_add_test(tc, the_owner_knows_who_may_master_the_bus);
})
