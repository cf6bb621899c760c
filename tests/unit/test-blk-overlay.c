// SPDX-License-Identifier: GPL-2.0
// LINK: block/open.c block/overlay.c block/fault.c block/fault-plan.c block/raw.c block/step.c block/file.c block/magic.c block/lock.c block/io.c block/iov.c block/pool.c block/uring.c util/loop.c util/log.c util/err.c util/util.c util/thread.c tests/mock/disk-user.c tests/mock/crash-disk.c
/* Ephemeral overlays, and what the option of a disk becomes. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lkvm/block/open.h>
#include <lkvm/thread.h>
#include <lkvm/util.h>

#include "../../block/overlay.h"
#include "../mock/crash-disk.h"
#include "../mock/disk-user.h"

#define SIZE MIB

static char path[] = "/tmp/lkvm-test-blk-overlay-XXXXXX";
static struct disk_user u;
static uint8_t *base, *model; /* the image's bytes, and the disk's */

static void setup(void)
{
	int fd;

	strcpy(path + strlen(path) - 6, "XXXXXX");
	fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	base = malloc(SIZE);
	model = malloc(SIZE);
	for (uint64_t i = 0; i < SIZE; i++)
		base[i] = (uint8_t)(i / 512 + i);
	memcpy(model, base, SIZE);
	ck_assert_int_eq(write(fd, base, SIZE), SIZE);
	close(fd);
	user_init(&u);
}

static void teardown(void)
{
	user_release(&u);
	unlink(path);
	free(base);
	free(model);
}

static struct blk_open_opts opts(void)
{
	return (struct blk_open_opts){ .path = path, .overlay = true, .block_size = 512 };
}

static void open_disk(const struct blk_open_opts *o)
{
	struct err err = ERR_INIT;
	int ret = blk_open(&u.be, o, &u.log, &err);

	ck_assert_msg(ret == 0, "%s", err.msg);
	user_open(&u, 16);
}

static void expect_base(void)
{
	uint8_t *now = malloc(SIZE);
	int fd = open(path, O_RDONLY);

	ck_assert_int_eq(read(fd, now, SIZE), SIZE);
	ck_assert(memcmp(now, base, SIZE) == 0);
	close(fd);
	free(now);
}

START_TEST(random_io_is_as_the_model)
{
	struct user_chaos c = { .rounds = 60, .max_len = 32 * KIB, .zeroing = true };
	struct blk_open_opts o = opts();

	o.block_size = _i ? 4096 : 512;
	open_disk(&o);
	ck_assert_uint_eq(u.info.size, SIZE);
	ck_assert(!u.info.readonly && u.info.write_zeroes);
	user_compare(&u, model);
	for (c.seed = 1; c.seed <= 4; c.seed++)
		user_chaos(&u, model, &c);
	expect_base();
}
END_TEST

START_TEST(writes_vanish)
{
	struct blk_open_opts o = opts();
	uint8_t buf[512] = "mine";

	open_disk(&o);
	ck_assert_int_eq(user_do(&u, BLK_WRITE, 1024, buf, 512), 0);
	ck_assert_int_eq(user_do(&u, BLK_FLUSH, 0, NULL, 0), 0);
	user_close(&u);
	open_disk(&o);
	user_compare(&u, model);
}
END_TEST

/* A base that nobody may write, used by many at once, each with its own writes. */
START_TEST(many_share_one_base)
{
	enum { NR = 100 };
	struct blk_open_opts o = opts();
	static struct disk_user users[NR];
	struct err err = ERR_INIT;
	uint32_t words[128];

	ck_assert_int_eq(chmod(path, 0444), 0);
	for (uint32_t i = 0; i < NR; i++) {
		user_init(&users[i]);
		ck_assert_int_eq(blk_open(&users[i].be, &o, &u.log, &err), 0);
		user_open(&users[i], 4);
		words[0] = i;
		ck_assert_int_eq(user_do(&users[i], BLK_WRITE, i * 512, words, 512), 0);
	}
	for (uint32_t i = 0; i < NR; i++) {
		ck_assert_int_eq(user_do(&users[i], BLK_READ, i * 512, words, 512), 0);
		ck_assert_uint_eq(words[0], i);
		ck_assert_int_eq(user_do(&users[i], BLK_READ, (i + 1) * 512, words, 512), 0);
		ck_assert_mem_eq(words, base + (i + 1) * 512, 512);
		user_release(&users[i]);
	}
	expect_base();
}
END_TEST

