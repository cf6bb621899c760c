/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The guest-physical address map and interrupt numbers of the arm64 machine. Every number that two files must agree on is
 * here. Devices are apart by 64 KiB at least: a kernel with such pages maps each alone.
 */
#ifndef LKVM_ARM_MEMMAP_H
#define LKVM_ARM_MEMMAP_H

#include <stdbool.h>
#include <stdint.h>

#include <lkvm/gmem.h>
#include <lkvm/util.h>

#define GPA_SERIAL        0x01000000ULL /* the first; SERIAL_STRIDE apart */
#define SERIAL_STRIDE     0x00010000ULL
#define SERIAL_NR         4
#define GPA_RTC           0x01080000ULL
#define GPA_EARLYCON      0x01090000ULL /* output-only 8250 for the boot log */
#define GPA_PCI_IO        0x02000000ULL /* PCI ports 0 to 0xffff */
#define GPA_PCI_IO_LEN    0x00010000ULL
#define GPA_GICD          0x08000000ULL
#define GPA_GICD_LEN      0x00010000ULL
#define GPA_GICC          0x08010000ULL /* GICv2 */
#define GPA_GICC_LEN      0x00010000ULL
#define GPA_V2M           0x08020000ULL /* GICv2 with v2m: the frame of messages */
#define GPA_V2M_LEN       0x00001000ULL
#define GPA_ITS           0x08080000ULL
#define GPA_ITS_LEN       0x00020000ULL
#define GPA_GICR          0x10000000ULL /* GICv3: one redistributor a CPU */
#define GPA_GICR_LEN      0x00020000ULL
#define GPA_ECAM          0x3f000000ULL /* bus 0 only */
#define GPA_ECAM_LEN      0x00100000ULL
#define GPA_PCI32         0x40000000ULL /* PCI memory window */
#define GPA_PCI32_LEN     0x40000000ULL
#define GPA_RAM           0x80000000ULL /* to the end of the addresses, but for the 64-bit PCI window */

#define IPA_BITS_DEFAULT  40 /* of a guest-physical address; some hosts have fewer */

#define GPA_PCI64_LEN_MAX (64 * GIB)
#define PCI_IO_FIRST      0x1000u /* where ports for devices begin */

/* A GIC's interrupts: private ones of a CPU are 16 to 31, shared ones follow. */
#define GIC_PPI_FIRST 16
#define GIC_SPI_FIRST 32
#define GIC_NR_IRQS   256 /* of all kinds */

/* Shared ones, counted from GIC_SPI_FIRST. */
#define SPI_SERIAL 0 /* one each */
#define SPI_RTC    4
#define SPI_PCI    8 /* INTx, eight */
#define SPI_PCI_NR 8
#define SPI_V2M    32 /* messages */
#define SPI_V2M_NR 128

/* Private ones, counted from GIC_PPI_FIRST: the timers' are those of every arm64 machine. */
#define PPI_TIMER_HYP_PHYS 10
#define PPI_TIMER_VIRT     11
#define PPI_TIMER_SECURE   13
#define PPI_TIMER_PHYS     14
#define PPI_PMU            7

/*
 * Splits RAM, of which there is one span. Returns 1, or -ENOSPC and in *max the most that guests with addresses of
 * `ipa_bits` bits can have.
 */
int memmap_ram(uint64_t size, unsigned int ipa_bits, struct gmem_region *span, uint64_t *max);

/* The 64-bit PCI window: from the first GiB above RAM on, at most GPA_PCI64_LEN_MAX. *len is 0 when there is no room. */
void memmap_pci64(uint64_t ram_size, unsigned int ipa_bits, uint64_t *gpa, uint64_t *len);

#endif
