// SPDX-License-Identifier: GPL-2.0
// ARCH: arm64
// LINK: arm/debug.c arm/cpu.c arm/gic.c arm/caps.c arm/v2m.c kvm.c irq-route.c gmem.c bus.c pci.c pci-bar.c pci-ecam.c pci-irq.c irq.c stop.c util/err.c util/log.c util/util.c util/thread.c util/loop.c tests/mock/fake-kvm.c
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/procfs.h>
#include <unistd.h>

#include <lkvm/arch.h>
#include <lkvm/gmem.h>
#include <lkvm/util.h>
#include <lkvm/vcpu.h>

#include "arm/memmap.h"
#include "arm/regs.h"
#include "tests/mock/fake-kvm.h"
#include "unit.h"

#define RAM_LEN    (64 * MIB)
#define LINEAR     0xffff000000000000ULL
#define TABLES     (GPA_RAM + 0x10000)
#define SIZE(n)    (64 - (n)) /* T0SZ and T1SZ for addresses of n bits */
#define TG0_64K    (1ULL << 14)
#define TG1_4K     (2ULL << 30)
#define TG1_64K    (3ULL << 30)
#define TCR_4K_48  (SIZE(48) | (uint64_t)SIZE(48) << 16 | TG1_4K)
#define TCR_64K_42 (SIZE(42) | (uint64_t)SIZE(42) << 16 | TG0_64K | TG1_64K)
#define BLOCK      1u
#define PAGE       3u /* and table */

static struct gmem gm;
static struct vcpu vcpu;
static struct fake_kvm *fake;

static void set(uint64_t id, uint64_t value)
{
	unsigned int i = 0;

	while (i < fake->one_regs_nr && fake->one_regs[i].id != id)
		i++;
	if (i == fake->one_regs_nr)
		fake->one_regs_nr++;
	fake->one_regs[i].id = id;
	fake->one_regs[i].value = value;
}

static void put(uint64_t gpa, uint64_t entry)
{
	entry = htole64(entry);
	ck_assert_int_eq(gmem_write(&gm, gpa, &entry, 8), 0);
}

/* The n-th table. */
static uint64_t table(unsigned int n)
{
	return TABLES + 0x10000 * n;
}

static void setup(void)
{
	const struct gmem_region span = { .gpa = GPA_RAM, .size = RAM_LEN };
	const struct gmem_backing backing = { 0 };
	struct err err = ERR_INIT;

	ck_assert_int_eq(gmem_init(&gm, &span, 1, &backing, &err), 0);
	fake = fake_kvm_start();
	vcpu = (struct vcpu){ .fd = memfd_create("fake-kvm", MFD_CLOEXEC) };
	ck_assert_int_ge(vcpu.fd, 0);
	set(SCTLR_EL1, 1);
	set(TCR_EL1, TCR_4K_48);
	set(TTBR0_EL1, table(8));
	set(TTBR1_EL1, table(0) | 0xabcdULL << 48); /* with an ASID */
	/* LINEAR: two blocks of 2 MiB, then one page. */
	put(table(0), table(1) | PAGE);
	put(table(1), table(2) | PAGE);
	put(table(2), GPA_RAM | BLOCK);
	put(table(2) + 8, (GPA_RAM + 2 * MIB) | BLOCK);
	put(table(2) + 16, table(3) | PAGE);
	put(table(3), (GPA_RAM + 0x5000) | PAGE);
	put(table(3) + 16, (GPA_RAM + 0x6000) | BLOCK); /* not a page */
	put(GPA_RAM + 4 * MIB - 8, 0x1122334455667788);
	put(GPA_RAM + 0x5000, 0x99aabbccddeeff00);
}

static void teardown(void)
{
	close(vcpu.fd);
	gmem_release(&gm);
}

static size_t get(uint64_t vaddr, uint64_t *words, unsigned int nr)
{
	memset(words, 0, 8 * nr);
	return arch_vcpu_read(&vcpu, &gm, vaddr, words, 8 * nr);
}

