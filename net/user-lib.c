/* SPDX-License-Identifier: GPL-2.0 */
#include <dlfcn.h>
#include <errno.h>
#include <string.h>

#include <lkvm/util.h>

#include "user-lib.h"

#define LIBRARY "libslirp.so.0"
#define PACKAGE "libslirp0"

/* glib/gmessages.h: fatal and recursive are bits 0 and 1, errors to messages 2 to 5. */
#define G_LOG_LEVELS 0x3f
#define SLIRP_DOMAIN "Slirp"

/* What a guest's frames can bring about. */
static void on_log(const char *domain, int level, const char *msg, void *arg)
{
	struct user_lib *lib = arg;

	(void)domain, (void)level;
	log_guest(lib->log, &lib->limit, "net user: libslirp says: %s", msg ?: "");
}

static bool find_all(struct user_lib *lib)
{
#define SYM(field, fn) ((lib->field = (__typeof__(&fn))dlsym(lib->handle, #fn)) != NULL)
	bool all = SYM(new, slirp_new) && SYM(cleanup, slirp_cleanup) &&
		   SYM(fill, slirp_pollfds_fill) && SYM(poll, slirp_pollfds_poll) &&
		   SYM(input, slirp_input) && SYM(handle_timer, slirp_handle_timer) &&
		   SYM(add_hostfwd, slirp_add_hostxfwd);
#undef SYM
	/* Through the library's own dependency. */
	lib->set_log = (__typeof__(lib->set_log))dlsym(lib->handle, "g_log_set_handler");
	lib->remove_log = (__typeof__(lib->remove_log))dlsym(lib->handle, "g_log_remove_handler");
	return all;
}

int user_lib_open(struct user_lib *lib, const char *name, const struct log *log, struct err *err)
{
	memset(lib, 0, sizeof(*lib));
	lib->log = log;
	/* glib keeps state of its threads and cannot be unloaded. */
	lib->handle = dlopen(name ?: LIBRARY, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
	if (!lib->handle)
		return err_host(
			err, 0,
			"the library libslirp is missing: install the Debian package " PACKAGE
			", or use another mode");
	if (!find_all(lib)) {
		dlclose(lib->handle);
		return err_host(err, ENOSYS,
				"the installed libslirp is older than 4.7: update the Debian "
				"package " PACKAGE);
	}
	if (lib->set_log && lib->remove_log)
		lib->log_id = lib->set_log(SLIRP_DOMAIN, G_LOG_LEVELS, on_log, lib);
	return 0;
}

void user_lib_close(struct user_lib *lib)
{
	if (lib->log_id)
		lib->remove_log(SLIRP_DOMAIN, lib->log_id);
	dlclose(lib->handle);
}
