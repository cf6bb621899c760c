/* SPDX-License-Identifier: GPL-2.0 */
#include <elf.h>
#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/procfs.h>

#include <lkvm/arch.h>
#include <lkvm/gmem.h>
#include <lkvm/util.h>
#include <lkvm/vcpu.h>

#include "memmap.h"
#include "regs.h"

/*
 * Linux, Documentation/arm64/memory.rst, addresses of 48 bits: modules, the kernel's image and, with KASLR among them, what
 * it maps for itself; and all RAM.
 */
#define KERNEL_BASE 0xffff800000000000ULL
#define KERNEL_END  0xfffffbfff0000000ULL
#define LINEAR_BASE 0xffff000000000000ULL

/* Arm Architecture Reference Manual, D19.2: PSTATE's mode, SCTLR_EL1, TCR_EL1. */
#define MODE_MASK    0xfu
#define MODE_EL1H    5u /* of its stack pointers the second is in use */
#define SCTLR_M      1u
#define TCR_SIZE(n)  (0 + 16 * (n))  /* T0SZ, T1SZ */
#define TCR_PAGES(n) (14 + 16 * (n)) /* TG0, TG1 */

/* D8.3: an entry of a table. In the last level a page looks as a table does elsewhere. */
#define ENTRY_VALID 1u
#define ENTRY_TABLE 2u
#define ENTRY_ADDR  0x0000fffffffff000ULL
#define HALF_BIT    (1ULL << 55) /* chooses TTBR0 or TTBR1 */
#define VA_BITS_MIN 25u
#define VA_BITS_MAX 48u

/* D2.9: a breakpoint on an instruction (BAS 0xf) of EL1 (PMC 1), enabled. */
#define BREAK_CONTROL (0xfu << 5 | 1u << 1 | 1u)

const uint16_t arch_elf_machine = EM_AARCH64;

bool arch_vcpu_where(struct vcpu *vcpu, uint64_t *pc, uint64_t *sp)
{
	struct kvm_mp_state mp = { .mp_state = KVM_MP_STATE_RUNNABLE };
	uint64_t pstate;

	ioctl(vcpu->fd, KVM_GET_MP_STATE, &mp);
	if (mp.mp_state == KVM_MP_STATE_STOPPED || arm_get_reg(vcpu, CORE_REG(regs.pc), pc) ||
	    arm_get_reg(vcpu, CORE_REG(regs.pstate), &pstate))
		return false;
	return !arm_get_reg(
		vcpu, (pstate & MODE_MASK) == MODE_EL1H ? CORE_REG(sp_el1) : CORE_REG(regs.sp), sp);
}

/* --- the guest's page tables, which KVM does not walk for us --- */

struct walk {
	bool on;              /* the MMU is */
	uint64_t table[2];    /* for the lower and the upper half of addresses */
	unsigned int bits[2]; /* of an address; 0: none is valid */
	unsigned int page[2]; /* bits of an address in a page */
};

/* TG0 and TG1 count differently. 0: reserved. */
static unsigned int page_bits(unsigned int half, unsigned int granule)
{
	static const uint8_t bits[2][4] = { { 12, 16, 14, 0 }, { 0, 14, 12, 16 } };

	return bits[half][granule & 3];
}

static bool walk_init(struct walk *w, const struct vcpu *vcpu)
{
	uint64_t sctlr, tcr;

	if (arm_get_reg(vcpu, SCTLR_EL1, &sctlr) || arm_get_reg(vcpu, TCR_EL1, &tcr) ||
	    arm_get_reg(vcpu, TTBR0_EL1, &w->table[0]) ||
	    arm_get_reg(vcpu, TTBR1_EL1, &w->table[1]))
		return false;
	w->on = sctlr & SCTLR_M;
	for (unsigned int half = 0; half < 2; half++) {
		unsigned int bits = 64 - (tcr >> TCR_SIZE(half) & 0x3f);

		w->page[half] = page_bits(half, (unsigned int)(tcr >> TCR_PAGES(half)));
		w->bits[half] = w->page[half] && bits >= VA_BITS_MIN && bits <= VA_BITS_MAX ? bits
											    : 0;
	}
	return true;
}

