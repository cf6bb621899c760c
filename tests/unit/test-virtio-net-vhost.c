// SPDX-License-Identifier: GPL-2.0
// LINK: virtio/net.c virtio/net-io.c virtio/late.c virtio/net-ctrl.c virtio/net-vhost.c virtio/vhost.c virtio/device.c virtio/registers.c virtio/legacy.c virtio/queue.c virtio/mini.c
// LINK: virtio/transport-pci.c virtio/transport-modern.c virtio/transport-legacy.c virtio/transport-doorbell.c virtio/transport-fds.c pci.c pci-bar.c pci-irq.c pci-ecam.c bus.c ioeventfd.c irq-route.c
// LINK: gmem.c util/loop.c util/log.c util/err.c tests/mock/clock.c tests/mock/arena.c tests/mock/ring.c tests/mock/driver.c tests/mock/core.c tests/mock/testdev.c tests/mock/bench.c
// LINK: tests/mock/net.c tests/mock/netbench.c tests/mock/fake-kvm.c tests/mock/fake-vhost.c tests/mock/pci.c tests/mock/pci-driver.c
/* A card whose queues the kernel serves: who has them when, how kicks and interrupts get through, and every refusal. */
#include "unit.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include <lkvm/irq.h>
#include <lkvm/util.h>

#include "../mock/fake-kvm.h"
#include "../mock/fake-vhost.h"
#include "../mock/net.h"
#include "../mock/pci.h"

static struct netbench b;
static struct fake_vhost *vh;

static const struct drv_transport_ops *const transports[] = {
	&drv_pci,        &drv_pci_armed,  &drv_pci_pio,
	&drv_pci_window, &drv_pci_legacy, &drv_pci_legacy_armed
};
#define TRANSPORTS 6

static void begin(const struct drv_transport_ops *t, unsigned int pairs)
{
	vh = fake_vhost_start();
	netbench_init(&b, &(struct netbench_opts){ .transport = t, .pairs = pairs, .vhost = true });
}

static void send_message(const struct kvm_irq_routing_entry *e)
{
	irq_msi_send(NULL, mock_fn_of(&b.d)->slot << 3,
		     (uint64_t)e->u.msi.address_hi << 32 | e->u.msi.address_lo, e->u.msi.data);
}

/* Loops, the kernel's worker and its interrupts, until all of them rest. */
static unsigned int settle(void)
{
	unsigned int direct = 0;

	for (unsigned int i = 0; i < 3; i++) {
		netbench_settle(&b);
		fake_vhost_serve();
		if (b.d.ops == &drv_pci_armed || b.d.ops == &drv_pci_pio ||
		    b.d.ops == &drv_pci_legacy_armed)
			direct += fake_kvm_irqfds(send_message);
		/* Once round for what no post tells of. */
		bench_turn(&b.b);
	}
	return direct;
}

static struct fake_vring *vring(uint16_t q)
{
	return &vh->devs[q / 2].vring[q % 2];
}

static void up(uint64_t features)
{
	netbench_try_up(&b, features);
	settle();
}

static void end(void)
{
	netbench_release(&b);
	for (unsigned int i = 0; i < vh->devs_nr; i++)
		for (unsigned int q = 0; q < 2; q++)
			ck_assert_int_lt(vh->devs[i].vring[q].backend, 0);
}

/* A chain on queue `q`: whether the kernel gave it back, with an interrupt. */
static bool passes(uint16_t q)
{
	struct drv_ring *r = &b.d.rings[q];
	uint32_t irqs = b.d.irqs.queue[q], lines = mock_line_rises(MOCK_GSI + 1), id, len;
	struct drv_buf buf = { b.tx_gpa, 64, q % 2 == 0 };

	ring_add(r, &buf, 1);
	ring_publish(r);
	drv_notify(&b.d, q);
	settle();
	if (!ring_get(r, &id, &len))
		return false;
	if (mock_fn_of(&b.d)->msix_on)
		ck_assert_uint_gt(b.d.irqs.queue[q], irqs);
	else
		ck_assert_uint_ge(mock_line_rises(MOCK_GSI + 1), lines);
	return true;
}

