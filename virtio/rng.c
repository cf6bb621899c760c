/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lkvm/util.h>
#include <lkvm/virtio/rng.h>

/* How soon a source that had nothing, or a rate that was used up, is looked at again. */
#define RETRY_NS (10 * NSEC_PER_SEC / 1000)

struct rng {
	struct virtio_device vd;
	int fd; /* of the source, -1: getrandom(2) */
	uint64_t rate;

	/* The owner's thread. */
	uint8_t bytes[RNG_CHUNK];
	uint32_t have;                 /* of `bytes`, from their start */
	uint64_t allowance, filled_ns; /* bytes that may be given out, and when they were counted */
	bool ended;                    /* the source is at its end, or fails */
	struct loop_timer retry;
};

/* Up to `len` bytes: their number, 0 when there are none now, or -errno. */
static ssize_t read_source(struct rng *r, uint8_t *buf, size_t len)
{
	ssize_t n = r->fd < 0 ? getrandom(buf, len, GRND_NONBLOCK) : read(r->fd, buf, len);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	return n || r->fd < 0 ? n : -ENODATA;
}

/* Until there is enough for an answer, or no more to come. */
static void refill(struct rng *r)
{
	if (r->have >= RNG_ANSWER_MIN || r->ended)
		return;
	ssize_t n = read_source(r, r->bytes + r->have, sizeof(r->bytes) - r->have);
	if (n < 0) {
		r->ended = true;
		log_warn(r->vd.log, "--rng: the source has ended: %s", strerror((int)-n));
		return;
	}
	r->have += (uint32_t)n;
}

/* A second's worth at most is saved up, or one answer's. */
static uint64_t savings_max(const struct rng *r)
{
	return MAX(r->rate, (uint64_t)RNG_ANSWER_MIN);
}

static void earn(struct rng *r)
{
	uint64_t now = util_now_ns();

	r->filled_ns = MAX(r->filled_ns, now - MIN(now, NSEC_PER_SEC));
	unsigned __int128 ns = now - r->filled_ns;
	uint64_t bytes = (uint64_t)(ns * r->rate / NSEC_PER_SEC);
	r->allowance = MIN(r->allowance + bytes, savings_max(r));
	/* Fractions are not lost: the clock moves on with whole bytes only. */
	r->filled_ns += (bytes * NSEC_PER_SEC + r->rate - 1) / r->rate;
}

/* Bytes for an answer: 0 while there are too few. */
static uint32_t available(struct rng *r)
{
	refill(r);
	uint32_t enough = r->ended ? MIN(r->have, RNG_ANSWER_MIN) : RNG_ANSWER_MIN;
	uint32_t n = r->have;
	if (r->rate) {
		earn(r);
		n = (uint32_t)MIN(n, r->allowance);
	}
	return n >= enough ? n : 0;
}

/* Gives the last bytes, which are then forgotten: no byte is given twice. */
static uint32_t give(struct rng *r, const struct vq_chain *c, uint32_t max)
{
	uint32_t n = (uint32_t)MIN(c->in_len, max);

	n = (uint32_t)vq_copy_in(c, 0, r->bytes + r->have - n, n);
	r->have -= n;
	explicit_bzero(r->bytes + r->have, n);
	if (r->rate)
		r->allowance -= n;
	return n;
}

static bool rng_kick(struct virtio_device *vd, struct virtqueue *vq)
{
	struct rng *r = vd->priv;
	struct iovec iov[VQ_IOVS(RNG_QUEUE_SIZE)];
	struct vq_chain chain = { .iov = iov, .iov_max = ARRAY_SIZE(iov) };
	uint32_t n;

	/* Bytes first: a buffer is taken only when it can be answered. */
	while ((n = available(r))) {
		if (!vq_pop(vq, &chain))
			return true;
		vq_push(vq, &chain, give(r, &chain, n));
	}
	/* Only while somebody waits. */
	if ((r->have || !r->ended) && !r->retry.armed && vq_kicks_on(vq))
		loop_timer_set(vq->loop, &r->retry, util_now_ns() + RETRY_NS);
	return false;
}

