/* SPDX-License-Identifier: GPL-2.0 */
// LINK: chr/conlog.c chr/classify.c util/match.c util/util.c util/err.c
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include <lkvm/conlog.h>
#include <lkvm/util.h>

#include "unit.h"

static struct conlog c;
static struct match fail_on, until_on;

static struct seen {
	unsigned int crashes, inits, matches;
	enum crash_kind kind;
	char text[CONLOG_LINE + 1], line[CONLOG_LINE + 1];
	const char *pattern;
	bool fail;
} seen;

static void on_crash(void *arg, enum crash_kind kind, const char *text)
{
	struct seen *s = arg;

	s->crashes++;
	s->kind = kind;
	strcpy(s->text, text);
}

static void on_init(void *arg)
{
	((struct seen *)arg)->inits++;
}

static void on_matched(void *arg, bool fail, const char *pattern, const char *line)
{
	struct seen *s = arg;

	s->matches++;
	s->fail = fail;
	s->pattern = pattern;
	strcpy(s->line, line);
}

static const struct conlog_ops ops = { on_crash, on_init, on_matched };

static void set_up(void)
{
	memset(&seen, 0, sizeof(seen));
	conlog_init(&c, &ops, &seen, &fail_on, &until_on, false);
}

static void tear_down(void)
{
	conlog_release(&c);
	match_release(&fail_on);
	match_release(&until_on);
}

static bool feed(const char *s, size_t piece)
{
	bool open = false;

	for (size_t n = strlen(s), len; n; n -= len, s += len) {
		len = MIN(n, piece);
		open = conlog_feed(&c, (const uint8_t *)s, len);
	}
	return open;
}

static bool say(const char *s)
{
	return feed(s, SIZE_MAX);
}

static void want(struct match *m, const char *re)
{
	struct err err = ERR_INIT;

	ck_assert_msg(!match_add(m, "--x", re, &err), "%s", err.msg);
}

static struct conlog_report report(void)
{
	struct conlog_report r;

	conlog_report(&c, &r);
	return r;
}

/* Crashes. */

START_TEST(a_panic_is_told_once_however_it_arrives)
{
	feed("booting\r\n[    1.0] Kernel panic - not syncing: one", _i + 1);
	ck_assert_uint_eq(seen.crashes, 0); /* the line may go on */
	feed(" and a half\r\n[    1.1] Kernel panic - not syncing: two\r\n", _i + 1);
	ck_assert_uint_eq(seen.crashes, 1);
	ck_assert_str_eq(seen.text, "Kernel panic - not syncing: one and a half");
}
END_TEST

