/* SPDX-License-Identifier: GPL-2.0 */
#include <elf.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <lkvm/elf-libs.h>
#include <lkvm/ld-conf.h>
#include <lkvm/src.h>
#include <lkvm/util.h>

#ifdef __aarch64__
#define MACHINE EM_AARCH64
#else
#define MACHINE EM_X86_64
#endif

#define PHDRS_MAX  64   /* program headers of one file; linkers make about a dozen */
#define NEEDED_MAX 256  /* libraries that one file names */
#define FILES_MAX  1024 /* files of one program */

/* Where a file is, here and in the guest. */
struct place {
	char *from, *dest;
};

/* A program or library, in memory. */
struct image {
	const struct place *at;
	struct src src; /* the file, or `data` */
	uint8_t *data;  /* of a whole file */
	size_t len;
	Elf64_Ehdr eh;
	Elf64_Phdr ph[PHDRS_MAX];
	uint64_t strings, strings_len; /* of the dynamic section, in the file */
	const char *interp, *runpath;  /* NULL: none */
	const char *needed[NEEDED_MAX];
	unsigned int needed_nr;
};

/* By it ld.so finds in the guest, too, what lies in other folders than its own. */
#define LD_CACHE "/etc/ld.so.cache"

/* Where a program's libraries are looked for, and those that were found. */
struct search {
	struct initramfs *ir;
	char *program_path;            /* its DT_RPATH or DT_RUNPATH; NULL: none */
	char *conf_folders;            /* those of LD_CONF */
	bool cache;                    /* something was found in them */
	struct place queue[FILES_MAX]; /* the program first */
	unsigned int queue_nr;
};

/* Nothing outside of the file is read. */
static bool read_at(const struct image *im, uint64_t off, void *to, size_t len)
{
	struct err err = ERR_INIT;

	return src_read(&im->src, off, to, len, &err) == 0;
}

/* A string of the file that ends within `max` bytes. */
static const char *string_at(const struct image *im, uint64_t off, uint64_t max)
{
	if (!range_ok(off, 1, im->len))
		return NULL;
	max = MIN(MIN(max, im->len - off), PATH_MAX);
	return memchr(im->data + off, 0, max) ? (const char *)im->data + off : NULL;
}

static bool is_ours(const struct image *im)
{
	const Elf64_Ehdr *eh = &im->eh;

	return memcmp(eh->e_ident, ELFMAG, SELFMAG) == 0 && eh->e_ident[EI_CLASS] == ELFCLASS64 &&
	       eh->e_ident[EI_DATA] == ELFDATA2LSB && eh->e_machine == MACHINE &&
	       (eh->e_type == ET_EXEC || eh->e_type == ET_DYN);
}

static bool read_headers(struct image *im)
{
	return read_at(im, 0, &im->eh, sizeof(im->eh)) && is_ours(im) &&
	       im->eh.e_phentsize == sizeof(Elf64_Phdr) && im->eh.e_phnum <= PHDRS_MAX &&
	       read_at(im, im->eh.e_phoff, im->ph, im->eh.e_phnum * sizeof(Elf64_Phdr));
}

/* Where in the file the memory of an address comes from. */
static bool file_offset(const struct image *im, uint64_t addr, uint64_t *off)
{
	for (unsigned int i = 0; i < im->eh.e_phnum; i++) {
		const Elf64_Phdr *ph = &im->ph[i];

		if (ph->p_type == PT_LOAD && range_ok(ph->p_offset, ph->p_filesz, im->len) &&
		    addr - ph->p_vaddr < ph->p_filesz) {
			*off = ph->p_offset + (addr - ph->p_vaddr);
			return true;
		}
	}
	return false;
}

static const char *dynamic_string(const struct image *im, uint64_t at)
{
	if (at >= im->strings_len)
		return NULL;
	return string_at(im, im->strings + at, im->strings_len - at);
}

