// SPDX-License-Identifier: GPL-2.0
// LINK: virtio/device.c virtio/registers.c virtio/legacy.c virtio/queue.c virtio/mini.c virtio/transport-pci.c virtio/transport-modern.c virtio/transport-legacy.c virtio/transport-doorbell.c virtio/transport-fds.c pci.c pci-bar.c pci-irq.c pci-ecam.c bus.c ioeventfd.c gmem.c util/loop.c util/log.c util/err.c tests/mock/clock.c tests/mock/arena.c tests/mock/ring.c tests/mock/driver.c tests/mock/core.c tests/mock/testdev.c tests/mock/bench.c tests/mock/hostile.c tests/mock/fake-kvm.c irq-route.c tests/mock/pci.c tests/mock/pci-driver.c
/* What a virtio function on the PCI bus looks like: sides, identity, BARs, capabilities. */
#include "unit.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>
#include <string.h>

#include <lkvm/util.h>

#include "../mock/hostile.h"
#include "../mock/pci.h"

/* --- a device of any type, whose queues nobody uses --- */

static struct mock_pci m;
static struct loop *loop;
static struct log quiet = { .fd = -1 };
static struct virtio_device_ops type;
static struct virtio_device vd;
static struct mock_fn fn;

static void no_read(struct virtio_device *d, uint32_t off, void *buf, uint32_t len)
{
	(void)d, (void)off;
	memset(buf, 0, len);
}

static bool no_kick(struct virtio_device *d, struct virtqueue *vq)
{
	(void)d, (void)vq;
	return true;
}

static void setup(void)
{
	struct err err = ERR_INIT;

	mock_pci_init(&m);
	loop = loop_new(&err);
	type = (struct virtio_device_ops){ .name = "type",
					   .device_id = 2,
					   .legacy_id = 0x1001,
					   .pci_class = 0x010000,
					   .config_read = no_read,
					   .kick = no_kick };
	memset(&fn, 0, sizeof(fn));
}

static void teardown(void)
{
	mock_pci_release(&m);
	loop_free(loop);
}

static void make(unsigned int queues, uint32_t config_len)
{
	virtio_device_init(&vd, &type, NULL, &quiet, NULL);
	vd.config_len = config_len;
	for (unsigned int i = 0; i < queues; i++)
		ck_assert_int_eq(virtio_add_queue(&vd, 8, loop), 0);
}

static void plug(const struct virtio_pci_opts *o)
{
	memset(&fn, 0, sizeof(fn));
	fn.legacy = o->how == VIRTIO_TRANS_PCI_LEGACY;
	mock_fn_init(&fn, &m, &vd, o);
}

static void plug_auto(enum virtio_pci_how how)
{
	plug(&(struct virtio_pci_opts){ .how = how, .vectors = VIRTIO_PCI_VECTORS_AUTO });
}

static void unplug(void)
{
	mock_fn_release(&fn);
	ck_assert_uint_eq(vd.state, VIRTIO_REALIZED);
	virtio_device_release(&vd);
}

static uint32_t conf(uint32_t off, unsigned int len)
{
	return mock_fn_conf(&fn, off, len);
}

/* --- sides --- */

