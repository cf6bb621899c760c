/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The interrupt controller, which is KVM's: GICv3 with or without ITS, GICv2 with or without v2m.
 *
 * Source: Documentation/virt/kvm/devices/arm-vgic*.rst.
 */
#ifndef LKVM_ARM_GIC_H
#define LKVM_ARM_GIC_H

#include <lkvm/arch.h>
#include <lkvm/err.h>

/*
 * Makes one, after all vCPUs were set up. *kind is what was asked for, and never IRQCHIP_AUTO afterwards. ERR_HOST when
 * this host has none of the kind.
 */
int gic_init(struct kvm *kvm, enum irqchip *kind, unsigned int cpus_nr, struct err *err);

/* As options and messages have it. */
const char *gic_name(enum irqchip kind);

#endif