/* Twice over the entries: the strings first, then what refers to them. */
static bool read_dynamic(struct image *im, const Elf64_Phdr *ph)
{
	bool have_strings = false;

	for (unsigned int pass = 0; pass < 2; pass++) {
		for (uint64_t at = 0; at + sizeof(Elf64_Dyn) <= ph->p_filesz;
		     at += sizeof(Elf64_Dyn)) {
			const char *s = NULL;
			Elf64_Dyn d;

			if (!read_at(im, ph->p_offset + at, &d, sizeof(d)))
				return false;
			if (d.d_tag == DT_NULL)
				break;
			if (!pass && d.d_tag == DT_STRTAB)
				have_strings = file_offset(im, d.d_un.d_ptr, &im->strings);
			if (!pass && d.d_tag == DT_STRSZ)
				im->strings_len = d.d_un.d_val;
			if (!pass ||
			    (d.d_tag != DT_NEEDED && d.d_tag != DT_RUNPATH && d.d_tag != DT_RPATH))
				continue;
			s = have_strings ? dynamic_string(im, d.d_un.d_val) : NULL;
			if (!s || !*s || (d.d_tag == DT_NEEDED && im->needed_nr == NEEDED_MAX))
				return false;
			if (d.d_tag == DT_NEEDED)
				im->needed[im->needed_nr++] = s;
			else if (d.d_tag == DT_RUNPATH || !im->runpath)
				im->runpath = s;
		}
	}
	return true;
}

static bool parse(struct image *im)
{
	bool good = read_headers(im);

	for (unsigned int i = 0; good && i < im->eh.e_phnum; i++) {
		const Elf64_Phdr *ph = &im->ph[i];

		if (ph->p_type == PT_INTERP) {
			im->interp = string_at(im, ph->p_offset, ph->p_filesz);
			good = im->interp && *im->interp == '/';
		} else if (ph->p_type == PT_DYNAMIC) {
			good = read_dynamic(im, ph);
		}
	}
	return good;
}

/* One that can be opened, and is for this machine: a folder may have others' too. */
static bool is_library(const char *path)
{
	struct image im = { 0 };
	struct err err = ERR_INIT;

	if (src_open(&im.src, "library", path, &err))
		return false;
	bool good = read_headers(&im);
	src_release(&im.src);
	return good;
}

static void place_clear(struct place *p)
{
	free(p->from);
	free(p->dest);
	*p = (struct place){ 0 };
}

/* "FOLDER/NAME" for a folder that may begin with $ORIGIN, which is that of the file at `origin`. */
static char *join(const char *folder, size_t len, const char *origin, const char *name)
{
	static const char *const words[] = { "$ORIGIN", "${ORIGIN}" };
	const char *slash = strrchr(origin, '/');
	char *path = NULL;
	int ret = -1;

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		size_t word = strlen(words[i]);

		if (len < word || strncmp(folder, words[i], word))
			continue;
		ret = asprintf(&path, "%.*s%.*s/%s", slash ? (int)(slash - origin) : 1,
			       slash ? origin : ".", (int)(len - word), folder + word, name);
		return ret < 0 ? NULL : path;
	}
	/* A relative folder is another one in the guest. */
	if (*folder == '/')
		ret = asprintf(&path, "%.*s/%s", (int)len, folder, name);
	return ret < 0 ? NULL : path;
}

/* In the folders of a list with a colon between two, of the file `origin`. The caller's to clear. */
static bool find_in(struct place *p, const char *folders, const struct place *origin,
		    const char *name)
{
	for (const char *f = folders; f && *f; f += *f == ':') {
		size_t len = strcspn(f, ":");

		p->from = join(f, len, origin->from, name);
		p->dest = join(f, len, origin->dest, name);
		if (p->from && p->dest && is_library(p->from))
			return true;
		place_clear(p);
		f += len;
	}
	return false;
}

static bool find_library(struct search *s, const struct image *im, const char *name,
			 struct place *p)
{
	/* /usr first: where /lib is a link to it here, it may be one in the user's initrd, whose place none must take. */
	static const char folders[] =
#ifdef __aarch64__
		"/usr/lib/aarch64-linux-gnu:/lib/aarch64-linux-gnu:"
#else
		"/usr/lib/x86_64-linux-gnu:/lib/x86_64-linux-gnu:"
#endif
		"/usr/lib64:/lib64:/usr/lib:/lib";

	if (*name == '/') {
		*p = (struct place){ strdup(name), strdup(name) };
		if (is_library(name))
			return true;
		place_clear(p);
		return false;
	}
	if (find_in(p, im->runpath, im->at, name) ||
	    find_in(p, s->program_path, &s->queue[0], name) ||
	    find_in(p, getenv("LD_LIBRARY_PATH"), im->at, name) ||
	    find_in(p, folders, im->at, name))
		return true;
	bool found = find_in(p, s->conf_folders, im->at, name);
	s->cache |= found;
	return found;
}

