/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What lkvm puts into the initramfs of a guest that runs a command: its init (guest/init.c), which is a part of the
 * lkvm binary, and the file that tells it what to do (cmd-abi.h).
 */
#ifndef LKVM_COMMAND_H
#define LKVM_COMMAND_H

#include <stdbool.h>
#include <stdint.h>

#include <lkvm/cmd-abi.h>
#include <lkvm/err.h>

struct initramfs;

struct command {
	char *const *args;       /* NULL at the end; at least one */
	const char *const *envs; /* "NAME=VALUE" */
	unsigned int envs_nr;
	const char *cwd; /* NULL: / */
	bool user;
	uint32_t uid, gid;
	bool ports;    /* the streams are ports, if the kernel can */
	bool terminal; /* stdin, stdout and stderr are one terminal */
	uint16_t rows, cols;
	const char *term; /* of this type, NULL: not known */
	uint32_t port;    /* of the registers */
};

/* The kernel parameter that makes it start this init. */
#define COMMAND_PARAM "rdinit=" CMD_INIT

/* Adds both, before what the user adds. ERR_USAGE for what is more than the guest would read. */
int command_add(const struct command *cmd, struct initramfs *ir, struct err *err);

#endif
