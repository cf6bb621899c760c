/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A vhost-net without a kernel, for programs with fake-kvm.c, whose ioctl() comes by here. Each open device (of
 * /dev/null) is an instance. It records what it is told, refuses what the kernel would, and serves its rings when the
 * test says so: every chain comes back with length 0.
 */
#ifndef LKVM_TESTS_FAKE_VHOST_H
#define LKVM_TESTS_FAKE_VHOST_H

#include <linux/vhost.h>
#include <stdbool.h>
#include <stdint.h>

#define FAKE_VHOSTS 16

struct fake_vring {
	unsigned int num;
	uint16_t base;
	struct vhost_vring_addr addr;
	int kick, call, err, backend; /* -1: none */
	unsigned int served;          /* chains */
	unsigned int kicks;           /* that were heard, of whatever number */
};

struct fake_vhost_dev {
	int fd;
	bool owned;
	uint64_t features;
	unsigned int regions_nr;
	struct fake_vring vring[2];
};

struct fake_vhost {
	/* What the test sets. */
	uint64_t features;
	unsigned int fail_at; /* the n-th call from 1 fails, 0: none */
	int fail_errno;

	unsigned int calls, starts, stops; /* of SET_BACKEND */
	unsigned int devs_nr;
	struct fake_vhost_dev devs[FAKE_VHOSTS]; /* in the order in which they were opened */
};

/* Everything is as after the start. */
struct fake_vhost *fake_vhost_start(void);
/* Every ring that was kicked and has a backend is served to its end, then its driver is told. Returns the chains. */
unsigned int fake_vhost_serve(void);

#endif
