// SPDX-License-Identifier: GPL-2.0
// ARCH: x86
// LINK: core.c backtrace.c x86/debug.c util/symbols.c util/src.c gmem.c util/err.c util/util.c tests/mock/fake-kvm.c
// LIBS: -Wl,--wrap=pwrite64
#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/procfs.h>
#include <sys/stat.h>
#include <sys/user.h>
#include <unistd.h>

#include <lkvm/arch.h>
#include <lkvm/backtrace.h>
#include <lkvm/core.h>
#include <lkvm/gmem.h>
#include <lkvm/src.h>
#include <lkvm/symbols.h>
#include <lkvm/util.h>
#include <lkvm/vcpu.h>

#include "tests/mock/fake-kvm.h"
#include "unit.h"

#define DIRECT 0xffff888000000000ULL
#define KERNEL 0xffffffff80000000ULL
#define LOW    (32 * MIB)
#define HIGH   (4 * GIB)
#define PAGE   4096ULL

static struct gmem gm;
static struct vcpu vcpus[2];
static struct fake_kvm *fake;

/* The n-th write from 1 fails; 0: none. */
static unsigned int fail_write;
ssize_t __real_pwrite64(int fd, const void *buf, size_t len, off_t off);
ssize_t __wrap_pwrite64(int fd, const void *buf, size_t len, off_t off);
ssize_t __wrap_pwrite64(int fd, const void *buf, size_t len, off_t off)
{
	if (fail_write && !--fail_write) {
		errno = ENOSPC;
		return -1;
	}
	/* Short writes are as good as long ones. */
	return __real_pwrite64(fd, buf, len > 100 ? len - 1 : len, off);
}

/* As Linux maps it. */
static bool linux_maps(uint64_t vaddr, uint64_t *gpa)
{
	*gpa = vaddr - (vaddr >= KERNEL ? KERNEL : DIRECT);
	return vaddr >= KERNEL || range_ok(vaddr - DIRECT, 1, HIGH + MIB);
}

/* Only the last page of a stack that ends at 0x10000 is there, and the page behind it is no RAM. */
static bool one_page(uint64_t vaddr, uint64_t *gpa)
{
	*gpa = vaddr < 0x10000 ? vaddr : UINT64_MAX - PAGE + 1;
	return vaddr >= 0xf000 && vaddr < 0x11000;
}

static bool identity(uint64_t vaddr, uint64_t *gpa)
{
	*gpa = vaddr;
	return true;
}

static void setup(void)
{
	const struct gmem_region spans[] = { { .size = LOW }, { .gpa = HIGH, .size = MIB } };
	const struct gmem_backing backing = { 0 };
	struct err err = ERR_INIT;

	ck_assert_int_eq(gmem_init(&gm, spans, 2, &backing, &err), 0);
	fake = fake_kvm_start();
	fake->regs = (struct kvm_regs){ .rip = 0x1234, .rsp = 0xff00, .r15 = 15, .rax = 7 };
	for (unsigned int i = 0; i < ARRAY_SIZE(vcpus); i++) {
		vcpus[i] = (struct vcpu){ .id = i, .fd = memfd_create("fake-kvm", MFD_CLOEXEC) };
		ck_assert_int_ge(vcpus[i].fd, 0);
	}
	fail_write = 0;
}

static void teardown(void)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(vcpus); i++)
		close(vcpus[i].fd);
	gmem_release(&gm);
}

static int write_core(int *fd)
{
	const struct core core = { .vcpus = vcpus, .vcpus_nr = 2, .gm = &gm };

	*fd = memfd_create("core", MFD_CLOEXEC);
	ck_assert_int_ge(*fd, 0);
	return core_write(&core, *fd);
}

static void get(int fd, void *buf, size_t len, uint64_t off)
{
	ck_assert_int_eq(pread(fd, buf, len, (off_t)off), (ssize_t)len);
}

static unsigned int read_headers(int fd, Elf64_Ehdr *e, Elf64_Phdr ph[8])
{
	get(fd, e, sizeof(*e), 0);
	ck_assert_mem_eq(e->e_ident, ELFMAG, SELFMAG);
	ck_assert_uint_eq(e->e_type, ET_CORE);
	ck_assert_uint_eq(e->e_machine, EM_X86_64);
	ck_assert_uint_le(e->e_phnum, 8);
	get(fd, ph, e->e_phnum * sizeof(*ph), e->e_phoff);
	return e->e_phnum;
}

