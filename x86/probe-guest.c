// SPDX-License-Identifier: GPL-2.0
#include "probe-guest.h"

#define STR_(x) #x
#define STR(x)  STR_(x)

/* Read-only data to lkvm: only guests execute it. */
__asm__(".pushsection .rodata, \"a\", @progbits\n"
	".balign 16\n"
	".globl probe_guest_start, probe_guest_end\n"
	".globl probe_guest_count, probe_guest_out, probe_guest_store\n"
	".globl probe_guest_cx16, probe_guest_x87, probe_guest_xsave\n"
	"probe_guest_start:\n"

	"probe_guest_count:\n"
	"	inc	%rcx\n"
	"	.rept	8\n"
	"	add	%rcx, %rax\n"
	"	.endr\n"
	"	jmp	probe_guest_count\n"

	"probe_guest_out:\n"
	"	.rept	8\n"
	"	out	%al, %dx\n"
	"	.endr\n"
	"	jmp	probe_guest_out\n"

	"probe_guest_store:\n"
	"	.rept	8\n"
	"	movw	%ax, (%rdi)\n"
	"	.endr\n"
	"	jmp	probe_guest_store\n"

	"probe_guest_cx16:\n"
	"	lock cmpxchg16b (%rsi)\n"
	"	jmp	9f\n"

	"probe_guest_x87:\n"
	"	fninit\n"
	"	fildl	(%rsi)\n"
	"	fiaddl	4(%rsi)\n"
	"	fistpl	8(%rsi)\n"
	"	fwait\n"
	"	jmp	9f\n"

	"probe_guest_xsave:\n"
	"	xsave	(%rsi)\n"
	"	xrstor	(%rsi)\n"

	"9:	out	%al, $" STR(PROBE_PORT_DONE) "\n"
						     "	jmp	9b\n"
						     "probe_guest_end:\n"
						     ".popsection\n");
