/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What lkvm's doorbells and interrupts are compared with: the same guest, and the KVM calls alone. A thread waits in
 * epoll for the eventfd of a KVM_IOEVENTFD, and answers with a store to the guest's memory, or with a
 * KVM_SIGNAL_MSI. No devices, no rings, no registers.
 *	bare-bell PAYLOAD "test=b-bare ..."
 * prints what the guest prints, and the guest's clock in kHz on stderr.
 * Exit status: 0 the guest powered off, 1 not.
 */
#include <elf.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define MEM_LEN      (64ul << 20)
#define GPA_GDT      0x500
#define GPA_PML4     0x2000 /* PDPT and four PDs follow */
#define GPA_PARAMS   0x8000
#define GPA_CMDLINE  0x10000
#define GPA_ANSWER   0x1000000 /* as in tests/guest/cases-bench.c, also the next two */
#define GPA_DOOR     0xd0000000u
#define VECTOR       0x51
#define CPUIDS_NR    256
#define IDENTITY_GPA 0xfffbc000ul
#define TSS_GPA      0xfffbd000ul
#define COM1_DATA    0x3f8
#define COM1_STATUS  0x3fd
#define PM_CONTROL   0x604

struct bare {
	int dev, vm, cpu, bell, epoll;
	uint8_t *mem;
	struct kvm_run *run;
	bool msi;
};

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	exit(1);
}

