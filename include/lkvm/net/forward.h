/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Ports of the host that lead into the guest: "tcp:[ADDR]:PORT-[GADDR]:PORT", several with a '+' between two, as a comma
 * ends the option's key. A missing ADDR is 127.0.0.1, so that nobody else's guest is open to a network by accident; a
 * missing GADDR is the address that DHCP gives. IPv6 addresses stand in brackets, and
 * both are given then. Host port 0: any that is free.
 */
#ifndef LKVM_NET_FORWARD_H
#define LKVM_NET_FORWARD_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>

#include <lkvm/err.h>

#define NET_FORWARDS_MAX     32
#define NET_FORWARD_TEXT_LEN 160

union net_addr {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

struct net_forward {
	bool udp;
	union net_addr host, guest; /* a guest's of INADDR_ANY: the one that DHCP gives */
};

struct net_forwards {
	struct net_forward list[NET_FORWARDS_MAX];
	unsigned int nr;
};

/* NULL is none. ERR_USAGE, and the sentence begins with "hostfwd=". */
int net_forwards_parse(struct net_forwards *f, const char *text, struct err *err);

socklen_t net_addr_len(const union net_addr *a);
unsigned int net_addr_port(const union net_addr *a);
/* "127.0.0.1" or "::1" */
void net_addr_text(const union net_addr *a, char *buf, size_t len);
/* "tcp 127.0.0.1:40321 -> guest port 22" */
void net_forward_text(const struct net_forward *f, char *buf, size_t len);

#endif
