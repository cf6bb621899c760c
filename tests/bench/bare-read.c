/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What lkvm's loading of a kernel is compared with: reads a file into new memory, in huge pages like
 * guest RAM's where the host has them, and prints the CPU time in ns from exec to the end.
 *	bare-read FILE
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define HUGE_LEN (2ul << 20)

int main(int argc, char **argv)
{
	struct timespec ts;
	struct stat st;
	int fd = argc == 2 ? open(argv[1], O_RDONLY | O_CLOEXEC) : -1;

	if (fd < 0 || fstat(fd, &st))
		return 2;
	size_t len = (size_t)st.st_size;
	uint8_t *map = mmap(NULL, len + HUGE_LEN, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (map == MAP_FAILED)
		return 2;
	uint8_t *to = (uint8_t *)(((uintptr_t)map + HUGE_LEN - 1) & ~(HUGE_LEN - 1));
	madvise(to, len, MADV_HUGEPAGE);
	for (size_t off = 0; off < len;) {
		ssize_t n = read(fd, to + off, len - off);

		if (n <= 0)
			return 2;
		off += (size_t)n;
	}
	if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts))
		return 2;
	printf("%" PRIu64 "\n", (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec);
	return 0;
}
