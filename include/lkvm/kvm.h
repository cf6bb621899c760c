/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The VM object: /dev/kvm, the VM descriptor, capabilities and memory slots.
 *
 * Source of every ioctl and constant: Documentation/virt/kvm/api.rst of the kernel.
 */
#ifndef LKVM_KVM_H
#define LKVM_KVM_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <lkvm/err.h>

struct arch_vm;
struct irq_routes;
struct log;

struct kvm {
	int dev_fd; /* /dev/kvm */
	int vm_fd;
	size_t run_len; /* bytes of a vCPU's mmap */
	unsigned int cpus_max;
	_Atomic int slots_nr; /* numbers of memory slots handed out so far */
	bool coalesced_pio;   /* KVM_CAP_COALESCED_PIO */
	bool msi_devid;       /* KVM_CAP_MSI_DEVID */
	/* What sends a message where KVM_SIGNAL_MSI cannot, and routes cannot then; NULL: they can */
	void (*msi_send)(struct kvm *kvm, uint32_t devid, uint64_t addr, uint32_t data);
	struct irq_routes *irq_routes; /* of irq-route.c; NULL while there are none */
	pthread_mutex_t irq_routes_lock;
	struct arch_vm *arch; /* what the architecture keeps for the VM; arch_vm_init() makes it */
	const struct log *log;
};

#define KVM_DEV_DEFAULT "/dev/kvm"

/*
 * One row for each capability that lkvm asks for. kvm_init() refuses a host that lacks a needed one;
 * `lkvm doctor` prints the table.
 */
struct kvm_cap {
	int cap; /* KVM_CAP_* */
	const char *name;
	bool needed;
	const char *use; /* what is lost without it */
};
extern const struct kvm_cap kvm_caps[];
extern const unsigned int kvm_caps_nr;

/* Opens `dev` and checks that it is KVM with API version 12. Returns the descriptor or -errno. */
int kvm_open_dev(const char *dev, struct err *err);

/* Opens the device, checks the table, makes the VM and what arch_vm_init() adds (irqchip, timers). */
int kvm_init(struct kvm *kvm, const char *dev, const struct log *log, struct err *err);
void kvm_release(struct kvm *kvm);

/* KVM_CHECK_EXTENSION on the VM: 0 when absent. */
int kvm_check_cap(const struct kvm *kvm, int cap);

/*
 * Any thread. Adds a memory slot; returns its number, 0 or more, or -errno. `host` is page aligned and stays
 * mapped until the slot is removed or kvm_release().
 */
int kvm_add_memory(struct kvm *kvm, uint64_t gpa, uint64_t size, void *host, bool readonly,
		   struct err *err);
/* Any thread. The guest's next access there is an exit. */
void kvm_del_memory(struct kvm *kvm, int slot);

#endif
