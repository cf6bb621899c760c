/* SPDX-License-Identifier: GPL-2.0 */
/* The smallest guest: one instruction, which ends the VM by the debug-exit port. */
	.section .note.pvh, "a", @note
	.balign	4
	.long	2f - 1f
	.long	4f - 3f
	.long	18
1:	.asciz	"Xen"
2:	.balign	4
3:	.long	_start
4:	.text
	.globl	_start
_start:
	out	%al, $0xf4
	hlt
