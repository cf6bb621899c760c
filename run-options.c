/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lkvm/board.h>
#include <lkvm/config.h>
#include <lkvm/kvm.h>
#include <lkvm/run-foreign.h>
#include <lkvm/run-options.h>
#include <lkvm/util.h>

#define MEM_MAX       (4096 * GIB)
#define TIMEOUT_MAX_S (366ULL * 24 * 3600)

static const char *const boot_choices[] = { "auto", "bzimage", "vmlinux", NULL };
static const char *const console_choices[] = { "serial", "none", "virtio", NULL };
static const char *const fail_choices[] = { "panic", "splat", NULL };
static const char *const reset_choices[] = { "exit", "restart", NULL };
static const char *const pci_choices[] = { "auto", "ecam", "conf1", "both", NULL };
static const char *const irqchip_choices[] = {
	"auto", "gicv3", "gicv3-its", "gicv2", "gicv2m", NULL
};
static const char *const level_choices[] = { "error", "warning", "info", "debug", NULL };

/* A name becomes part of messages. */
static int parse_name(void *cfg, const struct option_def *def, const char *arg, struct err *err)
{
	if (!util_is_name(arg))
		return err_usage(
			err, "option --name: \"%.80s\" is not 1 to 64 of a-z A-Z 0-9 . _ -", arg);
	return option_string(cfg, def, arg, err);
}

/* A device: the type's own option. */
static int parse_virtio(void *cfg, const struct option_def *def, const char *arg, struct err *err)
{
	struct run_options *opt = cfg;
	const struct virtio_type *const *type = virtio_types;

	while (strcmp((*type)->option, def->name))
		type++;
	void *more = reallocarray(opt->virtio, opt->virtio_nr + 1, sizeof(opt->virtio[0]));
	if (!more)
		return err_host(err, ENOMEM, "--%s", def->name);
	opt->virtio = more;
	int ret = virtio_spec_parse(&opt->virtio[opt->virtio_nr], *type, arg, err);
	opt->virtio_nr += !ret;
	return ret;
}

/* UID[:GID]; the group is the user's own when it is not given. */
static int parse_user(void *cfg, const struct option_def *def, const char *arg, struct err *err)
{
	struct run_options *opt = cfg;
	const char *p = arg;
	uint64_t id[2];

	for (unsigned int i = 0; i < ARRAY_SIZE(id); i++) {
		char *end;

		if (i == 1 && !*p) {
			id[1] = id[0];
			break;
		}
		p += i == 1 && *p == ':';
		errno = 0;
		id[i] = strtoul(p, &end, 10);
		/* The highest number means "no change" to setuid(2)'s kin. */
		if (*p < '0' || *p > '9' || (*end && (i || *end != ':')) || errno ||
		    id[i] >= UINT32_MAX)
			return err_usage(
				err,
				"option --%s: \"%.80s\" is not a number, or two with a colon "
				"between: the guest's names are not known here",
				def->name, arg);
		p = end;
	}
	opt->user = true;
	opt->uid = (uint32_t)id[0];
	opt->gid = (uint32_t)id[1];
	return 0;
}

/* A regular expression for console lines. */
static int parse_match(void *cfg, const struct option_def *def, const char *arg, struct err *err)
{
	char option[16];

	snprintf(option, sizeof(option), "--%s", def->name);
	return match_add((struct match *)((char *)cfg + def->off), option, arg, err);
}

#define AT(field) .off = offsetof(struct run_options, field)

