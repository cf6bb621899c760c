/* SPDX-License-Identifier: GPL-2.0 */
#include <sys/mman.h>

#include <lkvm/util.h>

#include "arena.h"

#define FENCE 0x10000ULL

/* Guest addresses and where they are in the one host mapping, fences between. */
static const struct {
	uint64_t gpa, size, off;
} layout[] = {
	{ 0, ARENA_SPLIT, FENCE },
	{ ARENA_SPLIT, ARENA_LOW_END - ARENA_SPLIT, 2 * FENCE + ARENA_SPLIT },
	{ ARENA_HIGH, ARENA_HIGH_LEN, 3 * FENCE + ARENA_LOW_END },
};

#define MAP_LEN (4 * FENCE + ARENA_LOW_END + ARENA_HIGH_LEN)

void arena_init(struct arena *a)
{
	struct gmem_region whole = { .gpa = 0, .size = MAP_LEN };
	struct gmem_backing backing = { 0 };
	struct err err = ERR_INIT;

	*a = (struct arena){ .low = 0x1000, .high = ARENA_HIGH };
	MUST(gmem_init(&a->gm, &whole, 1, &backing, &err) == 0);
	MUST(mprotect(a->gm.map, MAP_LEN, PROT_NONE) == 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(layout); i++) {
		struct gmem_region *r = &a->gm.regions[i];

		*r = (struct gmem_region){ .gpa = layout[i].gpa,
					   .size = layout[i].size,
					   .host = (uint8_t *)a->gm.map + layout[i].off };
		MUST(mprotect(r->host, r->size, PROT_READ | PROT_WRITE) == 0);
	}
	a->gm.regions_nr = ARRAY_SIZE(layout);
	a->shadow = mmap(NULL, MAP_LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	a->leave = mmap(NULL, MAP_LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	MUST(a->shadow != MAP_FAILED && a->leave != MAP_FAILED);
}

void arena_release(struct arena *a)
{
	munmap(a->shadow, MAP_LEN);
	munmap(a->leave, MAP_LEN);
	gmem_release(&a->gm);
}

uint64_t arena_alloc(struct arena *a, uint64_t len, uint64_t align)
{
	uint64_t gpa = align_up(a->low, align);

	/* An area is whole in one region. */
	if (gpa < ARENA_SPLIT && gpa + len > ARENA_SPLIT)
		gpa = ARENA_SPLIT;
	a->low = gpa + len;
	MUST(a->low <= ARENA_LOW_END);
	return gpa;
}

uint64_t arena_alloc_high(struct arena *a, uint64_t len, uint64_t align)
{
	uint64_t gpa = align_up(a->high, align);

	a->high = gpa + len;
	MUST(a->high <= ARENA_HIGH_END);
	return gpa;
}

/* The host address of one byte and the bytes that follow it; NULL outside RAM. */
static uint8_t *find(const struct arena *a, uint64_t gpa, uint64_t *len)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(layout); i++) {
		const struct gmem_region *r = &a->gm.regions[i];

		if (gpa < r->gpa || gpa - r->gpa >= r->size)
			continue;
		*len = MIN(*len, r->size - (gpa - r->gpa));
		return r->host + (gpa - r->gpa);
	}
	return NULL;
}

static size_t off_of(const struct arena *a, const uint8_t *host)
{
	return (size_t)(host - (uint8_t *)a->gm.map);
}

static uint8_t *at(const struct arena *a, uint64_t gpa, uint64_t len)
{
	uint64_t n = len;
	uint8_t *host = find(a, gpa, &n);

	MUST(host && n == len);
	return host;
}

void arena_write(struct arena *a, uint64_t gpa, const void *buf, size_t len)
{
	const uint8_t *from = buf;

	while (len) {
		uint64_t n = len;
		uint8_t *host = find(a, gpa, &n);

		MUST(host);
		memcpy(host, from, n);
		memcpy(a->shadow + off_of(a, host), from, n);
		from += n;
		gpa += n;
		len -= n;
	}
}

