/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The frame of a fuzz target: what the fuzzer and the replay of a corpus call, and how a target says
 * that a rule is broken.
 */
#ifndef LKVM_TESTS_FUZZ_H
#define LKVM_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <lkvm/gmem.h>
#include <lkvm/util.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_CHECK(cond)                                                                           \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #cond);         \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

/* Guest memory that is zero at every call and costs only what was touched. */
static inline struct gmem *fuzz_gmem(uint64_t size)
{
	static struct gmem gm;
	struct gmem_region span = { .gpa = 0, .size = size };
	struct gmem_backing backing = { 0 };
	struct err err = ERR_INIT;

	if (!gm.map)
		FUZZ_CHECK(gmem_init(&gm, &span, 1, &backing, &err) == 0);
	FUZZ_CHECK(madvise(gm.map, gm.map_len, MADV_DONTNEED) == 0);
	return &gm;
}

#endif
