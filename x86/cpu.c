/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include <lkvm/arch.h>
#include <lkvm/err.h>
#include <lkvm/gmem.h>
#include <lkvm/kvm.h>
#include <lkvm/util.h>
#include <lkvm/vcpu.h>

#include "cpuid.h"
#include "entry.h"
#include "memmap.h"
#include "vm.h"

/* Intel SDM volume 3A: 2.5 (control registers), 2.2.1 (EFER), 4.5 (paging), 3.4.5 (segments). */
#define CR0_PE    (1u << 0)
#define CR0_MP    (1u << 1)
#define CR0_ET    (1u << 4)
#define CR0_NE    (1u << 5)
#define CR0_WP    (1u << 16)
#define CR0_AM    (1u << 18)
#define CR0_PG    (1u << 31)
#define CR4_PAE   (1u << 5)
#define EFER_LME  (1u << 8)
#define EFER_LMA  (1u << 10)
#define RFLAGS_1  (1u << 1)
#define RFLAGS_IF (1u << 9)
#define PTE_P     (1u << 0)
#define PTE_W     (1u << 1)
#define PTE_PS    (1u << 7)

/* Linux boot protocol, "64-bit boot protocol": __BOOT_CS is 0x10, __BOOT_DS is 0x18. */
#define SEL_CODE 0x10
#define SEL_DATA 0x18
#define SEL_TSS  0x20
#define GDT_NR   6 /* null, unused, code, data, and two slots for a 64-bit TSS */

/* Segment types: code, execute/read, accessed; data, read/write, accessed; busy TSS. */
#define SEG_CODE       11
#define SEG_DATA       3
#define SEG_TSS        11

#define PAGE_LEN       4096ULL
#define CPUID_NR_START 128 /* entries; doubled until KVM is content */

static int supported_cpuid(struct kvm *kvm, struct err *err)
{
	struct arch_vm *vm = kvm->arch;

	for (unsigned int nr = CPUID_NR_START; nr <= CPUID_ENTRIES_MAX && !vm->cpuid; nr *= 2) {
		struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + (nr + CPUID_ADDED_MAX) *
								      sizeof(c->entries[0]));
		if (!c)
			return err_host(err, ENOMEM, "no memory for the CPUID table");
		c->nent = nr;
		if (ioctl(kvm->dev_fd, KVM_GET_SUPPORTED_CPUID, c) == 0) {
			vm->cpuid = c;
			vm->cpuid_max = nr + CPUID_ADDED_MAX;
			vm->tsc_deadline = kvm_check_cap(kvm, KVM_CAP_TSC_DEADLINE_TIMER);
			return 0;
		}
		free(c);
		if (errno != E2BIG)
			return err_host(err, errno, "KVM_GET_SUPPORTED_CPUID");
	}
	return vm->cpuid
		       ? 0
		       : err_internal(err, "KVM has more than %u CPUID entries", CPUID_ENTRIES_MAX);
}

static int set_cpuid(struct vcpu *vcpu, unsigned int cpus_nr, struct err *err)
{
	struct arch_vm *vm = vcpu->kvm->arch;
	int ret = vm->cpuid ? 0 : supported_cpuid(vcpu->kvm, err);
	if (ret)
		return ret;

	size_t len = sizeof(*vm->cpuid) + vm->cpuid_max * sizeof(vm->cpuid->entries[0]);
	struct kvm_cpuid2 *c = malloc(len);
	if (!c)
		return err_host(err, ENOMEM, "no memory for the CPUID table");
	memcpy(c, vm->cpuid, len);
	ret = cpuid_filter(c, vm->cpuid_max, vcpu->id, cpus_nr, vm->tsc_deadline);
	if (ret)
		ret = err_internal(err, "the CPUID table of vCPU %u is full", vcpu->id);
	else if (ioctl(vcpu->fd, KVM_SET_CPUID2, c))
		ret = err_host(err, errno, "KVM refuses the CPUID table of vCPU %u", vcpu->id);
	free(c);
	return ret;
}

unsigned int x86_phys_bits(const struct vcpu *vcpu)
{
	return cpuid_phys_bits(vcpu->kvm->arch->cpuid);
}

/* SDM volume 3A 11.11.2.1: MTRRs enabled, default type write-back. No MTRR says otherwise. */
#define MSR_MTRR_DEF_TYPE 0x2ff
#define MTRR_DEF_TYPE_WB  0x806
/* SDM volume 4: IA32_MISC_ENABLE, fast strings. */
#define MSR_MISC_ENABLE         0x1a0
#define MISC_ENABLE_FAST_STRING 1

