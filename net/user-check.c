/* SPDX-License-Identifier: GPL-2.0 */
#include <net/ethernet.h>
#include <netinet/in.h>

#include <lkvm/net/backend.h>
#include <lkvm/util.h>

#include "user-check.h"

/* TCP makes a socket of a SYN alone. */
static enum user_verdict check_tcp(const uint8_t *tcp, size_t len)
{
	return len >= 20 && !(tcp[13] & 0x02) ? USER_FRAME_OK : USER_FRAME_MAY_CONNECT;
}

/*
 * No fragments: libslirp's reassembly has let guests write to its process's memory more than once, and that of
 * 4.7 does it yet.
 */
static enum user_verdict check_ipv4(const uint8_t *ip, size_t len)
{
	size_t header = len ? 4 * (ip[0] & 15u) : 0;

	if (len < 20 || ip[0] >> 4 != 4 || !range_ok(20, header - 20, len))
		return USER_FRAME_BAD;
	size_t total = (size_t)(ip[2] << 8 | ip[3]);
	/* Reserved, more fragments, offset. */
	if (!range_ok(header, total - header, len) || (ip[6] & 0xbf) || ip[7])
		return USER_FRAME_BAD;
	return ip[9] == IPPROTO_TCP ? check_tcp(ip + header, total - header)
				    : USER_FRAME_MAY_CONNECT;
}

static enum user_verdict check_ipv6(const uint8_t *ip, size_t len)
{
	if (len < 40 || ip[0] >> 4 != 6)
		return USER_FRAME_BAD;
	size_t payload = (size_t)(ip[4] << 8 | ip[5]);
	if (!range_ok(40, payload, len))
		return USER_FRAME_BAD;
	if (ip[6] == IPPROTO_TCP)
		return check_tcp(ip + 40, payload);
	/* Neighbours. */
	return ip[6] == IPPROTO_ICMPV6 ? USER_FRAME_OK : USER_FRAME_MAY_CONNECT;
}

enum user_verdict user_check_frame(const uint8_t *f, size_t len)
{
	if (len < NET_ETH_LEN)
		return USER_FRAME_BAD;
	switch (f[12] << 8 | f[13]) {
	case ETHERTYPE_ARP:
		return USER_FRAME_OK;
	case ETHERTYPE_IP:
		return check_ipv4(f + NET_ETH_LEN, len - NET_ETH_LEN);
	case ETHERTYPE_IPV6:
		return check_ipv6(f + NET_ETH_LEN, len - NET_ETH_LEN);
	}
	return USER_FRAME_BAD;
}
