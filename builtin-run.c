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
#include <lkvm/kvm.h>
#include <lkvm/machine.h>
#include <lkvm/options.h>
#include <lkvm/result.h>
#include <lkvm/run-foreign.h>
#include <lkvm/term.h>
#include <lkvm/util.h>

#include "builtin.h"

#define MEM_MAX       (4096 * GIB)
#define TIMEOUT_MAX_S (366ULL * 24 * 3600)

/* What the options say, before it becomes a machine_config. */
struct run_options {
	const char *kernel;
	struct option_strings initrds;
	struct option_strings params;
	uint64_t mem;
	uint32_t cpus;
	struct option_cpus affinity;
	const char *hugetlbfs;
	bool mem_shared;
	unsigned int boot;
	bool kaslr;
	bool acpi;
	uint32_t debug_exit;
	bool nodefaults;
	unsigned int console;
	const char *log;
	uint64_t timeout_ns;
	unsigned int on_reset;
	const char *name;
	const char *dev;
	unsigned int loglevel;
	bool debug;
	bool dry_run;
	bool help;
};

enum { CONSOLE_SERIAL, CONSOLE_NONE };
enum { RESET_EXIT, RESET_RESTART };
#define NO_PORT UINT32_MAX

static const char *const boot_choices[] = { "auto", "bzimage", "vmlinux", NULL };
static const char *const console_choices[] = { "serial", "none", NULL };
static const char *const reset_choices[] = { "exit", "restart", NULL };
static const char *const level_choices[] = { "error", "warning", "info", "debug", NULL };

/* A name becomes part of messages and, for other commands, of a file name. */
static int parse_name(void *cfg, const struct option_def *def, const char *arg, struct err *err)
{
	if (!*arg || strlen(arg) > 64 ||
	    strspn(arg, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
			"0123456789._-") != strlen(arg) ||
	    *arg == '.')
		return err_usage(
			err, "option --name: \"%.80s\" is not 1 to 64 of a-z A-Z 0-9 . _ -", arg);
	return option_string(cfg, def, arg, err);
}

#define AT(field) .off = offsetof(struct run_options, field)

static const struct option_def defs[] = {
	{ .help = "Guest" },
	{ .name = "kernel",
	  .letter = 'k',
	  .arg = "FILE",
	  .parse = option_string,
	  AT(kernel),
	  .help = "bzImage or vmlinux to boot; without it ./bzImage, the build tree's, or this "
		  "host's own" },
	{ .name = "initrd",
	  .letter = 'i',
	  .arg = "FILE",
	  .parse = option_strings,
	  AT(initrds),
	  .repeat = true,
	  .help = "initial RAM disk; several are concatenated" },
	{ .name = "params",
	  .letter = 'p',
	  .arg = "TEXT",
	  .parse = option_strings,
	  AT(params),
	  .repeat = true,
	  .help = "append to the kernel command line" },
	{ .name = "mem",
	  .letter = 'm',
	  .arg = "SIZE",
	  .parse = option_size,
	  AT(mem),
	  .min = MEM_MIN_MIB * MIB,
	  .max = MEM_MAX,
	  .help = "guest memory: 512 (MiB), 512M, 2G (default 256M)" },
	{ .name = "cpus",
	  .letter = 'c',
	  .arg = "N",
	  .parse = option_u32,
	  AT(cpus),
	  .min = 1,
	  .max = CPUS_MAX,
	  .help = "number of CPUs (default 1)" },
	{ .name = "nodefaults",
	  .parse = option_set,
	  AT(nodefaults),
	  .help = "pass only --params, without what the machine needs on the command line" },
	{ .help = "Boot" },
	{ .name = "boot",
	  .arg = "HOW",
	  .parse = option_choice,
	  AT(boot),
	  .choices = boot_choices,
	  .help = "auto decompresses a bzImage on the host, once, and keeps the result in "
		  "$XDG_CACHE_HOME/lkvm; bzimage lets the guest do it; vmlinux insists on the "
		  "ELF" },
	{ .name = "kaslr",
	  .parse = option_set,
	  AT(kaslr),
	  .help = "let the kernel choose its own address, which costs its decompressor's time" },
	{ .name = "no-acpi",
	  .parse = option_clear,
	  AT(acpi),
	  .help = "an MP table instead of ACPI tables; such a guest cannot power off" },
	{ .help = "Console" },
	{ .name = "console",
	  .arg = "WHERE",
	  .parse = option_choice,
	  AT(console),
	  .choices = console_choices,
	  .help = "serial: ttyS0 on stdin and stdout (default); none: nowhere. On a terminal "
		  "Ctrl-A x "
		  "stops the VM and Ctrl-A Ctrl-A sends Ctrl-A" },
	{ .name = "log",
	  .arg = "FILE",
	  .parse = option_string,
	  AT(log),
	  .help = "copy of what the console prints" },
	{ .help = "Outcome" },
	{ .name = "timeout",
	  .arg = "SECONDS",
	  .parse = option_seconds,
	  AT(timeout_ns),
	  .max = TIMEOUT_MAX_S * NSEC_PER_SEC,
	  .help = "end with status 205 after this time (default: never)" },
	{ .name = "on-reset",
	  .arg = "WHAT",
	  .parse = option_choice,
	  AT(on_reset),
	  .choices = reset_choices,
	  .help = "exit: end with status 200 (default); restart: start again" },
	{ .name = "debug-exit",
	  .arg = "PORT",
	  .parse = option_u32,
	  AT(debug_exit),
	  .max = 0xffff,
	  .help = "a byte that the guest writes to this port is the exit status, such as 0xf4" },
	{ .help = "Host" },
	{ .name = "vcpu-affinity",
	  .arg = "LIST",
	  .parse = option_cpus,
	  AT(affinity),
	  .help = "host CPUs for the vCPUs in turn, such as 0,2-3" },
	{ .name = "hugetlbfs",
	  .arg = "DIR",
	  .parse = option_string,
	  AT(hugetlbfs),
	  .help = "guest memory from reserved huge pages, in this hugetlbfs mount" },
	{ .name = "mem-shared",
	  .parse = option_set,
	  AT(mem_shared),
	  .help = "guest memory as a memfd, which other processes can map" },
	{ .name = "dev",
	  .arg = "PATH",
	  .parse = option_string,
	  AT(dev),
	  .help = "the KVM device (default " KVM_DEV_DEFAULT ")" },
	{ .name = "name",
	  .arg = "NAME",
	  .parse = parse_name,
	  AT(name),
	  .help = "name of the VM in messages" },
	{ .name = "loglevel",
	  .arg = "LEVEL",
	  .parse = option_choice,
	  AT(loglevel),
	  .choices = level_choices,
	  .help = "error, warning (default), info or debug" },
	{ .name = "debug",
	  .parse = option_set,
	  AT(debug),
	  .help = "same as --loglevel debug: how the kernel is booted, its command line, exit "
		  "counts" },
	{ .name = "dry-run",
	  .parse = option_set,
	  AT(dry_run),
	  .help = "print the machine that would be built, and end" },
	{ .name = "help", .letter = 'h', .parse = option_set, AT(help), .help = "this text" },
};

