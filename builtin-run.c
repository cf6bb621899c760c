/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <lkvm/board.h>
#include <lkvm/machine.h>
#include <lkvm/result-cases.h>
#include <lkvm/result-file.h>
#include <lkvm/result-json.h>
#include <lkvm/result.h>
#include <lkvm/run-command.h>
#include <lkvm/run-options.h>
#include <lkvm/run-sandbox.h>
#include <lkvm/run-symbols.h>
#include <lkvm/term.h>
#include <lkvm/util.h>

#include "builtin.h"

/* Who reads how it went: --result, --junit, --tap. */
enum { TO_JSON, TO_JUNIT, TO_TAP, READERS_NR };

static void (*const writers[])(FILE *out, const struct result_info *info) = {
	[TO_JSON] = result_write_json,
	[TO_JUNIT] = result_write_junit,
	[TO_TAP] = result_write_tap,
};

/* Everything of a run that must be undone. */
struct run {
	struct run_options opt;
	struct machine_config cfg;
	char *cmdline;
	char *cache_dir;
	char kernel[sizeof("/boot/vmlinuz-") + sizeof(((struct utsname *)0)->release)];
	int log_fd;
	int parent_fd;
	struct run_command command;
	struct run_sandbox sandbox;
	struct result_file files[READERS_NR];
	struct result_file core;
	struct symbols symbols;
	bool wanted[READERS_NR]; /* the file is open */
	struct ktap ktap;
	char *const *argv; /* from "run" on */
	uint64_t start_ns;
	struct timespec start_wall;
	struct term term;
	sigset_t signals;
};

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
	return err_usage(err, "no kernel: give one with --kernel (neither %s nor %s is here)",
			 board_kernels[0], run->kernel);
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
	const char *rdinit = run_command_param(&run->opt);

	if (params) {
		const char *init = find_init_args(params);
		bool plain = run->opt.nodefaults;

		/* A word of ours after the user's is the one that counts; the last console is the one of /dev/console. */
		if (asprintf(&run->cmdline, "%s%s%s%.*s%s%s%s%s%s%s", plain ? "" : board_cmdline,
			     run->opt.console == CONSOLE_VIRTIO && !plain ? " console=hvc0" : "",
			     plain ? "" : " ", (int)(init - params), params,
			     plain || init == params || init[-1] == ' ' ? "" : " ",
			     plain ? "" : board_cmdline_tail, rdinit, run->opt.init ?: "",
			     *init && (!plain || *rdinit) ? " " : "", init) < 0)
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

	if (run->opt.console == CONSOLE_NONE || run->opt.command)
		return 0;
	if (!run_may_write(STDOUT_FILENO))
		return err_host(err, EBADF, "stdout is closed; use --console none or >/dev/null");
	cfg->console = true;
	cfg->out_fd = STDOUT_FILENO;
	if (run_may_read(STDIN_FILENO))
		cfg->in_fd = STDIN_FILENO;
	cfg->escape = cfg->in_fd >= 0 && isatty(STDIN_FILENO);
	cfg->console_virtio = run->opt.console == CONSOLE_VIRTIO;
	cfg->follow_size = cfg->console_virtio && isatty(STDOUT_FILENO);
	return 0;
}

/*
 * A pidfd follows the process, not the thread that forked us. The parent may have ended before it was opened, and its id
 * may be another's by then: but then it is our parent no more.
 */
static int find_parent(struct run *run, struct err *err)
{
	if (!run->opt.die_with_parent)
		return 0;
	pid_t parent = getppid();
	if (!parent)
		return err_host(err, ESRCH,
				"--die-with-parent: the parent is outside of this PID namespace");
	run->parent_fd = pidfd_open(parent, 0);
	if (run->parent_fd < 0 && errno != ESRCH)
		return err_host(err, errno, "--die-with-parent: cannot watch the parent process");
	if (run->parent_fd < 0 || getppid() != parent)
		return err_host(err, ESRCH, "--die-with-parent: the parent has ended already");
	run->cfg.die_with_parent = true;
	run->cfg.parent_fd = run->parent_fd;
	return 0;
}

static int check_options(const struct run_options *opt, struct err *err)
{
	if (opt->hugetlbfs && opt->mem_shared)
		return err_usage(err, "--hugetlbfs and --mem-shared exclude each other");
	if (opt->mem % 4096)
		return err_usage(err, "--mem must be a multiple of 4K");
	if (opt->pci_access == PCI_ACCESS_ECAM && !opt->acpi)
		return err_usage(err, "--pci-access ecam needs ACPI; --no-acpi excludes it");
	if (opt->kaslr && opt->boot == BOOT_VMLINUX)
		return err_usage(err, "--kaslr needs the bzImage; --boot vmlinux excludes it");
	return run_command_check(opt, err);
}

