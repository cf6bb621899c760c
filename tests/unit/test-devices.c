// SPDX-License-Identifier: GPL-2.0
// LINK: virtio/port-type.c virtio/console.c virtio/console-ctrl.c chr/port.c chr/out.c chr/fd.c
// LINK: virtio/net-type.c virtio/net.c virtio/net-io.c virtio/late.c virtio/net-ctrl.c virtio/net-vhost.c virtio/vhost.c net/user.c net/user-check.c net/user-fds.c net/user-lib.c net/forward.c net/passt.c net/pcap.c net/tap.c net/socket.c net/script.c
// LINK: virtio/blk-type.c virtio/blk.c virtio/blk-config.c
// LINK: block/fault-plan.c block/fault.c block/file.c block/io.c block/iov.c block/lock.c block/magic.c block/open.c block/overlay.c block/pool.c block/raw.c block/step.c block/uring.c
// LINK: devices.c ioeventfd.c util/poller.c bus.c pci.c pci-bar.c pci-ecam.c pci-irq.c gmem.c
// LINK: virtio/device.c virtio/registers.c virtio/legacy.c virtio/queue.c virtio/mini.c virtio/rng.c virtio/types.c
// LINK: virtio/transport-pci.c virtio/transport-modern.c virtio/transport-legacy.c virtio/transport-doorbell.c virtio/transport-fds.c
// LINK: util/loop.c util/log.c util/err.c util/options.c util/json.c util/option-types.c util/option-keys.c util/nearest.c
// LINK: tests/mock/clock.c tests/mock/arena.c tests/mock/ring.c tests/mock/driver.c tests/mock/core.c tests/mock/testdev.c
// LINK: tests/mock/bench.c tests/mock/fake-kvm.c irq-route.c tests/mock/pci.c tests/mock/pci-driver.c
/* The devices of a machine: the order in which they come and go, their threads, and what is undone when one fails. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <lkvm/arch.h>
#include <lkvm/config.h>
#include <lkvm/devices.h>
#include <lkvm/json.h>
#include <lkvm/util.h>

#include "../mock/bench.h"
#include "../mock/fake-kvm.h"
#include "../mock/pci.h"
#include "fake-thread.h"

#define DEVS_MAX 40

static struct mock_pci m;
static struct arena a;
static struct kvm kvm;
static struct machine_config cfg;
static struct virtio_spec specs[DEVS_MAX];
static struct devices *devs;
static struct err err;
static unsigned int fds_before;

static bool ports_preferred;

bool arch_prefers_port_doorbells(void)
{
	return ports_preferred;
}

/* --- a type that tells what is done with it --- */

static struct {
	struct testdev *td[DEVS_MAX];
	struct loop *loops[DEVS_MAX][VIRTIO_QUEUES_MAX];
	unsigned int loops_nr[DEVS_MAX];
	unsigned int made, destroyed;
	unsigned int order[DEVS_MAX]; /* of the destroyed, by the number of the made */
	unsigned int refuse;          /* the n-th from 1, 0: none */
	unsigned int asked, numbers[DEVS_MAX];
	unsigned int absent; /* a set: those of which the options ask for none */
} fake;

static int fake_make(struct virtio_device **out, const void *opts, const struct virtio_host *host,
		     struct err *e)
{
	unsigned int n = fake.made;

	(void)opts;
	ck_assert_ptr_eq(host->gm, &a.gm);
	ck_assert_ptr_eq(host->log, &cfg.log);
	ck_assert_uint_eq(host->cpus_nr, cfg.cpus_nr);
	ck_assert_uint_ge(host->loops_nr, 1);
	ck_assert_ptr_eq(host->name, cfg.name);
	fake.numbers[fake.asked] = host->number;
	if (fake.absent & 1U << fake.asked++)
		return 0;
	if (n + 1 == fake.refuse)
		return err_host(e, ENOSPC, "--fake");
	fake.td[n] = malloc(sizeof(*fake.td[n]));
	testdev_init(fake.td[n], host->gm, host->log, 2, 16, host->loops, host->loops_nr);
	memcpy(fake.loops[n], host->loops, host->loops_nr * sizeof(host->loops[0]));
	fake.loops_nr[n] = host->loops_nr;
	fake.made++;
	*out = &fake.td[n]->vd;
	return 0;
}

