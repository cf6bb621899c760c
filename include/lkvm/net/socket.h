/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A stream socket as a packet backend: each frame follows its length, four bytes in network order. It is what
 * QEMU's stream netdev and passt speak. No offloads, one port; the carrier is whether a peer is connected.
 *
 * The peer is not trusted: a length that no frame has ends the connection.
 */
#ifndef LKVM_NET_SOCKET_H
#define LKVM_NET_SOCKET_H

#include <lkvm/err.h>
#include <lkvm/log.h>
#include <lkvm/net/backend.h>

/* One of path and fd. */
struct net_socket_opts {
	const char *path; /* of a unix socket */
	bool server;      /* listens at `path` for one peer after the other; else connects now */
	int fd;           /* a connected stream socket; becomes the backend's. -1 */
	const char *name; /* in messages, outlives the backend; NULL: a network socket */
};

/*
 * ERR_USAGE when options or path are wrong, ERR_HOST when the host refuses; then nothing is left behind.
 * close() removes the path that a server made; one that a killed server left is replaced by the next. `log` outlives the backend.
 */
int net_socket_open(struct net_backend **be, const struct net_socket_opts *o, const struct log *log,
		    struct err *err);

#endif