void arena_fill(struct arena *a, uint64_t gpa, uint8_t byte, size_t len)
{
	uint8_t *host = at(a, gpa, len);

	memset(host, byte, len);
	memset(a->shadow + off_of(a, host), byte, len);
}

void arena_read(struct arena *a, uint64_t gpa, void *buf, size_t len)
{
	MUST(gmem_read(&a->gm, gpa, buf, len) == 0);
}

#define PUT(bits, order)                                                                           \
	uint##bits##_t le = htole##bits(v);                                                        \
	if (gpa % (bits / 8)) {                                                                    \
		arena_write(a, gpa, &le, sizeof(le));                                              \
		return;                                                                            \
	}                                                                                          \
	uint8_t *host = at(a, gpa, bits / 8);                                                      \
	__atomic_store_n((uint##bits##_t *)(void *)host, le, order);                               \
	memcpy(a->shadow + off_of(a, host), &le, sizeof(le))

void arena_put16(struct arena *a, uint64_t gpa, uint16_t v)
{
	PUT(16, __ATOMIC_RELAXED);
}

void arena_put32(struct arena *a, uint64_t gpa, uint32_t v)
{
	PUT(32, __ATOMIC_RELAXED);
}

void arena_put64(struct arena *a, uint64_t gpa, uint64_t v)
{
	PUT(64, __ATOMIC_RELAXED);
}

void arena_publish16(struct arena *a, uint64_t gpa, uint16_t v)
{
	PUT(16, __ATOMIC_RELEASE);
}

uint16_t arena_get16(struct arena *a, uint64_t gpa)
{
	return le16toh(__atomic_load_n((uint16_t *)(void *)at(a, gpa, 2), __ATOMIC_RELAXED));
}

uint32_t arena_get32(struct arena *a, uint64_t gpa)
{
	return le32toh(__atomic_load_n((uint32_t *)(void *)at(a, gpa, 4), __ATOMIC_RELAXED));
}

uint16_t arena_acquire16(struct arena *a, uint64_t gpa)
{
	return le16toh(__atomic_load_n((uint16_t *)(void *)at(a, gpa, 2), __ATOMIC_ACQUIRE));
}

void arena_permit(struct arena *a, uint64_t gpa, uint64_t len)
{
	while (len) {
		uint64_t n = len;
		uint8_t *host = find(a, gpa, &n);

		if (!host)
			return;
		memset(a->leave + off_of(a, host), 1, n);
		gpa += n;
		len -= n;
	}
}

void arena_forbid(struct arena *a)
{
	memset(a->leave, 0, MAP_LEN);
}

uint64_t arena_stray(struct arena *a)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(layout); i++) {
		const struct gmem_region *r = &a->gm.regions[i];
		const uint8_t *shadow = a->shadow + layout[i].off,
			      *leave = a->leave + layout[i].off;

		for (uint64_t p = 0; p < r->size; p += 4096) {
			if (!memcmp(r->host + p, shadow + p, 4096))
				continue;
			for (uint64_t b = p; b < p + 4096; b++)
				if (r->host[b] != shadow[b] && !leave[b])
					return r->gpa + b;
		}
	}
	return ARENA_CLEAN;
}

void arena_settle(struct arena *a)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(layout); i++)
		memcpy(a->shadow + layout[i].off, a->gm.regions[i].host, layout[i].size);
	arena_forbid(a);
}

void arena_protect(struct arena *a, uint64_t gpa, uint64_t len, bool on)
{
	uint64_t first = align_down(gpa, 4096), end = align_up(gpa + len, 4096);

	MUST(mprotect(at(a, first, end - first), end - first,
		      on ? PROT_READ : PROT_READ | PROT_WRITE) == 0);
}

bool arena_contains(const struct arena *a, const void *bytes, size_t len)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(layout); i++)
		if (memmem(a->gm.regions[i].host, a->gm.regions[i].size, bytes, len))
			return true;
	return false;
}
