// SPDX-License-Identifier: GPL-2.0
// LINK: arm/ports.c arm/v2m.c bus.c util/err.c
#include <lkvm/irq.h>

#include "arm/memmap.h"
#include "arm/ports.h"
#include "arm/v2m.h"

#include "unit.h"

static struct bus pio, mmio;
static struct ports ports;
static struct v2m v2m;
static struct err err;

/* The last message, and how many there were. */
static uint64_t sent_addr;
static uint32_t sent_data;
static unsigned int sent;

void irq_msi_send(struct kvm *kvm, uint32_t devid, uint64_t addr, uint32_t data)
{
	(void)kvm;
	(void)devid;
	sent_addr = addr;
	sent_data = data;
	sent++;
}

/* A device of ports that remembers. */
static uint64_t seen_off, seen_value;
static unsigned int seen_width;

static uint64_t dev_read(struct bus_region *r, uint64_t off, unsigned int width)
{
	(void)r;
	seen_off = off;
	seen_width = width;
	return 0x1122334455667788;
}

static void dev_write(struct bus_region *r, uint64_t off, unsigned int width, uint64_t value)
{
	(void)r;
	seen_off = off;
	seen_width = width;
	seen_value = value;
}

static struct bus_region dev = {
	.name = "dev", .size = 16, .max_width = 4, .read = dev_read, .write = dev_write
};

static void setup(void)
{
	bus_init(&pio);
	bus_init(&mmio);
	err = ERR_INIT;
	sent = 0;
	ck_assert_int_eq(ports_init(&ports, &mmio, &pio, &err), 0);
	ck_assert_int_eq(v2m_init(&v2m, &mmio, NULL, &err), 0);
}

static void teardown(void)
{
	v2m_release(&v2m);
	ports_release(&ports);
	bus_release(&mmio);
	bus_release(&pio);
}

START_TEST(the_window_leads_to_the_ports)
{
	uint32_t v = 0x04030201;

	dev.base = 0x1000;
	ck_assert_int_eq(bus_add(&pio, &dev), 0);
	bus_write(&mmio, GPA_PCI_IO + 0x1004, &v, 4);
	ck_assert_uint_eq(seen_off, 4);
	ck_assert_uint_eq(seen_width, 4);
	ck_assert_uint_eq(seen_value, 0x04030201);
	bus_read(&mmio, GPA_PCI_IO + 0x1002, &v, 2);
	ck_assert_uint_eq(seen_off, 2);
	ck_assert_uint_eq(v & 0xffff, 0x7788);
	/* Nobody is there. */
	bus_read(&mmio, GPA_PCI_IO + 0xffff, &v, 1);
	ck_assert_uint_eq(v & 0xff, 0xff);
}
END_TEST

/* pci.c has its reset register below, which is none of this machine. */
START_TEST(low_ports_are_nobodys)
{
	uint8_t v = 6;

	dev.base = 0xcf8;
	ck_assert_int_eq(bus_add(&pio, &dev), 0);
	seen_width = 0;
	bus_write(&mmio, GPA_PCI_IO + 0xcf9, &v, 1);
	bus_read(&mmio, GPA_PCI_IO + 0xcf9, &v, 1);
	ck_assert_uint_eq(seen_width, 0);
	ck_assert_uint_eq(v, 0xff);
}
END_TEST

START_TEST(v2m_tells_its_interrupts)
{
	uint32_t v;

	bus_read(&mmio, GPA_V2M + V2M_TYPER, &v, 4);
	ck_assert_uint_eq(v, 64u << 16 | 128);
	bus_read(&mmio, GPA_V2M + V2M_IIDR, &v, 4);
	ck_assert_uint_eq(v, 0);
	ck_assert(!v2m_has(63) && v2m_has(64) && v2m_has(191) && !v2m_has(192) && !v2m_has(0));
}
END_TEST

START_TEST(a_cpu_may_write_to_v2m)
{
	uint32_t v = 70;

	bus_write(&mmio, GPA_V2M + V2M_SETSPI, &v, 4);
	ck_assert_uint_eq(sent, 1);
	ck_assert_uint_eq(sent_addr, GPA_V2M + V2M_SETSPI);
	ck_assert_uint_eq(sent_data, 70);
	bus_write(&mmio, GPA_V2M + V2M_SETSPI, &v, 2);
	bus_write(&mmio, GPA_V2M + V2M_TYPER, &v, 4);
	ck_assert_uint_eq(sent, 1);
}
END_TEST

START_TEST(says_when_a_place_is_taken)
{
	struct ports more;
	struct v2m again;

	ck_assert_int_lt(ports_init(&more, &mmio, &pio, &err), 0);
	ck_assert_int_eq(err.kind, ERR_INTERNAL);
	err = ERR_INIT;
	ck_assert_int_lt(v2m_init(&again, &mmio, NULL, &err), 0);
	ck_assert_int_eq(err.kind, ERR_INTERNAL);
}
END_TEST

UNIT_SUITE("arm devices", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, the_window_leads_to_the_ports);
	tcase_add_test(tc, low_ports_are_nobodys);
	tcase_add_test(tc, v2m_tells_its_interrupts);
	tcase_add_test(tc, a_cpu_may_write_to_v2m);
	tcase_add_test(tc, says_when_a_place_is_taken);
})
