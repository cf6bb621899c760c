/* SPDX-License-Identifier: GPL-2.0 */
/* Programs that a network needs, run to their end. */
#ifndef LKVM_NET_SCRIPT_H
#define LKVM_NET_SCRIPT_H

#include <stdbool.h>

#include <lkvm/err.h>

struct net_program {
	const char *what;  /* begins each sentence */
	char *const *argv; /* ends with NULL */
	bool search;       /* for argv[0], as a shell does; else it is a path */
	int fd, as;        /* it inherits `fd` under the number `as`; -1: none */
};

/* Waits for its end, at most 30 s. -ENOENT, with ERR_USAGE and a sentence, when it is not there. */
int net_program_run(const struct net_program *p, struct err *err);
/* The user's program, with an interface's name. */
int net_script_run(const char *option, const char *path, const char *ifname, struct err *err);

#endif
