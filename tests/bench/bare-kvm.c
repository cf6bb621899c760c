/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What lkvm's start and stop are compared with: the KVM calls that a VM of one CPU and 128 MiB needs, and
 * one instruction, an OUT that ends it. No threads, no devices, no options.
 * Exit status: 0 the guest's OUT came, 1 it did not.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define MEM_LEN   (128ul << 20)
#define CODE_GPA  0x1000
#define CPUIDS_NR 256
/* Below the BIOS area, where KVM's API document puts them. */
#define IDENTITY_GPA 0xfffbc000ul
#define TSS_GPA      0xfffbd000ul

static int make_vm(int dev)
{
	uint64_t identity = IDENTITY_GPA;
	struct kvm_pit_config pit = { 0 };
	int vm = ioctl(dev, KVM_CREATE_VM, 0);

	if (vm < 0 || ioctl(vm, KVM_SET_IDENTITY_MAP_ADDR, &identity) ||
	    ioctl(vm, KVM_SET_TSS_ADDR, TSS_GPA) || ioctl(vm, KVM_CREATE_IRQCHIP, 0) ||
	    ioctl(vm, KVM_CREATE_PIT2, &pit))
		return -1;
	return vm;
}

static int add_memory(int vm)
{
	static const uint8_t code[] = { 0xe6, 0xf4, 0xf4 }; /* out %al, $0xf4; hlt */
	uint8_t *mem = mmap(NULL, MEM_LEN, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct kvm_userspace_memory_region slot = {
		.memory_size = MEM_LEN,
		.userspace_addr = (uintptr_t)mem,
	};

	if (mem == MAP_FAILED)
		return -1;
	memcpy(mem + CODE_GPA, code, sizeof(code));
	return ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot);
}

static int set_cpuid(int dev, int cpu)
{
	struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + CPUIDS_NR * sizeof(c->entries[0]));

	if (!c)
		return -1;
	c->nent = CPUIDS_NR;
	return ioctl(dev, KVM_GET_SUPPORTED_CPUID, c) || ioctl(cpu, KVM_SET_CPUID2, c);
}

/* The CPU stays in real mode, with segments of base 0. */
static int set_registers(int cpu)
{
	struct kvm_regs regs = { .rip = CODE_GPA, .rflags = 2 };
	struct kvm_sregs sregs;

	if (ioctl(cpu, KVM_GET_SREGS, &sregs))
		return -1;
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	return ioctl(cpu, KVM_SET_SREGS, &sregs) || ioctl(cpu, KVM_SET_REGS, &regs);
}

int main(void)
{
	int dev = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int vm = dev < 0 ? -1 : make_vm(dev);

	if (vm < 0 || add_memory(vm))
		return 1;
	int cpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	int len = ioctl(dev, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (cpu < 0 || len < (int)sizeof(struct kvm_run))
		return 1;
	struct kvm_run *run = mmap(NULL, (size_t)len, PROT_READ | PROT_WRITE, MAP_SHARED, cpu, 0);
	if (run == MAP_FAILED || set_cpuid(dev, cpu) || set_registers(cpu) ||
	    ioctl(cpu, KVM_RUN, 0))
		return 1;
	return run->exit_reason == KVM_EXIT_IO && run->io.port == 0xf4 ? 0 : 1;
}
