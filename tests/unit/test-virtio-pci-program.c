// SPDX-License-Identifier: GPL-2.0
// LINK: tests/fuzz/fuzz-virtio-pci.c virtio/device.c virtio/registers.c virtio/legacy.c virtio/queue.c virtio/transport-pci.c virtio/transport-modern.c virtio/transport-legacy.c virtio/transport-doorbell.c virtio/transport-fds.c pci.c pci-bar.c pci-irq.c pci-ecam.c bus.c ioeventfd.c gmem.c util/loop.c util/log.c util/err.c tests/mock/clock.c tests/mock/arena.c tests/mock/ring.c tests/mock/driver.c tests/mock/testdev.c tests/mock/fake-kvm.c irq-route.c tests/mock/pci.c tests/mock/pci-driver.c
/* The fuzz target's programs, made by a generator of numbers: a little of it in every run, with each sanitizer. */
#include "unit.h"

#include <stdint.h>

#include "../mock/bench.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PROGRAM_LEN 400

START_TEST(any_program_can_be_mended)
{
	ROW("HD-228", "HD-225", "HD-226");
	uint32_t seed = 1 + (uint32_t)_i;
	uint8_t program[PROGRAM_LEN];

	for (unsigned int n = 0; n < 50; n++) {
		for (unsigned int i = 0; i < PROGRAM_LEN; i++) {
			seed = seed * 1664525 + 1013904223;
			program[i] = seed >> 24;
			/* Mostly good, with zeros for what may be odd. */
			if (seed >> 16 & 1)
				program[i] &= 0x1f;
		}
		ck_assert_int_eq(LLVMFuzzerTestOneInput(program, PROGRAM_LEN), 0);
	}
}

UNIT_SUITE("virtio-pci-program", { tcase_add_loop_test(tc, any_program_can_be_mended, 0, 8); })
