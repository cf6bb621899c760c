// SPDX-License-Identifier: GPL-2.0
// ARCH: arm64
// LINK: tests/mock/fake-kvm.c kvm.c vcpu.c gmem.c bus.c irq.c irq-route.c coalesced.c stop.c initrds.c
// LINK: pci.c pci-bar.c pci-ecam.c pci-irq.c hw/serial.c hw/pl031.c hw/earlycon.c chr/chr.c chr/fd.c chr/out.c
// LINK: arm/absent.c arm/board.c arm/boot.c arm/caps.c arm/cpu.c arm/debug.c arm/dtb.c arm/gic.c arm/image.c arm/memmap.c arm/ports.c arm/probe.c arm/v2m.c
// LINK: util/thread.c util/err.c util/log.c util/loop.c util/util.c util/src.c util/decompress.c util/kick.c
#include <dirent.h>
#include <errno.h>
#include <libfdt.h>
#include <stdio.h>
#include <unistd.h>

#include <lkvm/arch.h>
#include <lkvm/board.h>
#include <lkvm/coalesced.h>
#include <lkvm/config.h>
#include <lkvm/irq.h>
#include <lkvm/kvm.h>
#include <lkvm/loop.h>
#include <lkvm/probe.h>
#include <lkvm/stop.h>
#include <lkvm/vcpu.h>

#include "arm/entry.h"
#include "arm/memmap.h"
#include "tests/mock/fake-kvm.h"

#include "arm-image.h"
#include "unit.h"

#define CPUS 2

static struct fake_kvm *fake;
static struct machine_config cfg;
static struct kvm kvm;
static struct gmem gm;
static struct bus pio, mmio;
static struct coalesced coalesced;
static struct loop *loop;
static struct stop stop;
static struct vcpu vcpus[CPUS];
static unsigned int vcpus_nr;
static struct board *board;
static struct err err;
static char kernel_path[] = "/tmp/lkvm-test-arm-XXXXXX", dtb_path[] = "/tmp/lkvm-test-dtb-XXXXXX";

static unsigned int open_fds(void)
{
	unsigned int nr = 0;
	DIR *d = opendir("/proc/self/fd");

	while (readdir(d))
		nr++;
	closedir(d);
	return nr;
}

static void setup(void)
{
	uint8_t image[ARM_IMAGE_LEN];

	arm_image_make(image);
	strcpy(kernel_path, "/tmp/lkvm-test-arm-XXXXXX");
	int fd = mkstemp(kernel_path);
	ck_assert_int_eq(write(fd, image, sizeof(image)), sizeof(image));
	close(fd);
	strcpy(dtb_path, "/tmp/lkvm-test-dtb-XXXXXX");
	close(mkstemp(dtb_path));
	fake = fake_kvm_start();
	cfg = (struct machine_config){
		.dev = FAKE_KVM_DEV,
		.kernel = kernel_path,
		.cmdline = "a=b",
		.mem = 64 * MIB,
		.cpus_nr = CPUS,
		.in_fd = -1,
		.out_fd = -1,
		.copy_fd = -1,
		.log = { .fd = -1 },
	};
	err = ERR_INIT;
}

static void teardown(void)
{
	unlink(kernel_path);
	unlink(dtb_path);
}

/* As machine.c does it. */
static int make(void)
{
	struct gmem_region spans[GMEM_REGIONS_MAX];
	struct gmem_backing backing = { 0 };

	loop = loop_new(&err);
	stop_init(&stop, loop);
	bus_init(&pio);
	bus_init(&mmio);
	int ret = kvm_init(&kvm, cfg.dev, &cfg.log, &err);
	if (ret)
		return ret;
	coalesced_init(&coalesced, &kvm, &pio, &mmio);
	ret = board_ram(&kvm, cfg.mem, spans, &err);
	if (ret > 0)
		ret = gmem_init(&gm, spans, (unsigned int)ret, &backing, &err);
	for (; !ret && vcpus_nr < CPUS; vcpus_nr += !ret)
		ret = vcpu_init(&vcpus[vcpus_nr], &kvm, vcpus_nr, CPUS, &err);
	if (ret)
		return ret;
	struct board_parts parts = {
		.cfg = &cfg,
		.kvm = &kvm,
		.gm = &gm,
		.pio = &pio,
		.mmio = &mmio,
		.coalesced = &coalesced,
		.loop = loop,
		.stop = &stop,
		.boot_cpu = &vcpus[0],
	};
	board = board_new(&parts, &err);
	return board ? board_load(board, &err) : -EINVAL;
}

