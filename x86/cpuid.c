/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <linux/kvm.h>
#include <linux/kvm_para.h>
#include <stdint.h>
#include <string.h>

#include <lkvm/util.h>

#include "cpuid.h"

/* Leaf numbers and bits: SDM volume 2A, table 3-8; APM volume 3, E.3 and E.4. */
#define LEAF_MAX              0x0
#define LEAF_FEATURES         0x1
#define LEAF_CACHE_INTEL      0x4
#define LEAF_MWAIT            0x5
#define LEAF_POWER            0x6
#define LEAF_EXT_FEAT         0x7
#define LEAF_TOPOLOGY         0xb
#define LEAF_HYBRID           0x1a
#define LEAF_TOPOLOGY_V2      0x1f
#define LEAF_AMD_FEAT         0x80000001
#define LEAF_SIZES            0x80000008
#define LEAF_CACHE_AMD        0x8000001d
#define LEAF_IDS_AMD          0x8000001e
#define LEAF_SVM              0x8000000a
#define LEAF_TOPO_AMD         0x80000026

#define FEAT_ECX_MONITOR      (1u << 3)
#define FEAT_ECX_VMX          (1u << 5)
#define FEAT_ECX_X2APIC       (1u << 21)
#define FEAT_ECX_TSC_DEADLINE (1u << 24)
#define FEAT_ECX_HYPERVISOR   (1u << 31)
#define FEAT_EDX_HTT          (1u << 28)
#define POWER_EAX_ARAT        (1u << 2)
#define EXT_EDX_HYBRID        (1u << 15)
#define AMD_ECX_CMP_LEGACY    (1u << 1)
#define AMD_ECX_TOPOEXT       (1u << 22)
#define AMD_ECX_SVM           (1u << 2)
#define CACHE_EAX_TYPE        0x1f
#define TOPO_SMT              1
#define TOPO_CORE             2

struct topo {
	uint32_t id;
	uint32_t cpus_nr;
	uint32_t id_bits; /* of an APIC id that belong to the package's cores */
	bool amd;
	bool ids_amd; /* the extended APIC id leaf exists */
	bool tsc_deadline;
};

static struct kvm_cpuid_entry2 *find(struct kvm_cpuid2 *c, uint32_t function)
{
	for (uint32_t i = 0; i < c->nent; i++)
		if (c->entries[i].function == function)
			return &c->entries[i];
	return NULL;
}

/* Removes all entries of a function. */
static void drop(struct kvm_cpuid2 *c, uint32_t function)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < c->nent; i++)
		if (c->entries[i].function != function)
			c->entries[kept++] = c->entries[i];
	c->nent = kept;
}

static int add(struct kvm_cpuid2 *c, unsigned int nent_max, const struct kvm_cpuid_entry2 *e)
{
	if (c->nent >= nent_max)
		return -E2BIG;
	c->entries[c->nent++] = *e;
	return 0;
}

/* ceil(log2(v)), v > 0. */
static uint32_t bits_for(uint32_t v)
{
	return v == 1 ? 0 : 32 - __builtin_clz(v - 1);
}

static void fix_clear(struct kvm_cpuid_entry2 *e, const struct topo *t)
{
	(void)t;
	e->eax = e->ebx = e->ecx = e->edx = 0;
}

/* EBX: brand index and CLFLUSH line are kept; the count and the initial APIC id have 8 bits each. */
static void fix_features(struct kvm_cpuid_entry2 *e, const struct topo *t)
{
	e->ebx = (e->ebx & 0xffff) | MIN(t->cpus_nr, 255u) << 16 | t->id << 24;
	e->ecx |= FEAT_ECX_HYPERVISOR | FEAT_ECX_X2APIC;
	/* No virtualization inside: it is a large part of KVM that a hostile guest would reach. */
	e->ecx &= ~(FEAT_ECX_MONITOR | FEAT_ECX_VMX | FEAT_ECX_TSC_DEADLINE);
	if (t->tsc_deadline)
		e->ecx |= FEAT_ECX_TSC_DEADLINE;
	e->edx &= ~FEAT_EDX_HTT;
	if (t->cpus_nr > 1)
		e->edx |= FEAT_EDX_HTT;
}

/* How many CPUs share a cache, less one: the last level is the package's, the others a core's. */
static uint32_t cache_sharing(const struct kvm_cpuid_entry2 *e, uint32_t package)
{
	uint32_t level = e->eax >> 5 & 7;

	return (level >= 3 ? package - 1 : 0) << 14;
}

/* Here and in the cores field the unit is APIC ids, so the counts are rounded up to powers of two. */
static void fix_cache_intel(struct kvm_cpuid_entry2 *e, const struct topo *t)
{
	uint32_t ids = 1u << t->id_bits;

	if (!(e->eax & CACHE_EAX_TYPE))
		return;
	e->eax = (e->eax & 0x3fff) | cache_sharing(e, MIN(ids, 1u << 12)) |
		 (MIN(ids, 1u << 6) - 1) << 26;
}

static void fix_cache_amd(struct kvm_cpuid_entry2 *e, const struct topo *t)
{
	/* The entry that ends the list is all zeros, level included, and stays so. */
	e->eax = (e->eax & 0x3fff) | cache_sharing(e, MIN(t->cpus_nr, 1u << 12));
}

/* The local APIC's timer never stops; that spares Linux the PIT. Nothing else of the leaf is virtual. */
static void fix_power(struct kvm_cpuid_entry2 *e, const struct topo *t)
{
	fix_clear(e, t);
	e->eax = POWER_EAX_ARAT;
}

static void fix_ext_features(struct kvm_cpuid_entry2 *e, const struct topo *t)
{
	(void)t;
	if (e->index == 0)
		e->edx &= ~EXT_EDX_HYBRID;
}

