/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What init does before the command: file systems, modules, and the devices of the streams. Freestanding.
 */
#ifndef LKVM_GUEST_SETUP_H
#define LKVM_GUEST_SETUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A line in the kernel's log. */
void setup_say(const char *what, const char *name);

/* Mounts what a program expects. What is in the initramfs stays visible, but in /proc, /sys and /dev. */
void setup_mounts(void);
/* The modules of CMD_MODULES, in that order; each that cannot be loaded is told in the kernel's log. */
void setup_modules(void);

/* A serial port as a stream: non-blocking, not our terminal; raw, or as a terminal of that size. -1: there is none. */
struct setup_size {
	uint32_t rows, cols;
};
int setup_serial(unsigned int nr, const struct setup_size *terminal);
/* CMD_RESULTS_PATH as a pipe, for a port that only one may have open. Its end to read from, non-blocking; -1. */
int setup_results_pipe(void);
/* Returns when all that was written to it is out. */
void setup_flush(int fd);

/* Reads a whole file. The bytes read, or -errno; -EFBIG when there are more than `max`. */
long setup_read_file(const char *path, char *buf, size_t max);

#endif
