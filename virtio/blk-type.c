/* SPDX-License-Identifier: GPL-2.0 */
/* The option --disk: an image (block/open.h) behind a virtio block device. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <lkvm/block/open.h>
#include <lkvm/util.h>
#include <lkvm/virtio/blk-type.h>
#include <lkvm/virtio/blk.h>

struct disk_opts {
	struct blk_open_opts image;
	uint32_t queues; /* 0: one a CPU of the guest */
	uint32_t queue_size;
	const char *serial;
	unsigned int block_size; /* index of block_sizes */
	bool wce;
	unsigned int discard; /* enum virtio_blk_discard */
	unsigned int overlay; /* index of overlays: there is one kind */
	bool overlay_given;
};

#define QUEUE_SIZE_DEFAULT 256

static const char *const formats[] = { "raw", NULL };
static const char *const block_sizes[] = { "512", "4096", NULL };
static const char *const discards[] = { "unmap", "ignore", NULL };
static const char *const overlays[] = { "ephemeral", NULL };

static int parse_format(void *cfg, const struct option_def *def, const char *arg, struct err *err)
{
	struct disk_opts *o = cfg;

	if (strcmp(arg, "raw"))
		return err_usage(
			err,
			"option --%s: \"%s\" is not raw, which is the one format so far; qcow2 "
			"comes later",
			def->name, arg);
	o->image.format = arg;
	return 0;
}

static int parse_queue_size(void *cfg, const struct option_def *def, const char *arg,
			    struct err *err)
{
	struct disk_opts *o = cfg;
	int ret = option_u32(cfg, def, arg, err);

	if (!ret && (o->queue_size & (o->queue_size - 1)))
		return err_usage(err, "option --%s: \"%s\" is not a power of two", def->name, arg);
	return ret;
}

static int parse_serial(void *cfg, const struct option_def *def, const char *arg, struct err *err)
{
	if (strlen(arg) > VIRTIO_BLK_SERIAL_LEN)
		return err_usage(err, "option --%s: \"%.80s\" is longer than %d bytes", def->name,
				 arg, VIRTIO_BLK_SERIAL_LEN);
	return option_string(cfg, def, arg, err);
}

static int parse_overlay(void *cfg, const struct option_def *def, const char *arg, struct err *err)
{
	((struct disk_opts *)cfg)->image.overlay = true;
	return option_choice(cfg, def, arg, err);
}

#define AT(field) .off = offsetof(struct disk_opts, field)

static const struct option_def disk_keys[] = {
	{ .name = "",
	  .arg = "FILE",
	  .parse = option_string,
	  AT(image.path),
	  .help = "a raw image or a block device" },
	{ .name = "ro",
	  .parse = option_set,
	  AT(image.ro),
	  .help = "the guest may only read it; several VMs may share it" },
	{ .name = "format",
	  .arg = "raw",
	  .parse = parse_format,
	  .choices = formats,
	  .help = "take an image that starts like one of another format as it is" },
	{ .name = "overlay",
	  .arg = "ephemeral",
	  .parse = parse_overlay,
	  AT(overlay),
	  .choices = overlays,
	  .help = "keep what the guest writes in an unlinked file that ends with the run; the "
		  "image "
		  "is only read" },
	{ .name = "direct",
	  .parse = option_set,
	  AT(image.direct),
	  .help = "past the host's page cache (O_DIRECT)" },
	{ .name = "queues",
	  .arg = "N",
	  .parse = option_u32,
	  AT(queues),
	  .min = 1,
	  .max = VIRTIO_QUEUES_MAX,
	  .help = "request queues (default: one a CPU)" },
	{ .name = "queue-size",
	  .arg = "N",
	  .parse = parse_queue_size,
	  AT(queue_size),
	  .min = VIRTIO_BLK_QUEUE_MIN,
	  .max = VQ_SIZE_MAX,
	  .help = "entries of each queue, a power of two (default 256)" },
	{ .name = "serial",
	  .arg = "TEXT",
	  .parse = parse_serial,
	  AT(serial),
	  .help = "serial number, up to 20 bytes" },
	{ .name = "block-size",
	  .arg = "512|4096",
	  .parse = option_choice,
	  AT(block_size),
	  .choices = block_sizes,
	  .help = "logical block size (default 512)" },
	{ .name = "wce",
	  .arg = "on|off",
	  .parse = option_on_off,
	  AT(wce),
	  .help = "on: a write may wait in a cache until the guest flushes (default); off: each "
		  "write "
		  "is stable before it completes" },
	{ .name = "discard",
	  .arg = "unmap|ignore",
	  .parse = option_choice,
	  AT(discard),
	  .choices = discards,
	  .help = "unmap: what the guest discards is freed in the image (default)" },
	{ .name = "fault",
	  .arg = "PLAN",
	  .parse = option_string,
	  AT(image.fault),
	  .help = "make requests fail, late, short or torn, such as write:nth=3:errno=EIO; the "
		  "README "
		  "has the grammar" },
};

static void disk_defaults(void *opts)
{
	*(struct disk_opts *)opts = (struct disk_opts){ .queue_size = QUEUE_SIZE_DEFAULT,
							.wce = true };
}

static int disk_check(const void *opts, struct err *err)
{
	const struct disk_opts *o = opts;

	if (!o->image.path)
		return err_usage(err, "option --disk needs its FILE");
	if (o->image.ro && o->image.overlay)
		return err_usage(
			err,
			"--disk %s: ro and overlay exclude each other; an overlay leaves the "
			"image alone anyway",
			o->image.path);
	return 0;
}

static void disk_destroy(struct virtio_device *vd)
{
	struct virtio_blk *b = vd->priv;
	struct blk_backend *be = b->backend;

	virtio_blk_release(b);
	be->ops->close(be);
	free(b);
}

static int disk_make(struct virtio_device **out, const void *opts, const struct virtio_host *host,
		     struct err *err)
{
	const struct disk_opts *o = opts;
	struct blk_open_opts image = o->image;
	struct virtio_blk *b = calloc(1, sizeof(*b));
	struct virtio_blk_opts blk = {
		.queues = o->queues ?: MIN(host->cpus_nr, (unsigned int)VIRTIO_QUEUES_MAX),
		.queue_size = (uint16_t)o->queue_size,
		.serial = o->serial,
		.wce = o->wce,
		.discard = o->discard,
	};

	if (!b)
		return err_host(err, ENOMEM, "--disk %s", image.path);
	image.block_size = o->block_size ? 4096 : 512;
	int ret = blk_open(&blk.backend, &image, host->log, err);
	if (!ret) {
		ret = virtio_blk_init(b, &blk, host->gm, host->log, host->loops, host->loops_nr,
				      err);
		if (ret)
			blk.backend->ops->close(blk.backend);
	}
	if (ret) {
		free(b);
		return ret;
	}
	*out = &b->vd;
	return 0;
}

const struct virtio_type virtio_blk_type = {
	.option = "disk",
	.letter = 'd',
	.arg = "FILE[,KEY=VALUE...]",
	.module = "virtio_blk",
	.help = "a disk, by virtio",
	.keys = disk_keys,
	.keys_nr = ARRAY_SIZE(disk_keys),
	.opts_len = sizeof(struct disk_opts),
	.defaults = disk_defaults,
	.check = disk_check,
	.make = disk_make,
	.destroy = disk_destroy,
};
