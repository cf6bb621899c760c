/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The payload's small library. One CPU runs it unless a case starts more; no interrupt comes unless a
 * case asks for one. It polls, and it uses no floating point, so that an interpreting KVM can run it.
 */
#ifndef GUEST_H
#define GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KIB (1ULL << 10)
#define MIB (1ULL << 20)
#define GIB (1ULL << 30)

/* The machine, as its users know it. */
#define COM1         0x3f8
#define COM1_IRQ     4
#define I8042_CMD    0x64
#define PORT_A20     0x92
#define PORT_PVPANIC 0x505
#define PORT_CMD     0x510
#define PORT_PM_CNT  0x604
#define PORT_RESET   0xcf9
#define RAM_LOW_MAX  0xc0000000ULL /* RAM ends here below 4 GiB */
#define ECAM         0xe0000000ULL
#define LAPIC        0xfee00000ULL
#define IOAPIC       0xfec00000ULL
#define PM_S5        0x3400 /* SLP_TYP 5, SLP_EN: what the DSDT's \_S5 says */

static inline void outb(uint16_t port, uint8_t v)
{
	__asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port) : "memory");
}
static inline void outw(uint16_t port, uint16_t v)
{
	__asm__ volatile("outw %0, %1" : : "a"(v), "Nd"(port) : "memory");
}
static inline void outl(uint16_t port, uint32_t v)
{
	__asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port) : "memory");
}
static inline uint8_t inb(uint16_t port)
{
	uint8_t v;
	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}
static inline uint16_t inw(uint16_t port)
{
	uint16_t v;
	__asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}
static inline uint32_t inl(uint16_t port)
{
	uint32_t v;
	__asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}

#define MMIO(bits)                                                                                 \
	static inline uint##bits##_t read##bits(uint64_t addr)                                     \
	{                                                                                          \
		return *(volatile uint##bits##_t *)addr;                                           \
	}                                                                                          \
	static inline void write##bits(uint64_t addr, uint##bits##_t v)                            \
	{                                                                                          \
		*(volatile uint##bits##_t *)addr = v;                                              \
	}
MMIO(8)
MMIO(16)
MMIO(32)
MMIO(64)

static inline void cpu_pause(void)
{
	__asm__ volatile("pause" : : : "memory");
}
static inline uint64_t rdtsc(void)
{
	uint32_t lo, hi;
	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi) : : "memory");
	return (uint64_t)hi << 32 | lo;
}
static inline void cpuid(uint32_t leaf, uint32_t r[4])
{
	__asm__ volatile("cpuid"
			 : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3])
			 : "a"(leaf), "c"(0));
}

/* start.S */
extern uint8_t ap_start[], ap_end[], image_end[];
extern volatile uint32_t cpus_started;
void irq_tick(void);
void irq_serial_ioapic(void);
void irq_serial_pic(void);
void cpu_load_tables(void); /* our page tables (8 GiB) and GDT */

/* lib.c */
struct ram_range {
	uint64_t addr, len;
};
#define RAM_RANGES_MAX 16
struct boot {
	const char *cmdline;
	bool pvh;
	uint64_t rsdp;
	struct ram_range ram[RAM_RANGES_MAX]; /* what the loader calls usable */
	unsigned int ram_nr;
};
extern struct boot boot;

void *memset(void *p, int c, size_t len);
void *memcpy(void *dst, const void *src, size_t len);

char get_char(void);
void print_char(char c);
void print(const char *s);
void print_hex(uint64_t v);
void print_num(uint64_t v);
bool str_eq(const char *a, const char *b);
bool arg_is(const char *name, const char *value); /* "name=value" is on the command line */
uint64_t arg_num(const char *name, uint64_t none);

_Noreturn void halt(void);
_Noreturn void spin(void);
_Noreturn void power_off(void);
_Noreturn void triple_fault(void);
_Noreturn void fail(const char *why, uint64_t value); /* "FAIL why value", then power off */
_Noreturn void pass(void);                            /* "ok", then power off */
void checkpoint(void); /* says so, and goes on when the test sends a byte */

/* irq.c */
void idt_load(void);
void idt_set(unsigned int vector, void (*stub)(void));
bool lapic_is_x2(void);
void lapic_enable(void);
void lapic_write(uint32_t reg, uint32_t v); /* reg: xAPIC offset, not the ICR */
uint32_t lapic_read(uint32_t reg);
void lapic_eoi(void);
void lapic_ipi(uint32_t apic_id, uint32_t command);

/* cases-cpu.c */
/* Starts APIC ids 1 to cpus - 1, all at once, each with `task` and a stack of 2 KiB; and waits for all tasks' ends. */
void cpus_start(uint32_t cpus, void (*task)(uint32_t nr));
void cpus_wait(uint32_t cpus);

/* cases*.c */
struct guest_case {
	const char *name;
	void (*fn)(void);
};
_Noreturn void end_as_told(void); /* how=cf9, i8042, a20, triple, poweroff, halt or spin */
/* Each ends with a NULL name. */
extern const struct guest_case cases_basic[], cases_io[], cases_cpu[], cases_virtio[], cases_move[],
	cases_hostile[], cases_bench[], cases_blk[], cases_outcome[], cases_cmd[];
/* called from start.S */
void ap_main(uint32_t nr);
void on_tick(void);
void on_serial_ioapic(void);
void on_serial_pic(void);

#endif
