/* SPDX-License-Identifier: GPL-2.0 */
#include <lkvm/arch.h>
#include <lkvm/irq.h>

void irq_line_init(struct irq_line *line, struct kvm *kvm, uint32_t gsi)
{
	*line = (struct irq_line){ .kvm = kvm, .gsi = gsi };
}

void irq_line_set(struct irq_line *line, bool level)
{
	if (line->level == level)
		return;
	line->level = level;
	/*
	 * KVM_IRQ_LINE fails only for a GSI that no controller has, and lines are given out at build
	 * time: there is nobody to tell and nothing to undo.
	 */
	arch_irq_line(line->kvm, line->gsi, level);
}