static void unmake(void)
{
	if (board)
		board_free(board);
	board = NULL;
	while (vcpus_nr)
		vcpu_release(&vcpus[--vcpus_nr]);
	coalesced_release(&coalesced);
	bus_release(&mmio);
	bus_release(&pio);
	kvm_release(&kvm);
	gmem_release(&gm);
	stop_release(&stop);
	loop_free(loop);
}

static uint64_t reg(uint64_t id)
{
	for (unsigned int i = 0; i < fake->one_regs_nr; i++)
		if (fake->one_regs[i].id == id)
			return fake->one_regs[i].value;
	ck_abort_msg("register 0x%llx was never touched", (unsigned long long)id);
	return 0;
}

#define CORE(field)                                                                                \
	(KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | KVM_REG_ARM_CORE_REG(field))

START_TEST(the_boot_cpu_enters_the_kernel)
{
	ck_assert_msg(make() == 0, "%s", err.msg);
	ck_assert_uint_eq(reg(CORE(regs.pc)), GPA_RAM);
	uint64_t dtb = reg(CORE(regs.regs[0]));
	const void *tree = gmem_span(&gm, dtb, 4096);
	ck_assert_ptr_nonnull(tree);
	ck_assert_int_eq(fdt_check_header(tree), 0);
	ck_assert_str_eq(fdt_getprop(tree, fdt_path_offset(tree, "/chosen"), "bootargs", NULL),
			 "a=b");
	/* The other one waits, with what the host has. */
	ck_assert_uint_eq(fake->features,
			  1u << KVM_ARM_VCPU_POWER_OFF | 1u << KVM_ARM_VCPU_PSCI_0_2 |
				  1u << KVM_ARM_VCPU_SVE | 1u << KVM_ARM_VCPU_PTRAUTH_ADDRESS |
				  1u << KVM_ARM_VCPU_PTRAUTH_GENERIC);
	unmake();
}
END_TEST

START_TEST(seeds_differ_from_boot_to_boot)
{
	uint8_t seeds[2][64];
	uint64_t kaslr[2];

	for (unsigned int i = 0; i < 2; i++) {
		int len;

		ck_assert_int_eq(make(), 0);
		const void *tree = gmem_span(&gm, reg(CORE(regs.regs[0])), 4096);
		int chosen = fdt_path_offset(tree, "/chosen");
		memcpy(seeds[i], fdt_getprop(tree, chosen, "rng-seed", &len), 64);
		ck_assert_int_eq(len, 64);
		memcpy(&kaslr[i], fdt_getprop(tree, chosen, "kaslr-seed", &len), 8);
		ck_assert_int_eq(len, 8);
		unmake();
	}
	ck_assert_mem_ne(seeds[0], seeds[1], 64);
	ck_assert_uint_ne(kaslr[0], kaslr[1]);
}
END_TEST

START_TEST(the_tree_is_dumped)
{
	uint8_t head[4] = { 0 };

	cfg.dump_dtb = dtb_path;
	ck_assert_int_eq(make(), 0);
	FILE *f = fopen(dtb_path, "r");
	ck_assert_uint_eq(fread(head, 1, 4, f), 4);
	fclose(f);
	ck_assert_mem_eq(head, "\xd0\x0d\xfe\xed", 4);
	unmake();
	cfg.dump_dtb = "/proc/nowhere/x";
	ck_assert_int_lt(make(), 0);
	ck_assert_int_eq(err.kind, ERR_HOST);
	ck_assert_msg(strstr(err.msg, "--dump-dtb /proc/nowhere/x"), "%s", err.msg);
	unmake();
}
END_TEST

static const struct {
	uint32_t devices;
	enum irqchip want, got;
	const char *says;
} chips[] = {
	{ ~0u, IRQCHIP_AUTO, IRQCHIP_GICV3_ITS, "irqchip    gicv3-its\n" },
	{ ~(1u << KVM_DEV_TYPE_ARM_VGIC_ITS), IRQCHIP_AUTO, IRQCHIP_GICV3, "irqchip    gicv3\n" },
	{ 1u << KVM_DEV_TYPE_ARM_VGIC_V2, IRQCHIP_AUTO, IRQCHIP_GICV2M, "irqchip    gicv2m\n" },
	{ ~0u, IRQCHIP_GICV3, IRQCHIP_GICV3, "irqchip    gicv3\n" },
	{ ~0u, IRQCHIP_GICV2, IRQCHIP_GICV2, "irqchip    gicv2\n" },
	{ ~0u, IRQCHIP_GICV2M, IRQCHIP_GICV2M, "irqchip    gicv2m\n" },
	{ 0, IRQCHIP_AUTO, 0, "KVM has neither a GICv3 nor a GICv2" },
	{ 1u << KVM_DEV_TYPE_ARM_VGIC_V3, IRQCHIP_GICV2, 0, "--irqchip gicv2: this host's" },
	{ 1u << KVM_DEV_TYPE_ARM_VGIC_V3, IRQCHIP_GICV3_ITS, 0, "--irqchip gicv3-its: this" },
	{ 1u << KVM_DEV_TYPE_ARM_VGIC_V2, IRQCHIP_GICV3, 0, "--irqchip gicv3: this host's" },
};

