// SPDX-License-Identifier: GPL-2.0
// ARCH: x86
// LINK: x86/acpi.c x86/dsdt.c x86/aml.c x86/memmap.c gmem.c util/err.c
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <lkvm/acpi-pm.h>
#include <lkvm/gmem.h>
#include <lkvm/util.h>

#include "x86/acpi.h"
#include "x86/memmap.h"

#include "unit.h"

#define RAM_LEN (2 * MIB)
#define PCI64   0x8000000000ULL

static struct gmem gm;

static void setup(void)
{
	const struct gmem_region span = { .gpa = 0, .size = RAM_LEN };
	struct err err = ERR_INIT;

	ck_assert_int_eq(gmem_init(&gm, &span, 1, &(struct gmem_backing){ 0 }, &err), 0);
}

static void teardown(void)
{
	gmem_release(&gm);
}

static const uint8_t *at(uint64_t gpa, size_t len)
{
	const uint8_t *p = gmem_span(&gm, gpa, len);

	ck_assert_ptr_nonnull(p);
	return p;
}

static void check_sum(const uint8_t *p, size_t len)
{
	uint8_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum += p[i];
	ck_assert_uint_eq(sum, 0);
}

/* A table with its header checked, inside what is reserved for ACPI. */
static const uint8_t *table_at(uint64_t gpa, const char *sig, uint32_t *len)
{
	const uint8_t *p = at(gpa, 36);

	ck_assert_mem_eq(p, sig, 4);
	*len = get_le32(p + 4);
	ck_assert_uint_ge(*len, 36);
	ck_assert(gpa >= GPA_ACPI && range_ok(gpa - GPA_ACPI, *len, GPA_ACPI_LEN));
	check_sum(p, *len);
	return p;
}

struct tables {
	const uint8_t *fadt, *madt, *mcfg, *dsdt, *facs;
	uint32_t fadt_len, madt_len, mcfg_len, dsdt_len;
};

static struct tables build(const struct acpi_config *cfg)
{
	struct err err = ERR_INIT;
	struct tables t = { 0 };
	uint64_t rsdp = 0;
	uint32_t len;

	/* Old content must not shine through. */
	memset(gmem_span(&gm, GPA_ACPI, GPA_ACPI_LEN), 0xa5, GPA_ACPI_LEN);
	ck_assert_msg(acpi_build(&gm, cfg, &rsdp, &err) == 0, "%s", err.msg);
	ck_assert_uint_eq(rsdp, GPA_ACPI);
	const uint8_t *p = at(rsdp, 36);
	ck_assert_mem_eq(p, "RSD PTR ", 8);
	ck_assert_uint_eq(p[15], 2);
	ck_assert_uint_eq(get_le32(p + 16), 0); /* no RSDT */
	ck_assert_uint_eq(get_le32(p + 20), 36);
	check_sum(p, 20);
	check_sum(p, 36);

	const uint8_t *xsdt = table_at(get_le64(p + 24), "XSDT", &len);
	ck_assert_uint_eq(len, 36 + 8 * (cfg->pci ? 3 : 2));
	t.fadt = table_at(get_le64(xsdt + 36), "FACP", &t.fadt_len);
	t.madt = table_at(get_le64(xsdt + 44), "APIC", &t.madt_len);
	if (cfg->pci)
		t.mcfg = table_at(get_le64(xsdt + 52), "MCFG", &t.mcfg_len);
	t.dsdt = table_at(get_le64(t.fadt + 140), "DSDT", &t.dsdt_len);
	ck_assert_uint_eq(get_le32(t.fadt + 40), get_le64(t.fadt + 140));
	uint64_t facs = get_le32(t.fadt + 36);
	ck_assert_uint_eq(facs % 64, 0);
	ck_assert_uint_eq(get_le64(t.fadt + 132), 0); /* one address of it is enough */
	t.facs = at(facs, 64);
	ck_assert_mem_eq(t.facs, "FACS", 4);
	ck_assert_uint_eq(get_le32(t.facs + 4), 64);
	return t;
}

