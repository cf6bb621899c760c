/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <libfdt.h>
#include <stdarg.h>
#include <stdio.h>

#include <lkvm/pl031.h>
#include <lkvm/serial.h>
#include <lkvm/util.h>

#include "dtb.h"
#include "memmap.h"

enum { PHANDLE_GIC = 1, PHANDLE_MSI, PHANDLE_CLOCK };

/* bindings/interrupt-controller/arm,gic.yaml: kind and trigger of an interrupt. */
enum { GIC_SPI = 0, GIC_PPI = 1 };
#define IRQ_LEVEL_HIGH 4u
#define PPI_CPUS_SHIFT 8 /* GICv2: a bit for each CPU that has it */

/* bindings/pci: the first cell of an address in `ranges`, and of a function. */
#define PCI_SPACE_IO   0x01000000u
#define PCI_SPACE_32   0x02000000u
#define PCI_SPACE_64   0x03000000u
#define PCI_SLOT_SHIFT 11

#define UART_CLOCK     1843200
#define CLOCK_HZ       24000000 /* nothing depends on it */

/* A tree that is being written. */
struct tree {
	void *fdt;
	const struct dtb_config *cfg;
	int ret; /* the first error of libfdt's */
};

static void note(struct tree *t, int ret)
{
	if (!t->ret)
		t->ret = ret;
}

