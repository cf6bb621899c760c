/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Runs a command until its output holds a marker, and says how long that took:
 *	until [OPTION...] MARKER COMMAND [ARGUMENT...]
 * prints "NS BYTES CPU_NS [KIB] [NUMBER...]": wall time from exec to the read that brought the marker's first byte,
 * bytes of output before it, CPU time of the command until then, with -m the resident memory outside
 * guest RAM, and by how much the number in each -f FILE has grown. The command is stopped while these
 * are read, and killed then. An empty marker waits for the command's end instead; NS lasts until it is reaped.
 *	-t SECONDS  give up after this time (120)
 *	-o FILE     keep the output
 *	-f FILE     a file with a number (a KVM counter), or a trace event's histogram, which is summed
 *	-m MIB      the guest's memory: a mapping of that size or more is guest RAM
 *	-p CPU      move the thread of vCPU 0 there, as soon as it exists
 * Exit status: 0 the marker came, 1 it did not, 2 usage or a failure of this program.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FILES_MAX  8
#define OUTPUT_MAX (4u << 20)
#define PIN_MS     2 /* how often it is looked for */

struct until {
	const char *marker;
	const char *files[FILES_MAX];
	unsigned int files_nr;
	double limit_s;
	unsigned long mem_kib;
	int cpu; /* of vCPU 0, -1: where it likes */
	int out_fd;
	size_t len;
	char buf[OUTPUT_MAX];
};

static uint64_t now_ns(clockid_t clock)
{
	struct timespec ts;

	if (clock_gettime(clock, &ts))
		return 0;
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static int fail(const char *what)
{
	fprintf(stderr, "until: %s: %s\n", what, strerror(errno));
	return 2;
}

/* A file with a number, or a histogram, whose last lines are totals. -1: neither. */
static int64_t read_number(const char *path)
{
	int64_t value = -1, n;
	FILE *f = fopen(path, "r");
	char line[512];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, " Hits: %" SCNd64, &n) == 1 || sscanf(line, "%" SCNd64, &n) == 1)
			value = n;
	if (f)
		fclose(f);
	return value;
}

/* Resident memory of the mappings that are smaller than the guest's RAM. */
static long read_rss_kib(const struct until *u, pid_t pid)
{
	unsigned long size = 0, rss, sum = 0;
	char line[512];

	snprintf(line, sizeof(line), "/proc/%d/smaps", (int)pid);
	FILE *f = fopen(line, "r");
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "Size: %lu", &size) == 1)
			continue;
		if (sscanf(line, "Rss: %lu", &rss) == 1 && size < u->mem_kib)
			sum += rss;
	}
	if (f)
		fclose(f);
	return (long)sum;
}

/* True when vCPU 0 has a thread, which then runs on the wanted CPU. QEMU names it with debug-threads=on. */
static bool pin_vcpu(const struct until *u, pid_t pid)
{
	char path[64], name[32];
	bool found = false;
	struct dirent *de;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	DIR *d = opendir(path);
	while (d && !found && (de = readdir(d)) != NULL) {
		snprintf(path, sizeof(path), "/proc/%d/task/%.16s/comm", (int)pid, de->d_name);
		FILE *f = fopen(path, "r");
		if (f && fgets(name, sizeof(name), f))
			found = !strcmp(name, "vcpu0\n") || !strcmp(name, "CPU 0/KVM\n");
		if (f)
			fclose(f);
		if (found) {
			cpu_set_t set;
			CPU_ZERO(&set);
			CPU_SET(u->cpu, &set);
			sched_setaffinity(atoi(de->d_name), sizeof(set), &set);
		}
	}
	if (d)
		closedir(d);
	return found;
}

static void read_numbers(const struct until *u, int64_t numbers[FILES_MAX])
{
	for (unsigned int i = 0; i < u->files_nr; i++)
		numbers[i] = read_number(u->files[i]);
}

static pid_t start(char **argv, int *out)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC))
		return -1;
	pid_t pid = fork();
	if (pid == 0) {
		/* A group of its own, so that what it starts is killed with it, and it with us. */
		setpgid(0, 0);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		int null = open("/dev/null", O_RDONLY);
		if (dup2(null, STDIN_FILENO) < 0 || dup2(fds[1], STDOUT_FILENO) < 0)
			_exit(127);
		execvp(argv[0], argv);
		fprintf(stderr, "until: cannot run %s: %s\n", argv[0], strerror(errno));
		_exit(127);
	}
	close(fds[1]);
	*out = fds[0];
	return pid;
}

