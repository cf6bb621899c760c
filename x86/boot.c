/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>

#include <lkvm/decompress.h>
#include <lkvm/initrds.h>
#include <lkvm/log.h>

#include "loader.h"

/* As much of the file as tells what it is. */
#define HEAD_LEN 0x300

/* Offset and value of "ARM\x64" in an arm64 Image: Documentation/arch/arm64/booting.rst. */
#define ARM64_MAGIC_OFF 0x38
#define ARM64_MAGIC     0x644d5241

static int unknown_kernel(const struct src *src, const uint8_t *head, size_t len, struct err *err)
{
	const char *format = decompress_format(head, len);

	if (len >= ARM64_MAGIC_OFF + 4 && get_le32(head + ARM64_MAGIC_OFF) == ARM64_MAGIC)
		return err_usage(err, "kernel %s is an arm64 Image; this machine is x86-64",
				 src->name);
	if (format)
		return err_usage(err,
				 "kernel %s is compressed with %s as a whole; decompress it first",
				 src->name, format);
	return err_usage(err, "kernel %s is neither a bzImage nor an ELF file", src->name);
}

/* What a kernel finds in boot_params when it came without a header of its own. */
static void plain_header(struct setup_header *hdr)
{
	*hdr = (struct setup_header){
		.boot_flag = 0xaa55,
		.header = 0x53726448, /* "HdrS" */
		.version = 0x020c,
		.loadflags = LOADED_HIGH,
		.xloadflags = XLF_KERNEL_64 | XLF_CAN_BE_LOADED_ABOVE_4G,
		.cmdline_size = CMDLINE_MAX_DEFAULT,
	};
}

static int load_vmlinux(const struct gmem *gm, const struct boot_request *req, struct loaded *out,
			const char **how, struct err *err)
{
	struct vmlinux vm;
	int ret;

	if (req->how == BOOT_BZIMAGE)
		return err_usage(err, "kernel %s is an ELF file, so --boot bzimage cannot boot it",
				 req->kernel->name);
	ret = vmlinux_parse(req->kernel, true, &vm, err);
	if (ret == 0)
		ret = vmlinux_load(gm, req->kernel, &vm, NULL, out, err);
	const void *bytes = ret == 0 ? gmem_span(gm, out->gpa, out->len) : NULL;
	out->ecam = bytes && vmlinux_seems_to_use_ecam(bytes, out->len);
	plain_header(&out->hdr);
	*how = out->pvh ? "vmlinux, PVH" : "vmlinux, 64-bit entry";
	return ret;
}

static int load_bzimage(const struct gmem *gm, const struct boot_request *req, struct loaded *out,
			const char **how, struct err *err)
{
	struct err why = ERR_INIT;
	struct bzimage bz;
	int ret = bzimage_parse(req->kernel, &bz, err);

	if (ret < 0)
		return ret;
	if (req->how == BOOT_VMLINUX || (req->how == BOOT_AUTO && !req->kaslr)) {
		ret = unpack_load(gm, req, &bz, out, how, &why, err);
		if (ret < 0)
			return ret;
		if (ret > 0) {
			log_debug(req->log,
				  "kernel %s runs at its link address, without KASLR (--kaslr "
				  "changes that)",
				  req->kernel->name);
			return 0;
		}
		if (req->how == BOOT_VMLINUX) {
			*err = why;
			return -EINVAL;
		}
		log_debug(req->log, "%s; the image decompresses itself in the guest", why.msg);
	}
	*how = "bzImage, 64-bit entry";
	return bzimage_load(gm, req->kernel, &bz, out, err);
}

static int load_kernel(const struct gmem *gm, const struct boot_request *req, struct loaded *out,
		       const char **how, struct err *err)
{
	uint8_t head[HEAD_LEN];
	size_t len = MIN(sizeof(head), req->kernel->size);
	int ret = src_read(req->kernel, 0, head, len, err);

	if (ret < 0)
		return ret;
	if (vmlinux_probe(head, len))
		return load_vmlinux(gm, req, out, how, err);
	if (bzimage_probe(head, len))
		return load_bzimage(gm, req, out, how, err);
	return unknown_kernel(req->kernel, head, len, err);
}

