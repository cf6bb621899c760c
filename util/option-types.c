/* SPDX-License-Identifier: GPL-2.0 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>

#include <lkvm/options.h>
#include <lkvm/util.h>

static void *option_field(void *cfg, const struct option_def *def)
{
	return (char *)cfg + def->off;
}

static int option_bad(const struct option_def *def, const char *arg, const char *wanted,
		      struct err *err)
{
	return err_usage(err, "option --%s: \"%s\" is not %s", def->name, arg, wanted);
}

/* The digits at *s as a number; *s moves behind them. -EINVAL: no digit, -ERANGE: above UINT64_MAX. */
static int option_digits(const char **s, unsigned int base, uint64_t *value)
{
	const char *p = *s;
	uint64_t v = 0;

	if (!isxdigit((unsigned char)*p))
		return -EINVAL;
	for (; isxdigit((unsigned char)*p); p++) {
		unsigned int digit = isdigit((unsigned char)*p)
					     ? (unsigned int)(*p - '0')
					     : (unsigned int)(tolower((unsigned char)*p) - 'a') +
						       10;

		if (digit >= base)
			break;
		if (__builtin_mul_overflow(v, (uint64_t)base, &v) ||
		    __builtin_add_overflow(v, (uint64_t)digit, &v))
			return -ERANGE;
	}
	if (p == *s)
		return -EINVAL;
	*s = p;
	*value = v;
	return 0;
}

/* Limits in the unit the user thinks in; `max` 0 stands for the type's own limit. */
static int option_limits(const struct option_def *def, const char *arg, int parsed, uint64_t v,
			 uint64_t type_max, uint64_t unit, const char *suffix, struct err *err)
{
	uint64_t max = def->max ? def->max : type_max;

	if (parsed == -ERANGE || v > max)
		return err_usage(err, "option --%s: \"%s\" is too large: at most %" PRIu64 "%s",
				 def->name, arg, max / unit, suffix);
	if (v < def->min)
		return err_usage(err, "option --%s: \"%s\" is too small: at least %" PRIu64 "%s",
				 def->name, arg, def->min / unit, suffix);
	return 0;
}

int option_set(void *cfg, const struct option_def *def, const char *arg, struct err *err)
{
	(void)arg, (void)err;
	*(bool *)option_field(cfg, def) = true;
	return 0;
}

int option_clear(void *cfg, const struct option_def *def, const char *arg, struct err *err)
{
	(void)arg, (void)err;
	*(bool *)option_field(cfg, def) = false;
	return 0;
}

int option_string(void *cfg, const struct option_def *def, const char *arg, struct err *err)
{
	(void)err;
	*(const char **)option_field(cfg, def) = arg;
	return 0;
}

int option_strings(void *cfg, const struct option_def *def, const char *arg, struct err *err)
{
	struct option_strings *list = option_field(cfg, def);

	if (list->nr >= OPTION_STRINGS_MAX)
		return err_usage(err, "option --%s: \"%s\" is one too many: at most %d", def->name,
				 arg, OPTION_STRINGS_MAX);
	list->str[list->nr++] = arg;
	return 0;
}

int option_u32(void *cfg, const struct option_def *def, const char *arg, struct err *err)
{
	const char *p = arg;
	bool hex = p[0] == '0' && (p[1] == 'x' || p[1] == 'X');
	uint64_t v = 0;
	int ret;

	if (hex)
		p += 2;
	ret = option_digits(&p, hex ? 16 : 10, &v);
	if (ret == -EINVAL || (ret == 0 && *p))
		return option_bad(def, arg, "a number", err);
	ret = option_limits(def, arg, ret, v, UINT32_MAX, 1, "", err);
	if (ret < 0)
		return ret;
	*(uint32_t *)option_field(cfg, def) = (uint32_t)v;
	return 0;
}

int option_on_off(void *cfg, const struct option_def *def, const char *arg, struct err *err)
{
	bool on = strcmp(arg, "on") == 0;

	if (!on && strcmp(arg, "off"))
		return option_bad(def, arg, "on or off", err);
	*(bool *)option_field(cfg, def) = on;
	return 0;
}

int option_choice(void *cfg, const struct option_def *def, const char *arg, struct err *err)
{
	char names[256] = "";
	size_t len = 0;

	for (unsigned int i = 0; def->choices[i]; i++) {
		if (strcmp(arg, def->choices[i]) == 0) {
			*(unsigned int *)option_field(cfg, def) = i;
			return 0;
		}
	}
	for (unsigned int i = 0; def->choices[i] && len < sizeof(names); i++)
		len += (size_t)snprintf(names + len, sizeof(names) - len, "%s%s", i ? ", " : "",
					def->choices[i]);
	return err_usage(err, "option --%s: \"%s\" is none of %s", def->name, arg, names);
}

