/* SPDX-License-Identifier: GPL-2.0 */
// LINK: bus.c
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include <lkvm/bus.h>
#include <lkvm/util.h>

#include "unit.h"

/* A device that remembers what it was asked and answers with the offsets of the bytes. */
struct probe {
	struct bus_region region;
	unsigned int reads, writes;
	uint64_t off[16], value[16];
	unsigned int width[16];
};

static uint64_t probe_read(struct bus_region *r, uint64_t off, unsigned int width)
{
	struct probe *p = container_of(r, struct probe, region);
	uint64_t v = 0;

	ck_assert(range_ok(off, width, r->size));
	ck_assert(width <= r->max_width && (width & (width - 1)) == 0);
	p->off[p->reads % 16] = off;
	p->width[p->reads++ % 16] = width;
	for (unsigned int i = 0; i < width; i++)
		v |= (uint64_t)(uint8_t)(0x10 + off + i) << (8 * i);
	return v;
}

static void probe_write(struct bus_region *r, uint64_t off, unsigned int width, uint64_t value)
{
	struct probe *p = container_of(r, struct probe, region);

	ck_assert(range_ok(off, width, r->size));
	ck_assert(width <= r->max_width && (width & (width - 1)) == 0);
	p->off[p->writes % 16] = off;
	p->value[p->writes % 16] = value;
	p->width[p->writes++ % 16] = width;
}

static struct probe make(uint64_t base, uint64_t size, unsigned int max_width)
{
	return (struct probe){ .region = { .name = "probe",
					   .base = base,
					   .size = size,
					   .max_width = max_width,
					   .read = probe_read,
					   .write = probe_write } };
}

START_TEST(every_width_at_every_address)
{
	static const unsigned int max[] = { 1, 2, 4, 8 };
	struct probe p = make(0x100, 12, max[_i]);
	struct bus bus;

	bus_init(&bus);
	ck_assert_int_eq(bus_add(&bus, &p.region), 0);
	for (unsigned int len = 1; len <= 8; len++) {
		for (uint64_t addr = 0xf0; addr < 0x120; addr++) {
			uint8_t data[10];

			memset(data, 0x77, sizeof(data));
			bus_read(&bus, addr, data, len);
			bus_write(&bus, addr, data, len);
			for (unsigned int i = 0; i < len; i++) {
				uint64_t a = addr + i;
				bool in = a >= 0x100 && a < 0x10c;
				ck_assert_uint_eq(data[i], in ? 0x10 + (a - 0x100) : 0xff);
			}
			ck_assert_uint_eq(data[len], 0x77); /* nothing past the access */
		}
	}
	bus_release(&bus);
}
END_TEST

START_TEST(a_wide_access_is_one_call_when_the_device_takes_it)
{
	struct probe p = make(0x100, 8, 4);
	struct bus bus;
	uint8_t data[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };

	bus_init(&bus);
	ck_assert_int_eq(bus_add(&bus, &p.region), 0);
	bus_write(&bus, 0x104, data, 4);
	ck_assert_uint_eq(p.writes, 1);
	ck_assert_uint_eq(p.off[0], 4);
	ck_assert_uint_eq(p.value[0], 0x04030201);
	bus_write(&bus, 0x100, data, 8); /* wider than it takes: bytes at rising addresses */
	ck_assert_uint_eq(p.writes, 9);
	ck_assert_uint_eq(p.width[1], 1);
	ck_assert_uint_eq(p.off[1], 0);
	ck_assert_uint_eq(p.off[8], 7);
	ck_assert_uint_eq(p.value[8], 8);
	bus_write(&bus, 0x106, data, 4); /* leaves the region: two bytes are nobody's */
	ck_assert_uint_eq(p.writes, 11);
	bus_write(&bus, 0x100, data, 3); /* no power of two */
	ck_assert_uint_eq(p.writes, 14);
	bus_release(&bus);
}
END_TEST

START_TEST(neighbours_share_an_access)
{
	struct probe a = make(0x100, 4, 8), b = make(0x104, 4, 8);
	struct bus bus;
	uint8_t data[4];

	bus_init(&bus);
	ck_assert_int_eq(bus_add(&bus, &b.region), 0);
	ck_assert_int_eq(bus_add(&bus, &a.region), 0);
	bus_read(&bus, 0x102, data, 4);
	ck_assert_uint_eq(a.reads, 2);
	ck_assert_uint_eq(b.reads, 2);
	ck_assert_mem_eq(data, "\x12\x13\x10\x11", 4);
	bus_release(&bus);
}
END_TEST

START_TEST(overlaps_are_refused)
{
	static const struct {
		uint64_t base, size;
		int ret;
	} tries[] = {
		{ 0x100, 0x10, -EEXIST }, { 0x0ff, 2, -EEXIST },   { 0x10f, 1, -EEXIST },
		{ 0x0, 0x1000, -EEXIST }, { 0x108, 2, -EEXIST },   { 0x0, 0x100, 0 },
		{ 0x110, 1, 0 },          { 0x0, 0x101, -EEXIST },
	};
	struct probe p = make(0x100, 0x10, 1);
	struct bus bus;

	bus_init(&bus);
	ck_assert_int_eq(bus_add(&bus, &p.region), 0);
	for (size_t i = 0; i < ARRAY_SIZE(tries); i++) {
		struct probe q = make(tries[i].base, tries[i].size, 1);

		ck_assert_int_eq(bus_add(&bus, &q.region), tries[i].ret);
		if (!tries[i].ret)
			bus_remove(&bus, &q.region);
	}
	ck_assert_uint_eq(bus.nr, 1);
	bus_release(&bus);
}
END_TEST

