/* SPDX-License-Identifier: GPL-2.0 */
/* The option --port: a named port on descriptors that lkvm was started with. */
#ifndef LKVM_VIRTIO_PORT_TYPE_H
#define LKVM_VIRTIO_PORT_TYPE_H

#include <lkvm/virtio/type.h>

#define PORT_NO_FD UINT32_MAX

struct port_opts {
	const char *name;
	uint32_t in_fd, out_fd; /* or PORT_NO_FD */
};

extern const struct virtio_type virtio_port_type;

#endif
