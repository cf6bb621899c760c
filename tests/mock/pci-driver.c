/* SPDX-License-Identifier: GPL-2.0 */
/* A driver's accesses to virtio functions of tests/mock/pci.c. */
#include <linux/virtio_pci.h>
#include <stdlib.h>

#include <lkvm/util.h>

#include "fake-kvm.h"
#include "pci.h"

#define NO_VECTOR 0xffff

struct machine {
	struct mock_pci pci;
	struct mock_fn fn;
	struct kvm kvm;
	struct fake_kvm *fake;
};

struct mock_fn *mock_fn_of(struct drv *d)
{
	return d->bus;
}

struct fake_kvm *mock_kvm_of(struct drv *d)
{
	return container_of(mock_fn_of(d), struct machine, fn)->fake;
}

static void attach(struct drv *d, struct virtio_device *vd, const struct virtio_pci_opts *opts,
		   bool armed)
{
	struct machine *m = calloc(1, sizeof(*m));
	struct virtio_pci_opts o = *opts;

	MUST(m);
	m->kvm.vm_fd = -1;
	if (armed) {
		m->fake = fake_kvm_start();
		o.kvm = &m->kvm;
	}
	mock_pci_init(&m->pci);
	m->fn.d = d;
	m->fn.legacy = o.how == VIRTIO_TRANS_PCI_LEGACY;
	m->fn.window = d->ops == &drv_pci_window;
	m->fn.ecam = !m->fn.window && !m->fn.legacy;
	d->bus = &m->fn;
	if (m->fn.legacy)
		o.how = VIRTIO_TRANS_PCI;
	mock_fn_init(&m->fn, &m->pci, vd, &o);
}

static const struct virtio_pci_opts any = { .vectors = VIRTIO_PCI_VECTORS_AUTO };
static const struct virtio_pci_opts modern = { .how = VIRTIO_TRANS_PCI_MODERN,
					       .vectors = VIRTIO_PCI_VECTORS_AUTO };
static const struct virtio_pci_opts legacy = { .how = VIRTIO_TRANS_PCI_LEGACY,
					       .vectors = VIRTIO_PCI_VECTORS_AUTO };

static const struct virtio_pci_opts pio = { .vectors = VIRTIO_PCI_VECTORS_AUTO,
					    .pio_notify = VIRTIO_PCI_PIO_NOTIFY_ON };

static void attach_any(struct drv *d, struct virtio_device *vd)
{
	attach(d, vd, &any, false);
}

static void attach_armed(struct drv *d, struct virtio_device *vd)
{
	attach(d, vd, &any, true);
}

static void attach_pio(struct drv *d, struct virtio_device *vd)
{
	attach(d, vd, &pio, true);
}

static void attach_modern(struct drv *d, struct virtio_device *vd)
{
	attach(d, vd, &modern, false);
}

static void attach_legacy(struct drv *d, struct virtio_device *vd)
{
	attach(d, vd, &legacy, false);
}

static void attach_legacy_armed(struct drv *d, struct virtio_device *vd)
{
	attach(d, vd, &legacy, true);
}

static void detach(struct drv *d)
{
	struct machine *m = container_of(mock_fn_of(d), struct machine, fn);

	mock_fn_release(&m->fn);
	mock_pci_release(&m->pci);
	free(m);
}

/* Doorbells rang that the turn after this question hears. */
static bool is_ringing(const struct drv *d)
{
	(void)d;
	return fake_kvm_rang();
}

/* --- the modern side --- */

#define COMMON(f) VIRTIO_PCI_COMMON_##f

static uint64_t get(struct drv *d, uint64_t off, unsigned int len)
{
	return mock_fn_get(mock_fn_of(d), MOCK_COMMON, off, len);
}

static void set(struct drv *d, uint64_t off, unsigned int len, uint64_t v)
{
	mock_fn_set(mock_fn_of(d), MOCK_COMMON, off, len, v);
}

static uint8_t get_status(struct drv *d)
{
	return get(d, COMMON(STATUS), 1);
}

static void set_status(struct drv *d, uint8_t status)
{
	set(d, COMMON(STATUS), 1, status);
	/* A reset took the vectors. */
	if (status && mock_fn_of(d)->vectors)
		set(d, COMMON(MSIX), 2, 0);
}

static uint32_t device_features(struct drv *d, uint32_t word)
{
	set(d, COMMON(DFSELECT), 4, word);
	MUST(get(d, COMMON(DFSELECT), 4) == word);
	return get(d, COMMON(DF), 4);
}

static uint32_t driver_features(struct drv *d, uint32_t word)
{
	set(d, COMMON(GFSELECT), 4, word);
	MUST(get(d, COMMON(GFSELECT), 4) == word);
	return get(d, COMMON(GF), 4);
}

static void accept_features(struct drv *d, uint32_t word, uint32_t bits)
{
	set(d, COMMON(GFSELECT), 4, word);
	set(d, COMMON(GF), 4, bits);
}