/* Consoles, and the crash that is seen in them. */
static const struct {
	const char *text;
	enum crash_kind kind;
	unsigned int splats;
	const char *line;
	const char *frames; /* with a blank behind each */
} consoles[] = {
	/* Debian 12, x86, `echo c >/proc/sysrq-trigger`. */
	{ "[    3.100000] sysrq: Trigger a crash\r\n"
	  "[    3.100100] Kernel panic - not syncing: sysrq triggered crash\r\n"
	  "[    3.100200] CPU: 0 PID: 1 Comm: init Not tainted 6.1.0-18-cloud-amd64 #1  Debian "
	  "6.1.76-1\r\n"
	  "[    3.100300] Call Trace:\r\n"
	  "[    3.100400]  <TASK>\r\n"
	  "[    3.100500]  dump_stack_lvl+0x44/0x5c\r\n"
	  "[    3.100600]  panic+0x118/0x2ed\r\n"
	  "[    3.100700]  ? _printk+0x58/0x6f\r\n"
	  "[    3.100800]  sysrq_handle_crash+0x16/0x20\r\n"
	  "[    3.100900]  __handle_sysrq.cold+0x45/0x113\r\n"
	  "[    3.101000]  write_sysrq_trigger+0x24/0x40\r\n"
	  "[    3.101100]  proc_reg_write+0x52/0xa0\r\n"
	  "[    3.101200]  vfs_write+0xcb/0x3f0\r\n"
	  "[    3.101300]  ksys_write+0x6b/0xf0\r\n"
	  "[    3.101400]  </TASK>\r\n"
	  "[    3.101500] ---[ end Kernel panic - not syncing: sysrq triggered crash ]---\r\n",
	  CRASH_PANIC, 0, "Kernel panic - not syncing: sysrq triggered crash",
	  "sysrq_handle_crash __handle_sysrq write_sysrq_trigger proc_reg_write vfs_write " },
	/* An oops of 5.x that is fatal: the panic's own report has no trace. A warning before it is not its cause. */
	{ "[    1.000000] WARNING: CPU: 0 PID: 9 at kernel/a.c:1 early_warn+0x1/0x2\n"
	  "[    1.000100] RIP: 0010:early_warn+0x1/0x2\n"
	  "[    1.000200] Call Trace:\n"
	  "[    1.000300]  early_caller+0x1/0x2\n"
	  "[    1.000400] ---[ end trace 0000000000000000 ]---\n"
	  "[    2.000000] BUG: kernel NULL pointer dereference, address: 0000000000000000\n"
	  "[    2.000100] #PF: supervisor write access in kernel mode\n"
	  "[    2.000200] Oops: 0002 [#1] SMP PTI\n"
	  "[    2.000300] RIP: 0010:lkdtm_NULL+0x5/0x10 [lkdtm]\n"
	  "[    2.000400] Code: c3 66 90\n"
	  "[    2.000500] Call Trace:\n"
	  "[    2.000600]  lkdtm_do_action+0x1c/0x40 [lkdtm]\n"
	  "[    2.000700]  direct_entry+0xcd/0x140 [lkdtm]\n"
	  "[    2.000800] RIP: 0033:0x7f5c3e5d4a90\n"
	  "[    2.000900] Kernel panic - not syncing: Fatal exception\n"
	  "[    2.001000] Kernel Offset: disabled\n",
	  CRASH_PANIC, 2, "Kernel panic - not syncing: Fatal exception",
	  "lkdtm_NULL lkdtm_do_action direct_entry " },
	/* 4.4: addresses in the trace, the old order of RIP. */
	{ "[   10.000000] BUG: unable to handle kernel NULL pointer dereference at           "
	  "(null)\n"
	  "[   10.000100] IP: [<ffffffff814f1e36>] sysrq_handle_crash+0x16/0x20\n"
	  "[   10.000200] Oops: 0002 [#1] SMP \n"
	  "[   10.000300] RIP: 0010:[<ffffffff814f1e36>]  [<ffffffff814f1e36>] "
	  "sysrq_handle_crash+0x16/0x20\n"
	  "[   10.000400] Stack:\n"
	  "[   10.000500] Call Trace:\n"
	  "[   10.000600]  [<ffffffff814f25fa>] __handle_sysrq+0xea/0x140\n"
	  "[   10.000700]  [<ffffffff814f2a5f>] ? write_sysrq_trigger+0x2f/0x40\n"
	  "[   10.000800]  [<ffffffff8127d1bd>] proc_reg_write+0x3d/0x60\n"
	  "[   10.000900] Code: 00 00\n",
	  CRASH_OOPS, 1,
	  "BUG: unable to handle kernel NULL pointer dereference at           (null)",
	  "sysrq_handle_crash __handle_sysrq proc_reg_write " },
	/* arm64, with CONFIG_PRINTK_CALLER. */
	{ "[   20.000000][  T123] Unable to handle kernel NULL pointer dereference at virtual "
	  "address 0000000000000000\n"
	  "[   20.000100][  T123] Mem abort info:\n"
	  "[   20.000200][  T123] Internal error: Oops: 0000000096000044 [#1] PREEMPT SMP\n"
	  "[   20.000300][  T123] pc : sysrq_handle_crash+0x20/0x30\n"
	  "[   20.000400][  T123] lr : sysrq_handle_crash+0x14/0x30\n"
	  "[   20.000500][  T123] Call trace:\n"
	  "[   20.000600][  T123]  sysrq_handle_crash+0x20/0x30 (P)\n"
	  "[   20.000700][  T123]  __handle_sysrq+0x8c/0x1b0\n"
	  "[   20.000800][  T123] ---[ end trace 0000000000000000 ]---\n",
	  CRASH_OOPS, 1,
	  "Unable to handle kernel NULL pointer dereference at virtual address 0000000000000000",
	  "sysrq_handle_crash __handle_sysrq " },
	{ "[    5.000000] ==================================================================\n"
	  "[    5.000100] BUG: KASAN: slab-out-of-bounds in kmalloc_oob_right+0xb0/0xe0 "
	  "[test_kasan]\n"
	  "[    5.000200] Write of size 1 at addr ffff888008a8e07b by task kunit_try_catch/71\n"
	  "[    5.000300] \n"
	  "[    5.000400] Call Trace:\n"
	  "[    5.000500]  <TASK>\n"
	  "[    5.000600]  dump_stack_lvl+0x44/0x5c\n"
	  "[    5.000700]  print_report+0x16c/0x4a0\n"
	  "[    5.000800]  kasan_report+0xaa/0xe0\n"
	  "[    5.000900]  kmalloc_oob_right+0xb0/0xe0 [test_kasan]\n"
	  "[    5.001000]  kunit_try_run_case+0x9c/0x100\n"
	  "[    5.001100]  </TASK>\n"
	  "[    5.001200] \n"
	  "[    5.001300] Allocated by task 71:\n"
	  "[    5.001400]  kasan_save_stack+0x1e/0x40\n"
	  "[    5.001500]  not_this_one+0x1e/0x40\n",
	  CRASH_KASAN, 1,
	  "BUG: KASAN: slab-out-of-bounds in kmalloc_oob_right+0xb0/0xe0 [test_kasan]",
	  "kmalloc_oob_right kunit_try_run_case " },
	{ "[  242.000000] INFO: task cat:91 blocked for more than 120 seconds.\n"
	  "[  242.000100]       Not tainted 6.1.0 #1\n"
	  "[  242.000200] \"echo 0 > /proc/sys/kernel/hung_task_timeout_secs\" disables this "
	  "message.\n"
	  "[  242.000300] task:cat             state:D stack:0     pid:91    ppid:1      "
	  "flags:0x00000002\n"
	  "[  242.000400] Call Trace:\n"
	  "[  242.000500]  <TASK>\n"
	  "[  242.000600]  __schedule+0x34d/0x9e0\n"
	  "[  242.000700]  schedule+0x5a/0xd0\n"
	  "[  242.000800]  </TASK>\n",
	  CRASH_HUNG_TASK, 1, "INFO: task cat:91 blocked for more than 120 seconds.",
	  "__schedule schedule " },
	/* Two that follow each other; the first stays. */
	{ "[    1.000000] WARNING: CPU: 0 PID: 9 at kernel/a.c:1 a+0x1/0x2\n"
	  "[    1.000100] Call Trace:\n"
	  "[    1.000200]  a+0x1/0x2\n"
	  "[    1.000300] ---[ end trace 0000000000000000 ]---\n"
	  "[    1.000400] watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [b:1]\n"
	  "[    1.000500] RIP: 0010:b+0x1/0x2\n",
	  CRASH_WARN, 2, "WARNING: CPU: 0 PID: 9 at kernel/a.c:1 a+0x1/0x2", "a " },
	/* Without time stamps the beginning of the line must do. */
	{ "Linux version 4.4.0 (x@y) #1 SMP\n"
	  "Kernel panic - not syncing: No working init found.\n",
	  CRASH_PANIC, 0, "Kernel panic - not syncing: No working init found.", "" },
	/* dmesg on such a kernel has stamps, and must not hide the panic. */
	{ "Linux version 4.4.0 (x@y) #1 SMP\n[    0.000000] Linux version 4.4.0 (x@y) #1 SMP\n"
	  "Kernel panic - not syncing: Attempted to kill init!\n",
	  CRASH_PANIC, 0, "Kernel panic - not syncing: Attempted to kill init!", "" },
	/* "quiet": the first line of the kernel's is this. */
	{ "[    0.9] Kernel panic - not syncing: x\n", CRASH_PANIC, 0,
	  "Kernel panic - not syncing: x", "" },
	{ "~ # [    9.9] Kernel panic - not syncing: x\n", CRASH_PANIC, 0,
	  "Kernel panic - not syncing: x", "" },
	/* The prompt may come before anything of the kernel's. */
	{ "Linux version 6.1\n<0>Kernel panic - not syncing: x\n", CRASH_PANIC, 0,
	  "Kernel panic - not syncing: x", "" },
	/* Programs that print what a kernel would. */
	{ "[    0.000000] Linux version 6.1.0\n"
	  "Kernel panic - not syncing: fake\n<0>Kernel panic - not syncing: fake\n"
	  "WARNING: CPU: 0 PID: 9 at kernel/a.c:1 a+0x1/0x2\nBUG: KASAN: fake\n"
	  "echo '[   12.5] quoted' Kernel panic - not syncing: fake\n",
	  CRASH_NONE, 0, "", "" },
	/* It cannot teach a console with stamps that there are none. */
	{ "[    0.000000] Linux version 6.1.0\nLinux version 6.1.0\nKernel panic - not syncing: "
	  "fake\n",
	  CRASH_NONE, 0, "", "" },
	{ "[    1.0] ---[ end Kernel panic - not syncing: x ]---\n", CRASH_NONE, 0, "", "" },
};

