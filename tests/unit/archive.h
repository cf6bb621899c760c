/* SPDX-License-Identifier: GPL-2.0 */
/* Reads an archive of the newc format back: Documentation/driver-api/early-userspace/buffer-format.rst. */
#ifndef TESTS_UNIT_ARCHIVE_H
#define TESTS_UNIT_ARCHIVE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <lkvm/cpio.h>

#include "unit.h"

struct entry {
	const char *name;
	uint32_t mode;
	const char *data;
	size_t len;
};

#define NEWC_HEADER 110

static inline uint32_t archive_field(const char *header, unsigned int i)
{
	char hex[9] = "";

	memcpy(hex, header + 6 + i * 8, 8);
	return (uint32_t)strtoul(hex, NULL, 16);
}

/* The record at *at; false at the last one, after which nothing may come. */
static inline bool archive_next(const struct cpio *c, size_t *at, struct entry *e)
{
	const char *h = c->data + *at;

	ck_assert_uint_le(*at + NEWC_HEADER, c->len);
	ck_assert_mem_eq(h, "070701", 6);
	*e = (struct entry){ .name = h + NEWC_HEADER,
			     .mode = archive_field(h, 1),
			     .len = archive_field(h, 6) };
	size_t data = (*at + NEWC_HEADER + archive_field(h, 11) + 3) / 4 * 4;
	e->data = c->data + data;
	*at = (data + e->len + 3) / 4 * 4;
	ck_assert_uint_le(*at, c->len);
	ck_assert_uint_eq(strlen(e->name) + 1, archive_field(h, 11));
	if (strcmp(e->name, "TRAILER!!!"))
		return true;
	ck_assert_uint_eq(*at, c->len);
	return false;
}

static inline unsigned int archive_count(const struct cpio *c)
{
	unsigned int n = 0;
	struct entry e;

	for (size_t at = 0; archive_next(c, &at, &e);)
		n++;
	return n;
}

static inline bool archive_find_last(const struct cpio *c, const char *name, struct entry *e)
{
	struct entry next;
	bool found = false;

	for (size_t at = 0; archive_next(c, &at, &next);) {
		if (strcmp(next.name, name))
			continue;
		*e = next;
		found = true;
	}
	return found;
}

static inline bool archive_find(const struct cpio *c, const char *name, struct entry *e)
{
	for (size_t at = 0; archive_next(c, &at, e);)
		if (strcmp(e->name, name) == 0)
			return true;
	return false;
}

#endif
