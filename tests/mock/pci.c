/* SPDX-License-Identifier: GPL-2.0 */
#include <endian.h>
#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>

#include <lkvm/arch.h>
#include <lkvm/irq.h>
#include <lkvm/stop.h>
#include <lkvm/util.h>

#include "fake-kvm.h"
#include "pci.h"

#define MSI_BASE 0xfee00000ULL
#define IDS_NR   16

/* Functions by the number in their messages. */
static struct mock_fn *functions[IDS_NR];
static struct {
	_Atomic bool level;
	_Atomic uint32_t rises;
} lines[MOCK_GSI + MOCK_GSIS];

/* --- in the place of irq.c, stop.c, kvm.c and what the architecture has --- */

int kvm_check_cap(const struct kvm *kvm, int cap)
{
	(void)kvm;
	return cap == KVM_CAP_IRQ_ROUTING ? MOCK_ROUTES : 0;
}

unsigned int arch_irq_routes(struct kvm_irq_routing_entry *entries, unsigned int max)
{
	MUST(max >= 1);
	entries[0] = (struct kvm_irq_routing_entry){ .gsi = MOCK_GSI + MOCK_GSIS - 1,
						     .type = KVM_IRQ_ROUTING_IRQCHIP };
	return 1;
}

int kvm_add_memory(struct kvm *kvm, uint64_t gpa, uint64_t size, void *host, bool readonly,
		   struct err *err)
{
	(void)kvm, (void)gpa, (void)size, (void)host, (void)readonly, (void)err;
	MUST(!"there is a KVM");
	return -1;
}

void kvm_del_memory(struct kvm *kvm, int slot)
{
	(void)kvm, (void)slot;
}

void irq_line_init(struct irq_line *line, struct kvm *kvm, uint32_t gsi)
{
	MUST(gsi < ARRAY_SIZE(lines));
	*line = (struct irq_line){ .kvm = kvm, .gsi = gsi };
	lines[gsi].level = false;
	lines[gsi].rises = 0;
}

void irq_line_set(struct irq_line *line, bool level)
{
	if (level && !line->level)
		lines[line->gsi].rises++;
	line->level = level;
	lines[line->gsi].level = level;
}

static void deliver(struct mock_fn *fn, uint32_t vector)
{
	fn->messages[vector]++;
	if (!fn->d)
		return;
	if (vector) {
		fn->d->irqs.queue[vector - 1]++;
	} else {
		fn->d->irqs.status_at_config = virtio_get_status(fn->d->vd);
		fn->d->irqs.config++;
	}
}

void irq_msi_send(struct kvm *kvm, uint32_t devid, uint64_t addr, uint32_t data)
{
	unsigned int id = addr >> 12 & 0xff;

	(void)kvm;
	/* An address that no controller has is KVM's to refuse. */
	if ((addr & ~0xff000ULL) != MSI_BASE || id >= IDS_NR || !functions[id]) {
		for (unsigned int i = 0; i < IDS_NR; i++)
			if (functions[i] && functions[i]->slot == devid >> 3) {
				functions[i]->strange++;
				functions[i]->last_addr = addr;
			}
		return;
	}
	struct mock_fn *fn = functions[id];
	MUST(devid == fn->slot << 3);
	if (data < fn->vectors)
		deliver(fn, data);
	else
		fn->strange++;
}

void stop_request(struct stop *stop, enum stop_reason reason, uint32_t value, const char *fmt, ...)
{
	(void)stop, (void)reason, (void)value, (void)fmt;
}

bool mock_line(unsigned int gsi)
{
	return lines[gsi].level;
}

uint32_t mock_line_rises(unsigned int gsi)
{
	return lines[gsi].rises;
}

/* --- the bus --- */

void mock_pci_init(struct mock_pci *m)
{
	static const struct pci_config cfg = {
		.ecam_gpa = MOCK_ECAM,
		.conf1 = true,
		.ecam = true,
		.io = { MOCK_IO, MOCK_IO_LEN },
		.mem32 = { MOCK_MEM32, MOCK_MEM32_LEN },
		.mem64 = { MOCK_MEM64, MOCK_MEM64_LEN },
		.gsi_base = MOCK_GSI,
		.gsi_nr = MOCK_GSIS,
	};
	struct err err = ERR_INIT;

	memset(m, 0, sizeof(*m));
	m->log.fd = -1;
	bus_init(&m->pio);
	bus_init(&m->mmio);
	MUST(pci_init(&m->pci, &cfg, NULL, &m->pio, &m->mmio, NULL, &m->log, &err) == 0);
}

void mock_pci_release(struct mock_pci *m)
{
	pci_release(&m->pci);
	bus_release(&m->pio);
	bus_release(&m->mmio);
}

uint64_t mock_in(struct mock_pci *m, bool pio, uint64_t addr, unsigned int len)
{
	uint64_t v = 0;

	bus_read(pio ? &m->pio : &m->mmio, addr, &v, len);
	return le64toh(v);
}

