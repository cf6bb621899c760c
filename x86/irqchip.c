/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include <lkvm/arch.h>
#include <lkvm/err.h>
#include <lkvm/kvm.h>

#include "memmap.h"
#include "vm.h"

unsigned long arch_vm_type(int dev_fd)
{
	(void)dev_fd;
	return 0;
}

int arch_vm_init(struct kvm *kvm, struct err *err)
{
	uint64_t identity = GPA_IDENTITY;
	struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };

	kvm->arch = calloc(1, sizeof(*kvm->arch));
	if (!kvm->arch)
		return err_host(err, ENOMEM, "cannot make a VM");
	/* The identity map must be placed before the first vCPU, both before the irqchip (api.rst). */
	if (ioctl(kvm->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity))
		return err_host(err, errno, "KVM_SET_IDENTITY_MAP_ADDR");
	if (ioctl(kvm->vm_fd, KVM_SET_TSS_ADDR, (unsigned long)GPA_TSS))
		return err_host(err, errno, "KVM_SET_TSS_ADDR");
	if (ioctl(kvm->vm_fd, KVM_CREATE_IRQCHIP, 0))
		return err_host(err, errno, "KVM cannot make an interrupt controller");
	if (ioctl(kvm->vm_fd, KVM_CREATE_PIT2, &pit))
		return err_host(err, errno, "KVM cannot make a timer");
	return 0;
}

void arch_vm_release(struct kvm *kvm)
{
	if (kvm->arch)
		free(kvm->arch->cpuid);
	free(kvm->arch);
	kvm->arch = NULL;
}

int arch_irq_line(struct kvm *kvm, uint32_t gsi, int level)
{
	struct kvm_irq_level irq = { .irq = gsi, .level = level };

	return ioctl(kvm->vm_fd, KVM_IRQ_LINE, &irq) ? -errno : 0;
}

#define PIC_PINS 8
#define GSIS_NR  KVM_IOAPIC_NUM_PINS

/* As in KVM's arch/x86/kvm/irq_comm.c: each GSI is a pin of the I/O APIC, the first 16 also one of a PIC. */
unsigned int arch_irq_routes(struct kvm_irq_routing_entry *entries, unsigned int max)
{
	unsigned int nr = 0;

	for (uint32_t gsi = 0; gsi < GSIS_NR && nr + 2 <= max; gsi++) {
		uint32_t pic = gsi / PIC_PINS;

		if (pic <= KVM_IRQCHIP_PIC_SLAVE)
			entries[nr++] = (struct kvm_irq_routing_entry){
				.gsi = gsi,
				.type = KVM_IRQ_ROUTING_IRQCHIP,
				.u.irqchip = { .irqchip = pic, .pin = gsi % PIC_PINS },
			};
		entries[nr++] = (struct kvm_irq_routing_entry){
			.gsi = gsi,
			.type = KVM_IRQ_ROUTING_IRQCHIP,
			.u.irqchip = { .irqchip = KVM_IRQCHIP_IOAPIC, .pin = gsi },
		};
	}
	return nr;
}