static int make_config(struct run *run, struct err *err)
{
	const struct run_options *opt = &run->opt;

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
		.irqchip = opt->irqchip,
		.pmu = opt->pmu,
		.dump_dtb = opt->dump_dtb,
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
		.boot_timeout_ns = opt->boot_timeout_ns,
		.idle_timeout_ns = opt->idle_timeout_ns,
		.until = &opt->until,
		.fail = &opt->fail,
		.ktap = opt->ktap ? &run->ktap : NULL,
		.fail_on_splat = opt->fail_on == FAIL_ON_SPLAT,
		.debug_on_fail = opt->debug_on_fail,
		.restart = opt->on_reset == RESET_RESTART,
		.log = { .fd = STDERR_FILENO, .level = opt->debug ? LOG_DEBUG : opt->loglevel },
	};
	find_cache(run);
	int ret = check_options(opt, err);
	if (!ret)
		ret = find_parent(run, err);
	if (!ret)
		ret = find_kernel(run, err);
	if (!ret)
		ret = make_cmdline(run, err);
	if (!ret && opt->symbols)
		ret = run_symbols_load(&run->symbols, opt, &run->cfg, err);
	if (!ret)
		ret = run_command_prepare(&run->command, opt, &run->cfg, opt->dry_run, err);
	if (!ret && !opt->dry_run)
		ret = open_console(run, err);
	if (!ret && !opt->dry_run)
		ret = open_log(run, err);
	if (!ret && !opt->dry_run && opt->core)
		ret = run_core_open(&run->core, opt->core, &run->cfg, err);
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
	if (run->cfg.follow_size)
		sigaddset(&block, SIGWINCH);
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

/* How it went: the status, and the last line on stderr. */
struct verdict {
	int status;
	const char *outcome;
	char text[ERR_MSG_LEN + PROBE_SENTENCE_LEN];
	bool plain; /* a command's status is lkvm's: nothing is to be said */
};

static void print_prefix(const struct run *run)
{
	fprintf(stderr, "lkvm: %s%s", run->cfg.name ? run->cfg.name : "",
		run->cfg.name ? ": " : "");
}

static void print_line(const struct run *run, const char *text)
{
	print_prefix(run);
	fprintf(stderr, "%s\n", text);
}

static void judge_error(struct verdict *v, const struct err *err)
{
	v->status = result_err_status(err);
	v->outcome = result_err_outcome(err);
	snprintf(v->text, sizeof(v->text), "%s", err->msg);
}

/* What a script relies on is not there: that outranks what the guest did. */
static const char *lost_output(const struct machine_result *res, int *errnum)
{
	*errnum = res->copy_errno ? res->copy_errno : res->streams_errno;
	/* Whose reader has left did not want it. */
	if (!*errnum || (!res->copy_errno && *errnum == EPIPE))
		return NULL;
	return res->copy_errno ? "--log" : "what the command writes";
}

static void judge_outcome(struct verdict *v, const struct run *run,
			  const struct machine_result *res)
{
	char text[STOP_DETAIL_LEN + 64];
	FILE *f = fmemopen(v->text, sizeof(v->text), "w");

	v->status = result_status(&res->stop);
	v->outcome = result_outcome(res->stop.reason);
	result_describe(&res->stop, text, sizeof(text));
	if (!f)
		return;
	int errnum;
	const char *lost = lost_output(res, &errnum);
	if (lost) {
		v->status = STATUS_HOST;
		v->outcome = result_outcome(STOP_HOST);
		fprintf(f, "cannot write %s%s%s: %s (%s)", lost, res->copy_errno ? " " : "",
			res->copy_errno ? run->opt.log : "", strerror(errnum), text);
		fclose(f);
		return;
	}
	if (res->core_err.kind) {
		v->status = STATUS_HOST;
		v->outcome = result_outcome(STOP_HOST);
		fprintf(f, "%s (%s)", res->core_err.msg, text);
		fclose(f);
		return;
	}
	fputs(text, f);
	v->plain = res->stop.reason == STOP_COMMAND && v->status <= STATUS_GUEST_MAX &&
		   !run->opt.verbose;
	if (res->streams_lost)
		fprintf(f, "; %llu bytes of the command's lost, the reader was too slow",
			(unsigned long long)res->streams_lost);
	if (res->host_note[0])
		fprintf(f, "; %s", res->host_note);
	if (v->status && (run->cfg.initrds_nr || run->cfg.initramfs) && res->console.no_init[0])
		fprintf(f, "; %s", res->console.no_init);
	if (res->console_dropped)
		fprintf(f, "; %llu console bytes dropped, the reader was too slow",
			(unsigned long long)res->console_dropped);
	if (res->console_errno && res->console_errno != EPIPE)
		fprintf(f, "; console output ended early: %s", strerror(res->console_errno));
	fclose(f);
}

/* `res` is NULL when no machine was made. */
static int write_result(struct run *run, unsigned int reader, const struct verdict *v,
			const struct machine_result *res, struct err *err)
{
	struct result_info info = {
		.outcome = v->outcome,
		.status = v->status,
		.message = v->text,
		.name = run->cfg.name,
		.tests = run->cfg.ktap,
		.res = res,
		.start_ns = run->start_ns,
		.start_wall = run->start_wall,
		.argv = run->argv,
	};
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	int ret;

	if (f)
		writers[reader](f, &info);
	if (!f || fclose(f))
		ret = err_host(err, ENOMEM, "cannot write %s", run->files[reader].option);
	else
		ret = result_file_write(&run->files[reader], text, len, err);
	free(text);
	return ret;
}

