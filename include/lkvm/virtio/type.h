/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a device type brings besides its virtio_device_ops: its option, and how one is made from it. A new
 * type is one file with such a table, and one line in types.c.
 */
#ifndef LKVM_VIRTIO_TYPE_H
#define LKVM_VIRTIO_TYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <lkvm/err.h>
#include <lkvm/json.h>
#include <lkvm/options.h>
#include <lkvm/virtio/device.h>

/* What a device is made with; all of it outlives the device. */
struct virtio_host {
	const struct gmem *gm;
	const struct log *log;
	struct loop *const *loops; /* for its queues; at least one */
	unsigned int loops_nr;
	unsigned int cpus_nr; /* the guest's */
	const char *name;     /* the VM's, NULL: it has none */
	unsigned int number;  /* of those of its type, from 0 */
};

struct virtio_type {
	const char *option; /* without the dashes; also the name in messages */
	char letter;        /* or 0 */
	const char *arg;    /* as in struct option_def */
	const char *help;
	bool hidden;        /* not in the help */
	const char *module; /* Linux's driver, where it is one; NULL: there is none */

	const struct option_def *keys; /* offsets are into its options */
	unsigned int keys_nr;
	size_t opts_len;              /* of its options; zero before `defaults` */
	void (*defaults)(void *opts); /* before the keys are parsed; may be NULL */
	/* What a single key cannot tell; may be NULL. */
	int (*check)(const void *opts, struct err *err);

	/*
	 * Takes host resources, and returns a device that is REALIZED, or NULL when the options ask for none. The loops
	 * are not served yet.
	 */
	int (*make)(struct virtio_device **out, const void *opts, const struct virtio_host *host,
		    struct err *err);
	/*
	 * Members of its own in the object that --result has for the device: what it counted, and what of the host it
	 * was given. Any thread. NULL: there are none.
	 */
	void (*stats)(const struct virtio_device *vd, struct json *j);
	/*
	 * The guest has stopped for good; its memory and the loops are still there. Takes what it left in its queues, and
	 * returns when that is done or at the deadline. Before any device is reset. May be NULL.
	 */
	void (*drain)(struct virtio_device *vd, uint64_t deadline_ns);
	/* While it is on no transport and its loops are no longer served. */
	void (*destroy)(struct virtio_device *vd);
};

#endif
