// SPDX-License-Identifier: GPL-2.0
// ARCH: x86
// LINK: x86/cpuid.c
#include <errno.h>
#include <linux/kvm.h>
#include <linux/kvm_para.h>
#include <string.h>

#include <lkvm/util.h>

#include "x86/cpuid.h"

#include "unit.h"

#define IDX KVM_CPUID_FLAG_SIGNIFCANT_INDEX

struct leaf {
	uint32_t function, index, flags, eax, ebx, ecx, edx;
};

/*
 * What KVM reports on a hybrid Intel client with 24 threads, and an old KVM at that: the host's APIC id
 * 0x5a is all over it, MWAIT too, and there is no TSC deadline timer.
 */
static const struct leaf intel[] = {
	{ 0x0, 0, 0, 0x20, 0x756e6547, 0x6c65746e, 0x49656e69 },
	{ 0x1, 0, 0, 0x000b0671, 0x5a800800, 0x76da3a2b, 0x0f8bfbff },
	{ 0x2, 0, 0, 0x00feff01, 0xf0, 0, 0 },
	{ 0x4, 0, IDX, 0xfc004121, 0x02c0003f, 0x3f, 0 },
	{ 0x4, 1, IDX, 0xfc004122, 0x01c0003f, 0x3f, 0 },
	{ 0x4, 2, IDX, 0xfc01c143, 0x03c0003f, 0x7ff, 0 },
	{ 0x4, 3, IDX, 0xfc1fc163, 0x02c0003f, 0xbfff, 4 },
	{ 0x4, 4, IDX, 0, 0, 0, 0 },
	{ 0x5, 0, 0, 0x40, 0x40, 3, 0x10102020 },
	{ 0x6, 0, 0, 0xdf8ff7, 2, 0x409, 0x5a0003 },
	{ 0x7, 0, IDX, 2, 0x239c27eb, 0x98c007bc, 0xfc18c410 },
	{ 0x7, 1, IDX, 0x00400810, 0, 0, 0 },
	{ 0xa, 0, 0, 0x07300605, 0, 7, 0x8603 },
	{ 0xb, 0, IDX, 1, 2, 0x100, 0x5a },
	{ 0xb, 1, IDX, 7, 24, 0x201, 0x5a },
	{ 0xd, 0, IDX, 7, 0x340, 0x340, 0 },
	{ 0xd, 1, IDX, 0xf, 0x240, 0, 0 },
	{ 0x15, 0, 0, 2, 0x9c, 0x249f000, 0 },
	{ 0x16, 0, 0, 3000, 5800, 100, 0 },
	{ 0x1a, 0, 0, 0x40000001, 0, 0, 0 },
	{ 0x1f, 0, IDX, 1, 2, 0x100, 0x5a },
	{ 0x1f, 1, IDX, 3, 8, 0x201, 0x5a },
	{ 0x1f, 2, IDX, 7, 24, 0x502, 0x5a },
	{ 0x40000000, 0, 0, 0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d },
	{ 0x40000001, 0, 0, 0x01007efb, 0, 0, 0 },
	{ 0x80000000, 0, 0, 0x80000008, 0, 0, 0 },
	{ 0x80000001, 0, 0, 0, 0, 0x121, 0x2c100800 },
	{ 0x80000008, 0, 0, 0x302e, 0, 0x5a5a, 0 },
};

