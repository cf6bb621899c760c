/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The init of a guest that runs a command (cmd-abi.h): makes a place for it, starts it with pipes for stdin, stdout and
 * stderr, moves what goes through them, reaps whatever becomes its child, and reports the command's status. Then
 * lkvm ends the VM.
 *
 * What the command has written before it ended is out before the status is; processes that it leaves behind have no
 * say in that: they are stopped meanwhile.
 */
#include <asm/ioctls.h>
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/poll.h>
#include <linux/reboot.h>
#include <linux/signal.h>
#include <linux/wait.h>

#include <lkvm/cmd-abi.h>

#include "ports.h"
#include "pump.h"
#include "regs.h"
#include "settings.h"
#include "setup.h"
#include "start.h"
#include "sys.h"

#define STATUS_NOT_FOUND 127 /* as a shell says it */
#define STATUS_NOT_RUN   126
#define STATUS_SETUP     125 /* as env(1) and others say that it is their own failure */
#define STATUS_SIGNAL    128

/* Of stdin on its way, so less than a serial port's line discipline holds (4096, of which some are in reserve). */
#define STDIN_WINDOW 2048

/* So that the command and init take turns seldom. */
#define PIPE_LEN (1 << 20)

/*
 * Buffers of one stream, before the others have their turn. A serial port may send as fast as it is written to, and so
 * never be full, but is slow: one, and small.
 */
#define MOVES_MAX   32
#define SERIAL_MOST 4096

struct init {
	struct regs regs;
	struct settings set;
	struct pump in, out, err;
	struct pump res;  /* with `ports` */
	bool ports;       /* of a virtio console, not serial ones */
	uint64_t in_nr;   /* bytes from stdin's stream */
	uint32_t in_owed; /* of these, what has left our buffer and was not made room of yet */
	int terminal;     /* -1: pipes are used */
	int results;      /* kept open, so that it stays raw */
	int signals;      /* a signalfd */
	int child_fds[3]; /* the command's */
	long child;       /* its process */
	bool ended;       /* and `status` is its */
	uint32_t status;
};

static void __attribute__((noreturn)) wait_for_end(void)
{
	for (;;)
		sys_call(__NR_ppoll, 0, 0, 0, 0, 0);
}

static void __attribute__((noreturn)) power_off(void)
{
	sys_call(__NR_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_POWER_OFF,
		 0, 0);
	sys_call(__NR_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_RESTART, 0,
		 0);
	wait_for_end();
}

static void __attribute__((noreturn)) report(const struct init *in, uint32_t status)
{
	sys_call(__NR_sync, 0, 0, 0, 0, 0);
	regs_write(&in->regs, CMD_REG_STATUS, status);
	/* It stops when readers have what they are to get, however long that takes. */
	wait_for_end();
}

static void say_text(int fd, const char *text)
{
	size_t n = 0;

	while (text[n])
		n++;
	sys_write(fd, text, n);
}

/* To the command's stderr. */
static void say(int fd, const char *what, const char *name)
{
	say_text(fd, "lkvm: ");
	say_text(fd, name);
	say_text(fd, what);
	say_text(fd, "\n");
}

/* The command's process. */

static const char *path_value(const struct settings *s)
{
	for (unsigned int i = 0; i < s->envs_nr; i++) {
		const char *e = s->envs[i];

		if (e[0] == 'P' && e[1] == 'A' && e[2] == 'T' && e[3] == 'H' && e[4] == '=')
			return e + 5;
	}
	return "";
}

static long try_exec(const struct settings *s, const char *path)
{
	return sys_call(__NR_execve, (long)path, (long)s->args, (long)s->envs, 0, 0);
}

/* One directory of PATH; an empty one is the working directory. */
static long try_in(const struct settings *s, const char *dir, size_t dir_len)
{
	char path[4096]; /* PATH_MAX */
	const char *name = s->args[0];
	size_t at = 0;

	for (; at < dir_len && at < sizeof(path); at++)
		path[at] = dir[at];
	if (dir_len && at < sizeof(path))
		path[at++] = '/';
	for (; *name && at < sizeof(path); name++)
		path[at++] = *name;
	if (at == sizeof(path))
		return -ENAMETOOLONG;
	path[at] = 0;
	return try_exec(s, path);
}

static bool has_slash(const char *name)
{
	while (*name && *name != '/')
		name++;
	return *name;
}

