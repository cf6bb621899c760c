/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <sys/random.h>

#include "loader.h"

#define LOADER_UNDEFINED 0xff /* type_of_loader: none of those that have a number */
#define VID_MODE_NORMAL  0xffff
#define RNG_SEED_LEN     32

_Static_assert(sizeof(struct boot_params) <= GPA_SETUP_DATA - GPA_BOOT_PARAMS,
	       "boot_params ends before what follows it");

static int write_low(const struct gmem *gm, uint64_t gpa, const void *buf, size_t len,
		     struct err *err)
{
	if (gmem_write(gm, gpa, buf, len) < 0)
		return err_usage(err, "-m gives the guest less than 1 MiB of memory");
	return 0;
}

/* So that the kernel has good random numbers before it has any source of its own. */
static int write_seed(const struct gmem *gm, struct err *err)
{
	struct {
		uint64_t next; /* 0: the only entry of the list */
		uint32_t type;
		uint32_t len;
		uint8_t seed[RNG_SEED_LEN];
	} data = { .type = SETUP_RNG_SEED, .len = RNG_SEED_LEN };

	if (getrandom(data.seed, sizeof(data.seed), 0) != sizeof(data.seed))
		return err_host(err, errno, "no random numbers from getrandom(2)");
	return write_low(gm, GPA_SETUP_DATA, &data, sizeof(data), err);
}

static void fill_header(struct setup_header *h, const struct bootinfo *info)
{
	h->type_of_loader = LOADER_UNDEFINED;
	h->vid_mode = VID_MODE_NORMAL;
	/* There is no real-mode code, so none of its heap, and no KASLR was done. */
	h->loadflags &= (uint8_t) ~(CAN_USE_HEAP | KASLR_FLAG);
	h->cmd_line_ptr = GPA_CMDLINE;
	h->ramdisk_image = (uint32_t)info->initrd_gpa;
	h->ramdisk_size = (uint32_t)info->initrd_len;
	h->setup_data = GPA_SETUP_DATA;
}

int bootinfo_write_params(const struct gmem *gm, const struct setup_header *hdr,
			  const struct bootinfo *info, struct err *err)
{
	struct boot_params bp = { .hdr = *hdr };
	struct e820_range map[E820_MAX];
	int ret = write_seed(gm, err);

	if (ret < 0)
		return ret;
	fill_header(&bp.hdr, info);
	bp.ext_ramdisk_image = (uint32_t)(info->initrd_gpa >> 32);
	bp.ext_ramdisk_size = (uint32_t)(info->initrd_len >> 32);
	bp.acpi_rsdp_addr = info->rsdp;
	bp.e820_entries = (uint8_t)memmap_e820(gm, map);
	for (unsigned int i = 0; i < bp.e820_entries; i++)
		bp.e820_table[i] = (struct boot_e820_entry){ .addr = map[i].addr,
							     .size = map[i].size,
							     .type = map[i].type };
	return write_low(gm, GPA_BOOT_PARAMS, &bp, sizeof(bp), err);
}

/* Version 1 of the PVH start info: Xen's include/public/arch-x86/hvm/start_info.h. */
#define PVH_MAGIC   0x336ec578
#define PVH_VERSION 1

struct pvh_page {
	struct {
		uint32_t magic;
		uint32_t version;
		uint32_t flags;
		uint32_t modules_nr;
		uint64_t modules_gpa;
		uint64_t cmdline_gpa;
		uint64_t rsdp_gpa;
		uint64_t memmap_gpa;
		uint32_t memmap_nr;
		uint32_t reserved;
	} info;
	struct {
		uint64_t gpa, size, cmdline_gpa, reserved;
	} module;
	struct {
		uint64_t addr, size;
		uint32_t type, reserved;
	} memmap[E820_MAX];
};

_Static_assert(sizeof(struct pvh_page) <= 4096, "PVH info is one page");

int bootinfo_write_pvh(const struct gmem *gm, const struct bootinfo *info, struct err *err)
{
	struct pvh_page p = {
		.info = {
			.magic = PVH_MAGIC,
			.version = PVH_VERSION,
			.cmdline_gpa = GPA_CMDLINE,
			.rsdp_gpa = info->rsdp,
			.memmap_gpa = GPA_PVH_INFO + offsetof(struct pvh_page, memmap),
		},
	};
	struct e820_range map[E820_MAX];

	if (info->initrd_len) {
		p.info.modules_nr = 1;
		p.info.modules_gpa = GPA_PVH_INFO + offsetof(struct pvh_page, module);
		p.module.gpa = info->initrd_gpa;
		p.module.size = info->initrd_len;
	}
	p.info.memmap_nr = memmap_e820(gm, map);
	for (unsigned int i = 0; i < p.info.memmap_nr; i++) {
		p.memmap[i].addr = map[i].addr;
		p.memmap[i].size = map[i].size;
		p.memmap[i].type = map[i].type;
	}
	return write_low(gm, GPA_PVH_INFO, &p, sizeof(p), err);
}
