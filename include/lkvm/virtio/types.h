/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The table of virtio device types, and the parsing that all of their options share.
 */
#ifndef LKVM_VIRTIO_TYPES_H
#define LKVM_VIRTIO_TYPES_H

#include <lkvm/virtio/transport-pci.h>
#include <lkvm/virtio/type.h>

/* The keys that every device has. */
struct virtio_common {
	unsigned int trans;      /* 0: what --virtio-transport says; else 1 + enum virtio_pci_how */
	const char *iothread;    /* "a" or "a:b:..."; NULL: a thread of its own */
	uint32_t vectors;        /* MSI-X vectors; VIRTIO_VECTORS_AUTO: one a queue, and one */
	unsigned int pio_notify; /* enum virtio_pci_pio_notify */
};

#define VIRTIO_VECTORS_AUTO UINT32_MAX

/* One device that was asked for. */
struct virtio_spec {
	const struct virtio_type *type;
	struct virtio_common common;
	void *opts; /* the type's, opts_len bytes */
	char *text; /* what the options' strings point into */
};

extern const struct virtio_type *const virtio_types[]; /* ends with NULL */

extern const struct option_def virtio_common_keys[];
extern const unsigned int virtio_common_keys_nr;
/* The names of enum virtio_pci_how. */
extern const char *const virtio_trans_names[];

/* `arg` is the option's value, NULL for none. virtio_spec_release() undoes it. */
int virtio_spec_parse(struct virtio_spec *spec, const struct virtio_type *type, const char *arg,
		      struct err *err);
void virtio_spec_release(struct virtio_spec *spec);

#endif