START_TEST(discard_hides_the_base)
{
	struct blk_open_opts o = opts();
	uint8_t buf[4096], zero[4096] = { 0 };

	open_disk(&o);
	ck_assert_int_eq(user_do(&u, BLK_DISCARD, 8192, NULL, 4096), 0);
	ck_assert_int_eq(user_do(&u, BLK_READ, 8192, buf, 4096), 0);
	ck_assert_mem_eq(buf, zero, 4096);
	ck_assert_int_eq(user_do(&u, BLK_WRITE_ZEROES, 512, NULL, 512), 0);
	ck_assert_int_eq(user_do(&u, BLK_READ, 0, buf, 2048), 0);
	ck_assert_mem_eq(buf, base, 512);
	ck_assert_mem_eq(buf + 512, zero, 512);
	ck_assert_mem_eq(buf + 1024, base + 1024, 1024);
}
END_TEST

/* Two layers that hold requests, so that the test decides what ends when. */
static struct crash_disk lower, upper;

static void open_held(void)
{
	struct err err = ERR_INIT;

	crash_disk_init(&lower, 64 * 512, 512);
	crash_disk_init(&upper, 64 * 512, 512);
	memset(lower.now, 'l', 64 * 512);
	ck_assert_int_eq(blk_overlay_new(&u.be, &lower.be, &upper.be, &err), 0);
	user_open(&u, 4);
	lower.hold = upper.hold = true;
}

static void close_held(void)
{
	user_close(&u);
	ck_assert_uint_eq(lower.closes, 1);
	ck_assert_uint_eq(upper.closes, 1);
	crash_disk_release(&lower);
	crash_disk_release(&upper);
}

START_TEST(a_block_moves_when_its_write_has_ended)
{
	struct user_request w, r[2];
	uint8_t data[1024], in[2][2048];

	open_held();
	memset(data, 'u', sizeof(data));
	user_submit(&u, &w, BLK_WRITE, 512, data, 1024);
	user_submit(&u, &r[0], BLK_READ, 0, in[0], 2048);
	ck_assert_uint_eq(lower.held_nr, 1);
	crash_disk_serve(&lower, 0);
	ck_assert_uint_eq(r[0].dones, 1);
	ck_assert_mem_eq(in[0], lower.now, 2048);
	crash_disk_serve(&upper, 0);
	ck_assert_uint_eq(w.dones, 1);
	/* Now it takes three parts. */
	user_submit(&u, &r[1], BLK_READ, 0, in[1], 2048);
	crash_disk_serve(&lower, 0);
	crash_disk_serve(&upper, 0);
	crash_disk_serve(&lower, 0);
	ck_assert_uint_eq(r[1].dones, 1);
	ck_assert_int_eq(r[1].ret, 0);
	ck_assert_mem_eq(in[1], lower.now, 512);
	ck_assert_mem_eq(in[1] + 512, data, 1024);
	ck_assert_mem_eq(in[1] + 1536, lower.now, 512);
	close_held();
}
END_TEST

START_TEST(a_failed_write_moves_nothing)
{
	uint8_t data[512] = "x", in[512];

	open_held();
	lower.hold = upper.hold = false;
	upper.cut_at = 1;
	ck_assert_int_eq(user_do(&u, BLK_WRITE, 0, data, 512), -EIO);
	ck_assert_int_eq(user_do(&u, BLK_READ, 0, in, 512), 0);
	ck_assert_mem_eq(in, lower.now, 512);
	/* And what is only in the upper file fails with it. */
	ck_assert_int_eq(user_do(&u, BLK_DISCARD, 0, NULL, 512), -EIO);
	close_held();
}
END_TEST

START_TEST(more_than_the_depth_and_cancel)
{
	struct user_request q[10];
	uint8_t in[512];

	open_held();
	for (unsigned int i = 0; i < ARRAY_SIZE(q); i++)
		user_submit(&u, &q[i], i % 2 ? BLK_READ : BLK_WRITE, i * 512, in, 512);
	ck_assert_uint_eq(lower.held_nr + upper.held_nr, 4);
	crash_disk_serve(&lower, 1);
	ck_assert_uint_eq(q[3].dones, 1);
	ck_assert_uint_eq(lower.held_nr + upper.held_nr, 4);
	u.be->ops->cancel(u.ch);
	ck_assert_uint_eq(u.inflight, 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(q); i++)
		ck_assert_int_eq(q[i].ret, i == 3 ? 0 : -ECANCELED);
	ck_assert_uint_eq(lower.cancels, 1);
	ck_assert_uint_eq(upper.cancels, 1);
	close_held();
}
END_TEST

/* Two channels on threads of their own write blocks that lie in the same words of the map. */
struct writer {
	struct disk_user user;
	unsigned int nr, failed;
	pthread_t thread;
};

static void *run_writer(void *arg)
{
	struct writer *w = arg;
	uint32_t words[128];

	for (uint32_t i = 0; i < 600; i++) {
		uint64_t off = (i * 2 + w->nr) * 512ull;

		words[0] = i + w->nr * 1000;
		w->failed += user_do(&w->user, BLK_WRITE, off, words, 512) != 0;
		words[0] = 0;
		w->failed += user_do(&w->user, BLK_READ, off, words, 512) != 0;
		w->failed += words[0] != i + w->nr * 1000;
	}
	return NULL;
}

