/* SPDX-License-Identifier: GPL-2.0 */
#include <lkvm/chr.h>
#include <lkvm/earlycon.h>
#include <lkvm/util.h>

#define STRIDE   4
#define REG_IIR  2
#define REG_LCR  3
#define REG_LSR  5
#define REG_MSR  6

#define IIR_NONE 0x01
#define LCR_8N1  0x03
#define LCR_DLAB 0x80
#define LSR_IDLE 0x60 /* THRE and TEMT */
#define MSR_PEER 0xb0 /* CTS, DSR and DCD */

/* The low byte of each register; everything else reads as 0. */
static uint8_t page_byte(uint64_t off)
{
	switch (off) {
	case REG_IIR *STRIDE:
		return IIR_NONE;
	case REG_LCR *STRIDE:
		return LCR_8N1;
	case REG_LSR *STRIDE:
		return LSR_IDLE;
	case REG_MSR *STRIDE:
		return MSR_PEER;
	default:
		return 0;
	}
}

void earlycon_page(void *page)
{
	uint8_t *p = page;

	for (unsigned int i = 0; i < EARLYCON_LEN; i++)
		p[i] = page_byte(i);
}

static uint64_t earlycon_bus_read(struct bus_region *r, uint64_t off, unsigned int width)
{
	uint64_t v = 0;

	(void)r;
	for (unsigned int i = 0; i < width; i++)
		v |= (uint64_t)page_byte(off + i) << (8 * i);
	return v;
}

static void earlycon_bus_write(struct bus_region *r, uint64_t off, unsigned int width,
			       uint64_t value)
{
	struct earlycon *e = container_of(r, struct earlycon, region);
	uint8_t byte = (uint8_t)value;

	(void)width;
	if (off == REG_LCR * STRIDE)
		atomic_store(&e->lcr, byte);
	if (off == EARLYCON_THR && !(atomic_load(&e->lcr) & LCR_DLAB) && e->chr)
		chr_write(e->chr, &byte, 1);
}

int earlycon_init(struct earlycon *e, struct bus *mmio, uint64_t gpa, struct chr *chr,
		  struct err *err)
{
	e->mmio = mmio;
	e->chr = chr;
	atomic_init(&e->lcr, LCR_8N1);
	e->region = (struct bus_region){
		.name = "earlycon",
		.base = gpa,
		.size = EARLYCON_LEN,
		.max_width = 4,
		.read = earlycon_bus_read,
		.write = earlycon_bus_write,
	};
	if (bus_add(mmio, &e->region))
		return err_internal(err, "earlycon: the page at 0x%llx is taken",
				    (unsigned long long)gpa);
	return 0;
}

void earlycon_release(struct earlycon *e)
{
	bus_remove(e->mmio, &e->region);
}
