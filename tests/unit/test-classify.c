/* SPDX-License-Identifier: GPL-2.0 */
// LINK: chr/classify.c
#include <string.h>

#include <lkvm/classify.h>
#include <lkvm/util.h>

#include "unit.h"

/* Where a line's message is, and whose it is. */
static const struct {
	const char *line, *text;
	bool stamped, at_start;
} lines[] = {
	{ "Kernel panic - not syncing: x", "Kernel panic - not syncing: x", false, false },
	{ "[    1.234567] text", "text", true, true },
	{ "[12345.678901] text", "text", true, true },
	{ "[ 1234.000001][    T1] text", "text", true, true },
	{ "[ 1234.000001][T12345] text", "text", true, true },
	{ "[ 1234.000001] [    C0] text", "text", true, true },
	{ "[    1.000000]  <TASK>", "<TASK>", true, true },
	{ "<0>[    1.0] text", "text", true, true },
	{ "<6>text", "text", false, false },
	{ "<66>text", "<66>text", false, false },
	{ "# [   12.345678] text", "text", true, false },
	{ "[] [   12.345678] text", "text", true, false },
	{ "[    5.0] systemd[1]: [    1.0] text", "systemd[1]: [    1.0] text", true, true },
	{ "[  OK  ] Started", "[  OK  ] Started", false, false },
	{ "[1] text", "[1] text", false, false },
	{ "[.5] text", "[.5] text", false, false },
	{ "[5.] text", "[5.] text", false, false },
	{ "[5.5 text", "[5.5 text", false, false },
	{ "[    1.0] [ INFO: x ]", "[ INFO: x ]", true, true },
	{ "[    1.0][X1] text", "[X1] text", true, true },
	{ "[", "[", false, false },
	{ "<0>", "", false, false },
	{ "", "", false, false },
};

START_TEST(a_line_is_taken_apart)
{
	struct kline k;

	kline_parse(lines[_i].line, &k);
	ck_assert_str_eq(k.text, lines[_i].text);
	ck_assert_int_eq(k.stamped, lines[_i].stamped);
	ck_assert_int_eq(k.at_start, lines[_i].at_start);
}
END_TEST

