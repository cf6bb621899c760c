/* SPDX-License-Identifier: GPL-2.0 */
/* The option --network: a packet backend (net/) behind a virtio network device. */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <lkvm/json.h>
#include <lkvm/net/forward.h>
#include <lkvm/net/passt.h>
#include <lkvm/net/pcap.h>
#include <lkvm/net/socket.h>
#include <lkvm/net/tap.h>
#include <lkvm/net/user.h>
#include <lkvm/util.h>
#include <lkvm/virtio/net-type.h>
#include <lkvm/virtio/net.h>

enum net_mode { MODE_NONE, MODE_USER, MODE_PASST, MODE_TAP, MODE_SOCKET };

static const char *const mode_names[] = { "none", "user", "passt", "tap", "socket", NULL };
#define MODES "user|passt|tap|socket|none"

struct network_opts {
	unsigned int mode; /* enum net_mode */
	bool mode_given;
	bool link, server, vhost;
	bool mac_given;
	uint8_t mac[6];
	uint32_t mtu; /* 0: not given */
	uint32_t mq;  /* 0: not given */
	int fd;       /* -1 */
	const char *tapif, *macvtap, *script, *downscript;
	const char *path;
	const char *hostfwd;
	bool restricted;
	const char *pcap;
};

/* --- keys --- */

static int parse_mode(void *cfg, const struct option_def *def, const char *arg, struct err *err)
{
	((struct network_opts *)cfg)->mode_given = true;
	return option_choice(cfg, def, arg, err);
}

/* "52:54:00:12:34:56" */
static bool scan_mac(const char *arg, uint8_t mac[6])
{
	for (unsigned int i = 0; i < 6; i++, arg += 3) {
		if (strspn(arg, "0123456789abcdefABCDEF") != 2 || arg[2] != (i < 5 ? ':' : '\0'))
			return false;
		mac[i] = (uint8_t)strtoul(arg, NULL, 16);
	}
	return true;
}

static int parse_mac(void *cfg, const struct option_def *def, const char *arg, struct err *err)
{
	struct network_opts *o = cfg;

	if (!scan_mac(arg, o->mac))
		return err_usage(
			err, "option --%s: \"%.80s\" is not six bytes such as 02:00:00:12:34:56",
			def->name, arg);
	o->mac_given = true;
	return 0;
}

static int parse_fd(void *cfg, const struct option_def *def, const char *arg, struct err *err)
{
	uint32_t fd = 0;
	struct option_def number = *def;

	number.off = 0;
	int ret = option_u32(&fd, &number, arg, err);
	if (!ret)
		((struct network_opts *)cfg)->fd = (int)fd;
	return ret;
}

#define AT(field) .off = offsetof(struct network_opts, field)

static const struct option_def network_keys[] = {
	{ .name = "mode",
	  .arg = MODES,
	  .parse = parse_mode,
	  AT(mode),
	  .choices = mode_names,
	  .help = "where its frames go. user: a network of its own, inside lkvm, without "
		  "privileges; passt: the same by the program of that name; tap: an interface of "
		  "the host; socket: a stream socket, as QEMU's \"stream\" netdev speaks it; none: "
		  "there is no network card" },
	{ .name = "mac",
	  .arg = "ADDRESS",
	  .parse = parse_mac,
	  .help = "the card's address (default: made from --name, or random)" },
	{ .name = "mtu",
	  .arg = "BYTES",
	  .parse = option_u32,
	  AT(mtu),
	  .min = NET_MTU_MIN,
	  .max = NET_MTU_MAX,
	  .help = "the largest packet, which the guest is told" },
	{ .name = "mq",
	  .arg = "N",
	  .parse = option_u32,
	  AT(mq),
	  .min = 1,
	  .max = NET_PORTS_MAX,
	  .help = "pairs of queues (default 1)" },
	{ .name = "link",
	  .arg = "on|off",
	  .parse = option_on_off,
	  AT(link),
	  .help = "off: no cable is plugged in" },
	{ .name = "pcap",
	  .arg = "FILE",
	  .parse = option_string,
	  AT(pcap),
	  .help = "record its frames in a file that tcpdump reads" },
	{ .name = "hostfwd",
	  .arg = "FORWARDS",
	  .parse = option_string,
	  AT(hostfwd),
	  .help = "user, passt: ports of the host that lead into the guest, "
		  "tcp|udp:[ADDR]:PORT-[GADDR]:PORT with a '+' between two (default ADDR: "
		  "127.0.0.1); user: port 0 is one that is free, which is told on stderr" },
	{ .name = "restrict",
	  .arg = "on|off",
	  .parse = option_on_off,
	  AT(restricted),
	  .help = "user, on: the guest reaches nobody, but forwards reach it" },
	{ .name = "fd",
	  .arg = "N",
	  .parse = parse_fd,
	  .max = INT32_MAX,
	  .help = "tap, socket: an open descriptor of it that lkvm inherits" },
	{ .name = "tapif",
	  .arg = "NAME",
	  .parse = option_string,
	  AT(tapif),
	  .help = "tap: an interface that exists (default: one is made, which needs CAP_NET_ADMIN, "
		  "and is gone afterwards)" },
	{ .name = "macvtap",
	  .arg = "PATH",
	  .parse = option_string,
	  AT(macvtap),
	  .help = "tap: the device file of a macvtap interface, /dev/tapN" },
	{ .name = "vhost",
	  .arg = "on|off",
	  .parse = option_on_off,
	  AT(vhost),
	  .help = "tap: on: the host's kernel moves the frames (vhost-net), and lkvm does not see "
		  "them (default off)" },
	{ .name = "script",
	  .arg = "FILE",
	  .parse = option_string,
	  AT(script),
	  .help = "tap: a program that gets the interface's name when it is there" },
	{ .name = "downscript",
	  .arg = "FILE",
	  .parse = option_string,
	  AT(downscript),
	  .help = "tap: the same before it is let go" },
	{ .name = "path",
	  .arg = "PATH",
	  .parse = option_string,
	  AT(path),
	  .help = "socket: of a unix socket" },
	{ .name = "server",
	  .parse = option_set,
	  AT(server),
	  .help = "socket: listen at the path, for one peer after the other" },
};