static void fake_destroy(struct virtio_device *vd)
{
	struct testdev *td = vd->priv;
	unsigned int n = 0;

	while (fake.td[n] != td)
		n++;
	/* It is on no bus, and nobody serves its queues. */
	ck_assert_uint_eq(vd->state, VIRTIO_REALIZED);
	fake.order[fake.destroyed++] = n;
	fake.td[n] = NULL;
	testdev_release(td);
	free(td);
}

/* The third has nothing to say. */
static void fake_stats(const struct virtio_device *vd, struct json *j)
{
	if (vd->priv != fake.td[2])
		json_string(j, "is", vd->priv == fake.td[0] ? "first" : "second");
}

static const struct virtio_type fake_type = {
	.option = "fake",
	.help = "a device",
	.make = fake_make,
	.stats = fake_stats,
	.destroy = fake_destroy,
};

/* --- a machine around it --- */

static void setup(void)
{
	memset(&fake, 0, sizeof(fake));
	memset(specs, 0, sizeof(specs));
	threads_started = threads_refuse = 0;
	mock_clock_skew = mock_clock_step = 0;
	fake_kvm_start();
	kvm = (struct kvm){ .vm_fd = open("/dev/null", O_RDWR | O_CLOEXEC) };
	arena_init(&a);
	mock_pci_init(&m);
	cfg = (struct machine_config){ .virtio = specs, .cpus_nr = 3, .log = { .fd = -1 } };
	devs = NULL;
	err = ERR_INIT;
	fds_before = bench_count_dir("/proc/self/fd");
}

static void teardown(void)
{
	if (devs)
		ck_assert_int_eq(devices_free(devs), 0);
	ck_assert_uint_eq(fake.destroyed, fake.made);
	for (unsigned int i = 0; i < fake.destroyed; i++)
		ck_assert_uint_eq(fake.order[i], fake.destroyed - 1 - i);
	ck_assert_uint_eq(bench_count_dir("/proc/self/fd"), fds_before);
	for (unsigned int slot = 1; slot < PCI_SLOTS_NR; slot++)
		ck_assert_ptr_null(m.pci.devices[slot]);
	mock_pci_release(&m);
	arena_release(&a);
	close(kvm.vm_fd);
}

static void add(const char *iothread)
{
	specs[cfg.virtio_nr++] = (struct virtio_spec){
		.type = &fake_type,
		.common = { .iothread = iothread, .vectors = VIRTIO_VECTORS_AUTO },
	};
}

static int make(void)
{
	return devices_new(&devs, &cfg, NULL, 0, &kvm, &a.gm, &m.pci, &err);
}

static void must_make(void)
{
	ck_assert_msg(!make(), "%s", err.msg);
	ck_assert_msg(!devices_start(devs, &err), "%s", err.msg);
}

/* A driver of the n-th, by the core's calls; its interrupts go to the bus. */
static void drive(struct drv *d, unsigned int n)
{
	*d = (struct drv){ .ops = &drv_core, .a = &a, .vd = &fake.td[n]->vd };
	ck_assert(drv_negotiate(d, MODERN));
	ring_make(d, 0, 16);
	ring_enable(&d->rings[0]);
	drv_driver_ok(d);
	ck_assert_uint_eq(drv_status(d), 0x0f);
}

static void ask(struct drv *d)
{
	uint64_t gpa = arena_alloc(&a, 32, 1);
	struct drv_buf bufs[] = { { gpa, 16, false }, { gpa + 16, 16, true } };

	arena_permit(&a, gpa, 32);
	ring_add(&d->rings[0], bufs, 2);
	ring_publish(&d->rings[0]);
	drv_notify(d, 0);
}

