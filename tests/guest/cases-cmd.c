/* SPDX-License-Identifier: GPL-2.0 */
/* The registers and streams of a command (cmd-abi.h), used as its init uses them, and as it does not. */
#include "guest.h"

#include "../../include/lkvm/cmd-abi.h"

#define COM2     0x2f8
#define COM3     0x3e8
#define COM4     0x2e8
#define LSR      5
#define LSR_DR   0x01
#define LSR_THRE 0x20

static uint32_t reg(unsigned int r)
{
	return inl(PORT_CMD + r);
}

static void reg_set(unsigned int r, uint32_t v)
{
	outl(PORT_CMD + r, v);
}

static void send(uint16_t port, uint8_t c)
{
	while (!(inb(port + LSR) & LSR_THRE))
		cpu_pause();
	outb(port, c);
}

static void send_text(uint16_t port, const char *s)
{
	while (*s)
		send(port, *s++);
}

static _Noreturn void report(uint32_t status)
{
	reg_set(CMD_REG_STATUS, status);
	halt();
}

static void t_status(void)
{
	if (reg(CMD_REG_ID) != CMD_ID)
		fail("no registers", reg(CMD_REG_ID));
	report(arg_num("value", 0));
}

/* As /dev/port does it. */
static void t_status_bytes(void)
{
	uint32_t v = arg_num("value", 0);

	for (unsigned int i = 0; i < 4; i++)
		outb(PORT_CMD + CMD_REG_STATUS + i, v >> 8 * i);
	halt();
}

static void t_streams(void)
{
	print("console\n");
	send_text(COM3, "to stderr\n");
	send_text(COM2, "to stdout\n");
	send_text(COM4, "to results\n");
	for (unsigned int c = 0; c < 256; c++) {
		send(COM2, c);
		send(COM3, 255 - c);
		send(COM4, c);
	}
	report(3);
}

static void put(char c)
{
	if (arg_is("to", "console"))
		print_char(c);
	else
		send(arg_is("to", "results") ? COM4 : arg_is("to", "stderr") ? COM3 : COM2, c);
}

/* Stdin to stdout or elsewhere, with `window` bytes under way at most; then the status `value`. */
static void t_cat(void)
{
	uint32_t window = arg_num("window", 64), owed = 0;
	uint64_t nr = 0;

	reg_set(CMD_REG_CREDIT, window);
	for (;;) {
		while (!(inb(COM2 + LSR) & LSR_DR))
			cpu_pause();
		uint8_t c = inb(COM2);
		if (!c && (reg(CMD_REG_STATE) & CMD_STATE_ENDED)) {
			uint64_t len = reg(CMD_REG_LEN) | (uint64_t)reg(CMD_REG_LEN + 4) << 32;

			if (nr == len)
				report(arg_num("value", 0));
			if (nr > len)
				fail("more than there were", nr);
		}
		nr++;
		put(c);
		if (++owed == window) {
			reg_set(CMD_REG_CREDIT, owed);
			owed = 0;
		}
	}
}

/* Nothing comes that was not asked for. */
static void t_no_credit(void)
{
	for (unsigned int i = 0; i < 20000; i++)
		if (inb(COM2 + LSR) & LSR_DR)
			report(1);
	reg_set(CMD_REG_CREDIT, 3);
	for (unsigned int got = 0; got < 3;)
		if (inb(COM2 + LSR) & LSR_DR) {
			send(COM2, inb(COM2));
			got++;
		}
	for (unsigned int i = 0; i < 20000; i++)
		if (inb(COM2 + LSR) & LSR_DR)
			report(2);
	report(0);
}

/* Every register, every width, all values that matter; then the end of it that counts. */
static void t_hostile(void)
{
	static const uint32_t values[] = { 0,          1,          0x80,      0x7fffffff,
					   0x80000000, 0xfffffffe, 0xffffffff };

	reg_set(CMD_REG_STATUS, 5);
	for (unsigned int v = 0; v < sizeof(values) / sizeof(values[0]); v++)
		for (unsigned int at = PORT_CMD - 4; at < PORT_CMD + CMD_REGS_LEN + 4; at++) {
			outb(at, values[v]);
			outw(at, values[v]);
			outl(at, values[v]);
			(void)inb(at);
			(void)inw(at);
			(void)inl(at);
		}
	for (unsigned int i = 0; i < 2000; i++)
		reg_set(CMD_REG_CREDIT, 0xffffffff);
	power_off();
}

/* The status has come, and then an end of another kind, while the output is still on its way. */
static void t_status_then(void)
{
	send_text(COM2, "written\n");
	reg_set(CMD_REG_STATUS, 9);
	if (arg_is("then", "off"))
		power_off();
	outb(PORT_RESET, 0x06);
	halt();
}

static void t_no_status(void)
{
	print("last words\n");
	send_text(COM2, "written\n");
	if (arg_is("then", "off"))
		power_off();
	if (arg_is("then", "triple"))
		triple_fault();
	outb(PORT_RESET, 0x06);
	halt();
}

/* Writes until the reader has gone, and says how the guest learned of it. */
static void t_reader_gone(void)
{
	while (!(reg(CMD_REG_STATE) & CMD_STATE_GONE(CMD_STDIO)))
		send_text(COM2, "line\n");
	send_text(COM3, "gone\n");
	report(0);
}

const struct guest_case cases_cmd[] = {
	{ "cmd-status", t_status },           { "cmd-status-bytes", t_status_bytes },
	{ "cmd-streams", t_streams },         { "cmd-cat", t_cat },
	{ "cmd-no-credit", t_no_credit },     { "cmd-hostile", t_hostile },
	{ "cmd-status-then", t_status_then }, { "cmd-no-status", t_no_status },
	{ "cmd-reader-gone", t_reader_gone }, { NULL, NULL },
};
