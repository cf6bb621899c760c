// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <lkvm/probe.h>
#include <lkvm/util.h>

#include "probe-guest.h"
#include "probe-vm.h"

/* CPUID leaf 1 and CR4: Intel SDM volume 2A (CPUID), volume 3 chapter 2.5. */
#define CPUID1_EDX_FPU   (1u << 0)
#define CPUID1_ECX_CX16  (1u << 13)
#define CPUID1_ECX_XSAVE (1u << 26)
#define CR4_OSXSAVE      (1u << 18)

/* An instruction ends KVM_RUN at once or never: only a host that does neither waits so long. */
#define INSN_DEADLINE_NS  NSEC_PER_SEC
#define MEASURE_NS        (NSEC_PER_SEC / 50)
#define MEASURE_TRIES_MAX 10

/* Does an instruction execute? */
struct question {
	const char *name;
	uint32_t ecx, edx; /* CPUID leaf 1: the bit that offers it */
	struct probe_entry entry;
	void (*prepare)(uint8_t *data); /* fills the zeroed scratch area */
	bool (*right)(
		const uint8_t *data); /* what the guest left there is what the CPU would leave */
};

static void cx16_prepare(uint8_t *data)
{
	put_le64(data, 1);
	put_le64(data + 8, 2);
}

static bool cx16_right(const uint8_t *data)
{
	return get_le64(data) == 3 && get_le64(data + 8) == 4;
}

static void x87_prepare(uint8_t *data)
{
	put_le32(data, 40);
	put_le32(data + 4, 2);
}

static bool x87_right(const uint8_t *data)
{
	return get_le32(data + 8) == 42;
}

#define XSAVE_LEGACY_LEN 512    /* the header behind it must be 0: SDM volume 1, chapter 13.4 */
#define XSAVE_FILL       0xaaaa /* no x87 control word: its upper bits are 0 */

static void xsave_prepare(uint8_t *data)
{
	for (size_t i = 0; i < XSAVE_LEGACY_LEN; i += 2)
		put_le16(data + i, XSAVE_FILL);
}

static bool xsave_right(const uint8_t *data)
{
	return get_le16(data) != XSAVE_FILL;
}

static const struct question questions[] = {
	{
		.name = "cmpxchg16b",
		.ecx = CPUID1_ECX_CX16,
		/* rdx:rax is what it expects in memory, rcx:rbx what it stores */
		.entry = { .code = probe_guest_cx16, .rax = 1, .rdx = 2, .rbx = 3, .rcx = 4 },
		.prepare = cx16_prepare,
		.right = cx16_right,
	},
	{
		.name = "x87 arithmetic",
		.edx = CPUID1_EDX_FPU,
		.entry = { .code = probe_guest_x87 },
		.prepare = x87_prepare,
		.right = x87_right,
	},
	{
		.name = "XSAVE and XRSTOR",
		.ecx = CPUID1_ECX_XSAVE,
		/* edx:eax selects the state: bit 0 is x87 */
		.entry = { .code = probe_guest_xsave, .rax = 1, .cr4 = CR4_OSXSAVE },
		.prepare = xsave_prepare,
		.right = xsave_right,
	},
};
_Static_assert(ARRAY_SIZE(questions) <= PROBE_INSNS_MAX, "struct probe_facts has no room for them");

static bool offered(const struct kvm_cpuid2 *cpuid, const struct question *q)
{
	for (uint32_t i = 0; i < cpuid->nent; i++) {
		const struct kvm_cpuid_entry2 *e = &cpuid->entries[i];
		if (e->function == 1)
			return (e->ecx & q->ecx) || (e->edx & q->edx);
	}
	return false;
}

static bool is_done(const struct kvm_run *run)
{
	return run->exit_reason == KVM_EXIT_IO && run->io.direction == KVM_EXIT_IO_OUT &&
	       run->io.port == PROBE_PORT_DONE;
}

/* Every way out of KVM_RUN but the port at the end of the code means that it does not execute. */
static int question_ask(struct probe_vm *vm, const struct question *q, enum probe_result *result,
			struct err *err)
{
	uint8_t *data = vm->ram + PROBE_GPA_DATA;
	struct probe_vcpu v;
	int ret;

