/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What lkvm and the init that it puts into a guest (guest/init.c) agree on, when a command is run: a file in the
 * initramfs that says what to do, streams, and a block of registers. Both come from one build.
 *
 * What goes through a stream is the program's, every byte of it; its end is told by the registers.
 */
#ifndef LKVM_CMD_ABI_H
#define LKVM_CMD_ABI_H

#define CMD_DIR        "/.lkvm"
#define CMD_INIT       CMD_DIR "/init"
#define CMD_SETTINGS   CMD_DIR "/run"
#define CMD_MODULES    CMD_DIR "/modules" /* paths of modules to load, a line each, in order */
#define CMD_MODULE_DIR CMD_DIR "/mod"     /* where they are */

/* The streams. Stream n is serial port n, as the board counts them. */
enum cmd_stream {
	CMD_STDIO = 1,   /* stdin and stdout */
	CMD_STDERR = 2,  /* stderr */
	CMD_RESULTS = 3, /* the command's to open, as CMD_RESULTS_PATH */
	CMD_STREAMS_END,
};
#define CMD_RESULTS_PATH "/dev/lkvm.results"

/*
 * Or they are ports of a virtio console, if the settings say that there is one (CMD_SET_PORTS) and the kernel has the
 * driver. Each carries one direction, and ends it by closing. Stdin is the first: Linux takes a port that lkvm has not
 * opened yet for one at its end, and opens them in this order.
 */
enum cmd_port {
	CMD_PORT_STDIN,
	CMD_PORT_STDOUT,
	CMD_PORT_STDERR,
	CMD_PORT_RESULTS,
	CMD_PORTS_NR,
};
#define CMD_PORT_NAMES                                                                             \
	{                                                                                          \
		"lkvm.stdin", "lkvm.stdout", "lkvm.stderr", "lkvm.results"                         \
	}

/*
 * The registers: little-endian words, reached by bytes or words at any width. A word that is written takes effect with
 * its highest byte, a byte at a time being how /dev/port writes. What is not listed reads as 0.
 */
#define CMD_REG_ID    0x00 /* r: CMD_ID */
#define CMD_REG_STATE 0x04 /* r: CMD_STATE_ bits */
#define CMD_REG_LEN                                                                                \
	0x08 /* r: how many bytes of stdin there were, 64 bits; 0 before CMD_STATE_ENDED */
#define CMD_REG_CREDIT                                                                             \
	0x10 /* w: so many more bytes of stdin may be sent by stream; CMD_CREDIT_ALL: all there are */
#define CMD_REG_STATUS                                                                             \
	0x14 /* w: the command's status as a shell would give it; the first write counts */
#define CMD_REGS_LEN 0x18

#define CMD_ID       0x31636b6cu /* "lkc1" */

/*
 * Stdin has ended, after CMD_REG_LEN bytes. One more byte, a 0, follows it through the stream, so that who waits there
 * wakes up and looks. Set before that byte is sent.
 */
#define CMD_STATE_ENDED   0x01u
#define CMD_STATE_GONE(n) (0x10u << (n)) /* nobody reads what is written to stream n any more */

#define CMD_CREDIT_ALL    0xffffffffu

/*
 * The file of settings: records, each a letter, a value and a NUL, in any order, but arguments in theirs. Whoever
 * reads it stops at the first one that makes no sense.
 */
#define CMD_SETTINGS_MAGIC "lkvm1" /* a record of its own, the first */
#define CMD_SET_PORT       'p'     /* where the registers are, decimal as all numbers here */
#define CMD_SET_ARG        'a'     /* an argument; the first is the command */
#define CMD_SET_ENV        'e'     /* NAME=VALUE */
#define CMD_SET_CWD        'd'     /* a directory */
#define CMD_SET_UID        'u'     /* the next two or none */
#define CMD_SET_GID        'g'
#define CMD_SET_ROWS       'r' /* the command has a terminal, stdin, stdout and stderr in one, */
#define CMD_SET_COLS       'c' /* of this size */
#define CMD_SET_PORTS      'v' /* 1: there are ports */

#define CMD_SETTINGS_MAX   (1u << 20) /* bytes of the file */
#define CMD_ARGS_MAX       4096
#define CMD_ENVS_MAX       1024

#endif
