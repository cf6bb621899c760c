// SPDX-License-Identifier: GPL-2.0
// LINK: pci.c pci-bar.c pci-ecam.c pci-irq.c bus.c util/err.c util/log.c util/util.c
/* Base address registers: sizing, moving, overlaps, and who answers. */
#include <errno.h>
#include <string.h>

#include "pci-hw.h"
#include "unit.h"

#define IO_SIZE  32u
#define M32_SIZE 4096u
#define M64_SIZE 16384u

/* Two functions of the same three BARs: 0 I/O, 1 memory, 4 and 5 memory of 64 bits. */
static struct func a, b;

static void setup(void)
{
	struct func *both[] = { &a, &b };

	pci_hw_init(&pci_hw_config);
	for (unsigned int i = 0; i < 2; i++) {
		func_init(both[i]);
		func_bar(both[i], 0, PCI_BAR_IO, IO_SIZE);
		func_bar(both[i], 1, PCI_BAR_MEM32, M32_SIZE);
		func_bar(both[i], 4, PCI_BAR_MEM64, M64_SIZE);
		memset(both[i]->bytes, 0xa0 + i, sizeof(both[i]->bytes));
		func_add(both[i]);
	}
}

static void teardown(void)
{
	func_remove(&a);
	func_remove(&b);
	pci_hw_release();
}

static uint64_t bar_get(struct func *f, unsigned int bar)
{
	uint64_t v = cfg_in(&f->pd, bar_reg(bar), 4);

	if (bar == 0)
		return v & ~3ull;
	return (v & ~15ull) | (bar == 4 ? (uint64_t)cfg_in(&f->pd, bar_reg(5), 4) << 32 : 0);
}

static void bar_put(struct func *f, unsigned int bar, uint64_t addr)
{
	cfg_out(&f->pd, bar_reg(bar), 4, (uint32_t)addr);
	if (bar == 4)
		cfg_out(&f->pd, bar_reg(5), 4, addr >> 32);
}

/* What answers there: 0xa0 and 0xa1 are the functions, 0xff is nobody. */
static uint8_t at(unsigned int bar, uint64_t addr)
{
	return bar == 0 ? inb(addr) : (uint8_t)mem_in(addr, 1);
}

/* It answers there as a whole, its owner knows, and the register says so. */
static void check_at(struct func *f, unsigned int bar, uint64_t addr)
{
	uint64_t size = f->pd.bars[bar].size;

	ck_assert_uint_eq(bar_get(f, bar), addr);
	ck_assert_uint_eq(at(bar, addr), f->bytes[bar][0]);
	ck_assert_uint_eq(at(bar, addr + size - 1), f->bytes[bar][0]);
	ck_assert(f->active[bar]);
	ck_assert_uint_eq(f->addr[bar], addr);
}

START_TEST(each_bar_gets_a_place)
{
	static const unsigned int bars[] = { 0, 1, 4 };

	ck_assert_uint_eq(bar_get(&a, 0), IO_BASE);
	ck_assert_uint_eq(bar_get(&a, 1), M32_BASE);
	ck_assert_uint_eq(bar_get(&a, 4), M64_BASE);
	for (unsigned int i = 0; i < 3; i++)
		ck_assert_uint_eq(bar_get(&b, bars[i]),
				  bar_get(&a, bars[i]) + a.pd.bars[bars[i]].size);
	for (unsigned int i = 0; i < 3; i++)
		ck_assert_uint_eq(at(bars[i], bar_get(&a, bars[i])), 0xff); /* not before Command */
	func_command(&a, DECODE);
	func_command(&b, DECODE);
	for (unsigned int i = 0; i < 3; i++) {
		check_at(&a, bars[i], bar_get(&a, bars[i]));
		check_at(&b, bars[i], bar_get(&b, bars[i]));
	}
}
END_TEST