/* The same on an AMD server; 0x8000001e and 0x80000026 as an old KVM passed them. */
static const struct leaf amd[] = {
	{ 0x0, 0, 0, 0x10, 0x68747541, 0x444d4163, 0x69746e65 },
	{ 0x1, 0, 0, 0x00a10f11, 0x5a400800, 0xf6fa3203, 0x178bfbff },
	{ 0x5, 0, 0, 0x40, 0x40, 3, 0x11 },
	{ 0x6, 0, 0, 4, 0, 1, 0 },
	{ 0x7, 0, IDX, 1, 0xf1bf97a9, 0x405fce, 0x10 },
	{ 0xb, 0, IDX, 1, 2, 0x100, 0x5a },
	{ 0xb, 1, IDX, 7, 0x40, 0x201, 0x5a },
	{ 0xd, 0, IDX, 0x2e7, 0x988, 0x988, 0 },
	{ 0x40000000, 0, 0, 0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d },
	{ 0x40000001, 0, 0, 0x01007efb, 0, 0, 0 },
	{ 0x80000000, 0, 0, 0x80000028, 0x68747541, 0x444d4163, 0x69746e65 },
	{ 0x80000001, 0, 0, 0x00a10f11, 0x40000000, 0x75c237ff, 0x2fd3fbff },
	{ 0x80000005, 0, 0, 0xff48ff40, 0xff48ff40, 0x20080140, 0x20080140 },
	{ 0x80000008, 0, 0, 0x3034, 0x191ef257, 0x0001703f, 0 },
	{ 0x8000000a, 0, 0, 1, 0x8000, 0, 0x1bcff },
	{ 0x8000001d, 0, IDX, 0x4121, 0x01c0003f, 0x3f, 0 },
	{ 0x8000001d, 1, IDX, 0x4122, 0x01c0003f, 0x3f, 0 },
	{ 0x8000001d, 2, IDX, 0x4143, 0x01c0003f, 0x7ff, 2 },
	{ 0x8000001d, 3, IDX, 0x3c163, 0x03c0003f, 0x7fff, 1 },
	{ 0x8000001d, 4, IDX, 0, 0, 0, 0 },
	{ 0x8000001e, 0, 0, 0x5a, 0x12d, 0x301, 0 },
	{ 0x80000026, 0, IDX, 1, 2, 0x100, 0x5a },
	{ 0x80000026, 1, IDX, 7, 0x40, 0x401, 0x5a },
};

static const struct host {
	const struct leaf *leaves;
	size_t nr;
	bool amd;
} hosts[] = {
	{ intel, ARRAY_SIZE(intel), false },
	{ amd, ARRAY_SIZE(amd), true },
};

/* 254 and its neighbours of the issue; the ids walked are all of them. */
static const unsigned int counts[] = { 1, 2, 3, 8, 254 };

static union {
	struct kvm_cpuid2 c;
	uint8_t room[sizeof(struct kvm_cpuid2) +
		     (CPUID_ENTRIES_MAX + 1) * sizeof(struct kvm_cpuid_entry2)];
} set;

static struct kvm_cpuid2 *load(const struct host *h)
{
	memset(&set, 0, sizeof(set));
	for (size_t i = 0; i < h->nr; i++) {
		const struct leaf *l = &h->leaves[i];

		set.c.entries[i] = (struct kvm_cpuid_entry2){
			.function = l->function,
			.index = l->index,
			.flags = l->flags,
			.eax = l->eax,
			.ebx = l->ebx,
			.ecx = l->ecx,
			.edx = l->edx,
		};
	}
	set.c.nent = h->nr;
	return &set.c;
}

static struct kvm_cpuid2 *filter(const struct host *h, unsigned int id, unsigned int cpus_nr)
{
	struct kvm_cpuid2 *c = load(h);

	ck_assert_int_eq(cpuid_filter(c, CPUID_ENTRIES_MAX, id, cpus_nr, true), 0);
	return c;
}

static struct kvm_cpuid_entry2 *get(struct kvm_cpuid2 *c, uint32_t function, uint32_t index)
{
	struct kvm_cpuid_entry2 *found = NULL;

	for (uint32_t i = 0; i < c->nent; i++)
		if (c->entries[i].function == function && c->entries[i].index == index) {
			ck_assert_ptr_null(
				found); /* KVM takes the first of two: there must be one */
			found = &c->entries[i];
		}
	return found;
}

static uint32_t pow2(uint32_t v)
{
	uint32_t p = 1;

	while (p < v)
		p *= 2;
	return p;
}

static void check_features(struct kvm_cpuid2 *c, unsigned int id, unsigned int cpus_nr)
{
	const struct kvm_cpuid_entry2 *e = get(c, 1, 0);

	ck_assert_uint_eq(e->ebx >> 24, id);
	ck_assert_uint_eq(e->ebx >> 16 & 0xff, cpus_nr);
	ck_assert_uint_eq(e->ebx & 0xffff, 0x0800);
	ck_assert_uint_eq(e->edx >> 28 & 1, cpus_nr > 1);
	ck_assert_uint_eq(e->ecx >> 21 & 1, 1); /* x2APIC */
	ck_assert_uint_eq(e->ecx >> 24 & 1, 1); /* TSC deadline */
	ck_assert_uint_eq(e->ecx >> 31 & 1, 1); /* hypervisor */
	ck_assert_uint_eq(e->ecx >> 3 & 1, 0);  /* MONITOR */
	ck_assert_uint_eq(e->ecx >> 5 & 1, 0);  /* VMX */
}

