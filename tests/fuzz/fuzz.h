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

/* A driver's memory, and what the target knows to be in it. */
struct fuzz_memory {
	struct gmem *gm; /* from 0 */
	uint64_t len;
	uint8_t *model; /* NULL: nobody keeps count */
};

/* Where a program leads is not always memory: then nothing is written. */
static inline void fuzz_put(const struct fuzz_memory *m, uint64_t gpa, const void *buf, size_t len)
{
	if (!range_ok(gpa, len, m->len))
		return;
	if (m->model)
		memcpy(m->model + gpa, buf, len);
	FUZZ_CHECK(gmem_write(m->gm, gpa, buf, len) == 0);
}

static inline void fuzz_put16(const struct fuzz_memory *m, uint64_t gpa, uint16_t v)
{
	uint16_t le = htole16(v);

	fuzz_put(m, gpa, &le, sizeof(le));
}

/* VIRTIO 1.3, 2.7.5 */
static inline void fuzz_put_desc(const struct fuzz_memory *m, uint64_t gpa, uint64_t addr,
				 uint32_t len, uint16_t flags, uint16_t next)
{
	uint8_t d[16];

	put_le64(d, addr);
	put_le32(d + 8, len);
	put_le16(d + 12, flags);
	put_le16(d + 14, next);
	fuzz_put(m, gpa, d, sizeof(d));
}

static inline const uint8_t *fuzz_at(const struct fuzz_memory *m, uint64_t gpa)
{
	return gmem_span(m->gm, gpa, 1);
}

#endif
