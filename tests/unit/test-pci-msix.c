// SPDX-License-Identifier: GPL-2.0
// LINK: pci.c pci-bar.c pci-ecam.c pci-irq.c bus.c util/err.c util/log.c util/util.c
/* MSI-X and INTx of the PCI bus. */
#include <errno.h>
#include <string.h>

#include "pci-hw.h"
#include "unit.h"

#define VECTORS  67u /* two qwords of pending bits */
#define BAR      2u
#define BAR_SIZE 4096u
#define PBA      (BAR_SIZE / 2)
#define CONTROL  (0x40 + PCI_MSIX_FLAGS)
#define ENABLE   PCI_MSIX_FLAGS_ENABLE
#define MASKALL  PCI_MSIX_FLAGS_MASKALL
#define MASTER   PCI_COMMAND_MASTER

static struct func f;
static uint64_t table;

static void add_msix(struct func *fn, unsigned int vectors)
{
	struct err err = ERR_INIT;

	func_init(fn);
	ck_assert_int_eq(pci_add_msix(&fn->pd, BAR, vectors, &err), 0);
	func_add(fn);
	func_command(fn, DECODE);
}

static void setup(void)
{
	pci_hw_init(&pci_hw_config);
	add_msix(&f, VECTORS);
	table = cfg_in(&f.pd, bar_reg(BAR), 4) & ~15u;
}

static void teardown(void)
{
	func_remove(&f);
	pci_hw_release();
}

static void control(uint16_t v)
{
	cfg_out(&f.pd, CONTROL, 2, v);
}

static void mask(unsigned int v, bool on)
{
	mem_out(table + v * 16 + 12, 4, on);
}

/* Unmasked, with a message of its own. */
static void set_up(unsigned int v)
{
	mem_out(table + v * 16, 4, 0xfee00000 | v << 12);
	mem_out(table + v * 16 + 4, 4, v);
	mem_out(table + v * 16 + 8, 4, 0x4000 + v);
	mask(v, false);
}

static bool pba(unsigned int v)
{
	return mem_in(table + PBA + v / 8, 1) >> v % 8 & 1;
}

/* Since the last call: how many messages; all of them are `v`'s. */
static unsigned int sent(unsigned int v)
{
	unsigned int nr = fake_msis_sent();

	for (unsigned int i = 0; i < nr; i++) {
		ck_assert_uint_eq(fake_msis[i].devid, f.pd.slot << 3);
		ck_assert_uint_eq(fake_msis[i].addr, (uint64_t)v << 32 | 0xfee00000 | v << 12);
		ck_assert_uint_eq(fake_msis[i].data, 0x4000 + v);
	}
	fake_msis_nr = 0;
	return nr;
}

START_TEST(the_capability_tells_the_truth)
{
	ROW("PCI-84", "PCI-85");
	static const struct {
		unsigned int vectors;
		uint32_t size;
	} cases[] = { { 1, 4096 },   { 2, 4096 },     { 128, 4096 },
		      { 129, 8192 }, { 2047, 65536 }, { 2048, 65536 } };

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		static struct func g;

		add_msix(&g, cases[i].vectors);
		ck_assert_uint_eq(cfg_in(&g.pd, CONTROL, 2), cases[i].vectors - 1);
		ck_assert_uint_eq(cfg_in(&g.pd, 0x40 + PCI_MSIX_TABLE, 4), BAR);
		ck_assert_uint_eq(cfg_in(&g.pd, 0x40 + PCI_MSIX_PBA, 4), cases[i].size / 2 | BAR);
		uint64_t base = cfg_in(&g.pd, bar_reg(BAR), 4);
		cfg_out(&g.pd, bar_reg(BAR), 4, ONES);
		ck_assert_uint_eq(cfg_in(&g.pd, bar_reg(BAR), 4), ~(cases[i].size - 1));
		cfg_out(&g.pd, bar_reg(BAR), 4, (uint32_t)base);
		/* Every entry works, what follows does not. */
		for (unsigned int v = 0; v <= cases[i].vectors; v++) {
			if (v * 16 == cases[i].size / 2)
				break; /* pending bits follow at once */
			mem_out(base + v * 16 + 8, 4, 0x1234 + v);
			ck_assert_uint_eq(mem_in(base + v * 16 + 8, 4),
					  v < cases[i].vectors ? 0x1234 + v : 0);
		}
		func_remove(&g);
	}
}
END_TEST

