// SPDX-License-Identifier: GPL-2.0
// LINK: virtio/device.c virtio/registers.c virtio/legacy.c virtio/queue.c virtio/transport-pci.c virtio/transport-modern.c virtio/transport-legacy.c virtio/transport-doorbell.c virtio/transport-fds.c pci.c pci-bar.c pci-irq.c pci-ecam.c bus.c ioeventfd.c gmem.c util/loop.c util/log.c util/err.c tests/mock/clock.c tests/mock/arena.c tests/mock/ring.c tests/mock/driver.c tests/mock/testdev.c tests/mock/fake-kvm.c irq-route.c tests/mock/pci.c tests/mock/pci-driver.c
/*
 * A hostile driver of a virtio function on the PCI bus: the input is a program of register, configuration
 * space and window accesses of any place and width, BARs that move, ring bytes, kicks, and what the backend and KVM
 * do. It starts from a device that is up; after each step the rules of core and transport must hold, and
 * at the end a reset must bring everything back, whichever way the driver takes.
 */
#include "fuzz.h"

#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>

#include <lkvm/loop.h>

#include "../mock/clock.h"
#include "../mock/fake-kvm.h"
#include "../mock/pci.h"
#include "../mock/testdev.h"

#define MEM_LEN 0x10000
#define QUEUES  2
#define SIZE    16
#define DATA    0x8000
#define COMMAND (PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER)
#define FEATURES                                                                                   \
	(VIRTIO_BIT(VIRTIO_F_VERSION_1) | VIRTIO_BIT(VIRTIO_F_INDIRECT_DESC) |                     \
	 VIRTIO_BIT(VIRTIO_F_EVENT_IDX) | VIRTIO_BIT(VIRTIO_F_RING_RESET))

struct bench {
	struct fuzz_memory mem;
	struct loop *loop;
	struct testdev td;
	struct drv d;
	struct mock_fn *fn;
	struct fake_kvm *kvm;
	uint64_t bars[PCI_BARS_NR]; /* where they were at first */
	uint16_t idx[QUEUES];       /* of the available rings */
	uint8_t next[QUEUES];       /* the descriptor that a good chain begins with */
};

/* The input, read in small pieces; all zero behind its end. */
struct tape {
	const uint8_t *at, *end;
};

static uint8_t byte(struct tape *t)
{
	return t->at < t->end ? *t->at++ : 0;
}

static uint32_t word(struct tape *t)
{
	uint32_t v = byte(t);

	return v << 8 | byte(t);
}

static uint64_t value(struct tape *t)
{
	uint8_t kind = byte(t);

	switch (kind & 7) {
	case 0:
		return UINT64_MAX;
	case 1:
		return (uint64_t)word(t) << 16 | word(t);
	case 2:
		return (uint64_t)word(t) << 48 | word(t);
	default:
		return kind >> 3;
	}
}

void mock_failed(const char *file, int line, const char *what)
{
	fprintf(stderr, "%s:%d: broken: %s\n", file, line, what);
	abort();
}

/* --- a driver by the book --- */

/* The page that a legacy ring begins in; the used part is on the next. */
static uint64_t ring_gpa(unsigned int q)
{
	return 0x2000 * (1 + (uint64_t)q);
}

#define AVAIL 0x100
#define USED  0x1000

static void up_queue(struct bench *b, uint16_t q)
{
	struct drv *d = &b->d;

	FUZZ_CHECK(gmem_zero(b->mem.gm, ring_gpa(q), 0x2000) == 0);
	b->idx[q] = b->next[q] = 0;
	d->ops->queue_select(d, q);
	if (d->ops->set_pfn) {
		d->ops->set_pfn(d, (uint32_t)(ring_gpa(q) / 4096));
		return;
	}
	d->ops->set_addr(d, DRV_DESC, ring_gpa(q));
	d->ops->set_addr(d, DRV_AVAIL, ring_gpa(q) + AVAIL);
	d->ops->set_addr(d, DRV_USED, ring_gpa(q) + USED);
	d->ops->set_reg(d, DRV_ENABLE, 1);
}

static void up(struct bench *b, uint64_t features)
{
	drv_set_status(&b->d, 0);
	drv_negotiate(&b->d, b->d.ops->set_pfn ? features & VIRTIO_BIT(28) : features);
	for (uint16_t q = 0; q < QUEUES; q++)
		up_queue(b, q);
	drv_driver_ok(&b->d);
}

