/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a driver of the block device sees before its first request: features, configuration space, cache mode.
 * Private to virtio/blk.c and virtio/blk-config.c. Everything here is called under the device's lock.
 */
#ifndef LKVM_VIRTIO_BLK_CONFIG_H
#define LKVM_VIRTIO_BLK_CONFIG_H

#include <lkvm/virtio/blk.h>

#define BLK_SECTOR     512
#define BLK_CONFIG_LEN 0x3c

/* 5.2.3 */
enum {
	BLK_F_SIZE_MAX = 1,
	BLK_F_SEG_MAX = 2,
	BLK_F_GEOMETRY = 4,
	BLK_F_RO = 5,
	BLK_F_BLK_SIZE = 6,
	BLK_F_FLUSH = 9,
	BLK_F_TOPOLOGY = 10,
	BLK_F_CONFIG_WCE = 11,
	BLK_F_MQ = 12,
	BLK_F_DISCARD = 13,
	BLK_F_WRITE_ZEROES = 14,
};

#define BLK_FEATURES                                                                               \
	(VIRTIO_BIT(BLK_F_SIZE_MAX) | VIRTIO_BIT(BLK_F_SEG_MAX) | VIRTIO_BIT(BLK_F_GEOMETRY) |     \
	 VIRTIO_BIT(BLK_F_RO) | VIRTIO_BIT(BLK_F_BLK_SIZE) | VIRTIO_BIT(BLK_F_FLUSH) |             \
	 VIRTIO_BIT(BLK_F_TOPOLOGY) | VIRTIO_BIT(BLK_F_CONFIG_WCE) | VIRTIO_BIT(BLK_F_MQ) |        \
	 VIRTIO_BIT(BLK_F_DISCARD) | VIRTIO_BIT(BLK_F_WRITE_ZEROES))

/* What this one offers of them. */
uint64_t blk_features(const struct virtio_blk *b);

/* Of struct virtio_device_ops. */
int blk_start(struct virtio_device *vd, uint64_t features);
void blk_reset(struct virtio_device *vd);
void blk_config_read(struct virtio_device *vd, uint32_t off, void *buf, uint32_t len);
void blk_config_write(struct virtio_device *vd, uint32_t off, const void *buf, uint32_t len);

#endif
