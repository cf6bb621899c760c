/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lkvm/board.h>
#include <lkvm/elf-libs.h>
#include <lkvm/initramfs.h>
#include <lkvm/modules.h>
#include <lkvm/rootdir.h>
#include <lkvm/run-initramfs.h>
#include <lkvm/util.h>

bool run_initramfs_wanted(const struct run_options *opt)
{
	return opt->root || opt->add.nr || opt->add_exec.nr || opt->modules;
}

static int add_root(struct initramfs *ir, const char *name, struct err *err)
{
	char *path;

	int ret = rootdir_path(name, &path, err);
	if (ret) {
		err_prefix(err, "option --root");
		return ret;
	}
	ir->option = "--root";
	if (access(path, F_OK))
		ret = err_usage(err, "--root %s: there is no %s; `lkvm setup %s` makes it", name,
				path, name);
	else
		ret = initramfs_add(ir, path, "/", err);
	ir->option = "";
	free(path);
	return ret;
}

static int add_list(struct initramfs *ir, const char *option, const struct option_strings *list,
		    int (*add)(struct initramfs *, const char *, const char *, struct err *),
		    struct err *err)
{
	int ret = 0;

	for (unsigned int i = 0; !ret && i < list->nr; i++) {
		char context[256], *from, *dest;

		snprintf(context, sizeof(context), "%s %s", option, list->str[i]);
		ret = initramfs_split(list->str[i], &from, &dest, err);
		if (ret) {
			err_prefix(err, "%s", option);
			break;
		}
		ir->option = context;
		ret = add(ir, from, dest, err);
		ir->option = "";
		free(from);
		free(dest);
	}
	return ret;
}

/* Those of the devices. What the tree has not, the kernel may have built in. */
static int add_drivers(struct modules *m, struct initramfs *ir, const struct run_options *opt,
		       struct err *err)
{
	int ret = 0;

	for (unsigned int i = 0; !ret && i <= opt->virtio_nr; i++) {
		const char *name =
			"virtio_pci"; /* what all the others need, which it does not tell */
		struct err missing = ERR_INIT;

		if (!opt->virtio_nr || (i && !(name = opt->virtio[i - 1].type->module)))
			continue;
		ret = modules_add(m, ir, name, &missing);
		if (ret == -ENOENT)
			ret = 0;
		else if (ret)
			*err = missing;
	}
	return ret;
}

/* DIR[:NAME...] with a colon between names. */
static int add_modules(struct initramfs *ir, const struct run_options *opt, const char *kernel,
		       struct err *err)
{
	char *spec = strdup(opt->modules), release[128];
	struct modules *m;

	if (!spec)
		return err_host(err, ENOMEM, "--modules");
	char *names = strchr(spec, ':');
	if (names)
		*names++ = 0;
	board_kernel_release(kernel, release, sizeof(release));
	int ret = modules_new(&m, spec, *release ? release : NULL, err);
	if (ret) {
		free(spec);
		return ret;
	}
	ir->option = "--modules";
	ret = add_drivers(m, ir, opt, err);
	for (char *name; !ret && (name = strsep(&names, ":"));)
		ret = *name ? modules_add(m, ir, name, err) : 0;
	if (!ret)
		ret = modules_add_list(m, ir, err);
	modules_free(m);
	free(spec);
	return ret;
}

int run_initramfs_add(const struct run_options *opt, const char *kernel, struct initramfs *ir,
		      struct err *err)
{
	int ret = opt->root ? add_root(ir, opt->root, err) : 0;

	if (!ret)
		ret = add_list(ir, "--add", &opt->add, initramfs_add, err);
	if (!ret)
		ret = add_list(ir, "--add-exec", &opt->add_exec, elf_libs_add, err);
	if (!ret && opt->modules)
		ret = add_modules(ir, opt, kernel, err);
	return ret;
}
