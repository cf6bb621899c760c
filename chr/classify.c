/* SPDX-License-Identifier: GPL-2.0 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include <lkvm/classify.h>
#include <lkvm/util.h>

/*
 * The first row that fits decides. `starts` is what the message begins with, `has` what follows somewhere behind it.
 * From the printk calls of kernel/{panic,hung_task,watchdog}.c, kernel/{locking,rcu}/, lib/{bug,ubsan}.c, mm/{kasan,kcsan,kfence}/
 * and arch/{x86,arm64}/{kernel,mm}/ of Linux 4.4 to 6.x.
 */
static const struct {
	enum crash_kind kind;
	const char *starts, *has;
} rows[] = {
	{ CRASH_PANIC, "Kernel panic - not syncing", NULL },
	/* x86, before there is a console driver or a handler that could go on. */
	{ CRASH_PANIC, "PANIC: early exception ", NULL },

	{ CRASH_SOFT_LOCKUP, "watchdog: BUG: soft lockup", NULL },
	{ CRASH_SOFT_LOCKUP, "NMI watchdog: BUG: soft lockup", NULL },
	{ CRASH_SOFT_LOCKUP, "BUG: soft lockup", NULL },
	{ CRASH_HARD_LOCKUP, "watchdog: ", "Watchdog detected hard LOCKUP" },
	{ CRASH_HARD_LOCKUP, "NMI watchdog: ", "Watchdog detected hard LOCKUP" },
	{ CRASH_HARD_LOCKUP, "Watchdog detected hard LOCKUP", NULL },
	{ CRASH_HUNG_TASK, "INFO: task ", " blocked for more than " },
	{ CRASH_HUNG_TASK, "INFO: task ", " blocked in I/O wait for more than " },
	{ CRASH_RCU_STALL, "rcu: INFO: rcu", " stall" },
	{ CRASH_RCU_STALL, "rcu: INFO: rcu", "self-detected stall" },
	{ CRASH_RCU_STALL, "INFO: rcu", " stall" },

	{ CRASH_KASAN, "BUG: KASAN: ", NULL },
	{ CRASH_KASAN, "BUG: KMSAN: ", NULL },
	{ CRASH_KASAN, "KASAN: ", " in range [" },
	{ CRASH_KCSAN, "BUG: KCSAN: ", NULL },
	{ CRASH_KFENCE, "BUG: KFENCE: ", NULL },
	{ CRASH_UBSAN, "UBSAN: ", NULL },

	/* lockdep; in brackets before 4.13. */
	{ CRASH_LOCKDEP, "WARNING: possible circular locking dependency", NULL },
	{ CRASH_LOCKDEP, "WARNING: possible recursive locking", NULL },
	{ CRASH_LOCKDEP, "WARNING: possible irq lock inversion", NULL },
	{ CRASH_LOCKDEP, "WARNING: inconsistent lock state", NULL },
	{ CRASH_LOCKDEP, "WARNING: suspicious RCU usage", NULL },
	{ CRASH_LOCKDEP, "WARNING: bad unlock balance", NULL },
	{ CRASH_LOCKDEP, "WARNING: bad contention", NULL },
	{ CRASH_LOCKDEP, "WARNING: held lock freed", NULL },
	{ CRASH_LOCKDEP, "WARNING: lock held when returning to user space", NULL },
	{ CRASH_LOCKDEP, "WARNING: Nested lock was not taken", NULL },
	{ CRASH_LOCKDEP, "WARNING: ", "-> HARDIRQ-" },
	{ CRASH_LOCKDEP, "WARNING: ", "-> SOFTIRQ-" },
	{ CRASH_LOCKDEP, "WARNING: ", "-> RECLAIM_FS-" },
	{ CRASH_LOCKDEP, "[ INFO: possible ", NULL },
	{ CRASH_LOCKDEP, "[ INFO: inconsistent lock state", NULL },
	{ CRASH_LOCKDEP, "[ INFO: suspicious RCU usage", NULL },
	{ CRASH_LOCKDEP, "[ INFO: ", "-> HARDIRQ-" },
	{ CRASH_LOCKDEP, "[ INFO: ", "-> SOFTIRQ-" },
	{ CRASH_LOCKDEP, "[ BUG: ", " ]" },

	/* An oops' first lines: what x86, then arm64 says. */
	{ CRASH_OOPS, "BUG: unable to handle ", NULL },
	{ CRASH_OOPS, "BUG: kernel NULL pointer dereference", NULL },
	{ CRASH_OOPS, "kernel tried to execute ", NULL },
	{ CRASH_OOPS, "unable to execute userspace code ", NULL },
	{ CRASH_OOPS, "Oops: ", NULL },
	{ CRASH_OOPS, "general protection fault", " [#" },
	{ CRASH_OOPS, "invalid opcode: ", " [#" },
	{ CRASH_OOPS, "divide error: ", " [#" },
	{ CRASH_OOPS, "stack segment: ", " [#" },
	{ CRASH_OOPS, "segment not present: ", " [#" },
	{ CRASH_OOPS, "invalid TSS: ", " [#" },
	{ CRASH_OOPS, "alignment check: ", " [#" },
	{ CRASH_OOPS, "int3: ", " [#" },
	{ CRASH_OOPS, "overflow: ", " [#" },
	{ CRASH_OOPS, "bounds: ", " [#" },
	{ CRASH_OOPS, "double fault: ", " [#" },
	{ CRASH_OOPS, "Bad pagetable: ", " [#" },
	{ CRASH_OOPS, "control protection fault: ", " [#" },
	{ CRASH_OOPS, "PANIC: double fault", NULL },
	{ CRASH_OOPS, "traps: PANIC: double fault", NULL },
	{ CRASH_OOPS, "traps: Missing ENDBR", NULL },
	{ CRASH_OOPS, "Internal error: ", " [#" },
	{ CRASH_OOPS, "Unable to handle kernel ", NULL },
	{ CRASH_OOPS, "Unhandled 64-bit el1", NULL },
	{ CRASH_OOPS, "Bad mode in ", " handler detected" },
	{ CRASH_OOPS, "SError Interrupt on CPU", NULL },
	{ CRASH_OOPS, "Insufficient stack space to handle exception", NULL },

	{ CRASH_BUG, "kernel BUG at ", NULL },
	{ CRASH_BUG, "BUG: ", NULL },
	/* The slab allocator: "BUG kmalloc-64 (Not tainted): Redzone overwritten". */
	{ CRASH_BUG, "BUG ", "ainted" },

	{ CRASH_WARN, "WARNING: CPU: ", " PID: " },
	{ CRASH_WARN, "WARNING: ", "+0x" },
	{ CRASH_WARN, "WARNING: kernel stack ", NULL },
};

