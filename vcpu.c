/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <lkvm/arch.h>
#include <lkvm/bus.h>
#include <lkvm/coalesced.h>
#include <lkvm/kvm.h>
#include <lkvm/log.h>
#include <lkvm/stop.h>
#include <lkvm/thread.h>
#include <lkvm/util.h>
#include <lkvm/vcpu.h>

/* A vCPU that sleeps for good takes less CPU time than this from one vcpu_poll_stuck() to the next. */
#define QUIET_NS (10 * NSEC_PER_SEC / 1000)

static const char *const exit_names[VCPU_EXITS_NR] = {
	[KVM_EXIT_UNKNOWN] = "UNKNOWN",
	[KVM_EXIT_EXCEPTION] = "EXCEPTION",
	[KVM_EXIT_IO] = "IO",
	[KVM_EXIT_HYPERCALL] = "HYPERCALL",
	[KVM_EXIT_DEBUG] = "DEBUG",
	[KVM_EXIT_HLT] = "HLT",
	[KVM_EXIT_MMIO] = "MMIO",
	[KVM_EXIT_IRQ_WINDOW_OPEN] = "IRQ_WINDOW_OPEN",
	[KVM_EXIT_SHUTDOWN] = "SHUTDOWN",
	[KVM_EXIT_FAIL_ENTRY] = "FAIL_ENTRY",
	[KVM_EXIT_INTR] = "INTR",
	[KVM_EXIT_SET_TPR] = "SET_TPR",
	[KVM_EXIT_TPR_ACCESS] = "TPR_ACCESS",
	[KVM_EXIT_NMI] = "NMI",
	[KVM_EXIT_INTERNAL_ERROR] = "INTERNAL_ERROR",
	[KVM_EXIT_SYSTEM_EVENT] = "SYSTEM_EVENT",
	[KVM_EXIT_IOAPIC_EOI] = "IOAPIC_EOI",
	[KVM_EXIT_X86_RDMSR] = "RDMSR",
	[KVM_EXIT_X86_WRMSR] = "WRMSR",
	[KVM_EXIT_X86_BUS_LOCK] = "BUS_LOCK",
};

const char *vcpu_exit_name(unsigned int reason)
{
	return reason < VCPU_EXITS_NR && exit_names[reason] ? exit_names[reason] : "?";
}

/* Every signal stays blocked in KVM_RUN but the kick (see vcpu.h). */
static int set_signal_mask(struct vcpu *vcpu)
{
	/* The kernel's sigset, after the head: bit n is signal n + 1. */
	uint64_t set = ~(1ULL << (VCPU_KICK_SIGNAL - 1));
	uint8_t buf[sizeof(struct kvm_signal_mask) + sizeof(set)] __attribute__((aligned(8)));
	struct kvm_signal_mask *mask = (void *)buf;

	mask->len = sizeof(set);
	memcpy(mask->sigset, &set, sizeof(set));
	return ioctl(vcpu->fd, KVM_SET_SIGNAL_MASK, mask) ? -errno : 0;
}

int vcpu_init(struct vcpu *vcpu, struct kvm *kvm, unsigned int id, unsigned int cpus_nr,
	      struct err *err)
{
	*vcpu = (struct vcpu){ .kvm = kvm, .id = id, .fd = -1, .run = MAP_FAILED, .host_cpu = -1 };

