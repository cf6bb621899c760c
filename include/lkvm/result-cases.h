/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The result of a run as test cases: the run itself is the first, and each test that --ktap saw follows.
 *
 * JUnit XML: one suite, by the rules that the schemas of Ant's and Jenkins's JUnit reports share. TAP: version 13.
 * Text is escaped, and what XML 1.0 does not allow is replaced. The stream's errors are the stream's.
 */
#ifndef LKVM_RESULT_CASES_H
#define LKVM_RESULT_CASES_H

#include <stdio.h>

#include <lkvm/result-json.h>

void result_write_junit(FILE *out, const struct result_info *info);
void result_write_tap(FILE *out, const struct result_info *info);

#endif