/* By which side, and through what. */
static void go_by(struct bench *b, unsigned int way)
{
	static const struct drv_transport_ops *const ways[] = { &drv_pci, &drv_pci_window,
								&drv_pci_legacy };

	b->d.ops = ways[way % 3];
	b->fn->window = way % 3 == 1;
	b->fn->legacy = way % 3 == 2;
	b->fn->ecam = way / 3 % 2;
}

static void turn(struct bench *b)
{
	loop_stop(b->loop);
	FUZZ_CHECK(loop_run(b->loop) == 0);
}

/* --- the rules --- */

static void check_device(struct virtio_device *vd)
{
	uint32_t out = 0;

	for (uint16_t i = 0; i < vd->queues_nr; i++) {
		struct virtqueue *vq = &vd->vqs[i];

		FUZZ_CHECK(vq->in_flight <= vq->size_max);
		FUZZ_CHECK(vq->size && vq->size <= vq->size_max && !(vq->size & (vq->size - 1)));
		FUZZ_CHECK(!vq->running || vq->enabled);
		out += vq->in_flight;
	}
	FUZZ_CHECK(out == (vd->in_flight & ~VIRTIO_RESET_AT_WORK));
	FUZZ_CHECK(vd->state >= VIRTIO_PLUGGED && vd->state < VIRTIO_STATES_NR);
	FUZZ_CHECK(!(vd->status & 0x30));
}

static bool is_vector(const struct virtio_pci *vp, uint16_t v)
{
	return v == 0xffff || v < vp->pd.msix_nr;
}

static void check_transport(struct bench *b)
{
	struct virtio_pci *vp = &b->fn->vp;
	bool runs = vp->vd->state == VIRTIO_LIVE || vp->vd->state == VIRTIO_BROKEN;

	/* All doorbells of a place, or none; none of a device that rests. */
	FUZZ_CHECK(b->kvm->doorbells_nr % QUEUES == 0);
	FUZZ_CHECK(b->kvm->doorbells_nr == 0 || (runs && vp->vd->doorbells));
	FUZZ_CHECK(!vp->vd->doorbells == !vp->db.wanted || !runs);
	FUZZ_CHECK(is_vector(vp, vp->config_vector));
	for (unsigned int i = 0; i < QUEUES; i++)
		FUZZ_CHECK(is_vector(vp, vp->queue_vector[i]));
	FUZZ_CHECK(!(vp->isr & ~3) && vp->pd.intx == !!vp->isr);
	FUZZ_CHECK(vp->vd->state != VIRTIO_PLUGGED || !vp->isr);
}

static void check(struct bench *b)
{
	check_device(&b->td.vd);
	check_transport(b);
	for (unsigned int i = 0; i < QUEUES; i++) {
		struct testdev_queue *q = &b->td.q[i];

		FUZZ_CHECK(q->spare_nr + q->held_nr + q->done_nr == SIZE);
	}
}

/* --- the program's steps --- */

static void publish(struct bench *b, unsigned int q, uint16_t head)
{
	fuzz_put16(&b->mem, ring_gpa(q) + AVAIL + 4 + 2 * (b->idx[q] & (SIZE - 1)), head);
	fuzz_put16(&b->mem, ring_gpa(q) + AVAIL + 2, ++b->idx[q]);
}

/* Two pieces, by the book but for a field now and then. */
static void good_chain(struct bench *b, unsigned int q, struct tape *t)
{
	uint8_t odd = byte(t), first = b->next[q], second = (first + 1) & (SIZE - 1);

	fuzz_put_desc(&b->mem, ring_gpa(q) + 16 * first, odd == 1 ? value(t) : DATA, 32, 1,
		      odd == 2 ? word(t) : second);
	fuzz_put_desc(&b->mem, ring_gpa(q) + 16 * second, odd == 3 ? value(t) : DATA + 64,
		      odd == 4 ? word(t) << 16 : 32, odd == 5 ? byte(t) : 2, 0);
	publish(b, q, odd == 6 ? word(t) : first);
	b->next[q] = (first + 2) & (SIZE - 1);
}

/* A place in a BAR: most of them where something is. */
static uint64_t place(struct tape *t)
{
	static const uint16_t pages[] = { 0, 0, 0, 0x1000, 0x2000, 0x3000, 0x3ff8, 0x800 };
	uint8_t v = byte(t);

	return pages[v >> 5 & 7] + (v & 0x1f) + (byte(t) & 0x21);
}

