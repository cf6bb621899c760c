/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Reads its stdin to the end, and prints "BYTES NS": how many there were, and the time from the first to the last.
 * Exit status: 0, 1 a read failed.
 */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

int main(void)
{
	static char buf[1 << 16];
	uint64_t bytes = 0, first = 0, last = 0;
	ssize_t n;

	while ((n = read(0, buf, sizeof(buf))) > 0) {
		last = now_ns();
		if (!bytes)
			first = last;
		bytes += (uint64_t)n;
	}
	printf("%" PRIu64 " %" PRIu64 "\n", bytes, last - first);
	return n < 0;
}
