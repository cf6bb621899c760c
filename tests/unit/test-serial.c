// SPDX-License-Identifier: GPL-2.0
// LINK: hw/serial.c bus.c util/err.c
#include <pthread.h>
#include <stdatomic.h>

#include "unit.h"
#include "fake-hw.h"

#include <lkvm/serial.h>

#define BASE     0x3f8
#define GSI      4

#define RBR      (BASE + 0)
#define THR      (BASE + 0)
#define IER      (BASE + 1)
#define IIR      (BASE + 2)
#define FCR      (BASE + 2)
#define LCR      (BASE + 3)
#define MCR      (BASE + 4)
#define LSR      (BASE + 5)
#define MSR      (BASE + 6)
#define SCR      (BASE + 7)

#define LOOPBACK 0x10
#define OUT2     0x08
#define IDLE     0x60

/* A chr that holds its lock while it calls the front end, the worst that is allowed. */
struct chr {
	pthread_mutex_t lock;
	struct chr_frontend fe;
	char in[4096], out[65536];
	size_t in_nr, in_at, out_nr;
	atomic_uint ready;
	_Atomic bool full; /* what chr_full() says */
};

static struct chr chr;
static struct serial serial;
static struct err err;

void chr_set_frontend(struct chr *c, const struct chr_frontend *fe)
{
	c->fe = *fe;
}

void chr_write(struct chr *c, const void *buf, size_t len)
{
	pthread_mutex_lock(&c->lock);
	for (size_t i = 0; i < len && c->out_nr < sizeof(c->out); i++)
		c->out[c->out_nr++] = ((const char *)buf)[i];
	pthread_mutex_unlock(&c->lock);
}

bool chr_full(struct chr *c)
{
	return atomic_load(&c->full);
}

void chr_input_ready(struct chr *c)
{
	pthread_mutex_lock(&c->lock);
	atomic_fetch_add(&c->ready, 1);
	pthread_mutex_unlock(&c->lock);
}

/* What the loop does: gives what there is room for. Returns the bytes given. */
static size_t pump(void)
{
	size_t given = 0, n;

	pthread_mutex_lock(&chr.lock);
	while (chr.in_at < chr.in_nr && (n = chr.fe.room(chr.fe.arg)) > 0) {
		n = MIN(n, chr.in_nr - chr.in_at);
		chr.fe.input(chr.fe.arg, (const uint8_t *)chr.in + chr.in_at, n);
		chr.in_at += n;
		given += n;
	}
	pthread_mutex_unlock(&chr.lock);
	return given;
}

static void type_in(const char *s)
{
	memcpy(chr.in + chr.in_nr, s, strlen(s));
	chr.in_nr += strlen(s);
}

static void setup(void)
{
	memset(&chr, 0, sizeof(chr));
	pthread_mutex_init(&chr.lock, NULL);
	bus_init(&fake_bus);
	err = ERR_INIT;
	ck_assert_int_eq(serial_init(&serial, &fake_bus, BASE, NULL, GSI, &chr, &err), 0);
}

static void teardown(void)
{
	serial_release(&serial);
	bus_release(&fake_bus);
	pthread_mutex_destroy(&chr.lock);
}

static bool line(void)
{
	return fake_lines[GSI].level;
}

START_TEST(registers_after_reset)
{
	static const uint8_t want[] = { 0, 0, 0x01, 0, 0, IDLE, 0xb0, 0 };

	for (unsigned int i = 0; i < ARRAY_SIZE(want); i++)
		ck_assert_uint_eq(inb(BASE + i), want[i]);
	ck_assert(!line());
}
END_TEST

