/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The guest-physical address map, I/O ports and interrupt lines of the x86-64 machine. Every number that
 * two files must agree on is here.
 */
#ifndef LKVM_X86_MEMMAP_H
#define LKVM_X86_MEMMAP_H

#include <stdint.h>

#include <lkvm/gmem.h>
#include <lkvm/util.h>

/* Low memory: what the loader hands to the kernel. Each is below 640 KiB and reserved by nobody else. */
#define GPA_GDT         0x00000500ULL
#define GPA_PML4        0x00002000ULL /* then one PDPT and four PDs: 4 GiB, identity, 2 MiB pages */
#define GPA_BOOT_PARAMS 0x00008000ULL
#define GPA_SETUP_DATA  0x00009000ULL
#define GPA_PVH_INFO    0x0000a000ULL /* hvm_start_info, then modules and the memory map */
#define GPA_BOOT_STACK  0x0000f000ULL /* top */
#define GPA_CMDLINE     0x00010000ULL
#define GPA_CMDLINE_LEN 0x00010000ULL
#define GPA_EBDA        0x0009fc00ULL /* 1 KiB, reserved; the MP floating pointer is here */
#define GPA_LOW_END     0x000a0000ULL
#define GPA_ACPI        0x000e0000ULL /* RSDP first, then the tables; reserved to 1 MiB */
#define GPA_ACPI_LEN    0x00010000ULL
#define GPA_MPTABLE     0x000f0000ULL
#define GPA_MPTABLE_LEN 0x00010000ULL
#define GPA_HIGH        0x00100000ULL /* 1 MiB: the kernel and the initrd */

/* RAM ends here below 4 GiB and goes on at 4 GiB. */
#define GPA_RAM_LOW_MAX  0xc0000000ULL
#define GPA_RAM_HIGH     0x100000000ULL

#define GPA_PCI32        0xc0000000ULL /* PCI memory window */
#define GPA_PCI32_LEN    0x20000000ULL
#define GPA_ECAM         0xe0000000ULL /* bus 0 only */
#define GPA_ECAM_LEN     0x00100000ULL
#define GPA_EARLYCON     0xfe000000ULL /* output-only 8250 for the boot log */
#define GPA_EARLYCON_LEN 0x00001000ULL
#define GPA_IOAPIC       0xfec00000ULL
#define GPA_LAPIC        0xfee00000ULL
#define GPA_IDENTITY     0xfffbc000ULL /* KVM_SET_IDENTITY_MAP_ADDR, one page */
#define GPA_TSS          0xfffbd000ULL /* KVM_SET_TSS_ADDR, three pages */

/* Ports. */
#define PORT_I8042_DATA 0x60
#define PORT_I8042_CMD  0x64
#define PORT_RTC        0x70 /* index; data follows */
#define PORT_A20        0x92
#define PORT_PVPANIC    0x505
#define PORT_CMD        0x510 /* cmd-abi.h */
#define PORT_PM         0x600 /* PM1a_EVT 4 bytes, PM1a_CNT 2 at +4, PM_TMR 4 at +8 */
#define PORT_PM_EVT     (PORT_PM + 0)
#define PORT_PM_CNT     (PORT_PM + 4)
#define PORT_PM_TMR     (PORT_PM + 8)
#define PORT_PM_LEN     12
#define PORT_PCI_CONF   0xcf8
#define PORT_RESET      0xcf9 /* reset control: 0x06 resets */
#define RESET_VALUE     0x06
#define PORT_PCI_IO     0x1000 /* PCI I/O window */
#define PORT_PCI_IO_LEN 0xf000

/* The four serial ports, in COM order, each with an interrupt of its own. */
#define SERIAL_NR 4
extern const struct serial_place {
	uint16_t port;
	uint8_t irq;
} serial_places[SERIAL_NR];

/* Interrupts. */
#define IRQ_RTC    8
#define IRQ_SCI    9
#define IRQ_KBD    1
#define IRQ_AUX    12
#define GSI_NR     24 /* pins of the IOAPIC */
#define GSI_PCI    16 /* PCI INTx: four... eight pins from here */
#define GSI_PCI_NR 8

/* The GSI of a PCI function's interrupt pin (0 = INTA#): what _PRT, the MP table and pci.c share. */
static inline uint32_t memmap_pci_gsi(unsigned int slot, unsigned int pin)
{
	return GSI_PCI + (slot + pin) % GSI_PCI_NR;
}

#define IOAPIC_ID 0 /* MADT and MP table */

/* Splits `size` bytes of RAM around the hole; returns how many spans were filled (1 or 2). */
unsigned int memmap_ram(uint64_t size, struct gmem_region spans[2]);

/*
 * The 64-bit PCI window: from the first GiB above RAM, as far as addresses of `phys_bits` bits reach, at most
 * GPA_PCI64_LEN_MAX. *gpa is 0 when there is no room.
 */
#define GPA_PCI64_LEN_MAX (64 * GIB)
void memmap_pci64(uint64_t ram_size, unsigned int phys_bits, uint64_t *gpa, uint64_t *len);

/* The e820 view of it, in the boot protocol's and PVH's common terms. */
enum e820_type { E820_RAM = 1, E820_RESERVED = 2 };
struct e820_range {
	uint64_t addr, size;
	enum e820_type type;
};
#define E820_MAX 12
/* RAM less the reserved parts above, and the reserved parts, ascending. Returns the count. */
unsigned int memmap_e820(const struct gmem *gm, struct e820_range out[E820_MAX]);

#endif