static const struct {
	enum virtio_pci_how how;
	uint16_t legacy_id;
	uint64_t lacks, features;
	uint32_t config_len;
	bool modern, legacy;
	const char *said; /* when it is refused */
} sides[] = {
	{ VIRTIO_TRANS_PCI, 0x1001, 0, 0, 0, true, true, NULL },
	{ VIRTIO_TRANS_PCI, 0, 0, 0, 0, true, false, NULL },
	{ VIRTIO_TRANS_PCI, 0x1001, MODERN, 0, 0, false, true, NULL },
	{ VIRTIO_TRANS_PCI, 0x1001, 0, VIRTIO_BIT(VIRTIO_F_ACCESS_PLATFORM), 0, true, false, NULL },
	{ VIRTIO_TRANS_PCI, 0x1001, 0, 0, 256 - 24, true, true, NULL },
	{ VIRTIO_TRANS_PCI, 0x1001, 0, 0, 256 - 23, true, false, NULL },
	{ VIRTIO_TRANS_PCI, 0, MODERN, 0, 0, false, false, "neither" },
	{ VIRTIO_TRANS_PCI, 0x1001, MODERN, VIRTIO_BIT(VIRTIO_F_ACCESS_PLATFORM), 0, false, false,
	  "neither" },
	{ VIRTIO_TRANS_PCI_MODERN, 0x1001, 0, 0, 0, true, false, NULL },
	{ VIRTIO_TRANS_PCI_MODERN, 0x1001, MODERN, 0, 0, false, false, "no modern" },
	{ VIRTIO_TRANS_PCI_LEGACY, 0x1001, 0, 0, 0, false, true, NULL },
	{ VIRTIO_TRANS_PCI_LEGACY, 0, 0, 0, 0, false, false, "no legacy" },
	{ VIRTIO_TRANS_PCI_LEGACY, 0x1001, 0, VIRTIO_BIT(VIRTIO_F_ACCESS_PLATFORM), 0, false, false,
	  "ACCESS_PLATFORM" },
	{ VIRTIO_TRANS_PCI_LEGACY, 0x1001, 0, 0, 256 - 23, false, false, "more configuration" },
};

START_TEST(has_the_sides_that_type_and_user_agree_on)
{
	ROW("PCI-4", "LEG-1", "LEG-7", "LEG-8");
	struct err err = ERR_INIT;
	struct virtio_pci vp;

	type.legacy_id = sides[_i].legacy_id;
	type.lacks = sides[_i].lacks;
	type.features = sides[_i].features;
	make(2, sides[_i].config_len);
	if (sides[_i].said) {
		struct virtio_pci_opts o = { .how = sides[_i].how };
		ck_assert_int_eq(virtio_pci_plug(&vp, &vd, &m.pci, &o, &err), -EINVAL);
		ck_assert_int_eq(err.kind, ERR_USAGE);
		ck_assert_ptr_nonnull(strstr(err.msg, sides[_i].said));
		ck_assert_ptr_nonnull(strstr(err.msg, "virtio type"));
		ck_assert_uint_eq(vd.state, VIRTIO_REALIZED);
		virtio_device_release(&vd);
		return;
	}
	plug_auto(sides[_i].how);
	ck_assert_uint_eq(fn.at[MOCK_COMMON].cap != 0, sides[_i].modern);
	ck_assert_uint_eq(fn.window_cap != 0, sides[_i].modern);
	ck_assert_uint_eq(fn.bars[4] != 0, sides[_i].modern);
	ck_assert_uint_eq(fn.bars[0] != 0, sides[_i].legacy);
	/* A legacy block is ports, of 4.1.4.10's header at least. */
	ck_assert_uint_eq(fn.io[0], sides[_i].legacy);
	if (sides[_i].legacy)
		ck_assert_uint_eq(mock_fn_in(&fn, 0, VIRTIO_PCI_QUEUE_NUM, 2), 8);
	unplug();
}

START_TEST(has_an_identity)
{
	ROW("PCI-2", "PCI-3", "PCI-5", "PCI-6", "PCI-7", "PCI-8", "PCI-9", "LEG-4", "LEG-5",
	    "LEG-6");
	bool modern = _i == VIRTIO_TRANS_PCI_MODERN;

	make(1, 0);
	plug_auto(_i);
	ck_assert_uint_eq(conf(PCI_VENDOR_ID, 2), 0x1af4);
	ck_assert_uint_eq(conf(PCI_DEVICE_ID, 2), modern ? 0x1042 : 0x1001);
	ck_assert_uint_eq(conf(PCI_REVISION_ID, 1), modern ? 1 : 0);
	ck_assert_uint_eq(conf(PCI_CLASS_REVISION, 4) >> 8, 0x010000);
	ck_assert_uint_eq(conf(PCI_SUBSYSTEM_VENDOR_ID, 2), 0x1af4);
	ck_assert_uint_eq(conf(PCI_SUBSYSTEM_ID, 2), modern ? 0x1042 : 2);
	ck_assert_uint_eq(conf(PCI_HEADER_TYPE, 1), 0);
	for (unsigned int i = 1; i <= 4; i *= 2)
		for (uint32_t off = 0; off < PCI_COMMAND; off += i)
			mock_fn_set_conf(&fn, off, i, UINT32_MAX);
	mock_fn_set_conf(&fn, PCI_CLASS_REVISION, 4, UINT32_MAX);
	ck_assert_uint_eq(conf(PCI_DEVICE_ID, 2), modern ? 0x1042 : 0x1001);
	ck_assert_uint_eq(conf(PCI_CLASS_REVISION, 4), modern ? 0x01000001 : 0x01000000);
	unplug();
	/* A type that says no class is of none. */
	type.pci_class = 0;
	make(1, 0);
	plug_auto(_i);
	ck_assert_uint_eq(conf(PCI_CLASS_REVISION, 4) >> 8, 0x00ff00);
	unplug();
}

