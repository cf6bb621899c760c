/* SPDX-License-Identifier: GPL-2.0 */
// ARCH: x86
// LINK: hvc.c virtio/port-type.c virtio/console.c virtio/console-ctrl.c chr/port.c chr/console-port.c
// LINK: tests/mock/fake-kvm.c machine.c report.c backtrace.c core.c result-file.c util/symbols.c kvm.c vcpu.c gmem.c bus.c irq.c irq-route.c coalesced.c stop.c result.c watch.c chr/ktap.c chr/classify.c util/util.c
// LINK: pci.c pci-bar.c pci-ecam.c pci-irq.c
// LINK: util/thread.c util/err.c util/log.c util/loop.c util/util.c util/src.c util/decompress.c util/kcache.c util/kindex.c
// LINK: chr/chr.c chr/fd.c chr/out.c chr/conlog.c chr/classify.c util/match.c
// LINK: hw/serial.c hw/rtc.c hw/i8042.c hw/acpi-pm.c hw/pvpanic.c hw/debug-exit.c hw/earlycon.c hw/cmd-status.c streams.c
// LINK: x86/board.c x86/absent.c x86/boot.c initrds.c x86/bootinfo.c x86/bzimage.c x86/vmlinux.c x86/unpack.c x86/memmap.c
// LINK: x86/acpi.c x86/aml.c x86/dsdt.c x86/mptable.c x86/cpuid.c x86/cpu.c x86/debug.c x86/irqchip.c x86/caps.c x86/doorbell.c
// LINK: x86/probe.c x86/probe-vm.c x86/probe-guest.c util/kick.c
// LINK: devices.c ioeventfd.c util/poller.c virtio/device.c virtio/registers.c virtio/legacy.c virtio/queue.c virtio/mini.c virtio/rng.c virtio/types.c
// LINK: virtio/transport-pci.c virtio/transport-modern.c virtio/transport-legacy.c virtio/transport-doorbell.c virtio/transport-fds.c
// LINK: virtio/net-type.c virtio/net.c virtio/net-io.c virtio/late.c virtio/net-ctrl.c virtio/net-vhost.c virtio/vhost.c net/user.c net/user-check.c net/user-fds.c net/user-lib.c net/forward.c net/passt.c net/pcap.c net/tap.c net/socket.c net/script.c
// LINK: virtio/blk-type.c virtio/blk.c virtio/blk-config.c
// LINK: block/fault-plan.c block/fault.c block/file.c block/io.c block/iov.c block/lock.c block/magic.c block/open.c block/overlay.c block/pool.c block/raw.c block/step.c block/uring.c
// LINK: util/options.c util/json.c util/option-types.c util/option-keys.c util/nearest.c
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <lkvm/board.h>
#include <lkvm/kvm.h>
#include <lkvm/machine.h>
#include <lkvm/result-file.h>
#include <lkvm/result.h>
#include <lkvm/symbols.h>
#include <lkvm/util.h>
#include <lkvm/vcpu.h>

#include "images.h"
#include "tests/mock/fake-kvm.h"
#include "unit.h"
#include "x86/memmap.h"

static unsigned int open_fds(void)
{
	unsigned int nr = 0;
	DIR *d = opendir("/proc/self/fd");

	while (readdir(d))
		nr++;
	closedir(d);
	return nr;
}

/* A kernel file that exists as long as the test. */
static char kernel_path[] = "/tmp/lkvm-test-machine-XXXXXX";

static void make_kernel(void)
{
	struct elf_image k;

	image_elf(&k, false);
	int fd = mkstemp(kernel_path);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, &k, sizeof(k)), sizeof(k));
	close(fd);
}

static void remove_kernel(void)
{
	unlink(kernel_path);
}

static struct machine_config config(void)
{
	return (struct machine_config){
		.dev = FAKE_KVM_DEV,
		.kernel = kernel_path,
		.cmdline = "x",
		.mem = 64 * MIB,
		.cpus_nr = 1,
		.acpi = true,
		.debug_exit = 0xf4,
		.in_fd = -1,
		.out_fd = -1,
		.copy_fd = -1,
		.log = { .fd = -1 },
	};
}

struct outcome {
	int ret;
	struct machine_result res;
	struct err err;
};

