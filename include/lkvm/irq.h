/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Interrupt lines into the in-kernel interrupt controller.
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

#endif
