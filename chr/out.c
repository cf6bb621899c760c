/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <lkvm/chr-fd.h>
#include <lkvm/chr-out.h>
#include <lkvm/log.h>
#include <lkvm/thread.h>
#include <lkvm/util.h>

#define OUT_CHUNK    16384u /* bytes for one write(2) */
#define OUT_MARK_MAX 64u    /* longest drop mark */
#define OUT_URGENT   512u   /* this much is written without waiting for the end of the line */
#define OUT_TRIM     (256u << 10)
#define OUT_GRACE_NS NSEC_PER_SEC

struct chr_out {
	const char *name;
	const struct log *log;
	struct chr_fd fd;
	int cancel_fd; /* an eventfd: readable when the writer must give up */
	pthread_t thread;

	pthread_mutex_t lock; /* guards what follows, but for the chunk */
	pthread_cond_t cond;  /* for the writer: something changed */
	pthread_cond_t ended; /* for chr_out_wait(): `done` */
	uint8_t *ring;
	size_t size, pos, used; /* [pos, pos + used), wrapping at size */
	size_t touched;         /* high-water mark of the ring since it was last trimmed */
	uint64_t gap;           /* bytes dropped after the last one in the ring */
	uint64_t dropped;
	bool started; /* the thread exists, from the first byte on */
	bool urgent, closing, cancelled, done;
	bool was_full; /* chr_out_full() said so, and `changed` is owed */
	int errnum;
	void (*changed)(void *arg); /* NULL: nobody asks; constant once there are bytes */
	void *changed_arg;

	/* The writer's: bytes on their way out, so that a write does not hold the ring. */
	uint64_t taken_ns; /* when the chunk was taken */
	size_t chunk_len;
	uint8_t chunk[OUT_CHUNK + OUT_MARK_MAX];
};

/* The ring. */

static void out_put_locked(struct chr_out *out, const void *buf, size_t len)
{
	const uint8_t *p = buf;
	size_t end, n;

	/* An empty ring starts over, so that a reader who keeps up touches the same few pages. */
	if (out->used == 0)
		out->pos = 0;
	end = out->pos + out->used;
	if (end >= out->size)
		end -= out->size;
	n = MIN(len, out->size - end);
	memcpy(out->ring + end, p, n);
	memcpy(out->ring, p + n, len - n);
	out->used += len;
	out->touched = n < len ? out->size : MAX(out->touched, end + n);
}

static void out_get_locked(struct chr_out *out, uint8_t *buf, size_t len)
{
	size_t n = MIN(len, out->size - out->pos);

	memcpy(buf, out->ring + out->pos, n);
	memcpy(buf + n, out->ring, len - n);
	out->pos = n < len ? len - n : out->pos + n;
	out->used -= len;
	if (out->used == 0 && out->touched > OUT_TRIM) {
		madvise(out->ring, out->size, MADV_DONTNEED);
		out->touched = 0;
	}
}

static size_t out_format_mark(const struct chr_out *out, char mark[OUT_MARK_MAX])
{
	return (size_t)snprintf(mark, OUT_MARK_MAX, "[lkvm: %" PRIu64 " bytes dropped]\n",
				out->gap);
}

static void out_append_locked(struct chr_out *out, const uint8_t *buf, size_t len)
{
	size_t room = out->size - out->used, n;
	char mark[OUT_MARK_MAX];

	/* A gap ends when a quarter is free: else a slow reader would get a mark for every few bytes. */
	if (out->gap && room >= out->size / 4) {
		out_put_locked(out, mark, out_format_mark(out, mark));
		out->gap = 0;
		room = out->size - out->used;
	}
	n = out->gap ? 0 : MIN(len, room);
	out_put_locked(out, buf, n);
	out->gap += len - n;
	out->dropped += len - n;
}

static void out_tell_locked(const struct chr_out *out)
{
	if (out->changed)
		out->changed(out->changed_arg);
}

/* The writer. */

static struct timespec out_timespec(uint64_t ns)
{
	return (struct timespec){ .tv_sec = (time_t)(ns / NSEC_PER_SEC),
				  .tv_nsec = (long)(ns % NSEC_PER_SEC) };
}

static void out_take_chunk_locked(struct chr_out *out)
{
	out->chunk_len = MIN(out->used, (size_t)OUT_CHUNK);
	out_get_locked(out, out->chunk, out->chunk_len);
	if (out->used > 0)
		return;
	out->urgent = false;
	if (out->gap)
		out->chunk_len += out_format_mark(out, (char *)out->chunk + out->chunk_len);
	out->gap = 0;
}

/* How long bytes wait for the end of their line. */
static struct timespec out_patience(const struct chr_out *out)
{
	uint64_t linger = util_now_ns() + CHR_OUT_LINGER_MS * 1000000ULL;
	uint64_t pace = out->taken_ns + CHR_OUT_PACE_MS * 1000000ULL;