static struct outcome run(const struct machine_config *cfg)
{
	struct outcome o = { .err = ERR_INIT };
	struct machine *m;
	FILE *report = fopen("/dev/null", "w");

	o.ret = machine_new(&m, cfg, &o.err);
	if (!o.ret) {
		o.ret = machine_run(m, &o.res, report, &o.err);
		machine_free(m);
	}
	fclose(report);
	return o;
}

/* --- exits, one of each --- */

static int exit_io_out(struct kvm_run *run, uint16_t port, uint32_t value, unsigned int size)
{
	run->exit_reason = KVM_EXIT_IO;
	run->io.direction = KVM_EXIT_IO_OUT;
	run->io.port = port;
	run->io.size = size;
	run->io.count = 1;
	run->io.data_offset = 4096;
	memcpy((uint8_t *)run + 4096, &value, 4);
	return 0;
}

static int run_poweroff(struct fake_kvm *f, unsigned int vcpu, struct kvm_run *run)
{
	(void)f, (void)vcpu;
	return exit_io_out(run, PORT_PM_CNT, 5 << 10 | 1 << 13, 2);
}

static int run_reset(struct fake_kvm *f, unsigned int vcpu, struct kvm_run *run)
{
	(void)f, (void)vcpu;
	return exit_io_out(run, PORT_RESET, RESET_VALUE, 1);
}

static int run_debug_exit(struct fake_kvm *f, unsigned int vcpu, struct kvm_run *run)
{
	(void)f, (void)vcpu;
	return exit_io_out(run, 0xf4, 42, 1);
}

static int run_shutdown(struct fake_kvm *f, unsigned int vcpu, struct kvm_run *run)
{
	(void)f, (void)vcpu;
	run->exit_reason = KVM_EXIT_SHUTDOWN;
	return 0;
}

static int run_internal_error(struct fake_kvm *f, unsigned int vcpu, struct kvm_run *run)
{
	(void)f, (void)vcpu;
	run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
	run->internal.suberror = 1;
	return 0;
}

static int run_fail_entry(struct fake_kvm *f, unsigned int vcpu, struct kvm_run *run)
{
	(void)f, (void)vcpu;
	run->exit_reason = KVM_EXIT_FAIL_ENTRY;
	return 0;
}

static int run_unknown(struct fake_kvm *f, unsigned int vcpu, struct kvm_run *run)
{
	(void)f, (void)vcpu;
	run->exit_reason = 4711; /* newer than every table of ours */
	return 0;
}

static int run_efault(struct fake_kvm *f, unsigned int vcpu, struct kvm_run *run)
{
	(void)f, (void)vcpu, (void)run;
	return -EFAULT;
}

static int run_crash_event(struct fake_kvm *f, unsigned int vcpu, struct kvm_run *run)
{
	(void)f, (void)vcpu;
	run->exit_reason = KVM_EXIT_SYSTEM_EVENT;
	run->system_event.type = KVM_SYSTEM_EVENT_CRASH;
	return 0;
}

static int run_reset_event(struct fake_kvm *f, unsigned int vcpu, struct kvm_run *run)
{
	(void)f, (void)vcpu;
	run->exit_reason = KVM_EXIT_SYSTEM_EVENT;
	run->system_event.type = KVM_SYSTEM_EVENT_RESET;
	return 0;
}

static int run_shutdown_event(struct fake_kvm *f, unsigned int vcpu, struct kvm_run *run)
{
	(void)f, (void)vcpu;
	run->exit_reason = KVM_EXIT_SYSTEM_EVENT;
	run->system_event.type = KVM_SYSTEM_EVENT_SHUTDOWN;
	return 0;
}

static const struct {
	int (*run)(struct fake_kvm *f, unsigned int vcpu, struct kvm_run *run);
	int status;
} ends[] = {
	{ run_poweroff, STATUS_OK },
	{ run_reset, STATUS_RESET },
	{ run_debug_exit, 42 },
	{ run_shutdown, STATUS_TRIPLE_FAULT },
	{ run_internal_error, STATUS_INTERNAL },
	{ run_fail_entry, STATUS_INTERNAL },
	{ run_unknown, STATUS_INTERNAL },
	{ run_efault, STATUS_INTERNAL },
	{ run_crash_event, STATUS_PANIC },
	{ run_reset_event, STATUS_RESET },
	{ run_shutdown_event, STATUS_OK },
};

