// SPDX-License-Identifier: GPL-2.0
// LINK: arm/dtb.c util/err.c
// LIBS: -l:libfdt.a
#include <errno.h>
#include <libfdt.h>
#include <stdio.h>
#include <unistd.h>

#include "arm/dtb.h"
#include "arm/memmap.h"

#include "unit.h"

#define LEN 65536

static _Alignas(8) uint8_t dtb[LEN];
static const uint32_t affinity[] = { 0, 1, 0x100, 0x101 };
static struct dtb_config cfg;
static struct err err;

static void setup(void)
{
	cfg = (struct dtb_config){
		.cmdline = "console=ttyS0 \"a b\"",
		.ram_gpa = GPA_RAM,
		.ram_len = 5 * GIB,
		.initrd_gpa = 0x90000000,
		.initrd_len = 0x1234,
		.kaslr_seed = 0x1122334455667788,
		.affinity = affinity,
		.cpus_nr = 4,
		.irqchip = IRQCHIP_GICV3_ITS,
		.pci64 = 8 * GIB,
		.pci64_len = 64 * GIB,
	};
	memset(cfg.rng_seed, 0xab, sizeof(cfg.rng_seed));
	err = ERR_INIT;
}

static void build(void)
{
	ck_assert_msg(dtb_build(dtb, sizeof(dtb), &cfg, &err) == 0, "%s", err.msg);
	ck_assert_int_eq(fdt_check_full(dtb, sizeof(dtb)), 0);
	ck_assert_uint_le(dtb_len(dtb), sizeof(dtb));
}

static int node(const char *path)
{
	int n = fdt_path_offset(dtb, path);

	ck_assert_msg(n >= 0, "no node %s", path);
	return n;
}

static bool has_node(const char *path)
{
	return fdt_path_offset(dtb, path) >= 0;
}

static const void *prop(const char *path, const char *name, int want)
{
	int len;
	const void *p = fdt_getprop(dtb, node(path), name, &len);

	ck_assert_msg(p, "%s has no %s", path, name);
	ck_assert_msg(want < 0 || len == want, "%s of %s has %d bytes", name, path, len);
	return p;
}

static uint32_t cell(const char *path, const char *name, unsigned int i)
{
	return fdt32_ld((const fdt32_t *)prop(path, name, -1) + i);
}

static void has_cells(const char *path, const char *name, const uint32_t *cells, unsigned int nr)
{
	prop(path, name, (int)(4 * nr));
	for (unsigned int i = 0; i < nr; i++)
		ck_assert_msg(cell(path, name, i) == cells[i], "cell %u of %s of %s is 0x%x", i,
			      name, path, cell(path, name, i));
}

#define HAS(path, name, ...)                                                                       \
	has_cells(path, name, (const uint32_t[]){ __VA_ARGS__ },                                   \
		  ARRAY_SIZE(((const uint32_t[]){ __VA_ARGS__ })))

START_TEST(chosen_says_what_the_kernel_needs)
{
	build();
	ck_assert_str_eq(prop("/chosen", "bootargs", -1), cfg.cmdline);
	ck_assert_mem_eq(prop("/chosen", "rng-seed", DTB_SEED_LEN), cfg.rng_seed, DTB_SEED_LEN);
	ck_assert_mem_eq(prop("/chosen", "kaslr-seed", 8), &cfg.kaslr_seed, 8);
	HAS("/chosen", "linux,initrd-start", 0, 0x90000000);
	HAS("/chosen", "linux,initrd-end", 0, 0x90001234);
	cfg.initrd_len = 0;
	build();
	ck_assert_ptr_null(fdt_getprop(dtb, node("/chosen"), "linux,initrd-start", NULL));
}
END_TEST

START_TEST(memory_and_cpus)
{
	build();
	HAS("/memory@80000000", "reg", 0, 0x80000000, 1, 0x40000000);
	HAS("/cpus/cpu@0", "reg", 0);
	HAS("/cpus/cpu@101", "reg", 0x101);
	ck_assert_str_eq(prop("/cpus/cpu@1", "enable-method", -1), "psci");
	ck_assert_str_eq(prop("/psci", "method", -1), "hvc");
	cfg.cpus_nr = 1;
	build();
	ck_assert(!has_node("/cpus/cpu@1"));
}
END_TEST

START_TEST(gicv3_with_an_its)
{
	build();
	HAS("/interrupt-controller@8000000", "reg", 0, 0x8000000, 0, 0x10000, 0, 0x10000000, 0,
	    4 * 0x20000);
	ck_assert_str_eq(prop("/interrupt-controller@8000000", "compatible", -1), "arm,gic-v3");
	const char *its = "/interrupt-controller@8000000/msi-controller@8080000";
	ck_assert_str_eq(prop(its, "compatible", -1), "arm,gic-v3-its");
	HAS("/pcie@3f000000", "msi-map", 0, cell(its, "phandle", 0), 0, 0x10000);
	/* Private interrupts name no CPUs. */
	HAS("/timer", "interrupts", 1, 13, 4, 1, 14, 4, 1, 11, 4, 1, 10, 4);
	cfg.irqchip = IRQCHIP_GICV3;
	build();
	ck_assert(!has_node(its));
	ck_assert_ptr_null(fdt_getprop(dtb, node("/pcie@3f000000"), "msi-map", NULL));
}
END_TEST

