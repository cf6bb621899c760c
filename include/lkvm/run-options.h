/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The options of `lkvm run`: what a user typed, before it is checked as a whole and becomes a machine_config.
 */
#ifndef LKVM_RUN_OPTIONS_H
#define LKVM_RUN_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include <lkvm/err.h>
#include <lkvm/match.h>
#include <lkvm/options.h>
#include <lkvm/virtio/types.h>

struct run_options {
	const char *kernel;
	struct option_strings initrds;
	const char *root;
	struct option_strings add, add_exec;
	const char *modules;
	struct option_strings params;
	uint64_t mem;
	uint32_t cpus;
	struct option_cpus affinity;
	const char *hugetlbfs;
	bool mem_shared;
	unsigned int boot;
	bool kaslr;
	bool acpi;
	unsigned int irqchip;
	bool pmu;
	const char *dump_dtb;
	uint32_t debug_exit;
	bool nodefaults;
	unsigned int console;
	const char *log;
	uint64_t timeout_ns, boot_timeout_ns, idle_timeout_ns;
	struct match until, fail;
	unsigned int fail_on;
	unsigned int on_reset;
	const char *result, *junit, *tap;
	bool ktap;
	char *const *command; /* and its arguments, NULL at the end; NULL: none */
	struct option_strings env;
	const char *cwd;
	bool user; /* uid and gid are given */
	uint32_t uid, gid;
	const char *init;
	bool verbose;
	const char *results;
	bool die_with_parent;
	bool debug_on_fail;
	const char *symbols, *core;
	const char *name;
	const char *dev;
	struct virtio_spec *virtio;
	unsigned int virtio_nr;
	unsigned int virtio_trans;
	unsigned int pci_access;
	unsigned int loglevel;
	bool debug;
	bool dry_run;
	bool help;
};

enum { CONSOLE_SERIAL, CONSOLE_NONE, CONSOLE_VIRTIO };
enum { RESET_EXIT, RESET_RESTART };
enum { FAIL_ON_PANIC, FAIL_ON_SPLAT };
#define NO_PORT UINT32_MAX

/* Fills `opt`, which points into argv. `argv` starts with the first option. */
int run_options_parse(struct run_options *opt, int argc, char **argv, struct err *err);
void run_options_release(struct run_options *opt);
void run_options_help(void);

#endif
