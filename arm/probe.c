/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <lkvm/arch.h>
#include <lkvm/kick.h>
#include <lkvm/probe.h>
#include <lkvm/util.h>

#define RAM_LEN           0x10000
#define GPA_CODE          0x1000
#define GPA_MMIO          0x100000
#define MEASURE_NS        (NSEC_PER_SEC / 50)
#define MEASURE_TRIES_MAX 10

#define REG(n)            (KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | (n))
#define REG_X0            REG(KVM_REG_ARM_CORE_REG(regs.regs[0]))
#define REG_X2            REG(KVM_REG_ARM_CORE_REG(regs.regs[2]))
#define REG_PC            REG(KVM_REG_ARM_CORE_REG(regs.pc))

/* Without an end: the timer ends them. */
#define COUNT_INSNS 4
static const uint32_t code_count[] = {
	0x91000400, /* add x0, x0, #1 */
	0xd503201f, /* nop */
	0xd503201f, /* nop */
	0x17fffffd, /* b .-12 */
};
static const uint32_t code_store[] = {
	0x79000041, /* strh w1, [x2] */
	0x17ffffff, /* b .-4 */
};

struct probe_vm {
	int vm_fd, vcpu_fd;
	uint8_t *ram;
	size_t run_len;
	struct kvm_run *run;
	struct kick kick;
};

static int refused(struct err *err, const char *call)
{
	return err_host(err, errno, "KVM refused %s", call);
}

static int set_reg(const struct probe_vm *vm, uint64_t id, uint64_t value, struct err *err)
{
	struct kvm_one_reg reg = { .id = id, .addr = (uintptr_t)&value };

	return ioctl(vm->vcpu_fd, KVM_SET_ONE_REG, &reg) < 0 ? refused(err, "a vCPU's registers")
							     : 0;
}

