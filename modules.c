/* SPDX-License-Identifier: GPL-2.0 */
#include <elf.h>
#include <errno.h>
#include <fts.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lkvm/cmd-abi.h>
#include <lkvm/decompress.h>
#include <lkvm/modules.h>
#include <lkvm/src.h>
#include <lkvm/util.h>

#define NAME_LEN    56 /* the kernel's MODULE_NAME_LEN on 64 bits */
#define MODULE_MAX  (64 * MIB)
#define BUILTIN_MAX (16 * MIB)
#define DEPTH_MAX   32 /* of dependencies; Linux's deepest chain has about ten */

/* How far a module is. */
enum { UNSEEN, UNDER_WAY, ADDED };

struct module {
	char name[NAME_LEN]; /* with '_' for '-' */
	char *path;          /* NULL: built in */
	int state;
};

struct modules {
	const char *dir, *release;
	struct module *list; /* in order of names */
	size_t nr, room;
	FILE *loads; /* the text of CMD_MODULES */
	char *loads_text;
	size_t loads_len;
};

/* --- the tree --- */

/* The kernel's spelling of a name; false for one that no module can have. */
static bool spell(char to[NAME_LEN], const char *name, size_t len)
{
	if (len >= NAME_LEN)
		return false;
	for (size_t i = 0; i < len; i++)
		to[i] = name[i] == '-' ? '_' : name[i];
	to[len] = 0;
	return true;
}

/* The name that a file's has before its ".ko"; false for other files. */
static bool module_name(char name[NAME_LEN], const char *file)
{
	static const char *const ends[] = { ".ko", ".ko.gz", ".ko.xz", ".ko.zst" };
	const char *dot = strstr(file, ".ko");
	bool known = false;

	for (size_t i = 0; dot && i < ARRAY_SIZE(ends); i++)
		known |= strcmp(dot, ends[i]) == 0;
	return known && spell(name, file, (size_t)(dot - file));
}

/* `path` NULL: it is a part of the kernel, and so needs nothing. */
static int append(struct modules *m, const char *file, const char *path)
{
	struct module mod = { .state = path ? UNSEEN : ADDED };

	if (!module_name(mod.name, file))
		return 0;
	if (m->nr == m->room) {
		size_t room = m->room ? 2 * m->room : 512;
		void *more = reallocarray(m->list, room, sizeof(m->list[0]));

		if (!more)
			return -ENOMEM;
		m->list = more;
		m->room = room;
	}
	if (path && !(mod.path = strdup(path)))
		return -ENOMEM;
	m->list[m->nr++] = mod;
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct module *)a)->name, ((const struct module *)b)->name);
}

/* What a kernel's `make modules_install` leaves at the top; any other folder could be the whole disk. */
static bool is_tree(const char *dir)
{
	static const char *const files[] = { "modules.order", "modules.builtin", "modules.dep" };
	bool found = false;

	for (size_t i = 0; !found && i < ARRAY_SIZE(files); i++) {
		char path[PATH_MAX];

		snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
		found = access(path, F_OK) == 0;
	}
	return found;
}

/* modules.builtin has a path a line; a tree without the file tells nothing. */
static int read_builtin(struct modules *m, struct err *err)
{
	char path[PATH_MAX], *line, *rest;
	uint8_t *data;
	size_t len;

	snprintf(path, sizeof(path), "%s/modules.builtin", m->dir);
	if (access(path, F_OK))
		return 0;
	int ret = src_read_file("file", path, BUILTIN_MAX, &data, &len, err);
	if (ret) {
		err_prefix(err, "--modules %s", m->dir);
		return ret;
	}
	data[len] = 0;
	rest = (char *)data;
	while (!ret && (line = strsep(&rest, "\n"))) {
		const char *slash = strrchr(line, '/');

		ret = append(m, slash ? slash + 1 : line, NULL);
	}
	free(data);
	return ret;
}

