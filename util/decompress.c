/* SPDX-License-Identifier: GPL-2.0 */
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <sys/mman.h>

#include <bzlib.h>
#include <lz4.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include <lkvm/decompress.h>
#include <lkvm/util.h>

/* Bytes after the stream, and in gzip its last ones, that hold the decompressed size. */
#define SIZE_LEN 4u

/* A kernel's xz dictionary is 32 MiB; the decoder refuses a stream that wants more than this. */
#define XZ_MEMORY_MAX (256 * MIB)

/* LZ4's legacy frame: a magic number, then blocks that each decompress to at most 8 MiB. */
#define LZ4_LEGACY_MAGIC 0x184c2102u
#define LZ4_LEGACY_BLOCK (8 * MIB)

struct stream {
	const uint8_t *in;
	size_t in_len; /* at most INT_MAX, because not every library counts further */
	uint8_t *out;
	size_t out_len; /* the claimed size, of 32 bits: output must be exactly this */
};

struct format {
	const char *name;
	const char *soname; /* NULL: recognised, and not supported */
	const char *package;
	/* 0, -EINVAL for a damaged stream, -ENOMEM, or -ENOTSUP when the library lacks a function. */
	int (*run)(void *lib, const struct stream *s);
	size_t after; /* bytes after the stream */
	uint8_t magic_len;
	uint8_t magic[6];
};

#define SYM(lib, fn) ((__typeof__(&fn))dlsym(lib, #fn))

static int run_gzip(void *lib, const struct stream *s)
{
	__typeof__(&inflateInit2_) init = SYM(lib, inflateInit2_);
	__typeof__(&inflate) step = SYM(lib, inflate);
	__typeof__(&inflateEnd) end = SYM(lib, inflateEnd);
	z_stream z = { 0 };
	int ret;

	if (!init || !step || !end)
		return -ENOTSUP;
	z.next_in = (z_const Bytef *)s->in;
	z.avail_in = (uInt)s->in_len;
	z.next_out = s->out;
	z.avail_out = (uInt)s->out_len;
	/* + 16: a gzip header and trailer around the deflate stream */
	if (init(&z, 16 + MAX_WBITS, ZLIB_VERSION, (int)sizeof(z)) != Z_OK)
		return -ENOMEM;
	ret = step(&z, Z_FINISH);
	end(&z);
	if (ret == Z_MEM_ERROR)
		return -ENOMEM;
	return ret == Z_STREAM_END && z.avail_out == 0 ? 0 : -EINVAL;
}

static int run_zstd(void *lib, const struct stream *s)
{
	__typeof__(&ZSTD_decompress) run = SYM(lib, ZSTD_decompress);

	if (!run)
		return -ENOTSUP;
	/* An error is a size near SIZE_MAX, so one comparison covers it. */
	return run(s->out, s->out_len, s->in, s->in_len) == s->out_len ? 0 : -EINVAL;
}

static int run_lz4(void *lib, const struct stream *s)
{
	__typeof__(&LZ4_decompress_safe) run = SYM(lib, LZ4_decompress_safe);
	size_t in = 0, out = 0;

	if (!run)
		return -ENOTSUP;
	while (s->in_len - in >= sizeof(uint32_t)) {
		uint32_t len = get_le32(s->in + in);
		int n;

		in += sizeof(uint32_t);
		/* Frames may follow each other, so the magic number stands where a length could. */
		if (len == LZ4_LEGACY_MAGIC)
			continue;
		if (len > s->in_len - in)
			return -EINVAL;
		n = run((const char *)s->in + in, (char *)s->out + out, (int)len,
			(int)MIN(LZ4_LEGACY_BLOCK, s->out_len - out));
		if (n < 0)
			return -EINVAL;
		in += len;
		out += (size_t)n;
	}
	return in == s->in_len && out == s->out_len ? 0 : -EINVAL;
}

/* xz and lzma-alone; the library tells them apart. */
static int run_xz(void *lib, const struct stream *s)
{
	__typeof__(&lzma_auto_decoder) init = SYM(lib, lzma_auto_decoder);
	__typeof__(&lzma_code) step = SYM(lib, lzma_code);
	__typeof__(&lzma_end) end = SYM(lib, lzma_end);
	lzma_stream x = LZMA_STREAM_INIT;
	lzma_ret ret;

	if (!init || !step || !end)
		return -ENOTSUP;
	x.next_in = s->in;
	x.avail_in = s->in_len;
	x.next_out = s->out;
	x.avail_out = s->out_len;
	if (init(&x, XZ_MEMORY_MAX, 0) != LZMA_OK)
		return -ENOMEM;
	ret = step(&x, LZMA_FINISH);
	end(&x);
	if (ret == LZMA_MEM_ERROR)
		return -ENOMEM;
	return ret == LZMA_STREAM_END && x.avail_out == 0 ? 0 : -EINVAL;
}

