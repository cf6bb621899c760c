/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Interrupts into the in-kernel interrupt controller: lines, and messages (MSI).
 */
#ifndef LKVM_IRQ_H
#define LKVM_IRQ_H

#include <stdbool.h>
#include <stdint.h>

struct kvm;

/*
 * One line of one device. The caller serialises calls for one line (a device calls under its lock).
 * The level is remembered, so setting it to what it is costs nothing.
 */
struct irq_line {
	struct kvm *kvm;
	uint32_t gsi;
	bool level;
};

void irq_line_init(struct irq_line *line, struct kvm *kvm, uint32_t gsi);
void irq_line_set(struct irq_line *line, bool level);

/*
 * Any thread. Sends a message that the guest chose by KVM_SIGNAL_MSI, which needs no route. `devid` is the
 * sender's bus, slot and function, for controllers that tell senders apart (arm64's ITS). An address
 * that no controller has is the guest's mistake: KVM refuses it, and nothing happens.
 */
void irq_msi_send(struct kvm *kvm, uint32_t devid, uint64_t addr, uint32_t data);

#endif
