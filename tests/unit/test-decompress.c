// SPDX-License-Identifier: GPL-2.0
// LINK: util/decompress.c util/err.c
// LIBS: -lz -lzstd -llz4 -llzma -lbz2 -Wl,--wrap=dlopen,--wrap=dlsym,--wrap=mmap64
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>

#include <bzlib.h>
#include <lz4.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include <lkvm/decompress.h>
#include <lkvm/util.h>

#include "unit.h"

/* More than one block of LZ4's legacy frame. */
#define PLAIN_LEN (9 * MIB)
#define ROOM      (PLAIN_LEN + MIB)

static uint8_t *plain, *packed;

/* A machine without any of the libraries. */
static bool no_libraries;
void *__real_dlopen(const char *name, int flags);
void *__wrap_dlopen(const char *name, int flags);
void *__wrap_dlopen(const char *name, int flags)
{
	return no_libraries ? NULL : __real_dlopen(name, flags);
}

/* The library lacks its n-th function (1: the first), or has this one in its place. */
static int missing_symbol, fake_symbol;
static void *fake;
void *__real_dlsym(void *lib, const char *name);
void *__wrap_dlsym(void *lib, const char *name);
void *__wrap_dlsym(void *lib, const char *name)
{
	if (missing_symbol && --missing_symbol == 0)
		return NULL;
	if (fake_symbol && --fake_symbol == 0)
		return fake;
	return __real_dlsym(lib, name);
}

/* The host has no address space. */
static bool no_memory;
void *__real_mmap64(void *at, size_t len, int prot, int flags, int fd, off_t off);
void *__wrap_mmap64(void *at, size_t len, int prot, int flags, int fd, off_t off);
void *__wrap_mmap64(void *at, size_t len, int prot, int flags, int fd, off_t off)
{
	return no_memory ? MAP_FAILED : __real_mmap64(at, len, prot, flags, fd, off);
}

static void setup(void)
{
	uint32_t x = 1;

	plain = malloc(PLAIN_LEN);
	packed = malloc(ROOM);
	/* Half noise, half repetition. */
	for (size_t i = 0; i < PLAIN_LEN; i++) {
		x = x * 1664525 + 1013904223;
		plain[i] = i & 0x1000 ? (uint8_t)(x >> 24) & 0x0f : (uint8_t)(i >> 4);
	}
	no_libraries = no_memory = false;
	missing_symbol = fake_symbol = 0;
}

static void teardown(void)
{
	free(plain);
	free(packed);
}

