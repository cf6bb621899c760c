// SPDX-License-Identifier: GPL-2.0
// LINK: modules.c initramfs.c util/cpio.c util/decompress.c util/src.c util/err.c util/util.c
// LIBS: -lz -lzstd -llzma
/* Modules of a made-up kernel's tree: what they need, the order that they load in, and what is wrong with one. */
#include "unit.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include <lkvm/cmd-abi.h>
#include <lkvm/modules.h>
#include <lkvm/util.h>

#include "archive.h"

#define RELEASE "6.1.0-1-test"

/* As much of a module as tells what it is. */
struct ko {
	Elf64_Ehdr eh;
	Elf64_Shdr sh[3];
	char names[32];
	char info[128];
};

static struct modules *m;

static void setup(void)
{
	archive_setup("--modules");
	ck_assert_int_eq(mkdir("kernel", 0755), 0);
	m = NULL;
}

static void teardown(void)
{
	if (m)
		modules_free(m);
	archive_teardown();
}

static void write_file(const char *path, const void *data, size_t len)
{
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fwrite(data, 1, len, f), len);
	fclose(f);
}

/* `depends` NULL: it does not say. */
static struct ko build(const char *vermagic, const char *depends)
{
	struct ko k = {
		.eh = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64 },
			.e_shoff = offsetof(struct ko, sh),
			.e_shentsize = sizeof(Elf64_Shdr),
			.e_shnum = 3,
			.e_shstrndx = 1 },
		.sh = { { 0 },
			{ .sh_name = 0,
			  .sh_offset = offsetof(struct ko, names),
			  .sh_size = sizeof(k.names) },
			{ .sh_name = 11,
			  .sh_offset = offsetof(struct ko, info),
			  .sh_size = sizeof(k.info) } },
		.names = "\0.shstrtab\0.modinfo",
	};
	int n = snprintf(k.info, sizeof(k.info), "author=A%cvermagic=%s SMP", 0, vermagic) + 1;

	if (depends)
		snprintf(k.info + n, sizeof(k.info) - (size_t)n, "depends=%s", depends);
	return k;
}

static void make(const char *path, const char *depends)
{
	struct ko k = build(RELEASE, depends);

	write_file(path, &k, sizeof(k));
}

static void open_tree(void)
{
	write_file("modules.order", "", 0);
	ck_assert_msg(!modules_new(&m, ".", RELEASE, &err), "%s", err.msg);
}

static void end(void)
{
	ck_assert_msg(!modules_add_list(m, &ir, &err), "%s", err.msg);
	ck_assert(!cpio_end(&c, &err));
}

static void loads(const char *want)
{
	struct entry e;
	char got[256];

	ck_assert(archive_find(&c, &CMD_MODULES[1], &e));
	snprintf(got, sizeof(got), "%.*s", (int)e.len, e.data);
	ck_assert_str_eq(got, want);
}

#define LINE(name) CMD_MODULE_DIR "/" name ".ko\n"

START_TEST(dependencies_come_first)
{
	struct entry e;

	ck_assert_int_eq(mkdir("kernel/sub", 0755), 0);
	make("kernel/a.ko", "c,b-1");
	make("kernel/sub/b-1.ko", "c");
	make("kernel/c.ko", "");
	make("kernel/d.ko", NULL);
	make("kernel/unused.ko", "");
	write_file("kernel/notes.txt", "x", 1);
	open_tree();
	ck_assert_msg(!modules_add(m, &ir, "a", &err), "%s", err.msg);
	ck_assert_msg(!modules_add(m, &ir, "c", &err), "%s", err.msg);
	ck_assert_msg(!modules_add(m, &ir, "d", &err), "%s", err.msg);
	end();
	loads(LINE("c") LINE("b_1") LINE("a") LINE("d"));
	ck_assert(archive_find(&c, &CMD_MODULE_DIR "/b_1.ko"[1], &e));
	ck_assert_uint_eq(e.len, sizeof(struct ko));
	ck_assert(!archive_find(&c, &CMD_MODULE_DIR "/unused.ko"[1], &e));
}

START_TEST(dashes_are_underscores)
{
	make("kernel/x-y_z.ko", "");
	open_tree();
	ck_assert(!modules_add(m, &ir, "x_y-z", &err));
	end();
	loads(LINE("x_y_z"));
}

START_TEST(what_is_built_in)
{
	static const char builtin[] = "kernel/fs/ext-4.ko\nkernel/lib/crc.ko\n";

	make("kernel/a.ko", "crc");
	write_file("modules.builtin", builtin, sizeof(builtin) - 1);
	open_tree();
	ck_assert(!modules_add(m, &ir, "ext_4", &err));
	ck_assert(!modules_add(m, &ir, "a", &err));
	ck_assert_int_eq(modules_add(m, &ir, "xt_4", &err), -ENOENT);
	says("--modules .: there is no module xt_4");
	ck_assert_int_eq(err.kind, ERR_USAGE);
	end();
	loads(LINE("a"));
}

