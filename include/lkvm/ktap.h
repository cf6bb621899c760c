/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Test results in a stream of text, as KTAP (the kernel's Documentation/dev-tools/ktap.rst) or TAP 12 to 14 has them.
 *
 * Everything that is no such line is passed over, so the stream may be a console. Several streams are read side by side.
 * In each the kernel's lines, told by printk's
 * time stamps, and those of programs are two documents side by side, since KUnit in a module speaks in the midst of the
 * script that loads it. A document begins with its version, with its plan, or with a numbered result; another one may
 * follow. Deeper indentation is a subtest; a result whose subtests were seen stands for these and is not counted, unless
 * it failed and none of them did.
 *
 * "# SKIP": neither passed nor failed. "# todo" and "# XFAIL" (in any case): a failure that was expected, which is none.
 *
 * What is wrong with a stream itself, so that results may be missing: a plan that does not agree with the number of
 * results, a document with a version and without a plan, "Bail out!". That results are numbered in order is not
 * checked.
 *
 * Any bytes may come; memory is bounded. Any thread may feed; the rest is for when nobody does.
 */
#ifndef LKVM_KTAP_H
#define LKVM_KTAP_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KTAP_LINE     1024  /* bytes of a line that are looked at */
#define KTAP_NAME     160   /* with a NUL; suites before it, with slashes between */
#define KTAP_DEPTH    8     /* what is deeper counts for the deepest */
#define KTAP_CASES    10000 /* tests whose names are kept, */
#define KTAP_FAILURES 1000  /* and that many more that failed */

enum ktap_outcome {
	KTAP_PASSED,
	KTAP_FAILED,
	KTAP_SKIPPED,
	KTAP_EXPECTED, /* a failure that was announced */
	KTAP_OUTCOMES_NR,
};

/* "passed" */
const char *ktap_outcome_name(enum ktap_outcome outcome);

struct ktap_case {
	enum ktap_outcome outcome;
	char name[KTAP_NAME]; /* without control bytes */
};

struct ktap_level {
	unsigned int indent;
	uint64_t plan;              /* UINT64_MAX: none was seen */
	uint64_t results;           /* lines at this level */
	uint64_t tests;             /* counted in it and below, */
	uint64_t failed;            /* and how many of them failed */
	uint64_t kids, kids_failed; /* the same of the subtests whose own result is still to come */
	bool version;
	char name[KTAP_NAME];
};

struct ktap_stream {
	struct ktap_level levels[KTAP_DEPTH];
	unsigned int depth;
	char next[KTAP_NAME]; /* of the subtest that was announced */
};

/* Whose text it is. */
enum ktap_source {
	KTAP_CONSOLE,
	KTAP_STDOUT,  /* of a command, */
	KTAP_RESULTS, /* and its results */
	KTAP_SOURCES_NR,
};

struct ktap_input {
	struct ktap_stream streams[2]; /* of programs, of the kernel */
	char line[KTAP_LINE + 1];
	size_t line_len;
};

struct ktap {
	pthread_mutex_t lock;
	struct ktap_input inputs[KTAP_SOURCES_NR];

	uint64_t count[KTAP_OUTCOMES_NR];
	struct ktap_case *
		cases; /* in the order of the results; fewer than were counted when there are too many */
	size_t cases_nr, cases_room;
	/* The first thing that is wrong with the stream, in words; or "" */
	char broken[KTAP_NAME + 82];
};

void ktap_init(struct ktap *k);
void ktap_release(struct ktap *k);

void ktap_feed(struct ktap *k, enum ktap_source from, const uint8_t *buf, size_t len);
/* Nothing follows, or something new does: what is open ends here. */
void ktap_end(struct ktap *k);

/* Tests counted. */
uint64_t ktap_tests(const struct ktap *k);
/* The first that failed, or NULL. */
const struct ktap_case *ktap_first_failure(const struct ktap *k);

#endif
