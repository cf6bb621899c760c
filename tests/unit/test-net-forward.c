// SPDX-License-Identifier: GPL-2.0
// LINK: net/forward.c util/err.c
/* Ports of the host that lead into the guest: what is one, and how it is told. */
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <lkvm/net/forward.h>
#include <lkvm/util.h>

static struct net_forwards fw;
static struct err err;

static const struct {
	const char *text, *says;
} good[] = {
	{ "tcp::0-:22", "tcp 127.0.0.1:0 -> guest port 22" },
	{ "udp::5353-:53", "udp 127.0.0.1:5353 -> guest port 53" },
	{ "tcp:0.0.0.0:65535-:65535", "tcp 0.0.0.0:65535 -> guest port 65535" },
	{ "tcp:192.0.2.1:1-10.0.2.20:2", "tcp 192.0.2.1:1 -> guest 10.0.2.20 port 2" },
	{ "udp:[::1]:8080-[fec0::15]:80", "udp [::1]:8080 -> guest fec0::15 port 80" },
	{ "tcp:[::]:1-[::]:80", "tcp [::]:1 -> guest :: port 80" },
	{ "tcp::00080-:80", "tcp 127.0.0.1:80 -> guest port 80" },
};

START_TEST(takes)
{
	char text[NET_FORWARD_TEXT_LEN];

	ck_assert_msg(!net_forwards_parse(&fw, good[_i].text, &err), "%s", err.msg);
	ck_assert_uint_eq(fw.nr, 1);
	net_forward_text(&fw.list[0], text, sizeof(text));
	ck_assert_str_eq(text, good[_i].says);
}

START_TEST(takes_several)
{
	char text[20 * (NET_FORWARDS_MAX + 1)] = "";
	size_t len = 0;

	ck_assert_int_eq(net_forwards_parse(&fw, NULL, &err), 0);
	ck_assert_uint_eq(fw.nr, 0);
	ck_assert_int_eq(
		net_forwards_parse(&fw, "tcp::1-:2+udp::3-:4+tcp:[::1]:5-[fec0::1]:6", &err), 0);
	ck_assert_uint_eq(fw.nr, 3);
	ck_assert(!fw.list[0].udp && fw.list[1].udp && !fw.list[2].udp);
	ck_assert_uint_eq(net_addr_port(&fw.list[2].host), 5);
	ck_assert_uint_eq(net_addr_port(&fw.list[2].guest), 6);
	for (unsigned int i = 0; i <= NET_FORWARDS_MAX; i++) {
		if (i == NET_FORWARDS_MAX)
			ck_assert_int_eq(net_forwards_parse(&fw, text, &err), 0);
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%stcp::%u-:1",
					i ? "+" : "", i);
	}
	ck_assert_uint_eq(fw.nr, NET_FORWARDS_MAX);
	ck_assert_int_eq(net_forwards_parse(&fw, text, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.msg, "are more than 32 forwards"));
}

static const char *const bad[] = {
	"",
	"tcp",
	"tcp:",
	"tcp::",
	"tcp::1",
	"tcp::1-",
	"tcp::1-:",
	"tcp::1-2",
	"tcp:1-:2",
	"tcp::-1-:2",
	"tcp::1-:0",
	"tcp::65536-:1",
	"tcp::1-:65536",
	"tcp::1-:4294967297",
	"tcp::000001-:1",
	"tcp:: 1-:1",
	"tcp::1-:1 ",
	"tcp::1-:1+",
	"+tcp::1-:1",
	"tcp::1-:1;tcp::2-:2",
	"sctp::1-:1",
	"TCP::1-:1",
	"tcp:localhost:1-:1",
	"tcp:127.1:1-:1",
	"tcp:127.0.0.256:1-:1",
	"tcp::1:1-:1",
	"tcp:[::1:1-:1",
	"tcp:[]:1-[::1]:1",
	"tcp:[127.0.0.1]:1-:1",
	"tcp:[::1%lo]:1-[::1]:1",
	"tcp:[::1]1-[::1]:1",
	/* Of two kinds. */
	"tcp:[::1]:1-:1",
	"tcp::1-[fec0::15]:1",
	"tcp:[1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111]:1-[::1]:1",
};

START_TEST(says_what_is_wrong)
{
	char says[200];

	err = ERR_INIT;
	ck_assert_int_eq(net_forwards_parse(&fw, bad[_i], &err), -EINVAL);
	ck_assert_int_eq(err.kind, ERR_USAGE);
	snprintf(says, sizeof(says),
		 "is not tcp|udp:[ADDR]:PORT-[GADDR]:PORT, as tcp::8080-:80 or "
		 "tcp:[::1]:8080-[fec0::15]:80");
	ck_assert_msg(strncmp(err.msg, "hostfwd=", 8) == 0 && strstr(err.msg, says), "%s", err.msg);
}

UNIT_SUITE("net-forward", {
	tcase_add_loop_test(tc, takes, 0, ARRAY_SIZE(good));
	tcase_add_test(tc, takes_several);
	tcase_add_loop_test(tc, says_what_is_wrong, 0, ARRAY_SIZE(bad));
})
