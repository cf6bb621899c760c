/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Where the payload begins: the 64-bit entry of the Linux boot protocol, the 32-bit PVH entry, the start
 * of further CPUs, and the tables that the last two need.
 */
#define CR0_PE   (1 << 0)
#define CR0_PG   (1 << 31)
#define CR4_PAE  (1 << 5)
#define MSR_EFER 0xc0000080
#define EFER_LME (1 << 8)

#define SEL_CODE64 0x08
#define SEL_DATA   0x10
#define SEL_CODE32 0x18

	.section .head, "ax"
	.code64
	.org	0x200
	.globl	entry64
entry64:
	cli
	cld
	lea	stack_top(%rip), %rsp
	mov	%rsi, %rdi
	lea	entry64(%rip), %rdx	/* where the image really is */
	xor	%esi, %esi
	call	guest_main
1:	hlt
	jmp	1b

	.code32
	.globl	entry_pvh
entry_pvh:
	cli
	cld
	mov	$stack_top, %esp
	lgdt	gdt_pointer
	mov	%cr4, %eax
	or	$CR4_PAE, %eax
	mov	%eax, %cr4
	mov	$pml4, %eax
	mov	%eax, %cr3
	mov	$MSR_EFER, %ecx
	rdmsr
	or	$EFER_LME, %eax
	wrmsr
	mov	%cr0, %eax
	or	$(CR0_PG | CR0_PE), %eax
	mov	%eax, %cr0
	ljmp	$SEL_CODE64, $1f
	.code64
1:	mov	$SEL_DATA, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss
	mov	%ebx, %edi
	mov	$1, %esi
	mov	$entry64, %edx
	call	guest_main
1:	hlt
	jmp	1b

	.text
	.globl	cpu_load_tables
cpu_load_tables:		/* our own GDT and page tables instead of the loader's */
	lgdt	gdt_pointer
	mov	$SEL_DATA, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss
	mov	$pml4, %eax
	mov	%rax, %cr3
	pop	%rdx
	pushq	$SEL_CODE64
	push	%rdx
	lretq

	.macro	irq_stub name, fn
	.globl	\name
\name:
	push	%rax
	push	%rcx
	push	%rdx
	push	%rsi
	push	%rdi
	push	%r8
	push	%r9
	push	%r10
	push	%r11
	call	\fn
	pop	%r11
	pop	%r10
	pop	%r9
	pop	%r8
	pop	%rdi
	pop	%rsi
	pop	%rdx
	pop	%rcx
	pop	%rax
	iretq
	.endm
	irq_stub irq_tick, on_tick
	irq_stub irq_serial_ioapic, on_serial_ioapic
	irq_stub irq_serial_pic, on_serial_pic
	irq_stub irq_msi0, on_msi0
	irq_stub irq_msi1, on_msi1
	irq_stub irq_msi2, on_msi2
	irq_stub irq_msi3, on_msi3
	irq_stub irq_intx, on_intx

/*
 * Copied to AP_TRAMPOLINE. A CPU starts here in real mode with cs = address / 16 and ip = 0; it enters
 * long mode in one step, takes a number, and a stack by that number.
 */
	.globl	ap_start, ap_end
	.code16
ap_start:
	cli
	mov	%cs, %ax
	mov	%ax, %ds
	lgdtl	ap_gdt_pointer - ap_start
	mov	$CR4_PAE, %eax
	mov	%eax, %cr4
	mov	$pml4, %eax
	mov	%eax, %cr3
	mov	$MSR_EFER, %ecx
	mov	$EFER_LME, %eax
	xor	%edx, %edx
	wrmsr
	mov	$(CR0_PG | CR0_PE), %eax
	mov	%eax, %cr0
	ljmpl	$SEL_CODE64, $ap_start64
	.balign	8
ap_gdt_pointer:
	.word	gdt_end - gdt - 1
	.long	gdt
ap_end:

	.code64
ap_start64:
	mov	$SEL_DATA, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss
	mov	$1, %edi
	lock xadd %edi, cpus_started(%rip)
	mov	%edi, %eax
	shl	$11, %eax
	lea	ap_stacks + 2048(%rip), %rsp
	add	%rax, %rsp
	call	ap_main
1:	cli
	hlt
	jmp	1b

	.section .rodata
	.balign	8
gdt:
	.quad	0
	.quad	0x00af9a000000ffff	/* SEL_CODE64 */
	.quad	0x00cf92000000ffff	/* SEL_DATA */
	.quad	0x00cf9a000000ffff	/* SEL_CODE32 */
gdt_end:
	.globl	gdt_pointer
gdt_pointer:
	.word	gdt_end - gdt - 1
	.quad	gdt

	/* 8 GiB, identity, 2 MiB pages */
	.data
	.balign	4096
	.globl	pml4
pml4:
	.quad	pdpt + 0x3
	.fill	511, 8, 0
pdpt:
	.set	i, 0
	.rept	8
	.quad	pds + i * 4096 + 0x3
	.set	i, i + 1
	.endr
	.fill	504, 8, 0
pds:
	.set	i, 0
	.rept	8 * 512
	.quad	i * 0x200000 + 0x83
	.set	i, i + 1
	.endr

	.bss
	.balign	16
	.skip	8192
stack_top:
	.globl	ap_stacks
ap_stacks:
	.skip	2048 * 256
	.section .note.GNU-stack, "", @progbits
