// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <lkvm/probe.h>
#include <lkvm/util.h>

#include "probe-guest.h"
#include "probe-vm.h"

#define RAM_LEN       0x10000
#define GPA_CODE      0x1000
#define GPA_PML4      0x2000
#define GPA_PDPT      0x3000
#define GPA_PD        0x4000
#define GPA_STACK     0x8000 /* top */
#define HUGE_PAGE_LEN 0x200000

/* Where KVM keeps pages of its own on some CPUs: three and one, away from RAM. */
#define GPA_KVM_TSS      0xfffbd000
#define GPA_KVM_IDENTITY 0xfffbc000

/* Intel SDM volume 3, chapters 2.5 (control registers) and 4.5 (paging). */
#define CR0_PE         (1u << 0)
#define CR0_MP         (1u << 1)
#define CR0_ET         (1u << 4)
#define CR0_NE         (1u << 5)
#define CR0_PG         (1u << 31)
#define CR4_PAE        (1u << 5)
#define CR4_OSFXSR     (1u << 9)
#define EFER_LME       (1u << 8)
#define EFER_LMA       (1u << 10)
#define PTE_P_RW       0x3
#define PTE_PS         0x80

#define CPUID_NENT_MAX 512

static int refused(struct err *err, const char *call)
{
	return err_host(err, errno, "KVM refused %s", call);
}

/* Page tables for the first GiB, and the code. */
static void ram_fill(uint8_t *ram)
{
	put_le64(ram + GPA_PML4, GPA_PDPT | PTE_P_RW);
	put_le64(ram + GPA_PDPT, GPA_PD | PTE_P_RW);
	for (uint64_t i = 0; i < 512; i++)
		put_le64(ram + GPA_PD + i * 8, i * HUGE_PAGE_LEN | PTE_P_RW | PTE_PS);
	memcpy(ram + GPA_CODE, probe_guest_start, probe_guest_end - probe_guest_start);
}