static void set_msrs(struct vcpu *vcpu)
{
	static const struct kvm_msr_entry entries[] = {
		{ .index = MSR_MTRR_DEF_TYPE, .data = MTRR_DEF_TYPE_WB },
		{ .index = MSR_MISC_ENABLE, .data = MISC_ENABLE_FAST_STRING },
	};
	uint8_t buf[sizeof(struct kvm_msrs) + sizeof(entries)] __attribute__((aligned(8)));
	struct kvm_msrs *msrs = (void *)buf;

	*msrs = (struct kvm_msrs){ .nmsrs = ARRAY_SIZE(entries) };
	memcpy(msrs->entries, entries, sizeof(entries));
	/* A KVM without one of them has guests without it, which run too. */
	ioctl(vcpu->fd, KVM_SET_MSRS, msrs);
}

/* SDM volume 3A 10.5.1: the local vector table entries that firmware sets up. */
#define LAPIC_LVT0 0x350
#define LAPIC_LVT1 0x360
#define LVT_EXTINT 0x700
#define LVT_NMI    0x400

static int set_lapic(struct vcpu *vcpu, struct err *err)
{
	struct kvm_lapic_state lapic;

	if (ioctl(vcpu->fd, KVM_GET_LAPIC, &lapic))
		return err_host(err, errno, "KVM_GET_LAPIC");
	put_le32(lapic.regs + LAPIC_LVT0, LVT_EXTINT);
	put_le32(lapic.regs + LAPIC_LVT1, LVT_NMI);
	if (ioctl(vcpu->fd, KVM_SET_LAPIC, &lapic))
		return err_host(err, errno, "KVM_SET_LAPIC");
	return 0;
}

int arch_vcpu_init(struct vcpu *vcpu, unsigned int cpus_nr, struct err *err)
{
	int ret = set_cpuid(vcpu, cpus_nr, err);
	if (ret)
		return ret;
	set_msrs(vcpu);
	/* Only the boot CPU takes the PIC's interrupts; the others set their APIC up when they start. */
	return vcpu->id == 0 ? set_lapic(vcpu, err) : 0;
}

/* A flat descriptor: base 0, limit 4 GiB. SDM volume 3A figure 3-8. */
static uint64_t gdt_entry(const struct kvm_segment *s)
{
	uint64_t flags = s->type | s->s << 4 | s->dpl << 5 | s->present << 7 | s->avl << 12 |
			 s->l << 13 | s->db << 14 | s->g << 15;
	uint64_t limit = s->g ? s->limit >> 12 : s->limit;

	return (limit & 0xffff) | flags << 40 | (limit & 0xf0000) << 32;
}

static void set_segments(struct kvm_sregs *sregs, const struct gmem *gm, bool long_mode)
{
	struct kvm_segment code = {
		.selector = SEL_CODE,
		.limit = UINT32_MAX,
		.type = SEG_CODE,
		.present = 1,
		.s = 1,
		.g = 1,
		.l = long_mode,
		.db = !long_mode,
	};
	struct kvm_segment data = {
		.selector = SEL_DATA,
		.limit = UINT32_MAX,
		.type = SEG_DATA,
		.present = 1,
		.s = 1,
		.g = 1,
		.db = 1,
	};
	struct kvm_segment tss = {
		.selector = SEL_TSS, .limit = 0x67, .type = SEG_TSS, .present = 1
	};
	uint64_t gdt[GDT_NR] = { 0, 0, gdt_entry(&code), gdt_entry(&data), gdt_entry(&tss), 0 };

	/* GPA_GDT is in the first page of RAM, which every machine has. */
	BUG_ON(gmem_write(gm, GPA_GDT, gdt, sizeof(gdt)));
	sregs->gdt.base = GPA_GDT;
	sregs->gdt.limit = sizeof(gdt) - 1;
	sregs->idt.base = 0;
	sregs->idt.limit = 0; /* an exception before the kernel has a table is a triple fault */
	sregs->cs = code;
	sregs->ds = sregs->es = sregs->fs = sregs->gs = sregs->ss = data;
	sregs->tr = tss;
}

/* 4 GiB, identity, in 2 MiB pages: one PML4, one PDPT, four page directories, one page each. */
static void build_page_tables(const struct gmem *gm)
{
	uint64_t *pml4 = gmem_span(gm, GPA_PML4, 6 * PAGE_LEN);

	BUG_ON(!pml4);
	uint64_t *pdpt = pml4 + 512, *pd = pml4 + 1024;
	pml4[0] = (GPA_PML4 + PAGE_LEN) | PTE_P | PTE_W;
	for (unsigned int i = 0; i < 4; i++)
		pdpt[i] = (GPA_PML4 + (2 + i) * PAGE_LEN) | PTE_P | PTE_W;
	for (uint64_t i = 0; i < 4 * 512; i++)
		pd[i] = i * 2 * MIB | PTE_P | PTE_W | PTE_PS;
}

