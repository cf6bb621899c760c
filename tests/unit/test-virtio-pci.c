// SPDX-License-Identifier: GPL-2.0
// LINK: virtio/device.c virtio/legacy.c virtio/queue.c virtio/mini.c virtio/transport-pci.c virtio/transport-modern.c virtio/transport-legacy.c virtio/transport-doorbell.c pci.c pci-bar.c pci-irq.c pci-ecam.c bus.c ioeventfd.c gmem.c util/loop.c util/log.c util/err.c tests/mock/clock.c tests/mock/arena.c tests/mock/ring.c tests/mock/driver.c tests/mock/core.c tests/mock/testdev.c tests/mock/bench.c tests/mock/hostile.c tests/mock/fake-kvm.c tests/mock/pci.c tests/mock/pci-driver.c
#include "unit.h"

#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>
#include <string.h>

#include <lkvm/util.h>

#include "../mock/hostile.h"
#include "../mock/pci.h"

static struct bench b;

static const struct drv_transport_ops *const transports[] = {
	&drv_pci, &drv_pci_armed, &drv_pci_window, &drv_pci_legacy, &drv_pci_legacy_armed,
};

START_TEST(every_way_leads_to_the_queues)
{
	const struct drv_transport_ops *t = transports[_i];

	bench_init(&b, &(struct bench_opts){ .transport = t, .queues = 3 });
	bench_up(&b, t->set_pfn ? 0 : MODERN_ALL);
	for (uint16_t q = 0; q < 3; q++) {
		bench_echo(&b, q);
		ck_assert_uint_eq(b.d.irqs.queue[q], 1);
	}
	hostile_recover(&b);
	bench_release(&b);
}

UNIT_SUITE("virtio-pci",
	   { tcase_add_loop_test(tc, every_way_leads_to_the_queues, 0, ARRAY_SIZE(transports)); })
