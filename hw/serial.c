/* SPDX-License-Identifier: GPL-2.0 */
#include <lkvm/serial.h>
#include <lkvm/util.h>

/* Register offsets (DS table II). 0 and 1 are the divisor while DLAB is set. */
enum {
	REG_DATA = 0, /* RBR on read, THR on write */
	REG_IER = 1,
	REG_IIR = 2, /* FCR on write */
	REG_LCR = 3,
	REG_MCR = 4,
	REG_LSR = 5,
	REG_MSR = 6,
	REG_SCR = 7,
};

#define IER_RDI      0x01
#define IER_THRI     0x02
#define IER_RLSI     0x04
#define IER_MSI      0x08
#define IER_MASK     0x0f

#define IIR_MSI      0x00
#define IIR_NONE     0x01
#define IIR_THRI     0x02
#define IIR_RDI      0x04
#define IIR_RLSI     0x06
#define IIR_CTI      0x0c
#define IIR_FIFO     0xc0

#define FCR_ON       0x01
#define FCR_CLEAR_RX 0x02
#define FCR_KEPT     0xc9 /* enable, DMA mode, trigger: the clear bits act once */

#define LCR_BREAK    0x40
#define LCR_DLAB     0x80

#define MCR_DTR      0x01
#define MCR_RTS      0x02
#define MCR_OUT1     0x04
#define MCR_OUT2     0x08
#define MCR_LOOP     0x10
#define MCR_MASK     0x1f

#define LSR_DR       0x01
#define LSR_OE       0x02
#define LSR_BI       0x10
#define LSR_THRE     0x20
#define LSR_TEMT     0x40
#define LSR_FIFOE    0x80

#define MSR_TERI     0x04
#define MSR_DELTA    0x0f
#define MSR_CTS      0x10
#define MSR_DSR      0x20
#define MSR_RI       0x40
#define MSR_DCD      0x80

/*
 * Beside the error bits of a character: it came from the chr, not by loopback. It shares the byte with
 * LSR bits, of which DR is none that a character carries.
 */
#define FROM_CHR LSR_DR

/* A divisor of 1: 115200 baud. Nothing depends on it. */
#define DLL_INIT 1

static bool fifo_push(struct serial_fifo *f, unsigned int depth, uint8_t data, uint8_t error)
{
	if (f->nr >= depth)
		return false;
	unsigned int at = (f->head + f->nr++) % SERIAL_FIFO_LEN;
	f->data[at] = data;
	f->error[at] = error;
	return true;
}

static uint8_t fifo_pop(struct serial_fifo *f)
{
	uint8_t data = f->data[f->head];

	f->head = (f->head + 1) % SERIAL_FIFO_LEN;
	f->nr--;
	return data;
}

static bool fifos_on_locked(const struct serial *s)
{
	return s->fcr & FCR_ON;
}

static unsigned int depth_locked(const struct serial *s)
{
	return fifos_on_locked(s) ? SERIAL_FIFO_LEN : 1;
}

/* Bytes that raise the received-data interrupt (DS 8.5). */
static unsigned int trigger_locked(const struct serial *s)
{
	static const uint8_t trigger[] = { 1, 4, 8, 14 };

	return fifos_on_locked(s) ? trigger[s->fcr >> 6] : 1;
}

static bool listening_locked(const struct serial *s)
{
	return !(s->mcr & MCR_LOOP) && ((s->ier & IER_RDI) || s->polls >= SERIAL_POLLS);
}

/* The error bits of LSR that belong to the character the guest reads next. */
static uint8_t rx_error_locked(const struct serial *s)
{
	return s->rx.nr ? s->rx.error[s->rx.head] & ~FROM_CHR : 0;
}

static bool rx_any_error_locked(const struct serial *s)
{
	for (unsigned int i = 0; i < s->rx.nr; i++)
		if (s->rx.error[(s->rx.head + i) % SERIAL_FIFO_LEN] & ~FROM_CHR)
			return true;
	return false;
}