START_TEST(types_are_constant)
{
	ROW("PLT-2");
	for (uint32_t reg = PCI_BASE_ADDRESS_0; reg <= PCI_BASE_ADDRESS_5; reg += 4) {
		for (int pass = 0; pass < 2; pass++) {
			cfg_out(&a.pd, reg, 4, pass ? 0 : ONES);
			ck_assert_uint_eq(cfg_in(&a.pd, bar_reg(0), 4) & 3, 1);
			ck_assert_uint_eq(cfg_in(&a.pd, bar_reg(1), 4) & 15, 0);
			ck_assert_uint_eq(cfg_in(&a.pd, bar_reg(4), 4) & 15, 4);
			ck_assert_uint_eq(cfg_in(&a.pd, bar_reg(2), 4), 0);
			ck_assert_uint_eq(cfg_in(&a.pd, bar_reg(3), 4), 0);
		}
	}
}
END_TEST

START_TEST(sizing_by_any_value)
{
	ROW("PLT-1", "HD-147");
	static const uint32_t probes[] = { 0xffffffff, 0xfffffff0, 0xfffffffe, 0xffffff00 };
	static const unsigned int regs[] = { 0, 1, 4 };
	static const uint32_t low[] = { ~(IO_SIZE - 1) | 1, ~(M32_SIZE - 1), ~(M64_SIZE - 1) | 4 };

	for (int decode = 0; decode < 2; decode++) {
		func_command(&a, decode ? DECODE : 0);
		for (unsigned int p = 0; p < ARRAY_SIZE(probes); p++) {
			for (unsigned int i = 0; i < 3; i++) {
				uint32_t reg = bar_reg(regs[i]);
				uint32_t old = cfg_in(&a.pd, reg, 4);

				cfg_out(&a.pd, reg, 4, probes[p]);
				ck_assert_uint_eq(cfg_in(&a.pd, reg, 4),
						  (probes[p] & low[i]) | (low[i] & 15));
				/* The low half of the 64-bit one names another place in its window. */
				ck_assert(a.active[regs[i]] == (decode && regs[i] == 4));
				cfg_out(&a.pd, reg, 4, old);
				ck_assert_uint_eq(cfg_in(&a.pd, reg, 4), old);
				ck_assert(a.active[regs[i]] == decode);
			}
			cfg_out(&a.pd, bar_reg(5), 4, probes[p]);
			ck_assert_uint_eq(cfg_in(&a.pd, bar_reg(5), 4), probes[p]);
			cfg_out(&a.pd, bar_reg(5), 4, M64_BASE >> 32);
		}
	}
	check_at(&a, 0, IO_BASE);
	check_at(&a, 1, M32_BASE);
	check_at(&a, 4, M64_BASE);
}
END_TEST

START_TEST(a_moved_bar_answers_at_its_new_place_only)
{
	ROW("PLT-3");
	static const struct {
		unsigned int bar;
		uint64_t to;
	} moves[] = {
		{ 0, IO_BASE + IO_LEN - IO_SIZE },
		{ 1, M32_BASE + M32_LEN - M32_SIZE },
		{ 4, M64_BASE + M64_LEN - M64_SIZE },
		{ 4, M32_BASE + 0x100000 }, /* a 64-bit BAR may be in the 32-bit window */
	};

	func_command(&a, DECODE);
	for (unsigned int i = 0; i < ARRAY_SIZE(moves); i++) {
		unsigned int bar = moves[i].bar;
		uint64_t from = bar_get(&a, bar);

		bar_put(&a, bar, moves[i].to);
		check_at(&a, bar, moves[i].to);
		ck_assert_uint_eq(at(bar, from), 0xff);
		if (bar)
			mem_out(moves[i].to + 5, 1, 0xa0);
		ck_assert_uint_eq(at(bar, moves[i].to - 1), 0xff);
		ck_assert_uint_ne(at(bar, moves[i].to + a.pd.bars[bar].size), 0xa0);
	}
}
END_TEST

START_TEST(addresses_are_aligned_to_the_size)
{
	func_command(&a, DECODE);
	bar_put(&a, 1, M32_BASE + 0x10fff); /* the bits below the size are not there */
	check_at(&a, 1, M32_BASE + 0x10000);
	bar_put(&a, 0, IO_BASE + 0x11f);
	check_at(&a, 0, IO_BASE + 0x100);
}
END_TEST

