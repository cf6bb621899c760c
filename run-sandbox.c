/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lkvm/find-program.h>
#include <lkvm/run-sandbox.h>
#include <lkvm/util.h>

static int push(struct option_strings *list, const char *file, struct err *err)
{
	if (strstr(file, ":/"))
		return err_usage(
			err, "sandbox: %.200s has \":/\" in its path, which cannot be added", file);
	/* Two may be the same program. */
	for (unsigned int i = 0; i < list->nr; i++)
		if (!strcmp(list->str[i], file))
			return 0;
	if (list->nr == OPTION_STRINGS_MAX)
		return err_usage(err, "sandbox: there are too many --add and --add-exec");
	list->str[list->nr++] = file;
	return 0;
}

static int copy_args(struct run_sandbox *sb, char *const *command, struct err *err)
{
	size_t nr = 1;

	while (command[nr])
		nr++;
	sb->args = calloc(nr + 1, sizeof(sb->args[0]));
	if (!sb->args)
		return err_host(err, ENOMEM, "sandbox");
	memcpy(sb->args, command, nr * sizeof(sb->args[0]));
	/* PATH is another one there. */
	sb->args[0] = sb->files[0];
	return 0;
}

int run_sandbox_prepare(struct run_sandbox *sb, struct run_options *opt, struct err *err)
{
	if (!opt->command)
		return err_usage(err, "sandbox: the command is missing; it follows after --");
	int ret = find_program(opt->command[0], &sb->files[0], err);
	if (!ret)
		ret = find_interpreter(sb->files[0], &sb->files[1], &sb->files[2], err);
	if (ret) {
		err_prefix(err, "sandbox");
		return ret;
	}
	ret = push(sb->files[1] ? &opt->add : &opt->add_exec, sb->files[0], err);
	for (unsigned int i = 1; !ret && i < ARRAY_SIZE(sb->files) && sb->files[i]; i++)
		ret = push(&opt->add_exec, sb->files[i], err);
	if (!ret)
		ret = copy_args(sb, opt->command, err);
	if (!ret)
		opt->command = sb->args;
	return ret;
}

void run_sandbox_release(struct run_sandbox *sb)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(sb->files); i++)
		free(sb->files[i]);
	free(sb->args);
	*sb = (struct run_sandbox){ 0 };
}

void run_sandbox_help(void)
{
	puts("usage: lkvm sandbox [OPTIONS] -- COMMAND [ARGUMENT...]\n\n"
	     "Runs a program of this host in a guest, and ends with its status. The guest has the "
	     "program,\n"
	     "its libraries, and for a script what runs it, in memory; nothing is shared. Files "
	     "that "
	     "it needs\n"
	     "are given with --add FILE, more programs with --add-exec FILE.\n\n"
	     "The options are those of `lkvm run`; `lkvm help run` explains them.\n\n"
	     "Example: lkvm sandbox -k bzImage -- id -u");
}