START_TEST(writable_bits)
{
	static const struct {
		unsigned int reg;
		uint8_t mask;
	} regs[] = { { IER, 0x0f }, { LCR, 0xff }, { MCR, 0x1f }, { SCR, 0xff } };

	for (unsigned int i = 0; i < ARRAY_SIZE(regs); i++) {
		for (unsigned int v = 0; v < 256; v++) {
			outb(LCR, 0);
			outb(regs[i].reg, v);
			ck_assert_uint_eq(inb(regs[i].reg), v & regs[i].mask);
		}
		outb(regs[i].reg, 0);
	}
	/* LSR and MSR are read-only. */
	outb(LSR, 0xff);
	outb(MSR, 0xff);
	ck_assert_uint_eq(inb(LSR), IDLE);
	inb(MSR);
	ck_assert_uint_eq(inb(MSR), 0xb0);
}
END_TEST

/* The transmitter looks busy, to one who polls and to one who waits for the interrupt, until there is room. */
START_TEST(a_full_chr_stalls_the_transmitter)
{
	outb(IER, 0);
	outb(THR, '1');
	ck_assert_uint_eq(inb(LSR), IDLE);
	chr.full = true;
	outb(THR, '2');
	ck_assert_uint_eq(inb(LSR), 0);
	outb(MCR, OUT2);
	outb(IER, 0x02);
	ck_assert(!line());
	ck_assert_uint_eq(inb(IIR), 0x01);
	/* Told, but full again already: it stays as it is. */
	chr.fe.writable(chr.fe.arg);
	ck_assert_uint_eq(inb(LSR), 0);
	chr.full = false;
	chr.fe.writable(chr.fe.arg);
	ck_assert(line());
	ck_assert_uint_eq(inb(LSR), IDLE);
	ck_assert_uint_eq(inb(IIR), 0x02);
	/* What is sent without asking is still in order. */
	chr.full = true;
	outb(THR, '3');
	outb(THR, '4');
	ck_assert_uint_eq(chr.out_nr, 4);
	ck_assert_int_eq(memcmp(chr.out, "1234", 4), 0);
	/* A writable() that nobody waits for is no interrupt. */
	chr.full = false;
	chr.fe.writable(chr.fe.arg);
	ck_assert_uint_eq(inb(IIR), 0x02);
	chr.fe.writable(chr.fe.arg);
	ck_assert_uint_eq(inb(IIR), 0x01);
}
END_TEST

START_TEST(divisor_is_neither_printed_nor_an_interrupt_enable)
{
	outb(LCR, 0x83);
	outb(BASE, 'D');
	outb(BASE + 1, 0x0f);
	ck_assert_uint_eq(inb(BASE), 'D');
	ck_assert_uint_eq(inb(BASE + 1), 0x0f);
	outb(LCR, 0x03);
	ck_assert_uint_eq(inb(IER), 0);
	ck_assert_uint_eq(inb(RBR), 0);
	ck_assert_uint_eq(chr.out_nr, 0);
}
END_TEST

START_TEST(wide_accesses_are_bytes)
{
	out(BASE, 2, 0x0241); /* THR, IER */
	ck_assert_uint_eq(chr.out_nr, 1);
	ck_assert_int_eq(chr.out[0], 'A');
	ck_assert_uint_eq(inb(IER), 0x02);
	out(MCR, 4, 0x5affff0b); /* MCR, LSR, MSR, SCR */
	ck_assert_uint_eq(in(MCR, 4), 0x5ab0600b);
	out(SCR, 8, 0x1122334455667788);
	ck_assert_uint_eq(inb(SCR), 0x88);
	ck_assert_uint_eq(in(SCR, 4), 0xffffff88);
	/* Every offset and width, before, in and past the ports. */
	for (unsigned int at = BASE - 8; at < BASE + 16; at++)
		for (unsigned int width = 1; width <= 8; width++) {
			out(at, width, 0xa5a5a5a5a5a5a5a5);
			in(at, width);
		}
}
END_TEST

