/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A program of this host by the name that a shell would take: with a slash it is a path, else PATH is searched.
 */
#ifndef LKVM_FIND_PROGRAM_H
#define LKVM_FIND_PROGRAM_H

#include <lkvm/err.h>

/* `path` is absolute, with no "." and "..", its last name as it was given, and the caller's to free. ERR_USAGE: there is none. */
int find_program(const char *name, char **path, struct err *err);

/*
 * What runs a script: `path` is that of the interpreter in its first line, `more` that of the program which env(1) is to start
 * there. NULL, NULL when it is no script. The caller's to free.
 */
int find_interpreter(const char *script, char **path, char **more, struct err *err);

#endif
