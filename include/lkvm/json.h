/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Writes JSON (RFC 8259), two spaces a level. Text is escaped; bytes that are not UTF-8 become U+FFFD, since a
 * document with them is none. The stream's errors are the stream's: the caller asks it at the end.
 */
#ifndef LKVM_JSON_H
#define LKVM_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct json {
	FILE *out;
	unsigned int depth;
	bool some; /* a value was written at this level */
};

/* `key` is NULL in an array and for the whole; it is escaped too. */
void json_open(struct json *j, const char *key, char bracket);    /* '{' or '[' */
void json_close(struct json *j, char bracket);                    /* '}' or ']' */
void json_string(struct json *j, const char *key, const char *s); /* NULL: null */
void json_number(struct json *j, const char *key, uint64_t v);
void json_null(struct json *j, const char *key);
/* `value` is JSON already. */
void json_raw(struct json *j, const char *key, const char *value);

#endif