START_TEST(takes_an_interrupt_controller_of_the_hosts)
{
	char *text = NULL;
	size_t len;

	fake->devices = chips[_i].devices;
	cfg.irqchip = chips[_i].want;
	int ret = make();
	if (!chips[_i].got) {
		ck_assert_int_lt(ret, 0);
		ck_assert_int_eq(err.kind, ERR_HOST);
		ck_assert_msg(strstr(err.msg, chips[_i].says), "%s", err.msg);
		unmake();
		return;
	}
	ck_assert_msg(ret == 0, "%s", err.msg);
	FILE *f = open_memstream(&text, &len);
	board_describe(board, f);
	fclose(f);
	ck_assert_msg(strstr(text, chips[_i].says), "%s", text);
	free(text);
	unmake();
}
END_TEST

START_TEST(messages_go_where_the_controller_takes_them)
{
	ck_assert_int_eq(make(), 0);
	irq_msi_send(&kvm, 8, GPA_ITS + 0x10040, 5);
	ck_assert_uint_eq(fake->msis, 1);
	ck_assert_uint_eq(fake->msi.flags, KVM_MSI_VALID_DEVID);
	ck_assert_uint_eq(fake->msi.devid, 8);
	unmake();

	cfg.irqchip = IRQCHIP_GICV2M;
	ck_assert_int_eq(make(), 0);
	irq_msi_send(&kvm, 8, GPA_V2M + 0x40, 70);
	ck_assert_uint_eq(fake->msis, 1);
	ck_assert_uint_eq(fake->irqs, 2);
	ck_assert_uint_eq(fake->irq, KVM_ARM_IRQ_TYPE_SPI << KVM_ARM_IRQ_TYPE_SHIFT | 70);
	ck_assert_uint_eq(fake->irq_level, 0);
	/* Not a message's interrupt, and not the frame. */
	irq_msi_send(&kvm, 8, GPA_V2M + 0x40, 40);
	irq_msi_send(&kvm, 8, GPA_V2M + 0x44, 70);
	ck_assert_uint_eq(fake->irqs, 2);
	unmake();

	cfg.irqchip = IRQCHIP_GICV3;
	ck_assert_int_eq(make(), 0);
	irq_msi_send(&kvm, 8, GPA_V2M + 0x40, 70);
	ck_assert_uint_eq(fake->irqs, 2);
	ck_assert_uint_eq(fake->msis, 1);
	unmake();
}
END_TEST

START_TEST(lines_are_shared_interrupts)
{
	ck_assert_int_eq(make(), 0);
	ck_assert_int_eq(arch_irq_line(&kvm, 3, 1), 0);
	ck_assert_uint_eq(fake->irq, KVM_ARM_IRQ_TYPE_SPI << KVM_ARM_IRQ_TYPE_SHIFT | 35);
	ck_assert_uint_eq(fake->irq_level, 1);
	unmake();
}
END_TEST

START_TEST(memory_that_does_not_fit)
{
	fake->ipa_bits = 36;
	cfg.mem = 64 * GIB;
	ck_assert_int_lt(make(), 0);
	ck_assert_int_eq(err.kind, ERR_USAGE);
	ck_assert_msg(strstr(err.msg, "-m: 65536 MiB do not fit: this host's guests have addresses "
				      "of 36 bits, which is memory for 63488 MiB"),
		      "%s", err.msg);
	unmake();
}
END_TEST

START_TEST(a_pmu_needs_the_hosts)
{
	cfg.pmu = true;
	ck_assert_int_eq(make(), 0);
	ck_assert(fake->features & 1u << KVM_ARM_VCPU_PMU_V3);
	const struct kvm_device_attr *last = &fake->attrs[(fake->attrs_nr - 1) % FAKE_ATTRS];
	ck_assert_uint_eq(last->group, KVM_ARM_VCPU_PMU_V3_CTRL);
	ck_assert_uint_eq(last->attr, KVM_ARM_VCPU_PMU_V3_INIT);
	unmake();
	fake->missing_cap = KVM_CAP_ARM_PMU_V3;
	ck_assert_int_lt(make(), 0);
	ck_assert_msg(strstr(err.msg, "--pmu: this host's KVM has no counters"), "%s", err.msg);
	unmake();
}
END_TEST

