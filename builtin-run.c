/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <lkvm/board.h>
#include <lkvm/machine.h>
#include <lkvm/result.h>
#include <lkvm/run-options.h>
#include <lkvm/term.h>
#include <lkvm/util.h>

#include "builtin.h"

/* Everything of a run that must be undone. */
struct run {
	struct run_options opt;
	struct machine_config cfg;
	char *cmdline;
	char *cache_dir;
	char kernel[sizeof("/boot/vmlinuz-") + sizeof(((struct utsname *)0)->release)];
	int log_fd;
	struct term term;
	sigset_t signals;
};

static bool usable_fd(int fd, int unwanted_mode)
{
	int flags = fcntl(fd, F_GETFL);

	return flags >= 0 && (flags & O_ACCMODE) != unwanted_mode;
}

static int find_kernel(struct run *run, struct err *err)
{
	struct utsname u;

	if (run->opt.kernel) {
		run->cfg.kernel = run->opt.kernel;
		return 0;
	}
	if (uname(&u))
		u.release[0] = 0;
	for (const char *const *p = board_kernels; *p; p++) {
		bool prefix = (*p)[strlen(*p) - 1] == '-';

		snprintf(run->kernel, sizeof(run->kernel), "%s%s", *p, prefix ? u.release : "");
		if (access(run->kernel, F_OK))
			continue;
		fprintf(stderr, "lkvm: booting %s (--kernel names another)\n", run->kernel);
		run->cfg.kernel = run->kernel;
		return 0;
	}
	return err_usage(err,
			 "no kernel: give one with --kernel (neither ./bzImage nor %s is here)",
			 run->kernel);
}

/* The word "--" in a command line, or its end: what follows is for init, not for the kernel. */
static const char *find_init_args(const char *line)
{
	for (const char *p = line; (p = strstr(p, "--")); p += 2) {
		bool begins = p == line || p[-1] == ' ';

		if (begins && (p[2] == ' ' || !p[2]))
			return p;
	}
	return line + strlen(line);
}

static char *join_params(const struct option_strings *params)
{
	char *joined = NULL;
	size_t len;
	FILE *f = open_memstream(&joined, &len);

	if (!f)
		return NULL;
	for (unsigned int i = 0; i < params->nr; i++)
		fprintf(f, "%s%s", i ? " " : "", params->str[i]);
	if (fclose(f)) {
		free(joined);
		return NULL;
	}
	return joined;
}

static int make_cmdline(struct run *run, struct err *err)
{
	char *params = join_params(&run->opt.params);

	if (params && run->opt.nodefaults) {
		run->cmdline = params;
	} else if (params) {
		const char *init = find_init_args(params);

		if (asprintf(&run->cmdline, "%s %.*s%s%s%s%s", board_cmdline, (int)(init - params),
			     params, init == params || init[-1] == ' ' ? "" : " ",
			     board_cmdline_tail, *init ? " " : "", init) < 0)
			run->cmdline = NULL;
		free(params);
	}
	if (!run->cmdline)
		return err_host(err, ENOMEM, "no memory for the command line");
	run->cfg.cmdline = run->cmdline;
	return 0;
}

/* $XDG_CACHE_HOME/lkvm, else ~/.cache/lkvm; an unset or relative home means no cache. */
static void find_cache(struct run *run)
{
	const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");

	if (xdg && *xdg == '/') {
		if (asprintf(&run->cache_dir, "%s/lkvm", xdg) < 0)
			run->cache_dir = NULL;
	} else if (home && *home == '/') {
		if (asprintf(&run->cache_dir, "%s/.cache/lkvm", home) < 0)
			run->cache_dir = NULL;
	}
	run->cfg.cache_dir = run->cache_dir;
}

static int open_log(struct run *run, struct err *err)
{
	const char *path = run->opt.log;

	if (!path)
		return 0;
	run->log_fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0666);
	if (run->log_fd < 0)
		return err_host(err, errno, "cannot write --log %s", path);
	run->cfg.copy_fd = run->log_fd;
	return 0;
}

static int open_console(struct run *run, struct err *err)
{
	struct machine_config *cfg = &run->cfg;

	if (run->opt.console == CONSOLE_NONE)
		return 0;
	if (!usable_fd(STDOUT_FILENO, O_RDONLY))
		return err_host(err, EBADF, "stdout is closed; use --console none or >/dev/null");
	cfg->console = true;
	cfg->out_fd = STDOUT_FILENO;
	/* A background job must not read the terminal: it would be stopped for that. */
	bool tty = isatty(STDIN_FILENO);
	if (usable_fd(STDIN_FILENO, O_WRONLY) && (!tty || tcgetpgrp(STDIN_FILENO) == getpgrp()))
		cfg->in_fd = STDIN_FILENO;
	cfg->escape = tty && cfg->in_fd >= 0;
	return 0;
}

