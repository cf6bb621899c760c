// SPDX-License-Identifier: GPL-2.0
// LINK: hw/i8042.c bus.c util/err.c
#include <pthread.h>

#include "unit.h"
#include "fake-hw.h"

#include <lkvm/i8042.h>

#define DATA   0x60
#define CMD    0x64
#define A20    0x92
#define KBD    1
#define AUX    12

#define OBF    0x01
#define AUXOBF 0x20

static const struct i8042_config cfg = { DATA, CMD, A20, KBD, AUX };
static struct i8042 kbc;
static struct err err;

static void setup(void)
{
	fake_stop = (struct fake_stop){ 0 };
	err = ERR_INIT;
	bus_init(&fake_bus);
	ck_assert_int_eq(i8042_init(&kbc, &fake_bus, &cfg, NULL, NULL, &err), 0);
}

static void teardown(void)
{
	i8042_release(&kbc);
	ck_assert_uint_eq(inb(CMD), 0xff);
	ck_assert_uint_eq(inb(A20), 0xff);
	bus_release(&fake_bus);
}

/* Reads `nr` bytes, each announced by the status, and expects no more. */
static void expect(unsigned int nr, const uint8_t *want)
{
	for (unsigned int i = 0; i < nr; i++) {
		ck_assert_uint_eq(inb(CMD) & (OBF | AUXOBF), OBF);
		ck_assert_uint_eq(inb(DATA), want[i]);
	}
	ck_assert_uint_eq(inb(CMD) & OBF, 0);
}

#define EXPECT(...) expect(sizeof((uint8_t[]){ __VA_ARGS__ }), (uint8_t[]){ __VA_ARGS__ })

START_TEST(status_after_reset)
{
	ck_assert_uint_eq(inb(CMD), 0x14); /* unlocked, system flag */
	ck_assert_uint_eq(inb(DATA), 0);
	outb(CMD, 0xa7);
	ck_assert_uint_eq(inb(CMD), 0x1c); /* the last write was a command */
	outb(CMD, 0x20);
	EXPECT(0x65);
	outb(DATA, 0xee);
	ck_assert_uint_eq(inb(CMD), 0x15); /* it was data */
}
END_TEST

START_TEST(linux_probe)
{
	ck_assert_uint_eq(inb(CMD) & OBF, 0); /* nothing to flush */
	outb(CMD, 0xaa);
	EXPECT(0x55);
	outb(CMD, 0x20);
	ck_assert_uint_eq(inb(DATA), 0x65);
	outb(CMD, 0x60);
	outb(DATA, 0x74);
	ck_assert_uint_eq(inb(CMD) & 0x10, 0x10); /* no keylock */
	/* The auxiliary port is given up after these two. */
	outb(CMD, 0xd3);
	outb(DATA, 0x5a);
	EXPECT(0x5a);
	outb(CMD, 0xa9);
	EXPECT(0x01);
	outb(CMD, 0x60);
	outb(DATA, 0x65);
	outb(CMD, 0xab);
	EXPECT(0x00);
	/* The keyboard. */
	outb(DATA, 0xf2);
	EXPECT(0xfa, 0xab, 0x83);
	outb(DATA, 0xed);
	EXPECT(0xfa);
	outb(DATA, 0x00);
	EXPECT(0xfa);
	outb(DATA, 0xf3);
	EXPECT(0xfa);
	outb(DATA, 0x00);
	EXPECT(0xfa);
	outb(DATA, 0xf4);
	EXPECT(0xfa);
	ck_assert_uint_eq(fake_stop.requests, 0);
}
END_TEST

START_TEST(keyboard_commands)
{
	static const struct {
		uint8_t sent, nr, answer[3];
	} table[] = {
		{ 0xff, 2, { 0xfa, 0xaa } },
		{ 0xf2, 3, { 0xfa, 0xab, 0x83 } },
		{ 0xee, 1, { 0xee } },
		{ 0xf4, 1, { 0xfa } },
		{ 0xf5, 1, { 0xfa } },
		{ 0xf6, 1, { 0xfa } },
		{ 0xf7, 1, { 0xfa } },
		{ 0xfa, 1, { 0xfa } },
		{ 0xed, 1, { 0xfa } },
		{ 0x07, 1, { 0xfa } }, /* a parameter */
		{ 0xf3, 1, { 0xfa } },
		{ 0x20, 1, { 0xfa } },
		{ 0xf0, 1, { 0xfa } },
		{ 0x00, 2, { 0xfa, 0x02 } },
		{ 0xf0, 1, { 0xfa } },
		{ 0x02, 1, { 0xfa } },
		{ 0xed, 1, { 0xfa } },
		{ 0xf2, 3, { 0xfa, 0xab, 0x83 } }, /* a command instead of one */
		{ 0x07, 1, { 0xfe } },
		{ 0xfe, 1, { 0xfe } },
		{ 0xfb, 1, { 0xfe } },
		{ 0x00, 1, { 0xfe } },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(table); i++) {
		outb(DATA, table[i].sent);
		expect(table[i].nr, table[i].answer);
	}
	/* A reset forgets what was queued. */
	for (unsigned int i = 0; i < 5; i++)
		outb(DATA, 0xf2);
	outb(DATA, 0xff);
	EXPECT(0xfa, 0xaa);
}
END_TEST

