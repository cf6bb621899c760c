/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>

#include <lkvm/chr-fd.h>
#include <lkvm/chr-out.h>
#include <lkvm/chr.h>
#include <lkvm/log.h>
#include <lkvm/loop.h>
#include <lkvm/util.h>

#define CHR_ESCAPE 0x01 /* Ctrl-A */

struct chr {
	struct chr_config cfg;
	const struct log *log;
	struct loop *loop;
	struct chr_frontend fe;

	pthread_mutex_t lock; /* orders the outputs and the tap */
	struct chr_out *out, *copy;
	uint64_t written;
	bool drained;
	struct loop_post out_post; /* lossless: the output has room again, or has ended */

	/* Input; the loop's alone. */
	struct chr_fd in;
	struct loop_fd watch;
	struct loop_post in_post;
	bool in_open, in_finished;
	bool in_unwatched; /* a file: epoll does not take it, it is read as the device has room */
	bool in_escaped;   /* the last byte read was Ctrl-A; survives from read to read */
	uint64_t in_total; /* bytes read */
	_Atomic uint64_t credit; /* bytes that the device may be given, if lossless */
	size_t in_len;
	uint8_t in_buf[CHR_IN_LEN];
};

/* Output. */

void chr_write(struct chr *chr, const void *buf, size_t len)
{
	pthread_mutex_lock(&chr->lock);
	chr->written += len;
	if (chr->cfg.tap)
		chr->cfg.tap(chr->cfg.arg, buf, len);
	if (chr->out)
		chr_out_write(chr->out, buf, len);
	if (chr->copy)
		chr_out_write(chr->copy, buf, len);
	pthread_mutex_unlock(&chr->lock);
}

void chr_drain(struct chr *chr, unsigned int deadline_ms)
{
	uint64_t deadline_ns = util_now_ns() + deadline_ms * 1000000ULL;

	if (chr->drained)
		return;
	chr->drained = true;
	/* Both are told first: they share the deadline. */
	if (chr->out)
		chr_out_close(chr->out);
	if (chr->copy)
		chr_out_close(chr->copy);
	if (chr->out)
		chr_out_wait(chr->out, deadline_ns);
	if (chr->copy)
		chr_out_wait(chr->copy, deadline_ns);
}

void chr_stats(struct chr *chr, struct chr_stats *st)
{
	struct chr_out_stats out = { 0 }, copy = { 0 };

	if (chr->out)
		chr_out_stats(chr->out, &out);
	if (chr->copy)
		chr_out_stats(chr->copy, &copy);
	pthread_mutex_lock(&chr->lock);
	st->written = chr->written;
	pthread_mutex_unlock(&chr->lock);
	st->dropped = out.dropped;
	st->out_errno = out.errnum;
	st->copy_dropped = copy.dropped;
	st->copy_errno = copy.errnum;
}

bool chr_full(struct chr *chr)
{
	return chr->cfg.lossless && chr->out && chr_out_full(chr->out);
}

bool chr_output_ended(struct chr *chr)
{
	return !chr->out || chr_out_ended(chr->out);
}

static void chr_out_changed(void *arg)
{
	struct chr *chr = arg;

	loop_post(chr->loop, &chr->out_post);
}

static void chr_out_posted(struct loop_post *p)
{
	struct chr *chr = container_of(p, struct chr, out_post);

	if (chr->fe.writable)
		chr->fe.writable(chr->fe.arg);
	if (chr_output_ended(chr) && chr->cfg.on_output_end)
		chr->cfg.on_output_end(chr->cfg.arg);
}

void chr_finish(struct chr *chr)
{
	if (chr->out)
		chr_out_close(chr->out);
	loop_post(chr->loop, &chr->out_post);
}

/* Input. */

static uint64_t chr_credit(struct chr *chr)
{
	return chr->cfg.lossless ? atomic_load(&chr->credit) : CHR_CREDIT_ALL;
}

