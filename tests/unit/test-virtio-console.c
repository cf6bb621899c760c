// SPDX-License-Identifier: GPL-2.0
// LINK: virtio/console.c virtio/console-ctrl.c virtio/device.c virtio/registers.c virtio/legacy.c virtio/queue.c virtio/mini.c gmem.c
// LINK: util/loop.c util/log.c util/err.c util/options.c util/option-types.c util/option-keys.c util/nearest.c
// LINK: tests/mock/clock.c tests/mock/arena.c tests/mock/ring.c tests/mock/driver.c tests/mock/core.c tests/mock/testdev.c tests/mock/bench.c tests/mock/hostile.c
/*
 * The console, through both interfaces of the core: a console alone, and named ports. The host's side is the test's: it
 * takes and gives as much as a test says. The loop is turned by the test.
 */
#include "unit.h"

#include <errno.h>
#include <string.h>
#include <stdio.h>

#include <lkvm/util.h>
#include <lkvm/virtio/console.h>

#include "../mock/hostile.h"

#define BUF_LEN  4096
#define HOST_MAX (3u << 20)
#define SIZE     VIRTIO_CONSOLE_QUEUE_SIZE
#define F(name)  VIRTIO_BIT(VIRTIO_CONSOLE_F_##name)
#define PORTS    3

struct host {
	struct port port;
	size_t room; /* bytes that it takes yet */
	bool gone;   /* takes nothing any more */
	uint8_t *got;
	size_t got_len;
	const uint8_t *give; /* for the guest */
	size_t give_len;
	bool ends;                 /* after that */
	unsigned int reads, ended; /* calls, those that said the end */
	unsigned int opened, closed;
	size_t at_close; /* bytes that had come */
	unsigned int finished;
	bool attached;
};

static struct bench b;
static struct virtio_device *vd;
static struct drv d;
static struct host host[PORTS];
static struct virtio_console_cfg cfg;
static uint64_t out_gpa, in_gpa, ctl_gpa;
static uint8_t pattern[HOST_MAX];

/* --- the host's side --- */

static struct host *of(struct port *port)
{
	return container_of(port, struct host, port);
}

static void host_attach(struct port *port, struct loop *loop)
{
	ck_assert_ptr_eq(loop, b.loops[0]);
	ck_assert(!of(port)->attached);
	of(port)->attached = true;
}

static void host_detach(struct port *port)
{
	ck_assert(of(port)->attached);
	of(port)->attached = false;
}

static ssize_t host_write(struct port *port, const uint8_t *buf, size_t len)
{
	struct host *h = of(port);
	size_t n = MIN(len, h->room);

	if (h->gone)
		return -EPIPE;
	ck_assert_uint_gt(len, 0);
	ck_assert_uint_le(h->got_len + n, HOST_MAX);
	memcpy(h->got + h->got_len, buf, n);
	h->got_len += n;
	h->room -= n;
	return (ssize_t)n;
}

static ssize_t host_read(struct port *port, uint8_t *buf, size_t len)
{
	struct host *h = of(port);
	size_t n = MIN(len, h->give_len);

	/* Nobody asks beyond the end. */
	ck_assert_uint_eq(h->ended, 0);
	h->reads++;
	if (!n && h->ends) {
		h->ended++;
		return 0;
	}
	memcpy(buf, h->give, n);
	h->give += n;
	h->give_len -= n;
	return n ? (ssize_t)n : -EAGAIN;
}

static void host_guest(struct port *port, bool open)
{
	struct host *h = of(port);

	ck_assert_int_eq(open, h->opened == h->closed);
	if (open) {
		h->opened++;
	} else {
		h->closed++;
		h->at_close = h->got_len;
	}
}

static void host_finished(struct port *port)
{
	of(port)->finished++;
}

static const struct port_ops host_ops = {
	.attach = host_attach,
	.detach = host_detach,
	.write = host_write,
	.read = host_read,
	.guest = host_guest,
	.finished = host_finished,
};

static void give(unsigned int i, size_t off, size_t len)
{
	host[i].give = pattern + off;
	host[i].give_len = len;
	host[i].port.ready(&host[i].port);
}

/* --- the driver's --- */

static void turn(void)
{
	for (unsigned int i = 0; i < 4; i++)
		bench_turn(&b);
}

static void up(uint64_t features)
{
	drv_set_status(&d, 0);
	ck_assert_uint_eq(drv_status(&d), 0);
	ck_assert(drv_negotiate(&d, features));
	unsigned int nr = features & F(MULTIPORT) ? 2 * cfg.nr + 2 : 2;
	for (uint16_t q = 0; q < nr; q++) {
		ring_make(&d, q, SIZE);
		ring_enable(&d.rings[q]);
	}
	drv_driver_ok(&d);
	ck_assert_uint_eq(drv_status(&d) & VIRTIO_DRIVER_OK, VIRTIO_DRIVER_OK);
	turn();
}

static uint64_t core_features(bool legacy)
{
	return legacy ? MODERN_ALL & UINT32_MAX : MODERN_ALL;
}

