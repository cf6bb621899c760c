/* SPDX-License-Identifier: GPL-2.0 */
/* Interrupts, further CPUs, and instructions. */
#include "guest.h"

#define VEC_TIMER         0x40
#define VEC_SERIAL        0x41
#define VEC_PIC           0x30 /* of IRQ 0 */

#define LAPIC_LVT_TIMER   0x320
#define LAPIC_TIMER_COUNT 0x380
#define LAPIC_TIMER_DIV   0x3e0

#define IPI_INIT          0x4500
#define IPI_START         0x4600
#define AP_TRAMPOLINE     0x30000 /* below the EBDA, used by nobody once the command line is read */

volatile uint32_t cpus_started;
static volatile uint32_t cpus_done;
static volatile uint32_t ticks, serial_irqs;

static void wait_irq(void)
{
	__asm__ volatile("sti; hlt; cli" : : : "memory");
}

/* Called by the stubs of start.S. */
void on_tick(void)
{
	ticks++;
	lapic_eoi();
}

/* The LAPIC timer, one shot, three times; the CPU sleeps in between. */
static void t_timer(void)
{
	idt_set(VEC_TIMER, irq_tick);
	idt_load();
	lapic_enable();
	lapic_write(LAPIC_TIMER_DIV, 0xb); /* by 1 */
	lapic_write(LAPIC_LVT_TIMER, VEC_TIMER);
	for (uint32_t want = 1; want <= 3; want++) {
		lapic_write(LAPIC_TIMER_COUNT, 100000);
		while (ticks < want)
			wait_irq();
	}
	print(lapic_is_x2() ? "x2apic\n" : "xapic\n");
	pass();
}

/* Reading IIR takes the THRE interrupt back; IER 0 keeps the next one away. */
static void serial_irq(void)
{
	if ((inb(COM1 + 2) & 0x0f) == 0x02)
		serial_irqs++;
	outb(COM1 + 1, 0);
}

void on_serial_ioapic(void)
{
	serial_irq();
	lapic_eoi();
}

void on_serial_pic(void)
{
	serial_irq();
	outb(0x20, 0x20);
}

static void pic_init(void)
{
	static const uint8_t words[][2] = {
		{ 0x20, 0x11 }, { 0x21, VEC_PIC }, { 0x21, 4 },
		{ 0x21, 1 },    { 0xa0, 0x11 },    { 0xa1, VEC_PIC + 8 },
		{ 0xa1, 2 },    { 0xa1, 1 },       { 0x21, 0xff & ~(1 << COM1_IRQ) },
		{ 0xa1, 0xff }
	};

	for (unsigned int i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		outb(words[i][0], words[i][1]);
}

/* The transmitter's interrupt, through the IOAPIC or (via=pic) the PIC. */
static void t_serial_irq(void)
{
	bool pic = arg_is("via", "pic");

	idt_set(VEC_SERIAL, irq_serial_ioapic);
	idt_set(VEC_PIC + COM1_IRQ, irq_serial_pic);
	idt_load();
	if (pic) {
		pic_init();
	} else {
		outb(0x21, 0xff);
		outb(0xa1, 0xff);
		lapic_enable();
		write32(IOAPIC, 0x10 + COM1_IRQ * 2 + 1);
		write32(IOAPIC + 0x10, 0);
		write32(IOAPIC, 0x10 + COM1_IRQ * 2);
		write32(IOAPIC + 0x10, VEC_SERIAL);
	}
	for (uint32_t want = 1; want <= 3; want++) {
		outb(COM1 + 4, 0x0b); /* OUT2 opens the line */
		outb(COM1 + 1, 2);    /* IER: THRE, which is empty now */
		while (serial_irqs < want)
			wait_irq();
	}
	pass();
}

static void (*ap_task)(uint32_t nr);

void ap_main(uint32_t nr)
{
	ap_task(nr);
	__atomic_add_fetch(&cpus_done, 1, __ATOMIC_SEQ_CST);
}

void cpus_start(uint32_t cpus, void (*task)(uint32_t nr))
{
	ap_task = task;
	idt_load();
	lapic_enable();
	for (uint8_t *p = ap_start; p < ap_end; p++)
		write8(AP_TRAMPOLINE + (p - ap_start), *p);
	for (uint32_t id = 1; id < cpus; id++) {
		lapic_ipi(id, IPI_INIT);
		lapic_ipi(id, IPI_START | AP_TRAMPOLINE >> 12);
	}
}

void cpus_wait(uint32_t cpus)
{
	while (cpus_done < cpus - 1)
		cpu_pause();
}

static void end_if_first(uint32_t nr)
{
	if (nr == 0 && arg_is("by", "ap"))
		end_as_told();
}

/* by=ap: the first of the further CPUs ends the VM. */
static void t_smp(void)
{
	uint32_t cpus = arg_num("cpus", 2), r[4];

	cpus_start(cpus, end_if_first);
	cpus_wait(cpus);
	cpuid(1, r);
	print("cpus ");
	print_num(cpus_done + 1);
	print(" of ");
	print_num(r[1] >> 16 & 0xff);
	print("\n");
	pass();
}

/* Linux needs it; a KVM that interprets does not execute it. */
static void t_cx16(void)
{
	static uint64_t mem[2] __attribute__((aligned(16))) = { 1, 2 };
	uint64_t lo = 1, hi = 2;
	bool equal;

	print("before\n");
	__asm__ volatile("lock cmpxchg16b %1"
			 : "=@ccz"(equal), "+m"(mem), "+a"(lo), "+d"(hi)
			 : "b"(3ULL), "c"(4ULL));
	if (!equal || mem[0] != 3 || mem[1] != 4)
		fail("cmpxchg16b is wrong", mem[0]);
	pass();
}

/* Jumps to where no memory is. */
static void t_jump_to_hole(void)
{
	print("jumping\n");
	((void (*)(void))RAM_LOW_MAX)();
}

const struct guest_case cases_cpu[] = {
	{ "timer", t_timer }, { "serial-irq", t_serial_irq },     { "smp", t_smp },
	{ "cx16", t_cx16 },   { "jump-to-hole", t_jump_to_hole }, { NULL, NULL },
};
