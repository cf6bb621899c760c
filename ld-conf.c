/* SPDX-License-Identifier: GPL-2.0 */
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lkvm/ld-conf.h>
#include <lkvm/src.h>
#include <lkvm/util.h>

#define CONF_MAX  (64 * KIB) /* bytes of one file */
#define DEPTH_MAX 4          /* files that include each other */
#define FILES_MAX 256

struct reader {
	FILE *out;
	unsigned int files_nr;
};

static void read_conf(struct reader *r, const char *path, unsigned int depth);

/* A pattern without a slash in front is beside the file that has it. */
static void include(struct reader *r, const char *conf, const char *pattern, unsigned int depth)
{
	const char *slash = strrchr(conf, '/');
	char *full = NULL;
	glob_t found = { 0 };

	if (asprintf(&full, "%.*s%s", *pattern == '/' || !slash ? 0 : (int)(slash + 1 - conf), conf,
		     pattern) < 0)
		return;
	if (!glob(full, 0, NULL, &found))
		for (size_t i = 0; i < found.gl_pathc; i++)
			read_conf(r, found.gl_pathv[i], depth + 1);
	globfree(&found);
	free(full);
}

/* "include PATTERN...", or folders; what is for other machines is not an absolute path and no include. */
static void read_line(struct reader *r, const char *conf, char *line, unsigned int depth)
{
	static const char blanks[] = " \t\r:,";
	bool includes = false, first = true;
	char *word;

	line[strcspn(line, "#")] = 0;
	while ((word = strsep(&line, blanks))) {
		if (!*word)
			continue;
		if (first && !strcmp(word, "include")) {
			includes = true;
		} else if (includes) {
			include(r, conf, word, depth);
		} else if (*word == '/') {
			/* "FOLDER=TYPE" was for libraries of older systems. */
			word[strcspn(word, "=")] = 0;
			fprintf(r->out, "%s%s", ftell(r->out) ? ":" : "", word);
		}
		first = false;
	}
}

static void read_conf(struct reader *r, const char *path, unsigned int depth)
{
	struct err err = ERR_INIT;
	char *line, *rest;
	uint8_t *data;
	size_t len;

	if (depth > DEPTH_MAX || r->files_nr++ >= FILES_MAX ||
	    src_read_file("file", path, CONF_MAX, &data, &len, &err))
		return;
	data[len] = 0;
	rest = (char *)data;
	while ((line = strsep(&rest, "\n")))
		read_line(r, path, line, depth);
	free(data);
}

char *ld_conf_folders(const char *conf)
{
	struct reader r = { 0 };
	char *folders = NULL;
	size_t len;

	r.out = open_memstream(&folders, &len);
	if (!r.out)
		return NULL;
	read_conf(&r, conf, 0);
	if (fclose(r.out)) {
		free(folders);
		return NULL;
	}
	return folders;
}
