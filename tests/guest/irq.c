/* SPDX-License-Identifier: GPL-2.0 */
#include "guest.h"

/* Intel SDM volume 3, chapter 10 (APIC) and 6.14.1 (64-bit IDT). */
#define MSR_APIC_BASE    0x1b
#define APIC_BASE_X2     (1u << 10)
#define APIC_BASE_ENABLE (1u << 11)
#define MSR_X2APIC       0x800
#define LAPIC_EOI        0xb0
#define LAPIC_SVR        0xf0
#define LAPIC_ICR        0x300
#define SEL_CODE64       8

static struct {
	uint16_t off_low, sel, flags, off_mid;
	uint32_t off_high, zero;
} idt[256];

static bool x2;

static uint64_t rdmsr(uint32_t msr)
{
	uint32_t lo, hi;

	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
	return (uint64_t)hi << 32 | lo;
}

static void wrmsr(uint32_t msr, uint64_t v)
{
	__asm__ volatile("wrmsr"
			 :
			 : "c"(msr), "a"((uint32_t)v), "d"((uint32_t)(v >> 32))
			 : "memory");
}

void idt_set(unsigned int vector, void (*stub)(void))
{
	uint64_t addr = (uint64_t)stub;

	idt[vector].off_low = addr;
	idt[vector].sel = SEL_CODE64;
	idt[vector].flags = 0x8e00; /* present, interrupt gate */
	idt[vector].off_mid = addr >> 16;
	idt[vector].off_high = addr >> 32;
}

void idt_load(void)
{
	const struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) ptr = { sizeof(idt) - 1, (uint64_t)idt };

	cpu_load_tables();
	__asm__ volatile("lidt %0" : : "m"(ptr));
}

bool lapic_is_x2(void)
{
	return x2;
}

/* x2APIC when the CPU has it and "apic=x" was not asked for. */
void lapic_enable(void)
{
	uint32_t r[4];

	cpuid(1, r);
	x2 = (r[2] & (1u << 21)) && !arg_is("apic", "x");
	if (x2)
		wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | APIC_BASE_ENABLE | APIC_BASE_X2);
	lapic_write(LAPIC_SVR, 0x1ff);
}

void lapic_write(uint32_t reg, uint32_t v)
{
	if (x2)
		wrmsr(MSR_X2APIC + reg / 16, v);
	else
		write32(LAPIC + reg, v);
}

uint32_t lapic_read(uint32_t reg)
{
	return x2 ? rdmsr(MSR_X2APIC + reg / 16) : read32(LAPIC + reg);
}

void lapic_eoi(void)
{
	lapic_write(LAPIC_EOI, 0);
}

void lapic_ipi(uint32_t apic_id, uint32_t command)
{
	if (x2) {
		wrmsr(MSR_X2APIC + LAPIC_ICR / 16, (uint64_t)apic_id << 32 | command);
		return;
	}
	write32(LAPIC + LAPIC_ICR + 16, apic_id << 24);
	write32(LAPIC + LAPIC_ICR, command);
}