static void make(bool legacy)
{
	struct virtio_host h = {
		.gm = &b.a.gm, .log = &b.log, .loops = b.loops, .loops_nr = 1, .cpus_nr = 1
	};
	struct err err = ERR_INIT;

	for (unsigned int i = 0; i < cfg.nr; i++) {
		host[i].port.ops = &host_ops;
		host[i].room = HOST_MAX;
		host[i].give = pattern;
		host[i].got = malloc(HOST_MAX);
		cfg.ports[i].port = &host[i].port;
	}
	ck_assert_msg(!virtio_console_type.make(&vd, &cfg, &h, &err), "%s", err.msg);
	drv_init(&d, legacy ? &drv_core_legacy : &drv_core, &b.a, vd);
}

/* A console alone. */
static void start(bool legacy)
{
	cfg = (struct virtio_console_cfg){ .nr = 1, .cols = 80, .rows = 25 };
	make(legacy);
	up(core_features(legacy) | F(SIZE));
}

static uint16_t rxq(unsigned int port)
{
	return (uint16_t)(port ? 2 * port + 2 : 0);
}

static uint16_t txq(unsigned int port)
{
	return rxq(port) + 1;
}

static void add(uint16_t q, const struct drv_buf *bufs, unsigned int nr)
{
	ring_add(&d.rings[q], bufs, nr);
	ring_publish(&d.rings[q]);
	ring_kick(&d.rings[q]);
	turn();
}

/* The length of the next chain that came back, or -1. */
static int back(uint16_t q)
{
	uint32_t id, len;

	return ring_get(&d.rings[q], &id, &len) ? (int)len : -1;
}

/* The guest writes bytes of the pattern in one buffer. */
static void say(unsigned int port, size_t off, uint32_t len)
{
	struct drv_buf buf = { out_gpa, len, false };

	ck_assert_uint_le(len, BUF_LEN);
	arena_write(&b.a, out_gpa, pattern + off, len);
	add(txq(port), &buf, 1);
}

/* The guest gives a buffer to be filled. */
static void offer(uint16_t q, unsigned int slot, uint32_t len)
{
	struct drv_buf buf = { in_gpa + slot * BUF_LEN, len, true };

	ck_assert_uint_le((slot + 1) * BUF_LEN, 16 * BUF_LEN);
	add(q, &buf, 1);
}

static void expect_in(unsigned int slot, size_t off, size_t len)
{
	uint8_t bytes[BUF_LEN];

	arena_read(&b.a, in_gpa + slot * BUF_LEN, bytes, len);
	ck_assert_mem_eq(bytes, pattern + off, len);
}

/* --- control --- */

static void tell(uint32_t id, uint16_t event, uint16_t value)
{
	struct drv_buf buf = { ctl_gpa, 8, false };
	uint8_t m[8];

	put_le32(m, id);
	put_le16(m + 4, event);
	put_le16(m + 6, value);
	arena_write(&b.a, ctl_gpa, m, 8);
	add(3, &buf, 1);
	ck_assert_int_eq(back(3), 0);
}

/* The next message from the device: its bytes behind the header, as a string. */
static void expect_message(uint32_t id, uint16_t event, uint16_t value, const char *more,
			   size_t more_len)
{
	uint8_t m[8 + VIRTIO_CONSOLE_NAME_MAX];

	offer(2, 15, sizeof(m));
	ck_assert_int_eq(back(2), (int)(8 + more_len));
	arena_read(&b.a, in_gpa + 15 * BUF_LEN, m, sizeof(m));
	ck_assert_uint_eq(get_le32(m), id);
	ck_assert_uint_eq(get_le16(m + 4), event);
	ck_assert_uint_eq(get_le16(m + 6), value);
	ck_assert_mem_eq(m + 8, more, more_len);
}

/* A buffer that the device has no use for stays there; it is taken by the next message. */
static bool expect_silence(void)
{
	bool quiet = true;

	turn();
	offer(2, 15, 8 + VIRTIO_CONSOLE_NAME_MAX);
	quiet = back(2) < 0;
	return quiet;
}

static const char *const names[PORTS] = { "org.lkvm.in", "org.lkvm.out", "x" };

/* Named ports; the driver knows them, and has not opened any. */
static void start_ports(void)
{
	cfg = (struct virtio_console_cfg){ .nr = PORTS };
	for (unsigned int i = 0; i < PORTS; i++)
		cfg.ports[i].name = names[i];
	make(false);
	up(MODERN_ALL | F(MULTIPORT));
	tell(77, VIRTIO_CONSOLE_DEVICE_READY, 1);
	for (uint32_t i = 0; i < PORTS; i++)
		expect_message(i, VIRTIO_CONSOLE_DEVICE_ADD, 1, "", 0);
	for (uint32_t i = 0; i < PORTS; i++) {
		tell(i, VIRTIO_CONSOLE_PORT_READY, 1);
		expect_message(i, VIRTIO_CONSOLE_PORT_NAME, 1, names[i], strlen(names[i]));
		expect_message(i, VIRTIO_CONSOLE_PORT_OPEN, 1, "", 0);
	}
}

