/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Says what a VMM costs until its first KVM_RUN:
 *	first-run COMMAND [ARGUMENT...]
 * prints "CPU_NS WALL_NS", both from exec, CPU time of all its threads. The command is killed then; its output goes
 * nowhere.
 *
 * A seccomp filter, inherited through exec and by every thread, holds the thread that asks for KVM_RUN
 * and tells us; every other system call passes after four instructions of BPF. So nothing is traced, preloaded or
 * rebuilt, and any VMM is measured in the same way.
 * Exit status: 0 done, 1 the command ended without KVM_RUN, 2 usage or a failure of this program.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WAIT_MS 60000

static uint64_t now_ns(clockid_t clock)
{
	struct timespec ts;

	if (clock_gettime(clock, &ts))
		return 0;
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* The descriptor on which KVM_RUN is announced. */
static int filter_ioctl(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, KVM_RUN, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { .len = sizeof(code) / sizeof(code[0]), .filter = code };

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
			    &prog);
}

static void send_fd(int sock, int fd)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 }, byte = 0;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	*(int *)CMSG_DATA(cmsg) = fd;
	sendmsg(sock, &msg, 0);
}

static int receive_fd(int sock)
{
	char control[CMSG_SPACE(sizeof(int))], byte;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};

	if (recvmsg(sock, &msg, MSG_CMSG_CLOEXEC) != 1 || !CMSG_FIRSTHDR(&msg))
		return -1;
	return *(int *)CMSG_DATA(CMSG_FIRSTHDR(&msg));
}

static void child(char **argv, int sock)
{
	int null = open("/dev/null", O_RDWR);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	int fd = filter_ioctl();
	if (fd < 0) {
		fprintf(stderr, "first-run: seccomp: %s\n", strerror(errno));
		_exit(127);
	}
	send_fd(sock, fd);
	close(fd);
	if (dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0)
		_exit(127);
	execvp(argv[0], argv);
	fprintf(stderr, "first-run: cannot run %s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

int main(int argc, char **argv)
{
	clockid_t clock;
	int sock[2];

	if (argc < 2 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock))
		return 2;
	pid_t pid = fork();
	if (pid == 0)
		child(argv + 1, sock[1]);
	close(sock[1]);
	int fd = pid < 0 ? -1 : receive_fd(sock[0]);
	uint64_t begin = now_ns(CLOCK_MONOTONIC);
	if (fd < 0 || clock_getcpuclockid(pid, &clock))
		return 2;
	uint64_t cpu_begin = now_ns(clock);
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	int n = poll(&pfd, 1, WAIT_MS);
	uint64_t wall = now_ns(CLOCK_MONOTONIC) - begin, cpu = now_ns(clock) - cpu_begin;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	/* Without POLLIN the last thread with the filter has ended. */
	if (n != 1 || !(pfd.revents & POLLIN)) {
		fprintf(stderr, "first-run: %s did not run a vCPU\n", argv[1]);
		return 1;
	}
	printf("%" PRIu64 " %" PRIu64 "\n", cpu, wall);
	return 0;
}