static size_t pack_gzip(size_t len)
{
	z_stream z = { .next_in = plain, .avail_in = len, .next_out = packed, .avail_out = ROOM };

	deflateInit2(&z, 1, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
	ck_assert_int_eq(deflate(&z, Z_FINISH), Z_STREAM_END);
	len = z.total_out;
	deflateEnd(&z);
	return len;
}

static size_t pack_zstd(size_t len)
{
	return ZSTD_compress(packed, ROOM, plain, len, 1);
}

static size_t pack_lz4(size_t len)
{
	size_t out = 4;

	put_le32(packed, 0x184c2102);
	for (size_t in = 0; in < len;) {
		size_t n = MIN(8 * MIB, len - in);
		int c = LZ4_compress_default((char *)plain + in, (char *)packed + out + 4, (int)n,
					     (int)(ROOM - out - 4));

		ck_assert_int_gt(c, 0);
		put_le32(packed + out, (uint32_t)c);
		out += 4 + (size_t)c;
		in += n;
	}
	return out;
}

static size_t pack_lzma(size_t len, bool xz)
{
	lzma_options_lzma opt;
	lzma_filter filters[] = { { LZMA_FILTER_X86, NULL },
				  { LZMA_FILTER_LZMA2, &opt },
				  { LZMA_VLI_UNKNOWN, NULL } };
	lzma_stream s = LZMA_STREAM_INIT;

	lzma_lzma_preset(&opt, 0);
	ck_assert_int_eq(xz ? lzma_stream_encoder(&s, filters, LZMA_CHECK_CRC32)
			    : lzma_alone_encoder(&s, &opt),
			 LZMA_OK);
	s.next_in = plain;
	s.avail_in = len;
	s.next_out = packed;
	s.avail_out = ROOM;
	ck_assert_int_eq(lzma_code(&s, LZMA_FINISH), LZMA_STREAM_END);
	lzma_end(&s);
	return ROOM - s.avail_out;
}

static size_t pack_xz(size_t len)
{
	return pack_lzma(len, true);
}

static size_t pack_alone(size_t len)
{
	return pack_lzma(len, false);
}

static size_t pack_bzip2(size_t len)
{
	unsigned int out = ROOM;

	ck_assert_int_eq(
		BZ2_bzBuffToBuffCompress((char *)packed, &out, (char *)plain, len, 1, 0, 0), BZ_OK);
	return out;
}

static const struct {
	const char *name;
	const char *package;
	size_t (*pack)(size_t len);
	int symbols;   /* functions that it needs */
	size_t after;  /* the size that follows the stream */
	bool checksum; /* a changed byte cannot pass */
} formats[] = {
	{ "gzip", "zlib1g", pack_gzip, 3, 0, true },
	{ "zstd", "libzstd1", pack_zstd, 1, 4, false },
	{ "lz4", "liblz4-1", pack_lz4, 1, 4, false },
	{ "xz", "liblzma5", pack_xz, 3, 4, true },
	{ "lzma", "liblzma5", pack_alone, 3, 4, false },
	{ "bzip2", "libbz2-1.0", pack_bzip2, 1, 4, true },
};

/* A payload of `len` plain bytes. */
static size_t pack(int i, size_t len)
{
	size_t n = formats[i].pack(len);

	if (formats[i].after)
		put_le32(packed + n, (uint32_t)len);
	return n + formats[i].after;
}

static int run(size_t len, uint64_t max, struct decompressed *out, struct err *err)
{
	/* An exact copy, so that AddressSanitizer sees a read behind the end. */
	uint8_t *in = malloc(len ? len : 1);
	int ret;

	memcpy(in, packed, len);
	*err = ERR_INIT;
	ret = decompress("bzImage", in, len, max, out, err);
	free(in);
	if (ret < 0) {
		ck_assert_ptr_null(out->data);
		ck_assert_int_ne(err->kind, ERR_NONE);
		ck_assert_ptr_nonnull(strstr(err->msg, "bzImage"));
	}
	return ret;
}

static void damaged(size_t len)
{
	struct decompressed out;
	struct err err;

	ck_assert_int_eq(run(len, GIB, &out, &err), -EINVAL);
	ck_assert_int_eq(err.kind, ERR_USAGE);
}

START_TEST(gives_back_what_was_packed)
{
	static const size_t lens[] = { 1, 4096, PLAIN_LEN };

	for (size_t l = 0; l < ARRAY_SIZE(lens); l++) {
		size_t len = pack(_i, lens[l]);
		struct decompressed out;
		struct err err;

		ck_assert_str_eq(decompress_format(packed, len), formats[_i].name);
		ck_assert_msg(run(len, PLAIN_LEN, &out, &err) == 0, "%s", err.msg);
		ck_assert_uint_eq(out.len, lens[l]);
		ck_assert_mem_eq(out.data, plain, out.len);
		decompress_release(&out);
		ck_assert_ptr_null(out.data);
	}
}
END_TEST

START_TEST(holds_output_to_the_claim)
{
	static const size_t plain_len = 100000;
	size_t len = pack(_i, plain_len);
	struct decompressed out;
	struct err err;

	put_le32(packed + len - 4, plain_len - 1);
	damaged(len);
	put_le32(packed + len - 4, 1);
	damaged(len);
	put_le32(packed + len - 4, plain_len + 1);
	damaged(len);
	/* Refused before anything is sized by them. */
	put_le32(packed + len - 4, 0);
	damaged(len);
	put_le32(packed + len - 4, UINT32_MAX);
	ck_assert_int_eq(run(len, GIB, &out, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.msg, "4294967295 bytes"));
	put_le32(packed + len - 4, plain_len);
	ck_assert_int_eq(run(len, plain_len - 1, &out, &err), -EINVAL);
	ck_assert_int_eq(run(len, plain_len, &out, &err), 0);
	decompress_release(&out);
}
END_TEST

START_TEST(refuses_a_cut_stream)
{
	static const size_t plain_len = 3000;
	/* gzip's own last bytes are the size, so that a stream without them is whole again below. */
	size_t len = pack(_i, plain_len) - 4;

	for (size_t cut = 0; cut < 12; cut++) {
		struct decompressed out;
		struct err err;

		ck_assert_int_lt(run(cut, GIB, &out, &err), 0);
	}
	for (size_t cut = 0; cut < len; cut += cut < 64 || len - cut < 64 ? 1 : 61) {
		struct decompressed out;
		struct err err;
		int ret;

		pack(_i, plain_len);
		put_le32(packed + cut, plain_len);
		ret = run(cut + 4, GIB, &out, &err);
		/* Without its first bytes it is of no known format. */
		ck_assert_int_eq(ret, decompress_format(packed, cut + 4) ? -EINVAL : -ENOTSUP);
	}
}
END_TEST

START_TEST(survives_a_changed_byte)
{
	static const size_t plain_len = 3000;
	size_t len = pack(_i, plain_len);

	for (size_t at = 6; at < len - 4; at += at < 40 ? 1 : 53) {
		struct decompressed out;
		struct err err;
		int ret;

		packed[at] ^= 0x55;
		ret = run(len, GIB, &out, &err);
		packed[at] ^= 0x55;
		if (ret == 0)
			decompress_release(&out);
		/* gzip's header has a time and a system that nothing checks. */
		ck_assert(ret < 0 || !formats[_i].checksum || (_i == 0 && at < 10));
	}
}
END_TEST

START_TEST(names_the_package_of_a_missing_library)
{
	size_t len = pack(_i, 1000);
	struct decompressed out;
	struct err err;

	no_libraries = true;
	ck_assert_int_eq(run(len, GIB, &out, &err), -ENOTSUP);
	ck_assert_ptr_nonnull(strstr(err.msg, formats[_i].package));
	ck_assert_ptr_nonnull(strstr(err.msg, formats[_i].name));
}
END_TEST

START_TEST(says_when_a_library_is_another)
{
	size_t len = pack(_i, 1000);
	struct decompressed out;
	struct err err;

	for (int n = 1; n <= formats[_i].symbols; n++) {
		missing_symbol = n;
		ck_assert_int_eq(run(len, GIB, &out, &err), -ENOTSUP);
		ck_assert_ptr_nonnull(strstr(err.msg, formats[_i].package));
		ck_assert_int_eq(missing_symbol, 0);
	}
	ck_assert_int_eq(run(len, GIB, &out, &err), 0);
	decompress_release(&out);
}
END_TEST

static int z_no_memory(void)
{
	return Z_MEM_ERROR;
}

static int x_no_memory(void)
{
	return LZMA_MEM_ERROR;
}

static int bz_no_memory(void)
{
	return BZ_MEM_ERROR;
}

/* Damage is the user's to repair, a lack of memory is the host's. */
START_TEST(tells_no_memory_from_damage)
{
	static const struct {
		int format, symbol;
		int (*fake)(void);
	} cases[] = {
		{ 0, 1, z_no_memory }, { 0, 2, z_no_memory },  { 3, 1, x_no_memory },
		{ 3, 2, x_no_memory }, { 5, 1, bz_no_memory },
	};
	struct decompressed out;
	struct err err;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		size_t len = pack(cases[i].format, 1000);

		fake_symbol = cases[i].symbol;
		fake = (void *)cases[i].fake;
		ck_assert_int_eq(run(len, GIB, &out, &err), -ENOMEM);
		ck_assert_int_eq(err.kind, ERR_HOST);
	}
	size_t len = pack(0, 1000);
	no_memory = true;
	ck_assert_int_eq(run(len, GIB, &out, &err), -ENOMEM);
	no_memory = false;
	ck_assert_int_eq(err.kind, ERR_HOST);
}
END_TEST

