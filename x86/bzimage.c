/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "loader.h"

/* Offsets and values of Documentation/arch/x86/boot.rst. */
#define HDR_OFF         0x1f1
#define HDR_JUMP_OFF    0x200 /* a short jump over the header; its operand tells where that ends */
#define JUMP_SHORT      0xeb
#define HDR_JUMP_END    0x202
#define HDR_MAGIC_OFF   0x202
#define HDR_MAGIC       0x53726448 /* "HdrS" */
#define BOOT_FLAG       0xaa55
#define SETUP_SECTS_OLD 4 /* what 0 stands for */
#define SECTOR          512
/* Up to init_size, which every header of the versions below has. */
#define HDR_LEN_MIN offsetof(struct setup_header, handover_offset)
#define VERSION_MIN 0x020c /* 2.12: xloadflags */
#define ENTRY64_OFF 0x200

bool bzimage_probe(const uint8_t *head, size_t len)
{
	return len >= HDR_MAGIC_OFF + sizeof(uint32_t) &&
	       get_le32(head + HDR_MAGIC_OFF) == HDR_MAGIC;
}

/* The header is as long as its jump says: what follows is code, and must not reach boot_params. */
static int read_header(const struct src *src, struct setup_header *hdr, struct err *err)
{
	uint8_t jump[2];
	size_t len;
	int ret = src_read(src, HDR_JUMP_OFF, jump, sizeof(jump), err);

	if (ret < 0)
		return ret;
	len = HDR_JUMP_END - HDR_OFF + (size_t)jump[1];
	if (jump[0] != JUMP_SHORT || len < HDR_LEN_MIN)
		return err_usage(err, "kernel %s has a damaged boot header", src->name);
	memset(hdr, 0, sizeof(*hdr));
	return src_read(src, HDR_OFF, hdr, MIN(len, sizeof(*hdr)), err);
}

static int check_header(const struct src *src, const struct setup_header *h, struct err *err)
{
	if (h->boot_flag != BOOT_FLAG || h->header != HDR_MAGIC)
		return err_usage(err, "kernel %s has a damaged boot header", src->name);
	if (h->version < VERSION_MIN)
		return err_usage(
			err, "kernel %s speaks boot protocol %u.%02u; lkvm needs 2.12 (Linux 3.8)",
			src->name, h->version >> 8, h->version & 0xff);
	if (!(h->loadflags & LOADED_HIGH))
		return err_usage(err, "kernel %s is a zImage; lkvm boots bzImages", src->name);
	if (!(h->xloadflags & XLF_KERNEL_64))
		return err_usage(err, "kernel %s is a 32-bit kernel; lkvm boots 64-bit kernels",
				 src->name);
	return 0;
}

int bzimage_parse(const struct src *src, struct bzimage *bz, struct err *err)
{
	uint64_t sects, code;
	int ret = read_header(src, &bz->hdr, err);

	if (ret == 0)
		ret = check_header(src, &bz->hdr, err);
	if (ret < 0)
		return ret;

	sects = bz->hdr.setup_sects ? bz->hdr.setup_sects : SETUP_SECTS_OLD;
	bz->body_off = (sects + 1) * SECTOR;
	if (bz->body_off >= src->size)
		return err_usage(err,
				 "kernel %s is cut short: its %llu setup sectors leave no kernel",
				 src->name, (unsigned long long)sects);
	bz->body_len = src->size - bz->body_off;

	/* syssize counts paragraphs of 16 bytes, the last of which need not be full. */
	code = (uint64_t)bz->hdr.syssize * 16;
	if (code >= bz->body_len + 16)
		return err_usage(err, "kernel %s is cut short: %llu of %llu bytes of code",
				 src->name, (unsigned long long)bz->body_len,
				 (unsigned long long)code);
	if (bz->body_len <= ENTRY64_OFF)
		return err_usage(err, "kernel %s is cut short: it has no 64-bit entry", src->name);
	return 0;
}

void bzimage_release(const struct src *src, char *release, size_t len)
{
	struct setup_header hdr;
	struct err err = ERR_INIT;
	char text[128];

	*release = 0;
	if (read_header(src, &hdr, &err) || !hdr.kernel_version)
		return;
	uint64_t off = HDR_JUMP_OFF + (uint64_t)hdr.kernel_version;
	if (off >= src->size)
		return;
	size_t n = MIN(sizeof(text) - 1, src->size - off);
	if (src_read(src, off, text, n, &err))
		return;
	text[n] = 0;
	/* "6.1.0-17-amd64 (builder@host) #1 SMP ..." */
	snprintf(release, len, "%.*s", (int)strcspn(text, " "), text);
}

int bzimage_payload(const struct src *src, const struct bzimage *bz, uint64_t *off, uint64_t *len,
		    struct err *err)
{
	if (!range_ok(bz->hdr.payload_offset, bz->hdr.payload_length, bz->body_len))
		return err_usage(
			err,
			"kernel %s is cut short: its payload of %u bytes at %u leaves the file",
			src->name, bz->hdr.payload_length, bz->hdr.payload_offset);
	*off = bz->body_off + bz->hdr.payload_offset;
	*len = bz->hdr.payload_length;
	return 0;
}

/* Where the kernel would like to be; when that is no RAM, the lowest place that it can be moved to. */
static uint64_t choose_gpa(const struct gmem *gm, const struct setup_header *h, uint64_t len)
{
	uint64_t align = h->kernel_alignment;

	if (loader_span(gm, h->pref_address, len))
		return h->pref_address;
	/* An alignment of 0, or a huge one, gives an address that loader_span() refuses. */
	if (!h->relocatable_kernel || (align & (align - 1)))
		return 0;
	return loader_span(gm, align_up(GPA_HIGH, align), len) ? align_up(GPA_HIGH, align) : 0;
}

int bzimage_load(const struct gmem *gm, const struct src *src, const struct bzimage *bz,
		 struct loaded *out, struct err *err)
{
	/* It decompresses itself in place: init_size is what it needs for that. */
	uint64_t len = MAX(bz->body_len, bz->hdr.init_size);
	uint64_t gpa = choose_gpa(gm, &bz->hdr, len);

	if (!gpa)
		return err_usage(
			err,
			"kernel %s needs %llu MiB of memory at %#llx: give the guest more with -m",
			src->name, (unsigned long long)(align_up(len, MIB) / MIB),
			(unsigned long long)bz->hdr.pref_address);
	*out = (struct loaded){
		.gpa = gpa, .len = len, .entry = gpa + ENTRY64_OFF, .hdr = bz->hdr
	};
	return src_read(src, bz->body_off, loader_span(gm, gpa, len), bz->body_len, err);
}