START_TEST(controller_commands)
{
	outb(CMD, 0xc0);
	EXPECT(0x80);
	outb(CMD, 0xd0);
	EXPECT(0x03);
	outb(DATA, 0xf4);
	outb(CMD, 0xd0); /* the keyboard's byte is in the buffer; the controller's goes first */
	EXPECT(0x13, 0xfa);
	outb(CMD, 0xd2);
	outb(DATA, 0x1e);
	EXPECT(0x1e);
	outb(CMD, 0xa8);
	outb(CMD, 0x20);
	EXPECT(0x45);
	outb(CMD, 0xa7);
	outb(CMD, 0xad);
	outb(CMD, 0x20);
	EXPECT(0x75);
	outb(CMD, 0xae);
	outb(CMD, 0x20);
	EXPECT(0x65);
	outb(CMD, 0xd1);
	outb(DATA, 0xdf); /* A20 and no reset */
	for (unsigned int i = 0; i < 32; i++) {
		outb(CMD, 0x60 + i);
		outb(DATA, 0xe0 ^ i);
	}
	for (unsigned int i = 0; i < 32; i++) {
		outb(CMD, 0x20 + i);
		EXPECT(0xe0 ^ i);
	}
	/* The system flag follows the command byte and the self-test. */
	ck_assert_uint_eq(inb(CMD) & 0x04, 0);
	outb(CMD, 0xaa);
	ck_assert_uint_eq(inb(CMD) & 0x04, 0x04);
	EXPECT(0x55);
	/* A command drops the parameter that another waits for. */
	outb(CMD, 0x60);
	outb(CMD, 0xab);
	outb(DATA, 0xee);
	ck_assert_uint_eq(inb(DATA), 0x00);
	EXPECT(0xee);
}
END_TEST

START_TEST(absent_auxiliary_device)
{
	outb(CMD, 0xd4);
	outb(DATA, 0xff);
	ck_assert(!fake_lines[AUX].level && !fake_lines[KBD].level); /* not enabled */
	ck_assert_uint_eq(inb(DATA), 0xfe);
	outb(CMD, 0x60);
	outb(DATA, 0x47);
	outb(CMD, 0xd4);
	outb(DATA, 0xff);
	ck_assert_uint_eq(inb(CMD) & (OBF | AUXOBF), OBF | AUXOBF);
	ck_assert(fake_lines[AUX].level && !fake_lines[KBD].level);
	outb(CMD, 0xd0);
	ck_assert_uint_eq(inb(DATA), 0xfe);
	ck_assert(!fake_lines[AUX].level && fake_lines[KBD].level);
	EXPECT(0x23); /* the auxiliary byte was in the buffer */
	ck_assert(!fake_lines[KBD].level);
}
END_TEST

START_TEST(disabled_keyboard_holds_back)
{
	outb(DATA, 0xf2);
	outb(CMD, 0xad);
	ck_assert_uint_eq(inb(CMD) & OBF, 0);
	ck_assert(!fake_lines[KBD].level);
	outb(CMD, 0xab);
	EXPECT(0x00);
	outb(CMD, 0xae);
	ck_assert(fake_lines[KBD].level);
	EXPECT(0xfa, 0xab, 0x83);
	outb(CMD, 0xad);
	outb(DATA, 0xf4); /* opens the interface */
	EXPECT(0xfa);
}
END_TEST

START_TEST(an_edge_for_each_byte)
{
	outb(DATA, 0xf2);
	for (unsigned int i = 1; i <= 3; i++) {
		ck_assert(fake_lines[KBD].level);
		ck_assert_uint_eq(fake_lines[KBD].rises, i);
		inb(DATA);
	}
	ck_assert(!fake_lines[KBD].level);
	outb(CMD, 0x60);
	outb(DATA, 0x44);
	outb(DATA, 0xf4);
	ck_assert(!fake_lines[KBD].level);
	outb(CMD, 0x60);
	outb(DATA, 0x45);
	ck_assert(fake_lines[KBD].level);
	ck_assert_uint_eq(fake_lines[AUX].rises, 0);
}
END_TEST

START_TEST(reset_requests)
{
	unsigned int want = 0;

	/* Pulse commands: bit 0 clear resets. */
	for (unsigned int v = 0xf0; v <= 0xff; v++) {
		outb(CMD, v);
		want += !(v & 1);
		ck_assert_uint_eq(fake_stop.requests, want);
	}
	ck_assert_int_eq(fake_stop.reason, STOP_RESET);
	ck_assert_uint_gt(strlen(fake_stop.detail), 0);
	outb(CMD, 0xd1);
	outb(DATA, 0x03);
	ck_assert_uint_eq(fake_stop.requests, want);
	outb(CMD, 0xd1);
	outb(DATA, 0x02);
	ck_assert_uint_eq(fake_stop.requests, ++want);
	/* Port 0x92. */
	ck_assert_uint_eq(inb(A20), 0x02);
	outb(A20, 0x00);
	outb(A20, 0xfe);
	ck_assert_uint_eq(inb(A20), 0x02);
	ck_assert_uint_eq(fake_stop.requests, want);
	outb(A20, 0x01);
	ck_assert_uint_eq(fake_stop.requests, ++want);
	ck_assert_int_eq(fake_stop.reason, STOP_RESET);
	ck_assert_str_eq(fake_stop.detail, "port 0x92");
}
END_TEST

