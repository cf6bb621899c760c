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
#include <lkvm/virtio/port-type.h>

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

/* What all the others need, which they do not tell. */
#define TRANSPORT "virtio_pci"

/* What the tree has not, the kernel may have built in. `found`: it has it, or says that it is. */
static int add_driver(struct modules *m, struct initramfs *ir, const char *name, bool *found,
		      struct err *err)
{
	struct err missing = ERR_INIT;
	int ret = modules_add(m, ir, name, &missing);

	*found = !ret;
	if (ret == -ENOENT)
		return 0;
	if (ret)
		*err = missing;
	return ret;
}

/* Those of the devices, and of a command's streams. */
static int add_drivers(struct modules *m, struct initramfs *ir, const struct run_options *opt,
		       bool *console, struct err *err)
{
	bool wants_console = opt->command || opt->console == CONSOLE_VIRTIO;
	bool transport = false, found;
	int ret = 0;

	if (opt->virtio_nr || wants_console)
		ret = add_driver(m, ir, TRANSPORT, &transport, err);
	for (unsigned int i = 0; !ret && i < opt->virtio_nr; i++)
		if (opt->virtio[i].type->module)
			ret = add_driver(m, ir, opt->virtio[i].type->module, &found, err);
	if (!ret && wants_console)
		ret = add_driver(m, ir, virtio_port_type.module, console, err);
	*console = *console && transport;
	return ret;
}

/* DIR[:NAME...] with a colon between names. */
static int add_modules(struct initramfs *ir, const struct run_options *opt, const char *kernel,
		       bool *console, struct err *err)
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
	ret = add_drivers(m, ir, opt, console, err);
	for (char *name; !ret && (name = strsep(&names, ":"));)
		ret = *name ? modules_add(m, ir, name, err) : 0;
	if (!ret)
		ret = modules_add_list(m, ir, err);
	modules_free(m);
	free(spec);
	return ret;
}

int run_initramfs_modules(const struct run_options *opt, const char *kernel, struct initramfs *ir,
			  bool *console, struct err *err)
{
	*console = false;
	return opt->modules ? add_modules(ir, opt, kernel, console, err) : 0;
}

int run_initramfs_add(const struct run_options *opt, struct initramfs *ir, struct err *err)
{
	int ret = opt->root ? add_root(ir, opt->root, err) : 0;

	if (!ret)
		ret = add_list(ir, "--add", &opt->add, initramfs_add, err);
	if (!ret)
		ret = add_list(ir, "--add-exec", &opt->add_exec, elf_libs_add, err);
	return ret;
}
