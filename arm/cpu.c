/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>

#include <lkvm/arch.h>
#include <lkvm/err.h>
#include <lkvm/kvm.h>
#include <lkvm/util.h>
#include <lkvm/vcpu.h>

#include "entry.h"
#include "memmap.h"
#include "regs.h"

#define MPIDR_AFFINITY 0xffffff /* levels 0 to 2; KVM's level 3 is 0 below 2^20 CPUs */

/* The fields of ID_AA64MMFR0_EL1. */
#define MMFR0_BIGEND_SHIFT  8
#define MMFR0_TGRAN16_SHIFT 20
#define MMFR0_TGRAN64_SHIFT 24
#define MMFR0_TGRAN4_SHIFT  28
#define TGRAN_NONE          0xf /* of 4 and 64 KiB; of 16 KiB it is 0 */

int arm_get_reg(const struct vcpu *vcpu, uint64_t id, uint64_t *value)
{
	struct kvm_one_reg reg = { .id = id, .addr = (uintptr_t)value };

	*value = 0;
	return ioctl(vcpu->fd, KVM_GET_ONE_REG, &reg) ? -errno : 0;
}

static int set_reg(const struct vcpu *vcpu, uint64_t id, uint64_t value)
{
	struct kvm_one_reg reg = { .id = id, .addr = (uintptr_t)&value };

	return ioctl(vcpu->fd, KVM_SET_ONE_REG, &reg) ? -errno : 0;
}

unsigned int arm_ipa_bits(const struct kvm *kvm)
{
	int bits = kvm_check_cap(kvm, KVM_CAP_ARM_VM_IPA_SIZE);

	/* As arch_vm_type() chose. */
	return bits > 0 && bits < IPA_BITS_DEFAULT ? (unsigned int)bits : IPA_BITS_DEFAULT;
}

/* What it is made of depends on what the board is to be: arm_vcpu_setup(). */
int arch_vcpu_init(struct vcpu *vcpu, unsigned int cpus_nr, struct err *err)
{
	(void)vcpu;
	(void)cpus_nr;
	(void)err;
	return 0;
}

bool arch_prefers_port_doorbells(void)
{
	return false;
}

static void add_feature(struct kvm_vcpu_init *init, unsigned int feature)
{
	init->features[feature / 32] |= 1u << feature % 32;
}

static bool has_feature(const struct kvm_vcpu_init *init, unsigned int feature)
{
	return init->features[feature / 32] & 1u << feature % 32;
}

static void choose_features(const struct vcpu *vcpu, bool pmu, struct kvm_vcpu_init *init)
{
	const struct kvm *kvm = vcpu->kvm;

	add_feature(init, KVM_ARM_VCPU_PSCI_0_2);
	if (vcpu->id)
		add_feature(init, KVM_ARM_VCPU_POWER_OFF);
	if (pmu)
		add_feature(init, KVM_ARM_VCPU_PMU_V3);
	if (kvm_check_cap(kvm, KVM_CAP_ARM_SVE))
		add_feature(init, KVM_ARM_VCPU_SVE);
	/* KVM takes both or none. */
	if (kvm_check_cap(kvm, KVM_CAP_ARM_PTRAUTH_ADDRESS) &&
	    kvm_check_cap(kvm, KVM_CAP_ARM_PTRAUTH_GENERIC)) {
		add_feature(init, KVM_ARM_VCPU_PTRAUTH_ADDRESS);
		add_feature(init, KVM_ARM_VCPU_PTRAUTH_GENERIC);
	}
}

int arm_vcpu_setup(struct vcpu *vcpu, bool pmu, struct err *err)
{
	struct kvm_vcpu_init init = { 0 };
	int sve = KVM_ARM_VCPU_SVE;

	if (pmu && !kvm_check_cap(vcpu->kvm, KVM_CAP_ARM_PMU_V3))
		return err_host(err, ENOTSUP, "--pmu: this host's KVM has no counters for guests");
	if (ioctl(vcpu->kvm->vm_fd, KVM_ARM_PREFERRED_TARGET, &init))
		return err_host(err, errno, "KVM does not know this host's CPU");
	choose_features(vcpu, pmu, &init);
	if (ioctl(vcpu->fd, KVM_ARM_VCPU_INIT, &init))
		return err_host(err, errno, "KVM refuses to set up vCPU %u", vcpu->id);
	if (has_feature(&init, KVM_ARM_VCPU_SVE) && ioctl(vcpu->fd, KVM_ARM_VCPU_FINALIZE, &sve))
		return err_host(err, errno, "KVM refuses SVE for vCPU %u", vcpu->id);
	return 0;
}

