/* SPDX-License-Identifier: GPL-2.0 */
/* The note that makes an ELF bootable by PVH: XEN_ELFNOTE_PHYS32_ENTRY of Xen's public/elfnote.h. */
	.section .note.pvh, "a", @note
	.balign	4
	.long	2f - 1f
	.long	4f - 3f
	.long	18
1:	.asciz	"Xen"
2:	.balign	4
3:	.long	entry_pvh
4:	.balign	4
	.section .note.GNU-stack, "", @progbits
