/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The registers of cmd-abi.h, as the guest reaches them: I/O ports, by ioperm(2), or /dev/port where the kernel does not
 * let a program do that. Freestanding.
 */
#ifndef LKVM_GUEST_REGS_H
#define LKVM_GUEST_REGS_H

#include <stdbool.h>
#include <stdint.h>

struct regs {
	uint32_t base;
	int fd;      /* of /dev/port, -1: not needed */
	bool direct; /* this process may use the ports */
};

/* False when there are no such registers, or no way to them. */
bool regs_open(struct regs *r, uint32_t base);
uint32_t regs_read(const struct regs *r, unsigned int reg);
void regs_write(const struct regs *r, unsigned int reg, uint32_t value);
/* In a child, which inherits the right: the command does not get it. */
void regs_drop(const struct regs *r);

#endif
