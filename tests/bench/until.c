/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Runs a command until its output holds a marker, and says how long that took:
 *	until [-t SECONDS] [-h FILE]... [-o FILE] MARKER COMMAND [ARGUMENT...]
 * prints "NS BYTES CPU_NS [NUMBER...]": wall time from exec to the marker's first byte, bytes of output before it,
 * CPU time of the command until then, and by how much the number in each -h FILE has grown: a file with a number (a KVM
 * counter), or a trace event's histogram (the sum of its hits). The command is stopped while they are
 * read, and killed then. -o keeps the output.
 * Exit status: 0 the marker came, 1 it did not, 2 usage or a failure of this program.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FILES_MAX 8
#define OUTPUT_MAX (4u << 20)

struct until {
	const char *marker;
	const char *files[FILES_MAX];
	unsigned int files_nr;
	double limit_s;
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

/* Offset of the marker in the output, or -1 when it ended or the time is over. */
static ssize_t wait_marker(struct until *u, int fd, uint64_t deadline, uint64_t *when)
{
	size_t marker_len = strlen(u->marker);

	while (u->len < sizeof(u->buf)) {
		struct pollfd pfd = { .fd = fd, .events = POLLIN };
		uint64_t now = now_ns(CLOCK_MONOTONIC);

		if (now >= deadline || poll(&pfd, 1, (int)((deadline - now) / 1000000 + 1)) < 0)
			return -1;
		if (!pfd.revents)
			continue;
		ssize_t n = read(fd, u->buf + u->len, sizeof(u->buf) - u->len);
		*when = now_ns(CLOCK_MONOTONIC);
		if (n <= 0)
			return -1;
		if (u->out_fd >= 0 && write(u->out_fd, u->buf + u->len, (size_t)n) != n)
			return -1;
		size_t from = u->len < marker_len ? 0 : u->len - marker_len;
		u->len += (size_t)n;
		char *at = memmem(u->buf + from, u->len - from, u->marker, marker_len);
		if (at)
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
	ssize_t at = wait_marker(u, fd, begin + (uint64_t)(u->limit_s * 1e9), &end);
	kill(pid, SIGSTOP);
	if (clock_getcpuclockid(pid, &clock) == 0)
		cpu = now_ns(clock);
	read_numbers(u, after);
	kill(-pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(fd);
	if (at < 0) {
		fprintf(stderr, "until: no \"%s\" from %s; its last output:\n%.*s\n", u->marker, argv[0],
			(int)(u->len < 400 ? u->len : 400), u->buf + (u->len < 400 ? 0 : u->len - 400));
		return 1;
	}
	printf("%" PRIu64 " %zd %" PRIu64, end - begin, at, cpu);
	for (unsigned int i = 0; i < u->files_nr; i++)
		printf(" %" PRId64, after[i] - before[i]);
	putchar('\n');
	return 0;
}

int main(int argc, char **argv)
{
	static struct until u = { .limit_s = 120, .out_fd = -1 };
	int c;

	while ((c = getopt(argc, argv, "+t:h:o:")) != -1) {
		if (c == 't') {
			u.limit_s = atof(optarg);
		} else if (c == 'h' && u.files_nr < FILES_MAX) {
			u.files[u.files_nr++] = optarg;
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
