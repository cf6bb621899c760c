/* SPDX-License-Identifier: GPL-2.0 */
#include <string.h>

#include <lkvm/util.h>

#include "aml.h"

/* ACPI 6.5, table 20.1 and 20.2: opcodes and prefixes. */
#define AML_ZERO       0x00
#define AML_ONE        0x01
#define AML_NAME       0x08
#define AML_BYTE       0x0a
#define AML_WORD       0x0b
#define AML_DWORD      0x0c
#define AML_STRING     0x0d
#define AML_QWORD      0x0e
#define AML_SCOPE      0x10
#define AML_BUFFER     0x11
#define AML_PACKAGE    0x12
#define AML_EXT        0x5b
#define AML_EXT_DEV    0x82
#define AML_NAME_LEN   4
#define AML_PKGLEN_MAX 4

/* ACPI 6.5, 6.4.2 and 6.4.3: tags (with the length in small ones) and flags. */
#define RES_IRQ          0x22
#define RES_IO           0x47
#define RES_END          0x79
#define RES_MEM32_FIXED  0x86
#define RES_DWORD        0x87
#define RES_WORD         0x88
#define RES_QWORD        0x8a
#define RES_IO_DECODE16  1
#define RES_MEM_RW       1
#define RES_TYPE_MEM     0
#define RES_TYPE_IO      1
#define RES_TYPE_BUS     2
#define RES_WINDOW_FIXED 0x0c /* producer, positive decode, minimum and maximum fixed */
#define RES_IO_ENTIRE    3    /* ISA and non-ISA addresses */

void aml_init(struct aml *a, void *buf, size_t cap)
{
	*a = (struct aml){ .buf = buf, .cap = cap };
}

void aml_put(struct aml *a, const void *data, size_t len)
{
	if (a->full || !range_ok(a->len, len, a->cap)) {
		a->full = true;
		return;
	}
	memcpy(a->buf + a->len, data, len);
	a->len += len;
}

/* Puts bytes before what is there since `pos`. */
static void aml_insert(struct aml *a, size_t pos, const void *data, size_t len)
{
	size_t moved = a->len - pos;

	aml_put(a, data, len); /* makes the room, or notes that there is none */
	if (a->full)
		return;
	memmove(a->buf + pos + len, a->buf + pos, moved);
	memcpy(a->buf + pos, data, len);
}

void aml_put8(struct aml *a, uint8_t v)
{
	aml_put(a, &v, 1);
}

void aml_put16(struct aml *a, uint16_t v)
{
	uint8_t b[2];

	put_le16(b, v);
	aml_put(a, b, sizeof(b));
}

void aml_put32(struct aml *a, uint32_t v)
{
	uint8_t b[4];

	put_le32(b, v);
	aml_put(a, b, sizeof(b));
}

void aml_put64(struct aml *a, uint64_t v)
{
	uint8_t b[8];

	put_le64(b, v);
	aml_put(a, b, sizeof(b));
}

void aml_pad(struct aml *a, size_t align)
{
	while (!a->full && a->len % align)
		aml_put8(a, 0);
}

static void put_name(struct aml *a, const char *name)
{
	BUG_ON(strlen(name) != AML_NAME_LEN);
	aml_put(a, name, AML_NAME_LEN);
}

/*
 * PkgLength counts itself (20.2.4): one byte up to 63, else four bits in the first byte and eight in
 * each of up to three that follow. The shortest form is taken.
 */
static size_t pkg_length(uint8_t out[AML_PKGLEN_MAX], size_t content)
{
	size_t nr = 1;

	while (nr < AML_PKGLEN_MAX && content + nr >= (nr == 1 ? 1u << 6 : 1u << (8 * nr - 4)))
		nr++;
	size_t len = content + nr;
	BUG_ON(len >> 28);
	if (nr == 1) {
		out[0] = len;
		return nr;
	}
	out[0] = (nr - 1) << 6 | (len & 0xf);
	for (size_t i = 1; i < nr; i++)
		out[i] = len >> (8 * i - 4);
	return nr;
}

void aml_end(struct aml *a, size_t mark)
{
	uint8_t len[AML_PKGLEN_MAX];
	size_t nr = pkg_length(len, a->len - mark);

	aml_insert(a, mark, len, nr);
}

size_t aml_scope(struct aml *a, const char *name)
{
	aml_put8(a, AML_SCOPE);
	size_t mark = a->len;

	put_name(a, name);
	return mark;
}

size_t aml_device(struct aml *a, const char *name)
{
	aml_put8(a, AML_EXT);
	aml_put8(a, AML_EXT_DEV);
	size_t mark = a->len;

	put_name(a, name);
	return mark;
}

size_t aml_package(struct aml *a, uint8_t elements_nr)
{
	aml_put8(a, AML_PACKAGE);
	size_t mark = a->len;

	aml_put8(a, elements_nr);
	return mark;
}

