/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lkvm/find-program.h>
#include <lkvm/src.h>
#include <lkvm/util.h>

#define LINE_MAX_LEN 256 /* of a script's first line, as the kernel reads it */

static bool is_program(const char *path)
{
	struct stat st;

	return !stat(path, &st) && S_ISREG(st.st_mode) && !access(path, X_OK);
}

/* The folder without links and dots; the name may be one that a program goes by (busybox's). */
static int by_path(const char *name, char **path, struct err *err)
{
	const char *base = strrchr(name, '/') + 1;
	char *folder = strndup(name, (size_t)(base - name));
	char *real = folder ? realpath(folder, NULL) : NULL;

	if (real && *base && asprintf(path, "%s/%s", real[1] ? real : "", base) < 0)
		*path = NULL;
	free(folder);
	free(real);
	if (*path && is_program(*path))
		return 0;
	free(*path);
	*path = NULL;
	return err_usage(err, "there is no program %.200s here", name);
}

int find_program(const char *name, char **path, struct err *err)
{
	const char *folders = getenv("PATH");

	*path = NULL;
	if (strchr(name, '/'))
		return by_path(name, path, err);
	for (const char *f = folders; f && *f && *name; f += *f == ':') {
		size_t len = strcspn(f, ":");

		/* Others depend on the working directory. */
		if (*f == '/' && asprintf(path, "%.*s/%s", (int)len, f, name) < 0) {
			*path = NULL;
			return err_host(err, ENOMEM, "%.80s", name);
		}
		if (*path && is_program(*path))
			return 0;
		free(*path);
		*path = NULL;
		f += len;
	}
	return err_usage(err, "there is no program %.200s in PATH", name);
}

static char *next_word(char **rest)
{
	char *word = *rest + strspn(*rest, " \t");

	*rest = word + strcspn(word, " \t");
	if (**rest)
		*(*rest)++ = 0;
	return word;
}

static bool is_env(const char *interpreter)
{
	const char *base = strrchr(interpreter, '/');

	return base && !strcmp(base, "/env");
}

int find_interpreter(const char *script, char **path, char **more, struct err *err)
{
	char line[LINE_MAX_LEN + 1], *rest = line + 2;
	struct src src;

	*path = *more = NULL;
	int ret = src_open(&src, "program", script, err);
	if (ret)
		return ret;
	size_t len = MIN((uint64_t)LINE_MAX_LEN, src.size);
	ret = src_read(&src, 0, line, len, err);
	src_release(&src);
	if (ret)
		return ret;
	line[len] = 0;
	line[strcspn(line, "\n")] = 0;
	if (strncmp(line, "#!", 2))
		return 0;
	const char *interpreter = next_word(&rest), *program = next_word(&rest);
	if (*interpreter != '/')
		return err_usage(err, "the script %s names no interpreter by its path", script);
	ret = find_program(interpreter, path, err);
	if (!ret && is_env(interpreter) && *program && *program != '-')
		ret = find_program(program, more, err);
	if (ret)
		err_prefix(err, "the script %s", script);
	return ret;
}