START_TEST(decode_off_and_on_keeps_the_state)
{
	ROW("PLT-4", "HD-150", "HD-151");
	func_command(&a, DECODE);
	mem_out(M32_BASE + 8, 4, 0x12345678);
	for (unsigned int i = 0; i < 1000; i++) {
		func_command(&a, PCI_COMMAND_MEMORY);
		ck_assert(!a.active[0] && a.active[1] && a.active[4]);
		ck_assert_uint_eq(in(IO_BASE, 4), ONES);
		func_command(&a, PCI_COMMAND_IO);
		ck_assert(a.active[0] && !a.active[1] && !a.active[4]);
		unsigned int writes = a.writes;
		mem_out(M32_BASE + 8, 4, 0);
		mem_out(M64_BASE + 8, 8, 0);
		ck_assert_uint_eq(a.writes, writes);
		ck_assert_uint_eq(mem_in(M32_BASE + 8, 8), UINT64_MAX);
		func_command(&a, DECODE);
		ck_assert_uint_eq(mem_in(M32_BASE + 8, 4), 0x12345678);
	}
	ck_assert_uint_eq(fake_mmio.nr, 3); /* ECAM and two BARs */
	unsigned int turns = a.turns;
	func_command(&a, DECODE | PCI_COMMAND_MASTER); /* nothing that matters to a BAR */
	bar_put(&a, 1, M32_BASE);
	ck_assert_uint_eq(a.turns, turns);
	func_command(&b, 0); /* another function's BARs go and come */
	func_command(&b, DECODE);
	ck_assert_uint_eq(a.turns, turns);
}
END_TEST

START_TEST(outside_the_window_nobody_answers)
{
	ROW("HD-140", "HD-143", "HD-144");
	static const struct {
		unsigned int bar;
		uint64_t addr;
	} places[] = {
		{ 1, 0 }, /* RAM */
		{ 1, 0x100000 },
		{ 1, M32_BASE - M32_SIZE }, /* the end of RAM */
		{ 1, M32_BASE + M32_LEN },  /* ECAM */
		{ 1, ECAM + 0x1000 },
		{ 1, 0xfec00000 }, /* IOAPIC */
		{ 1, 0xfee00000 }, /* local APIC */
		{ 1, 0xfffff000 }, /* ends at 4 GiB */
		{ 4, 0xffffc000 },
		{ 4, 0x100000000 }, /* RAM above 4 GiB */
		{ 4, M64_BASE - M64_SIZE },
		{ 4, M64_BASE + M64_LEN },
		{ 4, 1ull << 52 },         /* above physical addresses */
		{ 4, 0xffffffffffffc000 }, /* ends at 2^64 */
		{ 4, 0 },
		{ 0, 0 },
		{ 0, 0x20 },  /* PIC */
		{ 0, 0x40 },  /* PIT */
		{ 0, 0x3e0 }, /* serial ports */
		{ 0, 0xce0 }, /* CF8 */
		{ 0, IO_BASE - IO_SIZE },
		{ 0, IO_BASE + IO_LEN }, /* past the ports */
		{ 0, 0xffffffe0 },
	};

	func_command(&a, DECODE);
	for (unsigned int i = 0; i < ARRAY_SIZE(places); i++) {
		unsigned int bar = places[i].bar, reads = a.reads;
		uint64_t home = bar_get(&a, bar);

		bar_put(&a, bar, places[i].addr);
		ck_assert_uint_eq(bar_get(&a, bar), places[i].addr);
		ck_assert(!a.active[bar]);
		ck_assert_uint_eq(at(bar, home), 0xff);
		for (uint64_t off = 0; off < a.pd.bars[bar].size; off += 4)
			at(bar, places[i].addr + off);
		ck_assert_uint_eq(a.reads, reads);
		ck_assert_uint_eq(read_ecam(0, 4), 0x00081b36);
		ck_assert_uint_eq(conf1_read(0, 0, 4), 0x00081b36);
		bar_put(&a, bar, home);
		check_at(&a, bar, home);
	}
}
END_TEST

