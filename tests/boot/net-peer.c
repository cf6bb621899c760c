// SPDX-License-Identifier: GPL-2.0
/*
 * Both ends of the network tests and benchmarks, in the guest and outside: streams whose bytes are checked, datagrams, and
 * the few settings that busybox has no command for. Static, and without a library but libc.
 *
 *   net-peer serve PORT [HOOK]      for the commands below, until it is killed; HOOK is a program that they can ask for
 *   net-peer put HOST PORT MIB      a stream to the server, which checks it
 *   net-peer get HOST PORT MIB      one from it, checked here
 *   net-peer udp HOST PORT NR SIZE  datagrams of this size that come back, one after the other, checked
 *   net-peer hook HOST PORT WORD    runs HOOK WORD there, and ends as it does
 *   net-peer offload IF NAME VALUE  one of ethtool's (tso, gso, gro, tx, rx-gro-hw), 0 or 1
 *   net-peer frames IF MAC NR       raw frames to an address, of a type that nobody has
 *   net-peer perf-put|perf-get|perf-rr HOST PORT SECONDS
 *                                   "BYTES SECONDS" of an unchecked stream, or "COUNT SECONDS" of requests of a byte
 * Prints one line, and ends 0 when all of it was right.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/if_packet.h>
#include <linux/sockios.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHUNK      65536u
#define UDP_MAX    65507
#define ETHERTYPE  0x88b5 /* IEEE 802: local experiments */
#define TIMEOUT_MS 20000
#define RETRY_MS   500

static uint8_t pattern[CHUNK], chunk[CHUNK];

static int die(const char *what)
{
	fprintf(stderr, "net-peer: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Bytes that no short shift leaves as they are. */
static void make_pattern(void)
{
	uint32_t x = 12345;

	for (unsigned int i = 0; i < CHUNK; i++)
		pattern[i] = (uint8_t)((x = x * 1664525 + 1013904223) >> 24);
}

static struct sockaddr_in address(const char *host, const char *port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)) };

	if (host && inet_pton(AF_INET, host, &a.sin_addr) != 1)
		die(host);
	return a;
}

static void set_limits(int fd)
{
	struct timeval tv = { .tv_sec = TIMEOUT_MS / 1000 };
	int one = 1;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

static bool write_all(int fd, const void *buf, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = write(fd, (const uint8_t *)buf + done, len - done);

		if (n <= 0)
			return false;
		done += (size_t)n;
	}
	return true;
}

static bool read_all(int fd, void *buf, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = read(fd, (uint8_t *)buf + done, len - done);

		if (n <= 0)
			return false;
		done += (size_t)n;
	}
	return true;
}

/* --- the server --- */

struct request {
	char what[16], word[32];
	uint64_t nr;
};

static bool send_stream(int fd, uint64_t len)
{
	for (; len; len -= CHUNK)
		if (!write_all(fd, pattern, CHUNK))
			return false;
	return true;
}

/* 0 all of it was right, else 1. */
static uint8_t check_stream(int fd, uint64_t len)
{
	for (; len; len -= CHUNK)
		if (!read_all(fd, chunk, CHUNK) || memcmp(chunk, pattern, CHUNK))
			return 1;
	return 0;
}

static uint8_t run_hook(const char *hook, const char *word)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		execl(hook, hook, word, (char *)NULL);
		_exit(126);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return 1;
	return (uint8_t)WEXITSTATUS(status);
}

static void serve_stream(int fd, const char *hook)
{
	struct request r;
	uint8_t answer = 1, byte;

	set_limits(fd);
	if (!read_all(fd, &r, sizeof(r)))
		return;
	r.word[sizeof(r.word) - 1] = '\0';
	if (!strcmp(r.what, "put")) {
		answer = check_stream(fd, r.nr);
		(void)!write_all(fd, &answer, 1);
	} else if (!strcmp(r.what, "get")) {
		send_stream(fd, r.nr);
	} else if (!strcmp(r.what, "hook")) {
		answer = run_hook(hook, r.word);
		(void)!write_all(fd, &answer, 1);
	} else if (!strcmp(r.what, "perf-put")) {
		while (read(fd, chunk, CHUNK) > 0)
			;
	} else if (!strcmp(r.what, "perf-get")) {
		while (write(fd, pattern, CHUNK) > 0)
			;
	} else if (!strcmp(r.what, "perf-rr")) {
		while (read(fd, &byte, 1) == 1 && write(fd, &byte, 1) == 1)
			;
	}
}

