// SPDX-License-Identifier: GPL-2.0
// LINK: hw/serial.c hw/rtc.c hw/i8042.c hw/acpi-pm.c hw/pvpanic.c hw/debug-exit.c hw/earlycon.c bus.c util/err.c
/*
 * A hostile guest at the small devices: the input is a program of port and memory accesses, console
 * input, passing time and power buttons. After each step the devices' own rules must hold.
 */
#include <time.h>

#include "../unit/fake-hw.h"

#include <lkvm/acpi-pm.h>
#include <lkvm/chr.h>
#include <lkvm/debug-exit.h>
#include <lkvm/earlycon.h>
#include <lkvm/i8042.h>
#include <lkvm/log.h>
#include <lkvm/pvpanic.h>
#include <lkvm/rtc.h>
#include <lkvm/serial.h>

#define CON_GPA 0xfe000000ULL

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct loop {
	struct loop_timer *timer;
	struct loop_post *post;
};

struct chr {
	struct chr_frontend fe;
};

struct machine {
	struct serial serial;
	struct rtc rtc;
	struct i8042 kbc;
	struct acpi_pm pm;
	struct pvpanic pvpanic;
	struct debug_exit dbg;
	struct earlycon con;
	struct loop loop;
	struct chr chr;
};

/* Where accesses begin: a device, then an offset around it. */
static const struct {
	uint64_t base;
	unsigned int span;
} places[] = {
	{ 0x3f8, 8 }, { 0x70, 2 },   { 0x60, 1 },  { 0x64, 1 },
	{ 0x92, 1 },  { 0x600, 12 }, { 0x505, 1 }, { CON_GPA, EARLYCON_LEN },
};

static uint64_t fuzz_ns; /* both clocks */

uint64_t util_now_ns(void)
{
	return fuzz_ns;
}

static uint64_t fuzz_wall(void)
{
	return fuzz_ns;
}

void loop_timer_set(struct loop *l, struct loop_timer *t, uint64_t deadline_ns)
{
	t->deadline_ns = deadline_ns;
	l->timer = t;
}

void loop_timer_cancel(struct loop *l, struct loop_timer *t)
{
	(void)t;
	l->timer = NULL;
}

void loop_post(struct loop *l, struct loop_post *p)
{
	l->post = p;
}

void loop_post_cancel(struct loop *l, struct loop_post *p)
{
	if (l->post == p)
		l->post = NULL;
}

void chr_set_frontend(struct chr *c, const struct chr_frontend *fe)
{
	c->fe = *fe;
}

void chr_write(struct chr *c, const void *buf, size_t len)
{
	(void)c;
	BUG_ON(len != 1 || !buf);
}

bool chr_full(struct chr *c)
{
	BUG_ON(!c);
	return false;
}

void chr_input_ready(struct chr *c)
{
	BUG_ON(!c);
}

void log_guest(const struct log *log, struct log_limit *limit, const char *fmt, ...)
{
	(void)log;
	(void)limit;
	(void)fmt;
}

static void build(struct machine *m)
{
	static const struct i8042_config cfg = { 0x60, 0x64, 0x92, 1, 12 };
	struct bus *b = &fake_bus;

	memset(m, 0, sizeof(*m));
	fuzz_ns = 1790000000ull * NSEC_PER_SEC;
	bus_init(b);
	BUG_ON(serial_init(&m->serial, b, 0x3f8, NULL, 4, &m->chr, NULL) ||
	       rtc_init(&m->rtc, b, 0x70, NULL, 8, &m->loop, NULL) ||
	       i8042_init(&m->kbc, b, &cfg, NULL, NULL, NULL) ||
	       acpi_pm_init(&m->pm, b, 0x600, NULL, 9, NULL, NULL) ||
	       pvpanic_init(&m->pvpanic, b, 0x505, NULL, NULL, NULL) ||
	       debug_exit_init(&m->dbg, b, 0xf4, NULL, NULL) ||
	       earlycon_init(&m->con, b, CON_GPA, &m->chr, NULL));
	m->rtc.now_ns = fuzz_wall;
}

