/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <lkvm/chr-port.h>
#include <lkvm/chr.h>
#include <lkvm/loop.h>
#include <lkvm/stop.h>
#include <lkvm/streams.h>
#include <lkvm/util.h>
#include <lkvm/virtio/console.h>

struct stream {
	struct streams *all;
	enum cmd_stream nr;
	struct chr *chr; /* NULL: nobody reads it */
};

struct streams {
	struct streams_config cfg;
	struct stop *stop;
	struct cmd_status regs;
	struct stream streams[CMD_STREAMS_END]; /* by number */
	struct loop *loop;
	struct virtio_console_cfg
		console; /* its ports by enum cmd_port; none are there without `ports` */
	struct loop_post ports_post; /* one of them may have ended */
	uint32_t status;
	_Atomic bool started;
	_Atomic bool reported; /* `status` is there */
};

/* On a vCPU's thread. */

static void on_status(void *arg, uint32_t status)
{
	struct streams *s = arg;

	s->status = status;
	atomic_store(&s->reported, true);
	for (unsigned int n = 0; n < CMD_STREAMS_END; n++)
		if (s->streams[n].chr)
			chr_finish(s->streams[n].chr);
	for (unsigned int n = 0; n < s->console.nr; n++)
		s->console.ports[n].port->finish(s->console.ports[n].port);
}

static void on_credit(void *arg, uint32_t bytes)
{
	struct streams *s = arg;

	if (!atomic_exchange(&s->started, true) && s->cfg.started)
		s->cfg.started(s->cfg.arg);
	chr_input_credit(s->streams[CMD_STDIO].chr,
			 bytes == CMD_CREDIT_ALL ? CHR_CREDIT_ALL : bytes);
}

static const struct cmd_status_ops ops = { .status = on_status, .credit = on_credit };

/* On the loop. */

static void on_end(void *arg, uint64_t len)
{
	struct stream *stream = arg;

	cmd_status_stdin_ended(&stream->all->regs, len);
}

static bool all_ended(const struct streams *s)
{
	for (unsigned int n = 0; n < CMD_STREAMS_END; n++)
		if (s->streams[n].chr && !chr_output_ended(s->streams[n].chr))
			return false;
	for (unsigned int n = 0; n < s->console.nr; n++)
		if (!chr_port_ended(s->console.ports[n].port))
			return false;
	return true;
}

static void look_for_end(struct streams *s)
{
	if (atomic_load(&s->reported) && all_ended(s))
		stop_request(s->stop, STOP_COMMAND, s->status, "%s", "");
}

static void on_output_end(void *arg)
{
	struct stream *stream = arg;

	cmd_status_gone(&stream->all->regs, stream->nr);
	look_for_end(stream->all);
}

static void on_ports_post(struct loop_post *post)
{
	static const enum cmd_stream gone[CMD_PORTS_NR] = {
		[CMD_PORT_STDOUT] = CMD_STDIO, [CMD_PORT_STDERR] = CMD_STDERR
	};
	struct streams *s = container_of(post, struct streams, ports_post);

	for (unsigned int n = 0; n < s->console.nr; n++)
		if (gone[n] && chr_port_ended(s->console.ports[n].port))
			cmd_status_gone(&s->regs, gone[n]);
	look_for_end(s);
}

/* Any thread. */
static void on_port_changed(void *arg)
{
	struct streams *s = arg;

	loop_post(s->loop, &s->ports_post);
}

static void on_escape(void *arg)
{
	struct stream *stream = arg;

	stream->all->cfg.on_escape(stream->all->cfg.arg);
}

static void on_tap(void *arg, const uint8_t *buf, size_t len)
{
	struct stream *stream = arg;

	if (stream->all->cfg.tap)
		stream->all->cfg.tap(stream->all->cfg.arg, stream->nr, buf, len);
}

/* Life. */

static int add_stream(struct streams *s, enum cmd_stream nr, int in_fd, int out_fd,
		      struct loop *loop, const struct log *log, struct err *err)
{
	struct stream *stream = &s->streams[nr];
	struct chr_config cfg = {
		.in_fd = in_fd,
		.out_fd = out_fd,
		.copy_fd = -1,
		.lossless = true,
		.escape = nr == CMD_STDIO && s->cfg.escape,
		.on_escape = on_escape,
		.on_end = nr == CMD_STDIO ? on_end : NULL,
		.on_output_end = on_output_end,
		.tap = on_tap,
		.arg = stream,
	};

