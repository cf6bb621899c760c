/* SPDX-License-Identifier: GPL-2.0 */
#include "guest.h"

#define LSR_DR   0x01
#define LSR_THRE 0x20

struct boot boot;

/* The compiler may call this and the next whatever the flags. */
void *memset(void *p, int c, size_t len)
{
	for (uint8_t *b = p; len--; b++)
		*(volatile uint8_t *)b = c;
	return p;
}

void *memcpy(void *dst, const void *src, size_t len)
{
	volatile uint8_t *d = dst;
	const uint8_t *s = src;

	while (len--)
		*d++ = *s++;
	return dst;
}

char get_char(void)
{
	while (!(inb(COM1 + 5) & LSR_DR))
		cpu_pause();
	return inb(COM1);
}

void print_char(char c)
{
	while (!(inb(COM1 + 5) & LSR_THRE))
		cpu_pause();
	outb(COM1, c);
}

void print(const char *s)
{
	for (; *s; s++) {
		if (*s == '\n')
			print_char('\r');
		print_char(*s);
	}
}

void print_hex(uint64_t v)
{
	print("0x");
	for (int shift = 60; shift >= 0; shift -= 4)
		if (v >> shift || shift == 0)
			print_char("0123456789abcdef"[v >> shift & 15]);
}

void print_num(uint64_t v)
{
	if (v >= 10)
		print_num(v / 10);
	print_char('0' + v % 10);
}

bool str_eq(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

/* The text behind "name=" at the start of a word, or NULL. */
static const char *arg_find(const char *name)
{
	for (const char *p = boot.cmdline; *p; p++) {
		const char *n = name, *q = p;
		if (p != boot.cmdline && p[-1] != ' ')
			continue;
		while (*n && *n == *q)
			n++, q++;
		if (!*n && *q == '=')
			return q + 1;
	}
	return NULL;
}

bool arg_is(const char *name, const char *value)
{
	const char *p = arg_find(name);

	if (!p)
		return false;
	while (*value && *value == *p)
		value++, p++;
	return !*value && (*p == ' ' || !*p);
}

uint64_t arg_num(const char *name, uint64_t none)
{
	const char *p = arg_find(name);
	uint64_t v = 0;

	if (!p)
		return none;
	for (; *p >= '0' && *p <= '9'; p++)
		v = v * 10 + (*p - '0');
	return v;
}

void halt(void)
{
	for (;;)
		__asm__ volatile("cli; hlt");
}

void spin(void)
{
	for (;;)
		cpu_pause();
}

void power_off(void)
{
	outw(PORT_PM_CNT, PM_S5);
	halt();
}

void triple_fault(void)
{
	static const struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) none;

	__asm__ volatile("lidt %0; ud2" : : "m"(none));
	__builtin_unreachable();
}

void fail(const char *why, uint64_t value)
{
	print("FAIL ");
	print(why);
	print(" ");
	print_hex(value);
	print("\n");
	power_off();
}

void pass(void)
{
	print("ok\n");
	power_off();
}

void checkpoint(void)
{
	print("checkpoint\n");
	get_char();
}

static void ram_add(uint64_t addr, uint64_t len, uint32_t type)
{
	if (type != 1 || boot.ram_nr == RAM_RANGES_MAX)
		return;
	boot.ram[boot.ram_nr++] = (struct ram_range){ addr, len };
}

/* Documentation/arch/x86/zero-page.rst */
static void boot_params_read(uint64_t zp)
{
	unsigned int nr = read8(zp + 0x1e8);

	boot.cmdline = (const char *)((uint64_t)read32(zp + 0xc8) << 32 | read32(zp + 0x228));
	boot.rsdp = read64(zp + 0x70);
	for (unsigned int i = 0; i < nr; i++) {
		uint64_t e = zp + 0x2d0 + i * 20;
		ram_add(read64(e), read64(e + 8), read32(e + 16));
	}
}

/* struct hvm_start_info, version 1 */
static void start_info_read(uint64_t si)
{
	if (read32(si) != 0x336ec578)
		fail("no hvm_start_info", read32(si));
	if (read32(si + 4) < 1)
		fail("hvm_start_info without a memory map", read32(si + 4));
	boot.pvh = true;
	boot.cmdline = (const char *)read64(si + 24);
	boot.rsdp = read64(si + 32);
	for (unsigned int i = 0; i < read32(si + 48); i++) {
		uint64_t e = read64(si + 40) + i * 24;
		ram_add(read64(e), read64(e + 8), read32(e + 16));
	}
}

static void run_case(const struct guest_case *table)
{
	for (; table->name; table++)
		if (arg_is("test", table->name))
			table->fn();
}

void guest_main(uint64_t info, uint64_t is_pvh, uint64_t loaded_at);

void guest_main(uint64_t info, uint64_t is_pvh, uint64_t loaded_at)
{
	extern uint8_t entry64[];

	boot.cmdline = "";
	if (loaded_at != (uint64_t)entry64)
		fail("loaded at", loaded_at);
	if (is_pvh)
		start_info_read(info);
	else
		boot_params_read(info);
	run_case(cases_basic);
	run_case(cases_io);
	run_case(cases_cpu);
	run_case(cases_virtio);
	run_case(cases_move);
	run_case(cases_hostile);
	run_case(cases_bench);
	run_case(cases_blk);
	run_case(cases_outcome);
	run_case(cases_cmd);
	print("cmdline: ");
	print(boot.cmdline);
	print("\n");
	fail("no such test", 0);
}
