// SPDX-License-Identifier: GPL-2.0
// LINK: net/tap.c net/script.c util/loop.c util/log.c util/err.c util/util.c
/*
 * Taps on a kernel that is played here: what is asked of it, and a sentence for each refusal. tests/net has the real
 * one.
 */
#include "unit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lkvm/net/tap.h>
#include <lkvm/util.h>

static struct {
	unsigned long fail; /* this request fails */
	int fail_errno;
	unsigned int fail_at;  /* the n-th of it, from 1 */
	unsigned int calls;    /* of the request that fails */
	unsigned int offloads; /* TUN_F_* that it has */
	unsigned int queues;
	short iff[16];  /* of each TUNSETIFF that succeeded */
	bool multi;     /* the interface was made for several queues */
	short fd_flags; /* of TUNGETIFF */
	unsigned int set_offloads;
	int header, le;
	bool attached[16];
	short flags;
	int mtu;
	char asked[IFNAMSIZ];
} kern;

static int set_iff(struct ifreq *ifr)
{
	bool multi = ifr->ifr_flags & IFF_MULTI_QUEUE;

	snprintf(kern.asked, sizeof(kern.asked), "%s", ifr->ifr_name);
	if (!strcmp(ifr->ifr_name, "lo") && multi != kern.multi)
		return EINVAL;
	if (strchr(ifr->ifr_name, '%'))
		snprintf(ifr->ifr_name, sizeof(ifr->ifr_name), "lkvm7");
	kern.iff[kern.queues] = ifr->ifr_flags;
	kern.attached[kern.queues++] = true;
	return 0;
}

static int answer(unsigned long request, void *arg)
{
	struct ifreq *ifr = arg;

	switch (request) {
	case TUNSETIFF:
		return set_iff(ifr);
	case TUNGETIFF:
		ifr->ifr_flags = kern.fd_flags;
		snprintf(ifr->ifr_name, sizeof(ifr->ifr_name), "given0");
		return 0;
	case TUNSETOFFLOAD:
		if ((unsigned int)(uintptr_t)arg & ~kern.offloads)
			return EINVAL;
		kern.set_offloads = (unsigned int)(uintptr_t)arg;
		return 0;
	case TUNSETVNETHDRSZ:
		kern.header = *(int *)arg;
		return 0;
	case TUNSETVNETLE:
		kern.le = *(int *)arg;
		return 0;
	case TUNSETQUEUE:
		return ifr->ifr_flags & (IFF_ATTACH_QUEUE | IFF_DETACH_QUEUE) ? 0 : EINVAL;
	case SIOCSIFMTU:
		kern.mtu = ifr->ifr_mtu;
		return 0;
	case SIOCGIFFLAGS:
		ifr->ifr_flags = IFF_BROADCAST;
		return 0;
	case SIOCSIFFLAGS:
		kern.flags = ifr->ifr_flags;
		return 0;
	}
	return ENOTTY;
}

int ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	int ret = 0;

	(void)fd;
	va_start(ap, request);
	void *arg = va_arg(ap, void *);
	va_end(ap);
	if (request == kern.fail && ++kern.calls >= kern.fail_at)
		ret = kern.fail_errno;
	else
		ret = answer(request, arg);
	errno = ret;
	return ret ? -1 : 0;
}

static struct net_backend *be;
static struct log logger;
static struct err err;
static unsigned int fds;

#define OLD_OFFLOADS (TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN | TUN_F_UFO)
#define DEV          .fd = -1, .dev = "/dev/null"

static unsigned int count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned int n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void setup(void)
{
	memset(&kern, 0, sizeof(kern));
	kern.offloads = OLD_OFFLOADS | 0x60;
	logger = (struct log){ .fd = memfd_create("log", 0), .level = LOG_DEBUG };
	be = NULL;
	err = ERR_INIT;
	fds = count_fds();
}

static void teardown(void)
{
	if (be)
		be->ops->close(be);
	ck_assert_uint_eq(count_fds(), fds);
	close(logger.fd);
}

static int open_tap(struct net_tap_opts o)
{
	err = ERR_INIT;
	return net_tap_open(&be, &o, &logger, &err);
}

static struct net_info info(void)
{
	struct net_info i;

	be->ops->info(be, &i);
	return i;
}