static void demolish(struct machine *m)
{
	serial_release(&m->serial);
	rtc_release(&m->rtc);
	i8042_release(&m->kbc);
	acpi_pm_release(&m->pm);
	pvpanic_release(&m->pvpanic);
	debug_exit_release(&m->dbg);
	earlycon_release(&m->con);
	BUG_ON(fake_bus.nr != 0 || m->loop.timer || m->loop.post);
	bus_release(&fake_bus);
}

static void check(const struct machine *m)
{
	const struct serial *s = &m->serial;

	BUG_ON(s->rx.nr > SERIAL_FIFO_LEN || s->rx.head >= SERIAL_FIFO_LEN);
	BUG_ON(s->stage.nr > SERIAL_FIFO_LEN || s->stage.head >= SERIAL_FIFO_LEN);
	BUG_ON(!(s->fcr & 1) && s->rx.nr > 1);
	BUG_ON(fake_lines[4].level && !(s->mcr & 0x08));
	BUG_ON(m->rtc.index >= RTC_CMOS_LEN);
	BUG_ON(fake_lines[8].level != !!(m->rtc.cmos[12] & 0x80));
	BUG_ON(m->kbc.out.nr > I8042_QUEUE_LEN || m->kbc.kbd.nr > I8042_QUEUE_LEN);
	BUG_ON(fake_lines[1].level && fake_lines[12].level);
	BUG_ON(fake_lines[9].level != !!(m->pm.status & m->pm.enable));
}

/* Input as a chr gives it: what was promised is taken, also when time passed in between. */
static void feed(struct machine *m, uint8_t nr)
{
	static const uint8_t text[SERIAL_FIFO_LEN] = "input, as typed";
	size_t room = m->chr.fe.room(m->chr.fe.arg);

	BUG_ON(room > SERIAL_FIFO_LEN);
	size_t len = MIN(room, nr);
	if (nr & 0x80)
		outb(0x3f8 + (nr & 7), nr); /* the guest comes between the two calls */
	size_t held = m->serial.rx.nr + m->serial.stage.nr;
	m->chr.fe.input(m->chr.fe.arg, text, len);
	BUG_ON(m->serial.rx.nr + m->serial.stage.nr != held + len);
}

/* Time passes; what is due on the loop runs. */
static void pass(struct machine *m, uint8_t amount)
{
	struct loop_post *p = m->loop.post;

	m->loop.post = NULL;
	if (p)
		p->fn(p);
	fuzz_ns += 1ull << (amount % 50);
	struct loop_timer *t = m->loop.timer;
	if (t && t->deadline_ns <= fuzz_ns) {
		m->loop.timer = NULL;
		t->fn(t);
	}
}

/* One step: an operation, an offset and a value byte. */
static void step(struct machine *m, const uint8_t op[3])
{
	unsigned int place = op[0] & 7, width = 1 + (op[0] >> 3 & 7);
	/* From three before the device to its end: accesses may enter and leave it. */
	uint64_t addr = places[place].base - 3 + op[1] % (places[place].span + 3);

	switch (op[0] >> 6) {
	case 0:
		in(addr, width);
		break;
	case 1:
		out(addr, width, 0x0101010101010101ull * op[2]);
		break;
	case 2: /* values that differ by byte reach combined registers */
		out(addr, width, (uint64_t)op[2] << 8 | op[1]);
		break;
	default:
		if (op[0] & 1)
			feed(m, op[1]);
		else if (op[0] & 2)
			pass(m, op[1]);
		else if (op[0] & 4)
			acpi_pm_power_button(&m->pm);
		else
			out(0xf4, width, op[1]);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct machine m;

	build(&m);
	for (size_t at = 0; size - at >= 3; at += 3) {
		step(&m, data + at);
		check(&m);
	}
	demolish(&m);
	return 0;
}
