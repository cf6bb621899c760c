/* SPDX-License-Identifier: GPL-2.0 */
#include <linux/kvm.h>
#include <sys/ioctl.h>

#include <lkvm/arch.h>
#include <lkvm/irq.h>
#include <lkvm/kvm.h>

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

void irq_msi_send(struct kvm *kvm, uint32_t devid, uint64_t addr, uint32_t data)
{
	struct kvm_msi msi = {
		.address_lo = (uint32_t)addr,
		.address_hi = addr >> 32,
		.data = data,
	};

	if (kvm->msi_send) {
		kvm->msi_send(kvm, devid, addr, data);
		return;
	}
	if (kvm->msi_devid) {
		msi.flags = KVM_MSI_VALID_DEVID;
		msi.devid = devid;
	}
	ioctl(kvm->vm_fd, KVM_SIGNAL_MSI, &msi);
}