static void fix_kvm(struct kvm_cpuid_entry2 *e, const struct topo *t)
{
	const uint32_t smp = 1u << KVM_FEATURE_PV_UNHALT | 1u << KVM_FEATURE_PV_TLB_FLUSH |
			     1u << KVM_FEATURE_PV_SEND_IPI | 1u << KVM_FEATURE_PV_SCHED_YIELD;

	if (t->cpus_nr == 1)
		e->eax &= ~smp;
}

static void fix_amd_features(struct kvm_cpuid_entry2 *e, const struct topo *t)
{
	if (!t->amd)
		return;
	e->ecx &= ~AMD_ECX_SVM;
	e->ecx &= ~AMD_ECX_CMP_LEGACY; /* the count in leaf 1 is one of cores, not of threads */
	if (t->cpus_nr > 1)
		e->ecx |= AMD_ECX_CMP_LEGACY;
	if (!t->ids_amd)
		e->ecx &= ~AMD_ECX_TOPOEXT;
}

/* ECX: number of cores less one, and the bits of an APIC id that tell them apart; reserved on Intel. */
static void fix_sizes(struct kvm_cpuid_entry2 *e, const struct topo *t)
{
	e->ecx = t->amd ? t->id_bits << 12 | MIN(t->cpus_nr - 1, 255u) : 0;
}

/* One thread a core, one node. */
static void fix_ids_amd(struct kvm_cpuid_entry2 *e, const struct topo *t)
{
	fix_clear(e, t);
	if (!t->amd)
		return;
	e->eax = t->id;
	e->ebx = t->id & 0xff;
}

static const struct fix {
	uint32_t function;
	void (*fix)(struct kvm_cpuid_entry2 *e, const struct topo *t);
} fixes[] = {
	{ LEAF_FEATURES, fix_features },     { LEAF_CACHE_INTEL, fix_cache_intel },
	{ LEAF_MWAIT, fix_clear },           { LEAF_POWER, fix_power },
	{ LEAF_EXT_FEAT, fix_ext_features }, { LEAF_HYBRID, fix_clear },
	{ KVM_CPUID_FEATURES, fix_kvm },     { LEAF_AMD_FEAT, fix_amd_features },
	{ LEAF_SIZES, fix_sizes },           { LEAF_CACHE_AMD, fix_cache_amd },
	{ LEAF_IDS_AMD, fix_ids_amd },       { LEAF_SVM, fix_clear },
};

/* Levels of the x2APIC topology: threads of a core, cores of the package, end. */
static int put_topology(struct kvm_cpuid2 *c, unsigned int nent_max, uint32_t function,
			const struct topo *t)
{
	const struct kvm_cpuid_entry2 levels[] = {
		{ .eax = 0, .ebx = 1, .ecx = TOPO_SMT << 8 },
		{ .eax = t->id_bits, .ebx = t->cpus_nr, .ecx = TOPO_CORE << 8 },
		{ .eax = 0 },
	};
	int ret = 0;

	drop(c, function);
	for (uint32_t i = 0; i < ARRAY_SIZE(levels) && !ret; i++) {
		struct kvm_cpuid_entry2 e = levels[i];

		e.function = function;
		e.index = i;
		e.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
		e.ecx |= i;
		e.edx = t->id;
		ret = add(c, nent_max, &e);
	}
	return ret;
}

static bool is_amd(const struct kvm_cpuid_entry2 *e)
{
	char vendor[12];

	memcpy(vendor, &e->ebx, 4);
	memcpy(vendor + 4, &e->edx, 4);
	memcpy(vendor + 8, &e->ecx, 4);
	return !memcmp(vendor, "AuthenticAMD", 12) || !memcmp(vendor, "HygonGenuine", 12);
}

int cpuid_filter(struct kvm_cpuid2 *cpuid, unsigned int nent_max, unsigned int id,
		 unsigned int cpus_nr, bool tsc_deadline)
{
	struct topo t = { .id = id, .cpus_nr = cpus_nr, .tsc_deadline = tsc_deadline };
	bool v2 = find(cpuid, LEAF_TOPOLOGY_V2) != NULL;
	struct kvm_cpuid_entry2 *max;
	int ret;

	BUG_ON(id >= cpus_nr);
	if (cpuid->nent > nent_max)
		return -E2BIG;
	t.id_bits = bits_for(cpus_nr);
	t.ids_amd = find(cpuid, LEAF_IDS_AMD) != NULL;
	max = find(cpuid, LEAF_MAX);
	if (max) {
		t.amd = is_amd(max);
		max->eax = MAX(max->eax, (uint32_t)LEAF_TOPOLOGY);
	}
	for (uint32_t i = 0; i < cpuid->nent; i++)
		for (size_t f = 0; f < ARRAY_SIZE(fixes); f++)
			if (cpuid->entries[i].function == fixes[f].function)
				fixes[f].fix(&cpuid->entries[i], &t);
	drop(cpuid, LEAF_TOPO_AMD);
	ret = put_topology(cpuid, nent_max, LEAF_TOPOLOGY, &t);
	if (!ret && v2)
		ret = put_topology(cpuid, nent_max, LEAF_TOPOLOGY_V2, &t);
	return ret;
}

/* Without the leaf: what every CPU with PAE has (SDM volume 3A, 4.1.4). No CPU has more than 52. */
unsigned int cpuid_phys_bits(const struct kvm_cpuid2 *c)
{
	for (uint32_t i = 0; i < c->nent; i++)
		if (c->entries[i].function == LEAF_SIZES)
			return MIN(c->entries[i].eax & 0xff, 52);
	return 36;
}
