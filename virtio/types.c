/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <lkvm/util.h>
#include <lkvm/virtio/blk-type.h>
#include <lkvm/virtio/mini.h>
#include <lkvm/virtio/net-type.h>
#include <lkvm/virtio/port-type.h>
#include <lkvm/virtio/rng.h>
#include <lkvm/virtio/types.h>

const struct virtio_type *const virtio_types[] = {
	/* The empty comments keep it one a line. */
	&virtio_blk_type,  //
	&virtio_net_type,  //
	&virtio_rng_type,  //
	&virtio_port_type, //
	&mini_type,        //
	NULL,
};

const char *const virtio_trans_names[] = { "pci", "pci-modern", "pci-legacy", NULL };
static const char *const pio_notify_names[] = { "auto", "on", "off", NULL };

#define VECTORS_MAX 64 /* what fits beside the pending bits in the BAR of the table */

static int parse_trans(void *cfg, const struct option_def *def, const char *arg, struct err *err)
{
	int ret = option_choice(cfg, def, arg, err);

	/* The names begin after the default. */
	if (!ret)
		((struct virtio_common *)cfg)->trans++;
	return ret;
}

/* One name, or several with a colon between two; they become names of threads. */
static int parse_iothread(void *cfg, const struct option_def *def, const char *arg, struct err *err)
{
	for (const char *p = arg;; p++) {
		size_t len = strspn(p, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				       "0123456789._-");

		if (!len || len > 15 || (p[len] && p[len] != ':'))
			return err_usage(err,
					 "option --%s: \"%.80s\" is not NAME or NAME:NAME..., of 1 "
					 "to 15 of a-z "
					 "A-Z 0-9 . _ - each",
					 def->name, arg);
		p += len;
		if (!*p)
			return option_string(cfg, def, arg, err);
	}
}

#define AT(field) .off = offsetof(struct virtio_common, field)

const struct option_def virtio_common_keys[] = {
	{ .name = "trans",
	  .arg = "pci|pci-modern|pci-legacy",
	  .parse = parse_trans,
	  AT(trans),
	  .choices = virtio_trans_names,
	  .help = "this device's --virtio-transport" },
	{ .name = "iothread",
	  .arg = "NAME[:NAME...]",
	  .parse = parse_iothread,
	  AT(iothread),
	  .help = "serve its queues on the thread of that name, which devices may share, or spread "
		  "them over several (default: a thread of its own)" },
	{ .name = "vectors",
	  .arg = "N",
	  .parse = option_u32,
	  AT(vectors),
	  .max = VECTORS_MAX,
	  .help = "MSI-X vectors, 0: none, interrupts by a line (default: one a queue, and one)" },
	{ .name = "pio-notify",
	  .arg = "auto|on|off",
	  .parse = option_choice,
	  AT(pio_notify),
	  .choices = pio_notify_names,
	  .help = "doorbells of the modern interface in I/O space too, which costs less on AMD "
		  "hosts before Linux 6.8 (default: auto, where it does)" },
};
const unsigned int virtio_common_keys_nr = ARRAY_SIZE(virtio_common_keys);

int virtio_spec_parse(struct virtio_spec *spec, const struct virtio_type *type, const char *arg,
		      struct err *err)
{
	*spec = (struct virtio_spec){ .type = type,
				      .common.vectors = VIRTIO_VECTORS_AUTO,
				      .opts = calloc(1, type->opts_len ?: 1),
				      .text = strdup(arg ?: "") };
	struct option_keys tables[] = {
		{ type->keys, type->keys_nr, spec->opts },
		{ virtio_common_keys, virtio_common_keys_nr, &spec->common },
	};
	int ret = spec->opts && spec->text ? 0 : err_host(err, ENOMEM, "--%s", type->option);

	if (!ret && type->defaults)
		type->defaults(spec->opts);
	if (!ret && arg)
		ret = options_parse_keys(type->option, tables, ARRAY_SIZE(tables), spec->text, err);
	if (!ret && type->check)
		ret = type->check(spec->opts, err);
	if (ret)
		virtio_spec_release(spec);
	return ret;
}

void virtio_spec_release(struct virtio_spec *spec)
{
	free(spec->opts);
	free(spec->text);
	*spec = (struct virtio_spec){ 0 };
}