/* Offset of the marker in the output; -1 when it ended or the time is over, 0 at the end without a marker. */
static ssize_t wait_marker(struct until *u, pid_t pid, int fd, uint64_t deadline, uint64_t *when)
{
	size_t marker_len = strlen(u->marker);
	bool pinned = u->cpu < 0;

	while (u->len < sizeof(u->buf)) {
		struct pollfd pfd = { .fd = fd, .events = POLLIN };
		uint64_t now = now_ns(CLOCK_MONOTONIC);

		if (!pinned)
			pinned = pin_vcpu(u, pid);
		int wait_ms = pinned ? (int)((deadline - now) / 1000000 + 1) : PIN_MS;
		if (now >= deadline || poll(&pfd, 1, wait_ms) < 0)
			return -1;
		if (!pfd.revents)
			continue;
		ssize_t n = read(fd, u->buf + u->len, sizeof(u->buf) - u->len);
		*when = now_ns(CLOCK_MONOTONIC);
		if (n <= 0)
			return n < 0 || marker_len ? -1 : 0;
		if (u->out_fd >= 0 && write(u->out_fd, u->buf + u->len, (size_t)n) != n)
			return -1;
		size_t from = u->len < marker_len ? 0 : u->len - marker_len;
		u->len += (size_t)n;
		char *at = memmem(u->buf + from, u->len - from, u->marker, marker_len);
		if (marker_len && at)
			return at - u->buf;
	}
	return -1;
}

static int run(struct until *u, char **argv)
{
	int64_t before[FILES_MAX], after[FILES_MAX];
	uint64_t cpu = 0, end;
	clockid_t clock;
	int fd;

	read_numbers(u, before);
	uint64_t begin = end = now_ns(CLOCK_MONOTONIC);
	pid_t pid = start(argv, &fd);

	if (pid < 0)
		return fail("fork");
	ssize_t at = wait_marker(u, pid, fd, begin + (uint64_t)(u->limit_s * 1e9), &end);
	long rss_kib = 0;
	if (!*u->marker && at == 0) {
		waitpid(pid, NULL, 0);
		end = now_ns(CLOCK_MONOTONIC);
	} else {
		kill(pid, SIGSTOP);
		rss_kib = read_rss_kib(u, pid);
	}
	if (clock_getcpuclockid(pid, &clock) == 0)
		cpu = now_ns(clock);
	read_numbers(u, after);
	kill(-pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(fd);
	if (at < 0) {
		fprintf(stderr, "until: no \"%s\" from %s; its last output:\n%.*s\n", u->marker,
			argv[0], (int)(u->len < 400 ? u->len : 400),
			u->buf + (u->len < 400 ? 0 : u->len - 400));
		return 1;
	}
	printf("%" PRIu64 " %zd %" PRIu64, end - begin, at, cpu);
	if (u->mem_kib)
		printf(" %ld", rss_kib);
	for (unsigned int i = 0; i < u->files_nr; i++)
		printf(" %" PRId64, after[i] - before[i]);
	putchar('\n');
	return 0;
}

int main(int argc, char **argv)
{
	static struct until u = { .limit_s = 120, .out_fd = -1, .cpu = -1 };
	int c;

	while ((c = getopt(argc, argv, "+t:f:o:m:p:")) != -1) {
		if (c == 't') {
			u.limit_s = atof(optarg);
		} else if (c == 'f' && u.files_nr < FILES_MAX) {
			u.files[u.files_nr++] = optarg;
		} else if (c == 'm') {
			u.mem_kib = strtoul(optarg, NULL, 10) * 1024;
		} else if (c == 'p') {
			u.cpu = atoi(optarg);
		} else if (c == 'o') {
			u.out_fd = open(optarg, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
			if (u.out_fd < 0)
				return fail(optarg);
		} else {
			return 2;
		}
	}
	if (argc - optind < 2)
		return 2;
	u.marker = argv[optind];
	return run(&u, argv + optind + 1);
}
