/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <lkvm/acpi-pm.h>
#include <lkvm/gmem.h>
#include <lkvm/util.h>

#include "acpi.h"
#include "aml.h"
#include "dsdt.h"
#include "memmap.h"

/* ACPI 6.5, 5.2.3.2: generic address structure. */
#define GAS_LEN       12
#define GAS_SYSTEM_IO 1
#define GAS_BYTE      1
#define GAS_WORD      2
#define GAS_DWORD     3

/* 5.2.5.3: RSDP. */
#define RSDP_LEN      36
#define RSDP_LEN_REV0 20 /* what the first checksum covers */
#define RSDP_CHECKSUM 8
#define RSDP_XSDT     24
#define RSDP_EXT_SUM  32

/* 5.2.6: the header that all other tables but the FACS begin with. */
#define SDT_LEN       36
#define SDT_LENGTH    4
#define SDT_CHECKSUM  9
#define SDT_OEM_ID    "LKVM  "
#define SDT_OEM_TABLE "LKVMACPI"
#define SDT_CREATOR   "LKVM"
#define SDT_OEM_REV   1

/* 5.2.10: FACS, which must be aligned to 64 bytes. */
#define FACS_LEN     64
#define FACS_VERSION 2

/* 5.2.9, table 5.9: FADT, offsets and bits. */
#define FADT_LEN            276
#define FADT_FIRMWARE_CTRL  36
#define FADT_DSDT           40
#define FADT_SCI_INT        46
#define FADT_PM1A_EVT       56
#define FADT_PM1A_CNT       64
#define FADT_PM_TMR         76
#define FADT_PM1_EVT_LEN    88
#define FADT_PM1_CNT_LEN    89
#define FADT_PM_TMR_LEN     91
#define FADT_P_LVL2_LAT     96
#define FADT_P_LVL3_LAT     98
#define FADT_CENTURY        108
#define FADT_BOOT_ARCH      109
#define FADT_FLAGS          112
#define FADT_RESET_REG      116
#define FADT_RESET_VALUE    128
#define FADT_MINOR          131
#define FADT_X_DSDT         140
#define FADT_X_PM1A_EVT     148
#define FADT_X_PM1A_CNT     172
#define FADT_X_PM_TMR       208
#define FADT_HYPERVISOR_ID  268
#define FADT_REV            6
#define FADT_REV_MINOR      5
#define NO_C2               101  /* above 100 us: C2 is not supported */
#define NO_C3               1001 /* above 1000 us: nor is C3 */
#define RTC_CENTURY         0x32
#define BOOT_LEGACY_DEVICES (1u << 0)
#define BOOT_NO_VGA         (1u << 2)
#define BOOT_NO_ASPM        (1u << 4)
#define FLAG_WBINVD         (1u << 0)
#define FLAG_PROC_C1        (1u << 2)
#define FLAG_SLP_BUTTON     (1u << 5) /* not a fixed feature */
#define FLAG_FIX_RTC        (1u << 6) /* RTC wake status is not in the fixed registers */
#define FLAG_TMR_VAL_EXT    (1u << 8)
#define FLAG_RESET_REG_SUP  (1u << 10)

/* 5.2.12: MADT. */
#define MADT_REV         5
#define MADT_PCAT_COMPAT 1
#define MADT_LAPIC       0
#define MADT_IOAPIC      1
#define MADT_OVERRIDE    2
#define MADT_LAPIC_NMI   4
#define MADT_X2APIC      9
#define MADT_X2APIC_NMI  10
#define MADT_CPU_ENABLED 1
#define MADT_LEVEL_HIGH  0x0d
#define LAPIC_ID_MAX     254 /* 255 is the broadcast id */
#define LAPIC_ALL        0xff
#define X2APIC_ALL       0xffffffff
#define LINT_NMI         1

/* The device and the memory map agree on where its registers are. */
_Static_assert(PORT_PM_EVT == PORT_PM + ACPI_PM_EVT && PORT_PM_CNT == PORT_PM + ACPI_PM_CNT &&
		       PORT_PM_TMR == PORT_PM + ACPI_PM_TMR && PORT_PM_LEN == ACPI_PM_LEN,
	       "PM ports");

/* Guest addresses of the tables. */
struct addrs {
	uint64_t facs, dsdt, fadt, madt, mcfg;
};

static uint64_t here(const struct aml *a)
{
	return GPA_ACPI + a->len;
}

static uint8_t checksum(const uint8_t *p, size_t len)
{
	uint8_t sum = 0;

	while (len--)
		sum += *p++;
	return -sum;
}

/* Starts a table; its address is here() before the call only if that is aligned, so it is returned. */
static size_t table_begin(struct aml *a, const char *sig, uint8_t rev, uint64_t *gpa)
{
	aml_pad(a, 16);
	size_t start = a->len;

	*gpa = here(a);
	aml_put(a, sig, 4);
	aml_put32(a, 0); /* length and checksum are table_end()'s */
	aml_put8(a, rev);
	aml_put8(a, 0);
	aml_put(a, SDT_OEM_ID, 6);
	aml_put(a, SDT_OEM_TABLE, 8);
	aml_put32(a, SDT_OEM_REV);
	aml_put(a, SDT_CREATOR, 4);
	aml_put32(a, SDT_OEM_REV);
	return start;
}