/* Each step has fewer bits of the address left, so that at most four tables are read. */
static bool translate(const struct walk *w, const struct gmem *gm, uint64_t vaddr, uint64_t *gpa)
{
	unsigned int half = !!(vaddr & HALF_BIT), page = w->page[half], bits = w->bits[half];
	uint64_t table = w->table[half] & ENTRY_ADDR;

	if (!w->on) {
		*gpa = vaddr;
		return true;
	}
	/* The bits above are all those of the half, but for a tag of eight. */
	if (!bits || (vaddr << 8 >> 8) >> bits != (half ? UINT64_MAX << 8 >> 8 >> bits : 0))
		return false;
	/* Of the first table not all entries need be in use; its index has what the others leave. */
	unsigned int shift = page + (bits - page - 1) / (page - 3) * (page - 3);
	for (;; shift -= page - 3) {
		uint64_t index = (vaddr & ((1ULL << bits) - 1)) >> shift, entry;
		uint64_t within = (1ULL << shift) - 1;

		if (gmem_read(gm, table + 8 * index, &entry, sizeof(entry)))
			return false;
		entry = le64toh(entry);
		bool last = shift == page, points = entry & ENTRY_TABLE;
		/* In the last level what does not look like a table is no page. */
		if (!(entry & ENTRY_VALID) || (last && !points))
			return false;
		table = entry & ENTRY_ADDR;
		if (last || !points) {
			*gpa = (table & ~within) | (vaddr & within);
			return true;
		}
		bits = shift;
	}
}

size_t arch_vcpu_read(struct vcpu *vcpu, const struct gmem *gm, uint64_t vaddr, void *buf,
		      size_t len)
{
	const uint64_t piece = 4096; /* no page is smaller */
	uint8_t *to = buf;
	size_t done = 0;
	struct walk w;

	if (!walk_init(&w, vcpu))
		return 0;
	while (done < len) {
		uint64_t at = vaddr + done, gpa;
		size_t n = MIN(len - done, piece - at % piece);

		if (at < vaddr || !translate(&w, gm, at, &gpa) || gmem_read(gm, gpa, to + done, n))
			break;
		done += n;
	}
	return done;
}

/* --- core, breakpoint --- */

bool arch_vcpu_core_regs(struct vcpu *vcpu, void *gregs)
{
	/* As struct user_pt_regs: x0 to x30, sp, pc, pstate. */
	uint64_t regs[34];

	_Static_assert(sizeof(regs) == sizeof(elf_gregset_t), "the registers of a core");
	if (!arch_vcpu_where(vcpu, &regs[32], &regs[31]) ||
	    arm_get_reg(vcpu, CORE_REG(regs.pstate), &regs[33]))
		return false;
	for (unsigned int i = 0; i <= 30; i++)
		if (arm_get_reg(vcpu, X_REG(i), &regs[i]))
			return false;
	memcpy(gregs, regs, sizeof(regs));
	return true;
}

/* D8.8: the code of pointer authentication is in the bits above an address, but for the one that tells the half. */
uint64_t arch_return_address(uint64_t word)
{
	return word & HALF_BIT ? word | UINT64_MAX << VA_BITS_MAX : word;
}

bool arch_may_be_kernel_code(uint64_t addr)
{
	return addr >= KERNEL_BASE && addr < KERNEL_END;
}

int arch_vcpu_break_at(struct vcpu *vcpu, uint64_t vaddr)
{
	struct kvm_guest_debug d = { 0 };

	if (vaddr) {
		d.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW;
		d.arch.dbg_bvr[0] = vaddr;
		d.arch.dbg_bcr[0] = BREAK_CONTROL;
	}
	return ioctl(vcpu->fd, KVM_SET_GUEST_DEBUG, &d) ? -errno : 0;
}

/* Single steps of the guest's own do not come here: KVM ends with what was asked for only. */
bool arch_vcpu_is_at_break(struct vcpu *vcpu, uint64_t vaddr)
{
	uint64_t pc;

	return !arm_get_reg(vcpu, CORE_REG(regs.pc), &pc) && pc == vaddr;
}

unsigned int arch_vcpu_kernel_maps(struct vcpu *vcpu, const struct gmem *gm,
				   struct arch_map maps[ARCH_MAPS_MAX])
{
	uint64_t probe = align_down(gm->regions[0].size / 2, 4096), gpa;
	struct walk w;

	if (!walk_init(&w, vcpu) || !w.on || !translate(&w, gm, LINEAR_BASE + probe, &gpa) ||
	    gpa != GPA_RAM + probe)
		return 0;
	/* Where guest-physical 0 would be; RAM begins at GPA_RAM, and Linux maps it from LINEAR_BASE on. */
	maps[0] = (struct arch_map){ .vaddr = LINEAR_BASE - GPA_RAM,
				     .len = 1ULL << IPA_BITS_DEFAULT };
	return 1;
}