/* Takes over `p`. */
static int enqueue(struct search *s, struct place *p, struct err *err)
{
	int ret = 0;

	if (!p->from || !p->dest)
		ret = err_host(err, ENOMEM, "%s", s->ir->option);
	for (unsigned int i = 0; !ret && i < s->queue_nr; i++) {
		if (strcmp(s->queue[i].dest, p->dest) == 0) {
			place_clear(p);
			return 0;
		}
	}
	if (!ret && s->queue_nr == FILES_MAX)
		ret = err_usage(err, "%s: needs more than %d libraries", s->ir->option, FILES_MAX);
	if (ret)
		place_clear(p);
	else
		s->queue[s->queue_nr++] = *p;
	return ret;
}

static int enqueue_needed(struct search *s, const struct image *im, struct err *err)
{
	struct place p = { 0 };
	int ret = 0;

	if (im->interp) {
		p = (struct place){ strdup(im->interp), strdup(im->interp) };
		ret = enqueue(s, &p, err);
	}
	for (unsigned int i = 0; !ret && i < im->needed_nr; i++) {
		if (!find_library(s, im, im->needed[i], &p))
			return err_usage(
				err,
				"%s: %s needs the library %.200s, which is not found here; "
				"LD_LIBRARY_PATH can name its folder",
				s->ir->option, im->at->from, im->needed[i]);
		ret = enqueue(s, &p, err);
	}
	return ret;
}

/* A file of the program: into the archive, and what it needs into the queue. */
static int add_one(struct search *s, unsigned int nr, struct err *err)
{
	const char *from = s->queue[nr].from, *dest = s->queue[nr].dest;
	struct image *im = calloc(1, sizeof(*im));
	struct stat st;
	int ret;

	if (!im)
		return err_host(err, ENOMEM, "%s", s->ir->option);
	im->at = &s->queue[nr];
	ret = src_read_file("program", from, UINT32_MAX, &im->data, &im->len, err);
	src_init_mem(&im->src, "program", from, im->data, im->len);
	if (ret)
		err_prefix(err, "%s", s->ir->option);
	else if (stat(from, &st))
		ret = err_host(err, errno, "%s: cannot read %s", s->ir->option, from);
	else if (!parse(im))
		ret = err_usage(err, "%s: %s is not a program of this machine, or is damaged%s",
				s->ir->option, from,
				im->len > 2 && memcmp(im->data, "#!", 2) == 0
					? "; a script is for --add, and what runs it for --add-exec"
					: "");
	if (!ret)
		ret = initramfs_add_data(s->ir, from, dest, S_IFREG | (st.st_mode & 07777),
					 im->data, im->len, err);
	if (!ret && nr == 0 && im->runpath) {
		s->program_path = strdup(im->runpath);
		ret = s->program_path ? 0 : err_host(err, ENOMEM, "%s", s->ir->option);
	}
	if (!ret)
		ret = enqueue_needed(s, im, err);
	free(im->data);
	free(im);
	return ret;
}

int elf_libs_add(struct initramfs *ir, const char *from, const char *dest, struct err *err)
{
	struct search *s = calloc(1, sizeof(*s));
	struct place p = { strdup(from), strdup(dest) };

	if (!s) {
		place_clear(&p);
		return err_host(err, ENOMEM, "%s", ir->option);
	}
	s->ir = ir;
	s->conf_folders = ld_conf_folders(LD_CONF);
	int ret = enqueue(s, &p, err);
	for (unsigned int i = 0; !ret && i < s->queue_nr; i++)
		ret = add_one(s, i, err);
	if (!ret && s->cache)
		ret = initramfs_add(ir, LD_CACHE, LD_CACHE, err);
	for (unsigned int i = 0; i < s->queue_nr; i++)
		place_clear(&s->queue[i]);
	free(s->program_path);
	free(s->conf_folders);
	free(s);
	return ret;
}

bool elf_libs_static(const char *path)
{
	struct err err = ERR_INIT;
	struct image im = { 0 };

	if (src_open(&im.src, "program", path, &err))
		return false;
	bool good = read_headers(&im);
	src_release(&im.src);
	for (unsigned int i = 0; good && i < im.eh.e_phnum; i++)
		good = im.ph[i].p_type != PT_INTERP;
	return good;
}
