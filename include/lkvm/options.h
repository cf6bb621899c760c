/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Command-line options: one const table gives the parser, the help text and the README's list.
 *
 * Spelling: `--kernel FILE`, `--kernel=FILE`, `-k FILE`, `-kFILE`; no abbreviations, no bundles of
 * letters. `--` ends the options, and so does the first argument that does not start with a dash (or is
 * a dash alone). An option is given once, unless its row says `repeat`.
 *
 * Errors are ERR_USAGE and name the option and the value. Strings are not copied: they point into argv.
 */
#ifndef LKVM_OPTIONS_H
#define LKVM_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <lkvm/err.h>

struct option_def;

/* Puts `arg` (NULL for a flag) into the command's config. `arg` is what the user typed. */
typedef int option_parse_fn(void *cfg, const struct option_def *def, const char *arg,
			    struct err *err);

/* A row with no name is a heading: `help` is its text, the rest is not looked at. */
struct option_def {
	const char *name;           /* without the dashes: "kernel", "no-acpi" */
	char letter;                /* 'k', or 0 */
	bool repeat;                /* may be given several times */
	const char *arg;            /* what help calls the value: "FILE"; NULL: a flag; "[=FILE]":
				       it may be left out, and then `arg` of the parser is NULL */
	option_parse_fn *parse;     /* one of the below or the command's own */
	size_t off;                 /* of the field, for the parsers below */
	uint64_t min, max;          /* inclusive; max 0: no limit but the type's */
	const char *const *choices; /* option_choice: names, NULL at the end */
	bool hidden;                /* not in the help */
	const char *help;           /* one sentence or two; wrapped by the printer */
};

/* A spelling from elsewhere: what lkvm says when it is used. */
struct option_foreign {
	const char *name; /* as typed, with its dashes; a value after '=' is not looked at */
	const char *say;  /* follows "option NAME: " */
};

struct option_table {
	const struct option_def *defs;
	unsigned int defs_nr;                 /* at most OPTIONS_MAX */
	const struct option_foreign *foreign; /* may be NULL */
	unsigned int foreign_nr;
};

#define OPTIONS_MAX 96

/*
 * Parses argv[0..argc), which starts with the first option, not with the command. *rest gets the index of
 * the first argument that is not an option, argc when there is none. A foreign spelling with one dash
 * is recognised before `-kFILE` is taken apart; one with two dashes loses against the table.
 */
int options_parse(const struct option_table *table, void *cfg, int argc, char *const argv[],
		  int *rest, struct err *err);

/* The list of options, 80 columns. */
void options_help(const struct option_table *table, FILE *out);

/*
 * An option's value that is a list of its own: "VALUE,key=value,flag". Each row of `defs` is a key, parsed into `cfg`
 * by the same parsers; one with an empty name takes the first word, unless that looks like "key=". A
 * comma inside a value is written twice. `text` is changed, and kept: strings point into it. `option` is the
 * name of the whole, for errors. The first table that knows a key takes it.
 */
struct option_keys {
	const struct option_def *defs;
	unsigned int defs_nr;
	void *cfg;
};
int options_parse_keys(const char *option, const struct option_keys *tables, unsigned int tables_nr,
		       char *text, struct err *err);
/* Their list: "key=ARG" or "flag". */
void options_help_keys(const struct option_def *defs, unsigned int defs_nr, FILE *out);

/* Parsers. Each says what the field at `off` is. */
option_parse_fn option_set;     /* bool, becomes true */
option_parse_fn option_clear;   /* bool, becomes false */
option_parse_fn option_string;  /* const char * */
option_parse_fn option_strings; /* struct option_strings; `repeat` */
option_parse_fn option_u32;     /* uint32_t, decimal or 0x; min and max */
option_parse_fn option_on_off;  /* bool: "on" or "off" */
option_parse_fn option_choice;  /* unsigned int (or an enum): the index in `choices` */
option_parse_fn
	option_size; /* uint64_t bytes; "512" is MiB, else K, M, G or T; min and max in bytes */
option_parse_fn option_seconds; /* uint64_t ns; "30", "0.5"; min and max in ns */
option_parse_fn option_cpus;    /* struct option_cpus: "0,2-3" */

#define OPTION_STRINGS_MAX 64

struct option_strings {
	const char *str[OPTION_STRINGS_MAX];
	unsigned int nr;
};

#define OPTION_CPUS_MAX 1024

struct option_cpus {
	uint16_t cpu
		[OPTION_CPUS_MAX]; /* in the order given; each below OPTION_CPUS_MAX, none twice */
	unsigned int nr;
};

#endif
