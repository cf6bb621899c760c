/* SPDX-License-Identifier: GPL-2.0 */
#include <lkvm/util.h>

#include "file.h"

#define MAGIC(s) .magic = s, .magic_len = sizeof(s) - 1

/*
 * Sources: docs/interop/qcow2.rst, vmdk-spec "Hosted Sparse Extent", the constants of VirtualBox's
 * VDICore.h, MS-VHDX 2.1, "Virtual Hard Disk Image Format Specification", docs/interop/parallels.rst,
 * bochs' bximage format, QED's and cow's headers; RFC 1952, RFC 8878 and the xz and bzip2 formats.
 */
static const struct {
	const char *name;
	uint32_t off;
	const char *magic;
	uint32_t magic_len;
	bool compressed;
} magics[] = {
	{ "qcow or qcow2", 0, MAGIC("QFI\xfb") },
	{ "vmdk", 0, MAGIC("KDMV") },
	{ "vmdk", 0, MAGIC("COWD") },
	{ "vmdk", 0, MAGIC("# Disk DescriptorFile") },
	{ "vdi", 0x40, MAGIC("\x7f\x10\xda\xbe") },
	{ "vhdx", 0, MAGIC("vhdxfile") },
	{ "vhd", 0, MAGIC("conectix") },
	{ "parallels", 0, MAGIC("WithoutFreeSpace") },
	{ "parallels", 0, MAGIC("WithouFreSpacExt") },
	{ "bochs", 0, MAGIC("Bochs Virtual HD Image") },
	{ "qed", 0, MAGIC("QED\0") },
	{ "cow", 0, MAGIC("OOOM") },
	{ "gzip", 0, MAGIC("\x1f\x8b\x08"), true },
	{ "xz", 0,
	  MAGIC("\xfd"
		"7zXZ\0"),
	  true },
	{ "zstd", 0, MAGIC("\x28\xb5\x2f\xfd"), true },
	{ "bzip2", 0, MAGIC("BZh"), true },
};

int blk_file_check_magic(const char *path, const void *head, uint64_t len, struct err *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(magics); i++) {
		if (!range_ok(magics[i].off, magics[i].magic_len, len) ||
		    memcmp((const char *)head + magics[i].off, magics[i].magic,
			   magics[i].magic_len) != 0)
			continue;
		if (magics[i].compressed)
			return err_usage(err,
					 "disk %s is compressed with %s: decompress it, or give "
					 "format=raw to take its bytes as they are",
					 path, magics[i].name);
		return err_usage(err,
				 "disk %s is a %s image, which comes later: convert it with "
				 "qemu-img convert -O raw, or give format=raw to take its bytes as "
				 "they are",
				 path, magics[i].name);
	}
	return 0;
}