/* Whoever adds credit races with this. */
static void chr_spend(struct chr *chr, uint64_t bytes)
{
	uint64_t have = atomic_load(&chr->credit);

	while (chr->cfg.lossless && have != CHR_CREDIT_ALL &&
	       !atomic_compare_exchange_weak(&chr->credit, &have, have - bytes))
		;
}

static void chr_in_push(struct chr *chr, uint8_t c)
{
	/* Full only with `escape`, where reading goes on: what the device never takes is lost. */
	if (chr->in_len < sizeof(chr->in_buf))
		chr->in_buf[chr->in_len++] = c;
}

static void chr_in_byte(struct chr *chr, uint8_t c)
{
	bool escaped = chr->in_escaped;

	chr->in_escaped = false;
	if (!chr->cfg.escape) {
		chr_in_push(chr, c);
	} else if (!escaped && c == CHR_ESCAPE) {
		chr->in_escaped = true;
	} else if (escaped && (c == 'x' || c == 'X')) {
		if (chr->cfg.on_escape)
			chr->cfg.on_escape(chr->cfg.arg);
	} else {
		if (escaped && c != CHR_ESCAPE)
			chr_in_push(chr, CHR_ESCAPE);
		chr_in_push(chr, c);
	}
}

static void chr_in_deliver(struct chr *chr)
{
	size_t off = 0;

	while (off < chr->in_len && chr->fe.input) {
		size_t n = MIN(chr->in_len - off, chr_credit(chr));

		/* room() that is asked in vain would make the device call for more. */
		n = n ? MIN(chr->fe.room(chr->fe.arg), n) : 0;
		if (n == 0)
			break;
		chr_spend(chr, n);
		chr->fe.input(chr->fe.arg, chr->in_buf + off, n);
		off += n;
	}
	chr->in_len -= off;
	memmove(chr->in_buf, chr->in_buf + off, chr->in_len);
}

static void chr_in_end(struct chr *chr)
{
	loop_fd_del(chr->loop, &chr->watch);
	chr_fd_release(&chr->in);
	chr->in_open = false;
}

/* There is nothing more to read. */
static void chr_in_finish(struct chr *chr)
{
	if (chr->in_open)
		chr_in_end(chr);
	chr->in_finished = true;
	/* A program on a terminal has it for itself; nobody counts there. */
	if (!chr->cfg.lossless || chr->cfg.escape)
		return;
	if (chr->cfg.on_end)
		chr->cfg.on_end(chr->cfg.arg, chr->in_total);
	chr_in_push(chr, 0);
}

static void chr_in_read(struct chr *chr)
{
	uint8_t buf[CHR_IN_LEN];
	ssize_t n = chr_fd_read(&chr->in, buf, sizeof(buf));

	if (n == -EAGAIN)
		return;
	if (n <= 0) {
		/* EIO is how a terminal says that it is gone. */
		if (n < 0 && n != -EIO)
			log_warn(chr->log, "console input ends with error %zd", -n);
		chr_in_finish(chr);
		return;
	}
	chr->in_total += (uint64_t)n;
	for (ssize_t i = 0; i < n; i++)
		chr_in_byte(chr, buf[i]);
}

/* Watches or stops watching: a level-triggered descriptor that nobody reads would spin the loop. */
static void chr_in_watch(struct chr *chr, bool on)
{
	int ret;

	if (!on)
		loop_fd_del(chr->loop, &chr->watch);
	if (!on || chr->watch.added)
		return;
	chr->watch.fd = chr->in.fd;
	ret = loop_fd_add(chr->loop, &chr->watch);
	if (ret == -EPERM) {
		chr->in_unwatched = true; /* a regular file or /dev/null: always readable */
	} else if (ret < 0) {
		log_warn(chr->log, "console input ends: it cannot be watched (error %d)", -ret);
		chr_in_finish(chr);
	}
}

/* What nobody has asked for stays with the user's descriptor. */
static bool chr_in_wanted(struct chr *chr)
{
	return chr->in_open && chr->in_len == 0 && chr_credit(chr);
}

