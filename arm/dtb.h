/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The device tree: what the kernel is told of the machine.
 *
 * Source: Devicetree Specification 0.4 and Documentation/devicetree/bindings of the kernel.
 */
#ifndef LKVM_ARM_DTB_H
#define LKVM_ARM_DTB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <lkvm/arch.h>
#include <lkvm/err.h>

#define DTB_SEED_LEN 64

struct dtb_config {
	const char *cmdline;
	uint64_t ram_gpa, ram_len;
	uint64_t initrd_gpa, initrd_len; /* len 0: none */
	uint64_t kaslr_seed;
	uint8_t rng_seed[DTB_SEED_LEN];
	const uint32_t *affinity; /* of each CPU */
	unsigned int cpus_nr;
	enum irqchip irqchip; /* not IRQCHIP_AUTO */
	bool pmu;
	uint64_t pci64, pci64_len; /* len 0: none */
};

/* Writes the tree to buf[0..len) and pads it with zeros. -ENOSPC when it is too long. */
int dtb_build(void *buf, size_t len, const struct dtb_config *cfg, struct err *err);

/* The bytes that it has of them. */
size_t dtb_len(const void *dtb);

#endif
