/* SPDX-License-Identifier: GPL-2.0 */
#include <linux/kvm.h>

#include <lkvm/kvm.h>
#include <lkvm/util.h>

#define CAP(c) .cap = KVM_CAP_##c, .name = #c

const struct kvm_cap kvm_caps[] = {
	{ CAP(USER_MEMORY), .needed = true, .use = "guest memory" },
	{ CAP(DESTROY_MEMORY_REGION_WORKS), .needed = true, .use = "removing guest memory" },
	{ CAP(IRQCHIP), .needed = true, .use = "PIC, IOAPIC and local APICs in the kernel" },
	{ CAP(PIT2), .needed = true, .use = "the timer that Linux calibrates with" },
	{ CAP(SET_TSS_ADDR), .needed = true, .use = "real mode on Intel hosts" },
	{ CAP(SET_IDENTITY_MAP_ADDR), .needed = true, .use = "real mode on Intel hosts" },
	{ CAP(EXT_CPUID), .needed = true, .use = "telling the guest what its CPU can do" },
	{ CAP(MP_STATE), .needed = true, .use = "starting further CPUs" },
	{ CAP(IMMEDIATE_EXIT), .needed = true, .use = "stopping a vCPU without a lost signal" },
	{ CAP(IOEVENTFD), .needed = false, .use = "doorbells of virtio devices" },
	{ CAP(IRQFD), .needed = false, .use = "interrupts from other threads" },
	{ CAP(SIGNAL_MSI), .needed = false, .use = "MSI-X interrupts" },
	{ CAP(READONLY_MEM), .needed = false,
	  .use = "reading the boot log's port and PCI configuration without exits" },
	{ CAP(COALESCED_PIO), .needed = false, .use = "one exit fewer for each console byte" },
	{ CAP(COALESCED_MMIO), .needed = false, .use = "a boot log without exits to write" },
	{ CAP(TSC_DEADLINE_TIMER), .needed = false, .use = "the guest's cheapest timer" },
};
const unsigned int kvm_caps_nr = ARRAY_SIZE(kvm_caps);