/* Arranges what makes the next read happen, if there is to be one. */
static void chr_in_next(struct chr *chr)
{
	if (chr->in_open && !chr->in_unwatched)
		chr_in_watch(chr, chr_in_wanted(chr) || chr->cfg.escape);
	/* By posting, so that a long file takes turns with everything else on the loop. */
	if (chr->in_unwatched && chr_in_wanted(chr))
		loop_post(chr->loop, &chr->in_post);
}

static void chr_in_event(struct loop_fd *lf, uint32_t events)
{
	struct chr *chr = container_of(lf, struct chr, watch);

	(void)events; /* an error or a hang-up shows in the read */
	chr_in_read(chr);
	chr_in_deliver(chr);
	chr_in_next(chr);
}

static void chr_in_posted(struct loop_post *p)
{
	struct chr *chr = container_of(p, struct chr, in_post);

	if (!chr->in_open && !chr->in_finished)
		chr_in_finish(chr);
	chr_in_deliver(chr);
	if (chr->in_unwatched && chr_in_wanted(chr)) {
		chr_in_read(chr);
		chr_in_deliver(chr);
	}
	chr_in_next(chr);
}

void chr_input_ready(struct chr *chr)
{
	loop_post(chr->loop, &chr->in_post);
}

void chr_input_credit(struct chr *chr, uint64_t bytes)
{
	uint64_t have = atomic_load(&chr->credit), sum;

	do
		sum = bytes > CHR_CREDIT_ALL - have ? CHR_CREDIT_ALL : have + bytes;
	while (!atomic_compare_exchange_weak(&chr->credit, &have, sum));
	chr_input_ready(chr);
}

void chr_set_frontend(struct chr *chr, const struct chr_frontend *fe)
{
	chr->fe = *fe;
	chr_input_ready(chr);
}

/* Life. */

static int chr_init_outputs(struct chr *chr, struct err *err)
{
	const struct chr_config *cfg = &chr->cfg;
	size_t len = cfg->buf_len ? cfg->buf_len : CHR_BUF_LEN;

	if (cfg->out_fd >= 0) {
		chr->out = chr_out_new("console output", cfg->out_fd, len, chr->log, err);
		if (!chr->out)
			return -ENOMEM;
		if (cfg->lossless)
			chr_out_watch(chr->out, chr_out_changed, chr);
	}
	if (cfg->copy_fd >= 0) {
		chr->copy = chr_out_new("the console log", cfg->copy_fd, len, chr->log, err);
		if (!chr->copy)
			return -ENOMEM;
	}
	return 0;
}

struct chr *chr_new(const struct chr_config *cfg, struct loop *loop, const struct log *log,
		    struct err *err)
{
	struct chr *chr = calloc(1, sizeof(*chr));

	if (!chr) {
		err_host(err, ENOMEM, "cannot make the console");
		return NULL;
	}
	chr->cfg = *cfg;
	chr->log = log;
	chr->loop = loop;
	pthread_mutex_init(&chr->lock, NULL);
	chr->watch = (struct loop_fd){ .fd = -1, .fn = chr_in_event, .events = EPOLLIN };
	chr->in_post.fn = chr_in_posted;
	chr->out_post.fn = chr_out_posted;
	if (chr_init_outputs(chr, err) < 0) {
		chr_free(chr, 0);
		return NULL;
	}
	if (cfg->in_fd >= 0) {
		chr_fd_init(&chr->in, cfg->in_fd, O_RDONLY);
		chr->in_open = true;
	}
	chr_input_ready(chr);
	return chr;
}

void chr_free(struct chr *chr, unsigned int deadline_ms)
{
	if (!chr)
		return;
	chr_drain(chr, deadline_ms);
	if (chr->out)
		chr_out_free(chr->out);
	if (chr->copy)
		chr_out_free(chr->copy);
	if (chr->in_open)
		chr_in_end(chr);
	loop_post_cancel(chr->loop, &chr->in_post);
	loop_post_cancel(chr->loop, &chr->out_post);
	pthread_mutex_destroy(&chr->lock);
	free(chr);
}
