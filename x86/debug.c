/* SPDX-License-Identifier: GPL-2.0 */
#include <elf.h>
#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/procfs.h>
#include <sys/user.h>

#include <lkvm/arch.h>
#include <lkvm/gmem.h>
#include <lkvm/util.h>
#include <lkvm/vcpu.h>

/* Linux, Documentation/arch/x86/x86_64/mm.rst */
#define KERNEL_BASE     0xffffffff80000000ULL
#define KERNEL_LEN      GIB
#define CODE_END        0xffffffffff000000ULL /* modules end there */
#define DIRECT_4_LEVELS 0xffff888000000000ULL
#define DIRECT_5_LEVELS 0xff11000000000000ULL
#define DIRECT_LEN      (64 * 1024 * GIB)

#define PAGE_LEN        4096ULL
#define CR4_LA57        (1ULL << 12)

/* SDM volume 3B 17.2.4: breakpoint 0 on execution (R/W and LEN are 0), globally; bit 10 is always 1. */
#define DR7_EXEC_0 (1ULL << 1 | 1ULL << 10)
/* 17.2.3: breakpoint 0 was met. */
#define DR6_B0    1
#define DB_VECTOR 1

const uint16_t arch_elf_machine = EM_X86_64;

bool arch_vcpu_where(struct vcpu *vcpu, uint64_t *pc, uint64_t *sp)
{
	struct kvm_mp_state mp = { .mp_state = KVM_MP_STATE_RUNNABLE };
	struct kvm_regs r;

	ioctl(vcpu->fd, KVM_GET_MP_STATE, &mp);
	if (mp.mp_state == KVM_MP_STATE_UNINITIALIZED || ioctl(vcpu->fd, KVM_GET_REGS, &r))
		return false;
	*pc = r.rip;
	*sp = r.rsp;
	return true;
}

static bool translate(struct vcpu *vcpu, uint64_t vaddr, uint64_t *gpa)
{
	struct kvm_translation t = { .linear_address = vaddr };

	if (ioctl(vcpu->fd, KVM_TRANSLATE, &t) || !t.valid)
		return false;
	*gpa = t.physical_address;
	return true;
}

size_t arch_vcpu_read(struct vcpu *vcpu, const struct gmem *gm, uint64_t vaddr, void *buf,
		      size_t len)
{
	uint8_t *to = buf;
	size_t done = 0;

	while (done < len) {
		uint64_t at = vaddr + done, gpa;
		size_t n = MIN(len - done, PAGE_LEN - at % PAGE_LEN);

		if (at < vaddr || !translate(vcpu, at, &gpa) || gmem_read(gm, gpa, to + done, n))
			break;
		done += n;
	}
	return done;
}

bool arch_vcpu_core_regs(struct vcpu *vcpu, void *gregs)
{
	struct kvm_regs r;
	struct kvm_sregs s;

	if (ioctl(vcpu->fd, KVM_GET_REGS, &r) || ioctl(vcpu->fd, KVM_GET_SREGS, &s))
		return false;
	const struct user_regs_struct u = {
		.r15 = r.r15,
		.r14 = r.r14,
		.r13 = r.r13,
		.r12 = r.r12,
		.rbp = r.rbp,
		.rbx = r.rbx,
		.r11 = r.r11,
		.r10 = r.r10,
		.r9 = r.r9,
		.r8 = r.r8,
		.rax = r.rax,
		.rcx = r.rcx,
		.rdx = r.rdx,
		.rsi = r.rsi,
		.rdi = r.rdi,
		.orig_rax = r.rax,
		.rip = r.rip,
		.cs = s.cs.selector,
		.eflags = r.rflags,
		.rsp = r.rsp,
		.ss = s.ss.selector,
		.fs_base = s.fs.base,
		.gs_base = s.gs.base,
		.ds = s.ds.selector,
		.es = s.es.selector,
		.fs = s.fs.selector,
		.gs = s.gs.selector,
	};
	_Static_assert(sizeof(u) == sizeof(elf_gregset_t), "the registers of a core");
	memcpy(gregs, &u, sizeof(u));
	return true;
}

uint64_t arch_return_address(uint64_t word)
{
	return word;
}

bool arch_may_be_kernel_code(uint64_t addr)
{
	return addr >= KERNEL_BASE && addr < CODE_END;
}

static int set_debug(struct vcpu *vcpu, uint64_t vaddr, uint32_t control)
{
	struct kvm_guest_debug d = { 0 };

	if (vaddr) {
		d.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP | control;
		d.arch.debugreg[0] = vaddr;
		d.arch.debugreg[7] = DR7_EXEC_0;
	}
	return ioctl(vcpu->fd, KVM_SET_GUEST_DEBUG, &d) ? -errno : 0;
}

int arch_vcpu_break_at(struct vcpu *vcpu, uint64_t vaddr)
{
	return set_debug(vcpu, vaddr, 0);
}

bool arch_vcpu_is_at_break(struct vcpu *vcpu, uint64_t vaddr)
{
	const struct kvm_debug_exit_arch *e = &vcpu->run->debug.arch;
	struct kvm_debugregs regs;

	if (e->exception == DB_VECTOR && (e->dr6 & DR6_B0) && e->pc == vaddr)
		return true;
	if (!ioctl(vcpu->fd, KVM_GET_DEBUGREGS, &regs)) {
		regs.dr6 = e->dr6;
		ioctl(vcpu->fd, KVM_SET_DEBUGREGS, &regs);
	}
	set_debug(vcpu, vaddr, KVM_GUESTDBG_INJECT_DB);
	return false;
}

/* `vaddr` is where `gpa` is seen. */
static bool maps_to(struct vcpu *vcpu, uint64_t vaddr, uint64_t gpa)
{
	uint64_t have;

	return translate(vcpu, vaddr, &have) && have == gpa;
}

unsigned int arch_vcpu_kernel_maps(struct vcpu *vcpu, const struct gmem *gm,
				   struct arch_map maps[ARCH_MAPS_MAX])
{
	uint64_t probe = align_down(gm->regions[0].size / 2, PAGE_LEN);
	struct kvm_sregs s;

	if (ioctl(vcpu->fd, KVM_GET_SREGS, &s))
		return 0;
	uint64_t direct = s.cr4 & CR4_LA57 ? DIRECT_5_LEVELS : DIRECT_4_LEVELS;
	if (!maps_to(vcpu, direct + probe, probe))
		return 0;
	maps[0] = (struct arch_map){ .vaddr = direct, .len = DIRECT_LEN };
	maps[1] = (struct arch_map){ .vaddr = KERNEL_BASE,
				     .len = MIN(KERNEL_LEN, gm->regions[0].size) };
	/* Where the image begins is its own choice; 16 MiB is everybody's. */
	return maps_to(vcpu, KERNEL_BASE + 16 * MIB, 16 * MIB) ? 2 : 1;
}
