/* SPDX-License-Identifier: GPL-2.0 */
/* What libslirp is given of a guest's frames: whole packets alone; and whether it may make a socket of one. */
#ifndef LKVM_NET_USER_CHECK_H
#define LKVM_NET_USER_CHECK_H

#include <stddef.h>
#include <stdint.h>

enum user_verdict { USER_FRAME_BAD, USER_FRAME_OK, USER_FRAME_MAY_CONNECT };

enum user_verdict user_check_frame(const uint8_t *frame, size_t len);

#endif