START_TEST(vectors_are_those_asked_for)
{
	ROW("PCI-84", "PCI-85", "PCI-86");
	static const struct {
		int asked, got;
	} rows[] = { { VIRTIO_PCI_VECTORS_AUTO, 4 }, { 0, 0 }, { 1, 1 }, { 33, 33 } };
	struct err err = ERR_INIT;
	struct virtio_pci vp;

	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		make(3, 0);
		plug(&(struct virtio_pci_opts){ .vectors = rows[i].asked });
		ck_assert_uint_eq(fn.vectors, rows[i].got);
		ck_assert_uint_eq(fn.bars[1] != 0, rows[i].got != 0);
		unplug();
	}
	static const int bad[] = { -2, 2049, INT32_MIN, INT32_MAX };
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		struct virtio_pci_opts o = { .vectors = bad[i] };

		make(3, 0);
		err = ERR_INIT;
		ck_assert_int_eq(virtio_pci_plug(&vp, &vd, &m.pci, &o, &err), -EINVAL);
		ck_assert_ptr_nonnull(strstr(err.msg, "interrupt vectors"));
		virtio_device_release(&vd);
	}
	struct virtio_pci_opts most = { .vectors = 2048 };
	make(3, 0);
	ck_assert_int_eq(virtio_pci_plug(&vp, &vd, &m.pci, &most, &err), 0);
	ck_assert_uint_eq(vp.pd.msix_nr, 2048);
	virtio_pci_unplug(&vp);
	virtio_device_release(&vd);
}

START_TEST(a_legacy_device_has_its_port_already)
{
	struct virtio_pci_opts o = { .how = VIRTIO_TRANS_PCI_LEGACY,
				     .pio_notify = VIRTIO_PCI_PIO_NOTIFY_ON };
	struct err err = ERR_INIT;
	struct virtio_pci vp;

	make(1, 0);
	ck_assert_int_eq(virtio_pci_plug(&vp, &vd, &m.pci, &o, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.msg, "port already"));
	o.pio_notify = VIRTIO_PCI_PIO_NOTIFY_OFF;
	ck_assert_int_eq(virtio_pci_plug(&vp, &vd, &m.pci, &o, &err), 0);
	virtio_pci_unplug(&vp);
	virtio_device_release(&vd);
}

/* What "auto" chooses: a port where that is cheaper, for a driver that would not have one anyway. */
START_TEST(ports_where_the_host_prefers_them)
{
	static const struct {
		struct virtio_pci_opts o;
		bool port;
	} cases[] = {
		{ { .prefers_port = true }, true },
		{ { .prefers_port = false }, false },
		{ { .prefers_port = true, .how = VIRTIO_TRANS_PCI_MODERN }, true },
		{ { .prefers_port = true, .how = VIRTIO_TRANS_PCI_LEGACY }, false },
		{ { .prefers_port = true, .pio_notify = VIRTIO_PCI_PIO_NOTIFY_OFF }, false },
		{ { .prefers_port = false, .pio_notify = VIRTIO_PCI_PIO_NOTIFY_ON }, true },
	};
	struct err err = ERR_INIT;
	struct virtio_pci vp;

	make(1, 0);
	ck_assert_int_eq(virtio_pci_plug(&vp, &vd, &m.pci, &cases[_i].o, &err), 0);
	ck_assert_int_eq(vp.pio_notify, cases[_i].port);
	ck_assert_int_eq(vp.pd.bars[2].size > 0, cases[_i].port);
	virtio_pci_unplug(&vp);
	virtio_device_release(&vd);
}

