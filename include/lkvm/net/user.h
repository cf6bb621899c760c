/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A network of the guest's own that needs no privilege, as a packet backend: libslirp in this process makes of its
 * connections ordinary sockets of the user's. No offloads, one port; the carrier is always there.
 *
 *	10.0.2.0/24, fec0::/64		the network
 *	10.0.2.2, fec0::2		the host: what listens on its loopback addresses
 *	10.0.2.3, fec0::3		the host's resolver, the first of its /etc/resolv.conf
 *	10.0.2.15			what DHCP gives the guest
 *
 * The library is loaded when it is used. Its glib ends the process when there is no memory; and its cache of the
 * resolver's address is one for all networks of a process. A guest's connections take descriptors: beyond half of the
 * process's limit no new ones are made.
 */
#ifndef LKVM_NET_USER_H
#define LKVM_NET_USER_H

#include <lkvm/err.h>
#include <lkvm/log.h>
#include <lkvm/net/backend.h>
#include <lkvm/net/forward.h>

#define NET_USER_MTU_MAX 65521 /* libslirp's */

struct net_user_opts {
	const char *hostfwd; /* see forward.h; NULL: none */
	bool restricted;     /* the guest reaches DHCP and whom forwards let in, and nothing else */
	uint16_t mtu;        /* 0: 1500 */
	const char *library; /* NULL: libslirp.so.0 */
};

/*
 * ERR_USAGE when the options are wrong, ERR_HOST when the host refuses; then nothing is left behind. Each forward is told
 * in a line of the log, with the port that it got. `log` outlives the backend.
 */
int net_user_open(struct net_backend **be, const struct net_user_opts *o, const struct log *log,
		  struct err *err);

#endif