/* Returns only when the command could not be run, with why. */
static long exec_command(const struct settings *s)
{
	const char *dir = path_value(s);
	long ret = -ENOENT;

	if (has_slash(s->args[0]))
		return try_exec(s, s->args[0]);
	for (;; dir++) {
		size_t len = 0;

		while (dir[len] && dir[len] != ':')
			len++;
		long one = try_in(s, dir, len);
		/* Something that is there, but cannot be run, is told if nothing else is found. */
		if (one != -ENOENT && one != -ENOTDIR)
			ret = one;
		dir += len;
		if (!*dir)
			return ret;
	}
}

static bool become_user(const struct settings *s)
{
	if (!s->user)
		return true;
	return !sys_call(__NR_setgroups, 0, 0, 0, 0, 0) &&
	       !sys_call(__NR_setgid, s->gid, 0, 0, 0, 0) &&
	       !sys_call(__NR_setuid, s->uid, 0, 0, 0, 0);
}

static void set_signals(int how, uint64_t mask)
{
	sys_call(__NR_rt_sigprocmask, how, (long)&mask, 0, sizeof(mask), 0);
}

static int run_command(const struct init *in)
{
	const struct settings *s = &in->set;

	regs_drop(&in->regs);
	set_signals(SIG_SETMASK, 0);
	sys_call(__NR_setsid, 0, 0, 0, 0, 0);
	for (int fd = 0; fd < 3; fd++)
		sys_call(__NR_dup3, in->child_fds[fd], fd, 0, 0, 0);
	if (in->terminal >= 0)
		sys_ioctl(0, TIOCSCTTY, NULL);
	if (s->cwd && sys_call(__NR_chdir, (long)s->cwd, 0, 0, 0, 0)) {
		say(2, ": no such directory for --cwd", s->cwd);
		return STATUS_SETUP;
	}
	if (!become_user(s)) {
		say(2, ": the kernel refuses to change the user", s->args[0]);
		return STATUS_SETUP;
	}
	long ret = exec_command(s);
	if (ret == -ENOENT || ret == -ENOTDIR) {
		say(2, ": not found", s->args[0]);
		return STATUS_NOT_FOUND;
	}
	say(2,
	    ret == -ENOEXEC ? ": not a program that this kernel can run" : ": cannot be executed",
	    s->args[0]);
	return STATUS_NOT_RUN;
}

/* Its streams. */

static bool make_pipe(int *ours, int *theirs, bool we_read)
{
	int fds[2];

	if (sys_call(__NR_pipe2, (long)fds, O_CLOEXEC, 0, 0, 0))
		return false;
	*ours = fds[!we_read];
	*theirs = fds[we_read];
	/* Only our end: the command gets pipes as it knows them. */
	sys_call(__NR_fcntl, *ours, F_SETFL, O_NONBLOCK, 0, 0);
	return true;
}

/* Above 2, so that dup3() to 0, 1 and 2 overwrites none of ours. */
static void reserve_standard_fds(void)
{
	int fd;

	do
		fd = sys_open("/dev/null", O_RDWR);
	while (fd >= 0 && fd < 2);
	if (fd > 2)
		sys_close(fd);
}

static bool open_terminal(struct init *in)
{
	const struct setup_size size = { in->set.rows, in->set.cols };

	in->terminal = setup_serial(CMD_STDIO, &size);
	if (in->terminal < 0)
		return false;
	in->results = setup_serial(CMD_RESULTS, NULL);
	/* The command's own; it is not to be surprised by O_NONBLOCK. */
	sys_call(__NR_fcntl, in->terminal, F_SETFL, 0, 0, 0);
	if (in->set.user)
		sys_call(__NR_fchown, in->terminal, in->set.uid, in->set.gid, 0, 0);
	for (int fd = 0; fd < 3; fd++)
		in->child_fds[fd] = in->terminal;
	return true;
}

static bool use_ports(struct init *in)
{
	int fds[CMD_PORTS_NR];

	in->ports = in->set.ports && ports_open(fds);
	if (!in->ports)
		return false;
	in->in.from = fds[CMD_PORT_STDIN];
	in->out.to = fds[CMD_PORT_STDOUT];
	in->err.to = fds[CMD_PORT_STDERR];
	in->res.to = fds[CMD_PORT_RESULTS];
	in->res.from = setup_results_pipe();
	return true;
}