void aml_name(struct aml *a, const char *name)
{
	aml_put8(a, AML_NAME);
	put_name(a, name);
}

void aml_int(struct aml *a, uint64_t v)
{
	if (v <= 1) {
		aml_put8(a, v ? AML_ONE : AML_ZERO);
	} else if (v <= UINT8_MAX) {
		aml_put8(a, AML_BYTE);
		aml_put8(a, v);
	} else if (v <= UINT16_MAX) {
		aml_put8(a, AML_WORD);
		aml_put16(a, v);
	} else if (v <= UINT32_MAX) {
		aml_put8(a, AML_DWORD);
		aml_put32(a, v);
	} else {
		aml_put8(a, AML_QWORD);
		aml_put64(a, v);
	}
}

void aml_string(struct aml *a, const char *s)
{
	aml_put8(a, AML_STRING);
	aml_put(a, s, strlen(s) + 1);
}

static unsigned int hex_digit(char c)
{
	BUG_ON(!(c >= '0' && c <= '9') && !(c >= 'A' && c <= 'F'));
	return c <= '9' ? c - '0' : c - 'A' + 10;
}

/* Three letters of five bits and four hexadecimal digits, big-endian in the double word (19.3.4). */
void aml_eisa_id(struct aml *a, const char *id)
{
	uint32_t v = 0;

	BUG_ON(strlen(id) != 7);
	for (unsigned int i = 0; i < 3; i++) {
		BUG_ON(id[i] < 'A' || id[i] > 'Z');
		v = v << 5 | (id[i] - 'A' + 1);
	}
	for (unsigned int i = 3; i < 7; i++)
		v = v << 4 | hex_digit(id[i]);
	aml_int(a, __builtin_bswap32(v));
}

size_t aml_resources(struct aml *a)
{
	aml_put8(a, AML_BUFFER);
	return a->len;
}

void aml_resources_end(struct aml *a, size_t mark)
{
	uint8_t buf[16];
	struct aml size;

	aml_put8(a, RES_END);
	aml_put8(a, 0); /* no checksum */
	aml_init(&size, buf, sizeof(buf));
	aml_int(&size, a->len - mark);
	aml_insert(a, mark, buf, size.len);
	aml_end(a, mark);
}

void aml_res_io(struct aml *a, uint16_t port, uint8_t len)
{
	aml_put8(a, RES_IO);
	aml_put8(a, RES_IO_DECODE16);
	aml_put16(a, port);
	aml_put16(a, port);
	aml_put8(a, 1); /* alignment */
	aml_put8(a, len);
}

void aml_res_irq(struct aml *a, unsigned int irq)
{
	BUG_ON(irq > 15);
	aml_put8(a, RES_IRQ);
	aml_put16(a, 1u << irq);
}

void aml_res_mem32(struct aml *a, uint32_t base, uint32_t len)
{
	aml_put8(a, RES_MEM32_FIXED);
	aml_put16(a, 9);
	aml_put8(a, RES_MEM_RW);
	aml_put32(a, base);
	aml_put32(a, len);
}

/* The address space descriptors differ in the width of their five numbers alone (6.4.3.5). */
static void put_window(struct aml *a, uint8_t tag, uint8_t type, uint8_t type_flags, uint64_t base,
		       uint64_t len)
{
	unsigned int width = tag == RES_WORD ? 2 : tag == RES_DWORD ? 4 : 8;
	uint64_t fields[] = { 0, base, base + (len - 1), 0, len }; /* granularity, translation: 0 */

	uint64_t max = UINT64_MAX >> (64 - 8 * width);

	BUG_ON(!len || len > max || len - 1 > max - base);
	aml_put8(a, tag);
	aml_put16(a, 3 + 5 * width);
	aml_put8(a, type);
	aml_put8(a, RES_WINDOW_FIXED);
	aml_put8(a, type_flags);
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		uint8_t b[8];

		put_le64(b, fields[i]);
		aml_put(a, b, width);
	}
}

void aml_res_bus_window(struct aml *a, uint8_t first, uint16_t nr)
{
	put_window(a, RES_WORD, RES_TYPE_BUS, 0, first, nr);
}

void aml_res_io_window(struct aml *a, uint16_t port, uint32_t len)
{
	put_window(a, RES_WORD, RES_TYPE_IO, RES_IO_ENTIRE, port, len);
}

void aml_res_mem32_window(struct aml *a, uint32_t base, uint32_t len)
{
	put_window(a, RES_DWORD, RES_TYPE_MEM, RES_MEM_RW, base, len);
}

void aml_res_mem64_window(struct aml *a, uint64_t base, uint64_t len)
{
	put_window(a, RES_QWORD, RES_TYPE_MEM, RES_MEM_RW, base, len);
}
