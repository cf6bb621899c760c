/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests of hw/ stand on: a real bus, and fakes of interrupt lines and stop requests that
 * remember what they were told. Interrupt lines are kept by GSI, below FAKE_GSI_NR.
 */
#ifndef LKVM_TESTS_FAKE_HW_H
#define LKVM_TESTS_FAKE_HW_H

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <lkvm/bus.h>
#include <lkvm/irq.h>
#include <lkvm/stop.h>
#include <lkvm/util.h>

#define FAKE_GSI_NR 24

static struct fake_line {
	bool level;
	unsigned int rises;
} fake_lines[FAKE_GSI_NR];

static struct fake_stop {
	unsigned int requests, panics;
	enum stop_reason reason;
	uint32_t value;
	char detail[STOP_DETAIL_LEN];
} fake_stop;

static struct bus fake_bus;

void irq_line_init(struct irq_line *line, struct kvm *kvm, uint32_t gsi)
{
	*line = (struct irq_line){ .kvm = kvm, .gsi = gsi };
	fake_lines[gsi] = (struct fake_line){ 0 };
}

void irq_line_set(struct irq_line *line, bool level)
{
	struct fake_line *fake = &fake_lines[line->gsi];

	fake->rises += level && !fake->level;
	line->level = fake->level = level;
}

void stop_request(struct stop *stop, enum stop_reason reason, uint32_t value, const char *fmt, ...)
{
	va_list ap;

	(void)stop;
	fake_stop.requests++;
	fake_stop.reason = reason;
	fake_stop.value = value;
	va_start(ap, fmt);
	vsnprintf(fake_stop.detail, sizeof(fake_stop.detail), fmt, ap);
	va_end(ap);
}

void stop_note_panic(struct stop *stop, const char *fmt, ...)
{
	va_list ap;

	(void)stop;
	fake_stop.panics++;
	va_start(ap, fmt);
	vsnprintf(fake_stop.detail, sizeof(fake_stop.detail), fmt, ap);
	va_end(ap);
}

static inline uint64_t in(uint64_t addr, unsigned int width)
{
	uint8_t data[8] = { 0 };

	bus_read(&fake_bus, addr, data, width);
	return get_le64(data);
}

static inline void out(uint64_t addr, unsigned int width, uint64_t value)
{
	uint8_t data[8];

	put_le64(data, value);
	bus_write(&fake_bus, addr, data, width);
}

static inline uint8_t inb(uint64_t addr)
{
	return (uint8_t)in(addr, 1);
}

static inline void outb(uint64_t addr, uint8_t value)
{
	out(addr, 1, value);
}

/* The same numbers on every run. */
static inline uint32_t fake_random(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 8;
}

#endif