static size_t pack(const char *end, const struct ko *k, uint8_t *to, size_t room)
{
	if (!strcmp(end, "xz")) {
		size_t n = 0;

		ck_assert_int_eq(lzma_easy_buffer_encode(0, LZMA_CHECK_CRC32, NULL, (const void *)k,
							 sizeof(*k), to, &n, room),
				 LZMA_OK);
		return n;
	}
	if (!strcmp(end, "zst"))
		return ZSTD_compress(to, room, k, sizeof(*k), 1);
	z_stream z = { .next_in = (void *)(uintptr_t)k,
		       .avail_in = sizeof(*k),
		       .next_out = to,
		       .avail_out = (uInt)room };
	deflateInit2(&z, 1, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
	ck_assert_int_eq(deflate(&z, Z_FINISH), Z_STREAM_END);
	deflateEnd(&z);
	return z.total_out;
}

/* The guest gets them as any kernel can load them. */
START_TEST(compressed_ones)
{
	static const char *const ends[] = { "gz", "xz", "zst" };
	struct ko k = build(RELEASE, "plain");
	uint8_t packed[2 * sizeof(struct ko)];
	char path[64];
	struct entry e;

	make("kernel/plain.ko", "");
	snprintf(path, sizeof(path), "kernel/a-b.ko.%s", ends[_i]);
	write_file(path, packed, pack(ends[_i], &k, packed, sizeof(packed)));
	open_tree();
	ck_assert_msg(!modules_add(m, &ir, "a-b", &err), "%s", err.msg);
	end();
	loads(LINE("plain") LINE("a_b"));
	ck_assert(archive_find(&c, &CMD_MODULE_DIR "/a_b.ko"[1], &e));
	ck_assert_uint_eq(e.len, sizeof(k));
	ck_assert_mem_eq(e.data, &k, sizeof(k));
}

START_TEST(nothing_asked_for)
{
	open_tree();
	end();
	loads("");
}

START_TEST(no_tree)
{
	make("kernel/a.ko", "");
	ck_assert_int_eq(modules_new(&m, ".", RELEASE, &err), -EINVAL);
	says("--modules .: is not a kernel's module tree");
	err = ERR_INIT;
	ck_assert_int_eq(modules_new(&m, "missing", RELEASE, &err), -ENOENT);
	says("--modules missing: cannot be read: No such file");
}

START_TEST(what_is_refused)
{
	struct ko k = build("5.9.9", "");

	make("kernel/loop1.ko", "loop2");
	make("kernel/loop2.ko", "loop1");
	make("kernel/self.ko", "self");
	make("kernel/needy.ko", "gone");
	write_file("kernel/other.ko", &k, sizeof(k));
	write_file("kernel/packed.ko.xz", "x", 1);
	write_file("kernel/cut.ko.gz", "\x1f\x8b\x08\0\0\0\0\0\0\x03", 10);
	write_file("kernel/empty.ko.zst", "", 0);
	k = build(RELEASE "x", "");
	write_file("kernel/longer.ko", &k, sizeof(k));
	open_tree();
	static const struct {
		const char *name, *says;
	} bad[] = {
		{ "loop1", "depends on itself" },
		{ "self", "self.ko depends on itself" },
		{ "needy", "there is no module gone" },
		{ "other", "other.ko is of the kernel 5.9.9, and that to boot is " RELEASE },
		{ "longer", "is of the kernel " RELEASE "x, and" },
		{ "packed",
		  "--modules .: module ./kernel/packed.ko.xz is compressed with an unknown" },
		{ "cut", "--modules .: module ./kernel/cut.ko.gz is damaged, or decompresses to" },
		{ "empty", "module ./kernel/empty.ko.zst is compressed with an unknown format" },
		{ "", "there is no module" },
		{ "a-name-that-is-longer-than-any-module-s-may-be-in-a-kernel",
		  "there is no module" },
	};
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		err = ERR_INIT;
		ck_assert_int_ne(modules_add(m, &ir, bad[i].name, &err), 0);
		ck_assert_int_eq(err.kind, ERR_USAGE);
		says(bad[i].says);
	}
}

START_TEST(of_a_kernel_that_is_not_known)
{
	struct ko k = build("5.9.9", "");

	write_file("kernel/other.ko", &k, sizeof(k));
	write_file("modules.dep", "", 0);
	ck_assert(!modules_new(&m, ".", NULL, &err));
	ck_assert(!modules_add(m, &ir, "other", &err));
}

START_TEST(a_damaged_module)
{
	struct ko k = build(RELEASE, "");

	switch (_i) {
	case 0:
		k.eh.e_shoff = sizeof(k) - 8;
		break;
	case 1:
		k.eh.e_shoff = UINT64_MAX - 8;
		break;
	case 2:
		k.eh.e_shstrndx = 3;
		break;
	case 3:
		k.eh.e_shentsize--;
		break;
	case 4:
		k.sh[1].sh_offset = sizeof(k);
		break;
	case 5:
		k.sh[2].sh_offset = sizeof(k) - 1;
		break;
	case 6:
		k.sh[2].sh_size = UINT64_MAX;
		break;
	case 7:
		k.sh[2].sh_name = sizeof(k.names) - 3;
		break;
	case 8:
		k.sh[2].sh_size = 20; /* the record does not end */
		break;
	case 9:
		k.eh.e_ident[0] = 0;
		break;
	}
	write_file("kernel/a.ko", &k, _i == 10 ? sizeof(k.eh) - 1 : sizeof(k));
	open_tree();
	ck_assert_int_eq(modules_add(m, &ir, "a", &err), -EINVAL);
	says("kernel/a.ko is no kernel module, or is damaged");
}

UNIT_SUITE("modules", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, dependencies_come_first);
	tcase_add_test(tc, dashes_are_underscores);
	tcase_add_test(tc, what_is_built_in);
	tcase_add_loop_test(tc, compressed_ones, 0, 3);
	tcase_add_test(tc, nothing_asked_for);
	tcase_add_test(tc, no_tree);
	tcase_add_test(tc, what_is_refused);
	tcase_add_test(tc, of_a_kernel_that_is_not_known);
	tcase_add_loop_test(tc, a_damaged_module, 0, 11);
})
