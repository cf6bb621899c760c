/* SPDX-License-Identifier: GPL-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include <lkvm/nearest.h>
#include <lkvm/result.h>

#include "builtin.h"

const struct command commands[] = {
	{ "run", cmd_run, "boot a kernel and end with its outcome" },
	{ "sandbox", cmd_sandbox, "run a program of this host in a guest, as with run" },
	{ "setup", cmd_setup, "make a root folder for guests" },
	{ "doctor", cmd_doctor, "say whether this host can run guests, and how well" },
	{ "help", cmd_help, "list the commands, or explain one" },
	{ "version", cmd_version, "print lkvm's version" },
	{ NULL, NULL, NULL },
};

int command_run(const char *name, int argc, char **argv)
{
	struct nearest near = NEAREST_INIT(name);

	for (const struct command *c = commands; c->name; c++) {
		if (!strcmp(name, c->name))
			return c->fn(argc, argv);
		nearest_offer(&near, c->name);
	}
	if (near.best)
		fprintf(stderr, "lkvm: no command '%s'; did you mean '%s'?\n", name, near.best);
	else
		fprintf(stderr, "lkvm: no command '%s'; `lkvm help` lists them\n", name);
	return STATUS_USAGE;
}

/*
 * A descriptor that was closed would be taken by the next file we open, and the console would be
 * written into it. Each gets /dev/null in the direction in which it cannot be used by mistake.
 */
static void fill_standard_fds(void)
{
	static const int modes[] = { O_WRONLY, O_RDONLY, O_WRONLY };

	for (int fd = 0; fd <= 2; fd++) {
		if (fcntl(fd, F_GETFD) < 0)
			(void)!open("/dev/null", modes[fd]);
	}
}

int main(int argc, char **argv)
{
	fill_standard_fds();
	if (argc < 2) {
		char *help[] = { "help", NULL };

		cmd_help(1, help);
		return STATUS_USAGE;
	}
	const char *name = argv[1];
	if (!strcmp(name, "--help") || !strcmp(name, "-h"))
		name = "help";
	else if (!strcmp(name, "--version") || !strcmp(name, "-V"))
		name = "version";
	return command_run(name, argc - 1, argv + 1);
}
