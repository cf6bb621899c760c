/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A list of regular expressions of the user's, tried on lines of the guest's.
 *
 * POSIX extended, bytes as they are. Back-references are refused: with them a line can make the search take as long
 * as it likes. Without, the time goes with the line's length, which the caller bounds.
 *
 * match_find() from any thread; the rest while nobody searches.
 */
#ifndef LKVM_MATCH_H
#define LKVM_MATCH_H

#include <regex.h>

#include <lkvm/err.h>

#define MATCH_MAX     16   /* expressions in a list */
#define MATCH_LEN_MAX 1024 /* bytes of one */

struct match {
	regex_t re[MATCH_MAX];
	const char *text[MATCH_MAX]; /* as the user wrote them; not owned */
	unsigned int nr;
};

/* `option` is what the error names: "--until". An expression that is none is ERR_USAGE with regerror()'s words. */
int match_add(struct match *m, const char *option, const char *text, struct err *err);
void match_release(struct match *m);

/* The first expression that the line matches, as the user wrote it, or NULL. */
const char *match_find(const struct match *m, const char *line);

#endif