	vcpu->fd = ioctl(kvm->vm_fd, KVM_CREATE_VCPU, (unsigned long)id);
	if (vcpu->fd < 0)
		return err_host(err, errno, "KVM cannot make vCPU %u of %u", id, cpus_nr);
	vcpu->run = mmap(NULL, kvm->run_len, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	int ret;
	if (vcpu->run == MAP_FAILED)
		ret = err_host(err, errno, "cannot map vCPU %u", id);
	else if ((ret = set_signal_mask(vcpu)))
		ret = err_internal(err, "KVM_SET_SIGNAL_MASK: %s", strerror(-ret));
	else
		ret = arch_vcpu_init(vcpu, cpus_nr, err);
	if (ret)
		vcpu_release(vcpu);
	return ret;
}

void vcpu_release(struct vcpu *vcpu)
{
	if (vcpu->run != MAP_FAILED)
		munmap(vcpu->run, vcpu->kvm->run_len);
	if (vcpu->fd >= 0)
		close(vcpu->fd);
	vcpu->run = MAP_FAILED;
	vcpu->fd = -1;
}

static void count_write(struct vcpu *vcpu)
{
	uint64_t n = atomic_load_explicit(&vcpu->writes, memory_order_relaxed);

	atomic_store_explicit(&vcpu->writes, n + 1, memory_order_relaxed);
}

static void handle_io(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;

	if (run->io.direction != KVM_EXIT_IO_IN)
		count_write(vcpu);
	/* A string instruction gives all its elements at once. */
	for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
		if (run->io.direction == KVM_EXIT_IO_IN)
			bus_read(vcpu->pio, run->io.port, data, run->io.size);
		else
			bus_write(vcpu->pio, run->io.port, data, run->io.size);
	}
}

static void handle_mmio(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;

	if (run->mmio.is_write)
		count_write(vcpu);
	if (run->mmio.is_write)
		bus_write(vcpu->mmio, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
	else
		bus_read(vcpu->mmio, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
}

static void handle_system_event(struct vcpu *vcpu)
{
	switch (vcpu->run->system_event.type) {
	case KVM_SYSTEM_EVENT_SHUTDOWN:
		stop_request(vcpu->stop, STOP_POWEROFF, 0, "power-off");
		break;
	case KVM_SYSTEM_EVENT_RESET:
		stop_request(vcpu->stop, STOP_RESET, 0, "reset");
		break;
	case KVM_SYSTEM_EVENT_CRASH:
		stop_request(vcpu->stop, STOP_PANIC, 0, "the guest reported a crash to KVM");
		break;
	default:
		break;
	}
}

static void handle_internal_error(struct vcpu *vcpu)
{
	static const char *const names[] = {
		[KVM_INTERNAL_ERROR_EMULATION] = "an instruction that KVM cannot emulate",
		[KVM_INTERNAL_ERROR_SIMUL_EX] = "simultaneous exceptions",
		[KVM_INTERNAL_ERROR_DELIVERY_EV] = "a fault while an event was delivered",
	};
	uint32_t suberror = vcpu->run->internal.suberror;
	const char *name = suberror < ARRAY_SIZE(names) ? names[suberror] : NULL;

	stop_request(vcpu->stop, STOP_KVM, suberror, "KVM internal error %u on vCPU %u%s%s",
		     suberror, vcpu->id, name ? ": " : "", name ? name : "");
}

static void unexpected_exit(struct vcpu *vcpu)
{
	uint32_t reason = vcpu->run->exit_reason;

	stop_request(vcpu->stop, STOP_KVM, reason,
		     "KVM gave exit %u (%s), which lkvm did not ask for, on vCPU %u", reason,
		     vcpu_exit_name(reason), vcpu->id);
}

static void handle_exit(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;

	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		handle_io(vcpu);
		break;
	case KVM_EXIT_MMIO:
		handle_mmio(vcpu);
		break;
	case KVM_EXIT_INTR:
		break;
	case KVM_EXIT_SHUTDOWN:
		stop_request(vcpu->stop, STOP_TRIPLE_FAULT, 0, "triple fault on vCPU %u", vcpu->id);
		break;
	case KVM_EXIT_SYSTEM_EVENT:
		handle_system_event(vcpu);
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		handle_internal_error(vcpu);
		break;
	case KVM_EXIT_FAIL_ENTRY:
		stop_request(vcpu->stop, STOP_KVM, 0,
			     "the CPU refuses to enter vCPU %u, reason 0x%llx", vcpu->id,
			     (unsigned long long)run->fail_entry.hardware_entry_failure_reason);
		break;
	case KVM_EXIT_DEBUG:
		if (vcpu->on_break)
			vcpu->on_break(vcpu, vcpu->break_arg);
		else
			unexpected_exit(vcpu);
		break;
	default:
		unexpected_exit(vcpu);
	}
}

/* Takes the pending kick away, else every later KVM_RUN would return at once. */
static void eat_kick(void)
{
	static const struct timespec now = { 0, 0 };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, VCPU_KICK_SIGNAL);
	while (sigtimedwait(&set, NULL, &now) > 0)
		;
}

