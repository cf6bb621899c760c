/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>

#include <lkvm/nearest.h>
#include <lkvm/options.h>
#include <lkvm/util.h>

#define HELP_COLUMNS 80
#define HELP_INDENT  28 /* where the sentences start */

/* One argument, taken apart. */
struct option_arg {
	const char *typed; /* all of it */
	const char *name;  /* after the dashes */
	size_t name_len;
	const char *value; /* attached to it, or NULL */
};

/* Table look-ups. */

static const struct option_def *options_find(const struct option_table *table, const char *name,
					     size_t len)
{
	for (unsigned int i = 0; i < table->defs_nr; i++) {
		const struct option_def *def = &table->defs[i];

		if (def->name && strlen(def->name) == len && memcmp(def->name, name, len) == 0)
			return def;
	}
	return NULL;
}

static const struct option_def *options_find_letter(const struct option_table *table, char letter)
{
	for (unsigned int i = 0; i < table->defs_nr; i++)
		if (table->defs[i].name && table->defs[i].letter == letter)
			return &table->defs[i];
	return NULL;
}

static const struct option_foreign *options_find_foreign(const struct option_table *table,
							 const char *typed)
{
	size_t len = strcspn(typed, "=");

	for (unsigned int i = 0; i < table->foreign_nr; i++) {
		const char *name = table->foreign[i].name;

		if (strlen(name) == len && memcmp(name, typed, len) == 0)
			return &table->foreign[i];
	}
	return NULL;
}

static const char *options_nearest(const struct option_table *table, const char *typed, size_t len)
{
	char name[64];
	struct nearest n = NEAREST_INIT(name);

	if (len >= sizeof(name))
		return NULL;
	memcpy(name, typed, len);
	name[len] = '\0';
	for (unsigned int i = 0; i < table->defs_nr; i++)
		if (table->defs[i].name)
			nearest_offer(&n, table->defs[i].name);
	return n.best;
}

/* Parsing. */

static int options_unknown(const struct option_table *table, const struct option_arg *a,
			   struct err *err)
{
	const struct option_foreign *foreign = options_find_foreign(table, a->typed);
	size_t typed_len = (size_t)(a->name - a->typed) + strcspn(a->name, "=");
	const char *best = options_nearest(table, a->name, strcspn(a->name, "="));

	if (foreign)
		return err_usage(err, "option %s: %s", foreign->name, foreign->say);
	if (best)
		return err_usage(err, "unknown option %.*s: did you mean --%s?", (int)typed_len,
				 a->typed, best);
	return err_usage(err, "unknown option %.*s: --help lists the options", (int)typed_len,
			 a->typed);
}

/* Takes one argument apart; *def is its row. */
static int options_split(const struct option_table *table, const char *typed, struct option_arg *a,
			 const struct option_def **def, struct err *err)
{
	bool is_long = typed[1] == '-';

	a->typed = typed;
	a->value = NULL;
	a->name = typed + (is_long ? 2 : 1);
	if (is_long) {
		a->name_len = strcspn(a->name, "=");
		if (a->name[a->name_len] == '=')
			a->value = a->name + a->name_len + 1;
		*def = options_find(table, a->name, a->name_len);
	} else {
		a->name_len = 1;
		if (a->name[1])
			a->value = a->name + 1;
		*def = options_find_letter(table, a->name[0]);
		if (a->value && options_find_foreign(table, typed))
			*def = NULL; /* -kernel is not "-k ernel" */
		/* A flag takes nothing, so what follows its letter makes another word of it: -debug. */
		if (a->value && *def && !(*def)->arg)
			*def = NULL;
	}
	return *def ? 0 : options_unknown(table, a, err);
}

/* Parses the option at argv[*i] and moves *i behind it. */
static int options_parse_one(const struct option_table *table, void *cfg, int argc,
			     char *const argv[], int *i, bool *seen, struct err *err)
{
	const struct option_def *def;
	struct option_arg a;
	unsigned int row;
	int ret = options_split(table, argv[(*i)++], &a, &def, err);

	if (ret < 0)
		return ret;
	row = (unsigned int)(def - table->defs);
	if (seen[row] && !def->repeat)
		return err_usage(err, "option --%s is given twice", def->name);
	seen[row] = true;
	if (!def->arg && a.value)
		return err_usage(err, "option --%s takes no value (\"%s\")", def->name, a.value);
	if (def->arg && *def->arg != '[' && !a.value) {
		if (*i >= argc)
			return err_usage(err, "option --%s needs its %s", def->name, def->arg);
		a.value = argv[(*i)++];
	}
	return def->parse(cfg, def, a.value, err);
}

int options_parse(const struct option_table *table, void *cfg, int argc, char *const argv[],
		  int *rest, struct err *err)
{
	bool seen[OPTIONS_MAX] = { false };
	int i = 0;

	BUG_ON(table->defs_nr > OPTIONS_MAX);
	while (i < argc && argv[i][0] == '-' && argv[i][1]) {
		int ret;

		if (strcmp(argv[i], "--") == 0) {
			i++;
			break;
		}
		ret = options_parse_one(table, cfg, argc, argv, &i, seen, err);
		if (ret < 0)
			return ret;
	}
	*rest = i;
	return 0;
}

/* Help. */

/* Prints words from column `col` on, and further lines from HELP_INDENT on. */
static void help_wrap(const char *text, int col, FILE *out)
{
	int start = col;

	while (*text) {
		int len = (int)strcspn(text, " ");

		if (col > start && col + 1 + len > HELP_COLUMNS) {
			fprintf(out, "\n%*s", HELP_INDENT, "");
			col = start = HELP_INDENT;
		}
		col += fprintf(out, "%s%.*s", col > start ? " " : "", len, text);
		text += len;
		text += strspn(text, " ");
	}
	fputc('\n', out);
}

/* What follows a row's name, of which `col` columns are taken. */
static void help_text(const struct option_def *def, int col, FILE *out)
{
	if (col > HELP_INDENT - 2) {
		fputc('\n', out);
		col = 0;
	}
	fprintf(out, "%*s", HELP_INDENT - col, "");
	help_wrap(def->help, HELP_INDENT, out);
}

static void help_row(const struct option_def *def, FILE *out)
{
	int col;

	if (def->letter)
		col = fprintf(out, "  -%c, --%s", def->letter, def->name);
	else
		col = fprintf(out, "      --%s", def->name);
	if (def->arg)
		col += fprintf(out, "%s%s", *def->arg == '[' ? "" : " ", def->arg);
	help_text(def, col, out);
}

void options_help(const struct option_table *table, FILE *out)
{
	for (unsigned int i = 0; i < table->defs_nr; i++) {
		if (table->defs[i].hidden)
			continue;
		if (table->defs[i].name)
			help_row(&table->defs[i], out);
		else
			fprintf(out, "%s%s:\n", i ? "\n" : "", table->defs[i].help);
	}
}

void options_help_keys(const struct option_def *defs, unsigned int defs_nr, FILE *out)
{
	for (unsigned int i = 0; i < defs_nr; i++) {
		const struct option_def *def = &defs[i];

		help_text(def,
			  fprintf(out, "      %s%s%s", def->name, *def->name && def->arg ? "=" : "",
				  def->arg ?: ""),
			  out);
	}
}
