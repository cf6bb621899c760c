/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The PS/2 keyboard controller with a keyboard nobody types on, and the reset and A20 lines it shares
 * with port 0x92. Source: IBM PS/2 Hardware Interface Technical Reference, "Keyboard and Auxiliary
 * Device Controller"; the same manual's "System Control Port A" for port 0x92.
 *
 * It is here for its reset line, and so that a driver's probe is answered at once. There is no
 * auxiliary device: its interface test reports a stuck clock and its loop-back is not marked as
 * auxiliary data, which makes Linux give the port up after two commands. A port that passed would cost
 * it an interrupt delivery test and then time-outs for a mouse that does not answer.
 *
 * A20 is always open. An empty queue reads as the last byte. What a guest queues beyond a queue's
 * length is dropped.
 *
 * Ownership: storage is the caller's and outlives the vCPUs. Threads: any vCPU thread. `lock` is a leaf
 * but for the interrupt lines; stop requests are made without it.
 */
#ifndef LKVM_I8042_H
#define LKVM_I8042_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <lkvm/bus.h>
#include <lkvm/err.h>
#include <lkvm/irq.h>

struct stop;

#define I8042_QUEUE_LEN 16
#define I8042_RAM_LEN   32

struct i8042_config {
	uint16_t data_port;
	uint16_t cmd_port;
	uint16_t a20_port;
	uint32_t kbd_gsi;
	uint32_t aux_gsi;
};

struct i8042_queue {
	uint8_t data[I8042_QUEUE_LEN];
	bool aux[I8042_QUEUE_LEN]; /* auxiliary data: status bit 5 and the other interrupt */
	unsigned int head;         /* < I8042_QUEUE_LEN */
	unsigned int nr;           /* <= I8042_QUEUE_LEN */
};

struct i8042 {
	struct bus_region data, cmd, a20;
	struct bus *pio;
	struct stop *stop;

	pthread_mutex_t lock; /* everything below */
	struct irq_line kbd_irq, aux_irq;
	struct i8042_queue out;     /* the controller's answers: read before the keyboard's */
	struct i8042_queue kbd;     /* the keyboard's: held back while its interface is disabled */
	uint8_t ram[I8042_RAM_LEN]; /* byte 0 is the command byte */
	uint8_t command;            /* waits for its parameter, 0: none */
	uint8_t kbd_command;        /* the same of the keyboard */
	uint8_t last;               /* the last byte read */
	bool after_command;         /* the last write went to the command port: status bit 3 */
};

/* Claims three ports. ERR_INTERNAL when one is taken. A reset ends up in stop_request(). */
int i8042_init(struct i8042 *k, struct bus *pio, const struct i8042_config *cfg, struct kvm *kvm,
	       struct stop *stop, struct err *err);
void i8042_release(struct i8042 *k);

#endif