/* First lines of reports, as kernels 4.4 to 6.x print them, and lines that are none. */
static const struct {
	enum crash_kind kind;
	const char *text;
} messages[] = {
	{ CRASH_PANIC,
	  "Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)" },
	{ CRASH_PANIC, "Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b" },
	{ CRASH_PANIC, "PANIC: early exception 0x0e IP 10:ffffffff8308a1c2 error 0 cr2 0x8" },
	{ CRASH_NONE, "kernel panic - not syncing" },
	{ CRASH_NONE, "---[ end Kernel panic - not syncing: x ]---" },
	{ CRASH_NONE, "Command line: x Kernel panic - not syncing" },

	{ CRASH_OOPS, "BUG: unable to handle kernel NULL pointer dereference at           (null)" },
	{ CRASH_OOPS, "BUG: unable to handle page fault for address: ffffc90000a00000" },
	{ CRASH_OOPS, "BUG: kernel NULL pointer dereference, address: 0000000000000008" },
	{ CRASH_OOPS, "Oops: 0002 [#1] SMP PTI" },
	{ CRASH_OOPS, "Oops: Oops: 0000 [#1] PREEMPT SMP NOPTI" },
	{ CRASH_OOPS, "Oops: general protection fault, probably for non-canonical address "
		      "0xdead000000000122: 0000 [#1] SMP" },
	{ CRASH_OOPS, "general protection fault: 0000 [#1] SMP KASAN" },
	{ CRASH_OOPS, "general protection fault, probably for non-canonical address 0x1: 0000 [#1] "
		      "PREEMPT SMP" },
	{ CRASH_OOPS, "invalid opcode: 0000 [#1] SMP" },
	{ CRASH_OOPS, "divide error: 0000 [#1] SMP PTI" },
	{ CRASH_OOPS, "stack segment: 0000 [#1] SMP" },
	{ CRASH_OOPS, "int3: 0000 [#1] SMP" },
	{ CRASH_OOPS, "traps: PANIC: double fault, error_code: 0x0" },
	{ CRASH_OOPS, "traps: Missing ENDBR: foo+0x0/0x10" },
	{ CRASH_OOPS, "kernel tried to execute NX-protected page - exploit attempt? (uid: 0)" },
	{ CRASH_OOPS, "Internal error: Oops: 96000005 [#1] PREEMPT SMP" },
	{ CRASH_OOPS, "Internal error: Oops - BUG: 00000000f2000800 [#1] PREEMPT SMP" },
	{ CRASH_OOPS, "Internal error: UBSAN: out of bounds: 00000000f2005512 [#1] SMP" },
	{ CRASH_OOPS,
	  "Unable to handle kernel paging request at virtual address ffff800010a30000" },
	{ CRASH_OOPS,
	  "Unable to handle kernel NULL pointer dereference at virtual address 0000000000000000" },
	{ CRASH_OOPS,
	  "Unhandled 64-bit el1h sync exception on CPU1, ESR 0x0000000002000000 -- Unknown" },
	{ CRASH_OOPS, "Bad mode in Error handler detected on CPU0, code 0xbf000002 -- SError" },
	{ CRASH_OOPS, "SError Interrupt on CPU0, code 0x00000000be000011 -- SError" },
	{ CRASH_NONE, "traps: a.out[321] general protection fault ip:401136 sp:7ffc error:0 in "
		      "a.out[401000+1000]" },
	{ CRASH_NONE,
	  "a.out[321]: segfault at 0 ip 0000000000401136 sp 00007ffc error 4 in a.out" },
	{ CRASH_NONE, "invalid opcode in a driver's table" },

	{ CRASH_BUG, "kernel BUG at mm/slub.c:379!" },
	{ CRASH_BUG, "BUG: scheduling while atomic: swapper/0/1/0x00000002" },
	{ CRASH_BUG,
	  "BUG: sleeping function called from invalid context at kernel/locking/mutex.c:580" },
	{ CRASH_BUG, "BUG: Bad page state in process kworker/0:1  pfn:3fa2d" },
	{ CRASH_BUG, "BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0 stuck for 31s!" },
	{ CRASH_BUG, "BUG kmalloc-64 (Not tainted): Redzone overwritten" },
	{ CRASH_BUG, "BUG kmalloc-64 (Tainted: G        W        ): Poison overwritten" },
	{ CRASH_NONE, "BUG reports go to linux-mm" },
	{ CRASH_NONE, "ACPI BIOS Error (bug): Could not resolve symbol" },

	{ CRASH_WARN,
	  "WARNING: CPU: 0 PID: 1 at kernel/sched/core.c:3164 do_set_cpus_allowed+0x6f/0x80" },
	{ CRASH_WARN, "WARNING: CPU: 3 PID: 77 at /build/linux/drivers/misc/lkdtm/bugs.c:91 "
		      "0xffffffffc0341234" },
	{ CRASH_WARN,
	  "WARNING: drivers/misc/lkdtm/bugs.c:112 at lkdtm_WARNING+0x15/0x20, CPU#0: sh/71" },
	{ CRASH_WARN,
	  "WARNING: kernel stack regs at (____ptrval____) in modprobe:123 has bad 'bp' value" },
	{ CRASH_NONE, "WARNING: Kernel not compiled with something" },
	{ CRASH_NONE, "RETBleed: WARNING: Spectre v2 mitigation leaves CPU vulnerable to RETBleed "
		      "attacks, data leaks possible!" },

	{ CRASH_KASAN,
	  "BUG: KASAN: slab-out-of-bounds in kmalloc_oob_right+0xb0/0xe0 [test_kasan]" },
	{ CRASH_KASAN, "KASAN: null-ptr-deref in range [0x0000000000000000-0x0000000000000007]" },
	{ CRASH_KASAN, "BUG: KMSAN: uninit-value in __list_del_entry_valid+0x1a9/0x2e0" },
	{ CRASH_KCSAN, "BUG: KCSAN: data-race in __fput / generic_permission" },
	{ CRASH_KFENCE, "BUG: KFENCE: use-after-free read in test_use_after_free_read+0xb3/0x143" },
	{ CRASH_UBSAN, "UBSAN: Undefined behaviour in lib/string.c:12:3" },
	{ CRASH_UBSAN, "UBSAN: array-index-out-of-bounds in drivers/foo.c:12:3" },
	{ CRASH_NONE, "kasan: KernelAddressSanitizer initialized" },

	{ CRASH_LOCKDEP, "[ INFO: possible circular locking dependency detected ]" },
	{ CRASH_LOCKDEP, "WARNING: possible circular locking dependency detected" },
	{ CRASH_LOCKDEP, "WARNING: possible recursive locking detected" },
	{ CRASH_LOCKDEP, "WARNING: HARDIRQ-safe -> HARDIRQ-unsafe lock order detected" },
	{ CRASH_LOCKDEP, "[ INFO: SOFTIRQ-safe -> SOFTIRQ-unsafe lock order detected ]" },
	{ CRASH_LOCKDEP, "WARNING: inconsistent lock state" },
	{ CRASH_LOCKDEP, "WARNING: suspicious RCU usage" },
	{ CRASH_LOCKDEP, "[ INFO: suspicious RCU usage. ]" },
	{ CRASH_LOCKDEP, "WARNING: bad unlock balance detected!" },
	{ CRASH_LOCKDEP, "[ BUG: bad unlock balance detected! ]" },
	{ CRASH_LOCKDEP, "[ BUG: Invalid wait context ]" },
	{ CRASH_LOCKDEP, "WARNING: lock held when returning to user space!" },

	{ CRASH_HUNG_TASK, "INFO: task kworker/0:1:12 blocked for more than 120 seconds." },
	{ CRASH_HUNG_TASK,
	  "INFO: task a name with spaces:123 blocked in I/O wait for more than 122 seconds." },
	{ CRASH_NONE, "INFO: task queue is empty" },
	{ CRASH_SOFT_LOCKUP, "NMI watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [insmod:77]" },
	{ CRASH_SOFT_LOCKUP, "watchdog: BUG: soft lockup - CPU#1 stuck for 26s! [swapper/1:0]" },
	{ CRASH_HARD_LOCKUP, "NMI watchdog: Watchdog detected hard LOCKUP on cpu 0" },
	{ CRASH_HARD_LOCKUP, "watchdog: Watchdog detected hard LOCKUP on cpu 0" },
	{ CRASH_HARD_LOCKUP, "watchdog: CPU3: Watchdog detected hard LOCKUP on cpu 3" },
	{ CRASH_NONE, "watchdog: Delayed init of the lockup detector failed: -19" },
	{ CRASH_NONE, "NMI watchdog: Enabled. Permanently consumes one hw-PMU counter." },
	{ CRASH_RCU_STALL, "INFO: rcu_sched detected stalls on CPUs/tasks:" },
	{ CRASH_RCU_STALL, "INFO: rcu_sched self-detected stall on CPU" },
	{ CRASH_RCU_STALL, "rcu: INFO: rcu_preempt self-detected stall on CPU" },
	{ CRASH_RCU_STALL,
	  "rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { 0-.... }" },
	{ CRASH_RCU_STALL, "INFO: rcu_tasks detected stalls on tasks:" },
	{ CRASH_NONE, "rcu: Hierarchical RCU implementation." },
	{ CRASH_NONE, "" },
};