	*result = PROBE_NOT_OFFERED;
	if (!offered(vm->cpuid, q))
		return 0;
	ret = probe_vcpu_open(vm, &q->entry, &v, err);
	if (ret < 0)
		return ret;
	memset(data, 0, PROBE_DATA_LEN);
	q->prepare(data);
	kick_after(&vm->kick, INSN_DEADLINE_NS);
	ret = ioctl(v.fd, KVM_RUN, 0);
	kick_cancel(&vm->kick);
	*result = ret == 0 && is_done(v.run) && q->right(data) ? PROBE_WORKS : PROBE_FAILS;
	probe_vcpu_close(vm, &v);
	return 0;
}

/* What a measurement counts. */
enum counter {
	COUNT_RCX,   /* the guest counts */
	COUNT_EXITS, /* exits to user space */
	COUNT_RINGS, /* what an ioeventfd counted */
};

struct meter {
	enum counter counter;
	struct probe_entry entry;
	int bell_fd; /* with COUNT_RINGS */
};

static uint64_t meter_read(const struct meter *m, const struct probe_vcpu *v, uint64_t exits)
{
	struct kvm_regs regs;
	uint64_t rings;

	switch (m->counter) {
	case COUNT_RCX:
		return ioctl(v->fd, KVM_GET_REGS, &regs) < 0 ? 0 : regs.rcx;
	case COUNT_RINGS:
		return read(m->bell_fd, &rings, sizeof(rings)) == sizeof(rings) ? rings : 0;
	case COUNT_EXITS:
		break;
	}
	return exits;
}

/* Lets the guest run until the kick, and adds how often it came out before. */
static int run_until_kick(struct probe_vm *vm, struct probe_vcpu *v, uint64_t *exits,
			  struct err *err)
{
	int ret = 0;

	kick_after(&vm->kick, MEASURE_NS);
	for (;;) {
		if (ioctl(v->fd, KVM_RUN, 0) < 0) {
			if (errno != EINTR)
				ret = err_host(err, errno, "KVM refused to run the probe's guest");
			break;
		}
		if (v->run->exit_reason != KVM_EXIT_IO && v->run->exit_reason != KVM_EXIT_MMIO) {
			ret = err_host(err, 0, "KVM gave up on the probe's guest (exit reason %u)",
				       v->run->exit_reason);
			break;
		}
		(*exits)++;
	}
	kick_cancel(&vm->kick);
	return ret;
}

static uint64_t cpu_time_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

/* A busy host may not run the guest at all before the kick: while nothing is counted, once more. */
static int measure(struct probe_vm *vm, const struct meter *m, uint64_t *count, uint64_t *ns,
		   struct err *err)
{
	uint64_t exits = 0, start;
	struct probe_vcpu v;
	int ret = probe_vcpu_open(vm, &m->entry, &v, err);

	*count = *ns = 0;
	if (ret < 0)
		return ret;
	start = cpu_time_ns();
	for (int i = 0; i < MEASURE_TRIES_MAX && !*count && ret == 0; i++) {
		ret = run_until_kick(vm, &v, &exits, err);
		*ns = MAX(cpu_time_ns() - start, 1u);
		*count = meter_read(m, &v, exits);
	}
	probe_vcpu_close(vm, &v);
	return ret;
}

static int measure_cost(struct probe_vm *vm, const struct meter *m, uint64_t *cost_ns,
			struct err *err)
{
	uint64_t count, ns;
	int ret = measure(vm, m, &count, &ns, err);

	*cost_ns = count ? ns / count : 0;
	return ret;
}

static int measure_rate(struct probe_vm *vm, uint64_t *insns_per_sec, struct err *err)
{
	const struct meter m = { .counter = COUNT_RCX, .entry = { .code = probe_guest_count } };
	uint64_t count, ns;
	int ret = measure(vm, &m, &count, &ns, err);

	if (ret == 0)
		*insns_per_sec = (double)count * PROBE_COUNT_INSNS * NSEC_PER_SEC / ns;
	return ret;
}

