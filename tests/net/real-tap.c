// SPDX-License-Identifier: GPL-2.0
// LINK: net/tap.c net/script.c virtio/net.c virtio/net-io.c virtio/late.c virtio/net-ctrl.c virtio/net-vhost.c virtio/vhost.c virtio/device.c virtio/registers.c virtio/legacy.c virtio/queue.c virtio/mini.c gmem.c util/loop.c util/log.c util/err.c tests/mock/clock.c tests/mock/arena.c tests/mock/ring.c tests/mock/driver.c tests/mock/core.c tests/mock/testdev.c tests/mock/bench.c tests/mock/net.c tests/mock/netbench.c
/*
 * The tap of the kernel that runs this, in a network namespace of its own (tests/net/run), and a virtio-net on it with
 * the mock driver as its guest.
 */
#include "unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <lkvm/net/tap.h>
#include <lkvm/util.h>

#include "../mock/net.h"

#define HOST_IP  0x0a090901 /* 10.9.9.1 */
#define GUEST_IP 0x0a090902
#define PORT     4000

static struct log logger = { .fd = 2, .level = LOG_WARN };
static struct net_backend *be;
static struct netbench b;
static uint8_t frame[NET_FRAME_MAX], got[NET_FRAME_MAX], header[12], host_mac[6];

static int open_tap(struct net_tap_opts o, struct err *err)
{
	*err = ERR_INIT;
	return net_tap_open(&be, &o, &logger, err);
}

static void must_open(struct net_tap_opts o)
{
	struct err err;

	ck_assert_msg(open_tap(o, &err) == 0, "%s", err.msg);
}

static void close_tap(void)
{
	be->ops->close(be);
}

/* A persistent interface, as `ip tuntap add` makes it. */
static void make_if(const char *name, short more)
{
	struct ifreq ifr = { .ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | more) };
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	ck_assert_int_eq(ioctl(fd, TUNSETIFF, &ifr), 0);
	ck_assert_int_eq(ioctl(fd, TUNSETPERSIST, 1), 0);
	close(fd);
}

static void remove_if(const char *name, short more)
{
	struct ifreq ifr = { .ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | more) };
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	ck_assert_int_eq(ioctl(fd, TUNSETIFF, &ifr), 0);
	ck_assert_int_eq(ioctl(fd, TUNSETPERSIST, 0), 0);
	close(fd);
}

static void on_if(const char *name, unsigned long request, struct ifreq *ifr)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	snprintf(ifr->ifr_name, sizeof(ifr->ifr_name), "%s", name);
	ck_assert_int_eq(ioctl(fd, request, ifr), 0);
	close(fd);
}

static void set_up(const char *name, bool up)
{
	struct ifreq ifr = { 0 };

	on_if(name, SIOCGIFFLAGS, &ifr);
	ifr.ifr_flags = (short)(up ? ifr.ifr_flags | IFF_UP : ifr.ifr_flags & ~IFF_UP);
	on_if(name, SIOCSIFFLAGS, &ifr);
}

/* --- the interface --- */

START_TEST(a_new_one_goes_with_its_backend)
{
	struct ifreq ifr = { 0 };
	char name[IFNAMSIZ];

	for (unsigned int queues = 1; queues <= 8; queues *= 8) {
		must_open((struct net_tap_opts){ .fd = -1, .mtu = 9000, .queues = queues });
		snprintf(name, sizeof(name), "%s", net_tap_name(be));
		ck_assert_uint_gt(if_nametoindex(name), 0);
		on_if(name, SIOCGIFFLAGS, &ifr);
		ck_assert(ifr.ifr_flags & IFF_UP);
		on_if(name, SIOCGIFMTU, &ifr);
		ck_assert_int_eq(ifr.ifr_mtu, 9000);
		close_tap();
		ck_assert_uint_eq(if_nametoindex(name), 0);
	}
}