START_TEST(each_exit_has_its_status)
{
	struct fake_kvm *f = fake_kvm_start();
	struct machine_config cfg = config();
	unsigned int fds = open_fds();

	f->run = ends[_i].run;
	struct outcome o = run(&cfg);
	ck_assert_msg(o.ret == 0, "%s", o.err.msg);
	ck_assert_int_eq(result_status(&o.res.stop), ends[_i].status);
	ck_assert_uint_eq(f->runs, 1); /* the vCPU leaves without being told */
	ck_assert_uint_eq(open_fds(), fds);
}
END_TEST

static int run_spin(struct fake_kvm *f, unsigned int vcpu, struct kvm_run *run)
{
	(void)f, (void)vcpu;
	run->exit_reason = KVM_EXIT_INTR;
	return 0;
}

START_TEST(a_timeout_ends_all_vcpus)
{
	struct fake_kvm *f = fake_kvm_start();
	struct machine_config cfg = config();

	cfg.cpus_nr = 3;
	cfg.timeout_ns = 20000000;
	f->run = run_spin;
	struct outcome o = run(&cfg);
	ck_assert_int_eq(o.ret, 0);
	ck_assert_int_eq(result_status(&o.res.stop), STATUS_TIMEOUT);
}
END_TEST

/* What a guest prints, by the coalesced ring, before it powers off. */
static int run_print(struct fake_kvm *f, unsigned int vcpu, struct kvm_run *run)
{
	struct kvm_coalesced_mmio_ring *ring = (void *)((uint8_t *)run + FAKE_RING_PAGE * 4096);
	const char *text = f->arg;

	for (ring->last = 0; *text; text++)
		ring->coalesced_mmio[ring->last++] = (struct kvm_coalesced_mmio){
			.phys_addr = 0x3f8, .len = 1, .pio = 1, .data = { (uint8_t)*text }
		};
	ring->first = 0;
	return run_poweroff(f, vcpu, run);
}

#define WARNING "[    1.0] WARNING: CPU: 0 PID: 1 at k.c:1 f+0x1/0x2\n"
#define PANIC   "[    1.0] Kernel panic - not syncing: x\n"

static const struct {
	const char *text;
	bool splat;
	const char *until, *fail;
	int status;
} consoles[] = {
	{ "x\n", false, NULL, NULL, STATUS_OK },
	{ PANIC, false, NULL, NULL, STATUS_PANIC },
	{ WARNING, false, NULL, NULL, STATUS_OK },
	{ WARNING, true, NULL, NULL, STATUS_SPLAT },
	{ WARNING PANIC, true, NULL, NULL, STATUS_PANIC },
	{ "ok\n", false, "ok", NULL, STATUS_OK },
	{ "ok", false, "ok", NULL, STATUS_OK },
	{ "no\n", false, "ok", NULL, STATUS_EARLY },
	{ "no\n", false, "ok", "no", STATUS_FAIL },
	{ "ok\nno\n", false, "ok", "no", STATUS_OK },
	{ "ok no\n", false, "ok", "no", STATUS_FAIL },
	{ "ok\n" PANIC, false, "ok", NULL, STATUS_OK },
	{ PANIC "ok\n", false, "ok", NULL, STATUS_PANIC },
	{ WARNING "ok\n", true, "ok", NULL, STATUS_SPLAT },
	{ WARNING "no\n", true, NULL, "no", STATUS_SPLAT },
	{ WARNING, true, "ok", NULL, STATUS_SPLAT },
};

START_TEST(each_console_has_its_status)
{
	struct fake_kvm *f = fake_kvm_start();
	struct machine_config cfg = config();
	struct match until = { .nr = 0 }, fail = { .nr = 0 };
	struct err err = ERR_INIT;

	if (consoles[_i].until)
		ck_assert(!match_add(&until, "--until", consoles[_i].until, &err));
	if (consoles[_i].fail)
		ck_assert(!match_add(&fail, "--fail", consoles[_i].fail, &err));
	cfg.until = &until;
	cfg.fail = &fail;
	cfg.fail_on_splat = consoles[_i].splat;
	f->run = run_print;
	f->arg = (void *)consoles[_i].text;
	struct outcome o = run(&cfg);
	ck_assert_msg(o.ret == 0, "%s", o.err.msg);
	ck_assert_int_eq(result_status(&o.res.stop), consoles[_i].status);
	ck_assert_uint_eq(o.res.console.bytes, strlen(consoles[_i].text));
	ck_assert(o.res.times.first_byte && o.res.times.first_exit);
	ck_assert(o.res.times.end >= o.res.times.first_byte);
	ck_assert_uint_eq(o.res.exits[KVM_EXIT_IO], 1);
	match_release(&until);
	match_release(&fail);
}
END_TEST