START_TEST(each_refusal_of_kvms_is_told)
{
	unsigned int fds = open_fds();

	cfg.pmu = true;
	ck_assert_int_eq(make(), 0);
	unmake();
	unsigned int calls = fake->calls;
	for (unsigned int n = 1; n <= calls; n++) {
		fake = fake_kvm_start();
		fake->fail_at = n;
		fake->fail_errno = EPERM;
		err = ERR_INIT;
		/* Some are questions, whose answer is no then. */
		int ret = make();
		ck_assert_msg((ret < 0) == (err.kind != ERR_NONE), "call %u: %d, %s", n, ret,
			      err.msg);
		unmake();
		ck_assert_uint_eq(open_fds(), fds);
	}
}
END_TEST

START_TEST(a_cpu_that_is_off_is_stuck)
{
	char *text = NULL;
	size_t len;

	ck_assert_int_eq(make(), 0);
	ck_assert(!arch_vcpu_is_stuck(&vcpus[0]));
	FILE *f = open_memstream(&text, &len);
	arch_vcpu_dump(&vcpus[0], f);
	fake->mp_state = KVM_MP_STATE_STOPPED;
	ck_assert(arch_vcpu_is_stuck(&vcpus[0]));
	arch_vcpu_dump(&vcpus[1], f);
	fclose(f);
	ck_assert_msg(strstr(text, "vCPU 0:\n  pc   0000000080000000"), "%s", text);
	ck_assert_msg(strstr(text, "x30  0"), "%s", text);
	ck_assert_msg(strstr(text, "vCPU 1: off\n"), "%s", text);
	free(text);
	unmake();
}
END_TEST

static int pages_of(uint64_t mmfr0)
{
	struct arm_cpu cpu;

	for (unsigned int i = 0; i < fake->one_regs_nr; i++)
		if (fake->one_regs[i].id == ARM64_SYS_REG(3, 0, 0, 7, 0))
			fake->one_regs[i].value = mmfr0;
	ck_assert_int_eq(arm_vcpu_facts(&vcpus[0], &cpu, &err), 0);
	return (int)cpu.pages | cpu.big_endian << 8;
}

START_TEST(the_cpus_pages_are_known)
{
	ck_assert_int_eq(make(), 0);
	ck_assert_int_eq(pages_of(0), 1 << ARM_PAGES_4K | 1 << ARM_PAGES_64K);
	ck_assert_int_eq(pages_of(0xff000000), 0);
	ck_assert_int_eq(pages_of(0xff200100), 1 << ARM_PAGES_16K | 1 << 8);
	unmake();
}
END_TEST

START_TEST(the_probe_tells_a_refusal)
{
	struct probe_facts facts;
	char why[PROBE_SENTENCE_LEN] = "x";
	unsigned int fds = open_fds();
	int fd = 0;

	for (unsigned int n = 1; n <= 6; n++) {
		fake = fake_kvm_start();
		fake->fail_at = n;
		fake->fail_errno = EPERM;
		err = ERR_INIT;
		int ret = probe_run(fd, &facts, &err);
		ck_assert_msg((ret < 0) == (err.kind != ERR_NONE), "call %u: %s", n, err.msg);
		ck_assert_uint_eq(open_fds(), fds);
	}
	ck_assert(!probe_explain(&facts, why, sizeof(why)));
	ck_assert_str_eq(why, "");
	ck_assert(!probe_explain_host(fd, why, sizeof(why)));
}
END_TEST

START_TEST(options_of_the_other_architecture_are_absent)
{
	unsigned int nr = 0;

	for (const char *const *p = board_absent_options; *p; p++)
		nr++;
	ck_assert_uint_ge(nr, 1);
}
END_TEST

UNIT_SUITE("arm board", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, the_boot_cpu_enters_the_kernel);
	tcase_add_test(tc, seeds_differ_from_boot_to_boot);
	tcase_add_test(tc, the_tree_is_dumped);
	tcase_add_loop_test(tc, takes_an_interrupt_controller_of_the_hosts, 0, ARRAY_SIZE(chips));
	tcase_add_test(tc, messages_go_where_the_controller_takes_them);
	tcase_add_test(tc, lines_are_shared_interrupts);
	tcase_add_test(tc, memory_that_does_not_fit);
	tcase_add_test(tc, a_pmu_needs_the_hosts);
	tcase_add_test(tc, each_refusal_of_kvms_is_told);
	tcase_add_test(tc, a_cpu_that_is_off_is_stuck);
	tcase_add_test(tc, the_cpus_pages_are_known);
	tcase_add_test(tc, the_probe_tells_a_refusal);
	tcase_add_test(tc, options_of_the_other_architecture_are_absent);
})