static void make_vm(struct bare *b)
{
	uint64_t identity = IDENTITY_GPA;
	struct kvm_userspace_memory_region slot = { .memory_size = MEM_LEN };

	b->dev = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	must(b->dev >= 0, "/dev/kvm");
	b->vm = ioctl(b->dev, KVM_CREATE_VM, 0);
	must(b->vm >= 0 && !ioctl(b->vm, KVM_SET_IDENTITY_MAP_ADDR, &identity) &&
		     !ioctl(b->vm, KVM_SET_TSS_ADDR, TSS_GPA) &&
		     !ioctl(b->vm, KVM_CREATE_IRQCHIP, 0),
	     "KVM_CREATE_VM");
	b->mem = mmap(NULL, MEM_LEN, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	must(b->mem != MAP_FAILED, "mmap");
	slot.userspace_addr = (uintptr_t)b->mem;
	must(!ioctl(b->vm, KVM_SET_USER_MEMORY_REGION, &slot), "KVM_SET_USER_MEMORY_REGION");
}

static uint64_t load(struct bare *b, const char *path)
{
	static uint8_t file[16 << 20];
	int fd = open(path, O_RDONLY);
	ssize_t len = fd < 0 ? -1 : read(fd, file, sizeof(file));
	Elf64_Ehdr *eh = (void *)file;
	Elf64_Phdr *ph = (void *)(file + eh->e_phoff);

	must(len > (ssize_t)sizeof(*eh), path);
	for (unsigned int i = 0; i < eh->e_phnum; i++)
		if (ph[i].p_type == PT_LOAD)
			memcpy(b->mem + ph[i].p_paddr, file + ph[i].p_offset, ph[i].p_filesz);
	close(fd);
	return eh->e_entry;
}

/* The boot protocol's: 4 GiB as they are, flat segments, and the command line. */
static void make_tables(struct bare *b, const char *cmdline)
{
	uint64_t *tables = (void *)(b->mem + GPA_PML4);
	static const uint64_t gdt[] = { 0, 0x00af9a000000ffff, 0x00cf92000000ffff };

	tables[0] = (GPA_PML4 + 0x1000) | 3;
	for (unsigned int i = 0; i < 4; i++)
		tables[512 + i] = (GPA_PML4 + 0x2000 + i * 0x1000) | 3;
	for (uint64_t i = 0; i < 4 * 512; i++)
		tables[1024 + i] = i << 21 | 0x83;
	memcpy(b->mem + GPA_GDT, gdt, sizeof(gdt));
	snprintf((char *)b->mem + GPA_CMDLINE, 4096, "%s", cmdline);
	*(uint32_t *)(b->mem + GPA_PARAMS + 0x228) = GPA_CMDLINE;
}

static void make_cpu(struct bare *b, uint64_t entry)
{
	struct kvm_regs regs = { .rip = entry, .rsi = GPA_PARAMS, .rflags = 2 };
	struct kvm_segment code = {
		.limit = ~0u, .selector = 8, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1
	};
	struct kvm_segment data = {
		.limit = ~0u, .selector = 16, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1
	};
	struct kvm_cpuid2 *ids = calloc(1, sizeof(*ids) + CPUIDS_NR * sizeof(ids->entries[0]));
	struct kvm_sregs sregs;

	b->cpu = ioctl(b->vm, KVM_CREATE_VCPU, 0);
	must(ids && b->cpu >= 0, "KVM_CREATE_VCPU");
	ids->nent = CPUIDS_NR;
	must(!ioctl(b->dev, KVM_GET_SUPPORTED_CPUID, ids) && !ioctl(b->cpu, KVM_SET_CPUID2, ids),
	     "KVM_SET_CPUID2");
	free(ids);
	must(!ioctl(b->cpu, KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
	sregs.cs = code;
	sregs.ds = sregs.es = sregs.ss = sregs.fs = sregs.gs = data;
	sregs.gdt.base = GPA_GDT;
	sregs.gdt.limit = 23;
	sregs.cr3 = GPA_PML4;
	sregs.cr4 |= 1 << 5;
	sregs.cr0 |= 0x80000001;
	sregs.efer |= 0x500;
	must(!ioctl(b->cpu, KVM_SET_SREGS, &sregs) && !ioctl(b->cpu, KVM_SET_REGS, &regs),
	     "KVM_SET_SREGS");
	b->run = mmap(NULL, (size_t)ioctl(b->dev, KVM_GET_VCPU_MMAP_SIZE, 0),
		      PROT_READ | PROT_WRITE, MAP_SHARED, b->cpu, 0);
	must(b->run != MAP_FAILED, "mmap of the vCPU");
}

static void *answer(void *arg)
{
	struct bare *b = arg;
	struct kvm_msi msi = { .address_lo = 0xfee00000, .data = VECTOR };
	struct epoll_event event;
	uint64_t rung;

	for (;;) {
		must(epoll_wait(b->epoll, &event, 1, -1) == 1 && read(b->bell, &rung, 8) == 8,
		     "epoll_wait");
		if (b->msi)
			ioctl(b->vm, KVM_SIGNAL_MSI, &msi);
		else
			__atomic_fetch_add((uint16_t *)(b->mem + GPA_ANSWER), 1, __ATOMIC_SEQ_CST);
	}
	return NULL;
}

static void make_bell(struct bare *b)
{
	struct epoll_event event = { .events = EPOLLIN };
	struct kvm_ioeventfd bell = { .addr = GPA_DOOR };
	pthread_t thread;

	b->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	b->epoll = epoll_create1(EPOLL_CLOEXEC);
	bell.fd = b->bell;
	must(b->bell >= 0 && b->epoll >= 0 &&
		     !epoll_ctl(b->epoll, EPOLL_CTL_ADD, b->bell, &event) &&
		     !ioctl(b->vm, KVM_IOEVENTFD, &bell),
	     "KVM_IOEVENTFD");
	must(!pthread_create(&thread, NULL, answer, b), "pthread_create");
}

/* A port that the console or the power-off is at; returns whether the guest goes on. */
static bool port(struct bare *b)
{
	struct kvm_run *run = b->run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;

	if (run->io.direction == KVM_EXIT_IO_IN)
		memset(data, run->io.port == COM1_STATUS ? 0x20 : 0xff, run->io.size);
	else if (run->io.port == COM1_DATA)
		putchar(*data);
	return run->io.direction == KVM_EXIT_IO_IN || run->io.port != PM_CONTROL;
}

int main(int argc, char **argv)
{
	static struct bare b;

	if (argc != 3)
		return 1;
	b.msi = strstr(argv[2], "irq=msix");
	make_vm(&b);
	uint64_t entry = load(&b, argv[1]);
	make_tables(&b, argv[2]);
	make_cpu(&b, entry);
	make_bell(&b);
	fprintf(stderr, "%d\n", ioctl(b.cpu, KVM_GET_TSC_KHZ, 0));
	for (;;) {
		must(!ioctl(b.cpu, KVM_RUN, 0), "KVM_RUN");
		if (b.run->exit_reason == KVM_EXIT_IO ? !port(&b)
						      : b.run->exit_reason != KVM_EXIT_MMIO)
			break;
	}
	return b.run->exit_reason == KVM_EXIT_IO ? 0 : 1;
}