static void table_end(struct aml *a, size_t start)
{
	if (a->full)
		return;
	uint8_t *table = a->buf + start;
	size_t len = a->len - start;

	put_le32(table + SDT_LENGTH, len);
	table[SDT_CHECKSUM] = checksum(table, len);
}

static void put_facs(struct aml *a, struct addrs *t)
{
	uint8_t facs[FACS_LEN] = "FACS";

	put_le32(facs + 4, FACS_LEN);
	facs[32] = FACS_VERSION;
	aml_pad(a, FACS_LEN);
	t->facs = here(a);
	aml_put(a, facs, sizeof(facs));
}

static void put_gas(uint8_t *p, uint8_t width, uint8_t access, uint64_t port)
{
	p[0] = GAS_SYSTEM_IO;
	p[1] = width;
	p[2] = 0;
	p[3] = access;
	put_le64(p + 4, port);
}

static void fill_pm(uint8_t *fadt, const struct acpi_config *cfg)
{
	put_le32(fadt + FADT_PM1A_EVT, PORT_PM_EVT);
	put_le32(fadt + FADT_PM1A_CNT, PORT_PM_CNT);
	fadt[FADT_PM1_EVT_LEN] = ACPI_PM_EVT_LEN;
	fadt[FADT_PM1_CNT_LEN] = ACPI_PM_CNT_LEN;
	put_gas(fadt + FADT_X_PM1A_EVT, 32, GAS_WORD, PORT_PM_EVT);
	put_gas(fadt + FADT_X_PM1A_CNT, 16, GAS_WORD, PORT_PM_CNT);
	if (!cfg->pm_timer)
		return;
	put_le32(fadt + FADT_PM_TMR, PORT_PM_TMR);
	fadt[FADT_PM_TMR_LEN] = ACPI_PM_TMR_LEN;
	put_gas(fadt + FADT_X_PM_TMR, 32, GAS_DWORD, PORT_PM_TMR);
}

static void put_fadt(struct aml *a, const struct acpi_config *cfg, struct addrs *t)
{
	size_t start = table_begin(a, "FACP", FADT_REV, &t->fadt);
	uint8_t fadt[FADT_LEN] = { 0 };

	put_le32(fadt + FADT_FIRMWARE_CTRL, t->facs);
	put_le32(fadt + FADT_DSDT, t->dsdt);
	put_le64(fadt + FADT_X_DSDT, t->dsdt);
	put_le16(fadt + FADT_SCI_INT, IRQ_SCI);
	fill_pm(fadt, cfg);
	put_le16(fadt + FADT_P_LVL2_LAT, NO_C2);
	put_le16(fadt + FADT_P_LVL3_LAT, NO_C3);
	fadt[FADT_CENTURY] = RTC_CENTURY;
	/* The 8042's bit is clear: it is there for resets alone, and Linux is not to probe it. */
	put_le16(fadt + FADT_BOOT_ARCH, BOOT_LEGACY_DEVICES | BOOT_NO_VGA | BOOT_NO_ASPM);
	/* The power button's bit is clear: it is a fixed feature. */
	put_le32(fadt + FADT_FLAGS, FLAG_WBINVD | FLAG_PROC_C1 | FLAG_SLP_BUTTON | FLAG_FIX_RTC |
					    FLAG_RESET_REG_SUP |
					    (cfg->pm_timer ? FLAG_TMR_VAL_EXT : 0));
	put_gas(fadt + FADT_RESET_REG, 8, GAS_BYTE, PORT_RESET);
	fadt[FADT_RESET_VALUE] = RESET_VALUE;
	fadt[FADT_MINOR] = FADT_REV_MINOR;
	memcpy(fadt + FADT_HYPERVISOR_ID, "LKVM", 4);
	aml_put(a, fadt + SDT_LEN, sizeof(fadt) - SDT_LEN);
	table_end(a, start);
}

static void put_madt_cpu(struct aml *a, uint32_t id)
{
	if (id <= LAPIC_ID_MAX) {
		aml_put8(a, MADT_LAPIC);
		aml_put8(a, 8);
		aml_put8(a, id);
		aml_put8(a, id);
		aml_put32(a, MADT_CPU_ENABLED);
		return;
	}
	aml_put8(a, MADT_X2APIC);
	aml_put8(a, 16);
	aml_put16(a, 0);
	aml_put32(a, id);
	aml_put32(a, MADT_CPU_ENABLED);
	aml_put32(a, id);
}

static void put_madt_nmi(struct aml *a, bool x2apic)
{
	aml_put8(a, x2apic ? MADT_X2APIC_NMI : MADT_LAPIC_NMI);
	aml_put8(a, x2apic ? 12 : 6);
	if (x2apic) {
		aml_put16(a, 0);
		aml_put32(a, X2APIC_ALL);
		aml_put32(a, LINT_NMI); /* and three reserved bytes */
	} else {
		aml_put8(a, LAPIC_ALL);
		aml_put16(a, 0);
		aml_put8(a, LINT_NMI);
	}
}