START_TEST(a_bar_half_inside_the_window_does_not_answer)
{
	ROW("HD-144");
	struct pci_config cfg = pci_hw_config;
	struct func f;

	/* Windows whose ends are no multiples of a BAR's size. */
	teardown();
	cfg.mem32 = (struct pci_window){ M32_BASE + 0x400, 0x2000 };
	cfg.mem64.len = 0;
	pci_hw_init(&cfg);
	func_init(&f);
	func_bar(&f, 1, PCI_BAR_MEM32, M32_SIZE);
	func_add(&f);
	func_command(&f, DECODE);
	ck_assert_uint_eq(bar_get(&f, 1), M32_BASE + 0x1000);
	ck_assert(f.active[1]);
	bar_put(&f, 1, M32_BASE);
	ck_assert(!f.active[1]);
	bar_put(&f, 1, M32_BASE + 0x2000);
	ck_assert(!f.active[1]);
	func_remove(&f);
	pci_hw_release();
	setup();
}
END_TEST

START_TEST(of_two_that_overlap_the_lower_slot_answers)
{
	ROW("HD-141");
	func_command(&a, DECODE);
	func_command(&b, DECODE);
	for (unsigned int bar = 0; bar < 5; bar += bar ? 3 : 1) {
		uint64_t home_a = bar_get(&a, bar), home_b = bar_get(&b, bar);

		bar_put(&b, bar, home_a); /* the higher slot comes: it does not answer */
		check_at(&a, bar, home_a);
		ck_assert(!b.active[bar]);
		ck_assert_uint_eq(at(bar, home_b), 0xff);
		bar_put(&b, bar, home_b);
		check_at(&b, bar, home_b);

		bar_put(&a, bar, home_b); /* the lower slot comes: it takes the place */
		check_at(&a, bar, home_b);
		ck_assert(!b.active[bar]);
		bar_put(&a, bar, home_a); /* and leaves: the loser is back */
		check_at(&a, bar, home_a);
		check_at(&b, bar, home_b);
	}
	bar_put(&b, 1, M32_BASE);
	func_command(&a, 0); /* the winner is switched off: the same */
	check_at(&b, 1, M32_BASE);
	func_command(&a, DECODE);
	check_at(&a, 1, M32_BASE);
	ck_assert(!b.active[1]);
}
END_TEST

START_TEST(bars_of_different_sizes_overlap)
{
	ROW("HD-141");
	uint64_t place = M32_BASE + 0x100000;

	func_command(&a, DECODE);
	func_command(&b, DECODE);
	for (uint64_t off = 0; off < M64_SIZE; off += M32_SIZE) {
		bar_put(&a, 1, place + off);
		bar_put(&b, 4, place); /* around it */
		ck_assert(a.active[1] && !b.active[4]);
		bar_put(&a, 1, M32_BASE);
		check_at(&b, 4, place);
		bar_put(&b, 4, M64_BASE + M64_SIZE);
	}
	bar_put(&b, 4, place);
	bar_put(&a, 1, place + M64_SIZE); /* neighbours do not overlap */
	ck_assert(a.active[1] && b.active[4]);
	bar_put(&a, 1, place - M32_SIZE);
	ck_assert(a.active[1] && b.active[4]);
	bar_put(&b, 1, place - M32_SIZE); /* b's own 64-bit BAR keeps its place */
	bar_put(&a, 4, place);
	ck_assert(a.active[1] && a.active[4] && !b.active[1] && !b.active[4]);
}
END_TEST