int arm_vcpu_start_pmu(struct vcpu *vcpu, struct err *err)
{
	int irq = GIC_PPI_FIRST + PPI_PMU;
	struct kvm_device_attr attr = {
		.group = KVM_ARM_VCPU_PMU_V3_CTRL,
		.attr = KVM_ARM_VCPU_PMU_V3_IRQ,
		.addr = (uintptr_t)&irq,
	};

	if (ioctl(vcpu->fd, KVM_SET_DEVICE_ATTR, &attr))
		return err_host(err, errno, "--pmu: KVM refuses its interrupt");
	attr = (struct kvm_device_attr){ .group = KVM_ARM_VCPU_PMU_V3_CTRL,
					 .attr = KVM_ARM_VCPU_PMU_V3_INIT };
	if (ioctl(vcpu->fd, KVM_SET_DEVICE_ATTR, &attr))
		return err_host(err, errno, "--pmu: KVM refuses to start it");
	return 0;
}

static unsigned int field(uint64_t reg, unsigned int shift)
{
	return reg >> shift & 0xf;
}

int arm_vcpu_facts(struct vcpu *vcpu, struct arm_cpu *cpu, struct err *err)
{
	uint64_t mmfr0;

	int ret = arm_get_reg(vcpu, ID_AA64MMFR0_EL1, &mmfr0);
	if (ret)
		return err_host(err, -ret, "KVM does not tell what pages a guest's CPU has");
	*cpu = (struct arm_cpu){ .big_endian = field(mmfr0, MMFR0_BIGEND_SHIFT) };
	if (field(mmfr0, MMFR0_TGRAN4_SHIFT) != TGRAN_NONE)
		cpu->pages |= 1u << ARM_PAGES_4K;
	if (field(mmfr0, MMFR0_TGRAN16_SHIFT))
		cpu->pages |= 1u << ARM_PAGES_16K;
	if (field(mmfr0, MMFR0_TGRAN64_SHIFT) != TGRAN_NONE)
		cpu->pages |= 1u << ARM_PAGES_64K;
	return 0;
}

int arm_vcpu_affinity(struct vcpu *vcpu, uint32_t *affinity, struct err *err)
{
	uint64_t mpidr;

	int ret = arm_get_reg(vcpu, MPIDR_EL1, &mpidr);
	if (ret)
		return err_host(err, -ret, "KVM does not tell the number of vCPU %u", vcpu->id);
	*affinity = mpidr & MPIDR_AFFINITY;
	return 0;
}

/* KVM starts a vCPU at EL1 with interrupts masked and the MMU off, which is what the kernel wants. */
int arm_entry_set(struct vcpu *vcpu, uint64_t pc, uint64_t dtb, struct err *err)
{
	int ret = set_reg(vcpu, CORE_REG(regs.pc), pc);

	if (!ret)
		ret = set_reg(vcpu, X_REG(0), dtb);
	return ret ? err_host(err, -ret, "KVM refuses the kernel's entry state") : 0;
}

/* A CPU that waits for an interrupt does not tell whether one can come; one that is off tells. */
bool arch_vcpu_is_stuck(struct vcpu *vcpu)
{
	struct kvm_mp_state mp;

	return !ioctl(vcpu->fd, KVM_GET_MP_STATE, &mp) && mp.mp_state == KVM_MP_STATE_STOPPED;
}

void arch_vcpu_dump(struct vcpu *vcpu, FILE *out)
{
	static const struct {
		const char *name;
		uint64_t id;
	} regs[] = {
		{ "pc", CORE_REG(regs.pc) },
		{ "sp", CORE_REG(sp_el1) },
		{ "pst", CORE_REG(regs.pstate) },
		{ "elr", CORE_REG(elr_el1) },
		{ "spsr", CORE_REG(spsr[0]) },
		{ "sp0", CORE_REG(regs.sp) },
		{ "esr", ESR_EL1 },
		{ "far", FAR_EL1 },
		{ "sctl", SCTLR_EL1 },
		{ "ttb0", TTBR0_EL1 },
		{ "ttb1", TTBR1_EL1 },
		{ "tcr", TCR_EL1 },
		{ "vbar", VBAR_EL1 },
	};
	struct kvm_mp_state mp = { .mp_state = KVM_MP_STATE_RUNNABLE };
	unsigned int nr = 0;
	uint64_t value;

	ioctl(vcpu->fd, KVM_GET_MP_STATE, &mp);
	if (mp.mp_state == KVM_MP_STATE_STOPPED) {
		fprintf(out, "vCPU %u: off\n", vcpu->id);
		return;
	}
	int ret = arm_get_reg(vcpu, CORE_REG(regs.pc), &value);
	if (ret) {
		fprintf(out, "vCPU %u: KVM does not give its registers: %s\n", vcpu->id,
			strerror(-ret));
		return;
	}
	fprintf(out, "vCPU %u:\n", vcpu->id);
	for (size_t i = 0; i < ARRAY_SIZE(regs); i++) {
		arm_get_reg(vcpu, regs[i].id, &value);
		fprintf(out, "  %-4s %016" PRIx64 "%s", regs[i].name, value, ++nr % 3 ? "" : "\n");
	}
	for (unsigned int i = 0; i <= 30; i++) {
		arm_get_reg(vcpu, X_REG(i), &value);
		fprintf(out, "  x%-3u %016" PRIx64 "%s", i, value, ++nr % 3 ? "" : "\n");
	}
	fprintf(out, "%s", nr % 3 ? "\n" : "");
}