static void check_console(int _i)
{
	struct conlog_report r = report();
	char frames[CRASH_FRAMES * (TRACE_NAME_LEN + 1) + 1] = "";

	for (unsigned int i = 0; i < r.crash.frames_nr; i++)
		sprintf(frames + strlen(frames), "%s ", r.crash.frames[i]);
	ck_assert_msg(r.crash.kind == consoles[_i].kind, "%d: %s", _i,
		      crash_kind_name(r.crash.kind));
	ck_assert_uint_eq(r.splats, consoles[_i].splats);
	ck_assert_str_eq(r.crash.line, consoles[_i].line);
	ck_assert_str_eq(frames, consoles[_i].frames);
}

START_TEST(crashes_are_seen_and_fakes_are_not)
{
	say(consoles[_i].text);
	conlog_end(&c);
	check_console(_i);
}
END_TEST

START_TEST(crashes_are_seen_byte_by_byte)
{
	feed(consoles[_i].text, 1);
	conlog_end(&c);
	check_console(_i);
}
END_TEST

/* With "quiet" a program's line may be the first. */
START_TEST(time_stamps_are_known_before_the_first)
{
	const char *fake = "Kernel panic - not syncing: fake\nBUG: fake\n";

	conlog_release(&c);
	conlog_init(&c, &ops, &seen, &fail_on, &until_on, true);
	say(fake);
	ck_assert_uint_eq(seen.crashes, 0);
	ck_assert_uint_eq(seen.inits, 1);
	conlog_restart(&c);
	say(fake);
	ck_assert_uint_eq(seen.crashes, 0);
	say("[    1.0] Kernel panic - not syncing: x\n");
	ck_assert_uint_eq(seen.crashes, 1);
}
END_TEST

