/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A 16550A serial port. Source: National Semiconductor PC16550D data sheet; "DS n" below is its section.
 *
 * Output never waits: a byte written to THR is given to chr_write() before the write returns, so THRE
 * and TEMT are set and the transmit FIFO is empty. Only while a lossless chr is full does the transmitter look busy.
 *
 * Input is pulled, a receive trigger's worth at a time, and only while the guest listens: with the
 * receive interrupt enabled (IER bit 0), or while it polls LSR (SERIAL_POLLS reads with no other access
 * to the port, which a driver that writes never makes), and not in loopback. So what comes before the
 * guest's driver does stays with the chr instead of being lost when the driver clears the FIFO. What
 * the guest has not seen when it stops listening, beyond its FIFO, waits here until it listens again.
 * The character timeout does not wait for four character times: bytes below the trigger interrupt at
 * once.
 *
 * Modem inputs read as connected (CTS, DSR, DCD), also without a chr, so that no writer waits for them.
 * The interrupt reaches the line when OUT2 is set and loopback is off, as a PC wires it.
 *
 * Ownership: storage is the caller's and stays until no vCPU runs and no chr calls; the bus and the chr
 * are borrowed. Threads: registers on any vCPU thread, several at once; room() and input() on the chr's
 * loop. Locks: `lock` is a leaf but for the interrupt line. No chr_* function is called with it held,
 * so a chr may call room() and input() with its own lock held. chr_full() is the exception.
 */
#ifndef LKVM_SERIAL_H
#define LKVM_SERIAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <lkvm/bus.h>
#include <lkvm/chr.h>
#include <lkvm/err.h>
#include <lkvm/irq.h>

#define SERIAL_PORTS    8  /* ports of one UART */
#define SERIAL_FIFO_LEN 16 /* DS 1.0 */
#define SERIAL_POLLS    16

/* Received characters with their LSR error bits (DS 8.4: errors travel through the FIFO). */
struct serial_fifo {
	uint8_t data[SERIAL_FIFO_LEN];
	uint8_t error[SERIAL_FIFO_LEN];
	unsigned int head; /* < SERIAL_FIFO_LEN */
	unsigned int nr;   /* <= SERIAL_FIFO_LEN */
};

struct serial {
	struct bus_region region;
	struct bus *bus;
	struct chr *chr; /* NULL: output is dropped, there is no input */
	struct chr_frontend frontend;

	pthread_mutex_t lock; /* everything below */
	struct irq_line irq;
	struct serial_fifo rx;    /* what the guest reads; one deep while FIFOs are off */
	struct serial_fifo stage; /* taken from the chr, not yet received */
	uint8_t ier, fcr, lcr, mcr, scr, dll, dlm;
	uint8_t msr;        /* inputs (high half) and their deltas (low half) */
	bool overrun;       /* LSR OE */
	bool thre;          /* a THRE interrupt is pending (it is not the LSR bit) */
	bool stalled;       /* the chr is full: THRE and TEMT are off until it is writable */
	bool starved;       /* the chr was told "no room": it waits for chr_input_ready() */
	unsigned int polls; /* consecutive LSR reads, stops at SERIAL_POLLS */
};

/* Claims [base, base + 8), ports or memory, and becomes the chr's front end. ERR_INTERNAL when they are taken. */
int serial_init(struct serial *s, struct bus *bus, uint64_t base, struct kvm *kvm, uint32_t gsi,
		struct chr *chr, struct err *err);
void serial_release(struct serial *s);

#endif
