/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The register state in which the boot vCPU enters a kernel: what a loader decides and cpu.c sets. And what
 * an address map asks of the CPU.
 */
#ifndef LKVM_X86_ENTRY_H
#define LKVM_X86_ENTRY_H

#include <stdint.h>

struct err;
struct gmem;
struct vcpu;

enum x86_mode {
	X86_MODE_LONG64, /* Linux 64-bit boot protocol: long mode, identity map, flat segments */
	X86_MODE_PROT32, /* PVH: 32-bit protected mode, paging off, flat segments */
};

struct x86_entry {
	enum x86_mode mode;
	uint64_t rip;
	uint64_t rsi; /* LONG64: boot_params */
	uint64_t rbx; /* PROT32: hvm_start_info */
};

/* Writes the GDT and, for long mode, the page tables to guest memory, and sets the vCPU's registers. */
int x86_entry_set(struct vcpu *vcpu, const struct gmem *gm, const struct x86_entry *entry,
		  struct err *err);

/* Bits of a guest-physical address, as the vCPU's CPUID tells them. */
unsigned int x86_phys_bits(const struct vcpu *vcpu);

#endif
