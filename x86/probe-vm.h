/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The probe's machine: bare KVM calls for a VM with 64 KiB of RAM and vCPUs that start in long mode.
 */
#ifndef LKVM_X86_PROBE_VM_H
#define LKVM_X86_PROBE_VM_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

#include <lkvm/err.h>
#include <lkvm/kick.h>

/* The guest's scratch area (rsi), an address without RAM (rdi), and a port that nobody serves. */
#define PROBE_GPA_DATA    0x9000
#define PROBE_DATA_LEN    0x1000
#define PROBE_GPA_MMIO    0x100000
#define PROBE_PORT_NOBODY 0x11

struct probe_vm {
	int dev_fd; /* not owned */
	int vm_fd;
	uint8_t *ram;
	size_t run_len; /* bytes of a vCPU's mmap */
	struct kvm_cpuid2 *cpuid;
	unsigned int vcpus_nr; /* made so far: the next one's id */
	struct kick kick;
};

struct probe_vcpu {
	int fd;
	struct kvm_run *run;
};

/* What a vCPU starts with, beside the fixed rsi and rdi. */
struct probe_entry {
	const uint8_t *code; /* within the probe's guest */
	uint64_t rax, rbx, rcx, rdx;
	uint32_t cr4; /* bits beyond PAE and OSFXSR */
};

/* probe_vm_release() also undoes a probe_vm_init() that failed. */
int probe_vm_init(struct probe_vm *vm, int dev_fd, struct err *err);
void probe_vm_release(struct probe_vm *vm);

/* A new vCPU for each question: KVM may have left the last one in the middle of an instruction. */
int probe_vcpu_open(struct probe_vm *vm, const struct probe_entry *entry, struct probe_vcpu *v,
		    struct err *err);
void probe_vcpu_close(const struct probe_vm *vm, struct probe_vcpu *v);

#endif
