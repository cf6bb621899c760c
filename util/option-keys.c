/* SPDX-License-Identifier: GPL-2.0 */
/* Lists of keys in an option's value. */
#include <errno.h>

#include <lkvm/nearest.h>
#include <lkvm/options.h>
#include <lkvm/util.h>

#define KEY_CHARS "abcdefghijklmnopqrstuvwxyz-"

/* Cuts the first word off *text, which is NULL after the last. Two commas are one in the word. */
static char *next_word(char **text)
{
	char *word = *text, *to = word, *from = word;

	while (*from && !(from[0] == ',' && from[1] != ',')) {
		from += from[0] == ',';
		*to++ = *from++;
	}
	*text = *from ? from + 1 : NULL;
	*to = '\0';
	return word;
}

static const struct option_def *find_key(const struct option_keys *tables, unsigned int nr,
					 const char *name, size_t len, void **cfg)
{
	for (unsigned int t = 0; t < nr; t++) {
		for (unsigned int i = 0; i < tables[t].defs_nr; i++) {
			const struct option_def *def = &tables[t].defs[i];

			if (strlen(def->name) != len || memcmp(def->name, name, len))
				continue;
			*cfg = tables[t].cfg;
			return def;
		}
	}
	return NULL;
}

static int unknown_key(const char *option, const struct option_keys *tables, unsigned int nr,
		       const char *word, struct err *err)
{
	int len = (int)strcspn(word, "=");
	char name[64];
	struct nearest n = NEAREST_INIT(name);

	if (!*word)
		return err_usage(err, "option --%s: there is nothing between two commas", option);
	snprintf(name, sizeof(name), "%.*s", len, word);
	for (unsigned int t = 0; t < nr; t++)
		for (unsigned int i = 0; i < tables[t].defs_nr; i++)
			if (*tables[t].defs[i].name)
				nearest_offer(&n, tables[t].defs[i].name);
	if (n.best)
		return err_usage(err, "option --%s: unknown key \"%.40s\": did you mean %s?",
				 option, name, n.best);
	return err_usage(err, "option --%s: unknown key \"%.40s\": `lkvm help run` lists them",
			 option, name);
}

static int parse_value(const char *option, const struct option_def *def, void *cfg,
		       const char *value, struct err *err)
{
	char name[96];
	struct option_def named = *def;

	/* The parsers say "option --NAME: ...". */
	snprintf(name, sizeof(name), "%s%s%s", option, *def->name ? ", " : "", def->name);
	named.name = name;
	if (!def->arg && value)
		return err_usage(err, "option --%s takes no value (\"%s\")", name, value);
	if (def->arg && (!value || !*value))
		return err_usage(err, "option --%s needs its %s", name, def->arg);
	return def->parse(cfg, &named, value, err);
}

/* The keys that were given: a bit each, by place in the tables. */
static bool seen_before(const struct option_keys *tables, unsigned int nr,
			const struct option_def *def, uint64_t *seen)
{
	unsigned int bit = 0;

	for (unsigned int t = 0; t < nr; bit += tables[t].defs_nr, t++) {
		uintptr_t first = (uintptr_t)tables[t].defs, at = (uintptr_t)def;

		if (at >= first && at < first + tables[t].defs_nr * sizeof(*def)) {
			bit += (unsigned int)(def - tables[t].defs);
			break;
		}
	}
	BUG_ON(bit >= 64);
	bool before = *seen & UINT64_C(1) << bit;
	*seen |= UINT64_C(1) << bit;
	return before;
}

int options_parse_keys(const char *option, const struct option_keys *tables, unsigned int tables_nr,
		       char *text, struct err *err)
{
	uint64_t seen = 0;
	bool first = true;

	while (text) {
		char *word = next_word(&text);
		size_t len = strcspn(word, "=");
		char *value = word[len] ? word + len + 1 : NULL;
		void *cfg = NULL;
		const struct option_def *def = find_key(tables, tables_nr, word, len, &cfg);

		/* The value itself comes first: a file called "ro" is a file, and so is "./a=b". */
		if (first && !(value && strspn(word, KEY_CHARS) == len)) {
			const struct option_def *own = find_key(tables, tables_nr, "", 0, &cfg);

			def = own ?: def;
			value = own ? word : value;
		}
		first = false;
		if (!def || (!*def->name && value != word))
			return unknown_key(option, tables, tables_nr, word, err);
		if (seen_before(tables, tables_nr, def, &seen))
			return err_usage(err, "option --%s: %s is given twice", option, def->name);
		int ret = parse_value(option, def, cfg, value, err);
		if (ret)
			return ret;
	}
	return 0;
}
