// SPDX-License-Identifier: GPL-2.0
// LINK: x86/vmlinux.c util/kcache.c util/kindex.c util/src.c util/err.c util/util.c gmem.c
/*
 * An ELF file. What loads lies in RAM, its entry in what was loaded; every byte of RAM outside the
 * segments stays zero, and each segment holds what the file says.
 */
#include "x86/loader.h"

#include "fuzz.h"

#define RAM (20 * MIB)

static void check_memory(struct gmem *gm, const uint8_t *data, const struct vmlinux *vm)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < vm->segs_nr; i++) {
		const Elf64_Phdr *p = vm->segs[i];

		FUZZ_CHECK(i == 0 ||
			   vm->segs[i - 1]->p_paddr + vm->segs[i - 1]->p_memsz <= p->p_paddr);
		FUZZ_CHECK(p->p_paddr >= GPA_HIGH);
		FUZZ_CHECK(memcmp(gmem_span(gm, p->p_paddr, p->p_memsz), data + p->p_offset,
				  p->p_filesz) == 0);
		sum += p->p_memsz;
	}
	FUZZ_CHECK(sum <= RAM);
}

static void check_ranges(const struct vmlinux *vm, size_t size)
{
	struct kcache_range ranges[VMLINUX_RANGES_MAX];
	unsigned int nr = vmlinux_ranges(vm, ranges);

	FUZZ_CHECK(nr == vm->segs_nr + 2);
	for (unsigned int i = 0; i < nr; i++)
		FUZZ_CHECK(range_ok(ranges[i].off, ranges[i].len, size));
}

static void run(const uint8_t *data, size_t size, bool pvh)
{
	struct gmem *gm = fuzz_gmem(RAM);
	struct err err = ERR_INIT;
	struct loaded out;
	struct vmlinux vm;
	struct src src;
	int ret;

	src_init_mem(&src, "kernel", "input", data, size);
	ret = vmlinux_parse(&src, pvh, &vm, &err);
	if (ret == 0) {
		check_ranges(&vm, size);
		ret = vmlinux_load(gm, &src, &vm, NULL, &out, &err);
	}
	FUZZ_CHECK((ret < 0) == (err.kind != ERR_NONE));
	FUZZ_CHECK(ret == 0 || err.kind == ERR_USAGE);
	if (ret < 0)
		return;
	check_memory(gm, data, &vm);
	FUZZ_CHECK(out.entry >= out.gpa && out.entry - out.gpa < out.len);
	FUZZ_CHECK(!out.pvh || (pvh && out.entry == vm.pvh_entry));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	run(data, size, false);
	run(data, size, true);
	return 0;
}
