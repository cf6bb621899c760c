// SPDX-License-Identifier: GPL-2.0
// ARCH: x86
// LINK: x86/boot.c initrds.c x86/bootinfo.c x86/unpack.c x86/bzimage.c x86/vmlinux.c x86/memmap.c util/decompress.c util/kcache.c util/kindex.c util/src.c util/err.c util/log.c util/util.c gmem.c
// LIBS: -lz -Wl,--wrap=decompress,--wrap=getrandom
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <lkvm/decompress.h>
#include <lkvm/log.h>

#include "x86/loader.h"

#include "images.h"
#include "unit.h"

#define RAM (64 * MIB)

static struct gmem gm;
static struct bz_image *bz;
static struct elf_image *elf;
static struct src kernel;
static struct boot_request req;
static struct boot_result res;
static struct err err;
static char dir[64], cache[96];
/* What the loader logs, last boot() only. */
static char logged[2048];
static struct log log_pipe;

/* Counts, and lets the image change while it is being unpacked. */
static unsigned int decompress_calls;
static bool image_changes;
int __real_decompress(const char *name, const void *in, size_t in_len, uint64_t max,
		      struct decompressed *out, struct err *e);
int __wrap_decompress(const char *name, const void *in, size_t in_len, uint64_t max,
		      struct decompressed *out, struct err *e);
int __wrap_decompress(const char *name, const void *in, size_t in_len, uint64_t max,
		      struct decompressed *out, struct err *e)
{
	decompress_calls++;
	if (image_changes)
		bz->bytes[BZ_BODY]++;
	return __real_decompress(name, in, in_len, max, out, e);
}

static bool no_random;
ssize_t __real_getrandom(void *buf, size_t len, unsigned int flags);
ssize_t __wrap_getrandom(void *buf, size_t len, unsigned int flags);
ssize_t __wrap_getrandom(void *buf, size_t len, unsigned int flags)
{
	if (!no_random)
		return __real_getrandom(buf, len, flags);
	errno = ENOSYS;
	return -1;
}

static void ram(uint64_t size)
{
	struct gmem_region spans[2];
	struct gmem_backing backing = { 0 };

	gmem_release(&gm);
	ck_assert_int_eq(gmem_init(&gm, spans, memmap_ram(size, spans), &backing, &err), 0);
}

