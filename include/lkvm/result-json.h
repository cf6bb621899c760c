/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The result of a run as one JSON object. tests/result-schema.json is its schema, the README explains it. A field is
 * never removed and never changes its meaning within a version; new ones may come.
 */
#ifndef LKVM_RESULT_JSON_H
#define LKVM_RESULT_JSON_H

#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include <lkvm/machine.h>

#define RESULT_VERSION 1
/* Names of failed tests; more are counted only. */
#define RESULT_FAILURES 32

struct result_info {
	const char *outcome;              /* result_outcome() */
	int status;                       /* 128 + n when lkvm ends by signal n */
	const char *message;              /* what the last line on stderr says */
	const char *name;                 /* of the VM, or NULL */
	const struct ktap *tests;         /* NULL: without --ktap */
	const struct machine_result *res; /* NULL: no machine was made */
	uint64_t start_ns;                /* as util_now_ns() has it; times are from here */
	struct timespec start_wall;       /* the same moment by the wall clock */
	char *const *argv;                /* the command line from "run" on, NULL at the end */
};

void result_write_json(FILE *out, const struct result_info *info);

#endif
