/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <fts.h>
#include <limits.h>
#include <search.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lkvm/initramfs.h>
#include <lkvm/src.h>
#include <lkvm/util.h>

#define MODE_BITS 07777u
#define DIR_MODE  (S_IFDIR | 0755u)

/* A path of the guest's that was added. */
struct added {
	char *dest;
	char *from; /* NULL: a directory that was only on the way */
	bool dir;
};

void initramfs_init(struct initramfs *ir, struct cpio *archive, uint64_t max)
{
	*ir = (struct initramfs){ .archive = archive, .option = "", .left = max };
}

static void added_free(void *p)
{
	struct added *a = p;

	free(a->dest);
	free(a->from);
	free(a);
}

void initramfs_release(struct initramfs *ir)
{
	tdestroy(ir->paths, added_free);
	ir->paths = NULL;
}

static int added_cmp(const void *a, const void *b)
{
	return strcmp(((const struct added *)a)->dest, ((const struct added *)b)->dest);
}

static struct added *find(const struct initramfs *ir, const char *dest)
{
	struct added key = { .dest = (char *)(uintptr_t)dest };
	struct added *const *node = tfind(&key, &ir->paths, added_cmp);

	return node ? *node : NULL;
}

static int remember(struct initramfs *ir, const char *dest, const char *from, bool dir,
		    struct err *err)
{
	struct added *a = calloc(1, sizeof(*a));

	if (!a)
		return err_host(err, ENOMEM, "%s", ir->option);
	*a = (struct added){ .dest = strdup(dest), .from = from ? strdup(from) : NULL, .dir = dir };
	if (!a->dest || (from && !a->from) || !tsearch(a, &ir->paths, added_cmp)) {
		added_free(a);
		return err_host(err, ENOMEM, "%s", ir->option);
	}
	return 0;
}

/* Paths in an archive have no slash in front. */
static const char *in_archive(const char *dest)
{
	return dest + 1;
}

static int add_dir(struct initramfs *ir, const char *dest, const char *from, uint32_t mode,
		   struct err *err)
{
	struct added *a = find(ir, dest);

	if (a && !a->dir)
		return err_usage(err, "%s: %s is a file, and cannot be a directory too", ir->option,
				 dest);
	/* The root is there; what was made on the way gets the mode of the first that is named. */
	if (!*in_archive(dest) || (a && (!from || a->from)))
		return 0;
	cpio_add(ir->archive, in_archive(dest), mode, "", 0);
	if (!a)
		return remember(ir, dest, from, true, err);
	a->from = strdup(from);
	return a->from ? 0 : err_host(err, ENOMEM, "%s", ir->option);
}

/* The directories above `dest`. */
static int add_parents(struct initramfs *ir, const char *dest, struct err *err)
{
	char *path = strdup(dest);
	int ret = path ? 0 : err_host(err, ENOMEM, "%s", ir->option);

	for (char *p = path; !ret && (p = strchr(p + 1, '/'));) {
		*p = 0;
		ret = add_dir(ir, path, NULL, DIR_MODE, err);
		*p = '/';
	}
	free(path);
	return ret;
}

int initramfs_add_data(struct initramfs *ir, const char *from, const char *dest, uint32_t mode,
		       const void *data, size_t len, struct err *err)
{
	const struct added *a = find(ir, dest);

	if (a && a->from && !a->dir && strcmp(a->from, from) == 0)
		return 0;
	if (a)
		return err_usage(err, "%s: %s is in the initramfs already, as %s", ir->option, dest,
				 a->from ?: "a directory");
	if (len > ir->left)
		return err_usage(err, "%s: %s is more than fits in the guest's memory", ir->option,
				 from);
	int ret = add_parents(ir, dest, err);
	if (!ret)
		ret = remember(ir, dest, from, false, err);
	if (ret)
		return ret;
	ir->left -= len;
	cpio_add(ir->archive, in_archive(dest), mode, data, (uint32_t)len);
	return 0;
}

static int add_file(struct initramfs *ir, const char *from, const char *dest, uint32_t mode,
		    struct err *err)
{
	uint8_t *data;
	size_t len;

	/* A size of 32 bits is all that an archive has room for. */
	int ret = src_read_file("file", from, MIN(ir->left, UINT32_MAX), &data, &len, err);
	if (ret)
		err_prefix(err, "%s", ir->option);
	else
		ret = initramfs_add_data(ir, from, dest, mode, data, len, err);
	free(data);
	return ret;
}

static int add_link(struct initramfs *ir, const char *from, const char *dest, struct err *err)
{
	char to[PATH_MAX];
	ssize_t len = readlink(from, to, sizeof(to));

	if (len < 0 || len == (ssize_t)sizeof(to))
		return err_host(err, len < 0 ? errno : ENAMETOOLONG, "%s: cannot read the link %s",
				ir->option, from);
	return initramfs_add_data(ir, from, dest, S_IFLNK | 0777, to, (size_t)len, err);
}