static void check_gas(const uint8_t *p, uint8_t width, uint64_t port)
{
	ck_assert_uint_eq(p[0], port ? 1 : 0); /* system I/O */
	ck_assert_uint_eq(p[1], width);
	ck_assert_uint_eq(p[2], 0);
	ck_assert_uint_eq(get_le64(p + 4), port);
}

static void check_fadt(const struct tables *t, const struct acpi_config *cfg)
{
	const uint8_t *f = t->fadt;
	uint32_t flags = get_le32(f + 112);
	uint16_t arch = get_le16(f + 109);

	ck_assert_uint_eq(t->fadt_len, 276);
	ck_assert_uint_eq(f[8], 6);
	ck_assert_uint_eq(get_le16(f + 46), IRQ_SCI);
	ck_assert_uint_eq(get_le32(f + 48), 0); /* no SMI_CMD: always in ACPI mode */
	ck_assert_uint_eq(get_le32(f + 56), PORT_PM_EVT);
	ck_assert_uint_eq(get_le32(f + 64), PORT_PM_CNT);
	ck_assert_uint_eq(f[88], 4);
	ck_assert_uint_eq(f[89], 2);
	check_gas(f + 148, 32, PORT_PM_EVT);
	check_gas(f + 172, 16, PORT_PM_CNT);
	ck_assert_uint_eq(get_le32(f + 76), cfg->pm_timer ? PORT_PM_TMR : 0);
	ck_assert_uint_eq(f[91], cfg->pm_timer ? 4 : 0);
	check_gas(f + 208, cfg->pm_timer ? 32 : 0, cfg->pm_timer ? PORT_PM_TMR : 0);
	check_gas(f + 160, 0, 0); /* no PM1b, no GPE */
	check_gas(f + 220, 0, 0);
	check_gas(f + 116, 8, PORT_RESET);
	ck_assert_uint_eq(f[128], RESET_VALUE);
	ck_assert_uint_eq(f[108], 0x32);
	ck_assert_uint_gt(get_le16(f + 96), 100);
	ck_assert_uint_gt(get_le16(f + 98), 1000);
	/* Legacy devices, no 8042, no VGA, MSI, no ASPM, and there is an RTC. */
	ck_assert_uint_eq(arch, 1 << 0 | 1 << 2 | 1 << 4);
	ck_assert(flags & 1 << 0);    /* WBINVD */
	ck_assert(!(flags & 1 << 4)); /* a fixed power button */
	ck_assert(flags & 1 << 5);    /* no fixed sleep button */
	ck_assert_int_eq(!!(flags & 1 << 8), cfg->pm_timer);
	ck_assert(flags & 1 << 10);    /* reset register */
	ck_assert(!(flags & 1 << 20)); /* not hardware-reduced */
}

