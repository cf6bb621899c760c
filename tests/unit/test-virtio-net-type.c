// SPDX-License-Identifier: GPL-2.0
// LINK: virtio/net-type.c virtio/net.c virtio/net-io.c virtio/late.c virtio/net-ctrl.c virtio/net-vhost.c virtio/vhost.c net/user.c net/user-check.c net/user-fds.c net/user-lib.c net/forward.c net/passt.c net/pcap.c net/tap.c net/socket.c net/script.c
// LINK: virtio/device.c virtio/registers.c virtio/legacy.c virtio/queue.c gmem.c
// LINK: util/options.c util/json.c util/option-types.c util/option-keys.c util/nearest.c util/loop.c util/log.c util/err.c util/util.c util/thread.c
/* The option --network: what it takes, and what it makes of it. */
#include "unit.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lkvm/gmem.h>
#include <lkvm/json.h>
#include <lkvm/log.h>
#include <lkvm/net/forward.h>
#include <lkvm/util.h>
#include <lkvm/virtio/net-type.h>
#include <lkvm/virtio/net.h>

static char dir[] = "/tmp/lkvm-net-XXXXXX", path[64];
static char text[512];
static struct err err;
static struct loop *loop;
static struct gmem gm;
static struct log null_log = { .fd = -1 };
static uint64_t opts[64];
static unsigned int fds_before;

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
	memcpy(dir + strlen(dir) - 6, "XXXXXX", 6);
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/socket", dir);
	err = ERR_INIT;
	loop = loop_new(&err);
	fds_before = count_fds();
}

static void teardown(void)
{
	ck_assert_uint_eq(count_fds(), fds_before);
	loop_free(loop);
	ck_assert_int_eq(rmdir(dir), 0);
}

static int parse(const char *value)
{
	const struct virtio_type *t = &virtio_net_type;
	struct option_keys table = { t->keys, t->keys_nr, opts };

	ck_assert(t->opts_len <= sizeof(opts));
	memset(opts, 0, sizeof(opts));
	err = ERR_INIT;
	t->defaults(opts);
	snprintf(text, sizeof(text), "%s", value);
	int ret = options_parse_keys(t->option, &table, 1, text, &err);
	return ret ?: t->check(opts, &err);
}

static const struct {
	const char *value, *says;
} bad[] = {
	{ "mac=02:00:00:00:00:01", "option --network needs its mode=user|passt|tap|socket|none" },
	{ "tap", "option --network: unknown key \"tap\"" },
	{ "mode", "option --network, mode needs its user|passt|tap|socket|none" },
	{ "mode=bridge",
	  "option --network, mode: \"bridge\" is none of none, user, passt, tap, socket" },
	{ "mode=none,mtu=67", "option --network, mtu: \"67\" is too small: at least 68" },
	{ "mode=none,mtu=65536", "option --network, mtu: \"65536\" is too large: at most 65535" },
	{ "mode=none,mtu=big", "option --network, mtu: \"big\" is not a number" },
	{ "mode=none,mq=0", "option --network, mq: \"0\" is too small: at least 1" },
	{ "mode=none,mq=9", "option --network, mq: \"9\" is too large: at most 8" },
	{ "mode=none,link=down", "option --network, link: \"down\" is not on or off" },
	{ "mode=none,mac=02:00:00:00:00",
	  "option --network, mac: \"02:00:00:00:00\" is not six bytes such as 02:00:00:12:34:56" },
	{ "mode=none,mac=02:00:00:00:00:01:", "option --network, mac: " },
	{ "mode=none,mac=02:00:00:00:00:1", "option --network, mac: " },
	{ "mode=none,mac=02-00-00-00-00-01", "option --network, mac: " },
	{ "mode=none,mac=02:00:00:00:00:0g", "option --network, mac: " },
	{ "mode=none,mac=+2:00:00:00:00:01", "option --network, mac: " },
	{ "mode=none,mac=020:0:00:00:00:01", "option --network, mac: " },
	{ "mode=none,fd=-1", "option --network, fd: \"-1\" is not a number" },
	{ "mode=none,fd=2147483648",
	  "option --network, fd: \"2147483648\" is too large: at most 2147483647" },
	{ "mode=none,fd=0", "option --network: fd is no key of mode=none" },
	{ "mode=none,tapif=tap0", "option --network: tapif is no key of mode=none" },
	{ "mode=socket,tapif=tap0", "option --network: tapif is no key of mode=socket" },
	{ "mode=socket,macvtap=/dev/tap1", "option --network: macvtap is no key of mode=socket" },
	{ "mode=socket,script=a", "option --network: script is no key of mode=socket" },
	{ "mode=socket,downscript=a", "option --network: downscript is no key of mode=socket" },
	{ "mode=tap,path=a", "option --network: path is no key of mode=tap" },
	{ "mode=tap,server", "option --network: server is no key of mode=tap" },
	{ "mode=socket,fd=3,server", "option --network: server needs a path=" },
	{ "mode=tap,hostfwd=tcp::0-:22", "option --network: hostfwd is no key of mode=tap" },
	{ "mode=passt,restrict=on", "option --network: restrict is no key of mode=passt" },
	{ "mode=user,restrict=yes", "option --network, restrict: \"yes\" is not on or off" },
	{ "mode=user,fd=3", "option --network: fd is no key of mode=user" },
	{ "mode=user,path=a", "option --network: path is no key of mode=user" },
	{ "mode=socket,server=on", "option --network, server takes no value" },
};