/* The pending interrupt of the highest priority (DS table IV), without the FIFO bits. */
static uint8_t iir_locked(const struct serial *s)
{
	if ((s->ier & IER_RLSI) && (s->overrun || rx_error_locked(s)))
		return IIR_RLSI;
	if ((s->ier & IER_RDI) && s->rx.nr)
		return s->rx.nr >= trigger_locked(s) ? IIR_RDI : IIR_CTI;
	if ((s->ier & IER_THRI) && s->thre)
		return IIR_THRI;
	if ((s->ier & IER_MSI) && (s->msr & MSR_DELTA))
		return IIR_MSI;
	return IIR_NONE;
}

/* After every change: receives what is staged and sets the line from the state. */
static void settle_locked(struct serial *s)
{
	bool wired = (s->mcr & MCR_OUT2) && !(s->mcr & MCR_LOOP);

	if (listening_locked(s))
		while (s->stage.nr && s->rx.nr < trigger_locked(s))
			fifo_push(&s->rx, SERIAL_FIFO_LEN, fifo_pop(&s->stage), FROM_CHR);
	irq_line_set(&s->irq, wired && iir_locked(s) != IIR_NONE);
}

/*
 * After settling: is the chr to be told that there is room? When the FIFO ran empty, not at every byte
 * of room: a call wakes the loop.
 */
static bool wake_locked(struct serial *s)
{
	if (!s->starved || !listening_locked(s) || s->rx.nr)
		return false;
	s->starved = false;
	return true;
}

/*
 * The guest stops listening or clears its FIFO: what it has not read goes back to the stage. A driver
 * does both whenever it opens or closes the port, and scripted input must not lose bytes to that.
 */
static void unreceive_locked(struct serial *s)
{
	struct serial_fifo stage = { 0 }, rx = { 0 };

	while (s->rx.nr) {
		uint8_t error = s->rx.error[s->rx.head];
		struct serial_fifo *to = error & FROM_CHR ? &stage : &rx;

		fifo_push(to, SERIAL_FIFO_LEN, fifo_pop(&s->rx), error);
	}
	while (s->stage.nr)
		fifo_push(&stage, SERIAL_FIFO_LEN, fifo_pop(&s->stage), 0);
	s->stage = stage;
	s->rx = rx;
}

/* A character arrives by loopback. Without FIFOs it replaces an unread one, with them it is lost. */
static void loop_rx_locked(struct serial *s, uint8_t data, uint8_t error)
{
	if (fifo_push(&s->rx, depth_locked(s), data, error))
		return;
	s->overrun = true;
	if (!fifos_on_locked(s)) {
		fifo_pop(&s->rx);
		fifo_push(&s->rx, 1, data, error);
	}
}

/* The modem inputs: the outputs in loopback (DS 8.6.2), else a peer that is always there. */
static uint8_t modem_inputs(uint8_t mcr)
{
	if (!(mcr & MCR_LOOP))
		return MSR_CTS | MSR_DSR | MSR_DCD;
	return (mcr & MCR_RTS ? MSR_CTS : 0) | (mcr & MCR_DTR ? MSR_DSR : 0) |
	       (mcr & MCR_OUT1 ? MSR_RI : 0) | (mcr & MCR_OUT2 ? MSR_DCD : 0);
}

static void mcr_write_locked(struct serial *s, uint8_t value)
{
	if (value & ~s->mcr & MCR_LOOP)
		unreceive_locked(s);
	s->mcr = value & MCR_MASK;
	uint8_t now = modem_inputs(s->mcr), was = s->msr & ~MSR_DELTA;
	uint8_t changed = now ^ was;
	/* RI reports its trailing edge alone (DS 8.7). */
	uint8_t delta = (changed & ~MSR_RI) >> 4 | (changed & was & MSR_RI ? MSR_TERI : 0);
	s->msr = now | (s->msr & MSR_DELTA) | delta;
}

/* DS 8.5: the clear bit acts only with bit 0 set, and a change of bit 0 clears the FIFOs. */
static void fcr_write_locked(struct serial *s, uint8_t value)
{
	bool toggled = (value ^ s->fcr) & FCR_ON;

	if (toggled || ((value & FCR_ON) && (value & FCR_CLEAR_RX))) {
		unreceive_locked(s);
		s->rx = (struct serial_fifo){ 0 };
	}
	s->fcr = value & FCR_KEPT;
}

