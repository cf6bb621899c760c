/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Diagnostics while a VM runs. Results and errors of commands do not go through here.
 *
 * A `struct log` belongs to the machine and outlives everything that points to it. Any thread may
 * call; a line is one write(2), so lines of two threads never mix.
 */
#ifndef LKVM_LOG_H
#define LKVM_LOG_H

#include <stdbool.h>
#include <stdatomic.h>
#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

struct log {
	int fd;               /* not owned; -1 drops everything */
	enum log_level level; /* lines above it are dropped */
};

/* Names for --loglevel: "error", "warning", "info", "debug". Returns -EINVAL for another name. */
int log_level_parse(const char *name, enum log_level *level);

bool log_enabled(const struct log *log, enum log_level level);
void log_printf(const struct log *log, enum log_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* What the user asked to be told, as a port that was chosen: at every level, without a word for it. */
void log_notice(const struct log *log, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(log, ...) log_printf(log, LOG_ERROR, __VA_ARGS__)
#define log_warn(log, ...)  log_printf(log, LOG_WARN, __VA_ARGS__)
#define log_info(log, ...)  log_printf(log, LOG_INFO, __VA_ARGS__)
#define log_debug(log, ...) log_printf(log, LOG_DEBUG, __VA_ARGS__)

/*
 * For lines that a guest can cause: at most LOG_LIMIT_BURST a second for one limiter, and none while the log's
 * reader does not read. The rest are counted and the count is told in the first line of a later second. Never waits.
 * Zero-initialised by its owner.
 */
#define LOG_LIMIT_BURST 5

struct log_limit {
	_Atomic uint64_t second; /* CLOCK_MONOTONIC second of the current window */
	_Atomic uint32_t used;
	_Atomic uint32_t dropped;
};

void log_guest(const struct log *log, struct log_limit *limit, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
