/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>

#include <lkvm/block/open.h>
#include <lkvm/util.h>

#include "fault-plan.h"
#include "fault.h"
#include "overlay.h"
#include "raw.h"

/* What is wrong before any file is touched. */
static int check(const struct blk_open_opts *o, struct err *err)
{
	struct fault_plan plan;
	int ret;

	if (o->block_size != 512 && o->block_size != 4096)
		return err_usage(err, "disk %s: block-size=%u is not 512 or 4096", o->path,
				 o->block_size);
	if (o->format && strncmp(o->format, "qcow", 4) == 0)
		return err_usage(err,
				 "disk %s: format=%.20s comes later: convert the image with "
				 "qemu-img convert -O raw",
				 o->path, o->format);
	if (o->format && strcmp(o->format, "raw") != 0)
		return err_usage(err, "disk %s: format=%.40s is unknown; supported is raw", o->path,
				 o->format);
	if (o->ro && o->overlay)
		return err_usage(err,
				 "disk %s: ro and overlay=ephemeral exclude each other: the one "
				 "refuses writes, the other takes them",
				 o->path);
	ret = o->fault ? fault_plan_parse(&plan, o->fault, err) : 0;
	if (ret < 0)
		err_prefix(err, "disk %s", o->path);
	return ret;
}

static int open_overlay(struct blk_backend **be, const struct blk_open_opts *o,
			const struct log *log, struct err *err)
{
	struct blk_backend *lower = *be, *upper;
	struct blk_info info;
	int ret;

	lower->ops->info(lower, &info);
	ret = blk_raw_open_temp(&upper, info.size, o->block_size, log, err);
	if (ret == 0)
		return blk_overlay_new(be, lower, upper, err);
	lower->ops->close(lower);
	return ret;
}

int blk_open(struct blk_backend **out, const struct blk_open_opts *o, const struct log *log,
	     struct err *err)
{
	const struct blk_file_opts f = {
		.path = o->path,
		.ro = o->ro || o->overlay,
		.direct = o->direct,
		.any_format = o->format,
		.block_size = o->block_size,
		.log = log,
	};
	struct blk_backend *be;
	int ret = check(o, err);

	if (ret == 0)
		ret = blk_raw_open(&be, &f, err);
	if (ret == 0 && o->overlay)
		ret = open_overlay(&be, o, log, err);
	if (ret == 0 && o->fault)
		ret = blk_fault_new(&be, be, o->fault, err);
	if (ret == 0)
		*out = be;
	return ret;
}