START_TEST(one_that_exists_stays)
{
	struct err err;

	make_if("old0", 0);
	must_open((struct net_tap_opts){ .fd = -1, .tapif = "old0" });
	struct net_backend *first = be;
	ck_assert_int_eq(open_tap((struct net_tap_opts){ .fd = -1, .tapif = "old0" }, &err),
			 -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.msg, "tapif=old0: is in use"));
	be = first;
	close_tap();
	ck_assert_uint_gt(if_nametoindex("old0"), 0);
	ck_assert_int_eq(
		open_tap((struct net_tap_opts){ .fd = -1, .tapif = "old0", .queues = 2 }, &err),
		-EINVAL);
	ck_assert_ptr_nonnull(strstr(err.msg, "multi_queue"));
	remove_if("old0", 0);
	make_if("old1", IFF_MULTI_QUEUE);
	must_open((struct net_tap_opts){ .fd = -1, .tapif = "old1" });
	close_tap();
	remove_if("old1", IFF_MULTI_QUEUE);
	ck_assert_int_eq(open_tap((struct net_tap_opts){ .fd = -1, .tapif = "lo" }, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.msg, "tapif=lo: is not a tap"));
	ck_assert_int_eq(open_tap((struct net_tap_opts){ .fd = -1, .tapif = "old0" }, &err),
			 -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.msg, "there is no such interface"));
}

START_TEST(goes_down_and_comes_back)
{
	uint8_t head[12] = { 0 };
	struct iovec iov[] = { { head, 12 }, { frame, 100 } };

	must_open((struct net_tap_opts){ .fd = -1 });
	ck_assert_int_eq(be->ops->set_header(be, 12), 0);
	memset(frame, 2, 100);
	ck_assert_int_eq(be->ops->send(&be->ports[0], iov, 2), 0);
	set_up(net_tap_name(be), false);
	ck_assert_int_eq(be->ops->send(&be->ports[0], iov, 2), -EIO);
	/* The host's kernel may have sent a word of its own (IPv6's reports) while it was up. */
	ssize_t got;
	do
		got = be->ops->recv(&be->ports[0], iov, 2);
	while (got > 0);
	ck_assert_int_eq((int)got, -EAGAIN);
	set_up(net_tap_name(be), true);
	ck_assert_int_eq(be->ops->send(&be->ports[0], iov, 2), 0);
	close_tap();
}

/* --- a guest on it --- */

static void make_guest(unsigned int pairs)
{
	struct virtio_net_opts no = { .pairs = pairs };
	struct err err = ERR_INIT;
	struct ifreq ifr = { 0 };
	struct sockaddr_in *in = (void *)&ifr.ifr_addr;
	struct arpreq arp = { .arp_flags = ATF_PERM | ATF_COM };

	must_open((struct net_tap_opts){ .fd = -1, .queues = pairs });
	memset(&b, 0, sizeof(b));
	b.o.pairs = pairs;
	bench_init(&b.b, &(struct bench_opts){ 0 });
	no.backend = be;
	memcpy(no.mac, netbench_mac, 6);
	ck_assert_int_eq(virtio_net_init(&b.n, &no, &b.b.a.gm, &b.b.log, b.b.loops, 1, &err), 0);
	drv_init(&b.d, &drv_core, &b.b.a, &b.n.vd);
	b.tx_gpa = arena_alloc_high(&b.b.a, 0x20000, 4096);
	b.rx_gpa = arena_alloc_high(&b.b.a, 0x200000, 4096);
	b.ctrl_gpa = arena_alloc_high(&b.b.a, 0x1000, 4096);

	in->sin_family = AF_INET;
	in->sin_addr.s_addr = htonl(HOST_IP);
	on_if(net_tap_name(be), SIOCSIFADDR, &ifr);
	in->sin_addr.s_addr = htonl(0xffffff00);
	on_if(net_tap_name(be), SIOCSIFNETMASK, &ifr);
	on_if(net_tap_name(be), SIOCGIFHWADDR, &ifr);
	memcpy(host_mac, ifr.ifr_hwaddr.sa_data, 6);
	in = (void *)&arp.arp_pa;
	in->sin_family = AF_INET;
	in->sin_addr.s_addr = htonl(GUEST_IP);
	arp.arp_ha.sa_family = ARPHRD_ETHER;
	memcpy(arp.arp_ha.sa_data, netbench_mac, 6);
	snprintf(arp.arp_dev, sizeof(arp.arp_dev), "%s", net_tap_name(be));
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	ck_assert_int_eq(ioctl(fd, SIOCSARP, &arp), 0);
	close(fd);
}