static int make_config(struct run *run, struct err *err)
{
	const struct run_options *opt = &run->opt;

	if (opt->hugetlbfs && opt->mem_shared)
		return err_usage(err, "--hugetlbfs and --mem-shared exclude each other");
	if (opt->mem % 4096)
		return err_usage(err, "--mem must be a multiple of 4K");
	if (opt->pci_access == PCI_ACCESS_ECAM && !opt->acpi)
		return err_usage(err, "--pci-access ecam needs ACPI; --no-acpi excludes it");
	if (opt->kaslr && opt->boot == BOOT_VMLINUX)
		return err_usage(err, "--kaslr needs the bzImage; --boot vmlinux excludes it");
	run->cfg = (struct machine_config){
		.name = opt->name,
		.dev = opt->dev,
		.initrds = opt->initrds.str,
		.initrds_nr = opt->initrds.nr,
		.boot = opt->boot,
		.kaslr = opt->kaslr,
		.mem = opt->mem,
		.hugetlbfs = opt->hugetlbfs,
		.mem_shared = opt->mem_shared,
		.cpus_nr = opt->cpus,
		.affinity = opt->affinity.cpu,
		.affinity_nr = opt->affinity.nr,
		.acpi = opt->acpi,
		.debug_exit = opt->debug_exit == NO_PORT ? -1 : (int)opt->debug_exit,
		.in_fd = -1,
		.out_fd = -1,
		.copy_fd = -1,
		.virtio = opt->virtio,
		.virtio_nr = opt->virtio_nr,
		.virtio_trans = opt->virtio_trans,
		.pci_access = opt->pci_access,
		.timeout_ns = opt->timeout_ns,
		.restart = opt->on_reset == RESET_RESTART,
		.log = { .fd = STDERR_FILENO, .level = opt->debug ? LOG_DEBUG : opt->loglevel },
	};
	find_cache(run);
	int ret = find_kernel(run, err);
	if (!ret)
		ret = make_cmdline(run, err);
	if (!ret && !opt->dry_run)
		ret = open_console(run, err);
	if (!ret && !opt->dry_run)
		ret = open_log(run, err);
	return ret;
}

/*
 * The signals that stop the VM are blocked in every thread and read from a descriptor. One that is
 * ignored from the start (nohup, a shell's background job) stays ignored. SIGPIPE and SIGXFSZ are
 * blocked: a console reader that goes away, and a limit of a file's size (`ulimit -f`), are errors of the call.
 */
static void block_signals(struct run *run)
{
	static const int stopping[] = { SIGINT, SIGTERM, SIGHUP };
	sigset_t block;

	sigemptyset(&run->signals);
	for (size_t i = 0; i < ARRAY_SIZE(stopping); i++) {
		struct sigaction sa;

		if (sigaction(stopping[i], NULL, &sa) == 0 && sa.sa_handler != SIG_IGN)
			sigaddset(&run->signals, stopping[i]);
	}
	block = run->signals;
	sigaddset(&block, SIGPIPE);
	sigaddset(&block, SIGXFSZ);
	sigprocmask(SIG_BLOCK, &block, NULL);
	run->cfg.signals = &run->signals;
}

/* Ends lkvm by the signal that stopped the VM, so that a parent sees it. */
static void end_by_signal(int sig)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, sig);
	raise(sig);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static void print_prefix(const struct run *run)
{
	fprintf(stderr, "lkvm: %s%s", run->cfg.name ? run->cfg.name : "",
		run->cfg.name ? ": " : "");
}

static int report_error(const struct run *run, const struct err *err)
{
	print_prefix(run);
	fprintf(stderr, "%s\n", err->msg);
	return result_err_status(err);
}

/* The last line on stderr, and the status. */
static int report_outcome(const struct run *run, const struct machine_result *res)
{
	char text[STOP_DETAIL_LEN + 64];
	int status = result_status(&res->stop);

	result_describe(&res->stop, text, sizeof(text));
	print_prefix(run);
	if (res->copy_errno) {
		/* A log that a script relies on is not there: that outranks what the guest did. */
		fprintf(stderr, "cannot write --log %s: %s (%s)\n", run->opt.log,
			strerror(res->copy_errno), text);
		return STATUS_HOST;
	}
	fputs(text, stderr);
	if (res->host_note[0])
		fprintf(stderr, "; %s", res->host_note);
	if (res->console_dropped)
		fprintf(stderr, "; %llu console bytes dropped, the reader was too slow",
			(unsigned long long)res->console_dropped);
	if (res->console_errno && res->console_errno != EPIPE)
		fprintf(stderr, "; console output ended early: %s", strerror(res->console_errno));
	fputc('\n', stderr);
	return status;
}

static int run_machine(struct run *run, struct machine_result *res, struct err *err)
{
	struct machine *m;

	/* Before any thread: it forks. */
	int ret = run->cfg.escape ? term_raw(&run->term, run->cfg.in_fd, err) : 0;
	if (ret)
		return ret;
	log_debug(&run->cfg.log, "command line: %s", run->cfg.cmdline);
	ret = machine_new(&m, &run->cfg, err);
	if (ret)
		return ret;
	if (run->opt.dry_run)
		ret = machine_describe(m, stdout, err);
	else
		ret = machine_run(m, res, stderr, err);
	machine_free(m);
	return ret;
}

static int run_parsed(struct run *run)
{
	struct machine_result res = { 0 };
	struct err err = ERR_INIT;

	int ret = make_config(run, &err);
	if (!ret) {
		block_signals(run);
		ret = run_machine(run, &res, &err);
		term_restore(&run->term);
	}
	if (run->log_fd >= 0)
		close(run->log_fd);
	int status = 0;
	if (ret)
		status = report_error(run, &err);
	else if (!run->opt.dry_run)
		status = report_outcome(run, &res);
	free(run->cmdline);
	free(run->cache_dir);
	if (!ret && res.stop.reason == STOP_SIGNAL)
		end_by_signal(res.stop.value);
	return status;
}

int cmd_run(int argc, char **argv)
{
	struct run run = { .log_fd = -1, .term.fd = -1 };
	struct err err = ERR_INIT;
	int status = STATUS_OK;

	int ret = run_options_parse(&run.opt, argc - 1, argv + 1, &err);
	if (ret)
		status = report_error(&run, &err);
	else if (run.opt.help)
		run_options_help();
	else
		status = run_parsed(&run);
	run_options_release(&run.opt);
	return status;
}