START_TEST(makes_one)
{
	ck_assert_int_eq(open_tap((struct net_tap_opts){ DEV, .mtu = 9000 }), 0);
	ck_assert_str_eq(net_tap_name(be), "lkvm7");
	ck_assert_int_eq(kern.iff[0], IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
	ck_assert_int_eq(kern.mtu, 9000);
	ck_assert_int_eq(kern.flags, IFF_BROADCAST | IFF_UP);
	ck_assert_uint_eq(info().ports_max, 1);
	ck_assert(info().carrier);
	ck_assert_uint_eq(info().tx_offloads, 63);
	ck_assert_uint_eq(info().rx_offloads, 63);
	ck_assert_uint_eq(kern.set_offloads, 0);
	ck_assert_int_eq(be->ops->set_header(be, 10), 0);
	ck_assert_int_eq(kern.header, 10);
	ck_assert_int_eq(kern.le, 1);
	ck_assert_int_eq(be->ops->set_ports(be, 1), 0);
}

START_TEST(offers_what_the_kernel_has)
{
	static const struct {
		unsigned int kernel;
		uint32_t offers;
	} cases[] = {
		{ OLD_OFFLOADS | 0x60,
		  NET_CSUM | NET_TSO4 | NET_TSO6 | NET_ECN | NET_UFO | NET_USO },
		{ OLD_OFFLOADS, NET_CSUM | NET_TSO4 | NET_TSO6 | NET_ECN | NET_UFO },
		{ OLD_OFFLOADS & ~TUN_F_UFO, NET_CSUM | NET_TSO4 | NET_TSO6 | NET_ECN },
		{ TUN_F_CSUM, NET_CSUM },
		{ 0, 0 },
	};

	kern.offloads = cases[_i].kernel;
	ck_assert_int_eq(open_tap((struct net_tap_opts){ DEV }), 0);
	ck_assert_uint_eq(info().tx_offloads, cases[_i].offers);
	ck_assert_uint_eq(info().rx_offloads, cases[_i].offers);
	ck_assert_int_eq(be->ops->set_offloads(be, cases[_i].offers), 0);
	ck_assert_uint_eq(kern.set_offloads, cases[_i].kernel);
	kern.offloads = 0;
	ck_assert_int_eq(be->ops->set_offloads(be, NET_CSUM), -EINVAL);
}

/* One that exists is not set up or changed, and may have been made for several queues. */
START_TEST(takes_one_that_exists)
{
	kern.multi = _i;
	ck_assert_int_eq(open_tap((struct net_tap_opts){ DEV, .tapif = "lo", .mtu = 1400 }), 0);
	ck_assert_str_eq(net_tap_name(be), "lo");
	ck_assert_int_eq(kern.iff[0] & IFF_MULTI_QUEUE, _i ? IFF_MULTI_QUEUE : 0);
	ck_assert_int_eq(kern.mtu, 0);
	ck_assert_int_eq(kern.flags, 0);
}

START_TEST(several_queues)
{
	kern.multi = true;
	ck_assert_int_eq(open_tap((struct net_tap_opts){ DEV, .tapif = "lo", .queues = 3 }), 0);
	ck_assert_uint_eq(info().ports_max, 3);
	ck_assert_uint_eq(kern.queues, 3);
	for (unsigned int i = 0; i < 3; i++) {
		ck_assert_int_eq(kern.iff[i], IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE);
		ck_assert_uint_eq(be->ports[i].index, i);
		ck_assert_ptr_eq(be->ports[i].be, be);
	}
	/* Only what changes is told to the kernel. */
	kern.fail = TUNSETQUEUE;
	kern.fail_at = 100;
	ck_assert_int_eq(be->ops->set_ports(be, 3), 0);
	ck_assert_uint_eq(kern.calls, 0);
	ck_assert_int_eq(be->ops->set_ports(be, 1), 0);
	ck_assert_uint_eq(kern.calls, 2);
	ck_assert_int_eq(be->ops->set_ports(be, 2), 0);
	ck_assert_uint_eq(kern.calls, 3);
	kern.fail_at = 1;
	kern.fail_errno = ENOMEM;
	ck_assert_int_eq(be->ops->set_ports(be, 3), -ENOMEM);
	be->ops->close(be);
	be = NULL;
	/* A new one: the others join the first by its name. */
	memset(&kern, 0, sizeof(kern));
	ck_assert_int_eq(open_tap((struct net_tap_opts){ DEV, .queues = 2 }), 0);
	ck_assert_str_eq(kern.asked, "lkvm7");
}

START_TEST(inherited)
{
	int fd = open("/dev/null", O_RDWR);

	kern.fd_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
	ck_assert_int_eq(open_tap((struct net_tap_opts){ .fd = fd }), 0);
	ck_assert_str_eq(net_tap_name(be), "given0");
	ck_assert_int_eq(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	ck_assert_int_eq(kern.flags, 0);
}

START_TEST(inherited_but_wrong)
{
	static const short flags[] = { IFF_TUN | IFF_NO_PI | IFF_VNET_HDR, IFF_TAP | IFF_NO_PI,
				       IFF_TAP | IFF_VNET_HDR, IFF_NO_PI | IFF_VNET_HDR };
	int fd = open("/dev/null", O_RDWR);

	for (unsigned int i = 0; i < ARRAY_SIZE(flags); i++) {
		kern.fd_flags = flags[i];
		ck_assert_int_eq(open_tap((struct net_tap_opts){ .fd = fd }), -EINVAL);
		ck_assert_ptr_nonnull(strstr(err.msg, "IFF_VNET_HDR"));
	}
	kern.fail = TUNGETIFF;
	kern.fail_errno = ENOTTY;
	ck_assert_int_eq(open_tap((struct net_tap_opts){ .fd = fd }), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.msg, "is not an open tap"));
	close(fd);
}

/* A sentence for each refusal; nothing is left open. */
static const struct refusal {
	unsigned long request;
	int errnum;
	struct net_tap_opts o;
	enum err_kind kind;
	const char *says;
} refusals[] = {
	{ TUNSETIFF,
	  EPERM,
	  { DEV },
	  ERR_HOST,
	  "needs CAP_NET_ADMIN; as root make one with `ip tuntap add tap0 mode tap user" },
	{ TUNSETIFF,
	  EPERM,
	  { DEV, .queues = 2 },
	  ERR_HOST,
	  "ip tuntap add tap0 mode tap multi_queue user" },
	{ TUNSETIFF,
	  EPERM,
	  { DEV, .tapif = "lo" },
	  ERR_HOST,
	  "tapif=lo: is not this user's: that needs CAP_NET_ADMIN" },
	{ TUNSETIFF, EBUSY, { DEV, .tapif = "lo" }, ERR_USAGE, "tapif=lo: is in use" },
	{ TUNSETIFF,
	  EINVAL,
	  { DEV, .tapif = "lo" },
	  ERR_USAGE,
	  "tapif=lo: is not a tap interface" },
	{ TUNSETIFF,
	  EINVAL,
	  { DEV, .tapif = "lo", .queues = 2 },
	  ERR_USAGE,
	  "tapif=lo: is not a tap with several queues" },
	{ TUNSETIFF, E2BIG, { DEV, .tapif = "lo" }, ERR_USAGE, "no more free queues" },
	{ TUNSETIFF,
	  ENOMEM,
	  { DEV, .tapif = "lo" },
	  ERR_HOST,
	  "interface lo cannot be opened: Cannot allocate" },
	{ TUNSETIFF,
	  EINVAL,
	  { .fd = -1, .macvtap = "/dev/null" },
	  ERR_USAGE,
	  "macvtap=/dev/null: is not the device file" },
	{ SIOCSIFMTU,
	  EINVAL,
	  { DEV, .mtu = 70 },
	  ERR_HOST,
	  "mtu=70: interface lkvm7 does not take it" },
	{ SIOCSIFFLAGS, EPERM, { DEV }, ERR_HOST, "lkvm7 cannot be set up" },
	{ 0,
	  0,
	  { DEV, .tapif = "no-such-if" },
	  ERR_USAGE,
	  "tapif=no-such-if: there is no such interface: make it with `ip tuntap add no-such-if" },
	{ 0, 0, { DEV, .tapif = "0123456789abcdef" }, ERR_USAGE, "is no name of an interface" },
	{ 0, 0, { DEV, .tapif = "" }, ERR_USAGE, "is no name of an interface" },
	{ 0, 0, { DEV, .tapif = "tap%d" }, ERR_USAGE, "is no name of an interface" },
	{ 0, 0, { DEV, .tapif = "lo", .macvtap = "/dev/null" }, ERR_USAGE, "give one of" },
	{ 0, 0, { .fd = 0, .tapif = "lo" }, ERR_USAGE, "give one of" },
	{ 0, 0, { DEV, .queues = 9 }, ERR_USAGE, "mq=9: choose a number from 1 to 8" },
	{ 0,
	  0,
	  { .fd = -1, .macvtap = "/dev/null", .queues = 2 },
	  ERR_USAGE,
	  "mq=2: macvtap= has one queue" },
	{ 0, 0, { .fd = 0, .queues = 2 }, ERR_USAGE, "mq=2: fd= has one queue" },
	{ 0,
	  0,
	  { .fd = -1, .macvtap = "/nowhere/tap1" },
	  ERR_USAGE,
	  "macvtap=/nowhere/tap1: No such file" },
	{ 0,
	  0,
	  { .fd = -1, .dev = "/nowhere/tun" },
	  ERR_HOST,
	  "/nowhere/tun is missing: load the kernel's module with `modprobe tun`" },
	{ 0, 0, { .fd = -1, .dev = "/proc/self" }, ERR_HOST, "cannot open /proc/self" },
	{ 0,
	  0,
	  { DEV, .script = "/nowhere/up" },
	  ERR_USAGE,
	  "script=/nowhere/up: cannot be run: No such file" },
	{ 0,
	  0,
	  { DEV, .script = "/bin/false" },
	  ERR_HOST,
	  "script=/bin/false: ended with status 1" },
};

START_TEST(refused)
{
	const struct refusal *r = &refusals[_i];

	kern.fail = r->request;
	kern.fail_errno = r->errnum;
	ck_assert_int_lt(open_tap(r->o), 0);
	ck_assert_int_eq(err.kind, r->kind);
	ck_assert_msg(strstr(err.msg, r->says) != NULL, "%s", err.msg);
	ck_assert_ptr_null(be);
}

/* A second queue that is refused takes the first one with it. */
START_TEST(refused_half_way)
{
	kern.multi = true;
	kern.fail = TUNSETIFF;
	kern.fail_errno = E2BIG;
	kern.fail_at = 2;
	ck_assert_int_lt(open_tap((struct net_tap_opts){ DEV, .tapif = "lo", .queues = 2 }), 0);
	ck_assert_uint_eq(kern.queues, 1);
}

static void write_script(const char *path, const char *text)
{
	int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0755);

	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

/* With the interface's name, the one after it is there and the other before it goes. */
START_TEST(scripts)
{
	char dir[] = "/tmp/net-tap.XXXXXX", up[64], down[64], out[64], text[128], got[64] = "";

	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(up, sizeof(up), "%s/up", dir);
	snprintf(down, sizeof(down), "%s/down", dir);
	snprintf(out, sizeof(out), "%s/out", dir);
	snprintf(text, sizeof(text), "#!/bin/sh\necho up $# $1 >>%s\n", out);
	write_script(up, text);
	snprintf(text, sizeof(text), "#!/bin/sh\necho down $1 >>%s; exit 3\n", out);
	write_script(down, text);
	ck_assert_int_eq(open_tap((struct net_tap_opts){ DEV, .script = up, .downscript = down }),
			 0);
	be->ops->close(be);
	be = NULL;
	int fd = open(out, O_RDONLY);
	ck_assert_int_gt(read(fd, got, sizeof(got) - 1), 0);
	close(fd);
	ck_assert_str_eq(got, "up 1 lkvm7\ndown lkvm7\n");
	/* Its failure is told, and stops nothing. */
	memset(got, 0, sizeof(got));
	char line[256] = "";
	ck_assert_int_gt(pread(logger.fd, line, sizeof(line) - 1, 0), 0);
	ck_assert_ptr_nonnull(strstr(line, "ended with status 3"));
	write_script(up, "#!/bin/sh\nkill -9 $$\n");
	ck_assert_int_lt(open_tap((struct net_tap_opts){ DEV, .script = up, .downscript = down }),
			 0);
	ck_assert_ptr_nonnull(strstr(err.msg, "was ended by signal 9"));
	unlink(up);
	unlink(down);
	unlink(out);
	ck_assert_int_eq(rmdir(dir), 0);
}

UNIT_SUITE("net-tap", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, makes_one);
	tcase_add_loop_test(tc, offers_what_the_kernel_has, 0, 5);
	tcase_add_loop_test(tc, takes_one_that_exists, 0, 2);
	tcase_add_test(tc, several_queues);
	tcase_add_test(tc, inherited);
	tcase_add_test(tc, inherited_but_wrong);
	tcase_add_loop_test(tc, refused, 0, ARRAY_SIZE(refusals));
	tcase_add_test(tc, refused_half_way);
	tcase_add_test(tc, scripts);
})