const char *crash_kind_name(enum crash_kind kind)
{
	static const char *const names[CRASH_KINDS_NR] = {
		[CRASH_NONE] = "none",
		[CRASH_PANIC] = "panic",
		[CRASH_OOPS] = "oops",
		[CRASH_BUG] = "bug",
		[CRASH_WARN] = "warning",
		[CRASH_KASAN] = "kasan",
		[CRASH_KCSAN] = "kcsan",
		[CRASH_KFENCE] = "kfence",
		[CRASH_UBSAN] = "ubsan",
		[CRASH_LOCKDEP] = "lockdep",
		[CRASH_HUNG_TASK] = "hung-task",
		[CRASH_SOFT_LOCKUP] = "soft-lockup",
		[CRASH_HARD_LOCKUP] = "hard-lockup",
		[CRASH_RCU_STALL] = "rcu-stall",
	};

	return names[kind];
}

/* Returns what follows `prefix`, or NULL. */
static const char *skip(const char *s, const char *prefix)
{
	size_t len = strlen(prefix);

	return strncmp(s, prefix, len) ? NULL : s + len;
}

/* "[   12.345678]": what printk puts before a message. Returns what follows, or NULL. */
static const char *skip_time(const char *s)
{
	if (*s++ != '[')
		return NULL;
	s += strspn(s, " ");
	size_t n = strspn(s, "0123456789");
	if (!n || s[n] != '.')
		return NULL;
	s += n + 1;
	n = strspn(s, "0123456789");
	return n && s[n] == ']' ? s + n + 1 : NULL;
}