static void network_defaults(void *opts)
{
	*(struct network_opts *)opts = (struct network_opts){ .link = true, .fd = -1 };
}

/* --- what keys say together --- */

/* Keys that only some modes have. */
static int check_modes(const struct network_opts *o, struct err *err)
{
	const struct {
		const char *key;
		bool given;
		unsigned int modes;
	} own[] = {
		{ "hostfwd", o->hostfwd, 1 << MODE_USER | 1 << MODE_PASST },
		{ "restrict", o->restricted, 1 << MODE_USER },
		{ "fd", o->fd >= 0, 1 << MODE_TAP | 1 << MODE_SOCKET },
		{ "tapif", o->tapif, 1 << MODE_TAP },
		{ "macvtap", o->macvtap, 1 << MODE_TAP },
		{ "vhost=on", o->vhost, 1 << MODE_TAP },
		{ "script", o->script, 1 << MODE_TAP },
		{ "downscript", o->downscript, 1 << MODE_TAP },
		{ "path", o->path, 1 << MODE_SOCKET },
		{ "server", o->server, 1 << MODE_SOCKET },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(own); i++)
		if (own[i].given && !(own[i].modes & 1 << o->mode))
			return err_usage(err, "option --network: %s is no key of mode=%s",
					 own[i].key, mode_names[o->mode]);
	return 0;
}

static int network_check(const void *opts, struct err *err)
{
	const struct network_opts *o = opts;

	if (!o->mode_given)
		return err_usage(err, "option --network needs its mode=" MODES);
	if (o->mode == MODE_SOCKET && o->server && !o->path)
		return err_usage(err, "option --network: server needs a path=");
	return check_modes(o, err);
}

/* --- making one --- */

#define FNV_OFFSET UINT64_C(0xcbf29ce484222325)
#define FNV_PRIME  UINT64_C(0x100000001b3)

/* Locally administered, unicast; see the header. */
static int default_mac(uint8_t mac[6], const struct virtio_host *host, struct err *err)
{
	uint64_t h = FNV_OFFSET;

	if (host->name) {
		for (const char *p = host->name; *p; p++)
			h = (h ^ (uint8_t)*p) * FNV_PRIME;
		h = (h ^ host->number) * FNV_PRIME;
	} else if (getrandom(&h, sizeof(h), 0) != sizeof(h)) {
		return err_host(err, errno, "no random numbers for a MAC address");
	}
	mac[0] = 0x02;
	for (unsigned int i = 1; i < 6; i++)
		mac[i] = (uint8_t)(h >> (8 * i));
	return 0;
}

static int open_backend(struct net_backend **be, const struct network_opts *o,
			const struct log *log, struct err *err)
{
	switch ((enum net_mode)o->mode) {
	case MODE_USER: {
		struct net_user_opts user = { .hostfwd = o->hostfwd,
					      .restricted = o->restricted,
					      .mtu = (uint16_t)o->mtu };

		return net_user_open(be, &user, log, err);
	}
	case MODE_PASST: {
		struct net_passt_opts passt = { .hostfwd = o->hostfwd, .mtu = (uint16_t)o->mtu };

		return net_passt_open(be, &passt, log, err);
	}
	case MODE_TAP: {
		struct net_tap_opts tap = { .tapif = o->tapif,
					    .macvtap = o->macvtap,
					    .fd = o->fd,
					    .queues = o->mq,
					    .mtu = (uint16_t)o->mtu,
					    .script = o->script,
					    .downscript = o->downscript };

		return net_tap_open(be, &tap, log, err);
	}
	case MODE_SOCKET: {
		struct net_socket_opts socket = { .path = o->path,
						  .server = o->server,
						  .fd = o->fd };

		return net_socket_open(be, &socket, log, err);
	}
	case MODE_NONE:
		break;
	}
	return -EINVAL;
}