START_TEST(after_reset_all_is_masked)
{
	ROW("PLT-10");
	ck_assert_uint_eq(cfg_in(&f.pd, CONTROL, 2), VECTORS - 1);
	ck_assert(!pci_msix_enabled(&f.pd));
	for (unsigned int v = 0; v < VECTORS; v++) {
		ck_assert_uint_eq(mem_in(table + v * 16, 8), 0);
		ck_assert_uint_eq(mem_in(table + v * 16 + 8, 8), 1ull << 32);
		ck_assert(!pba(v));
	}
	ck_assert_uint_eq(sent(0), 0);
}
END_TEST

/* Every access of every width at every offset, against an array of bytes that obeys the rules. */
START_TEST(every_access_of_the_bar)
{
	ROW("PLT-9", "HD-115", "HD-116", "HD-133");
	static uint8_t model[BAR_SIZE + 8];
	uint32_t seed = 3;

	memset(model + BAR_SIZE, 0xff, 8); /* nobody's */
	for (unsigned int v = 0; v < VECTORS; v++)
		model[v * 16 + 12] = 1;
	control(ENABLE | MASKALL);
	pci_msix_signal(&f.pd, 1);
	pci_msix_signal(&f.pd, 64);
	model[PBA] = 2;
	model[PBA + 8] = 1;
	for (unsigned int width = 1; width <= 8; width++) {
		for (uint32_t off = 0; off < BAR_SIZE; off++) {
			uint64_t v = (uint64_t)fake_random(&seed) << 40 | fake_random(&seed) << 16 |
				     fake_random(&seed);
			bool takes = (width == 4 || width == 8) && off % width == 0 &&
				     off / 16 < VECTORS;

			mem_out(table + off, width, v);
			for (unsigned int i = 0; takes && i < width; i++) {
				uint8_t m = (off + i) % 16 == 0   ? 0xfc
					    : (off + i) % 16 < 12 ? 0xff
								  : 0;

				if ((off + i) % 16 == 12)
					m = 1;
				model[off + i] = (uint8_t)(v >> 8 * i) & m;
			}
			uint32_t from = off < 8 ? 0 : off - 8;
			for (uint32_t at = from; at < MIN(off + 12, BAR_SIZE); at++)
				ck_assert_uint_eq(mem_in(table + at, width) &
							  (UINT64_MAX >> (64 - 8 * width)),
						  get_le64(model + at) &
							  (UINT64_MAX >> (64 - 8 * width)));
		}
	}
	ck_assert_uint_eq(sent(0), 0);
}
END_TEST

START_TEST(a_signal_is_the_entry_of_its_vector)
{
	ROW("PCI-87", "PCI-97");
	for (unsigned int v = 0; v < VECTORS; v++)
		set_up(v);
	control(ENABLE);
	for (unsigned int v = 0; v < VECTORS; v++) {
		pci_msix_signal(&f.pd, v);
		ck_assert_uint_eq(sent(v), 1);
		ck_assert(!pba(v));
	}
	mem_out(table + 8, 4, 0xabcd); /* the entry is read when it is used */
	pci_msix_signal(&f.pd, 0);
	ck_assert_uint_eq(fake_msis[0].data, 0xabcd);
}
END_TEST

START_TEST(nothing_while_disabled)
{
	ROW("HD-130");
	set_up(3);
	pci_msix_signal(&f.pd, 3);
	ck_assert(!pba(3));
	control(ENABLE);
	ck_assert_uint_eq(sent(3), 0);
	mask(3, true);
	pci_msix_signal(&f.pd, 3);
	ck_assert(pba(3));
	control(0); /* what was pending is gone */
	ck_assert(!pba(3));
	control(ENABLE);
	mask(3, false);
	ck_assert_uint_eq(sent(3), 0);
}
END_TEST

static void vector_masked(bool on)
{
	mask(66, on);
}

static void function_masked(bool on)
{
	control(on ? ENABLE | MASKALL : ENABLE);
}

static void no_master(bool on)
{
	func_command(&f, DECODE | (on ? 0 : MASTER));
}