/* "[    T1]" or "[    C0]", with CONFIG_PRINTK_CALLER. */
static const char *skip_caller(const char *s)
{
	const char *p = s + strspn(s, " ");

	if (*p++ != '[')
		return s;
	p += strspn(p, " ");
	if (*p != 'T' && *p != 'C')
		return s;
	p++;
	size_t n = strspn(p, "0123456789");
	return n && p[n] == ']' ? p + n + 1 : s;
}

static const char *skip_level(const char *s)
{
	if (s[0] == '<' && isdigit((unsigned char)s[1]) && s[2] == '>')
		return s + 3;
	return s;
}

void kline_parse(const char *line, struct kline *k)
{
	const char *begin = skip_level(line), *text = NULL, *s;

	*k = (struct kline){ .text = begin };
	for (s = strchr(begin, '['); s && !text; s = strchr(s + 1, '[')) {
		text = skip_time(s);
		if (text)
			k->at_start = s == begin;
	}
	if (!text)
		return;
	k->stamped = true;
	text = skip_caller(text);
	k->text = text + strspn(text, " ");
}

/* As the kernel does, it takes the last one of several; "--" ends what is the kernel's. */
bool classify_told_stamps(const char *cmdline)
{
	static const char name[] = "printk.time";
	bool told = false;

	for (const char *word = cmdline; *word; word += strspn(word, " ")) {
		size_t len = strcspn(word, " ");
		const char *value = skip(word, name);

		if (len == 2 && skip(word, "--"))
			break;
		if (value && len == sizeof(name) - 1)
			told = true;
		else if (value && *value == '=')
			told = strspn(value + 1, "1yYtT") || skip(value + 1, "on");
		word += len;
	}
	return told;
}

enum crash_kind classify(const char *text)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const char *rest;

		if (rows[i].starts[0] != *text)
			continue;
		rest = skip(text, rows[i].starts);
		if (rest && (!rows[i].has || strstr(rest, rows[i].has)))
			return rows[i].kind;
	}
	return CRASH_NONE;
}

bool classify_is_init(const char *text)
{
	const char *rest = skip(text, "Run ");

	return rest && strstr(rest, " as init process");
}

/* The reason that unpacking an initramfs failed for, "compression method zstd not configured" being one. */
static void explain_unpacking(const char *reason, char hint[CLASSIFY_HINT_LEN])
{
	const char *method = skip(reason, "compression method ");
	size_t len = method ? strcspn(method, " ") : 0;

	if (!method || !skip(method + len, " not configured") || len > 16) {
		snprintf(hint, CLASSIFY_HINT_LEN, "the kernel could not unpack the initrd: %.*s",
			 (int)strcspn(reason, ")"), reason);
		return;
	}
	char option[17] = "";
	for (size_t i = 0; i < len; i++)
		option[i] = (char)toupper((unsigned char)method[i]);
	snprintf(hint, CLASSIFY_HINT_LEN,
		 "the kernel cannot unpack an initrd that is compressed with %.*s: it lacks "
		 "CONFIG_RD_%s",
		 (int)len, method, option);
}

/* "Failed to execute /init (error -8)" */
static bool explain_execution(const char *name, char hint[CLASSIFY_HINT_LEN])
{
	int len = (int)strcspn(name, " ");

	if (skip(name + len, " (error -8)"))
		snprintf(hint, CLASSIFY_HINT_LEN,
			 "the kernel cannot execute %.*s: a program needs CONFIG_BINFMT_ELF, a "
			 "script "
			 "CONFIG_BINFMT_SCRIPT",
			 MIN(len, 80), name);
	else if (skip(name + len, " (error -2)"))
		snprintf(hint, CLASSIFY_HINT_LEN,
			 "the initrd lacks the interpreter that %.*s names", MIN(len, 80), name);
	else
		return false;
	return true;
}

