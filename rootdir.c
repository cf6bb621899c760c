/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lkvm/elf-libs.h>
#include <lkvm/rootdir.h>
#include <lkvm/src.h>
#include <lkvm/util.h>

#define PROGRAM_MAX (64 * MIB)
#define BUSYBOX     "bin/busybox"

int rootdir_path(const char *name, char **path, struct err *err)
{
	const char *home = getenv("HOME");

	*path = NULL;
	if (!util_is_name(name))
		return err_usage(err, "\"%.80s\" is no name of 1 to 64 of a-z A-Z 0-9 . _ -", name);
	if (!home || *home != '/')
		return err_usage(err, "there is no place for %s: HOME is not set", name);
	if (asprintf(path, "%s/.lkvm/%s", home, name) < 0) {
		*path = NULL;
		return err_host(err, ENOMEM, "%s", name);
	}
	return 0;
}

/* What is in it, in the order in which it is made. */
static const struct entry {
	const char *name;
	mode_t mode;
	const char *text; /* of a file; NULL: it is a folder */
} entries[] = {
	{ "bin", 0755, NULL },
	{ "dev", 0755, NULL },
	{ "etc", 0755, NULL },
	{ "home", 0755, NULL },
	{ "mnt", 0755, NULL },
	{ "proc", 0755, NULL },
	{ "sys", 0755, NULL },
	{ "tmp", 01777, NULL },
	{ "var", 0755, NULL },
	{ "etc/passwd", 0644, "root:x:0:0:root:/:/bin/sh\n" },
	{ "etc/group", 0644, "root:x:0:\n" },
	{ "init", 0755,
	  "#!/bin/sh\n"
	  "# The kernel starts this, unless a command is run. What the guest is to do stands "
	  "here.\n"
	  "mount -t proc proc /proc\n"
	  "mount -t sysfs sysfs /sys\n"
	  "mount -t devtmpfs devtmpfs /dev\n"
	  "busybox --install -s /bin\n"
	  "setsid cttyhack sh -l\n"
	  "poweroff -f\n" },
};

static const char *const links[] = {
	"ash",      "awk",    "cat",      "chmod",  "chown",    "cp",        "cut",    "date",
	"dd",       "df",     "diff",     "dmesg",  "du",       "echo",      "env",    "expr",
	"false",    "find",   "free",     "grep",   "gunzip",   "gzip",      "head",   "hexdump",
	"hostname", "id",     "insmod",   "ip",     "kill",     "less",      "ln",     "ls",
	"lsmod",    "md5sum", "mkdir",    "mknod",  "modprobe", "more",      "mount",  "mv",
	"nc",       "ping",   "poweroff", "printf", "ps",       "pwd",       "reboot", "rm",
	"rmdir",    "rmmod",  "sed",      "seq",    "sh",       "sha256sum", "sleep",  "sort",
	"stat",     "stty",   "sync",     "tail",   "tar",      "tee",       "test",   "time",
	"top",      "touch",  "tr",       "true",   "udhcpc",   "umount",    "uname",  "uniq",
	"vi",       "wc",     "wget",     "which",  "xargs",    "yes",       "zcat",
};

static int write_file(int dir, const char *name, mode_t mode, const void *data, size_t len)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return -errno;
	int ret = util_write_all(fd, data, len);
	if (!ret && fchmod(fd, mode))
		ret = -errno;
	if (close(fd) && !ret)
		ret = -errno;
	return ret;
}

static int make_entry(int dir, const struct entry *e)
{
	if (e->text)
		return write_file(dir, e->name, e->mode, e->text, strlen(e->text));
	if (mkdirat(dir, e->name, 0700) || fchmodat(dir, e->name, e->mode, 0))
		return -errno;
	return 0;
}

static int fill(int dir, const uint8_t *busybox, size_t len)
{
	int ret = 0;

	for (size_t i = 0; !ret && i < ARRAY_SIZE(entries); i++)
		ret = make_entry(dir, &entries[i]);
	if (!ret)
		ret = write_file(dir, BUSYBOX, 0755, busybox, len);
	for (size_t i = 0; !ret && i < ARRAY_SIZE(links); i++) {
		char name[32];

		snprintf(name, sizeof(name), "bin/%s", links[i]);
		if (symlinkat("busybox", dir, name))
			ret = -errno;
	}
	return ret;
}

/* As much of it as is there. */
static void empty(int dir)
{
	char name[32];

	for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
		snprintf(name, sizeof(name), "bin/%s", links[i]);
		unlinkat(dir, name, 0);
	}
	unlinkat(dir, BUSYBOX, 0);
	for (size_t i = ARRAY_SIZE(entries); i-- > 0;)
		unlinkat(dir, entries[i].name, entries[i].text ? 0 : AT_REMOVEDIR);
}

/* ~/.lkvm */
static int make_parent(const char *path, struct err *err)
{
	char *parent = strndup(path, (size_t)(strrchr(path, '/') - path));
	int ret = 0;

	if (!parent || (mkdir(parent, 0777) && errno != EEXIST))
		ret = err_host(err, errno, "cannot make %s", parent ?: path);
	free(parent);
	return ret;
}

static int make_folder(const char *path, const uint8_t *busybox, size_t len, struct err *err)
{
	if (mkdir(path, 0777) && errno == EEXIST)
		return err_usage(err, "%s is there already; remove it, or choose another name",
				 path);
	int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (dir < 0)
		return err_host(err, errno, "cannot make %s", path);
	int ret = fill(dir, busybox, len);
	if (ret) {
		empty(dir);
		rmdir(path);
		err_host(err, -ret, "cannot fill %s", path);
	}
	close(dir);
	return ret;
}

int rootdir_make(const char *path, const char *busybox, struct err *err)
{
	uint8_t *data;
	size_t len;

	if (!elf_libs_static(busybox))
		return err_usage(
			err, "%s is no static program; the Debian package busybox-static has one",
			busybox);
	int ret = src_read_file("program", busybox, PROGRAM_MAX, &data, &len, err);
	if (!ret)
		ret = make_parent(path, err);
	if (!ret)
		ret = make_folder(path, data, len, err);
	free(data);
	return ret;
}