static void end_guest(void)
{
	drv_set_status(&b.d, 0);
	drv_release(&b.d);
	virtio_net_release(&b.n);
	close_tap();
	bench_release(&b.b);
}

static uint32_t sum(const uint8_t *p, size_t len, uint32_t s)
{
	for (size_t i = 0; i < len; i++)
		s += i % 2 ? p[i] : (uint32_t)p[i] << 8;
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return s;
}

static void put_be16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put_be32(uint8_t *p, uint32_t v)
{
	put_be16(p, v >> 16);
	put_be16(p + 2, v);
}

static uint32_t pseudo(const uint8_t *ip, uint32_t udp_len)
{
	return sum(ip + 12, 8, 17 + udp_len);
}

/* A UDP datagram from the guest, its checksum left to the device. Returns the frame's length. */
static uint32_t udp_frame(uint32_t payload, uint16_t from)
{
	uint8_t *ip = frame + 14, *udp = ip + 20;

	memcpy(frame, host_mac, 6);
	memcpy(frame + 6, netbench_mac, 6);
	put_be16(frame + 12, 0x0800);
	memset(ip, 0, 28);
	ip[0] = 0x45;
	put_be16(ip + 2, 28 + payload);
	ip[8] = 64;
	ip[9] = 17;
	put_be32(ip + 12, GUEST_IP);
	put_be32(ip + 16, HOST_IP);
	put_be16(ip + 10, ~sum(ip, 20, 0));
	put_be16(udp, from);
	put_be16(udp + 2, PORT);
	put_be16(udp + 4, 8 + payload);
	put_be16(udp + 6, pseudo(ip, 8 + payload));
	for (uint32_t i = 0; i < payload; i++)
		udp[8 + i] = (uint8_t)(i * 13 + from);
	return 42 + payload;
}

static int udp_socket(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
				 .sin_port = htons(PORT),
				 .sin_addr.s_addr = htonl(HOST_IP) };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(bind(fd, (void *)&a, sizeof(a)), 0);
	return fd;
}

static void send_udp(int fd, uint16_t to, uint32_t payload)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
				 .sin_port = htons(to),
				 .sin_addr.s_addr = htonl(GUEST_IP) };

	for (uint32_t i = 0; i < payload; i++)
		frame[i] = (uint8_t)(i * 7);
	ck_assert_int_eq(sendto(fd, frame, payload, 0, (void *)&a, sizeof(a)), payload);
}

static ssize_t receive_udp(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 5000) == 1 ? recv(fd, got, sizeof(got), 0) : -1;
}

/* IPv4, UDP, from the port of ours. */
static bool is_ours(int len)
{
	return len >= 42 && got[12] == 8 && got[13] == 0 && got[23] == 17 && got[34] == PORT >> 8 &&
	       got[35] == (PORT & 0xff);
}

/* The next datagram to the guest on this pair; whatever else the host says is skipped. -1: none comes. */
static int guest_receives(unsigned int pair)
{
	uint64_t deadline = mock_real_now_ns() + 5 * NSEC_PER_SEC;

	while (mock_real_now_ns() < deadline) {
		bench_turn(&b.b);
		int n = netbench_receive(&b, pair, header, got, NULL);
		if (is_ours(n))
			return n;
	}
	return -1;
}

static void post(unsigned int pair)
{
	for (unsigned int i = 0; i < 50; i++)
		netbench_post(&b, pair, 1600, 0);
}

