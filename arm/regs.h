/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The names of a vCPU's registers for KVM_GET_ONE_REG and KVM_SET_ONE_REG.
 */
#ifndef LKVM_ARM_REGS_H
#define LKVM_ARM_REGS_H

#include <linux/kvm.h>
#include <stddef.h>
#include <stdint.h>

struct vcpu;

#define CORE_REG(field)                                                                            \
	(KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | KVM_REG_ARM_CORE_REG(field))
#define X_REG(n) (CORE_REG(regs.regs[0]) + 2 * (n))

/* Arm Architecture Reference Manual, D19: how a system register is encoded. */
#define SYS_REG(op0, op1, crn, crm, op2) ARM64_SYS_REG(op0, op1, crn, crm, op2)
#define MPIDR_EL1                        SYS_REG(3, 0, 0, 0, 5)
#define ID_AA64MMFR0_EL1                 SYS_REG(3, 0, 0, 7, 0)
#define SCTLR_EL1                        SYS_REG(3, 0, 1, 0, 0)
#define TTBR0_EL1                        SYS_REG(3, 0, 2, 0, 0)
#define TTBR1_EL1                        SYS_REG(3, 0, 2, 0, 1)
#define TCR_EL1                          SYS_REG(3, 0, 2, 0, 2)
#define ESR_EL1                          SYS_REG(3, 0, 5, 2, 0)
#define FAR_EL1                          SYS_REG(3, 0, 6, 0, 0)
#define VBAR_EL1                         SYS_REG(3, 0, 12, 0, 0)

/* Outside of KVM_RUN. 0 or -errno; *value is 0 then. */
int arm_get_reg(const struct vcpu *vcpu, uint64_t id, uint64_t *value);

#endif
