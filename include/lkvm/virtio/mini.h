/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The smallest complete virtio device; see virtio/mini.c. Storage is the caller's.
 */
#ifndef LKVM_VIRTIO_MINI_H
#define LKVM_VIRTIO_MINI_H

#include <lkvm/virtio/type.h>

#define MINI_DEVICE_ID  63 /* of no specified type (VIRTIO 1.3, chapter 5) */
#define MINI_F_MASK     0
#define MINI_QUEUE_SIZE 64
#define MINI_MAX        4096 /* bytes of a request */
#define MINI_CONFIG_LEN 5

struct mini {
	struct virtio_device vd;
	bool masked; /* MINI_F_MASK was negotiated; owner's thread */
	_Atomic uint8_t mask;
	_Atomic uint32_t served;
};

int mini_init(struct mini *m, const struct gmem *gm, const struct log *log, struct loop *loop);
void mini_release(struct mini *m);

extern const struct virtio_type mini_type;

#endif