/* The result, the last line on stderr, and the status. */
static int report(struct run *run, struct verdict *v, const struct machine_result *res)
{
	struct err err = ERR_INIT;

	for (unsigned int i = 0; i < READERS_NR; i++) {
		if (!run->wanted[i] || !write_result(run, i, v, res, &err))
			continue;
		/* As with --log: a script relies on it. */
		print_prefix(run);
		fprintf(stderr, "%s (%s)\n", err.msg, v->text);
		return STATUS_HOST;
	}
	if (!v->plain)
		print_line(run, v->text);
	return v->status;
}

static int run_machine(struct run *run, struct machine_result *res, struct err *err)
{
	struct machine *m;

	/* Before any thread: it forks. */
	bool streams = run->cfg.streams.escape;
	int ret = run->cfg.escape || streams
			  ? term_raw(&run->term, streams ? run->cfg.streams.in_fd : run->cfg.in_fd,
				     err)
			  : 0;
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

static void release_run(struct run *run)
{
	if (run->log_fd >= 0)
		close(run->log_fd);
	if (run->parent_fd >= 0)
		close(run->parent_fd);
	run_command_release(&run->command);
	for (unsigned int i = 0; i < READERS_NR; i++)
		result_file_close(&run->files[i]);
	result_file_close(&run->core);
	symbols_release(&run->symbols);
	free(run->cmdline);
	free(run->cache_dir);
}

/* From here on there is a result, whatever becomes of it. */
static int run_with_result(struct run *run, int *end_signal)
{
	struct machine_result res = { 0 };
	struct err err = ERR_INIT;
	struct verdict v = { 0 };

	int ret = make_config(run, &err);
	if (!ret) {
		block_signals(run);
		ret = run_machine(run, &res, &err);
		term_restore(&run->term);
	}
	if (!ret && run->opt.dry_run)
		return STATUS_OK;
	if (ret)
		judge_error(&v, &err);
	else
		judge_outcome(&v, run, &res);
	int status = report(run, &v, ret ? NULL : &res);
	if (!ret && res.stop.reason == STOP_SIGNAL && status == v.status)
		*end_signal = (int)res.stop.value;
	machine_result_release(&res);
	return status;
}

static int open_files(struct run *run, struct err *err)
{
	const struct {
		const char *option, *where;
	} to[READERS_NR] = {
		[TO_JSON] = { "--result", run->opt.result },
		[TO_JUNIT] = { "--junit", run->opt.junit },
		[TO_TAP] = { "--tap", run->opt.tap },
	};

	for (unsigned int i = 0; i < READERS_NR; i++) {
		if (!to[i].where || run->opt.dry_run)
			continue;
		for (unsigned int n = 0; n < i; n++)
			if (to[n].where && !strcmp(to[n].where, to[i].where))
				return err_usage(err, "%s and %s cannot both go to %s",
						 to[n].option, to[i].option, to[i].where);
		int ret = result_file_open(&run->files[i], to[i].option, to[i].where, err);
		if (ret)
			return ret;
		run->wanted[i] = true;
	}
	return 0;
}

static int run_parsed(struct run *run)
{
	struct err err = ERR_INIT;
	int end_signal = 0, status;

	run->cfg.name = run->opt.name;
	if (open_files(run, &err)) {
		print_line(run, err.msg);
		status = result_err_status(&err);
	} else {
		status = run_with_result(run, &end_signal);
	}
	release_run(run);
	if (end_signal)
		end_by_signal(end_signal);
	return status;
}

static int run_main(int argc, char **argv, bool sandbox)
{
	struct run run = {
		.log_fd = -1,
		.parent_fd = -1,
		.files = { RESULT_FILE_INIT, RESULT_FILE_INIT, RESULT_FILE_INIT },
		.core = RESULT_FILE_INIT,
		.command = RUN_COMMAND_INIT,
		.argv = argv,
		.start_ns = util_now_ns(),
		.term.fd = -1,
	};
	struct err err = ERR_INIT;
	int status = STATUS_OK;

	clock_gettime(CLOCK_REALTIME, &run.start_wall);
	ktap_init(&run.ktap);
	int ret = run_options_parse(&run.opt, argc - 1, argv + 1, &err);
	if (!ret && sandbox && !run.opt.help)
		ret = run_sandbox_prepare(&run.sandbox, &run.opt, &err);
	if (ret) {
		print_line(&run, err.msg);
		status = result_err_status(&err);
	} else if (run.opt.help) {
		sandbox ? run_sandbox_help() : run_options_help();
	} else {
		status = run_parsed(&run);
	}
	run_options_release(&run.opt);
	run_sandbox_release(&run.sandbox);
	ktap_release(&run.ktap);
	return status;
}

int cmd_run(int argc, char **argv)
{
	return run_main(argc, argv, false);
}

int cmd_sandbox(int argc, char **argv)
{
	return run_main(argc, argv, true);
}