START_TEST(a_loser_that_does_not_answer_hides_nobody)
{
	static struct func c;

	func_init(&c);
	func_bar(&c, 1, PCI_BAR_MEM32, M32_SIZE);
	func_add(&c);
	func_command(&a, DECODE);
	func_command(&b, DECODE);
	func_command(&c, DECODE);
	/* a's 4 KiB hide b's 16 KiB around them; c lies in those, but not in a's. */
	bar_put(&a, 1, M32_BASE + 0x100000);
	bar_put(&b, 4, M32_BASE + 0x100000);
	bar_put(&c, 1, M32_BASE + 0x102000);
	ck_assert(a.active[1] && !b.active[4] && c.active[1]);
	bar_put(&a, 1, M32_BASE);
	ck_assert(a.active[1] && b.active[4] && !c.active[1]);
	func_remove(&c);
}
END_TEST

START_TEST(two_bars_of_one_function_overlap)
{
	ROW("HD-142");
	func_command(&a, DECODE);
	bar_put(&a, 4, M32_BASE); /* where its BAR 1 is: the lower number answers */
	check_at(&a, 1, M32_BASE);
	ck_assert(!a.active[4]);
	memset(a.bytes[4], 0x44, sizeof(a.bytes[4]));
	bar_put(&a, 1, M32_BASE + M64_SIZE);
	check_at(&a, 4, M32_BASE);
	check_at(&a, 1, M32_BASE + M64_SIZE);
	bar_put(&a, 1, M32_BASE + M32_SIZE);
	ck_assert(a.active[1] && !a.active[4]);
	ck_assert_uint_eq(at(1, M32_BASE), 0xff);
}
END_TEST

/* Ports and memory are two address spaces. */
START_TEST(a_port_and_an_address_of_one_number)
{
	struct pci_config cfg = pci_hw_config;
	struct func f;

	teardown();
	cfg.mem32 = (struct pci_window){ 0x1000, 0xf000 };
	pci_hw_init(&cfg);
	func_init(&f);
	func_bar(&f, 0, PCI_BAR_IO, 256);
	func_bar(&f, 1, PCI_BAR_MEM32, 256);
	func_add(&f);
	func_command(&f, DECODE);
	ck_assert_uint_eq(bar_get(&f, 0), bar_get(&f, 1));
	ck_assert(f.active[0] && f.active[1]);
	func_remove(&f);
	pci_hw_release();
	setup();
}
END_TEST

START_TEST(halves_and_bytes)
{
	ROW("HD-148", "HD-149", "PLT-1");
	uint64_t to = M64_BASE + 0x1234568000 - 0x8000;

	to &= ~(uint64_t)(M64_SIZE - 1);
	func_command(&a, DECODE);
	cfg_out(&a.pd, bar_reg(5), 4, to >> 32); /* the high half first, other things in between */
	cfg_in(&a.pd, 0, 4);
	cfg_out(&a.pd, PCI_INTERRUPT_LINE, 1, 3);
	bar_put(&b, 1, M32_BASE + 0x5000);
	cfg_out(&a.pd, bar_reg(4), 4, (uint32_t)to);
	check_at(&a, 4, to);
	cfg_out(&a.pd, bar_reg(4), 4, (uint32_t)M64_BASE); /* and the low one */
	cfg_out(&a.pd, bar_reg(5), 4, M64_BASE >> 32);
	check_at(&a, 4, M64_BASE);
	for (unsigned int i = 8; i--;) /* bytes, from the last */
		cfg_out(&a.pd, bar_reg(4) + i, 1, (uint8_t)(to >> 8 * i));
	check_at(&a, 4, to);
	for (unsigned int i = 0; i < 8; i += 2)
		cfg_out(&a.pd, bar_reg(4) + i, 2, (uint16_t)(M64_BASE >> 8 * i));
	check_at(&a, 4, M64_BASE);
	for (unsigned int i = 0; i < 4; i++) /* sizes by bytes */
		cfg_out(&a.pd, bar_reg(1) + i, 1, 0xff);
	ck_assert_uint_eq(cfg_in(&a.pd, bar_reg(1), 4), ~(M32_SIZE - 1));
	for (unsigned int i = 0; i < 4; i++)
		cfg_out(&a.pd, bar_reg(1) + i, 1, (uint8_t)((M32_BASE + 0x9000) >> 8 * i));
	check_at(&a, 1, M32_BASE + 0x9000);
}
END_TEST

