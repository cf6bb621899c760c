/* SPDX-License-Identifier: GPL-2.0 */
#include <string.h>

#include <lkvm/util.h>

#include "blk-config.h"

/* 5.2.4, up to what the features above give a meaning; little-endian. */
struct blk_config {
	uint64_t capacity;
	uint32_t size_max;
	uint32_t seg_max;
	uint16_t cylinders;
	uint8_t heads;
	uint8_t sectors;
	uint32_t blk_size;
	uint8_t physical_block_exp;
	uint8_t alignment_offset;
	uint16_t min_io_size;
	uint32_t opt_io_size;
	uint8_t writeback;
	uint8_t unused0;
	uint16_t num_queues;
	uint32_t max_discard_sectors;
	uint32_t max_discard_seg;
	uint32_t discard_sector_alignment;
	uint32_t max_write_zeroes_sectors;
	uint32_t max_write_zeroes_seg;
	uint8_t write_zeroes_may_unmap;
	uint8_t unused1[3];
} __attribute__((packed));

_Static_assert(sizeof(struct blk_config) == BLK_CONFIG_LEN, "5.2.4");

/* What Linux moves in one call at most: longer segments have no use, though they are served. */
#define SIZE_MAX_BYTES UINT32_C(0x7ffff000)

uint64_t blk_features(const struct virtio_blk *b)
{
	const struct blk_info *info = &b->info;
	uint64_t off = 0;

	if (!info->readonly)
		off |= VIRTIO_BIT(BLK_F_RO);
	if (b->opts.queues == 1)
		off |= VIRTIO_BIT(BLK_F_MQ);
	if (info->readonly || !(info->discard || b->opts.discard == VIRTIO_BLK_IGNORE))
		off |= VIRTIO_BIT(BLK_F_DISCARD);
	if (info->readonly || !info->write_zeroes)
		off |= VIRTIO_BIT(BLK_F_WRITE_ZEROES);
	return BLK_FEATURES & ~off;
}

/* --- the cache mode --- */

/*
 * 5.2.5.2 and 5.2.6.2: the driver's word where it may say it; write-through for a driver that cannot flush.
 * Under the device's lock. A legacy driver's CONFIG_WCE leaves the mode alone (5.2.5.3).
 */
static bool cache_mode(const struct virtio_blk *b)
{
	const struct virtio_device *vd = &b->vd;
	bool wce = virtio_has(vd, BLK_F_CONFIG_WCE), may_flush = virtio_has(vd, BLK_F_FLUSH);

	if (wce && (b->mode_written || vd->iface == VIRTIO_IFACE_LEGACY))
		return atomic_load(&b->write_back);
	return may_flush && b->opts.wce;
}

int blk_start(struct virtio_device *vd, uint64_t features)
{
	struct virtio_blk *b = vd->priv;

	(void)features;
	atomic_store(&b->write_back, cache_mode(b));
	return 0;
}

void blk_reset(struct virtio_device *vd)
{
	struct virtio_blk *b = vd->priv;

	b->mode_written = false;
	/* Nothing is written before DRIVER_OK, where it is settled. */
	atomic_store(&b->write_back, b->opts.wce);
}

/* --- configuration space --- */

static void put_geometry(struct blk_config *c, uint64_t capacity)
{
	/* As firmware of old translated; a disk that is less than a cylinder of it has none. */
	unsigned int heads = 16, sectors = 63;

	if (capacity < heads * sectors)
		heads = sectors = 1;
	c->cylinders = htole16((uint16_t)MIN(capacity / (heads * sectors), (uint64_t)UINT16_MAX));
	c->heads = (uint8_t)heads;
	c->sectors = (uint8_t)sectors;
}

static void put_ranges(struct blk_config *c, const struct virtio_blk *b)
{
	if (b->vd.features & VIRTIO_BIT(BLK_F_DISCARD)) {
		c->max_discard_sectors = htole32(VIRTIO_BLK_RANGE_MAX);
		c->max_discard_seg = htole32(VIRTIO_BLK_SEGS_MAX);
		c->discard_sector_alignment = htole32(
			MAX(b->info.discard_align, b->info.block_size) / BLK_SECTOR);
	}
	if (b->vd.features & VIRTIO_BIT(BLK_F_WRITE_ZEROES)) {
		c->max_write_zeroes_sectors = htole32(VIRTIO_BLK_RANGE_MAX);
		c->max_write_zeroes_seg = htole32(VIRTIO_BLK_SEGS_MAX);
		c->write_zeroes_may_unmap = b->info.discard && b->opts.discard == VIRTIO_BLK_UNMAP;
	}
}

/* What is negotiated but not started is not in `write_back` yet. */
static bool shown_mode(const struct virtio_blk *b)
{
	return atomic_load(&b->vd.state) == VIRTIO_NEGOTIATED ? cache_mode(b)
							      : atomic_load(&b->write_back);
}

void blk_config_read(struct virtio_device *vd, uint32_t off, void *buf, uint32_t len)
{
	struct virtio_blk *b = vd->priv;
	uint64_t capacity = atomic_load(&b->capacity);
	uint32_t physical = MAX(b->info.physical_size, b->info.block_size);
	struct blk_config c = {
		.capacity = htole64(capacity),
		.size_max = htole32(SIZE_MAX_BYTES),
		.seg_max = htole32(b->opts.queue_size - 2u),
		.blk_size = htole32(b->info.block_size),
		.physical_block_exp = (uint8_t)__builtin_ctz(physical / b->info.block_size),
		.min_io_size = htole16((uint16_t)(physical / b->info.block_size)),
		.writeback = shown_mode(b),
		.num_queues = htole16(vd->features & VIRTIO_BIT(BLK_F_MQ) ? vd->queues_nr : 0),
	};

	put_geometry(&c, capacity);
	put_ranges(&c, b);
	memcpy(buf, (uint8_t *)&c + off, len);
}

/* `writeback` alone is the driver's, when it is negotiated or the driver is of the legacy kind or not known yet. */
static bool may_set_mode(const struct virtio_device *vd)
{
	if (vd->iface == VIRTIO_IFACE_MODERN)
		return atomic_load(&vd->state) != VIRTIO_PLUGGED &&
		       virtio_has(vd, BLK_F_CONFIG_WCE);
	return atomic_load(&vd->state) == VIRTIO_PLUGGED || virtio_has(vd, BLK_F_CONFIG_WCE);
}

void blk_config_write(struct virtio_device *vd, uint32_t off, const void *buf, uint32_t len)
{
	struct virtio_blk *b = vd->priv;

	if (off != offsetof(struct blk_config, writeback) || len != 1 || !may_set_mode(vd))
		return;
	b->mode_written = true;
	atomic_store(&b->write_back, *(const uint8_t *)buf != 0);
}

void virtio_blk_resize(struct virtio_blk *b, uint64_t size)
{
	uint64_t blocks = size / b->info.block_size;

	/* With the flag, so that no driver reads one half of each size under one generation (BLK-15). */
	pthread_mutex_lock(&b->vd.lock);
	atomic_store(&b->capacity, blocks * (b->info.block_size / BLK_SECTOR));
	atomic_store(&b->vd.config_changed, true);
	pthread_mutex_unlock(&b->vd.lock);
	virtio_config_changed(&b->vd);
}
