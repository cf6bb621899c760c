/* SPDX-License-Identifier: GPL-2.0 */
#include <string.h>

#include <lkvm/run-symbols.h>
#include <lkvm/src.h>

#define PANIC_NAME "panic"

/* The word is on the kernel's command line. */
static bool has_word(const char *line, const char *word)
{
	size_t len = strlen(word);

	for (const char *p = line; (p = strstr(p, word)); p += len)
		if ((p == line || p[-1] == ' ') && (!p[len] || p[len] == ' '))
			return true;
	return false;
}

static int check_address(const struct run_options *opt, struct machine_config *cfg, struct err *err)
{
	if (opt->kaslr)
		return err_usage(
			err, "--symbols needs a kernel at its link address; --kaslr excludes it");
	if (has_word(cfg->cmdline, "nokaslr"))
		return 0;
	if (cfg->boot == BOOT_BZIMAGE)
		return err_usage(
			err, "--symbols needs a kernel at its link address, and a bzImage chooses "
			     "its own: leave out --boot bzimage, or add -p nokaslr");
	/* A bzImage that cannot be decompressed here is refused, with the reason, and not left to itself. */
	cfg->boot = BOOT_VMLINUX;
	return 0;
}

int run_symbols_load(struct symbols *s, const struct run_options *opt, struct machine_config *cfg,
		     struct err *err)
{
	struct src src;

	int ret = check_address(opt, cfg, err);
	if (!ret)
		ret = src_open(&src, "--symbols", opt->symbols, err);
	if (ret)
		return ret;
	ret = symbols_read(s, &src, err);
	src_release(&src);
	if (ret)
		return ret;
	if (!symbols_find(s, PANIC_NAME, &cfg->panic_addr))
		return err_usage(err,
				 "--symbols %s has no function \"" PANIC_NAME
				 "\", so it is of no whole kernel",
				 opt->symbols);
	cfg->symbols = s;
	return 0;
}

int run_core_open(struct result_file *f, const char *path, struct machine_config *cfg,
		  struct err *err)
{
	int ret = result_file_open(f, "--core", path, err);

	if (ret)
		return ret;
	if (!f->path)
		return err_usage(err, "--core %s is not a regular file", path);
	cfg->core = f;
	return 0;
}