static const struct option_def guest_defs[] = {
	{ .help = "Guest" },
	{ .name = "kernel",
	  .letter = 'k',
	  .arg = "FILE",
	  .parse = option_string,
	  AT(kernel),
	  .help = "kernel to boot: bzImage or vmlinux on x86-64, Image or Image.gz on arm64; "
		  "without it ./bzImage or ./Image, the build tree's, or this host's own" },
	{ .name = "initrd",
	  .letter = 'i',
	  .arg = "FILE",
	  .parse = option_strings,
	  AT(initrds),
	  .repeat = true,
	  .help = "initial RAM disk; several are concatenated" },
	{ .name = "root",
	  .arg = "NAME",
	  .parse = option_string,
	  AT(root),
	  .help = "put the folder that `lkvm setup NAME` made into the initramfs" },
	{ .name = "add",
	  .arg = "FILE[:DEST]",
	  .parse = option_strings,
	  AT(add),
	  .repeat = true,
	  .help = "put a file or directory of this host into the initramfs, as DEST" },
	{ .name = "add-exec",
	  .arg = "FILE[:DEST]",
	  .parse = option_strings,
	  AT(add_exec),
	  .repeat = true,
	  .help = "the same with a program and the libraries that it needs" },
	{ .name = "modules",
	  .arg = "DIR[:NAME...]",
	  .parse = option_string,
	  AT(modules),
	  .help = "kernel modules for the devices of the command line, and those named, from the "
		  "kernel's tree, such as /lib/modules/6.1.0-17-amd64" },
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
	{ .name = "irqchip",
	  .arg = "KIND",
	  .parse = option_choice,
	  AT(irqchip),
	  .choices = irqchip_choices,
	  .help = "interrupt controller: gicv3-its, gicv3, gicv2m, gicv2, or auto: the first of "
		  "them that this host's KVM has (default)" },
	{ .name = "pmu",
	  .parse = option_set,
	  AT(pmu),
	  .help = "performance counters in the guest" },
	{ .name = "dump-dtb",
	  .arg = "FILE",
	  .parse = option_string,
	  AT(dump_dtb),
	  .help = "write the device tree to this file; with --dry-run the guest is not started" },
	{ .help = "Console" },
	{ .name = "console",
	  .arg = "WHERE",
	  .parse = option_choice,
	  AT(console),
	  .choices = console_choices,
	  .help = "serial: ttyS0 on stdin and stdout (default); none: nowhere; virtio: hvc0 on "
		  "stdin and stdout, and ttyS0 in the --log alone. On a terminal Ctrl-A x stops "
		  "the VM and Ctrl-A Ctrl-A sends Ctrl-A" },
	{ .name = "log",
	  .arg = "FILE",
	  .parse = option_string,
	  AT(log),
	  .help = "copy of what the serial console prints" },
	{ .help = "Outcome" },
	{ .name = "timeout",
	  .arg = "SECONDS",
	  .parse = option_seconds,
	  AT(timeout_ns),
	  .max = TIMEOUT_MAX_S * NSEC_PER_SEC,
	  .help = "end with status 205 after this time (default: never)" },
	{ .name = "boot-timeout",
	  .arg = "SECONDS",
	  .parse = option_seconds,
	  AT(boot_timeout_ns),
	  .min = 1,
	  .max = TIMEOUT_MAX_S * NSEC_PER_SEC,
	  .help = "the same, unless the guest's init has started by then" },
	{ .name = "idle-timeout",
	  .arg = "SECONDS",
	  .parse = option_seconds,
	  AT(idle_timeout_ns),
	  .min = 1,
	  .max = TIMEOUT_MAX_S * NSEC_PER_SEC,
	  .help = "end with status 204 when the guest has printed nothing and used no device for "
		  "this time" },
	{ .name = "until",
	  .arg = "REGEX",
	  .parse = parse_match,
	  AT(until),
	  .repeat = true,
	  .help = "end with status 0 at the first console line that matches, and with 208 "
		  "when the guest ends before it" },
	{ .name = "fail",
	  .arg = "REGEX",
	  .parse = parse_match,
	  AT(fail),
	  .repeat = true,
	  .help = "end with status 206 at the first console line that matches" },
	{ .name = "fail-on",
	  .arg = "WHAT",
	  .parse = option_choice,
	  AT(fail_on),
	  .choices = fail_choices,
	  .help = "panic: a guest whose kernel panicked ends with status 201 (default); splat: "
		  "and one whose kernel printed an oops, a warning, a lockup, a sanitizer's "
		  "report or the like, with 202" },
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
	{ .name = "result",
	  .arg = "FILE",
	  .parse = option_string,
	  AT(result),
	  .help = "write how it went to this file, or to descriptor N when it is fd:N, as JSON" },
	{ .name = "junit",
	  .arg = "FILE",
	  .parse = option_string,
	  AT(junit),
	  .help = "the same as JUnit XML: the run is a test case, and each test that --ktap saw" },
	{ .name = "tap",
	  .arg = "FILE",
	  .parse = option_string,
	  AT(tap),
	  .help = "the same as TAP" },
	{ .name = "ktap",
	  .parse = option_set,
	  AT(ktap),
	  .help = "read test results (KTAP, TAP) from the console, and from a command's stdout and "
		  "results: end with status 206 when one failed or their plan is short, with 208 "
		  "when there is none" },
	{ .name = "debug-on-fail",
	  .parse = option_set,
	  AT(debug_on_fail),
	  .help = "print registers, backtraces and the console's end at every end that is no "
		  "success" },
	{ .name = "symbols",
	  .arg = "FILE",
	  .parse = option_string,
	  AT(symbols),
	  .help = "the kernel's vmlinux, System.map or /proc/kallsyms: backtraces have names, and "
		  "a breakpoint on panic sees one that the console does not show" },
	{ .name = "core",
	  .arg = "FILE",
	  .parse = option_string,
	  AT(core),
	  .help = "write the guest's memory and registers to this file when it fails (status 201 "
		  "to 206, 208, 212), as an ELF core for gdb" },
	{ .name = "die-with-parent",
	  .parse = option_set,
	  AT(die_with_parent),
	  .help = "stop the VM, with status 207, when the process that started lkvm ends" },
};

