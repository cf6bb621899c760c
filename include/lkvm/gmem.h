/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Guest memory: the table of RAM regions and the only way from a guest-physical address to a host one.
 *
 * No function takes an address without a length. Ranges are checked by subtraction, so nothing wraps;
 * a range that leaves RAM, crosses a hole or crosses two regions that do not touch is -EFAULT. Regions
 * that touch in guest-physical space count as one range for gmem_read/write/map.
 *
 * The table is built before the first vCPU runs and constant afterwards, so look-ups take no lock. The
 * guest writes to RAM while we read it: what is copied in must be checked in the copy, and words that
 * both sides use are accessed with gmem_load*()/gmem_store*().
 */
#ifndef LKVM_GMEM_H
#define LKVM_GMEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include <lkvm/err.h>

#define GMEM_REGIONS_MAX 4

struct gmem_region {
	uint64_t gpa;  /* page aligned */
	uint64_t size; /* bytes, page aligned, not 0 */
	uint8_t *host; /* mapped for the life of the table */
};

struct gmem {
	struct gmem_region
		regions[GMEM_REGIONS_MAX]; /* ascending, disjoint; zero from regions_nr on */
	unsigned int regions_nr;
	void *map; /* the one host mapping that backs all regions, and its length */
	size_t map_len;
};

/* How RAM is backed. */
struct gmem_backing {
	bool shared;    /* a sealed memfd instead of private anonymous memory */
	bool hugepages; /* MADV_HUGEPAGE */
	const char
		*hugetlbfs; /* a directory of a hugetlbfs mount, or NULL; excludes the two above */
};

/*
 * Makes the regions `spans[0..nr)` (only gpa and size are read) from one host mapping. Memory is not
 * reserved or touched. Errors name the option that asked for it. gmem_release() unmaps.
 */
int gmem_init(struct gmem *gm, const struct gmem_region *spans, unsigned int nr,
	      const struct gmem_backing *backing, struct err *err);
void gmem_release(struct gmem *gm);

uint64_t gmem_size(const struct gmem *gm); /* bytes of all regions */

/*
 * Bulk data into or out of guest memory that was mapped (gmem_map(), gmem_span()): the guest may change it
 * meanwhile, so only the copy is ever looked at. Words that order anything are atomics instead.
 */
void gmem_copy(void *to, const void *from, size_t len);

/* Copies; all or nothing. Return 0 or -EFAULT. A length of 0 succeeds for any address. */
int gmem_read(const struct gmem *gm, uint64_t gpa, void *buf, size_t len)
	__attribute__((warn_unused_result));
int gmem_write(const struct gmem *gm, uint64_t gpa, const void *buf, size_t len)
	__attribute__((warn_unused_result));
int gmem_zero(const struct gmem *gm, uint64_t gpa, uint64_t len)
	__attribute__((warn_unused_result));

/* The region that holds all of a range, or NULL. */
static inline const struct gmem_region *gmem_region_of(const struct gmem *gm, uint64_t gpa,
						       uint64_t len)
{
	/* Those that are not there have no size. */
	for (const struct gmem_region *r = gm->regions; r < gm->regions + GMEM_REGIONS_MAX; r++) {
		/* Below the region it is more than any size. */
		uint64_t off = gpa - r->gpa;

		if (off < r->size && len <= r->size - off)
			return r;
	}
	return NULL;
}

/*
 * The host address of a range within one region, or NULL. For rings and loaders only: the caller keeps
 * to `len` bytes and accepts that the guest changes them at any time.
 */
static inline void *gmem_span(const struct gmem *gm, uint64_t gpa, uint64_t len)
{
	const struct gmem_region *r = gmem_region_of(gm, gpa, len);

	return r ? r->host + (gpa - r->gpa) : NULL;
}

/*
 * Adds the pieces of a range to iov[*iov_nr..iov_max): all or nothing. -EFAULT for a bad range, -E2BIG
 * when iovecs run out.
 */
int gmem_map_parts(const struct gmem *gm, uint64_t gpa, uint64_t len, struct iovec *iov,
		   unsigned int *iov_nr, unsigned int iov_max) __attribute__((warn_unused_result));

/* The same; here because every buffer of every request comes by, and nearly always lies in one region. */
__attribute__((warn_unused_result)) static inline int gmem_map(const struct gmem *gm, uint64_t gpa,
							       uint64_t len, struct iovec *iov,
							       unsigned int *iov_nr,
							       unsigned int iov_max)
{
	const struct gmem_region *r = gmem_region_of(gm, gpa, len);

	if (!r || !len || *iov_nr >= iov_max)
		return gmem_map_parts(gm, gpa, len, iov, iov_nr, iov_max);
	iov[(*iov_nr)++] = (struct iovec){ .iov_base = r->host + (gpa - r->gpa), .iov_len = len };
	return 0;
}

#endif