/* The steps by which Linux recognises a port and its type. */
START_TEST(linux_autoconfig)
{
	outb(IER, 0);
	ck_assert_uint_eq(inb(IER), 0);
	outb(IER, 0x0f);
	ck_assert_uint_eq(inb(IER), 0x0f);
	outb(IER, 0);
	outb(MCR, LOOPBACK | 0x0a);
	ck_assert_uint_eq(inb(MSR) & 0xf0, 0x90);
	outb(MCR, 0);
	outb(LCR, 0xbf);
	outb(FCR, 0);
	outb(LCR, 0);
	outb(FCR, 0x01);
	ck_assert_uint_eq(inb(IIR) >> 6, 3);
	/* No extended features register, no 64-byte FIFO, no bank switch. */
	outb(LCR, 0x80);
	ck_assert_uint_ne(inb(IIR), 0);
	outb(LCR, 0xbf);
	ck_assert_uint_ne(inb(IIR), 0);
	outb(LCR, 0);
	outb(FCR, 0x21);
	ck_assert_uint_eq(inb(IIR) >> 5, 6);
	outb(LCR, 0x80);
	outb(FCR, 0x21);
	ck_assert_uint_eq(inb(IIR) >> 5, 6);
	outb(LCR, 0);
	outb(IER, 0x40);
	ck_assert_uint_eq(inb(IER), 0);
	/* The THRE test: both times the interrupt must be there. */
	for (int i = 0; i < 2; i++) {
		outb(IER, 0x02);
		ck_assert_uint_eq(inb(IIR) & 0x0f, 0x02);
		outb(IER, 0);
	}
	ck_assert_uint_eq(chr.out_nr, 0);
}
END_TEST

START_TEST(loopback_fifo_is_16_deep)
{
	outb(FCR, 0x07);
	outb(MCR, LOOPBACK);
	for (unsigned int i = 0; i < 20; i++)
		outb(THR, i);
	ck_assert_uint_eq(inb(LSR), IDLE | 0x03); /* DR, OE */
	ck_assert_uint_eq(inb(LSR), IDLE | 0x01); /* reading it cleared OE */
	for (unsigned int i = 0; i < 16; i++) {
		ck_assert_uint_eq(inb(LSR) & 0x01, 1);
		ck_assert_uint_eq(inb(RBR), i);
	}
	ck_assert_uint_eq(inb(LSR), IDLE);
	ck_assert_uint_eq(chr.out_nr, 0);
}
END_TEST

START_TEST(loopback_without_fifo_replaces)
{
	outb(MCR, LOOPBACK);
	outb(THR, 'a');
	outb(THR, 'b');
	ck_assert_uint_eq(inb(LSR), IDLE | 0x03);
	ck_assert_uint_eq(inb(RBR), 'b');
	ck_assert_uint_eq(inb(LSR), IDLE);
}
END_TEST

START_TEST(loopback_break_is_an_error_of_its_character)
{
	outb(FCR, 0x01);
	outb(IER, 0x05);
	outb(MCR, LOOPBACK | OUT2);
	outb(THR, 'x');
	outb(LCR, 0x40);
	outb(LCR, 0x40);                          /* held on: one break */
	ck_assert_uint_eq(inb(IIR), 0xc4);        /* 'x' is on top: no error yet */
	ck_assert_uint_eq(inb(LSR), IDLE | 0x81); /* but one in the FIFO */
	ck_assert_uint_eq(inb(RBR), 'x');
	ck_assert_uint_eq(inb(IIR), 0xc6);
	ck_assert_uint_eq(inb(LSR), IDLE | 0x91);
	ck_assert_uint_eq(inb(LSR), IDLE | 0x01);
	ck_assert_uint_eq(inb(IIR), 0xc4);
	ck_assert_uint_eq(inb(RBR), 0);
	ck_assert_uint_eq(inb(LSR), IDLE);
	ck_assert(!line()); /* loopback disconnects it all along */
	ck_assert_uint_eq(fake_lines[GSI].rises, 0);
	/* Without FIFOs there is no "error in the FIFO". */
	outb(FCR, 0);
	outb(LCR, 0);
	outb(LCR, 0x40);
	ck_assert_uint_eq(inb(LSR), IDLE | 0x11);
	inb(RBR);
	/* Out of loopback a break goes out, not in. */
	outb(MCR, 0);
	outb(LCR, 0);
	outb(LCR, 0x40);
	ck_assert_uint_eq(inb(LSR), IDLE);
}
END_TEST