static bool may_run(struct vcpu *vcpu)
{
	return !atomic_load_explicit(&vcpu->quit, memory_order_relaxed) &&
	       !atomic_load_explicit(&vcpu->stop->ended, memory_order_relaxed);
}

static void take_exit(struct vcpu *vcpu)
{
	if (!vcpu->first_exit_ns)
		vcpu->first_exit_ns = util_now_ns();
	vcpu->exits[MIN(vcpu->run->exit_reason, VCPU_EXITS_NR - 1U)]++;
	handle_exit(vcpu);
}

static void take_kick(struct vcpu *vcpu)
{
	eat_kick();
	if (atomic_exchange(&vcpu->asked, false))
		atomic_store(&vcpu->stuck, arch_vcpu_is_stuck(vcpu));
}

static void *vcpu_loop(void *arg)
{
	struct vcpu *vcpu = arg;

	while (may_run(vcpu)) {
		int ret = ioctl(vcpu->fd, KVM_RUN, 0);
		int errnum = errno;

		/* Writes that were queued before this exit come first. */
		if (vcpu->coalesced)
			coalesced_drain(vcpu->coalesced);
		if (ret == 0) {
			take_exit(vcpu);
		} else if (errnum == EINTR || errnum == EAGAIN) {
			take_kick(vcpu);
		} else {
			stop_request(vcpu->stop, STOP_KVM, errnum, "KVM_RUN failed on vCPU %u: %s",
				     vcpu->id, strerror(errnum));
		}
	}
	return NULL;
}

int vcpu_start(struct vcpu *vcpu, struct err *err)
{
	char name[16];

	snprintf(name, sizeof(name), "vcpu%u", vcpu->id);
	int ret = thread_start(&vcpu->thread, name, vcpu->host_cpu, vcpu_loop, vcpu);
	if (ret && vcpu->host_cpu >= 0)
		return err_host(err, -ret, "--vcpu-affinity: cannot run vCPU %u on host CPU %d",
				vcpu->id, vcpu->host_cpu);
	if (ret)
		return err_host(err, -ret, "cannot start the thread of vCPU %u", vcpu->id);
	vcpu->started = true;
	return 0;
}

void vcpu_kick_out(struct vcpu *vcpu)
{
	if (!vcpu->started)
		return;
	atomic_store(&vcpu->quit, true);
	/* The flag catches a thread on its way into KVM_RUN, the signal one that is inside. */
	__atomic_store_n(&vcpu->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	pthread_kill(vcpu->thread, VCPU_KICK_SIGNAL);
}

void vcpu_join(struct vcpu *vcpu)
{
	if (!vcpu->started)
		return;
	pthread_join(vcpu->thread, NULL);
	vcpu->started = false;
}

bool vcpu_poll_stuck(struct vcpu *vcpu)
{
	bool stuck = atomic_exchange(&vcpu->stuck, false);
	struct timespec ts;
	clockid_t clock;

	if (!vcpu->started || pthread_getcpuclockid(vcpu->thread, &clock) ||
	    clock_gettime(clock, &ts))
		return false;
	uint64_t cpu_ns = ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
	bool quiet = cpu_ns - vcpu->cpu_ns < QUIET_NS;
	vcpu->cpu_ns = cpu_ns;
	if (quiet) {
		atomic_store(&vcpu->asked, true);
		pthread_kill(vcpu->thread, VCPU_KICK_SIGNAL);
	}
	return stuck && quiet;
}