/* A kernel that was told before it could listen. */
START_TEST(a_console_is_believed_before_the_command_line)
{
	conlog_release(&c);
	conlog_init(&c, &ops, &seen, &fail_on, &until_on, true);
	say("Linux version 4.4\nKernel panic - not syncing: x\n");
	ck_assert_uint_eq(seen.crashes, 1);
	conlog_restart(&c);
	say("BUG: fake\n");
	ck_assert_uint_eq(seen.crashes, 1);
}
END_TEST

START_TEST(a_long_line_is_cut_not_overrun)
{
	say("Kernel panic - not syncing: ");
	for (int i = 0; i < 3 * CONLOG_LINE; i++)
		conlog_feed(&c, (const uint8_t *)"a\0", 2);
	say("\n");
	ck_assert_uint_eq(seen.crashes, 1);
	ck_assert_uint_eq(strlen(seen.text), CONLOG_LINE);
	ck_assert_uint_eq(strlen(report().crash.line), CONLOG_CAUSE - 1);
}
END_TEST

START_TEST(a_crash_line_is_harmless)
{
	say("[    1.0] Kernel panic - not syncing: \033[2J\x7f\n");
	ck_assert_str_eq(report().crash.line, "Kernel panic - not syncing: ?[2J?");
}
END_TEST

