/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>

#include <lkvm/decompress.h>
#include <lkvm/log.h>

#include "loader.h"

/* A kernel with everything built in has about 100 MiB. */
#define KERNEL_LEN_MAX GIB

/*
 * In e_flags of a cached kernel, of which x86-64 defines none: it seems to use ECAM. So a boot from the cache need not
 * search for it.
 */
#define CACHED_ECAM 1

/* What of an unpacking the steps share. */
struct unpack {
	const struct gmem *gm;
	const struct boot_request *req;
	struct kcache_key key;
	struct kindex known; /* what was learned of the image before, if `is_known` */
	bool is_known;
	uint64_t begin_ns; /* before anything was read */
	struct loaded *out;
};

/* The image's key: from what is known of it, else from its content. */
static int find_key(struct unpack *u, struct err *err)
{
	const struct boot_request *req = u->req;
	struct kstamp stamp;

	u->begin_ns = kindex_now_ns();
	u->is_known = req->kernel->fd >= 0 && kstamp_fd(req->kernel->fd, &stamp) == 0 &&
		      kindex_load(req->cache_dir, &stamp, &u->known) == 0;
	if (!u->is_known)
		return kcache_key(req->kernel, &u->key, err);
	memcpy(u->key.hash, u->known.key, sizeof(u->key.hash));
	return 0;
}

/* Both were read as a whole: the next boot need not. */
static void learn(const struct unpack *u, const struct kcache_entry *e)
{
	struct kindex ix = { .entry = e->stamp, .read_ns = u->begin_ns };

	memcpy(ix.key, u->key.hash, sizeof(ix.key));
	if (u->req->kernel->fd >= 0 && kstamp_fd(u->req->kernel->fd, &ix.image) == 0)
		kindex_store(u->req->cache_dir, &ix);
}

/* True when the cache had the kernel and it is loaded. Everything else is a miss. */
static bool from_cache(struct unpack *u)
{
	const struct boot_request *req = u->req;
	struct err err = ERR_INIT;
	struct kcache_entry e;
	struct vmlinux vm;
	int ret = kcache_open(&e, req->cache_dir, &u->key);

	if (ret < 0) {
		log_debug(req->log, "no cached kernel in %s: %s", req->cache_dir, strerror(-ret));
		return false;
	}
	if (u->is_known)
		kcache_trust(&e, &u->known.entry);
	if (e.trusted)
		log_debug(req->log, "kernel %s and its cached form are as when last checked",
			  req->kernel->name);
	ret = vmlinux_parse(&e.src, false, &vm, &err);
	if (ret == 0)
		ret = vmlinux_load(u->gm, &e.src, &vm, &e, u->out, &err);
	u->out->ecam = ret == 0 && (vm.ehdr.e_flags & CACHED_ECAM);
	if (ret == 0 && !e.trusted)
		learn(u, &e);
	kcache_close(&e);
	if (ret == 0)
		return true;
	/* Whether the entry or the machine is to blame shows when the image itself is unpacked. */
	log_debug(req->log, "the cached kernel is of no use: %s", err.kind ? err.msg : "damaged");
	kcache_remove(req->cache_dir, &u->key);
	return false;
}

/* Keeps what was loaded, unless the image changed under our hands after its key was made. */
static void to_cache(struct unpack *u, const struct vmlinux *vm, const void *elf)
{
	const struct boot_request *req = u->req;
	struct kcache_range ranges[VMLINUX_RANGES_MAX];
	struct kcache_key again;
	struct err err = ERR_INIT;
	int ret;

	if (kcache_key(req->kernel, &again, &err) < 0 ||
	    memcmp(&again, &u->key, sizeof(again)) != 0)
		return;
	ret = kcache_store(req->cache_dir, &u->key, elf, ranges, vmlinux_ranges(vm, ranges));
	if (ret < 0)
		log_debug(req->log, "cannot keep the kernel in %s: %s", req->cache_dir,
			  strerror(-ret));
}

/* The decompressed payload. -ENOTSUP when lkvm cannot, with the reason in `why`. */
static int read_payload(const struct unpack *u, uint64_t off, uint64_t len,
			struct decompressed *elf, struct err *why, struct err *err)
{
	const struct src *src = u->req->kernel;
	uint8_t *in = malloc(len);
	int ret;

	if (!in)
		return err_host(err, ENOMEM, "no memory to decompress kernel %s", src->name);
	ret = src_read(src, off, in, len, err);
	if (ret == 0) {
		ret = decompress(src->name, in, len, KERNEL_LEN_MAX, elf, why);
		if (ret < 0 && ret != -ENOTSUP)
			*err = *why;
	}
	free(in);
	return ret;
}

/* 1 when the kernel is loaded, 0 when it is nothing that lkvm can load. */
static int load_elf(struct unpack *u, const struct decompressed *elf, struct err *why,
		    struct err *err)
{
	const char *name = u->req->kernel->name;
	struct vmlinux vm;
	struct src src;
	int ret;

	if (!vmlinux_probe(elf->data, elf->len)) {
		err_usage(why, "what kernel %s decompresses to is no ELF file", name);
		return 0;
	}
	src_init_mem(&src, "decompressed kernel", name, elf->data, elf->len);
	ret = vmlinux_parse(&src, false, &vm, err);
	if (ret == 0) {
		vmlinux_trim(&vm, elf->data);
		ret = vmlinux_load(u->gm, &src, &vm, NULL, u->out, err);
	}
	if (ret < 0)
		return ret;
	u->out->ecam = vmlinux_seems_to_use_ecam(elf->data, elf->len);
	put_le32(elf->data + offsetof(Elf64_Ehdr, e_flags), u->out->ecam ? CACHED_ECAM : 0);
	if (u->req->cache_dir)
		to_cache(u, &vm, elf->data);
	return 1;
}

static int from_payload(struct unpack *u, uint64_t off, uint64_t len, struct err *why,
			struct err *err)
{
	struct decompressed elf;
	int ret = read_payload(u, off, len, &elf, why, err);

	if (ret == -ENOTSUP)
		return 0;
	if (ret < 0)
		return ret;
	ret = load_elf(u, &elf, why, err);
	decompress_release(&elf);
	return ret;
}

int unpack_load(const struct gmem *gm, const struct boot_request *req, const struct bzimage *bz,
		struct loaded *out, const char **how, struct err *why, struct err *err)
{
	struct unpack u = { .gm = gm, .req = req, .out = out };
	uint64_t off, len;
	int ret = bzimage_payload(req->kernel, bz, &off, &len, err);

	if (ret < 0)
		return ret;
	if (len == 0) {
		err_usage(why, "kernel %s has no compressed payload", req->kernel->name);
		return 0;
	}
	*how = "vmlinux from the image, 64-bit entry";
	if (req->cache_dir) {
		ret = find_key(&u, err);
		if (ret < 0)
			return ret;
		if (from_cache(&u)) {
			*how = "vmlinux from cache, 64-bit entry";
			ret = 1;
		}
	}
	if (ret == 0)
		ret = from_payload(&u, off, len, why, err);
	out->hdr = bz->hdr;
	return ret;
}
