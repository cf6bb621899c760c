/* SPDX-License-Identifier: GPL-2.0 */
#include <stdlib.h>
#include <string.h>

#include <lkvm/gmem.h>
#include <lkvm/util.h>

#include "memmap.h"
#include "mptable.h"

/* MP specification 1.4: section 4 for the layouts, 4.1 for the floating pointer. */
#define MPF_LEN         16
#define MPF_CHECKSUM    10
#define MP_SPEC_REV     4

#define HEADER_LEN      44
#define HEADER_LENGTH   4
#define HEADER_CHECKSUM 7
#define HEADER_ENTRIES  34

#define CPU_LEN         20
#define CPU_LAPIC       0x14 /* version of an integrated local APIC */
#define CPU_ENABLED     1
#define CPU_BOOT        2
#define CPU_SIG         0x600 /* family 6 */
#define CPU_FEATURES    0x201 /* FPU and APIC; kernels ask CPUID */

#define ENTRY_LEN       8
#define ENTRY_CPU       0
#define ENTRY_BUS       1
#define ENTRY_IOAPIC    2
#define ENTRY_INT       3
#define ENTRY_LINT      4
#define IOAPIC_VERSION  0x11
#define IOAPIC_ENABLED  1
#define INT_VECTORED    0
#define INT_NMI         1
#define INT_EXTINT      3
#define INT_CONFORM     0    /* polarity and trigger mode of the bus */
#define INT_LEVEL_LOW   0x0f /* PCI's, said in full */
#define LAPIC_ALL       0xff

/* Linux takes the PCI bus's id for its number. */
#define BUS_PCI     0
#define BUS_ISA     1
#define ISA_IRQS    16
#define ISA_CASCADE 2 /* the second PIC, not a device */
#define PCI_SLOTS   32
#define PCI_PINS    4

#define MP_CPUS_MAX 254
#define MP_LEN_MAX                                                                                 \
	(HEADER_LEN + MP_CPUS_MAX * CPU_LEN +                                                      \
	 (2 + 1 + ISA_IRQS + PCI_SLOTS * PCI_PINS + 2) * ENTRY_LEN)
_Static_assert(MP_LEN_MAX <= GPA_MPTABLE_LEN, "the MP table has room");

struct mp {
	uint8_t buf[MP_LEN_MAX];
	size_t len;
	uint16_t entries;
};

static uint8_t checksum(const uint8_t *p, size_t len)
{
	uint8_t sum = 0;

	while (len--)
		sum += *p++;
	return -sum;
}

/* The next entry, zeroed but for its type. */
static uint8_t *add(struct mp *mp, uint8_t type, size_t len)
{
	BUG_ON(!range_ok(mp->len, len, sizeof(mp->buf)));
	uint8_t *p = mp->buf + mp->len;

	p[0] = type;
	mp->len += len;
	mp->entries++;
	return p;
}

static void add_cpu(struct mp *mp, unsigned int id)
{
	uint8_t *p = add(mp, ENTRY_CPU, CPU_LEN);

	p[1] = id;
	p[2] = CPU_LAPIC;
	p[3] = CPU_ENABLED | (id ? 0 : CPU_BOOT);
	put_le32(p + 4, CPU_SIG);
	put_le32(p + 8, CPU_FEATURES);
}

static void add_bus(struct mp *mp, uint8_t id, const char *name)
{
	uint8_t *p = add(mp, ENTRY_BUS, ENTRY_LEN);

	p[1] = id;
	memcpy(p + 2, name, 6);
}

static void add_ioapic(struct mp *mp)
{
	uint8_t *p = add(mp, ENTRY_IOAPIC, ENTRY_LEN);

	p[1] = IOAPIC_ID;
	p[2] = IOAPIC_VERSION;
	p[3] = IOAPIC_ENABLED;
	put_le32(p + 4, GPA_IOAPIC);
}

/* An interrupt of a bus, to a pin of the IOAPIC or of the local APICs. */
static void add_int(struct mp *mp, uint8_t entry, uint8_t type, uint16_t flags, uint8_t bus,
		    uint8_t irq, uint8_t apic, uint8_t pin)
{
	uint8_t *p = add(mp, entry, ENTRY_LEN);

	p[1] = type;
	put_le16(p + 2, flags);
	p[4] = bus;
	p[5] = irq;
	p[6] = apic;
	p[7] = pin;
}

static void add_ints(struct mp *mp)
{
	for (unsigned int irq = 0; irq < ISA_IRQS; irq++)
		if (irq != ISA_CASCADE)
			add_int(mp, ENTRY_INT, INT_VECTORED, INT_CONFORM, BUS_ISA, irq, IOAPIC_ID,
				irq);
	/* D.3: the source of a PCI interrupt is the slot in bits 6-2 and the pin in bits 1-0. */
	for (unsigned int slot = 0; slot < PCI_SLOTS; slot++)
		for (unsigned int pin = 0; pin < PCI_PINS; pin++)
			add_int(mp, ENTRY_INT, INT_VECTORED, INT_LEVEL_LOW, BUS_PCI,
				slot << 2 | pin, IOAPIC_ID, memmap_pci_gsi(slot, pin));
	add_int(mp, ENTRY_LINT, INT_EXTINT, INT_CONFORM, BUS_ISA, 0, LAPIC_ALL, 0);
	add_int(mp, ENTRY_LINT, INT_NMI, INT_CONFORM, BUS_ISA, 0, LAPIC_ALL, 1);
}

static void fill_header(struct mp *mp)
{
	uint8_t *p = mp->buf;

	memcpy(p, "PCMP", 4);
	put_le16(p + HEADER_LENGTH, mp->len);
	p[6] = MP_SPEC_REV;
	memcpy(p + 8, "LKVM    ", 8);
	memcpy(p + 16, "LKVM X86    ", 12);
	put_le16(p + HEADER_ENTRIES, mp->entries);
	put_le32(p + 36, GPA_LAPIC);
	p[HEADER_CHECKSUM] = checksum(p, mp->len);
}

static void fill_pointer(uint8_t p[MPF_LEN])
{
	memcpy(p, "_MP_", 4);
	put_le32(p + 4, GPA_MPTABLE);
	p[8] = 1; /* its length in 16 bytes */
	p[9] = MP_SPEC_REV;
	p[MPF_CHECKSUM] = checksum(p, MPF_LEN); /* feature bytes 0: a table, virtual wire mode */
}

int mptable_build(const struct gmem *gm, unsigned int cpus_nr, struct err *err)
{
	uint8_t pointer[MPF_LEN] = { 0 };
	struct mp mp = { .len = HEADER_LEN };

	if (!cpus_nr || cpus_nr > MP_CPUS_MAX)
		return err_internal(err, "an MP table for %u CPUs; it describes 1 to %u", cpus_nr,
				    MP_CPUS_MAX);
	for (unsigned int id = 0; id < cpus_nr; id++)
		add_cpu(&mp, id);
	add_bus(&mp, BUS_PCI, "PCI   ");
	add_bus(&mp, BUS_ISA, "ISA   ");
	add_ioapic(&mp);
	add_ints(&mp);
	fill_header(&mp);
	fill_pointer(pointer);
	if (gmem_write(gm, GPA_EBDA, pointer, sizeof(pointer)) ||
	    gmem_write(gm, GPA_MPTABLE, mp.buf, mp.len))
		return err_internal(err, "the guest has no memory for its MP table");
	return 0;
}
