/* SPDX-License-Identifier: GPL-2.0 */
#include <linux/fcntl.h>
#include <linux/poll.h>
#include <linux/stat.h>
#include <linux/time_types.h>

#include "ports.h"
#include "setup.h"
#include "sys.h"

#define DEVICES_MAX 64 /* virtio devices that are looked at */
#define NODE        "/dev/.lkvm.port"
#define PATH_LEN    64

/* The driver makes ports as the messages of lkvm come; on a host that has no time for its guest that takes a while. */
#define WAITS_MAX 5000 /* of a millisecond or a tick */

static char *put(char *to, const char *text)
{
	while (*text)
		*to++ = *text++;
	*to = 0;
	return to;
}

/* Below 100. */
static char *put_number(char *to, unsigned int n)
{
	if (n >= 10)
		*to++ = (char)('0' + n / 10);
	*to++ = (char)('0' + n % 10);
	*to = 0;
	return to;
}

/* An attribute's line without its end; false: there is none, or it is longer. */
static bool attribute(unsigned int device, unsigned int port, const char *name, char line[PATH_LEN])
{
	char path[PATH_LEN];

	put(put(put_number(put(put_number(put(path, "/sys/class/virtio-ports/vport"), device), "p"),
			   port),
		"/"),
	    name);
	long len = setup_read_file(path, line, PATH_LEN);
	if (len <= 0 || line[len - 1] != '\n')
		return false;
	line[len - 1] = 0;
	return true;
}

static bool same(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

/* Ends at what is no digit. */
static unsigned int number(const char **text)
{
	unsigned int n = 0;

	for (; **text >= '0' && **text <= '9' && n < 100000; ++*text)
		n = n * 10 + (unsigned int)(**text - '0');
	return n;
}

bool ports_device(const char *text, uint32_t *dev)
{
	unsigned int major = number(&text);

	if (!major || *text++ != ':' || !*text)
		return false;
	unsigned int minor = number(&text);
	if (*text || major > 0xfff || minor > 0xff)
		return false;
	*dev = major << 8 | minor;
	return true;
}

/* A node of our own: /dev may have none. */
static int open_device(const char *text)
{
	uint32_t dev;

	sys_call(__NR_unlinkat, SYS_AT_FDCWD, (long)NODE, 0, 0, 0);
	if (!ports_device(text, &dev) ||
	    sys_call(__NR_mknodat, SYS_AT_FDCWD, (long)NODE, S_IFCHR | 0600, dev, 0))
		return -1;
	int fd = sys_open(NODE, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	sys_call(__NR_unlinkat, SYS_AT_FDCWD, (long)NODE, 0, 0, 0);
	return fd < 0 ? -1 : fd;
}

static int open_port(unsigned int port)
{
	static const char *const names[] = CMD_PORT_NAMES;
	char line[PATH_LEN];

	for (unsigned int device = 0; device < DEVICES_MAX; device++)
		if (attribute(device, port, "name", line) && same(line, names[port]))
			return attribute(device, port, "dev", line) ? open_device(line) : -1;
	return -1;
}

/* lkvm has opened its end. */
static bool connected(int fd)
{
	struct pollfd p = { .fd = fd };
	struct __kernel_timespec none = { 0 };

	return !sys_call(__NR_ppoll, (long)&p, 1, (long)&none, 0, 0);
}

/* Of the ports the last one to be told: with it all have been. */
static bool all_there(int fds[CMD_PORTS_NR])
{
	const unsigned int last = CMD_PORTS_NR - 1;

	if (fds[last] < 0)
		fds[last] = open_port(last);
	if (fds[last] < 0 || !connected(fds[last]))
		return false;
	for (unsigned int i = 0; i < last; i++)
		if (fds[i] < 0 && (fds[i] = open_port(i)) < 0)
			return false;
	return true;
}

/* A driver that has taken no device will make no ports, however long one waits. */
static bool driver_works(void)
{
	char path[PATH_LEN];

	for (unsigned int i = 0; i < DEVICES_MAX; i++) {
		put_number(put(path, "/sys/bus/virtio/drivers/virtio_console/virtio"), i);
		if (!sys_call(__NR_faccessat, SYS_AT_FDCWD, (long)path, 0, 0, 0))
			return true;
	}
	return false;
}

bool ports_open(int fds[CMD_PORTS_NR])
{
	struct __kernel_timespec pause = { .tv_nsec = 1000000 };
	unsigned int waits = 0;

	for (unsigned int i = 0; i < CMD_PORTS_NR; i++)
		fds[i] = -1;
	if (!driver_works())
		return false;
	while (!all_there(fds)) {
		if (waits++ == WAITS_MAX) {
			setup_say("the ports of the command's streams do not come", "");
			for (unsigned int i = 0; i < CMD_PORTS_NR; i++)
				if (fds[i] >= 0)
					sys_close(fds[i]);
			return false;
		}
		sys_call(__NR_ppoll, 0, 0, (long)&pause, 0, 0);
		pause.tv_nsec = 1000000;
	}
	return true;
}