START_TEST(channels_side_by_side)
{
	struct blk_open_opts o = opts();
	static struct writer w[2];

	open_disk(&o);
	for (unsigned int i = 0; i < 2; i++) {
		w[i].nr = i;
		user_init(&w[i].user);
		w[i].user.be = u.be;
		user_open(&w[i].user, 4);
		ck_assert_int_eq(thread_start(&w[i].thread, "writer", -1, run_writer, &w[i]), 0);
	}
	for (unsigned int i = 0; i < 2; i++) {
		pthread_join(w[i].thread, NULL);
		ck_assert_uint_eq(w[i].failed, 0);
		u.be->ops->channel_close(w[i].user.ch);
		w[i].user.ch = NULL;
		w[i].user.be = NULL;
		user_release(&w[i].user);
	}
	for (uint32_t i = 0; i < 1200; i++) {
		uint32_t words[128];

		ck_assert_int_eq(user_do(&u, BLK_READ, i * 512ull, words, 512), 0);
		ck_assert_uint_eq(words[0], i / 2 + i % 2 * 1000);
	}
}
END_TEST

/* The entry. */

static void refused(const struct blk_open_opts *o, enum err_kind kind, const char *sentence)
{
	unsigned int fds = user_fds();
	struct err err = ERR_INIT;
	struct blk_backend *be;

	ck_assert_int_lt(blk_open(&be, o, &u.log, &err), 0);
	ck_assert_int_eq(err.kind, kind);
	ck_assert_msg(strstr(err.msg, sentence), "%s", err.msg);
	ck_assert_uint_eq(user_fds(), fds);
}

START_TEST(options_that_cannot_be)
{
	struct blk_open_opts o = opts();

	o.ro = true;
	refused(&o, ERR_USAGE, "ro and overlay=ephemeral exclude each other");
	o = opts();
	o.block_size = 1024;
	refused(&o, ERR_USAGE, "block-size=1024 is not 512 or 4096");
	o = opts();
	o.format = "qcow2";
	refused(&o, ERR_USAGE, "format=qcow2 comes later");
	o.format = "vmdk";
	refused(&o, ERR_USAGE, "format=vmdk is unknown; supported is raw");
	o = opts();
	o.fault = "write";
	refused(&o, ERR_USAGE, ": fault plan: rule \"write\" does nothing");
	o = opts();
	o.path = "/nowhere";
	refused(&o, ERR_HOST, "cannot open disk /nowhere: No such file or directory");
	o = opts();
	ck_assert_int_eq(setenv("TMPDIR", "/nowhere", 1), 0);
	refused(&o, ERR_HOST, "cannot make the overlay's file of 1048576 bytes in /nowhere");
	ck_assert_int_eq(setenv("TMPDIR", "/dev/shm", 1), 0);
	open_disk(&o);
	user_compare(&u, model);
}
END_TEST

START_TEST(all_layers_together)
{
	struct blk_open_opts o = opts();
	uint8_t buf[512] = "x";

	o.format = "raw";
	o.fault = "write:nth=2:errno=ENOSPC";
	open_disk(&o);
	ck_assert_int_eq(user_do(&u, BLK_WRITE, 0, buf, 512), 0);
	ck_assert_int_eq(user_do(&u, BLK_WRITE, 512, buf, 512), -ENOSPC);
	memcpy(model, buf, 512);
	user_compare(&u, model);
	expect_base();
}
END_TEST

START_TEST(direct_and_read_only)
{
	struct blk_open_opts o = opts();
	uint8_t buf[4097];

	o.overlay = false;
	o.direct = true;
	o.ro = true;
	o.block_size = 4096;
	open_disk(&o);
	ck_assert_int_eq(user_do(&u, BLK_READ, 4096, buf + 1, 4096), 0);
	ck_assert_mem_eq(buf + 1, base + 4096, 4096);
	ck_assert_int_eq(user_do(&u, BLK_WRITE, 4096, buf, 4096), -EROFS);
}
END_TEST

UNIT_SUITE("blk-overlay", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, random_io_is_as_the_model, 0, 2);
	tcase_add_test(tc, writes_vanish);
	tcase_add_test(tc, many_share_one_base);
	tcase_add_test(tc, discard_hides_the_base);
	tcase_add_test(tc, a_block_moves_when_its_write_has_ended);
	tcase_add_test(tc, a_failed_write_moves_nothing);
	tcase_add_test(tc, more_than_the_depth_and_cancel);
	tcase_add_test(tc, channels_side_by_side);
	tcase_add_test(tc, options_that_cannot_be);
	tcase_add_test(tc, all_layers_together);
	tcase_add_test(tc, direct_and_read_only);
})