	*stream = (struct stream){ .all = s, .nr = nr };
	stream->chr = chr_new(&cfg, loop, log, err);
	return stream->chr ? 0 : -ENOMEM;
}

static int add_ports(struct streams *s, const struct log *log, struct err *err)
{
	static const char *const names[] = CMD_PORT_NAMES;
	const struct {
		int in, out;
	} fds[CMD_PORTS_NR] = {
		[CMD_PORT_STDIN] = { s->cfg.in_fd < 0 ? CHR_PORT_ENDED : s->cfg.in_fd, -1 },
		[CMD_PORT_STDOUT] = { -1, s->cfg.out_fd },
		[CMD_PORT_STDERR] = { -1, s->cfg.err_fd },
		[CMD_PORT_RESULTS] = { -1, s->cfg.results_fd },
	};

	for (unsigned int n = 0; n < CMD_PORTS_NR; n++) {
		struct port *port = chr_port_new(names[n], fds[n].in, fds[n].out, log, err);

		if (!port)
			return -ENOMEM;
		chr_port_watch(port, on_port_changed, s);
		s->console.ports[n] = (struct virtio_console_port){ names[n], port };
		s->console.nr = n + 1;
	}
	return 0;
}

struct streams *streams_new(const struct streams_config *cfg, struct loop *loop, struct stop *stop,
			    const struct log *log, struct err *err)
{
	struct streams *s = calloc(1, sizeof(*s));

	if (!s) {
		err_host(err, ENOMEM, "cannot make the command's streams");
		return NULL;
	}
	s->cfg = *cfg;
	s->stop = stop;
	s->loop = loop;
	s->ports_post.fn = on_ports_post;
	cmd_status_init(&s->regs, &ops, s);
	int ret = add_stream(s, CMD_STDIO, cfg->in_fd, cfg->out_fd, loop, log, err);
	if (!ret)
		ret = add_stream(s, CMD_STDERR, -1, cfg->err_fd, loop, log, err);
	if (!ret && cfg->results_fd >= 0)
		ret = add_stream(s, CMD_RESULTS, -1, cfg->results_fd, loop, log, err);
	if (!ret && cfg->ports)
		ret = add_ports(s, log, err);
	if (ret) {
		streams_free(s);
		return NULL;
	}
	return s;
}

void streams_free(struct streams *s)
{
	if (!s)
		return;
	for (unsigned int n = 0; n < CMD_STREAMS_END; n++)
		chr_free(s->streams[n].chr, 0);
	for (unsigned int n = 0; n < s->console.nr; n++)
		chr_port_free(s->console.ports[n].port);
	loop_post_cancel(s->loop, &s->ports_post);
	cmd_status_release(&s->regs);
	free(s);
}

struct chr *streams_chr(struct streams *s, unsigned int stream)
{
	return stream < CMD_STREAMS_END ? s->streams[stream].chr : NULL;
}

struct cmd_status *streams_registers(struct streams *s)
{
	return &s->regs;
}

struct virtio_console_cfg *streams_console(struct streams *s)
{
	return s->console.nr ? &s->console : NULL;
}

bool streams_status(struct streams *s, uint32_t *status)
{
	if (!atomic_load(&s->reported))
		return false;
	*status = s->status;
	return true;
}

static unsigned int ms_until(uint64_t end_ns)
{
	uint64_t now = util_now_ns();

	return now < end_ns ? (unsigned int)((end_ns - now) / 1000000) : 0;
}

uint64_t streams_drain(struct streams *s, unsigned int deadline_ms, int *errnum)
{
	uint64_t lost = 0, end_ns = util_now_ns() + deadline_ms * (NSEC_PER_SEC / 1000);

	*errnum = 0;
	for (unsigned int n = 0; n < CMD_STREAMS_END; n++) {
		struct chr *chr = s->streams[n].chr;
		struct chr_stats st;

		if (!chr)
			continue;
		chr_drain(chr, ms_until(end_ns));
		chr_stats(chr, &st);
		lost += st.dropped;
		*errnum = *errnum ? *errnum : st.out_errno;
	}
	for (unsigned int n = 0; n < s->console.nr; n++) {
		struct port *port = s->console.ports[n].port;
		int ret = chr_port_drain(port, ms_until(end_ns));

		lost += chr_port_lost(port);
		/* Time that ran out is told by what was lost. */
		if (!*errnum && ret != ETIMEDOUT)
			*errnum = ret;
	}
	return lost;
}
