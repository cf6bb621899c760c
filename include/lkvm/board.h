/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The machine half of an architecture: its address map, its fixed devices, its firmware tables and its
 * way to start a kernel. machine.c builds the rest and calls these in the order in which they stand.
 */
#ifndef LKVM_BOARD_H
#define LKVM_BOARD_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <lkvm/err.h>

struct board;
struct bus;
struct chr;
struct coalesced;
struct gmem;
struct gmem_region;
struct kvm;
struct loop;
struct pci;
struct machine_config;
struct stop;
struct streams;
struct vcpu;

/* What machine.c has made and a board's devices connect to; all of it outlives the board. */
struct board_parts {
	const struct machine_config *cfg;
	struct kvm *kvm;
	const struct gmem *gm;
	struct bus *pio, *mmio;
	struct coalesced *coalesced;
	struct loop *loop;
	struct stop *stop;
	struct chr *chr;         /* the console, NULL: none */
	struct streams *streams; /* of a command, NULL: there is none */
	struct vcpu *boot_cpu;   /* the first of cfg->cpus_nr */
};

/*
 * The kernel command line that the machine needs: before what the user adds, which then overrides it,
 * and after it (an early console prints what came before "quiet" on the line).
 */
extern const char *const board_cmdline;
extern const char *const board_cmdline_tail;

/* Where a kernel is looked for when none was named; NULL ends the list. `release` is uname -r. */
extern const char *const board_kernels[];

/*
 * The release of the kernel in a file, as `uname -r` would print it there: what a bzImage says before it is
 * decompressed, or the banner of a vmlinux. "" when it does not say.
 */
void board_kernel_release(const char *path, char *release, size_t len);

/* Options of `lkvm run` that mean nothing on this architecture, which does not have them then; NULL ends the list. */
extern const char *const board_absent_options[];

/*
 * Splits RAM around the holes of the address map; fills at most GMEM_REGIONS_MAX, returns how many, or -EINVAL when it is
 * more than the map has room for.
 */
int board_ram(const struct kvm *kvm, uint64_t size, struct gmem_region *spans, struct err *err);

/* Where the registers of a command are (cmd-status.h). */
extern const uint32_t board_cmd_port;
#define BOARD_NO_PORT UINT32_MAX /* nowhere: this machine runs none */

/* Makes the devices and claims their places on the buses. */
struct board *board_new(const struct board_parts *parts, struct err *err);
void board_free(struct board *board);

/* The bus that devices are put on, between board_new() and board_load(). */
struct pci *board_pci(struct board *board);

/* Loads kernel, initrds, command line and tables, and sets the boot CPU to enter. */
int board_load(struct board *board, struct err *err);

/*
 * The console is in use: takes what makes it cheaper per byte and costs time to set up, which a guest
 * that prints little must not pay for. On the loop, once.
 */
void board_speed_up_console(struct board *board);
/* The same for the streams of a command. */
void board_speed_up_streams(struct board *board);

/* For --dry-run: devices, tables and how the kernel is entered, a line each. */
void board_describe(const struct board *board, FILE *out);

#endif
