/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Where the kernel enters, and the functions that a compiler calls by itself. For a program without a libc.
 */
#include <stddef.h>

#include "start.h"

#if defined(__x86_64__)
__asm__(".globl _start\n"
	"_start:\n"
	"	xor %ebp, %ebp\n"
	"	and $-16, %rsp\n"
	"	call guest_main\n"
	"	ud2\n");
#elif defined(__aarch64__)
__asm__(".globl _start\n"
	"_start:\n"
	"	bl guest_main\n"
	"	brk #0\n");
#endif

void *memcpy(void *to, const void *from, size_t len)
{
	char *t = to;
	const char *f = from;

	while (len--)
		*t++ = *f++;
	return to;
}

void *memset(void *to, int value, size_t len)
{
	char *t = to;

	while (len--)
		*t++ = (char)value;
	return to;
}
