/* SPDX-License-Identifier: GPL-2.0 */
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lkvm/net/forward.h>
#include <lkvm/util.h>

/* --- addresses --- */

socklen_t net_addr_len(const union net_addr *a)
{
	return a->sa.sa_family == AF_INET6 ? sizeof(a->in6) : sizeof(a->in);
}

unsigned int net_addr_port(const union net_addr *a)
{
	return ntohs(a->sa.sa_family == AF_INET6 ? a->in6.sin6_port : a->in.sin_port);
}

void net_addr_text(const union net_addr *a, char *buf, size_t len)
{
	const void *addr = a->sa.sa_family == AF_INET6 ? (const void *)&a->in6.sin6_addr
						       : (const void *)&a->in.sin_addr;

	if (!inet_ntop(a->sa.sa_family, addr, buf, (socklen_t)len))
		snprintf(buf, len, "?");
}

void net_forward_text(const struct net_forward *f, char *buf, size_t len)
{
	char host[INET6_ADDRSTRLEN], guest[INET6_ADDRSTRLEN];
	bool v6 = f->host.sa.sa_family == AF_INET6;
	bool any = f->guest.sa.sa_family == AF_INET && f->guest.in.sin_addr.s_addr == INADDR_ANY;

	net_addr_text(&f->host, host, sizeof(host));
	net_addr_text(&f->guest, guest, sizeof(guest));
	snprintf(buf, len, "%s %s%s%s:%u -> guest%s%s port %u", f->udp ? "udp" : "tcp",
		 v6 ? "[" : "", host, v6 ? "]" : "", net_addr_port(&f->host), any ? "" : " ",
		 any ? "" : guest, net_addr_port(&f->guest));
}

/* --- parsing; each moves *p behind what it took --- */

static bool take_char(const char **p, char c)
{
	if (**p != c)
		return false;
	++*p;
	return true;
}

/* A decimal number of a port. */
static bool take_port(const char **p, unsigned int min, in_port_t *port)
{
	unsigned int v = 0;
	size_t len = strspn(*p, "0123456789");

	if (!len || len > 5)
		return false;
	for (size_t i = 0; i < len; i++)
		v = 10 * v + (unsigned int)((*p)[i] - '0');
	*p += len;
	*port = htons((uint16_t)v);
	return v >= min && v <= UINT16_MAX;
}

/* An address up to `end`. */
static bool take_addr(const char **p, int family, char end, void *addr)
{
	char text[INET6_ADDRSTRLEN];
	const char *stop = strchr(*p, end);

	if (!stop || (size_t)(stop - *p) >= sizeof(text))
		return false;
	snprintf(text, sizeof(text), "%.*s", (int)(stop - *p), *p);
	*p = stop;
	return inet_pton(family, text, addr) == 1;
}

/* "[ADDR]:PORT"; without an address it stays what it is. */
static bool take_end(const char **p, unsigned int port_min, union net_addr *a)
{
	if (take_char(p, '[')) {
		*a = (union net_addr){ .in6.sin6_family = AF_INET6 };
		return take_addr(p, AF_INET6, ']', &a->in6.sin6_addr) && take_char(p, ']') &&
		       take_char(p, ':') && take_port(p, port_min, &a->in6.sin6_port);
	}
	if (**p != ':' && !take_addr(p, AF_INET, ':', &a->in.sin_addr))
		return false;
	return take_char(p, ':') && take_port(p, port_min, &a->in.sin_port);
}

static bool take_forward(const char **p, struct net_forward *f)
{
	*f = (struct net_forward){ .host.in = { .sin_family = AF_INET,
						.sin_addr.s_addr = htonl(INADDR_LOOPBACK) },
				   .guest.in.sin_family = AF_INET };
	f->udp = strncmp(*p, "udp:", 4) == 0;
	if (!f->udp && strncmp(*p, "tcp:", 4))
		return false;
	*p += 4;
	/* libslirp ends the process when the two are of different kinds. */
	return take_end(p, 0, &f->host) && take_char(p, '-') && take_end(p, 1, &f->guest) &&
	       (!**p || **p == '+') && f->host.sa.sa_family == f->guest.sa.sa_family;
}

int net_forwards_parse(struct net_forwards *f, const char *text, struct err *err)
{
	const char *p = text;

	f->nr = 0;
	while (p) {
		const char *start = p;

		if (f->nr == NET_FORWARDS_MAX)
			return err_usage(err, "hostfwd=%.80s: are more than %d forwards", text,
					 NET_FORWARDS_MAX);
		if (!take_forward(&p, &f->list[f->nr]))
			return err_usage(
				err,
				"hostfwd=%.*s: is not tcp|udp:[ADDR]:PORT-[GADDR]:PORT, as "
				"tcp::8080-:80 or tcp:[::1]:8080-[fec0::15]:80",
				(int)MIN(strcspn(start, "+"), 100u), start);
		f->nr++;
		p = *p ? p + 1 : NULL;
	}
	return 0;
}
