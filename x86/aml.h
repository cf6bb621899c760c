/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A small encoder for AML and for the byte layout of ACPI tables.
 *
 * Everything is appended to one bounded buffer of the caller's. When it is full nothing more is written
 * and `full` stays set: the caller checks it once, at the end. Names and ids are constants of lkvm's
 * own; one that is malformed is a BUG_ON().
 * Source: ACPI specification 6.5, chapter 20 (AML), 6.4 (resource descriptors), 19.3.4 (EISA ids).
 */
#ifndef LKVM_X86_AML_H
#define LKVM_X86_AML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct aml {
	uint8_t *buf; /* not owned */
	size_t cap;   /* bytes of it */
	size_t len;   /* bytes used, never above cap */
	bool full;    /* something did not fit: the content is useless */
};

void aml_init(struct aml *a, void *buf, size_t cap);

/* Raw bytes and little-endian words. */
void aml_put(struct aml *a, const void *data, size_t len);
void aml_put8(struct aml *a, uint8_t v);
void aml_put16(struct aml *a, uint16_t v);
void aml_put32(struct aml *a, uint32_t v);
void aml_put64(struct aml *a, uint64_t v);
void aml_pad(struct aml *a, size_t align); /* zeros up to a multiple of `align` */

/*
 * Objects with a length. Each returns a mark for aml_end(), which writes the length; what is appended
 * in between is the content. A name has four characters.
 */
size_t aml_scope(struct aml *a, const char *name);
size_t aml_device(struct aml *a, const char *name);
size_t aml_package(struct aml *a, uint8_t elements_nr);
void aml_end(struct aml *a, size_t mark);

/* Name (name, X), where X is the object that is appended next. */
void aml_name(struct aml *a, const char *name);

void aml_int(struct aml *a, uint64_t v);         /* in its shortest form */
void aml_string(struct aml *a, const char *s);   /* ASCII */
void aml_eisa_id(struct aml *a, const char *id); /* "PNP0501" */

/* A resource template: descriptors go between the two calls. */
size_t aml_resources(struct aml *a);
void aml_resources_end(struct aml *a, size_t mark);

/* Descriptors of what a device uses itself. */
void aml_res_io(struct aml *a, uint16_t port, uint8_t len);
void aml_res_irq(struct aml *a, unsigned int irq); /* edge, active high, not shared; below 16 */
void aml_res_mem32(struct aml *a, uint32_t base, uint32_t len);

/*
 * Windows that a bridge hands on to what is behind it. `len` is not 0 and base + len - 1 does not wrap
 * the descriptor's width.
 */
void aml_res_bus_window(struct aml *a, uint8_t first, uint16_t nr);
void aml_res_io_window(struct aml *a, uint16_t port, uint32_t len);
void aml_res_mem32_window(struct aml *a, uint32_t base, uint32_t len);
void aml_res_mem64_window(struct aml *a, uint64_t base, uint64_t len);

#endif