/* The breakpoint of --symbols, then what the guest prints, and power-off. */
static int run_break(struct fake_kvm *f, unsigned int vcpu, struct kvm_run *run)
{
	if (f->debug.control) {
		run->exit_reason = KVM_EXIT_DEBUG;
		run->debug.arch = (struct kvm_debug_exit_arch){ .exception = 1,
								.dr6 = 1,
								.pc = 0xffffffff81000000 };
		return 0;
	}
	return run_print(f, vcpu, run);
}

START_TEST(a_breakpoint_on_panic)
{
	static const struct {
		const char *text, *cause;
	} rows[] = {
		{ "x\n", "panic() was called on vCPU 0 (--symbols)" },
		/* The kernel's own words are better. */
		{ PANIC, "Kernel panic - not syncing: x" },
	};
	const struct symbols symbols = { 0 };
	struct fake_kvm *f = fake_kvm_start();
	struct machine_config cfg = config();

	cfg.symbols = &symbols;
	cfg.panic_addr = 0xffffffff81000000;
	f->run = run_break;
	f->arg = (void *)rows[_i].text;
	struct outcome o = run(&cfg);
	ck_assert_msg(o.ret == 0, "%s", o.err.msg);
	ck_assert_int_eq(result_status(&o.res.stop), STATUS_PANIC);
	ck_assert_str_eq(o.res.stop.detail, rows[_i].cause);
	/* It is hit once, and is gone. */
	ck_assert_uint_eq(f->runs, 2);
	ck_assert_uint_eq(o.res.exits[KVM_EXIT_DEBUG], 1);
}
END_TEST

/* The guest steps, meets a breakpoint elsewhere, and has an int3; then it powers off. */
static int run_step(struct fake_kvm *f, unsigned int vcpu, struct kvm_run *run)
{
	static const struct kvm_debug_exit_arch foreign[] = {
		{ .exception = 1, .dr6 = 0x4000, .pc = 0xffffffff81000000 },
		{ .exception = 1, .dr6 = 1, .pc = 0xffffffff81000001 },
		{ .exception = 3, .dr6 = 1, .pc = 0xffffffff81000000 },
	};

	if (f->runs > ARRAY_SIZE(foreign))
		return run_poweroff(f, vcpu, run);
	ck_assert_int_eq(f->runs > 1, !!(f->debug.control & KVM_GUESTDBG_INJECT_DB));
	run->exit_reason = KVM_EXIT_DEBUG;
	run->debug.arch = foreign[f->runs - 1];
	return 0;
}

START_TEST(a_step_of_the_guest_is_no_panic)
{
	const struct symbols symbols = { 0 };
	struct fake_kvm *f = fake_kvm_start();
	struct machine_config cfg = config();

	cfg.symbols = &symbols;
	cfg.panic_addr = 0xffffffff81000000;
	f->run = run_step;
	struct outcome o = run(&cfg);
	ck_assert_int_eq(result_status(&o.res.stop), STATUS_OK);
	ck_assert_uint_eq(o.res.exits[KVM_EXIT_DEBUG], 3);
	ck_assert(f->debug.control & KVM_GUESTDBG_INJECT_DB);
	ck_assert_uint_eq(f->debug.arch.debugreg[0], 0xffffffff81000000);
}
END_TEST

START_TEST(a_breakpoint_that_nobody_set)
{
	struct fake_kvm *f = fake_kvm_start();
	struct machine_config cfg = config();

	f->debug.control = 1;
	f->run = run_break;
	struct outcome o = run(&cfg);
	ck_assert_int_eq(result_status(&o.res.stop), STATUS_INTERNAL);
}
END_TEST

