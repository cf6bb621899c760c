/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Where a vCPU is, in words: its instruction, then every word of the stack's top that may be the address of kernel
 * code, as a kernel without frame pointers leaves nothing better. So some of them are left from earlier calls: each has
 * a "?" before it.
 */
#ifndef LKVM_BACKTRACE_H
#define LKVM_BACKTRACE_H

#include <stdint.h>
#include <stdio.h>

struct gmem;
struct symbols;
struct vcpu;

#define BACKTRACE_LINES 32
#define BACKTRACE_STACK (16 * 1024) /* bytes that are looked at; a kernel stack has no more */

/* Of a vCPU that is not in KVM_RUN. `symbols` NULL: addresses alone. */
void backtrace_print(struct vcpu *vcpu, const struct gmem *gm, const struct symbols *symbols,
		     FILE *out);

/* "panic+0x0/0x2f0", or the address alone when it is in no function. */
void backtrace_name(const struct symbols *symbols, uint64_t addr, char *buf, size_t len);

#endif
