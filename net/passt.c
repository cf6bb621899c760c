/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include <lkvm/net/forward.h>
#include <lkvm/net/passt.h>
#include <lkvm/net/socket.h>
#include <lkvm/util.h>

#include "script.h"

/* Where it finds its end of the pair. */
#define CHILD_FD_TEXT "3"
#define CHILD_FD      3

/* What it is started with, and the texts that some of it points to. */
struct command {
	char *argv[16 + 2 * NET_FORWARDS_MAX];
	unsigned int nr;
	char mtu[16];
	char ports[NET_FORWARDS_MAX][64];
};

static void add(struct command *c, const char *word)
{
	/* There is room for all that make_command() adds, and the end. */
	c->argv[c->nr++] = (char *)word;
}

/* "127.0.0.1/8080:80" */
static int add_forward(struct command *c, const struct net_forward *f, unsigned int i,
		       struct err *err)
{
	char addr[INET6_ADDRSTRLEN];

	if (f->host.sa.sa_family != AF_INET || f->guest.in.sin_addr.s_addr != INADDR_ANY)
		return err_usage(err, "hostfwd: passt takes IPv4 addresses, and no GADDR");
	if (!net_addr_port(&f->host))
		return err_usage(err, "hostfwd: passt does not choose a port: give one that is "
				      "not 0, or use mode=user");
	net_addr_text(&f->host, addr, sizeof(addr));
	snprintf(c->ports[i], sizeof(c->ports[i]), "%s/%u:%u", addr, net_addr_port(&f->host),
		 net_addr_port(&f->guest));
	add(c, f->udp ? "--udp-ports" : "--tcp-ports");
	add(c, c->ports[i]);
	return 0;
}

static int make_command(struct command *c, const struct net_passt_opts *o,
			const struct net_forwards *fw, struct err *err)
{
	int ret = 0;

	*c = (struct command){ 0 };
	add(c, o->program ?: "passt");
	add(c, "--quiet");
	add(c, "--fd");
	add(c, CHILD_FD_TEXT);
	if (o->mtu) {
		snprintf(c->mtu, sizeof(c->mtu), "%u", o->mtu);
		add(c, "--mtu");
		add(c, c->mtu);
	}
	for (unsigned int i = 0; !ret && i < fw->nr; i++)
		ret = add_forward(c, &fw->list[i], i, err);
	return ret;
}

/* It goes into the background when it is ready, so its end is awaited; it says on stderr why it does not start. */
static int start(const struct command *c, int fd, struct err *err)
{
	struct err why = ERR_INIT;
	struct net_program p = {
		.what = c->argv[0], .argv = c->argv, .search = true, .fd = fd, .as = CHILD_FD
	};
	int ret = net_program_run(&p, &why);

	if (ret == -ENOENT)
		return err_host(err, 0,
				"%s is missing: install the Debian package passt, or use mode=user",
				c->argv[0]);
	if (ret)
		*err = why;
	return ret;
}

int net_passt_open(struct net_backend **be, const struct net_passt_opts *o, const struct log *log,
		   struct err *err)
{
	struct net_forwards fw;
	struct command c;
	int fds[2];
	int ret = net_forwards_parse(&fw, o->hostfwd, err);

	if (!ret)
		ret = make_command(&c, o, &fw, err);
	if (ret)
		return ret;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		return err_host(err, errno, "cannot make a pair of sockets");
	ret = start(&c, fds[1], err);
	close(fds[1]);
	if (!ret)
		ret = net_socket_open(
			be, &(struct net_socket_opts){ .fd = fds[0], .name = "passt" }, log, err);
	if (ret) {
		close(fds[0]);
		return ret;
	}
	for (unsigned int i = 0; i < fw.nr; i++) {
		char text[NET_FORWARD_TEXT_LEN];

		net_forward_text(&fw.list[i], text, sizeof(text));
		log_notice(log, "network: %s", text);
	}
	return 0;
}