static void put_madt(struct aml *a, const struct acpi_config *cfg, struct addrs *t)
{
	size_t start = table_begin(a, "APIC", MADT_REV, &t->madt);

	aml_put32(a, GPA_LAPIC);
	aml_put32(a, MADT_PCAT_COMPAT);
	for (unsigned int id = 0; id < cfg->cpus_nr && !a->full; id++)
		put_madt_cpu(a, id);

	aml_put8(a, MADT_IOAPIC);
	aml_put8(a, 12);
	aml_put8(a, IOAPIC_ID);
	aml_put8(a, 0);
	aml_put32(a, GPA_IOAPIC);
	aml_put32(a, 0); /* its first GSI */

	/* An ISA interrupt is edge-triggered unless said otherwise; the SCI is not (5.2.9, SCI_INT). */
	aml_put8(a, MADT_OVERRIDE);
	aml_put8(a, 10);
	aml_put8(a, 0); /* ISA */
	aml_put8(a, IRQ_SCI);
	aml_put32(a, IRQ_SCI);
	aml_put16(a, MADT_LEVEL_HIGH);

	put_madt_nmi(a, false);
	if (cfg->cpus_nr > LAPIC_ID_MAX + 1)
		put_madt_nmi(a, true);
	table_end(a, start);
}

static void put_mcfg(struct aml *a, struct addrs *t)
{
	size_t start = table_begin(a, "MCFG", 1, &t->mcfg);

	aml_put64(a, 0);
	aml_put64(a, GPA_ECAM);
	aml_put16(a, 0); /* segment */
	aml_put8(a, 0);  /* first and last bus */
	aml_put8(a, GPA_ECAM_LEN / MIB - 1);
	aml_put32(a, 0);
	table_end(a, start);
}

static void put_dsdt(struct aml *a, const struct acpi_config *cfg, struct addrs *t)
{
	size_t start = table_begin(a, "DSDT", 2, &t->dsdt);

	dsdt_put(a, cfg);
	table_end(a, start);
}

static uint64_t put_xsdt(struct aml *a, const struct acpi_config *cfg, const struct addrs *t)
{
	uint64_t gpa;
	size_t start = table_begin(a, "XSDT", 1, &gpa);

	aml_put64(a, t->fadt);
	aml_put64(a, t->madt);
	if (cfg->ecam)
		aml_put64(a, t->mcfg);
	table_end(a, start);
	return gpa;
}

/* Fills the RSDP at the start of the buffer, where acpi_build() left room for it. */
static void fill_rsdp(uint8_t *p, uint64_t xsdt)
{
	memcpy(p, "RSD PTR ", 8);
	memcpy(p + 9, SDT_OEM_ID, 6);
	p[15] = 2; /* revision */
	put_le32(p + 20, RSDP_LEN);
	put_le64(p + RSDP_XSDT, xsdt);
	p[RSDP_CHECKSUM] = checksum(p, RSDP_LEN_REV0);
	p[RSDP_EXT_SUM] = checksum(p, RSDP_LEN);
}

static int check_config(const struct acpi_config *cfg, struct err *err)
{
	if (!cfg->cpus_nr)
		return err_internal(err, "ACPI tables for a machine without a CPU");
	if (cfg->serial_nr > SERIAL_NR)
		return err_internal(err, "ACPI tables for %u serial ports", cfg->serial_nr);
	if (cfg->pci64 && (!cfg->pci64_len || cfg->pci64_len - 1 > UINT64_MAX - cfg->pci64))
		return err_internal(err,
				    "ACPI tables for a 64-bit PCI window that wraps or is empty");
	return 0;
}

int acpi_build(const struct gmem *gm, const struct acpi_config *cfg, uint64_t *rsdp,
	       struct err *err)
{
	struct addrs t = { 0 };
	struct aml a;
	uint8_t *buf;
	int ret = check_config(cfg, err);

	if (ret)
		return ret;
	buf = calloc(1, GPA_ACPI_LEN);
	if (!buf)
		return err_host(err, ENOMEM, "no memory for the ACPI tables");
	aml_init(&a, buf, GPA_ACPI_LEN);
	a.len = RSDP_LEN;
	put_facs(&a, &t);
	put_dsdt(&a, cfg, &t);
	put_fadt(&a, cfg, &t);
	put_madt(&a, cfg, &t);
	if (cfg->ecam)
		put_mcfg(&a, &t);
	fill_rsdp(buf, put_xsdt(&a, cfg, &t));
	if (a.full)
		ret = err_internal(err, "the ACPI tables of %u CPUs do not fit", cfg->cpus_nr);
	else if (gmem_write(gm, GPA_ACPI, buf, a.len))
		ret = err_internal(err, "the guest has no memory for its ACPI tables");
	else
		*rsdp = GPA_ACPI;
	free(buf);
	return ret;
}