START_TEST(only_reset_commands_reset)
{
	for (unsigned int v = 0; v < 0xf0; v++) {
		outb(CMD, v);
		outb(DATA, 0x01);
		for (unsigned int i = 0; i < 40; i++)
			inb(DATA);
	}
	ck_assert_uint_eq(fake_stop.requests, 0);
}
END_TEST

START_TEST(queues_are_bounded_and_empty_reads_repeat)
{
	for (unsigned int i = 0; i < 1000; i++)
		outb(DATA, 0xee);
	for (unsigned int i = 0; i < 1000; i++)
		outb(CMD, 0xab);
	ck_assert_uint_eq(kbc.out.nr, I8042_QUEUE_LEN);
	ck_assert_uint_eq(kbc.kbd.nr, I8042_QUEUE_LEN);
	for (unsigned int i = 0; i < 16; i++)
		ck_assert_uint_eq(inb(DATA), 0x00);
	for (unsigned int i = 0; i < 16; i++)
		ck_assert_uint_eq(inb(DATA), 0xee);
	for (unsigned int i = 0; i < 300; i++)
		ck_assert_uint_eq(inb(DATA), 0xee);
	ck_assert_uint_eq(inb(CMD) & OBF, 0);
	/* A self-test forgets earlier answers. */
	outb(CMD, 0xab);
	outb(CMD, 0xaa);
	EXPECT(0x55);
	ck_assert_uint_eq(inb(DATA), 0x55);
}
END_TEST

START_TEST(wide_accesses)
{
	outb(CMD, 0xaa);
	ck_assert_uint_eq(in(DATA, 4), 0xffffff55);
	out(CMD, 4, 0xfefefeab);
	ck_assert_uint_eq(fake_stop.requests, 0);
	EXPECT(0x00);
	out(A20 - 1, 2, 0x0100);
	ck_assert_uint_eq(fake_stop.requests, 1);
}
END_TEST

START_TEST(ports_taken)
{
	for (unsigned int i = 0; i < 3; i++) {
		struct i8042_config c = { 0x10, 0x20, 0x30, KBD, AUX };
		struct i8042 k;

		(&c.data_port)[i] = CMD;
		err = ERR_INIT;
		ck_assert_int_lt(i8042_init(&k, &fake_bus, &c, NULL, NULL, &err), 0);
		ck_assert_int_eq(err.kind, ERR_INTERNAL);
		/* Nothing of it is left. */
		ck_assert_uint_eq(fake_bus.nr, 3);
	}
}
END_TEST

START_TEST(hostile_accesses)
{
	static const uint16_t ports[] = { DATA, CMD, A20 };
	uint32_t seed = _i + 1;

	for (unsigned int i = 0; i < 20000; i++) {
		uint32_t r = fake_random(&seed);

		if (r & 1)
			outb(ports[(r >> 1) % 3], r >> 8);
		else
			inb(ports[(r >> 1) % 3]);
		ck_assert_uint_le(kbc.out.nr, I8042_QUEUE_LEN);
		ck_assert_uint_le(kbc.kbd.nr, I8042_QUEUE_LEN);
	}
}
END_TEST

static void *hammer(void *arg)
{
	for (unsigned int i = 0; i < 2000; i++) {
		outb(CMD, 0x20 + i % 0x40);
		outb(DATA, 0xf2 - (uintptr_t)arg);
		inb(DATA);
		inb(CMD);
	}
	return NULL;
}

START_TEST(threads)
{
	pthread_t t[2];

	for (uintptr_t i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_create(&t[i], NULL, hammer, (void *)i), 0);
	for (unsigned int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	ck_assert_uint_le(kbc.out.nr, I8042_QUEUE_LEN);
}
END_TEST

UNIT_SUITE("i8042", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, status_after_reset);
	tcase_add_test(tc, linux_probe);
	tcase_add_test(tc, keyboard_commands);
	tcase_add_test(tc, controller_commands);
	tcase_add_test(tc, absent_auxiliary_device);
	tcase_add_test(tc, disabled_keyboard_holds_back);
	tcase_add_test(tc, an_edge_for_each_byte);
	tcase_add_test(tc, reset_requests);
	tcase_add_test(tc, only_reset_commands_reset);
	tcase_add_test(tc, queues_are_bounded_and_empty_reads_repeat);
	tcase_add_test(tc, wide_accesses);
	tcase_add_test(tc, ports_taken);
	tcase_add_loop_test(tc, hostile_accesses, 0, 4);
	tcase_add_test(tc, threads);
})
