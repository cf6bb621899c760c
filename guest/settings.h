/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The guest's side of the file of settings (cmd-abi.h). Freestanding.
 *
 * The file comes from lkvm, but through an initramfs that others can have a hand in: nothing in it is trusted, and a
 * record that makes no sense is an error, not a guess.
 */
#ifndef LKVM_GUEST_SETTINGS_H
#define LKVM_GUEST_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <lkvm/cmd-abi.h>

/* Strings point into the file. */
struct settings {
	const char *args[CMD_ARGS_MAX + 1]; /* the last is NULL; at least one */
	unsigned int args_nr;
	const char *envs[CMD_ENVS_MAX + 1]; /* "NAME=VALUE", each name once; the last is NULL */
	unsigned int envs_nr;
	const char *cwd; /* NULL: / */
	uint32_t port;
	uint32_t ports; /* not 0: there are ports for the streams */
	bool user;      /* uid and gid are given */
	uint32_t uid, gid;
	bool terminal; /* rows and cols are given */
	uint32_t rows, cols;
};

/* Replaces what has the same name. False when there is no room. */
bool settings_env(struct settings *s, const char *env);
/* `s` is zero, but for what settings_env() put there. NULL, or what is wrong. */
const char *settings_parse(struct settings *s, const char *file, size_t len);

#endif
