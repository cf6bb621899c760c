// SPDX-License-Identifier: GPL-2.0
// LINK: x86/vmlinux.c util/kcache.c util/kindex.c util/src.c util/err.c util/util.c gmem.c
/*
 * A cache entry. The input is first a damaged entry's file, then a kernel that is stored and comes back:
 * what passes the checksum is what was stored, and loads like the original.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "x86/loader.h"

#include "fuzz.h"

#define RAM (20 * MIB)

static const struct kcache_key key = { { 0xab } };
static char dir[] = "/tmp/lkvm-fuzz-kcache-XXXXXX";

static void cleanup(void)
{
	kcache_remove(dir, &key);
	rmdir(dir);
}

static void init(void)
{
	static bool done;

	if (done)
		return;
	done = true;
	FUZZ_CHECK(mkdtemp(dir));
	atexit(cleanup);
}

static int load(struct gmem *gm, struct loaded *out)
{
	struct err err = ERR_INIT;
	struct kcache_entry e;
	struct vmlinux vm;
	int ret = kcache_open(&e, dir, &key);

	if (ret < 0)
		return ret;
	ret = vmlinux_parse(&e.src, false, &vm, &err);
	if (ret == 0)
		ret = vmlinux_load(gm, &e.src, &vm, &e, out, &err);
	kcache_close(&e);
	return ret;
}

/* Any bytes as the file of an entry: nothing the fuzzer can make has a right checksum by chance. */
static void load_damaged(const uint8_t *data, size_t size)
{
	char path[128];
	struct loaded out;
	int fd;

	snprintf(path, sizeof(path), "%s/ab%030d.vmlinux", dir, 0);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	FUZZ_CHECK(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	close(fd);
	if (load(fuzz_gmem(RAM), &out) == -ENOENT)
		FUZZ_CHECK(access(path, F_OK) < 0);
}

static void store_and_load(const uint8_t *data, size_t size)
{
	struct kcache_range ranges[VMLINUX_RANGES_MAX];
	struct loaded first, second;
	struct err err = ERR_INIT;
	struct vmlinux vm;
	struct src src;
	struct gmem *gm;
	uint8_t *copy;

	src_init_mem(&src, "kernel", "input", data, size);
	if (vmlinux_parse(&src, false, &vm, &err) < 0)
		return;
	FUZZ_CHECK(kcache_store(dir, &key, data, ranges, vmlinux_ranges(&vm, ranges)) == 0);
	gm = fuzz_gmem(RAM);
	if (vmlinux_load(gm, &src, &vm, NULL, &first, &err) < 0) {
		FUZZ_CHECK(load(gm, &second) == -EINVAL);
		return;
	}
	copy = malloc(first.len);
	FUZZ_CHECK(copy);
	memcpy(copy, gmem_span(gm, first.gpa, first.len), first.len);
	gm = fuzz_gmem(RAM);
	FUZZ_CHECK(load(gm, &second) == 0);
	FUZZ_CHECK(first.gpa == second.gpa && first.len == second.len);
	FUZZ_CHECK(first.entry == second.entry);
	FUZZ_CHECK(memcmp(copy, gmem_span(gm, first.gpa, first.len), first.len) == 0);
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	init();
	load_damaged(data, size);
	store_and_load(data, size);
	return 0;
}