START_TEST(a_report_without_end_is_read_to_its_limit)
{
	say("[    1.0] BUG: soft lockup - CPU#0\n[    1.0] Call Trace:\n");
	for (int i = 0; i < 1000; i++)
		say("[    1.0]  ? unsure+0x1/0x2\n");
	say("[    1.0]  too_late+0x1/0x2\n");
	ck_assert_uint_eq(report().crash.frames_nr, 0);
}
END_TEST

/* The last line needs no end when the guest has ended. */
START_TEST(the_last_line_counts)
{
	say("[    1.0] Kernel panic - not syncing: x");
	ck_assert_uint_eq(seen.crashes, 0);
	conlog_end(&c);
	ck_assert_uint_eq(seen.crashes, 1);
}
END_TEST

/* Init. */

static const struct {
	const char *text;
	unsigned int inits;
} starts[] = {
	{ "[    0.0] Linux version 6.1\r\n[    0.5] x\r\n\r\n", 0 },
	{ "[    0.0] Linux version 6.1\n[    0.5] Run /init as init process\n", 1 },
	{ "[    0.0] Linux version 6.1\n[    0.5] Run /init as init process\nhello\n", 1 },
	{ "[    0.0] Linux version 6.1\nhello\n", 1 },
	{ "[    0.0] Linux version 6.1\n[  OK  ] Started x\n", 1 },
	{ "Linux version 4.4\nx\n", 0 },
	{ "Linux version 4.4\nx\nRun /init as init process\n", 1 },
	{ "early console in extract_kernel\nDecompressing Linux... done.\n", 0 },
	{ "[    0.0] Linux version 6.1\n \t\n", 0 },
	{ "[    0.9] Kernel panic - not syncing: x\n", 0 },
	{ "Kernel panic - not syncing: x\n", 0 },
	{ "", 0 },
};

START_TEST(init_is_seen)
{
	say(starts[_i].text);
	ck_assert_uint_eq(seen.inits, starts[_i].inits);
}
END_TEST

START_TEST(init_is_seen_by_its_prompt)
{
	ck_assert(say("[    0.0] Linux version 6.1\n[    0.5"));
	ck_assert(conlog_pause(&c));
	ck_assert(!conlog_pause(&c)); /* a slow line of the kernel's */
	ck_assert_uint_eq(seen.inits, 0);
	ck_assert(say("] x\n~ # "));
	ck_assert(conlog_pause(&c));
	ck_assert_uint_eq(seen.inits, 0);
	ck_assert(!conlog_pause(&c));
	ck_assert_uint_eq(seen.inits, 1);
	ck_assert(!say("ls")); /* nothing left to look for */
	ck_assert(!conlog_pause(&c));
}
END_TEST

START_TEST(another_kernel_follows)
{
	say("[    0.0] Linux version 6.1\nhello\n");
	conlog_restart(&c);
	say("Linux version 4.4\nKernel panic - not syncing: x\n");
	ck_assert_uint_eq(seen.inits, 1);
	ck_assert_uint_eq(seen.crashes, 1);
	conlog_restart(&c);
	say("hello\n");
	ck_assert_uint_eq(seen.inits, 2);
}
END_TEST

/* Lines that the user waits for. */

