/* SPDX-License-Identifier: GPL-2.0 */
#include <linux/kvm.h>

#include <lkvm/kvm.h>
#include <lkvm/util.h>

#define CAP(c) .cap = KVM_CAP_##c, .name = #c

const struct kvm_cap kvm_caps[] = {
	{ CAP(USER_MEMORY), .needed = true, .use = "guest memory" },
	{ CAP(DESTROY_MEMORY_REGION_WORKS), .needed = true, .use = "removing guest memory" },
	{ CAP(ONE_REG), .needed = true, .use = "the CPU's registers" },
	{ CAP(DEVICE_CTRL), .needed = true, .use = "an interrupt controller in the kernel" },
	{ CAP(ARM_PSCI_0_2), .needed = true, .use = "starting further CPUs, power-off and reset" },
	{ CAP(MP_STATE), .needed = true, .use = "telling CPUs that are off" },
	{ CAP(IMMEDIATE_EXIT), .needed = true, .use = "stopping a vCPU without a lost signal" },
	{ CAP(IOEVENTFD), .needed = false, .use = "doorbells of virtio devices" },
	{ CAP(IRQFD), .needed = false, .use = "interrupts from other threads" },
	{ CAP(SIGNAL_MSI), .needed = false, .use = "MSI-X interrupts by an ITS" },
	{ CAP(READONLY_MEM), .needed = false, .use = "reading the boot log's port without exits" },
	{ CAP(COALESCED_MMIO), .needed = false, .use = "a boot log without exits to write" },
	{ CAP(ARM_VM_IPA_SIZE), .needed = false,
	  .use = "guests on hosts whose addresses are short" },
	{ CAP(ARM_PMU_V3), .needed = false, .use = "--pmu" },
	{ CAP(ARM_SVE), .needed = false, .use = "scalable vectors in the guest" },
	{ CAP(ARM_PTRAUTH_ADDRESS), .needed = false, .use = "pointer authentication in the guest" },
};
const unsigned int kvm_caps_nr = ARRAY_SIZE(kvm_caps);
