/* SPDX-License-Identifier: GPL-2.0 */
#include <stdio.h>
#include <string.h>

#include <lkvm/conlog.h>
#include <lkvm/util.h>

/* A report's trace begins within so many lines, and ends within so many. */
#define TRACE_BEGINS 40
#define TRACE_LINES  160

void conlog_init(struct conlog *c, const struct conlog_ops *ops, void *arg,
		 const struct match *fail, const struct match *until, bool stamps)
{
	memset(c, 0, sizeof(*c));
	c->ops = ops;
	c->arg = arg;
	c->fail = fail;
	c->until = until;
	c->told = c->stamps = stamps;
	c->paused_at = UINT64_MAX;
	pthread_mutex_init(&c->lock, NULL);
}

void conlog_release(struct conlog *c)
{
	pthread_mutex_destroy(&c->lock);
}

void conlog_restart(struct conlog *c)
{
	pthread_mutex_lock(&c->lock);
	c->stamps = c->told;
	c->plain = c->any_line = c->init_seen = false;
	c->no_init[0] = 0;
	c->open = NULL;
	pthread_mutex_unlock(&c->lock);
}

/* Crashes. */

static void open_crash(struct conlog *c, struct conlog_crash *crash, enum crash_kind kind,
		       const char *text)
{
	*crash = (struct conlog_crash){ .kind = kind };
	snprintf(crash->line, sizeof(crash->line), "%s", text);
	util_clean_text(crash->line);
	c->open = crash;
	c->open_lines = 0;
	c->in_trace = false;
	if (c->ops->crash)
		c->ops->crash(c->arg, kind, text);
}

static void add_frame(struct conlog *c, const char *name)
{
	struct conlog_crash *crash = c->open;

	/* The function that ran is the first of its trace too. */
	if (crash->frames_nr && !strcmp(crash->frames[crash->frames_nr - 1], name))
		return;
	memcpy(crash->frames[crash->frames_nr++], name, TRACE_NAME_LEN);
	if (crash->frames_nr == CRASH_FRAMES)
		c->open = NULL;
}

static void read_trace(struct conlog *c, const char *text)
{
	char name[TRACE_NAME_LEN];

	if (++c->open_lines > TRACE_LINES) {
		c->open = NULL;
		return;
	}
	switch (classify_trace(text, name)) {
	case TRACE_HEAD:
		c->in_trace = true;
		break;
	case TRACE_PC:
		if (!c->open->frames_nr)
			add_frame(c, name);
		break;
	case TRACE_FRAME:
		if (c->in_trace)
			add_frame(c, name);
		break;
	case TRACE_OTHER:
		if (c->in_trace && c->open->frames_nr)
			c->open = NULL;
		break;
	case TRACE_MARK:
		break;
	}
}

/* An oops has several first lines; they are one crash. */
static bool goes_on(const struct conlog *c)
{
	return c->open && !c->open->frames_nr && !c->in_trace && c->open_lines < TRACE_BEGINS;
}

static void look_at_kernel_line(struct conlog *c, const char *text, enum crash_kind kind)
{
	if (kind == CRASH_PANIC && !c->panic.kind) {
		open_crash(c, &c->panic, kind, text);
	} else if (kind && kind != CRASH_PANIC && !c->panic.kind && !goes_on(c)) {
		c->splats++;
		open_crash(c, c->first.kind ? &c->last : &c->first, kind, text);
	} else if (c->open) {
		read_trace(c, text);
	}
}

/* Lines. */

static void look_for_init(struct conlog *c, const struct kline *k, enum crash_kind kind)
{
	bool told = classify_is_init(k->text) && (k->stamped || !c->stamps);
	bool printed = !c->plain && !k->at_start && !kind && k->text[strspn(k->text, " \t")];

	if (c->init_seen || (!told && !printed))
		return;
	c->init_seen = true;
	if (c->ops->init)
		c->ops->init(c->arg);
}

/* The first one is the cause of the others. */
static void look_for_hint(struct conlog *c, const char *text)
{
	if (!c->init_seen && !c->no_init[0] && classify_no_init(text, c->no_init))
		util_clean_text(c->no_init);
}

static void look_for_match(struct conlog *c)
{
	bool fail = true;
	const char *pattern = c->fail ? match_find(c->fail, c->line) : NULL;

	if (!pattern && c->until) {
		fail = false;
		pattern = match_find(c->until, c->line);
	}
	if (!pattern)
		return;
	c->over = true;
	if (c->ops->matched)
		c->ops->matched(c->arg, fail, pattern, c->line);
}