START_TEST(thre_handshake)
{
	outb(FCR, 0x01);
	outb(MCR, OUT2);
	outb(IER, 0x02);
	ck_assert(line());
	ck_assert_uint_eq(inb(IIR), 0xc2);
	ck_assert(!line()); /* reading IIR acknowledged it */
	ck_assert_uint_eq(inb(IIR), 0xc1);
	for (unsigned int i = 0; i < 16; i++)
		outb(THR, 'a' + i);
	ck_assert(line());
	ck_assert_uint_eq(fake_lines[GSI].rises, 2); /* one edge for the burst */
	ck_assert_mem_eq(chr.out, "abcdefghijklmnop", 16);
	outb(IER, 0);
	ck_assert(!line());
	/* Enabling what is enabled raises nothing. */
	outb(IER, 0x02);
	inb(IIR);
	outb(IER, 0x03);
	ck_assert(!line());
	outb(MCR, OUT2 | LOOPBACK);
	outb(THR, 'z');
	ck_assert_uint_eq(inb(IIR), 0xc4);
	inb(RBR);
	ck_assert_uint_eq(inb(IIR), 0xc2); /* a looped byte empties THR too */
}
END_TEST

START_TEST(interrupt_priority)
{
	outb(FCR, 0x41); /* trigger 4 */
	outb(MCR, LOOPBACK);
	outb(MCR, LOOPBACK | 0x02); /* CTS: a delta */
	for (unsigned int i = 0; i < 17; i++)
		outb(THR, i); /* received data, an overrun */
	outb(IER, 0x0f);
	ck_assert_uint_eq(inb(IIR), 0xc6);
	ck_assert_uint_eq(inb(IIR), 0xc6);
	inb(LSR);
	for (unsigned int left = 16; left; left--) {
		ck_assert_uint_eq(inb(IIR), left >= 4 ? 0xc4 : 0xcc);
		inb(RBR);
	}
	/* None of these reads of IIR acknowledged THRE. */
	ck_assert_uint_eq(inb(IIR), 0xc2);
	ck_assert_uint_eq(inb(IIR), 0xc0);
	ck_assert_uint_eq(inb(IIR), 0xc0);
	inb(MSR);
	ck_assert_uint_eq(inb(IIR), 0xc1);
}
END_TEST

START_TEST(trigger_levels)
{
	static const uint8_t level[] = { 1, 4, 8, 14 };

	for (unsigned int i = 0; i < ARRAY_SIZE(level); i++) {
		outb(FCR, 0x03 | i << 6);
		outb(IER, 0x01);
		outb(MCR, LOOPBACK);
		for (unsigned int n = 1; n <= 16; n++) {
			outb(THR, n);
			ck_assert_uint_eq(inb(IIR), n >= level[i] ? 0xc4 : 0xcc);
		}
		/* Also what is pulled from the chr, once the guest listens. */
		outb(FCR, 0x03 | i << 6);
		outb(MCR, 0);
		ck_assert_uint_eq(chr.fe.room(chr.fe.arg), level[i]);
	}
	outb(FCR, 0);
	ck_assert_uint_eq(chr.fe.room(chr.fe.arg), 1);
}
END_TEST

