/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Random writes to a disk with a journal of what is stable, and the check that all of it is there after whatever came.
 *
 *   write-verify write DEVICE SEED stable|acknowledged
 *       writes for ever, JOURNAL_WRITERS processes at once, with O_DIRECT; "stable WRITER N" on stdout when the first N
 *       writes of a writer are: after fdatasync(2), or as soon as each has returned
 *   write-verify check IMAGE SEED <JOURNAL
 *       reads "stable WRITER N" and "stable N" (of all writers), and ends with 0 and a line of figures, or 1 and what
 *       is lost
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../guest/journal.h"

#define SECTOR      512
#define FLUSH_EVERY 4

static int fail(const char *what)
{
	fprintf(stderr, "write-verify: %s: %s\n", what, strerror(errno));
	return 1;
}

static uint64_t cells_of(int fd)
{
	return (uint64_t)lseek(fd, 0, SEEK_END) / (SECTOR * JOURNAL_CELL * JOURNAL_WRITERS);
}

static void stamp(uint8_t *data, uint64_t seed, uint64_t sector, uint64_t nr)
{
	struct journal_stamp s = journal_stamp(seed, sector, nr);

	memcpy(data, &s, sizeof(s));
	memcpy(data + SECTOR - sizeof(s), &s, sizeof(s));
}

static int write_for_ever(const char *device, uint64_t seed, uint32_t writer, bool sync)
{
	static _Alignas(4096) uint8_t data[JOURNAL_CELL * SECTOR];
	int fd = open(device, O_WRONLY | O_DIRECT);
	char line[64];

	if (fd < 0)
		return fail(device);
	uint64_t cells = cells_of(fd);
	for (uint64_t nr = 0;; nr++) {
		struct journal_write w = journal_at(seed, writer, nr, cells);
		ssize_t len = w.sectors * SECTOR;
		for (uint32_t k = 0; k < w.sectors; k++)
			stamp(data + k * SECTOR, seed, w.sector + k, nr);
		if (pwrite(fd, data, (size_t)len, (off_t)(w.sector * SECTOR)) != len)
			return fail("pwrite");
		if ((nr + 1) % FLUSH_EVERY)
			continue;
		if (sync && fdatasync(fd))
			return fail("fdatasync");
		/* One write(2) a line, so that writers do not mix theirs. */
		int n = snprintf(line, sizeof(line), "stable %u %" PRIu64 "\n", writer, nr + 1);
		if (write(STDOUT_FILENO, line, (size_t)n) != n)
			return fail("stdout");
	}
}

static int write_all(const char *device, uint64_t seed, bool sync)
{
	for (uint32_t i = 0; i < JOURNAL_WRITERS; i++)
		if (fork() == 0)
			_exit(write_for_ever(device, seed, i, sync));
	wait(NULL);
	return 1;
}

/* --- check --- */

static int read_journal(uint64_t stable[JOURNAL_WRITERS])
{
	char line[256];
	int lines = 0;

	while (fgets(line, sizeof(line), stdin)) {
		uint64_t a, b;
		char end;
		/* The last line may be cut: it is one only with its end. A console ends lines with \r\n. */
		if (sscanf(line, "stable %" SCNu64 " %" SCNu64 "%c", &a, &b, &end) == 3 &&
		    (end == '\r' || end == '\n') && a < JOURNAL_WRITERS) {
			stable[a] = b;
		} else if (sscanf(line, "stable %" SCNu64 "%c", &a, &end) == 2 &&
			   (end == '\r' || end == '\n')) {
			for (int i = 0; i < JOURNAL_WRITERS; i++)
				stable[i] = a;
		} else {
			continue;
		}
		lines++;
	}
	return lines;
}

static bool covers(uint64_t seed, uint32_t writer, uint64_t nr, uint64_t cells, uint64_t sector)
{
	struct journal_write w = journal_at(seed, writer, nr, cells);

	return sector >= w.sector && sector < w.sector + w.sectors;
}

/* What a sector holds: the number of the write + 1, 0: nothing was written, -1: no write that there was. */
static int64_t decode(const uint8_t *data, uint64_t seed, uint64_t sector, uint64_t cells)
{
	static const uint8_t zeros[SECTOR];
	uint32_t writer = (uint32_t)(sector / JOURNAL_CELL % JOURNAL_WRITERS);
	struct journal_stamp a, b, want;

	if (memcmp(data, zeros, SECTOR) == 0)
		return 0;
	memcpy(&a, data, sizeof(a));
	memcpy(&b, data + SECTOR - sizeof(b), sizeof(b));
	want = journal_stamp(seed, sector, a.nr);
	if (memcmp(&a, &want, sizeof(a)) || memcmp(&b, &want, sizeof(b)) ||
	    !covers(seed, writer, a.nr, cells, sector))
		return -1;
	return (int64_t)a.nr + 1;
}

static int check(const char *image, uint64_t seed)
{
	uint64_t stable[JOURNAL_WRITERS] = { 0 }, writes = 0, newer = 0, lost = 0;
	int fd = open(image, O_RDONLY), lines = read_journal(stable);
	uint8_t data[SECTOR];

	if (fd < 0)
		return fail(image);
	uint64_t cells = cells_of(fd), sectors = cells * JOURNAL_WRITERS * JOURNAL_CELL;
	int64_t *want = calloc(sectors, sizeof(*want));
	if (!want)
		return fail("calloc");
	for (uint32_t i = 0; i < JOURNAL_WRITERS; i++) {
		writes += stable[i];
		for (uint64_t nr = 0; nr < stable[i]; nr++) {
			struct journal_write w = journal_at(seed, i, nr, cells);
			for (uint32_t k = 0; k < w.sectors; k++)
				want[w.sector + k] = (int64_t)nr + 1;
		}
	}
	for (uint64_t s = 0; s < sectors; s++) {
		if (pread(fd, data, SECTOR, (off_t)(s * SECTOR)) != SECTOR)
			return fail("pread");
		int64_t found = decode(data, seed, s, cells);
		if (found < want[s] && !lost++)
			printf("sector %" PRIu64 " has write %" PRId64 " and not %" PRId64 "\n", s,
			       found - 1, want[s] - 1);
		newer += found > want[s];
	}
	printf("%d journal lines, %" PRIu64 " writes stable, %" PRIu64 " sectors newer, %" PRIu64
	       " sectors lost\n",
	       lines, writes, newer, lost);
	free(want);
	return lost || !lines;
}

int main(int argc, char **argv)
{
	if (argc == 5 && strcmp(argv[1], "write") == 0)
		return write_all(argv[2], strtoull(argv[3], NULL, 0),
				 strcmp(argv[4], "stable") == 0);
	if (argc == 4 && strcmp(argv[1], "check") == 0)
		return check(argv[2], strtoull(argv[3], NULL, 0));
	fprintf(stderr, "usage: write-verify write DEVICE SEED stable|acknowledged\n"
			"       write-verify check IMAGE SEED <JOURNAL\n");
	return 2;
}