/* A write of any length is KVM's fast path; 2 bytes where that is not offered. */
static bool bell_add(const struct probe_vm *vm, int bell_fd)
{
	struct kvm_ioeventfd bell = { .addr = PROBE_GPA_MMIO, .fd = bell_fd };

	if (ioctl(vm->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_IOEVENTFD_ANY_LENGTH) <= 0)
		bell.len = 2;
	return ioctl(vm->vm_fd, KVM_IOEVENTFD, &bell) == 0;
}

/* The last measurement: from then on the address no longer exits. */
static int measure_doorbell(struct probe_vm *vm, uint64_t *doorbell_ns, struct err *err)
{
	struct meter m = { .counter = COUNT_RINGS, .entry = { .code = probe_guest_store } };
	int ret = 0;

	m.bell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (m.bell_fd < 0)
		return err_host(err, errno, "no eventfd for the probe");
	if (bell_add(vm, m.bell_fd))
		ret = measure_cost(vm, &m, doorbell_ns, err);
	close(m.bell_fd);
	return ret;
}

static int measure_all(struct probe_vm *vm, struct probe_facts *facts, struct err *err)
{
	const struct meter pio = { .counter = COUNT_EXITS,
				   .entry = { .code = probe_guest_out, .rdx = PROBE_PORT_NOBODY } };
	const struct meter mmio = { .counter = COUNT_EXITS,
				    .entry = { .code = probe_guest_store } };
	int ret = measure_rate(vm, &facts->insns_per_sec, err);

	if (ret == 0)
		ret = measure_cost(vm, &pio, &facts->pio_ns, err);
	if (ret == 0)
		ret = measure_cost(vm, &mmio, &facts->mmio_ns, err);
	if (ret == 0)
		ret = measure_doorbell(vm, &facts->doorbell_ns, err);
	return ret;
}

static int probe(int dev_fd, bool measures, struct probe_facts *facts, struct err *err)
{
	struct probe_vm vm;
	int ret;

	*facts = (struct probe_facts){ .insns_nr = ARRAY_SIZE(questions) };
	for (unsigned int i = 0; i < facts->insns_nr; i++)
		facts->insns[i].name = questions[i].name;
	ret = probe_vm_init(&vm, dev_fd, err);
	for (unsigned int i = 0; i < facts->insns_nr && ret == 0; i++)
		ret = question_ask(&vm, &questions[i], &facts->insns[i].result, err);
	if (measures && ret == 0)
		ret = measure_all(&vm, facts, err);
	probe_vm_release(&vm);
	return ret;
}

int probe_run(int dev_fd, struct probe_facts *facts, struct err *err)
{
	return probe(dev_fd, true, facts, err);
}

/* Appends "a", ", b" and " and c". */
static void list_add(char *buf, size_t len, const char *name, unsigned int nr, unsigned int total)
{
	size_t used = strlen(buf);

	snprintf(buf + used, len - used, "%s%s",
		 nr == 0          ? ""
		 : nr + 1 < total ? ", "
				  : " and ",
		 name);
}

bool probe_explain(const struct probe_facts *facts, char *buf, size_t len)
{
	char list[PROBE_SENTENCE_LEN] = "";
	unsigned int total = 0, nr = 0;

	for (unsigned int i = 0; i < facts->insns_nr; i++)
		total += facts->insns[i].result == PROBE_FAILS;
	for (unsigned int i = 0; i < facts->insns_nr; i++)
		if (facts->insns[i].result == PROBE_FAILS)
			list_add(list, sizeof(list), facts->insns[i].name, nr++, total);
	snprintf(buf, len,
		 "this host's KVM interprets guest code instead of running it, and cannot execute "
		 "%s, which Linux needs",
		 list);
	return total > 0;
}

bool probe_explain_host(int dev_fd, char *buf, size_t len)
{
	struct probe_facts facts;

	return probe(dev_fd, false, &facts, NULL) == 0 && probe_explain(&facts, buf, len);
}