static int run_bzip2(void *lib, const struct stream *s)
{
	__typeof__(&BZ2_bzBuffToBuffDecompress) run = SYM(lib, BZ2_bzBuffToBuffDecompress);
	unsigned int len = (unsigned int)s->out_len;
	int ret;

	if (!run)
		return -ENOTSUP;
	/* The prototype lacks a const; the library does not write to its input. */
	ret = run((char *)s->out, &len, (char *)(uintptr_t)s->in, (unsigned int)s->in_len, 0, 0);
	if (ret == BZ_MEM_ERROR)
		return -ENOMEM;
	return ret == BZ_OK && len == s->out_len ? 0 : -EINVAL;
}

static const struct format formats[] = {
	{ "gzip", "libz.so.1", "zlib1g", run_gzip, 0, 2, { 0x1f, 0x8b } },
	{ "zstd", "libzstd.so.1", "libzstd1", run_zstd, SIZE_LEN, 4, { 0x28, 0xb5, 0x2f, 0xfd } },
	{ "lz4", "liblz4.so.1", "liblz4-1", run_lz4, SIZE_LEN, 4, { 0x02, 0x21, 0x4c, 0x18 } },
	{ "xz", "liblzma.so.5", "liblzma5", run_xz, SIZE_LEN, 6, { 0xfd, '7', 'z', 'X', 'Z', 0 } },
	{ "lzma", "liblzma.so.5", "liblzma5", run_xz, SIZE_LEN, 3, { 0x5d, 0x00, 0x00 } },
	{ "bzip2", "libbz2.so.1.0", "libbz2-1.0", run_bzip2, SIZE_LEN, 3, { 'B', 'Z', 'h' } },
	{ "lzo", NULL, NULL, NULL, SIZE_LEN, 4, { 0x89, 'L', 'Z', 'O' } },
};

static const struct format *find_format(const void *head, size_t len)
{
	for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
		const struct format *f = &formats[i];

		if (len >= f->magic_len && memcmp(head, f->magic, f->magic_len) == 0)
			return f;
	}
	return NULL;
}

const char *decompress_format(const void *head, size_t len)
{
	const struct format *f = find_format(head, len);

	return f ? f->name : NULL;
}

static void *open_lib(const char *name, const struct format *f, struct err *err)
{
	void *lib = dlopen(f->soname, RTLD_NOW | RTLD_LOCAL);

	if (!lib)
		err_usage(err, "kernel %s is compressed with %s: install the Debian package %s",
			  name, f->name, f->package);
	return lib;
}

/* Address space for the claimed size; pages come as they are written. */
static int out_map(const char *name, uint32_t len, struct decompressed *out, struct err *err)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return err_host(err, ENOMEM, "no memory to decompress kernel %s", name);
	/* Best effort: fewer page faults. */
	madvise(p, len, MADV_HUGEPAGE);
	*out = (struct decompressed){ .data = p, .len = len };
	return 0;
}

static int run_format(const char *name, const struct format *f, const struct stream *s,
		      struct err *err)
{
	void *lib = open_lib(name, f, err);
	int ret;

	if (!lib)
		return -ENOTSUP;
	ret = f->run(lib, s);
	dlclose(lib);
	if (ret == -ENOTSUP) {
		err_usage(err,
			  "kernel %s is compressed with %s, which the installed %s does not offer",
			  name, f->name, f->package);
		return -ENOTSUP;
	}
	if (ret == -ENOMEM)
		return err_host(err, ENOMEM, "no memory to decompress kernel %s", name);
	if (ret < 0)
		return err_usage(err, "the %s payload of kernel %s is damaged", f->name, name);
	return 0;
}

int decompress(const char *name, const void *in, size_t in_len, uint64_t max,
	       struct decompressed *out, struct err *err)
{
	const struct format *f = find_format(in, in_len);
	struct stream s = { .in = in };
	uint32_t claim;
	int ret;

	*out = (struct decompressed){ 0 };
	if (!f || !f->soname) {
		err_usage(err, "kernel %s is compressed with %s, which lkvm cannot decompress",
			  name, f ? f->name : "an unknown format");
		return -ENOTSUP;
	}
	if (in_len < f->magic_len + SIZE_LEN)
		return err_usage(err, "the %s payload of kernel %s is cut short", f->name, name);
	if (in_len > INT_MAX)
		return err_usage(err, "the %s payload of kernel %s is larger than 2 GiB", f->name,
				 name);

	/* The claim is checked before anything is sized by it. */
	claim = get_le32(s.in + in_len - SIZE_LEN);
	if (claim == 0 || claim > max)
		return err_usage(err,
				 "kernel %s claims to decompress to %u bytes; 1 to %llu are sane",
				 name, claim, (unsigned long long)max);
	ret = out_map(name, claim, out, err);
	if (ret < 0)
		return ret;

	s.in_len = in_len - f->after;
	s.out = out->data;
	s.out_len = out->len;
	ret = run_format(name, f, &s, err);
	if (ret < 0)
		decompress_release(out);
	return ret;
}

void decompress_release(struct decompressed *out)
{
	if (out->data)
		munmap(out->data, out->len);
	*out = (struct decompressed){ 0 };
}
