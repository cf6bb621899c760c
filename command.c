/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <lkvm/command.h>
#include <lkvm/initramfs.h>
#include <lkvm/util.h>

/* The program, as it was linked. */
__asm__(".pushsection .rodata\n"
	".balign 16\n"
	"command_init:\n"
	".incbin \"" COMMAND_INIT_FILE "\"\n"
	"command_init_end:\n"
	".popsection\n");
extern const uint8_t command_init[] __attribute__((visibility("hidden")));
extern const uint8_t command_init_end[] __attribute__((visibility("hidden")));

struct writer {
	FILE *out;
	char *text;
	size_t len;
};

static void put(struct writer *w, char letter, const char *value)
{
	fprintf(w->out, "%c%s%c", letter, value, 0);
}

static void put_number(struct writer *w, char letter, uint32_t value)
{
	fprintf(w->out, "%c%u%c", letter, value, 0);
}

static unsigned int count(char *const *args)
{
	unsigned int n = 0;

	while (args[n])
		n++;
	return n;
}

static void put_settings(const struct command *cmd, struct writer *w)
{
	fprintf(w->out, "%s%c", CMD_SETTINGS_MAGIC, 0);
	put_number(w, CMD_SET_PORT, cmd->port);
	if (cmd->ports)
		put_number(w, CMD_SET_PORTS, 1);
	if (cmd->terminal) {
		put_number(w, CMD_SET_ROWS, cmd->rows);
		put_number(w, CMD_SET_COLS, cmd->cols);
	}
	if (cmd->terminal && cmd->term)
		fprintf(w->out, "%cTERM=%s%c", CMD_SET_ENV, cmd->term, 0);
	for (unsigned int i = 0; i < cmd->envs_nr; i++)
		put(w, CMD_SET_ENV, cmd->envs[i]);
	if (cmd->cwd)
		put(w, CMD_SET_CWD, cmd->cwd);
	if (cmd->user) {
		put_number(w, CMD_SET_UID, cmd->uid);
		put_number(w, CMD_SET_GID, cmd->gid);
	}
	for (char *const *arg = cmd->args; *arg; arg++)
		put(w, CMD_SET_ARG, *arg);
}

/* What says so when the user adds a file of that name. */
#define FROM "lkvm's own"

static int add_files(const struct writer *w, struct initramfs *ir, struct err *err)
{
	int ret = initramfs_add_data(ir, FROM, CMD_INIT, S_IFREG | 0755, command_init,
				     (size_t)(command_init_end - command_init), err);

	/* It may hold what others are not to read. */
	return ret
		       ?: initramfs_add_data(ir, FROM, CMD_SETTINGS, S_IFREG | 0600, w->text,
					     w->len, err);
}

int command_add(const struct command *cmd, struct initramfs *ir, struct err *err)
{
	struct writer w = { 0 };
	int ret = 0;

	if (count(cmd->args) > CMD_ARGS_MAX)
		return err_usage(err, "the command has more than %d arguments", CMD_ARGS_MAX);
	w.out = open_memstream(&w.text, &w.len);
	if (!w.out)
		return err_host(err, errno, "no memory for the command");
	put_settings(cmd, &w);
	if (fclose(w.out))
		ret = err_host(err, ENOMEM, "no memory for the command");
	else if (w.len >= CMD_SETTINGS_MAX)
		ret = err_usage(err,
				"the command and its environment have %zu bytes; at most %u are "
				"possible",
				w.len, CMD_SETTINGS_MAX - 1);
	if (!ret)
		ret = add_files(&w, ir, err);
	free(w.text);
	return ret;
}
