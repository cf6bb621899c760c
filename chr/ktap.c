/* SPDX-License-Identifier: GPL-2.0 */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <lkvm/classify.h>
#include <lkvm/ktap.h>
#include <lkvm/util.h>

#define NO_PLAN    UINT64_MAX
#define PLAN_MAX   UINT64_C(1000000000)
#define FIRST_ROOM 64

enum line_kind { LINE_OTHER, LINE_VERSION, LINE_PLAN, LINE_RESULT, LINE_SUBTEST, LINE_BAIL };

/* A line of a document. Pointers are into it. */
struct line {
	enum line_kind kind;
	unsigned int indent;
	bool numbered, ok;
	uint64_t plan;
	enum ktap_outcome outcome; /* LINE_RESULT, and LINE_PLAN when it says that all is skipped */
	const char *text;          /* a name, or a reason */
	int text_len;
};

const char *ktap_outcome_name(enum ktap_outcome outcome)
{
	static const char *const names[] = { "passed", "failed", "skipped", "expected" };

	return names[outcome];
}

/* One line. */

static const char *skip_spaces(const char *s)
{
	return s + strspn(s, " \t");
}

static const char *skip_word(const char *s, const char *word)
{
	size_t len = strlen(word);

	return strncmp(s, word, len) ? NULL : s + len;
}

static const char *skip_number(const char *s, uint64_t *n)
{
	*n = 0;
	for (; isdigit((unsigned char)*s); s++)
		*n = MIN(*n * 10 + (uint64_t)(*s - '0'), PLAN_MAX);
	return s;
}

/* "# SKIP" and the like; a program that skips may write "# skipped: reason". */
static bool is_directive(const char *s, enum ktap_outcome *outcome)
{
	static const struct {
		const char *word;
		bool whole;
		enum ktap_outcome outcome;
	} words[] = {
		{ "SKIP", false, KTAP_SKIPPED },
		{ "todo", true, KTAP_EXPECTED },
		{ "XFAIL", true, KTAP_EXPECTED },
	};

	s = skip_spaces(s);
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		size_t len = strlen(words[i].word);

		if (strncasecmp(s, words[i].word, len) ||
		    (words[i].whole && isalnum((unsigned char)s[len])))
			continue;
		*outcome = words[i].outcome;
		return true;
	}
	return false;
}

/* The directive's "#", or NULL; "\#" is part of a name. */
static const char *find_directive(const char *s, enum ktap_outcome *outcome)
{
	for (const char *p = s; *p; p++) {
		if (*p == '\\' && p[1])
			p++;
		else if (*p == '#' && is_directive(p + 1, outcome))
			return p;
	}
	return NULL;
}

