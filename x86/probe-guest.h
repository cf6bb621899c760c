/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The probe's guest: 64-bit code without relocations, which probe.c copies to PROBE_GPA_CODE. Each entry
 * is the code of one question. probe.c sets every register that the code reads:
 *   rsi  a scratch area in RAM
 *   rdi  an address without RAM
 *   dx   a port that nobody serves
 */
#ifndef LKVM_X86_PROBE_GUEST_H
#define LKVM_X86_PROBE_GUEST_H

#include <stdint.h>

/* An instruction worked when the guest gets to write this port. */
#define PROBE_PORT_DONE 0x10

extern const uint8_t probe_guest_start[], probe_guest_end[];

/* Without an end: the timer ends them. */
extern const uint8_t probe_guest_count[]; /* PROBE_COUNT_INSNS instructions raise rcx by one */
extern const uint8_t probe_guest_out[];   /* port writes */
extern const uint8_t probe_guest_store[]; /* 2-byte stores to (rdi) */

#define PROBE_COUNT_INSNS 10

/* One instruction each, then PROBE_PORT_DONE. */
extern const uint8_t probe_guest_cx16[];  /* cmpxchg16b on (rsi) */
extern const uint8_t probe_guest_x87[];   /* adds the integers at (rsi) and 4(rsi) into 8(rsi) */
extern const uint8_t probe_guest_xsave[]; /* x87 state to (rsi) and back */

#endif