static void touch_bar(struct bench *b, struct tape *t)
{
	static const uint8_t bars[] = { 4, 4, 0, 1, 2, 4, 0, 5 };
	uint8_t what = byte(t), bar = bars[what & 7];
	uint64_t off = bar == 4 ? place(t) : byte(t);
	unsigned int len = 1 + (what >> 3 & 7);

	/* Widths of before are the likely ones. */
	len = what & 0x40 ? 1u << (len & 3) : len;
	if (what & 0x80)
		mock_fn_in(b->fn, bar, off, len);
	else
		mock_fn_out(b->fn, bar, off, len, value(t));
}

static void touch_conf(struct bench *b, struct tape *t)
{
	uint8_t what = byte(t), off = byte(t);
	unsigned int len = 1u << (what & 3) & 7;

	if (what & 0x80)
		mock_conf(b->fn->m, what & 4, b->fn->slot, off, len ? len : 4);
	else
		mock_set_conf(b->fn->m, what & 4, b->fn->slot, off, len ? len : 4,
			      (uint32_t)value(t));
}

static void touch_window(struct bench *b, struct tape *t)
{
	uint8_t what = byte(t);
	uint32_t bar = what & 1 ? 4 : byte(t), off = (uint32_t)(what & 2 ? value(t) : place(t));
	uint32_t len = what & 4 ? byte(t) : 1u << (what >> 3 & 3);
	unsigned int width = 1u << (what >> 5 & 3) & 7;

	if (what & 0x80)
		mock_fn_window_in(b->fn, bar, off, len, width ? width : 4);
	else
		mock_fn_window_out(b->fn, bar, off, len, width ? width : 4, (uint32_t)value(t));
}

static void set_bar(struct bench *b, unsigned int bar, uint64_t addr)
{
	mock_fn_set_conf(b->fn, PCI_BASE_ADDRESS_0 + 4 * bar, 4, (uint32_t)addr);
	if (bar == 4)
		mock_fn_set_conf(b->fn, PCI_BASE_ADDRESS_5, 4, addr >> 32);
}

static void restore_bars(struct bench *b)
{
	static const uint8_t all[] = { 0, 1, 2, 4 };

	mock_fn_set_conf(b->fn, PCI_COMMAND, 2, COMMAND);
	for (unsigned int i = 0; i < ARRAY_SIZE(all); i++)
		set_bar(b, all[i], b->bars[all[i]]);
	mock_fn_find_bars(b->fn);
}

static void move(struct bench *b, struct tape *t)
{
	static const uint8_t bars[] = { 0, 1, 2, 4 };
	uint8_t what = byte(t), bar = bars[what & 3];

	switch (what >> 2 & 7) {
	case 0:
		set_bar(b, bar, value(t));
		break;
	case 1:
		set_bar(b, bar, b->bars[bar] + ((uint64_t)byte(t) << (bar & 1 ? 12 : 8)));
		break;
	case 2: /* onto another one */
		set_bar(b, bar, b->bars[bars[what >> 5 & 3]]);
		break;
	case 3:
		mock_fn_set_conf(b->fn, PCI_COMMAND, 2, what >> 5);
		break;
	default:
		restore_bars(b);
		break;
	}
	mock_fn_find_bars(b->fn);
}

static void backend(struct bench *b, struct tape *t)
{
	uint8_t what = byte(t);
	unsigned int q = what & 1, held = testdev_held(&b->td, q);

	if (what & 2)
		b->td.mode = (what >> 2) % 3;
	else if (what & 4)
		testdev_finish_all(&b->td);
	else if (what & 8)
		testdev_set_wide(&b->td, what);
	else if (what & 16)
		b->td.cancels = what & 32;
	else if (what & 32)
		b->kvm->doorbells_max = what & 64 ? byte(t) % 7 : FAKE_DOORBELLS;
	else if (what & 64)
		b->td.start_ret = what & 128 ? -5 : 0;
	else if (held)
		testdev_finish(&b->td, q, byte(t) % held, what & 128);
}

static void vectors(struct bench *b, struct tape *t)
{
	uint8_t what = byte(t);

	if (what & 1)
		mock_fn_enable_msix(b->fn, what & 2);
	else if (what & 4)
		mock_fn_set_conf(b->fn, b->fn->msix_cap + PCI_MSIX_FLAGS, 2, what << 8);
	else
		mock_fn_out(b->fn, 1, 4 * (what >> 3 & 31), 4, value(t));
}

