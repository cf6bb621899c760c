/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The commands. Each takes its own argv (argv[0] is its name), prints what it has to say, and returns
 * lkvm's exit status. Each answers --help.
 */
#ifndef LKVM_BUILTIN_H
#define LKVM_BUILTIN_H

struct command {
	const char *name;
	int (*fn)(int argc, char **argv);
	const char *summary; /* for `lkvm help` */
};

extern const struct command commands[]; /* ends with a NULL name; in main.c */

int cmd_run(int argc, char **argv);
int cmd_sandbox(int argc, char **argv);
int cmd_setup(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_version(int argc, char **argv);
int cmd_help(int argc, char **argv);

/* Runs `name`, or says which command is nearest. Returns the exit status. */
int command_run(const char *name, int argc, char **argv);

#endif