START_TEST(a_core_of_each_failure)
{
	char path[] = "/tmp/lkvm-test-core-XXXXXX";
	struct result_file core;
	struct machine_config cfg = config();
	struct err err = ERR_INIT;

	close(mkstemp(path));
	ck_assert_int_eq(result_file_open(&core, "--core", path, &err), 0);
	cfg.core = &core;
	struct fake_kvm *f = fake_kvm_start();
	f->run = ends[_i].run;
	struct outcome o = run(&cfg);
	int status = ends[_i].status;
	bool wanted = status >= STATUS_PANIC;
	ck_assert_msg(!o.res.core_err.kind, "%s", o.res.core_err.msg);
	ck_assert_int_eq(access(path, F_OK) == 0, wanted);
	/* The directory is gone: a sentence, and the outcome stays. */
	free(core.path);
	core.path = strdup("/nonexistent/core");
	f = fake_kvm_start();
	f->run = ends[_i].run;
	o = run(&cfg);
	ck_assert_int_eq(result_status(&o.res.stop), status);
	ck_assert_int_eq(o.res.core_err.kind, wanted ? ERR_HOST : ERR_NONE);
	result_file_close(&core);
	unlink(path);
}
END_TEST

/* A vCPU that sleeps: only a kick ends its KVM_RUN. */
static int run_halted(struct fake_kvm *f, unsigned int vcpu, struct kvm_run *run)
{
	static const struct timespec pause = { .tv_nsec = 20000000 };

	(void)f, (void)vcpu, (void)run;
	nanosleep(&pause, NULL);
	return -EINTR;
}

START_TEST(halted_for_good_is_seen)
{
	struct fake_kvm *f = fake_kvm_start();
	struct machine_config cfg = config();
	uint64_t flags[] = { 2, 0x202, 2 };
	uint32_t states[] = { KVM_MP_STATE_HALTED, KVM_MP_STATE_HALTED, KVM_MP_STATE_RUNNABLE };

	cfg.cpus_nr = 2;
	/* With interrupts on, or running, it is only idle. */
	cfg.idle_timeout_ns = _i > 0 ? NSEC_PER_SEC / 5 : 0;
	cfg.timeout_ns = 60 * NSEC_PER_SEC;
	f->run = run_halted;
	f->halted_flags = flags[_i];
	f->mp_state = states[_i];
	struct outcome o = run(&cfg);
	ck_assert_int_eq(o.ret, 0);
	ck_assert_int_eq(result_status(&o.res.stop), STATUS_HANG);
	ck_assert_msg(!strstr(o.res.stop.detail, "halted with") == (_i > 0), "%s",
		      o.res.stop.detail);
}
END_TEST

static int run_reset_twice(struct fake_kvm *f, unsigned int vcpu, struct kvm_run *run)
{
	return f->runs < 3 ? run_reset(f, vcpu, run) : run_poweroff(f, vcpu, run);
}

START_TEST(a_restart_builds_the_machine_again)
{
	struct fake_kvm *f = fake_kvm_start();
	struct machine_config cfg = config();
	unsigned int fds = open_fds();

	cfg.restart = true;
	f->run = run_reset_twice;
	struct outcome o = run(&cfg);
	ck_assert_int_eq(o.ret, 0);
	ck_assert_int_eq(result_status(&o.res.stop), STATUS_OK);
	ck_assert_uint_eq(f->runs, 3);
	ck_assert_uint_eq(o.res.restarts, 2);
	ck_assert_uint_eq(o.res.exits[KVM_EXIT_IO], 3); /* all lives are counted */
	ck_assert_uint_eq(open_fds(), fds);
}
END_TEST

/* "!" to the console through the coalesced ring, then a reset: the byte must not be lost. */
static int run_coalesced(struct fake_kvm *f, unsigned int vcpu, struct kvm_run *run)
{
	struct kvm_coalesced_mmio_ring *ring = (void *)((uint8_t *)run + FAKE_RING_PAGE * 4096);

	ring->coalesced_mmio[0] =
		(struct kvm_coalesced_mmio){ .phys_addr = 0x3f8, .len = 1, .pio = 1, .data = "!" };
	/* Entries that no device claims, or that lie about their length, are dropped. */
	ring->coalesced_mmio[1] =
		(struct kvm_coalesced_mmio){ .phys_addr = 0x3f8, .len = 0, .pio = 1 };
	ring->coalesced_mmio[2] =
		(struct kvm_coalesced_mmio){ .phys_addr = 0x3f8, .len = 99, .pio = 1 };
	ring->coalesced_mmio[3] = (struct kvm_coalesced_mmio){ .phys_addr = ~0ULL, .len = 8 };
	ring->last = 4;
	return run_reset(f, vcpu, run);
}