static int add_entry(struct initramfs *ir, const FTSENT *e, const char *dest, struct err *err)
{
	const struct stat *st = e->fts_statp;
	int ret = 0;

	switch (e->fts_info) {
	case FTS_D:
		ret = add_parents(ir, dest, err);
		return ret
			       ?: add_dir(ir, dest, e->fts_path,
					  S_IFDIR | (st->st_mode & MODE_BITS), err);
	case FTS_DP:
		return 0;
	case FTS_F:
		return add_file(ir, e->fts_path, dest, S_IFREG | (st->st_mode & MODE_BITS), err);
	case FTS_SL:
	case FTS_SLNONE:
		if (e->fts_level > 0)
			return add_link(ir, e->fts_path, dest, err);
		return err_usage(err, "%s: %s is a link to nothing", ir->option, e->fts_path);
	case FTS_DNR:
	case FTS_ERR:
	case FTS_NS:
		return err_host(err, e->fts_errno, "%s: cannot read %s", ir->option, e->fts_path);
	default:
		return err_usage(err, "%s: %s is neither a file nor a directory nor a link",
				 ir->option, e->fts_path);
	}
}

/* The archive is the same in each run. */
static int by_name(const FTSENT **a, const FTSENT **b)
{
	return strcmp((*a)->fts_name, (*b)->fts_name);
}

int initramfs_add(struct initramfs *ir, const char *from, const char *dest, struct err *err)
{
	char *roots[] = { (char *)(uintptr_t)from, NULL };
	FTS *fts = fts_open(roots, FTS_PHYSICAL | FTS_COMFOLLOW | FTS_NOCHDIR, by_name);
	size_t skip = strcmp(from, "/") ? strlen(from) : 0;
	FTSENT *e;
	int ret = 0;

	if (!fts)
		return err_host(err, errno, "%s: cannot read %s", ir->option, from);
	while (errno = 0, !ret && (e = fts_read(fts))) {
		const char *below = e->fts_level ? e->fts_path + skip : "";
		char *path = NULL;

		if (asprintf(&path, "%s%s", *below && !in_archive(dest)[0] ? "" : dest, below) < 0)
			ret = err_host(err, ENOMEM, "%s", ir->option);
		else
			ret = add_entry(ir, e, path, err);
		free(path);
	}
	if (!ret && errno)
		ret = err_host(err, errno, "%s: cannot read %s", ir->option, from);
	fts_close(fts);
	return ret;
}

/* Absolute, and without "..", empty names and a slash at the end. */
static int check_dest(const char *spec, char *dest, struct err *err)
{
	char *to = dest;

	for (const char *p = dest; *p; p++) {
		size_t len = strcspn(p + 1, "/");

		if (len == 2 && strncmp(p + 1, "..", 2) == 0)
			return err_usage(err, "%.200s: the path in the guest has a \"..\"", spec);
		if (len && !(len == 1 && p[1] == '.')) {
			memmove(to, p, len + 1);
			to += len + 1;
		}
		p += len;
	}
	if (to == dest)
		*to++ = '/';
	*to = 0;
	if (strlen(dest) >= PATH_MAX)
		return err_usage(err, "%.200s: the path in the guest is longer than %d bytes", spec,
				 PATH_MAX - 1);
	return 0;
}

int initramfs_split(const char *spec, char **from, char **dest, struct err *err)
{
	const char *colon = strstr(spec, ":/");
	const char *name, *end = colon ? colon : spec + strlen(spec);

	*from = strndup(spec, (size_t)(end - spec));
	*dest = NULL;
	if (!*from)
		return err_host(err, ENOMEM, "%.200s", spec);
	if (!**from) {
		free(*from);
		return err_usage(err, "\"%.200s\" names no file: it is FILE[:DEST]", spec);
	}
	for (char *last = *from + strlen(*from) - 1; last > *from && *last == '/'; last--)
		*last = 0;
	name = strrchr(*from, '/');
	name = name ? name + 1 : *from;
	if (colon && spec[strlen(spec) - 1] != '/')
		*dest = strdup(colon + 1);
	else if (colon && asprintf(dest, "%s%s", colon + 1, name) < 0)
		*dest = NULL;
	else if (!colon && **from == '/')
		*dest = strdup(*from);
	else if (!colon && asprintf(dest, "/%s", name) < 0)
		*dest = NULL;
	int ret = *dest ? check_dest(spec, *dest, err) : err_host(err, ENOMEM, "%.200s", spec);
	if (ret) {
		free(*from);
		free(*dest);
	}
	return ret;
}