static void check_topology(struct kvm_cpuid2 *c, uint32_t function, unsigned int id,
			   unsigned int cpus_nr)
{
	const struct kvm_cpuid_entry2 *smt = get(c, function, 0), *core = get(c, function, 1);
	const struct kvm_cpuid_entry2 *end = get(c, function, 2);

	ck_assert(smt && core && end && !get(c, function, 3));
	ck_assert_uint_eq(smt->flags & core->flags & end->flags, IDX);
	ck_assert_uint_eq(smt->eax, 0);
	ck_assert_uint_eq(smt->ebx, 1);
	ck_assert_uint_eq(smt->ecx, 0x100);
	ck_assert_uint_eq(1u << core->eax, pow2(cpus_nr));
	ck_assert_uint_eq(id >> core->eax, 0); /* all in package 0 */
	ck_assert_uint_eq(core->ebx, cpus_nr);
	ck_assert_uint_eq(core->ecx, 0x201);
	ck_assert_uint_eq(end->eax | end->ebx, 0);
	ck_assert_uint_eq(end->ecx, 2);
	ck_assert_uint_eq(smt->edx, id);
	ck_assert_uint_eq(core->edx, id);
	ck_assert_uint_eq(end->edx, id);
}

static void check_intel(struct kvm_cpuid2 *c, unsigned int id, unsigned int cpus_nr)
{
	for (uint32_t i = 0; i < 4; i++) {
		const struct kvm_cpuid_entry2 *e = get(c, 4, i);
		uint32_t shared = i == 3 ? pow2(cpus_nr) : 1;

		ck_assert_uint_eq((e->eax >> 14 & 0xfff) + 1, shared);
		ck_assert_uint_eq((e->eax >> 26) + 1, MIN(pow2(cpus_nr), 64u));
		ck_assert_uint_eq(e->eax & 0x3fff, intel[3 + i].eax & 0x3fff);
		ck_assert_uint_eq(e->ebx, intel[3 + i].ebx);
	}
	ck_assert_uint_eq(get(c, 4, 4)->eax, 0);
	check_topology(c, 0x1f, id, cpus_nr);
	ck_assert_uint_eq(get(c, 0x1a, 0)->eax, 0);
	ck_assert_uint_eq(get(c, 7, 0)->edx & 1 << 15, 0); /* hybrid */
	ck_assert_uint_eq(get(c, 7, 0)->edx | 1 << 15, 0xfc18c410);
	ck_assert_uint_eq(get(c, 0x80000008, 0)->ecx, 0);
	ck_assert_uint_eq(get(c, 0x80000001, 0)->ecx, 0x121);
	ck_assert_uint_eq(get(c, 0xa, 0)->eax, 0x07300605);
	ck_assert_uint_eq(get(c, 0x15, 0)->ecx, 0x249f000);
	ck_assert_uint_eq(get(c, 0x16, 0)->eax, 3000);
	ck_assert_uint_eq(get(c, 0, 0)->eax, 0x20);
}

static void check_amd(struct kvm_cpuid2 *c, unsigned int id, unsigned int cpus_nr)
{
	const struct kvm_cpuid_entry2 *ids = get(c, 0x8000001e, 0);
	uint32_t sizes = get(c, 0x80000008, 0)->ecx;

	for (uint32_t i = 0; i < 4; i++) {
		const struct kvm_cpuid_entry2 *e = get(c, 0x8000001d, i);

		ck_assert_uint_eq((e->eax >> 14) + 1, i == 3 ? cpus_nr : 1);
		ck_assert_uint_eq(e->eax & 0x3fff, amd[15 + i].eax & 0x3fff);
	}
	ck_assert_uint_eq(get(c, 0x8000001d, 4)->eax, 0);
	ck_assert_uint_eq(ids->eax, id);
	ck_assert_uint_eq(ids->ebx, id); /* one thread a core */
	ck_assert_uint_eq(ids->ecx, 0);  /* node 0 of 1 */
	ck_assert_uint_eq(sizes & 0xff, cpus_nr - 1);
	ck_assert_uint_eq(1u << (sizes >> 12), pow2(cpus_nr));
	ck_assert_uint_eq(get(c, 0x80000001, 0)->ecx, 0x75c237f9 | (cpus_nr > 1 ? 2 : 0));
	ck_assert_uint_eq(get(c, 0x8000000a, 0)->edx,
			  0); /* SVM's own leaf; its bit is in 0x80000001 */
	ck_assert_ptr_null(get(c, 0x80000026, 0));
	ck_assert_ptr_null(get(c, 0x80000026, 1));
	ck_assert_ptr_null(get(c, 0x1f, 0)); /* not made where KVM has none */
	ck_assert_uint_eq(get(c, 0, 0)->eax, 0x10);
	ck_assert_uint_eq(get(c, 0x80000005, 0)->ecx, 0x20080140);
}

