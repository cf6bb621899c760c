/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The smallest complete device: it reverses the bytes that it is given. One queue, one feature, a
 * configuration space of two fields. It is the file to copy for a new device, and a subject for tests.
 *
 * A request is a chain with a readable part of up to MINI_MAX bytes and a writable part at least as long;
 * the answer is the same bytes in reverse order, XORed with `mask` if MINI_F_MASK was negotiated.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <lkvm/util.h>
#include <lkvm/virtio/mini.h>

/* 1. What a driver can read and write. Little-endian, as through every modern interface. */
struct mini_config {
	uint32_t served; /* requests so far; read-only */
	uint8_t mask;    /* with MINI_F_MASK; the driver writes it */
} __attribute__((packed));

_Static_assert(sizeof(struct mini_config) == MINI_CONFIG_LEN, "what drivers are told");

static void mini_config_read(struct virtio_device *vd, uint32_t off, void *buf, uint32_t len)
{
	struct mini *m = vd->priv;
	struct mini_config c = {
		.served = htole32(atomic_load(&m->served)),
		.mask = atomic_load(&m->mask),
	};

	memcpy(buf, (uint8_t *)&c + off, len);
}

static void mini_config_write(struct virtio_device *vd, uint32_t off, const void *buf, uint32_t len)
{
	struct mini *m = vd->priv;

	/* The one field that is the driver's to write, and nothing else of a wider access. */
	if (off == offsetof(struct mini_config, mask) && len == 1)
		atomic_store(&m->mask, *(const uint8_t *)buf);
}

/* 2. What becomes of a request: parse, process, finish. Returns the bytes written. */
static uint32_t mini_serve(struct mini *m, const struct vq_chain *c)
{
	uint8_t bytes[MINI_MAX], reversed[MINI_MAX];

	/* A request that is too long or has no room for its answer is refused: it returns unserved. */
	if (c->out_len > MINI_MAX || c->in_len < c->out_len)
		return 0;
	uint64_t n = vq_copy_out(c, 0, bytes, c->out_len);
	uint8_t mask = m->masked ? atomic_load(&m->mask) : 0;
	for (uint64_t i = 0; i < n; i++)
		reversed[n - 1 - i] = bytes[i] ^ mask;
	return (uint32_t)vq_copy_in(c, 0, reversed, n);
}

/* 3. The ring may have something: take what there is and answer. The core tells the driver, once. */
static bool mini_kick(struct virtio_device *vd, struct virtqueue *vq)
{
	struct mini *m = vd->priv;
	struct iovec iov[VQ_IOVS(MINI_QUEUE_SIZE)];
	struct vq_chain chain = { .iov = iov, .iov_max = ARRAY_SIZE(iov) };

	while (vq_pop(vq, &chain)) {
		vq_push(vq, &chain, mini_serve(m, &chain));
		atomic_fetch_add(&m->served, 1);
	}
	return true;
}

/* 4. DRIVER_OK: the features are known from here on. */
static int mini_start(struct virtio_device *vd, uint64_t features)
{
	struct mini *m = vd->priv;

	m->masked = features & VIRTIO_BIT(MINI_F_MASK);
	return 0;
}

/* 5. What the core needs to know of the type. */
static const struct virtio_device_ops mini_ops = {
	.name = "mini",
	.device_id = MINI_DEVICE_ID,
	.pci_class = 0x00ff00, /* of no class */
	.features = VIRTIO_BIT(MINI_F_MASK),
	.config_read = mini_config_read,
	.config_write = mini_config_write,
	.start = mini_start,
	.kick = mini_kick,
};

/* 6. Making one. */
int mini_init(struct mini *m, const struct gmem *gm, const struct log *log, struct loop *loop)
{
	*m = (struct mini){ 0 };
	virtio_device_init(&m->vd, &mini_ops, gm, log, m);
	m->vd.config_len = MINI_CONFIG_LEN;
	return virtio_add_queue(&m->vd, MINI_QUEUE_SIZE, loop);
}

void mini_release(struct mini *m)
{
	virtio_device_release(&m->vd);
}

/* 7. The option --mini: one on the heap. */
static int mini_make(struct virtio_device **out, const void *opts, const struct virtio_host *host,
		     struct err *err)
{
	struct mini *m = malloc(sizeof(*m));

	(void)opts;
	if (!m)
		return err_host(err, ENOMEM, "--mini");
	/* One queue is never too many. */
	BUG_ON(mini_init(m, host->gm, host->log, host->loops[0]));
	*out = &m->vd;
	return 0;
}

static void mini_destroy(struct virtio_device *vd)
{
	struct mini *m = vd->priv;

	mini_release(m);
	free(m);
}

const struct virtio_type mini_type = {
	.option = "mini",
	.arg = "[=KEY=VALUE...]",
	.help = "the smallest virtio device: it reverses the bytes that it is given",
	.hidden = true,
	.make = mini_make,
	.destroy = mini_destroy,
};
