// SPDX-License-Identifier: GPL-2.0
// LINK: arm/boot.c arm/image.c initrds.c util/decompress.c util/src.c util/err.c util/util.c gmem.c
/*
 * An arm64 kernel file of any kind through boot_load(). Whatever the file says, the kernel, the initrd and the room for the
 * device tree end up in RAM, apart from each other, and an error has a sentence.
 */
#include <lkvm/src.h>

#include "arm/boot.h"

#include "fuzz.h"

#define RAM (64 * MIB)

static void check_result(const struct gmem *gm, const struct boot_result *res)
{
	FUZZ_CHECK(res->how);
	FUZZ_CHECK(gmem_span(gm, res->kernel_gpa, res->kernel_len));
	FUZZ_CHECK(res->kernel_len);
	FUZZ_CHECK(gmem_span(gm, res->dtb_gpa, BOOT_DTB_LEN));
	FUZZ_CHECK(res->initrd_len == 8);
	FUZZ_CHECK(res->initrd_gpa >= res->kernel_gpa + res->kernel_len);
	FUZZ_CHECK(res->dtb_gpa >= res->initrd_gpa + res->initrd_len);
	FUZZ_CHECK(memcmp(gmem_span(gm, res->initrd_gpa, 8), "initrd\0\0", 8) == 0);
	/* The tree's room is untouched. */
	FUZZ_CHECK(*(uint8_t *)gmem_span(gm, res->dtb_gpa, 1) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct arm_cpu cpu = { .pages = 1u << ARM_PAGES_4K };
	struct src kernel, initrd;
	struct boot_result res;
	struct err err = ERR_INIT;

	if (size == 0) /* src_open() refuses it */
		return 0;
	src_init_mem(&kernel, "kernel", "input", data, size);
	src_init_mem(&initrd, "initrd", "initrd", "initrd", 6);
	struct boot_request req = {
		.kernel = &kernel, .initrds = &initrd, .initrds_nr = 1, .cmdline = "x", .cpu = &cpu
	};
	struct gmem *gm = fuzz_gmem(RAM);
	int ret = boot_load(gm, &req, &res, &err);

	FUZZ_CHECK((ret < 0) == (err.kind != ERR_NONE));
	FUZZ_CHECK(ret == 0 || err.kind == ERR_USAGE);
	if (ret == 0)
		check_result(gm, &res);
	return 0;
}