START_TEST(fifo_control)
{
	outb(MCR, LOOPBACK);
	outb(FCR, 0xc6); /* without bit 0 the others are ignored */
	ck_assert_uint_eq(inb(IIR), 0x01);
	outb(FCR, 0x01);
	outb(THR, 'a');
	outb(FCR, 0x05); /* clears the transmitter alone */
	ck_assert_uint_eq(inb(LSR) & 1, 1);
	outb(FCR, 0x02); /* off: clears */
	ck_assert_uint_eq(inb(LSR) & 1, 0);
	outb(THR, 'b');
	outb(FCR, 0x02); /* ignored */
	ck_assert_uint_eq(inb(LSR) & 1, 1);
	outb(FCR, 0x01); /* on: clears */
	ck_assert_uint_eq(inb(LSR) & 1, 0);
	outb(THR, 'c');
	outb(FCR, 0x03);
	ck_assert_uint_eq(inb(LSR) & 1, 0);
	/* A line setting of 8N1 has the bits of "enable, clear": it must touch no FIFO. */
	outb(THR, 'd');
	outb(LCR, 0x03);
	ck_assert_uint_eq(inb(LCR), 0x03);
	ck_assert_uint_eq(inb(RBR), 'd');
}
END_TEST

START_TEST(out2_and_loopback_gate_the_line)
{
	outb(IER, 0x02);
	ck_assert(!line());
	outb(MCR, OUT2);
	ck_assert(line());
	outb(MCR, OUT2 | LOOPBACK);
	ck_assert(!line());
	outb(MCR, OUT2);
	ck_assert(line());
	outb(MCR, 0x07);
	ck_assert(!line());
}
END_TEST

START_TEST(modem_status)
{
	/* outputs in loopback -> inputs and deltas; the order matters */
	static const struct {
		uint8_t mcr, msr;
	} steps[] = {
		{ 0x00, 0x0b }, /* CTS, DSR and DCD go */
		{ 0x01, 0x22 }, /* DTR -> DSR */
		{ 0x02, 0x13 }, /* RTS -> CTS */
		{ 0x04, 0x41 }, /* OUT1 -> RI: no delta for a rising ring */
		{ 0x08, 0x8c }, /* OUT2 -> DCD; RI's trailing edge */
		{ 0x08, 0x80 },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(steps); i++) {
		outb(MCR, LOOPBACK | steps[i].mcr);
		ck_assert_uint_eq(inb(MSR), steps[i].msr);
		ck_assert_uint_eq(inb(MSR), steps[i].msr & 0xf0);
	}
	/* Deltas gather until they are read, and interrupt. */
	outb(MCR, LOOPBACK | 0x09);
	outb(MCR, LOOPBACK | 0x0b);
	outb(IER, 0x08);
	ck_assert_uint_eq(inb(IIR), 0x00);
	outb(MCR, OUT2);
	ck_assert(line());
	ck_assert_uint_eq(inb(MSR), 0xb3);
	ck_assert(!line());
}
END_TEST

START_TEST(input_waits_for_the_driver)
{
	type_in("ls\n");
	ck_assert_uint_eq(pump(), 0);
	/* The kernel writes its log: LSR and THR in turn, for long. */
	for (unsigned int i = 0; i < 1000; i++) {
		ck_assert_uint_eq(inb(LSR), IDLE);
		outb(THR, '.');
	}
	/* Opening the port clears FIFOs and reads everything once. */
	outb(FCR, 0x07);
	outb(FCR, 0);
	inb(LSR);
	inb(RBR);
	inb(IIR);
	inb(MSR);
	outb(LCR, 0x13);
	outb(FCR, 0x81);
	outb(MCR, 0x0b);
	ck_assert_uint_eq(pump(), 0);
	ck_assert_uint_eq(chr.ready, 0);
	outb(IER, 0x05);
	ck_assert_uint_eq(chr.ready, 1);
	ck_assert_uint_eq(pump(), 3);
	ck_assert(line());
	ck_assert_uint_eq(inb(IIR), 0xcc);
	for (const char *p = "ls\n"; *p; p++)
		ck_assert_uint_eq(inb(RBR), *p);
	ck_assert(!line());
	/* Closed: nothing more is taken. */
	outb(IER, 0);
	type_in("x");
	ck_assert_uint_eq(pump(), 0);
	/* Nor in loopback. */
	outb(IER, 0x01);
	outb(MCR, 0x0b | LOOPBACK);
	ck_assert_uint_eq(pump(), 0);
	outb(MCR, 0x0b);
	ck_assert_uint_eq(pump(), 1);
	ck_assert_uint_eq(inb(RBR), 'x');
}
END_TEST