static bool answered(struct drv *d)
{
	uint64_t deadline = mock_real_now_ns() + 20 * NSEC_PER_SEC;
	uint32_t id, len;

	while (!ring_get(&d->rings[0], &id, &len))
		if (mock_real_now_ns() > deadline)
			return false;
	return true;
}

/* --- tests --- */

START_TEST(none)
{
	must_make();
	ck_assert_uint_eq(threads_started, 0);
}

START_TEST(slots_are_taken_in_the_order_of_the_list)
{
	for (unsigned int i = 0; i < 5; i++)
		add(NULL);
	must_make();
	ck_assert_uint_eq(fake.made, 5);
	for (unsigned int i = 0; i < 5; i++) {
		const struct virtio_pci *vp = m.pci.devices[i + 1]->priv;

		ck_assert_ptr_eq(vp->vd, &fake.td[i]->vd);
	}
}

START_TEST(auto_doorbells_are_what_the_host_prefers)
{
	ports_preferred = _i;
	add(NULL);
	must_make();
	const struct virtio_pci *vp = m.pci.devices[1]->priv;

	ck_assert_int_eq(vp->pio_notify, _i);
}

START_TEST(each_works)
{
	struct drv d[3];

	for (unsigned int i = 0; i < 3; i++)
		add(i == 1 ? "a:b" : NULL);
	must_make();
	for (unsigned int i = 0; i < 3; i++)
		drive(&d[i], i);
	for (unsigned int i = 0; i < 3; i++)
		ask(&d[i]);
	for (unsigned int i = 0; i < 3; i++) {
		ck_assert(answered(&d[i]));
		ring_free(&d[i].rings[0]);
	}
}

/* A type's options may ask for no device: it takes no slot, and is nothing to free. */
START_TEST(none_is_asked_for)
{
	char *text = NULL;
	size_t len;

	for (unsigned int i = 0; i < 4; i++)
		add(NULL);
	fake.absent = 1 << 0 | 1 << 2;
	cfg.name = "a";
	must_make();
	ck_assert_uint_eq(fake.made, 2);
	for (unsigned int i = 0; i < 2; i++) {
		const struct virtio_pci *vp = m.pci.devices[i + 1]->priv;

		ck_assert_ptr_eq(vp->vd, &fake.td[i]->vd);
	}
	for (unsigned int i = 0; i < 4; i++)
		ck_assert_uint_eq(fake.numbers[i], i);
	FILE *out = open_memstream(&text, &len);
	devices_describe(devs, out);
	fclose(out);
	ck_assert_ptr_nonnull(strstr(text, "slot 1"));
	ck_assert_ptr_nonnull(strstr(text, "slot 2"));
	ck_assert_ptr_null(strstr(text, "slot 0"));
	free(text);
}

/* --- threads --- */

/* What a type says is of the machine that runs, and replaced; requests add up. */
START_TEST(what_the_result_has)
{
	struct device_stats stats[DEVS_MAX] = { 0 };
	struct drv d;

	fake.absent = 1 << 3;
	for (unsigned int i = 0; i < 4; i++)
		add(NULL);
	must_make();
	for (unsigned int round = 1; round <= 2; round++) {
		ck_assert_uint_eq(devices_add_stats(devs, stats, 2), 2);
		ck_assert_uint_eq(devices_add_stats(devs, stats + 4, DEVS_MAX), 4);
		ck_assert_str_eq(stats[1].own, "{\n        \"is\": \"second\"\n      }");
	}
	ck_assert_str_eq(stats[4].name, "fake");
	ck_assert_uint_eq(stats[5].slot, 2);
	ck_assert_ptr_nonnull(strstr(stats[4].own, "first"));
	ck_assert_str_eq(stats[6].own, "{}");
	ck_assert_ptr_null(stats[7].own);
	drive(&d, 1);
	ask(&d);
	ck_assert(answered(&d));
	ring_free(&d.rings[0]);
	devices_add_stats(devs, stats, 2);
	devices_add_stats(devs, stats, 2);
	ck_assert_uint_eq(stats[1].requests, 2);
	ck_assert_uint_eq(stats[0].requests, 0);
	for (unsigned int i = 0; i < DEVS_MAX; i++)
		free(stats[i].own);
}
END_TEST

