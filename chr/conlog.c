/* SPDX-License-Identifier: GPL-2.0 */
#include <ctype.h>
#include <string.h>

#include <lkvm/conlog.h>
#include <lkvm/util.h>

#define PANIC "Kernel panic - not syncing"

void conlog_init(struct conlog *c, void (*on_panic)(void *arg, const char *line), void *arg)
{
	*c = (struct conlog){ .on_panic = on_panic, .arg = arg };
}

/* "[   12.345678]": what printk puts before a message. Returns what follows, or NULL. */
static const char *skip_time(const char *s)
{
	if (*s++ != '[')
		return NULL;
	s += strspn(s, " ");
	size_t n = strspn(s, "0123456789");
	if (!n || s[n] != '.')
		return NULL;
	s += n + 1;
	n = strspn(s, "0123456789");
	return n && s[n] == ']' ? s + n + 1 : NULL;
}

/* "[    T1]" or "[    C0]", with CONFIG_PRINTK_CALLER. */
static const char *skip_caller(const char *s)
{
	const char *p = s + strspn(s, " ");

	if (*p++ != '[')
		return s;
	p += strspn(p, " ");
	if (*p != 'T' && *p != 'C')
		return s;
	p++;
	size_t n = strspn(p, "0123456789");
	return n && p[n] == ']' ? p + n + 1 : s;
}

static const char *skip_level(const char *s)
{
	if (s[0] == '<' && isdigit((unsigned char)s[1]) && s[2] == '>')
		return s + 3;
	return s;
}

static bool is_panic(const char *s)
{
	return !strncmp(s, PANIC, sizeof(PANIC) - 1);
}

const char *conlog_panic(const char *line)
{
	const char *s = skip_level(line);

	if (is_panic(s))
		return s;
	/* A prompt without a newline may stand before the kernel's line, but a time stamp stands out. */
	for (s = strchr(line, '['); s; s = strchr(s + 1, '[')) {
		const char *t = skip_time(s);

		if (!t)
			continue;
		t = skip_caller(t);
		t += strspn(t, " ");
		if (is_panic(t))
			return t;
	}
	return NULL;
}

static void end_line(struct conlog *c)
{
	c->line[c->line_len] = 0;
	c->line_len = 0;
	const char *panic = c->panicked ? NULL : conlog_panic(c->line);
	if (!panic)
		return;
	c->panicked = true;
	c->on_panic(c->arg, panic);
}

void conlog_feed(struct conlog *c, const uint8_t *buf, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		uint8_t b = buf[i];

		c->keep[c->fed++ % CONLOG_KEEP] = b;
		if (b == '\n' || b == '\r')
			end_line(c);
		else if (c->line_len < CONLOG_LINE && b)
			c->line[c->line_len++] = b;
	}
}

size_t conlog_tail(const struct conlog *c, char *buf, size_t len)
{
	size_t n = MIN(c->fed, (uint64_t)CONLOG_KEEP);
	bool cut = c->fed > n;

	if (!len)
		return 0;
	if (n > len - 1) {
		n = len - 1;
		cut = true;
	}
	for (size_t i = 0; i < n; i++)
		buf[i] = c->keep[(c->fed - n + i) % CONLOG_KEEP];
	buf[n] = 0;
	/* The first line is whole only when nothing was cut before it. */
	const char *nl = cut ? memchr(buf, '\n', n) : NULL;
	if (nl) {
		n -= nl + 1 - buf;
		memmove(buf, nl + 1, n + 1);
	}
	return n;
}