START_TEST(many_regions_are_found_and_removed)
{
	static struct probe p[BUS_REGIONS_MAX + 1];
	struct bus bus;
	uint8_t b;

	bus_init(&bus);
	for (unsigned int i = 0; i <= BUS_REGIONS_MAX; i++) {
		unsigned int at = i * 7 % BUS_REGIONS_MAX; /* in no order */

		p[i] = make(i == BUS_REGIONS_MAX ? 0x100000 : at * 16, 8, 1);
		ck_assert_int_eq(bus_add(&bus, &p[i].region), i == BUS_REGIONS_MAX ? -ENOSPC : 0);
	}
	for (unsigned int i = 0; i < BUS_REGIONS_MAX; i++) {
		bus_read(&bus, p[i].region.base + 7, &b, 1);
		ck_assert_uint_eq(p[i].reads, 1);
		bus_read(&bus, p[i].region.base + 8, &b, 1);
		ck_assert_uint_eq(b, 0xff);
		bus_remove(&bus, &p[i].region);
		bus_read(&bus, p[i].region.base, &b, 1);
		ck_assert_uint_eq(b, 0xff);
		ck_assert_uint_eq(p[i].reads, 1);
	}
	bus_remove(&bus, &p[0].region); /* not there: nothing happens */
	ck_assert_uint_eq(bus.nr, 0);
	bus_release(&bus);
}
END_TEST

START_TEST(the_end_of_the_address_space)
{
	struct probe p = make(UINT64_MAX - 8, 8, 8);
	struct bus bus;
	uint8_t data[8];

	bus_init(&bus);
	ck_assert_int_eq(bus_add(&bus, &p.region), 0);
	bus_read(&bus, UINT64_MAX - 1, data, 8); /* wraps to 0, where nobody is */
	ck_assert_uint_eq(p.reads, 1);
	ck_assert_uint_eq(data[0], 0x17);
	ck_assert_uint_eq(data[1], 0xff);
	ck_assert_uint_eq(data[7], 0xff);
	bus_release(&bus);
}
END_TEST

/* --- a region that moves while others use it --- */

#define MOVES 20000

struct mover {
	struct probe p;
	struct bus bus;
	_Atomic bool done;
	_Atomic unsigned int seen, wild;
};

static uint64_t moving_read(struct bus_region *r, uint64_t off, unsigned int width)
{
	struct mover *m = container_of(r, struct mover, p.region);

	if (range_ok(off, width, 16) && width <= 8)
		m->seen++;
	else
		m->wild++;
	return 0;
}

static void moving_write(struct bus_region *r, uint64_t off, unsigned int width, uint64_t value)
{
	(void)value;
	moving_read(r, off, width);
}

static void *access_moving(void *arg)
{
	struct mover *m = arg;
	uint8_t data[8] = { 0 };

	while (!m->done) {
		for (uint64_t base = 0x1000; base <= 0x9000; base += 0x8000) {
			bus_read(&m->bus, base + 8, data, 8);
			bus_write(&m->bus, base + 12, data, 8); /* half outside */
			bus_read(&m->bus, base + 15, data, 1);
		}
	}
	return NULL;
}

START_TEST(a_region_that_moves_gets_no_wild_offset)
{
	ROW("PLT-3", "HD-145");
	static struct mover m;
	pthread_t t;

	m.p = make(0x1000, 16, 8);
	m.p.region.read = moving_read;
	m.p.region.write = moving_write;
	bus_init(&m.bus);
	pthread_create(&t, NULL, access_moving, &m);
	for (unsigned int i = 0; i < MOVES || !m.seen; i++) {
		m.p.region.base = i % 2 ? 0x9000 : 0x1000;
		ck_assert_int_eq(bus_add(&m.bus, &m.p.region), 0);
		bus_remove(&m.bus, &m.p.region);
	}
	m.done = true;
	pthread_join(t, NULL);
	ck_assert_uint_eq(m.wild, 0);
	bus_release(&m.bus);
}
END_TEST

/* A handler that moves its own region in the middle of a split access: the rest goes by the new place. */
static void jump_write(struct bus_region *r, uint64_t off, unsigned int width, uint64_t value)
{
	struct mover *m = container_of(r, struct mover, p.region);

	moving_write(r, off, width, value);
	bus_remove(&m->bus, r);
	r->base = 0x9000;
	ck_assert_int_eq(bus_add(&m->bus, r), 0);
}

START_TEST(a_region_that_moves_inside_an_access)
{
	static struct mover m;
	uint8_t data[8] = { 0 };

	m.p = make(0x1000, 16, 4);
	m.p.region.read = moving_read;
	m.p.region.write = jump_write;
	bus_init(&m.bus);
	ck_assert_int_eq(bus_add(&m.bus, &m.p.region), 0);
	bus_write(&m.bus, 0x1000, data, 8);
	ck_assert_uint_eq(m.seen, 1); /* the other seven bytes are nobody's */
	ck_assert_uint_eq(m.wild, 0);
	bus_release(&m.bus);
}
END_TEST

UNIT_SUITE("bus", {
	tcase_add_loop_test(tc, every_width_at_every_address, 0, 4);
	tcase_add_test(tc, a_wide_access_is_one_call_when_the_device_takes_it);
	tcase_add_test(tc, neighbours_share_an_access);
	tcase_add_test(tc, overlaps_are_refused);
	tcase_add_test(tc, many_regions_are_found_and_removed);
	tcase_add_test(tc, the_end_of_the_address_space);
	tcase_add_test(tc, a_region_that_moves_gets_no_wild_offset);
	tcase_add_test(tc, a_region_that_moves_inside_an_access);
})