static const struct option_def command_defs[] = {
	{ .help = "Command in the guest, after --" },
	{ .name = "env",
	  .arg = "NAME[=VALUE]",
	  .parse = option_strings,
	  AT(env),
	  .repeat = true,
	  .help = "an environment variable of its; without a value the one it has here" },
	{ .name = "cwd",
	  .arg = "DIR",
	  .parse = option_string,
	  AT(cwd),
	  .help = "its working directory (default /)" },
	{ .name = "user",
	  .arg = "UID[:GID]",
	  .parse = parse_user,
	  .help = "the user and group that it runs as, by number (default: root)" },
	{ .name = "results",
	  .arg = "FILE",
	  .parse = option_string,
	  AT(results),
	  .help = "gets what it writes to /dev/lkvm.results" },
	{ .name = "verbose",
	  .parse = option_set,
	  AT(verbose),
	  .help = "the kernel's console on stderr, and lkvm's last line in any case" },
	{ .name = "init",
	  .arg = "PATH",
	  .parse = option_string,
	  AT(init),
	  .help = "instead of a command: the program in the initramfs that the kernel starts" },
};

static const struct option_def more_defs[] = {
	{ .name = "virtio-transport",
	  .arg = "HOW",
	  .parse = option_choice,
	  AT(virtio_trans),
	  .choices = virtio_trans_names,
	  .help = "pci: modern, and legacy too where the device type has it (default); pci-modern; "
		  "pci-legacy" },
	{ .name = "pci-access",
	  .arg = "HOW",
	  .parse = option_choice,
	  AT(pci_access),
	  .choices = pci_choices,
	  .help = "ways to PCI configuration space: ecam, conf1 (the ports 0xcf8 and 0xcfc), both, "
		  "or auto: ecam alone when the kernel is seen to support it (default)" },
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

/* The options: guest_defs, the device types', more_defs. */
struct run_table {
	struct option_def defs[OPTIONS_MAX];
	unsigned int nr;
};

static void add_defs(struct run_table *t, const struct option_def *defs, unsigned int nr)
{
	BUG_ON(nr > OPTIONS_MAX - t->nr);
	memcpy(t->defs + t->nr, defs, nr * sizeof(*defs));
	t->nr += nr;
}

static bool is_absent(const struct option_def *def)
{
	for (const char *const *p = board_absent_options; *p && def->name; p++)
		if (!strcmp(*p, def->name))
			return true;
	return false;
}

static void drop_absent(struct run_table *t)
{
	unsigned int kept = 0;

	for (unsigned int i = 0; i < t->nr; i++)
		if (!is_absent(&t->defs[i]))
			t->defs[kept++] = t->defs[i];
	t->nr = kept;
}

static struct option_table make_table(struct run_table *t)
{
	t->nr = 0;
	add_defs(t, guest_defs, ARRAY_SIZE(guest_defs));
	add_defs(t, command_defs, ARRAY_SIZE(command_defs));
	add_defs(t, &(struct option_def){ .help = "Devices" }, 1);
	for (const struct virtio_type *const *p = virtio_types; *p; p++)
		add_defs(t,
			 &(struct option_def){ .name = (*p)->option,
					       .letter = (*p)->letter,
					       .repeat = true,
					       .arg = (*p)->arg,
					       .parse = parse_virtio,
					       .hidden = (*p)->hidden,
					       .help = (*p)->help },
			 1);
	add_defs(t, more_defs, ARRAY_SIZE(more_defs));
	drop_absent(t);
	return (struct option_table){ .defs = t->defs,
				      .defs_nr = t->nr,
				      .foreign = run_foreign,
				      .foreign_nr = run_foreign_nr };
}

static void print_keys(void)
{
	for (const struct virtio_type *const *p = virtio_types; *p; p++) {
		if ((*p)->hidden || !(*p)->keys_nr)
			continue;
		printf("\nKeys of --%s:\n", (*p)->option);
		options_help_keys((*p)->keys, (*p)->keys_nr, stdout);
	}
	puts("\nKeys of every device:");
	options_help_keys(virtio_common_keys, virtio_common_keys_nr, stdout);
}

void run_options_help(void)
{
	struct run_table rows;
	const struct option_table table = make_table(&rows);

	puts("usage: lkvm run [OPTIONS] [-- COMMAND [ARGUMENT...]]\n\n"
	     "Boots a kernel with its console on stdin and stdout, and ends with a status that "
	     "says how\n"
	     "it went; the last line on stderr says it in words. With a COMMAND the guest runs "
	     "that, and\n"
	     "lkvm ends with its status; stdin, stdout and stderr are the command's.\n");
	options_help(&table, stdout);
	print_keys();
	puts("\nExit status:\n"
	     "  0        the guest powered off, or --until matched\n"
	     "  1-192    the command's status, or the byte that the guest wrote to --debug-exit\n"
	     "  199      that was above 192\n"
	     "  200      the guest reset\n"
	     "  201      the guest's kernel panicked\n"
	     "  202      its kernel oopsed, warned or locked up, with --fail-on splat\n"
	     "  203      triple fault\n"
	     "  204      it hangs: all CPUs halted for good, or --idle-timeout expired\n"
	     "  205      --timeout or --boot-timeout expired\n"
	     "  206      --fail matched, or --ktap saw a failure\n"
	     "  207      stopped by the user (Ctrl-A x), or by --die-with-parent\n"
	     "  208      the guest ended in order, but before --until matched, before the\n"
	     "           command's status came, or without a test that --ktap saw\n"
	     "  210      bad option or bad input file\n"
	     "  211      the host lacks or refuses something\n"
	     "  212      KVM failed, or lkvm has a bug\n"
	     "  SIGINT, SIGTERM and SIGHUP stop the VM; lkvm then ends by that signal.\n\n"
	     "Example: lkvm run -k bzImage -i initrd.img -m 512 -c 2 -p quiet");
}

int run_options_parse(struct run_options *opt, int argc, char **argv, struct err *err)
{
	struct run_table rows;
	const struct option_table table = make_table(&rows);
	int rest;

	*opt = (struct run_options){ .mem = MEM_DEFAULT_MIB * MIB,
				     .cpus = 1,
				     .acpi = true,
				     .debug_exit = NO_PORT,
				     .dev = KVM_DEV_DEFAULT,
				     .loglevel = LOG_WARN };
	int ret = options_parse(&table, opt, argc, argv, &rest, err);
	if (ret || opt->help || rest == argc)
		return ret;
	if (rest && !strcmp(argv[rest - 1], "--")) {
		opt->command = argv + rest;
		return 0;
	}
	return err_usage(err,
			 "what is '%s'? A kernel is given with --kernel, kernel parameters with "
			 "--params, a command for the guest after --",
			 argv[rest]);
}

void run_options_release(struct run_options *opt)
{
	match_release(&opt->until);
	match_release(&opt->fail);
	for (unsigned int i = 0; i < opt->virtio_nr; i++)
		virtio_spec_release(&opt->virtio[i]);
	free(opt->virtio);
	opt->virtio = NULL;
	opt->virtio_nr = 0;
}
