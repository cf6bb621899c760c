/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A packet backend that records the frames of another one in a file, both ways, as pcap with times in nanoseconds. A
 * thread writes the file; a frame that finds its buffer full, or that comes after an error of the file, is not recorded,
 * and goes its way all the same. Offloads are recorded as they are: large frames, checksums not yet made.
 */
#ifndef LKVM_NET_PCAP_H
#define LKVM_NET_PCAP_H

#include <lkvm/err.h>
#include <lkvm/log.h>
#include <lkvm/net/backend.h>

#define NET_PCAP_BUFFER (UINT32_C(4) << 20)

/*
 * Puts itself in front of *be, whose owner it becomes; on failure *be stays the caller's. The file is made anew. ERR_USAGE
 * for one that is not a regular file, ERR_HOST. `log` outlives the backend.
 */
int net_pcap_open(struct net_backend **be, const char *path, const struct log *log,
		  struct err *err);

#endif
