/* SPDX-License-Identifier: GPL-2.0 */
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <sys/mman.h>
#include <unistd.h>

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
	size_t out_len; /* room, of 32 bits */
};

struct format {
	const char *name;
	const char *soname; /* NULL: recognised, and not supported */
	const char *package;
	/* Bytes of output; -EINVAL for a damaged stream, -ENOMEM, or -ENOTSUP when the library lacks a function. */
	ssize_t (*run)(void *lib, const struct stream *s);
	size_t after; /* bytes after the stream */
	uint8_t magic_len;
	uint8_t magic[6];
};

#define SYM(lib, fn) ((__typeof__(&fn))dlsym(lib, #fn))

static ssize_t run_gzip(void *lib, const struct stream *s)
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
	return ret == Z_STREAM_END ? (ssize_t)z.total_out : -EINVAL;
}

static ssize_t run_zstd(void *lib, const struct stream *s)
{
	__typeof__(&ZSTD_decompress) run = SYM(lib, ZSTD_decompress);

	if (!run)
		return -ENOTSUP;
	/* An error is a size near SIZE_MAX, so one comparison covers it. */
	size_t n = run(s->out, s->out_len, s->in, s->in_len);
	return n <= s->out_len ? (ssize_t)n : -EINVAL;
}

static ssize_t run_lz4(void *lib, const struct stream *s)
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
	return in == s->in_len ? (ssize_t)out : -EINVAL;
}

/* xz and lzma-alone; the library tells them apart. */
static ssize_t run_xz(void *lib, const struct stream *s)
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
	return ret == LZMA_STREAM_END ? (ssize_t)x.total_out : -EINVAL;
}

static ssize_t run_bzip2(void *lib, const struct stream *s)
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
	return ret == BZ_OK ? (ssize_t)len : -EINVAL;
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

/* Whose stream it is, for errors: "kernel", and the file's name. */
struct origin {
	const char *what, *name;
	const struct format *format;
};

static void *open_lib(const struct origin *o, struct err *err)
{
	void *lib = dlopen(o->format->soname, RTLD_NOW | RTLD_LOCAL);

	if (!lib)
		err_usage(err, "%s %s is compressed with %s: install the Debian package %s",
			  o->what, o->name, o->format->name, o->format->package);
	return lib;
}

static int no_memory(const struct origin *o, struct err *err)
{
	return err_host(err, ENOMEM, "no memory to decompress %s %s", o->what, o->name);
}

/* Address space for so many bytes; pages come as they are written. */
static int out_map(const struct origin *o, size_t len, struct decompressed *out, struct err *err)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return no_memory(o, err);
	/* Best effort: fewer page faults. */
	madvise(p, len, MADV_HUGEPAGE);
	*out = (struct decompressed){ .data = p, .len = len };
	return 0;
}

/* Returns the bytes of output. */
static ssize_t run_format(const struct origin *o, const struct stream *s, struct err *err)
{
	void *lib = open_lib(o, err);
	ssize_t ret;

	if (!lib)
		return -ENOTSUP;
	ret = o->format->run(lib, s);
	dlclose(lib);
	if (ret == -ENOTSUP)
		err_usage(err, "%s %s is compressed with %s, which the installed %s does not offer",
			  o->what, o->name, o->format->name, o->format->package);
	else if (ret == -ENOMEM)
		no_memory(o, err);
	return ret;
}

/* What is known before a stream is looked at. */
static int begin(struct origin *o, const void *in, size_t in_len, struct err *err)
{
	o->format = find_format(in, in_len);
	if (!o->format || !o->format->soname) {
		err_usage(err, "%s %s is compressed with %s, which lkvm cannot decompress", o->what,
			  o->name, o->format ? o->format->name : "an unknown format");
		return -ENOTSUP;
	}
	if (in_len > INT_MAX)
		return err_usage(err, "the %s payload of %s %s is larger than 2 GiB",
				 o->format->name, o->what, o->name);
	return 0;
}

static int damaged(const struct origin *o, struct err *err)
{
	return err_usage(err, "the %s payload of %s %s is damaged", o->format->name, o->what,
			 o->name);
}

int decompress(const char *name, const void *in, size_t in_len, uint64_t max,
	       struct decompressed *out, struct err *err)
{
	struct origin o = { .what = "kernel", .name = name };
	struct stream s = { .in = in };
	uint32_t claim;

	*out = (struct decompressed){ 0 };
	int ret = begin(&o, in, in_len, err);
	if (ret < 0)
		return ret;
	if (in_len < o.format->magic_len + SIZE_LEN)
		return err_usage(err, "the %s payload of kernel %s is cut short", o.format->name,
				 name);
	/* The claim is checked before anything is sized by it. */
	claim = get_le32(s.in + in_len - SIZE_LEN);
	if (claim == 0 || claim > max)
		return err_usage(err,
				 "kernel %s claims to decompress to %u bytes; 1 to %llu are sane",
				 name, claim, (unsigned long long)max);
	ret = out_map(&o, claim, out, err);
	if (ret < 0)
		return ret;

	s.in_len = in_len - o.format->after;
	s.out = out->data;
	s.out_len = out->len;
	ssize_t n = run_format(&o, &s, err);
	if (n >= 0 && n < claim)
		n = -EINVAL;
	if (n == -EINVAL)
		damaged(&o, err);
	if (n < 0)
		decompress_release(out);
	return (int)MIN(n, 0);
}

int decompress_file(const char *what, const char *name, const void *in, size_t in_len, uint32_t max,
		    struct decompressed *out, struct err *err)
{
	struct origin o = { .what = what, .name = name };
	struct decompressed room;

	*out = (struct decompressed){ 0 };
	int ret = begin(&o, in, in_len, err);
	if (ret < 0)
		return ret;
	ret = out_map(&o, max, &room, err);
	if (ret < 0)
		return ret;
	struct stream s = { .in = in, .in_len = in_len, .out = room.data, .out_len = room.len };
	ssize_t n = run_format(&o, &s, err);
	if (n == -EINVAL || n == 0)
		err_usage(err, "%s %s is damaged, or decompresses to more than %u bytes", what,
			  name, max);
	*out = room;
	if (n <= 0) {
		decompress_release(out);
		return n ? (int)n : -EINVAL;
	}
	out->len = (size_t)n;
	size_t used = align_up(out->len, (size_t)sysconf(_SC_PAGESIZE));
	if (used < room.len)
		munmap(room.data + used, room.len - used);
	return 0;
}

void decompress_release(struct decompressed *out)
{
	if (out->data)
		munmap(out->data, out->len);
	*out = (struct decompressed){ 0 };
}