static void open_port(uint32_t i)
{
	tell(i, VIRTIO_CONSOLE_PORT_OPEN, 1);
}

static void setup(void)
{
	vd = NULL;
	memset(host, 0, sizeof(host));
	for (size_t i = 0; i < sizeof(pattern); i++)
		pattern[i] = (uint8_t)(i * 167 >> 3 ^ i);
	bench_init(&b, &(struct bench_opts){ .queues = 1 });
	out_gpa = arena_alloc(&b.a, BUF_LEN, 1);
	in_gpa = arena_alloc(&b.a, 16 * BUF_LEN, 1);
	ctl_gpa = arena_alloc(&b.a, 64, 1);
	arena_permit(&b.a, in_gpa, 16 * BUF_LEN);
}

static void teardown(void)
{
	if (vd) {
		ck_assert_uint_eq(arena_stray(&b.a), ARENA_CLEAN);
		drv_set_status(&d, 0);
		ck_assert_uint_eq(drv_status(&d), 0);
		drv_release(&d);
		virtio_console_type.destroy(vd);
	}
	for (unsigned int i = 0; i < PORTS; i++) {
		ck_assert(!host[i].attached);
		ck_assert_uint_eq(host[i].opened, host[i].closed);
		free(host[i].got);
	}
	hostile_recover(&b);
	bench_release(&b);
}

/* --- a console alone --- */

START_TEST(offers_what_it_has)
{
	ROW("CON-1", "CON-2");
	start(_i);
	ck_assert_uint_eq(drv_offered(&d) & 7, F(SIZE) | F(MULTIPORT));
	if (!_i)
		ck_assert_uint_eq(drv_reg(&d, 2, DRV_SIZE), 0);
	uint8_t c[8];
	d.ops->config_read(&d, 0, c, 8);
	ck_assert_uint_eq(get_le16(c), 80);
	ck_assert_uint_eq(get_le16(c + 2), 25);
	ck_assert_uint_eq(get_le32(c + 4), 1);
}

START_TEST(a_size_that_is_not_known_is_not_told)
{
	ROW("CON-2");
	cfg = (struct virtio_console_cfg){ .nr = 1 };
	make(_i);
	ck_assert_uint_eq(drv_offered(&d) & 7, F(MULTIPORT));
	up(core_features(_i));
	host[0].port.resize(&host[0].port, 100, 40);
	turn();
	ck_assert_uint_eq(d.irqs.config, 0);
}

START_TEST(bytes_go_both_ways)
{
	ROW("CON-5", "CON-6");
	start(_i);
	ck_assert_uint_eq(host[0].opened, 1);
	say(0, 0, 1000);
	ck_assert_int_eq(back(1), 0);
	ck_assert_uint_eq(host[0].got_len, 1000);
	ck_assert_mem_eq(host[0].got, pattern, 1000);
	/* Typed before there is a buffer, and after. */
	give(0, 0, 100);
	offer(0, 0, 64);
	ck_assert_int_eq(back(0), 64);
	offer(0, 1, 64);
	ck_assert_int_eq(back(0), 36);
	offer(0, 2, 64);
	ck_assert_int_eq(back(0), -1);
	give(0, 100, 10);
	turn();
	ck_assert_int_eq(back(0), 10);
	expect_in(0, 0, 64);
	expect_in(1, 64, 36);
	expect_in(2, 100, 10);
}

START_TEST(a_chain_of_many_parts_is_one_message)
{
	struct drv_buf parts[9];

	start(_i);
	for (unsigned int i = 0; i < 8; i++)
		parts[i] = (struct drv_buf){ out_gpa + 100 * i, i + 1, false };
	parts[8] = (struct drv_buf){ in_gpa, 64, true };
	for (unsigned int i = 0, off = 0; i < 8; off += ++i)
		arena_write(&b.a, out_gpa + 100 * i, pattern + off, i + 1);
	add(1, parts, 9);
	/* 5.3.6: what a device could write there is not touched. */
	ck_assert_int_eq(back(1), 0);
	ck_assert_uint_eq(host[0].got_len, 36);
	ck_assert_mem_eq(host[0].got, pattern, 36);
}

START_TEST(the_window_changes_its_size)
{
	uint8_t c[8];

	ROW("CON-3");
	start(_i);
	host[0].port.resize(&host[0].port, 132, 43);
	turn();
	ck_assert_uint_eq(d.irqs.config, 1);
	d.ops->config_read(&d, 0, c, 4);
	ck_assert_uint_eq(get_le16(c), 132);
	ck_assert_uint_eq(get_le16(c + 2), 43);
	/* The same again is no change. */
	host[0].port.resize(&host[0].port, 132, 43);
	turn();
	ck_assert_uint_eq(d.irqs.config, 1);
}