/* The power of two that a size's letter stands for, -1 for another letter. */
static int option_size_shift(char letter)
{
	static const char letters[] = "kmgt";
	const char *p = letter ? strchr(letters, tolower((unsigned char)letter)) : NULL;

	return p ? 10 * (int)(p - letters + 1) : -1;
}

int option_size(void *cfg, const struct option_def *def, const char *arg, struct err *err)
{
	const char *p = arg;
	uint64_t v = 0;
	int shift = 20; /* a bare number is MiB */
	int ret = option_digits(&p, 10, &v);

	if (ret == 0 && *p)
		shift = option_size_shift(*p++);
	if (ret == -EINVAL || (ret == 0 && (shift < 0 || *p)))
		return option_bad(def, arg, "a size: use MiB (512) or K, M, G or T (2G)", err);
	if (ret == 0 && v > UINT64_MAX >> shift)
		ret = -ERANGE;
	ret = option_limits(def, arg, ret, v << shift, UINT64_MAX, MIB, "M", err);
	if (ret < 0)
		return ret;
	*(uint64_t *)option_field(cfg, def) = v << shift;
	return 0;
}

/* Up to nine digits after the point; *ns gets them as nanoseconds. */
static bool option_fraction(const char *p, uint64_t *ns)
{
	uint64_t unit = NSEC_PER_SEC;

	*ns = 0;
	if (!isdigit((unsigned char)*p))
		return false;
	for (; isdigit((unsigned char)*p) && unit > 1; p++) {
		unit /= 10;
		*ns += (uint64_t)(*p - '0') * unit;
	}
	return !*p;
}

int option_seconds(void *cfg, const struct option_def *def, const char *arg, struct err *err)
{
	const char *p = arg;
	uint64_t v = 0, fraction = 0;
	int ret = option_digits(&p, 10, &v);

	if (ret == -EINVAL || (ret == 0 && *p && (*p != '.' || !option_fraction(p + 1, &fraction))))
		return option_bad(def, arg, "a number of seconds", err);
	if (ret == 0 && (__builtin_mul_overflow(v, (uint64_t)NSEC_PER_SEC, &v) ||
			 __builtin_add_overflow(v, fraction, &v)))
		ret = -ERANGE;
	if (ret == 0 && v == 0 && def->min > 0)
		return err_usage(err, "option --%s: \"%s\" is too small: it must be above 0",
				 def->name, arg);
	ret = option_limits(def, arg, ret, v, UINT64_MAX, NSEC_PER_SEC, "", err);
	if (ret < 0)
		return ret;
	*(uint64_t *)option_field(cfg, def) = v;
	return 0;
}

/* One "N" or "N-M" at *s, both within the table; *s moves behind it. */
static bool option_cpu_span(const char **s, uint64_t *first, uint64_t *last)
{
	if (option_digits(s, 10, first) < 0)
		return false;
	*last = *first;
	if (**s == '-') {
		(*s)++;
		if (option_digits(s, 10, last) < 0)
			return false;
	}
	return *first <= *last;
}

static int option_add_cpu(struct option_cpus *list, const struct option_def *def, uint16_t cpu,
			  const char *arg, struct err *err)
{
	for (unsigned int i = 0; i < list->nr; i++)
		if (list->cpu[i] == cpu)
			return err_usage(err, "option --%s: \"%s\" names CPU %u twice", def->name,
					 arg, cpu);
	list->cpu[list->nr++] = cpu;
	return 0;
}

int option_cpus(void *cfg, const struct option_def *def, const char *arg, struct err *err)
{
	struct option_cpus *list = option_field(cfg, def);
	const char *p = arg;
	uint64_t first, last;
	int ret = 0;

	list->nr = 0;
	do {
		if (!option_cpu_span(&p, &first, &last) || (*p && *p != ','))
			return option_bad(def, arg, "a list of CPUs (0,2-3)", err);
		if (last >= OPTION_CPUS_MAX)
			return err_usage(err, "option --%s: \"%s\" is too large: CPUs are 0 to %d",
					 def->name, arg, OPTION_CPUS_MAX - 1);
		/* None is listed twice, so the table has room for all that are below its size. */
		for (uint64_t cpu = first; ret == 0 && cpu <= last; cpu++)
			ret = option_add_cpu(list, def, (uint16_t)cpu, arg, err);
	} while (ret == 0 && *p++ == ',');
	return ret;
}
