/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Load on a block device for a fixed time, in the guest of tests/bench/blk:
 *	blkload NAME DEVICE read|write random|sequential BYTES DEPTH JOBS MS
 * Prints "begin NAME", waits for a line on stdin, keeps DEPTH requests of BYTES in flight for each of JOBS processes
 * (process i on CPU i), and prints "end NAME REQUESTS NS". O_DIRECT; depth 1 is pread() and pwrite(), more is Linux
 * AIO: all that ended are taken at once and sent again at once.
 */
// LIBS: -static
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define DEPTH_MAX 256u
#define JOBS_MAX  64u
#define WARM_NS   200000000u /* before the counters are taken */

struct load {
	int fd;
	bool write, sequential;
	uint64_t bytes, blocks; /* of a request; requests in the device */
	unsigned int depth;
	uint64_t seed, next;
	char *buf;
};

/* Of all processes. */
struct shared {
	_Atomic bool go;
	_Atomic uint64_t end_ns, requests;
	_Atomic unsigned int warm, failed;
};

static int fail(const char *what)
{
	printf("blkload: %s: %s\n", what, strerror(errno));
	return 1;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static uint64_t next_offset(struct load *l)
{
	if (l->sequential)
		return l->next++ % l->blocks * l->bytes;
	/* xorshift64 */
	l->seed ^= l->seed << 13;
	l->seed ^= l->seed >> 7;
	l->seed ^= l->seed << 17;
	return l->seed % l->blocks * l->bytes;
}

/* Until `end`; the number of requests, or -1. */
static int64_t run_one(struct load *l, const _Atomic uint64_t *end)
{
	int64_t nr = 0;

	for (; now_ns() < *end; nr++) {
		off_t off = (off_t)next_offset(l);
		ssize_t n = l->write ? pwrite(l->fd, l->buf, l->bytes, off)
				     : pread(l->fd, l->buf, l->bytes, off);

		if (n != (ssize_t)l->bytes)
			return -1;
	}
	return nr;
}

static void describe(struct load *l, struct iocb *cb, unsigned int i)
{
	*cb = (struct iocb){
		.aio_lio_opcode = l->write ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD,
		.aio_fildes = (uint32_t)l->fd,
		.aio_buf = (uintptr_t)(l->buf + i * l->bytes),
		.aio_nbytes = l->bytes,
		.aio_offset = (int64_t)next_offset(l),
		.aio_data = i,
	};
}

static int64_t run_many(struct load *l, const _Atomic uint64_t *end)
{
	static struct iocb cbs[DEPTH_MAX], *list[DEPTH_MAX];
	struct io_event events[DEPTH_MAX];
	long out = 0, todo = (long)l->depth;
	aio_context_t ctx = 0;
	int64_t nr = 0;

	if (syscall(SYS_io_setup, l->depth, &ctx))
		return -1;
	for (unsigned int i = 0; i < l->depth; i++) {
		describe(l, &cbs[i], i);
		list[i] = &cbs[i];
	}
	for (;;) {
		if (todo && syscall(SYS_io_submit, ctx, todo, list) != todo)
			break;
		out += todo;
		if (!out)
			break;
		long n = syscall(SYS_io_getevents, ctx, 1L, (long)l->depth, events, NULL);
		if (n < 1)
			return -1;
		out -= n;
		nr += n;
		todo = now_ns() < *end ? n : 0;
		for (long k = 0; k < n; k++) {
			unsigned int i = (unsigned int)events[k].data;

			if (events[k].res != (int64_t)l->bytes)
				return -1;
			if (todo) {
				describe(l, &cbs[i], i);
				list[k] = &cbs[i];
			}
		}
	}
	syscall(SYS_io_destroy, ctx);
	return out ? -1 : nr;
}

static int64_t run(struct load *l, const _Atomic uint64_t *end)
{
	return l->depth == 1 ? run_one(l, end) : run_many(l, end);
}

static int job(struct load *l, struct shared *s, unsigned int i)
{
	_Atomic uint64_t warm_end = now_ns() + WARM_NS;
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(i, &set);
	sched_setaffinity(0, sizeof(set), &set);
	l->seed = 88172645463325252u + i * 7919u;
	int64_t nr = run(l, &warm_end);
	s->warm++;
	while (!s->go)
		usleep(1000);
	if (nr >= 0)
		nr = run(l, &s->end_ns);
	if (nr < 0)
		return 1;
	s->requests += (uint64_t)nr;
	return 0;
}

static int measure(struct load *l, const char *name, unsigned int jobs, uint64_t ns)
{
	struct shared *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status, failed = 0;
	char line[64];

	if (s == MAP_FAILED)
		return fail("mmap");
	for (unsigned int i = 0; i < jobs; i++)
		if (fork() == 0)
			_exit(job(l, s, i));
	while (s->warm < jobs)
		usleep(1000);
	printf("begin %s\n", name);
	if (!fgets(line, sizeof(line), stdin))
		return fail("no line to begin");
	uint64_t begin = now_ns();
	s->end_ns = begin + ns;
	s->go = true;
	while (wait(&status) > 0)
		failed |= status;
	uint64_t end = now_ns();
	if (failed)
		return fail(name);
	printf("end %s %llu %llu\n", name, (unsigned long long)s->requests,
	       (unsigned long long)(end - begin));
	return 0;
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc != 9)
		return 2;
	struct load l = {
		.write = !strcmp(argv[3], "write"),
		.sequential = !strcmp(argv[4], "sequential"),
		.bytes = strtoull(argv[5], NULL, 10),
		.depth = (unsigned int)atoi(argv[6]),
	};
	unsigned int jobs = (unsigned int)atoi(argv[7]);

	l.fd = open(argv[2], O_RDWR | O_DIRECT);
	if (l.fd < 0)
		return fail(argv[2]);
	off_t size = lseek(l.fd, 0, SEEK_END);
	if (!l.bytes || size < (off_t)l.bytes || !l.depth || l.depth > DEPTH_MAX || !jobs ||
	    jobs > JOBS_MAX)
		return 2;
	l.blocks = (uint64_t)size / l.bytes;
	if (posix_memalign((void **)&l.buf, 4096, l.depth * l.bytes))
		return fail("memory");
	memset(l.buf, 0x5a, l.depth * l.bytes);
	return measure(&l, argv[1], jobs, strtoull(argv[8], NULL, 10) * 1000000);
}
