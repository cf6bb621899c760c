/* SPDX-License-Identifier: GPL-2.0 */
/*
 * passt as a packet backend: a program of its own that makes a guest's connections ordinary sockets, without privileges
 * and sealed off from the host. lkvm starts it with one end of a socket pair and speaks net/socket.h's stream with it; it
 * ends when lkvm closes the other. Should it end before, the carrier is lost.
 */
#ifndef LKVM_NET_PASST_H
#define LKVM_NET_PASST_H

#include <lkvm/err.h>
#include <lkvm/log.h>
#include <lkvm/net/backend.h>

struct net_passt_opts {
	const char *hostfwd; /* see forward.h, of IPv4 and with ports and no GADDR; NULL: none */
	uint16_t mtu;        /* that the guest is told; 0: none */
	const char *program; /* NULL: passt, as the shell would find it */
};

/* ERR_USAGE for options that passt does not have, ERR_HOST when it does not start. `log` outlives the backend. */
int net_passt_open(struct net_backend **be, const struct net_passt_opts *o, const struct log *log,
		   struct err *err);

#endif