START_TEST(memory_is_where_the_kernel_sees_it)
{
	Elf64_Ehdr e;
	Elf64_Phdr ph[8];
	char text[8];
	int fd;

	fake->translate = linux_maps;
	ck_assert_int_eq(gmem_write(&gm, 17 * MIB + 5, "in low", 7), 0);
	ck_assert_int_eq(gmem_write(&gm, HIGH + MIB - 8, "in high", 8), 0);
	ck_assert_int_eq(write_core(&fd), 0);
	ck_assert_uint_eq(read_headers(fd, &e, ph), 4);
	ck_assert_uint_eq(ph[1].p_vaddr, DIRECT);
	ck_assert_uint_eq(ph[1].p_memsz, LOW);
	ck_assert_uint_eq(ph[2].p_vaddr, DIRECT + HIGH);
	ck_assert_uint_eq(ph[2].p_paddr, HIGH);
	ck_assert_uint_eq(ph[3].p_vaddr, KERNEL);
	ck_assert_uint_eq(ph[3].p_offset, ph[1].p_offset);
	ck_assert_uint_eq(ph[3].p_filesz, LOW);
	get(fd, text, 7, ph[1].p_offset + 17 * MIB + 5);
	ck_assert_str_eq(text, "in low");
	get(fd, text, 8, ph[2].p_offset + MIB - 8);
	ck_assert_str_eq(text, "in high");
	/* Pages of zeros take no room. */
	struct stat st;
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_uint_eq(st.st_size, ph[2].p_offset + MIB);
	ck_assert_uint_lt(st.st_blocks * 512ULL, 8 * PAGE);
	close(fd);
}
END_TEST

START_TEST(memory_of_an_unknown_kernel)
{
	Elf64_Ehdr e;
	Elf64_Phdr ph[8];
	int fd;

	ck_assert_int_eq(write_core(&fd), 0);
	ck_assert_uint_eq(read_headers(fd, &e, ph), 3);
	ck_assert_uint_eq(ph[1].p_vaddr, 0);
	ck_assert_uint_eq(ph[2].p_vaddr, HIGH);
	close(fd);
}
END_TEST

START_TEST(each_vcpu_is_a_thread)
{
	Elf64_Ehdr e;
	Elf64_Phdr ph[8];
	int fd;

	ck_assert_int_eq(write_core(&fd), 0);
	read_headers(fd, &e, ph);
	ck_assert_uint_eq(ph[0].p_type, PT_NOTE);
	uint64_t at = ph[0].p_offset;
	for (int i = 0; i < 2; i++) {
		struct elf_prstatus st;
		struct user_regs_struct regs;
		Elf64_Nhdr n;

		get(fd, &n, sizeof(n), at);
		ck_assert_uint_eq(n.n_type, NT_PRSTATUS);
		ck_assert_uint_eq(n.n_descsz, sizeof(st));
		get(fd, &st, sizeof(st), at + sizeof(n) + 8);
		memcpy(&regs, &st.pr_reg, sizeof(regs));
		ck_assert_int_eq(st.pr_pid, i + 1);
		ck_assert_uint_eq(regs.rip, 0x1234);
		ck_assert_uint_eq(regs.r15, 15);
		ck_assert_uint_eq(regs.rax, 7);
		at += sizeof(n) + 8 + sizeof(st);
	}
	ck_assert_uint_eq(at, ph[0].p_offset + ph[0].p_filesz);
	close(fd);
}
END_TEST

START_TEST(a_full_disk)
{
	int fd, ret;

	ck_assert_int_eq(gmem_write(&gm, MIB, "x", 1), 0);
	unsigned int n = 0;
	do {
		fail_write = ++n;
		ret = write_core(&fd);
		ck_assert(ret == 0 || ret == -ENOSPC);
		close(fd);
	} while (ret);
	ck_assert_uint_gt(n, 5);
}
END_TEST

/* What is printed of the first vCPU. */
static char *trace(const struct symbols *symbols)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	backtrace_print(&vcpus[0], &gm, symbols, f);
	fclose(f);
	return text;
}

static const char map[] =
	"1000 T _stext\n1200 T here\n1300 T panic\n1400 T caller\n2000 T _etext\n";

static void put_word(uint64_t gpa, uint64_t v)
{
	ck_assert_int_eq(gmem_write(&gm, gpa, &v, sizeof(v)), 0);
}

START_TEST(a_trace_with_names)
{
	struct err err = ERR_INIT;
	struct symbols s;
	struct src src;

	src_init_mem(&src, "--symbols", "map", map, sizeof(map) - 1);
	ck_assert_int_eq(symbols_read(&s, &src, &err), 0);
	fake->translate = one_page;
	put_word(0xff10, 0x1405);
	put_word(0xff18, 0x1400); /* nothing returns to a function's first byte */
	put_word(0xff20, 0x2001); /* no code */
	put_word(0xfff8, 0x1310);
	put_word(0xfef8, 0x1311); /* below the stack's top */
	char *text = trace(&s);
	ck_assert_str_eq(text, "vCPU 0 backtrace:\n  here+0x34/0x100\n  ? caller+0x5/0xc00\n"
			       "  ? panic+0x10/0x100\n");
	free(text);
	symbols_release(&s);
}
END_TEST