static void begin(struct tree *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void begin(struct tree *t, const char *fmt, ...)
{
	char name[64];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(name, sizeof(name), fmt, ap);
	va_end(ap);
	note(t, fdt_begin_node(t->fdt, name));
}

static void end(struct tree *t)
{
	note(t, fdt_end_node(t->fdt));
}

static void put(struct tree *t, const char *name, const void *value, size_t len)
{
	note(t, fdt_property(t->fdt, name, value, (int)len));
}

static void put_string(struct tree *t, const char *name, const char *value)
{
	put(t, name, value, strlen(value) + 1);
}

/* A list of strings, with a NUL between them. */
#define put_strings(t, name, list) put(t, name, list, sizeof(list))

static void put_flag(struct tree *t, const char *name)
{
	put(t, name, NULL, 0);
}

static void put_cells(struct tree *t, const char *name, const uint32_t *cells, unsigned int nr)
{
	void *to;
	int ret = fdt_property_placeholder(t->fdt, name, (int)(nr * sizeof(cells[0])), &to);

	note(t, ret);
	for (unsigned int i = 0; !ret && i < nr; i++)
		((fdt32_t *)to)[i] = cpu_to_fdt32(cells[i]);
}

#define CELLS(t, name, ...)                                                                        \
	put_cells(t, name, (const uint32_t[]){ __VA_ARGS__ },                                      \
		  sizeof((const uint32_t[]){ __VA_ARGS__ }) / sizeof(uint32_t))

#define HIGH(v) ((uint32_t)((uint64_t)(v) >> 32))
#define LOW(v)  ((uint32_t)(v))
/* An address, or a size, of two cells. */
#define TWO(v) HIGH(v), LOW(v)

static void put_reg(struct tree *t, uint64_t gpa, uint64_t len)
{
	CELLS(t, "reg", TWO(gpa), TWO(len));
}

static void put_spi(struct tree *t, uint32_t spi)
{
	CELLS(t, "interrupts", GIC_SPI, spi, IRQ_LEVEL_HIGH);
}

static bool is_v2(const struct dtb_config *cfg)
{
	return cfg->irqchip == IRQCHIP_GICV2 || cfg->irqchip == IRQCHIP_GICV2M;
}

static uint32_t ppi_flags(const struct dtb_config *cfg)
{
	return is_v2(cfg) ? ((1u << cfg->cpus_nr) - 1) << PPI_CPUS_SHIFT | IRQ_LEVEL_HIGH
			  : IRQ_LEVEL_HIGH;
}

static void add_chosen(struct tree *t)
{
	const struct dtb_config *cfg = t->cfg;

	begin(t, "chosen");
	put_string(t, "bootargs", cfg->cmdline);
	note(t, fdt_property_string(t->fdt, "stdout-path", "serial0:115200n8"));
	if (cfg->initrd_len) {
		CELLS(t, "linux,initrd-start", TWO(cfg->initrd_gpa));
		CELLS(t, "linux,initrd-end", TWO(cfg->initrd_gpa + cfg->initrd_len));
	}
	put(t, "kaslr-seed", &cfg->kaslr_seed, sizeof(cfg->kaslr_seed));
	put(t, "rng-seed", cfg->rng_seed, sizeof(cfg->rng_seed));
	end(t);
}

static void add_memory(struct tree *t)
{
	begin(t, "memory@%llx", (unsigned long long)t->cfg->ram_gpa);
	put_string(t, "device_type", "memory");
	put_reg(t, t->cfg->ram_gpa, t->cfg->ram_len);
	end(t);
}

static void add_cpus(struct tree *t)
{
	begin(t, "cpus");
	CELLS(t, "#address-cells", 1);
	CELLS(t, "#size-cells", 0);
	for (unsigned int i = 0; i < t->cfg->cpus_nr; i++) {
		begin(t, "cpu@%x", t->cfg->affinity[i]);
		put_string(t, "device_type", "cpu");
		put_string(t, "compatible", "arm,armv8");
		put_string(t, "enable-method", "psci");
		CELLS(t, "reg", t->cfg->affinity[i]);
		end(t);
	}
	end(t);
}

static void add_psci(struct tree *t)
{
	begin(t, "psci");
	put_strings(t, "compatible", "arm,psci-1.0\0arm,psci-0.2");
	put_string(t, "method", "hvc");
	end(t);
}

static void add_timer(struct tree *t)
{
	uint32_t flags = ppi_flags(t->cfg);

	begin(t, "timer");
	put_string(t, "compatible", "arm,armv8-timer");
	CELLS(t, "interrupts", GIC_PPI, PPI_TIMER_SECURE, flags, GIC_PPI, PPI_TIMER_PHYS, flags,
	      GIC_PPI, PPI_TIMER_VIRT, flags, GIC_PPI, PPI_TIMER_HYP_PHYS, flags);
	put_flag(t, "always-on");
	end(t);
	if (!t->cfg->pmu)
		return;
	begin(t, "pmu");
	put_string(t, "compatible", "arm,armv8-pmuv3");
	CELLS(t, "interrupts", GIC_PPI, PPI_PMU, flags);
	end(t);
}

static void add_its(struct tree *t)
{
	begin(t, "msi-controller@%llx", GPA_ITS);
	put_string(t, "compatible", "arm,gic-v3-its");
	put_flag(t, "msi-controller");
	CELLS(t, "#msi-cells", 1);
	put_reg(t, GPA_ITS, GPA_ITS_LEN);
	CELLS(t, "phandle", PHANDLE_MSI);
	end(t);
}

static void add_v2m(struct tree *t)
{
	begin(t, "v2m@%llx", GPA_V2M);
	put_string(t, "compatible", "arm,gic-v2m-frame");
	put_flag(t, "msi-controller");
	put_reg(t, GPA_V2M, GPA_V2M_LEN);
	CELLS(t, "phandle", PHANDLE_MSI);
	end(t);
}

static void add_gic(struct tree *t)
{
	const struct dtb_config *cfg = t->cfg;

	begin(t, "interrupt-controller@%llx", GPA_GICD);
	put_string(t, "compatible", is_v2(cfg) ? "arm,cortex-a15-gic" : "arm,gic-v3");
	put_flag(t, "interrupt-controller");
	CELLS(t, "#interrupt-cells", 3);
	CELLS(t, "#address-cells", 2);
	CELLS(t, "#size-cells", 2);
	put_flag(t, "ranges");
	if (is_v2(cfg))
		CELLS(t, "reg", TWO(GPA_GICD), TWO(GPA_GICD_LEN), TWO(GPA_GICC), TWO(GPA_GICC_LEN));
	else
		CELLS(t, "reg", TWO(GPA_GICD), TWO(GPA_GICD_LEN), TWO(GPA_GICR),
		      TWO(GPA_GICR_LEN * cfg->cpus_nr));
	CELLS(t, "phandle", PHANDLE_GIC);
	if (cfg->irqchip == IRQCHIP_GICV3_ITS)
		add_its(t);
	if (cfg->irqchip == IRQCHIP_GICV2M)
		add_v2m(t);
	end(t);
}

static void add_serials(struct tree *t)
{
	for (unsigned int i = 0; i < SERIAL_NR; i++) {
		uint64_t gpa = GPA_SERIAL + i * SERIAL_STRIDE;

		begin(t, "serial@%llx", (unsigned long long)gpa);
		put_string(t, "compatible", "ns16550a");
		put_reg(t, gpa, SERIAL_PORTS);
		put_spi(t, SPI_SERIAL + i);
		CELLS(t, "clock-frequency", UART_CLOCK);
		end(t);
	}
}

/* ttyS0 is the first port whatever the order in which they are found. */
static void add_aliases(struct tree *t)
{
	begin(t, "aliases");
	for (unsigned int i = 0; i < SERIAL_NR; i++) {
		char name[16], path[32];

		snprintf(name, sizeof(name), "serial%u", i);
		snprintf(path, sizeof(path), "/serial@%llx",
			 (unsigned long long)(GPA_SERIAL + i * SERIAL_STRIDE));
		put_string(t, name, path);
	}
	end(t);
}

static void add_rtc(struct tree *t)
{
	begin(t, "clock");
	put_string(t, "compatible", "fixed-clock");
	CELLS(t, "#clock-cells", 0);
	CELLS(t, "clock-frequency", CLOCK_HZ);
	CELLS(t, "phandle", PHANDLE_CLOCK);
	end(t);
	begin(t, "rtc@%llx", GPA_RTC);
	put_strings(t, "compatible", "arm,pl031\0arm,primecell");
	put_reg(t, GPA_RTC, PL031_LEN);
	CELLS(t, "clocks", PHANDLE_CLOCK);
	put_string(t, "clock-names", "apb_pclk");
	end(t);
}

/* A row for each slot of the first SPI_PCI_NR, whose rotation the others follow, and pin. */
static void put_interrupt_map(struct tree *t)
{
	enum { ROW = 10, PINS = 4 };
	uint32_t map[SPI_PCI_NR * PINS * ROW], *p = map;

	for (unsigned int slot = 0; slot < SPI_PCI_NR; slot++)
		for (unsigned int pin = 0; pin < PINS; pin++, p += ROW)
			memcpy(p,
			       (const uint32_t[ROW]){ slot << PCI_SLOT_SHIFT, 0, 0, pin + 1,
						      PHANDLE_GIC, 0, 0, GIC_SPI,
						      SPI_PCI + (slot + pin) % SPI_PCI_NR,
						      IRQ_LEVEL_HIGH },
			       ROW * sizeof(*p));
	put_cells(t, "interrupt-map", map, ARRAY_SIZE(map));
	CELLS(t, "interrupt-map-mask", (SPI_PCI_NR - 1) << PCI_SLOT_SHIFT, 0, 0, 7);
}

static void put_pci_ranges(struct tree *t)
{
	const struct dtb_config *cfg = t->cfg;
	const uint32_t ranges[] = {
		PCI_SPACE_IO,
		0,
		0,
		TWO(GPA_PCI_IO),
		TWO(GPA_PCI_IO_LEN),
		PCI_SPACE_32,
		TWO(GPA_PCI32),
		TWO(GPA_PCI32),
		TWO(GPA_PCI32_LEN),
		PCI_SPACE_64,
		TWO(cfg->pci64),
		TWO(cfg->pci64),
		TWO(cfg->pci64_len),
	};
	unsigned int row = ARRAY_SIZE(ranges) / 3;

	put_cells(t, "ranges", ranges, cfg->pci64_len ? 3 * row : 2 * row);
}

static void add_pci(struct tree *t)
{
	begin(t, "pcie@%llx", GPA_ECAM);
	put_string(t, "compatible", "pci-host-ecam-generic");
	put_string(t, "device_type", "pci");
	put_reg(t, GPA_ECAM, GPA_ECAM_LEN);
	CELLS(t, "bus-range", 0, 0);
	CELLS(t, "linux,pci-domain", 0);
	CELLS(t, "#address-cells", 3);
	CELLS(t, "#size-cells", 2);
	CELLS(t, "#interrupt-cells", 1);
	put_flag(t, "dma-coherent");
	put_pci_ranges(t);
	put_interrupt_map(t);
	if (t->cfg->irqchip == IRQCHIP_GICV3_ITS)
		CELLS(t, "msi-map", 0, PHANDLE_MSI, 0, 0x10000);
	if (t->cfg->irqchip == IRQCHIP_GICV2M)
		CELLS(t, "msi-parent", PHANDLE_MSI);
	end(t);
}

static void add_all(struct tree *t)
{
	begin(t, "%s", "");
	put_string(t, "compatible", "linux,dummy-virt");
	put_string(t, "model", "lkvm");
	CELLS(t, "#address-cells", 2);
	CELLS(t, "#size-cells", 2);
	CELLS(t, "interrupt-parent", PHANDLE_GIC);
	add_aliases(t);
	add_chosen(t);
	add_memory(t);
	add_cpus(t);
	add_psci(t);
	add_timer(t);
	add_gic(t);
	add_serials(t);
	add_rtc(t);
	add_pci(t);
	end(t);
}

int dtb_build(void *buf, size_t len, const struct dtb_config *cfg, struct err *err)
{
	struct tree t = { .fdt = buf, .cfg = cfg };

	memset(buf, 0, len);
	note(&t, fdt_create(buf, (int)len));
	note(&t, fdt_finish_reservemap(buf));
	add_all(&t);
	note(&t, fdt_finish(buf));
	if (!t.ret)
		return 0;
	err_internal(err, "the device tree cannot be made: %s", fdt_strerror(t.ret));
	return t.ret == -FDT_ERR_NOSPACE ? -ENOSPC : -EIO;
}

size_t dtb_len(const void *dtb)
{
	return fdt_totalsize(dtb);
}