START_TEST(a_thread_of_its_own)
{
	/* A user's name that looks like ours is another. */
	add(NULL);
	add("fake0");
	add(NULL);
	must_make();
	ck_assert_uint_eq(threads_started, 3);
	ck_assert_str_eq(threads_names[0], ".fake0");
	ck_assert_str_eq(threads_names[1], "fake0");
	ck_assert_str_eq(threads_names[2], ".fake2");
	for (unsigned int i = 0; i < 3; i++)
		ck_assert_uint_eq(fake.loops_nr[i], 1);
	ck_assert_ptr_ne(fake.loops[0][0], fake.loops[1][0]);
	ck_assert_ptr_ne(fake.loops[0][0], fake.loops[2][0]);
}

START_TEST(shared_and_spread_threads)
{
	add("a");
	add("b:a:c");
	add("a");
	add("c:c");
	must_make();
	ck_assert_uint_eq(threads_started, 3);
	ck_assert_uint_eq(fake.loops_nr[0], 1);
	ck_assert_uint_eq(fake.loops_nr[1], 3);
	ck_assert_uint_eq(fake.loops_nr[3], 2);
	ck_assert_ptr_eq(fake.loops[1][1], fake.loops[0][0]);
	ck_assert_ptr_eq(fake.loops[2][0], fake.loops[0][0]);
	ck_assert_ptr_ne(fake.loops[1][0], fake.loops[1][2]);
	ck_assert_ptr_eq(fake.loops[3][0], fake.loops[1][2]);
	ck_assert_ptr_eq(fake.loops[3][1], fake.loops[1][2]);
}

START_TEST(too_many_threads_in_a_list)
{
	char names[2 * VIRTIO_QUEUES_MAX + 2] = "";

	for (unsigned int i = 0; i < VIRTIO_QUEUES_MAX; i++)
		memcpy(names + 2 * i, "x:", 3);
	names[2 * VIRTIO_QUEUES_MAX - 1] = 0;
	add(names);
	ck_assert_msg(!make(), "%s", err.msg);
	ck_assert_uint_eq(fake.loops_nr[0], VIRTIO_QUEUES_MAX);
	ck_assert_int_eq(devices_free(devs), 0);
	memcpy(names + 2 * VIRTIO_QUEUES_MAX - 1, ":x", 3);
	ck_assert_int_eq(make(), -EINVAL);
	ck_assert_int_eq(err.kind, ERR_USAGE);
	ck_assert_str_eq(err.msg, "--fake: at most 64 threads in iothread");
}

/* --- failures --- */

START_TEST(the_nth_cannot_be_made)
{
	for (unsigned int i = 0; i < 4; i++)
		add(i == 2 ? "shared" : NULL);
	fake.refuse = (unsigned int)_i;
	ck_assert_int_eq(make(), -ENOSPC);
	ck_assert_int_eq(err.kind, ERR_HOST);
	ck_assert_str_eq(err.msg, "--fake: No space left on device");
	ck_assert_ptr_null(devs);
	ck_assert_uint_eq(fake.made, (unsigned int)_i - 1);
	/* The bus is as before: all of it is there for the next. */
	fake.refuse = 0;
	memset(fake.order, 0, sizeof(fake.order));
	fake.made = fake.destroyed = 0;
	err = ERR_INIT;
	must_make();
	ck_assert_uint_eq(fake.made, 4);
}