START_TEST(messages_have_a_kind)
{
	enum crash_kind kind = classify(messages[_i].text);

	ck_assert_msg(kind == messages[_i].kind, "%s: %s", messages[_i].text,
		      crash_kind_name(kind));
}
END_TEST

START_TEST(every_kind_has_a_name_and_a_message)
{
	for (int kind = CRASH_NONE; kind < CRASH_KINDS_NR; kind++) {
		bool tested = false;

		ck_assert_ptr_nonnull(crash_kind_name(kind));
		for (size_t i = 0; i < ARRAY_SIZE(messages); i++)
			tested |= messages[i].kind == (enum crash_kind)kind;
		ck_assert_msg(tested, "%s", crash_kind_name(kind));
	}
}
END_TEST

static const struct {
	const char *text;
	enum trace_part part;
	const char *name;
} traces[] = {
	{ "Call Trace:", TRACE_HEAD, NULL },
	{ "Call trace:", TRACE_HEAD, NULL },
	{ "<TASK>", TRACE_MARK, NULL },
	{ "</IRQ>", TRACE_MARK, NULL },
	{ "sysrq_handle_crash+0x16/0x20", TRACE_FRAME, "sysrq_handle_crash" },
	{ "  sysrq_handle_crash+0x16/0x20", TRACE_FRAME, "sysrq_handle_crash" },
	{ "? sysrq_handle_crash+0x16/0x20", TRACE_MARK, NULL },
	{ "[<ffffffff814f1e36>] sysrq_handle_crash+0x16/0x20", TRACE_FRAME, "sysrq_handle_crash" },
	{ "[<ffffffff814f1e36>] ? write+0x1/0x2", TRACE_MARK, NULL },
	{ "foo.isra.0+0x1/0x20 [mod]", TRACE_FRAME, "foo" },
	{ "foo.constprop.0.cold+0x1/0x20", TRACE_FRAME, "foo" },
	{ "el0_svc+0x2c/0x54 (P)", TRACE_FRAME, "el0_svc" },
	{ "__x64_sys_write+0xab/0x1f0", TRACE_FRAME, "__x64_sys_write" },
	{ "dump_stack_lvl+0x44/0x5c", TRACE_MARK, NULL },
	{ "dump_backtrace+0x0/0x1b0", TRACE_MARK, NULL },
	{ "panic+0x118/0x2ed", TRACE_MARK, NULL },
	{ "panicking+0x118/0x2ed", TRACE_FRAME, "panicking" },
	{ "__warn.cold+0x8d/0xf0", TRACE_MARK, NULL },
	{ "kasan_report+0xaa/0xe0", TRACE_MARK, NULL },
	{ "RIP: 0010:sysrq_handle_crash+0x16/0x20", TRACE_PC, "sysrq_handle_crash" },
	{ "RIP: 0010:[<ffffffff814f1e36>]  [<ffffffff814f1e36>] sysrq_handle_crash+0x16/0x20",
	  TRACE_PC, "sysrq_handle_crash" },
	{ "pc : sysrq_handle_crash+0x20/0x30", TRACE_PC, "sysrq_handle_crash" },
	{ "PC is at sysrq_handle_crash+0x20/0x30", TRACE_PC, "sysrq_handle_crash" },
	{ "RIP: 0033:0x7f3fd6d14a90", TRACE_OTHER, NULL },
	{ "RIP: 0010:0xffffffffc0001000", TRACE_OTHER, NULL },
	{ "0x7f3fd6d14a90+0x1/0x2", TRACE_OTHER, NULL },
	{ "foo+0x1", TRACE_OTHER, NULL },
	{ "foo", TRACE_OTHER, NULL },
	{ "+0x1/0x2", TRACE_OTHER, NULL },
	{ "[<zz>] foo+0x1/0x2", TRACE_OTHER, NULL },
	{ "[<", TRACE_OTHER, NULL },
	{ "", TRACE_OTHER, NULL },
	{ "a_name_that_is_longer_than_what_is_kept_of_a_function_s_name+0x1/0x2", TRACE_FRAME,
	  "a_name_that_is_longer_than_what_is_kept_of_a_fu" },
};