START_TEST(the_configuration_cannot_be_written)
{
	uint8_t c[8] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

	start(_i);
	for (unsigned int i = 0; i < 8; i++)
		d.ops->config_write(&d, i, c, 1);
	d.ops->config_write(&d, 0, c, 4);
	d.ops->config_read(&d, 0, c, 8);
	ck_assert_uint_eq(get_le16(c), 80);
	ck_assert_uint_eq(get_le32(c + 4), 1);
}

/* --- back-pressure --- */

START_TEST(a_full_host_leaves_chains_in_the_ring)
{
	ROW("CON-7");
	start(_i);
	host[0].room = 1500;
	say(0, 0, 1000);
	ck_assert_int_eq(back(1), 0);
	say(0, 1000, 1000);
	/* Half taken: it comes back when all of it is. */
	ck_assert_int_eq(back(1), -1);
	ck_assert_uint_eq(host[0].got_len, 1500);
	ck_assert_uint_eq(atomic_load(&vd->vqs[1].in_flight), 1);
	for (unsigned int i = 0; i < 10; i++) {
		struct drv_buf buf = { out_gpa, 1000, false };

		add(1, &buf, 1);
	}
	ck_assert_uint_eq(atomic_load(&vd->vqs[1].in_flight), 1);
	host[0].room = HOST_MAX - 1500;
	host[0].port.ready(&host[0].port);
	turn();
	for (unsigned int i = 0; i < 11; i++)
		ck_assert_int_eq(back(1), 0);
	ck_assert_uint_eq(host[0].got_len, 12000);
	ck_assert_mem_eq(host[0].got, pattern, 2000);
}

START_TEST(a_full_host_wants_no_kicks)
{
	start(0);
	host[0].room = 0;
	say(0, 0, 10);
	struct drv_buf buf = { out_gpa, 10, false };
	ring_add(&d.rings[1], &buf, 1);
	ring_publish(&d.rings[1]);
	ck_assert(!ring_kick(&d.rings[1]));
}

/* More than a turn's bytes: others on the loop have their turn in between. */
START_TEST(a_huge_chain_does_not_keep_the_loop)
{
	struct drv_buf parts[40];
	uint64_t gpa = arena_alloc_high(&b.a, 65536, 1);

	start(_i);
	for (unsigned int i = 0; i < 40; i++)
		parts[i] = (struct drv_buf){ gpa, 65536, false };
	ring_add(&d.rings[1], parts, 40);
	ring_publish(&d.rings[1]);
	ring_kick(&d.rings[1]);
	bench_turn(&b);
	ck_assert_uint_le(host[0].got_len, 1100000);
	ck_assert_uint_gt(host[0].got_len, 0);
	turn();
	ck_assert_uint_eq(host[0].got_len, 40 * 65536);
	ck_assert_int_eq(back(1), 0);
}

START_TEST(a_host_that_is_gone_does_not_stop_the_guest)
{
	start(_i);
	host[0].room = 5;
	say(0, 0, 10);
	ck_assert_int_eq(back(1), -1);
	host[0].gone = true;
	host[0].port.ready(&host[0].port);
	turn();
	ck_assert_int_eq(back(1), 0);
	say(0, 0, 10);
	ck_assert_int_eq(back(1), 0);
	ck_assert_uint_eq(host[0].got_len, 5);
}

/* The host is read as far as one buffer of ours, and no further. */
START_TEST(a_guest_without_buffers_leaves_bytes_with_the_host)
{
	start(_i);
	unsigned int reads = host[0].reads;
	give(0, 0, 3 * PORT_BUF_LEN);
	for (unsigned int i = 0; i < 5; i++) {
		host[0].port.ready(&host[0].port);
		turn();
	}
	ck_assert_uint_eq(host[0].reads, reads + 1);
	ck_assert_uint_eq(host[0].give_len, 2 * PORT_BUF_LEN);
	for (size_t off = 0; off < 3 * PORT_BUF_LEN; off += BUF_LEN) {
		offer(0, 0, BUF_LEN);
		ck_assert_int_eq(back(0), BUF_LEN);
		expect_in(0, off, BUF_LEN);
	}
}

/* Without a kick, as it is when the guest's CPUs are stopped between the ring and the doorbell. */
START_TEST(what_a_guest_left_is_taken)
{
	struct drv_buf buf = { out_gpa, 100, false };

	start(_i);
	arena_write(&b.a, out_gpa, pattern, 100);
	for (unsigned int i = 0; i < 5; i++)
		ring_add(&d.rings[1], &buf, 1);
	ring_publish(&d.rings[1]);
	virtio_console_type.drain(vd, util_now_ns() + 20 * NSEC_PER_SEC);
	ck_assert_uint_eq(host[0].got_len, 500);
	/* A host that takes nothing is given up. */
	host[0].room = 30;
	say(0, 0, 100);
	virtio_console_type.drain(vd, util_now_ns() + 10000000);
	ck_assert_uint_eq(host[0].got_len, 530);
}

/* When all of it was taken, or the driver is gone. */
START_TEST(who_asks_hears_of_the_end)
{
	start(false);
	host[0].room = 30;
	say(0, 0, 100);
	host[0].port.finish(&host[0].port);
	turn();
	ck_assert_uint_eq(host[0].finished, 0);
	host[0].room = _i ? 0 : 100;
	_i ? drv_set_status(&d, 0) : host[0].port.ready(&host[0].port);
	turn();
	ck_assert_uint_eq(host[0].finished, 1);
}

