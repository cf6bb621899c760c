/* SPDX-License-Identifier: GPL-2.0 */
/* Frames that a guest of the user-mode network sends, and what they are when they come. Builders return one of a few static frames. */
#ifndef LKVM_TEST_USER_FRAMES_H
#define LKVM_TEST_USER_FRAMES_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct frame {
	size_t len;
	uint8_t b[4096];
};

enum { TCP_SYN = 2, TCP_ACK = 16 };

#define MAC_GUEST "\x02\x00\x00\x00\x00\x01"
#define IP_AT     14
#define L4_AT     34

static inline struct frame *new_frame(const char *to, uint16_t type, size_t len)
{
	static struct frame frames[16];
	static unsigned int next;
	struct frame *f = &frames[next++ % 16];

	memset(f, 0, sizeof(*f));
	memcpy(f->b, to, 6);
	memcpy(f->b + 6, MAC_GUEST, 6);
	f->b[12] = (uint8_t)(type >> 8);
	f->b[13] = (uint8_t)type;
	f->len = len;
	return f;
}

static inline void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static inline void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v & 0xffff);
}

static inline uint32_t be16(const uint8_t *p)
{
	return (uint32_t)p[0] << 8 | p[1];
}

static inline uint32_t be32(const uint8_t *p)
{
	return be16(p) << 16 | be16(p + 2);
}

static inline uint32_t add16(uint32_t sum, const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		sum += i % 2 ? p[i] : (uint32_t)p[i] << 8;
	return sum;
}

static inline uint32_t fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~sum & 0xffff;
}

static inline void fix_ip_csum(struct frame *f)
{
	put16(f->b + IP_AT + 10, 0);
	put16(f->b + IP_AT + 10, fold(add16(0, f->b + IP_AT, 20)));
}

#define TO_HOST "\x52\x55\x0a\x00\x02\x02"

static inline struct frame *ipv4(const char *mac, uint8_t proto, uint32_t from, uint32_t to,
				 size_t payload)
{
	struct frame *f = new_frame(mac, 0x0800, L4_AT + payload);
	uint8_t *ip = f->b + IP_AT;

	ip[0] = 0x45;
	put16(ip + 2, (uint32_t)(20 + payload));
	ip[8] = 64;
	ip[9] = proto;
	put32(ip + 12, from);
	put32(ip + 16, to);
	fix_ip_csum(f);
	return f;
}

static inline struct frame *udp(const char *mac, uint32_t from, uint32_t to, uint16_t sport,
				uint16_t dport, size_t len)
{
	struct frame *f = ipv4(mac, IPPROTO_UDP, from, to, 8 + len);
	uint8_t *u = f->b + L4_AT;

	put16(u, sport);
	put16(u + 2, dport);
	put16(u + 4, (uint32_t)(8 + len));
	return f;
}

#define IP_GUEST 0x0a00020fu
#define IP_HOST  0x0a000202u

static inline struct frame *udp_to_host(uint16_t sport, uint16_t dport, size_t len)
{
	struct frame *f = udp(TO_HOST, IP_GUEST, IP_HOST, sport, dport, len);

	for (size_t i = 0; i < len; i++)
		f->b[L4_AT + 8 + i] = (uint8_t)i;
	return f;
}

static inline struct frame *dhcp(uint8_t type)
{
	struct frame *f = udp("\xff\xff\xff\xff\xff\xff", 0, 0xffffffff, 68, 67, 300);
	uint8_t *d = f->b + L4_AT + 8;
	static const uint8_t wants[] = { 50, 4, 10, 0, 2, 15, 54, 4, 10, 0, 2, 2 };

	d[0] = d[1] = 1;
	d[2] = 6;
	put32(d + 4, 0x12345678);
	memcpy(d + 28, MAC_GUEST, 6);
	put32(d + 236, 0x63825363);
	memcpy(d + 240, (uint8_t[]){ 53, 1, type }, 3);
	if (type == 3)
		memcpy(d + 243, wants, sizeof(wants));
	d[243 + (type == 3 ? sizeof(wants) : 0)] = 255;
	return f;
}

static inline bool is_udp(const struct frame *f, unsigned int dport)
{
	return f->len >= L4_AT + 8 && be16(f->b + 12) == 0x0800 && f->b[IP_AT + 9] == IPPROTO_UDP &&
	       be16(f->b + L4_AT + 2) == dport;
}

static inline bool is_dhcp(const struct frame *f)
{
	return is_udp(f, 68);
}

static inline uint8_t dhcp_type(const struct frame *f)
{
	return f->b[L4_AT + 8 + 242];
}

