/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a VM is to be: the whole of it, validated, constant while the VM exists. A command fills it.
 */
#ifndef LKVM_CONFIG_H
#define LKVM_CONFIG_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include <lkvm/arch.h>
#include <lkvm/ktap.h>
#include <lkvm/log.h>
#include <lkvm/match.h>
#include <lkvm/streams.h>
#include <lkvm/virtio/types.h>

struct result_file;
struct symbols;

enum boot_how {
	BOOT_AUTO,    /* the decompressed kernel when it can be had, else the bzImage */
	BOOT_BZIMAGE, /* the image as it is; it decompresses itself in the guest */
	BOOT_VMLINUX, /* the ELF, from a file or from inside a bzImage */
};

/* Ways to PCI configuration space. */
enum pci_access {
	PCI_ACCESS_AUTO, /* ECAM alone for a kernel that is seen to have support for it, else both */
	PCI_ACCESS_ECAM,
	PCI_ACCESS_CONF1, /* the ports CF8 and CFC */
	PCI_ACCESS_BOTH,
};

#define MEM_MIN_MIB     16ULL
#define MEM_DEFAULT_MIB 256ULL
#define CPUS_MAX        254 /* an xAPIC id is a byte, 255 is broadcast */

struct machine_config {
	const char *name; /* for the process list and messages */
	const char *dev;  /* the KVM device */

	const char *kernel; /* path */
	const char *const *initrds;
	unsigned int initrds_nr;
	const void *initramfs; /* one more initrd, after the files; NULL: none */
	size_t initramfs_len;
	const char *cmdline; /* the kernel's, complete */
	enum boot_how boot;
	bool kaslr;
	const char *cache_dir; /* decompressed kernels; NULL: none */

	uint64_t mem; /* bytes, a multiple of the page size */
	const char *hugetlbfs;
	bool mem_shared;
	unsigned int cpus_nr;
	const uint16_t *affinity; /* host CPU of vCPU i is affinity[i % affinity_nr] */
	unsigned int affinity_nr;

	enum irqchip irqchip; /* arm64, and the next two */
	bool pmu;
	const char *dump_dtb; /* a file that gets the device tree; NULL: none */

	bool acpi;
	int debug_exit; /* port, -1: none */

	bool command;                  /* one is run in the guest: */
	struct streams_config streams; /* its streams, but for the callbacks */

	bool console;        /* false: the serial ports exist and go nowhere */
	bool console_virtio; /* in_fd and out_fd are a virtio console's, copy_fd is the serial one's */
	int in_fd;           /* console input, -1: none */
	int out_fd;          /* console output, -1: none */
	int copy_fd;         /* gets the serial console's output too, -1: none */
	bool escape;         /* Ctrl-A commands on in_fd */
	bool follow_size;    /* of the terminal out_fd; the caller has SIGWINCH blocked */

	const struct virtio_spec *virtio; /* in the order of their PCI slots */
	unsigned int virtio_nr;
	enum virtio_pci_how virtio_trans; /* of those that do not say */
	enum pci_access pci_access;

	uint64_t timeout_ns;       /* 0: none; the same for the next two */
	uint64_t boot_timeout_ns;  /* until init */
	uint64_t idle_timeout_ns;  /* without a sign of life (watch.h) */
	const struct match *until; /* console lines that end the run well; NULL or empty: none */
	const struct match *fail;  /* ... and badly */
	struct ktap *ktap;         /* gets the guest's output and decides the outcome; NULL: none */
	bool fail_on_splat;        /* a crash that the kernel survives counts as a failure */
	bool die_with_parent;      /* the VM ends with the process of parent_fd, */
	int parent_fd;             /* a pidfd; not owned */
	const struct symbols *symbols; /* the kernel's functions; NULL: not known */
	uint64_t panic_addr;           /* with symbols: the one that a panic calls */
	struct result_file *core;      /* gets the VM when the guest failed; NULL: nobody does */
	bool debug_on_fail;            /* a report at every end that is not a success */
	bool restart;                  /* on reset, start again instead of ending */
	const sigset_t *signals;       /* blocked by the caller; each stops the VM; NULL: none */
	struct log log;
};

#endif
