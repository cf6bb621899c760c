// SPDX-License-Identifier: GPL-2.0
// LINK: chr/ktap.c chr/classify.c util/util.c
/*
 * Any bytes on a console as test results. What is counted, kept and said stays within its bounds, and does not depend
 * on the pieces in which the bytes arrive.
 */
#include <lkvm/ktap.h>

#include "fuzz.h"

static void check(const struct ktap *k)
{
	uint64_t failed = 0;

	for (unsigned int i = 0; i < KTAP_SOURCES_NR; i++) {
		for (size_t n = 0; n < ARRAY_SIZE(k->inputs[i].streams); n++)
			FUZZ_CHECK(k->inputs[i].streams[n].depth == 0);
		FUZZ_CHECK(k->inputs[i].line_len == 0);
	}
	FUZZ_CHECK(k->cases_nr <= k->cases_room && k->cases_nr <= ktap_tests(k));
	for (size_t i = 0; i < k->cases_nr; i++) {
		const char *name = k->cases[i].name;

		FUZZ_CHECK(*name && strnlen(name, KTAP_NAME) < KTAP_NAME);
		for (; *name; name++)
			FUZZ_CHECK((unsigned char)*name >= ' ');
		failed += k->cases[i].outcome == KTAP_FAILED;
	}
	FUZZ_CHECK(failed <= k->count[KTAP_FAILED]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct ktap whole, pieces;

	ktap_init(&whole);
	ktap_feed(&whole, KTAP_CONSOLE, data, size);
	ktap_end(&whole);
	check(&whole);

	ktap_init(&pieces);
	for (size_t i = 0; i < size; i++)
		ktap_feed(&pieces, KTAP_CONSOLE, data + i, 1);
	ktap_end(&pieces);
	FUZZ_CHECK(!memcmp(whole.count, pieces.count, sizeof(whole.count)));
	FUZZ_CHECK(!strcmp(whole.broken, pieces.broken));
	ktap_release(&whole);
	ktap_release(&pieces);
	return 0;
}
