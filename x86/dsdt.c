/* SPDX-License-Identifier: GPL-2.0 */
#include <lkvm/acpi-pm.h>
#include <lkvm/util.h>

#include "acpi.h"
#include "aml.h"
#include "dsdt.h"
#include "memmap.h"

#define PCI_SLOTS   32
#define PCI_PINS    4
#define PCI_ANY_FN  0xffff /* ACPI 6.5, 6.2.13: the low word of an address in _PRT */
#define COM_LEN     8
#define RTC_LEN     2
#define PVPANIC_LEN 1

/* A device that is still open: its mark, and that of its resources once _CRS has begun. */
struct device {
	size_t mark, crs;
};

static struct device device_begin(struct aml *a, const char *name, const char *eisa_id)
{
	struct device d = { .mark = aml_device(a, name) };

	aml_name(a, "_HID");
	aml_eisa_id(a, eisa_id);
	return d;
}

static void device_crs(struct aml *a, struct device *d)
{
	aml_name(a, "_CRS");
	d->crs = aml_resources(a);
}

static void device_crs_end(struct aml *a, const struct device *d)
{
	aml_resources_end(a, d->crs);
}

static void device_end(struct aml *a, const struct device *d)
{
	aml_end(a, d->mark);
}

static void put_named_int(struct aml *a, const char *name, uint64_t v)
{
	aml_name(a, name);
	aml_int(a, v);
}

/* Each slot and pin to its GSI, without a link device: 6.2.13, source 0. */
static void put_prt(struct aml *a)
{
	aml_name(a, "_PRT");
	size_t prt = aml_package(a, PCI_SLOTS * PCI_PINS);

	for (unsigned int slot = 0; slot < PCI_SLOTS; slot++) {
		for (unsigned int pin = 0; pin < PCI_PINS; pin++) {
			size_t entry = aml_package(a, 4);

			aml_int(a, slot << 16 | PCI_ANY_FN);
			aml_int(a, pin);
			aml_int(a, 0);
			aml_int(a, memmap_pci_gsi(slot, pin));
			aml_end(a, entry);
		}
	}
	aml_end(a, prt);
}

static void put_host_bridge(struct aml *a, const struct acpi_config *cfg)
{
	struct device d = device_begin(a, "PCI0", "PNP0A08");

	aml_name(a, "_CID");
	aml_eisa_id(a, "PNP0A03");
	put_named_int(a, "_UID", 0);
	put_named_int(a, "_SEG", 0);
	put_named_int(a, "_BBN", 0);
	device_crs(a, &d);
	aml_res_bus_window(a, 0, GPA_ECAM_LEN / MIB); /* a bus has 1 MiB of configuration space */
	aml_res_io(a, PORT_PCI_CONF, 8);
	aml_res_io_window(a, PORT_PCI_IO, PORT_PCI_IO_LEN);
	aml_res_mem32_window(a, GPA_PCI32, GPA_PCI32_LEN);
	if (cfg->pci64)
		aml_res_mem64_window(a, cfg->pci64, cfg->pci64_len);
	device_crs_end(a, &d);
	put_prt(a);
	device_end(a, &d);
}

static void put_com(struct aml *a, unsigned int i)
{
	const char name[] = { 'C', 'O', 'M', '1' + i, 0 };
	struct device d = device_begin(a, name, "PNP0501");

	put_named_int(a, "_UID", i + 1);
	device_crs(a, &d);
	aml_res_io(a, serial_places[i].port, COM_LEN);
	aml_res_irq(a, serial_places[i].irq);
	device_crs_end(a, &d);
	device_end(a, &d);
}

static void put_rtc(struct aml *a)
{
	struct device d = device_begin(a, "RTC0", "PNP0B00");

	device_crs(a, &d);
	aml_res_io(a, PORT_RTC, RTC_LEN);
	aml_res_irq(a, IRQ_RTC);
	device_crs_end(a, &d);
	device_end(a, &d);
}

/* Its id is not in EISA form. */
static void put_pvpanic(struct aml *a)
{
	struct device d = { .mark = aml_device(a, "PEVT") };

	aml_name(a, "_HID");
	aml_string(a, "QEMU0001");
	device_crs(a, &d);
	aml_res_io(a, PORT_PVPANIC, PVPANIC_LEN);
	device_crs_end(a, &d);
	device_end(a, &d);
}

/*
 * What the machine decodes and nobody else describes, so that a kernel puts nothing there. Linux uses
 * the MCFG only for a range that is reserved here or in the memory map.
 */
static void put_reserved(struct aml *a, const struct acpi_config *cfg)
{
	struct device d = device_begin(a, "MBRD", "PNP0C02");

	device_crs(a, &d);
	aml_res_io(a, PORT_A20, 1);
	aml_res_io(a, PORT_PM, PORT_PM_LEN);
	if (cfg->ecam)
		aml_res_mem32(a, GPA_ECAM, GPA_ECAM_LEN);
	aml_res_mem32(a, GPA_EARLYCON, GPA_EARLYCON_LEN);
	aml_res_mem32(a, GPA_IDENTITY,
		      4 * 4 * KIB); /* its page, and the three at GPA_TSS after it */
	device_crs_end(a, &d);
	device_end(a, &d);
}

void dsdt_put(struct aml *a, const struct acpi_config *cfg)
{
	/* SLP_TYPa, SLP_TYPb and two that are reserved: 7.4.2. */
	aml_name(a, "_S5_");
	size_t s5 = aml_package(a, 4);
	aml_int(a, ACPI_PM_S5);
	for (unsigned int i = 0; i < 3; i++)
		aml_int(a, 0);
	aml_end(a, s5);

	size_t sb = aml_scope(a, "_SB_");
	if (cfg->pci)
		put_host_bridge(a, cfg);
	for (unsigned int i = 0; i < cfg->serial_nr; i++)
		put_com(a, i);
	put_rtc(a);
	if (cfg->pvpanic)
		put_pvpanic(a);
	put_reserved(a, cfg);
	aml_end(a, sb);
}