static inline struct frame *arp(const char *mac, uint8_t op, uint32_t to)
{
	struct frame *f = new_frame(mac, 0x0806, 60);
	uint8_t *a = f->b + IP_AT;

	memcpy(a, "\x00\x01\x08\x00\x06\x04\x00", 7);
	a[7] = op;
	memcpy(a + 8, MAC_GUEST, 6);
	put32(a + 14, IP_GUEST);
	put32(a + 24, to);
	return f;
}

static inline struct frame *arp_request(uint8_t last)
{
	return arp("\xff\xff\xff\xff\xff\xff", 1, 0x0a000200u | last);
}

static inline struct frame *arp_answer(void)
{
	return arp(TO_HOST, 2, IP_HOST);
}

static inline bool is_arp(const struct frame *f, uint8_t op)
{
	return f->len >= 42 && be16(f->b + 12) == 0x0806 && f->b[21] == op;
}

static inline bool is_arp_reply(const struct frame *f)
{
	return is_arp(f, 2);
}

static inline bool is_arp_for_guest(const struct frame *f)
{
	return is_arp(f, 1) && be32(f->b + 38) == IP_GUEST;
}

/* To the gateway, which answers by itself. */
static inline struct frame *echo_request(void)
{
	struct frame *f = ipv4(TO_HOST, IPPROTO_ICMP, IP_GUEST, IP_HOST, 16);

	f->b[L4_AT] = 8;
	put16(f->b + L4_AT + 2, fold(add16(0, f->b + L4_AT, 16)));
	return f;
}

static inline bool is_echo_reply(const struct frame *f)
{
	return f->len >= L4_AT + 8 && be16(f->b + 12) == 0x0800 &&
	       f->b[IP_AT + 9] == IPPROTO_ICMP && !f->b[L4_AT];
}

/* RFC 4861, from fe80::1. */
static inline struct frame *router_solicit(void)
{
	struct frame *f = new_frame("\x33\x33\x00\x00\x00\x02", 0x86dd, 14 + 40 + 8);
	uint8_t *ip = f->b + IP_AT, *icmp = ip + 40;

	ip[0] = 0x60;
	put16(ip + 4, 8);
	ip[6] = IPPROTO_ICMPV6;
	ip[7] = 255;
	memcpy(ip + 8, "\xfe\x80", 2);
	ip[23] = 1;
	memcpy(ip + 24, "\xff\x02", 2);
	ip[39] = 2;
	icmp[0] = 133;
	put16(icmp + 2, fold(add16(8 + IPPROTO_ICMPV6 + add16(0, ip + 8, 32), icmp, 8)));
	return f;
}

static inline bool is_router_advert(const struct frame *f)
{
	return f->len >= 14 + 40 + 16 && be16(f->b + 12) == 0x86dd &&
	       f->b[IP_AT + 6] == IPPROTO_ICMPV6 && f->b[IP_AT + 40] == 134;
}

static inline struct frame *tcp_segment(uint16_t sport, uint16_t dport, uint32_t seq, uint32_t ack,
					uint8_t flags, const char *data, size_t len)
{
	struct frame *f = ipv4(TO_HOST, IPPROTO_TCP, IP_GUEST, IP_HOST, 20 + len);
	uint8_t *t = f->b + L4_AT;

	put16(t, sport);
	put16(t + 2, dport);
	put32(t + 4, seq);
	put32(t + 8, ack);
	t[12] = 0x50;
	t[13] = flags;
	put16(t + 14, 65535);
	if (len)
		memcpy(t + 20, data, len);
	put16(t + 16,
	      fold(add16((uint32_t)(IPPROTO_TCP + 20 + len) + add16(0, f->b + IP_AT + 12, 8), t,
			 20 + len)));
	return f;
}

static inline bool is_tcp(const struct frame *f)
{
	return f->len >= L4_AT + 20 && be16(f->b + 12) == 0x0800 && f->b[IP_AT + 9] == IPPROTO_TCP;
}

static inline uint8_t tcp_flags(const struct frame *f)
{
	return f->b[L4_AT + 13];
}

static inline uint32_t tcp_seq(const struct frame *f)
{
	return be32(f->b + L4_AT + 4);
}

static inline uint16_t tcp_sport(const struct frame *f)
{
	return (uint16_t)be16(f->b + L4_AT);
}

static inline uint16_t tcp_dport(const struct frame *f)
{
	return (uint16_t)be16(f->b + L4_AT + 2);
}

static inline const uint8_t *tcp_data(const struct frame *f)
{
	return f->b + L4_AT + 4 * (f->b[L4_AT + 12] >> 4);
}

static inline size_t tcp_data_len(const struct frame *f)
{
	return be16(f->b + IP_AT + 2) - 20 - 4u * (f->b[L4_AT + 12] >> 4);
}

#endif
