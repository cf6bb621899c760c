/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How long a kick takes to be answered, by the guest's clock: until memory says so, and until the interrupt's
 * handler runs. The same program under lkvm, with a virtio device, and under tests/bench/bare-bell.c, where
 * a doorbell and an answer are all there is.
 */
#include "virtio.h"

#define SAMPLES_MAX 4096
#define BARE_DOOR   0xd0000000ULL
#define BARE_ANSWER 0x1000000ULL /* counts the kicks that were answered */

static uint64_t samples[SAMPLES_MAX];
static struct vdev dev;
static struct ring pace; /* no device's */

/*
 * From the write to the answer, in memory or by the handler's own stamp. An instruction may cost half a microsecond
 * where KVM interprets, so both programs run this very code, and nothing of theirs is within the time.
 */
static __attribute__((noinline)) uint64_t until_memory(uint64_t door, volatile uint16_t *word,
						       uint16_t want)
{
	uint64_t start = rdtsc();

	write16(door, 0);
	while (*word != want)
		cpu_pause();
	return rdtsc() - start;
}

static __attribute__((noinline)) uint64_t until_irq(uint64_t door)
{
	uint32_t before = msi_count[1];
	uint64_t start = rdtsc();

	write16(door, 0);
	while (msi_count[1] == before)
		__asm__ volatile("sti; hlt; cli" : : : "memory");
	return msi_tsc - start;
}

static _Noreturn void say(uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		print_num(samples[i]);
		print("\n");
	}
	pass();
}

static uint32_t count(void)
{
	uint32_t n = arg_num("n", 1000);

	return n > SAMPLES_MAX ? SAMPLES_MAX : n;
}

static void t_device(void)
{
	uint32_t n = count();

	dev_from_args(&dev);
	for (uint32_t i = 0; i < n; i++) {
		vdev_post(&dev);
		samples[i] = dev.irq == IRQ_MSIX ? until_irq(door_addr(&dev))
						 : until_memory(door_addr(&dev),
								&dev.ring->used.idx, dev.posted);
		vdev_finish(&dev);
	}
	say(n);
}

static void t_bare(void)
{
	uint32_t n = count();
	bool irq = arg_is("irq", "msix");

	irqs_init();
	dev.id = VIRTIO_MINI;
	dev.ring = &pace;
	for (uint32_t i = 0; i < n; i++) {
		/* As much between two kicks as with a device: what a thread costs to wake depends on how long it slept. */
		vdev_post(&dev);
		vdev_post(&dev);
		samples[i] = irq ? until_irq(BARE_DOOR)
				 : until_memory(BARE_DOOR, (uint16_t *)BARE_ANSWER,
						(uint16_t)(i + 1));
	}
	say(n);
}

const struct guest_case cases_bench[] = {
	{ "b-device", t_device },
	{ "b-bare", t_bare },
	{ NULL, NULL },
};