static uint16_t queues_nr(struct drv *d)
{
	return get(d, COMMON(NUMQ), 2);
}

static void queue_select(struct drv *d, uint16_t n)
{
	set(d, COMMON(Q_SELECT), 2, n);
}

static uint16_t get_queue_select(struct drv *d)
{
	return get(d, COMMON(Q_SELECT), 2);
}

static const uint8_t regs[] = {
	[DRV_SIZE] = VIRTIO_PCI_COMMON_Q_SIZE,
	[DRV_ENABLE] = VIRTIO_PCI_COMMON_Q_ENABLE,
	[DRV_RESET] = 0x3a,
};

static uint16_t get_reg(struct drv *d, enum drv_reg reg)
{
	return get(d, regs[reg], 2);
}

static void set_reg(struct drv *d, enum drv_reg reg, uint16_t v)
{
	if (reg == DRV_ENABLE && mock_fn_of(d)->vectors)
		set(d, COMMON(Q_MSIX), 2, get_queue_select(d) + 1);
	set(d, regs[reg], 2, v);
}

static const uint8_t areas[] = {
	[DRV_DESC] = VIRTIO_PCI_COMMON_Q_DESCLO,
	[DRV_AVAIL] = VIRTIO_PCI_COMMON_Q_AVAILLO,
	[DRV_USED] = VIRTIO_PCI_COMMON_Q_USEDLO,
};

static uint64_t get_addr(struct drv *d, enum drv_area area)
{
	return get(d, areas[area], 8);
}

/* Halves, as Linux writes them. */
static void set_addr(struct drv *d, enum drv_area area, uint64_t gpa)
{
	set(d, areas[area], 4, (uint32_t)gpa);
	set(d, areas[area] + 4, 4, gpa >> 32);
}

/* A queue that does not exist is rung as far as there is an address to write to. */
static void notify(struct drv *d, uint32_t n)
{
	struct mock_fn *fn = mock_fn_of(d);
	uint64_t off = n < VIRTIO_QUEUES_MAX && fn->notify_off[n] ? fn->notify_off[n] : n;

	if (off * fn->notify_multiply < 4096)
		mock_fn_set(fn, MOCK_NOTIFY, off * fn->notify_multiply, 2, n);
}

static uint8_t generation(struct drv *d)
{
	return get(d, COMMON(CFGGENERATION), 1);
}

/* The next access to `left` bytes at `off`, of at most `max`. */
static unsigned int width_at(uint64_t off, uint32_t left, unsigned int max)
{
	unsigned int width = max;

	while (width > left || off % width)
		width /= 2;
	return width;
}

static void config_read(struct drv *d, uint64_t off, void *buf, uint32_t len)
{
	uint8_t *to = buf;

	/* No address leads beyond the page. */
	memset(buf, 0, len);
	for (uint32_t done = 0, w; done < len && range_ok(off, len, 4096); done += w) {
		w = width_at(off + done, len - done, 8);
		uint64_t v = htole64(mock_fn_get(mock_fn_of(d), MOCK_DEVICE, off + done, w));
		memcpy(to + done, &v, w);
	}
}

static void config_write(struct drv *d, uint64_t off, const void *buf, uint32_t len)
{
	const uint8_t *from = buf;

	for (uint32_t done = 0, w; done < len && range_ok(off, len, 4096); done += w) {
		uint64_t v = 0;

		w = width_at(off + done, len - done, 8);
		memcpy(&v, from + done, w);
		mock_fn_set(mock_fn_of(d), MOCK_DEVICE, off + done, w, le64toh(v));
	}
}

#define MODERN_OPS                                                                                 \
	.detach = detach, .get_status = get_status, .set_status = set_status,                      \
	.device_features = device_features, .driver_features = driver_features,                    \
	.accept_features = accept_features, .queues_nr = queues_nr, .queue_select = queue_select,  \
	.get_queue_select = get_queue_select, .get_reg = get_reg, .set_reg = set_reg,              \
	.get_addr = get_addr, .set_addr = set_addr, .notify = notify, .generation = generation,    \
	.config_read = config_read, .config_write = config_write

const struct drv_transport_ops drv_pci = { .name = "pci", .attach = attach_any, MODERN_OPS };
const struct drv_transport_ops drv_pci_armed = {
	.name = "pci-armed", .attach = attach_armed, .is_busy = is_ringing, MODERN_OPS
};
const struct drv_transport_ops drv_pci_pio = {
	.name = "pci-pio", .attach = attach_pio, .is_busy = is_ringing, MODERN_OPS
};
const struct drv_transport_ops drv_pci_window = { .name = "pci-window",
						  .attach = attach_modern,
						  MODERN_OPS };

/* --- the legacy side --- */

static uint64_t in(struct drv *d, uint64_t off, unsigned int len)
{
	return mock_fn_in(mock_fn_of(d), 0, off, len);
}

