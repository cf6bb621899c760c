/* SPDX-License-Identifier: GPL-2.0 */
/* What arch_prefers_port_doorbells() decides by; apart from it for the tests. */
#ifndef LKVM_X86_DOORBELL_H
#define LKVM_X86_DOORBELL_H

#include <stdbool.h>

#define CPUID_VENDOR_LEN 12

/*
 * Whether a write to a port is the cheaper doorbell, by the vendor that CPUID names and by what uname calls the
 * release. AMD's nested page fault brings no instruction, so that KVM has to fetch and decode each write to memory;
 * from Linux 6.8 on it skips the instruction unseen, where a doorbell has no length. Intel hosts always did.
 * A release that does not begin with two numbers is taken for a new one.
 */
bool doorbell_prefers_port(const char vendor[CPUID_VENDOR_LEN], const char *release);

#endif
