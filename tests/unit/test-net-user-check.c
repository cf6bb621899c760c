// SPDX-License-Identifier: GPL-2.0
// LINK: net/user-check.c
/* What of a guest's frames is given to libslirp. */
#include "unit.h"

#include <lkvm/util.h>

#include "../../net/user-check.h"
#include "user-frames.h"

static enum user_verdict check(const struct frame *f)
{
	/* An end that a sanitizer sees. */
	uint8_t *copy = malloc(f->len + 1);

	memcpy(copy, f->b, f->len);
	copy = realloc(copy, f->len ?: 1);
	enum user_verdict v = user_check_frame(copy, f->len);
	free(copy);
	return v;
}

static struct frame *ipv6(uint8_t next, size_t payload)
{
	struct frame *f = new_frame(TO_HOST, 0x86dd, 14 + 40 + payload);

	f->b[14] = 0x60;
	put16(f->b + 18, (uint32_t)payload);
	f->b[20] = next;
	return f;
}

START_TEST(good)
{
	ck_assert_int_eq(check(arp_request(2)), USER_FRAME_OK);
	ck_assert_int_eq(check(arp_answer()), USER_FRAME_OK);
	ck_assert_int_eq(check(router_solicit()), USER_FRAME_OK);
	ck_assert_int_eq(check(dhcp(1)), USER_FRAME_MAY_CONNECT);
	ck_assert_int_eq(check(udp_to_host(1, 2, 0)), USER_FRAME_MAY_CONNECT);
	ck_assert_int_eq(check(echo_request()), USER_FRAME_MAY_CONNECT);
	ck_assert_int_eq(check(ipv6(IPPROTO_UDP, 8)), USER_FRAME_MAY_CONNECT);
	ck_assert_int_eq(check(ipv6(IPPROTO_FRAGMENT, 100)), USER_FRAME_MAY_CONNECT);
}

/* A connection begins with a SYN; one that cannot be seen may be one. */
START_TEST(connections)
{
	struct frame *f = tcp_segment(1, 2, 3, 4, TCP_ACK, "data", 4);

	ck_assert_int_eq(check(f), USER_FRAME_OK);
	f->b[L4_AT + 13] |= TCP_SYN;
	ck_assert_int_eq(check(f), USER_FRAME_MAY_CONNECT);
	/* With options of IP the segment is further on. */
	f = ipv4(TO_HOST, IPPROTO_TCP, IP_GUEST, IP_HOST, 4 + 20);
	f->b[IP_AT] = 0x46;
	ck_assert_int_eq(check(f), USER_FRAME_OK);
	f->b[L4_AT + 4 + 13] = TCP_SYN;
	ck_assert_int_eq(check(f), USER_FRAME_MAY_CONNECT);
	f = ipv4(TO_HOST, IPPROTO_TCP, IP_GUEST, IP_HOST, 19);
	ck_assert_int_eq(check(f), USER_FRAME_MAY_CONNECT);
	f = ipv6(IPPROTO_TCP, 20);
	ck_assert_int_eq(check(f), USER_FRAME_OK);
	f->b[14 + 40 + 13] = TCP_SYN;
	ck_assert_int_eq(check(f), USER_FRAME_MAY_CONNECT);
	ck_assert_int_eq(check(ipv6(IPPROTO_TCP, 19)), USER_FRAME_MAY_CONNECT);
}

START_TEST(fragments)
{
	struct frame *f = udp_to_host(1, 2, 100);

	f->b[IP_AT + 6] = 0x40;
	ck_assert_int_eq(check(f), USER_FRAME_MAY_CONNECT);
	for (unsigned int bit = 0; bit < 16; bit++) {
		f->b[IP_AT + 6] = (uint8_t)(1 << bit >> 8);
		f->b[IP_AT + 7] = (uint8_t)(1 << bit);
		ck_assert_int_eq(check(f), bit == 14 ? USER_FRAME_MAY_CONNECT : USER_FRAME_BAD);
	}
}

/* What its lengths say does not fit, or is none. */
START_TEST(lengths)
{
	struct frame *f = udp_to_host(1, 2, 20);

	for (uint8_t words = 0; words < 16; words++) {
		f->b[IP_AT] = (uint8_t)(0x40 | words);
		ck_assert_int_eq(check(f), words >= 5 && words * 4 <= 48 ? USER_FRAME_MAY_CONNECT
									 : USER_FRAME_BAD);
	}
	f->b[IP_AT] = 0x45;
	for (unsigned int total = 0; total < 65536; total++) {
		put16(f->b + IP_AT + 2, total);
		ck_assert_int_eq(check(f), total >= 20 && total <= 48 ? USER_FRAME_MAY_CONNECT
								      : USER_FRAME_BAD);
	}
	f = ipv6(IPPROTO_UDP, 20);
	for (unsigned int payload = 0; payload < 65536; payload++) {
		put16(f->b + IP_AT + 4, payload);
		ck_assert_int_eq(check(f), payload <= 20 ? USER_FRAME_MAY_CONNECT : USER_FRAME_BAD);
	}
}

START_TEST(cut_anywhere)
{
	const struct frame *whole[] = { udp_to_host(1, 2, 20),
					tcp_segment(1, 2, 3, 4, TCP_ACK, "data", 4), dhcp(3),
					ipv6(IPPROTO_TCP, 30), router_solicit() };

	for (unsigned int i = 0; i < ARRAY_SIZE(whole); i++)
		for (size_t len = 0; len < whole[i]->len; len++) {
			struct frame f = *whole[i];

			f.len = len;
			ck_assert_int_eq(check(&f), USER_FRAME_BAD);
		}
}

START_TEST(others)
{
	static const uint16_t types[] = { 0, 46, 0x8100, 0x88a8, 0x88f8, 0x9000, 0xffff };

	for (unsigned int i = 0; i < ARRAY_SIZE(types); i++)
		ck_assert_int_eq(check(new_frame(TO_HOST, types[i], 100)), USER_FRAME_BAD);
	/* Of another version than its type says. */
	struct frame *f = udp_to_host(1, 2, 20);
	f->b[IP_AT] = 0x65;
	ck_assert_int_eq(check(f), USER_FRAME_BAD);
	f = ipv6(IPPROTO_UDP, 8);
	f->b[14] = 0x45;
	ck_assert_int_eq(check(f), USER_FRAME_BAD);
}

UNIT_SUITE("net-user-check", {
	tcase_add_test(tc, good);
	tcase_add_test(tc, connections);
	tcase_add_test(tc, fragments);
	tcase_add_test(tc, lengths);
	tcase_add_test(tc, cut_anywhere);
	tcase_add_test(tc, others);
})