static void out(struct drv *d, uint64_t off, unsigned int len, uint64_t v)
{
	mock_fn_out(mock_fn_of(d), 0, off, len, v);
}

static uint8_t legacy_get_status(struct drv *d)
{
	return in(d, VIRTIO_PCI_STATUS, 1);
}

static void legacy_set_status(struct drv *d, uint8_t status)
{
	out(d, VIRTIO_PCI_STATUS, 1, status);
	if (status && mock_fn_of(d)->msix_on)
		out(d, VIRTIO_MSI_CONFIG_VECTOR, 2, 0);
}

static uint32_t legacy_device_features(struct drv *d, uint32_t word)
{
	return word ? 0 : in(d, VIRTIO_PCI_HOST_FEATURES, 4);
}

static uint32_t legacy_driver_features(struct drv *d, uint32_t word)
{
	return word ? 0 : in(d, VIRTIO_PCI_GUEST_FEATURES, 4);
}

static void legacy_accept_features(struct drv *d, uint32_t word, uint32_t bits)
{
	if (word == 0)
		out(d, VIRTIO_PCI_GUEST_FEATURES, 4, bits);
}

static void legacy_queue_select(struct drv *d, uint16_t n)
{
	out(d, VIRTIO_PCI_QUEUE_SEL, 2, n);
}

static uint16_t legacy_get_queue_select(struct drv *d)
{
	return in(d, VIRTIO_PCI_QUEUE_SEL, 2);
}

static uint16_t legacy_get_reg(struct drv *d, enum drv_reg reg)
{
	return reg == DRV_SIZE ? in(d, VIRTIO_PCI_QUEUE_NUM, 2) : 0;
}

static void legacy_set_reg(struct drv *d, enum drv_reg reg, uint16_t v)
{
	(void)d, (void)reg, (void)v;
	MUST(!"there is such a register");
}

/* A legacy driver counts them. */
static uint16_t legacy_queues_nr(struct drv *d)
{
	uint16_t n = 0;

	for (;; n++) {
		legacy_queue_select(d, n);
		if (!legacy_get_reg(d, DRV_SIZE))
			return n;
	}
}

static uint32_t get_pfn(struct drv *d)
{
	return in(d, VIRTIO_PCI_QUEUE_PFN, 4);
}

static void set_pfn(struct drv *d, uint32_t pfn)
{
	if (mock_fn_of(d)->msix_on)
		out(d, VIRTIO_MSI_QUEUE_VECTOR, 2, legacy_get_queue_select(d) + 1);
	out(d, VIRTIO_PCI_QUEUE_PFN, 4, pfn);
}

static void legacy_notify(struct drv *d, uint32_t n)
{
	if (n <= UINT16_MAX)
		out(d, VIRTIO_PCI_QUEUE_NOTIFY, 2, n);
}

static uint64_t legacy_config(struct drv *d)
{
	return VIRTIO_PCI_CONFIG_OFF(mock_fn_of(d)->msix_on);
}

static void legacy_config_read(struct drv *d, uint64_t off, void *buf, uint32_t len)
{
	uint8_t *to = buf;

	memset(buf, 0, len);
	for (uint32_t done = 0, w; done < len && range_ok(off, len, 32); done += w) {
		w = width_at(off + done, len - done, 4);
		uint32_t v = htole32((uint32_t)in(d, legacy_config(d) + off + done, w));
		memcpy(to + done, &v, w);
	}
}

static void legacy_config_write(struct drv *d, uint64_t off, const void *buf, uint32_t len)
{
	const uint8_t *from = buf;

	for (uint32_t done = 0, w; done < len && range_ok(off, len, 32); done += w) {
		uint32_t v = 0;

		w = width_at(off + done, len - done, 4);
		memcpy(&v, from + done, w);
		out(d, legacy_config(d) + off + done, w, le32toh(v));
	}
}

#define LEGACY_OPS                                                                                 \
	.detach = detach, .get_status = legacy_get_status, .set_status = legacy_set_status,        \
	.device_features = legacy_device_features, .driver_features = legacy_driver_features,      \
	.accept_features = legacy_accept_features, .queues_nr = legacy_queues_nr,                  \
	.queue_select = legacy_queue_select, .get_queue_select = legacy_get_queue_select,          \
	.get_reg = legacy_get_reg, .set_reg = legacy_set_reg, .get_pfn = get_pfn,                  \
	.set_pfn = set_pfn, .notify = legacy_notify, .config_read = legacy_config_read,            \
	.config_write = legacy_config_write

const struct drv_transport_ops drv_pci_legacy = { .name = "pci-legacy",
						  .attach = attach_legacy,
						  LEGACY_OPS };
const struct drv_transport_ops drv_pci_legacy_armed = {
	.name = "pci-legacy-armed", .attach = attach_legacy_armed, .is_busy = is_ringing, LEGACY_OPS
};