static void network_destroy(struct virtio_device *vd)
{
	struct virtio_net *n = vd->priv;
	struct net_backend *be = n->be;

	virtio_net_release(n);
	be->ops->close(be);
	free(n);
}

static int make_on(struct virtio_net *n, const struct network_opts *o,
		   const struct virtio_host *host, struct err *err)
{
	struct virtio_net_opts net = {
		.mtu = (uint16_t)o->mtu, .pairs = o->mq, .vhost = o->vhost, .link_off = !o->link
	};
	int ret = 0;

	memcpy(net.mac, o->mac, sizeof(net.mac));
	if (!o->mac_given)
		ret = default_mac(net.mac, host, err);
	if (!ret)
		ret = open_backend(&net.backend, o, host->log, err);
	if (ret)
		return ret;
	if (o->pcap)
		ret = net_pcap_open(&net.backend, o->pcap, host->log, err);
	if (!ret)
		ret = virtio_net_init(n, &net, host->gm, host->log, host->loops, host->loops_nr,
				      err);
	if (ret)
		net.backend->ops->close(net.backend);
	return ret;
}

static int network_make(struct virtio_device **out, const void *opts,
			const struct virtio_host *host, struct err *err)
{
	const struct network_opts *o = opts;

	*out = NULL;
	if (o->mode == MODE_NONE)
		return 0;
	struct virtio_net *n = calloc(1, sizeof(*n));
	int ret = n ? make_on(n, o, host, err) : err_host(err, ENOMEM, "no memory for it");
	if (ret) {
		err_prefix(err, "--network mode=%s", mode_names[o->mode]);
		free(n);
		return ret;
	}
	*out = &n->vd;
	return 0;
}

static void put_count(struct json *j, const char *key, const struct virtio_net_count *c)
{
	json_open(j, key, '{');
	json_number(j, "packets", atomic_load_explicit(&c->packets, memory_order_relaxed));
	json_number(j, "bytes", atomic_load_explicit(&c->bytes, memory_order_relaxed));
	json_number(j, "dropped", atomic_load_explicit(&c->dropped, memory_order_relaxed));
	json_number(j, "filtered", atomic_load_explicit(&c->filtered, memory_order_relaxed));
	json_number(j, "errors", atomic_load_explicit(&c->errors, memory_order_relaxed));
	json_close(j, '}');
}

static void put_forward(struct json *j, const struct net_forward *f)
{
	char host[INET6_ADDRSTRLEN], guest[INET6_ADDRSTRLEN];
	bool by_dhcp = f->guest.sa.sa_family == AF_INET && !f->guest.in.sin_addr.s_addr;

	net_addr_text(&f->host, host, sizeof(host));
	net_addr_text(&f->guest, guest, sizeof(guest));
	json_open(j, NULL, '{');
	json_string(j, "protocol", f->udp ? "udp" : "tcp");
	json_string(j, "host", host);
	json_number(j, "port", net_addr_port(&f->host));
	json_string(j, "guest", by_dhcp ? NULL : guest);
	json_number(j, "guest_port", net_addr_port(&f->guest));
	json_close(j, '}');
}

static void network_stats(const struct virtio_device *vd, struct json *j)
{
	const struct virtio_net *n = vd->priv;
	const struct net_forwards *forwards = n->be->forwards;

	/* What the kernel moves it does not count for us. */
	json_open(j, "queues", '[');
	for (unsigned int i = 0; !n->vhost && i < n->pairs_max; i++) {
		json_open(j, NULL, '{');
		put_count(j, "rx", &n->pair[i].rx_count);
		put_count(j, "tx", &n->pair[i].tx_count);
		json_close(j, '}');
	}
	json_close(j, ']');
	json_open(j, "forwards", '[');
	for (unsigned int i = 0; forwards && i < forwards->nr; i++)
		put_forward(j, &forwards->list[i]);
	json_close(j, ']');
}

const struct virtio_type virtio_net_type = {
	.option = "network",
	.letter = 'n',
	.arg = "mode=MODE[,KEY=VALUE...]",
	.module = "virtio_net",
	.help = "a network card, by virtio; there is none without it",
	.keys = network_keys,
	.keys_nr = ARRAY_SIZE(network_keys),
	.opts_len = sizeof(struct network_opts),
	.defaults = network_defaults,
	.check = network_check,
	.make = network_make,
	.stats = network_stats,
	.destroy = network_destroy,
};
