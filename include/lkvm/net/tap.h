/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A tap or macvtap interface as a packet backend: offloads as its kernel has them, a port for each queue of the
 * interface. One that lkvm made itself is gone after close(); one that was there before stays as it is.
 *
 * Source: include/uapi/linux/if_tun.h, Documentation/networking/tuntap.rst of Linux.
 */
#ifndef LKVM_NET_TAP_H
#define LKVM_NET_TAP_H

#include <lkvm/err.h>
#include <lkvm/log.h>
#include <lkvm/net/backend.h>

/* At most one of the first three; without any of them a new interface is made. */
struct net_tap_opts {
	const char *tapif;   /* the name of an interface that exists */
	const char *macvtap; /* its device file, /dev/tapN */
	int fd; /* an open tap with IFF_TAP, IFF_NO_PI and IFF_VNET_HDR; becomes the backend's. -1 */
	unsigned int queues; /* pairs, 0: one. More only for a tap by name or a new one */
	uint16_t mtu;        /* of a new interface; 0: the kernel's */
	/*
	 * Programs that are run with the interface's name as their argument: after it is there, and before it
	 * is let go. NULL: none. They have 30 s.
	 */
	const char *script, *downscript;
	const char *dev; /* NULL: /dev/net/tun */
};

/*
 * ERR_USAGE when the interface or the options are wrong, ERR_HOST when the host refuses; then nothing is left
 * behind. `log` outlives the backend.
 */
int net_tap_open(struct net_backend **be, const struct net_tap_opts *o, const struct log *log,
		 struct err *err);

/* The interface's name, as long as the backend is open. */
const char *net_tap_name(const struct net_backend *be);

#endif
