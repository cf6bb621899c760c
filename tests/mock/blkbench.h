/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a test of the block device runs on: a bench (bench.h) whose devices are the neighbours, and a disk on a
 * testdisk with its driver.
 *
 *   struct blkbench b;
 *   blkbench_init(&b, &(struct blkbench_opts){ .queues = 2 });
 *   blkbench_up(&b, BLK_ALL);
 *   struct blk_cmd c = { .type = BLKT_IN, .sector = 3, .in = b.data, .in_len = 512 };
 *   ck_assert_uint_eq(blk_run(&b, 0, &c), BLKS_OK);
 *   blkbench_release(&b);
 */
#ifndef LKVM_TESTS_BLKBENCH_H
#define LKVM_TESTS_BLKBENCH_H

#include <lkvm/virtio/blk.h>

#include "bench.h"
#include "testdisk.h"

/* VIRTIO 1.3, 5.2: as the driver knows them, apart from the device's own. */
enum {
	BLKT_IN = 0,
	BLKT_OUT = 1,
	BLKT_FLUSH = 4,
	BLKT_ID = 8,
	BLKT_DISCARD = 11,
	BLKT_ZEROES = 13
};
enum { BLKS_OK = 0, BLKS_IOERR = 1, BLKS_UNSUPP = 2, BLKS_NONE = 0xff };
enum {
	BLKF_SIZE_MAX = 1,
	BLKF_SEG_MAX = 2,
	BLKF_GEOMETRY = 4,
	BLKF_RO = 5,
	BLKF_BLK_SIZE = 6,
	BLKF_FLUSH = 9,
	BLKF_TOPOLOGY = 10,
	BLKF_WCE = 11,
	BLKF_MQ = 12,
	BLKF_DISCARD = 13,
	BLKF_ZEROES = 14,
};
enum {
	BLKC_CAPACITY = 0,
	BLKC_SIZE_MAX = 8,
	BLKC_SEG_MAX = 0xc,
	BLKC_GEOMETRY = 0x10,
	BLKC_BLK_SIZE = 0x14,
	BLKC_TOPOLOGY = 0x18,
	BLKC_WRITEBACK = 0x20,
	BLKC_QUEUES = 0x22,
	BLKC_DISCARD = 0x24,
	BLKC_ZEROES = 0x30,
	BLKC_MAY_UNMAP = 0x38,
	BLKC_LEN = 0x3c,
};

#define BLK_ALL     UINT64_MAX /* whatever is offered */
#define BLK_SECTORS 2048       /* of a disk of the default size */

struct blkbench_opts {
	const struct drv_transport_ops *transport;
	unsigned int queues, loops; /* default 1 */
	uint16_t size;              /* of a queue; default 16 */
	bool threads;
	struct blk_info info; /* default: 1 MiB of 512, and everything that a disk can do */
	const char *serial;
	bool write_through; /* wce=off */
	enum virtio_blk_discard discard;
};

#define BLK_SLOTS 64

struct blkbench {
	struct bench n; /* the neighbours */
	struct blkbench_opts o;
	struct testdisk disk;
	struct virtio_blk blk;
	struct drv d;
	uint64_t slots; /* headers and status bytes */
	unsigned int slot;
	uint64_t data; /* 512 KiB in high memory */
};

#define BLK_DATA_LEN (512 * KIB)

struct blk_cmd {
	uint32_t type, reserved;
	uint64_t sector;
	uint64_t out, in; /* data; lengths 0: none */
	uint32_t out_len, in_len;
	/* Set by blk_send(). */
	uint64_t header, status;
	uint16_t head;
	uint32_t used;
};

void blkbench_init(struct blkbench *b, const struct blkbench_opts *o);
void blkbench_release(struct blkbench *b);
/* Reset, `features` of what is offered, rings of all queues, DRIVER_OK. */
void blkbench_up(struct blkbench *b, uint64_t features);
void blkbench_prepare(struct blkbench *b, uint64_t features);
void blkbench_settle(struct blkbench *b);
void blkbench_reset(struct blkbench *b);
/* G1 to G9, whatever happened before; leaves the disk up with all features. */
void blkbench_recover(struct blkbench *b);

/* Header, data and status in descriptors of their own; published, no kick. */
void blk_send(struct blkbench *b, uint16_t q, struct blk_cmd *c);
/* The next slot: a header with the fields of `c`, and a status byte of 0xff. */
void blk_slot(struct blkbench *b, struct blk_cmd *c);
void blk_kick(struct blkbench *b, uint16_t q);
/* Sends, and returns the status; c->used is the used length. */
uint8_t blk_run(struct blkbench *b, uint16_t q, struct blk_cmd *c);
/* Waits for the next used entry, which must be of `c`. */
uint8_t blk_wait(struct blkbench *b, uint16_t q, struct blk_cmd *c);
uint8_t blk_status(struct blkbench *b, const struct blk_cmd *c);

void blk_config(struct blkbench *b, uint64_t off, void *buf, uint32_t len);
uint32_t blk_config32(struct blkbench *b, uint64_t off);
uint16_t blk_config16(struct blkbench *b, uint64_t off);
uint8_t blk_config8(struct blkbench *b, uint64_t off);

/* Guest memory holds what the disk held from `sector` on before anybody wrote. */
bool blk_is_pattern(struct blkbench *b, uint64_t gpa, uint64_t sector, uint32_t len);
/* The disk holds it. */
bool blk_is_untouched(struct blkbench *b, uint64_t sector, uint64_t nr);
bool blk_disk_is(struct blkbench *b, uint64_t sector, uint8_t byte, uint64_t nr);
/* A range of discard or write zeroes at `gpa`. */
void blk_range(struct blkbench *b, uint64_t gpa, uint64_t sector, uint32_t nr, uint32_t flags);

#endif