static void on_retry(struct loop_timer *t)
{
	struct rng *r = container_of(t, struct rng, retry);

	virtio_queue_serve(&r->vd.vqs[0]);
}

/* There is no configuration space (5.4.4), so this is never called. */
static void rng_config_read(struct virtio_device *vd, uint32_t off, void *buf, uint32_t len)
{
	(void)vd, (void)off, (void)buf, (void)len;
}

static const struct virtio_device_ops rng_ops = {
	.name = "rng",
	.device_id = RNG_DEVICE_ID,
	.legacy_id = RNG_LEGACY_ID,
	.pci_class = 0x00ff00, /* of no class */
	.config_read = rng_config_read,
	.kick = rng_kick,
};

/* A regular file is no source: it would give the same bytes to every guest, and end. */
static int open_source(struct rng *r, const char *path, struct err *err)
{
	struct stat st;

	if (!path)
		return 0;
	r->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (r->fd < 0)
		return err_host(err, errno, "--rng %s", path);
	if (fstat(r->fd, &st))
		return err_host(err, errno, "--rng %s", path);
	if (!S_ISCHR(st.st_mode) && !S_ISFIFO(st.st_mode))
		return err_usage(err, "--rng %s is neither a character device nor a pipe", path);
	return 0;
}

static void rng_destroy(struct virtio_device *vd)
{
	struct rng *r = vd->priv;

	if (vd->queues_nr)
		loop_timer_cancel(vd->vqs[0].loop, &r->retry);
	virtio_device_release(vd);
	if (r->fd >= 0)
		close(r->fd);
	explicit_bzero(r->bytes, sizeof(r->bytes));
	free(r);
}

static int rng_make(struct virtio_device **out, const void *opts, const struct virtio_host *host,
		    struct err *err)
{
	const struct rng_opts *o = opts;
	struct rng *r = calloc(1, sizeof(*r));

	if (!r)
		return err_host(err, ENOMEM, "--rng");
	r->fd = -1;
	r->rate = o->rate;
	r->allowance = savings_max(r);
	r->filled_ns = util_now_ns();
	r->retry.fn = on_retry;
	virtio_device_init(&r->vd, &rng_ops, host->gm, host->log, r);
	int ret = open_source(r, o->source, err);
	if (!ret)
		ret = virtio_add_queue(&r->vd, RNG_QUEUE_SIZE, host->loops[0]);
	if (ret) {
		rng_destroy(&r->vd);
		return ret;
	}
	*out = &r->vd;
	return 0;
}

/* --- the option --- */

static int parse_rate(void *cfg, const struct option_def *def, const char *arg, struct err *err)
{
	struct rng_opts *o = cfg;
	char *end;

	errno = 0;
	unsigned long long v = strtoull(arg, &end, 10);
	if (errno || end == arg || *end || *arg == '-' || !v || v > 1024 * MIB)
		return err_usage(err, "option --%s: \"%s\" is not 1 to %llu bytes a second",
				 def->name, arg, 1024ULL * MIB);
	o->rate = v;
	return 0;
}

#define AT(field) .off = offsetof(struct rng_opts, field)

static const struct option_def rng_keys[] = {
	{ .name = "",
	  .arg = "SOURCE",
	  .parse = option_string,
	  AT(source),
	  .help = "a character device or a pipe, such as /dev/hwrng (default: the host kernel's "
		  "getrandom)" },
	{ .name = "rate",
	  .arg = "BYTES",
	  .parse = parse_rate,
	  .help = "give at most so many bytes a second" },
};

const struct virtio_type virtio_rng_type = {
	.option = "rng",
	.arg = "[=SOURCE,KEY=VALUE...]",
	.module = "virtio_rng",
	.help = "random numbers from the host, by virtio",
	.keys = rng_keys,
	.keys_nr = ARRAY_SIZE(rng_keys),
	.opts_len = sizeof(struct rng_opts),
	.make = rng_make,
	.destroy = rng_destroy,
};