START_TEST(gicv2_with_v2m)
{
	const char *v2m = "/interrupt-controller@8000000/v2m@8020000";

	cfg.irqchip = IRQCHIP_GICV2M;
	build();
	HAS("/interrupt-controller@8000000", "reg", 0, 0x8000000, 0, 0x10000, 0, 0x8010000, 0,
	    0x10000);
	HAS("/pcie@3f000000", "msi-parent", cell(v2m, "phandle", 0));
	HAS("/timer", "interrupts", 1, 13, 0xf04, 1, 14, 0xf04, 1, 11, 0xf04, 1, 10, 0xf04);
	cfg.irqchip = IRQCHIP_GICV2;
	build();
	ck_assert(!has_node(v2m));
}
END_TEST

START_TEST(a_pmu_when_asked_for)
{
	build();
	ck_assert(!has_node("/pmu"));
	cfg.pmu = true;
	build();
	HAS("/pmu", "interrupts", 1, 7, 4);
}
END_TEST

START_TEST(serial_ports_in_order)
{
	build();
	for (unsigned int i = 0; i < SERIAL_NR; i++) {
		char alias[16];

		snprintf(alias, sizeof(alias), "serial%u", i);
		const char *path = fdt_get_alias(dtb, alias);
		ck_assert_ptr_nonnull(path);
		HAS(path, "reg", 0, 0x1000000 + i * 0x10000, 0, 8);
		HAS(path, "interrupts", 0, i, 4);
	}
}
END_TEST

START_TEST(pci_windows)
{
	build();
	HAS("/pcie@3f000000", "reg", 0, 0x3f000000, 0, 0x100000);
	HAS("/pcie@3f000000", "ranges", 0x01000000, 0, 0, 0, 0x2000000, 0, 0x10000, 0x02000000, 0,
	    0x40000000, 0, 0x40000000, 0, 0x40000000, 0x03000000, 2, 0, 2, 0, 16, 0);
	cfg.pci64_len = 0;
	build();
	prop("/pcie@3f000000", "ranges", 2 * 7 * 4);
}
END_TEST

/* As pci.c has it: the interrupt of a slot's pin is (slot + pin) % lines from the first on. */
START_TEST(pci_interrupts)
{
	build();
	HAS("/pcie@3f000000", "interrupt-map-mask", 0x3800, 0, 0, 7);
	for (unsigned int row = 0; row < 32; row++) {
		unsigned int slot = row / 4, pin = row % 4;
		const uint32_t want[] = { slot << 11,           0, 0, pin + 1, 1, 0, 0, 0,
					  8 + (slot + pin) % 8, 4 };

		for (unsigned int i = 0; i < 10; i++)
			ck_assert_uint_eq(cell("/pcie@3f000000", "interrupt-map", 10 * row + i),
					  want[i]);
	}
}
END_TEST

START_TEST(says_when_it_does_not_fit)
{
	build();
	size_t enough = dtb_len(dtb);
	for (size_t len = 0; len < enough; len += 64) {
		err = ERR_INIT;
		ck_assert_int_lt(dtb_build(dtb, len, &cfg, &err), 0);
		ck_assert_int_eq(err.kind, ERR_INTERNAL);
	}
}
END_TEST

/* dtc checks the tree against the bindings that it knows, and says what it does not like. */
START_TEST(dtc_has_no_complaint)
{
	char path[] = "/tmp/lkvm-test-dtb-XXXXXX", command[128], line[256];

	cfg.irqchip = (enum irqchip)_i;
	cfg.pmu = true;
	build();
	int fd = mkstemp(path);
	ck_assert_int_eq(write(fd, dtb, dtb_len(dtb)), (ssize_t)dtb_len(dtb));
	close(fd);
	snprintf(command, sizeof(command), "dtc -I dtb -O dts -o /dev/null %s 2>&1", path);
	FILE *f = popen(command, "r");
	ck_assert_ptr_nonnull(f);
	line[0] = 0;
	bool said = fgets(line, sizeof(line), f);
	ck_assert_int_eq(pclose(f), 0);
	unlink(path);
	ck_assert_msg(!said, "dtc: %s", line);
}
END_TEST

UNIT_SUITE("arm dtb", {
	tcase_add_checked_fixture(tc, setup, NULL);
	tcase_add_test(tc, chosen_says_what_the_kernel_needs);
	tcase_add_test(tc, memory_and_cpus);
	tcase_add_test(tc, gicv3_with_an_its);
	tcase_add_test(tc, gicv2_with_v2m);
	tcase_add_test(tc, a_pmu_when_asked_for);
	tcase_add_test(tc, serial_ports_in_order);
	tcase_add_test(tc, pci_windows);
	tcase_add_test(tc, pci_interrupts);
	tcase_add_test(tc, says_when_it_does_not_fit);
	tcase_add_loop_test(tc, dtc_has_no_complaint, IRQCHIP_GICV3, IRQCHIP_GICV2M + 1);
})