static bool broken(void)
{
	settle();
	return drv_status(&b.d) & VIRTIO_NEEDS_RESET;
}

#define ALL drv_offered(&b.d)

/* --- handing over --- */

START_TEST(the_kernel_gets_what_the_driver_set)
{
	begin(transports[_i], 1);
	ck_assert_uint_eq(vh->devs_nr, 1);
	ck_assert_uint_eq(vh->devs[0].regions_nr, b.b.a.gm.regions_nr);
	up(ALL);
	for (uint16_t q = 0; q < 2; q++) {
		const struct fake_vring *v = vring(q);
		const struct drv_ring *r = &b.d.rings[q];

		ck_assert_uint_eq(v->num, r->size);
		ck_assert_uint_eq(v->base, 0);
		ck_assert_ptr_eq((void *)(uintptr_t)v->addr.desc_user_addr,
				 gmem_span(&b.b.a.gm, r->desc, 16));
		ck_assert_ptr_eq((void *)(uintptr_t)v->addr.avail_user_addr,
				 gmem_span(&b.b.a.gm, r->avail, 2));
		ck_assert_ptr_eq((void *)(uintptr_t)v->addr.used_user_addr,
				 gmem_span(&b.b.a.gm, r->used, 4));
		ck_assert_int_eq(v->backend, MOCK_NET_FD);
		ck_assert_int_ge(v->err, 0);
		ck_assert(passes(q));
		ck_assert(passes(q));
	}
	/* ANY_LAYOUT has the number of a header that the kernel would make (bit 27). */
	ck_assert_uint_eq(vh->devs[0].features, b.d.features & vh->features & ~(3ull << 26));
	ck_assert_uint_eq(b.be.sends + b.be.recvs, 0);
	ck_assert_uint_eq(b.be.port[0].watch, 0);
	end();
}
END_TEST

/* A doorbell rings the kernel, without a turn of ours. */
START_TEST(a_doorbell_is_the_kernels)
{
	struct drv_buf buf;

	begin(_i ? &drv_pci_legacy_armed : &drv_pci_armed, 1);
	buf = (struct drv_buf){ b.tx_gpa, 64, false };
	up(ALL);
	ring_add(&b.d.rings[1], &buf, 1);
	ring_publish(&b.d.rings[1]);
	drv_notify(&b.d, 1);
	ck_assert_uint_eq(fake_vhost_serve(), 1);
	ck_assert_uint_eq(fake_kvm_irqfds(send_message), 1);
	ck_assert_uint_eq(b.d.irqs.queue[1], 1);
	end();
}
END_TEST

START_TEST(offers_what_both_have)
{
	static const uint64_t filters = NF(CTRL_RX) | NF(CTRL_RX_EXTRA) | NF(CTRL_VLAN);
	static const unsigned int bits[] = { VIRTIO_NET_F_MRG_RXBUF, VIRTIO_F_INDIRECT_DESC,
					     VIRTIO_F_EVENT_IDX };

	begin(&drv_pci, 1);
	ck_assert_uint_eq(ALL & filters, 0);
	ck_assert(ALL & VIRTIO_BIT(VIRTIO_F_RING_RESET));
	ck_assert(ALL & NF(CTRL_MAC_ADDR));
	for (unsigned int i = 0; i < ARRAY_SIZE(bits); i++)
		ck_assert(ALL & VIRTIO_BIT(bits[i]));
	end();
	for (unsigned int i = 0; i < ARRAY_SIZE(bits); i++) {
		vh = fake_vhost_start();
		vh->features &= ~VIRTIO_BIT(bits[i]);
		netbench_init(&b, &(struct netbench_opts){ .transport = &drv_pci, .vhost = true });
		ck_assert(!(ALL & VIRTIO_BIT(bits[i])));
		up(ALL);
		ck_assert(passes(0) && passes(1));
		end();
	}
}
END_TEST