START_TEST(polling_listens)
{
	static const uint16_t others[] = { RBR, IER, IIR, LCR, MCR, MSR, SCR };

	type_in("abc");
	ck_assert_uint_eq(pump(), 0);
	for (unsigned int i = 0; i < 2 * ARRAY_SIZE(others); i++) {
		for (unsigned int n = 0; n < SERIAL_POLLS - 1; n++)
			inb(LSR);
		/* Each other access starts the count anew. */
		if (i < ARRAY_SIZE(others))
			inb(others[i]);
		else
			outb(others[i - ARRAY_SIZE(others)], 0);
	}
	for (unsigned int n = 0; n < SERIAL_POLLS - 1; n++)
		inb(LSR);
	ck_assert_uint_eq(pump(), 0);
	ck_assert_uint_eq(chr.ready, 0);
	inb(LSR);
	ck_assert_uint_eq(chr.ready, 1);
	ck_assert_uint_eq(pump(), 1);
	ck_assert_uint_eq(inb(LSR) & 1, 1);
	ck_assert_uint_eq(inb(RBR), 'a');
	ck_assert_uint_eq(chr.ready, 2); /* it still polls: the next byte comes at once */
	ck_assert_uint_eq(pump(), 1);
	ck_assert_uint_eq(inb(RBR), 'b');
	outb(THR, 'b'); /* it writes: no reader now */
	ck_assert_uint_eq(pump(), 0);
}
END_TEST

/* A script of many FIFOs' length through an interrupt handler: complete, in order, few wake-ups. */
START_TEST(script_arrives_whole)
{
	char script[1000], got[1000];
	size_t nr = 0;

	for (size_t i = 0; i < sizeof(script); i++)
		script[i] = 'A' + i % 57;
	memcpy(chr.in, script, sizeof(script));
	chr.in_nr = sizeof(script);
	ck_assert_uint_eq(pump(), 0);
	outb(FCR, 0x81);
	outb(MCR, OUT2);
	outb(IER, 0x05);
	while (pump()) {
		ck_assert(line());
		while ((inb(IIR) & 0x0f) != 0x01)
			while (inb(LSR) & 0x01)
				got[nr++] = inb(RBR);
	}
	ck_assert_uint_eq(nr, sizeof(script));
	ck_assert_mem_eq(got, script, nr);
	ck_assert_uint_eq(chr.ready, 1000 / 8 + 1);
}
END_TEST

/* What a driver does to its receiver when it opens or closes the port. */
static void fifo_off_on(void)
{
	outb(FCR, 0);
	outb(FCR, 0x81);
}

static void clear_rx(void)
{
	outb(FCR, 0x83);
}

static void close_port(void)
{
	outb(IER, 0);
	inb(RBR); /* throws away what a real line may have left there */
	outb(IER, 0x05);
}

static void probe_by_loopback(void)
{
	outb(MCR, LOOPBACK | OUT2);
	outb(THR, 'x');
	while (inb(LSR) & 1)
		ck_assert_uint_eq(inb(RBR), 'x');
	outb(MCR, OUT2);
}

static void (*const reopenings[])(void) = { fifo_off_on, clear_rx, close_port, probe_by_loopback };

START_TEST(a_script_survives_a_reopening)
{
	outb(FCR, 0x81);
	outb(MCR, OUT2);
	outb(IER, 0x05);
	type_in("echo hello");
	pump();
	ck_assert_uint_eq(inb(RBR), 'e');
	reopenings[_i]();
	for (const char *p = "cho hello"; *p; p++) {
		pump();
		ck_assert(inb(LSR) & 1);
		ck_assert_uint_eq(inb(RBR), *p);
	}
	ck_assert_uint_eq(inb(LSR) & 1, 0);
}
END_TEST