START_TEST(a_full_bus_leaves_nothing_behind)
{
	static struct virtio_pci vps[PCI_SLOTS_NR];
	static struct virtio_device vds[PCI_SLOTS_NR];
	struct virtio_pci_opts o = { .vectors = VIRTIO_PCI_VECTORS_AUTO };
	struct err err = ERR_INIT;
	unsigned int nr = 0;

	for (;; nr++) {
		virtio_device_init(&vds[nr], &type, NULL, &quiet, NULL);
		ck_assert_int_eq(virtio_add_queue(&vds[nr], 8, loop), 0);
		if (virtio_pci_plug(&vps[nr], &vds[nr], &m.pci, &o, &err))
			break;
	}
	ck_assert_uint_eq(nr, PCI_SLOTS_NR - 1);
	ck_assert_int_eq(err.kind, ERR_USAGE);
	ck_assert_uint_eq(vds[nr].state, VIRTIO_REALIZED);
	virtio_device_release(&vds[nr]);
	while (nr--) {
		virtio_pci_unplug(&vps[nr]);
		virtio_device_release(&vds[nr]);
	}
}

START_TEST(a_type_that_contradicts_itself_is_not_plugged)
{
	static const struct virtio_feature_dep dep[] = { { 3, VIRTIO_BIT(4) } };
	struct virtio_pci_opts o = { 0 };
	struct err err = ERR_INIT;
	struct virtio_pci vp;

	type.features = VIRTIO_BIT(3);
	type.deps = dep;
	type.deps_nr = 1;
	make(1, 0);
	ck_assert_int_eq(virtio_pci_plug(&vp, &vd, &m.pci, &o, &err), -EIO);
	ck_assert_int_eq(err.kind, ERR_INTERNAL);
	virtio_device_release(&vd);
}

/* --- capabilities --- */

struct range {
	uint32_t bar, off, len;
};

static void check_disjoint(const struct range *r, unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++)
		for (unsigned int k = 0; k < i; k++)
			ck_assert(r[i].bar != r[k].bar || r[i].off >= r[k].off + r[k].len ||
				  r[k].off >= r[i].off + r[i].len);
}

static uint64_t bar_size(unsigned int bar)
{
	uint32_t reg = PCI_BASE_ADDRESS_0 + 4 * bar, old = conf(reg, 4);

	mock_fn_set_conf(&fn, reg, 4, UINT32_MAX);
	uint32_t mask = conf(reg, 4) & (old & 1 ? ~3u : ~0xfu);
	mock_fn_set_conf(&fn, reg, 4, old);
	return mask ? (uint32_t)-mask : 0;
}

/* 4.1.4.2: each type's length, and what it may be. */
static void check_cap(uint8_t cap, struct range *r, unsigned int *count)
{
	uint8_t len = conf(cap + 2, 1), cfg = conf(cap + 3, 1);

	ck_assert_uint_ge(cfg, VIRTIO_PCI_CAP_COMMON_CFG);
	ck_assert_uint_le(cfg, VIRTIO_PCI_CAP_PCI_CFG);
	count[cfg]++;
	bool longer = cfg == VIRTIO_PCI_CAP_NOTIFY_CFG || cfg == VIRTIO_PCI_CAP_PCI_CFG;
	ck_assert_uint_eq(len, longer ? 20 : 16);
	ck_assert_uint_eq(conf(cap + 5, 1), 0);
	ck_assert_uint_eq(conf(cap + 6, 2), 0);
	*r = (struct range){ conf(cap + 4, 1), conf(cap + 8, 4), conf(cap + 12, 4) };
	ck_assert_uint_le(r->bar, 5);
	ck_assert_uint_ge(bar_size(r->bar), (uint64_t)r->off + r->len);
	if (cfg == VIRTIO_PCI_CAP_PCI_CFG)
		return;
	ck_assert_uint_eq(r->off % 4, 0);
	ck_assert_uint_gt(r->len, 0);
	if (cfg == VIRTIO_PCI_CAP_COMMON_CFG)
		ck_assert_uint_eq(r->len, 0x40);
}