START_TEST(says_what_is_wrong)
{
	ck_assert_int_eq(parse(bad[_i].value), -EINVAL);
	ck_assert_msg(strncmp(err.msg, bad[_i].says, strlen(bad[_i].says)) == 0, "%s", err.msg);
	ck_assert_int_eq(err.kind, ERR_USAGE);
}

static struct virtio_net *make_as(const char *value, const char *name, unsigned int number,
				  int want)
{
	struct virtio_device *vd = (void *)1;
	struct virtio_host host = { .gm = &gm,
				    .log = &null_log,
				    .loops = &loop,
				    .loops_nr = 1,
				    .cpus_nr = 1,
				    .name = name,
				    .number = number };

	ck_assert_msg(!parse(value), "%s", err.msg);
	int ret = virtio_net_type.make(&vd, opts, &host, &err);
	ck_assert_msg(ret == want, "%d: %s", ret, err.msg);
	return vd ? vd->priv : NULL;
}

static void destroy(struct virtio_net *n)
{
	virtio_net_type.destroy(&n->vd);
}

static struct virtio_net *serve(const char *more, const char *name, unsigned int number)
{
	char value[256];

	snprintf(value, sizeof(value), "mode=socket,server,path=%s%s", path, more);
	return make_as(value, name, number, 0);
}

START_TEST(none_is_no_device)
{
	ck_assert_ptr_null(make_as("mode=none,mac=02:00:00:00:00:01,mtu=1500", NULL, 0, 0));
}

START_TEST(makes_what_was_asked_for)
{
	struct stat st;
	struct virtio_net *n = serve("", NULL, 0);

	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(n->pairs_max, 1);
	ck_assert_uint_eq(n->mtu, 0);
	ck_assert(n->link);
	destroy(n);
	ck_assert_int_ne(stat(path, &st), 0);
	n = serve(",mac=0a:1B:2c:3D:4e:5F,mtu=1400,mq=1,link=off", "name", 0);
	ck_assert_uint_eq(n->configured_mac, UINT64_C(0x0a1b2c3d4e5f));
	ck_assert_uint_eq(n->mtu, 1400);
	ck_assert(!n->link);
	destroy(n);
}

START_TEST(takes_a_descriptor)
{
	char value[64];
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	snprintf(value, sizeof(value), "mode=socket,fd=%d", fds[0]);
	struct virtio_net *n = make_as(value, NULL, 0, 0);
	ck_assert(n->carrier);
	destroy(n);
	close(fds[1]);
}

