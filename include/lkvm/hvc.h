/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The user's console as a virtio console, hvc0 in the guest: with --console virtio. It lasts over restarts of the guest.
 *
 * All on the machine's loop, by the thread that serves it.
 */
#ifndef LKVM_HVC_H
#define LKVM_HVC_H

#include <lkvm/chr.h>
#include <lkvm/config.h>
#include <lkvm/loop.h>
#include <lkvm/virtio/console.h>

struct hvc {
	struct loop *loop;
	struct chr *chr;   /* of in_fd and out_fd */
	struct port *port; /* of chr */
	int tty;           /* whose size the guest's console has; -1: none */
	struct loop_fd winch;
	struct virtio_console_cfg cfg;
	struct virtio_spec spec; /* of the device, for devices_new() */
};

/* `chr` says where its bytes go and who sees them. hvc_release() also after a failure, or when `h` is zero. */
int hvc_init(struct hvc *h, const struct machine_config *cfg, const struct chr_config *chr,
	     struct loop *loop, struct err *err);
/* No device is made from it any more. */
void hvc_release(struct hvc *h);

#endif