/* It was made, but does not fit on the bus. */
START_TEST(the_nth_cannot_be_plugged)
{
	static const struct virtio_type *const *mini = virtio_types;

	while (strcmp((*mini)->option, "mini"))
		mini++;
	for (unsigned int i = 0; i < 3; i++)
		add(NULL);
	specs[_i].type = *mini;
	specs[_i].common.trans = 1 + VIRTIO_TRANS_PCI_LEGACY;
	ck_assert_int_eq(make(), -EINVAL);
	ck_assert_int_eq(err.kind, ERR_USAGE);
	ck_assert_str_eq(err.msg, "virtio mini has no legacy PCI interface; use the modern one");
	ck_assert_ptr_null(devs);
	ck_assert_uint_eq(fake.made, (unsigned int)_i);
}

START_TEST(too_many_for_the_bus)
{
	for (unsigned int i = 0; i < PCI_SLOTS_NR; i++)
		add("one");
	ck_assert_int_eq(make(), -ENOSPC);
	ck_assert_int_eq(err.kind, ERR_USAGE);
	ck_assert_str_eq(err.msg,
			 "virtio: the 32 slots of the PCI bus are used up; use fewer devices");
	ck_assert_uint_eq(fake.made, PCI_SLOTS_NR);
}

/* Descriptors run out at every place where one is taken. */
START_TEST(no_descriptor_is_left)
{
	struct rlimit old, few;
	unsigned int failures = 0;
	int ret;

	for (unsigned int i = 0; i < 3; i++)
		add(i == 1 ? "a:b" : NULL);
	getrlimit(RLIMIT_NOFILE, &old);
	few = old;
	for (few.rlim_cur = 0;; few.rlim_cur++) {
		err = ERR_INIT;
		setrlimit(RLIMIT_NOFILE, &few);
		ret = make();
		setrlimit(RLIMIT_NOFILE, &old);
		if (!ret)
			break;
		failures++;
		ck_assert_ptr_null(devs);
		ck_assert_int_eq(err.kind, ERR_HOST);
		ck_assert_ptr_nonnull(strstr(err.msg, "Too many open files"));
		ck_assert_uint_eq(fake.made, fake.destroyed);
		ck_assert_uint_eq(bench_count_dir("/proc/self/fd"), fds_before);
		fake.made = fake.destroyed = 0;
	}
	ck_assert_uint_ge(failures, 8);
}

START_TEST(a_thread_does_not_start)
{
	for (unsigned int i = 0; i < 3; i++)
		add(NULL);
	ck_assert_int_eq(make(), 0);
	threads_refuse = (unsigned int)_i;
	ck_assert_int_eq(devices_start(devs, &err), -EAGAIN);
	ck_assert_int_eq(err.kind, ERR_HOST);
	ck_assert_ptr_nonnull(strstr(err.msg, "cannot start the poller thread \".fake"));
}

/* --- the end --- */

START_TEST(an_end_while_requests_come)
{
	struct drv d[2];

	for (unsigned int i = 0; i < 2; i++)
		add(NULL);
	must_make();
	for (unsigned int i = 0; i < 2; i++) {
		drive(&d[i], i);
		for (unsigned int k = 0; k < 8; k++)
			ask(&d[i]);
	}
	ck_assert_int_eq(devices_free(devs), 0);
	devs = NULL;
	for (unsigned int i = 0; i < 2; i++)
		ring_free(&d[i].rings[0]);
}