/* Walks the entries; each CPU must be there once, and in order, as ids below 255 in the short form. */
static void check_madt(const struct tables *t, const struct acpi_config *cfg)
{
	const uint8_t *p = t->madt + 44, *end = t->madt + t->madt_len;
	unsigned int cpus = 0, ioapics = 0, overrides = 0, nmis = 0, x2nmis = 0;

	ck_assert_uint_eq(get_le32(t->madt + 36), GPA_LAPIC);
	ck_assert_uint_eq(get_le32(t->madt + 40), 1);
	for (; p < end; p += p[1]) {
		ck_assert_uint_ge(p[1], 2);
		ck_assert_int_ge(end - p, p[1]);
		switch (p[0]) {
		case 0:
			ck_assert_uint_eq(p[1], 8);
			ck_assert_uint_eq(p[2], cpus);
			ck_assert_uint_eq(p[3], cpus++);
			ck_assert_uint_eq(get_le32(p + 4), 1);
			break;
		case 1:
			ck_assert_uint_eq(p[1], 12);
			ck_assert_uint_eq(p[2], IOAPIC_ID);
			ck_assert_uint_eq(get_le32(p + 4), GPA_IOAPIC);
			ck_assert_uint_eq(get_le32(p + 8), 0);
			ioapics++;
			break;
		case 2: /* only the SCI: KVM wires interrupt 0 to pin 0 */
			ck_assert_uint_eq(p[1], 10);
			ck_assert_uint_eq(p[2], 0);
			ck_assert_uint_eq(p[3], IRQ_SCI);
			ck_assert_uint_eq(get_le32(p + 4), IRQ_SCI);
			ck_assert_uint_eq(get_le16(p + 8), 0x0d);
			overrides++;
			break;
		case 4:
			ck_assert_uint_eq(p[1], 6);
			ck_assert_uint_eq(p[2], 0xff);
			ck_assert_uint_eq(p[5], 1);
			nmis++;
			break;
		case 9:
			ck_assert_uint_eq(p[1], 16);
			ck_assert_uint_ge(cpus, 255);
			ck_assert_uint_eq(get_le32(p + 4), cpus);
			ck_assert_uint_eq(get_le32(p + 8), 1);
			ck_assert_uint_eq(get_le32(p + 12), cpus++);
			break;
		case 10:
			ck_assert_uint_eq(p[1], 12);
			ck_assert_uint_eq(get_le32(p + 4), 0xffffffff);
			ck_assert_uint_eq(p[8], 1);
			x2nmis++;
			break;
		default:
			ck_abort_msg("MADT entry of type %u", p[0]);
		}
	}
	ck_assert_ptr_eq(p, end);
	ck_assert_uint_eq(cpus, cfg->cpus_nr);
	ck_assert_uint_eq(ioapics, 1);
	ck_assert_uint_eq(overrides, 1);
	ck_assert_uint_eq(nmis, 1);
	ck_assert_uint_eq(x2nmis, cfg->cpus_nr > 255);
}

static void check_mcfg(const struct tables *t)
{
	ck_assert_uint_eq(t->mcfg_len, 60);
	ck_assert_uint_eq(get_le64(t->mcfg + 44), GPA_ECAM);
	ck_assert_uint_eq(get_le16(t->mcfg + 52), 0);
	ck_assert_uint_eq(t->mcfg[54], 0); /* bus 0 alone */
	ck_assert_uint_eq(t->mcfg[55], 0);
	ck_assert_uint_eq(GPA_ECAM_LEN, 1 * MIB);
}

/* How often some bytes occur in the DSDT. */
static unsigned int dsdt_count(const struct tables *t, const void *what, size_t len)
{
	unsigned int nr = 0;
	const uint8_t *p = t->dsdt, *end = p + t->dsdt_len;

	while ((p = memmem(p, end - p, what, len))) {
		nr++;
		p++;
	}
	return nr;
}
#define COUNT(t, bytes) dsdt_count(t, bytes, sizeof(bytes) - 1)

static void check_port(const struct tables *t, uint16_t port, uint8_t len, unsigned int nr)
{
	const uint8_t io[] = { 0x47, 1, port, port >> 8, port, port >> 8, 1, len };

	ck_assert_msg(dsdt_count(t, io, sizeof(io)) == nr, "port %#x", port);
}

static void check_prt(const struct tables *t, bool pci)
{
	for (unsigned int slot = 0; slot < 32; slot++) {
		for (unsigned int pin = 0; pin < 4; pin++) {
			uint8_t e[16], *p = e;

			*p++ = slot ? 0x0c : 0x0b; /* slot 0 fits a word */
			put_le32(p, slot << 16 | 0xffff);
			p += slot ? 4 : 2;
			*p++ = pin < 2 ? pin : 0x0a;
			if (pin >= 2)
				*p++ = pin;
			*p++ = 0;
			*p++ = 0x0a;
			*p++ = memmap_pci_gsi(slot, pin);
			ck_assert_uint_eq(dsdt_count(t, e, p - e), pci);
		}
	}
}

