// SPDX-License-Identifier: GPL-2.0
// LINK: net/socket.c util/loop.c util/log.c util/err.c util/util.c
/*
 * A hostile peer at the stream of frames: the input is its bytes, in pieces of lengths that are in it too. What comes
 * out must be what a simple reader of the same bytes finds.
 */
#include "fuzz.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include <lkvm/net/socket.h>

#define STREAM_MAX 0x40000

struct model {
	uint8_t bytes[STREAM_MAX]; /* all that was written */
	size_t end, at;            /* and where the next frame begins */
	bool lied;
};

static struct model m;
static struct net_backend *be;
static bool up, gone;

static void on_carrier(struct net_backend *b, bool now)
{
	(void)b;
	up = now;
}

/* The next frame of the model; -1: none yet, or never. */
static int64_t model_next(void)
{
	if (m.lied || m.end - m.at < 4)
		return -1;
	uint32_t len = (uint32_t)m.bytes[m.at] << 24 | m.bytes[m.at + 1] << 16 |
		       m.bytes[m.at + 2] << 8 | m.bytes[m.at + 3];
	if (len > NET_FRAME_MAX) {
		m.lied = true;
		return -1;
	}
	return m.end - m.at - 4 >= len ? (int64_t)len : -1;
}

static void drain(struct net_port *port)
{
	static uint8_t header[12], got[NET_FRAME_MAX + 1];
	struct iovec iov[] = { { header, 12 }, { got, 18 }, { got + 18, sizeof(got) - 18 } };

	for (;;) {
		int64_t want = model_next();
		ssize_t n = be->ops->recv(port, iov, 3);

		if (want < 0) {
			FUZZ_CHECK(n == -EAGAIN);
			FUZZ_CHECK(up == (!m.lied && !gone));
			return;
		}
		FUZZ_CHECK(n == 12 + want);
		FUZZ_CHECK(!memcmp(got, m.bytes + m.at + 4, (size_t)want));
		m.at += 4 + (size_t)want;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct log log = { .fd = -1 };
	struct err err = ERR_INIT;
	struct loop *loop = loop_new(&err);
	const uint8_t *end = data + size;
	int fds[2];

	m.end = m.at = 0;
	m.lied = false;
	up = true;
	gone = false;
	FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
	FUZZ_CHECK(net_socket_open(&be, &(struct net_socket_opts){ .fd = fds[1] }, &log, &err) ==
		   0);
	be->on_carrier = on_carrier;
	be->ports[0].loop = loop;
	be->ports[0].readable = drain;
	be->ports[0].writable = drain;
	be->ops->port_watch(&be->ports[0], NET_READABLE);
	while (data < end) {
		/* A length, and how often it is written: long frames from short inputs. */
		size_t n = MIN((size_t)(*data & 63) + 1, (size_t)(end - data)),
		       times = *data & 64 ? 256 : 1;

		for (data++, n--; times && n && m.end + n <= STREAM_MAX && up; times--) {
			FUZZ_CHECK(write(fds[0], data, n) == (ssize_t)n);
			memcpy(m.bytes + m.end, data, n);
			m.end += n;
			if (times % 64 == 1)
				drain(&be->ports[0]);
		}
		data += n;
		loop_stop(loop);
		FUZZ_CHECK(loop_run(loop) == 0);
	}
	close(fds[0]);
	gone = true;
	loop_stop(loop);
	FUZZ_CHECK(loop_run(loop) == 0);
	FUZZ_CHECK(!up);
	be->ops->port_watch(&be->ports[0], 0);
	be->ops->close(be);
	loop_free(loop);
	return 0;
}
