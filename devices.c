/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <lkvm/arch.h>
#include <lkvm/config.h>
#include <lkvm/devices.h>
#include <lkvm/json.h>
#include <lkvm/poller.h>
#include <lkvm/util.h>
#include <lkvm/virtio/transport-pci.h>

#define DRAIN_POLL_NS 1000000

struct device {
	const struct virtio_spec *spec;
	struct virtio_device *vd; /* NULL: not made, or none was asked for */
	bool plugged;
	struct virtio_pci vp;
};

struct devices {
	const struct machine_config *cfg;
	struct kvm *kvm;
	const struct gmem *gm;
	struct pci *pci;
	struct pollers *pollers;
	unsigned int nr;
	struct device dev[];
};

/* The loops of "a:b:c", or one of the device's own. */
static int find_loops(struct devices *devs, unsigned int i, struct loop **loops, unsigned int *nr,
		      struct err *err)
{
	const struct virtio_spec *spec = devs->dev[i].spec;
	char name[16];
	const char *p = spec->common.iothread;

	if (!p) {
		/* A dot is no part of a user's name in front, so it is nobody else's. */
		snprintf(name, sizeof(name), ".%s%u", spec->type->option, i);
		loops[0] = pollers_get(devs->pollers, name, err);
		*nr = 1;
		return loops[0] ? 0 : -ENOMEM;
	}
	for (*nr = 0; *p; p += *p == ':') {
		size_t len = strcspn(p, ":");

		if (*nr == VIRTIO_QUEUES_MAX)
			return err_usage(err, "--%s: at most %d threads in iothread",
					 spec->type->option, VIRTIO_QUEUES_MAX);
		snprintf(name, sizeof(name), "%.*s", (int)len, p);
		loops[*nr] = pollers_get(devs->pollers, name, err);
		if (!loops[(*nr)++])
			return -ENOMEM;
		p += len;
	}
	return 0;
}

static int make_device(struct devices *devs, unsigned int i, struct err *err)
{
	struct device *d = &devs->dev[i];
	const struct virtio_common *c = &d->spec->common;
	struct loop *loops[VIRTIO_QUEUES_MAX];
	struct virtio_host host = {
		.gm = devs->gm,
		.log = &devs->cfg->log,
		.loops = loops,
		.cpus_nr = devs->cfg->cpus_nr,
		.name = devs->cfg->name,
	};
	struct virtio_pci_opts opts = {
		.how = c->trans ? c->trans - 1 : devs->cfg->virtio_trans,
		.vectors = c->vectors == VIRTIO_VECTORS_AUTO ? VIRTIO_PCI_VECTORS_AUTO
							     : (int)c->vectors,
		.pio_notify = c->pio_notify,
		.prefers_port = arch_prefers_port_doorbells(),
		.kvm = devs->kvm,
	};

	for (unsigned int k = 0; k < i; k++)
		host.number += devs->dev[k].spec->type == d->spec->type;
	int ret = find_loops(devs, i, loops, &host.loops_nr, err);
	if (!ret)
		ret = d->spec->type->make(&d->vd, d->spec->opts, &host, err);
	if (ret || !d->vd)
		return ret;
	ret = virtio_pci_plug(&d->vp, d->vd, devs->pci, &opts, err);
	d->plugged = !ret;
	return ret;
}

int devices_new(struct devices **out, const struct machine_config *cfg,
		const struct virtio_spec *own, unsigned int own_nr, struct kvm *kvm,
		const struct gmem *gm, struct pci *pci, struct err *err)
{
	unsigned int nr = cfg->virtio_nr + own_nr;
	struct devices *devs = calloc(1, sizeof(*devs) + nr * sizeof(devs->dev[0]));

	*out = NULL;
	if (!devs)
		return err_host(err, ENOMEM, "cannot make the devices");
	devs->cfg = cfg;
	devs->kvm = kvm;
	devs->gm = gm;
	devs->pci = pci;
	devs->pollers = pollers_new(err);
	int ret = devs->pollers ? 0 : -ENOMEM;
	while (!ret && devs->nr < nr) {
		devs->dev[devs->nr].spec = devs->nr < cfg->virtio_nr
						   ? &cfg->virtio[devs->nr]
						   : &own[devs->nr - cfg->virtio_nr];
		ret = make_device(devs, devs->nr++, err);
	}
	if (ret)
		devices_free(devs);
	else
		*out = devs;
	return ret;
}

