/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Random writes whose place and content follow from their number, so that what a journal says is enough to check a
 * disk. The guest payload makes them, tests/boot/write-verify.c does so under Linux and checks.
 *
 * The disk is cells of 8 sectors, and cell c belongs to writer c % JOURNAL_WRITERS: two writes that are out at once
 * never meet. A writer's n-th write covers the first sectors of one of its cells.
 */
#ifndef JOURNAL_H
#define JOURNAL_H

#include <stdint.h>

#define JOURNAL_WRITERS 16
#define JOURNAL_CELL    8 /* sectors */
#define JOURNAL_MAGIC   0x6c6b766d6a6f7572ULL

/* The first and the last words of a sector. What is between them does not matter. */
struct journal_stamp {
	uint64_t magic; /* JOURNAL_MAGIC ^ the seed */
	uint64_t sector, nr, sum;
};

struct journal_write {
	uint64_t sector;
	uint32_t sectors; /* 1 to JOURNAL_CELL */
};

static inline uint64_t journal_mix(uint64_t v)
{
	v = (v ^ v >> 31) * 0x9e3779b97f4a7c15ULL;
	v = (v ^ v >> 29) * 0xbf58476d1ce4e5b9ULL;
	return v ^ v >> 32;
}

/* Of a disk that has `cells` for each writer. */
static inline struct journal_write journal_at(uint64_t seed, uint32_t writer, uint64_t nr,
					      uint64_t cells)
{
	uint64_t r = journal_mix(seed << 40 ^ (uint64_t)writer << 34 ^ nr);

	return (struct journal_write){
		(r % cells * JOURNAL_WRITERS + writer) * JOURNAL_CELL,
		1 + (uint32_t)(r >> 60) % JOURNAL_CELL,
	};
}

static inline struct journal_stamp journal_stamp(uint64_t seed, uint64_t sector, uint64_t nr)
{
	struct journal_stamp s = { JOURNAL_MAGIC ^ seed, sector, nr, 0 };

	s.sum = journal_mix(s.magic ^ sector << 20 ^ nr);
	return s;
}

#endif
