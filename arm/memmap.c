/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>

#include "memmap.h"

int memmap_ram(uint64_t size, unsigned int ipa_bits, struct gmem_region *span, uint64_t *max)
{
	uint64_t end = UINT64_C(1) << ipa_bits;

	*max = end > GPA_RAM ? end - GPA_RAM : 0;
	if (size > *max)
		return -ENOSPC;
	*span = (struct gmem_region){ .gpa = GPA_RAM, .size = size };
	return 1;
}

void memmap_pci64(uint64_t ram_size, unsigned int ipa_bits, uint64_t *gpa, uint64_t *len)
{
	uint64_t end = UINT64_C(1) << ipa_bits;

	*gpa = align_up(GPA_RAM + ram_size, GIB);
	*len = *gpa < end ? MIN(end - *gpa, GPA_PCI64_LEN_MAX) : 0;
	if (!*len)
		*gpa = 0;
}