	return out_timespec(MAX(linger, pace));
}

/*
 * Takes the next bytes to write; waits for them. Returns 0, with an empty chunk when there are none
 * and never will be, or -ECANCELED.
 */
static int out_take(struct chr_out *out)
{
	struct timespec until;
	int ret;

	pthread_mutex_lock(&out->lock);
	while (!out->used && !out->gap && !out->closing)
		pthread_cond_wait(&out->cond, &out->lock);
	until = out_patience(out);
	while (!out->urgent && !out->closing)
		if (pthread_cond_timedwait(&out->cond, &out->lock, &until) == ETIMEDOUT)
			break;
	ret = out->cancelled ? -ECANCELED : 0;
	if (ret == 0)
		out_take_chunk_locked(out);
	/* Not at every byte of room: a call wakes the loop. */
	if (out->was_full && out->used <= out->size / 4) {
		out->was_full = false;
		out_tell_locked(out);
	}
	pthread_mutex_unlock(&out->lock);
	out->taken_ns = util_now_ns();
	return ret;
}

/* Waits until the descriptor takes bytes. Returns 0 or -ECANCELED. */
static int out_wait_writable(struct chr_out *out)
{
	struct pollfd pfd[2] = {
		{ .fd = out->cancel_fd, .events = POLLIN },
		{ .fd = out->fd.fd, .events = POLLOUT },
	};

	while (poll(pfd, ARRAY_SIZE(pfd), -1) < 0 && errno == EINTR)
		;
	return pfd[0].revents ? -ECANCELED : 0;
}

/* Writes the chunk out; chunk_len becomes what is left of it. Returns 0 or -errno. */
static int out_put_chunk(struct chr_out *out)
{
	const uint8_t *p = out->chunk;

	while (out->chunk_len > 0) {
		ssize_t n = chr_fd_write(&out->fd, p, out->chunk_len);

		if (n == -EAGAIN)
			n = out_wait_writable(out);
		if (n < 0)
			return (int)n;
		p += n;
		out->chunk_len -= (size_t)n;
	}
	return 0;
}

static void out_say_end(struct chr_out *out, int ret)
{
	char text[128];

	if (ret == -EPIPE)
		log_info(out->log, "%s ends: its reader is gone", out->name);
	else if (ret < 0 && ret != -ECANCELED)
		log_warn(out->log, "%s ends: %s", out->name, strerror_r(-ret, text, sizeof(text)));
}

static void out_finish(struct chr_out *out, int ret)
{
	out_say_end(out, ret);
	pthread_mutex_lock(&out->lock);
	if (ret == -ECANCELED)
		out->dropped += out->used + out->chunk_len;
	else
		out->errnum = -ret;
	out->used = 0;
	out->gap = 0;
	out->done = true;
	out_tell_locked(out);
	pthread_cond_signal(&out->ended);
	pthread_mutex_unlock(&out->lock);
}

static void *out_thread(void *arg)
{
	struct chr_out *out = arg;
	int ret;

	do {
		ret = out_take(out);
		if (ret < 0 || out->chunk_len == 0)
			break;
		ret = out_put_chunk(out);
	} while (ret == 0);
	out_finish(out, ret);
	return NULL;
}

/* A guest that prints nothing costs no thread, whose start and end a busy host makes long. */
static int out_start_locked(struct chr_out *out)
{
	int ret = thread_start(&out->thread, "console", -1, out_thread, out);

	out->started = ret == 0;
	if (ret < 0) {
		out->errnum = -ret;
		out->used = 0;
		out->done = true;
		out_tell_locked(out);
	}
	return ret;
}

void chr_out_write(struct chr_out *out, const uint8_t *buf, size_t len)
{
	bool wake;
	int ret = 0;

	pthread_mutex_lock(&out->lock);
	if (out->done || out->closing || len == 0) {
		pthread_mutex_unlock(&out->lock);
		return;
	}
	wake = out->used == 0;
	out_append_locked(out, buf, len);
	if (!out->urgent && (out->used >= OUT_URGENT || memchr(buf, '\n', len)))
		wake = out->urgent = true;
	if (!out->started)
		ret = out_start_locked(out);
	pthread_mutex_unlock(&out->lock);
	if (wake)
		pthread_cond_signal(&out->cond);
	if (ret < 0)
		out_say_end(out, ret);
}

ssize_t chr_out_put(struct chr_out *out, const uint8_t *buf, size_t len)
{
	bool wake;
	int ret = 0;

	pthread_mutex_lock(&out->lock);
	if (out->done || out->closing) {
		pthread_mutex_unlock(&out->lock);
		return -EPIPE;
	}
	size_t n = MIN(len, out->size - out->used);
	wake = n && !out->urgent;
	out_put_locked(out, buf, n);
	out->urgent |= n > 0;
	out->was_full |= n < len;
	if (n && !out->started)
		ret = out_start_locked(out);
	pthread_mutex_unlock(&out->lock);
	if (wake)
		pthread_cond_signal(&out->cond);
	if (ret < 0)
		out_say_end(out, ret);
	return ret < 0 ? -EPIPE : (ssize_t)n;
}