START_TEST(queued_writes_come_before_the_exit)
{
	struct fake_kvm *f = fake_kvm_start();
	struct machine_config cfg = config();
	int p[2];
	char buf[8];

	ck_assert_int_eq(pipe(p), 0);
	cfg.console = true;
	cfg.out_fd = p[1];
	f->run = run_coalesced;
	struct outcome o = run(&cfg);
	ck_assert_int_eq(result_status(&o.res.stop), STATUS_RESET);
	ck_assert_int_eq(read(p[0], buf, sizeof(buf)), 1);
	ck_assert_int_eq(buf[0], '!');
	close(p[0]);
	close(p[1]);
}
END_TEST

/* Calls whose failure only costs something: the VM runs without what they give. */
static bool is_optional(unsigned int call, const struct outcome *o)
{
	(void)call;
	return o->ret == 0 && result_status(&o->res.stop) == STATUS_OK;
}

START_TEST(every_failing_call_is_one_sentence_and_no_leak)
{
	static const int errnums[] = { ENOMEM, EINVAL, EPERM };
	struct machine_config cfg = config();
	struct fake_kvm *f = fake_kvm_start();
	unsigned int fds = open_fds(), total, optional = 0;

	cfg.cpus_nr = 2;
	f->run = run_poweroff;
	struct outcome o = run(&cfg);
	ck_assert_int_eq(o.ret, 0);
	total = f->calls;
	ck_assert_uint_gt(total, 20);
	for (unsigned int n = 1; n <= total; n++) {
		f = fake_kvm_start();
		f->run = run_poweroff;
		f->fail_at = n;
		f->fail_errno = errnums[_i];
		o = run(&cfg);
		ck_assert_uint_eq(open_fds(), fds);
		if (is_optional(n, &o)) {
			optional++;
			continue;
		}
		ck_assert_int_lt(o.ret, 0);
		ck_assert_int_ne(o.err.kind, ERR_NONE);
		ck_assert_uint_gt(strlen(o.err.msg), 10);
		ck_assert_ptr_null(strchr(o.err.msg, '\n'));
	}
	/* Most calls matter. */
	ck_assert_uint_lt(optional, total / 2);
}
END_TEST

START_TEST(a_needed_capability_is_named)
{
	for (unsigned int i = 0; i < kvm_caps_nr; i++) {
		struct fake_kvm *f = fake_kvm_start();
		struct machine_config cfg = config();

		f->run = run_poweroff;
		f->missing_cap = kvm_caps[i].cap;
		struct outcome o = run(&cfg);
		if (kvm_caps[i].needed) {
			ck_assert_int_eq(o.err.kind, ERR_HOST);
			ck_assert_ptr_nonnull(strstr(o.err.msg, kvm_caps[i].name));
		} else {
			ck_assert_msg(o.ret == 0, "%s: %s", kvm_caps[i].name, o.err.msg);
		}
	}
}
END_TEST

START_TEST(a_device_that_is_not_kvm)
{
	static const struct {
		const char *dev;
		int version;
		const char *says;
	} devs[] = {
		{ "/nonexistent/kvm", 12, "cannot open /nonexistent/kvm" },
		{ "/proc/version", 12, "/proc/version" },
		{ FAKE_KVM_DEV, 11, "API version 11" },
		{ FAKE_KVM_DEV, -1, "is not a KVM device" },
	};
	struct fake_kvm *f = fake_kvm_start();
	struct machine_config cfg = config();
	unsigned int fds = open_fds();

	f->api_version = devs[_i].version;
	cfg.dev = devs[_i].dev;
	struct outcome o = run(&cfg);
	ck_assert_int_eq(o.err.kind, ERR_HOST);
	ck_assert_msg(strstr(o.err.msg, devs[_i].says), "%s", o.err.msg);
	ck_assert_uint_eq(open_fds(), fds);
}
END_TEST

