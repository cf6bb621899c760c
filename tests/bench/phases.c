/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Runs a VMM whose guest measures in phases, and says what each phase cost the host:
 *	phases [OPTION...] COMMAND [ARGUMENT...]
 * A line "begin NAME" of its output is answered with a line on its stdin, once the counters are read; after
 * "end NAME REQUESTS NS" they are read again, and this is printed:
 *	NAME REQUESTS NS POLLER_NS POLLER_SLEEPS VMM_NS [NUMBER...]
 * CPU time and voluntary sleeps of the threads that are no vCPU (sleeps: of those that still run), CPU time of all threads less that of the guest (by
 * the kernel's ticks), and by how much the number in each -f FILE has grown. It is killed at a line "done".
 *	-t SECONDS    give up after this time (120)
 *	-f FILE       a file with a number (a KVM counter)
 *	-p CPU,...    move the thread of vCPU 0 to the first, that of vCPU 1 to the second, before the first phase
 * Exit status: 0 "done" came, 1 it did not, 2 usage or a failure of this program.
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

#define FILES_MAX 8
#define CPUS_MAX  8
#define TEXT_MAX  65536

/* Counters, all growing. */
enum { POLLER_NS, POLLER_SLEEPS, VMM_NS, FILES };
#define NUMBERS_MAX (FILES + FILES_MAX)

struct phases {
	const char *files[FILES_MAX];
	unsigned int files_nr;
	int cpus[CPUS_MAX]; /* of the vCPUs */
	unsigned int cpus_nr;
	pid_t pid;
	int in, out; /* the command's */
	int64_t before[NUMBERS_MAX];
	char text[TEXT_MAX]; /* what it said last */
	size_t len;
};

static int fail(const char *what)
{
	fprintf(stderr, "phases: %s: %s\n", what, strerror(errno));
	return 2;
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* The first number of a file, or that after `key`. */
static int64_t read_number(const char *path, const char *key)
{
	size_t key_len = strlen(key);
	FILE *f = fopen(path, "r");
	int64_t value = 0;
	char line[512];

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, key, key_len) && sscanf(line + key_len, "%" SCNd64, &value) == 1)
			break;
	if (f)
		fclose(f);
	return value;
}

/* The number of the vCPU whose thread it is, or -1. QEMU names it with debug-threads=on. */
static int vcpu_of(const char *task)
{
	char path[300], name[32] = "";
	unsigned int n;

	snprintf(path, sizeof(path), "%s/comm", task);
	FILE *f = fopen(path, "r");
	if (f && !fgets(name, sizeof(name), f))
		name[0] = 0;
	if (f)
		fclose(f);
	if (sscanf(name, "vcpu%u", &n) == 1 || sscanf(name, "CPU %u/KVM", &n) == 1)
		return (int)n;
	return -1;
}

static void each_thread(struct phases *p,
			void (*fn)(struct phases *p, const char *task, int vcpu, int64_t *numbers),
			int64_t *numbers)
{
	struct dirent *de;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/task", (int)p->pid);
	DIR *d = opendir(path);
	while (d && (de = readdir(d)) != NULL) {
		char task[128];

		if (de->d_name[0] == '.')
			continue;
		snprintf(task, sizeof(task), "%s/%.16s", path, de->d_name);
		fn(p, task, vcpu_of(task), numbers);
	}
	if (d)
		closedir(d);
}

static void pin_thread(struct phases *p, const char *task, int vcpu, int64_t *numbers)
{
	cpu_set_t set;

	(void)numbers;
	if (vcpu < 0 || vcpu >= (int)p->cpus_nr)
		return;
	CPU_ZERO(&set);
	CPU_SET(p->cpus[vcpu], &set);
	sched_setaffinity(atoi(strrchr(task, '/') + 1), sizeof(set), &set);
}

static void add_thread(struct phases *p, const char *task, int vcpu, int64_t *numbers)
{
	char path[300];

	(void)p;
	if (vcpu >= 0) {
		snprintf(path, sizeof(path), "%s/schedstat", task);
		numbers[POLLER_NS] -= read_number(path, "");
		return;
	}
	snprintf(path, sizeof(path), "%s/status", task);
	numbers[POLLER_SLEEPS] += read_number(path, "voluntary_ctxt_switches:");
}

/* utime + stime - guest_time, in nanoseconds. */
static int64_t read_vmm_ns(pid_t pid)
{
	char path[64], line[1024];
	int64_t sum = 0, tick_ns = 1000000000 / sysconf(_SC_CLK_TCK);

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	FILE *f = fopen(path, "r");
	char *at = f && fgets(line, sizeof(line), f) ? strrchr(line, ')') : NULL;
	if (f)
		fclose(f);
	if (!at)
		return 0;
	/* The command ends field 2. */
	char *save, *word = strtok_r(at + 1, " ", &save);
	for (unsigned int field = 3; word; field++, word = strtok_r(NULL, " ", &save)) {
		if (field == 14 || field == 15)
			sum += strtoll(word, NULL, 10);
		else if (field == 43)
			sum -= strtoll(word, NULL, 10);
	}
	return sum * tick_ns;
}

