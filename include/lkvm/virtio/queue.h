/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Split virtqueues: the only code that reads and writes rings.
 *
 * A queue belongs to one loop, its owner. vq_pop(), vq_push(), vq_flush() and the kick suppression are
 * for the owner's thread; the registers (size, addresses, enable) are for the control path, under the
 * device's lock, while the queue is not running. Nobody else touches a ring.
 *
 * The driver is hostile and races with us. Every word of a ring is read once and checked in the copy; no
 * allocation and no loop is sized by a guest's number. A broken ring or structure (index, head, loop,
 * order, indirect rules) is virtio_fault(); a chain whose buffers are not RAM, or that is longer than
 * the queue, goes back to the driver unserved with length 0, because its head is known.
 *
 * Source: VIRTIO 1.3, 2.6 and 2.7.
 */
#ifndef LKVM_VIRTIO_QUEUE_H
#define LKVM_VIRTIO_QUEUE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include <lkvm/loop.h>

struct virtio_device;

#define VQ_SIZE_MAX 1024 /* entries that a device may ask for; 2.7 allows 32768 */

/* 2.7.5; fields are little-endian, see vq_*() in queue.c. */
struct vring_desc;
struct vring_avail;
struct vring_used;

/* A chain that came back while the device might not write memory. */
struct vq_held {
	uint16_t head;
	uint32_t len;
	uint8_t *at; /* as in vq_push_status() */
	uint8_t status;
};

struct virtqueue {
	struct virtio_device *vd;
	uint16_t index;
	uint16_t size_max; /* what the device offers; a power of two */
	struct loop *loop; /* the owner; not owned */
	/*
	 * The kernel serves the ring, and nothing here reads or writes it (vhost.h). Set while the device is REALIZED;
	 * its start() may take it back, for a queue that has another use with the driver's features.
	 */
	bool vhost;

	/* Registers: control path, under the device's lock. Constant while `enabled`. */
	uint16_t size;
	uint64_t desc_gpa, avail_gpa, used_gpa;
	bool enabled;
	bool resetting; /* by queue_reset, while chains are out */

	/* Owner's thread, from vq_start() to vq_stop(). */
	bool running;
	bool event_idx, indirect;
	struct vring_desc *desc; /* `size` entries, in RAM as a whole; the same for the next two */
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t next_avail; /* free-running: the next entry to take */
	uint16_t next_used;  /* free-running: the next entry to fill */
	uint16_t published;  /* next_used as the driver sees it */
	uint16_t signalled;  /* `published` when the driver was last told, or did not want to be */
	bool kicks_off;      /* kicks are suppressed */
	bool bus_master;     /* false: memory is left alone, and what comes back is held */
	struct vq_held *held;
	uint32_t held_nr;
	uint32_t epoch;  /* counts stops */
	uint32_t budget; /* chains that may yet be taken in this turn of the loop */

	_Atomic uint32_t
		in_flight; /* chains popped and not pushed; also read by the control path */
	_Atomic uint64_t chains_nr; /* chains popped so far; written by the owner, read by anyone */
	struct loop_post kick_post; /* a trapped kick on its way to the owner */
};

/*
 * One request: a chain as iovecs, device-readable ones first. The caller makes it once, with room for
 * the iovecs, and reuses it; vq_pop() fills it. The iovecs point into guest memory, which the driver may
 * change at any time.
 */
struct vq_chain {
	struct iovec *iov;
	unsigned int iov_max;
	unsigned int out_nr,
		in_nr; /* iov[0..out_nr) readable, iov[out_nr..out_nr + in_nr) writable; none is empty */
	uint64_t out_len, in_len; /* bytes */
	uint16_t head;
	uint32_t epoch; /* of the queue when it was popped: a completion after a reset is dropped */
};

/* Iovecs that any chain of a queue of this size fits in, if RAM has the usual two regions. */
#define VQ_IOVS(size) ((size) + 8)

/*
 * Takes the next chain. 1: got it; 0: the ring is empty, this turn's budget is used up (a driver that
 * fills the ring as fast as it is emptied must not keep the loop from others), or the device is broken
 * or stopped. Chains that go back unserved are skipped here.
 */
int vq_pop(struct virtqueue *vq, struct vq_chain *chain) __attribute__((warn_unused_result));

/*
 * Gives a chain back, with the number of bytes written to its writable part, counted from its start. The
 * driver sees it, and is told, with the next vq_flush(). After a reset of the device it does nothing but
 * count.
 */
void vq_push(struct virtqueue *vq, const struct vq_chain *chain, uint32_t len);

/*
 * The same for a request with a status byte: it is written to `at`, a byte of the chain's writable part, or nowhere
 * when that is NULL, last before the chain goes back.
 */
void vq_push_status(struct virtqueue *vq, const struct vq_chain *chain, uint32_t len, uint8_t *at,
		    uint8_t status);

/* The driver still waits for the chain. False after a reset or a fault: no more is done for it. */
bool vq_is_live(const struct virtqueue *vq, const struct vq_chain *chain);

/* Publishes what was pushed and decides once whether the driver wants an interrupt. */
void vq_flush(struct virtqueue *vq);
/* The two halves of it, for interrupts that may be late (late.h): the first leaves the decision open. */
void vq_publish(struct virtqueue *vq);
/* Whether the driver wants to be interrupted for what is published. What it does not care for is decided with this. */
bool vq_is_awaited(struct virtqueue *vq);
/*
 * Of an awaited one with EVENT_IDX: entries that are available from the one on which the driver waits for. Its word, good
 * for guesses only.
 */
uint16_t vq_past_event(const struct virtqueue *vq);

/*
 * Whether what is popped may be used now. A type that holds chains from one event to the next asks before it
 * lets a back end write to them: the device may be broken meanwhile.
 */
bool vq_usable(const struct virtqueue *vq);

/* Tells the driver whether kicks are needed. vq_kicks_on() returns whether the ring has something now. */
void vq_kicks_off(struct virtqueue *vq);
bool vq_kicks_on(struct virtqueue *vq);

/* Copies between a chain's readable or writable part and a buffer. Return the bytes copied. */
uint64_t vq_copy_out(const struct vq_chain *chain, uint64_t off, void *buf, uint64_t len);
uint64_t vq_copy_in(const struct vq_chain *chain, uint64_t off, const void *buf, uint64_t len);

/* --- for device.c --- */

void vq_init(struct virtqueue *vq, struct virtio_device *vd, uint16_t index, uint16_t size_max,
	     struct loop *loop);
void vq_reset_registers(struct virtqueue *vq);
/* Checks the three areas as a whole (alignment, RAM). 0 or -EINVAL. */
int vq_check(const struct virtqueue *vq);
/* On the owner's thread. vq_start() takes the ring from its beginning. */
int vq_start(struct virtqueue *vq);
void vq_stop(struct virtqueue *vq);
/* On the owner's thread, after vq_start(). -ENOMEM when it cannot be turned off. */
int vq_set_bus_master(struct virtqueue *vq, bool on);

#endif
