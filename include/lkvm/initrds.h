/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The initrds of a guest, one after the other in its memory. Each is padded to 4 bytes, as the kernel wants them.
 */
#ifndef LKVM_INITRDS_H
#define LKVM_INITRDS_H

#include <stdint.h>

#include <lkvm/err.h>

struct gmem;
struct src;

#define INITRDS_PAGE 4096

/*
 * Loads them to the end of [start, end), which lies in one region of memory and has no other use; both are multiples of
 * INITRDS_PAGE, and there is no room when start is not below end. *len is 0 when there are none.
 */
int initrds_load(const struct gmem *gm, const struct src *initrds, unsigned int nr, uint64_t start,
		 uint64_t end, uint64_t *gpa, uint64_t *len, struct err *err);

#endif
