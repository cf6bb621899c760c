/* SPDX-License-Identifier: GPL-2.0 */
/* libslirp, loaded when it is used. */
#ifndef LKVM_NET_USER_LIB_H
#define LKVM_NET_USER_LIB_H

#include <slirp/libslirp.h>

#include <lkvm/err.h>
#include <lkvm/log.h>

struct user_lib {
	void *handle;
	__typeof__(&slirp_new) new;
	__typeof__(&slirp_cleanup) cleanup;
	__typeof__(&slirp_pollfds_fill) fill;
	__typeof__(&slirp_pollfds_poll) poll;
	__typeof__(&slirp_input) input;
	__typeof__(&slirp_handle_timer) handle_timer;
	__typeof__(&slirp_add_hostxfwd) add_hostfwd;

	/* glib's, for what libslirp says by it. */
	unsigned int (*set_log)(const char *domain, int levels,
				void (*fn)(const char *domain, int level, const char *msg,
					   void *arg),
				void *arg);
	void (*remove_log)(const char *domain, unsigned int id);
	unsigned int log_id;
	const struct log *log;
	struct log_limit limit;
};

/* `name` NULL: the one that the package brings. On failure nothing is to be closed. */
int user_lib_open(struct user_lib *lib, const char *name, const struct log *log, struct err *err);
void user_lib_close(struct user_lib *lib);

#endif