static void use_serial(struct init *in)
{
	in->out.most = in->err.most = SERIAL_MOST;
	in->in.from = setup_serial(CMD_STDIO, NULL);
	in->out.to = setup_serial(CMD_STDIO, NULL);
	in->err.to = setup_serial(CMD_STDERR, NULL);
	in->results = setup_serial(CMD_RESULTS, NULL);
}

static bool open_pipes(struct init *in)
{
	if (!use_ports(in))
		use_serial(in);
	bool made = in->in.from >= 0 && in->out.to >= 0 && in->err.to >= 0 &&
		    make_pipe(&in->in.to, &in->child_fds[0], false) &&
		    make_pipe(&in->out.from, &in->child_fds[1], true) &&
		    make_pipe(&in->err.from, &in->child_fds[2], true);
	/* As much as MOVES_MAX moves; a kernel that gives less leaves them as they are. */
	if (made && in->ports) {
		sys_call(__NR_fcntl, in->out.from, F_SETPIPE_SZ, PIPE_LEN, 0, 0);
		sys_call(__NR_fcntl, in->err.from, F_SETPIPE_SZ, PIPE_LEN, 0, 0);
	}
	return made;
}

static void open_streams(struct init *in)
{
	if (in->set.terminal ? open_terminal(in) : open_pipes(in)) {
		/* This also says that the guest is there. */
		regs_write(&in->regs, CMD_REG_CREDIT,
			   in->set.terminal ? CMD_CREDIT_ALL
			   : in->ports      ? 0
					    : STDIN_WINDOW);
		return;
	}
	setup_say("the kernel has no serial ports for the command's streams", "");
	report(in, STATUS_SETUP);
}

/* A 0 came, which may be the byte that says to look whether there will be more. */
static void look_for_end(struct init *in)
{
	struct pump *p = &in->in;

	if (!(regs_read(&in->regs, CMD_REG_STATE) & CMD_STATE_ENDED))
		return;
	uint64_t len = regs_read(&in->regs, CMD_REG_LEN) |
		       (uint64_t)regs_read(&in->regs, CMD_REG_LEN + 4) << 32;
	if (in->in_nr <= len)
		return;
	p->len--;
	pump_close_from(p);
}

/* False: it waits. */
static bool move_stdin(struct init *in)
{
	struct pump *p = &in->in;
	size_t got = pump_fill(p);

	in->in_nr += got;
	if (!in->ports && got && !p->buf[got - 1])
		look_for_end(in);
	in->in_owed += pump_drain(p);
	if (!in->ports && in->in_owed >= STDIN_WINDOW / 2) {
		regs_write(&in->regs, CMD_REG_CREDIT, in->in_owed);
		in->in_owed = 0;
	}
	if (p->from < 0 && !pump_wants_output(p))
		pump_close(p);
	return got && pump_wants_input(p);
}

/* One stream out; `gone`: its bit in the state. */
static void move_out(struct init *in, struct pump *p, uint32_t gone)
{
	const int moves = in->ports ? MOVES_MAX : 1;
	size_t moved = 0;

	for (int i = 0; i < moves && (pump_wants_output(p) || pump_fill(p)); i++) {
		moved += pump_drain(p);
		if (pump_wants_output(p))
			break;
	}
	/* The command learns of it as from a pipe. Once for all: a look costs more than a buffer. */
	if (moved && (regs_read(&in->regs, CMD_REG_STATE) & gone))
		pump_close(p);
}

/* Processes. */

static void reap(struct init *in)
{
	int status;
	long pid;

	while ((pid = sys_call(__NR_wait4, -1, (long)&status, WNOHANG, 0, 0)) > 0) {
		int sig = status & 0x7f;

		if (pid != in->child)
			continue;
		in->ended = true;
		in->status = sig ? STATUS_SIGNAL + (uint32_t)sig : (uint32_t)(status >> 8) & 0xff;
	}
}

static void start(struct init *in)
{
	uint64_t mask = 1ull << (SIGCHLD - 1);

	set_signals(SIG_BLOCK, mask);
	in->signals = (int)sys_call(__NR_signalfd4, -1, (long)&mask, sizeof(mask),
				    O_CLOEXEC | O_NONBLOCK, 0);
	in->child = sys_call(__NR_clone, SIGCHLD, 0, 0, 0, 0);
	if (!in->child)
		sys_call(__NR_exit_group, run_command(in), 0, 0, 0, 0);
	if (in->child < 0)
		report(in, STATUS_SETUP);
	for (int fd = 0; fd < 3; fd++)
		if (in->terminal < 0)
			sys_close(in->child_fds[fd]);
}