static void check_dsdt(const struct tables *t, const struct acpi_config *cfg)
{
	ck_assert_uint_eq(t->dsdt[8], 2); /* 64-bit integers */
	/* No method, no operation region: nothing that runs, and nothing that touches a port. */
	ck_assert_uint_eq(COUNT(t, "_STA") + COUNT(t, "_INI") + COUNT(t, "\x5b\x80"), 0);
	const uint8_t s5[] = { '_', 'S', '5', '_', 0x12, 7, 4, 0x0a, ACPI_PM_S5, 0, 0, 0 };
	ck_assert_uint_eq(dsdt_count(t, s5, sizeof(s5)), 1);
	ck_assert_uint_eq(COUNT(t, "\x0c\x41\xd0\x0a\x08"), cfg->pci); /* PNP0A08, PNP0A03 */
	ck_assert_uint_eq(COUNT(t, "\x0c\x41\xd0\x0a\x03"), cfg->pci);
	ck_assert_uint_eq(COUNT(t, "_PRT"), cfg->pci);
	ck_assert_uint_eq(COUNT(t, "\x0c\x41\xd0\x0b\x00"), 1); /* PNP0B00 */
	ck_assert_uint_eq(COUNT(t, "\x0c\x41\xd0\x0c\x02"), 1); /* PNP0C02 */
	ck_assert_uint_eq(COUNT(t, "\x0c\x41\xd0\x05\x01"), cfg->serial_nr);
	ck_assert_uint_eq(COUNT(t, "QEMU0001"), cfg->pvpanic);
	ck_assert_uint_eq(COUNT(t, "\x8a\x2b"), cfg->pci && cfg->pci64);
	check_port(t, PORT_PVPANIC, 1, cfg->pvpanic);
	check_port(t, PORT_RTC, 2, 1);
	check_port(t, PORT_PM, PORT_PM_LEN, 1);
	check_port(t, PORT_PCI_CONF, 8, cfg->pci);
	for (unsigned int i = 0; i < SERIAL_NR; i++) {
		const uint8_t irq[] = { 8, 0x22, 1 << serial_places[i].irq, 0 };

		check_port(t, serial_places[i].port, 8, i < cfg->serial_nr);
		ck_assert_uint_eq(dsdt_count(t, irq, sizeof(irq)), i < cfg->serial_nr);
	}
	uint8_t ecam[9];
	ecam[0] = 1;
	put_le32(ecam + 1, GPA_ECAM);
	put_le32(ecam + 5, GPA_ECAM_LEN);
	ck_assert_uint_eq(dsdt_count(t, ecam, sizeof(ecam)), cfg->pci);
	check_prt(t, cfg->pci);
}

/* Calls `fn` for every configuration. */
static void each_config(void (*fn)(const struct acpi_config *cfg, unsigned int nr))
{
	static const unsigned int cpus[] = { 1, 2, 8, 254, 300 };
	unsigned int nr = 0;

	for (unsigned int bits = 0; bits < 16; bits++)
		for (unsigned int serial = 0; serial <= SERIAL_NR; serial++)
			for (size_t c = 0; c < ARRAY_SIZE(cpus); c++) {
				struct acpi_config cfg = {
					.cpus_nr = cpus[c],
					.pci = bits & 1,
					.ecam = bits & 1,
					.pvpanic = bits & 2,
					.pm_timer = bits & 4,
					.pci64 = bits & 8 ? PCI64 : 0,
					.pci64_len = bits & 8 ? 64 * GIB : 0,
					.serial_nr = serial,
				};
				fn(&cfg, nr++);
			}
}

/* The DSDT depends neither on the CPUs nor on the timer, and on the 64-bit window only with PCI. */
static bool dsdt_matters(const struct acpi_config *cfg)
{
	return cfg->cpus_nr == 1 && !cfg->pm_timer && (cfg->pci || !cfg->pci64);
}

