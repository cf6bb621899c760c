/* SPDX-License-Identifier: GPL-2.0 */
// ARCH: x86
// LINK: x86/probe.c x86/probe-vm.c x86/probe-guest.c util/kick.c util/err.c
#include <dirent.h>
#include <errno.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <lkvm/kick.h>
#include <lkvm/probe.h>
#include <lkvm/util.h>

#include "unit.h"
#include "x86/probe-guest.h"
#include "x86/probe-vm.h"

#define RUN_LEN 8192

/* What the fake does with the code of a question. */
enum outcome { RIGHT, WRONG, INTERNAL, SHUTDOWN, OTHER_PORT, PORT_READ, HANG, RUN_FAILS };

/* A KVM that knows the probe's guest and pretends to run it. */
static struct {
	enum outcome insns[3];
	uint32_t ecx, edx;    /* CPUID leaf 1 */
	unsigned int fail_at; /* the n-th call from 1 fails, KVM_RUN left out; 0: none */
	unsigned long failed; /* the request that it was */
	unsigned int calls;
	bool idle;             /* measurements count nothing */
	bool measure_shutdown; /* ... or end in a triple fault */
	bool no_ioeventfd, any_length;
	int run_len;
	uint8_t *ram;
	struct kvm_ioeventfd bell;
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	unsigned int runs;
} fake;

static void fake_reset(void)
{
	memset(&fake, 0, sizeof(fake));
	fake.ecx = fake.edx = ~0u;
	fake.run_len = RUN_LEN;
	fake.any_length = true;
}

static int fake_fd(void)
{
	int fd = memfd_create("fake-kvm", MFD_CLOEXEC);

	ck_assert_int_eq(ftruncate(fd, RUN_LEN), 0);
	return fd;
}

/* As KVM_RUN sees it when it opens the signal: a kick ends it, and stays pending. */
static bool kicked(bool wait)
{
	struct timespec timeout = { 30, 0 };
	sigset_t kick, pending;

	sigemptyset(&kick);
	sigaddset(&kick, KICK_SIGNAL);
	if (wait && sigtimedwait(&kick, NULL, &timeout) > 0)
		raise(KICK_SIGNAL);
	sigpending(&pending);
	return sigismember(&pending, KICK_SIGNAL);
}

static int run_ends(int ret)
{
	errno = ret;
	return ret ? -1 : 0;
}

static int run_insn(struct kvm_run *run, unsigned int nr)
{
	uint8_t *data = fake.ram + PROBE_GPA_DATA;
	enum outcome o = fake.insns[nr];

	if (o == HANG)
		return run_ends(kicked(true) ? EINTR : EIO);
	if (o == RUN_FAILS)
		return run_ends(EFAULT);
	if (o != WRONG && nr == 0) {
		ck_assert(get_le64(data) == fake.regs.rax && get_le64(data + 8) == fake.regs.rdx);
		put_le64(data, fake.regs.rbx);
		put_le64(data + 8, fake.regs.rcx);
	} else if (o != WRONG && nr == 1) {
		put_le32(data + 8, get_le32(data) + get_le32(data + 4));
	} else if (o != WRONG) {
		ck_assert(fake.sregs.cr4 & 1u << 18);
		ck_assert_uint_eq(get_le64(data + 512 + 8), 0);
		put_le16(data, 0x37f);
	}
	run->exit_reason = o == INTERNAL   ? KVM_EXIT_INTERNAL_ERROR
			   : o == SHUTDOWN ? KVM_EXIT_SHUTDOWN
					   : KVM_EXIT_IO;
	run->io.direction = o == PORT_READ ? KVM_EXIT_IO_IN : KVM_EXIT_IO_OUT;
	run->io.port = o == OTHER_PORT ? PROBE_PORT_DONE + 1 : PROBE_PORT_DONE;
	return 0;
}

static int run_measure(struct kvm_run *run, const uint8_t *code)
{
	uint64_t one = 1;

	if (fake.measure_shutdown) {
		run->exit_reason = KVM_EXIT_SHUTDOWN;
		return 0;
	}
	if (code == probe_guest_count && !fake.idle)
		fake.regs.rcx += 1000000;
	if (code == probe_guest_store && fake.bell.fd > 0 && !fake.idle)
		ck_assert_int_eq(write(fake.bell.fd, &one, sizeof(one)), sizeof(one));
	if (code == probe_guest_count || fake.bell.fd > 0 || fake.idle)
		return run_ends(kicked(true) ? EINTR : EIO);
	run->exit_reason = code == probe_guest_out ? KVM_EXIT_IO : KVM_EXIT_MMIO;
	return run_ends(kicked(false) ? EINTR : 0);
}