START_TEST(promised_room_is_kept)
{
	outb(FCR, 0x81);
	outb(IER, 0x01);
	size_t room = chr.fe.room(chr.fe.arg);
	ck_assert_uint_eq(room, 8);
	/* The guest closes the port and clears it between room() and input(). */
	outb(IER, 0);
	outb(FCR, 0x03);
	outb(FCR, 0);
	chr.fe.input(chr.fe.arg, (const uint8_t *)"12345678", room);
	ck_assert_uint_eq(inb(LSR), IDLE);
	outb(FCR, 0x07);
	ck_assert_uint_eq(chr.fe.room(chr.fe.arg), 0);
	/* It opens it again, without FIFOs this time: a byte at a time, none missing. */
	outb(FCR, 0);
	outb(IER, 0x01);
	ck_assert_uint_eq(chr.ready, 0);
	for (const char *p = "12345678"; *p; p++) {
		ck_assert_uint_eq(chr.fe.room(chr.fe.arg), 0);
		ck_assert_uint_eq(inb(LSR), IDLE | 0x01);
		ck_assert_uint_eq(serial.rx.nr, 1);
		ck_assert_uint_eq(inb(RBR), *p);
	}
	ck_assert_uint_eq(chr.ready, 1);
	ck_assert_uint_eq(inb(LSR), IDLE);
}
END_TEST

START_TEST(no_wake_without_need)
{
	outb(FCR, 0x81);
	outb(IER, 0x01);
	type_in("abc");
	pump();
	for (int i = 0; i < 3; i++)
		inb(RBR);
	ck_assert_uint_eq(chr.ready, 0); /* it was never told "no room" */
	type_in("0123456789");
	ck_assert_uint_eq(pump(), 8);
	for (int i = 0; i < 7; i++)
		inb(RBR);
	ck_assert_uint_eq(chr.ready, 0);
	ck_assert_uint_eq(chr.fe.room(chr.fe.arg), 7); /* but would be, if it asked */
	inb(RBR);
	ck_assert_uint_eq(chr.ready, 1);
	/* Filled to the brim by a chr that asks no more. */
	type_in("abcdef");
	chr.fe.input(chr.fe.arg, (const uint8_t *)"01234567", chr.fe.room(chr.fe.arg));
	for (int i = 0; i < 8; i++)
		inb(RBR);
	ck_assert_uint_eq(chr.ready, 2);
}
END_TEST

START_TEST(no_chr)
{
	struct serial s;

	ck_assert_int_eq(serial_init(&s, &fake_bus, 0x2f8, NULL, 3, NULL, &err), 0);
	for (unsigned int i = 0; i < 100; i++) {
		ck_assert_uint_eq(inb(0x2f8 + 5), IDLE);
		outb(0x2f8, 'x');
	}
	ck_assert_uint_eq(inb(0x2f8 + 6), 0xb0);
	outb(0x2f8 + 1, 0x0f);
	outb(0x2f8 + 4, OUT2);
	outb(0x2f8, 'x');
	ck_assert(fake_lines[3].level);
	ck_assert_uint_eq(inb(0x2f8 + 2), 0x02);
	ck_assert_uint_eq(chr.out_nr, 0);
	serial_release(&s);
	ck_assert_uint_eq(inb(0x2f8 + 5), 0xff);
}
END_TEST

START_TEST(ports_taken)
{
	struct serial s;

	ck_assert_int_lt(serial_init(&s, &fake_bus, BASE + 7, NULL, 3, NULL, &err), 0);
	ck_assert_int_eq(err.kind, ERR_INTERNAL);
	ck_assert_ptr_nonnull(strstr(err.msg, "0x3ff"));
}
END_TEST