int x86_entry_set(struct vcpu *vcpu, const struct gmem *gm, const struct x86_entry *entry,
		  struct err *err)
{
	bool long_mode = entry->mode == X86_MODE_LONG64;
	struct kvm_regs regs = {
		.rip = entry->rip,
		.rsi = entry->rsi,
		.rbx = entry->rbx,
		.rsp = GPA_BOOT_STACK,
		.rflags = RFLAGS_1,
	};
	struct kvm_sregs sregs;

	if (ioctl(vcpu->fd, KVM_GET_SREGS, &sregs))
		return err_host(err, errno, "KVM_GET_SREGS");
	set_segments(&sregs, gm, long_mode);
	if (long_mode) {
		build_page_tables(gm);
		sregs.cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG;
		sregs.cr3 = GPA_PML4;
		sregs.cr4 = CR4_PAE;
		sregs.efer = EFER_LME | EFER_LMA;
	} else {
		sregs.cr0 = CR0_PE | CR0_ET;
		sregs.cr4 = 0;
		sregs.efer = 0;
	}
	if (ioctl(vcpu->fd, KVM_SET_SREGS, &sregs) || ioctl(vcpu->fd, KVM_SET_REGS, &regs))
		return err_host(err, errno, "KVM refuses the kernel's entry state");
	return 0;
}

bool arch_vcpu_is_stuck(struct vcpu *vcpu)
{
	struct kvm_mp_state mp;
	struct kvm_regs r;

	if (ioctl(vcpu->fd, KVM_GET_MP_STATE, &mp))
		return false;
	if (mp.mp_state == KVM_MP_STATE_UNINITIALIZED || mp.mp_state == KVM_MP_STATE_INIT_RECEIVED)
		return true;
	/* An NMI would wake it; nothing here sends one. */
	return mp.mp_state == KVM_MP_STATE_HALTED && !ioctl(vcpu->fd, KVM_GET_REGS, &r) &&
	       !(r.rflags & RFLAGS_IF);
}

static void dump_segment(FILE *out, const char *name, const struct kvm_segment *s)
{
	fprintf(out, "  %-3s %04x base %016" PRIx64 " limit %08x type %2u%s%s%s\n", name,
		s->selector, (uint64_t)s->base, s->limit, s->type,
		s->l    ? " 64"
		: s->db ? " 32"
			: " 16",
		s->present ? "" : " not present", s->dpl ? " user" : "");
}

void arch_vcpu_dump(struct vcpu *vcpu, FILE *out)
{
	struct kvm_regs r;
	struct kvm_sregs s;
	struct kvm_mp_state mp = { .mp_state = KVM_MP_STATE_RUNNABLE };

	ioctl(vcpu->fd, KVM_GET_MP_STATE, &mp);
	if (mp.mp_state == KVM_MP_STATE_UNINITIALIZED) {
		fprintf(out, "vCPU %u: never started\n", vcpu->id);
		return;
	}
	if (ioctl(vcpu->fd, KVM_GET_REGS, &r) || ioctl(vcpu->fd, KVM_GET_SREGS, &s)) {
		fprintf(out, "vCPU %u: KVM does not give its registers: %s\n", vcpu->id,
			strerror(errno));
		return;
	}
	const struct {
		const char *name;
		uint64_t value;
	} regs[] = {
		{ "rip", r.rip }, { "rsp", r.rsp }, { "rfl", r.rflags }, { "rax", r.rax },
		{ "rbx", r.rbx }, { "rcx", r.rcx }, { "rdx", r.rdx },    { "rsi", r.rsi },
		{ "rdi", r.rdi }, { "rbp", r.rbp }, { "r8", r.r8 },      { "r9", r.r9 },
		{ "r10", r.r10 }, { "r11", r.r11 }, { "r12", r.r12 },    { "r13", r.r13 },
		{ "r14", r.r14 }, { "r15", r.r15 }, { "cr0", s.cr0 },    { "cr2", s.cr2 },
		{ "cr3", s.cr3 }, { "cr4", s.cr4 }, { "cr8", s.cr8 },    { "efer", s.efer },
	};

	fprintf(out, "vCPU %u:%s\n", vcpu->id, mp.mp_state == KVM_MP_STATE_HALTED ? " halted" : "");
	for (size_t i = 0; i < ARRAY_SIZE(regs); i++)
		fprintf(out, "  %-4s %016" PRIx64 "%s", regs[i].name, regs[i].value,
			i % 3 == 2 ? "\n" : "");
	dump_segment(out, "cs", &s.cs);
	dump_segment(out, "ss", &s.ss);
	dump_segment(out, "ds", &s.ds);
	dump_segment(out, "fs", &s.fs);
	dump_segment(out, "gs", &s.gs);
	dump_segment(out, "tr", &s.tr);
	fprintf(out, "  gdt %016" PRIx64 "+%x idt %016" PRIx64 "+%x\n", (uint64_t)s.gdt.base,
		s.gdt.limit, (uint64_t)s.idt.base, s.idt.limit);
}