/* --- bad chains --- */

START_TEST(odd_buffers_come_back_empty)
{
	struct drv_buf readable = { out_gpa, 64, false };
	struct drv_buf outside = { ARENA_LOW_END - 4, 8, false };

	start(_i);
	give(0, 0, 10);
	add(0, &readable, 1);
	ck_assert_int_eq(back(0), 0);
	add(1, &outside, 1);
	ck_assert_int_eq(back(1), 0);
	ck_assert_uint_eq(host[0].got_len, 0);
	/* Nothing was lost by it. */
	offer(0, 0, 64);
	ck_assert_int_eq(back(0), 10);
	expect_in(0, 0, 10);
	outside.write = true;
	give(0, 10, 10);
	add(0, &outside, 1);
	ck_assert_int_eq(back(0), 0);
	offer(0, 1, 64);
	ck_assert_int_eq(back(0), 10);
	expect_in(1, 10, 10);
}

START_TEST(breaks_and_mends)
{
	start(_i);
	ring_push(&d.rings[1], SIZE);
	drv_notify(&d, 1);
	turn();
	ck_assert_uint_eq(drv_status(&d) & VIRTIO_NEEDS_RESET, VIRTIO_NEEDS_RESET);
	/* What comes meanwhile waits for the driver that comes next. */
	give(0, 0, 10);
	turn();
	up(core_features(_i));
	say(0, 0, 10);
	ck_assert_int_eq(back(1), 0);
	ck_assert_uint_eq(host[0].got_len, 10);
	offer(0, 0, 64);
	ck_assert_int_eq(back(0), 10);
}

START_TEST(resets_with_bytes_in_hand)
{
	start(_i);
	host[0].room = 5;
	say(0, 0, 10);
	give(0, 0, 10);
	turn();
	ck_assert_uint_eq(atomic_load(&vd->vqs[1].in_flight), 1);
	up(core_features(_i));
	ck_assert_uint_eq(host[0].closed, 1);
	ck_assert_uint_eq(host[0].opened, 2);
	/* Of a chain that was taken in part the rest is not. */
	host[0].room = 100;
	host[0].port.ready(&host[0].port);
	turn();
	ck_assert_uint_eq(host[0].got_len, 5);
	say(0, 5, 5);
	ck_assert_int_eq(back(1), 0);
	ck_assert_mem_eq(host[0].got, pattern, 10);
	/* What was read for the driver before is the next one's. */
	offer(0, 0, 64);
	ck_assert_int_eq(back(0), 10);
	expect_in(0, 0, 10);
}

START_TEST(resets_a_queue_with_a_chain_in_hand)
{
	start(0);
	host[0].room = 5;
	say(0, 0, 10);
	drv_set_reg(&d, 1, DRV_RESET, 1);
	turn();
	ck_assert_uint_eq(drv_reg(&d, 1, DRV_RESET), 0);
	host[0].room = 100;
	ring_make(&d, 1, SIZE);
	ring_enable(&d.rings[1]);
	turn();
	say(0, 5, 5);
	ck_assert_int_eq(back(1), 0);
	ck_assert_mem_eq(host[0].got, pattern, 10);
}

START_TEST(reads_nothing_without_bus_mastering)
{
	ROW("PLT-5");
	start(0);
	host[0].room = 5;
	say(0, 0, 10);
	virtio_set_bus_master(vd, false);
	host[0].room = 100;
	host[0].port.ready(&host[0].port);
	turn();
	ck_assert_uint_eq(host[0].got_len, 5);
	virtio_set_bus_master(vd, true);
	turn();
	ck_assert_uint_eq(host[0].got_len, 10);
	ck_assert_int_eq(back(1), 0);
}

/* --- ports --- */

START_TEST(ports_are_told_in_order)
{
	ROW("CON-1", "CON-4", "CON-8", "CON-9");
	start_ports();
	ck_assert_uint_eq(drv_offered(&d) & 7, F(MULTIPORT));
	uint8_t c[8];
	d.ops->config_read(&d, 0, c, 8);
	ck_assert_uint_eq(get_le32(c + 4), PORTS);
	ck_assert(expect_silence());
	for (unsigned int i = 0; i < PORTS; i++)
		ck_assert_uint_eq(host[i].opened, 0);
}

START_TEST(each_port_has_its_queues)
{
	start_ports();
	for (unsigned int i = 0; i < PORTS; i++) {
		open_port(i);
		ck_assert_uint_eq(host[i].opened, 1);
		say(i, 100 * i, 10 + i);
		ck_assert_int_eq(back(txq(i)), 0);
		ck_assert_uint_eq(host[i].got_len, 10 + i);
		ck_assert_mem_eq(host[i].got, pattern + 100 * i, 10 + i);
		give(i, 200 * i, 20 + i);
		offer(rxq(i), 0, 64);
		ck_assert_int_eq(back(rxq(i)), (int)(20 + i));
		expect_in(0, 200 * i, 20 + i);
	}
}