/* No order of accesses and input breaks a queue or loses the chr's wake-up. */
START_TEST(hostile_accesses)
{
	uint32_t seed = _i + 1;

	for (unsigned int i = 0; i < 20000; i++) {
		uint32_t r = fake_random(&seed);

		switch (r % 8) {
		case 0 ... 3:
			outb(BASE + (r >> 3) % 8, r >> 8);
			break;
		case 4 ... 6:
			in(BASE + (r >> 3) % 8, 1 << (r >> 6) % 4);
			break;
		default:
			chr.in_nr = sizeof(chr.in);
			chr.in_at = 0;
			pump();
			break;
		}
		chr.out_nr = 0;
		ck_assert_uint_le(serial.rx.nr, SERIAL_FIFO_LEN);
		ck_assert_uint_le(serial.stage.nr, SERIAL_FIFO_LEN);
		ck_assert_uint_lt(serial.rx.head, SERIAL_FIFO_LEN);
	}
	/* A driver that starts over gets its input. */
	outb(LCR, 0);
	outb(MCR, OUT2);
	outb(IER, 0);
	outb(FCR, 0x81);
	outb(IER, 0x01);
	while (inb(LSR) & 1)
		inb(RBR);
	chr.in_nr = sizeof(chr.in);
	chr.in_at = 0;
	ck_assert_uint_eq(pump(), 8);
}
END_TEST

static void *writer(void *arg)
{
	(void)arg;
	for (unsigned int i = 0; i < 3000; i++) {
		inb(LSR);
		outb(THR, '.');
		outb(SCR, i);
	}
	return NULL;
}

static atomic_bool reading;
static void *loop_thread(void *arg)
{
	(void)arg;
	while (atomic_load(&reading))
		pump();
	return NULL;
}

START_TEST(threads)
{
	pthread_t w, l;
	unsigned int got = 0;

	for (unsigned int i = 0; i < 2000; i++)
		chr.in[i] = (char)i;
	chr.in_nr = 2000;
	atomic_store(&reading, true);
	outb(FCR, 0x81);
	outb(MCR, OUT2);
	ck_assert_int_eq(pthread_create(&w, NULL, writer, NULL), 0);
	ck_assert_int_eq(pthread_create(&l, NULL, loop_thread, NULL), 0);
	outb(IER, 0x07);
	while (got < 2000) {
		inb(IIR);
		if (inb(LSR) & 1)
			ck_assert_uint_eq(inb(RBR), got++ & 0xff);
	}
	pthread_join(w, NULL);
	atomic_store(&reading, false);
	pthread_join(l, NULL);
	ck_assert_uint_eq(chr.out_nr, 3000);
}
END_TEST

UNIT_SUITE("serial", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, registers_after_reset);
	tcase_add_test(tc, a_full_chr_stalls_the_transmitter);
	tcase_add_test(tc, writable_bits);
	tcase_add_test(tc, divisor_is_neither_printed_nor_an_interrupt_enable);
	tcase_add_test(tc, wide_accesses_are_bytes);
	tcase_add_test(tc, linux_autoconfig);
	tcase_add_test(tc, loopback_fifo_is_16_deep);
	tcase_add_test(tc, loopback_without_fifo_replaces);
	tcase_add_test(tc, loopback_break_is_an_error_of_its_character);
	tcase_add_test(tc, thre_handshake);
	tcase_add_test(tc, interrupt_priority);
	tcase_add_test(tc, trigger_levels);
	tcase_add_test(tc, fifo_control);
	tcase_add_test(tc, out2_and_loopback_gate_the_line);
	tcase_add_test(tc, modem_status);
	tcase_add_test(tc, input_waits_for_the_driver);
	tcase_add_test(tc, polling_listens);
	tcase_add_test(tc, script_arrives_whole);
	tcase_add_loop_test(tc, a_script_survives_a_reopening, 0, ARRAY_SIZE(reopenings));
	tcase_add_test(tc, promised_room_is_kept);
	tcase_add_test(tc, no_wake_without_need);
	tcase_add_test(tc, no_chr);
	tcase_add_test(tc, ports_taken);
	tcase_add_loop_test(tc, hostile_accesses, 0, 8);
	tcase_add_test(tc, threads);
})