static void check_common(struct kvm_cpuid2 *c, unsigned int cpus_nr)
{
	const struct kvm_cpuid_entry2 *mwait = get(c, 5, 0), *power = get(c, 6, 0);
	uint32_t smp = 1u << KVM_FEATURE_PV_UNHALT | 1u << KVM_FEATURE_PV_TLB_FLUSH |
		       1u << KVM_FEATURE_PV_SEND_IPI | 1u << KVM_FEATURE_PV_SCHED_YIELD;

	ck_assert_uint_eq(mwait->eax | mwait->ebx | mwait->ecx | mwait->edx, 0);
	ck_assert_uint_eq(power->eax, 4); /* ARAT */
	ck_assert_uint_eq(power->ebx | power->ecx | power->edx, 0);
	ck_assert_uint_eq(get(c, 0x40000000, 0)->ebx, 0x4b4d564b);
	ck_assert_uint_eq(get(c, 0x40000000, 0)->eax, 0x40000001);
	ck_assert_uint_eq(get(c, 0x40000001, 0)->eax, 0x01007efb & ~(cpus_nr == 1 ? smp : 0));
}

/* The host's APIC id, in every place where a leaf has one. */
static void check_no_leak(struct kvm_cpuid2 *c)
{
	for (uint32_t i = 0; i < c->nent; i++) {
		const struct kvm_cpuid_entry2 *e = &c->entries[i];

		ck_assert_uint_ne(e->edx, 0x5a);
		ck_assert(e->function != 1 || e->ebx >> 24 != 0x5a);
		ck_assert(e->function != 0x8000001e || e->eax != 0x5a);
		ck_assert(e->function != 6 || e->edx == 0);
	}
}

START_TEST(every_vcpu_has_its_topology)
{
	for (size_t h = 0; h < ARRAY_SIZE(hosts); h++) {
		unsigned int cpus_nr = counts[_i];

		for (unsigned int id = 0; id < cpus_nr; id++) {
			struct kvm_cpuid2 *c = filter(&hosts[h], id, cpus_nr);

			check_features(c, id, cpus_nr);
			check_topology(c, 0xb, id, cpus_nr);
			check_common(c, cpus_nr);
			(hosts[h].amd ? check_amd : check_intel)(c, id, cpus_nr);
			if (id != 0x5a)
				check_no_leak(c);
		}
	}
}
END_TEST

START_TEST(tsc_deadline_is_as_the_caller_says)
{
	for (int set_in = 0; set_in < 2; set_in++)
		for (int want = 0; want < 2; want++) {
			struct kvm_cpuid2 *c = load(&hosts[0]);

			get(c, 1, 0)->ecx &= ~(1u << 24);
			get(c, 1, 0)->ecx |= (uint32_t)set_in << 24;
			ck_assert_int_eq(cpuid_filter(c, CPUID_ENTRIES_MAX, 0, 1, want), 0);
			ck_assert_int_eq(get(c, 1, 0)->ecx >> 24 & 1, want);
		}
}
END_TEST

START_TEST(reaches_the_topology_leaf_on_old_cpus)
{
	struct kvm_cpuid2 *c = load(&hosts[1]);

	get(c, 0, 0)->eax = 7;
	get(c, 0xb, 0)->function = 0x99;
	get(c, 0xb, 1)->function = 0x98;
	ck_assert_int_eq(cpuid_filter(c, CPUID_ENTRIES_MAX, 2, 3, true), 0);
	ck_assert_uint_eq(get(c, 0, 0)->eax, 0xb);
	check_topology(c, 0xb, 2, 3);
}
END_TEST