START_TEST(a_line_matches)
{
	want(&until_on, "never");
	want(&until_on, "^tests passed$");
	want(&fail_on, "not ok");
	feed("ok 1\r\nall tests passed\r\ntests passed", _i + 1);
	ck_assert_uint_eq(seen.matches, 0);
	feed("\r\nnot ok 2\r\n[    1.0] Kernel panic - not syncing: x\r\n", _i + 1);
	ck_assert_uint_eq(seen.matches, 1);
	ck_assert(!seen.fail);
	ck_assert_str_eq(seen.pattern, "^tests passed$");
	ck_assert_str_eq(seen.line, "tests passed");
	ck_assert_uint_eq(seen.crashes, 0); /* what follows is not of the run */
}
END_TEST

START_TEST(a_line_can_be_several_things)
{
	want(&until_on, "panic");
	want(&fail_on, "panic");
	say("[    1.0] Kernel panic - not syncing: x\n");
	ck_assert_uint_eq(seen.crashes, 1);
	ck_assert_uint_eq(seen.matches, 1);
	ck_assert(seen.fail);
	ck_assert_str_eq(seen.line, "[    1.0] Kernel panic - not syncing: x");
}
END_TEST

START_TEST(a_prompt_matches_when_the_console_pauses)
{
	want(&until_on, "login: $");
	ck_assert(say("debian "));
	ck_assert(conlog_pause(&c));
	ck_assert(say("login: "));
	ck_assert(conlog_pause(&c)); /* it does not pause yet */
	ck_assert_uint_eq(seen.matches, 0);
	ck_assert(!conlog_pause(&c));
	ck_assert_uint_eq(seen.matches, 1);
	ck_assert(!say("root\nlogin: "));
	conlog_end(&c);
	ck_assert_uint_eq(seen.matches, 1);
}
END_TEST

START_TEST(without_patterns)
{
	conlog_release(&c);
	conlog_init(&c, &(struct conlog_ops){ 0 }, NULL, NULL, NULL, false);
	ck_assert(say("x")); /* for init */
	ck_assert(!say("\n"));
	ck_assert(!say("~ # "));
	say("[    1.0] Kernel panic - not syncing: x\n");
	ck_assert_int_eq(report().crash.kind, CRASH_PANIC);
}
END_TEST

/* The end of the console. */

START_TEST(the_tail_is_whole_lines)
{
	static char big[CONLOG_KEEP + 1];
	char buf[64];

	ck_assert_uint_eq(conlog_tail(&c, buf, sizeof(buf), 99), 0);
	say("one\ntwo\nthree");
	ck_assert_uint_eq(conlog_tail(&c, buf, sizeof(buf), 99), 13);
	ck_assert_str_eq(buf, "one\ntwo\nthree");
	ck_assert_uint_eq(conlog_tail(&c, buf, 12, 99), 9); /* "ne\n" is not whole */
	ck_assert_str_eq(buf, "two\nthree");
	ck_assert_uint_eq(conlog_tail(&c, buf, sizeof(buf), 1), 5);
	ck_assert_str_eq(buf, "three");
	ck_assert_uint_eq(conlog_tail(&c, buf, 1, 99), 0);
	ck_assert_uint_eq(conlog_tail(&c, buf, 0, 99), 0);
	say("\n");
	ck_assert_uint_eq(conlog_tail(&c, buf, sizeof(buf), 2), 10);
	ck_assert_str_eq(buf, "two\nthree\n");
	for (int i = 0; i < CONLOG_KEEP; i++) {
		char line[16];

		snprintf(line, sizeof(line), "line %d\n", i);
		say(line);
	}
	size_t n = conlog_tail(&c, big, sizeof(big), 9999);
	ck_assert_uint_gt(n, CONLOG_KEEP - 16);
	ck_assert_mem_eq(big, "line ", 5);
	ck_assert_str_eq(big + n - 11, "line 32767\n");
	n = conlog_tail(&c, big, sizeof(big), 200);
	ck_assert_uint_eq(n, 200 * 11);
	ck_assert_mem_eq(big, "line 32568\n", 11);
}
END_TEST