static struct pollfd watch(int fd, bool on, short events)
{
	/* Without events an end of the other side is still told. */
	return (struct pollfd){ .fd = fd, .events = on ? events : 0 };
}

static void serve(struct init *in)
{
	char info[128]; /* struct signalfd_siginfo */

	while (!in->ended) {
		struct pollfd fds[] = {
			watch(in->signals, true, POLLIN),
			watch(pump_wants_input(&in->in) ? in->in.from : -1, true, POLLIN),
			watch(in->in.to, pump_wants_output(&in->in), POLLOUT),
			watch(pump_wants_input(&in->out) ? in->out.from : -1, true, POLLIN),
			watch(pump_wants_output(&in->out) ? in->out.to : -1, true, POLLOUT),
			watch(pump_wants_input(&in->err) ? in->err.from : -1, true, POLLIN),
			watch(pump_wants_output(&in->err) ? in->err.to : -1, true, POLLOUT),
			watch(pump_wants_input(&in->res) ? in->res.from : -1, true, POLLIN),
			watch(pump_wants_output(&in->res) ? in->res.to : -1, true, POLLOUT),
		};
		const long nr = sizeof(fds) / sizeof(fds[0]);

		sys_call(__NR_ppoll, (long)fds, nr, 0, 0, 0);
		if (fds[0].revents) {
			sys_read(in->signals, info, sizeof(info));
			reap(in);
		}
		/* The command has closed its stdin: what comes is not read any more. */
		if (fds[2].revents & POLLERR)
			pump_close(&in->in);
		/* A port gives a page at a time. */
		for (int i = 0; i < MOVES_MAX && move_stdin(in); i++)
			;
		move_out(in, &in->out, CMD_STATE_GONE(CMD_STDIO));
		move_out(in, &in->err, CMD_STATE_GONE(CMD_STDERR));
		move_out(in, &in->res, 0);
	}
}

/* Nobody writes any more, as everybody else is stopped: a pipe that is empty is done, also if others hold it open. */
static void finish_stream(struct init *in, struct pump *p, uint32_t gone)
{
	for (;;) {
		struct pollfd fd = watch(p->to, true, POLLOUT);

		move_out(in, p, gone);
		if (!pump_wants_output(p) && !pump_fill(p))
			break;
		sys_call(__NR_ppoll, (long)&fd, 1, 0, 0, 0);
	}
	if (p->to >= 0)
		setup_flush(p->to);
}

/* All processes but this one. */
static void signal_others(int sig)
{
	sys_call(__NR_kill, -1, sig, 0, 0, 0);
}

static void finish(struct init *in)
{
	signal_others(SIGSTOP);
	finish_stream(in, &in->out, CMD_STATE_GONE(CMD_STDIO));
	finish_stream(in, &in->err, CMD_STATE_GONE(CMD_STDERR));
	finish_stream(in, &in->res, 0);
	if (in->terminal >= 0)
		setup_flush(in->terminal);
	if (in->results >= 0)
		setup_flush(in->results);
	/* A file system may be one's that was stopped, and is synced next. */
	signal_others(SIGCONT);
}

void guest_main(void)
{
	struct init in = { .in = { .from = -1, .to = -1 },
			   .out = { .from = -1, .to = -1 },
			   .err = { .from = -1, .to = -1 },
			   .res = { .from = -1, .to = -1 },
			   .terminal = -1,
			   .results = -1 };
	char file[CMD_SETTINGS_MAX];

	setup_mounts();
	reserve_standard_fds();
	long len = setup_read_file(CMD_SETTINGS, file, sizeof(file));
	settings_env(&in.set, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
	settings_env(&in.set, "HOME=/");
	const char *fault = settings_parse(&in.set, file, len > 0 ? (size_t)len : 0);
	if (!regs_open(&in.regs, in.set.port)) {
		setup_say("no registers to report to", "");
		power_off();
	}
	if (fault) {
		setup_say(fault, "");
		report(&in, STATUS_SETUP);
	}
	setup_modules();
	open_streams(&in);
	start(&in);
	serve(&in);
	finish(&in);
	report(&in, in.status);
}