/* An 8-byte write of data and control. */
static void vector_masked_wide(bool on)
{
	mem_out(table + 66 * 16 + 8, 8, (0x4000 + 66) | (uint64_t)on << 32);
}

static void (*const holds[])(bool on) = { vector_masked, function_masked, no_master,
					  vector_masked_wide };

START_TEST(held_back_and_sent_once)
{
	ROW("PCI-97", "PLT-5", "HD-129", "HD-130");
	void (*hold)(bool on) = holds[_i];

	set_up(66);
	control(ENABLE);
	no_master(false);
	for (unsigned int round = 0; round < 3; round++) {
		hold(true);
		for (unsigned int i = 0; i < 3; i++)
			pci_msix_signal(&f.pd, 66);
		ck_assert_uint_eq(sent(66), 0);
		ck_assert(pba(66) && !pba(65));
		hold(true); /* again: nothing changes */
		ck_assert_uint_eq(sent(66), 0);
		hold(false);
		ck_assert_uint_eq(sent(66), 1);
		ck_assert(!pba(66));
		hold(false);
		hold(true);
		hold(false); /* nothing was pending */
		ck_assert_uint_eq(sent(66), 0);
		pci_msix_signal(&f.pd, 66);
		ck_assert_uint_eq(sent(66), 1);
	}
}
END_TEST