/* A driver throws away what comes to a port that nobody has open. */
START_TEST(a_closed_port_is_not_written_to)
{
	ROW("CON-10");
	start_ports();
	give(0, 0, 10);
	offer(rxq(0), 0, 64);
	ck_assert_int_eq(back(rxq(0)), -1);
	ck_assert_uint_eq(host[0].reads, 0);
	open_port(0);
	ck_assert_int_eq(back(rxq(0)), 10);
	tell(0, VIRTIO_CONSOLE_PORT_OPEN, 0);
	ck_assert_uint_eq(host[0].closed, 1);
	give(0, 10, 10);
	offer(rxq(0), 1, 64);
	ck_assert_int_eq(back(rxq(0)), -1);
}

START_TEST(the_end_follows_the_last_byte)
{
	ROW("CON-11");
	start_ports();
	open_port(0);
	host[0].ends = true;
	give(0, 0, 100);
	offer(rxq(0), 0, 64);
	ck_assert_int_eq(back(rxq(0)), 64);
	ck_assert_uint_eq(host[0].ended, 0);
	/* No word of it while bytes wait for a buffer. */
	ck_assert(expect_silence());
	offer(rxq(0), 1, 64);
	ck_assert_int_eq(back(rxq(0)), 36);
	ck_assert_int_eq(back(2), 8);
	uint8_t m[8];
	arena_read(&b.a, in_gpa + 15 * BUF_LEN, m, 8);
	ck_assert_uint_eq(get_le32(m), 0);
	ck_assert_uint_eq(get_le16(m + 4), VIRTIO_CONSOLE_PORT_OPEN);
	ck_assert_uint_eq(get_le16(m + 6), 0);
	/* The other direction goes on; the next driver is not told that it is open. */
	say(0, 0, 10);
	ck_assert_int_eq(back(txq(0)), 0);
	ck_assert_uint_eq(host[0].got_len, 10);
	host[0].port.ready(&host[0].port);
	turn();
	up(MODERN_ALL | F(MULTIPORT));
	tell(0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	for (uint32_t i = 0; i < PORTS; i++)
		expect_message(i, VIRTIO_CONSOLE_DEVICE_ADD, 1, "", 0);
	tell(0, VIRTIO_CONSOLE_PORT_READY, 1);
	expect_message(0, VIRTIO_CONSOLE_PORT_NAME, 1, names[0], strlen(names[0]));
	ck_assert(expect_silence());
}

START_TEST(a_close_is_told_after_what_was_written)
{
	start_ports();
	open_port(1);
	host[1].room = 5;
	say(1, 0, 10);
	tell(1, VIRTIO_CONSOLE_PORT_OPEN, 0);
	ck_assert_uint_eq(host[1].closed, 0);
	host[1].room = 100;
	host[1].port.ready(&host[1].port);
	turn();
	ck_assert_uint_eq(host[1].closed, 1);
	ck_assert_uint_eq(host[1].at_close, 10);
}

/* A console among ports: its size is a message, columns first. */
START_TEST(a_console_beside_ports)
{
	ROW("CON-3", "CON-9", "CON-12");
	cfg = (struct virtio_console_cfg){ .nr = 2, .cols = 0x1234, .rows = 0x56 };
	cfg.ports[1].name = "y";
	make(false);
	up(MODERN_ALL | F(MULTIPORT) | F(SIZE));
	tell(0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	expect_message(0, VIRTIO_CONSOLE_DEVICE_ADD, 1, "", 0);
	expect_message(1, VIRTIO_CONSOLE_DEVICE_ADD, 1, "", 0);
	tell(0, VIRTIO_CONSOLE_PORT_READY, 1);
	expect_message(0, VIRTIO_CONSOLE_CONSOLE_PORT, 1, "", 0);
	expect_message(0, VIRTIO_CONSOLE_PORT_OPEN, 1, "", 0);
	expect_message(0, VIRTIO_CONSOLE_RESIZE, 1, "\x34\x12\x56\x00", 4);
	host[0].port.resize(&host[0].port, 9, 8);
	expect_message(0, VIRTIO_CONSOLE_RESIZE, 1, "\x09\x00\x08\x00", 4);
	/* Only a console has a size. */
	tell(1, VIRTIO_CONSOLE_PORT_READY, 1);
	expect_message(1, VIRTIO_CONSOLE_PORT_NAME, 1, "y", 1);
	expect_message(1, VIRTIO_CONSOLE_PORT_OPEN, 1, "", 0);
	host[1].port.resize(&host[1].port, 1, 1);
	ck_assert(expect_silence());
}

/* Without MULTIPORT such a device is the console alone, and the rest is not there. */
START_TEST(ports_and_a_driver_that_knows_none)
{
	ROW("CON-4");
	cfg = (struct virtio_console_cfg){ .nr = 2 };
	cfg.ports[1].name = "y";
	make(_i);
	up(core_features(_i));
	drv_notify(&d, 2);
	drv_notify(&d, 3);
	drv_notify(&d, 5);
	turn();
	ck_assert_uint_eq(drv_reg(&d, 2, DRV_SIZE), 0);
	say(0, 0, 10);
	ck_assert_uint_eq(host[0].got_len, 10);
	ck_assert_uint_eq(host[1].opened, 0);
}

/* --- hostile control messages --- */

static const struct {
	uint32_t id;
	uint16_t event, value;
} nonsense[] = {
	{ PORTS, VIRTIO_CONSOLE_PORT_READY, 1 },
	{ 0xffffffff, VIRTIO_CONSOLE_PORT_READY, 1 },
	{ 0x80000000, VIRTIO_CONSOLE_PORT_OPEN, 1 },
	{ PORTS, VIRTIO_CONSOLE_PORT_OPEN, 1 },
	{ 0, VIRTIO_CONSOLE_PORT_OPEN, 2 },
	{ 0, VIRTIO_CONSOLE_PORT_OPEN, 0xffff },
	{ 0, VIRTIO_CONSOLE_PORT_OPEN, 0 },
	{ 0, VIRTIO_CONSOLE_PORT_READY, 0 },
	{ 0, VIRTIO_CONSOLE_DEVICE_READY, 0 },
	{ 0, VIRTIO_CONSOLE_DEVICE_READY, 7 },
	{ 0, VIRTIO_CONSOLE_DEVICE_ADD, 1 },
	{ 0, VIRTIO_CONSOLE_DEVICE_REMOVE, 1 },
	{ 0, VIRTIO_CONSOLE_CONSOLE_PORT, 1 },
	{ 0, VIRTIO_CONSOLE_RESIZE, 1 },
	{ 0, VIRTIO_CONSOLE_PORT_NAME, 1 },
	{ 0, 8, 1 },
	{ 0, 0xffff, 1 },
};

START_TEST(messages_that_mean_nothing_are_ignored)
{
	ROW("CON-13");
	start_ports();
	tell(nonsense[_i].id, nonsense[_i].event, nonsense[_i].value);
	ck_assert(expect_silence());
	for (unsigned int i = 0; i < PORTS; i++)
		ck_assert_uint_eq(host[i].opened, 0);
	open_port(2);
	say(2, 0, 10);
	ck_assert_uint_eq(host[2].got_len, 10);
	ck_assert_uint_eq(drv_status(&d) & VIRTIO_NEEDS_RESET, 0);
}

/* Before the driver was told of a port it cannot be ready, nor open. */
START_TEST(ports_that_were_not_told_are_not_there)
{
	ROW("CON-13");
	cfg = (struct virtio_console_cfg){ .nr = 1 };
	cfg.ports[0].name = "z";
	make(false);
	up(MODERN_ALL | F(MULTIPORT));
	tell(0, VIRTIO_CONSOLE_PORT_READY, 1);
	tell(0, VIRTIO_CONSOLE_PORT_OPEN, 1);
	ck_assert_uint_eq(host[0].opened, 0);
	tell(0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	expect_message(0, VIRTIO_CONSOLE_DEVICE_ADD, 1, "", 0);
	/* And not open before it is ready. */
	tell(0, VIRTIO_CONSOLE_PORT_OPEN, 1);
	ck_assert_uint_eq(host[0].opened, 0);
}

START_TEST(messages_of_a_wrong_length)
{
	struct drv_buf bufs[3] = { { ctl_gpa, 7, false },
				   { ctl_gpa + 16, 1, false },
				   { ctl_gpa + 32, 32, false } };
	uint8_t m[8] = { 0, 0, 0, 0, VIRTIO_CONSOLE_PORT_OPEN, 0, 1 };

	ROW("CON-13");
	start_ports();
	arena_write(&b.a, ctl_gpa, m, 8);
	arena_write(&b.a, ctl_gpa + 16, m + 7, 1);
	add(3, bufs, 1);
	ck_assert_int_eq(back(3), 0);
	ck_assert_uint_eq(host[0].opened, 0);
	/* In parts, and with more behind it. */
	add(3, bufs, 3);
	ck_assert_int_eq(back(3), 0);
	ck_assert_uint_eq(host[0].opened, 1);
}

/* However often a driver asks, it is told once: nothing grows. */
START_TEST(a_flood_of_messages_grows_nothing)
{
	ROW("CON-13");
	start_ports();
	for (unsigned int i = 0; i < 1000; i++) {
		tell(0, VIRTIO_CONSOLE_DEVICE_READY, 1);
		tell(1, VIRTIO_CONSOLE_PORT_READY, 1);
		tell(1, VIRTIO_CONSOLE_PORT_OPEN, i & 1);
	}
	ck_assert_uint_eq(host[1].opened, 500);
	expect_message(0, VIRTIO_CONSOLE_DEVICE_ADD, 1, "", 0);
	expect_message(1, VIRTIO_CONSOLE_DEVICE_ADD, 1, "", 0);
	expect_message(1, VIRTIO_CONSOLE_PORT_NAME, 1, names[1], strlen(names[1]));
	expect_message(1, VIRTIO_CONSOLE_PORT_OPEN, 1, "", 0);
	expect_message(2, VIRTIO_CONSOLE_DEVICE_ADD, 1, "", 0);
	ck_assert(expect_silence());
}

/* A buffer without room for a message comes back, and the message waits for another. */
START_TEST(a_message_is_never_cut)
{
	ROW("CON-14");
	start_ports();
	tell(0, VIRTIO_CONSOLE_PORT_READY, 1);
	for (uint32_t len = 1; len < 8 + strlen(names[0]); len++) {
		offer(2, 14, len);
		ck_assert_int_eq(back(2), 0);
	}
	expect_message(0, VIRTIO_CONSOLE_PORT_NAME, 1, names[0], strlen(names[0]));
	expect_message(0, VIRTIO_CONSOLE_PORT_OPEN, 1, "", 0);
}

/* Each queue in turn, while all ports are in use; then a good driver. */
START_TEST(any_queue_breaks_and_mends)
{
	start_ports();
	open_port(1);
	host[1].room = 1;
	say(1, 0, 10);
	ring_push(&d.rings[_i], 0x7fff);
	drv_notify(&d, (uint32_t)_i);
	host[1].room = 100;
	host[1].port.ready(&host[1].port);
	give(1, 0, 10);
	turn();
	/* A queue that waits for the host is looked at when the host is ready: that was now. */
	if (_i == 0) {
		open_port(0);
		give(0, 0, 1);
		turn();
	} else if (_i == rxq(2)) {
		open_port(2);
		give(2, 0, 1);
		turn();
	} else if (_i == 2) {
		ring_forget(&d.rings[3]);
	}
	drv_set_status(&d, 0);
	ck_assert_uint_eq(drv_status(&d), 0);
	host[1].give_len = 0;
	up(MODERN_ALL | F(MULTIPORT));
	tell(0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	for (uint32_t i = 0; i < PORTS; i++)
		expect_message(i, VIRTIO_CONSOLE_DEVICE_ADD, 1, "", 0);
	tell(2, VIRTIO_CONSOLE_PORT_READY, 1);
	open_port(2);
	size_t before = host[2].got_len;
	say(2, 0, 10);
	ck_assert_int_eq(back(txq(2)), 0);
	ck_assert_uint_eq(host[2].got_len, before + 10);
}

UNIT_SUITE("virtio-console", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, offers_what_it_has, 0, 2);
	tcase_add_loop_test(tc, a_size_that_is_not_known_is_not_told, 0, 2);
	tcase_add_loop_test(tc, bytes_go_both_ways, 0, 2);
	tcase_add_loop_test(tc, a_chain_of_many_parts_is_one_message, 0, 2);
	tcase_add_loop_test(tc, the_window_changes_its_size, 0, 2);
	tcase_add_loop_test(tc, the_configuration_cannot_be_written, 0, 2);
	tcase_add_loop_test(tc, a_full_host_leaves_chains_in_the_ring, 0, 2);
	tcase_add_test(tc, a_full_host_wants_no_kicks);
	tcase_add_loop_test(tc, a_huge_chain_does_not_keep_the_loop, 0, 2);
	tcase_add_loop_test(tc, a_host_that_is_gone_does_not_stop_the_guest, 0, 2);
	tcase_add_loop_test(tc, a_guest_without_buffers_leaves_bytes_with_the_host, 0, 2);
	tcase_add_loop_test(tc, what_a_guest_left_is_taken, 0, 2);
	tcase_add_loop_test(tc, who_asks_hears_of_the_end, 0, 2);
	tcase_add_loop_test(tc, odd_buffers_come_back_empty, 0, 2);
	tcase_add_loop_test(tc, breaks_and_mends, 0, 2);
	tcase_add_loop_test(tc, resets_with_bytes_in_hand, 0, 2);
	tcase_add_test(tc, resets_a_queue_with_a_chain_in_hand);
	tcase_add_test(tc, reads_nothing_without_bus_mastering);
	tcase_add_test(tc, ports_are_told_in_order);
	tcase_add_test(tc, each_port_has_its_queues);
	tcase_add_test(tc, a_closed_port_is_not_written_to);
	tcase_add_test(tc, the_end_follows_the_last_byte);
	tcase_add_test(tc, a_close_is_told_after_what_was_written);
	tcase_add_test(tc, a_console_beside_ports);
	tcase_add_loop_test(tc, ports_and_a_driver_that_knows_none, 0, 2);
	tcase_add_loop_test(tc, messages_that_mean_nothing_are_ignored, 0, ARRAY_SIZE(nonsense));
	tcase_add_test(tc, ports_that_were_not_told_are_not_there);
	tcase_add_test(tc, messages_of_a_wrong_length);
	tcase_add_test(tc, a_flood_of_messages_grows_nothing);
	tcase_add_test(tc, a_message_is_never_cut);
	tcase_add_loop_test(tc, any_queue_breaks_and_mends, 0, 8);
})
