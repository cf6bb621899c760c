/* SPDX-License-Identifier: GPL-2.0 */
#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include <lkvm/match.h>

/* "\1" outside of brackets, in which a backslash is a backslash. */
static bool has_back_reference(const char *s)
{
	for (; *s; s++) {
		if (*s == '\\' && s[1]) {
			if (isdigit((unsigned char)*++s))
				return true;
		} else if (*s == '[') {
			const char *first = s + 1 + (s[1] == '^');
			/* A bracket that comes first is one of the set. */
			const char *end = *first ? strchr(first + 1, ']') : NULL;

			if (!end)
				return false; /* regcomp() says so */
			s = end;
		}
	}
	return false;
}

int match_add(struct match *m, const char *option, const char *text, struct err *err)
{
	char why[128];

	if (m->nr == MATCH_MAX)
		return err_usage(err, "option %s: \"%s\" is one too many: at most %d", option, text,
				 MATCH_MAX);
	if (!*text)
		return err_usage(err, "option %s: an empty expression matches every line", option);
	if (strlen(text) > MATCH_LEN_MAX)
		return err_usage(err, "option %s: the expression has more than %d bytes", option,
				 MATCH_LEN_MAX);
	if (has_back_reference(text))
		return err_usage(err, "option %s: \"%s\" has a back-reference, which is not taken",
				 option, text);
	int ret = regcomp(&m->re[m->nr], text, REG_EXTENDED | REG_NOSUB);
	if (ret) {
		regerror(ret, &m->re[m->nr], why, sizeof(why));
		return err_usage(err, "option %s: \"%s\": %s", option, text, why);
	}
	m->text[m->nr++] = text;
	return 0;
}

void match_release(struct match *m)
{
	while (m->nr)
		regfree(&m->re[--m->nr]);
}

const char *match_find(const struct match *m, const char *line)
{
	for (unsigned int i = 0; i < m->nr; i++)
		if (!regexec(&m->re[i], line, 0, NULL, 0))
			return m->text[i];
	return NULL;
}