static int scan(struct modules *m, struct err *err)
{
	if (access(m->dir, R_OK | X_OK))
		return err_host(err, errno, "--modules %s: cannot be read", m->dir);
	if (!is_tree(m->dir))
		return err_usage(err,
				 "--modules %s: is not a kernel's module tree, such as "
				 "/lib/modules/RELEASE: it has no modules.order",
				 m->dir);
	char *roots[] = { (char *)(uintptr_t)m->dir, NULL };
	FTS *fts = fts_open(roots, FTS_PHYSICAL | FTS_COMFOLLOW | FTS_NOCHDIR | FTS_NOSTAT, NULL);
	FTSENT *e;
	int ret = 0;

	if (!fts)
		return err_host(err, errno, "--modules %s", m->dir);
	while (!ret && (e = fts_read(fts))) {
		/* "build" and "source" are links to trees of another kind, and are not followed. */
		if (e->fts_info == FTS_F || e->fts_info == FTS_NSOK)
			ret = append(m, e->fts_name, e->fts_path);
		else if (e->fts_info == FTS_DNR || e->fts_info == FTS_ERR || e->fts_info == FTS_NS)
			ret = err_host(err, e->fts_errno, "--modules %s: cannot read %s", m->dir,
				       e->fts_path);
	}
	fts_close(fts);
	if (!ret)
		ret = read_builtin(m, err);
	if (ret == -ENOMEM)
		return err_host(err, ENOMEM, "--modules %s", m->dir);
	if (m->nr)
		qsort(m->list, m->nr, sizeof(m->list[0]), by_name);
	return ret;
}

int modules_new(struct modules **out, const char *dir, const char *release, struct err *err)
{
	struct modules *m = calloc(1, sizeof(*m));

	*out = NULL;
	if (!m)
		return err_host(err, ENOMEM, "--modules %s", dir);
	m->dir = dir;
	m->release = release;
	m->loads = open_memstream(&m->loads_text, &m->loads_len);
	int ret = m->loads ? scan(m, err) : err_host(err, ENOMEM, "--modules %s", dir);
	if (ret)
		modules_free(m);
	else
		*out = m;
	return ret;
}

void modules_free(struct modules *m)
{
	if (m->loads)
		fclose(m->loads);
	free(m->loads_text);
	for (size_t i = 0; i < m->nr; i++)
		free(m->list[i].path);
	free(m->list);
	free(m);
}

/* --- a module --- */

struct section {
	const char *data;
	size_t len;
};

/* What modpost writes: records NAME=VALUE, each with a NUL. Bounds are the file's. */
static bool find_modinfo(const uint8_t *data, size_t len, struct section *out)
{
	Elf64_Ehdr eh;
	Elf64_Shdr names, sh;
	static const char want[] = ".modinfo";

	if (len < sizeof(eh))
		return false;
	memcpy(&eh, data, sizeof(eh));
	if (memcmp(eh.e_ident, ELFMAG, SELFMAG) || eh.e_ident[EI_CLASS] != ELFCLASS64 ||
	    eh.e_shentsize != sizeof(sh) || eh.e_shstrndx >= eh.e_shnum ||
	    !range_ok(eh.e_shoff, (uint64_t)eh.e_shnum * sizeof(sh), len))
		return false;
	memcpy(&names, data + eh.e_shoff + eh.e_shstrndx * sizeof(sh), sizeof(names));
	if (!range_ok(names.sh_offset, names.sh_size, len))
		return false;
	for (unsigned int i = 0; i < eh.e_shnum; i++) {
		memcpy(&sh, data + eh.e_shoff + i * sizeof(sh), sizeof(sh));
		if (!range_ok(sh.sh_name, sizeof(want), names.sh_size) ||
		    memcmp(data + names.sh_offset + sh.sh_name, want, sizeof(want)))
			continue;
		if (!range_ok(sh.sh_offset, sh.sh_size, len))
			return false;
		*out = (struct section){ (const char *)data + sh.sh_offset, sh.sh_size };
		return true;
	}
	return false;
}

/* The value of a record, which ends with a NUL inside the section; NULL: there is none. */
static const char *modinfo(const struct section *s, const char *name)
{
	size_t name_len = strlen(name);

	for (size_t at = 0; at < s->len;) {
		const char *rec = s->data + at;
		const char *end = memchr(rec, 0, s->len - at);

		if (!end)
			return NULL;
		if (strncmp(rec, name, name_len) == 0 && rec[name_len] == '=')
			return rec + name_len + 1;
		at = (size_t)(end - s->data) + 1;
	}
	return NULL;
}

static int check_release(const struct modules *m, const struct module *mod, const char *vermagic,
			 struct err *err)
{
	size_t len = strcspn(vermagic, " ");

	if (!m->release || (strlen(m->release) == len && strncmp(vermagic, m->release, len) == 0))
		return 0;
	return err_usage(err, "--modules %s: %s is of the kernel %.*s, and that to boot is %s",
			 m->dir, mod->path, (int)MIN(len, (size_t)64), vermagic, m->release);
}