/* A fixed device inside the window keeps its place; moving away works. */
START_TEST(a_place_that_the_bus_refuses)
{
	ROW("HD-143", "HD-146");
	struct bus_region fixed = a.pd.bars[0].region;

	func_command(&a, DECODE);
	memset(b.bytes[0], 0x55, sizeof(b.bytes[0]));
	fixed.base = IO_BASE + 0x800;
	fixed.size = 4;
	ck_assert_int_eq(bus_add(&fake_bus, &fixed), 0);
	bar_put(&a, 0, IO_BASE + 0x800);
	ck_assert(!a.active[0]);
	ck_assert_uint_eq(inb(IO_BASE + 0x810), 0xff);
	bar_put(&a, 0, IO_BASE + 0x400);
	check_at(&a, 0, IO_BASE + 0x400);
	bar_put(&a, 0, IO_BASE + 0x800);
	func_command(&a, 0);
	bus_remove(&fake_bus, &fixed);
	func_command(&a, DECODE);
	check_at(&a, 0, IO_BASE + 0x800);
}
END_TEST

START_TEST(accesses_end_with_the_bar)
{
	ROW("HD-115");
	func_command(&a, DECODE);
	for (unsigned int width = 1; width <= 8; width++) {
		for (unsigned int back = 0; back < 8; back++) {
			/* the fake checks the range */
			mem_in(M32_BASE + M32_SIZE - back, width);
			mem_out(M32_BASE + M32_SIZE - back, width, 0xa0a0a0a0a0a0a0a0);
			in(IO_BASE + IO_SIZE - back, width);
			out(IO_BASE + IO_SIZE - back, width, 0xa0a0a0a0a0a0a0a0);
			mem_in(M64_BASE - back, width);
		}
	}
	in(IO_BASE, 8); /* ports have no such access: it is bytes */
	ck_assert_uint_eq(mem_in(M32_BASE + M32_SIZE - 4, 8), 0xffffffffa0a0a0a0);
}
END_TEST

START_TEST(addresses_are_used_up)
{
	static const struct {
		enum pci_bar_kind kind;
		uint64_t size;
		const char *word;
	} cases[] = {
		{ PCI_BAR_IO, 256, "I/O ports" },
		{ PCI_BAR_MEM32, M32_LEN / 4, "memory addresses" },
		{ PCI_BAR_MEM64, M64_LEN, "memory addresses" },
	};
	static struct func f[4];
	struct pci_config cfg = pci_hw_config;
	struct err err = ERR_INIT;

	teardown();
	cfg.io.len = 2 * 256;
	cfg.mem64.len = 0;
	pci_hw_init(&cfg);
	for (unsigned int i = 0; i < 3; i++) {
		func_init(&f[i]);
		func_bar(&f[i], 0, PCI_BAR_IO, 16);
		func_bar(&f[i], 1, PCI_BAR_MEM32, 4096);
		func_bar(&f[i], 2, cases[_i].kind, cases[_i].size);
		func_bar(&f[i], 4, PCI_BAR_MEM32, 4096);
	}
	struct pci before;
	int ret = 0;
	for (unsigned int i = 0; !ret && i < 3; i++) {
		before = pci;
		ret = pci_add(&pci, &f[i].pd, &err);
	}
	ck_assert_int_eq(ret, -ENOSPC);
	ck_assert_int_eq(err.kind, ERR_USAGE);
	ck_assert_int_eq(strncmp(err.msg, "func: ", 6), 0);
	ck_assert_ptr_nonnull(strstr(err.msg, cases[_i].word));
	/* What did not fit took nothing. */
	ck_assert_uint_eq(pci.next_io, before.next_io);
	ck_assert_uint_eq(pci.next_mem32, before.next_mem32);
	ck_assert_uint_eq(pci.next_mem64, before.next_mem64);
	func_init(&f[3]);
	func_bar(&f[3], 0, PCI_BAR_MEM32, 4096);
	func_add(&f[3]);
	for (unsigned int i = 0; i < 4; i++)
		func_remove(&f[i]);
	pci_hw_release();
	setup();
}
END_TEST