/* One back end holds a request for good: the others stop, nothing is freed, and it is tried again later. */
START_TEST(an_end_that_a_request_holds_up)
{
	char text[4096] = "";
	struct drv d[3];

	for (unsigned int i = 0; i < 3; i++)
		add(NULL);
	cfg.log = (struct log){ .fd = memfd_create("log", MFD_CLOEXEC), .level = LOG_WARN };
	must_make();
	for (unsigned int i = 0; i < 3; i++)
		drive(&d[i], i);
	fake.td[1]->mode = TESTDEV_HOLD;
	ask(&d[1]);
	while (!testdev_held(fake.td[1], 0))
		;
	/* The clock runs while it is looked at. */
	mock_clock_step = NSEC_PER_SEC / 100;
	ck_assert_int_eq(devices_free(devs), -EBUSY);
	mock_clock_step = 0;
	ck_assert_uint_eq(fake.destroyed, 0);
	ck_assert_uint_eq(drv_status(&d[0]), 0);
	ck_assert_uint_ne(drv_status(&d[1]), 0);
	ck_assert_uint_eq(drv_status(&d[2]), 0);
	ck_assert_ptr_nonnull(m.pci.devices[2]);
	ck_assert_int_gt(pread(cfg.log.fd, text, sizeof(text) - 1, 0), 0);
	ck_assert_str_eq(text,
			 "lkvm: warning: --fake: requests have not ended, it is left alone\n");
	close(cfg.log.fd);
	cfg.log.fd = -1;

	testdev_finish_all(fake.td[1]);
	ck_assert_int_eq(devices_free(devs), 0);
	devs = NULL;
	for (unsigned int i = 0; i < 3; i++)
		ring_free(&d[i].rings[0]);
}

/* The legacy interface starts a device by a ring: its requests are waited for though its status is 0. */
START_TEST(an_end_that_a_device_without_a_status_holds_up)
{
	struct drv d = { .ops = &drv_core_legacy, .a = &a };

	add(NULL);
	must_make();
	d.vd = &fake.td[0]->vd;
	fake.td[0]->mode = TESTDEV_HOLD;
	ring_make(&d, 0, 16);
	ring_enable(&d.rings[0]);
	ask(&d);
	while (!testdev_held(fake.td[0], 0))
		;
	ck_assert_uint_eq(drv_status(&d), 0);
	mock_clock_step = NSEC_PER_SEC / 100;
	ck_assert_int_eq(devices_free(devs), -EBUSY);
	mock_clock_step = 0;
	testdev_finish_all(fake.td[0]);
	ck_assert_int_eq(devices_free(devs), 0);
	devs = NULL;
	ring_free(&d.rings[0]);
}

START_TEST(what_a_dry_run_prints)
{
	char *out;
	size_t len;
	FILE *f = open_memstream(&out, &len);

	add(NULL);
	add("a:b");
	specs[1].common.trans = 1 + VIRTIO_TRANS_PCI_MODERN;
	cfg.virtio_trans = VIRTIO_TRANS_PCI_LEGACY;
	ck_assert_msg(!make(), "%s", err.msg);
	devices_describe(devs, f);
	fclose(f);
	ck_assert_str_eq(
		out, "fake       pci slot 1, virtio id 62, legacy, 2 queues, a thread of its own\n"
		     "fake       pci slot 2, virtio id 62, modern, 2 queues, iothread a:b\n");
	free(out);
}

UNIT_SUITE("devices", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, none);
	tcase_add_test(tc, slots_are_taken_in_the_order_of_the_list);
	tcase_add_loop_test(tc, auto_doorbells_are_what_the_host_prefers, 0, 2);
	tcase_add_test(tc, each_works);
	tcase_add_test(tc, none_is_asked_for);
	tcase_add_test(tc, what_the_result_has);
	tcase_add_test(tc, a_thread_of_its_own);
	tcase_add_test(tc, shared_and_spread_threads);
	tcase_add_test(tc, too_many_threads_in_a_list);
	tcase_add_loop_test(tc, the_nth_cannot_be_made, 1, 5);
	tcase_add_loop_test(tc, the_nth_cannot_be_plugged, 0, 3);
	tcase_add_test(tc, too_many_for_the_bus);
	tcase_add_test(tc, no_descriptor_is_left);
	tcase_add_loop_test(tc, a_thread_does_not_start, 1, 4);
	tcase_add_test(tc, an_end_while_requests_come);
	tcase_add_test(tc, an_end_that_a_request_holds_up);
	tcase_add_test(tc, an_end_that_a_device_without_a_status_holds_up);
	tcase_add_test(tc, what_a_dry_run_prints);
})
