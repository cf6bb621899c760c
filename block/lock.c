/* SPDX-License-Identifier: GPL-2.0 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <lkvm/util.h>

#include "lock.h"

/* See blk_lock_wait(). A ring was seen to take 0.4 s. */
#define WAIT_MS      1500
#define WAIT_STEP_MS 10

/* The head of a small file of /proc as a string; "" when it cannot be read. */
static void read_proc(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, buf, size - 1) : 0;

	buf[n > 0 ? n : 0] = 0;
	if (fd >= 0)
		close(fd);
}

/* Whether descriptor `name` of process `pid` is the file with a lock on it. */
static bool holds(const char *pid, const char *name, const struct stat *file)
{
	char path[64], info[1024];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%.16s/fd/%.16s", pid, name);
	if (stat(path, &st) < 0 || st.st_ino != file->st_ino || st.st_dev != file->st_dev)
		return false;
	snprintf(path, sizeof(path), "/proc/%.16s/fdinfo/%.16s", pid, name);
	read_proc(path, info, sizeof(info));
	return strstr(info, "\nlock:");
}

static bool holds_any(const char *pid, const struct stat *file, int except_fd)
{
	char path[64], except[16];
	struct dirent *de;
	bool found = false;
	DIR *dir;

	snprintf(except, sizeof(except), "%d", except_fd);
	snprintf(path, sizeof(path), "/proc/%.16s/fd", pid);
	dir = opendir(path);
	if (!dir)
		return false;
	while (!found && (de = readdir(dir)))
		found = isdigit((unsigned char)de->d_name[0]) && strcmp(de->d_name, except) != 0 &&
			holds(pid, de->d_name, file);
	closedir(dir);
	return found;
}

/*
 * The kernel does not tell whose an open file description is, so /proc is searched for it. 0: not found,
 * it may be somebody else's process, or on another machine.
 */
static long find_holder(int fd)
{
	DIR *proc = opendir("/proc");
	struct dirent *de;
	struct stat file;
	char self[16];
	long pid = 0;

	if (!proc)
		return 0;
	snprintf(self, sizeof(self), "%ld", (long)getpid());
	if (fstat(fd, &file) == 0)
		while (!pid && (de = readdir(proc)))
			if (isdigit((unsigned char)de->d_name[0]) &&
			    holds_any(de->d_name, &file, strcmp(de->d_name, self) == 0 ? fd : -1))
				pid = strtol(de->d_name, NULL, 10);
	closedir(proc);
	return pid;
}

static int busy(long pid, const char *path, bool exclusive, struct err *err)
{
	const char *how = exclusive ? "in use" : "being written";
	char name[32] = "", comm[64];

	if (pid == getpid()) {
		err_usage(err,
			  "disk %s is given twice, and one of them writes; give ro to both, or "
			  "overlay=ephemeral",
			  path);
		return -EBUSY;
	}
	if (pid) {
		snprintf(comm, sizeof(comm), "/proc/%ld/comm", pid);
		read_proc(comm, name, sizeof(name));
		name[strcspn(name, "\n")] = 0;
		util_clean_text(name);
		snprintf(comm, sizeof(comm), "process %ld (%s)", pid, name);
	} else {
		snprintf(comm, sizeof(comm), "another process");
	}
	err_host(err, 0,
		 "disk %s is %s by %s; stop it, or share the image by ro or overlay=ephemeral in "
		 "each",
		 path, how, comm);
	return -EBUSY;
}

bool blk_lock_wait(unsigned int *waited_ms)
{
	struct timespec ts = { .tv_nsec = WAIT_STEP_MS * 1000000L };

	if (*waited_ms >= WAIT_MS)
		return false;
	*waited_ms += WAIT_STEP_MS;
	nanosleep(&ts, NULL);
	return true;
}

int blk_lock(int fd, const char *path, bool exclusive, const struct log *log, struct err *err)
{
	/* A length of 0 reaches to the end, however far that moves. */
	struct flock fl = { .l_type = exclusive ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET };
	unsigned int waited_ms = 0;

	while (fcntl(fd, F_OFD_SETLK, &fl) < 0) {
		long pid;

		if (errno == EINTR)
			continue;
		if (errno != EAGAIN && errno != EACCES) {
			log_warn(
				log,
				"disk %s cannot be locked (%s): nothing keeps a second writer away",
				path, strerrordesc_np(errno));
			return 0;
		}
		pid = find_holder(fd);
		if (pid || !blk_lock_wait(&waited_ms))
			return busy(pid, path, exclusive, err);
	}
	return 0;
}

void blk_unlock(int fd)
{
	struct flock fl = { .l_type = F_UNLCK, .l_whence = SEEK_SET };

	fcntl(fd, F_OFD_SETLK, &fl);
}
