/* SPDX-License-Identifier: GPL-2.0 */
/* The ends of a VM, and the console. */
#include "guest.h"

static void t_hello(void)
{
	print("hello from ");
	print(boot.pvh ? "PVH" : "the 64-bit entry");
	print("\n");
	pass();
}

static void t_cmdline(void)
{
	print("[");
	print(boot.cmdline);
	print("]\n");
	pass();
}

static void t_nothing(void)
{
	power_off();
}

void end_as_told(void)
{
	if (arg_is("how", "cf9"))
		outb(PORT_RESET, 0x06);
	if (arg_is("how", "i8042"))
		outb(I8042_CMD, 0xfe);
	if (arg_is("how", "a20"))
		outb(PORT_A20, 0x03);
	if (arg_is("how", "poweroff"))
		power_off();
	if (arg_is("how", "triple"))
		triple_fault();
	if (arg_is("how", "halt"))
		halt();
	spin();
}

static void t_reset(void)
{
	print("resetting\n");
	end_as_told();
}

static void t_spin(void)
{
	print("ready\n");
	spin();
}

static void t_halt(void)
{
	print("ready\n");
	halt();
}

static void t_debug_exit(void)
{
	print("leaving\n");
	outb(arg_num("port", 0xf4), arg_num("value", 0));
	fail("the debug-exit port did nothing", 0);
}

static void t_pvpanic(void)
{
	if (!(inb(PORT_PVPANIC) & 1))
		fail("pvpanic does not offer the panic event", inb(PORT_PVPANIC));
	outb(PORT_PVPANIC, arg_num("value", 1));
	print("last words\n");
	end_as_told();
}

static void t_panic_line(void)
{
	print("[    1.234567] Kernel panic - not syncing: Attempted to kill init! "
	      "exitcode=0x00000100\n");
	print("[    1.234568] ---[ end Kernel panic ]---\n");
	end_as_told();
}

/* Says what it gets until "q". */
static void t_echo(void)
{
	char c;

	print("ready\n");
	while ((c = get_char()) != 'q')
		print_char(c);
	print("\n");
	pass();
}

/* Takes an order at each start, so that a restart can be told from the first start. */
static void t_ask(void)
{
	print("boot\n");
	if (get_char() == 'r')
		outb(PORT_RESET, 0x06);
	pass();
}

/* `kib` KiB of numbered lines of 32 bytes, in FIFO-sized bursts as user space would send them. */
static void t_output(void)
{
	static char line[32] = "0000000 abcdefghijklmnopqrstuvw\n";
	uint64_t lines = arg_num("kib", 1) * 32;

	for (uint64_t n = 0; n < lines; n++) {
		for (int i = 6, v = n; i >= 0; i--, v /= 10)
			line[i] = '0' + v % 10;
		for (unsigned int i = 0; i < sizeof(line); i += 16) {
			const char *p = line + i;
			uint64_t count = 16;
			while (!(inb(COM1 + 5) & 0x20))
				cpu_pause();
			__asm__ volatile("rep outsb" : "+S"(p), "+c"(count) : "d"(COM1) : "memory");
		}
	}
	pass();
}

const struct guest_case cases_basic[] = {
	{ "hello", t_hello },
	{ "cmdline", t_cmdline },
	{ "nothing", t_nothing },
	{ "reset", t_reset },
	{ "spin", t_spin },
	{ "halt", t_halt },
	{ "debug-exit", t_debug_exit },
	{ "pvpanic", t_pvpanic },
	{ "panic-line", t_panic_line },
	{ "echo", t_echo },
	{ "ask", t_ask },
	{ "output", t_output },
	{ NULL, NULL },
};
