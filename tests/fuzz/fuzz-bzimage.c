// SPDX-License-Identifier: GPL-2.0
// LINK: x86/boot.c initrds.c x86/bootinfo.c x86/unpack.c x86/bzimage.c x86/vmlinux.c x86/memmap.c util/decompress.c util/kcache.c util/kindex.c util/src.c util/err.c util/log.c util/util.c gmem.c
/*
 * A kernel file of any kind through boot_load(), in each of its ways. Whatever the file says, the kernel
 * and the initrd end up in RAM, apart from each other, and an error has a sentence.
 */
#include <lkvm/log.h>
#include <lkvm/src.h>

#include "x86/boot.h"
#include "x86/memmap.h"

#include "fuzz.h"

#define RAM (64 * MIB)

static void check_result(const struct gmem *gm, const struct boot_result *res)
{
	FUZZ_CHECK(res->how);
	FUZZ_CHECK(res->kernel_gpa >= GPA_HIGH);
	FUZZ_CHECK(gmem_span(gm, res->kernel_gpa, res->kernel_len));
	FUZZ_CHECK(res->entry.rip >= res->kernel_gpa);
	FUZZ_CHECK(res->entry.rip - res->kernel_gpa < res->kernel_len);
	FUZZ_CHECK(gmem_span(gm, res->initrd_gpa, res->initrd_len));
	FUZZ_CHECK(res->initrd_len == 8);
	FUZZ_CHECK(res->initrd_gpa >= res->kernel_gpa + res->kernel_len);
	FUZZ_CHECK(memcmp(gmem_span(gm, res->initrd_gpa, 8), "initrd\0\0", 8) == 0);
	FUZZ_CHECK(strcmp(gmem_span(gm, GPA_CMDLINE, 2), "x") == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct log log = { .fd = -1 };
	struct src kernel, initrd;

	if (size == 0) /* src_open() refuses it */
		return 0;
	src_init_mem(&kernel, "kernel", "input", data, size);
	src_init_mem(&initrd, "initrd", "initrd", "initrd", 6);
	for (int how = BOOT_AUTO; how <= BOOT_VMLINUX; how++) {
		struct boot_request req = { .kernel = &kernel,
					    .initrds = &initrd,
					    .initrds_nr = 1,
					    .cmdline = "x",
					    .how = (enum boot_how)how,
					    .rsdp = GPA_ACPI,
					    .log = &log };
		struct gmem *gm = fuzz_gmem(RAM);
		struct boot_result res;
		struct err err = ERR_INIT;
		int ret = boot_load(gm, &req, &res, &err);

		FUZZ_CHECK((ret < 0) == (err.kind != ERR_NONE));
		FUZZ_CHECK(ret == 0 || err.kind == ERR_USAGE);
		if (ret == 0)
			check_result(gm, &res);
	}
	return 0;
}