/* --- taking back --- */

START_TEST(a_reset_takes_all_back)
{
	begin(transports[_i], 1);
	for (unsigned int i = 0; i < 5; i++) {
		up(ALL);
		ck_assert_int_eq(vring(0)->backend, MOCK_NET_FD);
		for (unsigned int n = 0; n <= i; n++)
			ck_assert(passes(0) && passes(1));
		netbench_reset(&b);
		ck_assert_int_eq(vring(0)->backend, -1);
		ck_assert_int_eq(vring(1)->backend, -1);
	}
	/* What rings now is nobody's. */
	drv_notify(&b.d, 0);
	settle();
	ck_assert_uint_eq(vh->starts, 10);
	ck_assert_uint_eq(vh->stops, 10);
	end();
}
END_TEST

START_TEST(without_bus_mastering_the_kernel_has_none)
{
	ROW("PLT-5");
	begin(transports[_i], 1);
	up(ALL);
	ck_assert(passes(0) && passes(1) && passes(1));
	mock_fn_set_conf(mock_fn_of(&b.d), PCI_COMMAND, 2, PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
	ck_assert_int_eq(vring(0)->backend, -1);
	ck_assert_int_eq(vring(1)->backend, -1);
	ck_assert(!passes(1));
	mock_fn_set_conf(mock_fn_of(&b.d), PCI_COMMAND, 2,
			 PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	ck_assert_int_eq(vring(1)->backend, MOCK_NET_FD);
	/* It goes on where it was, with what was rung for meanwhile. */
	settle();
	ck_assert_uint_eq(vring(1)->served, 3);
	ck_assert_uint_eq(vring(1)->base, 3);
	uint32_t id, len;
	ck_assert(ring_get(&b.d.rings[1], &id, &len));
	ck_assert(passes(0) && passes(1));
	end();
}
END_TEST

START_TEST(a_start_without_bus_mastering)
{
	begin(&drv_pci_armed, 1);
	netbench_reset(&b);
	mock_fn_set_conf(mock_fn_of(&b.d), PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	mock_fn_set_conf(mock_fn_of(&b.d), PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	up(ALL);
	ck_assert_uint_eq(vh->starts, 0);
	mock_fn_set_conf(mock_fn_of(&b.d), PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	settle();
	ck_assert_uint_eq(vh->starts, 2);
	ck_assert(passes(0) && passes(1));
	end();
}
END_TEST

START_TEST(a_queue_alone_is_reset)
{
	begin(&drv_pci_armed, 1);
	up(ALL);
	ck_assert(passes(0) && passes(1));
	drv_set_reg(&b.d, 1, DRV_RESET, 1);
	ck_assert_uint_eq(drv_reg(&b.d, 1, DRV_RESET), 0);
	ck_assert_int_eq(vring(1)->backend, -1);
	ck_assert_int_eq(vring(0)->backend, MOCK_NET_FD);
	ck_assert(passes(0));
	ring_clear(&b.d.rings[1]);
	ring_enable(&b.d.rings[1]);
	settle();
	ck_assert_uint_eq(vring(1)->base, 0);
	ck_assert(passes(1) && passes(0));
	end();
}
END_TEST

START_TEST(a_broken_device_is_taken_from_it)
{
	static const uint64_t one = 1;

	begin(&drv_pci_armed, 1);
	for (unsigned int i = 0; i < 3; i++) {
		up(ALL);
		if (i == 0)
			virtio_fault(&b.n.vd, "a test");
		else if (i == 1)
			/* The kernel says so. */
			ck_assert_int_eq(write(vring(0)->err, &one, sizeof(one)), sizeof(one));
		else
			drv_set_status(&b.d, VIRTIO_FAILED | 0xf);
		settle();
		ck_assert_uint_eq(broken(), i < 2);
		ck_assert_int_eq(vring(0)->backend, -1);
		ck_assert_int_eq(vring(1)->backend, -1);
		/* Also when it may master the bus again. */
		virtio_set_bus_master(&b.n.vd, false);
		virtio_set_bus_master(&b.n.vd, true);
		settle();
		ck_assert_int_eq(vring(0)->backend, -1);
	}
	up(ALL);
	ck_assert(passes(0) && passes(1));
	end();
}
END_TEST

START_TEST(the_link_decides)
{
	begin(&drv_pci, 1);
	up(ALL);
	virtio_net_set_link(&b.n, false);
	settle();
	ck_assert_int_eq(vring(0)->backend, -1);
	ck_assert(!passes(1));
	virtio_net_set_link(&b.n, true);
	settle();
	ck_assert_int_eq(vring(0)->backend, MOCK_NET_FD);
	ck_assert_uint_eq(vring(1)->served, 1);
	end();
}
END_TEST

START_TEST(pairs_have_instances)
{
	begin(&drv_pci_armed, 4);
	ck_assert_uint_eq(vh->devs_nr, 4);
	up(ALL);
	ck_assert_uint_eq(vh->starts, 2);
	for (unsigned int i = 0; i < 3; i++) {
		static const uint8_t in_use[] = { 4, 1, 3 };
		unsigned int nr = in_use[i];
		uint8_t data[2] = { in_use[i], 0 };

		ck_assert_uint_eq(netbench_command(&b, 4, 0, data, 2), 0);
		settle();
		for (uint16_t q = 0; q < 8; q++) {
			ck_assert_int_eq(vring(q)->backend, q / 2 < nr ? MOCK_NET_FD + q / 2 : -1);
			if (q / 2 < nr)
				ck_assert(passes(q));
		}
	}
	/* Without MQ the control queue has the place of the second pair, and stays here. */
	up(ALL & ~NF(MQ));
	uint8_t mac[6] = { 2, 0, 0, 0, 0, 9 };
	ck_assert_uint_eq(netbench_command(&b, 1, 1, mac, 6), 0);
	ck_assert(passes(0) && passes(1));
	ck_assert_int_eq(vring(2)->backend, -1);
	up(ALL);
	ck_assert(passes(1));
	end();
}
END_TEST

/* --- interrupts --- */

/* Pending while masked, and sent once at the end, whoever sends it. */
START_TEST(a_mask_holds_it_back)
{
	ROW("PCI-97");
	struct drv_buf buf;
	struct mock_fn *fn;
	uint32_t id, len;

	begin(&drv_pci_armed, 1);
	buf = (struct drv_buf){ b.tx_gpa, 64, false };
	fn = mock_fn_of(&b.d);
	up(ALL);
	ck_assert(passes(1));
	ck_assert_uint_eq(mock_kvm_of(&b.d)->irqfds_nr, 2);
	unsigned int routings = mock_kvm_of(&b.d)->routings;
	for (unsigned int i = 0; i < 3; i++) {
		uint32_t before = b.d.irqs.queue[1];

		mock_fn_out(fn, 1, 2 * 16 + 12, 4, 1);
		ck_assert_uint_eq(mock_kvm_of(&b.d)->irqfds_nr, 1);
		ring_add(&b.d.rings[1], &buf, 1);
		ring_publish(&b.d.rings[1]);
		drv_notify(&b.d, 1);
		settle();
		ck_assert(ring_get(&b.d.rings[1], &id, &len));
		ck_assert_uint_eq(b.d.irqs.queue[1], before);
		ck_assert_uint_eq(mock_fn_in(fn, 1, 0x800, 4), 1u << 2);
		mock_fn_out(fn, 1, 2 * 16 + 12, 4, 0);
		ck_assert_uint_eq(b.d.irqs.queue[1], before + 1);
		ck_assert_uint_eq(mock_fn_in(fn, 1, 0x800, 4), 0);
		ck_assert_uint_eq(mock_kvm_of(&b.d)->irqfds_nr, 2);
	}
	/* The message is what it was: KVM is not told again. */
	ck_assert_uint_eq(mock_kvm_of(&b.d)->routings, routings);
	end();
}
END_TEST

START_TEST(without_msix_the_line_is_raised)
{
	struct mock_fn *fn;

	begin(&drv_pci_armed, 1);
	fn = mock_fn_of(&b.d);
	up(ALL);
	mock_fn_enable_msix(fn, false);
	fn->msix_on = false;
	ck_assert_uint_eq(mock_kvm_of(&b.d)->irqfds_nr, 0);
	uint32_t rises = mock_line_rises(MOCK_GSI + 1);
	ck_assert(passes(1));
	ck_assert_uint_eq(mock_line_rises(MOCK_GSI + 1), rises + 1);
	ck_assert_uint_eq(mock_fn_get(fn, MOCK_ISR, 0, 1), 1);
	mock_fn_enable_msix(fn, true);
	fn->msix_on = true;
	ck_assert_uint_eq(mock_kvm_of(&b.d)->irqfds_nr, 2);
	ck_assert(passes(1));
	end();
}
END_TEST

/* KVM has 19 numbers here; with 22 queues some interrupt by us, and with none of KVM's help all do. */
START_TEST(numbers_run_out)
{
	ROW("PCI-92");
	begin(&drv_pci_armed, 8);
	mock_kvm_of(&b.d)->fail_at = 0;
	up(ALL);
	uint8_t data[2] = { 8, 0 };
	ck_assert_uint_eq(netbench_command(&b, 4, 0, data, 2), 0);
	settle();
	ck_assert_uint_eq(mock_kvm_of(&b.d)->irqfds_nr, 16);
	for (uint16_t q = 0; q < 16; q++)
		ck_assert(passes(q));
	end();
}
END_TEST

/* Any call of KVM's fails once: the queues work all the same. */
START_TEST(kvm_refuses)
{
	begin(&drv_pci_armed, 1);
	struct fake_kvm *kvm = mock_kvm_of(&b.d);

	kvm->fail_errno = ENOSPC;
	for (unsigned int n = 1; n < 16; n++) {
		netbench_reset(&b);
		kvm->calls = 0;
		kvm->fail_at = n;
		up(ALL);
		kvm->fail_at = 0;
		ck_assert(passes(0) && passes(1));
	}
	end();
}
END_TEST

/* A vector is set, and the device reset, at the same time, as only a hostile guest does it. */
static void *set_vectors(void *arg)
{
	struct mock_fn *fn = arg;

	for (unsigned int i = 0; i < 2000; i++) {
		mock_fn_set(fn, MOCK_COMMON, 0x16, 2, i & 1);
		mock_fn_set(fn, MOCK_COMMON, 0x1a, 2, i % 4);
	}
	return NULL;
}

START_TEST(vectors_and_resets_race)
{
	ROW("HD-134");
	pthread_t t;

	begin(&drv_pci_armed, 1);
	ck_assert_int_eq(pthread_create(&t, NULL, set_vectors, mock_fn_of(&b.d)), 0);
	for (unsigned int i = 0; i < 300; i++)
		drv_set_status(&b.d, 0);
	pthread_join(t, NULL);
	up(ALL);
	ck_assert(passes(0) && passes(1));
	ck_assert_uint_eq(mock_kvm_of(&b.d)->irqfds_nr, 2);
	end();
}
END_TEST

/* --- refusals --- */

static int make(const char *dev, struct net_backend *be, struct err *err)
{
	static struct virtio_net n;
	struct virtio_net_opts o = { .backend = be, .vhost = true, .vhost_dev = dev, .pairs = 2 };

	memcpy(o.mac, netbench_mac, 6);
	*err = ERR_INIT;
	int ret = virtio_net_init(&n, &o, &b.b.a.gm, &b.b.log, b.b.loops, 1, err);
	if (!ret)
		virtio_net_release(&n);
	return ret;
}

/* Each call of the set-up fails once, and nothing stays open. */
START_TEST(set_up_fails_in_a_sentence)
{
	struct mock_net other;
	struct net_backend_ops ops;
	struct err err;

	begin(&drv_pci, 1);
	mock_net_init(&other);
	unsigned int fds = bench_count_dir("/proc/self/fd"), n = 0;
	do {
		vh->calls = 0;
		vh->fail_at = ++n;
		int ret = make("/dev/null", &other.be, &err);
		ck_assert_uint_eq(bench_count_dir("/proc/self/fd"), fds);
		if (!ret)
			break;
		ck_assert_int_eq(ret, -EIO);
		ck_assert_int_eq(err.kind, ERR_HOST);
		ck_assert_ptr_nonnull(strstr(err.msg, "vhost=on: /dev/null"));
	} while (n < 100);
	ck_assert_uint_eq(n, 7);
	vh->fail_at = 0;
	ck_assert_int_eq(make("/dev/nonexistent", &other.be, &err), -ENOENT);
	ck_assert_ptr_nonnull(strstr(err.msg, "modprobe vhost_net"));
	ck_assert_int_eq(err.kind, ERR_HOST);
	ops = *other.be.ops;
	ops.port_fd = NULL;
	other.be.ops = &ops;
	ck_assert_int_lt(make("/dev/null", &other.be, &err), 0);
	ck_assert_int_eq(err.kind, ERR_USAGE);
	ck_assert_uint_eq(bench_count_dir("/proc/self/fd"), fds);
	mock_net_release(&other);
	end();
}
END_TEST

/* Each call of a life fails once: the device is broken, or works; a reset mends it; the kernel has nothing afterwards. */
START_TEST(a_refusal_is_a_fault)
{
	unsigned int faults = 0;

	for (unsigned int n = 1; n < 40; n++) {
		begin(&drv_pci_armed, 1);
		vh->calls = 0;
		vh->fail_at = n;
		up(ALL);
		bool was = broken();
		faults += was;
		if (!was)
			ck_assert(passes(0) && passes(1));
		virtio_set_bus_master(&b.n.vd, false);
		virtio_set_bus_master(&b.n.vd, true);
		settle();
		netbench_reset(&b);
		bool all = vh->calls >= n;
		vh->fail_at = 0;
		netbench_reset(&b);
		/* An instance that could not be stopped is closed, and then it stays broken. */
		bool closed = b.n.pair[0].vhost.fd < 0;
		for (unsigned int q = 0; q < 2 && !closed; q++)
			ck_assert_int_eq(vring((uint16_t)q)->backend, -1);
		netbench_reset(&b);
		if (!closed) {
			up(ALL);
			ck_assert(passes(0) && passes(1));
		}
		netbench_release(&b);
		if (!all)
			break;
	}
	ck_assert_uint_ge(faults, 15);
}
END_TEST

UNIT_SUITE("virtio-net-vhost", {
	tcase_add_loop_test(tc, the_kernel_gets_what_the_driver_set, 0, TRANSPORTS);
	tcase_add_loop_test(tc, a_doorbell_is_the_kernels, 0, 2);
	tcase_add_test(tc, offers_what_both_have);
	tcase_add_loop_test(tc, a_reset_takes_all_back, 0, TRANSPORTS);
	tcase_add_loop_test(tc, without_bus_mastering_the_kernel_has_none, 0, TRANSPORTS);
	tcase_add_test(tc, a_start_without_bus_mastering);
	tcase_add_test(tc, a_queue_alone_is_reset);
	tcase_add_test(tc, a_broken_device_is_taken_from_it);
	tcase_add_test(tc, the_link_decides);
	tcase_add_test(tc, pairs_have_instances);
	tcase_add_test(tc, a_mask_holds_it_back);
	tcase_add_test(tc, without_msix_the_line_is_raised);
	tcase_add_test(tc, numbers_run_out);
	tcase_add_test(tc, kvm_refuses);
	tcase_add_test(tc, vectors_and_resets_race);
	tcase_add_test(tc, set_up_fails_in_a_sentence);
	tcase_add_test(tc, a_refusal_is_a_fault);
})
