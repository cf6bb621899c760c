/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The option --network, which puts a packet backend behind a virtio network device.
 *
 * A MAC address that is not given is locally administered. With --name it is made from that name and the NIC's number,
 * so it is the same in the next run; without, it is random.
 */
#ifndef LKVM_VIRTIO_NET_TYPE_H
#define LKVM_VIRTIO_NET_TYPE_H

#include <lkvm/virtio/type.h>

extern const struct virtio_type virtio_net_type;

#endif