static void print_help(const struct option_table *table)
{
	puts("usage: lkvm run [OPTIONS]\n\n"
	     "Boots a kernel with its console on stdin and stdout, and ends with a status that "
	     "says how\n"
	     "it went; the last line on stderr says it in words.\n");
	options_help(table, stdout);
	puts("\nExit status:\n"
	     "  0        the guest powered off\n"
	     "  1-192    the byte that the guest wrote to --debug-exit\n"
	     "  199      that byte was above 192\n"
	     "  200      the guest reset\n"
	     "  201      the guest's kernel panicked\n"
	     "  203      triple fault\n"
	     "  205      --timeout expired\n"
	     "  207      stopped by the user (Ctrl-A x)\n"
	     "  210      bad option or bad input file\n"
	     "  211      the host lacks or refuses something\n"
	     "  212      KVM failed, or lkvm has a bug\n"
	     "  SIGINT, SIGTERM and SIGHUP stop the VM; lkvm then ends by that signal.\n\n"
	     "Example: lkvm run -k bzImage -i initrd.img -m 512 -c 2 -p quiet");
}

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
 * ignored from the start (nohup, a shell's background job) stays ignored. SIGPIPE is blocked: a console
 * reader that goes away is an error of write(2).
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
	struct run run = {
		.opt = { .mem = MEM_DEFAULT_MIB * MIB,
			 .cpus = 1,
			 .acpi = true,
			 .debug_exit = NO_PORT,
			 .dev = KVM_DEV_DEFAULT,
			 .loglevel = LOG_WARN },
		.log_fd = -1,
		.term.fd = -1,
	};
	const struct option_table table = {
		.defs = defs,
		.defs_nr = ARRAY_SIZE(defs),
		.foreign = run_foreign,
		.foreign_nr = run_foreign_nr,
	};
	struct err err = ERR_INIT;
	int rest;

	int ret = options_parse(&table, &run.opt, argc - 1, argv + 1, &rest, &err);
	if (ret)
		return report_error(&run, &err);
	if (run.opt.help) {
		print_help(&table);
		return STATUS_OK;
	}
	if (rest < argc - 1) {
		err_usage(&err,
			  "what is '%s'? A kernel is given with --kernel, kernel parameters with "
			  "--params",
			  argv[1 + rest]);
		return report_error(&run, &err);
	}
	return run_parsed(&run);
}