#define STAMP    "[    1.000000] "
#define UNPACKED STAMP "Initramfs unpacking failed: compression method zstd not configured\n"
#define NO_ROOT                                                                                    \
	STAMP "Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\n"

/* The first one is the cause; a kernel that started its init had none; and programs are not asked. */
START_TEST(why_there_is_no_init)
{
	static const struct {
		const char *text, *has;
	} cases[] = {
		{ UNPACKED NO_ROOT, "CONFIG_RD_ZSTD" },
		{ NO_ROOT, "CONFIG_BLK_DEV_INITRD" },
		{ UNPACKED STAMP "Run /init as init process\n", "" },
		{ STAMP "Run /init as init process\n" UNPACKED NO_ROOT, "" },
		{ STAMP "x\nInitramfs unpacking failed: junk\n", "" },
		{ STAMP "Initramfs unpacking failed: a\033b\n", "a?b" },
	};
	struct conlog_report r;

	say(cases[_i].text);
	conlog_report(&c, &r);
	ck_assert_ptr_nonnull(strstr(r.no_init, cases[_i].has));
	ck_assert_int_eq(!r.no_init[0], !*cases[_i].has);
	conlog_restart(&c);
	conlog_report(&c, &r);
	ck_assert_str_eq(r.no_init, "");
}
END_TEST

START_TEST(the_tail_is_harmless)
{
	char buf[64];

	say("\033[31mred\r\n\ttab\x7f\xc3\xa4\n");
	conlog_tail(&c, buf, sizeof(buf), 9);
	ck_assert_str_eq(buf, "[31mred\n\ttab\xc3\xa4\n");
}
END_TEST

static void *look(void *arg)
{
	static char buf[256];

	(void)arg;
	for (int i = 0; i < 2000; i++) {
		struct conlog_report r;

		conlog_report(&c, &r);
		conlog_tail(&c, buf, sizeof(buf), 5);
		conlog_pause(&c);
	}
	return NULL;
}

START_TEST(looked_at_from_another_thread)
{
	pthread_t t;

	want(&until_on, "never");
	ck_assert_int_eq(pthread_create(&t, NULL, look, NULL), 0);
	for (int i = 0; i < 200; i++)
		feed(consoles[1].text, 7);
	pthread_join(t, NULL);
	ck_assert_uint_eq(seen.matches, 0);
}
END_TEST

UNIT_SUITE("conlog", {
	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_loop_test(tc, a_panic_is_told_once_however_it_arrives, 0, 5);
	tcase_add_loop_test(tc, crashes_are_seen_and_fakes_are_not, 0, ARRAY_SIZE(consoles));
	tcase_add_loop_test(tc, crashes_are_seen_byte_by_byte, 0, ARRAY_SIZE(consoles));
	tcase_add_test(tc, time_stamps_are_known_before_the_first);
	tcase_add_test(tc, a_console_is_believed_before_the_command_line);
	tcase_add_test(tc, a_long_line_is_cut_not_overrun);
	tcase_add_test(tc, a_crash_line_is_harmless);
	tcase_add_test(tc, a_report_without_end_is_read_to_its_limit);
	tcase_add_test(tc, the_last_line_counts);
	tcase_add_loop_test(tc, init_is_seen, 0, ARRAY_SIZE(starts));
	tcase_add_test(tc, init_is_seen_by_its_prompt);
	tcase_add_test(tc, another_kernel_follows);
	tcase_add_loop_test(tc, a_line_matches, 0, 5);
	tcase_add_test(tc, a_line_can_be_several_things);
	tcase_add_test(tc, a_prompt_matches_when_the_console_pauses);
	tcase_add_test(tc, without_patterns);
	tcase_add_test(tc, the_tail_is_whole_lines);
	tcase_add_loop_test(tc, why_there_is_no_init, 0, 6);
	tcase_add_test(tc, the_tail_is_harmless);
	tcase_add_test(tc, looked_at_from_another_thread);
})
