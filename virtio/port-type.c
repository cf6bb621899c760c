/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <lkvm/chr-port.h>
#include <lkvm/util.h>
#include <lkvm/virtio/console.h>
#include <lkvm/virtio/port-type.h>

/* A reader gets this long to take what is left when the VM has ended. */
#define DRAIN_MS 2000

struct port_device {
	struct virtio_console_cfg cfg;
	struct port *port;
};

static int parse_port_name(void *cfg, const struct option_def *def, const char *arg,
			   struct err *err)
{
	size_t len = strspn(arg, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				 "0123456789._-");

	if (!len || arg[len] || len > VIRTIO_CONSOLE_NAME_MAX)
		return err_usage(err,
				 "option --port: \"%.80s\" is not 1 to %d of a-z A-Z 0-9 . _ -",
				 arg, VIRTIO_CONSOLE_NAME_MAX);
	return option_string(cfg, def, arg, err);
}

#define AT(field) .off = offsetof(struct port_opts, field)

static const struct option_def port_keys[] = {
	{ .name = "",
	  .arg = "NAME",
	  .parse = parse_port_name,
	  AT(name),
	  .help = "of /dev/virtio-ports/NAME in the guest, such as org.example.log" },
	{ .name = "in",
	  .arg = "N",
	  .parse = option_u32,
	  AT(in_fd),
	  .max = INT_MAX,
	  .help = "what the guest reads comes from descriptor N, whose end closes the port" },
	{ .name = "out",
	  .arg = "N",
	  .parse = option_u32,
	  AT(out_fd),
	  .max = INT_MAX,
	  .help = "what the guest writes goes to descriptor N; a slow reader makes it wait" },
};

static void port_defaults(void *opts)
{
	*(struct port_opts *)opts = (struct port_opts){ .in_fd = PORT_NO_FD, .out_fd = PORT_NO_FD };
}

/* `fd` is open, and not only for the other direction. */
static int check_fd(const struct port_opts *o, uint32_t fd, const char *key, int unwanted,
		    struct err *err)
{
	if (fd == PORT_NO_FD)
		return 0;
	int flags = fcntl((int)fd, F_GETFL);
	if (flags < 0 || (flags & O_ACCMODE) == unwanted)
		return err_usage(err, "--port %s: %s=%u is not a descriptor that is open for %s",
				 o->name, key, fd, unwanted == O_WRONLY ? "reading" : "writing");
	return 0;
}

static int port_check(const void *opts, struct err *err)
{
	const struct port_opts *o = opts;

	if (!o->name)
		return err_usage(err, "option --port needs its NAME");
	if (o->in_fd == PORT_NO_FD && o->out_fd == PORT_NO_FD)
		return err_usage(err, "--port %s goes nowhere: add in=N or out=N", o->name);
	return check_fd(o, o->in_fd, "in", O_WRONLY, err)
		       ?: check_fd(o, o->out_fd, "out", O_RDONLY, err);
}

static void free_device(struct port_device *d)
{
	if (d->port)
		chr_port_drain(d->port, DRAIN_MS);
	chr_port_free(d->port);
	free(d);
}

static void port_drain(struct virtio_device *vd, uint64_t deadline_ns)
{
	virtio_console_type.drain(vd, deadline_ns);
}

static void port_destroy(struct virtio_device *vd)
{
	const struct virtio_console_cfg *cfg = virtio_console_cfg_of(vd);
	struct port_device *d = (struct port_device *)((char *)cfg -
						       offsetof(struct port_device, cfg));

	virtio_console_type.destroy(vd);
	free_device(d);
}

static int fd_of(uint32_t fd)
{
	return fd == PORT_NO_FD ? -1 : (int)fd;
}

static int port_make(struct virtio_device **out, const void *opts, const struct virtio_host *host,
		     struct err *err)
{
	const struct port_opts *o = opts;
	struct port_device *d = calloc(1, sizeof(*d));

	if (!d)
		return err_host(err, ENOMEM, "--port %s", o->name);
	d->port = chr_port_new(o->name, fd_of(o->in_fd), fd_of(o->out_fd), host->log, err);
	d->cfg = (struct virtio_console_cfg){ .ports = { { .name = o->name, .port = d->port } },
					      .nr = 1 };
	int ret = d->port ? virtio_console_type.make(out, &d->cfg, host, err) : -ENOMEM;
	if (ret)
		free_device(d);
	return ret;
}

const struct virtio_type virtio_port_type = {
	.option = "port",
	.module = "virtio_console",
	.arg = "NAME[,in=N][,out=N]",
	.help = "a named port of a virtio console on inherited descriptors",
	.keys = port_keys,
	.keys_nr = ARRAY_SIZE(port_keys),
	.opts_len = sizeof(struct port_opts),
	.defaults = port_defaults,
	.check = port_check,
	.make = port_make,
	.drain = port_drain,
	.destroy = port_destroy,
};
