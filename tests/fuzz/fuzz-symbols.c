// SPDX-License-Identifier: GPL-2.0
// LINK: util/symbols.c util/src.c util/err.c util/util.c gmem.c
/*
 * A file of symbols. What was read is in order, and is found again by its address; an error has a sentence.
 */
#include <lkvm/src.h>
#include <lkvm/symbols.h>

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err err = ERR_INIT;
	struct symbols s;
	struct src src;

	src_init_mem(&src, "symbols", "input", data, size);
	int ret = symbols_read(&s, &src, &err);
	FUZZ_CHECK((ret < 0) == (err.kind != ERR_NONE));
	for (size_t i = 0; !ret && i < s.nr; i++) {
		const char *name = s.names + s.list[i].name;
		struct symbol_at at;
		uint64_t addr;

		FUZZ_CHECK(!i || s.list[i - 1].addr <= s.list[i].addr);
		FUZZ_CHECK(*name && strlen(name) <= SYMBOL_NAME_MAX);
		FUZZ_CHECK(i > 64 || symbols_find(&s, name, &addr));
		if (symbols_at(&s, s.list[i].addr, &at))
			FUZZ_CHECK(at.off == 0 && *at.name);
	}
	symbols_release(&s);
	return 0;
}
