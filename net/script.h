/* SPDX-License-Identifier: GPL-2.0 */
/* A program that the user gave, run with an interface's name. */
#ifndef LKVM_NET_SCRIPT_H
#define LKVM_NET_SCRIPT_H

#include <lkvm/err.h>

/* Waits for its end, at most 30 s. The sentence begins with `option`=`path`. */
int net_script_run(const char *option, const char *path, const char *ifname, struct err *err);

#endif