static struct module *find(const struct modules *m, const char *name, size_t len)
{
	struct module key;

	if (!spell(key.name, name, len))
		return NULL;
	return m->nr ? bsearch(&key, m->list, m->nr, sizeof(key), by_name) : NULL;
}

static int add_named(struct modules *m, struct initramfs *ir, const char *name, size_t len,
		     unsigned int depth, struct err *err);

static int add_needed(struct modules *m, struct initramfs *ir, const char *depends,
		      unsigned int depth, struct err *err)
{
	int ret = 0;

	for (const char *p = depends; !ret && *p; p += *p == ',') {
		size_t len = strcspn(p, ",");

		if (len)
			ret = add_named(m, ir, p, len, depth + 1, err);
		p += len;
	}
	return ret;
}

static int put(struct modules *m, struct initramfs *ir, struct module *mod, const uint8_t *data,
	       size_t data_len, struct err *err)
{
	char dest[sizeof(CMD_MODULE_DIR) + NAME_LEN + 4];

	snprintf(dest, sizeof(dest), "%s/%s.ko", CMD_MODULE_DIR, mod->name);
	int ret = initramfs_add_data(ir, mod->path, dest, S_IFREG | 0644, data, data_len, err);
	if (!ret)
		fprintf(m->loads, "%s\n", dest);
	mod->state = ADDED;
	return ret;
}

static bool is_compressed(const char *path)
{
	return strcmp(path + strlen(path) - strlen(".ko"), ".ko");
}

/* Any kernel loads what is not compressed. The bytes are the caller's to free. */
static int read_module(const struct modules *m, const struct module *mod, uint8_t **data,
		       size_t *len, struct err *err)
{
	struct decompressed plain;

	int ret = src_read_file("module", mod->path, MODULE_MAX, data, len, err);
	if (ret || !is_compressed(mod->path))
		goto out;
	ret = decompress_file("module", mod->path, *data, *len, MODULE_MAX, &plain, err);
	free(*data);
	*data = NULL;
	if (ret)
		goto out;
	*data = malloc(plain.len);
	if (*data)
		memcpy(*data, plain.data, plain.len);
	else
		ret = err_host(err, ENOMEM, "no memory for the module %s", mod->path);
	*len = plain.len;
	decompress_release(&plain);
out:
	if (ret)
		err_prefix(err, "--modules %s", m->dir);
	return ret;
}

static int add_module(struct modules *m, struct initramfs *ir, struct module *mod,
		      unsigned int depth, struct err *err)
{
	const char *vermagic, *depends;
	struct section info = { 0 };
	uint8_t *data;
	size_t len;

	/* A circle would never load. */
	if (mod->state == UNDER_WAY || depth > DEPTH_MAX)
		return err_usage(err, "--modules %s: %s depends on itself", m->dir, mod->path);
	mod->state = UNDER_WAY;
	int ret = read_module(m, mod, &data, &len, err);
	if (ret)
		return ret;
	if (!find_modinfo(data, len, &info) || !(vermagic = modinfo(&info, "vermagic")))
		ret = err_usage(err, "--modules %s: %s is no kernel module, or is damaged", m->dir,
				mod->path);
	else
		ret = check_release(m, mod, vermagic, err);
	if (!ret) {
		depends = modinfo(&info, "depends");
		ret = depends ? add_needed(m, ir, depends, depth, err) : 0;
	}
	if (!ret)
		ret = put(m, ir, mod, data, len, err);
	free(data);
	return ret;
}

static int add_named(struct modules *m, struct initramfs *ir, const char *name, size_t len,
		     unsigned int depth, struct err *err)
{
	struct module *mod = find(m, name, len);

	if (mod && mod->state == ADDED)
		return 0;
	if (mod)
		return add_module(m, ir, mod, depth, err);
	err_usage(err, "--modules %s: there is no module %.*s", m->dir,
		  (int)MIN(len, (size_t)NAME_LEN), name);
	return -ENOENT;
}

int modules_add(struct modules *m, struct initramfs *ir, const char *name, struct err *err)
{
	return add_named(m, ir, name, strlen(name), 0, err);
}

int modules_add_list(struct modules *m, struct initramfs *ir, struct err *err)
{
	if (fflush(m->loads))
		return err_host(err, ENOMEM, "--modules %s", m->dir);
	return initramfs_add_data(ir, m->dir, CMD_MODULES, S_IFREG | 0644, m->loads_text,
				  m->loads_len, err);
}