static void read_numbers(struct phases *p, int64_t numbers[NUMBERS_MAX])
{
	memset(numbers, 0, NUMBERS_MAX * sizeof(numbers[0]));
	for (unsigned int i = 0; i < p->files_nr; i++)
		numbers[FILES + i] = read_number(p->files[i], "");
	numbers[VMM_NS] = read_vmm_ns(p->pid);
	/* All threads, also those that have ended, less the vCPUs'. */
	struct timespec ts;
	clockid_t clock;
	if (!clock_getcpuclockid(p->pid, &clock) && !clock_gettime(clock, &ts))
		numbers[POLLER_NS] = (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
	each_thread(p, add_thread, numbers);
}

/* Whether this was the last line. A BIOS leaves escape sequences before the first. */
static bool serve_line(struct phases *p, char *line)
{
	uint64_t requests, ns;
	char name[64], *escape = strrchr(line, '\033');

	line[strcspn(line, "\r")] = 0;
	if (escape)
		line = escape + strcspn(escape, "J") + (strchr(escape, 'J') != NULL);
	if (sscanf(line, "begin %63s", name) == 1) {
		each_thread(p, pin_thread, NULL);
		read_numbers(p, p->before);
		if (write(p->in, "\n", 1) != 1)
			return true;
	} else if (sscanf(line, "end %63s %" SCNu64 " %" SCNu64, name, &requests, &ns) == 3) {
		int64_t after[NUMBERS_MAX];

		read_numbers(p, after);
		printf("%s %" PRIu64 " %" PRIu64, name, requests, ns);
		for (unsigned int i = 0; i < FILES + p->files_nr; i++)
			printf(" %" PRId64, after[i] - p->before[i]);
		putchar('\n');
		fflush(stdout);
	}
	return !strcmp(line, "done");
}

/* Whole lines of the text; the rest stays. */
static bool serve_lines(struct phases *p)
{
	bool done = false;
	char *end;

	while (!done && (end = memchr(p->text, '\n', p->len)) != NULL) {
		*end = 0;
		done = serve_line(p, p->text);
		p->len -= (size_t)(end + 1 - p->text);
		memmove(p->text, end + 1, p->len);
	}
	return done;
}

static bool serve(struct phases *p, uint64_t deadline_ms)
{
	char last[400] = "";

	for (;;) {
		struct pollfd pfd = { .fd = p->out, .events = POLLIN };
		uint64_t now = now_ms();

		if (now >= deadline_ms || poll(&pfd, 1, (int)(deadline_ms - now)) < 1)
			break;
		ssize_t n = read(p->out, p->text + p->len, sizeof(p->text) - p->len);
		if (n <= 0)
			break;
		size_t keep = (size_t)n < sizeof(last) - 1 ? (size_t)n : sizeof(last) - 1;
		memcpy(last, p->text + p->len + (size_t)n - keep, keep);
		last[keep] = 0;
		p->len += (size_t)n;
		if (serve_lines(p))
			return true;
	}
	fprintf(stderr, "phases: no \"done\"; last output:\n%s\n", last);
	return false;
}

static int start(struct phases *p, char **argv)
{
	int in[2], out[2];

	if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC))
		return -1;
	p->pid = fork();
	if (p->pid == 0) {
		/* A group of its own, so that what it starts is killed with it, and it with us. */
		setpgid(0, 0);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (dup2(in[0], STDIN_FILENO) < 0 || dup2(out[1], STDOUT_FILENO) < 0)
			_exit(127);
		execvp(argv[0], argv);
		fprintf(stderr, "phases: cannot run %s: %s\n", argv[0], strerror(errno));
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	p->in = in[1];
	p->out = out[0];
	return p->pid < 0 ? -1 : 0;
}

static void parse_cpus(struct phases *p, char *list)
{
	for (char *save, *w = strtok_r(list, ",", &save); w && p->cpus_nr < CPUS_MAX;
	     w = strtok_r(NULL, ",", &save))
		p->cpus[p->cpus_nr++] = atoi(w);
}

int main(int argc, char **argv)
{
	static struct phases p;
	double limit_s = 120;
	int c;

	while ((c = getopt(argc, argv, "+t:f:p:")) != -1) {
		if (c == 't')
			limit_s = atof(optarg);
		else if (c == 'f' && p.files_nr < FILES_MAX)
			p.files[p.files_nr++] = optarg;
		else if (c == 'p')
			parse_cpus(&p, optarg);
		else
			return 2;
	}
	if (optind == argc)
		return 2;
	signal(SIGPIPE, SIG_IGN);
	if (start(&p, argv + optind))
		return fail("fork");
	bool done = serve(&p, now_ms() + (uint64_t)(limit_s * 1000));
	kill(-p.pid, SIGKILL);
	waitpid(p.pid, NULL, 0);
	return done ? 0 : 1;
}
