/* SPDX-License-Identifier: GPL-2.0 */
/*
 * virtio-rng: random bytes for the guest (VIRTIO 1.3, 5.4).
 *
 * A buffer that the driver gives is filled as far as the source and the rate allow, with RNG_CHUNK bytes
 * at most, so that no request costs more than a short read. While the source or the rate has fewer than
 * RNG_ANSWER_MIN, buffers stay in the ring: nothing is in flight that a reset waits for. So a buffer of up
 * to RNG_ANSWER_MIN bytes is filled as a whole until the source ends. That is more than 5.4.6.1 asks:
 * Linux's driver has buffers of that size and, in some versions (6.1.192), sleeps for good after a short one.
 */
#ifndef LKVM_VIRTIO_RNG_H
#define LKVM_VIRTIO_RNG_H

#include <lkvm/virtio/type.h>

#define RNG_DEVICE_ID  4      /* 5.4.1 */
#define RNG_LEGACY_ID  0x1005 /* 4.1.2.1 */
#define RNG_QUEUE_SIZE 64
#define RNG_CHUNK      4096 /* bytes */
#define RNG_ANSWER_MIN 64   /* bytes */

struct rng_opts {
	const char *source; /* a device or a pipe; NULL: getrandom(2) */
	uint64_t rate;      /* bytes a second, 0: no limit */
};

extern const struct virtio_type virtio_rng_type;

#endif
