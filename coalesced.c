/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <lkvm/bus.h>
#include <lkvm/coalesced.h>
#include <lkvm/kvm.h>
#include <lkvm/util.h>

/* While writes arrive, a byte waits at most BUSY_NS; an idle VM wakes up once in IDLE_NS. */
#define BUSY_NS (5 * NSEC_PER_SEC / 1000)
#define IDLE_NS (100 * NSEC_PER_SEC / 1000)

static void on_timer(struct loop_timer *t)
{
	struct coalesced *c = container_of(t, struct coalesced, timer);
	bool busy = coalesced_drain(c);

	loop_timer_set(c->loop, t, util_now_ns() + (busy ? BUSY_NS : IDLE_NS));
}

void coalesced_init(struct coalesced *c, struct kvm *kvm, struct bus *pio, struct bus *mmio)
{
	*c = (struct coalesced){ .kvm = kvm, .pio = pio, .mmio = mmio, .timer.fn = on_timer };
	pthread_mutex_init(&c->lock, NULL);
}

void coalesced_attach(struct coalesced *c, void *run)
{
	int page = kvm_check_cap(c->kvm,
				 KVM_CAP_COALESCED_MMIO); /* the ring's page in the mapping */
	size_t page_len = sysconf(_SC_PAGESIZE);

	if (page <= 0 || !range_ok(page * page_len, page_len, c->kvm->run_len))
		return;
	c->ring = (void *)((uint8_t *)run + page * page_len);
	c->ring_nr = (page_len - sizeof(*c->ring)) / sizeof(c->ring->coalesced_mmio[0]);
}

void coalesced_start(struct coalesced *c, struct loop *loop)
{
	c->loop = loop;
	if (c->ring)
		loop_timer_set(loop, &c->timer, util_now_ns() + BUSY_NS);
}

void coalesced_stop(struct coalesced *c)
{
	if (c->loop)
		loop_timer_cancel(c->loop, &c->timer);
	c->loop = NULL;
}

void coalesced_release(struct coalesced *c)
{
	coalesced_stop(c);
	pthread_mutex_destroy(&c->lock);
	c->ring = NULL;
}

int coalesced_add(struct coalesced *c, bool pio, uint64_t addr, uint32_t size)
{
	struct kvm_coalesced_mmio_zone zone = { .addr = addr, .size = size, .pio = pio };

	if (!c->ring || (pio && !c->kvm->coalesced_pio))
		return -ENOTSUP;
	return ioctl(c->kvm->vm_fd, KVM_REGISTER_COALESCED_MMIO, &zone) ? -errno : 0;
}

/*
 * The kernel writes entries and `last`; we write `first`. It runs at the same time as we do, so each
 * index is read once, and taken modulo the ring: a torn or wild value must not leave it.
 */
static bool drain_locked(struct coalesced *c)
{
	struct kvm_coalesced_mmio_ring *ring = c->ring;
	uint32_t first = __atomic_load_n(&ring->first, __ATOMIC_RELAXED) % c->ring_nr;
	/* Pairs with the kernel's smp_wmb() between an entry and `last`. */
	uint32_t last = __atomic_load_n(&ring->last, __ATOMIC_ACQUIRE) % c->ring_nr;

	if (first == last)
		return false;
	/* Bounded: other vCPUs may write as fast as this loop reads. */
	for (uint32_t n = 0; first != last && n < c->ring_nr; n++) {
		struct kvm_coalesced_mmio e = ring->coalesced_mmio[first];

		if (e.len >= 1 && e.len <= sizeof(e.data))
			bus_write(e.pio ? c->pio : c->mmio, e.phys_addr, e.data, e.len);
		first = (first + 1) % c->ring_nr;
		/* Frees the slot only after the entry was read. */
		__atomic_store_n(&ring->first, first, __ATOMIC_RELEASE);
		last = __atomic_load_n(&ring->last, __ATOMIC_ACQUIRE) % c->ring_nr;
	}
	return true;
}

bool coalesced_drain(struct coalesced *c)
{
	struct kvm_coalesced_mmio_ring *ring = c->ring;

	/* The usual case, on every exit, without the lock: a write of this vCPU's own is always seen. */
	if (!ring || __atomic_load_n(&ring->first, __ATOMIC_RELAXED) ==
			     __atomic_load_n(&ring->last, __ATOMIC_ACQUIRE))
		return false;
	pthread_mutex_lock(&c->lock);
	bool some = drain_locked(c);
	pthread_mutex_unlock(&c->lock);
	return some;
}