START_TEST(pages_and_blocks)
{
	uint64_t w[2];

	ck_assert_uint_eq(get(LINEAR + 4 * MIB - 8, w, 2), 16);
	ck_assert_uint_eq(le64toh(w[0]), 0x1122334455667788);
	ck_assert_uint_eq(le64toh(w[1]), 0x99aabbccddeeff00);
	/* An address may have a tag. */
	ck_assert_uint_eq(get((LINEAR + 4 * MIB) & ~(0xf0ULL << 56), w, 1), 8);
	ck_assert_uint_eq(le64toh(w[0]), 0x99aabbccddeeff00);
}
END_TEST

START_TEST(what_is_not_mapped)
{
	uint64_t w[2];

	/* The page behind, one with a block's bits in the last level, the other tables' holes. */
	ck_assert_uint_eq(get(LINEAR + 4 * MIB + 0xff8, w, 2), 8);
	ck_assert_uint_eq(get(LINEAR + 4 * MIB + 0x2000, w, 1), 0);
	ck_assert_uint_eq(get(LINEAR + 6 * MIB, w, 1), 0);
	ck_assert_uint_eq(get(LINEAR + GIB, w, 1), 0);
	ck_assert_uint_eq(get(LINEAR + (1ULL << 40), w, 1), 0);
	ck_assert_uint_eq(get(UINT64_MAX - 7, w, 2), 0);
	/* The lower half has a table of its own, which is empty. */
	ck_assert_uint_eq(get(4 * MIB, w, 1), 0);
	put(table(8), table(1) | PAGE);
	ck_assert_uint_eq(get(4 * MIB, w, 1), 8);
	/* More bits than addresses have. */
	ck_assert_uint_eq(get((1ULL << 48) + 4 * MIB, w, 1), 0);
	ck_assert_uint_eq(get(LINEAR - (1ULL << 48) + 4 * MIB, w, 1), 0);
	/* Tables and pages that are no RAM. */
	put(table(2) + 24, GPA_SERIAL | BLOCK);
	ck_assert_uint_eq(get(LINEAR + 6 * MIB, w, 1), 0);
	put(table(2) + 24, (GPA_RAM + RAM_LEN) | PAGE);
	ck_assert_uint_eq(get(LINEAR + 6 * MIB, w, 1), 0);
	set(TTBR1_EL1, 0xffffffff000);
	ck_assert_uint_eq(get(LINEAR + 4 * MIB, w, 1), 0);
}
END_TEST

START_TEST(sizes_that_make_no_sense)
{
	uint64_t w;

	for (unsigned int size = 0; size < 64; size++) {
		set(TCR_EL1, (uint64_t)size << 16 | TG1_4K);
		size_t got = get(LINEAR, &w, 1);
		/* 16 is what the tables are for. */
		ck_assert_uint_eq(got, size == 16 ? 8 : 0);
	}
	set(TCR_EL1, (uint64_t)SIZE(48) << 16); /* no such granule */
	ck_assert_uint_eq(get(LINEAR, &w, 1), 0);
	/* A table that points to itself ends at the last level. */
	set(TCR_EL1, TCR_4K_48);
	put(table(0), table(0) | PAGE);
	ck_assert_uint_eq(get(LINEAR, &w, 1), 8);
	ck_assert_uint_eq(le64toh(w), table(0) | PAGE);
}
END_TEST

START_TEST(pages_of_64_kib)
{
	uint64_t w;

	set(TCR_EL1, TCR_64K_42);
	put(table(0) + 8 * 8191, table(1) | PAGE);
	put(table(1) + 8 * 8190, (GPA_RAM + 0x200000) | PAGE);
	put(GPA_RAM + 0x20fff8, 42);
	ck_assert_uint_eq(get(UINT64_MAX - 0x10007, &w, 1), 8);
	ck_assert_uint_eq(le64toh(w), 42);
	ck_assert_uint_eq(get(UINT64_MAX - 7, &w, 1), 0);
}
END_TEST