/* Life. */

static void out_init_sync(struct chr_out *out)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_mutex_init(&out->lock, NULL);
	pthread_cond_init(&out->cond, &attr);
	pthread_cond_init(&out->ended, &attr);
	pthread_condattr_destroy(&attr);
}

static int out_init_memory(struct chr_out *out, size_t buf_len)
{
	void *ring;

	out->size = align_up(MAX(buf_len, (size_t)CHR_OUT_BUF_MIN), CHR_OUT_BUF_MIN);
	ring = mmap(NULL, out->size, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (ring == MAP_FAILED)
		return -errno;
	out->ring = ring;
	/* A huge page for the first byte would make 2 MiB resident. */
	madvise(ring, out->size, MADV_NOHUGEPAGE);
	out->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return out->cancel_fd < 0 ? -errno : 0;
}

static void out_release(struct chr_out *out)
{
	chr_fd_release(&out->fd);
	if (out->cancel_fd >= 0)
		close(out->cancel_fd);
	if (out->ring)
		munmap(out->ring, out->size);
	pthread_cond_destroy(&out->ended);
	pthread_cond_destroy(&out->cond);
	pthread_mutex_destroy(&out->lock);
	free(out);
}

struct chr_out *chr_out_new(const char *name, int fd, size_t buf_len, const struct log *log,
			    struct err *err)
{
	struct chr_out *out = calloc(1, sizeof(*out));
	int ret;

	if (!out) {
		err_host(err, ENOMEM, "cannot make the buffer of the %s", name);
		return NULL;
	}
	out->name = name;
	out->log = log;
	out->cancel_fd = -1;
	out_init_sync(out);
	chr_fd_init(&out->fd, fd, O_WRONLY);
	ret = out_init_memory(out, buf_len);
	if (ret < 0) {
		err_host(err, -ret, "cannot make the buffer of the %s", name);
		out_release(out);
		return NULL;
	}
	return out;
}

void chr_out_watch(struct chr_out *out, void (*changed)(void *arg), void *arg)
{
	out->changed = changed;
	out->changed_arg = arg;
}

bool chr_out_full(struct chr_out *out)
{
	pthread_mutex_lock(&out->lock);
	bool full = !out->done && out->used > out->size / 2;
	out->was_full |= full;
	pthread_mutex_unlock(&out->lock);
	return full;
}

bool chr_out_ended(struct chr_out *out)
{
	pthread_mutex_lock(&out->lock);
	bool ended = out->done;
	pthread_mutex_unlock(&out->lock);
	return ended;
}

void chr_out_close(struct chr_out *out)
{
	pthread_mutex_lock(&out->lock);
	out->closing = true;
	if (!out->started)
		out->done = true;
	pthread_mutex_unlock(&out->lock);
	pthread_cond_signal(&out->cond);
}

static bool out_wait_done(struct chr_out *out, uint64_t deadline_ns)
{
	struct timespec until = out_timespec(deadline_ns);
	bool done;

	pthread_mutex_lock(&out->lock);
	while (!out->done)
		if (pthread_cond_timedwait(&out->ended, &out->lock, &until) == ETIMEDOUT)
			break;
	done = out->done;
	pthread_mutex_unlock(&out->lock);
	return done;
}

void chr_out_wait(struct chr_out *out, uint64_t deadline_ns)
{
	uint64_t one = 1;

	if (out_wait_done(out, deadline_ns))
		return;
	pthread_mutex_lock(&out->lock);
	out->cancelled = true;
	pthread_mutex_unlock(&out->lock);
	if (write(out->cancel_fd, &one, sizeof(one)) < 0)
		return; /* a fresh eventfd takes a 1 */
	/* Only a write to a file that the kernel does not finish outlasts this (a dead NFS server). */
	if (!out_wait_done(out, util_now_ns() + OUT_GRACE_NS))
		log_warn(out->log, "%s: a write does not end; left behind", out->name);
}

void chr_out_free(struct chr_out *out)
{
	if (!out_wait_done(out, 0)) {
		pthread_mutex_lock(&out->lock);
		out->changed = NULL;
		pthread_mutex_unlock(&out->lock);
		return;
	}
	if (out->started)
		pthread_join(out->thread, NULL);
	out_release(out);
}

void chr_out_stats(struct chr_out *out, struct chr_out_stats *st)
{
	pthread_mutex_lock(&out->lock);
	st->dropped = out->dropped;
	st->errnum = out->errnum;
	pthread_mutex_unlock(&out->lock);
}
