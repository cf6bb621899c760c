/* SPDX-License-Identifier: GPL-2.0 */
#include <lkvm/gmem.h>
#include <lkvm/initrds.h>
#include <lkvm/src.h>
#include <lkvm/util.h>

#include "boot.h"
#include "image.h"

#define REACH     GIB
#define DTB_ALIGN (2 * MIB) /* so that it crosses no such border, as booting.rst wants it */

int boot_load(const struct gmem *gm, const struct boot_request *req, struct boot_result *res,
	      struct err *err)
{
	uint64_t ram = gm->regions[0].gpa, size = MIN(gm->regions[0].size, REACH);
	struct image_loaded image;

	*res = (struct boot_result){ 0 };
	size_t len = strlen(req->cmdline);
	if (len > BOOT_CMDLINE_MAX)
		return err_usage(err,
				 "the kernel command line has %zu bytes and an arm64 kernel takes "
				 "at most %d: shorten -p",
				 len, BOOT_CMDLINE_MAX);
	int ret = image_load(gm, req->kernel, req->cpu, &image, err);
	if (ret)
		return ret;
	res->how = image.how;
	res->kernel_gpa = image.gpa;
	res->kernel_len = image.len;
	uint64_t end = align_up(image.gpa + image.len, INITRDS_PAGE);
	res->dtb_gpa = align_down(ram + size - BOOT_DTB_LEN, DTB_ALIGN);
	if (end > res->dtb_gpa)
		return err_usage(err,
				 "kernel %s of %llu KiB leaves no memory for the device tree: give "
				 "the guest more with -m",
				 req->kernel->name, (unsigned long long)(image.len / KIB));
	return initrds_load(gm, req->initrds, req->initrds_nr, end, res->dtb_gpa, &res->initrd_gpa,
			    &res->initrd_len, err);
}