START_TEST(every_reason_must_end)
{
	ROW("HD-129");
	set_up(66);
	control(ENABLE);
	no_master(false);
	for (unsigned int order = 0; order < 6; order++) {
		static const uint8_t orders[6][3] = { { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 },
						      { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };

		for (unsigned int i = 0; i < 3; i++)
			holds[i](true);
		pci_msix_signal(&f.pd, 66);
		for (unsigned int i = 0; i < 3; i++) {
			ck_assert_uint_eq(sent(66), 0);
			holds[orders[order][i]](false);
		}
		ck_assert_uint_eq(sent(66), 1);
	}
}
END_TEST

START_TEST(an_odd_message_goes_to_kvm_as_it_is)
{
	ROW("HD-131", "HD-132");
	static const uint64_t addrs[] = { 0, 0xfffffffffffffffc, 0x1000, 0xc0000000,
					  0x123456789abcdef0 };

	set_up(0);
	control(ENABLE);
	for (unsigned int i = 0; i < ARRAY_SIZE(addrs); i++) {
		mem_out(table, 8, addrs[i] | 3); /* a dword's address */
		pci_msix_signal(&f.pd, 0);
		ck_assert_uint_eq(fake_msis[0].addr, addrs[i]);
		ck_assert_uint_eq(fake_msis_sent(), 1);
		fake_msis_nr = 0;
	}
}
END_TEST

START_TEST(the_table_goes_with_its_bar)
{
	ROW("PLT-3", "PLT-4", "HD-151");
	set_up(5);
	control(ENABLE);
	func_command(&f, 0);
	ck_assert_uint_eq(mem_in(table + 5 * 16, 8), UINT64_MAX);
	mask(5, true);
	pci_msix_signal(&f.pd, 5); /* the table is there, though nobody can reach it */
	ck_assert_uint_eq(sent(5), 1);
	cfg_out(&f.pd, bar_reg(BAR), 4, (uint32_t)table + 0x100000);
	func_command(&f, DECODE);
	ck_assert_uint_eq(mem_in(table + 5 * 16, 8), UINT64_MAX);
	table += 0x100000;
	ck_assert_uint_eq(mem_in(table + 5 * 16 + 8, 4), 0x4005);
	pci_msix_signal(&f.pd, 5);
	ck_assert_uint_eq(sent(5), 1);
}
END_TEST

/* --- INTx --- */

static bool line(unsigned int slot)
{
	return fake_lines[GSI_FIRST + slot % GSI_NR].level;
}

static bool status(const struct func *fn)
{
	return cfg_in(&fn->pd, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT;
}

START_TEST(the_line_follows_what_the_function_wants)
{
	ROW("HD-137");
	for (unsigned int i = 0; i < 3; i++) {
		pci_intx_set(&f.pd, true);
		ck_assert(line(1) && status(&f));
		pci_intx_set(&f.pd, true); /* never acknowledged: nothing more happens */
		ck_assert_uint_eq(fake_lines[GSI_FIRST + 1].rises, i + 1);
		pci_intx_set(&f.pd, false);
		ck_assert(!line(1) && !status(&f));
	}
	for (unsigned int slot = 0; slot < GSI_NR; slot++)
		ck_assert(slot == 1 || !fake_lines[GSI_FIRST + slot].rises);
	ck_assert_uint_eq(sent(0), 0);
}
END_TEST

START_TEST(interrupt_disable_takes_the_line_and_not_the_status)
{
	ROW("HD-136");
	pci_intx_set(&f.pd, true);
	for (unsigned int i = 0; i < 100; i++) {
		func_command(&f, DECODE | PCI_COMMAND_INTX_DISABLE);
		ck_assert(!line(1) && status(&f));
		func_command(&f, DECODE);
		ck_assert(line(1) && status(&f));
	}
	func_command(&f, DECODE | PCI_COMMAND_INTX_DISABLE);
	pci_intx_set(&f.pd, false);
	ck_assert(!status(&f));
	pci_intx_set(&f.pd, true);
	ck_assert(!line(1) && status(&f));
	pci_intx_set(&f.pd, false);
	func_command(&f, DECODE);
	ck_assert(!line(1));
}
END_TEST

START_TEST(interrupt_status_is_the_functions)
{
	ROW("PLT-6");
	pci_intx_set(&f.pd, true);
	cfg_out(&f.pd, PCI_STATUS, 2, 0xffff);
	ck_assert(status(&f));
	cfg_out(&f.pd, PCI_COMMAND, 4, 0);
	ck_assert(status(&f) && line(1));
	pci_intx_set(&f.pd, false);
	cfg_out(&f.pd, PCI_COMMAND, 4, ONES);
	ck_assert(!status(&f));
	ck_assert_uint_eq(cfg_in(&f.pd, PCI_STATUS, 2), PCI_STATUS_CAP_LIST);
}
END_TEST

START_TEST(msix_replaces_the_line)
{
	ROW("PCI-93", "HD-130");
	pci_intx_set(&f.pd, true);
	control(ENABLE);
	ck_assert(!line(1));
	control(ENABLE | MASKALL); /* masked is enabled */
	ck_assert(!line(1));
	pci_intx_set(&f.pd, false);
	pci_intx_set(&f.pd, true);
	ck_assert(!line(1));
	control(0);
	ck_assert(line(1));
}
END_TEST

START_TEST(interrupt_line_is_scratch)
{
	ROW("PLT-7");
	ck_assert_uint_eq(cfg_in(&f.pd, PCI_INTERRUPT_LINE, 1), GSI_FIRST + 1);
	cfg_out(&f.pd, PCI_INTERRUPT_LINE, 2, 0xffff);
	ck_assert_uint_eq(cfg_in(&f.pd, PCI_INTERRUPT_LINE, 2), 0x01ff); /* the pin is 1 */
	pci_intx_set(&f.pd, true);
	ck_assert(line(1));
}
END_TEST

START_TEST(a_shared_line_is_the_or)
{
	ROW("HD-138");
	static struct func g[5]; /* slots 2 to 6; 5 shares the line of 1 */

	for (unsigned int i = 0; i < 5; i++) {
		func_init(&g[i]);
		func_add(&g[i]);
	}
	pci_intx_set(&f.pd, true);
	pci_intx_set(&g[3].pd, true);
	ck_assert_uint_eq(fake_lines[GSI_FIRST + 1].rises, 1);
	for (unsigned int i = 0; i < 10; i++) { /* a hostile neighbour */
		pci_intx_set(&g[3].pd, i & 1);
		func_command(&g[3], i & 2 ? PCI_COMMAND_INTX_DISABLE : 0);
		ck_assert(line(1));
	}
	pci_intx_set(&g[3].pd, true);
	func_command(&g[3], 0);
	pci_intx_set(&f.pd, false);
	ck_assert(line(1));
	pci_intx_set(&g[3].pd, false);
	ck_assert(!line(1));
	pci_intx_set(&g[0].pd, true);
	ck_assert(line(2) && !line(1) && !line(3));
	for (unsigned int i = 0; i < 5; i++)
		func_remove(&g[i]); /* takes its line with it */
	ck_assert(!line(2));
}
END_TEST

START_TEST(a_function_on_no_bus_has_no_line)
{
	static struct func g;

	func_init(&g);
	pci_intx_set(&g.pd, true);
	ck_assert(!g.pd.intx);
	pci_device_release(&g.pd);
}
END_TEST

/* --- eventfds that KVM takes --- */

static struct kvm *const a_kvm = (struct kvm *)&pci;
static struct pci_irqfd e;

/* Direct exactly while the vector could send, with the message that it has then. */
static void is_bound(bool on)
{
	ck_assert_int_eq(pci_irqfd_is_direct(&e), on);
	ck_assert_int_eq(fake_route.bound, on ? 44 : -1);
}

START_TEST(an_eventfd_is_direct_while_its_vector_may_send)
{
	ROW("PCI-97", "HD-130");
	pci_irqfd_init(&e, &f.pd, a_kvm, 44);
	set_up(5);
	is_bound(false);
	pci_irqfd_set_vector(&e, 5);
	is_bound(false);
	control(ENABLE);
	is_bound(true);
	ck_assert_uint_eq(fake_route.last.addr, 5ull << 32 | 0xfee00000 | 5 << 12);
	ck_assert_uint_eq(fake_route.last.data, 0x4005);
	ck_assert_uint_eq(fake_route.last.devid, f.pd.slot << 3);
	control(ENABLE | MASKALL);
	is_bound(false);
	control(ENABLE);
	is_bound(true);
	mask(5, true);
	is_bound(false);
	mask(5, false);
	is_bound(true);
	mask(6, true);
	is_bound(true);
	func_command(&f, DECODE | MASTER);
	func_command(&f, DECODE);
	is_bound(false);
	func_command(&f, DECODE | MASTER);
	is_bound(true);
	control(0);
	is_bound(false);
	/* All that with one message: KVM was told once. */
	ck_assert_uint_eq(fake_route.sets, 1);
	ck_assert_uint_eq(sent(5), 0);
	pci_irqfd_release(&e);
	ck_assert_uint_eq(fake_route.given, 0);
}
END_TEST

/* A driver moves an interrupt to another CPU: masked, changed, unmasked. */
START_TEST(a_message_is_told_when_it_is_whole)
{
	pci_irqfd_init(&e, &f.pd, a_kvm, 44);
	pci_irqfd_set_vector(&e, 5);
	control(ENABLE);
	for (unsigned int i = 0; i < 10; i++)
		mem_out(table + 5 * 16, 4, 0xfee00000 | i << 12);
	ck_assert_uint_eq(fake_route.sets, 0);
	set_up(5);
	ck_assert_uint_eq(fake_route.sets, 1);
	mask(5, true);
	mem_out(table + 5 * 16 + 8, 4, 0x77);
	mem_out(table + 5 * 16, 4, 0xfee07000);
	ck_assert_uint_eq(fake_route.sets, 1);
	mask(5, false);
	ck_assert_uint_eq(fake_route.sets, 2);
	ck_assert_uint_eq(fake_route.last.data, 0x77);
	/* One that changes while it may send is followed at once. */
	mem_out(table + 5 * 16 + 8, 4, 0x78);
	ck_assert_uint_eq(fake_route.last.data, 0x78);
	is_bound(true);
	/* One that KVM refuses is left to the owner. */
	fake_route.refuse = true;
	mem_out(table + 5 * 16 + 8, 4, 0x79);
	is_bound(false);
	fake_route.refuse = false;
	mem_out(table + 5 * 16 + 8, 4, 0x7a);
	is_bound(true);
	pci_irqfd_release(&e);
	is_bound(false);
}
END_TEST

START_TEST(what_is_pending_is_sent_at_the_unmask)
{
	pci_irqfd_init(&e, &f.pd, a_kvm, 44);
	pci_irqfd_set_vector(&e, 5);
	control(ENABLE);
	set_up(5);
	mask(5, true);
	/* As its owner does with what it reads meanwhile. */
	pci_msix_signal(&f.pd, 5);
	pci_msix_signal(&f.pd, 5);
	ck_assert(pba(5));
	ck_assert_uint_eq(sent(5), 0);
	mask(5, false);
	ck_assert_uint_eq(sent(5), 1);
	ck_assert(!pba(5));
	is_bound(true);
	pci_irqfd_release(&e);
}
END_TEST

START_TEST(an_eventfd_goes_from_vector_to_vector)
{
	static struct pci_irqfd other;

	pci_irqfd_init(&e, &f.pd, a_kvm, 44);
	pci_irqfd_init(&other, &f.pd, a_kvm, 55);
	control(ENABLE);
	set_up(5);
	set_up(7);
	pci_irqfd_set_vector(&e, 5);
	is_bound(true);
	pci_irqfd_set_vector(&e, 7);
	is_bound(true);
	ck_assert_uint_eq(fake_route.last.data, 0x4007);
	mask(5, true);
	is_bound(true);
	pci_irqfd_set_vector(&e, PCI_NO_VECTOR);
	is_bound(false);
	mask(7, true);
	/* Several at one. */
	pci_irqfd_set_vector(&e, 7);
	pci_irqfd_set_vector(&other, 7);
	pci_irqfd_set_vector(&e, PCI_NO_VECTOR);
	mask(7, false);
	ck_assert(pci_irqfd_is_direct(&other) && !pci_irqfd_is_direct(&e));
	ck_assert_int_eq(fake_route.bound, 55);
	pci_irqfd_release(&other);
	pci_irqfd_release(&e);
	ck_assert_uint_eq(fake_route.given, 0);
}
END_TEST

START_TEST(without_kvms_help_it_is_never_direct)
{
	for (unsigned int i = 0; i < 3; i++) {
		fake_route.none = i == 0;
		fake_route.refuse_bind = i == 1;
		pci_irqfd_init(&e, &f.pd, i < 2 ? a_kvm : NULL, 44);
		pci_irqfd_set_vector(&e, 5);
		control(ENABLE);
		set_up(5);
		is_bound(false);
		pci_msix_signal(&f.pd, 5);
		ck_assert_uint_eq(sent(5), 1);
		control(0);
		pci_irqfd_release(&e);
		is_bound(false);
	}
}
END_TEST

START_TEST(no_room_for_the_capability)
{
	static struct func g;
	static const uint8_t body[178];
	struct err err = ERR_INIT;

	func_init(&g);
	ck_assert_uint_eq(pci_add_cap(&g.pd, 9, body, sizeof(body), NULL), 0x40);
	ck_assert_uint_eq(pci_add_cap(&g.pd, 9, body, 4, NULL), 0xf4);
	ck_assert_int_eq(pci_add_msix(&g.pd, 1, 2, &err), -EIO);
	ck_assert_int_eq(err.kind, ERR_INTERNAL);
	ck_assert_uint_eq(g.pd.msix_nr, 0);
	pci_device_release(&g.pd);
}
END_TEST

UNIT_SUITE("pci-msix", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, the_capability_tells_the_truth);
	tcase_add_test(tc, after_reset_all_is_masked);
	tcase_add_test(tc, every_access_of_the_bar);
	tcase_add_test(tc, a_signal_is_the_entry_of_its_vector);
	tcase_add_test(tc, nothing_while_disabled);
	tcase_add_loop_test(tc, held_back_and_sent_once, 0, ARRAY_SIZE(holds));
	tcase_add_test(tc, every_reason_must_end);
	tcase_add_test(tc, an_odd_message_goes_to_kvm_as_it_is);
	tcase_add_test(tc, an_eventfd_is_direct_while_its_vector_may_send);
	tcase_add_test(tc, a_message_is_told_when_it_is_whole);
	tcase_add_test(tc, what_is_pending_is_sent_at_the_unmask);
	tcase_add_test(tc, an_eventfd_goes_from_vector_to_vector);
	tcase_add_test(tc, without_kvms_help_it_is_never_direct);
	tcase_add_test(tc, the_table_goes_with_its_bar);
	tcase_add_test(tc, the_line_follows_what_the_function_wants);
	tcase_add_test(tc, interrupt_disable_takes_the_line_and_not_the_status);
	tcase_add_test(tc, interrupt_status_is_the_functions);
	tcase_add_test(tc, msix_replaces_the_line);
	tcase_add_test(tc, interrupt_line_is_scratch);
	tcase_add_test(tc, a_shared_line_is_the_or);
	tcase_add_test(tc, a_function_on_no_bus_has_no_line);
	tcase_add_test(tc, no_room_for_the_capability);
})
