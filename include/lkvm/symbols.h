/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The functions of a kernel, by name and by address: the .symtab of a vmlinux, or text in the form of System.map and
 * /proc/kallsyms ("address type name" a line). The file is a stranger's: nothing in it is trusted.
 *
 * Read once, constant afterwards; any thread may look.
 */
#ifndef LKVM_SYMBOLS_H
#define LKVM_SYMBOLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <lkvm/err.h>

struct src;

#define SYMBOL_NAME_MAX 511 /* bytes; the kernel's own limit */

struct symbol {
	uint64_t addr;
	uint32_t name; /* its place in `names` */
	uint32_t
		rank; /* of several at one address the lowest is told, then the first of the file */
};

struct symbols {
	struct symbol *list; /* ascending by address */
	size_t nr, max;
	char *names; /* each ends with 0 */
	size_t names_len, names_max;
};

/* A place in a function. */
struct symbol_at {
	const char *name;
	uint64_t off, size; /* in bytes; size 0: unknown, as it is the last function */
};

/* Reads a file. A file without a function is an error, too. symbols_release() in any case. */
int symbols_read(struct symbols *s, const struct src *src, struct err *err);
void symbols_release(struct symbols *s);

/* False: there is none of that name; *addr stays. */
bool symbols_find(const struct symbols *s, const char *name, uint64_t *addr);
/* The function that an address is in; false: in none. */
bool symbols_at(const struct symbols *s, uint64_t addr, struct symbol_at *at);

#endif
