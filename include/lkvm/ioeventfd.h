/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Doorbells: a guest's write that KVM turns into an event of a loop, without an exit to user space.
 *
 * A handle is one place (an address on one bus), one eventfd and one callback. It owns no thread: the
 * callback runs on the loop. Add and remove are for any thread but the loop's own, with no lock held that
 * a callback takes; each waits for the loop once, and for KVM (a grace period).
 *
 * Source: KVM_IOEVENTFD in Documentation/virt/kvm/api.rst. A memory place has length 0 and no data to
 * match: on Intel hosts (and AMD from 6.8 on) KVM then does not even decode the instruction.
 */
#ifndef LKVM_IOEVENTFD_H
#define LKVM_IOEVENTFD_H

#include <stdbool.h>
#include <stdint.h>

#include <lkvm/loop.h>

struct kvm;

struct ioeventfd_place {
	uint64_t addr;
	bool pio;
	uint8_t len; /* 0 (any; memory only), 1, 2, 4 or 8 */
	bool match;  /* only writes of `data` ring; needs len */
	uint64_t data;
};

struct ioeventfd {
	struct kvm *kvm;
	struct loop *loop; /* NULL: the eventfd is somebody else's, and so is who reads it */
	struct ioeventfd_place place;
	void (*fn)(
		struct ioeventfd *
			e); /* on the loop; some number of writes came since it last ran, or none */
	struct loop_fd lf;
	bool added;
};

/* Returns 0, or -errno with nothing left behind. The storage is the caller's, until removed. */
int ioeventfd_add(struct ioeventfd *e, struct kvm *kvm, struct loop *loop,
		  const struct ioeventfd_place *place, void (*fn)(struct ioeventfd *e));
/* The same for an eventfd that the caller owns, and the kernel reads (vhost): no loop, no callback. */
int ioeventfd_add_fd(struct ioeventfd *e, struct kvm *kvm, int fd,
		     const struct ioeventfd_place *place);
/*
 * KVM no longer rings it. A write that came before is not lost: the callback runs for it before this
 * returns, perhaps once more than it was rung. Afterwards it is not running and never runs again. No-op when it was
 * not added.
 */
void ioeventfd_remove(struct ioeventfd *e);

#endif