static const struct {
	unsigned int queues;
	uint32_t config_len;
	bool pio;
	enum virtio_pci_how how;
} shapes[] = {
	{ 1, 0, false, VIRTIO_TRANS_PCI_MODERN }, { 1, 60, true, VIRTIO_TRANS_PCI_MODERN },
	{ 3, 17, false, VIRTIO_TRANS_PCI },       { 64, 28, true, VIRTIO_TRANS_PCI },
	{ 64, 4096, true, VIRTIO_TRANS_PCI },
};

START_TEST(capabilities_are_in_order)
{
	ROW("PCI-14", "PCI-15", "PCI-16", "PCI-17", "PCI-18", "PCI-19", "PCI-21", "PCI-22",
	    "PCI-23", "PCI-24", "PCI-25", "PCI-51", "PCI-52", "PCI-53", "PCI-54", "PCI-59",
	    "PCI-68", "PCI-69", "PCI-70", "PCI-71", "PCI-72", "PCI-73", "PCI-74", "PCI-75",
	    "PCI-76", "GEN-56", "LEG-8");
	struct range r[16];
	unsigned int nr = 0, count[8] = { 0 };
	uint32_t end = 0x40;

	make(shapes[_i].queues, shapes[_i].config_len);
	plug(&(struct virtio_pci_opts){ .how = shapes[_i].how,
					.vectors = 33,
					.pio_notify = shapes[_i].pio
							      ? VIRTIO_PCI_PIO_NOTIFY_ON
							      : VIRTIO_PCI_PIO_NOTIFY_AUTO });
	for (uint8_t cap = conf(PCI_CAPABILITY_LIST, 1); cap; cap = conf(cap + 1, 1)) {
		bool virtio = conf(cap, 1) == PCI_CAP_ID_VNDR;

		/* One after the other: no loop, and no overlap. */
		ck_assert_uint_ge(cap, end);
		ck_assert_uint_eq(cap % 4, 0);
		end = cap + (virtio ? conf(cap + 2, 1) : PCI_CAP_MSIX_SIZEOF);
		ck_assert_uint_le(end, 0x100);
		if (virtio)
			check_cap(cap, &r[nr++], count);
		else
			ck_assert_uint_eq(conf(cap, 1), PCI_CAP_ID_MSIX);
	}
	check_disjoint(r, nr);
	ck_assert_uint_eq(count[VIRTIO_PCI_CAP_COMMON_CFG], 1);
	ck_assert_uint_eq(count[VIRTIO_PCI_CAP_NOTIFY_CFG], shapes[_i].pio ? 2 : 1);
	ck_assert_uint_eq(count[VIRTIO_PCI_CAP_ISR_CFG], 1);
	ck_assert_uint_eq(count[VIRTIO_PCI_CAP_DEVICE_CFG], shapes[_i].config_len != 0);
	ck_assert_uint_eq(count[VIRTIO_PCI_CAP_PCI_CFG], 1);
	/* The one in ports is the better one, and both fit every queue. */
	ck_assert_uint_eq(fn.io[fn.at[MOCK_NOTIFY].bar], shapes[_i].pio);
	ck_assert_uint_eq(fn.notify_multiply, 4);
	for (unsigned int i = 0; i < shapes[_i].queues; i++)
		ck_assert_uint_ge(fn.at[MOCK_NOTIFY].len, fn.notify_off[i] * 4u + 4);
	ck_assert_uint_eq(fn.at[MOCK_DEVICE].len, shapes[_i].config_len);
	/* None of the structures is where the vectors are. */
	for (unsigned int i = 0; i < nr; i++)
		ck_assert_uint_ne(r[i].bar, conf(fn.msix_cap + PCI_MSIX_TABLE, 4) & 7);
	unplug();
}

