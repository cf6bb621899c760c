/* SPDX-License-Identifier: GPL-2.0 */
#include "settings.h"

static bool same(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

static bool parse_number(const char *text, uint32_t *out)
{
	uint64_t v = 0;

	if (!*text)
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return false;
		v = v * 10 + (uint64_t)(*text - '0');
		if (v > UINT32_MAX)
			return false;
	}
	*out = (uint32_t)v;
	return true;
}

static bool same_name(const char *a, const char *b)
{
	while (*a && *a != '=' && *a == *b) {
		a++;
		b++;
	}
	return *a == '=' && *b == '=';
}

bool settings_env(struct settings *s, const char *env)
{
	unsigned int i = 0;
	const char *eq = env;

	while (*eq && *eq != '=')
		eq++;
	if (eq == env || !*eq)
		return false;
	while (i < s->envs_nr && !same_name(s->envs[i], env))
		i++;
	if (i == CMD_ENVS_MAX)
		return false;
	s->envs[i] = env;
	s->envs_nr += i == s->envs_nr;
	return true;
}

static bool add_arg(struct settings *s, const char *arg)
{
	if (s->args_nr == CMD_ARGS_MAX)
		return false;
	s->args[s->args_nr++] = arg;
	return true;
}

static bool take(struct settings *s, char letter, const char *value)
{
	switch (letter) {
	case CMD_SET_PORT:
		return parse_number(value, &s->port);
	case CMD_SET_PORTS:
		return parse_number(value, &s->ports);
	case CMD_SET_ARG:
		return add_arg(s, value);
	case CMD_SET_ENV:
		return settings_env(s, value);
	case CMD_SET_CWD:
		s->cwd = value;
		return *value;
	case CMD_SET_UID:
		s->user = true;
		return parse_number(value, &s->uid);
	case CMD_SET_GID:
		return parse_number(value, &s->gid);
	case CMD_SET_ROWS:
		s->terminal = true;
		return parse_number(value, &s->rows);
	case CMD_SET_COLS:
		return parse_number(value, &s->cols);
	default:
		return false;
	}
}

const char *settings_parse(struct settings *s, const char *file, size_t len)
{
	size_t at = 0;

	/* So every record ends inside the file. */
	if (!len || file[len - 1])
		return "the settings are cut short";
	if (!same(file, CMD_SETTINGS_MAGIC))
		return "the settings are of another version";
	while (at < len && file[at])
		at++;
	for (at++; at < len; at++) {
		if (!file[at] || !take(s, file[at], file + at + 1))
			return "the settings make no sense";
		while (file[at])
			at++;
	}
	if (!s->args_nr)
		return "the settings name no command";
	return NULL;
}
