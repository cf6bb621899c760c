/* SPDX-License-Identifier: GPL-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include <lkvm/find-program.h>
#include <lkvm/options.h>
#include <lkvm/result.h>
#include <lkvm/rootdir.h>
#include <lkvm/util.h>

#include "builtin.h"

struct setup_options {
	const char *busybox;
	bool help;
};

static const struct option_def option_defs[] = {
	{ .name = "busybox",
	  .arg = "FILE",
	  .parse = option_string,
	  .off = offsetof(struct setup_options, busybox),
	  .help = "the guest's programs, a static busybox (default: the one in PATH)" },
	{ .name = "help",
	  .letter = 'h',
	  .parse = option_set,
	  .off = offsetof(struct setup_options, help),
	  .help = "this text" },
};

static const struct option_table options = { .defs = option_defs,
					     .defs_nr = ARRAY_SIZE(option_defs) };

static void print_help(void)
{
	puts("usage: lkvm setup [OPTIONS] NAME\n\n"
	     "Makes a root folder for guests, ~/.lkvm/NAME: busybox, an init that starts a shell, "
	     "and "
	     "a place\n"
	     "for files of your own. `lkvm run --root NAME` boots with a copy of it in memory.\n");
	options_help(&options, stdout);
}

static int make(const struct setup_options *opt, const char *name, struct err *err)
{
	char *path, *busybox = NULL;

	int ret = rootdir_path(name, &path, err);
	if (!ret)
		ret = find_program(opt->busybox ?: "busybox", &busybox, err);
	if (!ret)
		ret = rootdir_make(path, busybox, err);
	if (!ret)
		printf("%s is made; lkvm run --root %s boots it\n", path, name);
	free(path);
	free(busybox);
	return ret;
}

int cmd_setup(int argc, char **argv)
{
	struct setup_options opt = { 0 };
	struct err err = ERR_INIT;
	int rest;

	int ret = options_parse(&options, &opt, argc - 1, argv + 1, &rest, &err);
	if (!ret && opt.help) {
		print_help();
		return STATUS_OK;
	}
	if (!ret && rest + 1 != argc - 1)
		ret = err_usage(&err,
				rest + 1 > argc - 1 ? "its NAME is missing" : "it takes one NAME");
	if (!ret)
		ret = make(&opt, argv[rest + 1], &err);
	if (!ret)
		return STATUS_OK;
	fprintf(stderr, "lkvm: setup: %s\n", err.msg);
	return result_err_status(&err);
}