static void lcr_write_locked(struct serial *s, uint8_t value)
{
	uint8_t set = value & ~s->lcr;

	s->lcr = value;
	if ((s->mcr & MCR_LOOP) && (set & LCR_BREAK))
		loop_rx_locked(s, 0, LSR_BI);
}

/* Enabling THRI while THR is empty makes the interrupt pending (DS 8.8). */
static void ier_write_locked(struct serial *s, uint8_t value)
{
	if (value & ~s->ier & IER_THRI)
		s->thre = !s->stalled;
	if (~value & s->ier & IER_RDI)
		unreceive_locked(s);
	s->ier = value & IER_MASK;
}

static uint8_t lsr_read_locked(struct serial *s)
{
	uint8_t v = s->stalled ? 0 : LSR_THRE | LSR_TEMT;

	if (s->polls < SERIAL_POLLS)
		s->polls++;
	if (s->overrun)
		v |= LSR_OE;
	if (s->rx.nr) {
		v |= LSR_DR | rx_error_locked(s);
		if (fifos_on_locked(s) && rx_any_error_locked(s))
			v |= LSR_FIFOE;
		s->rx.error[s->rx.head] &= FROM_CHR;
	}
	s->overrun = false;
	return v;
}

static uint8_t data_read_locked(struct serial *s)
{
	return s->rx.nr ? fifo_pop(&s->rx) : 0;
}

static uint8_t iir_read_locked(struct serial *s)
{
	uint8_t v = iir_locked(s);

	/* Reading IIR acknowledges THRE only when THRE is what it reports. */
	if (v == IIR_THRI)
		s->thre = false;
	return v | (fifos_on_locked(s) ? IIR_FIFO : 0);
}

static uint8_t reg_read_locked(struct serial *s, unsigned int reg)
{
	bool dlab = s->lcr & LCR_DLAB;
	uint8_t v;

	/* A reader that polls takes its bytes without losing its place. */
	if (reg != REG_LSR && !(reg == REG_DATA && s->polls >= SERIAL_POLLS))
		s->polls = 0;
	switch (reg) {
	case REG_DATA:
		return dlab ? s->dll : data_read_locked(s);
	case REG_IER:
		return dlab ? s->dlm : s->ier;
	case REG_IIR:
		return iir_read_locked(s);
	case REG_LCR:
		return s->lcr;
	case REG_MCR:
		return s->mcr;
	case REG_LSR:
		return lsr_read_locked(s);
	case REG_MSR:
		v = s->msr;
		s->msr &= ~MSR_DELTA;
		return v;
	default:
		return s->scr;
	}
}

static uint64_t serial_bus_read(struct bus_region *r, uint64_t off, unsigned int width)
{
	struct serial *s = container_of(r, struct serial, region);

	(void)width;
	pthread_mutex_lock(&s->lock);
	uint8_t v = reg_read_locked(s, (unsigned int)off);
	settle_locked(s);
	bool wake = wake_locked(s);
	pthread_mutex_unlock(&s->lock);
	if (wake)
		chr_input_ready(s->chr);
	return v;
}

/* With or without the lock. */
static bool full(const struct serial *s)
{
	return s->chr && chr_full(s->chr);
}

/* Returns true when `value` is a byte to send: sending is for after the lock. */
static bool thr_write_locked(struct serial *s, uint8_t value)
{
	if (!(s->mcr & MCR_LOOP))
		return true;
	loop_rx_locked(s, value, 0);
	s->thre = true;
	return false;
}

static bool reg_write_locked(struct serial *s, unsigned int reg, uint8_t value)
{
	bool dlab = s->lcr & LCR_DLAB;

	s->polls = 0;
	switch (reg) {
	case REG_DATA:
		if (!dlab)
			return thr_write_locked(s, value);
		s->dll = value;
		break;
	case REG_IER:
		if (dlab)
			s->dlm = value;
		else
			ier_write_locked(s, value);
		break;
	case REG_IIR:
		fcr_write_locked(s, value);
		break;
	case REG_LCR:
		lcr_write_locked(s, value);
		break;
	case REG_MCR:
		mcr_write_locked(s, value);
		break;
	case REG_SCR:
		s->scr = value;
		break;
	default: /* LSR and MSR are read-only */
		break;
	}
	return false;
}