START_TEST(traces_are_read)
{
	char name[TRACE_NAME_LEN] = "";
	enum trace_part part = classify_trace(traces[_i].text, name);

	ck_assert_msg(part == traces[_i].part, "%s: %d", traces[_i].text, part);
	if (traces[_i].name)
		ck_assert_str_eq(name, traces[_i].name);
}
END_TEST

START_TEST(init_and_plain_kernels)
{
	ck_assert(classify_is_init("Run /init as init process"));
	ck_assert(classify_is_init("Run /sbin/init as init process"));
	ck_assert(!classify_is_init("Run for your life"));
	ck_assert(!classify_is_init("we Run /init as init process"));
	ck_assert(classify_is_plain_boot("Linux version 6.1.0 (gcc) #1 SMP"));
	ck_assert(classify_is_plain_boot("early console in extract_kernel"));
	ck_assert(!classify_is_plain_boot("# Linux version"));
}
END_TEST

static const struct {
	const char *cmdline;
	bool told;
} cmdlines[] = {
	{ "", false },
	{ "quiet", false },
	{ "printk.time", true },
	{ "a printk.time=1 b", true },
	{ "printk.time=y", true },
	{ "printk.time=on", true },
	{ "printk.time=0", false },
	{ "printk.time=off", false },
	{ "printk.time=", false },
	{ "printk.time=1 printk.time=n", false },
	{ "printk.time=0  printk.time", true },
	{ "printk.timex", false },
	{ "xprintk.time=1", false },
	{ "--x printk.time=1", true },
	{ "-- printk.time=1", false },
	{ "printk.time=1 -- printk.time=0", true },
};

START_TEST(time_stamps_by_command_line)
{
	ck_assert_int_eq(classify_told_stamps(cmdlines[_i].cmdline), cmdlines[_i].told);
}
END_TEST

/* Of all prefixes of all lines nothing behind the end is read. */
START_TEST(cut_lines_are_not_overrun)
{
	for (size_t i = 0; i < ARRAY_SIZE(lines) + ARRAY_SIZE(messages) + ARRAY_SIZE(traces); i++) {
		const char *line =
			i < ARRAY_SIZE(lines) ? lines[i].line
			: i < ARRAY_SIZE(lines) + ARRAY_SIZE(messages)
				? messages[i - ARRAY_SIZE(lines)].text
				: traces[i - ARRAY_SIZE(lines) - ARRAY_SIZE(messages)].text;

		for (size_t len = 0; len <= strlen(line); len++) {
			char *copy = strndup(line, len), name[TRACE_NAME_LEN];
			struct kline k;

			kline_parse(copy, &k);
			ck_assert(k.text >= copy && k.text <= copy + len);
			classify(k.text);
			classify_trace(k.text, name);
			free(copy);
		}
	}
}
END_TEST

