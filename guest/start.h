/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What start.c calls: the program. Freestanding.
 */
#ifndef LKVM_GUEST_START_H
#define LKVM_GUEST_START_H

void guest_main(void) __attribute__((noreturn));

#endif
