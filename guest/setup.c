/* SPDX-License-Identifier: GPL-2.0 */
#include <asm/ioctls.h>
#include <asm/termbits.h>
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/mount.h>
#include <linux/stat.h>

#include <lkvm/cmd-abi.h>

#include "setup.h"
#include "sys.h"

#define MODULES_MAX 65536 /* bytes of their list */
#define TTYS_MAJOR  4     /* Documentation/admin-guide/devices.txt, as all that follow */
#define TTYS_MINOR  64
#define MEM_MAJOR   1
#define MINOR_NULL  3
#define MINOR_PORT  4

static size_t length(const char *s)
{
	size_t n = 0;

	while (s[n])
		n++;
	return n;
}

void setup_say(const char *what, const char *name)
{
	char line[256] = "<3>lkvm: ";
	size_t at = length(line);
	int fd = sys_open("/dev/kmsg", O_WRONLY | O_CLOEXEC);

	for (; *what && at < sizeof(line) - 1; what++)
		line[at++] = *what;
	for (; *name && at < sizeof(line) - 1; name++)
		line[at++] = *name;
	line[at++] = '\n';
	sys_write(fd, line, at);
	sys_close(fd);
}

static bool mount_one(const char *type, const char *path, const char *data)
{
	sys_call(__NR_mkdirat, SYS_AT_FDCWD, (long)path, 0755, 0, 0);
	return !sys_call(__NR_mount, (long)type, (long)path, (long)type, 0, (long)data);
}

static void make_device(const char *path, unsigned int major, unsigned int minor)
{
	sys_call(__NR_mknodat, SYS_AT_FDCWD, (long)path, S_IFCHR | 0666, major << 8 | minor, 0);
}

/* A kernel without devtmpfs. */
static void make_devices(void)
{
	make_device("/dev/null", MEM_MAJOR, MINOR_NULL);
	make_device("/dev/port", MEM_MAJOR, MINOR_PORT);
	make_device("/dev/ttyS1", TTYS_MAJOR, TTYS_MINOR + CMD_STDIO);
	make_device("/dev/ttyS2", TTYS_MAJOR, TTYS_MINOR + CMD_STDERR);
	make_device("/dev/ttyS3", TTYS_MAJOR, TTYS_MINOR + CMD_RESULTS);
}

static void make_link(const char *to, const char *path)
{
	sys_call(__NR_symlinkat, (long)to, SYS_AT_FDCWD, (long)path, 0, 0);
}

void setup_mounts(void)
{
	mount_one("proc", "/proc", NULL);
	mount_one("sysfs", "/sys", NULL);
	if (!mount_one("devtmpfs", "/dev", NULL))
		make_devices();
	mount_one("devpts", "/dev/pts", "gid=5,mode=620,ptmxmode=666");
	mount_one("tmpfs", "/dev/shm", "mode=1777");
	make_link("/proc/self/fd", "/dev/fd");
	make_link("/proc/self/fd/0", "/dev/stdin");
	make_link("/proc/self/fd/1", "/dev/stdout");
	make_link("/proc/self/fd/2", "/dev/stderr");
	make_link("ttyS3", CMD_RESULTS_PATH);
	/* The root is in memory already. */
	sys_call(__NR_mkdirat, SYS_AT_FDCWD, (long)"/run", 0755, 0, 0);
	if (!sys_call(__NR_mkdirat, SYS_AT_FDCWD, (long)"/tmp", 0777, 0, 0))
		sys_call(__NR_fchmodat, SYS_AT_FDCWD, (long)"/tmp", 01777, 0, 0);
}

long setup_read_file(const char *path, char *buf, size_t max)
{
	int fd = sys_open(path, O_RDONLY | O_CLOEXEC);
	size_t len = 0;
	long n = 1;

	if (fd < 0)
		return fd;
	while (n > 0 && len < max) {
		n = sys_read(fd, buf + len, max - len);
		len += n > 0 ? (size_t)n : 0;
	}
	sys_close(fd);
	if (n < 0)
		return n;
	return len < max ? (long)len : -EFBIG;
}

static void load_module(const char *path)
{
	int fd = sys_open(path, O_RDONLY | O_CLOEXEC);
	long ret = fd < 0 ? fd : sys_call(__NR_finit_module, fd, (long)"", 0, 0, 0);

	if (ret < 0 && ret != -EEXIST)
		setup_say("cannot load the module ", path);
	if (fd >= 0)
		sys_close(fd);
}

void setup_modules(void)
{
	char list[MODULES_MAX];
	long len = setup_read_file(CMD_MODULES, list, sizeof(list));

	for (long at = 0, start = 0; at < len; at++) {
		if (list[at] != '\n')
			continue;
		list[at] = 0;
		load_module(list + start);
		start = at + 1;
	}
}

static void make_raw(struct termios *t)
{
	t->c_iflag = 0;
	t->c_oflag = 0;
	t->c_lflag = 0;
	t->c_cc[VMIN] = 1;
	t->c_cc[VTIME] = 0;
}

int setup_serial(unsigned int nr, const struct setup_size *terminal)
{
	char path[] = "/dev/ttyS0";
	struct termios t;

	path[sizeof(path) - 2] = (char)('0' + nr);
	int fd = sys_open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -1;
	if (sys_ioctl(fd, TCGETS, &t)) {
		sys_close(fd);
		return -1;
	}
	t.c_cflag = B115200 | CS8 | CREAD | CLOCAL;
	if (!terminal)
		make_raw(&t);
	sys_ioctl(fd, TCSETS, &t);
	if (terminal) {
		struct {
			uint16_t rows, cols, x, y;
		} size = { (uint16_t)terminal->rows, (uint16_t)terminal->cols, 0, 0 };

		sys_ioctl(fd, TIOCSWINSZ, &size);
	}
	return fd;
}

int setup_results_pipe(void)
{
	sys_call(__NR_unlinkat, SYS_AT_FDCWD, (long)CMD_RESULTS_PATH, 0, 0, 0);
	sys_call(__NR_mknodat, SYS_AT_FDCWD, (long)CMD_RESULTS_PATH, S_IFIFO, 0, 0);
	sys_call(__NR_fchmodat, SYS_AT_FDCWD, (long)CMD_RESULTS_PATH, 0666, 0, 0);
	/* With an end to write to it never ends, whoever comes and goes. */
	return sys_open(CMD_RESULTS_PATH, O_RDWR | O_NONBLOCK | O_CLOEXEC);
}

void setup_flush(int fd)
{
	/* tcdrain(3) */
	sys_ioctl(fd, TCSBRK, (void *)1);
}
