/* SPDX-License-Identifier: GPL-2.0 */
#include <inttypes.h>

#include <lkvm/json.h>

/*
 * Length of the UTF-8 sequence at `s`, 0 when there is none: not overlong, no surrogate, not above U+10FFFF (the Unicode
 * Standard, table 3-7). The terminating NUL is no continuation byte, so nothing behind it is read.
 */
static unsigned int utf8_len(const unsigned char *s)
{
	unsigned char low = 0x80, high = 0xbf;
	unsigned int len;

	if (s[0] < 0x80)
		return 1;
	if (s[0] < 0xc2 || s[0] > 0xf4)
		return 0;
	len = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	if (s[0] == 0xe0)
		low = 0xa0;
	else if (s[0] == 0xed)
		high = 0x9f;
	else if (s[0] == 0xf0)
		low = 0x90;
	else if (s[0] == 0xf4)
		high = 0x8f;
	for (unsigned int i = 1; i < len; i++, low = 0x80, high = 0xbf)
		if (s[i] < low || s[i] > high)
			return 0;
	return len;
}

static void put_string(FILE *out, const char *text)
{
	fputc('"', out);
	for (const unsigned char *s = (const unsigned char *)text; *s;) {
		unsigned int len = utf8_len(s);

		if (!len)
			fputs("\\ufffd", out);
		else if (*s == '"' || *s == '\\')
			fprintf(out, "\\%c", *s);
		else if (*s < ' ' || *s == 0x7f)
			fprintf(out, "\\u%04x", *s);
		else
			fwrite(s, 1, len, out);
		s += len ? len : 1;
	}
	fputc('"', out);
}

static void put_key(struct json *j, const char *key)
{
	if (j->some)
		fputc(',', j->out);
	if (j->depth)
		fprintf(j->out, "\n%*s", 2 * (int)j->depth, "");
	if (key) {
		put_string(j->out, key);
		fputs(": ", j->out);
	}
	j->some = true;
}

void json_open(struct json *j, const char *key, char bracket)
{
	put_key(j, key);
	fputc(bracket, j->out);
	j->depth++;
	j->some = false;
}

void json_close(struct json *j, char bracket)
{
	j->depth--;
	if (j->some)
		fprintf(j->out, "\n%*s", 2 * (int)j->depth, "");
	fputc(bracket, j->out);
	if (!j->depth)
		fputc('\n', j->out);
	j->some = true;
}

void json_string(struct json *j, const char *key, const char *s)
{
	if (!s) {
		json_null(j, key);
		return;
	}
	put_key(j, key);
	put_string(j->out, s);
}

void json_number(struct json *j, const char *key, uint64_t v)
{
	put_key(j, key);
	fprintf(j->out, "%" PRIu64, v);
}

void json_null(struct json *j, const char *key)
{
	put_key(j, key);
	fputs("null", j->out);
}

void json_raw(struct json *j, const char *key, const char *value)
{
	put_key(j, key);
	fputs(value, j->out);
}