int devices_start(struct devices *devs, struct err *err)
{
	return pollers_start(devs->pollers, err);
}

/* A reset that waits for its back end is not waited for long: a dead disk must not keep lkvm. */
static int drain(struct device *d)
{
	static const struct timespec pause = { .tv_nsec = DRAIN_POLL_NS };
	uint64_t deadline = util_now_ns() + DEVICES_DRAIN_MS * (NSEC_PER_SEC / 1000);

	virtio_reset(d->vd);
	while (virtio_get_status(d->vd)) {
		if (util_now_ns() >= deadline)
			return -EBUSY;
		nanosleep(&pause, NULL);
	}
	return 0;
}

int devices_free(struct devices *devs)
{
	uint64_t deadline = util_now_ns() + DEVICES_DRAIN_MS * (NSEC_PER_SEC / 1000);
	int ret = 0;

	for (unsigned int i = 0; i < devs->nr; i++)
		if (devs->dev[i].plugged && devs->dev[i].spec->type->drain)
			devs->dev[i].spec->type->drain(devs->dev[i].vd, deadline);
	/* All are told to stop before any is waited for. */
	for (unsigned int i = 0; i < devs->nr; i++)
		if (devs->dev[i].plugged)
			virtio_reset(devs->dev[i].vd);
	for (unsigned int i = 0; i < devs->nr; i++) {
		struct device *d = &devs->dev[i];

		if (d->plugged && drain(d)) {
			log_warn(&devs->cfg->log, "--%s: requests have not ended, it is left alone",
				 d->spec->type->option);
			ret = -EBUSY;
		}
	}
	if (ret)
		return ret;
	for (unsigned int i = devs->nr; i-- > 0;)
		if (devs->dev[i].plugged)
			virtio_pci_unplug(&devs->dev[i].vp);
	if (devs->pollers)
		pollers_stop(devs->pollers);
	for (unsigned int i = devs->nr; i-- > 0;)
		if (devs->dev[i].vd)
			devs->dev[i].spec->type->destroy(devs->dev[i].vd);
	if (devs->pollers)
		pollers_free(devs->pollers);
	free(devs);
	return 0;
}

static uint64_t device_requests(const struct device *d)
{
	uint64_t n = 0;

	for (unsigned int q = 0; d->vd && q < d->vd->queues_nr; q++)
		n += atomic_load_explicit(&d->vd->vqs[q].chains_nr, memory_order_relaxed);
	return n;
}

uint64_t devices_requests(const struct devices *devs)
{
	uint64_t n = 0;

	for (unsigned int i = 0; i < devs->nr; i++)
		n += device_requests(&devs->dev[i]);
	return n;
}

/* As deep as result-json.c puts it. NULL: nothing, or no memory for it. */
static char *own_stats(const struct device *d)
{
	struct json j = { .depth = 4 };
	char *text = NULL;
	size_t len;

	if (!d->vd || !d->spec->type->stats)
		return NULL;
	j.out = open_memstream(&text, &len);
	if (!j.out)
		return NULL;
	fputc('{', j.out);
	d->spec->type->stats(d->vd, &j);
	json_close(&j, '}');
	fclose(j.out);
	return text;
}

unsigned int devices_add_stats(const struct devices *devs, struct device_stats *stats,
			       unsigned int max)
{
	unsigned int nr = MIN(devs->nr, max);

	for (unsigned int i = 0; i < nr; i++) {
		const struct device *d = &devs->dev[i];

		stats[i].name = d->spec->type->option;
		stats[i].slot = d->vp.pd.slot;
		stats[i].requests += device_requests(d);
		free(stats[i].own);
		stats[i].own = own_stats(d);
	}
	return nr;
}

void devices_describe(const struct devices *devs, FILE *out)
{
	for (unsigned int i = 0; i < devs->nr; i++) {
		const struct device *d = &devs->dev[i];

		if (!d->vd)
			continue;
		fprintf(out, "%-10s pci slot %u, virtio id %u, %s%s%s, %u queue%s, %s%s\n",
			d->spec->type->option, d->vp.pd.slot, d->vd->ops->device_id,
			d->vp.modern ? "modern" : "", d->vp.modern && d->vp.legacy ? " and " : "",
			d->vp.legacy ? "legacy" : "", d->vd->queues_nr,
			d->vd->queues_nr == 1 ? "" : "s",
			d->spec->common.iothread ? "iothread " : "a thread of its own",
			d->spec->common.iothread ?: "");
	}
}