START_TEST(user_mode_and_a_record)
{
	char value[256], file[80];
	struct stat st;

	snprintf(file, sizeof(file), "%s/pcap", dir);
	snprintf(value, sizeof(value),
		 "mode=user,hostfwd=tcp::0-:22+udp::0-:53,restrict=on,pcap=%s", file);
	struct virtio_net *n = make_as(value, NULL, 0, 0);
	ck_assert_str_eq(n->be->ops->name, "pcap");
	destroy(n);
	ck_assert_int_eq(stat(file, &st), 0);
	ck_assert_int_eq(st.st_size, 24);
	unlink(file);
}

START_TEST(what_the_result_has)
{
	static const char want[] =
		"{\"queues\": [{\"rx\": {\"packets\": 1,\"bytes\": 2,\"dropped\": 3,"
		"\"filtered\": 4,\"errors\": 5},\"tx\": {\"packets\": 6,\"bytes\": 7,"
		"\"dropped\": 8,\"filtered\": 0,\"errors\": 9}}],\"forwards\": "
		"[{\"protocol\": \"tcp\",\"host\": \"127.0.0.1\",\"port\": 8022,"
		"\"guest\": null,\"guest_port\": 22},{\"protocol\": \"udp\","
		"\"host\": \"::1\",\"port\": 53,\"guest\": \"fec0::15\","
		"\"guest_port\": 5353}]}";
	struct virtio_net *n = serve("", NULL, 0);
	struct net_forwards forwards;
	char got[1024], *json = NULL;
	size_t len, at = 0;

	ck_assert_int_eq(
		net_forwards_parse(&forwards, "tcp::8022-:22+udp:[::1]:53-[fec0::15]:5353", &err),
		0);
	n->be->forwards = &forwards;
	struct virtio_net_count *rx = &n->pair[0].rx_count, *tx = &n->pair[0].tx_count;
	_Atomic uint64_t *counts[] = { &rx->packets,  &rx->bytes,   &rx->dropped,
				       &rx->filtered, &rx->errors,  &tx->packets,
				       &tx->bytes,    &tx->dropped, &tx->errors };
	for (unsigned int i = 0; i < ARRAY_SIZE(counts); i++)
		*counts[i] = i + 1;
	struct json j = { .out = open_memstream(&json, &len) };
	json_open(&j, NULL, '{');
	virtio_net_type.stats(&n->vd, &j);
	json_close(&j, '}');
	fclose(j.out);
	/* Without the line breaks and what indents. */
	for (const char *p = json; *p && at + 1 < sizeof(got); p++)
		if (*p == '\n')
			while (p[1] == ' ')
				p++;
		else
			got[at++] = *p;
	got[at] = 0;
	ck_assert_str_eq(got, want);
	free(json);
	/* The kernel counts what it moves. */
	n->vhost = true;
	n->be->forwards = NULL;
	j = (struct json){ .out = open_memstream(&json, &len) };
	json_open(&j, NULL, '{');
	virtio_net_type.stats(&n->vd, &j);
	json_close(&j, '}');
	fclose(j.out);
	ck_assert_str_eq(json, "{\n  \"queues\": [],\n  \"forwards\": []\n}\n");
	free(json);
	n->vhost = false;
	destroy(n);
}

static uint64_t mac_for(const char *name, unsigned int number)
{
	struct virtio_net *n = serve("", name, number);
	uint64_t mac = n->configured_mac;

	destroy(n);
	/* Locally administered, and one station's. */
	ck_assert_uint_eq(mac >> 40 & 3, 2);
	return mac;
}

START_TEST(default_macs)
{
	uint64_t a0 = mac_for("a", 0);

	ck_assert_uint_eq(mac_for("a", 0), a0);
	ck_assert_uint_ne(mac_for("a", 1), a0);
	ck_assert_uint_ne(mac_for("b", 0), a0);
	ck_assert_uint_ne(mac_for(NULL, 0), mac_for(NULL, 0));
}

