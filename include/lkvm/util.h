/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Small helpers with no state: array sizes, alignment, checked arithmetic, little-endian words.
 */
#ifndef LKVM_UTIL_H
#define LKVM_UTIL_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ARRAY_SIZE(a)                   (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)                       ((a) < (b) ? (a) : (b))
#define MAX(a, b)                       ((a) > (b) ? (a) : (b))
#define KIB                             (UINT64_C(1) << 10)
#define MIB                             (UINT64_C(1) << 20)
#define GIB                             (UINT64_C(1) << 30)
#define NSEC_PER_SEC                    1000000000ULL

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

/* For a broken promise of our own. The condition must not depend on anything a guest can influence. */
#define BUG_ON(cond)                                                                               \
	do {                                                                                       \
		if (__builtin_expect(!!(cond), 0))                                                 \
			__builtin_trap();                                                          \
	} while (0)

/* `align` is a power of two. align_up() wraps for values within `align` of the type's end. */
static inline uint64_t align_up(uint64_t v, uint64_t align)
{
	return (v + align - 1) & ~(align - 1);
}

static inline uint64_t align_down(uint64_t v, uint64_t align)
{
	return v & ~(align - 1);
}

/* True when [off, off + len) lies inside [0, size). Subtraction only, so nothing wraps. */
static inline bool range_ok(uint64_t off, uint64_t len, uint64_t size)
{
	return off <= size && len <= size - off;
}

/* Unaligned little-endian loads and stores in host memory that no guest can see. */
static inline uint16_t get_le16(const void *p)
{
	uint16_t v;
	memcpy(&v, p, sizeof(v));
	return le16toh(v);
}

static inline uint32_t get_le32(const void *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static inline uint64_t get_le64(const void *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

static inline void put_le16(void *p, uint16_t v)
{
	v = htole16(v);
	memcpy(p, &v, sizeof(v));
}

static inline void put_le32(void *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, sizeof(v));
}

static inline void put_le64(void *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, sizeof(v));
}

/* Monotonic time in nanoseconds. */
uint64_t util_now_ns(void);

/* write(2) until all is written; EINTR is retried. Returns 0 or -errno. */
int util_write_all(int fd, const void *buf, size_t len);

/* A write of up to PIPE_BUF bytes does not wait, though it may fail. */
bool util_can_write(int fd);

/* Puts '?' for each control byte: text that a guest or a file chose must not drive the terminal. */
void util_clean_text(char *s);

/* 1 to 64 of a-z A-Z 0-9 . _ - and no dot first: fit for messages and as the name of a file. */
bool util_is_name(const char *s);

#endif