static int serve(const char *port, const char *hook)
{
	struct sockaddr_in a = address(NULL, port), from;
	socklen_t len = sizeof(from);
	int tcp = socket(AF_INET, SOCK_STREAM, 0), udp = socket(AF_INET, SOCK_DGRAM, 0), one = 1;
	struct pollfd fds[] = { { .fd = tcp, .events = POLLIN }, { .fd = udp, .events = POLLIN } };

	setsockopt(tcp, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(tcp, (struct sockaddr *)&a, sizeof(a)) || listen(tcp, 16) ||
	    bind(udp, (struct sockaddr *)&a, sizeof(a)))
		die("bind");
	signal(SIGCHLD, SIG_IGN);
	while (poll(fds, 2, -1) >= 0) {
		if (fds[1].revents) {
			ssize_t n = recvfrom(udp, chunk, CHUNK, 0, (struct sockaddr *)&from, &len);

			if (n >= 0)
				sendto(udp, chunk, (size_t)n, 0, (struct sockaddr *)&from, len);
		}
		if (!fds[0].revents)
			continue;
		int fd = accept(tcp, NULL, NULL);
		if (fd >= 0 && fork() == 0) {
			signal(SIGCHLD, SIG_DFL);
			serve_stream(fd, hook);
			_exit(0);
		}
		close(fd);
	}
	return 1;
}

/* --- who asks it --- */

static int ask(const char *host, const char *port, const char *what, const char *word, uint64_t nr)
{
	struct sockaddr_in a = address(host, port);
	struct request r = { .nr = nr };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	set_limits(fd);
	snprintf(r.what, sizeof(r.what), "%s", what);
	snprintf(r.word, sizeof(r.word), "%s", word);
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)))
		die("connect");
	if (!write_all(fd, &r, sizeof(r)))
		die("request");
	return fd;
}

static int answer(int fd)
{
	uint8_t byte;

	if (!read_all(fd, &byte, 1))
		die("answer");
	return byte;
}

static int udp(const char *host, const char *port, int nr, int size)
{
	struct sockaddr_in a = address(host, port);
	struct pollfd p = { .fd = socket(AF_INET, SOCK_DGRAM, 0), .events = POLLIN };
	int lost = 0;

	if (size < 4 || size > UDP_MAX || connect(p.fd, (struct sockaddr *)&a, sizeof(a)))
		die("udp");
	for (int i = 0; i < nr;) {
		uint8_t *got = chunk;

		/* What comes late is of an earlier number. */
		memcpy(pattern, &i, sizeof(i));
		if (send(p.fd, pattern, (size_t)size, 0) != size)
			die("send");
		if (poll(&p, 1, RETRY_MS) != 1) {
			if (++lost > 10)
				die("datagrams are lost");
			continue;
		}
		ssize_t n = recv(p.fd, got, CHUNK, 0);
		if (n < 0)
			die("recv");
		if (n != size || memcmp(got, pattern, (size_t)size)) {
			fprintf(stderr, "net-peer: a datagram came back changed\n");
			return 1;
		}
		i++;
	}
	printf("udp: %d of %d bytes came back\n", nr, size);
	return 0;
}

static int perf(const char *host, const char *port, const char *what, double seconds)
{
	int fd = ask(host, port, what, "", 0);
	double start = now(), end = start;
	uint64_t count = 0;
	uint8_t byte = 0;

	while ((end = now()) < start + seconds) {
		ssize_t n = 1;

		if (!strcmp(what, "perf-put"))
			n = write(fd, pattern, CHUNK);
		else if (!strcmp(what, "perf-get"))
			n = read(fd, chunk, CHUNK);
		else if (write(fd, &byte, 1) != 1 || read(fd, &byte, 1) != 1)
			n = -1;
		if (n <= 0)
			die(what);
		count += (uint64_t)n;
	}
	printf("%llu %.6f\n", (unsigned long long)count, end - start);
	return 0;
}

/* --- settings, and frames --- */

