/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Takes the compressed payload of a kernel image apart on the host, and compressed files.
 *
 * A payload is one stream of a known format, then (for all formats but gzip, whose stream ends with
 * it) the decompressed size as 4 little-endian bytes. Source: Documentation/arch/x86/boot.rst
 * (payload_offset) and the formats' own specifications.
 *
 * The libraries are not linked: each is loaded when a payload of its format turns up, and unloaded
 * afterwards. The input is hostile: nothing is allocated for a claimed size above the caller's limit,
 * memory of the output is taken only as it is written, and output never exceeds the claim.
 */
#ifndef LKVM_DECOMPRESS_H
#define LKVM_DECOMPRESS_H

#include <stddef.h>
#include <stdint.h>

#include <lkvm/err.h>

/* The caller's to release; page aligned, private. */
struct decompressed {
	uint8_t *data;
	size_t len;
};

/* The name of the format that these first bytes show ("gzip"), or NULL. 6 bytes are enough. */
const char *decompress_format(const void *head, size_t len);

/*
 * Decompresses in[0..in_len). `name` is the file, for errors. Returns 0, or
 *   -ENOTSUP  the format is unknown, or its library is not installed (the sentence names the package)
 *   -EINVAL   the payload is damaged, or claims to be empty or larger than `max` bytes
 *   -ENOMEM   the host has no memory for it
 */
int decompress(const char *name, const void *in, size_t in_len, uint64_t max,
	       struct decompressed *out, struct err *err);
/*
 * The same of a file as gzip(1), xz(1) or zstd(1) writes it, of which nothing says how large it becomes: more than `max`
 * bytes are as bad as damage. `what` the file is, for errors: "module".
 */
int decompress_file(const char *what, const char *name, const void *in, size_t in_len, uint32_t max,
		    struct decompressed *out, struct err *err);
void decompress_release(struct decompressed *out);

#endif
