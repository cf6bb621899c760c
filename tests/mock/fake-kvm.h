/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A KVM without a CPU: ioctl() on its descriptors is answered here, so that everything above the ioctls
 * runs in plain memory, under sanitizers, and with every call failing once.
 *
 * The device is /dev/null; the VM and its vCPUs are memfds, so that a leaked one is an open descriptor
 * and a vCPU's can be mapped. ioctl() on other descriptors goes to the kernel.
 */
#ifndef LKVM_TESTS_FAKE_KVM_H
#define LKVM_TESTS_FAKE_KVM_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

#define FAKE_KVM_DEV   "/dev/null"
#define FAKE_RUN_LEN   (3 * 4096)
#define FAKE_DOORBELLS 256
#define FAKE_ROUTES    600
#define FAKE_IRQFDS    64
#define FAKE_ATTRS     32
#define FAKE_ONE_REGS  64
#define FAKE_RING_PAGE 2 /* of the run mapping: the coalesced ring */

struct fake_kvm {
	/* What the test sets. */
	int api_version;
	unsigned int fail_at; /* the n-th call from 1 fails, 0: none */
	int fail_errno;
	int missing_cap;       /* KVM_CHECK_EXTENSION of it gives 0; -1: none */
	unsigned int cpuid_nr; /* x86: entries of KVM_GET_SUPPORTED_CPUID */
	int ipa_bits;          /* arm64: of a guest-physical address at most */
	uint32_t devices;      /* arm64: a bit for each type that KVM_CREATE_DEVICE makes */
	/* KVM_RUN: fills `run` and returns 0, or returns a negative errno. Any vCPU's thread. */
	int (*run)(struct fake_kvm *f, unsigned int vcpu, struct kvm_run *run);
	void *arg;
	uint32_t mp_state; /* KVM_GET_MP_STATE; KVM_MP_STATE_RUNNABLE at the start */
	/* KVM_TRANSLATE; NULL: nothing is mapped. */
	bool (*translate)(uint64_t vaddr, uint64_t *gpa);
	uint64_t halted_flags; /* rflags that KVM_GET_REGS gives in another state, if not 0 */

	/* What it records. */
	unsigned int calls;
	unsigned int runs; /* KVM_RUN is not counted as a call */
	unsigned int slots_nr;
	struct kvm_userspace_memory_region slots[8]; /* as they are now, by their number */
	unsigned int zones_nr;
	struct kvm_coalesced_mmio_zone zones[8];
	uint32_t irq, irq_level, irqs;
	struct kvm_ioeventfd doorbells[FAKE_DOORBELLS];
	unsigned int doorbells_nr, doorbells_max; /* armed now; the most at once that it takes */
	unsigned int routes_nr, routings;         /* the table, and how often it was set */
	struct kvm_irq_routing_entry routes[FAKE_ROUTES];
	unsigned int irqfds_nr;
	struct kvm_irqfd irqfds[FAKE_IRQFDS];
	bool rang;          /* see fake_kvm_rang() */
	struct kvm_msi msi; /* the last */
	unsigned int msis;
	struct kvm_guest_debug debug; /* the last */
	/* x86 */
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	/* arm64 */
	uint32_t features; /* of the last KVM_ARM_VCPU_INIT */
	struct kvm_device_attr attrs[FAKE_ATTRS];
	unsigned int attrs_nr;
	struct {
		uint64_t id, value;
	} one_regs[FAKE_ONE_REGS]; /* of all vCPUs */
	unsigned int one_regs_nr;
};

/* One at a time; everything is reset. */
struct fake_kvm *fake_kvm_start(void);
/* A guest's write: whether a doorbell caught it, which then rang. */
bool fake_kvm_write(bool pio, uint64_t addr, unsigned int len, uint64_t data);
/* Takes what was written to bound eventfds, as KVM does at once, and gives `fn` their messages. Returns how many. */
unsigned int fake_kvm_irqfds(void (*fn)(const struct kvm_irq_routing_entry *e));
/* Whether a doorbell rang since this was asked last; one turn of each loop hears all that did. */
bool fake_kvm_rang(void);

/* In a test that has one (fake-vhost.c): what ioctl() on a vhost device does. Negative: errno. */
int fake_vhost_ioctl(int fd, unsigned long request, void *arg) __attribute__((weak));

#endif