static void check_one(const struct acpi_config *cfg, unsigned int nr)
{
	struct tables t = build(cfg);

	(void)nr;
	check_fadt(&t, cfg);
	check_madt(&t, cfg);
	if (cfg->pci)
		check_mcfg(&t);
	if (dsdt_matters(cfg))
		check_dsdt(&t, cfg);
}

START_TEST(tables_are_right_for_every_configuration)
{
	each_config(check_one);
}
END_TEST

/* Memory that was filled with 0xa5 still is. An assertion a byte would take seconds. */
static bool untouched(uint64_t gpa, uint64_t len)
{
	const uint8_t *p = at(gpa, len);

	while (len && *p == 0xa5) {
		p++;
		len--;
	}
	return len == 0;
}

START_TEST(writes_nothing_outside_its_room)
{
	static const struct acpi_config big = {
		.cpus_nr = 254,
		.pci = true,
		.ecam = true,
		.pci64 = PCI64,
		.pci64_len = GIB,
		.pm_timer = true,
		.pvpanic = true,
		.serial_nr = SERIAL_NR,
	};

	memset(gmem_span(&gm, 0, RAM_LEN), 0xa5, RAM_LEN);
	build(&big);
	ck_assert(untouched(0, GPA_ACPI));
	ck_assert(untouched(GPA_ACPI + GPA_ACPI_LEN, RAM_LEN - GPA_ACPI - GPA_ACPI_LEN));
}
END_TEST

START_TEST(refuses_what_it_cannot_describe)
{
	static const struct acpi_config bad[] = {
		{ .cpus_nr = 0 },
		{ .cpus_nr = 1, .serial_nr = SERIAL_NR + 1 },
		{ .cpus_nr = 1, .pci = true, .ecam = true, .pci64 = PCI64, .pci64_len = 0 },
		{ .cpus_nr = 1,
		  .pci = true,
		  .ecam = true,
		  .pci64 = PCI64,
		  .pci64_len = UINT64_MAX - PCI64 + 2 },
		{ .cpus_nr = 65536 / 8 }, /* more than fit */
		{ .cpus_nr = UINT32_MAX },
	};

	memset(gmem_span(&gm, 0, RAM_LEN), 0xa5, RAM_LEN);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct err err = ERR_INIT;
		uint64_t rsdp = 1;

		ck_assert_int_eq(acpi_build(&gm, &bad[i], &rsdp, &err), -EIO);
		ck_assert_int_eq(err.kind, ERR_INTERNAL);
		ck_assert_uint_gt(strlen(err.msg), 10);
		ck_assert_uint_eq(rsdp, 1);
	}
	ck_assert(untouched(0, RAM_LEN));
}
END_TEST

START_TEST(a_64_bit_window_may_end_at_the_last_byte)
{
	build(&(struct acpi_config){ .cpus_nr = 1,
				     .pci = true,
				     .ecam = true,
				     .pci64 = PCI64,
				     .pci64_len = UINT64_MAX - PCI64 + 1 });
}
END_TEST

START_TEST(needs_guest_memory)
{
	const struct gmem_region span = { .gpa = 0, .size = 64 * KIB };
	struct err err = ERR_INIT;
	struct gmem small;
	uint64_t rsdp = 1;

	ck_assert_int_eq(gmem_init(&small, &span, 1, &(struct gmem_backing){ 0 }, &err), 0);
	ck_assert_int_eq(acpi_build(&small, &(struct acpi_config){ .cpus_nr = 1 }, &rsdp, &err),
			 -EIO);
	ck_assert_int_eq(err.kind, ERR_INTERNAL);
	gmem_release(&small);
}
END_TEST

/* The second opinion: ACPICA's compiler reads every table, and compiles what it read. */

static char dir[] = "/tmp/lkvm-test-acpi-XXXXXX";

/* Around the test's process, so that nothing is left behind when it fails. */
static void setup_dir(void)
{
	ck_assert_ptr_nonnull(mkdtemp(dir));
}