static void look_at_line(struct conlog *c)
{
	enum crash_kind kind = CRASH_NONE;
	struct kline k;

	c->line[c->line_len] = 0;
	kline_parse(c->line, &k);
	if (!c->any_line && c->line_len && classify_is_plain_boot(c->line)) {
		c->plain = true;
		c->stamps = false;
	}
	c->any_line |= c->line_len > 0;
	c->stamps |= k.at_start && !c->plain;
	if (k.stamped || !c->stamps) {
		kind = classify(k.text);
		look_at_kernel_line(c, k.text, kind);
		look_for_hint(c, k.text);
	}
	look_for_init(c, &k, kind);
	look_for_match(c);
}

static bool has_patterns(const struct conlog *c)
{
	return (c->fail && c->fail->nr) || (c->until && c->until->nr);
}

static bool wants_pause(const struct conlog *c)
{
	return c->line_len && !c->over && (has_patterns(c) || !c->init_seen);
}

bool conlog_feed(struct conlog *c, const uint8_t *buf, size_t len)
{
	pthread_mutex_lock(&c->lock);
	for (size_t i = 0; i < len; i++) {
		uint8_t b = buf[i];

		c->keep[c->fed++ % CONLOG_KEEP] = b;
		if (b == '\n' || b == '\r') {
			if (!c->over)
				look_at_line(c);
			c->line_len = 0;
		} else if (c->line_len < CONLOG_LINE && b) {
			c->line[c->line_len++] = b;
		}
	}
	bool open = wants_pause(c);
	pthread_mutex_unlock(&c->lock);
	return open;
}

bool conlog_pause(struct conlog *c)
{
	pthread_mutex_lock(&c->lock);
	bool again = wants_pause(c) && c->paused_at != c->fed;
	bool look = wants_pause(c) && !again;
	c->paused_at = c->fed;
	/* The kernel's lines come whole, but a slow one is not taken for a program's. */
	if (look && c->line[0] != '[' && c->line[0] != '<') {
		struct kline k = { .text = c->line };

		c->line[c->line_len] = 0;
		look_for_init(c, &k, CRASH_NONE);
	}
	if (look) {
		c->line[c->line_len] = 0;
		look_for_match(c);
	}
	pthread_mutex_unlock(&c->lock);
	return again;
}

void conlog_end(struct conlog *c)
{
	pthread_mutex_lock(&c->lock);
	if (c->line_len && !c->over)
		look_at_line(c);
	c->line_len = 0;
	pthread_mutex_unlock(&c->lock);
}

void conlog_report(struct conlog *c, struct conlog_report *r)
{
	pthread_mutex_lock(&c->lock);
	*r = (struct conlog_report){ .bytes = c->fed, .splats = c->splats };
	r->crash = c->panic.kind ? c->panic : c->first;
	if (!c->init_seen)
		memcpy(r->no_init, c->no_init, sizeof(r->no_init));
	if (c->panic.kind && !c->panic.frames_nr) {
		const struct conlog_crash *cause = c->last.kind ? &c->last : &c->first;

		memcpy(r->crash.frames, cause->frames, sizeof(cause->frames));
		r->crash.frames_nr = cause->frames_nr;
	}
	pthread_mutex_unlock(&c->lock);
}

/* The end. */

static size_t copy_kept(const struct conlog *c, char *buf, size_t max, bool *cut)
{
	size_t n = MIN(c->fed, (uint64_t)CONLOG_KEEP);

	*cut = c->fed > n || n > max;
	n = MIN(n, max);
	for (size_t i = 0; i < n; i++)
		buf[i] = c->keep[(c->fed - n + i) % CONLOG_KEEP];
	return n;
}

static size_t clean(char *buf, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		unsigned char b = buf[i];

		if ((b >= ' ' && b != 0x7f) || b == '\n' || b == '\t')
			buf[n++] = b;
	}
	return n;
}

/* Where the last `lines` lines begin; an unfinished one counts. */
static size_t last_lines(const char *buf, size_t len, unsigned int lines)
{
	size_t at = len && buf[len - 1] == '\n' ? len - 1 : len;

	while (at > 0 && (buf[at - 1] != '\n' || --lines))
		at--;
	return at;
}

size_t conlog_tail(struct conlog *c, char *buf, size_t len, unsigned int lines)
{
	bool cut;

	if (!len)
		return 0;
	pthread_mutex_lock(&c->lock);
	size_t n = copy_kept(c, buf, len - 1, &cut);
	pthread_mutex_unlock(&c->lock);
	/* The first line is whole only when nothing was cut before it. */
	const char *nl = cut ? memchr(buf, '\n', n) : NULL;
	size_t from = nl ? nl + 1 - buf : 0;
	n = clean(memmove(buf, buf + from, n - from), n - from);
	from = last_lines(buf, n, lines);
	memmove(buf, buf + from, n - from);
	n -= from;
	buf[n] = 0;
	return n;
}