static int load_cmdline(const struct gmem *gm, const struct boot_request *req,
			const struct loaded *kernel, struct err *err)
{
	size_t len = strlen(req->cmdline);
	size_t max = MIN(kernel->hdr.cmdline_size, GPA_CMDLINE_LEN - 1);

	if (len > max)
		return err_usage(
			err,
			"the kernel command line has %zu bytes and kernel %s takes at most %zu: "
			"shorten -p",
			len, req->kernel->name, max);
	if (gmem_write(gm, GPA_CMDLINE, req->cmdline, len + 1) < 0)
		return err_usage(err, "-m gives the guest less than 1 MiB of memory");
	return 0;
}

/* The end of the memory that may hold the initrd: low RAM, less what an old kernel cannot reach. */
static uint64_t initrd_end(const struct gmem *gm, const struct setup_header *hdr)
{
	uint64_t end = gm->regions[0].gpa + gm->regions[0].size;

	if (!(hdr->xloadflags & XLF_CAN_BE_LOADED_ABOVE_4G))
		end = MIN(end, (uint64_t)hdr->initrd_addr_max + 1);
	return align_down(end, INITRDS_PAGE);
}

/* As high as possible, so that the kernel can grow where it is. */
static int load_initrds(const struct gmem *gm, const struct boot_request *req,
			const struct loaded *kernel, struct bootinfo *info, struct err *err)
{
	uint64_t start = align_up(kernel->gpa + kernel->len, INITRDS_PAGE);

	return initrds_load(gm, req->initrds, req->initrds_nr, start, initrd_end(gm, &kernel->hdr),
			    &info->initrd_gpa, &info->initrd_len, err);
}

static int write_info(const struct gmem *gm, const struct loaded *kernel,
		      const struct bootinfo *info, struct x86_entry *entry, struct err *err)
{
	*entry = (struct x86_entry){ .rip = kernel->entry };
	if (kernel->pvh) {
		entry->mode = X86_MODE_PROT32;
		entry->rbx = GPA_PVH_INFO;
		return bootinfo_write_pvh(gm, info, err);
	}
	entry->mode = X86_MODE_LONG64;
	entry->rsi = GPA_BOOT_PARAMS;
	return bootinfo_write_params(gm, &kernel->hdr, info, err);
}

int boot_load(const struct gmem *gm, const struct boot_request *req, struct boot_result *res,
	      struct err *err)
{
	struct bootinfo info = { .rsdp = req->rsdp };
	struct loaded kernel = { 0 };
	int ret;

	*res = (struct boot_result){ 0 };
	ret = load_kernel(gm, req, &kernel, &res->how, err);
	if (ret == 0)
		ret = load_cmdline(gm, req, &kernel, err);
	if (ret == 0)
		ret = load_initrds(gm, req, &kernel, &info, err);
	if (ret == 0)
		ret = write_info(gm, &kernel, &info, &res->entry, err);
	if (ret < 0)
		return ret;

	res->ecam = kernel.ecam;
	res->kernel_gpa = kernel.gpa;
	res->kernel_len = kernel.len;
	res->initrd_gpa = info.initrd_gpa;
	res->initrd_len = info.initrd_len;
	return 0;
}

void boot_kernel_release(const char *path, char *release, size_t len)
{
	struct err err = ERR_INIT;
	uint8_t head[HEAD_LEN];
	struct src src;

	*release = 0;
	if (src_open(&src, "kernel", path, &err))
		return;
	size_t n = MIN(sizeof(head), src.size);
	if (src_read(&src, 0, head, n, &err))
		n = 0;
	if (bzimage_probe(head, n))
		bzimage_release(&src, release, len);
	else if (vmlinux_probe(head, n))
		vmlinux_release(&src, release, len);
	src_release(&src);
}
