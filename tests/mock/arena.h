/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Guest memory for a mock driver: real gmem with low RAM in two regions that touch, a hole, and high RAM.
 * On the host each region is fenced by pages that fault. What the driver writes goes through here, so
 * that arena_stray() finds every byte that somebody else changed without leave.
 */
#ifndef LKVM_TESTS_ARENA_H
#define LKVM_TESTS_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <lkvm/gmem.h>

#define ARENA_SPLIT    0x80000ULL  /* two regions touch here */
#define ARENA_LOW_END  0x100000ULL /* a hole from here to ARENA_HIGH */
#define ARENA_HIGH     0x100000000ULL
#define ARENA_HIGH_LEN 0x400000ULL
#define ARENA_HIGH_END (ARENA_HIGH + ARENA_HIGH_LEN)
#define ARENA_CLEAN    UINT64_MAX

/* What the mocks expect of each other and of the core; fails the test, or aborts the fuzzer. */
void mock_failed(const char *file, int line, const char *what);
#define MUST(cond)                                                                                 \
	do {                                                                                       \
		if (!(cond))                                                                       \
			mock_failed(__FILE__, __LINE__, #cond);                                    \
	} while (0)

struct arena {
	struct gmem gm;
	uint8_t *shadow;    /* a byte for each of gm: what it should hold */
	uint8_t *leave;     /* a byte for each: a device may write it */
	uint64_t low, high; /* the next free addresses */
};

void arena_init(struct arena *a);
void arena_release(struct arena *a);

/* Never given back. `align` is a power of two. */
uint64_t arena_alloc(struct arena *a, uint64_t len, uint64_t align);
uint64_t arena_alloc_high(struct arena *a, uint64_t len, uint64_t align);

/* The driver's accesses; outside RAM they fail the test. Words are single accesses where aligned. */
void arena_write(struct arena *a, uint64_t gpa, const void *buf, size_t len);
void arena_read(struct arena *a, uint64_t gpa, void *buf, size_t len);
void arena_fill(struct arena *a, uint64_t gpa, uint8_t byte, size_t len);
void arena_put16(struct arena *a, uint64_t gpa, uint16_t v);
void arena_put32(struct arena *a, uint64_t gpa, uint32_t v);
void arena_put64(struct arena *a, uint64_t gpa, uint64_t v);
uint16_t arena_get16(struct arena *a, uint64_t gpa);
uint32_t arena_get32(struct arena *a, uint64_t gpa);
/* The two that order: after everything written before; before everything read after. */
void arena_publish16(struct arena *a, uint64_t gpa, uint16_t v);
uint16_t arena_acquire16(struct arena *a, uint64_t gpa);

/* Devices may write here; what is not RAM is skipped. */
void arena_permit(struct arena *a, uint64_t gpa, uint64_t len);
/* From now on nothing may be written. */
void arena_forbid(struct arena *a);
/* The first address that changed without leave, or ARENA_CLEAN. */
uint64_t arena_stray(struct arena *a);
/* What stands now is what should stand, and nothing may be written. */
void arena_settle(struct arena *a);
/* Pages from the one of `gpa` on: read-only or not, for everybody. */
void arena_protect(struct arena *a, uint64_t gpa, uint64_t len, bool on);
bool arena_contains(const struct arena *a, const void *bytes, size_t len);

#endif