static int ram_init(struct probe_vm *vm, struct err *err)
{
	struct kvm_userspace_memory_region slot = { .memory_size = RAM_LEN };
	void *ram = mmap(NULL, RAM_LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (ram == MAP_FAILED)
		return err_host(err, errno, "no memory for the probe");
	vm->ram = ram;
	slot.userspace_addr = (uintptr_t)ram;
	return ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0
		       ? refused(err, "a memory slot")
		       : 0;
}

static int vcpu_signals(const struct probe_vm *vm, struct err *err)
{
	/* KVM takes the kernel's 8-byte set right behind the length. */
	uint64_t set = kick_mask(&vm->kick);
	uint8_t mask[sizeof(struct kvm_signal_mask) + sizeof(set)] = { 0 };
	const struct kvm_signal_mask head = { .len = sizeof(set) };

	memcpy(mask, &head, sizeof(head));
	memcpy(mask + offsetof(struct kvm_signal_mask, sigset), &set, sizeof(set));
	return ioctl(vm->vcpu_fd, KVM_SET_SIGNAL_MASK, mask) < 0 ? refused(err, "a signal mask")
								 : 0;
}

static int vcpu_init(struct probe_vm *vm, int dev_fd, struct err *err)
{
	struct kvm_vcpu_init init = { 0 };
	int len = ioctl(dev_fd, KVM_GET_VCPU_MMAP_SIZE, 0);

	if (len < (int)sizeof(struct kvm_run))
		return err_host(err, 0, "KVM's vCPU state has no usable size");
	vm->run_len = (size_t)len;
	vm->vcpu_fd = ioctl(vm->vm_fd, KVM_CREATE_VCPU, 0ul);
	if (vm->vcpu_fd < 0)
		return refused(err, "a vCPU");
	void *run = mmap(NULL, vm->run_len, PROT_READ | PROT_WRITE, MAP_SHARED, vm->vcpu_fd, 0);
	if (run == MAP_FAILED)
		return refused(err, "to map a vCPU's state");
	vm->run = run;
	if (ioctl(vm->vm_fd, KVM_ARM_PREFERRED_TARGET, &init) < 0 ||
	    ioctl(vm->vcpu_fd, KVM_ARM_VCPU_INIT, &init) < 0)
		return refused(err, "to set up a vCPU");
	return vcpu_signals(vm, err);
}

/* probe_vm_release() also undoes one that failed. */
static int probe_vm_init(struct probe_vm *vm, int dev_fd, struct err *err)
{
	*vm = (struct probe_vm){ .vm_fd = -1, .vcpu_fd = -1 };
	int ret = kick_init(&vm->kick, err);
	if (ret)
		return ret;
	vm->vm_fd = ioctl(dev_fd, KVM_CREATE_VM, arch_vm_type(dev_fd));
	if (vm->vm_fd < 0)
		return refused(err, "a VM");
	ret = ram_init(vm, err);
	return ret ? ret : vcpu_init(vm, dev_fd, err);
}

static void probe_vm_release(struct probe_vm *vm)
{
	if (vm->run)
		munmap(vm->run, vm->run_len);
	if (vm->vcpu_fd >= 0)
		close(vm->vcpu_fd);
	if (vm->vm_fd >= 0)
		close(vm->vm_fd);
	if (vm->ram)
		munmap(vm->ram, RAM_LEN);
	kick_release(&vm->kick);
}

/* Lets the guest run until the kick, and adds how often it came out before. */
static int run_until_kick(struct probe_vm *vm, uint64_t *exits, struct err *err)
{
	int ret = 0;

	kick_after(&vm->kick, MEASURE_NS);
	for (;;) {
		if (ioctl(vm->vcpu_fd, KVM_RUN, 0) < 0) {
			if (errno != EINTR)
				ret = err_host(err, errno, "KVM refused to run the probe's guest");
			break;
		}
		if (vm->run->exit_reason != KVM_EXIT_MMIO) {
			ret = err_host(err, 0, "KVM gave up on the probe's guest (exit reason %u)",
				       vm->run->exit_reason);
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
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

/* What is counted: rings of an eventfd when there is one, else turns of the guest and exits. */
static uint64_t count(const struct probe_vm *vm, int bell_fd, uint64_t exits)
{
	uint64_t v = 0;
	struct kvm_one_reg reg = { .id = REG_X0, .addr = (uintptr_t)&v };

	if (bell_fd >= 0)
		return read(bell_fd, &v, sizeof(v)) == sizeof(v) ? v : 0;
	if (exits)
		return exits;
	return ioctl(vm->vcpu_fd, KVM_GET_ONE_REG, &reg) < 0 ? 0 : v;
}

/* A busy host may not run the guest at all before the kick: while nothing is counted, once more. */
static int measure(struct probe_vm *vm, uint64_t pc, int bell_fd, uint64_t *nr, uint64_t *ns,
		   struct err *err)
{
	uint64_t exits = 0, start;

	*nr = *ns = 0;
	int ret = set_reg(vm, REG_PC, pc, err);
	if (!ret)
		ret = set_reg(vm, REG_X2, GPA_MMIO, err);
	start = cpu_time_ns();
	for (int i = 0; i < MEASURE_TRIES_MAX && !*nr && !ret; i++) {
		ret = run_until_kick(vm, &exits, err);
		*ns = MAX(cpu_time_ns() - start, UINT64_C(1));
		*nr = count(vm, bell_fd, exits);
	}
	return ret;
}

/* The last measurement: from then on the address no longer exits. */
static int measure_doorbell(struct probe_vm *vm, uint64_t pc, uint64_t *cost_ns, struct err *err)
{
	struct kvm_ioeventfd bell = { .addr = GPA_MMIO };
	uint64_t nr = 0, ns = 0;
	int ret = 0;

	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd < 0)
		return err_host(err, errno, "no eventfd for the probe");
	bell.fd = fd;
	if (ioctl(vm->vm_fd, KVM_IOEVENTFD, &bell) == 0)
		ret = measure(vm, pc, fd, &nr, &ns, err);
	close(fd);
	*cost_ns = nr ? ns / nr : 0;
	return ret;
}

static int measure_all(struct probe_vm *vm, struct probe_facts *facts, struct err *err)
{
	const uint64_t store = GPA_CODE + sizeof(code_count);
	uint64_t nr, ns;

	memcpy(vm->ram + GPA_CODE, code_count, sizeof(code_count));
	memcpy(vm->ram + store, code_store, sizeof(code_store));
	int ret = measure(vm, GPA_CODE, -1, &nr, &ns, err);
	if (ret)
		return ret;
	facts->insns_per_sec = (uint64_t)((double)nr * COUNT_INSNS * NSEC_PER_SEC / (double)ns);
	ret = measure(vm, store, -1, &nr, &ns, err);
	facts->mmio_ns = nr ? ns / nr : 0;
	return ret ? ret : measure_doorbell(vm, store, &facts->doorbell_ns, err);
}

int probe_run(int dev_fd, struct probe_facts *facts, struct err *err)
{
	struct probe_vm vm;

	*facts = (struct probe_facts){ 0 };
	int ret = probe_vm_init(&vm, dev_fd, err);
	if (!ret)
		ret = measure_all(&vm, facts, err);
	probe_vm_release(&vm);
	return ret;
}

/* No host is known that offers KVM here and interprets its guests: what it runs, it runs as the CPU does. */
bool probe_explain(const struct probe_facts *facts, char *buf, size_t len)
{
	(void)facts;
	snprintf(buf, len, "%s", "");
	return false;
}

bool probe_explain_host(int dev_fd, char *buf, size_t len)
{
	(void)dev_fd;
	snprintf(buf, len, "%s", "");
	return false;
}