START_TEST(refuses_more_than_libraries_count)
{
	struct decompressed out;
	struct err err = ERR_INIT;

	pack(0, 1000);
	ck_assert_int_eq(decompress("bzImage", packed, (size_t)INT_MAX + 1, GIB, &out, &err),
			 -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.msg, "larger than 2 GiB"));
}
END_TEST

/* A bad block must not move the place of the next one back. */
START_TEST(lz4_stops_at_a_bad_block)
{
	size_t len = pack(2, 1000) - 4 - 4;
	uint8_t *frame = malloc(len);

	memcpy(frame, packed + 4, len);
	for (uint32_t claim = 990; claim <= 1000; claim++) {
		put_le32(packed + 4, 3);
		memset(packed + 8, 0xff, 3);
		memcpy(packed + 11, frame, len);
		put_le32(packed + 11 + len, claim);
		damaged(11 + len + 4);
	}
	free(frame);
}
END_TEST

START_TEST(knows_what_it_does_not_know)
{
	struct decompressed out;
	struct err err;

	memcpy(packed, "\x89LZO\0\r\n\0\x10\0\0\0", 12);
	ck_assert_str_eq(decompress_format(packed, 12), "lzo");
	ck_assert_int_eq(run(12, GIB, &out, &err), -ENOTSUP);
	ck_assert_ptr_nonnull(strstr(err.msg, "lzo"));

	memcpy(packed,
	       "\x7f"
	       "ELF\2\1\1\0\x10\0\0\0",
	       12);
	ck_assert_ptr_null(decompress_format(packed, 12));
	for (size_t len = 0; len <= 12; len++)
		ck_assert_int_eq(run(len, GIB, &out, &err), -ENOTSUP);
	/* A magic number that is not whole is none. */
	ck_assert_ptr_null(decompress_format("\xfd"
					     "7zXZ",
					     5));
	ck_assert_ptr_null(decompress_format("\x1f", 1));
	ck_assert_ptr_null(decompress_format("", 0));
}
END_TEST

