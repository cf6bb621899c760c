/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The folders that a system's ld.so.conf(5) names, in which ldconfig(8) has found what ld.so(8) then knows by its cache.
 */
#ifndef LKVM_LD_CONF_H
#define LKVM_LD_CONF_H

#define LD_CONF "/etc/ld.so.conf"

/* Their list with a colon between two, of the file and those that it includes; "" when there is none. NULL: no memory. */
char *ld_conf_folders(const char *conf);

#endif