/* The number of one that has no command of its own; they have names in the kernel's order. */
static int find_feature(int fd, struct ifreq ifr, const char *name)
{
	struct {
		struct ethtool_sset_info info;
		uint32_t len;
	} set = { .info = { .cmd = ETHTOOL_GSSET_INFO, .sset_mask = 1ull << ETH_SS_FEATURES } };
	static struct {
		struct ethtool_gstrings head;
		char names[256][ETH_GSTRING_LEN];
	} strings = { .head = { .cmd = ETHTOOL_GSTRINGS, .string_set = ETH_SS_FEATURES } };

	ifr.ifr_data = (void *)&set;
	if (ioctl(fd, SIOCETHTOOL, &ifr) || set.len > 256)
		die("features");
	ifr.ifr_data = (void *)&strings;
	if (ioctl(fd, SIOCETHTOOL, &ifr))
		die("features");
	for (uint32_t i = 0; i < set.len; i++)
		if (!strncmp(strings.names[i], name, ETH_GSTRING_LEN))
			return (int)i;
	return -1;
}

static bool set_feature(int fd, struct ifreq ifr, const char *name, bool on)
{
	int i = find_feature(fd, ifr, name);
	struct {
		struct ethtool_sfeatures head;
		struct ethtool_set_features_block blocks[256 / 32];
	} set = { .head = { .cmd = ETHTOOL_SFEATURES } };

	if (i < 0)
		return false;
	/* The kernel wants as many blocks as it has. */
	set.blocks[i / 32].valid = 1u << i % 32;
	set.blocks[i / 32].requested = on ? 1u << i % 32 : 0;
	ifr.ifr_data = (void *)&set;
	for (set.head.size = 1; set.head.size <= 8; set.head.size++)
		if ((int)set.head.size > i / 32 && ioctl(fd, SIOCETHTOOL, &ifr) >= 0)
			return true;
	return false;
}

static int offload(const char *ifname, const char *name, uint32_t value)
{
	static const struct {
		const char *name;
		uint32_t cmd;
	} names[] = {
		{ "tso", ETHTOOL_STSO },   { "gso", ETHTOOL_SGSO }, { "gro", ETHTOOL_SGRO },
		{ "tx", ETHTOOL_STXCSUM }, { "sg", ETHTOOL_SSG },
	};
	struct ethtool_value v = { .data = value };
	struct ifreq ifr = { 0 };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	for (unsigned int i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!strcmp(names[i].name, name))
			v.cmd = names[i].cmd;
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", ifname);
	ifr.ifr_data = (void *)&v;
	if (v.cmd ? ioctl(fd, SIOCETHTOOL, &ifr) < 0 : !set_feature(fd, ifr, name, value))
		die(name);
	return 0;
}

static int frames(const char *ifname, const char *mac, int nr)
{
	struct sockaddr_ll to = { .sll_family = AF_PACKET,
				  .sll_ifindex = (int)if_nametoindex(ifname),
				  .sll_halen = 6,
				  .sll_protocol = htons(ETHERTYPE) };
	unsigned int b[6];
	int fd = socket(AF_PACKET, SOCK_DGRAM, htons(ETHERTYPE));

	if (sscanf(mac, "%x:%x:%x:%x:%x:%x", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5]) != 6)
		die(mac);
	for (unsigned int i = 0; i < 6; i++)
		to.sll_addr[i] = (uint8_t)b[i];
	for (int i = 0; i < nr; i++)
		if (sendto(fd, pattern, 100, 0, (struct sockaddr *)&to, sizeof(to)) != 100)
			die("sendto");
	return 0;
}

static int client(int argc, char **argv)
{
	const char *what = argv[1], *host = argv[2], *port = argv[3], *arg = argv[4];

	if (!strcmp(what, "udp") && argc == 6)
		return udp(host, port, atoi(arg), atoi(argv[5]));
	if (!strncmp(what, "perf-", 5))
		return perf(host, port, what, atof(arg));
	if (!strcmp(what, "hook"))
		return answer(ask(host, port, what, arg, 0));
	uint64_t len = (uint64_t)atoi(arg) << 20;
	int fd = ask(host, port, what, "", len);
	int ret = !strcmp(what, "get") ? check_stream(fd, len)
				       : (send_stream(fd, len) ? answer(fd) : 1);
	printf("%s: %s MiB are %s\n", what, arg, ret ? "wrong" : "right");
	return ret;
}

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	make_pattern();
	if (argc >= 3 && !strcmp(argv[1], "serve"))
		return serve(argv[2], argc > 3 ? argv[3] : "/bin/false");
	if (argc == 5 && !strcmp(argv[1], "offload"))
		return offload(argv[2], argv[3], (uint32_t)atoi(argv[4]));
	if (argc == 5 && !strcmp(argv[1], "frames"))
		return frames(argv[2], argv[3], atoi(argv[4]));
	if (argc >= 5)
		return client(argc, argv);
	fprintf(stderr, "net-peer: see the top of its source\n");
	return 2;
}
