// SPDX-License-Identifier: GPL-2.0
// LINK: hw/earlycon.c bus.c util/err.c
#include <pthread.h>

#include "unit.h"
#include "fake-hw.h"

#include <lkvm/chr.h>
#include <lkvm/earlycon.h>

#define GPA    0xfe000000ULL
#define REG(n) (GPA + 4 * (n))

static struct chr {
	char out[256];
	_Atomic size_t nr;
} chr;
static struct earlycon con;
static struct err err;

void chr_write(struct chr *c, const void *buf, size_t len)
{
	ck_assert_uint_eq(len, 1);
	c->out[atomic_fetch_add(&c->nr, 1) % sizeof(c->out)] = *(const char *)buf;
}

static void setup(void)
{
	memset(&chr, 0, sizeof(chr));
	err = ERR_INIT;
	bus_init(&fake_bus);
	ck_assert_int_eq(earlycon_init(&con, &fake_bus, GPA, &chr, &err), 0);
}

static void teardown(void)
{
	earlycon_release(&con);
	ck_assert_uint_eq(inb(GPA), 0xff);
	bus_release(&fake_bus);
}

static void put(const char *s)
{
	for (; *s; s++) {
		out(REG(0), 4, (uint8_t)*s);
		ck_assert_uint_eq(in(REG(5), 4) & 0x60, 0x60);
	}
}

START_TEST(linux_without_a_baud_rate)
{
	out(REG(1), 4, in(REG(1), 4) & 0x40);
	put("boot\n");
	ck_assert_uint_eq(chr.nr, 5);
	ck_assert_mem_eq(chr.out, "boot\n", 5);
}
END_TEST

START_TEST(linux_with_a_baud_rate)
{
	out(REG(3), 4, 0x03);
	out(REG(1), 4, in(REG(1), 4) & 0x40);
	out(REG(2), 4, 0);
	out(REG(4), 4, 0x03);
	uint32_t lcr = (uint32_t)in(REG(3), 4);
	ck_assert_uint_eq(lcr, 0x03);
	out(REG(3), 4, lcr | 0x80);
	out(REG(0), 4, 'D'); /* the divisor */
	out(REG(1), 4, 'M');
	out(REG(3), 4, lcr);
	put("x");
	ck_assert_uint_eq(chr.nr, 1);
	ck_assert_int_eq(chr.out[0], 'x');
}
END_TEST

START_TEST(every_width_prints_one_byte)
{
	for (unsigned int width = 1; width <= 8; width++) {
		out(REG(0), width, 0x5a5a5a5a5a5a5a00 + 'a' + width);
		ck_assert_uint_eq(chr.nr, width);
		ck_assert_int_eq(chr.out[width - 1], 'a' + width);
	}
	outb(REG(3), 0x80);
	outb(REG(0), 'D');
	outb(REG(3) + 1, 0x00); /* not LCR's low byte */
	outb(REG(0), 'D');
	ck_assert_uint_eq(chr.nr, 8);
	outb(REG(3), 0x00);
	outb(REG(0), 'e');
	ck_assert_uint_eq(chr.nr, 9);
}
END_TEST

START_TEST(nothing_else_prints)
{
	for (unsigned int off = 1; off < EARLYCON_LEN; off++)
		for (unsigned int width = 1; width <= 8; width <<= 1)
			if (off != 12)
				out(GPA + off, width, 0x4141414141414141);
	ck_assert_uint_eq(chr.nr, 0);
}
END_TEST

START_TEST(reads_are_the_page)
{
	uint8_t page[EARLYCON_LEN + 8];

	memset(page, 0xff, sizeof(page)); /* what is past the region, too */
	earlycon_page(page);
	ck_assert_uint_eq(page[4 * 5], 0x60);
	ck_assert_uint_eq(page[EARLYCON_LEN], 0xff);
	for (unsigned int round = 0; round < 2; round++) {
		for (unsigned int off = 0; off < EARLYCON_LEN; off++)
			for (unsigned int width = 1; width <= 8; width++)
				ck_assert_uint_eq(in(GPA + off, width),
						  get_le64(page + off) &
							  (UINT64_MAX >> (64 - 8 * width)));
		/* Writes change nothing that can be read. */
		for (unsigned int off = 0; off < EARLYCON_LEN; off++)
			outb(GPA + off, 0xa5);
	}
	/* No input, no interrupt. */
	ck_assert_uint_eq(page[0], 0);
	ck_assert_uint_eq(page[4 * 2] & 1, 1);
}
END_TEST

START_TEST(page_taken_and_no_chr)
{
	struct earlycon other;

	ck_assert_int_lt(earlycon_init(&other, &fake_bus, GPA + 4095, NULL, &err), 0);
	ck_assert_int_eq(err.kind, ERR_INTERNAL);
	ck_assert_int_eq(earlycon_init(&other, &fake_bus, GPA + 4096, NULL, &err), 0);
	outb(GPA + 4096, 'x');
	ck_assert_uint_eq(chr.nr, 0);
	earlycon_release(&other);
}
END_TEST

static void *hammer(void *arg)
{
	(void)arg;
	for (unsigned int i = 0; i < 2000; i++) {
		out(REG(3), 4, i & 1 ? 0x80 : 0);
		out(REG(0), 4, 'x');
	}
	return NULL;
}

START_TEST(threads)
{
	pthread_t t[2];

	for (unsigned int i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_create(&t[i], NULL, hammer, NULL), 0);
	for (unsigned int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	ck_assert_uint_le(chr.nr, 4000);
}
END_TEST

UNIT_SUITE("earlycon", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, linux_without_a_baud_rate);
	tcase_add_test(tc, linux_with_a_baud_rate);
	tcase_add_test(tc, every_width_prints_one_byte);
	tcase_add_test(tc, nothing_else_prints);
	tcase_add_test(tc, reads_are_the_page);
	tcase_add_test(tc, page_taken_and_no_chr);
	tcase_add_test(tc, threads);
})
