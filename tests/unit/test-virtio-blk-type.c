// SPDX-License-Identifier: GPL-2.0
// LINK: virtio/blk-type.c virtio/blk.c virtio/blk-config.c virtio/device.c virtio/registers.c virtio/legacy.c virtio/queue.c gmem.c
// LINK: block/open.c block/raw.c block/step.c block/file.c block/magic.c block/lock.c block/io.c block/iov.c block/pool.c block/uring.c block/overlay.c block/fault.c block/fault-plan.c
// LINK: util/options.c util/option-types.c util/option-keys.c util/nearest.c util/loop.c util/log.c util/err.c util/util.c util/thread.c
/* The option --disk: what it takes, and what it makes of it. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <lkvm/gmem.h>
#include <lkvm/log.h>
#include <lkvm/util.h>
#include <lkvm/virtio/blk-type.h>
#include <lkvm/virtio/blk.h>

static char path[] = "/tmp/lkvm-disk-XXXXXX";
static char text[256];
static struct err err;
static struct loop *loop;
static struct gmem gm;
static struct log null_log = { .fd = -1 };
static uint64_t opts[64];

static void setup(void)
{
	memcpy(path + strlen(path) - 6, "XXXXXX", 6);
	int fd = mkstemp(path);

	ck_assert(fd >= 0 && ftruncate(fd, MIB) == 0);
	close(fd);
	err = ERR_INIT;
	loop = loop_new(&err);
}

static void teardown(void)
{
	unlink(path);
	loop_free(loop);
}

static int parse(const char *value)
{
	const struct virtio_type *t = &virtio_blk_type;
	struct option_keys table = { t->keys, t->keys_nr, opts };

	ck_assert(t->opts_len <= sizeof(opts));
	memset(opts, 0, sizeof(opts));
	err = ERR_INIT;
	t->defaults(opts);
	snprintf(text, sizeof(text), "%s", value);
	int ret = options_parse_keys(t->option, &table, 1, text, &err);
	return ret ?: t->check(opts, &err);
}

static const struct {
	const char *value, *says;
} bad[] = {
	{ "ro=", "option --disk, ro takes no value" },
	{ "queues=2", "option --disk needs its FILE" },
	{ "a,queues=0", "option --disk, queues: \"0\" is too small: at least 1" },
	{ "a,queues=65", "option --disk, queues: \"65\" is too large: at most 64" },
	{ "a,queue-size=3", "option --disk, queue-size: \"3\" is too small: at least 4" },
	{ "a,queue-size=6", "option --disk, queue-size: \"6\" is not a power of two" },
	{ "a,queue-size=2048", "option --disk, queue-size: \"2048\" is too large: at most 1024" },
	{ "a,format=qcow2", "option --disk, format: \"qcow2\" is not raw" },
	{ "a,block-size=1024", "option --disk, block-size: \"1024\" is none of 512, 4096" },
	{ "a,serial=123456789012345678901",
	  "option --disk, serial: \"123456789012345678901\" is longer than 20 bytes" },
	{ "a,wce=maybe", "option --disk, wce: \"maybe\" is not on or off" },
	{ "a,overlay=kept", "option --disk, overlay: \"kept\" is none of ephemeral" },
	{ "a,ro,overlay=ephemeral", "--disk a: ro and overlay exclude each other" },
	{ "a,rw", "option --disk: unknown key \"rw\"" },
};

START_TEST(says_what_is_wrong)
{
	ck_assert_int_eq(parse(bad[_i].value), -EINVAL);
	ck_assert_msg(strncmp(err.msg, bad[_i].says, strlen(bad[_i].says)) == 0, "%s", err.msg);
	ck_assert_int_eq(err.kind, ERR_USAGE);
}

static struct virtio_blk *make(const char *keys, unsigned int cpus, int want)
{
	char value[256];
	struct virtio_device *vd = NULL;
	struct virtio_host host = {
		.gm = &gm, .log = &null_log, .loops = &loop, .loops_nr = 1, .cpus_nr = cpus
	};

	snprintf(value, sizeof(value), "%s%s", path, keys);
	ck_assert_int_eq(parse(value), 0);
	ck_assert_int_eq(virtio_blk_type.make(&vd, opts, &host, &err), want);
	return vd ? vd->priv : NULL;
}

START_TEST(makes_what_was_asked_for)
{
	struct virtio_blk *b = make("", 3, 0);

	ck_assert_uint_eq(b->vd.queues_nr, 3);
	ck_assert_uint_eq(b->vd.vqs[0].size_max, 256);
	ck_assert_uint_eq(b->info.block_size, 512);
	ck_assert(!b->info.readonly && b->opts.wce);
	virtio_blk_type.destroy(&b->vd);
	b = make(",ro,queues=1,queue-size=8,serial=abc,block-size=4096,wce=off,discard=ignore", 3,
		 0);
	ck_assert_uint_eq(b->vd.queues_nr, 1);
	ck_assert_uint_eq(b->vd.vqs[0].size_max, 8);
	ck_assert_uint_eq(b->info.block_size, 4096);
	ck_assert(b->info.readonly && !b->opts.wce);
	ck_assert_int_eq(b->opts.discard, VIRTIO_BLK_IGNORE);
	ck_assert_mem_eq(b->serial, "abc\0", 4);
	virtio_blk_type.destroy(&b->vd);
	/* More CPUs than a device has queues. */
	b = make(",overlay=ephemeral,fault=write:nth=1:errno=EIO", 200, 0);
	ck_assert_uint_eq(b->vd.queues_nr, VIRTIO_QUEUES_MAX);
	virtio_blk_type.destroy(&b->vd);
}

START_TEST(lets_go_of_the_image_when_it_fails)
{
	make(",fault=nonsense", 1, -EINVAL);
	ck_assert_int_eq(err.kind, ERR_USAGE);
	/* It would be locked. */
	struct virtio_blk *b = make("", 1, 0);
	make("", 1, -EBUSY);
	ck_assert_int_eq(err.kind, ERR_USAGE);
	virtio_blk_type.destroy(&b->vd);
}

UNIT_SUITE("virtio-blk-type", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, says_what_is_wrong, 0, ARRAY_SIZE(bad));
	tcase_add_test(tc, makes_what_was_asked_for);
	tcase_add_test(tc, lets_go_of_the_image_when_it_fails);
})
