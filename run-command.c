/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <lkvm/board.h>
#include <lkvm/chr-fd.h>
#include <lkvm/command.h>
#include <lkvm/machine.h>
#include <lkvm/run-command.h>
#include <lkvm/run-initramfs.h>

int run_command_check(const struct run_options *opt, struct err *err)
{
	const struct {
		bool given;
		const char *name;
	} needing[] = {
		{ opt->env.nr, "--env" },      { opt->cwd, "--cwd" },
		{ opt->user, "--user" },       { opt->verbose, "--verbose" },
		{ opt->results, "--results" },
	};

	for (size_t i = 0; !opt->command && i < sizeof(needing) / sizeof(needing[0]); i++)
		if (needing[i].given)
			return err_usage(
				err,
				"%s is about a command in the guest, and there is none: it "
				"follows after --",
				needing[i].name);
	if (opt->command && board_cmd_port == BOARD_NO_PORT)
		return err_usage(err, "a command in the guest needs a machine of x86-64; on this "
				      "architecture boot an initrd that runs it");
	if (opt->command && opt->init)
		return err_usage(err, "--init excludes a command, which an init of lkvm's runs");
	if (opt->command && opt->on_reset == RESET_RESTART)
		return err_usage(err, "--on-reset restart excludes a command, which runs once");
	if (opt->init && strpbrk(opt->init, " \t\n\""))
		return err_usage(err,
				 "--init \"%.80s\": the kernel cannot take blanks and quotes in it",
				 opt->init);
	return 0;
}

const char *run_command_param(const struct run_options *opt)
{
	return opt->command ? " " COMMAND_PARAM : opt->init ? " rdinit=" : "";
}

/* NAME takes this process's value, and nothing when there is none, as a shell's export does. */
static int add_env(struct run_command *rc, const char *arg, struct err *err)
{
	char *env = NULL;

	if (!*arg || *arg == '=')
		return err_usage(err, "option --env: \"%.80s\" has no name", arg);
	if (!strchr(arg, '=')) {
		const char *value = getenv(arg);

		if (!value)
			return err_usage(
				err,
				"option --env: %.80s is not set here; %.80s= sets it to nothing",
				arg, arg);
		if (asprintf(&env, "%s=%s", arg, value) < 0)
			env = NULL;
	} else {
		env = strdup(arg);
	}
	if (!env)
		return err_host(err, ENOMEM, "--env %.80s", arg);
	rc->envs[rc->envs_nr++] = env;
	return 0;
}

bool run_may_read(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags >= 0 && (flags & O_ACCMODE) != O_WRONLY &&
	       (!isatty(fd) || tcgetpgrp(fd) == getpgrp());
}

bool run_may_write(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags >= 0 && (flags & O_ACCMODE) != O_RDONLY;
}

static int open_streams(struct run_command *rc, const struct run_options *opt,
			struct machine_config *cfg, struct err *err)
{
	struct streams_config *s = &cfg->streams;

	if (!run_may_write(STDOUT_FILENO))
		return err_host(err, EBADF,
				"stdout is closed; the command needs one, be it >/dev/null");
	if (run_may_read(STDIN_FILENO))
		s->in_fd = STDIN_FILENO;
	s->out_fd = STDOUT_FILENO;
	s->err_fd = STDERR_FILENO;
	s->escape = s->in_fd >= 0 && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) &&
		    isatty(STDERR_FILENO);
	if (opt->verbose && opt->console != CONSOLE_NONE)
		cfg->out_fd = STDERR_FILENO;
	/* --ktap reads them on their way. */
	const char *results = opt->results ?: opt->ktap ? "/dev/null" : NULL;
	if (!results)
		return 0;
	rc->results_fd = open(results, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0666);
	if (rc->results_fd < 0)
		return err_host(err, errno, "cannot write --results %s", results);
	s->results_fd = rc->results_fd;
	return 0;
}

static void describe_terminal(struct command *cmd)
{
	struct winsize size = { 0 };

	cmd->terminal = true;
	cmd->term = getenv("TERM");
	ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
	cmd->rows = size.ws_row;
	cmd->cols = size.ws_col;
}

/* All slots may be taken by what was asked for. */
static bool free_slot(const struct run_options *opt)
{
	return opt->virtio_nr + (opt->console == CONSOLE_VIRTIO) < MACHINE_DEVICES_MAX;
}

static int add_all(const struct run_options *opt, struct command *cmd, const char *kernel,
		   struct initramfs *ir, struct err *err)
{
	int ret = run_initramfs_modules(opt, kernel, ir, &cmd->ports, err);

	/* A terminal is a serial port's: ports have no line discipline. */
	cmd->ports = cmd->ports && opt->command && !cmd->terminal && free_slot(opt);
	ir->option = "the command";
	if (!ret && opt->command)
		ret = command_add(cmd, ir, err);
	ir->option = "";
	return ret ?: run_initramfs_add(opt, ir, err);
}

static int make_initramfs(struct run_command *rc, const struct run_options *opt,
			  struct command *cmd, struct machine_config *cfg, struct err *err)
{
	struct initramfs ir;

	int ret = cpio_begin(&rc->archive, err);
	if (ret)
		return ret;
	initramfs_init(&ir, &rc->archive, opt->mem);
	ret = add_all(opt, cmd, cfg->kernel, &ir, err);
	initramfs_release(&ir);
	if (!ret)
		ret = cpio_end(&rc->archive, err);
	cfg->streams.ports = cmd->ports;
	cfg->initramfs = rc->archive.data;
	cfg->initramfs_len = rc->archive.len;
	return ret;
}

int run_command_prepare(struct run_command *rc, const struct run_options *opt,
			struct machine_config *cfg, bool dry, struct err *err)
{
	struct command cmd = {
		.args = opt->command,
		.envs = (const char *const *)rc->envs,
		.cwd = opt->cwd,
		.user = opt->user,
		.uid = opt->uid,
		.gid = opt->gid,
		.port = board_cmd_port,
	};
	int ret = 0;

	cfg->streams = (struct streams_config){
		.in_fd = -1, .out_fd = -1, .err_fd = -1, .results_fd = -1
	};
	if (!opt->command && !run_initramfs_wanted(opt))
		return 0;
	if (opt->command)
		cfg->command = cfg->console = true;
	for (unsigned int i = 0; !ret && i < opt->env.nr; i++)
		ret = add_env(rc, opt->env.str[i], err);
	cmd.envs_nr = rc->envs_nr;
	if (!ret && !dry && opt->command)
		ret = open_streams(rc, opt, cfg, err);
	if (!ret && cfg->streams.escape)
		describe_terminal(&cmd);
	if (!ret)
		ret = make_initramfs(rc, opt, &cmd, cfg, err);
	return ret;
}

void run_command_release(struct run_command *rc)
{
	cpio_release(&rc->archive);
	while (rc->envs_nr)
		free(rc->envs[--rc->envs_nr]);
	if (rc->results_fd >= 0)
		close(rc->results_fd);
	*rc = RUN_COMMAND_INIT;
}
