/* SPDX-License-Identifier: GPL-2.0 */
/*
 * An output-only 8250 in memory space for the boot log: earlycon=uart8250,mmio32,ADDRESS. Source:
 * PC16550D data sheet; registers are four bytes apart, which is what mmio32 means to Linux.
 *
 * What a read gives never changes, so the machine can map the page as a read-only memory slot: polling
 * LSR then costs no exit. Where it cannot, the region answers from the same page. Writes always reach
 * the region, at once or through a coalesced zone over THR, which is drained before LCR changes.
 *
 * A write of any width at THR prints its low byte, unless LCR's DLAB makes it the divisor: a driver
 * that sets a baud rate must not print it.
 *
 * Ownership: storage is the caller's and outlives the vCPUs. Threads: any; its one word is atomic.
 */
#ifndef LKVM_EARLYCON_H
#define LKVM_EARLYCON_H

#include <stdatomic.h>
#include <stdint.h>

#include <lkvm/bus.h>
#include <lkvm/err.h>

struct chr;

#define EARLYCON_LEN 4096 /* the page: bytes of the region */
#define EARLYCON_THR 0    /* offset of the four bytes that a coalesced zone may cover */

struct earlycon {
	struct bus_region region;
	struct bus *mmio;
	struct chr *chr; /* NULL: output is dropped */
	_Atomic uint8_t lcr;
};

/* Claims [gpa, gpa + EARLYCON_LEN). ERR_INTERNAL when it is taken. Not a front end: it has no input. */
int earlycon_init(struct earlycon *e, struct bus *mmio, uint64_t gpa, struct chr *chr,
		  struct err *err);
void earlycon_release(struct earlycon *e);

/* Fills EARLYCON_LEN bytes with what the registers read as. */
void earlycon_page(void *page);

#endif
