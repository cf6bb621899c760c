/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests of hw/ and PCI stand on: a real bus, and fakes of interrupt lines, messages, memory slots
 * and stop requests that remember what they were told. Interrupt lines are kept by GSI, below FAKE_GSI_NR.
 */
#ifndef LKVM_TESTS_FAKE_HW_H
#define LKVM_TESTS_FAKE_HW_H

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <lkvm/bus.h>
#include <lkvm/irq.h>
#include <lkvm/kvm.h>
#include <lkvm/stop.h>
#include <lkvm/util.h>

#define FAKE_GSI_NR 24

static struct fake_line {
	bool level;
	unsigned int rises;
} fake_lines[FAKE_GSI_NR];

/* The last messages, by rising number; any thread sends. */
#define FAKE_MSIS_NR 256

static struct fake_msi {
	uint32_t devid;
	uint64_t addr;
	uint32_t data;
} fake_msis[FAKE_MSIS_NR];
static unsigned int fake_msis_nr;
static pthread_mutex_t fake_msi_lock = PTHREAD_MUTEX_INITIALIZER;

/* KVM's memory slots: one at a time. */
static struct fake_slot {
	bool no_cap, refuse; /* what the test sets */
	bool there, readonly;
	unsigned int added;
	uint64_t gpa, size;
	uint8_t *host;
} fake_slot;

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

void irq_msi_send(struct kvm *kvm, uint32_t devid, uint64_t addr, uint32_t data)
{
	(void)kvm;
	pthread_mutex_lock(&fake_msi_lock);
	fake_msis[fake_msis_nr++ % FAKE_MSIS_NR] = (struct fake_msi){ devid, addr, data };
	pthread_mutex_unlock(&fake_msi_lock);
}

static inline unsigned int fake_msis_sent(void)
{
	pthread_mutex_lock(&fake_msi_lock);
	unsigned int nr = fake_msis_nr;
	pthread_mutex_unlock(&fake_msi_lock);
	return nr;
}

int kvm_check_cap(const struct kvm *kvm, int cap)
{
	(void)kvm;
	(void)cap;
	return !fake_slot.no_cap;
}

int kvm_add_memory(struct kvm *kvm, uint64_t gpa, uint64_t size, void *host, bool readonly,
		   struct err *err)
{
	(void)kvm;
	(void)err;
	if (fake_slot.refuse)
		return -1;
	fake_slot.added++;
	fake_slot.there = true;
	fake_slot.readonly = readonly;
	fake_slot.gpa = gpa;
	fake_slot.size = size;
	fake_slot.host = host;
	return 7;
}

void kvm_del_memory(struct kvm *kvm, int slot)
{
	(void)kvm;
	BUG_ON(slot != 7 || !fake_slot.there);
	fake_slot.there = false;
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

void stop_note(struct stop *stop, enum stop_reason reason, const char *fmt, ...)
{
	va_list ap;

	(void)stop;
	BUG_ON(reason != STOP_PANIC);
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
