/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The frame that turns messages (MSI) into interrupts of a GICv2. KVM has none, so it is made here: a function's message
 * and a CPU's write to the frame raise an interrupt alike.
 *
 * Source: Arm Server Base System Architecture, appendix E (GICv2m).
 *
 * Storage is the caller's and outlives the vCPUs. Nothing in it changes.
 */
#ifndef LKVM_ARM_V2M_H
#define LKVM_ARM_V2M_H

#include <stdbool.h>
#include <stdint.h>

#include <lkvm/bus.h>
#include <lkvm/err.h>

struct kvm;

#define V2M_TYPER  0x008
#define V2M_SETSPI 0x040
#define V2M_IIDR   0xfcc

struct v2m {
	struct bus_region region;
	struct bus *mmio;
	struct kvm *kvm;
};

/* The number of an interrupt that messages may raise. */
bool v2m_has(uint32_t data);

int v2m_init(struct v2m *v, struct bus *mmio, struct kvm *kvm, struct err *err);
void v2m_release(struct v2m *v);

#endif
