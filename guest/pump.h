/* SPDX-License-Identifier: GPL-2.0 */
/*
 * One direction of a stream in the guest: from a descriptor to another one, both non-blocking, through a buffer that is
 * filled when it is empty. Freestanding.
 */
#ifndef LKVM_GUEST_PUMP_H
#define LKVM_GUEST_PUMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a virtio console's driver takes at a time; a serial one takes less, a pipe more. */
#define PUMP_LEN 32768

struct pump {
	int from, to; /* -1: closed */
	size_t most;  /* bytes to take at a time; 0: as many as the buffer holds */
	size_t off, len;
	uint8_t buf[PUMP_LEN]; /* [off, len) is to be written */
};

/* What to wait for. */
bool pump_wants_input(const struct pump *p);
bool pump_wants_output(const struct pump *p);

/*
 * As much as goes without waiting. Returns the bytes moved, and 0 when it would wait. The end of `from`, or an error
 * there, closes it; an error of `to` closes both, and what is in the buffer is lost.
 */
size_t pump_fill(struct pump *p);
size_t pump_drain(struct pump *p);

void pump_close_from(struct pump *p);
/* Closes both, and forgets what is in the buffer. */
void pump_close(struct pump *p);

#endif