/* The bit promises the leaf. */
START_TEST(no_extended_topology_without_its_leaf)
{
	struct kvm_cpuid2 *c = load(&hosts[1]);

	get(c, 0x8000001e, 0)->function = 0x99;
	ck_assert_int_eq(cpuid_filter(c, CPUID_ENTRIES_MAX, 0, 2, true), 0);
	ck_assert_uint_eq(get(c, 0x80000001, 0)->ecx & 1u << 22, 0);
}
END_TEST

START_TEST(hygon_is_amd)
{
	struct kvm_cpuid2 *c = load(&hosts[1]);

	memcpy(&get(c, 0, 0)->ebx, "Hygo", 4);
	memcpy(&get(c, 0, 0)->edx, "nGen", 4);
	memcpy(&get(c, 0, 0)->ecx, "uine", 4);
	ck_assert_int_eq(cpuid_filter(c, CPUID_ENTRIES_MAX, 1, 8, true), 0);
	check_amd(c, 1, 8);
}
END_TEST

START_TEST(fits_the_room_or_says_so)
{
	for (size_t h = 0; h < ARRAY_SIZE(hosts); h++) {
		uint32_t whole = filter(&hosts[h], 1, 2)->nent;

		ck_assert_uint_le(whole, hosts[h].nr + CPUID_ADDED_MAX);
		for (unsigned int room = 0; room <= whole; room++) {
			struct kvm_cpuid2 *c = load(&hosts[h]);
			struct kvm_cpuid_entry2 before = c->entries[room],
						*after = &c->entries[room];

			int ret = cpuid_filter(c, room, 1, 2, true);
			ck_assert_int_eq(ret,
					 room < MAX(whole, (uint32_t)hosts[h].nr) ? -E2BIG : 0);
			if (room >= hosts[h].nr) /* the entry behind the room */
				ck_assert_mem_eq(after, &before, sizeof(before));
		}
	}
	/* KVM's own most, no less: a table of 256 entries whose topology leaves are rewritten. */
	struct kvm_cpuid2 *c = load(&hosts[0]);
	while (c->nent < CPUID_ENTRIES_MAX - 1) {
		c->entries[c->nent].function = 0x80000100 + c->nent;
		c->nent++;
	}
	ck_assert_int_eq(cpuid_filter(c, CPUID_ENTRIES_MAX, 1, 2, true), 0);
	ck_assert_uint_eq(c->nent, CPUID_ENTRIES_MAX);
}
END_TEST

/* An empty set is no reason to fall over. */
START_TEST(empty_set)
{
	memset(&set, 0, sizeof(set));
	ck_assert_int_eq(cpuid_filter(&set.c, CPUID_ENTRIES_MAX, 0, 1, true), 0);
	check_topology(&set.c, 0xb, 0, 1);
}
END_TEST

START_TEST(tells_the_bits_of_an_address)
{
	struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entries[2];
	} c = { .head = { .nent = 2 }, .entries = { { .function = 1, .eax = 99 } } };

	ck_assert_uint_eq(cpuid_phys_bits(&c.head), 36);
	c.entries[1] = (struct kvm_cpuid_entry2){ .function = 0x80000008, .eax = 0x302e };
	ck_assert_uint_eq(cpuid_phys_bits(&c.head), 46);
	c.entries[1].eax = 0xffff; /* no shift by it */
	ck_assert_uint_eq(cpuid_phys_bits(&c.head), 52);
}
END_TEST

UNIT_SUITE("cpuid", {
	tcase_add_loop_test(tc, every_vcpu_has_its_topology, 0, ARRAY_SIZE(counts));
	tcase_add_test(tc, tsc_deadline_is_as_the_caller_says);
	tcase_add_test(tc, reaches_the_topology_leaf_on_old_cpus);
	tcase_add_test(tc, no_extended_topology_without_its_leaf);
	tcase_add_test(tc, hygon_is_amd);
	tcase_add_test(tc, fits_the_room_or_says_so);
	tcase_add_test(tc, empty_set);
	tcase_add_test(tc, tells_the_bits_of_an_address);
})