static void teardown_dir(void)
{
	char command[64];

	snprintf(command, sizeof(command), "rm -rf %s", dir);
	ck_assert_int_eq(system(command), 0);
}

static void save(const char *name, unsigned int nr, const uint8_t *p, size_t len)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s-%u.aml", dir, name, nr);
	FILE *f = fopen(path, "we");
	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fwrite(p, 1, len, f), len);
	ck_assert_int_eq(fclose(f), 0);
}

static unsigned int dsdts, others;

static void save_one(const struct acpi_config *cfg, unsigned int nr)
{
	struct tables t = build(cfg);

	if (dsdt_matters(cfg)) {
		save("dsdt", nr, t.dsdt, t.dsdt_len);
		dsdts++;
	}
	if (cfg->serial_nr || !cfg->pci || cfg->pci64 || cfg->pvpanic)
		return;
	if (!cfg->pm_timer) {
		save("madt", nr, t.madt, t.madt_len);
		others++;
	}
	if (cfg->cpus_nr == 1) {
		uint32_t len;
		const uint8_t *xsdt = table_at(get_le64(at(GPA_ACPI, 36) + 24), "XSDT", &len);

		save("fadt", nr, t.fadt, t.fadt_len);
		save("mcfg", nr, t.mcfg, t.mcfg_len);
		save("facs", nr, t.facs, 64);
		save("xsdt", nr, xsdt, len);
		others += 4;
	}
}

/* Runs a shell command in `dir`; returns what it printed, its status in *status. */
static char *run(const char *command, int *status)
{
	static char out[1 << 20];
	char line[1024];

	snprintf(line, sizeof(line), "cd %s && { %s; } 2>&1", dir, command);
	FILE *f = popen(line, "re");
	ck_assert_ptr_nonnull(f);
	size_t len = fread(out, 1, sizeof(out) - 1, f);
	out[len] = 0;
	*status = pclose(f);
	return out;
}

static unsigned int count_text(const char *text, const char *what)
{
	unsigned int nr = 0;

	while ((text = strstr(text, what))) {
		nr++;
		text++;
	}
	return nr;
}

START_TEST(acpica_reads_every_table)
{
	int status;
	char *out;

	each_config(save_one);
	ck_assert_uint_eq(dsdts, 30);
	ck_assert_uint_eq(others, 5 + 2 * 4);

	out = run("for f in *.aml; do iasl -d $f || exit 1; done", &status);
	ck_assert_msg(status == 0, "iasl -d ended with %d: %.900s", status, out);
	ck_assert_msg(!strcasestr(out, "error") && !strcasestr(out, "warning"), "%.900s", out);
	out = run("ls *.dsl | wc -l", &status);
	ck_assert_int_eq(atoi(out), dsdts + others);

	/* What was read compiles without a complaint, into the very same AML. */
	out = run(
		"mkdir again && for f in dsdt-*.dsl; do iasl -p again/${f%.dsl} $f || exit 1; done",
		&status);
	ck_assert_msg(status == 0, "iasl ended with %d: %.900s", status, out);
	ck_assert_uint_eq(count_text(out, " 0 Errors, 0 Warnings, 0 Remarks"), dsdts);
	out = run("for f in dsdt-*.aml; do cmp -i 36 $f again/$f || exit 1; done", &status);
	ck_assert_msg(status == 0, "compiled again it differs: %.900s", out);
}
END_TEST

UNIT_SUITE("acpi", {
	tcase_add_unchecked_fixture(tc, setup_dir, teardown_dir);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, tables_are_right_for_every_configuration);
	tcase_add_test(tc, writes_nothing_outside_its_room);
	tcase_add_test(tc, refuses_what_it_cannot_describe);
	tcase_add_test(tc, a_64_bit_window_may_end_at_the_last_byte);
	tcase_add_test(tc, needs_guest_memory);
	tcase_add_test(tc, acpica_reads_every_table);
})
