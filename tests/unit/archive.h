/* SPDX-License-Identifier: GPL-2.0 */
/*
 * An archive that is made in a folder of its own, and read back by its format:
 * Documentation/driver-api/early-userspace/buffer-format.rst.
 */
#ifndef TESTS_UNIT_ARCHIVE_H
#define TESTS_UNIT_ARCHIVE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lkvm/initramfs.h>

#include "unit.h"

static char dir[] = "/tmp/lkvm-ir-XXXXXX";
static struct cpio c;
static struct initramfs ir;
static struct err err;

static inline void archive_setup(const char *option)
{
	memcpy(dir + strlen(dir) - 6, "XXXXXX", 6);
	ck_assert_ptr_nonnull(mkdtemp(dir));
	ck_assert_int_eq(chdir(dir), 0);
	err = ERR_INIT;
	ck_assert_int_eq(cpio_begin(&c, &err), 0);
	initramfs_init(&ir, &c, 1 << 20);
	ir.option = option;
}

static inline void archive_teardown(void)
{
	char command[64];

	initramfs_release(&ir);
	cpio_release(&c);
	ck_assert_int_eq(chdir("/"), 0);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	ck_assert_int_eq(system(command), 0);
}

#define says(text) ck_assert_msg(strstr(err.msg, text) != NULL, "%s", err.msg)

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
