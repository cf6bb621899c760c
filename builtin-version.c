/* SPDX-License-Identifier: GPL-2.0 */
#include <stdio.h>

#include "builtin.h"

int cmd_version(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	puts("lkvm " LKVM_VERSION);
	return 0;
}