START_TEST(lz4_blocks_stay_in_the_frame)
{
	static const uint32_t lens[] = { 0, 1, 0x7fffffff, 0x80000000, 0xffffffff };
	struct decompressed out;
	struct err err;
	size_t len = pack(2, 1000), frame = len - 4;

	for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
		put_le32(packed + 4, lens[i]);
		damaged(len);
	}
	/* Two frames in a row are one stream. */
	pack(2, 1000);
	memcpy(packed + frame, packed, frame);
	put_le32(packed + 2 * frame, 2000);
	ck_assert_int_eq(run(2 * frame + 4, GIB, &out, &err), 0);
	ck_assert_mem_eq(out.data + 1000, plain, 1000);
	decompress_release(&out);
	/* A length that is cut. */
	memmove(packed + frame + 2, packed + 2 * frame, 4);
	damaged(frame + 6);
}
END_TEST

/* A valid stream whose header asks the decoder for a dictionary of 2 GiB. */
START_TEST(bounds_the_memory_of_xz)
{
	size_t len = pack(4, 1000);
	struct decompressed out;
	struct err err;

	ck_assert_int_eq(run(len, GIB, &out, &err), 0);
	decompress_release(&out);
	put_le32(packed + 1, 0x80000000);
	damaged(len);
}
END_TEST

/* Without the size behind it: what gzip(1), zstd(1) and xz(1) write. */
START_TEST(a_file_says_itself_where_it_ends)
{
	static const int files[] = { 0, 1, 3 };
	static const size_t lens[] = { 1, 4095, 4096, 4097, PLAIN_LEN };
	int i = files[_i];
	struct decompressed out;
	struct err err = ERR_INIT;

	for (size_t l = 0; l < ARRAY_SIZE(lens); l++) {
		size_t n = formats[i].pack(lens[l]);
		uint8_t *in = malloc(n);

		memcpy(in, packed, n);
		ck_assert_msg(!decompress_file("module", "m.ko", in, n, PLAIN_LEN, &out, &err),
			      "%s", err.msg);
		ck_assert_uint_eq(out.len, lens[l]);
		ck_assert_mem_eq(out.data, plain, out.len);
		decompress_release(&out);
		ck_assert(!decompress_file("module", "m.ko", in, n, (uint32_t)lens[l], &out, &err));
		decompress_release(&out);
		/* One byte more than may be, and one less than there was. */
		if (lens[l] > 1)
			ck_assert_int_eq(decompress_file("module", "m.ko", in, n,
							 (uint32_t)lens[l] - 1, &out, &err),
					 -EINVAL);
		ck_assert_int_eq(
			decompress_file("module", "m.ko", in, n - 1, PLAIN_LEN, &out, &err),
			-EINVAL);
		ck_assert_ptr_null(out.data);
		ck_assert_ptr_nonnull(
			strstr(err.msg, "module m.ko is damaged, or decompresses to"));
		free(in);
	}
	ck_assert_int_eq(decompress_file("module", "m.ko", packed, formats[i].pack(0), PLAIN_LEN,
					 &out, &err),
			 -EINVAL);
	err = ERR_INIT;
	ck_assert_int_eq(decompress_file("module", "m.ko",
					 "\x7f"
					 "ELF",
					 4, PLAIN_LEN, &out, &err),
			 -ENOTSUP);
	ck_assert_ptr_nonnull(strstr(err.msg, "module m.ko is compressed with an unknown format"));
}
END_TEST

#define FOR_EACH_FORMAT(test) tcase_add_loop_test(tc, test, 0, ARRAY_SIZE(formats))

UNIT_SUITE("decompress", {
	tcase_add_checked_fixture(tc, setup, teardown);
	FOR_EACH_FORMAT(gives_back_what_was_packed);
	FOR_EACH_FORMAT(holds_output_to_the_claim);
	FOR_EACH_FORMAT(refuses_a_cut_stream);
	FOR_EACH_FORMAT(survives_a_changed_byte);
	FOR_EACH_FORMAT(names_the_package_of_a_missing_library);
	FOR_EACH_FORMAT(says_when_a_library_is_another);
	tcase_add_test(tc, tells_no_memory_from_damage);
	tcase_add_test(tc, refuses_more_than_libraries_count);
	tcase_add_test(tc, lz4_stops_at_a_bad_block);
	tcase_add_test(tc, knows_what_it_does_not_know);
	tcase_add_test(tc, lz4_blocks_stay_in_the_frame);
	tcase_add_test(tc, bounds_the_memory_of_xz);
	tcase_add_loop_test(tc, a_file_says_itself_where_it_ends, 0, 3);
})
