/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <lkvm/log.h>
#include <lkvm/util.h>

/* Longer lines are cut: a line is built on the stack of any thread. */
#define LOG_LINE_LEN 1024

/* Indexed by enum log_level. `tag` follows "lkvm: " in a line. */
static const struct {
	const char *name;
	const char *tag;
} log_levels[] = {
	[LOG_ERROR] = { "error", "error: " },
	[LOG_WARN] = { "warning", "warning: " },
	[LOG_INFO] = { "info", "" },
	[LOG_DEBUG] = { "debug", "debug: " },
};

int log_level_parse(const char *name, enum log_level *level)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(log_levels); i++) {
		if (strcmp(name, log_levels[i].name) == 0) {
			*level = (enum log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

bool log_enabled(const struct log *log, enum log_level level)
{
	return log && log->fd >= 0 && level <= log->level;
}

/* `held` is how many lines like this one were held back since the last; told when not 0. */
static void log_vprintf(const struct log *log, enum log_level level, uint32_t held, const char *fmt,
			va_list ap)
{
	int saved_errno = errno;
	char line[LOG_LINE_LEN];
	size_t max = sizeof(line) - 64; /* what follows the text always fits */
	size_t len;

	len = (size_t)snprintf(line, max, "lkvm: %s", log_levels[level].tag);
	vsnprintf(line + len, max - len, fmt, ap);
	util_clean_text(line);
	len = strlen(line);
	if (held)
		len += (size_t)snprintf(line + len, sizeof(line) - len - 1,
					" (%u more held back before it)", held);
	line[len++] = '\n';
	/* Nobody is left to tell that the log cannot be written. */
	(void)util_write_all(log->fd, line, len);
	errno = saved_errno;
}

void log_printf(const struct log *log, enum log_level level, const char *fmt, ...)
{
	va_list ap;

	if (!log_enabled(log, level))
		return;
	va_start(ap, fmt);
	log_vprintf(log, level, 0, fmt, ap);
	va_end(ap);
}

void log_notice(const struct log *log, const char *fmt, ...)
{
	va_list ap;

	if (!log_enabled(log, LOG_ERROR))
		return;
	va_start(ap, fmt);
	/* The level that has no tag. */
	log_vprintf(log, LOG_INFO, 0, fmt, ap);
	va_end(ap);
}

/*
 * True when a line may be written now; *held gets the lines that were held back in earlier seconds.
 * Threads that meet at a change of second may write a few lines more than the burst, never lose a count.
 */
static bool log_limit_take(struct log_limit *limit, uint64_t now, uint32_t *held)
{
	uint64_t second = atomic_load(&limit->second);

	*held = 0;
	if (second != now && atomic_compare_exchange_strong(&limit->second, &second, now)) {
		*held = atomic_exchange(&limit->dropped, 0);
		atomic_store(&limit->used, 0);
	}
	/* Looked at before it is raised: a guest that never stops must not wrap it. */
	if (atomic_load(&limit->used) < LOG_LIMIT_BURST &&
	    atomic_fetch_add(&limit->used, 1) < LOG_LIMIT_BURST)
		return true;
	atomic_fetch_add(&limit->dropped, *held + 1);
	return false;
}

void log_guest(const struct log *log, struct log_limit *limit, const char *fmt, ...)
{
	uint32_t held;
	va_list ap;

	if (!log_enabled(log, LOG_WARN))
		return;
	if (!log_limit_take(limit, util_now_ns() / NSEC_PER_SEC, &held))
		return;
	/* A poller's thread must not wait for somebody to read, nor a vCPU's, which is waited for at the end. */
	if (!util_can_write(log->fd)) {
		atomic_fetch_add(&limit->dropped, held + 1);
		return;
	}
	va_start(ap, fmt);
	log_vprintf(log, LOG_WARN, held, fmt, ap);
	va_end(ap);
}
