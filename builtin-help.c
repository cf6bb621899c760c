/* SPDX-License-Identifier: GPL-2.0 */
#include <stdio.h>
#include <string.h>

#include "builtin.h"

int cmd_help(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "--help") && strcmp(argv[1], "help")) {
		char *args[] = { argv[1], "--help", NULL };

		return command_run(argv[1], 2, args);
	}
	puts("lkvm boots Linux in a virtual machine and ends with a status that a script can "
	     "trust.\n\n"
	     "usage: lkvm COMMAND [OPTIONS]\n\ncommands:");
	for (const struct command *c = commands; c->name; c++)
		printf("  %-10s %s\n", c->name, c->summary);
	puts("\n`lkvm help COMMAND` explains a command and its options.\n"
	     "To begin: lkvm doctor; lkvm run -k KERNEL -i INITRD");
	return 0;
}