void mock_out(struct mock_pci *m, bool pio, uint64_t addr, unsigned int len, uint64_t v)
{
	uint64_t le = htole64(v);

	if (!fake_kvm_write(pio, addr, len, len < 8 ? v & ((UINT64_C(1) << 8 * len) - 1) : v))
		bus_write(pio ? &m->pio : &m->mmio, addr, &le, len);
}

static uint32_t aim_conf(struct mock_pci *m, unsigned int slot, uint32_t off)
{
	mock_out(m, true, 0xcf8, 4, 1u << 31 | slot << 11 | (off & 0xfc));
	return 0xcfc + (off & 3);
}

uint32_t mock_conf(struct mock_pci *m, bool ecam, unsigned int slot, uint32_t off, unsigned int len)
{
	if (ecam)
		return (uint32_t)mock_in(m, false, MOCK_ECAM + (slot << 15) + off, len);
	return (uint32_t)mock_in(m, true, aim_conf(m, slot, off), len);
}

void mock_set_conf(struct mock_pci *m, bool ecam, unsigned int slot, uint32_t off, unsigned int len,
		   uint32_t v)
{
	if (ecam)
		mock_out(m, false, MOCK_ECAM + (slot << 15) + off, len, v);
	else
		mock_out(m, true, aim_conf(m, slot, off), len, v);
}

/* --- a function --- */

uint32_t mock_fn_conf(struct mock_fn *fn, uint32_t off, unsigned int len)
{
	return mock_conf(fn->m, fn->ecam, fn->slot, off, len);
}

void mock_fn_set_conf(struct mock_fn *fn, uint32_t off, unsigned int len, uint32_t v)
{
	mock_set_conf(fn->m, fn->ecam, fn->slot, off, len, v);
}

uint64_t mock_fn_in(struct mock_fn *fn, unsigned int bar, uint64_t off, unsigned int len)
{
	return mock_in(fn->m, fn->io[bar], fn->bars[bar] + off, len);
}

void mock_fn_out(struct mock_fn *fn, unsigned int bar, uint64_t off, unsigned int len, uint64_t v)
{
	mock_out(fn->m, fn->io[bar], fn->bars[bar] + off, len, v);
}

static void aim_window(struct mock_fn *fn, uint32_t bar, uint32_t off, uint32_t len)
{
	mock_fn_set_conf(fn, fn->window_cap + offsetof(struct virtio_pci_cap, bar), 1, bar);
	mock_fn_set_conf(fn, fn->window_cap + offsetof(struct virtio_pci_cap, offset), 4, off);
	mock_fn_set_conf(fn, fn->window_cap + offsetof(struct virtio_pci_cap, length), 4, len);
}

uint32_t mock_fn_window_in(struct mock_fn *fn, uint32_t bar, uint32_t off, uint32_t len,
			   unsigned int width)
{
	pthread_mutex_lock(&fn->lock);
	aim_window(fn, bar, off, len);
	uint32_t v = mock_fn_conf(fn, fn->window_cap + 16, width);
	pthread_mutex_unlock(&fn->lock);
	return v;
}

void mock_fn_window_out(struct mock_fn *fn, uint32_t bar, uint32_t off, uint32_t len,
			unsigned int width, uint32_t v)
{
	pthread_mutex_lock(&fn->lock);
	aim_window(fn, bar, off, len);
	mock_fn_set_conf(fn, fn->window_cap + 16, width, v);
	pthread_mutex_unlock(&fn->lock);
}

uint64_t mock_fn_get(struct mock_fn *fn, enum mock_structure s, uint64_t off, unsigned int len)
{
	const struct mock_place *p = &fn->at[s];

	if (!fn->window)
		return mock_fn_in(fn, p->bar, p->off + off, len);
	if (len == 8)
		return mock_fn_get(fn, s, off, 4) | mock_fn_get(fn, s, off + 4, 4) << 32;
	return mock_fn_window_in(fn, p->bar, p->off + (uint32_t)off, len, len);
}

void mock_fn_set(struct mock_fn *fn, enum mock_structure s, uint64_t off, unsigned int len,
		 uint64_t v)
{
	const struct mock_place *p = &fn->at[s];

	if (!fn->window) {
		mock_fn_out(fn, p->bar, p->off + off, len, v);
	} else if (len == 8) {
		mock_fn_set(fn, s, off, 4, (uint32_t)v);
		mock_fn_set(fn, s, off + 4, 4, v >> 32);
	} else {
		mock_fn_window_out(fn, p->bar, p->off + (uint32_t)off, len, len, (uint32_t)v);
	}
}

void mock_fn_find_bars(struct mock_fn *fn)
{
	for (unsigned int i = 0; i < PCI_BARS_NR; i++) {
		uint32_t v = mock_fn_conf(fn, PCI_BASE_ADDRESS_0 + 4 * i, 4);

		fn->io[i] = v & PCI_BASE_ADDRESS_SPACE_IO;
		fn->bars[i] = v & (fn->io[i] ? ~3u : ~0xfu);
		if ((v & 7) == PCI_BASE_ADDRESS_MEM_TYPE_64) {
			fn->bars[i] |= (uint64_t)mock_fn_conf(fn, PCI_BASE_ADDRESS_0 + 4 * i + 4, 4)
				       << 32;
			i++;
		}
	}
}

