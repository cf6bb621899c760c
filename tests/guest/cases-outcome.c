/* SPDX-License-Identifier: GPL-2.0 */
/* A guest that does as it is told on the console: the ends of a VM in every order. */
#include "guest.h"

#define PIC_MASK_1 0x21
#define PIC_MASK_2 0xa1

/* Asleep, with interrupts on of which none comes: a guest that may go on. */
static _Noreturn void sleep_for_good(void)
{
	outb(PIC_MASK_1, 0xff);
	outb(PIC_MASK_2, 0xff);
	for (;;)
		__asm__ volatile("sti; hlt");
}

/* As Linux's is called. */
void panic(char why);
__attribute__((noinline)) void panic(char why)
{
	print_char(why);
	print_char('\n');
}

/* Keeps something on the stack that panic() returns to. */
__attribute__((noinline)) static void calls_panic(char why)
{
	panic(why);
	print("panicked\n");
}

static void obey(char order)
{
	switch (order) {
	case 'b':
		calls_panic(get_char());
		break;
	case 'p':
		power_off();
	case 'r':
		outb(PORT_RESET, 0x06);
		halt();
	case 't':
		triple_fault();
	case 'h':
		halt();
	case 'z':
		sleep_for_good();
	case 's':
		spin();
	case 'v':
		outb(PORT_PVPANIC, 1);
		break;
	case 'x':
		outb(0xf4, get_char());
		break;
	default:
		fail("no such order", order);
	}
}

/* Says what it gets. What follows an "@" is an order. */
static void t_told(void)
{
	for (;;) {
		char c = get_char();

		if (c == '@')
			obey(get_char());
		else
			print_char(c);
	}
}

const struct guest_case cases_outcome[] = {
	{ "told", t_told },
	{ NULL, NULL },
};