bool classify_no_init(const char *text, char hint[CLASSIFY_HINT_LEN])
{
	const char *rest;

	if ((rest = skip(text, "Initramfs unpacking failed: ")) ||
	    (rest = skip(text, "rootfs image is not initramfs ("))) {
		explain_unpacking(rest, hint);
		return true;
	}
	if ((rest = skip(text, "Failed to execute ")))
		return explain_execution(rest, hint);
	if (!skip(text, "Kernel panic - not syncing: VFS: Unable to mount root fs"))
		return false;
	snprintf(hint, CLASSIFY_HINT_LEN,
		 "the kernel found no init in an initramfs: it lacks CONFIG_BLK_DEV_INITRD, or the "
		 "program to start is not in the initrd");
	return true;
}

bool classify_is_plain_boot(const char *line)
{
	return skip(line, "Linux version ") || skip(line, "Booting Linux on physical CPU ") ||
	       skip(line, "early console in ") || skip(line, "Decompressing Linux");
}

/* Functions that make a report; those that end in a star are prefixes. */
static const char *const plumbing[] = {
	"dump_stack*",
	"__dump_stack",
	"show_stack",
	"dump_backtrace*",
	"show_regs*",
	"print_report",
	"panic",
	"vpanic",
	"nmi_panic",
	"__warn*",
	"report_bug",
	"warn_slowpath*",
	"kasan_*",
	"__kasan_*",
	"__asan_*",
	"print_address_description*",
	"kcsan_*",
	"__tsan_*",
	"ubsan_*",
	"__ubsan_*",
	"oops_end",
	"die",
	"die_addr",
	"__die*",
	"kfence_*",
	"page_fault_oops",
	"print_circular_bug",
};

static bool is_plumbing(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(plumbing); i++) {
		size_t len = strcspn(plumbing[i], "*");

		if (!strncmp(name, plumbing[i], len) && (plumbing[i][len] || !name[len]))
			return true;
	}
	return false;
}

/* "[<ffffffff81234567>] ", which kernels before 4.10 print, once or twice. */
static const char *skip_addresses(const char *s)
{
	const char *p;

	s += strspn(s, " ");
	while ((p = skip(s, "[<"))) {
		p += strspn(p, "0123456789abcdef");
		if (!(p = skip(p, ">]")))
			break;
		s = p + strspn(p, " ");
	}
	return s;
}

/* "name+0x12/0x34": fills `name`. */
static bool parse_symbol(const char *s, char name[TRACE_NAME_LEN])
{
	size_t len = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.$");
	const char *p = skip(s + len, "+0x");

	if (!len || !p || isdigit((unsigned char)*s))
		return false;
	p += strspn(p, "0123456789abcdef");
	if (*p != '/')
		return false;
	size_t n = strcspn(s + 1, ".+") + 1;
	n = MIN(n, (size_t)TRACE_NAME_LEN - 1);
	memcpy(name, s, n);
	name[n] = 0;
	return true;
}

enum trace_part classify_trace(const char *text, char name[TRACE_NAME_LEN])
{
	static const char *const pcs[] = { "RIP: 0010:", "pc : ", "PC is at " };
	const char *s = text + strspn(text, " ");

	if (skip(s, "Call Trace:") || skip(s, "Call trace:"))
		return TRACE_HEAD;
	for (size_t i = 0; i < ARRAY_SIZE(pcs); i++) {
		const char *p = skip(s, pcs[i]);

		if (p && parse_symbol(skip_addresses(p), name))
			return TRACE_PC;
	}
	s = skip_addresses(s);
	if (*s == '<' || skip(s, "? "))
		return TRACE_MARK;
	if (!parse_symbol(s, name))
		return TRACE_OTHER;
	return is_plumbing(name) ? TRACE_MARK : TRACE_FRAME;
}
