/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The option --disk, which puts an image behind a virtio block device.
 */
#ifndef LKVM_VIRTIO_BLK_TYPE_H
#define LKVM_VIRTIO_BLK_TYPE_H

#include <lkvm/virtio/type.h>

extern const struct virtio_type virtio_blk_type;

#endif
