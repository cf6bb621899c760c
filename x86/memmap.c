/* SPDX-License-Identifier: GPL-2.0 */
#include "memmap.h"

/* The ports and lines that PC software expects, except that no two ports share a line. */
const struct serial_place serial_places[SERIAL_NR] = {
	{ 0x3f8, 4 },
	{ 0x2f8, 3 },
	{ 0x3e8, 5 },
	{ 0x2e8, 7 },
};

unsigned int memmap_ram(uint64_t size, struct gmem_region spans[2])
{
	uint64_t low = MIN(size, GPA_RAM_LOW_MAX);

	spans[0] = (struct gmem_region){ .gpa = 0, .size = low };
	if (size == low)
		return 1;
	spans[1] = (struct gmem_region){ .gpa = GPA_RAM_HIGH, .size = size - low };
	return 2;
}

void memmap_pci64(uint64_t ram_size, unsigned int phys_bits, uint64_t *gpa, uint64_t *len)
{
	uint64_t high = ram_size > GPA_RAM_LOW_MAX ? ram_size - GPA_RAM_LOW_MAX : 0;
	uint64_t end = UINT64_C(1) << phys_bits;

	*gpa = align_up(GPA_RAM_HIGH + high, GIB);
	*len = *gpa < end ? MIN(end - *gpa, GPA_PCI64_LEN_MAX) : 0;
	if (!*len)
		*gpa = 0;
}

/* What of a RAM region the kernel may use: not the EBDA, the VGA hole and the firmware tables. */
static const struct {
	uint64_t start, end;
} ram_windows[] = {
	{ 0, GPA_EBDA },
	{ GPA_HIGH, UINT64_MAX },
};

/*
 * The EBDA and the tables, so that the kernel keeps off them; ECAM, because Linux uses it only when the
 * map reserves it; KVM's own pages, so that no BAR is put over them.
 */
static const struct e820_range reserved[] = {
	{ GPA_EBDA, GPA_LOW_END - GPA_EBDA, E820_RESERVED },
	{ GPA_ACPI, GPA_HIGH - GPA_ACPI, E820_RESERVED },
	{ GPA_ECAM, GPA_ECAM_LEN, E820_RESERVED },
	{ GPA_IDENTITY, 4 * 4096, E820_RESERVED },
};

_Static_assert(GMEM_REGIONS_MAX *ARRAY_SIZE(ram_windows) + ARRAY_SIZE(reserved) <= E820_MAX,
	       "memmap_e820() has room for every range");

static unsigned int e820_insert(struct e820_range out[E820_MAX], unsigned int nr,
				const struct e820_range *r)
{
	unsigned int i = nr;

	for (; i > 0 && out[i - 1].addr > r->addr; i--)
		out[i] = out[i - 1];
	out[i] = *r;
	return nr + 1;
}

unsigned int memmap_e820(const struct gmem *gm, struct e820_range out[E820_MAX])
{
	unsigned int nr = 0;

	for (unsigned int i = 0; i < gm->regions_nr; i++) {
		const struct gmem_region *region = &gm->regions[i];

		for (unsigned int w = 0; w < ARRAY_SIZE(ram_windows); w++) {
			uint64_t start = MAX(region->gpa, ram_windows[w].start);
			uint64_t end = MIN(region->gpa + region->size, ram_windows[w].end);
			struct e820_range ram = { start, end - start, E820_RAM };

			if (start < end)
				nr = e820_insert(out, nr, &ram);
		}
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(reserved); i++)
		nr = e820_insert(out, nr, &reserved[i]);
	return nr;
}