/*
 * Lines made to make a search start again and again. What is quadratic takes an hour for a line of this length, and the
 * test's time limit ends it.
 */
START_TEST(time_is_linear)
{
	static const char *const patterns[] = {
		"[",     "[ ",        "[1",          "[1.",  "[1.1", "[1.1]", "[<",
		"[<a>]", "WARNING: ", "INFO: task ", "a+0x", "a.",   "BUG: ", " ",
	};
	const size_t len = 4 << 20;
	char *line = malloc(len + 1), name[TRACE_NAME_LEN];

	for (size_t p = 0; p < ARRAY_SIZE(patterns); p++) {
		size_t period = strlen(patterns[p]);
		struct kline k;

		for (size_t i = 0; i < len; i++)
			line[i] = patterns[p][i % period];
		line[len] = 0;
		kline_parse(line, &k);
		classify(k.text);
		classify(line);
		classify_trace(k.text, name);
		classify_trace(line, name);
	}
	free(line);
}
END_TEST

/* NULL: it is no such line. */
static const struct {
	const char *text, *hint;
} no_inits[] = {
	{ "Initramfs unpacking failed: compression method zstd not configured",
	  "the kernel cannot unpack an initrd that is compressed with zstd: it lacks "
	  "CONFIG_RD_ZSTD" },
	{ "rootfs image is not initramfs (compression method lz4 not configured); looks like an "
	  "initrd",
	  "the kernel cannot unpack an initrd that is compressed with lz4: it lacks "
	  "CONFIG_RD_LZ4" },
	{ "rootfs image is not initramfs (no cpio magic); looks like an initrd",
	  "the kernel could not unpack the initrd: no cpio magic" },
	{ "Initramfs unpacking failed: junk in compressed archive",
	  "the kernel could not unpack the initrd: junk in compressed archive" },
	{ "Initramfs unpacking failed: compression method a-name-of-no-method not configured",
	  "the kernel could not unpack the initrd: compression method a-name-of-no-method not "
	  "configured" },
	{ "Failed to execute /init (error -8)",
	  "the kernel cannot execute /init: a program needs CONFIG_BINFMT_ELF, a script "
	  "CONFIG_BINFMT_SCRIPT" },
	{ "Failed to execute /init (error -2)",
	  "the initrd lacks the interpreter that /init names" },
	{ "Failed to execute /init (error -12)", NULL },
	{ "Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)",
	  "the kernel found no init in an initramfs: it lacks CONFIG_BLK_DEV_INITRD, or the "
	  "program "
	  "to start is not in the initrd" },
	{ "Kernel panic - not syncing: sysrq triggered crash", NULL },
	{ "Run /init as init process", NULL },
	{ "", NULL },
};

START_TEST(kernels_that_find_no_init)
{
	char hint[CLASSIFY_HINT_LEN] = "";

	ck_assert_int_eq(classify_no_init(no_inits[_i].text, hint), no_inits[_i].hint != NULL);
	ck_assert_str_eq(hint, no_inits[_i].hint ?: "");
	for (size_t len = strlen(no_inits[_i].text); len--;) {
		char *copy = strndup(no_inits[_i].text, len);

		classify_no_init(copy, hint);
		free(copy);
	}
}
END_TEST

UNIT_SUITE("classify", {
	tcase_add_loop_test(tc, kernels_that_find_no_init, 0, ARRAY_SIZE(no_inits));
	tcase_add_loop_test(tc, a_line_is_taken_apart, 0, ARRAY_SIZE(lines));
	tcase_add_loop_test(tc, messages_have_a_kind, 0, ARRAY_SIZE(messages));
	tcase_add_test(tc, every_kind_has_a_name_and_a_message);
	tcase_add_loop_test(tc, traces_are_read, 0, ARRAY_SIZE(traces));
	tcase_add_test(tc, init_and_plain_kernels);
	tcase_add_loop_test(tc, time_stamps_by_command_line, 0, ARRAY_SIZE(cmdlines));
	tcase_add_test(tc, cut_lines_are_not_overrun);
	tcase_add_test(tc, time_is_linear);
})