static const int structure_of[] = {
	[VIRTIO_PCI_CAP_COMMON_CFG] = MOCK_COMMON,
	[VIRTIO_PCI_CAP_NOTIFY_CFG] = MOCK_NOTIFY,
	[VIRTIO_PCI_CAP_ISR_CFG] = MOCK_ISR,
	[VIRTIO_PCI_CAP_DEVICE_CFG] = MOCK_DEVICE,
};

static void note_cap(struct mock_fn *fn, uint8_t cap)
{
	uint8_t type = mock_fn_conf(fn, cap + offsetof(struct virtio_pci_cap, cfg_type), 1);

	if (type == VIRTIO_PCI_CAP_PCI_CFG)
		fn->window_cap = cap;
	/* The first of a type is the best. */
	if (!type || type >= ARRAY_SIZE(structure_of) || fn->at[structure_of[type]].cap)
		return;
	fn->at[structure_of[type]] = (struct mock_place){
		.cap = cap,
		.bar = mock_fn_conf(fn, cap + offsetof(struct virtio_pci_cap, bar), 1),
		.off = mock_fn_conf(fn, cap + offsetof(struct virtio_pci_cap, offset), 4),
		.len = mock_fn_conf(fn, cap + offsetof(struct virtio_pci_cap, length), 4),
	};
	if (type == VIRTIO_PCI_CAP_NOTIFY_CFG)
		fn->notify_multiply = mock_fn_conf(
			fn, cap + offsetof(struct virtio_pci_notify_cap, notify_off_multiplier), 4);
}

static void walk_caps(struct mock_fn *fn)
{
	uint8_t cap = mock_fn_conf(fn, PCI_CAPABILITY_LIST, 1);

	for (unsigned int i = 0; cap; i++) {
		uint8_t id = mock_fn_conf(fn, cap, 1);

		MUST(i < 16);
		if (id == PCI_CAP_ID_VNDR)
			note_cap(fn, cap);
		if (id == PCI_CAP_ID_MSIX) {
			fn->msix_cap = cap;
			fn->vectors = (mock_fn_conf(fn, cap + PCI_MSIX_FLAGS, 2) &
				       PCI_MSIX_FLAGS_QSIZE) +
				      1;
		}
		cap = mock_fn_conf(fn, cap + 1, 1);
	}
}

void mock_fn_enable_msix(struct mock_fn *fn, bool on)
{
	mock_fn_set_conf(fn, fn->msix_cap + PCI_MSIX_FLAGS, 2, on ? PCI_MSIX_FLAGS_ENABLE : 0);
	fn->msix_on = on;
}

static void program_vectors(struct mock_fn *fn)
{
	MUST(fn->vectors <= MOCK_VECTORS);
	for (unsigned int i = 0; i < fn->vectors; i++) {
		uint32_t at = i * PCI_MSIX_ENTRY_SIZE;

		mock_fn_out(fn, 1, at, 8, MSI_BASE | fn->id << 12);
		mock_fn_out(fn, 1, at + PCI_MSIX_ENTRY_DATA, 8, i);
	}
}

static void learn_notify_offs(struct mock_fn *fn)
{
	uint16_t nr = mock_fn_get(fn, MOCK_COMMON, VIRTIO_PCI_COMMON_NUMQ, 2);

	for (uint16_t i = 0; i < nr; i++) {
		mock_fn_set(fn, MOCK_COMMON, VIRTIO_PCI_COMMON_Q_SELECT, 2, i);
		fn->notify_off[i] = mock_fn_get(fn, MOCK_COMMON, VIRTIO_PCI_COMMON_Q_NOFF, 2);
	}
	mock_fn_set(fn, MOCK_COMMON, VIRTIO_PCI_COMMON_Q_SELECT, 2, 0);
}

static uint32_t take_id(struct mock_fn *fn)
{
	for (uint32_t i = 0; i < IDS_NR; i++) {
		if (functions[i])
			continue;
		functions[i] = fn;
		return i;
	}
	MUST(!"a number is free");
	return 0;
}

void mock_fn_init(struct mock_fn *fn, struct mock_pci *m, struct virtio_device *vd,
		  const struct virtio_pci_opts *opts)
{
	struct err err = ERR_INIT;

	fn->m = m;
	pthread_mutex_init(&fn->lock, NULL);
	MUST(virtio_pci_plug(&fn->vp, vd, &m->pci, opts, &err) == 0);
	fn->slot = fn->vp.pd.slot;
	fn->id = take_id(fn);
	mock_fn_find_bars(fn);
	mock_fn_set_conf(fn, PCI_COMMAND, 2,
			 PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	walk_caps(fn);
	if (fn->vectors) {
		program_vectors(fn);
		mock_fn_enable_msix(fn, true);
	}
	if (fn->at[MOCK_COMMON].cap && !fn->legacy)
		learn_notify_offs(fn);
}

void mock_fn_release(struct mock_fn *fn)
{
	virtio_pci_unplug(&fn->vp);
	functions[fn->id] = NULL;
	pthread_mutex_destroy(&fn->lock);
}
