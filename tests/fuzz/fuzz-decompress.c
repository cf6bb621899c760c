// SPDX-License-Identifier: GPL-2.0
// LINK: util/decompress.c util/err.c
/*
 * A compressed payload: as it is, and with a claim of its size that is sane, which the fuzzer would seldom
 * find by itself; and the same bytes as a file.
 */
#include <errno.h>

#include <lkvm/decompress.h>

#include "fuzz.h"

#define MAX_LEN (4 * MIB)

static void run(const uint8_t *data, size_t size)
{
	struct decompressed out;
	struct err err = ERR_INIT;
	int ret = decompress("input", data, size, MAX_LEN, &out, &err);
	uint8_t sum = 0;

	FUZZ_CHECK((ret < 0) == (err.kind != ERR_NONE));
	if (ret < 0) {
		FUZZ_CHECK(ret == -EINVAL || ret == -ENOTSUP);
		FUZZ_CHECK(!out.data);
		return;
	}
	FUZZ_CHECK(out.len > 0 && out.len <= MAX_LEN);
	FUZZ_CHECK(out.len == get_le32(data + size - 4));
	for (size_t i = 0; i < out.len; i++)
		sum += out.data[i];
	*(volatile uint8_t *)&sum;
	decompress_release(&out);
}

/* A file says nothing of its size. */
static void run_file(const uint8_t *data, size_t size)
{
	struct decompressed out;
	struct err err = ERR_INIT;
	int ret = decompress_file("file", "input", data, size, MAX_LEN, &out, &err);
	uint8_t sum = 0;

	FUZZ_CHECK((ret < 0) == (err.kind != ERR_NONE));
	FUZZ_CHECK((ret < 0) == !out.data);
	if (ret < 0)
		return;
	FUZZ_CHECK(out.len > 0 && out.len <= MAX_LEN);
	for (size_t i = 0; i < out.len; i++)
		sum += out.data[i];
	*(volatile uint8_t *)&sum;
	decompress_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint32_t claims[] = { 1, 4096, 100000 };

	decompress_format(data, size);
	run(data, size);
	run_file(data, size);
	for (size_t i = 0; i < ARRAY_SIZE(claims) && size >= 4; i++) {
		uint8_t *copy = malloc(size);

		FUZZ_CHECK(copy);
		memcpy(copy, data, size);
		put_le32(copy + size - 4, claims[i]);
		run(copy, size);
		free(copy);
	}
	return 0;
}