START_TEST(a_trace_without_names)
{
	fake->translate = one_page;
	put_word(0xff10, KERNEL + 0x1405);
	put_word(0xff18, 0x1405);
	char *text = trace(NULL);
	ck_assert_str_eq(text, "vCPU 0 backtrace:\n  0000000000001234\n  ? ffffffff80001405\n");
	free(text);
}
END_TEST

/* The guest chooses its stack's address and its words. */
START_TEST(a_trace_has_an_end)
{
	static const uint64_t stacks[] = { 0,       1,       0xff01, UINT64_MAX, UINT64_MAX - 7,
					   LOW - 8, HIGH - 8 };

	fake->translate = identity;
	for (uint64_t gpa = 0; gpa < 64 * KIB; gpa += 8)
		put_word(gpa, KERNEL + gpa);
	for (size_t i = 0; i < ARRAY_SIZE(stacks); i++) {
		unsigned int lines = 0;

		fake->regs.rsp = stacks[i];
		char *text = trace(NULL);
		for (const char *p = text; (p = strchr(p, '\n')); p++)
			lines++;
		ck_assert_uint_le(lines, BACKTRACE_LINES + 2);
		ck_assert(i > 1 || lines == BACKTRACE_LINES + 2);
		free(text);
	}
	/* And no more than so much of a stack is looked at. */
	fake->regs.rsp = MIB;
	put_word(MIB + BACKTRACE_STACK - 8, KERNEL + 1);
	put_word(MIB + BACKTRACE_STACK, KERNEL + 2);
	char *text = trace(NULL);
	ck_assert_ptr_nonnull(strstr(text, "ffffffff80000001"));
	ck_assert_ptr_null(strstr(text, "ffffffff80000002"));
	free(text);
}
END_TEST

START_TEST(a_vcpu_that_never_started)
{
	fake->mp_state = KVM_MP_STATE_UNINITIALIZED;
	char *text = trace(NULL);
	ck_assert_str_eq(text, "");
	free(text);
}
END_TEST

START_TEST(memory_by_virtual_address)
{
	uint8_t buf[64];

	fake->translate = one_page;
	ck_assert_uint_eq(arch_vcpu_read(&vcpus[0], &gm, 0xeff8, buf, sizeof(buf)), 0);
	ck_assert_uint_eq(arch_vcpu_read(&vcpus[0], &gm, 0xf000, buf, sizeof(buf)), sizeof(buf));
	ck_assert_uint_eq(arch_vcpu_read(&vcpus[0], &gm, 0xfff0, buf, sizeof(buf)), 16);
	ck_assert_uint_eq(arch_vcpu_read(&vcpus[0], &gm, UINT64_MAX - 3, buf, sizeof(buf)), 0);
	fake->translate = identity;
	ck_assert_uint_eq(arch_vcpu_read(&vcpus[0], &gm, LOW - 8, buf, sizeof(buf)), 8);
	ck_assert_uint_eq(arch_vcpu_read(&vcpus[0], &gm, UINT64_MAX - 3, buf, sizeof(buf)), 0);
}
END_TEST

START_TEST(a_breakpoint)
{
	ck_assert_int_eq(arch_vcpu_break_at(&vcpus[0], KERNEL + 0x1234), 0);
	ck_assert_uint_eq(fake->debug.control, KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP);
	ck_assert_uint_eq(fake->debug.arch.debugreg[0], KERNEL + 0x1234);
	ck_assert_uint_eq(fake->debug.arch.debugreg[7], 0x402);
	ck_assert_int_eq(arch_vcpu_break_at(&vcpus[0], 0), 0);
	ck_assert_uint_eq(fake->debug.control, 0);
}
END_TEST

UNIT_SUITE("core", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, memory_is_where_the_kernel_sees_it);
	tcase_add_test(tc, memory_of_an_unknown_kernel);
	tcase_add_test(tc, each_vcpu_is_a_thread);
	tcase_add_test(tc, a_full_disk);
	tcase_add_test(tc, a_trace_with_names);
	tcase_add_test(tc, a_trace_without_names);
	tcase_add_test(tc, a_trace_has_an_end);
	tcase_add_test(tc, a_vcpu_that_never_started);
	tcase_add_test(tc, memory_by_virtual_address);
	tcase_add_test(tc, a_breakpoint);
})