static int ram_init(struct probe_vm *vm, struct err *err)
{
	struct kvm_userspace_memory_region slot = { .memory_size = RAM_LEN };
	void *ram = mmap(NULL, RAM_LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (ram == MAP_FAILED)
		return err_host(err, errno, "no memory for the probe");
	vm->ram = ram;
	ram_fill(vm->ram);
	slot.userspace_addr = (uintptr_t)ram;
	if (ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
		return refused(err, "a memory slot");
	return 0;
}

static int cpuid_init(struct probe_vm *vm, struct err *err)
{
	vm->cpuid = calloc(1, sizeof(*vm->cpuid) + CPUID_NENT_MAX * sizeof(vm->cpuid->entries[0]));
	if (!vm->cpuid)
		return err_host(err, ENOMEM, "no memory for the probe");
	vm->cpuid->nent = CPUID_NENT_MAX;
	if (ioctl(vm->dev_fd, KVM_GET_SUPPORTED_CPUID, vm->cpuid) < 0)
		return refused(err, "to tell its CPUID");
	return 0;
}

int probe_vm_init(struct probe_vm *vm, int dev_fd, struct err *err)
{
	uint64_t identity = GPA_KVM_IDENTITY;
	int len, ret;

	*vm = (struct probe_vm){ .dev_fd = dev_fd, .vm_fd = -1 };
	ret = kick_init(&vm->kick, err);
	if (ret < 0)
		return ret;
	vm->vm_fd = ioctl(dev_fd, KVM_CREATE_VM, 0);
	if (vm->vm_fd < 0)
		return refused(err, "a VM");
	len = ioctl(dev_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (len < (int)sizeof(struct kvm_run))
		return err_host(err, 0, "KVM's vCPU state has no usable size");
	vm->run_len = len;
	if (ioctl(vm->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0 ||
	    ioctl(vm->vm_fd, KVM_SET_TSS_ADDR, GPA_KVM_TSS) < 0)
		return refused(err, "an address for its own pages");
	ret = ram_init(vm, err);
	return ret < 0 ? ret : cpuid_init(vm, err);
}

void probe_vm_release(struct probe_vm *vm)
{
	free(vm->cpuid);
	if (vm->vm_fd >= 0)
		close(vm->vm_fd);
	if (vm->ram)
		munmap(vm->ram, RAM_LEN);
	kick_release(&vm->kick);
}

/* Long mode with paging, flat segments and no interrupts. Intel SDM volume 3, chapter 3.4.5. */
static void sregs_long_mode(struct kvm_sregs *s, uint32_t cr4)
{
	const struct kvm_segment code = {
		.limit = ~0u, .selector = 8, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1
	};
	const struct kvm_segment data = {
		.limit = ~0u, .selector = 16, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1
	};
	const struct kvm_segment task = { .limit = 0x67, .selector = 24, .type = 11, .present = 1 };

	s->cs = code;
	s->ds = s->es = s->fs = s->gs = s->ss = data;
	s->tr = task;
	s->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_PG;
	s->cr3 = GPA_PML4;
	s->cr4 = CR4_PAE | CR4_OSFXSR | cr4;
	s->efer = EFER_LME | EFER_LMA;
}

static int vcpu_signals(const struct probe_vm *vm, const struct probe_vcpu *v, struct err *err)
{
	/* KVM takes the kernel's 8-byte set right behind the length. */
	uint64_t set = kick_mask(&vm->kick);
	uint8_t mask[sizeof(struct kvm_signal_mask) + sizeof(set)] = { 0 };
	const struct kvm_signal_mask head = { .len = sizeof(set) };

	memcpy(mask, &head, sizeof(head));
	memcpy(mask + offsetof(struct kvm_signal_mask, sigset), &set, sizeof(set));
	return ioctl(v->fd, KVM_SET_SIGNAL_MASK, mask) < 0 ? refused(err, "a signal mask") : 0;
}

static int vcpu_set(const struct probe_vm *vm, const struct probe_vcpu *v,
		    const struct probe_entry *entry, struct err *err)
{
	struct kvm_sregs sregs;
	const struct kvm_regs regs = {
		.rax = entry->rax,
		.rbx = entry->rbx,
		.rcx = entry->rcx,
		.rdx = entry->rdx,
		.rsi = PROBE_GPA_DATA,
		.rdi = PROBE_GPA_MMIO,
		.rsp = GPA_STACK,
		.rip = GPA_CODE + (entry->code - probe_guest_start),
		.rflags = 2, /* bit 1 is always set */
	};

	if (ioctl(v->fd, KVM_SET_CPUID2, vm->cpuid) < 0)
		return refused(err, "the CPUID that it offers");
	if (ioctl(v->fd, KVM_GET_SREGS, &sregs) < 0)
		return refused(err, "to tell a vCPU's registers");
	sregs_long_mode(&sregs, entry->cr4);
	if (ioctl(v->fd, KVM_SET_SREGS, &sregs) < 0 || ioctl(v->fd, KVM_SET_REGS, &regs) < 0)
		return refused(err, "to start a vCPU in long mode");
	return vcpu_signals(vm, v, err);
}

void probe_vcpu_close(const struct probe_vm *vm, struct probe_vcpu *v)
{
	if (v->run)
		munmap(v->run, vm->run_len);
	if (v->fd >= 0)
		close(v->fd);
}

int probe_vcpu_open(struct probe_vm *vm, const struct probe_entry *entry, struct probe_vcpu *v,
		    struct err *err)
{
	void *run;
	int ret;

	*v = (struct probe_vcpu){ .fd = ioctl(vm->vm_fd, KVM_CREATE_VCPU,
					      (unsigned long)vm->vcpus_nr) };
	if (v->fd < 0)
		return refused(err, "a vCPU");
	vm->vcpus_nr++;
	run = mmap(NULL, vm->run_len, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	if (run == MAP_FAILED) {
		ret = refused(err, "to map a vCPU's state");
	} else {
		v->run = run;
		ret = vcpu_set(vm, v, entry, err);
	}
	if (ret < 0)
		probe_vcpu_close(vm, v);
	return ret;
}