static void pack_elf(void)
{
	static uint8_t packed[ELF_LEN * 2];
	z_stream z = { .next_in = elf->bytes,
		       .avail_in = ELF_LEN,
		       .next_out = packed,
		       .avail_out = sizeof(packed) };

	deflateInit2(&z, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
	ck_assert_int_eq(deflate(&z, Z_FINISH), Z_STREAM_END);
	image_bz(bz, packed, z.total_out);
	deflateEnd(&z);
	src_init_mem(&kernel, "kernel", "Image", bz->bytes, bz->len);
}

static void setup(void)
{
	strcpy(dir, "/tmp/lkvm-test-boot-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(cache, sizeof(cache), "%s/cache", dir);
	err = ERR_INIT;
	ram(RAM);
	bz = malloc(sizeof(*bz));
	elf = malloc(sizeof(*elf));
	image_elf(elf, true);
	pack_elf();
	req = (struct boot_request){ .kernel = &kernel,
				     .cmdline = "console=ttyS0",
				     .log = &log_pipe };
	decompress_calls = 0;
	image_changes = no_random = false;
}

static void teardown(void)
{
	char cmd[96];

	gmem_release(&gm);
	free(bz);
	free(elf);
	snprintf(cmd, sizeof(cmd), "rm -r %s", dir);
	ck_assert_int_eq(system(cmd), 0);
}

/* Boots into fresh memory. */
static int boot(void)
{
	int fds[2], ret;

	ck_assert_int_eq(pipe(fds), 0);
	log_pipe = (struct log){ .fd = fds[1], .level = LOG_DEBUG };
	err = ERR_INIT;
	ck_assert_int_eq(madvise(gm.map, gm.map_len, MADV_DONTNEED), 0);
	ret = boot_load(&gm, &req, &res, &err);
	ck_assert((ret < 0) == (err.kind != ERR_NONE));
	close(fds[1]);
	memset(logged, 0, sizeof(logged));
	ck_assert_int_ge(read(fds[0], logged, sizeof(logged) - 1), 0);
	close(fds[0]);
	return ret;
}

static void boots(const char *how)
{
	ck_assert_msg(boot() == 0, "%s", err.msg);
	ck_assert_str_eq(res.how, how);
}

static void refused(const char *says)
{
	ck_assert_int_eq(boot(), -EINVAL);
	ck_assert_int_eq(err.kind, ERR_USAGE);
	ck_assert_msg(strstr(err.msg, says), "%s", err.msg);
}

static const void *at(uint64_t gpa)
{
	return gmem_span(&gm, gpa, 1);
}

static void plain_elf(void)
{
	src_init_mem(&kernel, "kernel", "vmlinux", elf->bytes, ELF_LEN);
}

/* --- which way a kernel is booted --- */

#define UNPACKED "vmlinux from the image, 64-bit entry"
#define CACHED   "vmlinux from cache, 64-bit entry"
#define IMAGE    "bzImage, 64-bit entry"
#define PVH      "vmlinux, PVH"
#define ELF64    "vmlinux, 64-bit entry"

START_TEST(auto_unpacks_the_image)
{
	boots(UNPACKED);
	ck_assert_int_eq(res.entry.mode, X86_MODE_LONG64);
	ck_assert_uint_eq(res.entry.rip, ELF_GPA);
	ck_assert_uint_eq(res.entry.rsi, GPA_BOOT_PARAMS);
	ck_assert_uint_eq(res.kernel_gpa, ELF_GPA);
	ck_assert_uint_eq(res.kernel_len, ELF_GPA2 - ELF_GPA + ELF_SEG_LEN + ELF_BSS_LEN);
	ck_assert_uint_eq(res.initrd_len, 0);
	ck_assert_uint_eq(res.initrd_gpa, 0);
	ck_assert_mem_eq(at(ELF_GPA), elf->bytes + ELF_SEG1, ELF_SEG_LEN);
	ck_assert_mem_eq(at(ELF_GPA2), elf->bytes + ELF_SEG2, ELF_SEG_LEN);
	ck_assert_ptr_nonnull(strstr(logged, "without KASLR"));
	req.how = BOOT_VMLINUX;
	req.kaslr = true; /* of no meaning here */
	boots(UNPACKED);
}
END_TEST

START_TEST(the_image_itself_when_asked)
{
	req.how = BOOT_BZIMAGE;
	boots(IMAGE);
	ck_assert_int_eq(res.entry.mode, X86_MODE_LONG64);
	ck_assert_uint_eq(res.entry.rip, BZ_PREF + 0x200);
	ck_assert_uint_eq(res.kernel_gpa, BZ_PREF);
	ck_assert_uint_eq(res.kernel_len, 0x100000);
	req.how = BOOT_AUTO;
	req.kaslr = true;
	req.cache_dir = cache;
	boots(IMAGE);
	ck_assert_uint_eq(decompress_calls, 0);
	ck_assert_int_lt(access(cache, F_OK), 0);
}
END_TEST

START_TEST(elf_files_by_pvh_or_not)
{
	plain_elf();
	boots(PVH);
	ck_assert_int_eq(res.entry.mode, X86_MODE_PROT32);
	ck_assert_uint_eq(res.entry.rip, ELF_PVH);
	ck_assert_uint_eq(res.entry.rbx, GPA_PVH_INFO);
	req.how = BOOT_VMLINUX;
	boots(PVH);
	image_elf(elf, false);
	boots(ELF64);
	ck_assert_uint_eq(res.entry.rip, ELF_GPA);
	req.how = BOOT_BZIMAGE;
	refused("kernel vmlinux is an ELF file, so --boot bzimage cannot boot it");
}
END_TEST

START_TEST(auto_falls_back_to_the_image)
{
	static const struct {
		const char *payload;
		size_t len;
		const char *says;
	} cases[] = {
		{ "\x89LZO\0\r\n\0\x10\0\0\0", 12, "compressed with lzo" },
		{ "\x7f"
		  "ELF\2\1\1\0\0\0\0\0",
		  12, "unknown format" },
		{ "", 0, "no compressed payload" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		image_bz(bz, cases[i].payload, cases[i].len);
		src_init_mem(&kernel, "kernel", "Image", bz->bytes, bz->len);
		req.how = BOOT_AUTO;
		boots(IMAGE);
		ck_assert_ptr_nonnull(strstr(logged, cases[i].says));
		req.how = BOOT_VMLINUX;
		refused(cases[i].says);
	}
	/* A payload that is no ELF file. */
	elf->bytes[0] = 0;
	pack_elf();
	refused("is no ELF file");
	req.how = BOOT_AUTO;
	boots(IMAGE);
}
END_TEST

START_TEST(a_damaged_image_is_an_error)
{
	size_t end = BZ_BODY + BZ_CODE + bz->hdr.payload_length;

	bz->bytes[BZ_BODY + BZ_CODE + 100] ^= 0x40;
	refused("gzip payload of kernel Image is damaged");
	pack_elf();
	put_le32(bz->bytes + end - 4, 0xf0000000);
	refused("kernel Image claims to decompress to 4026531840 bytes");
	bz->hdr.payload_offset = 0x7fffffff;
	refused("kernel Image is cut short");
	pack_elf();
	bz->hdr.header = 0;
	refused("neither a bzImage nor an ELF file");
	/* The kernel inside. */
	elf->phdrs[0].p_paddr = 0;
	pack_elf();
	refused("decompressed kernel Image: segment 0 lies below 1 MiB");
}
END_TEST

START_TEST(says_what_else_a_file_is)
{
	static uint8_t other[4096];
	static const struct {
		size_t off;
		const char *magic;
		const char *says;
	} cases[] = {
		{ 0x38, "ARM\x64", "kernel vmlinuz is an arm64 Image" },
		{ 0, "\x1f\x8b", "kernel vmlinuz is compressed with gzip as a whole" },
		{ 0, "junk", "kernel vmlinuz is neither a bzImage nor an ELF file" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		memset(other, 0, sizeof(other));
		memcpy(other + cases[i].off, cases[i].magic, strlen(cases[i].magic));
		src_init_mem(&kernel, "kernel", "vmlinuz", other, sizeof(other));
		refused(cases[i].says);
	}
	/* Files that end before what is looked at. */
	for (size_t len = 1; len < 0x240; len++) {
		src_init_mem(&kernel, "kernel", "vmlinuz", other, len);
		refused("neither");
	}
	plain_elf();
	elf->ehdr.e_machine = EM_AARCH64;
	refused("arm64 kernel");
	elf->ehdr.e_ident[EI_CLASS] = ELFCLASS32;
	refused("32-bit ELF");
}
END_TEST

START_TEST(refuses_each_cut)
{
	for (int how = BOOT_AUTO; how <= BOOT_VMLINUX; how++) {
		req.how = (enum boot_how)how;
		for (size_t len = 1; len < bz->len - 16; len += len < 0x480 ? 13 : 131) {
			uint8_t *copy = malloc(len);

			memcpy(copy, bz->bytes, len);
			src_init_mem(&kernel, "kernel", "Image", copy, len);
			ck_assert_int_eq(boot_load(&gm, &req, &res, &err), -EINVAL);
			ck_assert_int_eq(err.kind, ERR_USAGE);
			ck_assert_ptr_nonnull(strstr(err.msg, "kernel Image "));
			err = ERR_INIT;
			free(copy);
		}
	}
}
END_TEST

START_TEST(more_memory_is_the_advice)
{
	static const enum boot_how ways[] = { BOOT_AUTO, BOOT_BZIMAGE, BOOT_VMLINUX };

	req.cache_dir = cache;
	boots(UNPACKED);
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		req.how = ways[i];
		ram(2 * MIB);
		refused("-m");
		ram(MIB / 2);
		refused("-m");
	}
	/* The image fits where its kernel does not. */
	ram(8 * MIB);
	req.how = BOOT_BZIMAGE;
	boots(IMAGE);
	ck_assert_uint_eq(res.kernel_gpa, 2 * MIB);
}
END_TEST

/* --- the cache --- */

static const char *entry_path(void)
{
	static char path[256];
	char pattern[128];
	glob_t g;

	snprintf(pattern, sizeof(pattern), "%s/*.vmlinux", cache);
	ck_assert_int_eq(glob(pattern, 0, NULL, &g), 0);
	ck_assert_uint_eq(g.gl_pathc, 1);
	strcpy(path, g.gl_pathv[0]);
	globfree(&g);
	return path;
}

START_TEST(second_boot_skips_the_decompressor)
{
	struct boot_result first;
	uint8_t *image = malloc(8 * MIB);

	req.cache_dir = cache;
	boots(UNPACKED);
	ck_assert_uint_eq(decompress_calls, 1);
	first = res;
	memcpy(image, gmem_span(&gm, 16 * MIB, 8 * MIB), 8 * MIB);
	boots(CACHED);
	ck_assert_uint_eq(decompress_calls, 1);
	ck_assert_mem_eq(image, gmem_span(&gm, 16 * MIB, 8 * MIB), 8 * MIB);
	ck_assert_uint_eq(first.entry.rip, res.entry.rip);
	ck_assert_uint_eq(first.kernel_gpa, res.kernel_gpa);
	ck_assert_uint_eq(first.kernel_len, res.kernel_len);
	free(image);
	/* Another image, even when it holds the same kernel, is another entry. */
	bz->bytes[BZ_BODY]++;
	boots(UNPACKED);
	boots(CACHED);
	ck_assert_uint_eq(decompress_calls, 2);
}
END_TEST

START_TEST(a_damaged_entry_is_a_miss_and_is_replaced)
{
	/* The ELF magic, a field that makes parsing fail, a byte of a segment, the trailer. */
	static const off_t where[] = { 0, 54, ELF_SEG1 + 17, ELF_LEN + 3 };

	req.cache_dir = cache;
	boots(UNPACKED);
	for (size_t i = 0; i < ARRAY_SIZE(where); i++) {
		int fd = open(entry_path(), O_RDWR);
		uint8_t c;

		ck_assert_int_eq(pread(fd, &c, 1, where[i]), 1);
		c ^= 0x80;
		ck_assert_int_eq(pwrite(fd, &c, 1, where[i]), 1);
		close(fd);
		boots(UNPACKED);
		ck_assert_mem_eq(at(ELF_GPA), elf->bytes + ELF_SEG1, ELF_SEG_LEN);
		boots(CACHED);
	}
}
END_TEST

START_TEST(zeros_at_the_end_of_a_segment_are_not_kept)
{
	static const size_t zeros[] = { 0, 1, 7, 8, 9, ELF_SEG_LEN / 2, ELF_SEG_LEN - 1 };
	static const uint8_t none[ELF_SEG_LEN];

	for (size_t i = 0; i < ARRAY_SIZE(zeros); i++) {
		size_t kept = ELF_SEG_LEN - zeros[i];
		Elf64_Phdr phdr;

		memset(elf->bytes + ELF_SEG2, 0xee, ELF_SEG_LEN);
		memset(elf->bytes + ELF_SEG2 + kept, 0, zeros[i]);
		pack_elf();
		snprintf(cache, sizeof(cache), "%s/cache%zu", dir, i);
		req.cache_dir = cache;
		for (int pass = 0; pass < 2; pass++) {
			boots(pass ? CACHED : UNPACKED);
			ck_assert_mem_eq(at(ELF_GPA2), elf->bytes + ELF_SEG2, kept);
			ck_assert_mem_eq(at(ELF_GPA2 + kept), none, zeros[i]);
		}
		int fd = open(entry_path(), O_RDONLY);
		ck_assert_int_eq(pread(fd, &phdr, sizeof(phdr), elf->ehdr.e_phoff + sizeof(phdr)),
				 sizeof(phdr));
		ck_assert_uint_eq(phdr.p_filesz, kept);
		close(fd);
	}
}
END_TEST

#define KNOWN "as when last checked"

/* Stamps count when they have settled: there is no other way than to wait. */
static void settle(void)
{
	uint64_t from = kindex_now_ns();

	while (kindex_now_ns() < from + KINDEX_SETTLE_NS + NSEC_PER_SEC / 4)
		usleep(10000);
}

static void flip_file(const char *path, off_t where)
{
	int fd = open(path, O_RDWR);
	uint8_t c;

	ck_assert_int_eq(pread(fd, &c, 1, where), 1);
	c ^= 0x80;
	ck_assert_int_eq(pwrite(fd, &c, 1, where), 1);
	close(fd);
}

START_TEST(what_is_known_is_not_read_again_until_it_changes)
{
	char path[96];

	snprintf(path, sizeof(path), "%s/image", dir);
	int fd = open(path, O_WRONLY | O_CREAT, 0600);
	ck_assert_int_eq(write(fd, bz->bytes, bz->len), (ssize_t)bz->len);
	close(fd);
	ck_assert_int_eq(src_open(&kernel, "kernel", path, &err), 0);
	req.cache_dir = cache;
	boots(UNPACKED);
	boots(CACHED); /* too soon after both were written to be learned from */
	boots(CACHED);
	ck_assert_ptr_null(strstr(logged, KNOWN));
	settle();
	boots(CACHED);
	ck_assert_ptr_null(strstr(logged, KNOWN));
	boots(CACHED);
	ck_assert_ptr_nonnull(strstr(logged, KNOWN));
	ck_assert_mem_eq(at(ELF_GPA), elf->bytes + ELF_SEG1, ELF_SEG_LEN);

	flip_file(entry_path(), ELF_SEG1 + 17);
	boots(UNPACKED);
	ck_assert_mem_eq(at(ELF_GPA), elf->bytes + ELF_SEG1, ELF_SEG_LEN);
	settle();
	boots(CACHED);
	ck_assert_ptr_null(strstr(logged, KNOWN));
	boots(CACHED);
	ck_assert_ptr_nonnull(strstr(logged, KNOWN));

	flip_file(path, BZ_BODY); /* the same kernel in another image */
	boots(UNPACKED);
	src_release(&kernel);
}
END_TEST

START_TEST(no_cache_is_no_error)
{
	snprintf(cache, sizeof(cache), "%s/file/lkvm", dir);
	ck_assert_int_ge(close(open(strcat(strcpy((char[96]){ 0 }, dir), "/file"), O_CREAT, 0600)),
			 0);
	req.cache_dir = cache;
	boots(UNPACKED);
	boots(UNPACKED);
	ck_assert_ptr_nonnull(strstr(logged, "cannot keep"));
}
END_TEST

START_TEST(an_image_that_changes_is_not_kept)
{
	req.cache_dir = cache;
	image_changes = true;
	boots(UNPACKED);
	ck_assert_int_lt(access(cache, F_OK), 0);
}
END_TEST

START_TEST(only_what_loads_is_kept)
{
	req.cache_dir = cache;
	elf->phdrs[0].p_paddr = 0;
	pack_elf();
	refused("below 1 MiB");
	ck_assert_int_lt(access(cache, F_OK), 0);
}
END_TEST

/* --- what the kernel is told --- */

static void check_params(uint32_t cmdline_size)
{
	const struct boot_params *bp = at(GPA_BOOT_PARAMS);
	struct e820_range map[E820_MAX];
	unsigned int nr = memmap_e820(&gm, map);

	ck_assert_uint_eq(bp->hdr.boot_flag, 0xaa55);
	ck_assert_uint_eq(bp->hdr.header, 0x53726448);
	ck_assert_uint_ge(bp->hdr.version, 0x020c);
	ck_assert_uint_eq(bp->hdr.type_of_loader, 0xff);
	ck_assert_uint_eq(bp->hdr.loadflags, LOADED_HIGH);
	ck_assert_uint_eq(bp->hdr.cmd_line_ptr, GPA_CMDLINE);
	ck_assert_uint_eq(bp->ext_cmd_line_ptr, 0);
	ck_assert_uint_eq(bp->hdr.cmdline_size, cmdline_size);
	ck_assert_str_eq(at(GPA_CMDLINE), req.cmdline);
	ck_assert_uint_eq(bp->acpi_rsdp_addr, req.rsdp);
	ck_assert_uint_eq(bp->sentinel, 0);
	ck_assert_uint_eq(bp->hdr.ramdisk_image, res.initrd_gpa);
	ck_assert_uint_eq(bp->hdr.ramdisk_size, res.initrd_len);
	ck_assert_uint_eq(bp->ext_ramdisk_image | bp->ext_ramdisk_size, 0);
	ck_assert_uint_eq(bp->e820_entries, nr);
	for (unsigned int i = 0; i < nr; i++) {
		ck_assert_uint_eq(bp->e820_table[i].addr, map[i].addr);
		ck_assert_uint_eq(bp->e820_table[i].size, map[i].size);
		ck_assert_uint_eq(bp->e820_table[i].type, map[i].type);
	}
}

START_TEST(boot_params_tell_all)
{
	static const uint8_t text[10] = "initramfs";
	struct src initrd;

	src_init_mem(&initrd, "initrd", "initrd", text, sizeof(text));
	req.rsdp = GPA_ACPI;
	for (int i = 0; i < 2; i++) {
		req.how = i ? BOOT_BZIMAGE : BOOT_AUTO;
		req.initrds_nr = 0;
		boots(i ? IMAGE : UNPACKED);
		check_params(BZ_CMDLINE);
		req.initrds = &initrd;
		req.initrds_nr = 1;
		boots(i ? IMAGE : UNPACKED);
		check_params(BZ_CMDLINE);
		/* The image's own header is what the kernel gets. */
		ck_assert_uint_eq(((const struct boot_params *)at(GPA_BOOT_PARAMS))->hdr.init_size,
				  0x100000);
	}
	req.how = BOOT_AUTO;
	image_elf(elf, false);
	plain_elf();
	boots(ELF64);
	check_params(CMDLINE_MAX_DEFAULT);
}
END_TEST

START_TEST(setup_data_has_a_fresh_seed)
{
	const struct boot_params *bp = at(GPA_BOOT_PARAMS);
	struct seed {
		uint64_t next;
		uint32_t type, len;
		uint8_t seed[32];
	} old = { 0 };

	/* A list that the file brings along is not followed. */
	bz->hdr.setup_data = 0x1234;
	for (int i = 0; i < 2; i++) {
		const struct seed *now = at(GPA_SETUP_DATA);

		boots(UNPACKED);
		ck_assert_uint_eq(bp->hdr.setup_data, GPA_SETUP_DATA);
		ck_assert_uint_eq(now->next, 0);
		ck_assert_uint_eq(now->type, SETUP_RNG_SEED);
		ck_assert_uint_eq(now->len, 32);
		ck_assert_mem_ne(now->seed, old.seed, 32);
		old = *now;
	}
	no_random = true;
	ck_assert_int_eq(boot(), -ENOSYS);
	ck_assert_int_eq(err.kind, ERR_HOST);
}
END_TEST

START_TEST(pvh_start_info_tells_all)
{
	static const uint8_t text[10] = "initramfs";
	const uint8_t *info = at(GPA_PVH_INFO);
	struct e820_range map[E820_MAX];
	unsigned int nr = memmap_e820(&gm, map);
	struct src initrd;

	src_init_mem(&initrd, "initrd", "initrd", text, sizeof(text));
	plain_elf();
	req.rsdp = GPA_ACPI;
	boots(PVH);
	ck_assert_uint_eq(get_le32(info), 0x336ec578);
	ck_assert_uint_eq(get_le32(info + 4), 1);
	ck_assert_uint_eq(get_le32(info + 8), 0);
	ck_assert_uint_eq(get_le32(info + 12), 0);
	ck_assert_uint_eq(get_le64(info + 16), 0);
	ck_assert_uint_eq(get_le64(info + 24), GPA_CMDLINE);
	ck_assert_str_eq(at(GPA_CMDLINE), req.cmdline);
	ck_assert_uint_eq(get_le64(info + 32), GPA_ACPI);
	ck_assert_uint_eq(get_le32(info + 48), nr);
	for (unsigned int i = 0; i < nr; i++) {
		const uint8_t *e = at(get_le64(info + 40) + i * 24);

		ck_assert_uint_eq(get_le64(e), map[i].addr);
		ck_assert_uint_eq(get_le64(e + 8), map[i].size);
		ck_assert_uint_eq(get_le32(e + 16), map[i].type);
		ck_assert_uint_eq(get_le32(e + 20), 0);
	}

	req.initrds = &initrd;
	req.initrds_nr = 1;
	boots(PVH);
	ck_assert_uint_eq(get_le32(info + 12), 1);
	const uint8_t *module = at(get_le64(info + 16));
	ck_assert_uint_eq(get_le64(module), res.initrd_gpa);
	ck_assert_uint_eq(get_le64(module + 8), 12); /* padded */
	ck_assert_uint_eq(get_le64(module + 16), 0);
}
END_TEST

START_TEST(command_line_has_a_limit)
{
	char line[0x10002];

	memset(line, 'x', sizeof(line));
	req.cmdline = line;
	static const struct {
		uint32_t size;
		size_t max;
	} cases[] = {
		{ 0, 0 }, { 255, 255 }, { 2047, 2047 }, { 0xffff, 0xffff }, { 0xffffffff, 0xffff }
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char says[128];

		bz->hdr.cmdline_size = cases[i].size;
		line[cases[i].max] = '\0';
		boots(UNPACKED);
		line[cases[i].max] = 'x';
		line[cases[i].max + 1] = '\0';
		snprintf(says, sizeof(says), "has %zu bytes and kernel Image takes at most %zu",
			 cases[i].max + 1, cases[i].max);
		refused(says);
		line[cases[i].max + 1] = 'x';
	}
	plain_elf();
	line[2048] = '\0';
	refused("has 2048 bytes and kernel vmlinux takes at most 2047");
}
END_TEST

/* --- initrds --- */

START_TEST(initrds_follow_each_other)
{
	static const char *const parts[] = { "abcde", "f", "ghij", "klm" };
	struct src initrds[4];

	for (size_t i = 0; i < 4; i++)
		src_init_mem(&initrds[i], "initrd", "part", parts[i], strlen(parts[i]));
	req.initrds = initrds;
	for (req.initrds_nr = 1; req.initrds_nr <= 4; req.initrds_nr++) {
		static const uint64_t lens[] = { 0, 8, 12, 16, 20 };

		boots(UNPACKED);
		ck_assert_uint_eq(res.initrd_len, lens[req.initrds_nr]);
		/* The last page of RAM. */
		ck_assert_uint_eq(res.initrd_gpa, RAM - 4096);
		ck_assert_mem_eq(at(res.initrd_gpa), "abcde\0\0\0f\0\0\0ghijklm", res.initrd_len);
	}
}
END_TEST

START_TEST(initrd_keeps_below_its_limit)
{
	struct src initrd;

	src_init_mem(&initrd, "initrd", "initrd", "abcd", 4);
	req.initrds = &initrd;
	req.initrds_nr = 1;
	bz->hdr.xloadflags &= (uint16_t)~XLF_CAN_BE_LOADED_ABOVE_4G;
	bz->hdr.initrd_addr_max = 0x2ffffff;
	boots(UNPACKED);
	ck_assert_uint_eq(res.initrd_gpa, 0x3000000 - 4096);
	/* Not below the kernel. */
	bz->hdr.initrd_addr_max = ELF_GPA;
	refused("initrd initrd of 4 bytes does not fit");
	bz->hdr.initrd_addr_max = 0;
	refused("does not fit");
	bz->hdr.initrd_addr_max = UINT32_MAX;
	boots(UNPACKED);
	ck_assert_uint_eq(res.initrd_gpa, RAM - 4096);
	/* Above 4 GiB there is RAM too; the initrd stays low. */
	ram(6 * GIB);
	boots(UNPACKED);
	ck_assert_uint_eq(res.initrd_gpa, GPA_RAM_LOW_MAX - 4096);
}
END_TEST

START_TEST(initrd_fits_or_is_refused)
{
	/* What the kernel leaves, to the byte: sparse files are as large as one likes. */
	uint64_t room = RAM - align_up(ELF_GPA2 + ELF_SEG_LEN + ELF_BSS_LEN, 4096);
	struct src initrds[2];
	char path[96];
	int fd;

	snprintf(path, sizeof(path), "%s/initrd", dir);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	req.initrds = initrds;
	for (int extra = 0; extra < 2; extra++) {
		ck_assert_int_eq(ftruncate(fd, (off_t)room - 4), 0);
		ck_assert_int_eq(src_open(&initrds[0], "initrd", path, &err), 0);
		src_init_mem(&initrds[1], "initrd", "second", "abcdef", 4 + extra);
		req.initrds_nr = 2;
		if (extra) {
			refused("initrd second of 5 bytes does not fit into the 47 MiB");
		} else {
			boots(UNPACKED);
			ck_assert_uint_eq(res.initrd_gpa + res.initrd_len, RAM);
			ck_assert_mem_eq(at(RAM - 4), "abcd", 4);
		}
		src_release(&initrds[0]);
	}
	/* Sums of sizes do not wrap. */
	for (uint64_t size = UINT64_MAX; size > UINT64_MAX - 8; size--) {
		src_init_mem(&initrds[0], "initrd", "first", "abcd", 4);
		src_init_mem(&initrds[1], "initrd", "second", "abcd", size);
		req.initrds_nr = 2;
		refused("initrd second of 184467440737095516");
	}
	close(fd);
}
END_TEST

START_TEST(bad_initrds_are_refused)
{
	struct src initrds[2];
	char path[96];
	int fd;

	/* Empty (src_open() refuses it first), and one that shrinks after it was opened. */
	src_init_mem(&initrds[0], "initrd", "good", "abcd", 4);
	src_init_mem(&initrds[1], "initrd", "bad", "", 0);
	req.initrds = initrds;
	req.initrds_nr = 2;
	refused("initrd bad is empty");
	snprintf(path, sizeof(path), "%s/initrd", dir);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	ck_assert_int_eq(ftruncate(fd, 8192), 0);
	ck_assert_int_eq(src_open(&initrds[1], "initrd", path, &err), 0);
	ck_assert_int_eq(ftruncate(fd, 4096), 0);
	refused("is cut short");
	src_release(&initrds[1]);
	close(fd);
}
END_TEST

UNIT_SUITE("boot", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, auto_unpacks_the_image);
	tcase_add_test(tc, the_image_itself_when_asked);
	tcase_add_test(tc, elf_files_by_pvh_or_not);
	tcase_add_test(tc, auto_falls_back_to_the_image);
	tcase_add_test(tc, a_damaged_image_is_an_error);
	tcase_add_test(tc, says_what_else_a_file_is);
	tcase_add_test(tc, refuses_each_cut);
	tcase_add_test(tc, more_memory_is_the_advice);
	tcase_add_test(tc, second_boot_skips_the_decompressor);
	tcase_add_test(tc, a_damaged_entry_is_a_miss_and_is_replaced);
	tcase_add_test(tc, zeros_at_the_end_of_a_segment_are_not_kept);
	tcase_add_test(tc, what_is_known_is_not_read_again_until_it_changes);
	tcase_add_test(tc, no_cache_is_no_error);
	tcase_add_test(tc, an_image_that_changes_is_not_kept);
	tcase_add_test(tc, only_what_loads_is_kept);
	tcase_add_test(tc, boot_params_tell_all);
	tcase_add_test(tc, setup_data_has_a_fresh_seed);
	tcase_add_test(tc, pvh_start_info_tells_all);
	tcase_add_test(tc, command_line_has_a_limit);
	tcase_add_test(tc, initrds_follow_each_other);
	tcase_add_test(tc, initrd_keeps_below_its_limit);
	tcase_add_test(tc, initrd_fits_or_is_refused);
	tcase_add_test(tc, bad_initrds_are_refused);
})