START_TEST(configuration_space_keeps_its_form)
{
	ROW("PCI-20", "PCI-77", "PLT-6", "HD-153", "HD-162");
	uint8_t before[256], after[256], data[4];

	make(3, 17);
	plug_auto(VIRTIO_TRANS_PCI);
	memset(data, 0xff, sizeof(data));
	for (uint32_t i = 0; i < 256; i++)
		before[i] = conf(i, 1);
	for (unsigned int width = 1; width <= 4; width *= 2)
		for (uint32_t off = 0; off < 256; off += width)
			mock_fn_set_conf(&fn, off, width, UINT32_MAX);
	for (uint32_t i = 0; i < 256; i++)
		after[i] = conf(i, 1);
	for (uint32_t i = PCI_STD_HEADER_SIZEOF; i < 256; i++) {
		bool aim = i - fn.window_cap == 4 ||
			   (i >= fn.window_cap + 8u && i < fn.window_cap + 16u);
		bool msix = i == fn.msix_cap + 3u;
		bool window = i >= fn.window_cap + 16u && i < fn.window_cap + 20u;

		if (aim)
			ck_assert_uint_eq(after[i], 0xff);
		else if (!msix && !window)
			ck_assert_uint_eq(after[i], before[i]);
	}
	ck_assert_mem_eq(after, before, PCI_COMMAND);
	ck_assert_uint_eq(after[PCI_INTERRUPT_PIN], 1);
	ck_assert_uint_eq(conf(PCI_ROM_ADDRESS, 4), 0);
	/* Each byte of what may be aimed reads back. */
	for (unsigned int i = 4; i < 16; i++) {
		if (i > 4 && i < 8)
			continue;
		mock_fn_set_conf(&fn, fn.window_cap + i, 1, 0x10 + i);
		ck_assert_uint_eq(conf(fn.window_cap + i, 1), 0x10 + i);
	}
	unplug();
}

/* --- the way to the queues --- */

static struct bench b;

static const struct drv_transport_ops *const transports[] = {
	&drv_pci,        &drv_pci_armed,  &drv_pci_pio,
	&drv_pci_window, &drv_pci_legacy, &drv_pci_legacy_armed,
};

START_TEST(every_way_leads_to_the_queues)
{
	ROW("PCI-1", "PCI-3", "PCI-48", "PCI-78", "PCI-91", "LEG-3");
	const struct drv_transport_ops *t = transports[_i];

	bench_init(&b, &(struct bench_opts){ .transport = t, .queues = 3 });
	ck_assert_uint_eq(t->queues_nr(&b.d), 3);
	bench_up(&b, t->set_pfn ? 0 : MODERN_ALL);
	for (uint16_t q = 0; q < 3; q++) {
		bench_echo(&b, q);
		ck_assert_uint_eq(b.d.irqs.queue[q], 1);
	}
	hostile_recover(&b);
	bench_release(&b);
}

static void add(TCase *tc)
{
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, has_the_sides_that_type_and_user_agree_on, 0, ARRAY_SIZE(sides));
	tcase_add_loop_test(tc, has_an_identity, 0, 3);
	tcase_add_test(tc, vectors_are_those_asked_for);
	tcase_add_test(tc, a_legacy_device_has_its_port_already);
	tcase_add_loop_test(tc, ports_where_the_host_prefers_them, 0, 6);
	tcase_add_test(tc, a_full_bus_leaves_nothing_behind);
	tcase_add_test(tc, a_type_that_contradicts_itself_is_not_plugged);
	tcase_add_loop_test(tc, capabilities_are_in_order, 0, ARRAY_SIZE(shapes));
	tcase_add_test(tc, configuration_space_keeps_its_form);
}

UNIT_SUITE("virtio-pci", {
	TCase *alone = tcase_create("virtio-pci-alone");
	add(alone);
	suite_add_tcase(s, alone);
	tcase_add_loop_test(tc, every_way_leads_to_the_queues, 0, ARRAY_SIZE(transports));
})