START_TEST(without_a_64_bit_window_the_other_one_serves)
{
	struct pci_config cfg = pci_hw_config;
	struct func f;

	teardown();
	cfg.mem64 = (struct pci_window){ 0 };
	pci_hw_init(&cfg);
	func_init(&f);
	func_bar(&f, 4, PCI_BAR_MEM64, M64_SIZE);
	func_add(&f);
	func_command(&f, DECODE);
	check_at(&f, 4, M32_BASE);
	bar_put(&f, 4, M64_BASE);
	ck_assert(!f.active[4]);
	func_remove(&f);
	pci_hw_release();
	setup();
}
END_TEST

/* Any program of moves: who answers is what the rule says, told by a model that knows no order of events. */
START_TEST(random_moves_against_the_rule)
{
	ROW("HD-141", "HD-142", "HD-150");
	struct func *fs[] = { &a, &b };
	static const unsigned int bars[] = { 0, 1, 4 };
	uint32_t seed = 7;

	for (unsigned int step = 0; step < 20000; step++) {
		struct func *f = fs[fake_random(&seed) % 2];
		unsigned int bar = bars[fake_random(&seed) % 3];
		uint64_t place = fake_random(&seed) % 12;

		if (fake_random(&seed) % 8 == 0)
			func_command(f, fake_random(&seed) & DECODE);
		else if (bar == 0)
			bar_put(f, 0, IO_BASE - IO_SIZE + place * IO_SIZE);
		else
			bar_put(f, bar, M32_BASE - M32_SIZE + place * M32_SIZE);

		bool answers[6];
		uint64_t base[6];
		for (unsigned int i = 0; i < 6; i++) {
			struct func *g = fs[i / 3];
			unsigned int n = bars[i % 3];
			uint64_t size = g->pd.bars[n].size;

			base[i] = bar_get(g, n);
			answers[i] = cfg_in(&g->pd, PCI_COMMAND, 2) &
					     (n ? PCI_COMMAND_MEMORY : PCI_COMMAND_IO) &&
				     base[i] >= (n ? M32_BASE : IO_BASE);
			for (unsigned int j = 0; j < i; j++)
				if (answers[j] && !(j % 3) == !n &&
				    base[i] < base[j] + fs[j / 3]->pd.bars[bars[j % 3]].size &&
				    base[j] < base[i] + size)
					answers[i] = false;
			ck_assert(g->active[n] == answers[i]);
			if (answers[i])
				check_at(g, n, base[i]);
		}
	}
}
END_TEST

UNIT_SUITE("pci-bar", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, each_bar_gets_a_place);
	tcase_add_test(tc, types_are_constant);
	tcase_add_test(tc, sizing_by_any_value);
	tcase_add_test(tc, a_moved_bar_answers_at_its_new_place_only);
	tcase_add_test(tc, addresses_are_aligned_to_the_size);
	tcase_add_test(tc, decode_off_and_on_keeps_the_state);
	tcase_add_test(tc, outside_the_window_nobody_answers);
	tcase_add_test(tc, a_bar_half_inside_the_window_does_not_answer);
	tcase_add_test(tc, of_two_that_overlap_the_lower_slot_answers);
	tcase_add_test(tc, bars_of_different_sizes_overlap);
	tcase_add_test(tc, a_loser_that_does_not_answer_hides_nobody);
	tcase_add_test(tc, two_bars_of_one_function_overlap);
	tcase_add_test(tc, a_port_and_an_address_of_one_number);
	tcase_add_test(tc, halves_and_bytes);
	tcase_add_test(tc, a_place_that_the_bus_refuses);
	tcase_add_test(tc, accesses_end_with_the_bar);
	tcase_add_loop_test(tc, addresses_are_used_up, 0, 3);
	tcase_add_test(tc, without_a_64_bit_window_the_other_one_serves);
	tcase_add_test(tc, random_moves_against_the_rule);
})