START_TEST(without_an_mmu)
{
	uint64_t w;

	set(SCTLR_EL1, 0);
	ck_assert_uint_eq(get(GPA_RAM + 0x5000, &w, 1), 8);
	ck_assert_uint_eq(le64toh(w), 0x99aabbccddeeff00);
	ck_assert_uint_eq(get(GPA_SERIAL, &w, 1), 0);
}
END_TEST

START_TEST(the_stack_that_is_in_use)
{
	uint64_t pc, sp, regs[34];

	set(CORE_REG(regs.pc), 0x1000);
	set(CORE_REG(regs.sp), 0x2000);
	set(CORE_REG(sp_el1), 0x3000);
	set(CORE_REG(regs.pstate), 5);
	ck_assert(arch_vcpu_where(&vcpu, &pc, &sp));
	ck_assert_uint_eq(pc, 0x1000);
	ck_assert_uint_eq(sp, 0x3000);
	set(CORE_REG(regs.pstate), 0);
	ck_assert(arch_vcpu_where(&vcpu, &pc, &sp));
	ck_assert_uint_eq(sp, 0x2000);
	for (unsigned int i = 0; i <= 30; i++)
		set(X_REG(i), 0x100 + i);
	ck_assert(arch_vcpu_core_regs(&vcpu, regs));
	for (unsigned int i = 0; i <= 30; i++)
		ck_assert_uint_eq(regs[i], 0x100 + i);
	ck_assert_uint_eq(regs[31], 0x2000);
	ck_assert_uint_eq(regs[32], 0x1000);
	ck_assert_uint_eq(regs[33], 0);
	fake->mp_state = KVM_MP_STATE_STOPPED;
	ck_assert(!arch_vcpu_where(&vcpu, &pc, &sp));
	ck_assert(!arch_vcpu_core_regs(&vcpu, regs));
}
END_TEST

START_TEST(where_linux_has_its_memory)
{
	struct arch_map maps[ARCH_MAPS_MAX];

	/* Half of RAM is looked for: it is not mapped, then elsewhere, then right. */
	ck_assert_uint_eq(arch_vcpu_kernel_maps(&vcpu, &gm, maps), 0);
	put(table(2) + 8 * 16, GPA_RAM | BLOCK);
	ck_assert_uint_eq(arch_vcpu_kernel_maps(&vcpu, &gm, maps), 0);
	put(table(2) + 8 * 16, (GPA_RAM + RAM_LEN / 2) | BLOCK);
	ck_assert_uint_eq(arch_vcpu_kernel_maps(&vcpu, &gm, maps), 1);
	ck_assert_uint_eq(maps[0].vaddr + GPA_RAM, LINEAR);
	ck_assert_uint_ge(maps[0].len, GPA_RAM + RAM_LEN);
	set(SCTLR_EL1, 0);
	ck_assert_uint_eq(arch_vcpu_kernel_maps(&vcpu, &gm, maps), 0);
	ck_assert(arch_may_be_kernel_code(0xffff800008010000));
	ck_assert(!arch_may_be_kernel_code(LINEAR));
	ck_assert(!arch_may_be_kernel_code(0xfffffc0000000000));
	/* What Linux signed on its stack. */
	ck_assert_uint_eq(arch_return_address(0x15dca51d2d5af514), 0xffffa51d2d5af514);
	ck_assert_uint_eq(arch_return_address(0xffffa51d2d5af514), 0xffffa51d2d5af514);
	ck_assert_uint_eq(arch_return_address(0x0000000000431590), 0x431590);
}
END_TEST

UNIT_SUITE("arm-debug", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, pages_and_blocks);
	tcase_add_test(tc, what_is_not_mapped);
	tcase_add_test(tc, sizes_that_make_no_sense);
	tcase_add_test(tc, pages_of_64_kib);
	tcase_add_test(tc, without_an_mmu);
	tcase_add_test(tc, the_stack_that_is_in_use);
	tcase_add_test(tc, where_linux_has_its_memory);
})
