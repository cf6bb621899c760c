/* SPDX-License-Identifier: GPL-2.0 */
/*
 * System calls without a libc: the guest's init is linked with nothing. Each returns what the kernel does, -errno on
 * failure. Only calls that arm64 has too.
 */
#ifndef LKVM_GUEST_SYS_H
#define LKVM_GUEST_SYS_H

#include <asm/unistd.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__)
static inline long sys_call(long nr, long a, long b, long c, long d, long e)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
			 : "rcx", "r11", "memory");
	return ret;
}
#elif defined(__aarch64__)
static inline long sys_call(long nr, long a, long b, long c, long d, long e)
{
	register long x8 __asm__("x8") = nr;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;

	__asm__ volatile("svc #0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4)
			 : "memory");
	return x0;
}
#endif

#define SYS_AT_FDCWD (-100)

static inline long sys_read(int fd, void *buf, size_t len)
{
	return sys_call(__NR_read, fd, (long)buf, (long)len, 0, 0);
}

static inline long sys_write(int fd, const void *buf, size_t len)
{
	return sys_call(__NR_write, fd, (long)buf, (long)len, 0, 0);
}

static inline int sys_open(const char *path, int flags)
{
	return (int)sys_call(__NR_openat, SYS_AT_FDCWD, (long)path, flags, 0, 0);
}

static inline void sys_close(int fd)
{
	sys_call(__NR_close, fd, 0, 0, 0, 0);
}

static inline long sys_ioctl(int fd, unsigned long request, const void *arg)
{
	return sys_call(__NR_ioctl, fd, (long)request, (long)arg, 0, 0);
}

#endif