static void set_text(struct line *l, const char *from, const char *end)
{
	from = skip_spaces(from);
	while (end > from && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	l->text = from;
	l->text_len = end > from ? (int)(end - from) : 0;
}

/* What follows the directive's word. */
static void set_reason(struct line *l, const char *directive)
{
	const char *s = skip_spaces(directive + 1);

	while (isalnum((unsigned char)*s))
		s++;
	set_text(l, s + (*s == ':'), s + strlen(s));
}

/* "ok 1 - name # SKIP reason" from behind the "ok". */
static bool parse_result(struct line *l, const char *s)
{
	uint64_t number;

	if (*s && *s != ' ' && *s != '\t')
		return false;
	s = skip_spaces(s);
	l->numbered = isdigit((unsigned char)*s);
	if (l->numbered)
		s = skip_number(s, &number);
	if (l->numbered && *s && *s != ' ' && *s != '\t')
		return false; /* "ok 1st" */
	s = skip_spaces(s);
	if (*s == '-')
		s++;
	l->outcome = l->ok ? KTAP_PASSED : KTAP_FAILED;
	const char *directive = find_directive(s, &l->outcome);
	/* An expected failure that passed is a pass. */
	if (l->ok && l->outcome == KTAP_EXPECTED)
		l->outcome = KTAP_PASSED;
	set_text(l, s, directive ? directive : s + strlen(s));
	if (!l->text_len && directive) /* kselftest's programs put the name behind it */
		set_reason(l, directive);
	l->kind = LINE_RESULT;
	return true;
}

/* "1..3", "1..0 # SKIP reason" */
static bool parse_plan(struct line *l, const char *s)
{
	const char *rest = skip_word(s, "1..");

	if (!rest || !isdigit((unsigned char)*rest))
		return false;
	rest = skip_number(rest, &l->plan);
	const char *after = skip_spaces(rest);
	if (*after && *after != '#')
		return false;
	l->outcome = KTAP_PASSED;
	const char *directive = find_directive(after, &l->outcome);
	if (directive)
		set_reason(l, directive);
	l->kind = LINE_PLAN;
	return true;
}

static bool parse_line(struct line *l, const char *s)
{
	const char *rest;

	if ((rest = skip_word(s, "not ok")))
		return parse_result(l, rest);
	if ((rest = skip_word(s, "ok"))) {
		l->ok = true;
		return parse_result(l, rest);
	}
	if (parse_plan(l, s))
		return true;
	if (((rest = skip_word(s, "KTAP version ")) || (rest = skip_word(s, "TAP version "))) &&
	    isdigit((unsigned char)*rest))
		l->kind = LINE_VERSION;
	else if ((rest = skip_word(s, "# Subtest:")))
		l->kind = LINE_SUBTEST;
	else if ((rest = skip_word(s, "Bail out!")))
		l->kind = LINE_BAIL;
	else
		return false;
	set_text(l, rest, rest + strlen(rest));
	return true;
}

/* A line as it stands, or behind printk's prefix. */
static bool read_line(const char *line, struct line *l, bool *kernel)
{
	struct kline k;

	kline_parse(line, &k);
	*kernel = k.stamped && k.at_start;
	*l = (struct line){ 0 };
	if (!*kernel) {
		const char *s = line + strspn(line, " ");

		l->indent = (unsigned int)(s - line);
		if (parse_line(l, s))
			return true;
		if (!k.stamped)
			return false;
		/* The kernel spoke behind a prompt. */
		*kernel = true;
		*l = (struct line){ 0 };
	}
	/* One blank belongs to the prefix. */
	for (const char *s = k.text; s > line && s[-1] == ' '; s--)
		l->indent++;
	l->indent -= l->indent > 0;
	return parse_line(l, k.text);
}

/* Levels. */

static struct ktap_level *top(struct ktap_stream *s)
{
	return s->depth ? &s->levels[s->depth - 1] : NULL;
}

static void set_name(char *name, const struct line *l)
{
	snprintf(name, KTAP_NAME, "%.*s", l->text_len, l->text_len ? l->text : "");
	util_clean_text(name);
}

static void set_broken(struct ktap *k, const char *what, const char *name)
{
	if (k->broken[0])
		return;
	snprintf(k->broken, sizeof(k->broken), "%s%s%s", what, *name ? ": " : "", name);
}

static void check_plan(struct ktap *k, const struct ktap_level *level, bool root)
{
	char what[80];

	if (level->plan == NO_PLAN) {
		if (root && level->version)
			set_broken(k, "a document of tests ended without a plan", level->name);
		return;
	}
	if (level->plan == level->results)
		return;
	snprintf(what, sizeof(what), "%" PRIu64 " results for a plan of %" PRIu64 " tests",
		 level->results, level->plan);
	set_broken(k, what, level->name);
}

/* Ends the innermost level. Its tests are the caller's to hand on. */
static void pop(struct ktap *k, struct ktap_stream *s)
{
	check_plan(k, top(s), s->depth == 1);
	s->depth--;
}

static struct ktap_level *push(struct ktap_stream *s, unsigned int indent)
{
	struct ktap_level *level;

	if (s->depth == KTAP_DEPTH)
		return top(s);
	level = &s->levels[s->depth++];
	*level = (struct ktap_level){ .indent = indent, .plan = NO_PLAN };
	memcpy(level->name, s->next, KTAP_NAME);
	s->next[0] = 0;
	return level;
}

/* Makes the level of this indentation the innermost one: deeper ones end and become its subtests. */
static struct ktap_level *enter(struct ktap *k, struct ktap_stream *s, unsigned int indent)
{
	uint64_t kids = 0, kids_failed = 0;

	while (s->depth && top(s)->indent > indent) {
		/* What was itself without a result counts with its parent's. */
		kids += top(s)->tests + top(s)->kids;
		kids_failed += top(s)->failed + top(s)->kids_failed;
		pop(k, s);
	}
	struct ktap_level *level = top(s);
	if (!level || level->indent < indent)
		level = push(s, indent);
	level->kids += kids;
	level->kids_failed += kids_failed;
	return level;
}

/* The same, for what begins a document: one that is there ends. */
static struct ktap_level *enter_new(struct ktap *k, struct ktap_stream *s, unsigned int indent)
{
	struct ktap_level *level = enter(k, s, indent), old = *level;

	if (!level->version && !level->results && level->plan == NO_PLAN)
		return level;
	/* At the deepest level there allowed, an outer one's subtests are no documents of their own. */
	if (level->indent != indent)
		return level;
	pop(k, s);
	level = top(s);
	if (level) {
		level->kids += old.tests + old.kids;
		level->kids_failed += old.failed + old.kids_failed;
	}
	return push(s, indent);
}

/* Results. */

static void append(char *path, const char *name)
{
	size_t len = strlen(path);

	if (*name)
		snprintf(path + len, KTAP_NAME - len, "%s%s", len ? "/" : "", name);
}

static struct ktap_case *new_case(struct ktap *k, enum ktap_outcome outcome)
{
	size_t max = outcome == KTAP_FAILED ? KTAP_CASES + KTAP_FAILURES : KTAP_CASES;

	if (k->cases_nr >= max)
		return NULL;
	if (k->cases_nr == k->cases_room) {
		size_t room = k->cases_room ? 2 * k->cases_room : FIRST_ROOM;
		struct ktap_case *cases = reallocarray(k->cases, room, sizeof(*cases));

		if (!cases)
			return NULL;
		k->cases = cases;
		k->cases_room = room;
	}
	return &k->cases[k->cases_nr++];
}

static void count(struct ktap *k, struct ktap_stream *s, const struct line *l)
{
	char name[KTAP_NAME];

	k->count[l->outcome]++;
	struct ktap_case *c = new_case(k, l->outcome);
	if (!c)
		return;
	*c = (struct ktap_case){ .outcome = l->outcome };
	for (unsigned int i = 0; i < s->depth; i++)
		append(c->name, s->levels[i].name);
	set_name(name, l);
	if (!name[0])
		snprintf(name, sizeof(name), "test %" PRIu64, top(s)->results);
	append(c->name, name);
}

static void add_result(struct ktap *k, struct ktap_stream *s, const struct line *l)
{
	if (!s->depth && !l->numbered)
		return; /* a program that says that it is ok */
	struct ktap_level *level = enter(k, s, l->indent);
	bool failed = l->outcome == KTAP_FAILED;

	level->results++;
	s->next[0] = 0;
	if (!level->kids || (failed && !level->kids_failed)) {
		count(k, s, l);
		level->tests++;
		level->failed += failed;
	}
	level->tests += level->kids;
	level->failed += level->kids_failed;
	level->kids = level->kids_failed = 0;
}

static void add_plan(struct ktap *k, struct ktap_stream *s, const struct line *l)
{
	struct ktap_level *level = enter(k, s, l->indent);

	if (level->plan != NO_PLAN)
		level = enter_new(k, s, l->indent);
	level->plan = l->plan;
	/* A program that skips all it has; a subtest's own result says it again. */
	if (!l->plan && l->outcome == KTAP_SKIPPED && s->depth == 1)
		count(k, s, l);
}

/* "# Subtest:" stands at the indentation of the subtest, or of its parent. */
static void add_subtest(struct ktap *k, struct ktap_stream *s, const struct line *l)
{
	struct ktap_level *level = top(s);

	if (level && level->indent >= l->indent)
		level = enter(k, s, l->indent);
	if (level && level->indent == l->indent && s->depth > 1 && !level->results &&
	    !level->name[0])
		set_name(level->name, l);
	else
		set_name(s->next, l);
}

static void add_bail_out(struct ktap *k, struct ktap_stream *s, const struct line *l)
{
	char reason[KTAP_NAME];

	set_name(reason, l);
	set_broken(k, "the tests bailed out", reason);
	s->depth = 0;
	s->next[0] = 0;
}

static void look_at_line(struct ktap *k, struct ktap_input *in)
{
	struct line l;
	bool kernel;

	in->line[in->line_len] = 0;
	if (!in->line_len || !read_line(in->line, &l, &kernel))
		return;
	struct ktap_stream *s = &in->streams[kernel];
	switch (l.kind) {
	case LINE_VERSION:
		enter_new(k, s, l.indent)->version = true;
		break;
	case LINE_PLAN:
		add_plan(k, s, &l);
		break;
	case LINE_RESULT:
		add_result(k, s, &l);
		break;
	case LINE_SUBTEST:
		add_subtest(k, s, &l);
		break;
	case LINE_BAIL:
		add_bail_out(k, s, &l);
		break;
	case LINE_OTHER:
		break;
	}
}

void ktap_init(struct ktap *k)
{
	memset(k, 0, sizeof(*k));
	pthread_mutex_init(&k->lock, NULL);
}

void ktap_release(struct ktap *k)
{
	pthread_mutex_destroy(&k->lock);
	free(k->cases);
	k->cases = NULL;
	k->cases_nr = k->cases_room = 0;
}

void ktap_feed(struct ktap *k, enum ktap_source from, const uint8_t *buf, size_t len)
{
	struct ktap_input *in = &k->inputs[from];

	pthread_mutex_lock(&k->lock);
	for (size_t i = 0; i < len; i++) {
		if (buf[i] == '\n' || buf[i] == '\r') {
			look_at_line(k, in);
			in->line_len = 0;
		} else if (buf[i] && in->line_len < KTAP_LINE) {
			in->line[in->line_len++] = (char)buf[i];
		}
	}
	pthread_mutex_unlock(&k->lock);
}

static void end_input(struct ktap *k, struct ktap_input *in)
{
	look_at_line(k, in);
	in->line_len = 0;
	for (unsigned int i = 0; i < ARRAY_SIZE(in->streams); i++) {
		while (in->streams[i].depth)
			pop(k, &in->streams[i]);
		in->streams[i].next[0] = 0;
	}
}

void ktap_end(struct ktap *k)
{
	for (unsigned int i = 0; i < KTAP_SOURCES_NR; i++)
		end_input(k, &k->inputs[i]);
}

uint64_t ktap_tests(const struct ktap *k)
{
	uint64_t nr = 0;

	for (unsigned int i = 0; i < KTAP_OUTCOMES_NR; i++)
		nr += k->count[i];
	return nr;
}

const struct ktap_case *ktap_first_failure(const struct ktap *k)
{
	for (size_t i = 0; i < k->cases_nr; i++)
		if (k->cases[i].outcome == KTAP_FAILED)
			return &k->cases[i];
	return NULL;
}
