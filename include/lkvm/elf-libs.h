/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A dynamic program with what it needs to start: its interpreter and its libraries, found without running it. They are
 * looked for as ld.so(8) does: in what the file says (DT_RPATH, DT_RUNPATH, with $ORIGIN), in LD_LIBRARY_PATH, in the
 * system's folders and those of ld.so.conf(5); and lie in the guest where they lie here, with ld.so's cache if it needs that.
 */
#ifndef LKVM_ELF_LIBS_H
#define LKVM_ELF_LIBS_H

#include <stdbool.h>

#include <lkvm/err.h>
#include <lkvm/initramfs.h>

/* As initramfs_add(), of a program; a static one needs nothing else. ERR_USAGE for what is no program of this machine. */
int elf_libs_add(struct initramfs *ir, const char *from, const char *dest, struct err *err);

/* A program of this machine that needs no other file to start. */
bool elf_libs_static(const char *path);

#endif
