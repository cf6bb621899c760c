/* SPDX-License-Identifier: GPL-2.0 */
#include <lkvm/util.h>

#include "iov.h"

void blk_iov_advance(struct blk_iov *v, uint64_t len)
{
	while (v->nr > 0 && len >= v->iov->iov_len) {
		len -= v->iov->iov_len;
		v->iov++;
		v->nr--;
	}
	if (v->nr > 0) {
		v->iov->iov_base = (char *)v->iov->iov_base + len;
		v->iov->iov_len -= len;
	}
}

struct blk_iov blk_iov_cut(struct blk_iov v, uint64_t len, struct blk_iov_cut *cut)
{
	struct blk_iov first = { .iov = v.iov };

	cut->split = (struct iovec){ 0 };
	while (first.nr < v.nr && len >= v.iov[first.nr].iov_len)
		len -= v.iov[first.nr++].iov_len;
	cut->rest = (struct blk_iov){ v.iov + first.nr, v.nr - first.nr };
	if (len > 0 && cut->rest.nr > 0) {
		struct iovec *at = cut->rest.iov;

		cut->split.iov_base = (char *)at->iov_base + len;
		cut->split.iov_len = at->iov_len - len;
		at->iov_len = len;
		first.nr++;
	}
	return first;
}

struct blk_iov blk_iov_uncut(const struct blk_iov_cut *cut)
{
	if (cut->split.iov_len > 0)
		*cut->rest.iov = cut->split;
	return cut->rest;
}

void blk_iov_read(struct blk_iov v, void *buf, uint64_t len)
{
	char *to = buf;

	for (unsigned int i = 0; i < v.nr && len > 0; i++) {
		size_t n = MIN(len, v.iov[i].iov_len);

		memcpy(to, v.iov[i].iov_base, n);
		to += n;
		len -= n;
	}
}

void blk_iov_write(struct blk_iov v, const void *buf, uint64_t len)
{
	const char *from = buf;

	for (unsigned int i = 0; i < v.nr && len > 0; i++) {
		size_t n = MIN(len, v.iov[i].iov_len);

		memcpy(v.iov[i].iov_base, from, n);
		from += n;
		len -= n;
	}
}

void blk_iov_zero(struct blk_iov v)
{
	for (unsigned int i = 0; i < v.nr; i++)
		memset(v.iov[i].iov_base, 0, v.iov[i].iov_len);
}

bool blk_iov_aligned(struct blk_iov v, uint64_t align)
{
	for (unsigned int i = 0; i < v.nr; i++)
		if (((uintptr_t)v.iov[i].iov_base | v.iov[i].iov_len) & (align - 1))
			return false;
	return true;
}