static void serial_bus_write(struct bus_region *r, uint64_t off, unsigned int width, uint64_t value)
{
	struct serial *s = container_of(r, struct serial, region);
	uint8_t byte = (uint8_t)value;

	(void)width;
	pthread_mutex_lock(&s->lock);
	bool send = reg_write_locked(s, (unsigned int)off, byte);
	settle_locked(s);
	bool wake = wake_locked(s);
	bool thri = s->ier & IER_THRI;
	pthread_mutex_unlock(&s->lock);

	if (send && s->chr)
		chr_write(s->chr, &byte, 1);
	/*
	 * THR is empty once the byte is out; said earlier, the next byte could overtake this one. Without
	 * THRI nobody sees the pending bit, and a guest that polls pays one lock a byte.
	 */
	if (send && (thri || full(s))) {
		pthread_mutex_lock(&s->lock);
		/* Asked again: what comes of it must not be older than a writable() that came meanwhile. */
		s->stalled = full(s);
		s->thre = !s->stalled;
		settle_locked(s);
		pthread_mutex_unlock(&s->lock);
	}
	if (wake)
		chr_input_ready(s->chr);
}

static size_t serial_room(void *arg)
{
	struct serial *s = arg;
	size_t room = 0;

	pthread_mutex_lock(&s->lock);
	unsigned int held = s->rx.nr + s->stage.nr;
	if (listening_locked(s) && held < trigger_locked(s))
		room = trigger_locked(s) - held;
	else
		s->starved = true;
	pthread_mutex_unlock(&s->lock);
	return room;
}

/*
 * The guest may have stopped listening since room() was asked: the stage takes what was promised. What
 * it holds and a promise together are at most a trigger level, so nothing is lost here. No wake: the
 * chr is the caller.
 */
static void serial_input(void *arg, const uint8_t *buf, size_t len)
{
	struct serial *s = arg;

	pthread_mutex_lock(&s->lock);
	for (size_t i = 0; i < len; i++)
		fifo_push(&s->stage, SERIAL_FIFO_LEN, buf[i], 0);
	settle_locked(s);
	/* Full: the chr may not ask again before it is called. */
	s->starved |= s->rx.nr + s->stage.nr >= trigger_locked(s);
	pthread_mutex_unlock(&s->lock);
}

static void serial_writable(void *arg)
{
	struct serial *s = arg;

	pthread_mutex_lock(&s->lock);
	if (s->stalled && !full(s)) {
		s->stalled = false;
		s->thre = true;
		settle_locked(s);
	}
	pthread_mutex_unlock(&s->lock);
}

int serial_init(struct serial *s, struct bus *bus, uint64_t base, struct kvm *kvm, uint32_t gsi,
		struct chr *chr, struct err *err)
{
	*s = (struct serial){ .bus = bus, .chr = chr, .dll = DLL_INIT, .msr = modem_inputs(0) };
	s->region = (struct bus_region){
		.name = "serial",
		.base = base,
		.size = SERIAL_PORTS,
		.max_width = 1,
		.read = serial_bus_read,
		.write = serial_bus_write,
	};
	s->frontend = (struct chr_frontend){ serial_room, serial_input, serial_writable, s };
	pthread_mutex_init(&s->lock, NULL);
	irq_line_init(&s->irq, kvm, gsi);
	if (bus_add(bus, &s->region)) {
		pthread_mutex_destroy(&s->lock);
		return err_internal(err, "serial port 0x%llx: its place is taken",
				    (unsigned long long)base);
	}
	if (chr)
		chr_set_frontend(chr, &s->frontend);
	return 0;
}

void serial_release(struct serial *s)
{
	bus_remove(s->bus, &s->region);
	pthread_mutex_destroy(&s->lock);
}