static void step(struct bench *b, struct tape *t)
{
	uint8_t op = byte(t), bytes[4];
	uint16_t q = op >> 4 & 1;

	switch (op & 15) {
	case 0:
	case 1:
		good_chain(b, q, t);
		drv_notify(&b->d, q);
		break;
	case 2:
		turn(b);
		break;
	case 3: /* a few bytes somewhere in the rings */
		put_le32(bytes, word(t) << 16 | word(t));
		fuzz_put(&b->mem, ring_gpa(q) + word(t) % 0x1200, bytes, 1 + (op >> 6));
		break;
	case 4:
		fuzz_put16(&b->mem, ring_gpa(q) + AVAIL + 2,
			   b->idx[q] = (uint16_t)(b->idx[q] + (int8_t)byte(t)));
		break;
	case 5:
		drv_notify(&b->d, word(t));
		break;
	case 6:
		backend(b, t);
		break;
	case 7:
		drv_set_status(&b->d, byte(t));
		break;
	case 8:
		up(b, byte(t) & 1 ? VIRTIO_BIT(VIRTIO_F_VERSION_1) : FEATURES);
		break;
	case 9:
		touch_conf(b, t);
		break;
	case 10:
		touch_window(b, t);
		break;
	case 11:
		move(b, t);
		break;
	case 12:
		vectors(b, t);
		break;
	case 13:
		go_by(b, op >> 4);
		break;
	default:
		touch_bar(b, t);
		break;
	}
}

/* --- the frame --- */

static void build(struct bench *b)
{
	static struct loop *loop;
	static struct arena unused;
	static const struct log quiet = { .fd = -1 };
	struct err err = ERR_INIT;

	memset(b, 0, sizeof(*b));
	if (!loop)
		FUZZ_CHECK((loop = loop_new(&err)));
	b->loop = loop;
	b->mem = (struct fuzz_memory){ .gm = fuzz_gmem(MEM_LEN), .len = MEM_LEN };
	atomic_store(&mock_clock_step, NSEC_PER_SEC / 2);
	testdev_init(&b->td, b->mem.gm, &quiet, QUEUES, SIZE, &loop, 1);
	drv_init(&b->d, &drv_pci_pio, &unused, &b->td.vd);
	b->fn = mock_fn_of(&b->d);
	b->kvm = mock_kvm_of(&b->d);
	memcpy(b->bars, b->fn->bars, sizeof(b->bars));
	go_by(b, 0);
	up(b, FEATURES);
}

static void program_vectors(struct bench *b)
{
	for (unsigned int i = 0; i < b->fn->vectors; i++) {
		mock_fn_out(b->fn, 1, 16 * i, 8, 0xfee00000 | b->fn->id << 12);
		mock_fn_out(b->fn, 1, 16 * i + 8, 8, i);
	}
	mock_fn_enable_msix(b->fn, true);
}

static void echo(struct bench *b, uint16_t q)
{
	uint32_t irqs = b->d.irqs.queue[q];
	uint8_t used[12];

	fuzz_put_desc(&b->mem, ring_gpa(q), DATA, 32, 1, 1);
	fuzz_put_desc(&b->mem, ring_gpa(q) + 16, DATA + 64, 32, 2, 0);
	publish(b, q, 0);
	drv_notify(&b->d, q);
	turn(b);
	turn(b);
	FUZZ_CHECK(gmem_read(b->mem.gm, ring_gpa(q) + USED, used, 12) == 0);
	FUZZ_CHECK(get_le16(used + 2) == 1 && get_le32(used + 4) == 0 && get_le32(used + 8) == 32);
	FUZZ_CHECK(b->d.irqs.queue[q] == irqs + 1);
}

/* Whatever happened, a reset and a good driver mend it, by every way. */
static void recover(struct bench *b)
{
	b->td.mode = TESTDEV_AUTO;
	b->td.start_ret = 0;
	b->kvm->doorbells_max = FAKE_DOORBELLS;
	go_by(b, 0);
	restore_bars(b);
	program_vectors(b);
	for (unsigned int way = 0; way < 3; way++) {
		go_by(b, way);
		drv_set_status(&b->d, 0);
		testdev_finish_all(&b->td);
		for (unsigned int i = 0; i < 4; i++)
			turn(b);
		FUZZ_CHECK(drv_status(&b->d) == 0 && b->kvm->doorbells_nr == 0);
		up(b, FEATURES);
		FUZZ_CHECK(b->kvm->doorbells_nr == (way == 2 ? QUEUES : 2 * QUEUES));
		for (uint16_t q = 0; q < QUEUES; q++)
			echo(b, q);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct bench b;
	struct tape t = { data, data + MIN(size, (size_t)4096) };

	build(&b);
	while (t.at < t.end) {
		step(&b, &t);
		check(&b);
	}
	recover(&b);
	drv_release(&b.d);
	testdev_release(&b.td);
	return 0;
}