static const struct {
	const char *value, *says;
	int ret;
	enum err_kind kind;
} refused[] = {
	{ "mode=socket", "--network mode=socket: a network socket needs one of path= and fd=",
	  -EINVAL, ERR_USAGE },
	{ "mode=socket,path=/nonexistent/socket",
	  "--network mode=socket: path=/nonexistent/socket: nobody answers there: No such file",
	  -EINVAL, ERR_USAGE },
	{ "mode=socket,fd=2000000000", "--network mode=socket: fd=2000000000: is not a connected",
	  -EINVAL, ERR_USAGE },
	{ "mode=socket,server,path=%s,mq=2",
	  "--network mode=socket: mq=2: this kind of network has at most 1 pairs of queues",
	  -EINVAL, ERR_USAGE },
	{ "mode=socket,server,path=%s,mac=03:00:00:00:00:01",
	  "--network mode=socket: mac=03:00:00:00:00:01: a network card needs a unicast", -EINVAL,
	  ERR_USAGE },
	{ "mode=tap,tapif=no-such-tap0",
	  "--network mode=tap: tapif=no-such-tap0: there is no such interface", -EINVAL,
	  ERR_USAGE },
	{ "mode=tap,tapif=a,macvtap=b",
	  "--network mode=tap: give one of tapif=, macvtap= and fd=", -EINVAL, ERR_USAGE },
	{ "mode=tap,fd=2000000000", "--network mode=tap: fd=2000000000: is not an open tap",
	  -EINVAL, ERR_USAGE },
	{ "mode=user,hostfwd=22", "--network mode=user: hostfwd=22: is not tcp|udp:[ADDR]:PORT-",
	  -EINVAL, ERR_USAGE },
	{ "mode=user,mq=2", "--network mode=user: mq=2: this kind of network has at most 1 pairs",
	  -EINVAL, ERR_USAGE },
	{ "mode=user,mtu=65535", "--network mode=user: mtu=65535: at most 65521 here", -EINVAL,
	  ERR_USAGE },
	{ "mode=user,pcap=/nonexistent/file",
	  "--network mode=user: pcap=/nonexistent/file: cannot be written: No such file", -ENOENT,
	  ERR_HOST },
	{ "mode=socket,server,path=%s,pcap=/dev/null",
	  "--network mode=socket: pcap=/dev/null: is not a regular file", -EINVAL, ERR_USAGE },
	{ "mode=passt,hostfwd=tcp::0-:22",
	  "--network mode=passt: hostfwd: passt does not choose a port", -EINVAL, ERR_USAGE },
	{ "mode=tap,macvtap=/nonexistent",
	  "--network mode=tap: macvtap=/nonexistent: No such file or directory", -EINVAL,
	  ERR_USAGE },
};

START_TEST(lets_go_of_all_when_it_fails)
{
	char value[256];

	snprintf(value, sizeof(value), refused[_i].value, path);
	ck_assert_ptr_null(make_as(value, NULL, 0, refused[_i].ret));
	ck_assert_msg(strncmp(err.msg, refused[_i].says, strlen(refused[_i].says)) == 0, "%s",
		      err.msg);
	ck_assert_int_eq(err.kind, refused[_i].kind);
}

UNIT_SUITE("virtio-net-type", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, says_what_is_wrong, 0, ARRAY_SIZE(bad));
	tcase_add_test(tc, none_is_no_device);
	tcase_add_test(tc, makes_what_was_asked_for);
	tcase_add_test(tc, takes_a_descriptor);
	tcase_add_test(tc, user_mode_and_a_record);
	tcase_add_test(tc, what_the_result_has);
	tcase_add_test(tc, default_macs);
	tcase_add_loop_test(tc, lets_go_of_all_when_it_fails, 0, ARRAY_SIZE(refused));
})