/* Both directions, over each header layout and after a reset, with and without offloads. */
START_TEST(datagrams)
{
	static const uint8_t csum[12] = { 1, 0, 0, 0, 0, 0, 34, 0, 6 };
	uint64_t offered;

	make_guest(1);
	offered = drv_offered(&b.d);
	int fd = udp_socket();
	for (unsigned int round = 0; round < 6; round++) {
		bool offloads = round % 2 == 0;
		uint64_t set = round % 3 == 0
				       ? offered
				       : MODERN | (offloads ? NF(CSUM) | NF(GUEST_CSUM) : 0) |
						 (round % 3 == 1 ? NF(MRG_RXBUF) : 0);
		bool has = set & NF(CSUM);

		drv_set_status(&b.d, 0);
		ck_assert(drv_negotiate(&b.d, set));
		for (uint16_t q = 0; q < 2; q++) {
			ring_make(&b.d, q, NETBENCH_RING);
			ring_enable(&b.d.rings[q]);
		}
		drv_driver_ok(&b.d);
		post(0);
		netbench_settle(&b);
		uint8_t raw[12 + 42 + 1000] = { 0 };
		uint32_t len = udp_frame(1000, 5000);
		if (has)
			memcpy(raw, csum, 12);
		if (!has) {
			/* The field held the pseudo header's sum when it was added up. */
			put_be16(frame + 40, 0);
			put_be16(frame + 40, ~sum(frame + 34, 1008, pseudo(frame + 14, 1008)));
		}
		memcpy(raw + 12, frame, len);
		ck_assert_uint_eq(netbench_send_raw(&b, 0, raw, 12 + len, 0), 0);
		ck_assert_int_eq(receive_udp(fd), 1000);
		ck_assert_mem_eq(got, frame + 42, 1000);
		send_udp(fd, 5000, 900);
		ck_assert_int_eq(guest_receives(0), 942);
		ck_assert_mem_eq(got + 42, frame, 900);
		/* The sum over all is right, or what the header says completes it. */
		uint32_t field = (uint32_t)got[40] << 8 | got[41];
		if (set & NF(GUEST_CSUM) && header[0] & 1) {
			ck_assert_uint_eq(get_le16(header + 6), 34);
			ck_assert_uint_eq(get_le16(header + 8), 6);
			ck_assert_uint_eq(field, pseudo(got + 14, 908));
		} else {
			ck_assert_uint_eq(header[0] & 1, 0);
			ck_assert_uint_eq(sum(got + 34, 908, pseudo(got + 14, 908)), 0xffff);
		}
		ck_assert_uint_eq(get_le16(header + 10), 1);
	}
	close(fd);
	end_guest();
}

/* A flow comes back where it was sent from, and with one pair in use all come to the first. */
START_TEST(flows_follow_their_sender)
{
	static const uint8_t csum[12] = { 1, 0, 0, 0, 0, 0, 34, 0, 6 };

	make_guest(4);
	int fd = udp_socket();
	ck_assert(drv_negotiate(&b.d, drv_offered(&b.d)));
	for (uint16_t q = 0; q < 9; q++) {
		ring_make(&b.d, q, NETBENCH_RING);
		ring_enable(&b.d.rings[q]);
	}
	drv_driver_ok(&b.d);
	for (unsigned int pair = 0; pair < 4; pair++)
		post(pair);
	netbench_settle(&b);
	for (unsigned int nr = 1; nr <= 4; nr += 3) {
		ck_assert_uint_eq(netbench_command(&b, 4, 0, (uint8_t[]){ (uint8_t)nr, 0 }, 2), 0);
		for (unsigned int i = 0; i < 16; i++) {
			uint8_t raw[12 + 42 + 100];
			unsigned int pair = i % nr;
			uint16_t from = (uint16_t)(6000 + 16 * nr + i);

			memcpy(raw, csum, 12);
			uint32_t len = udp_frame(100, from);
			memcpy(raw + 12, frame, len);
			/* Twice: the kernel learns a flow from its first packet. */
			for (unsigned int k = 0; k < 2; k++) {
				ck_assert_uint_eq(netbench_send_raw(&b, pair, raw, 12 + len, 0), 0);
				ck_assert_int_eq(receive_udp(fd), 100);
			}
			send_udp(fd, from, 80);
			ck_assert_int_eq(guest_receives(pair), 122);
			ck_assert_uint_eq((uint32_t)got[36] << 8 | got[37], from);
		}
	}
	close(fd);
	end_guest();
}

UNIT_SUITE("net-tap-real", {
	tcase_add_test(tc, a_new_one_goes_with_its_backend);
	tcase_add_test(tc, one_that_exists_stays);
	tcase_add_test(tc, goes_down_and_comes_back);
	tcase_add_test(tc, datagrams);
	tcase_add_test(tc, flows_follow_their_sender);
})