static int fake_run(int fd)
{
	const uint8_t *const insns[] = { probe_guest_cx16, probe_guest_x87, probe_guest_xsave };
	size_t off = fake.regs.rip - 0x1000, len = probe_guest_end - probe_guest_start;
	struct kvm_run *run = mmap(NULL, RUN_LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	int ret = -2;

	fake.runs++;
	ck_assert_uint_lt(off, len);
	ck_assert_int_eq(memcmp(fake.ram + 0x1000, probe_guest_start, len), 0);
	ck_assert_uint_eq(fake.sregs.efer, 0x500);
	ck_assert(fake.sregs.cs.l && fake.sregs.cr0 >> 31);
	for (unsigned int i = 0; i < ARRAY_SIZE(insns); i++)
		if (insns[i] == probe_guest_start + off)
			ret = run_insn(run, i);
	if (ret == -2)
		ret = run_measure(run, probe_guest_start + off);
	munmap(run, RUN_LEN);
	return ret;
}

static int fake_cpuid(struct kvm_cpuid2 *c)
{
	ck_assert_uint_ge(c->nent, 3);
	c->nent = 3;
	c->entries[0] = (struct kvm_cpuid_entry2){ .function = 0, .ecx = ~0u, .edx = ~0u };
	c->entries[1] =
		(struct kvm_cpuid_entry2){ .function = 1, .ecx = fake.ecx, .edx = fake.edx };
	c->entries[2] = (struct kvm_cpuid_entry2){ .function = 7, .ecx = ~0u, .edx = ~0u };
	return 0;
}

static int fake_answer(unsigned long request, void *arg)
{
	switch (request) {
	case KVM_CREATE_VM:
	case KVM_CREATE_VCPU:
		return fake_fd();
	case KVM_GET_VCPU_MMAP_SIZE:
		return fake.run_len;
	case KVM_CHECK_EXTENSION:
		return fake.any_length;
	case KVM_GET_SUPPORTED_CPUID:
		return fake_cpuid(arg);
	case KVM_SET_USER_MEMORY_REGION:
		fake.ram = (void *)(uintptr_t)((struct kvm_userspace_memory_region *)arg)
				   ->userspace_addr;
		return 0;
	case KVM_IOEVENTFD:
		if (fake.no_ioeventfd)
			return run_ends(ENOSYS);
		fake.bell = *(struct kvm_ioeventfd *)arg;
		return 0;
	case KVM_GET_SREGS:
		memset(arg, 0, sizeof(struct kvm_sregs));
		return 0;
	case KVM_SET_SREGS:
		fake.sregs = *(struct kvm_sregs *)arg;
		return 0;
	case KVM_GET_REGS:
		*(struct kvm_regs *)arg = fake.regs;
		return 0;
	case KVM_SET_REGS:
		fake.regs = *(struct kvm_regs *)arg;
		return 0;
	default:
		return 0;
	}
}

/* Stands in for libc's. */
int ioctl(int fd, unsigned long request, ...)
{
	va_list ap;

	va_start(ap, request);
	void *arg = va_arg(ap, void *);
	va_end(ap);
	if (request == KVM_RUN)
		return fake_run(fd);
	if (++fake.calls == fake.fail_at) {
		fake.failed = request;
		return run_ends(ENXIO);
	}
	return fake_answer(request, arg);
}

static unsigned int open_fds(void)
{
	unsigned int nr = 0;
	DIR *d = opendir("/proc/self/fd");

	while (readdir(d))
		nr++;
	closedir(d);
	return nr;
}

START_TEST(everything_works)
{
	struct probe_facts facts;
	struct err err = ERR_INIT;
	char why[PROBE_SENTENCE_LEN];

	fake_reset();
	ck_assert_int_eq(probe_run(0, &facts, &err), 0);
	ck_assert_uint_eq(facts.insns_nr, 3);
	for (unsigned int i = 0; i < facts.insns_nr; i++)
		ck_assert_int_eq(facts.insns[i].result, PROBE_WORKS);
	ck_assert(facts.insns_per_sec && facts.pio_ns && facts.mmio_ns && facts.doorbell_ns);
	ck_assert_uint_eq(fake.bell.len, 0);
	ck_assert(!probe_explain(&facts, why, sizeof(why)));
	ck_assert(!probe_explain_host(0, why, sizeof(why)));
}
END_TEST

/* Each instruction in each way not to execute: that one fails, alone, and is named. */
START_TEST(fails_alone)
{
	unsigned int nr = _i / RUN_FAILS;
	char why[PROBE_SENTENCE_LEN];
	struct probe_facts facts;
	struct err err = ERR_INIT;

	fake_reset();
	fake.insns[nr] = 1 + _i % RUN_FAILS;
	ck_assert_int_eq(probe_run(0, &facts, &err), 0);
	for (unsigned int i = 0; i < 3; i++)
		ck_assert_int_eq(facts.insns[i].result, i == nr ? PROBE_FAILS : PROBE_WORKS);
	ck_assert(probe_explain(&facts, why, sizeof(why)));
	ck_assert_ptr_nonnull(strstr(why, facts.insns[nr].name));
	if (fake.insns[nr] == HANG)
		return; /* once is enough to wait for */
	memset(why, 0, sizeof(why));
	ck_assert(probe_explain_host(0, why, sizeof(why)));
	ck_assert_ptr_nonnull(strstr(why, facts.insns[nr].name));
}
END_TEST

/* What CPUID does not offer is not tried, and nobody's fault. */
START_TEST(not_offered)
{
	static const uint32_t ecx[] = { 1u << 13, 0, 1u << 26 }, edx[] = { 0, 1u << 0, 0 };
	struct probe_facts facts;
	struct err err = ERR_INIT;
	char why[PROBE_SENTENCE_LEN];

	fake_reset();
	fake.ecx = ~ecx[_i];
	fake.edx = ~edx[_i];
	fake.insns[_i] = INTERNAL;
	ck_assert_int_eq(probe_run(0, &facts, &err), 0);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(facts.insns[i].result, i == _i ? PROBE_NOT_OFFERED : PROBE_WORKS);
	ck_assert(!probe_explain(&facts, why, sizeof(why)));
	/* and the bit alone makes it tried */
	fake_reset();
	fake.ecx = ecx[_i];
	fake.edx = edx[_i];
	ck_assert_int_eq(probe_run(0, &facts, &err), 0);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(facts.insns[i].result, i == _i ? PROBE_WORKS : PROBE_NOT_OFFERED);
}
END_TEST

/* Every combination of three results: the sentence lists what fails, in order, in words. */
START_TEST(explains)
{
	static const char *const names[] = { "a", "b", "c" };
	static const char *const lists[] = { "",  "a",       "b",       "a and b",
					     "c", "a and c", "b and c", "a, b and c" };

	for (unsigned int n = 0; n < 64; n++) {
		struct probe_facts facts = { .insns_nr = 3 };
		char why[PROBE_SENTENCE_LEN], want[PROBE_SENTENCE_LEN];
		unsigned int fails = 0;

		for (unsigned int i = 0, rest = n; i < 3; i++, rest /= 4) {
			facts.insns[i] = (struct probe_insn){ names[i], rest % 4 };
			fails |= (rest % 4 == PROBE_FAILS) << i;
		}
		ck_assert_int_eq(probe_explain(&facts, why, sizeof(why)), fails != 0);
		snprintf(want, sizeof(want), "cannot execute %s, which Linux needs", lists[fails]);
		ck_assert_msg(!fails || strstr(why, want), "%u: %s", n, why);
	}
}
END_TEST

START_TEST(explains_in_any_room)
{
	struct probe_facts facts = { .insns_nr = 1, .insns = { { "cmpxchg16b", PROBE_FAILS } } };

	for (size_t len = 1; len < PROBE_SENTENCE_LEN; len++) {
		char *why = malloc(len);
		ck_assert(probe_explain(&facts, why, len));
		ck_assert_uint_lt(strlen(why), len);
		free(why);
	}
}
END_TEST

/* Each call fails once: an error that says so or a missing figure, and nothing stays behind. */
START_TEST(call_fails)
{
	unsigned int fds = open_fds(), n;
	bool done = false;

	for (n = 1; !done; n++) {
		struct probe_facts facts;
		struct err err = ERR_INIT;
		sigset_t mask;
		int ret;

		fake_reset();
		fake.fail_at = n;
		ret = probe_run(0, &facts, &err);
		done = !fake.failed;
		bool optional = done || fake.failed == KVM_CHECK_EXTENSION ||
				fake.failed == KVM_IOEVENTFD || fake.failed == KVM_GET_REGS;
		ck_assert_int_eq(ret == 0, optional);
		ck_assert_int_eq(err.kind, optional ? ERR_NONE : ERR_HOST);
		ck_assert_int_eq(err.msg[0] != 0, !optional);
		ck_assert_uint_eq(open_fds(), fds);
		pthread_sigmask(SIG_SETMASK, NULL, &mask);
		ck_assert_int_eq(sigismember(&mask, KICK_SIGNAL), 0);
	}
	ck_assert_uint_gt(n, 30);
}
END_TEST

START_TEST(explains_no_host_that_does_not_answer)
{
	char why[PROBE_SENTENCE_LEN];

	fake_reset();
	fake.fail_at = 1;
	ck_assert(!probe_explain_host(0, why, sizeof(why)));
}
END_TEST

/* The caller's mask comes back, also when the kick was blocked before. */
START_TEST(signal_mask_comes_back)
{
	struct probe_facts facts;
	struct err err = ERR_INIT;
	sigset_t mask, after;

	fake_reset();
	sigemptyset(&mask);
	sigaddset(&mask, KICK_SIGNAL);
	sigaddset(&mask, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &mask, NULL);
	ck_assert_int_eq(probe_run(0, &facts, &err), 0);
	pthread_sigmask(SIG_SETMASK, NULL, &after);
	for (int sig = 1; sig < SIGRTMAX; sig++)
		ck_assert_int_eq(sigismember(&after, sig), sigismember(&mask, sig));
	ck_assert(!kicked(false));
}
END_TEST

START_TEST(measures_nothing_on_an_idle_host)
{
	struct probe_facts facts;
	struct err err = ERR_INIT;

	fake_reset();
	fake.idle = true;
	ck_assert_int_eq(probe_run(0, &facts, &err), 0);
	ck_assert(!facts.insns_per_sec && !facts.pio_ns && !facts.mmio_ns && !facts.doorbell_ns);
	ck_assert_uint_gt(fake.runs, 3 + 4); /* it tried again */
}
END_TEST

START_TEST(guest_dies_while_measured)
{
	struct probe_facts facts;
	struct err err = ERR_INIT;

	fake_reset();
	fake.measure_shutdown = true;
	ck_assert_int_lt(probe_run(0, &facts, &err), 0);
	ck_assert_int_eq(err.kind, ERR_HOST);
	ck_assert_ptr_nonnull(strstr(err.msg, "exit reason 8"));
}
END_TEST

START_TEST(host_without_doorbells)
{
	struct probe_facts facts;
	struct err err = ERR_INIT;

	fake_reset();
	fake.no_ioeventfd = true;
	ck_assert_int_eq(probe_run(0, &facts, &err), 0);
	ck_assert(facts.mmio_ns && !facts.doorbell_ns);
	fake_reset();
	fake.any_length = false;
	ck_assert_int_eq(probe_run(0, &facts, &err), 0);
	ck_assert(facts.doorbell_ns && fake.bell.len == 2);
}
END_TEST

START_TEST(vcpu_state_too_small)
{
	struct probe_facts facts;
	struct err err = ERR_INIT;

	fake_reset();
	fake.run_len = sizeof(struct kvm_run) - 1;
	ck_assert_int_eq(probe_run(0, &facts, &err), -EIO);
	ck_assert_int_eq(err.kind, ERR_HOST);
	ck_assert_uint_eq(fake.runs, 0);
}
END_TEST

UNIT_SUITE("probe", {
	tcase_add_test(tc, everything_works);
	tcase_add_loop_test(tc, fails_alone, 0, 3 * RUN_FAILS);
	tcase_add_loop_test(tc, not_offered, 0, 3);
	tcase_add_test(tc, explains);
	tcase_add_test(tc, explains_in_any_room);
	tcase_add_test(tc, call_fails);
	tcase_add_test(tc, explains_no_host_that_does_not_answer);
	tcase_add_test(tc, signal_mask_comes_back);
	tcase_add_test(tc, measures_nothing_on_an_idle_host);
	tcase_add_test(tc, guest_dies_while_measured);
	tcase_add_test(tc, host_without_doorbells);
	tcase_add_test(tc, vcpu_state_too_small);
})