START_TEST(more_cpus_than_kvm_has)
{
	struct fake_kvm *f = fake_kvm_start();
	struct machine_config cfg = config();

	f->run = run_poweroff;
	cfg.cpus_nr = 9;
	struct outcome o = run(&cfg);
	ck_assert_int_eq(o.err.kind, ERR_USAGE);
	ck_assert_ptr_nonnull(strstr(o.err.msg, "--cpus 9"));
}
END_TEST

START_TEST(a_rich_cpu_has_many_cpuid_entries)
{
	struct fake_kvm *f = fake_kvm_start();
	struct machine_config cfg = config();

	f->run = run_poweroff;
	f->cpuid_nr = 200; /* more than the first try has room for */
	struct outcome o = run(&cfg);
	ck_assert_msg(o.ret == 0, "%s", o.err.msg);
}
END_TEST

START_TEST(ram_is_given_to_kvm_around_the_hole)
{
	struct fake_kvm *f = fake_kvm_start();
	struct machine_config cfg = config();

	f->run = run_poweroff;
	cfg.mem = 6 * GIB;
	struct outcome o = run(&cfg);
	ck_assert_msg(o.ret == 0, "%s", o.err.msg);
	ck_assert_uint_ge(f->slots_nr, 2);
	ck_assert_uint_eq(f->slots[0].guest_phys_addr, 0);
	ck_assert_uint_eq(f->slots[0].memory_size, GPA_RAM_LOW_MAX);
	ck_assert_uint_eq(f->slots[1].guest_phys_addr, GPA_RAM_HIGH);
	ck_assert_uint_eq(f->slots[1].memory_size, 6 * GIB - GPA_RAM_LOW_MAX);
	for (unsigned int i = 0; i < 2; i++)
		ck_assert_uint_eq(f->slots[i].userspace_addr % (2 * MIB), 0);
}
END_TEST

START_TEST(the_boot_cpu_enters_long_mode)
{
	struct fake_kvm *f = fake_kvm_start();
	struct machine_config cfg = config();

	f->run = run_poweroff;
	run(&cfg);
	ck_assert_uint_eq(f->regs.rsi, GPA_BOOT_PARAMS);
	ck_assert_uint_eq(f->regs.rflags, 2); /* interrupts off, as the boot protocol says */
	ck_assert_uint_eq(f->sregs.cs.selector, 0x10);
	ck_assert_uint_eq(f->sregs.ds.selector, 0x18);
	ck_assert_uint_eq(f->sregs.cs.l, 1);
	ck_assert_uint_eq(f->sregs.cr3, GPA_PML4);
	ck_assert_uint_eq(f->sregs.efer, 0x500);
}
END_TEST

UNIT_SUITE("machine", {
	tcase_add_unchecked_fixture(tc, make_kernel, remove_kernel);
	tcase_add_loop_test(tc, each_exit_has_its_status, 0, ARRAY_SIZE(ends));
	tcase_add_test(tc, a_timeout_ends_all_vcpus);
	tcase_add_loop_test(tc, a_breakpoint_on_panic, 0, 2);
	tcase_add_test(tc, a_step_of_the_guest_is_no_panic);
	tcase_add_test(tc, a_breakpoint_that_nobody_set);
	tcase_add_loop_test(tc, a_core_of_each_failure, 0, ARRAY_SIZE(ends));
	tcase_add_loop_test(tc, each_console_has_its_status, 0, ARRAY_SIZE(consoles));
	tcase_add_loop_test(tc, halted_for_good_is_seen, 0, 3);
	tcase_add_test(tc, a_restart_builds_the_machine_again);
	tcase_add_test(tc, queued_writes_come_before_the_exit);
	tcase_add_loop_test(tc, every_failing_call_is_one_sentence_and_no_leak, 0, 3);
	tcase_add_test(tc, a_needed_capability_is_named);
	tcase_add_loop_test(tc, a_device_that_is_not_kvm, 0, 4);
	tcase_add_test(tc, more_cpus_than_kvm_has);
	tcase_add_test(tc, a_rich_cpu_has_many_cpuid_entries);
	tcase_add_test(tc, ram_is_given_to_kvm_around_the_hole);
	tcase_add_test(tc, the_boot_cpu_enters_long_mode);
})
